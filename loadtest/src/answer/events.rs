//! The events of a stream: some before the text, the text by template, some after.

use std::ops::Range;

use super::asked::Asked;
use super::prose::Prose;
use crate::digest::base64;
use crate::frame;
use crate::http::mix;
use crate::knobs::Knobs;

#[derive(Debug, Clone)]
pub struct Events {
    pub(super) opening: Vec<Vec<u8>>,
    pub(super) prose: Prose,
    pub(super) prefix: Vec<u8>,
    pub(super) suffix: Vec<u8>,
    /// Where text events are numbered: the first one's number, and what follows it.
    pub(super) numbered: Option<(u64, Vec<u8>)>,
    pub(super) closing: Vec<Vec<u8>>,
    /// Set where the text is not prose (an answer held to a schema is in `opening`).
    pub(super) said: Option<String>,
    pub(super) framing: Framing,
    /// Events at the beginning that are not sent: the stream is fetched anew from there.
    pub(super) skip: u64,
}

/// What text events stand in. The others are made whole by their dialect.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Framing {
    /// Nothing besides prefix and suffix.
    Plain,
    /// A binary frame of that type.
    Frame(&'static str),
    /// A binary frame `chunk` holding it in base64.
    Chunk,
}

impl Events {
    pub fn count(&self) -> u64 {
        (self.opening.len() + self.closing.len()) as u64 + self.prose.events - self.skip
    }

    /// Whether event `i` is one of the paced text events.
    pub fn is_text(&self, i: u64) -> bool {
        (i + self.skip).checked_sub(self.opening.len() as u64).is_some_and(|i| i < self.prose.events)
    }

    /// Append event `i`; returns where in `out` its stamp stands, if it has one.
    pub fn write(&self, i: u64, stamp_ns: u64, out: &mut Vec<u8>) -> Option<Range<usize>> {
        let i = i + self.skip;
        let Some(text) = i.checked_sub(self.opening.len() as u64) else {
            out.extend_from_slice(&self.opening[i as usize]);
            return None;
        };
        let Some(after) = text.checked_sub(self.prose.events) else {
            if self.framing == Framing::Plain {
                return self.write_text(text, stamp_ns, out);
            }
            self.write_framed(text, out);
            return None;
        };
        out.extend_from_slice(&self.closing[after as usize]);
        None
    }

    fn write_text(&self, text: u64, stamp_ns: u64, out: &mut Vec<u8>) -> Option<Range<usize>> {
        out.extend_from_slice(&self.prefix);
        let stamp = self.prose.write(text, stamp_ns, out);
        out.extend_from_slice(&self.suffix);
        if let Some((first, after)) = &self.numbered {
            out.extend_from_slice((first + text).to_string().as_bytes());
            out.extend_from_slice(after);
        }
        stamp
    }

    /// A frame's sums cover its text, so there are no stamps in it.
    fn write_framed(&self, text: u64, out: &mut Vec<u8>) {
        let mut payload = Vec::new();
        self.write_text(text, 0, &mut payload);
        match self.framing {
            Framing::Frame(kind) => frame::event(kind, &payload, out),
            Framing::Plain | Framing::Chunk => chunk(&payload, out),
        }
    }

    pub(super) fn text(&self) -> String {
        self.said.clone().unwrap_or_else(|| self.prose.all())
    }

    /// End the stream with an error event after (about) that many: the opening always goes out whole.
    pub(super) fn fail_after(&mut self, after: u64, error: Vec<u8>) {
        self.prose.events = after.saturating_sub(self.opening.len() as u64).min(self.prose.events);
        self.closing = vec![error];
    }
}

/// `InvokeModelWithResponseStream` wraps each JSON object so.
pub(super) fn chunk(json: &[u8], out: &mut Vec<u8>) {
    let mut payload = b"{\"bytes\":\"".to_vec();
    base64(json, &mut payload);
    payload.extend_from_slice(b"\",\"p\":\"abcdefghijkl\"}");
    frame::event("chunk", &payload, out);
}

/// What is said in a stream: prose of paced events, or an answer held to a schema in pieces, or nothing.
pub(super) struct Spoken {
    pub(super) prose: Prose,
    /// JSON-escaped pieces of an answer held to a schema.
    pub(super) pieces: Vec<String>,
    /// What they add up to; `None` where the prose is the answer.
    pub(super) said: Option<String>,
    pub(super) bytes: u64,
}

impl Spoken {
    /// `frame` is what stands around the text of one event. `silent`: an answer of this kind has no text.
    pub(super) fn new(asked: &Asked, knobs: &Knobs, frame: usize, silent: bool) -> Spoken {
        let usual = 12 + mix(asked.seed ^ 3) as usize % 60;
        let text_bytes = knobs.bytes.map_or(usual, |bytes| bytes.saturating_sub(frame).max(1));
        let structured = asked.structured.as_ref().filter(|_| !silent);
        let events = match (silent, structured) {
            (false, None) => knobs.events.unwrap_or(4 + mix(asked.seed ^ 4) % 36),
            _ => 0,
        };
        let pieces = structured.map(|text| super::asked::fragments(text, asked.seed)).unwrap_or_default();
        let escaped = pieces.into_iter().skip(1).map(|piece| {
            let mut out = String::new();
            crate::json::escape(piece, &mut out);
            out
        });
        Spoken {
            prose: Prose { events, text_bytes, seed: asked.seed, stamp: knobs.stamp },
            pieces: escaped.collect(),
            said: if silent { Some(String::new()) } else { structured.cloned() },
            bytes: structured.map_or(events * text_bytes as u64, |text| text.len() as u64),
        }
    }
}
