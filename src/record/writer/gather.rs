//! Taking from the rings what cores have put there.

use super::{NOTES_AT_ONCE, Writer};
use crate::base::clock::Moment;
use crate::record::handover;
use crate::record::line::Bodies;
use crate::record::record::{CapturePart, CaptureState, Note};

impl Writer {
    /// Take from every ring in turn until all are empty or the batch is full.
    pub(super) fn gather(&mut self, now: Moment) -> bool {
        let mut worked = self.gather_handed(now);
        for i in 0..self.consumers.len() {
            let which = (self.first_consumer + i) % self.consumers.len();
            if self.batch.bytes() >= self.options.batch_bytes {
                // The next batch begins where this one stopped, so that no ring waits for a busy neighbour.
                self.first_consumer = which;
                break;
            }
            worked |= self.gather_from(which, now);
        }
        worked
    }

    fn gather_from(&mut self, which: usize, now: Moment) -> bool {
        let (mut notes, mut parts) = (std::mem::take(&mut self.notes), std::mem::take(&mut self.parts));
        let consumer = &mut self.consumers[which];
        consumer.take(NOTES_AT_ONCE, &mut notes, &mut parts);
        let losses = consumer.losses();
        let worked = !(notes.is_empty() && parts.is_empty() && losses.is_none());
        if !losses.is_none() {
            self.batch.lose(losses);
            self.batch.touch(now);
        }
        self.announce(&notes, now);
        for (part, bytes) in parts.drain(..) {
            self.batch.hold_room(which, bytes);
            self.take_part(&part, now);
            self.consumers[which].hand_back(part);
        }
        for note in notes.drain(..) {
            if let Some(spent) = self.take_note(note, now) {
                self.consumers[which].hand_back_note(spent);
            }
        }
        (self.notes, self.parts) = (notes, parts);
        worked
    }

    fn gather_handed(&mut self, now: Moment) -> bool {
        let Some(handed) = self.handed.as_ref().and_then(handover::Door::take) else { return false };
        self.announce(&handed.notes, now);
        for part in &handed.parts {
            self.take_part(part, now);
        }
        for note in handed.notes {
            self.take_note(note, now);
        }
        self.batch.owe(handed.ack);
        self.batch.touch(now);
        true
    }

    /// Opens first: what they say decides how their parts are stored. Closes last, when all parts are in.
    fn announce(&mut self, notes: &[Note], now: Moment) {
        for note in notes {
            if let Note::Open(open) = note {
                self.joins.open(open, now);
            }
        }
    }

    fn take_part(&mut self, part: &CapturePart, now: Moment) {
        self.batch.touch(now);
        self.batch.add_bytes(part.bytes.len());
        let kept = self.joins.part(part, now, &mut self.content);
        if !matches!(kept, Ok(true)) {
            self.batch.shed_parts(1);
        }
    }

    /// Take what a note says. One of which nothing more is needed is returned: it goes back to the core that made it
    /// while its memory is warm there; freed here, it would be lost to both for a while.
    fn take_note(&mut self, note: Note, now: Moment) -> Option<Note> {
        self.batch.touch(now);
        match note {
            Note::Open(open) => {
                self.balances.touch(&open.quotas);
                self.batch.open(open);
                None
            }
            Note::Close(mut record) => {
                self.balances.touch(&record.quotas);
                let closed = self.joins.close(record.id, record.capture, &mut self.content);
                let (bodies, capture) = closed.unwrap_or((Bodies::default(), CaptureState::Shed));
                record.capture = capture;
                self.delivered.judge(&mut record);
                self.threads.judge(&mut record);
                self.batch.close(&mut record, &bodies);
                Some(Note::Close(record))
            }
        }
    }

    pub(super) fn is_due(&self, now: Moment) -> bool {
        let Some(since) = self.batch.since() else { return false };
        let (least, most) = self.options.batch_age;
        let age = (self.commit_took * 10).clamp(least, most.max(least));
        self.batch.bytes() >= self.options.batch_bytes || now.since(since) >= age
    }
}
