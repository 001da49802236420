//! The writing side of the index: applies what a batch said, in one transaction.
//!
//! Live writing, catching up after a crash and rebuilding are the same function over the same lines; the place in
//! the log up to which the index has read is stored in the same transaction, so nothing is ever applied twice.

use std::collections::HashSet;
use std::io;
use std::sync::LazyLock;

use rusqlite::{CachedStatement, Connection, OpenFlags, OptionalExtension, Transaction, params};

use super::billing::Run;
use super::entry::{Call, Entry};
use super::fault;
use super::schema::{self, TOKENS, TOKENS_MAX};
use super::sums::{Binder, Sums};
use crate::base::id::ExchangeId;
use crate::llm::usage::Usage;
use crate::record::delivered;
use crate::record::files::{At, Layout};
use crate::record::line::{Bodies, BodyStored, Loss, add_span};
use crate::record::record::Open;
use crate::record::segment::{Hash, Head};

/// Rows of exchanges that are looked through at a start.
const LOOKED_THROUGH: u32 = 200_000;

/// One thing a batch said, and what the index makes of it.
#[derive(Debug)]
pub enum Item<'a> {
    /// An exchange that had not ended when its batch closed.
    Open(&'a Open),
    /// Part of a body stored before its exchange ended.
    Body(&'a BodyStored),
    /// An exchange that ended, and where its line lies in the log.
    Close(&'a Entry, LinePlace),
    /// Something that could not be recorded.
    Lost(&'a Loss),
}

/// Where a line lies in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinePlace {
    /// Number of the segment.
    pub segment: u32,
    /// Where the block begins in the segment.
    pub block: u64,
    /// Where the line begins in the block, before compression.
    pub at: u32,
    /// Its length, without the line feed.
    pub len: u32,
}

/// How far the index has read the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Behind the last block read.
    pub at: At,
    /// The end of the chain there.
    pub head: Head,
}

/// Counts since installation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durable {
    /// Records lost.
    pub records_lost: u64,
    /// Parts of bodies shed.
    pub captures_shed: u64,
    /// Torn tails cut.
    pub tails_cut: u64,
}

/// The index, open for writing. There is one, in the writer.
pub struct Index {
    db: Connection,
    /// Those that have a row as running: few exchanges last longer than their batch, and nothing need be deleted for
    /// the others.
    in_flight: HashSet<ExchangeId>,
}

impl Index {
    /// Open or make the index. One that is broken or of another version is moved away and made anew, empty: the
    /// caller's catching up from position zero is then the rebuild.
    pub fn open(layout: &Layout) -> io::Result<Index> {
        match Index::open_existing(layout) {
            Ok(index) => Ok(index),
            Err(e) if is_broken(&e) => {
                Index::set_aside(layout)?;
                Index::open_existing(layout).map_err(fault)
            }
            Err(e) => Err(fault(e)),
        }
    }

    /// Throw the index away. The next [`Index::open`] makes it anew.
    pub fn discard(layout: &Layout) -> io::Result<()> {
        for suffix in ["", "-wal", "-shm"] {
            let mut path = layout.index().into_os_string();
            path.push(suffix);
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }

    /// Move an index that is of no use out of the way, kept for whoever wants to know why.
    pub fn set_aside(layout: &Layout) -> io::Result<()> {
        let mut aside = layout.index().into_os_string();
        aside.push(".broken");
        std::fs::rename(layout.index(), aside)?;
        Index::discard(layout)
    }

    fn open_existing(layout: &Layout) -> rusqlite::Result<Index> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut db = Connection::open_with_flags(layout.index(), flags)?;
        db.busy_timeout(std::time::Duration::from_secs(5))?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        // The log is the truth and is synced; the index may lose its last transactions to a power cut and catch up.
        db.pragma_update(None, "synchronous", "NORMAL")?;
        db.pragma_update(None, "journal_size_limit", 64 << 20)?;
        db.set_prepared_statement_cache_capacity(32);
        let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version == 0 {
            let tx = db.transaction()?;
            schema::create(&tx)?;
            tx.commit()?;
        } else if version != schema::VERSION {
            return Err(broken("made by another version"));
        }
        let in_flight = ids_in_flight(&db)?;
        Ok(Index { db, in_flight })
    }

    /// Give back the pages that are held to be read again.
    pub(crate) fn rest(&self) {
        // Nothing depends on it: what cannot be freed is kept.
        let _ = self.db.release_memory();
    }

    /// How far the index has read the log.
    pub fn position(&self) -> io::Result<Position> {
        let number = |key| self.number(key);
        let hash: Option<String> = self
            .db
            .query_row("SELECT value FROM state WHERE key = 'log_hash'", [], |row| row.get(0))
            .optional()
            .map_err(fault)?;
        let segment = u32::try_from(number("log_segment")?).unwrap_or(0);
        let hash = hash.and_then(|text| text.parse::<Hash>().ok()).unwrap_or_default();
        Ok(Position {
            at: At { segment, offset: number("log_offset")? },
            head: Head { next: number("log_next")?, hash },
        })
    }

    /// Counts since installation.
    pub fn durable(&self) -> io::Result<Durable> {
        Ok(Durable {
            records_lost: self.number("records_lost")?,
            captures_shed: self.number("captures_shed")?,
            tails_cut: self.number("tails_cut")?,
        })
    }

    /// Records that lie at or behind a place in the log.
    pub fn records_from(&self, at: At) -> io::Result<u64> {
        let sql = "SELECT count(*) FROM exchanges WHERE (log_segment, log_block) >= (?1, ?2)";
        let count =
            self.db.query_row(sql, params![at.segment, signed(at.offset)], |row| row.get::<_, i64>(0));
        Ok(u64::try_from(count.map_err(fault)?).unwrap_or(0))
    }

    /// Keys of the last responses that were billed by id, oldest first. Only so far back as is quickly looked through.
    pub fn delivered(&self) -> io::Result<Vec<i64>> {
        let sql = format!(
            "SELECT response_key FROM exchanges WHERE response_key IS NOT NULL
                AND cursor > (SELECT coalesce(max(cursor), 0) FROM exchanges) - {LOOKED_THROUGH}
             ORDER BY cursor DESC LIMIT {}",
            delivered::REMEMBERED_MAX
        );
        let mut all = self.db.prepare(&sql).map_err(fault)?;
        let keys = all.query_map([], |row| row.get(0)).map_err(fault)?;
        let mut keys: Vec<i64> = keys.collect::<rusqlite::Result<_>>().map_err(fault)?;
        keys.reverse();
        Ok(keys)
    }

    /// Exchanges that were opened and not closed, and where what is stored of their bodies lies.
    pub fn left_open(&self) -> io::Result<Vec<(Open, Bodies)>> {
        let mut all = self.db.prepare("SELECT open, bodies FROM in_flight ORDER BY at").map_err(fault)?;
        let rows = all
            .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))
            .map_err(fault)?;
        let mut left = Vec::new();
        for row in rows {
            let (open, bodies) = row.map_err(fault)?;
            left.push((serde_json::from_str(&open)?, serde_json::from_str(&bodies)?));
        }
        Ok(left)
    }

    /// Apply what the log said up to `position`: all of it or, on an error, nothing. Returns the cursors of what closed.
    pub fn apply(&mut self, items: &[Item], position: Position) -> io::Result<Vec<i64>> {
        self.try_apply(items, position).map_err(fault)
    }

    fn try_apply(&mut self, items: &[Item], position: Position) -> rusqlite::Result<Vec<i64>> {
        let tx = self.db.transaction()?;
        let mut sums = Sums::default();
        let mut cursors = Vec::new();
        // Looked up once a batch: finding a statement by its text costs as much as a good part of running it.
        let mut exchange = tx.prepare_cached(&INSERT_EXCHANGE)?;
        for item in items {
            match item {
                Item::Open(open) => {
                    insert_open(&tx, open)?;
                    self.in_flight.insert(open.id);
                }
                Item::Body(body) => extend_bodies(&tx, body)?,
                Item::Close(entry, place) => {
                    let cursor = insert_exchange(&tx, &mut exchange, entry, *place)?;
                    if self.in_flight.contains(&entry.id) {
                        delete_open(&tx, &entry.row.id)?;
                    }
                    insert_tools(&tx, &entry.calls, cursor)?;
                    insert_runs(&tx, &entry.runs, cursor)?;
                    insert_objects(&tx, entry)?;
                    sums.add(entry);
                    cursors.push(cursor);
                }
                Item::Lost(loss) => add_losses(&tx, loss)?,
            }
        }
        drop(exchange);
        sums.write(&tx)?;
        write_position(&tx, position)?;
        tx.commit()?;
        // Not before: what was rolled back is still there.
        for item in items {
            if let Item::Close(entry, _) = item {
                self.in_flight.remove(&entry.id);
            }
        }
        Ok(cursors)
    }

    /// Fail at once where another process holds the index, instead of after a while.
    #[cfg(test)]
    pub(in crate::record) fn do_not_wait(&self) {
        self.db.busy_timeout(std::time::Duration::ZERO).unwrap();
    }

    fn number(&self, key: &str) -> io::Result<u64> {
        state_number(&self.db, key).map_err(fault)
    }
}

/// A number of the `state` table, zero where there is none.
pub(super) fn state_number(db: &Connection, key: &str) -> rusqlite::Result<u64> {
    let mut one = db.prepare_cached("SELECT value FROM state WHERE key = ?1")?;
    let value: Option<i64> = one.query_row([key], |row| row.get(0)).optional()?;
    Ok(value.and_then(|value| u64::try_from(value).ok()).unwrap_or(0))
}

fn ids_in_flight(db: &Connection) -> rusqlite::Result<HashSet<ExchangeId>> {
    let mut all = db.prepare("SELECT id FROM in_flight")?;
    let ids = all.query_map([], |row| row.get::<_, String>(0))?;
    ids.filter_map(|id| id.map(|id| id.parse().ok()).transpose()).collect()
}

static INSERT_EXCHANGE: LazyLock<String> = LazyLock::new(insert_exchange_sql);

/// Returns the row's cursor.
fn insert_exchange(
    tx: &Transaction,
    insert: &mut CachedStatement,
    entry: &Entry,
    place: LinePlace,
) -> rusqlite::Result<i64> {
    let row = &entry.row;
    let tokens = tokens_of(&row.usage);
    let mut binder = Binder::new(insert);
    binder.text(&row.id)?;
    binder.number(row.accepted_at_us)?;
    binder.number(row.duration_us)?;
    binder.maybe(row.first_byte_us)?;
    binder.number(row.own_us)?;
    for text in [&row.principal, &row.agent, &row.agent_version, &row.session] {
        binder.text(text)?;
    }
    binder.number(u64::from(row.turn))?;
    binder.text(&row.provider)?;
    binder.maybe(row.dialect.as_deref())?;
    binder.text(&row.method)?;
    binder.text(&row.path)?;
    binder.maybe(row.model_asked.as_deref())?;
    binder.maybe(row.model.as_deref())?;
    binder.number(u64::from(row.status))?;
    binder.text(row.outcome.name())?;
    binder.maybe(row.fault.as_deref())?;
    binder.maybe(row.stop_reason.as_deref())?;
    for number in [row.tool_calls, row.request_bytes, row.response_bytes, u64::from(entry.usage_missing)] {
        binder.number(number)?;
    }
    binder.text(&row.rate)?;
    binder.maybe(row.reported_cost_nanodollars.and_then(|cost| u64::try_from(cost).ok()))?;
    binder.maybe(entry.response_key)?;
    for count in tokens {
        binder.maybe(count)?;
    }
    for number in [u64::from(place.segment), place.block, u64::from(place.at), u64::from(place.len)] {
        binder.number(number)?;
    }
    insert.raw_execute()?;
    Ok(tx.last_insert_rowid())
}

fn delete_open(tx: &Transaction, id: &str) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM in_flight WHERE id = ?1")?.execute([id]).map(|_| ())
}

fn insert_exchange_sql() -> String {
    let tokens = TOKENS.join(", ");
    let marks = vec!["?"; 27 + TOKENS.len() + 4].join(", ");
    format!(
        "INSERT INTO exchanges (id, at, duration_us, first_byte_us, own_us, principal, agent, agent_version, session,
            turn, provider, dialect, method, path, model_asked, model, status, outcome, fault, stop_reason, tool_calls,
            request_bytes, response_bytes, usage_unknown, rate, reported_cost, response_key, {tokens}, log_segment, log_block, log_at, log_len)
         VALUES ({marks})"
    )
}

/// Who was first stays: an id that somebody else has made is not taken over.
fn insert_objects(tx: &Transaction, entry: &Entry) -> rusqlite::Result<()> {
    let Entry { made, row, .. } = entry;
    for id in &made.ids {
        tx.prepare_cached("INSERT OR IGNORE INTO objects (id, owner, provider, at) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![id, made.owner, row.provider, signed(row.accepted_at_us)])?;
    }
    Ok(())
}

fn insert_tools(tx: &Transaction, calls: &[Call], exchange: i64) -> rusqlite::Result<()> {
    for (place, call) in calls.iter().enumerate() {
        let first = !calls[..place].iter().any(|earlier| earlier.name == call.name);
        tx.prepare_cached(
            "INSERT INTO tools (exchange, place, name, kind, call_id, first) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![exchange, signed(place as u64), call.name, call.kind, call.id, first])?;
    }
    Ok(())
}

fn insert_runs(tx: &Transaction, runs: &[Run], exchange: i64) -> rusqlite::Result<()> {
    static SQL: LazyLock<String> = LazyLock::new(|| {
        let marks = vec!["?"; 4 + TOKENS.len()].join(", ");
        format!("INSERT INTO runs (exchange, place, model, rate, {}) VALUES ({marks})", TOKENS.join(", "))
    });
    for (place, run) in runs.iter().enumerate() {
        let mut insert = tx.prepare_cached(&SQL)?;
        let mut binder = Binder::new(&mut insert);
        binder.number(u64::try_from(exchange).unwrap_or(0))?;
        binder.number(place as u64)?;
        binder.text(&run.model)?;
        binder.text(&run.rate)?;
        for count in tokens_of(&run.usage) {
            binder.maybe(count)?;
        }
        insert.raw_execute()?;
    }
    Ok(())
}

fn insert_open(tx: &Transaction, open: &Open) -> rusqlite::Result<()> {
    let text = serde_json::to_string(open).map_err(|e| broken(&e.to_string()))?;
    tx.prepare_cached("INSERT OR REPLACE INTO in_flight (id, at, open, bodies) VALUES (?1, ?2, ?3, '{}')")?
        .execute(params![open.id.to_string(), signed(open.accepted_at_us), text])?;
    Ok(())
}

fn extend_bodies(tx: &Transaction, body: &BodyStored) -> rusqlite::Result<()> {
    let id = body.id.to_string();
    let mut find = tx.prepare_cached("SELECT bodies FROM in_flight WHERE id = ?1")?;
    let Some(text) = find.query_row([&id], |row| row.get::<_, String>(0)).optional()? else { return Ok(()) };
    let mut bodies: Bodies = serde_json::from_str(&text).unwrap_or_default();
    for span in &body.spans {
        add_span(bodies.of_mut(body.kind), *span);
    }
    let text = serde_json::to_string(&bodies).map_err(|e| broken(&e.to_string()))?;
    tx.prepare_cached("UPDATE in_flight SET bodies = ?2 WHERE id = ?1")?.execute([&id, &text])?;
    Ok(())
}

fn add_losses(tx: &Transaction, loss: &Loss) -> rusqlite::Result<()> {
    let counts = [
        ("records_lost", loss.records),
        ("captures_shed", loss.parts),
        ("opens_dropped", loss.opens),
        ("tails_cut", loss.tails_cut),
    ];
    for (key, by) in counts {
        tx.prepare_cached(
            "INSERT INTO state (key, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = value + excluded.value",
        )?
        .execute(params![key, signed(by)])?;
    }
    Ok(())
}

fn write_position(tx: &Transaction, position: Position) -> rusqlite::Result<()> {
    let mut put = tx.prepare_cached("INSERT OR REPLACE INTO state (key, value) VALUES (?1, ?2)")?;
    put.execute(params!["log_segment", position.at.segment])?;
    put.execute(params!["log_offset", signed(position.at.offset)])?;
    put.execute(params!["log_next", signed(position.head.next)])?;
    put.execute(params!["log_hash", position.head.hash.to_string()])?;
    Ok(())
}

/// Token counts in the order of [`TOKENS`], held below what could overflow a sum.
pub(super) fn tokens_of(usage: &Usage) -> [Option<u64>; TOKENS.len()] {
    [
        usage.input_tokens,
        usage.uncached_input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.cache_write_5m_tokens,
        usage.cache_write_1h_tokens,
        usage.reasoning_tokens,
        usage.audio_input_tokens,
        usage.audio_output_tokens,
        usage.tool_use_prompt_tokens,
        usage.cache_read_audio_tokens,
        usage.image_input_tokens,
        usage.image_output_tokens,
        usage.web_searches,
        usage.file_searches,
        usage.audio_seconds,
    ]
    .map(|count| count.map(|count| count.min(TOKENS_MAX)))
}

/// SQLite's integers are signed; what a provider claims beyond that is held at the top rather than wrapped.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn broken(why: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
        Some(why.to_owned()),
    )
}

fn is_broken(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}
