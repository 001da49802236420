//! Questions as SQL: filters, sums, lists.
//!
//! Sums are answered from the roll-ups wherever the filter lets them; only the hours that a time range cuts through,
//! and filters the roll-ups know nothing of, read the exchanges themselves.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::index::signed;
use super::schema::{DAY_US, HOUR_US, ROLLUPS, TOKENS};
use super::{Cost, Filter, GroupBy, RequestRow, SessionRow, ToolRow, UsageRow};
use crate::llm::usage::Usage;
use crate::record::record::Outcome;

const MINUTE_US: u64 = HOUR_US / 60;
const MODEL: &str = "coalesce(e.model, e.model_asked, '')";

/// Conditions, and the values they speak of.
#[derive(Default)]
struct Where {
    terms: Vec<String>,
    values: Vec<Value>,
}

impl Where {
    fn add(&mut self, term: &str, value: impl Into<Value>) {
        self.terms.push(term.to_owned());
        self.values.push(value.into());
    }

    fn maybe(&mut self, term: &str, value: Option<&String>) {
        if let Some(value) = value {
            self.add(term, value.clone());
        }
    }

    fn literal(&mut self, term: &str) {
        self.terms.push(term.to_owned());
    }

    fn sql(&self) -> String {
        if self.terms.is_empty() { String::new() } else { format!("WHERE {}", self.terms.join(" AND ")) }
    }
}

/// The filter over table `exchanges e`. Literals that look redundant let SQLite use the partial indices.
fn exchanges_where(filter: &Filter) -> Where {
    let mut list = Where::default();
    range(&mut list, "e.at", filter);
    list.maybe("e.principal = ?", filter.principal.as_ref());
    list.maybe("e.agent = ?", filter.agent.as_ref());
    list.maybe("e.provider = ?", filter.provider.as_ref());
    list.maybe(&format!("{MODEL} = ?"), filter.model.as_ref());
    if let Some(session) = &filter.session {
        list.add("e.session = ?", session.clone());
        if !session.is_empty() {
            list.literal("e.session <> ''");
        }
    }
    if let Some(outcome) = filter.outcome {
        list.add("e.outcome = ?", outcome.name().to_owned());
        if outcome != Outcome::Ok {
            list.literal("e.outcome <> 'ok'");
        }
    }
    if let Some(status) = filter.status {
        list.add("e.status = ?", i64::from(status));
        if status != 200 {
            list.literal("e.status <> 200");
        }
    }
    list.maybe("e.cursor IN (SELECT exchange FROM tools WHERE name = ?)", filter.tool.as_ref());
    list
}

fn range(list: &mut Where, column: &str, filter: &Filter) {
    if let Some(since) = filter.since {
        list.add(&format!("{column} >= ?"), signed(since));
    }
    if let Some(until) = filter.until {
        list.add(&format!("{column} < ?"), signed(until));
    }
}

pub(super) fn usage(db: &Connection, filter: &Filter, group_by: GroupBy) -> rusqlite::Result<Vec<UsageRow>> {
    let (from, values) = source(filter, group_by, Of::Seen);
    let key = key_of(group_by);
    let order = if matches!(group_by, GroupBy::Hour | GroupBy::Day) { "1" } else { "2 DESC, 1" };
    let tokens = TOKENS.map(|name| format!("sum({name})")).join(", ");
    let sql = format!(
        "SELECT {key}, sum(exchanges), coalesce(sum(exchanges) FILTER (WHERE outcome = 'ok'), 0),
            coalesce(sum(exchanges) FILTER (WHERE outcome = 'refused'), 0), sum(usage_unknown), sum(tool_calls),
            sum(request_bytes), sum(response_bytes), sum(duration_us), sum(reported_cost), {tokens}
         FROM ({from}) GROUP BY 1 HAVING sum(exchanges) > 0 ORDER BY {order}"
    );
    let mut all = db.prepare(&sql)?;
    all.query_map(params_from_iter(values), |row| usage_row(row, group_by))?.collect()
}

/// Which rows a sum is over. They differ where an exchange is billed by its runs: what was seen is the exchange's own
/// counts, what was billed those of its runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Seen,
    Billed,
}

/// Rows to sum for a question, as SQL with its values.
pub(super) fn source(filter: &Filter, group_by: GroupBy, of: Of) -> (String, Vec<Value>) {
    match group_by {
        GroupBy::Tool => tool_source(filter, of),
        GroupBy::Session => exchange_source(filter, of),
        _ if filter.session.is_some() || filter.tool.is_some() || filter.status.is_some() => {
            exchange_source(filter, of)
        }
        _ => rollup_source(filter, group_by, of),
    }
}

/// The group of a row, as SQL.
pub(super) fn key_of(group_by: GroupBy) -> String {
    match group_by {
        GroupBy::Total => "''".to_owned(),
        GroupBy::Model => "model".to_owned(),
        GroupBy::Agent => "agent".to_owned(),
        GroupBy::Principal => "principal".to_owned(),
        GroupBy::Provider => "provider".to_owned(),
        GroupBy::Tool => "tool".to_owned(),
        GroupBy::Session => "session".to_owned(),
        GroupBy::Outcome => "outcome".to_owned(),
        GroupBy::Hour => format!("at / {HOUR_US}"),
        GroupBy::Day => format!("at / {DAY_US}"),
    }
}

/// Columns that all sources of sums share.
const SUMMED: &str =
    "exchanges, usage_unknown, tool_calls, request_bytes, response_bytes, duration_us, reported_cost, rate";

/// The roll-ups for whole days and hours, the exchanges for the hours cut through.
fn rollup_source(filter: &Filter, group_by: GroupBy, of: Of) -> (String, Vec<Value>) {
    let first = filter.since.unwrap_or(0).div_ceil(HOUR_US);
    let last = filter.until.map_or(i64::MAX as u64 / HOUR_US, |until| until / HOUR_US);
    if first >= last {
        return exchange_source(filter, of);
    }
    let mut sources = Vec::new();
    let (first_day, last_day) = (first.div_ceil(24), last / 24);
    if group_by != GroupBy::Hour && first_day < last_day {
        sources.push(slots_source(HOURS, first, first_day * 24, filter, of));
        sources.push(slots_source(DAYS, first_day, last_day, filter, of));
        sources.push(slots_source(HOURS, last_day * 24, last, filter, of));
    } else {
        sources.push(slots_source(HOURS, first, last, filter, of));
    }
    let before = filter.since.map(|since| (since, first * HOUR_US));
    let after = filter.until.map(|until| (last * HOUR_US, until));
    for (since, until) in [before, after].into_iter().flatten().filter(|(since, until)| since < until) {
        let edge = Filter { since: Some(since), until: Some(until), ..filter.clone() };
        sources.push(exchange_source(&edge, of));
    }
    let (sqls, values): (Vec<String>, Vec<Vec<Value>>) = sources.into_iter().unzip();
    (sqls.join(" UNION ALL "), values.concat())
}

const HOURS: (&str, u64) = ROLLUPS[0];
const DAYS: (&str, u64) = ROLLUPS[1];

/// The slots `first..last` of one table of roll-ups.
fn slots_source(
    (table, slot_us): (&str, u64),
    first: u64,
    last: u64,
    filter: &Filter,
    of: Of,
) -> (String, Vec<Value>) {
    let mut list = Where::default();
    // Runs bear what is billed, and exchanges that have runs what is seen.
    list.literal(match of {
        Of::Seen => "rate NOT GLOB '+*'",
        Of::Billed => "rate <> '*'",
    });
    list.add("slot >= ?", signed(first));
    list.add("slot < ?", signed(last));
    list.maybe("principal = ?", filter.principal.as_ref());
    list.maybe("agent = ?", filter.agent.as_ref());
    list.maybe("provider = ?", filter.provider.as_ref());
    list.maybe("model = ?", filter.model.as_ref());
    list.maybe("outcome = ?", filter.outcome.map(|outcome| outcome.name().to_owned()).as_ref());
    let sql = format!(
        "SELECT 0 AS cursor, slot * {slot_us} AS at, principal, model, provider, agent, '' AS session, outcome,
            CASE WHEN run = '' THEN model ELSE run END AS priced, {SUMMED}, {} FROM {table} {}",
        TOKENS.join(", "),
        list.sql(),
    );
    (sql, list.values)
}

fn exchange_source(filter: &Filter, of: Of) -> (String, Vec<Value>) {
    let mut list = exchanges_where(filter);
    let own = SUMMED.trim_start_matches("exchanges, ");
    let head =
        format!("e.cursor, e.at, e.principal, {MODEL} AS model, e.provider, e.agent, e.session, e.outcome");
    let tokens = TOKENS.join(", ");
    if of == Of::Seen {
        let sql = format!(
            "SELECT {head}, {MODEL} AS priced, 1 AS exchanges, {own}, {tokens} FROM exchanges e {}",
            list.sql()
        );
        return (sql, list.values);
    }
    let mut runs = exchanges_where(filter);
    list.literal("e.rate <> '*'");
    runs.literal("e.rate = '*'");
    let of_runs = TOKENS.map(|name| format!("r.{name}")).join(", ");
    let sql = format!(
        "SELECT {head}, {MODEL} AS priced, 1 AS exchanges, {own}, {tokens} FROM exchanges e {}
         UNION ALL SELECT {head}, r.model AS priced, r.place = 0, 0, 0, 0, 0, 0, NULL, '+' || r.rate, {of_runs}
         FROM exchanges e JOIN runs r ON r.exchange = e.cursor {}",
        list.sql(),
        runs.sql(),
    );
    (sql, [list.values, runs.values].concat())
}

/// One row for each call; the exchange's own numbers stand in the row of the tool's first call only.
fn tool_source(filter: &Filter, of: Of) -> (String, Vec<Value>) {
    let mut list = exchanges_where(&Filter { tool: None, ..filter.clone() });
    list.maybe("t.name = ?", filter.tool.as_ref());
    if of == Of::Billed {
        let (billed, values) = exchange_source(&Filter { tool: None, ..filter.clone() }, of);
        let named = filter.tool.as_ref().map_or("", |_| "AND t.name = ?");
        let sql = format!(
            "SELECT t.name AS tool, b.* FROM ({billed}) b JOIN tools t ON t.exchange = b.cursor AND t.first {named}"
        );
        return (sql, values.into_iter().chain(filter.tool.clone().map(Value::from)).collect());
    }
    let own = ["usage_unknown", "request_bytes", "response_bytes", "duration_us", "reported_cost"];
    let own = own.iter().chain(&TOKENS).map(|name| format!("CASE WHEN t.first THEN e.{name} END AS {name}"));
    let sql = format!(
        "SELECT t.name AS tool, e.outcome, t.first AS exchanges, 1 AS tool_calls, {}
         FROM exchanges e JOIN tools t ON t.exchange = e.cursor {}",
        own.collect::<Vec<_>>().join(", "),
        list.sql(),
    );
    (sql, list.values)
}

fn usage_row(row: &Row, group_by: GroupBy) -> rusqlite::Result<UsageRow> {
    let key = key_text(row.get(0)?, group_by);
    let (exchanges, ok, refused) = (number(row, 1)?, number(row, 2)?, number(row, 3)?);
    Ok(UsageRow {
        key,
        exchanges,
        ok,
        refused,
        failed: exchanges.saturating_sub(ok + refused),
        usage_unknown: number(row, 4)?,
        tool_calls: number(row, 5)?,
        request_bytes: number(row, 6)?,
        response_bytes: number(row, 7)?,
        duration_us: number(row, 8)?,
        usage: usage_at(row, 10)?,
        cost: Cost { reported_cost_nanodollars: row.get(9)?, ..Cost::default() },
    })
}

pub(super) fn key_text(key: Value, group_by: GroupBy) -> String {
    match (key, group_by) {
        (Value::Integer(hours), GroupBy::Hour) => time_text(unsigned(hours).saturating_mul(HOUR_US)),
        (Value::Integer(days), GroupBy::Day) => time_text(unsigned(days).saturating_mul(DAY_US)),
        (Value::Text(name), _) => name,
        _ => String::new(),
    }
}

const REQUEST_COLUMNS: &str = "e.cursor, e.id, e.at, e.duration_us, e.first_byte_us, e.own_us, e.principal, e.agent,
    e.agent_version, e.session, e.turn, e.provider, e.dialect, e.method, e.path, e.model_asked, e.model, e.status,
    e.outcome, e.fault, e.stop_reason, e.tool_calls, e.request_bytes, e.response_bytes, e.rate, e.reported_cost,
    CASE WHEN e.tool_calls = 0 THEN '[]' ELSE (SELECT json_group_array(name) FROM
        (SELECT name FROM tools WHERE exchange = e.cursor AND first ORDER BY place)) END";

/// Newest accepted first. `before` is the cursor of the last row already seen.
pub(super) fn requests(
    db: &Connection,
    filter: &Filter,
    limit: u32,
    before: Option<i64>,
) -> rusqlite::Result<Vec<RequestRow>> {
    let mut list = exchanges_where(filter);
    if let Some(before) = before {
        list.add("(e.at, e.cursor) < (SELECT at, cursor FROM exchanges WHERE cursor = ?)", before);
    }
    request_rows(db, list, "e.at DESC, e.cursor DESC", limit)
}

/// Oldest closed first, after `after`; without it the last `limit`.
pub(super) fn tail(
    db: &Connection,
    filter: &Filter,
    after: Option<i64>,
    limit: u32,
) -> rusqlite::Result<Vec<RequestRow>> {
    let mut list = exchanges_where(filter);
    let Some(after) = after else {
        let mut rows = request_rows(db, list, "e.cursor DESC", limit)?;
        rows.reverse();
        return Ok(rows);
    };
    list.add("e.cursor > ?", after);
    request_rows(db, list, "e.cursor", limit)
}

fn request_rows(
    db: &Connection,
    mut list: Where,
    order: &str,
    limit: u32,
) -> rusqlite::Result<Vec<RequestRow>> {
    let sql = format!(
        "SELECT {REQUEST_COLUMNS}, {} FROM exchanges e {} ORDER BY {order} LIMIT ?",
        TOKENS.map(|name| format!("e.{name}")).join(", "),
        list.sql(),
    );
    list.values.push(i64::from(limit).into());
    let mut all = db.prepare_cached(&sql)?;
    all.query_map(params_from_iter(list.values), request_row)?.collect()
}

fn request_row(row: &Row) -> rusqlite::Result<RequestRow> {
    Ok(RequestRow {
        cursor: row.get(0)?,
        id: row.get(1)?,
        accepted_at_us: number(row, 2)?,
        duration_us: number(row, 3)?,
        first_byte_us: maybe_number(row, 4)?,
        own_us: number(row, 5)?,
        principal: row.get(6)?,
        agent: row.get(7)?,
        agent_version: row.get(8)?,
        session: row.get(9)?,
        turn: row.get(10)?,
        provider: row.get(11)?,
        dialect: row.get(12)?,
        method: row.get(13)?,
        path: row.get(14)?,
        model_asked: row.get(15)?,
        model: row.get(16)?,
        status: row.get(17)?,
        outcome: outcome_named(&row.get::<_, String>(18)?),
        fault: row.get(19)?,
        stop_reason: row.get(20)?,
        tool_calls: number(row, 21)?,
        request_bytes: number(row, 22)?,
        response_bytes: number(row, 23)?,
        rate: row.get(24)?,
        reported_cost_nanodollars: row.get(25)?,
        tools: serde_json::from_str(&row.get::<_, String>(26)?).unwrap_or_default(),
        usage: usage_at(row, 27)?,
        ..RequestRow::default()
    })
}

pub(super) fn sessions(db: &Connection, filter: &Filter, limit: u32) -> rusqlite::Result<Vec<SessionRow>> {
    let mut list = sessions_where(filter);
    let sql = format!(
        "SELECT s.session, s.principal, s.agent, s.parent, s.first_at, s.last_at, s.exchanges, s.turns, s.failed,
            s.tool_calls, s.model, {} FROM sessions s {} ORDER BY s.last_at DESC LIMIT ?",
        TOKENS.map(|name| format!("s.{name}")).join(", "),
        list.sql(),
    );
    list.values.push(i64::from(limit).into());
    let mut all = db.prepare_cached(&sql)?;
    all.query_map(params_from_iter(list.values), session_row)?.collect()
}

/// A session is asked for if it was in use in the time asked about and one of its exchanges passes the rest.
fn sessions_where(filter: &Filter) -> Where {
    let mut list = Where::default();
    if let Some(since) = filter.since {
        list.add("s.last_at >= ?", signed(since));
    }
    if let Some(until) = filter.until {
        list.add("s.first_at < ?", signed(until));
    }
    list.maybe("s.principal = ?", filter.principal.as_ref());
    list.maybe("s.session = ?", filter.session.as_ref());
    list.maybe("s.agent = ?", filter.agent.as_ref());
    let rest =
        Filter { principal: None, session: None, agent: None, since: None, until: None, ..filter.clone() };
    if rest != Filter::default() {
        let inner = exchanges_where(&rest);
        let terms = inner.terms.join(" AND ");
        list.literal(&format!(
            "EXISTS (SELECT 1 FROM exchanges e WHERE e.session = s.session AND e.session <> ''
                AND e.principal = s.principal AND {terms})"
        ));
        list.values.extend(inner.values);
    }
    list
}

fn session_row(row: &Row) -> rusqlite::Result<SessionRow> {
    Ok(SessionRow {
        session: row.get(0)?,
        principal: row.get(1)?,
        agent: row.get(2)?,
        parent: row.get(3)?,
        first_at_us: number(row, 4)?,
        last_at_us: number(row, 5)?,
        exchanges: number(row, 6)?,
        turns: number(row, 7)?,
        failed: number(row, 8)?,
        tool_calls: number(row, 9)?,
        model: row.get(10)?,
        usage: usage_at(row, 11)?,
        cost: Cost::default(),
    })
}

pub(super) fn tools(db: &Connection, filter: &Filter, limit: u32) -> rusqlite::Result<Vec<ToolRow>> {
    let mut list = exchanges_where(&Filter { tool: None, ..filter.clone() });
    list.maybe("t.name = ?", filter.tool.as_ref());
    let sql = format!(
        "SELECT t.name, t.kind, count(*), count(DISTINCT e.cursor),
            count(DISTINCT CASE WHEN e.session <> '' THEN e.session END), count(DISTINCT e.principal), max(e.at)
         FROM tools t JOIN exchanges e ON t.exchange = e.cursor {} GROUP BY 1, 2 ORDER BY 3 DESC, 1 LIMIT ?",
        list.sql(),
    );
    list.values.push(i64::from(limit).into());
    let mut all = db.prepare_cached(&sql)?;
    let rows = all.query_map(params_from_iter(list.values), |row| {
        Ok(ToolRow {
            name: row.get(0)?,
            kind: row.get(1)?,
            calls: number(row, 2)?,
            exchanges: number(row, 3)?,
            sessions: number(row, 4)?,
            principals: number(row, 5)?,
            last_at_us: number(row, 6)?,
        })
    })?;
    rows.collect()
}

/// Principals with an exchange that passes the filter, by the hour: a front page's figure, not an invoice.
pub(super) fn count_principals(db: &Connection, filter: &Filter) -> rusqlite::Result<u64> {
    let (from, values) = rollup_source(filter, GroupBy::Principal, Of::Seen);
    let sql = format!("SELECT count(DISTINCT principal) FROM ({from}) WHERE principal <> ''");
    db.query_row(&sql, params_from_iter(values), |row| number(row, 0))
}

/// Answered from an index alone, so that a front page may ask again and again.
pub(super) fn per_minute(
    db: &Connection,
    principal: Option<&str>,
    since: u64,
) -> rusqlite::Result<Vec<(u64, u64)>> {
    let mut list = Where::default();
    list.maybe("e.principal = ?", principal.map(str::to_owned).as_ref());
    list.add("e.at >= ?", signed(since));
    let sql = format!(
        "SELECT e.at / {MINUTE_US} * {MINUTE_US}, count(*) FROM exchanges e {} GROUP BY 1 ORDER BY 1",
        list.sql()
    );
    let mut all = db.prepare_cached(&sql)?;
    all.query_map(params_from_iter(list.values), |row| Ok((number(row, 0)?, number(row, 1)?)))?.collect()
}

pub(super) fn count_sessions(db: &Connection, filter: &Filter) -> rusqlite::Result<u64> {
    let list = sessions_where(filter);
    let sql = format!("SELECT count(*) FROM sessions s {}", list.sql());
    db.query_row(&sql, params_from_iter(list.values), |row| number(row, 0))
}

/// Acceptance of the first and the last exchange.
pub(super) fn first_and_last(db: &Connection) -> rusqlite::Result<(Option<u64>, Option<u64>)> {
    // Two questions: SQLite takes min and max from an index only when each is asked alone.
    let first = db.query_row("SELECT min(at) FROM exchanges", [], |row| maybe_number(row, 0))?;
    let last = db.query_row("SELECT max(at) FROM exchanges", [], |row| maybe_number(row, 0))?;
    Ok((first, last))
}

pub(super) fn outcome_named(name: &str) -> Outcome {
    Outcome::ALL.into_iter().find(|outcome| outcome.name() == name).unwrap_or_default()
}

/// A time for people and machines: RFC 3339, UTC, to the second.
fn time_text(at_us: u64) -> String {
    let time = jiff::Timestamp::from_microsecond(signed(at_us)).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

pub(super) fn usage_at(row: &Row, first: usize) -> rusqlite::Result<Usage> {
    let count = |i: usize| maybe_number(row, first + i);
    Ok(Usage {
        input_tokens: count(0)?,
        uncached_input_tokens: count(1)?,
        output_tokens: count(2)?,
        cache_read_tokens: count(3)?,
        cache_write_tokens: count(4)?,
        cache_write_5m_tokens: count(5)?,
        cache_write_1h_tokens: count(6)?,
        reasoning_tokens: count(7)?,
        audio_input_tokens: count(8)?,
        audio_output_tokens: count(9)?,
        tool_use_prompt_tokens: count(10)?,
        cache_read_audio_tokens: count(11)?,
        image_input_tokens: count(12)?,
        image_output_tokens: count(13)?,
        web_searches: count(14)?,
        file_searches: count(15)?,
        audio_seconds: count(16)?,
    })
}

pub(super) fn number(row: &Row, at: usize) -> rusqlite::Result<u64> {
    Ok(maybe_number(row, at)?.unwrap_or(0))
}

fn maybe_number(row: &Row, at: usize) -> rusqlite::Result<Option<u64>> {
    Ok(row.get::<_, Option<i64>>(at)?.map(unsigned))
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
