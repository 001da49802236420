//! What the index keeps of a record.
//!
//! Taken out when the record comes, so that the record itself goes home at once to the core that made it, while its
//! memory is warm there: batches are a thousand times as long as an exchange.

use super::RequestRow;
use super::billing::{Run, counted, rate_of, runs_of};
use crate::base::id::ExchangeId;
use crate::llm::price::rate::BY_RUNS;
use crate::record::delivered;
use crate::record::record::{MadeObjects, Outcome, Record};

/// One exchange, for the index.
#[derive(Debug)]
pub struct Entry {
    pub(super) id: ExchangeId,
    pub(super) row: RequestRow,
    pub(super) parent: String,
    /// The response that it bills, where nobody billed it before; see [`delivered::key`].
    pub(super) response_key: Option<i64>,
    pub(super) usage_missing: bool,
    pub(super) calls: Vec<Call>,
    pub(super) runs: Vec<Run>,
    pub(super) made: MadeObjects,
}

/// A tool call without its arguments, which stay in the log.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) id: String,
}

impl Entry {
    /// The entry of a record. The cursor of its row is known once it is stored.
    #[must_use]
    pub fn of(record: &Record) -> Entry {
        let uses = record.reading.tool_uses.iter();
        let call = |call: &crate::llm::reading::ToolUse| Call {
            name: call.name.clone(),
            kind: call.kind.clone(),
            id: call.id.clone(),
        };
        let row = RequestRow::of(record);
        Entry {
            id: record.id,
            parent: record.caller.parent.clone(),
            response_key: delivered::key(record).filter(|_| !record.delivered_again && record.is_whole()),
            usage_missing: usage_is_missing(record),
            calls: uses.map(call).collect(),
            runs: if row.rate == BY_RUNS { runs_of(record) } else { Vec::new() },
            made: record.made.clone(),
            row,
        }
    }

    /// The row, as lists show it.
    #[must_use]
    pub fn into_row(self, cursor: i64) -> RequestRow {
        RequestRow { cursor, ..self.row }
    }
}

impl RequestRow {
    fn of(record: &Record) -> RequestRow {
        let mut tools: Vec<String> = Vec::new();
        for call in &record.reading.tool_uses {
            if !tools.contains(&call.name) {
                tools.push(call.name.clone());
            }
        }
        RequestRow {
            cursor: 0,
            id: record.id.to_string(),
            accepted_at_us: record.times.accepted_at_us,
            duration_us: record.times.last_byte_us,
            first_byte_us: record.times.first_byte_us,
            own_us: record.times.own_us,
            principal: record.who.principal.clone(),
            agent: record.caller.agent.clone(),
            agent_version: record.caller.agent_version.clone(),
            session: record.caller.session.clone(),
            turn: record.caller.turn,
            provider: record.provider.clone(),
            dialect: record.dialect.map(|dialect| dialect.name().to_owned()),
            method: record.method.clone(),
            path: record.path.clone(),
            model_asked: record.ask.model.clone(),
            model: record.reading.model.clone(),
            status: record.status,
            outcome: record.outcome,
            fault: record.fault.as_ref().map(|fault| fault.kind.clone()),
            stop_reason: record.reading.stop_reason.clone(),
            tool_calls: record.reading.tool_uses.len() as u64,
            tools,
            request_bytes: record.bytes.request_received,
            response_bytes: record.bytes.response_sent,
            usage: counted(record),
            rate: rate_of(record),
            reported_cost_nanodollars: record.reading.reported_cost_nanodollars,
            ..RequestRow::default()
        }
    }

    pub(super) fn model_or_asked(&self) -> &str {
        self.model.as_deref().or(self.model_asked.as_deref()).unwrap_or("")
    }
}

/// An exchange that should have reported usage and did not.
fn usage_is_missing(record: &Record) -> bool {
    record.outcome == Outcome::Ok && record.dialect.is_some() && record.reading.usage.is_unknown()
}
