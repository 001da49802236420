//! Reading the record log and the content segments: for catching up, showing and verifying.

use std::fs::File;
use std::io;

use super::entry::Entry;
use super::index::{Index, Item, LinePlace, Position};
use crate::record::files::{At, Layout, explain};
use crate::record::line::{Line, Span};
use crate::record::segment::{Decoder, Found, HEADER_BYTES, Head, Header, Kind, ReadAt, Walk, hash_of};

/// What reading the log over again came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaughtUp {
    /// Blocks read.
    pub blocks: u64,
    /// Lines applied.
    pub lines: u64,
    /// Bad stretches and unreadable lines that were passed over.
    pub damaged: u64,
}

/// Bring the index up to `end`, the end of the acknowledged log. From position zero this is the rebuild.
pub fn catch_up(layout: &Layout, index: &mut Index, end: At) -> io::Result<CaughtUp> {
    let mut done = CaughtUp::default();
    let mut position = index.position()?;
    let mut decoder = Decoder::new()?;
    for number in layout.numbers(Kind::Log)? {
        if number < position.at.segment || number > end.segment {
            continue;
        }
        let start = if number == position.at.segment { position.at.offset } else { 0 };
        let path = layout.segment(Kind::Log, number);
        let file = File::open(&path).map_err(|e| explain(e, "cannot read", &path))?;
        let mut walk = Walk::new(&file)?.starting_at(start);
        while let Some((at, found)) = walk.step()? {
            if (At { segment: number, offset: at }) >= end {
                break;
            }
            let Found::Block(header) = found else {
                done.damaged += 1;
                continue;
            };
            let hash = hash_of(&[&header.to_bytes(), walk.payload()]);
            position = Position {
                at: At { segment: number, offset: at + header.block_len() },
                head: Head { next: header.sequence + 1, hash },
            };
            let Ok(raw) = decoder.decode(&header, walk.payload()) else {
                done.damaged += 1;
                continue;
            };
            let lines = lines_of(&raw, number, at);
            done.damaged += lines.iter().filter(|(_, line)| line.is_none()).count() as u64;
            let entries: Vec<Option<Entry>> =
                lines.iter().map(|(_, line)| line.as_ref().and_then(entry)).collect();
            let items: Vec<Item> = lines
                .iter()
                .zip(&entries)
                .filter_map(|((place, line), entry)| item(*place, line.as_ref()?, entry.as_ref()))
                .collect();
            done.lines += items.len() as u64;
            done.blocks += 1;
            index.apply(&items, position)?;
        }
    }
    Ok(done)
}

/// The lines of a block of the log; `None` for one that cannot be read.
pub(super) fn lines_of(raw: &[u8], segment: u32, block: u64) -> Vec<(LinePlace, Option<Line>)> {
    let mut lines = Vec::new();
    let mut at = 0usize;
    for text in raw.split_inclusive(|byte| *byte == b'\n') {
        let len = text.strip_suffix(b"\n").unwrap_or(text).len();
        let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let place = LinePlace { segment, block, at: narrow(at), len: narrow(len) };
        lines.push((place, serde_json::from_slice(&text[..len]).ok()));
        at += text.len();
    }
    lines
}

fn entry(line: &Line) -> Option<Entry> {
    match line {
        Line::Close(closed) => Some(Entry::of(&closed.record)),
        Line::Open(_) | Line::Body(_) | Line::Lost(_) => None,
    }
}

fn item<'a>(place: LinePlace, line: &'a Line, entry: Option<&'a Entry>) -> Option<Item<'a>> {
    match line {
        Line::Open(open) => Some(Item::Open(open)),
        Line::Body(body) => Some(Item::Body(body)),
        Line::Close(_) => entry.map(|entry| Item::Close(entry, place)),
        Line::Lost(loss) => Some(Item::Lost(loss)),
    }
}

/// Reads single blocks, remembering the last: neighbours are mostly asked for together.
pub(super) struct Blocks {
    layout: Layout,
    decoder: Decoder,
    last: Option<(Kind, u32, u64, Vec<u8>)>,
}

impl Blocks {
    pub(super) fn new(layout: &Layout) -> io::Result<Blocks> {
        Ok(Blocks { layout: layout.clone(), decoder: Decoder::new()?, last: None })
    }

    /// A line of the log.
    pub(super) fn line(&mut self, place: LinePlace) -> io::Result<Line> {
        let raw = self.raw(Kind::Log, place.segment, place.block)?;
        let text = slice(raw, place.at, place.len)?;
        Ok(serde_json::from_slice(text)?)
    }

    /// A body, put together from its spans.
    pub(super) fn body(&mut self, spans: &[Span]) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        for span in spans {
            let raw = self.raw(Kind::Content, span.segment, span.block)?;
            body.extend_from_slice(slice(raw, span.at, span.len)?);
        }
        Ok(body)
    }

    fn raw(&mut self, kind: Kind, segment: u32, block: u64) -> io::Result<&[u8]> {
        let have = self.last.as_ref().is_some_and(|(k, s, b, _)| (*k, *s, *b) == (kind, segment, block));
        if !have {
            let raw = self.read(kind, segment, block)?;
            self.last = Some((kind, segment, block, raw));
        }
        Ok(self.last.as_ref().map_or(&[], |(_, _, _, raw)| raw))
    }

    fn read(&mut self, kind: Kind, segment: u32, block: u64) -> io::Result<Vec<u8>> {
        let path = self.layout.segment(kind, segment);
        let bad = |why: String| {
            let text = format!("{} at byte {block}: {why}; `weir verify` tells the extent", path.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        let file = File::open(&path).map_err(|e| explain(e, "cannot read", &path))?;
        let mut head = [0u8; HEADER_BYTES];
        (&file).read_at(block, &mut head).map_err(|e| bad(e.to_string()))?;
        let header = Header::parse(&head).map_err(|flaw| bad(flaw.to_string()))?;
        let mut payload = vec![0u8; header.stored_len as usize];
        (&file).read_at(block + HEADER_BYTES as u64, &mut payload).map_err(|e| bad(e.to_string()))?;
        if crc32fast::hash(&payload) != header.payload_crc {
            return Err(bad("block payload does not match its checksum".to_owned()));
        }
        self.decoder.decode(&header, &payload).map_err(|flaw| bad(flaw.to_string()))
    }
}

fn slice(raw: &[u8], at: u32, len: u32) -> io::Result<&[u8]> {
    let (at, len) = (at as usize, len as usize);
    raw.get(at..at + len).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "the index points outside a block; rebuild it from the log",
        )
    })
}
