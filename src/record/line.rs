//! What a line of the record log says. The log is the truth: everything the index holds can be read from here again.

use std::io;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::record::{BodyKind, Open, Record};
use super::sparse::Sparse;
use crate::base::clock::Wall;
use crate::base::id::ExchangeId;
use crate::base::ring::Losses;

/// One line.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// An exchange was admitted and had not ended when its batch closed.
    Open(Box<Open>),
    /// Part of a body was stored while its exchange went on; a crash leaves at least this.
    Body(BodyStored),
    /// An exchange ended.
    Close(Box<Closed>),
    /// Something could not be recorded.
    Lost(Loss),
}

/// A [`Line`] to be written, without owning what it says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LineRef<'a> {
    /// As [`Line::Open`].
    Open(&'a Open),
    /// As [`Line::Body`].
    Body(&'a BodyStored),
    /// As [`Line::Close`].
    Close {
        /// The record.
        record: &'a Record,
        /// Where its bodies lie.
        #[serde(flatten)]
        bodies: &'a Bodies,
    },
    /// As [`Line::Lost`].
    Lost(&'a Loss),
}

impl LineRef<'_> {
    /// Append the line and its line feed. What says nothing is left out of it.
    pub(super) fn write(&self, text: &mut Vec<u8>) -> io::Result<()> {
        // A record has a reading flattened into it, and stands beside places that are flattened, too.
        serde_json::to_writer(&mut *text, &Sparse { value: self, maps: 2 })?;
        text.push(b'\n');
        Ok(())
    }
}

/// A record and where its bodies lie.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Closed {
    /// The record.
    pub record: Record,
    /// Where its bodies lie.
    #[serde(flatten)]
    pub bodies: Bodies,
}

/// Where an exchange's bodies lie, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bodies {
    /// The request body, as received.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub request: Vec<Span>,
    /// The response body, as delivered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub response: Vec<Span>,
}

impl Bodies {
    /// The spans of one body.
    #[must_use]
    pub fn of(&self, kind: BodyKind) -> &[Span] {
        match kind {
            BodyKind::Request => &self.request,
            BodyKind::Response => &self.response,
        }
    }

    /// The spans of one body, to add to.
    pub fn of_mut(&mut self, kind: BodyKind) -> &mut Vec<Span> {
        match kind {
            BodyKind::Request => &mut self.request,
            BodyKind::Response => &mut self.response,
        }
    }
}

/// Part of a body that was stored before its exchange ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyStored {
    /// The exchange.
    pub id: ExchangeId,
    /// Which body.
    pub kind: BodyKind,
    /// Where the part lies; follows the spans of earlier lines.
    pub spans: Vec<Span>,
}

/// Bytes in a content segment. In JSON an array: `[segment, block, at, len]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Number of the segment.
    pub segment: u32,
    /// Where the block begins in the segment.
    pub block: u64,
    /// Where the bytes begin in the block, before compression.
    pub at: u32,
    /// How many.
    pub len: u32,
}

impl Span {
    /// Whether `next` continues this span in the same block.
    #[must_use]
    pub fn joins(&self, next: &Span) -> bool {
        (self.segment, self.block) == (next.segment, next.block) && self.at + self.len == next.at
    }
}

/// Add a span to a list, joined with the last where they touch.
pub fn add_span(spans: &mut Vec<Span>, span: Span) {
    match spans.last_mut() {
        Some(last) if last.joins(&span) => last.len += span.len,
        _ => spans.push(span),
    }
}

/// What could not be recorded, counted since the line of this kind before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Loss {
    /// When the line was written.
    pub at_us: Wall,
    /// Records lost.
    pub records: u64,
    /// Parts of bodies shed.
    pub parts: u64,
    /// Open notes dropped.
    pub opens: u64,
    /// Torn tails cut at a start.
    pub tails_cut: u64,
}

impl Loss {
    /// Whether there is nothing to tell.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Loss { at_us: self.at_us, ..Loss::default() }
    }

    /// Add what a core dropped.
    pub fn add(&mut self, losses: Losses) {
        self.records += losses.notes;
        self.parts += losses.parts;
        self.opens += losses.opens;
    }

    /// Add another count.
    pub fn merge(&mut self, other: Loss) {
        self.records += other.records;
        self.parts += other.parts;
        self.opens += other.opens;
        self.tails_cut += other.tails_cut;
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        (self.segment, self.block, self.at, self.len).serialize(to)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (segment, block, at, len) = Deserialize::deserialize(from)?;
        Ok(Span { segment, block, at, len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::estimate::Estimate;
    use crate::llm::reading::ToolUse;
    use crate::llm::usage::Usage;
    use crate::record::record::FaultNote;

    fn written(line: &LineRef) -> String {
        let mut text = Vec::new();
        line.write(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn lines_survive_their_text() {
        let mut record = Record { id: ExchangeId(77), status: 200, ..Record::default() };
        record.reading.usage = Usage { input_tokens: Some(3), output_tokens: Some(0), ..Usage::default() };
        record.reading.wire_usage = serde_json::from_str(r#"{"input_tokens":3,"of_it":null}"#).unwrap();
        record.reading.error = Some(serde_json::json!({"code": null, "inner": {"message": ""}}));
        record.reading.tool_uses.push(ToolUse { name: "Bash".into(), ..ToolUse::default() });
        record.estimated_usage = Some(Estimate::default());
        record.fault = Some(FaultNote { kind: "timeout".into(), ..FaultNote::default() });
        let bodies =
            Bodies { request: vec![Span { segment: 1, block: 84, at: 0, len: 10 }], response: Vec::new() };
        for (record, bodies) in [(record, bodies), <(Record, Bodies)>::default()] {
            let text = written(&LineRef::Close { record: &record, bodies: &bodies });
            let back: Line = serde_json::from_str(&text).unwrap();
            assert_eq!(back, Line::Close(Box::new(Closed { record, bodies })), "{text}");
        }
    }

    #[test]
    fn lines_of_earlier_versions_are_read() {
        let record = Record { id: ExchangeId(77), status: 200, ..Record::default() };
        let bodies = Bodies::default();
        // They said everything.
        let text = serde_json::to_string(&LineRef::Close { record: &record, bodies: &bodies }).unwrap();
        assert!(text.contains(r#""cache_read_tokens":null"#), "{text}");
        let short = written(&LineRef::Close { record: &record, bodies: &bodies });
        assert!(short.len() * 2 < text.len(), "{short}");
        let back: Line = serde_json::from_str(&text).unwrap();
        assert_eq!(back, Line::Close(Box::new(Closed { record, bodies })));
    }

    #[test]
    fn spans_that_touch_become_one() {
        let mut spans = Vec::new();
        let first = Span { segment: 1, block: 0, at: 0, len: 10 };
        add_span(&mut spans, first);
        add_span(&mut spans, Span { at: 10, len: 5, ..first });
        add_span(&mut spans, Span { at: 20, len: 5, ..first });
        add_span(&mut spans, Span { block: 9, at: 25, len: 5, ..first });
        assert_eq!(
            spans.iter().map(|span| (span.at, span.len)).collect::<Vec<_>>(),
            [(0, 15), (20, 5), (25, 5)]
        );
    }
}
