//! How the writer is doing, for everybody to read: atomics only, written by the writer alone.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU64, Ordering::Relaxed};

use serde::Serialize;

/// The live state of the writer. Each cell has one writer; a reader may see a moment between two of them.
#[derive(Debug, Default)]
pub struct WriterHealth {
    /// Records lost since installation (durable, plus what is not yet written down).
    pub lost_total: AtomicU64,
    /// Parts of bodies shed since installation.
    pub shed_total: AtomicU64,
    /// Torn tails cut since installation.
    pub tails_cut_total: AtomicU64,
    /// Batches made durable since start.
    pub batches: AtomicU64,
    /// Records made durable since start.
    pub records: AtomicU64,
    /// Bytes before compression since start.
    pub bytes_raw: AtomicU64,
    /// Bytes written to segments since start.
    pub bytes_stored: AtomicU64,
    /// Exchanges opened and not closed, as far as the writer has read.
    pub open: AtomicU64,
    /// Age of the oldest note that is taken and not yet durable, in microseconds.
    pub lag_us: AtomicU64,
    /// Blocks of the log that the index has not seen.
    pub index_behind: AtomicU64,
    /// Whether the last attempt to write failed.
    pub failing: AtomicBool,
    /// Failed attempts since start.
    pub failures: AtomicU64,
    error_place: AtomicU8,
    error_os: AtomicI32,
}

/// Where writing failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Place {
    /// The record log.
    Log = 1,
    /// The content segments.
    Content = 2,
    /// The index.
    Index = 3,
    /// Balances of quotas.
    Balances = 4,
}

impl WriterHealth {
    /// A plain copy for a page.
    #[must_use]
    pub fn view(&self) -> HealthView {
        HealthView {
            lost_total: self.lost_total.load(Relaxed),
            shed_total: self.shed_total.load(Relaxed),
            tails_cut_total: self.tails_cut_total.load(Relaxed),
            batches: self.batches.load(Relaxed),
            records: self.records.load(Relaxed),
            bytes_raw: self.bytes_raw.load(Relaxed),
            bytes_stored: self.bytes_stored.load(Relaxed),
            open: self.open.load(Relaxed),
            lag_us: self.lag_us.load(Relaxed),
            index_behind: self.index_behind.load(Relaxed),
            failing: self.failing.load(Relaxed),
            failures: self.failures.load(Relaxed),
            last_error: self.last_error(),
        }
    }

    /// The last failure, in words; stays after recovery, [`WriterHealth::failing`] says whether it lasts.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        let place = match self.error_place.load(Relaxed) {
            1 => Place::Log,
            2 => Place::Content,
            3 => Place::Index,
            4 => Place::Balances,
            _ => return None,
        };
        let os = self.error_os.load(Relaxed);
        let cause =
            if os == 0 { "no system error".to_owned() } else { io::Error::from_raw_os_error(os).to_string() };
        Some(format!("writing the {place} failed: {cause}"))
    }

    pub(crate) fn note_failure(&self, place: Place, error: &io::Error) {
        self.failing.store(true, Relaxed);
        self.failures.fetch_add(1, Relaxed);
        self.error_os.store(error.raw_os_error().unwrap_or_else(|| errno_of(error.kind())), Relaxed);
        self.error_place.store(place as u8, Relaxed);
    }
}

/// The system's number for a kind of error that came without one, as the index's do.
fn errno_of(kind: io::ErrorKind) -> i32 {
    use rustix::io::Errno;
    match kind {
        io::ErrorKind::StorageFull => Errno::NOSPC,
        io::ErrorKind::ReadOnlyFilesystem => Errno::ROFS,
        io::ErrorKind::ResourceBusy => Errno::BUSY,
        io::ErrorKind::PermissionDenied => Errno::ACCESS,
        _ => Errno::IO,
    }
    .raw_os_error()
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Place::Log => "record log",
            Place::Content => "content segments",
            Place::Index => "index",
            Place::Balances => "balances of quotas",
        })
    }
}

/// [`WriterHealth`] at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HealthView {
    pub lost_total: u64,
    pub shed_total: u64,
    pub tails_cut_total: u64,
    pub batches: u64,
    pub records: u64,
    pub bytes_raw: u64,
    pub bytes_stored: u64,
    pub open: u64,
    pub lag_us: u64,
    pub index_behind: u64,
    pub failing: bool,
    pub failures: u64,
    pub last_error: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_in_words() {
        let health = WriterHealth::default();
        assert_eq!(health.last_error(), None);
        health.note_failure(Place::Content, &io::ErrorKind::StorageFull.into());
        let said = health.last_error().unwrap();
        assert!(said.starts_with("writing the content segments failed: No space left"), "{said}");
        assert!(health.view().failing);
    }
}
