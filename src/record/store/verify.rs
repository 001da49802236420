//! Walk a whole store: checksums, sequence gaps, the hash chain, torn tails, and the index against the log.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;

use rusqlite::Connection;
use serde::Serialize;

use super::index::state_number;
use super::log::lines_of;
use super::{fault, open_index};
use crate::record::files::{At, Layout, explain};
use crate::record::line::{Bodies, Line, Span};
use crate::record::segment::{Decoder, Found, HEADER_BYTES, Hash, Header, Kind, ReadAt, Walk, hash_of};

/// What [`verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// The record log.
    pub log: ChainReport,
    /// The content segments.
    pub content: ChainReport,
    /// Records (lines that close an exchange) in the log.
    pub records: u64,
    /// Lines that could not be read although their block is whole.
    pub unreadable_lines: u64,
    /// Records with a body whose block is not there or is damaged. Segments that retention removed do not count.
    pub bodies_missing: u64,
    /// Exchanges in the index; null when there is no index.
    pub indexed: Option<u64>,
    /// Records of the log that the index has not read yet.
    pub index_behind: u64,
    /// Records lost since installation, as the log itself says.
    pub records_lost: u64,
    /// Everything found, in words.
    pub findings: Vec<Finding>,
}

impl VerifyReport {
    /// Whether nothing is wrong. A torn tail is not: it is what a crash leaves, and the next start cuts it.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.iter().all(|finding| finding.what == "torn tail")
    }
}

/// One chain of segments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ChainReport {
    /// Segments.
    pub segments: u64,
    /// Good blocks.
    pub blocks: u64,
    /// Bytes stored.
    pub bytes_stored: u64,
    /// Bytes before compression.
    pub bytes_raw: u64,
    /// Sequence of the first block that is there: more than 0 where retention removed older ones.
    pub first: Option<u64>,
    /// Sequence of the last block.
    pub last: Option<u64>,
    /// SHA-256 of the last block: whoever keeps it elsewhere can prove later that nothing was changed or removed.
    pub head: Option<String>,
}

/// Something wrong, or a torn tail.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What, in a word or two: `damaged`, `gap`, `chain broken`, `torn tail`, `cut short`, `unreadable`, `index`.
    pub what: String,
    /// File, where there is one.
    pub file: String,
    /// Offset in it.
    pub at: u64,
    /// The rest of the story.
    pub detail: String,
}

/// Walk the store in `dir`. Reads only, and may run beside the gateway: what is written meanwhile is not looked at.
pub fn verify(dir: &Path) -> io::Result<VerifyReport> {
    let layout = Layout::of(dir);
    if layout.numbers(Kind::Log)?.is_empty() && !layout.index().exists() {
        let text = format!("no store in {}", dir.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    // The index first: whatever the log gains from here on is beyond what the index is held against.
    let index = layout.index().exists().then(|| open_index(&layout.index())).transpose().map_err(fault)?;
    let known = index.as_ref().map(Known::read).transpose().map_err(fault)?;
    let mut report = VerifyReport::default();
    let mut content = ContentBlocks::default();
    report.content = walk_chain(&layout, Kind::Content, &mut report.findings, |header, _, at| {
        content.end = At { offset: at.offset + header.block_len(), ..at };
        content.raw_len.insert(at, header.raw_len);
        None
    })?;
    content.first_segment = layout.numbers(Kind::Content)?.first().copied().unwrap_or(0);
    let mut lines = Lines::new(known, content)?;
    report.log = walk_chain(&layout, Kind::Log, &mut report.findings, |header, payload, at| {
        lines.look(header, payload, at)
    })?;
    lines.look_again_at_late_bodies(&layout);
    lines.finish(&mut report);
    Ok(report)
}

/// What the index knows about the log.
#[derive(Clone, Copy, Debug)]
struct Known {
    exchanges: u64,
    next: u64,
}

impl Known {
    fn read(index: &Connection) -> rusqlite::Result<Known> {
        // One transaction: both figures from the same moment.
        index.execute_batch("BEGIN")?;
        let exchanges: i64 = index.query_row("SELECT count(*) FROM exchanges", [], |row| row.get(0))?;
        let next = state_number(index, "log_next")?;
        index.execute_batch("COMMIT")?;
        Ok(Known { exchanges: u64::try_from(exchanges).unwrap_or(0), next })
    }
}

/// Walks the segments of one kind; `look` sees each good block and may object.
fn walk_chain(
    layout: &Layout,
    kind: Kind,
    findings: &mut Vec<Finding>,
    mut look: impl FnMut(&Header, &[u8], At) -> Option<String>,
) -> io::Result<ChainReport> {
    let mut report = ChainReport::default();
    let numbers = layout.numbers(kind)?;
    // Sequence and hash that the next block must continue.
    let mut expected: Option<(u64, Hash)> = None;
    for number in &numbers {
        let path = layout.segment(kind, *number);
        let file_name = path.display().to_string();
        let mut find = |what: &str, at: u64, detail: String| {
            findings.push(Finding { what: what.to_owned(), file: file_name.clone(), at, detail });
        };
        let file = File::open(&path).map_err(|e| explain(e, "cannot read", &path))?;
        report.segments += 1;
        let mut walk = Walk::new(&file)?;
        let mut bad: Option<(u64, u64, String)> = None;
        while let Some((at, found)) = walk.step()? {
            let header = match found {
                Found::Bad { len, flaw } => {
                    let (start, before, _) = bad.take().unwrap_or((at, 0, String::new()));
                    bad = Some((start, before + len, flaw.to_string()));
                    continue;
                }
                Found::Block(header) => header,
            };
            if let Some((start, len, flaw)) = bad.take() {
                let from = expected.map_or(0, |(sequence, _)| sequence);
                find("damaged", start, format!("{len} bytes, blocks {from} to {}: {flaw}", header.sequence));
            } else if let Some((sequence, _)) = expected.filter(|(sequence, _)| header.sequence != *sequence)
            {
                find(
                    "gap",
                    at,
                    format!(
                        "block {} follows where {sequence} should: {}",
                        header.sequence,
                        missing(sequence, header.sequence)
                    ),
                );
            } else if expected.is_some_and(|(_, hash)| hash != header.previous) {
                find(
                    "chain broken",
                    at,
                    format!("block {} does not continue the one before it", header.sequence),
                );
            }
            if let Some(objection) = look(&header, walk.payload(), At { segment: *number, offset: at }) {
                find("unreadable", at, objection);
            }
            let hash = hash_of(&[&header.to_bytes(), walk.payload()]);
            expected = Some((header.sequence + 1, hash));
            report.blocks += 1;
            report.bytes_stored += header.block_len();
            report.bytes_raw += u64::from(header.raw_len);
            report.first = report.first.or(Some(header.sequence));
            report.last = Some(header.sequence);
            report.head = Some(hash.to_string());
        }
        if let Some((start, len, flaw)) = bad {
            let what = if Some(number) == numbers.last() { "torn tail" } else { "damaged" };
            find(what, start, format!("{len} bytes: {flaw}"));
        }
    }
    Ok(report)
}

fn missing(expected: u64, found: u64) -> String {
    match found.checked_sub(expected) {
        Some(1) => "one is missing".to_owned(),
        Some(count) => format!("{count} are missing"),
        None => "blocks are out of order or doubled".to_owned(),
    }
}

/// The content blocks that are there.
#[derive(Default)]
struct ContentBlocks {
    raw_len: HashMap<At, u32>,
    first_segment: u32,
    end: At,
}

impl ContentBlocks {
    fn holds(&self, span: &Span) -> bool {
        let at = At { segment: span.segment, offset: span.block };
        let expired = span.segment < self.first_segment;
        expired || self.raw_len.get(&at).is_some_and(|raw_len| span.at.saturating_add(span.len) <= *raw_len)
    }

    /// Whether the span lies behind what was there when the content was walked.
    fn is_late(&self, span: &Span) -> bool {
        At { segment: span.segment, offset: span.block } >= self.end
    }
}

/// Reads the log's lines while the chain is walked.
struct Lines {
    decoder: Decoder,
    known: Option<Known>,
    records: u64,
    records_known: u64,
    unreadable: u64,
    lost: u64,
    next: u64,
    content: ContentBlocks,
    bodies_missing: u64,
    late: Vec<Span>,
}

impl Lines {
    fn new(known: Option<Known>, content: ContentBlocks) -> io::Result<Lines> {
        Ok(Lines {
            decoder: Decoder::new()?,
            known,
            content,
            records: 0,
            records_known: 0,
            unreadable: 0,
            lost: 0,
            next: 0,
            bodies_missing: 0,
            late: Vec::new(),
        })
    }

    fn look(&mut self, header: &Header, payload: &[u8], at: At) -> Option<String> {
        self.next = header.sequence + 1;
        let raw = match self.decoder.decode(header, payload) {
            Ok(raw) => raw,
            Err(flaw) => return Some(flaw.to_string()),
        };
        let mut unreadable = 0;
        for (_, line) in lines_of(&raw, at.segment, at.offset) {
            match line {
                Some(Line::Close(closed)) => {
                    self.records += 1;
                    self.look_at_bodies(&closed.bodies);
                    let indexed = self.known.is_some_and(|known| header.sequence < known.next);
                    self.records_known += u64::from(indexed);
                }
                Some(Line::Lost(loss)) => self.lost += loss.records,
                Some(_) => {}
                None => unreadable += 1,
            }
        }
        self.unreadable += unreadable;
        (unreadable > 0).then(|| format!("{unreadable} lines cannot be read"))
    }

    fn look_at_bodies(&mut self, bodies: &Bodies) {
        let spans = || bodies.request.iter().chain(&bodies.response);
        let (late, missing): (Vec<Span>, Vec<Span>) =
            spans().filter(|span| !self.content.holds(span)).partition(|span| self.content.is_late(span));
        self.bodies_missing += u64::from(!missing.is_empty());
        self.late.extend(late.first());
    }

    /// Bodies stored after the content was walked, by a gateway that runs beside us: their blocks are there by now.
    fn look_again_at_late_bodies(&mut self, layout: &Layout) {
        self.late.dedup_by_key(|span| (span.segment, span.block));
        let missing = self.late.iter().filter(|span| !block_is_there(layout, span)).count();
        self.bodies_missing += missing as u64;
    }

    fn finish(self, report: &mut VerifyReport) {
        report.records = self.records;
        report.unreadable_lines = self.unreadable;
        report.records_lost = self.lost;
        report.bodies_missing = self.bodies_missing;
        report.indexed = self.known.map(|known| known.exchanges);
        report.index_behind = self.records - self.records_known;
        let mut find = |what: &str, detail: String| {
            report.findings.push(Finding { what: what.to_owned(), detail, ..Finding::default() });
        };
        if self.bodies_missing > 0 {
            find(
                "body missing",
                format!("{} records point at content that is not there", self.bodies_missing),
            );
        }
        let Some(known) = self.known else { return };
        if known.next > self.next {
            let detail =
                format!("the index has read {} blocks, the log ends after {}", known.next, self.next);
            find("cut short", detail);
        } else if known.exchanges != self.records_known {
            let detail =
                format!("{} exchanges, the log has {}; rebuild it", known.exchanges, self.records_known);
            find("index", detail);
        }
    }
}

fn block_is_there(layout: &Layout, span: &Span) -> bool {
    let Ok(file) = File::open(layout.segment(Kind::Content, span.segment)) else { return false };
    let mut head = [0u8; HEADER_BYTES];
    (&file).read_at(span.block, &mut head).is_ok() && Header::parse(&head).is_ok()
}
