//! `weir link`: another one-time link to the dashboard as admin.

use std::io::{self, Write};

use clap::Args;
use serde_json::json;

use super::socket::Socket;
use super::source::DataArgs;
use super::table::write_json_line;

/// A link that makes its first visitor admin for twelve hours.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  weir link                          http://127.0.0.1:8080/ui?admin=…, good once, within a day
  weir link --data /var/lib/weir     of the gateway over that folder

The gateway must run, and you must be its user or root.")]
pub struct LinkArgs {
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub data: DataArgs,
}

impl LinkArgs {
    /// Ask the gateway and print.
    pub fn run(&self, out: &mut dyn Write) -> io::Result<()> {
        let dir = &self.data.data;
        let socket = Socket::open(dir).ok_or_else(|| {
            let text = format!("no gateway answers in {}: start one with `weir serve --data`", dir.display());
            io::Error::new(io::ErrorKind::NotFound, text)
        })?;
        let url = socket.link()?;
        if self.json { write_json_line(&json!({ "url": url }), out) } else { writeln!(out, "{url}") }
    }
}
