//! What a batch adds to roll-ups and sessions.

use std::collections::HashMap;
use std::sync::LazyLock;

use rusqlite::{CachedStatement, Transaction};

use super::entry::Entry;
use super::index::{signed, tokens_of};
use super::schema::{ROLLUPS, RUN, TOKENS};
use crate::llm::usage::Usage;
use crate::record::record::Outcome;

/// What a batch adds to roll-ups and sessions: summed in memory first, one upsert for each key.
#[derive(Default)]
pub(super) struct Sums {
    rollups: [HashMap<RollupKey, Sum>; ROLLUPS.len()],
    sessions: HashMap<(String, String), SessionSum>,
}

/// Slot, principal, model, provider, agent, outcome, rate, run.
type RollupKey = (u64, String, String, String, String, Outcome, String, String);

#[derive(Default)]
struct Sum {
    exchanges: u64,
    usage_unknown: u64,
    tool_calls: u64,
    request_bytes: u64,
    response_bytes: u64,
    duration_us: u64,
    reported_cost: Option<u64>,
    tokens: [Option<u64>; TOKENS.len()],
}

#[derive(Default)]
struct SessionSum {
    agent: String,
    parent: String,
    model: Option<String>,
    first_at: u64,
    last_at: u64,
    turns: u64,
    failed: u64,
    sum: Sum,
}

impl Sums {
    pub(super) fn add(&mut self, entry: &Entry) {
        let row = &entry.row;
        for (rollups, (_, slot_us)) in self.rollups.iter_mut().zip(ROLLUPS) {
            let key = (
                row.accepted_at_us / slot_us,
                row.principal.clone(),
                row.model_or_asked().to_owned(),
                row.provider.clone(),
                row.agent.clone(),
                row.outcome,
                row.rate.clone(),
                String::new(),
            );
            for (place, run) in entry.runs.iter().enumerate() {
                let mut key = key.clone();
                (key.6, key.7) = (format!("{RUN}{}", run.rate), run.model.clone());
                let sum = rollups.entry(key).or_default();
                // The first bears the exchange, so that one is billed for it.
                sum.exchanges += u64::from(place == 0);
                sum.count(&run.usage);
            }
            rollups.entry(key).or_default().add(entry);
        }
        if !row.session.is_empty() {
            let key = (row.principal.clone(), row.session.clone());
            self.sessions.entry(key).or_default().add(entry);
        }
    }

    pub(super) fn write(&self, tx: &Transaction) -> rusqlite::Result<()> {
        for (table, rollups) in self.rollups.iter().enumerate() {
            for (key, sum) in rollups {
                write_rollup(tx, table, key, sum)?;
            }
        }
        for ((principal, session), sum) in &self.sessions {
            write_session(tx, principal, session, sum)?;
        }
        Ok(())
    }
}

impl Sum {
    fn add(&mut self, entry: &Entry) {
        let row = &entry.row;
        self.exchanges += 1;
        self.usage_unknown += u64::from(entry.usage_missing);
        self.tool_calls += row.tool_calls;
        self.request_bytes += row.request_bytes;
        self.response_bytes += row.response_bytes;
        self.duration_us += row.duration_us;
        let reported = row.reported_cost_nanodollars.and_then(|cost| u64::try_from(cost).ok());
        self.reported_cost = plus(self.reported_cost, reported);
        self.count(&row.usage);
    }

    fn count(&mut self, usage: &Usage) {
        for (sum, count) in self.tokens.iter_mut().zip(tokens_of(usage)) {
            *sum = plus(*sum, count);
        }
    }
}

/// Unknown stays unknown, and never becomes a zero.
fn plus(sum: Option<u64>, count: Option<u64>) -> Option<u64> {
    match (sum, count) {
        (Some(sum), Some(count)) => Some(sum.saturating_add(count)),
        (sum, count) => sum.or(count),
    }
}

impl SessionSum {
    fn add(&mut self, entry: &Entry) {
        let row = &entry.row;
        if self.sum.exchanges == 0 {
            self.first_at = row.accepted_at_us;
        }
        self.first_at = self.first_at.min(row.accepted_at_us);
        self.last_at = self.last_at.max(row.accepted_at_us + row.duration_us);
        self.agent.clone_from(&row.agent);
        self.parent.clone_from(&entry.parent);
        if !row.model_or_asked().is_empty() {
            self.model = Some(row.model_or_asked().to_owned());
        }
        self.turns += u64::from(row.turn);
        self.failed += u64::from(row.outcome != Outcome::Ok);
        self.sum.add(entry);
    }
}

fn write_rollup(tx: &Transaction, table: usize, key: &RollupKey, sum: &Sum) -> rusqlite::Result<()> {
    static SQL: LazyLock<[String; ROLLUPS.len()]> =
        LazyLock::new(|| ROLLUPS.map(|(table, _)| upsert_rollup_sql(table)));
    let (slot, principal, model, provider, agent, outcome, rate, run) = key;
    let mut upsert = tx.prepare_cached(&SQL[table])?;
    let mut binder = Binder::new(&mut upsert);
    binder.number(*slot)?;
    for text in [principal, model, provider, agent] {
        binder.text(text)?;
    }
    for text in [outcome.name(), rate, run] {
        binder.text(text)?;
    }
    binder.maybe(sum.reported_cost)?;
    let numbers = [
        sum.exchanges,
        sum.usage_unknown,
        sum.tool_calls,
        sum.request_bytes,
        sum.response_bytes,
        sum.duration_us,
    ];
    for number in numbers {
        binder.number(number)?;
    }
    for count in sum.tokens {
        binder.maybe(count)?;
    }
    upsert.raw_execute().map(|_| ())
}

fn write_session(tx: &Transaction, principal: &str, session: &str, sum: &SessionSum) -> rusqlite::Result<()> {
    static SQL: LazyLock<String> = LazyLock::new(upsert_session_sql);
    let mut upsert = tx.prepare_cached(&SQL)?;
    let mut binder = Binder::new(&mut upsert);
    for text in [principal, session, &sum.agent, &sum.parent] {
        binder.text(text)?;
    }
    let numbers = [sum.first_at, sum.last_at, sum.sum.exchanges, sum.turns, sum.failed, sum.sum.tool_calls];
    for number in numbers {
        binder.number(number)?;
    }
    binder.maybe(sum.model.as_deref())?;
    for count in sum.sum.tokens {
        binder.maybe(count)?;
    }
    upsert.raw_execute().map(|_| ())
}

fn upsert_rollup_sql(table: &str) -> String {
    format!(
        "INSERT INTO {table} (slot, principal, model, provider, agent, outcome, rate, run, reported_cost, exchanges,
            usage_unknown, tool_calls, request_bytes, response_bytes, duration_us, {}) VALUES ({})
         ON CONFLICT DO UPDATE SET exchanges = exchanges + excluded.exchanges,
            usage_unknown = usage_unknown + excluded.usage_unknown, tool_calls = tool_calls + excluded.tool_calls,
            request_bytes = request_bytes + excluded.request_bytes,
            response_bytes = response_bytes + excluded.response_bytes,
            duration_us = duration_us + excluded.duration_us,
            reported_cost = coalesce(reported_cost + excluded.reported_cost, reported_cost, excluded.reported_cost), {}",
        TOKENS.join(", "),
        vec!["?"; 15 + TOKENS.len()].join(", "),
        add_tokens_sql(),
    )
}

fn upsert_session_sql() -> String {
    format!(
        "INSERT INTO sessions (principal, session, agent, parent, first_at, last_at, exchanges, turns, failed,
            tool_calls, model, {}) VALUES ({})
         ON CONFLICT DO UPDATE SET first_at = min(first_at, excluded.first_at),
            last_at = max(last_at, excluded.last_at), exchanges = exchanges + excluded.exchanges,
            turns = turns + excluded.turns, failed = failed + excluded.failed,
            tool_calls = tool_calls + excluded.tool_calls, model = coalesce(excluded.model, model),
            agent = CASE WHEN excluded.agent = '' THEN agent ELSE excluded.agent END,
            parent = CASE WHEN excluded.parent = '' THEN parent ELSE excluded.parent END, {}",
        TOKENS.join(", "),
        vec!["?"; 11 + TOKENS.len()].join(", "),
        add_tokens_sql(),
    )
}

/// `x = x + new`, where an unknown on either side leaves the other.
fn add_tokens_sql() -> String {
    TOKENS
        .map(|name| format!("{name} = coalesce({name} + excluded.{name}, {name}, excluded.{name})"))
        .join(", ")
}

/// Binds parameters one after another: thirty and more by number would be a riddle.
pub(super) struct Binder<'a, 'b> {
    to: &'a mut CachedStatement<'b>,
    next: usize,
}

impl<'a, 'b> Binder<'a, 'b> {
    pub(super) fn new(to: &'a mut CachedStatement<'b>) -> Binder<'a, 'b> {
        Binder { to, next: 1 }
    }

    pub(super) fn text(&mut self, text: &str) -> rusqlite::Result<()> {
        self.put(text)
    }

    pub(super) fn number(&mut self, number: u64) -> rusqlite::Result<()> {
        self.put(signed(number))
    }

    pub(super) fn maybe<T: Bindable>(&mut self, value: Option<T>) -> rusqlite::Result<()> {
        match value {
            Some(value) => value.put(self),
            None => self.put(rusqlite::types::Null),
        }
    }

    fn put(&mut self, value: impl rusqlite::ToSql) -> rusqlite::Result<()> {
        self.to.raw_bind_parameter(self.next, value)?;
        self.next += 1;
        Ok(())
    }
}

pub(super) trait Bindable {
    fn put(self, binder: &mut Binder) -> rusqlite::Result<()>;
}

impl Bindable for u64 {
    fn put(self, binder: &mut Binder) -> rusqlite::Result<()> {
        binder.number(self)
    }
}

impl Bindable for i64 {
    fn put(self, binder: &mut Binder) -> rusqlite::Result<()> {
        binder.put(self)
    }
}

impl Bindable for &str {
    fn put(self, binder: &mut Binder) -> rusqlite::Result<()> {
        binder.text(self)
    }
}
