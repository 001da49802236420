//! Index and reader of the account.
//!
//! The record log is the truth; the index is derived from it, and [`rebuild`] makes it again. Readers see what has
//! been indexed, a moment behind what is durable.
//!
//! Invariant of absence: nothing here writes to a segment.

mod billing;
mod cost;
pub mod entry;
pub mod index;
pub mod log;
mod query;
pub mod rows;
mod schema;
mod sums;
pub mod verify;

use std::cell::RefCell;
use std::io;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::files::{At, Layout, explain};
use super::line::Line;
use super::prices;
use super::record::BodyKind;
use crate::base::clock::Wall;
use crate::llm::price::Pricer;
use index::{Index, LinePlace};
use log::{Blocks, CaughtUp};
pub use rows::{
    Cost, Filter, GroupBy, InFlightRow, Overview, RequestRow, SessionRow, Shown, ToolRow, UsageRow, Worth,
};

/// Crossing 4: a read-only view of a data folder, from any thread or process, while the gateway runs or not.
pub struct Reader {
    db: Connection,
    blocks: RefCell<Blocks>,
    prices: Pricer,
}

impl Reader {
    /// Open the store in `dir`. Never creates anything.
    pub fn open(dir: &Path) -> io::Result<Reader> {
        let layout = Layout::of(dir);
        let path = layout.index();
        if !path.exists() {
            let text = format!(
                "no store in {}: start a gateway with --data there, or name another folder",
                dir.display()
            );
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        let db = open_index(&path).map_err(|e| explain(fault(e), "cannot open", &path))?;
        let prices = Pricer::of(prices::read(dir)?);
        Ok(Reader { db, blocks: RefCell::new(Blocks::new(&layout)?), prices })
    }

    /// Usage, added up by `group_by`; biggest groups first, times in order.
    pub fn usage(&self, filter: &Filter, group_by: GroupBy) -> io::Result<Vec<UsageRow>> {
        let mut rows = query::usage(&self.db, filter, group_by).map_err(fault)?;
        cost::of_usage(&self.db, &self.prices, filter, group_by, &mut rows).map_err(fault)?;
        Ok(rows)
    }

    /// Exchanges, newest first; `before` is the cursor of the last row already seen.
    pub fn requests(&self, filter: &Filter, limit: u32, before: Option<i64>) -> io::Result<Vec<RequestRow>> {
        let mut rows = query::requests(&self.db, filter, limit, before).map_err(fault)?;
        cost::of_requests(&self.db, &self.prices, &mut rows).map_err(fault)?;
        Ok(rows)
    }

    /// Exchanges closed after `cursor`, oldest first. `None` starts at the last `limit`.
    pub fn tail(&self, filter: &Filter, after: Option<i64>, limit: u32) -> io::Result<Vec<RequestRow>> {
        let mut rows = query::tail(&self.db, filter, after, limit).map_err(fault)?;
        cost::of_requests(&self.db, &self.prices, &mut rows).map_err(fault)?;
        Ok(rows)
    }

    /// Exchanges accepted in each minute from `since` on, of one principal or of all: beginning of the minute, count.
    /// Minutes without any are left out.
    pub fn per_minute(&self, principal: Option<&str>, since: Wall) -> io::Result<Vec<(Wall, u64)>> {
        query::per_minute(&self.db, principal, since).map_err(fault)
    }

    /// Sessions, most recently used first.
    pub fn sessions(&self, filter: &Filter, limit: u32) -> io::Result<Vec<SessionRow>> {
        let mut rows = query::sessions(&self.db, filter, limit).map_err(fault)?;
        cost::of_sessions(&self.db, &self.prices, &mut rows).map_err(fault)?;
        Ok(rows)
    }

    /// Tools, most called first.
    pub fn tools(&self, filter: &Filter, limit: u32) -> io::Result<Vec<ToolRow>> {
        query::tools(&self.db, filter, limit).map_err(fault)
    }

    /// One exchange with its bodies, or `None` when there is no such record.
    pub fn show(&self, id: &str) -> io::Result<Option<Shown>> {
        let Some(place) = self.place_of(&id.to_ascii_lowercase()).map_err(fault)? else { return Ok(None) };
        let mut blocks = self.blocks.borrow_mut();
        let Line::Close(closed) = blocks.line(place)? else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the index points at another line; rebuild it",
            ));
        };
        let mut body = |kind| match closed.bodies.of(kind) {
            [] => Ok(None),
            spans => blocks.body(spans).map(Some),
        };
        let (request_body, response_body) = (body(BodyKind::Request)?, body(BodyKind::Response)?);
        let worth = cost::of_record(&self.prices, &closed.record).into();
        Ok(Some(Shown { record: closed.record, worth, request_body, response_body }))
    }

    /// Owner and provider of a provider-side object.
    pub fn object(&self, id: &str) -> io::Result<Option<(String, String)>> {
        let sql = "SELECT owner, provider FROM objects WHERE id = ?1";
        let found = self.db.query_row(sql, [id], |row| Ok((row.get(0)?, row.get(1)?)));
        match found {
            Ok(both) => Ok(Some(both)),
            Err(rusqlite::Error::QueryReturnedNoRows) => Ok(None),
            Err(why) => Err(fault(why)),
        }
    }

    /// Exchanges that have not ended, oldest first.
    pub fn in_flight(&self, limit: u32) -> io::Result<Vec<InFlightRow>> {
        let mut all =
            self.db.prepare_cached("SELECT open FROM in_flight ORDER BY at LIMIT ?1").map_err(fault)?;
        let texts = all.query_map([limit], |row| row.get::<_, String>(0)).map_err(fault)?;
        texts.map(|text| in_flight_row(&text.map_err(fault)?)).collect()
    }

    /// Totals for a front page.
    pub fn overview(&self, filter: &Filter) -> io::Result<Overview> {
        let total = self.usage(filter, GroupBy::Total)?.pop().unwrap_or_default();
        let outcomes = self.usage(filter, GroupBy::Outcome)?;
        let state = |key| index::state_number(&self.db, key).map_err(fault);
        let (since_us, last_at_us) = query::first_and_last(&self.db).map_err(fault)?;
        let in_flight = self.db.query_row("SELECT count(*) FROM in_flight", [], |row| row.get::<_, u32>(0));
        Ok(Overview {
            total,
            outcomes,
            principals: query::count_principals(&self.db, filter).map_err(fault)?,
            sessions: query::count_sessions(&self.db, filter).map_err(fault)?,
            in_flight: u64::from(in_flight.map_err(fault)?),
            records_lost: state("records_lost")?,
            captures_shed: state("captures_shed")?,
            tails_cut: state("tails_cut")?,
            since_us,
            last_at_us,
        })
    }

    fn place_of(&self, id: &str) -> rusqlite::Result<Option<LinePlace>> {
        let sql = "SELECT log_segment, log_block, log_at, log_len FROM exchanges WHERE id = ?1 ORDER BY cursor DESC";
        let mut one = self.db.prepare_cached(sql)?;
        one.query_row([id], |row| {
            let block = u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0);
            Ok(LinePlace { segment: row.get(0)?, block, at: row.get(2)?, len: row.get(3)? })
        })
        .optional()
    }
}

/// Make the index again from the record log. The gateway must not be running: the store lock is taken.
pub fn rebuild(dir: &Path) -> io::Result<CaughtUp> {
    let layout = Layout::of(dir);
    let _lock = layout.take_lock()?;
    Index::discard(&layout)?;
    let mut index = Index::open(&layout)?;
    log::catch_up(&layout, &mut index, At { segment: u32::MAX, offset: 0 })
}

/// Read-only, also where the folder itself cannot be written to.
fn open_index(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let plain = Connection::open_with_flags(path, flags).and_then(|db| {
        db.busy_timeout(std::time::Duration::from_secs(5))?;
        // The first look decides whether the write-ahead log can be opened.
        db.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))?;
        Ok(db)
    });
    plain.or_else(|error| {
        // A store on a read-only disk: nobody writes to it, so it may be read as it stands.
        let writable =
            path.parent().is_some_and(|dir| rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).is_ok());
        if writable {
            return Err(error);
        }
        let uri = format!(
            "file:{}?immutable=1",
            path.display().to_string().replace('%', "%25").replace('?', "%3f")
        );
        Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)
    })
}

fn in_flight_row(text: &str) -> io::Result<InFlightRow> {
    let open: super::record::Open = serde_json::from_str(text)?;
    Ok(InFlightRow {
        id: open.id.to_string(),
        accepted_at_us: open.accepted_at_us,
        principal: open.who.principal,
        agent: open.caller.agent,
        session: open.caller.session,
        model_asked: open.model,
        provider: open.provider,
    })
}

/// An error of the index, with the kind that tells a full disk from a broken file.
fn fault(error: rusqlite::Error) -> io::Error {
    use rusqlite::ErrorCode;
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => io::ErrorKind::StorageFull,
        Some(ErrorCode::ReadOnly) => io::ErrorKind::ReadOnlyFilesystem,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => io::ErrorKind::ResourceBusy,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, format!("index: {error}"))
}

#[cfg(test)]
mod tests;
