//! Index and reader of the account. The index is derived from the record log and can be rebuilt from it.

pub mod rows;

use std::io;
use std::path::Path;

pub use rows::{Filter, GroupBy, InFlightRow, Overview, RequestRow, SessionRow, Shown, ToolRow, UsageRow};

/// Crossing 4: a read-only view of a data folder, from any thread or process, while the gateway runs or not.
pub struct Reader {}

impl Reader {
    /// Open the store in `dir`. Never creates anything.
    pub fn open(_dir: &Path) -> io::Result<Reader> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Usage, added up by `group_by`; biggest groups first, times in order.
    pub fn usage(&self, _filter: &Filter, _group_by: GroupBy) -> io::Result<Vec<UsageRow>> {
        Ok(Vec::new())
    }

    /// Exchanges, newest first; `before` is the cursor of the last row already seen.
    pub fn requests(
        &self,
        _filter: &Filter,
        _limit: u32,
        _before: Option<i64>,
    ) -> io::Result<Vec<RequestRow>> {
        Ok(Vec::new())
    }

    /// Exchanges closed after `cursor`, oldest first. `None` starts at the last `limit`.
    pub fn tail(&self, _filter: &Filter, _after: Option<i64>, _limit: u32) -> io::Result<Vec<RequestRow>> {
        Ok(Vec::new())
    }

    /// Sessions, most recently used first.
    pub fn sessions(&self, _filter: &Filter, _limit: u32) -> io::Result<Vec<SessionRow>> {
        Ok(Vec::new())
    }

    /// Tools, most called first.
    pub fn tools(&self, _filter: &Filter, _limit: u32) -> io::Result<Vec<ToolRow>> {
        Ok(Vec::new())
    }

    /// One exchange with its bodies, or `None` when there is no such record.
    pub fn show(&self, _id: &str) -> io::Result<Option<Shown>> {
        Ok(None)
    }

    /// Exchanges that have not ended, oldest first.
    pub fn in_flight(&self, _limit: u32) -> io::Result<Vec<InFlightRow>> {
        Ok(Vec::new())
    }

    /// Totals for a front page.
    pub fn overview(&self, _filter: &Filter) -> io::Result<Overview> {
        Ok(Overview::default())
    }
}
