//! The audit log: a JSON line for each look at others' records and for each change by hand, on disk before it happens.
//!
//! Appended to, synced line by line, never rewritten: by the gateway, and by commands that work on its folder.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::base::clock;

/// Name of the file in the data folder.
pub const FILE_NAME: &str = "audit.log";

/// The log, open.
#[derive(Clone)]
pub struct AuditLog {
    file: Arc<File>,
    path: PathBuf,
}

#[derive(Serialize)]
struct Line<'a, L> {
    at: String,
    at_us: u64,
    viewer: &'a str,
    through: &'a str,
    look: &'a L,
}

impl AuditLog {
    /// That of a data folder; made where there is none yet, for its owner alone.
    pub fn open(data: &Path) -> io::Result<AuditLog> {
        let path = data.join(FILE_NAME);
        let file = File::options().append(true).create(true).mode(0o600).open(&path);
        let file = file.map_err(|why| io::Error::new(why.kind(), format!("{}: {why}", path.display())))?;
        Ok(AuditLog { file: Arc::new(file), path })
    }

    /// Write down what `viewer`, who came `through` a link, a socket, a grant or a command, is about to do.
    pub fn append(&self, viewer: &str, through: &str, look: &impl Serialize) -> io::Result<()> {
        let at_us = clock::wall();
        let at =
            jiff::Timestamp::from_microsecond(i64::try_from(at_us).unwrap_or(i64::MAX)).unwrap_or_default();
        let mut text = serde_json::to_vec(&Line { at: at.to_string(), at_us, viewer, through, look })?;
        text.push(b'\n');
        // One write of a file opened for appending: lines of two looks never mix.
        (&*self.file).write_all(&text)?;
        self.file
            .sync_data()
            .map_err(|why| io::Error::new(why.kind(), format!("{}: {why}", self.path.display())))
    }
}
