//! Who looked at whose records: one JSON line, on disk before the look. No line, no look.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::door::Viewer;
use super::reply::Problem;
use crate::base::clock;
use crate::record::store::Filter;

/// The audit log. Appended to, synced line by line; never rewritten.
#[derive(Clone)]
pub(super) struct Audit {
    file: Arc<File>,
    path: PathBuf,
}

/// What was looked at.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Look {
    /// One exchange: its record, or one of its bodies.
    Exchange {
        /// Its id.
        id: String,
        /// Whose it is.
        principal: String,
        /// `record`, `request` or `response`.
        part: &'static str,
    },
    /// No look: an amount put into a quota by hand.
    Refill {
        /// Full name of the bucket.
        bucket: String,
        /// In parts of its unit.
        amount: i64,
        /// `dollars` (then the amount is in nanodollars), `tokens`, `requests`.
        unit: &'static str,
    },
    /// What somebody may do, and why.
    Explain {
        /// Who was asked about.
        principal: String,
        /// The model, where one was named.
        model: Option<String>,
    },
    /// A list of exchanges or sessions.
    List {
        /// Which list.
        noun: &'static str,
        /// What it was filtered by.
        filter: Box<Filter>,
    },
}

#[derive(Serialize)]
struct Line {
    at: String,
    at_us: u64,
    viewer: String,
    through: &'static str,
    look: Look,
}

impl Audit {
    pub(super) fn open(data: &Path) -> io::Result<Audit> {
        let path = data.join("audit.log");
        let file = File::options().append(true).create(true).mode(0o600).open(&path);
        let file = file.map_err(|why| io::Error::new(why.kind(), format!("{}: {why}", path.display())))?;
        Ok(Audit { file: Arc::new(file), path })
    }

    /// Write down that `viewer` is about to look. Users see only what is theirs: nothing to write.
    pub(super) async fn note(&self, viewer: &Viewer, look: Look) -> Result<(), Problem> {
        let Some(through) = viewer.through() else { return Ok(()) };
        let name = viewer.name();
        if look.is_own(name) {
            return Ok(());
        }
        let at_us = clock::wall();
        let at =
            jiff::Timestamp::from_microsecond(i64::try_from(at_us).unwrap_or(i64::MAX)).unwrap_or_default();
        let line = Line { at: at.to_string(), at_us, viewer: name.to_owned(), through, look };
        let audit = self.clone();
        let written = tokio::task::spawn_blocking(move || audit.append(&line)).await;
        written.map_err(io::Error::other).flatten().map_err(|why| {
            Problem::new(503, "the look could not be written to the audit log, so it is not granted")
                .detail(why.to_string())
        })
    }

    fn append(&self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        // One write of a file opened for appending: lines of two looks never mix.
        (&*self.file).write_all(&text)?;
        self.file
            .sync_data()
            .map_err(|why| io::Error::new(why.kind(), format!("{}: {why}", self.path.display())))
    }
}

impl Look {
    fn is_own(&self, viewer: &str) -> bool {
        match self {
            Look::Exchange { principal, .. } | Look::Explain { principal, .. } => principal == viewer,
            Look::Refill { .. } => false,
            Look::List { filter, .. } => filter.principal.as_deref() == Some(viewer),
        }
    }
}
