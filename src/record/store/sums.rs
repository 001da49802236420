//! What a batch adds to roll-ups and sessions.

use std::sync::LazyLock;

use foldhash::HashMap;
use rusqlite::{CachedStatement, Transaction};

use super::entry::Entry;
use super::index::{signed, tokens_of};
use super::schema::{ROLLUPS, RUN, TOKENS};
use crate::llm::usage::Usage;
use crate::record::record::Outcome;

/// What a batch adds to roll-ups and sessions: summed in memory first, one upsert for each key.
#[derive(Default)]
pub(super) struct Sums {
    rollups: [Groups<(RollupKey, Sum)>; ROLLUPS.len()],
    sessions: Groups<SessionSum>,
    /// The key that is looked for.
    key: Vec<u8>,
}

/// Values by key. Most of a batch has the same few keys, so that none is made of its texts to be looked for, and none
/// copied but a new one.
struct Groups<T> {
    places: HashMap<Box<[u8]>, usize>,
    all: Vec<T>,
}

impl<T> Default for Groups<T> {
    fn default() -> Self {
        Groups { places: HashMap::default(), all: Vec::new() }
    }
}

impl<T> Groups<T> {
    fn at(&mut self, key: &[u8], made: impl FnOnce() -> T) -> &mut T {
        let place = self.places.get(key).copied().unwrap_or_else(|| {
            self.places.insert(key.into(), self.all.len());
            self.all.push(made());
            self.all.len() - 1
        });
        &mut self.all[place]
    }
}

struct RollupKey {
    slot: u64,
    principal: String,
    model: String,
    provider: String,
    agent: String,
    outcome: Outcome,
    rate: String,
    run: String,
}

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
    principal: String,
    session: String,
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
        for table in 0..ROLLUPS.len() {
            for (place, run) in entry.runs.iter().enumerate() {
                let rate = format!("{RUN}{}", run.rate);
                let sum = self.rollup(table, entry, &rate, &run.model);
                // The first bears the exchange, so that one is billed for it.
                sum.exchanges += u64::from(place == 0);
                sum.count(&run.usage);
            }
            self.rollup(table, entry, &entry.row.rate, "").add(entry);
        }
        if !entry.row.session.is_empty() {
            self.session(entry).add(entry);
        }
    }

    fn rollup(&mut self, table: usize, entry: &Entry, rate: &str, run: &str) -> &mut Sum {
        let row = &entry.row;
        let slot = row.accepted_at_us / ROLLUPS[table].1;
        let model = row.model_or_asked();
        self.key.clear();
        self.key.extend(slot.to_le_bytes());
        self.key.push(row.outcome as u8);
        put_texts(&mut self.key, &[&row.principal, model, &row.provider, &row.agent, rate, run]);
        let made = || RollupKey {
            slot,
            principal: row.principal.clone(),
            model: model.to_owned(),
            provider: row.provider.clone(),
            agent: row.agent.clone(),
            outcome: row.outcome,
            rate: rate.to_owned(),
            run: run.to_owned(),
        };
        &mut self.rollups[table].at(&self.key, || (made(), Sum::default())).1
    }

    fn session(&mut self, entry: &Entry) -> &mut SessionSum {
        let Entry { row, .. } = entry;
        self.key.clear();
        put_texts(&mut self.key, &[&row.principal, &row.session]);
        self.sessions.at(&self.key, || SessionSum {
            principal: row.principal.clone(),
            session: row.session.clone(),
            ..SessionSum::default()
        })
    }

    pub(super) fn write(&self, tx: &Transaction) -> rusqlite::Result<()> {
        for (table, rollups) in self.rollups.iter().enumerate() {
            for (key, sum) in &rollups.all {
                write_rollup(tx, table, key, sum)?;
            }
        }
        self.sessions.all.iter().try_for_each(|session| write_session(tx, session))
    }
}

/// Each behind its length: no two lists of texts become one key.
fn put_texts(key: &mut Vec<u8>, texts: &[&str]) {
    for text in texts {
        key.extend(text.len().to_le_bytes());
        key.extend(text.as_bytes());
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
    let mut upsert = tx.prepare_cached(&SQL[table])?;
    let mut binder = Binder::new(&mut upsert);
    binder.number(key.slot)?;
    for text in [&key.principal, &key.model, &key.provider, &key.agent] {
        binder.text(text)?;
    }
    for text in [key.outcome.name(), &key.rate, &key.run] {
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

fn write_session(tx: &Transaction, sum: &SessionSum) -> rusqlite::Result<()> {
    static SQL: LazyLock<String> = LazyLock::new(upsert_session_sql);
    let mut upsert = tx.prepare_cached(&SQL)?;
    let mut binder = Binder::new(&mut upsert);
    for text in [&sum.principal, &sum.session, &sum.agent, &sum.parent] {
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
