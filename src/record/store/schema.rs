//! The index's tables. All of it can be made again from the record log, so a change of schema is a rebuild.

use rusqlite::Connection;

/// Raised with any change below; an index of another version is rebuilt.
pub(super) const VERSION: i64 = 3;

/// Token columns, by the names of [`Usage`](crate::llm::usage::Usage) and in its order.
pub(super) const TOKENS: [&str; 17] = [
    "input_tokens",
    "uncached_input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
    "audio_input_tokens",
    "audio_output_tokens",
    "tool_use_prompt_tokens",
    "cache_read_audio_tokens",
    "image_input_tokens",
    "image_output_tokens",
    "web_searches",
    "file_searches",
    "audio_seconds",
];

/// Most tokens the index believes of one exchange: a provider that claims more must not overflow anybody's sum.
/// The record keeps what the wire said.
pub(super) const TOKENS_MAX: u64 = 1 << 40;

/// In `rate`, before the rate of runs: rows that bear what is billed, and no exchange.
pub(super) const RUN: &str = "+";

/// Microseconds in an hour.
pub(super) const HOUR_US: u64 = 3_600_000_000;
/// Microseconds in a day.
pub(super) const DAY_US: u64 = 24 * HOUR_US;

/// The tables of roll-ups, and the time that a slot of each spans: by hour and by day of acceptance, UTC. Where there
/// are many people and models an hour's roll-up is hardly shorter than its exchanges; a day's is.
pub(super) const ROLLUPS: [(&str, u64); 2] = [("rollups_hour", HOUR_US), ("rollups_day", DAY_US)];

pub(super) fn create(db: &Connection) -> rusqlite::Result<()> {
    let tokens = TOKENS.map(|name| format!("{name} INTEGER")).join(", ");
    db.execute_batch(&format!(
        "CREATE TABLE exchanges (
            cursor INTEGER PRIMARY KEY, id TEXT NOT NULL,
            at INTEGER NOT NULL, duration_us INTEGER NOT NULL, first_byte_us INTEGER, own_us INTEGER NOT NULL,
            principal TEXT NOT NULL, agent TEXT NOT NULL, agent_version TEXT NOT NULL,
            session TEXT NOT NULL, turn INTEGER NOT NULL, provider TEXT NOT NULL, dialect TEXT,
            method TEXT NOT NULL, path TEXT NOT NULL, model_asked TEXT, model TEXT,
            status INTEGER NOT NULL, outcome TEXT NOT NULL, fault TEXT, stop_reason TEXT,
            tool_calls INTEGER NOT NULL, request_bytes INTEGER NOT NULL, response_bytes INTEGER NOT NULL,
            usage_unknown INTEGER NOT NULL, rate TEXT NOT NULL, reported_cost INTEGER,
            response_key INTEGER, {tokens}, log_segment INTEGER NOT NULL, log_block INTEGER NOT NULL, log_at INTEGER NOT NULL, log_len INTEGER NOT NULL
        ) STRICT;
        CREATE INDEX exchanges_id ON exchanges (id);
        CREATE INDEX exchanges_at ON exchanges (at);
        CREATE INDEX exchanges_principal ON exchanges (principal, at);
        CREATE INDEX exchanges_agent ON exchanges (agent, at);
        CREATE INDEX exchanges_session ON exchanges (session, at) WHERE session <> '';
        CREATE INDEX exchanges_not_ok ON exchanges (outcome, at) WHERE outcome <> 'ok';
        CREATE INDEX exchanges_not_200 ON exchanges (status, at) WHERE status <> 200;

        CREATE TABLE tools (
            exchange INTEGER NOT NULL, place INTEGER NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL,
            call_id TEXT NOT NULL, first INTEGER NOT NULL,
            PRIMARY KEY (exchange, place)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX tools_name ON tools (name, exchange);

        -- Sampling runs of exchanges that are billed by them: rate '*'.
        CREATE TABLE runs (
            exchange INTEGER NOT NULL, place INTEGER NOT NULL, model TEXT NOT NULL, rate TEXT NOT NULL, {tokens},
            PRIMARY KEY (exchange, place)
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE sessions (
            principal TEXT NOT NULL, session TEXT NOT NULL, agent TEXT NOT NULL, parent TEXT NOT NULL,
            first_at INTEGER NOT NULL, last_at INTEGER NOT NULL, exchanges INTEGER NOT NULL, turns INTEGER NOT NULL,
            failed INTEGER NOT NULL, tool_calls INTEGER NOT NULL, model TEXT, {tokens},
            PRIMARY KEY (principal, session)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX sessions_last ON sessions (last_at);
        CREATE INDEX sessions_session ON sessions (session);

        CREATE TABLE objects (
            id TEXT PRIMARY KEY, owner TEXT NOT NULL, provider TEXT NOT NULL, at INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE in_flight (
            id TEXT PRIMARY KEY, at INTEGER NOT NULL, open TEXT NOT NULL, bodies TEXT NOT NULL
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE state (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;
        PRAGMA user_version = {VERSION};"
    ))?;
    ROLLUPS.iter().try_for_each(|(table, _)| {
        db.execute_batch(&format!(
            "CREATE TABLE {table} (
                slot INTEGER NOT NULL, principal TEXT NOT NULL, model TEXT NOT NULL, provider TEXT NOT NULL,
                agent TEXT NOT NULL, outcome TEXT NOT NULL,
                -- How it is priced; and the model that is priced, where that is a run's.
                rate TEXT NOT NULL, run TEXT NOT NULL, reported_cost INTEGER, exchanges INTEGER NOT NULL, usage_unknown INTEGER NOT NULL,
                tool_calls INTEGER NOT NULL, request_bytes INTEGER NOT NULL, response_bytes INTEGER NOT NULL,
                duration_us INTEGER NOT NULL, {tokens},
                PRIMARY KEY (slot, principal, model, provider, agent, outcome, rate, run)
            ) STRICT, WITHOUT ROWID;"
        ))
    })
}
