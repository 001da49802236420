//! `weir verify`: prove that nothing was lost, changed or removed, or say what was.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use super::table::{count, write_json_line};
use crate::record::store::verify::{ChainReport, VerifyReport, verify};

/// Walk the store: checksums, sequence gaps, the hash chain, torn tails, and the index against the log.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  weir verify                    the store in ./weir-data
  weir verify /var/lib/weir      another one
  weir verify --json             for a program

Exit code 0: everything is there, or no more than a torn tail that the next start cuts. 1: something is damaged or
missing. Keep the printed heads elsewhere: with them a later run proves that nothing before them was rewritten.")]
pub struct VerifyArgs {
    /// Data folder of the gateway.
    #[arg(value_name = "DIR", default_value = "./weir-data")]
    pub dir: PathBuf,
    /// The same, as the other commands have it.
    #[arg(long, value_name = "DIR", conflicts_with = "dir")]
    pub data: Option<PathBuf>,
    /// The report as one JSON object.
    #[arg(long)]
    pub json: bool,
}

impl VerifyArgs {
    /// Walk and print. Returns whether the store is whole.
    pub fn run(&self, out: &mut dyn Write) -> io::Result<bool> {
        let report = verify(self.data.as_ref().unwrap_or(&self.dir))?;
        if self.json {
            write_json_line(&report, out)?;
        } else {
            write_text(&report, out)?;
        }
        Ok(report.is_clean())
    }
}

fn write_text(report: &VerifyReport, out: &mut dyn Write) -> io::Result<()> {
    write_chain("record log", &report.log, out)?;
    write_chain("content", &report.content, out)?;
    writeln!(
        out,
        "records      {}; lost since installation: {}",
        count(report.records),
        count(report.records_lost)
    )?;
    match report.indexed {
        Some(indexed) => {
            writeln!(out, "index        {} ({} behind)", count(indexed), count(report.index_behind))?
        }
        None => writeln!(out, "index        none; a gateway makes it again at its next start")?,
    }
    for finding in &report.findings {
        let place = if finding.file.is_empty() {
            String::new()
        } else {
            format!("{} at {}: ", finding.file, finding.at)
        };
        writeln!(out, "{:<12} {place}{}", finding.what.to_uppercase(), finding.detail)?;
    }
    writeln!(out, "{}", if report.is_clean() { "whole" } else { "NOT WHOLE" })
}

fn write_chain(name: &str, chain: &ChainReport, out: &mut dyn Write) -> io::Result<()> {
    let (segments, blocks) = (count(chain.segments), count(chain.blocks));
    let (stored, raw) = (count(chain.bytes_stored), count(chain.bytes_raw));
    writeln!(
        out,
        "{name:<12} {segments} segments, {blocks} blocks, {stored} bytes ({raw} before compression)"
    )?;
    let (Some(first), Some(last), Some(head)) = (chain.first, chain.last, &chain.head) else { return Ok(()) };
    writeln!(out, "{:<12} blocks {first} to {last}, head {head}", "")
}

#[cfg(test)]
mod tests {
    use super::super::source::sample::{printed, store};
    use super::*;

    #[test]
    fn a_whole_store_and_a_damaged_one() {
        let dir = store();
        let args = VerifyArgs { dir: dir.path().to_owned(), data: None, json: false };
        let text = printed(|out| assert!(args.run(out).unwrap()));
        assert!(
            text.contains("records      3; lost since installation: 0") && text.ends_with("whole\n"),
            "{text}"
        );
        let log = dir.path().join("log/00000001.seg");
        let mut bytes = std::fs::read(&log).unwrap();
        bytes[100] ^= 1;
        std::fs::write(&log, bytes).unwrap();
        let text = printed(|out| assert!(!args.run(out).unwrap()));
        assert!(text.ends_with("NOT WHOLE\n"), "{text}");
        let json = printed(|out| assert!(!VerifyArgs { json: true, ..args.clone() }.run(out).unwrap()));
        assert!(json.contains(r#""findings":[{"what":""#), "{json}");
        let by_flag = VerifyArgs { dir: "nowhere".into(), data: Some(args.dir.clone()), json: false };
        assert_eq!(printed(|out| assert!(!by_flag.run(out).unwrap())), text);
    }
}
