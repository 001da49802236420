//! What was read from one response: plain data, the same whatever the dialect said it in, and as the record keeps it.
//!
//! Deliberately absent: how it is found ([`super::meter`], [`super::dialect`]) and what it costs ([`super::price`]).

use serde::{Deserialize, Serialize};

use super::price::Terms;
use super::usage::{Usage, WireUsage};

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

/// One sampling run of a response that took several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BilledRun {
    /// Its model, where that is another than the response's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Its counts.
    #[serde(flatten)]
    pub usage: Usage,
    /// The longest prompt of those whose counts are added up here, where they are several's: it decides the price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<u64>,
}

/// What a batch has written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchReading {
    /// Requests that it answers.
    pub lines: u64,
    /// Those of them that came to nothing.
    pub failed: u64,
    /// The first of them, up to a bound.
    pub first: Vec<BatchLine>,
}

/// One request of a batch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchLine {
    /// The client's own name for it.
    pub custom_id: String,
    /// Model that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Its counts.
    #[serde(flatten)]
    pub usage: Usage,
    /// Why the answer ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
    /// Why there is none (`errored`, `expired`, a status).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
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
    /// Tier, speed and place, which change the price.
    #[serde(flatten)]
    pub terms: Terms,
    /// What the provider says that it cost, in nanodollars, where the wire has it. Kept beside what is derived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reported_cost_nanodollars: Option<i64>,
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
    pub wire_usage: Option<WireUsage>,
    /// Anthropic `usage.iterations`, as on the wire, where the top level is not the billed total.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iterations: Option<serde_json::Value>,
    /// Tokens to bill where that differs from the top level (sum over iterations).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub billed_totals_over_iterations: Option<serde_json::Value>,
    /// The same by run, in normal form: each is billed at its own model's price.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub billed_runs: Vec<BilledRun>,
    /// Where this is what a batch has written: its requests. Counts are then those of all together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchReading>,
    /// Containers that the provider has opened for it. The record has them among what was made.
    #[serde(skip)]
    pub containers: Vec<String>,
    /// Why metering gave up, if it did. The bytes passed all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_metered: Option<String>,
}
