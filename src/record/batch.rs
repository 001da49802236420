//! What the writer has gathered and not yet made durable.

use std::io;
use std::ops::Range;

use super::blocks::Blocks;
use super::files::At;
use super::handover::Ack;
use super::join::{Joins, shed_spans};
use super::line::{Bodies, BodyStored, Closed, Line, LineRef, Loss, Span};
use super::record::{CaptureState, Open, Record};
use super::segment::RAW_BYTES_MAX;
use super::store::RequestRow;
use super::store::entry::Entry;
use super::store::index::{Item, LinePlace};
use crate::base::clock::{self, Moment};
use crate::base::ring::Losses;

/// One batch. Reused: its vectors keep their room.
pub(super) struct Batch {
    since: Option<Moment>,
    bytes: usize,
    #[expect(clippy::vec_box, reason = "they come boxed over the ring; unboxing would copy")]
    opens: Vec<Box<Open>>,
    #[expect(clippy::vec_box, reason = "as above")]
    spent: Vec<Box<Open>>,
    closes: Vec<Close>,
    stored: Vec<BodyStored>,
    loss: Loss,
    room: Vec<usize>,
    acks: Vec<Ack>,
    /// The lines of what closed, made as it came.
    lines: Vec<u8>,
    text: Vec<u8>,
}

struct Close {
    /// Among the batch's lines.
    line: Range<usize>,
    entry: Entry,
    place: LinePlace,
}

/// A rough size of the line of an exchange's beginning, so that a flood of them closes a batch too.
const OPEN_LINE_BYTES: usize = 512;
/// Room for lines that is kept from batch to batch.
const LINES_KEPT_BYTES: usize = 8 << 20;

impl Batch {
    /// A batch over this many rings.
    pub(super) fn new(rings: usize) -> Batch {
        Batch {
            since: None,
            bytes: 0,
            opens: Vec::new(),
            spent: Vec::new(),
            closes: Vec::new(),
            stored: Vec::new(),
            loss: Loss::default(),
            room: vec![0; rings],
            acks: Vec::new(),
            lines: Vec::new(),
            text: Vec::new(),
        }
    }

    /// Begin anew; the notes that are still here go to `spent`.
    pub(super) fn clear(&mut self, spent: impl FnMut(Box<Open>)) {
        self.since = None;
        self.bytes = 0;
        self.spent.drain(..).chain(self.opens.drain(..)).for_each(spent);
        self.closes.clear();
        self.stored.clear();
        self.loss = Loss::default();
        self.room.fill(0);
        self.acks.clear();
        self.lines.clear();
        // A rare giant must not stay for ever.
        self.lines.shrink_to(LINES_KEPT_BYTES);
        self.text.shrink_to(1 << 20);
    }

    /// Free the room that a large batch has taken. Only between two batches.
    pub(super) fn rest(&mut self) {
        if self.is_empty() {
            *self = Batch::new(self.room.len());
        }
    }

    /// Something came at `now`: the batch's age counts from the first.
    pub(super) fn touch(&mut self, now: Moment) {
        self.since = self.since.or(Some(now));
    }

    /// When the first thing came.
    pub(super) fn since(&self) -> Option<Moment> {
        self.since
    }

    pub(super) fn is_empty(&self) -> bool {
        self.since.is_none() && self.loss.is_none()
    }

    /// Roughly what has been gathered, in raw bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn add_bytes(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// Capture room of a ring that is given back when the batch ends.
    pub(super) fn hold_room(&mut self, ring: usize, bytes: usize) {
        self.room[ring] += bytes;
    }

    pub(super) fn room_held(&self) -> &[usize] {
        &self.room
    }

    pub(super) fn open(&mut self, open: Box<Open>) {
        self.bytes += OPEN_LINE_BYTES;
        self.opens.push(open);
    }

    /// An exchange ended: all that is needed of its record is taken out of it here. One whose line no block can hold
    /// goes without what providers and clients can blow up.
    pub(super) fn close(&mut self, record: &mut Record, bodies: &Bodies) {
        let start = self.lines.len();
        let mut made = LineRef::Close { record, bodies }.write(&mut self.lines);
        if self.lines.len() - start > RAW_BYTES_MAX {
            self.lines.truncate(start);
            leave_out_what_is_large(record);
            made = LineRef::Close { record, bodies }.write(&mut self.lines);
        }
        let line = start..self.lines.len();
        if made.is_err() || line.len() > RAW_BYTES_MAX {
            self.lines.truncate(start);
            self.loss.records += 1;
            return;
        }
        self.bytes += line.len();
        self.closes.push(Close { line, entry: Entry::of(record), place: LinePlace::default() });
    }

    /// What a core had to drop.
    pub(super) fn lose(&mut self, losses: Losses) {
        self.loss.add(losses);
    }

    pub(super) fn shed_parts(&mut self, parts: u64) {
        self.loss.parts += parts;
    }

    /// Losses that an earlier batch could not tell of.
    pub(super) fn carry(&mut self, loss: Loss) {
        self.loss.merge(loss);
    }

    /// Losses that came since the batch began.
    pub(super) fn losses(&self) -> Loss {
        self.loss
    }

    /// Records in the batch.
    pub(super) fn records(&self) -> u64 {
        self.closes.len() as u64
    }

    /// Someone waits for the batch to be durable.
    pub(super) fn owe(&mut self, ack: Ack) {
        self.acks.push(ack);
    }

    /// It is. A peer that is gone does not want to know.
    pub(super) fn acknowledge(&mut self, sequence: u64) {
        for ack in self.acks.drain(..) {
            let _ = ack.try_send(sequence);
        }
    }

    /// Content from `base` on was not written: the lines that tell of it are made again.
    pub(super) fn shed_from(&mut self, base: At) {
        let before = std::mem::take(&mut self.lines);
        for close in &mut self.closes {
            let line = &before[close.line.clone()];
            let start = self.lines.len();
            match without_content(line, base) {
                Some((shed, parts)) => {
                    self.lines.extend_from_slice(&shed);
                    self.loss.parts += parts;
                }
                None => self.lines.extend_from_slice(line),
            }
            close.line = start..self.lines.len();
        }
    }

    /// Everything in the batch as a loss, with the losses it would have told of.
    pub(super) fn all_lost(&self) -> Loss {
        Loss { records: self.loss.records + self.records(), ..self.loss }
    }

    /// Write the batch's lines. May be called again for the same batch after [`Blocks::abandon`].
    pub(super) fn write_lines(&mut self, joins: &mut Joins, log: &mut Blocks) -> io::Result<()> {
        // An exchange that ended in the same batch needs no line for its beginning.
        self.spent.extend(self.opens.extract_if(.., |open| !joins.is_open(open.id)));
        self.stored.extend(joins.tell());
        let text = &mut self.text;
        for open in &self.opens {
            put_line(&LineRef::Open(open), text, log)?;
        }
        for stored in &self.stored {
            put_line(&LineRef::Body(stored), text, log)?;
        }
        for close in &mut self.closes {
            let span = log.put_whole(&self.lines[close.line.clone()])?;
            close.place = span.map(place_of).unwrap_or_default();
        }
        if !self.loss.is_none() {
            self.loss.at_us = clock::wall();
            put_line(&LineRef::Lost(&self.loss), text, log)?;
        }
        Ok(())
    }

    /// The rows of what closed, which the index has given `cursors`.
    pub(super) fn take_rows(&mut self, cursors: Vec<i64>) -> impl Iterator<Item = RequestRow> {
        self.closes.drain(..).zip(cursors).map(|(close, cursor)| close.entry.into_row(cursor))
    }

    /// What the index is to be told, in the order of the lines.
    pub(super) fn items(&self) -> Vec<Item<'_>> {
        let opens = self.opens.iter().map(|open| Item::Open(open));
        let stored = self.stored.iter().map(Item::Body);
        let closes = self.closes.iter().map(|close| Item::Close(&close.entry, close.place));
        let lost = (!self.loss.is_none()).then_some(Item::Lost(&self.loss));
        opens.chain(stored).chain(closes).chain(lost).collect()
    }
}

fn leave_out_what_is_large(record: &mut Record) {
    for call in &mut record.reading.tool_uses {
        call.arguments = String::new();
    }
    record.reading.error = None;
    record.reading.wire_usage = None;
    record.request_headers.clear();
    record.response_headers.clear();
    record.ask.tools.clear();
    record.reading.not_metered = Some("left out: too long for a line of the record log".to_owned());
}

/// A line that tells of content from `base` on, without it, and how many bodies that concerns.
fn without_content(line: &[u8], base: At) -> Option<(Vec<u8>, u64)> {
    let Ok(Line::Close(mut closed)) = serde_json::from_slice(line) else { return None };
    let Closed { record, bodies } = &mut *closed;
    let request = shed_spans(&mut bodies.request, base);
    let response = shed_spans(&mut bodies.response, base);
    if !(request || response) {
        return None;
    }
    record.capture = CaptureState::Shed;
    let mut text = Vec::new();
    LineRef::Close { record, bodies }.write(&mut text).ok()?;
    Some((text, u64::from(request) + u64::from(response)))
}

fn put_line(line: &LineRef, text: &mut Vec<u8>, log: &mut Blocks) -> io::Result<Option<Span>> {
    text.clear();
    line.write(text)?;
    log.put_whole(text)
}

fn place_of(span: Span) -> LinePlace {
    LinePlace { segment: span.segment, block: span.block, at: span.at, len: span.len - 1 }
}
