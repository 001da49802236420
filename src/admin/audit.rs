//! Who looked at whose records: one JSON line, on disk before the look. No line, no look.

use std::io;
use std::path::Path;

use serde::Serialize;

use super::door::Viewer;
use super::reply::Problem;
use crate::record::audit::AuditLog;
use crate::record::store::Filter;

/// The audit log, for pages.
pub(super) struct Audit(AuditLog);

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
    /// The configuration.
    Config {
        /// `read`, `validate` or `write`.
        action: &'static str,
        /// Tag of what was written; empty otherwise.
        tag: String,
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

impl Audit {
    pub(super) fn open(data: &Path) -> io::Result<Audit> {
        AuditLog::open(data).map(Audit)
    }

    /// Write down that `viewer` is about to look. Users see only what is theirs: nothing to write.
    pub(super) async fn note(&self, viewer: &Viewer, look: Look) -> Result<(), Problem> {
        let Some(through) = viewer.through() else { return Ok(()) };
        if look.is_own(viewer.name()) {
            return Ok(());
        }
        let (log, name) = (self.0.clone(), viewer.name().to_owned());
        let written = tokio::task::spawn_blocking(move || log.append(&name, through, &look)).await;
        written.map_err(io::Error::other).flatten().map_err(|why| {
            Problem::new(503, "the look could not be written to the audit log, so it is not granted")
                .detail(why.to_string())
        })
    }
}

impl Look {
    fn is_own(&self, viewer: &str) -> bool {
        match self {
            Look::Exchange { principal, .. } | Look::Explain { principal, .. } => principal == viewer,
            Look::Refill { .. } | Look::Config { .. } => false,
            Look::List { filter, .. } => filter.principal.as_deref() == Some(viewer),
        }
    }
}
