//! The meter: fed views of passing response bytes, yields a [`Reading`]. It only ever looks.

use serde::{Deserialize, Serialize};

use super::usage::Usage;

/// One tool call in a response.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ToolUse {
    /// Tool name.
    pub name: String,
    /// Call id as on the wire; empty when the dialect has none.
    pub id: String,
    /// Kind as on the wire (`tool_use`, `server_tool_use`, `mcp_tool_use`, `function`, `custom`, …).
    pub kind: String,
    /// Raw argument text: the deltas concatenated byte for byte, or the JSON value's own text.
    pub arguments: String,
    /// MCP server, where the wire names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

/// What a response said. Names are those of the fixtures' manifest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reading {
    /// Model that answered.
    pub model: Option<String>,
    /// Response id of the provider.
    pub response_id: Option<String>,
    /// Token counts; `null` is unknown.
    #[serde(flatten)]
    pub usage: Usage,
    /// Tool calls in order of appearance, client-run and provider-run together.
    pub tool_uses: Vec<ToolUse>,
    /// Stop reason as on the wire (first choice).
    pub stop_reason: Option<String>,
    /// All stop reasons when there are several choices.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop_reasons: Vec<String>,
    /// Whether the body was an event stream (or another incremental framing).
    pub stream: bool,
    /// Whether the terminal marker of the dialect was seen; a complete JSON body counts as complete.
    pub complete: bool,
    /// Whether an event was cut off by the end of the stream.
    pub pending_at_eof: bool,
    /// The error object found in body or stream, as on the wire.
    pub error: Option<serde_json::Value>,
    /// The provider's own usage object after its own merge rule, as on the wire.
    pub wire_usage: Option<serde_json::Value>,
    /// Anthropic `usage.iterations`, as on the wire, where the top level is not the billed total.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iterations: Option<serde_json::Value>,
    /// Tokens to bill where that differs from the top level (sum over iterations).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub billed_totals_over_iterations: Option<serde_json::Value>,
    /// Why metering gave up, if it did. The bytes passed all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_metered: Option<String>,
}
