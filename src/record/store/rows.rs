//! What the store answers with, and what it is asked. Field names are a public face: API, `--json` and CSV use them.

use serde::{Deserialize, Serialize};

use crate::base::clock::Wall;
use crate::llm::price::Unpriced;
use crate::llm::usage::Usage;
use crate::record::record::{Outcome, Record};

/// Which exchanges a question is about. Empty fields ask for all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// Accepted at or after this moment.
    pub since: Option<Wall>,
    /// Accepted before this moment.
    pub until: Option<Wall>,
    /// Principal, exactly.
    pub principal: Option<String>,
    /// Agent program, exactly.
    pub agent: Option<String>,
    /// Session, exactly.
    pub session: Option<String>,
    /// Model: the one that answered, or where none did the one asked for.
    pub model: Option<String>,
    /// Provider id, exactly.
    pub provider: Option<String>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Name of a tool called in the exchange.
    pub tool: Option<String>,
    /// Status the client got.
    pub status: Option<u16>,
}

/// What usage is added up by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupBy {
    /// One row for everything.
    #[default]
    Total,
    /// Model that answered, or was asked for where none did.
    Model,
    /// Agent program.
    Agent,
    /// Principal.
    Principal,
    /// Provider.
    Provider,
    /// Tool called: an exchange counts once for each tool it called.
    Tool,
    /// Session.
    Session,
    /// Outcome.
    Outcome,
    /// Hour of acceptance, UTC.
    Hour,
    /// Day of acceptance, UTC.
    Day,
}

/// Usage of one group. A token sum is null where no exchange of the group reported that count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UsageRow {
    /// The group: a name, or an RFC 3339 time for hours and days; empty for the total and for "none".
    pub key: String,
    /// Exchanges.
    pub exchanges: u64,
    /// Of these, ended with outcome `ok`.
    pub ok: u64,
    /// Of these, refused by a rule.
    pub refused: u64,
    /// Of these, neither: provider errors, clients gone, truncations, faults, lost.
    pub failed: u64,
    /// Of the `ok` ones, those whose provider reported no usage.
    pub usage_unknown: u64,
    /// Tool calls seen.
    pub tool_calls: u64,
    /// Request body bytes received.
    pub request_bytes: u64,
    /// Response body bytes delivered.
    pub response_bytes: u64,
    /// Sum of the exchanges' durations, in microseconds.
    pub duration_us: u64,
    /// Token sums.
    #[serde(flatten)]
    pub usage: Usage,
    /// What they cost.
    #[serde(flatten)]
    pub cost: Cost,
}

/// What one exchange cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Worth {
    /// By today's price lists, in nanodollars; null where that is not known.
    pub cost_nanodollars: Option<i64>,
    /// Why it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unpriced: Option<String>,
}

impl From<Result<i64, Unpriced>> for Worth {
    fn from(cost: Result<i64, Unpriced>) -> Self {
        match cost {
            Ok(cost) => Worth { cost_nanodollars: Some(cost), unpriced: None },
            Err(why) => Worth { cost_nanodollars: None, unpriced: Some(why.to_string()) },
        }
    }
}

/// What some exchanges cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cost {
    /// By today's price lists, in nanodollars; null where the cost of none of them is known.
    pub cost_nanodollars: Option<i64>,
    /// How many of them cost an unknown amount, which is not in the sum.
    pub cost_unknown: u64,
    /// How many of them were priced by an estimate of their tokens.
    pub cost_estimated: u64,
    /// What providers said that it cost, where the wire has it.
    pub reported_cost_nanodollars: Option<i64>,
}

/// One exchange in a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestRow {
    /// Place in the order of closing: the cursor of lists and of the live tail.
    pub cursor: i64,
    /// Exchange id, as in `x-weir-id`.
    pub id: String,
    /// Accepted, microseconds since the Unix epoch.
    pub accepted_at_us: Wall,
    /// From acceptance to the last byte, in microseconds.
    pub duration_us: u64,
    /// From acceptance to the first byte of the response head, in microseconds.
    pub first_byte_us: Option<u64>,
    /// Time weir itself spent, in microseconds.
    pub own_us: u64,
    /// Who.
    pub principal: String,
    /// Agent program.
    pub agent: String,
    /// Its version.
    pub agent_version: String,
    /// Session.
    pub session: String,
    /// Whether it is a turn of the conversation.
    pub turn: bool,
    /// Provider.
    pub provider: String,
    /// API language.
    pub dialect: Option<String>,
    /// Request method.
    pub method: String,
    /// Path.
    pub path: String,
    /// Model asked for.
    pub model_asked: Option<String>,
    /// Model that answered.
    pub model: Option<String>,
    /// Status the client got; 0 when it got none.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// What went wrong, in a word; null when nothing did.
    pub fault: Option<String>,
    /// Stop reason.
    pub stop_reason: Option<String>,
    /// Number of tool calls.
    pub tool_calls: u64,
    /// Names of the tools called, in order, without repeats.
    pub tools: Vec<String>,
    /// Request body bytes received.
    pub request_bytes: u64,
    /// Response body bytes delivered.
    pub response_bytes: u64,
    /// Token counts.
    #[serde(flatten)]
    pub usage: Usage,
    /// What it cost.
    #[serde(flatten)]
    pub worth: Worth,
    /// What the provider said that it cost, where the wire has it.
    pub reported_cost_nanodollars: Option<i64>,
    /// How it is priced; see [`rate`](crate::llm::price::rate).
    #[serde(skip)]
    pub rate: String,
}

/// One session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionRow {
    /// Session id; scoped by principal.
    pub session: String,
    /// Who.
    pub principal: String,
    /// Agent program.
    pub agent: String,
    /// Parent session or agent.
    pub parent: String,
    /// First exchange accepted.
    pub first_at_us: Wall,
    /// Last exchange ended.
    pub last_at_us: Wall,
    /// Exchanges.
    pub exchanges: u64,
    /// Of these, turns of the conversation.
    pub turns: u64,
    /// Of these, not `ok`.
    pub failed: u64,
    /// Tool calls.
    pub tool_calls: u64,
    /// Model of the last exchange that had one.
    pub model: Option<String>,
    /// Token sums.
    #[serde(flatten)]
    pub usage: Usage,
    /// What they cost.
    #[serde(flatten)]
    pub cost: Cost,
}

/// One tool, over the exchanges that called it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ToolRow {
    /// Tool name.
    pub name: String,
    /// Kind as on the wire.
    pub kind: String,
    /// Calls.
    pub calls: u64,
    /// Exchanges with at least one call.
    pub exchanges: u64,
    /// Sessions with at least one call.
    pub sessions: u64,
    /// Principals with at least one call.
    pub principals: u64,
    /// Last call, microseconds since the Unix epoch.
    pub last_at_us: Wall,
}

/// Everything about one exchange.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shown {
    /// The record, from the log.
    pub record: Record,
    /// What it cost.
    pub worth: Worth,
    /// Request body as received; what was kept of it.
    pub request_body: Option<Vec<u8>>,
    /// Response body as delivered, content coding included; what was kept of it.
    pub response_body: Option<Vec<u8>>,
}

/// An exchange that has not ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InFlightRow {
    /// Exchange id.
    pub id: String,
    /// Accepted, microseconds since the Unix epoch.
    pub accepted_at_us: Wall,
    /// Who.
    pub principal: String,
    /// Agent program.
    pub agent: String,
    /// Session.
    pub session: String,
    /// Model asked for.
    pub model_asked: Option<String>,
    /// Provider chosen first.
    pub provider: String,
}

/// Totals for a front page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overview {
    /// Sums over everything asked about.
    pub total: UsageRow,
    /// The same by outcome.
    pub outcomes: Vec<UsageRow>,
    /// Principals seen.
    pub principals: u64,
    /// Sessions seen.
    pub sessions: u64,
    /// Exchanges that the store knows as opened and not closed; a moment behind.
    pub in_flight: u64,
    /// Records lost since installation.
    pub records_lost: u64,
    /// Parts of bodies shed since installation.
    pub captures_shed: u64,
    /// Torn tails cut at a start, since installation.
    pub tails_cut: u64,
    /// First record's acceptance.
    pub since_us: Option<Wall>,
    /// Last record's acceptance.
    pub last_at_us: Option<Wall>,
}
