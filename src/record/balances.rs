//! Balances of quotas: durable rows of their own, since no log could make them again.
//!
//! ```text
//!   notes of a batch ── names of buckets ──▶ due ── before the batch is written ──▶ state.db, one transaction, synced
//!   command (refill) ── name, and who waits ─┘
//! ```
//!
//! What is written is what the bucket holds at that moment, reservations apart, so a row may be newer than the batch and
//! never older. After a crash whatever was reserved is charged: it may have been spent.
//!
//! Deliberately absent: what a balance means. The rows are handed in and out.

use std::collections::HashSet;
use std::io;

use rusqlite::{Connection, OpenFlags, params};
use serde::{Deserialize, Serialize};

use super::files::{Layout, explain};
use super::record::QuotaNote;
use crate::base::clock::{Moment, Wall};

/// A balance as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalanceRow {
    /// Full name of the bucket.
    pub bucket: String,
    /// Its name as configured.
    pub template: String,
    /// What it holds, reservations not taken off; in parts of its unit.
    pub balance: i64,
    /// What is reserved.
    pub reserved: i64,
    /// When it was last refilled, microseconds since the Unix epoch.
    pub refilled: Wall,
}

/// How a bucket stands now; none where it is kept no more.
pub type Look = Box<dyn Fn(&str) -> Option<BalanceRow> + Send>;

/// Crossing 6: a bucket whose balance was changed by hand is to be durable before that is said.
pub struct Command {
    /// Full name of the bucket.
    pub bucket: String,
    /// Told when it is durable.
    pub done: crossbeam_channel::Sender<Result<(), String>>,
}

/// Where commands are put; bounded, so that a writer that is stuck is felt as a refusal.
pub type Commands = crossbeam_channel::Sender<Command>;

/// Commands that may wait.
const COMMANDS_MAX: usize = 64;
/// Pause before rows that could not be written are tried again.
const RETRY_PAUSE: std::time::Duration = std::time::Duration::from_millis(250);

/// Raised with any change of the table; an older one is read as long as its meaning is known.
const VERSION: i64 = 1;

/// The rows, and what of them is to be written. Owned by the writer.
pub(super) struct Balances {
    db: Connection,
    look: Look,
    due: HashSet<String>,
    retry_at: Option<Moment>,
    waiting: Vec<Command>,
    commands: crossbeam_channel::Receiver<Command>,
    door: Commands,
}

impl Balances {
    pub(super) fn open(layout: &Layout) -> io::Result<Balances> {
        let path = layout.state();
        let db = connect(&path).map_err(|why| explain(io::Error::other(why), "cannot open", &path))?;
        let (door, commands) = crossbeam_channel::bounded(COMMANDS_MAX);
        let (due, waiting) = (HashSet::new(), Vec::new());
        Ok(Balances { db, look: Box::new(|_| None), due, retry_at: None, waiting, commands, door })
    }

    /// Every row, as the last run left it.
    pub(super) fn rows(&self) -> io::Result<Vec<BalanceRow>> {
        rows(&self.db).map_err(io::Error::other)
    }

    /// From now on `look` says how a bucket stands. Rows of `gone` are of no more use.
    pub(super) fn keep(&mut self, look: Look, gone: impl IntoIterator<Item = String>) {
        self.look = look;
        self.due.extend(gone);
    }

    pub(super) fn door(&self) -> Commands {
        self.door.clone()
    }

    /// An exchange has drawn on these, or given back.
    pub(super) fn touch(&mut self, notes: &[QuotaNote]) {
        for note in notes {
            if !self.due.contains(&note.bucket) {
                self.due.insert(note.bucket.clone());
            }
        }
    }

    /// Whether something has to be written though no batch is due.
    pub(super) fn is_urgent(&mut self, now: Moment) -> bool {
        self.waiting.extend(self.commands.try_iter());
        for command in &self.waiting {
            self.due.insert(command.bucket.clone());
        }
        !self.waiting.is_empty() || self.retry_at.is_some_and(|at| now >= at)
    }

    /// Write what is due, and tell who waits. What cannot be written stays due.
    pub(super) fn write(&mut self, now: Moment) -> io::Result<()> {
        if self.due.is_empty() {
            return Ok(());
        }
        let written = write(&mut self.db, &self.due, &self.look);
        self.retry_at = written.is_err().then(|| now.plus(RETRY_PAUSE));
        if written.is_ok() {
            self.due.clear();
        }
        for command in self.waiting.drain(..) {
            let told = written.as_ref().copied().map_err(ToString::to_string);
            // Whoever waited may have gone.
            let _ = command.done.try_send(told);
        }
        written.map_err(io::Error::other)
    }
}

fn connect(path: &std::path::Path) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(std::time::Duration::from_secs(5))?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    // Unlike the index, nothing can make these rows again: each transaction is on the disk before it counts.
    db.pragma_update(None, "synchronous", "FULL")?;
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version == 0 {
        db.execute_batch(&format!(
            "CREATE TABLE quota_balances (
                bucket TEXT PRIMARY KEY, template TEXT NOT NULL, balance INTEGER NOT NULL, reserved INTEGER NOT NULL,
                refilled INTEGER NOT NULL
            ) STRICT, WITHOUT ROWID;
            PRAGMA user_version = {VERSION};"
        ))?;
    }
    Ok(db)
}

fn rows(db: &Connection) -> rusqlite::Result<Vec<BalanceRow>> {
    let mut all = db.prepare("SELECT bucket, template, balance, reserved, refilled FROM quota_balances")?;
    let rows = all.query_map([], |row| {
        Ok(BalanceRow {
            bucket: row.get(0)?,
            template: row.get(1)?,
            balance: row.get(2)?,
            reserved: row.get(3)?,
            refilled: u64::try_from(row.get::<_, i64>(4)?).unwrap_or(0),
        })
    })?;
    rows.collect()
}

fn write(db: &mut Connection, due: &HashSet<String>, look: &Look) -> rusqlite::Result<()> {
    let tx = db.transaction()?;
    for bucket in due {
        match look(bucket) {
            Some(row) => tx
                .prepare_cached(
                    "INSERT OR REPLACE INTO quota_balances (bucket, template, balance, reserved, refilled)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![
                    row.bucket,
                    row.template,
                    row.balance,
                    row.reserved,
                    i64::try_from(row.refilled).unwrap_or(i64::MAX)
                ])?,
            None => tx.prepare_cached("DELETE FROM quota_balances WHERE bucket = ?1")?.execute([bucket])?,
        };
    }
    tx.commit()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;
    use crate::base::clock;

    fn note(bucket: &str) -> QuotaNote {
        QuotaNote { bucket: bucket.into(), ..QuotaNote::default() }
    }

    #[test]
    fn rows_follow_what_is_touched_and_go_when_nobody_keeps_them() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::of(folder.path());
        let holds = Arc::new(AtomicI64::new(70));
        let look = |holds: &Arc<AtomicI64>| -> Look {
            let holds = Arc::clone(holds);
            Box::new(move |bucket| {
                let (balance, reserved) = (holds.load(Ordering::Relaxed), 5);
                let row = BalanceRow {
                    bucket: bucket.into(),
                    balance,
                    reserved,
                    refilled: 9,
                    ..BalanceRow::default()
                };
                (balance > 0).then_some(row)
            })
        };
        let mut balances = Balances::open(&layout).unwrap();
        balances.keep(look(&holds), []);
        balances.touch(&[note("a"), note("b"), note("a")]);
        balances.write(clock::now()).unwrap();
        assert_eq!(balances.rows().unwrap().len(), 2);
        drop(balances);

        let mut balances = Balances::open(&layout).unwrap();
        let kept = balances.rows().unwrap();
        assert_eq!(
            (kept[0].bucket.as_str(), kept[0].balance, kept[0].reserved, kept[0].refilled),
            ("a", 70, 5, 9)
        );
        holds.store(0, Ordering::Relaxed);
        balances.keep(look(&holds), ["a".to_owned()]);
        balances.write(clock::now()).unwrap();
        assert_eq!(balances.rows().unwrap().iter().map(|row| &*row.bucket).collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn a_command_is_answered_when_its_row_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut balances = Balances::open(&Layout::of(folder.path())).unwrap();
        balances
            .keep(Box::new(|bucket| Some(BalanceRow { bucket: bucket.into(), ..BalanceRow::default() })), []);
        assert!(!balances.is_urgent(clock::now()));
        let (done, told) = crossbeam_channel::bounded(1);
        balances.door().send(Command { bucket: "a".into(), done }).unwrap();
        assert!(balances.is_urgent(clock::now()));
        assert!(told.try_recv().is_err(), "not before it is durable");
        balances.write(clock::now()).unwrap();
        assert_eq!(told.try_recv(), Ok(Ok(())));
        assert_eq!(balances.rows().unwrap().len(), 1);
    }
}
