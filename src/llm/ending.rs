//! Ending a stream early, in its dialect's own words: where it may be cut, and what then has to follow.
//!
//! ```text
//!   content ──▶ boundaries: where an event, a line, a frame, an element ends ──▶ the first one after the limit is passed
//!      └──────▶ seen: ids, blocks that are open                              ──▶ the terminal event
//! ```
//!
//! Only made for streams that may have to be ended; all others never meet this file. Deliberately absent: why a stream
//! is ended. The reason is handed in and stands in a member of its own, which clients pass over.

mod boundary;
mod words;

use boundary::Boundaries;
use words::Seen;

use super::dialect::{Dialect, Endpoint};
use crate::wire::eventstream::Frames;
use crate::wire::head::Fields;
use crate::wire::jsonarray::Elements;
use crate::wire::ndjson::Lines;
use crate::wire::sse::Splitter;

/// Longest event that is looked into.
const HELD_BYTES_MAX: usize = 1 << 20;

/// Watches a stream that may have to be ended.
pub struct Ending {
    dialect: Dialect,
    wire: Wire,
    pieces: Pieces,
    boundaries: Boundaries,
    seen: Seen,
    bytes: u64,
    events: u64,
}

/// How the stream is cut into events.
enum Pieces {
    Sse(Splitter),
    Lines(Lines),
    Array(Elements),
    Frames(Frames),
    /// Longer than is looked into: nothing more is learned, and the stream is not ended.
    Lost,
}

/// How a stream is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    Sse,
    Lines,
    Array,
    Frames,
}

impl Ending {
    /// A watch over the response with these fields; none where it is no stream, or one that cannot be ended: coded, or
    /// in a language that has no word for it.
    #[must_use]
    pub fn new(dialect: Dialect, endpoint: Endpoint, status: u16, fields: &Fields) -> Option<Ending> {
        let coded = fields.all("content-encoding").any(|coding| !coding.eq_ignore_ascii_case(b"identity"));
        if coded || status != 200 || endpoint != Endpoint::Generate {
            return None;
        }
        let wire = wire(dialect, fields)?;
        let pieces = match wire {
            Wire::Sse => Pieces::Sse(Splitter::new(HELD_BYTES_MAX)),
            Wire::Lines => Pieces::Lines(Lines::new(HELD_BYTES_MAX)),
            Wire::Array => Pieces::Array(Elements::new(HELD_BYTES_MAX)),
            Wire::Frames => Pieces::Frames(Frames::default()),
        };
        let (boundaries, seen) = (Boundaries::new(wire), Seen::default());
        Some(Ending { dialect, wire, pieces, boundaries, seen, bytes: 0, events: 0 })
    }

    /// Content on its way to the client. `over` is asked at the end of each event, given the bytes and events so far;
    /// where it says yes the stream ends: so much of `data` may still be sent.
    pub fn pass(&mut self, data: &[u8], over: impl Fn(u64, u64) -> bool) -> Option<usize> {
        let mut from = 0;
        for (at, byte) in data.iter().enumerate() {
            if !self.boundaries.step(*byte) {
                continue;
            }
            // The other half of a CRLF goes with it: not every client takes a CR alone for a line end.
            let half = *byte == b'\r' && data.get(at + 1) == Some(&b'\n');
            let end = at + 1 + usize::from(half);
            self.take(&data[from..end]);
            self.events += 1;
            from = end;
            if !self.seen.ended && !matches!(self.pieces, Pieces::Lost) && over(self.bytes, self.events) {
                return Some(end);
            }
        }
        self.take(&data[from.min(data.len())..]);
        None
    }

    /// Bytes and events passed so far.
    #[must_use]
    pub fn passed(&self) -> (u64, u64) {
        (self.bytes, self.events)
    }

    fn take(&mut self, data: &[u8]) {
        self.bytes += data.len() as u64;
        if self.look(data).is_none() {
            self.pieces = Pieces::Lost;
        }
    }

    /// What ends the stream here. Input and output tokens stand where the dialect ends with usage.
    #[must_use]
    pub fn terminal(&self, bucket: &str, tokens: (u64, u64)) -> Vec<u8> {
        self.seen.terminal(self.dialect, self.wire, bucket, tokens)
    }

    /// Read the events that end in `data`; none where one is too long.
    fn look(&mut self, data: &[u8]) -> Option<()> {
        let (dialect, seen) = (self.dialect, &mut self.seen);
        let mut at = 0;
        match &mut self.pieces {
            Pieces::Sse(splitter) => {
                while let Some(event) = splitter.next(data, &mut at).ok()? {
                    seen.note(dialect, event.name, event.data);
                }
            }
            Pieces::Lines(lines) => {
                while let Some(line) = lines.next(data, &mut at).ok()? {
                    seen.note(dialect, b"", line);
                }
            }
            Pieces::Array(elements) => {
                while let Some(element) = elements.next(data, &mut at).ok()? {
                    seen.note(dialect, b"", element);
                }
            }
            Pieces::Frames(frames) => {
                frames.feed(data);
                while let Some(frame) = frames.next_frame().ok()? {
                    seen.note(dialect, frame.text(":event-type"), frame.payload);
                }
            }
            Pieces::Lost => {}
        }
        Some(())
    }
}

/// The framing of a stream, by dialect and content type.
fn wire(dialect: Dialect, fields: &Fields) -> Option<Wire> {
    let kind = fields.text("content-type").unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let is = |name: &str| kind.eq_ignore_ascii_case(name);
    match dialect {
        Dialect::Messages | Dialect::Chat | Dialect::Completions | Dialect::Responses
            if is("text/event-stream") =>
        {
            Some(Wire::Sse)
        }
        Dialect::Gemini | Dialect::CodeAssist if is("text/event-stream") => Some(Wire::Sse),
        Dialect::Converse | Dialect::Invoke if is("application/vnd.amazon.eventstream") => Some(Wire::Frames),
        Dialect::Ollama if is("application/x-ndjson") => Some(Wire::Lines),
        // `streamGenerateContent` without `alt=sse`: an array that comes in pieces. A whole answer is an object.
        Dialect::Gemini | Dialect::CodeAssist if is("application/json") => Some(Wire::Array),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
