//! Parts of bodies, joined by exchange as they arrive, in bounded memory.
//!
//! Big parts go to the content blocks at once and only their place is remembered. Small ones (an event stream comes
//! in hundreds) are gathered first, so that a body lies in few places: until the exchange ends, or there are
//! [`GATHERED_BYTES`] of them, or all that is gathered passes its bound and is written out as it stands. A request body
//! comes as one part, since no core lets go of it before it is whole; in a session it goes through [`Turns`], which
//! stores what is new in it, and nothing of it is remembered here but where it lies.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use super::blocks::Blocks;
use super::files::At;
use super::line::{Bodies, BodyStored, Span, add_span};
use super::record::{BodyKind, CapturePart, CaptureState, Open};
use super::turns::Turns;
use crate::base::clock::Moment;
use crate::base::id::ExchangeId;

/// Parts of this size and more are written at once.
const BIG_PART_BYTES: usize = 16 << 10;
/// A body's gathered parts are written when they come to this.
const GATHERED_BYTES: usize = 64 << 10;
/// Bodies whose exchange never said that it opened, nor that it ended, are forgotten after this: their close was lost.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(6 * 3600);

/// The exchanges that have not ended, and what is known of their bodies.
pub(super) struct Joins {
    exchanges: HashMap<ExchangeId, Joined>,
    opened: usize,
    gathered_total: usize,
    gathered_max: usize,
    body_bytes_max: u64,
    /// Exchanges with spans that no line tells of yet.
    untold: Vec<ExchangeId>,
    turns: Turns,
    forgot_at: Moment,
}

#[derive(Default)]
struct Joined {
    opened: bool,
    session: Option<u64>,
    request: Body,
    response: Body,
    touched: Moment,
}

#[derive(Default)]
struct Body {
    spans: Vec<Span>,
    told: usize,
    gathered: Vec<u8>,
    total: u64,
    shed: bool,
}

impl Joins {
    pub(super) fn new(gathered_max: usize, body_bytes_max: u64) -> io::Result<Joins> {
        Ok(Joins {
            exchanges: HashMap::new(),
            opened: 0,
            gathered_total: 0,
            gathered_max,
            body_bytes_max,
            untold: Vec::new(),
            turns: Turns::new()?,
            forgot_at: Moment::default(),
        })
    }

    /// An exchange was admitted. To be told before its parts: they are stored by its session.
    pub(super) fn open(&mut self, open: &Open, now: Moment) {
        let joined = self.exchanges.entry(open.id).or_default();
        joined.touched = now;
        let caller = &open.caller;
        joined.session = self.turns.key(&open.who.principal, &caller.session, &caller.sub_agent);
        if !std::mem::replace(&mut joined.opened, true) {
            self.opened += 1;
        }
    }

    /// Whether an exchange was admitted and has not ended.
    pub(super) fn is_open(&self, id: ExchangeId) -> bool {
        self.exchanges.get(&id).is_some_and(|joined| joined.opened)
    }

    /// Exchanges admitted and not ended.
    pub(super) fn opened(&self) -> usize {
        self.opened
    }

    /// A part of a body came. Returns false if it was shed: the body has its bound.
    pub(super) fn part(&mut self, part: &CapturePart, now: Moment, content: &mut Blocks) -> io::Result<bool> {
        let joined = self.exchanges.entry(part.id).or_default();
        joined.touched = now;
        let session = joined.session;
        let body = joined.of(part.kind);
        body.total += part.bytes.len() as u64;
        if body.shed || body.total > self.body_bytes_max {
            body.shed = true;
            return Ok(false);
        }
        if part.kind == BodyKind::Request {
            body.store_request(&part.bytes, session, &mut self.turns, content)?;
            self.untold.push(part.id);
            return Ok(true);
        }
        let before = body.gathered.len();
        body.take(&part.bytes, content)?;
        self.gathered_total = self.gathered_total + body.gathered.len() - before;
        if body.told < body.spans.len() {
            self.untold.push(part.id);
        }
        if self.gathered_total > self.gathered_max {
            self.write_out_all(content)?;
        }
        Ok(true)
    }

    /// The exchange ended: where its bodies lie, and what of them was kept if `captured` says that they were to be.
    pub(super) fn close(
        &mut self,
        id: ExchangeId,
        captured: CaptureState,
        content: &mut Blocks,
    ) -> io::Result<(Bodies, CaptureState)> {
        let Some(mut joined) = self.exchanges.remove(&id) else { return Ok((Bodies::default(), captured)) };
        self.opened -= usize::from(joined.opened);
        self.gathered_total -= joined.response.gathered.len();
        joined.response.write_out(content)?;
        let state = if joined.request.shed || joined.response.shed { CaptureState::Shed } else { captured };
        Ok((Bodies { request: joined.request.spans, response: joined.response.spans }, state))
    }

    /// The spans that no line has told of, of exchanges that go on.
    pub(super) fn tell(&mut self) -> Vec<BodyStored> {
        let mut told = Vec::new();
        for id in std::mem::take(&mut self.untold) {
            let Some(joined) = self.exchanges.get_mut(&id).filter(|joined| joined.opened) else { continue };
            for kind in [BodyKind::Request, BodyKind::Response] {
                let body = joined.of(kind);
                let spans = body.spans[body.told..].to_vec();
                body.told = body.spans.len();
                if !spans.is_empty() {
                    told.push(BodyStored { id, kind, spans });
                }
            }
        }
        told
    }

    /// Content from `base` on could not be written: forget the places in it and mark the bodies. Returns how many.
    pub(super) fn shed_from(&mut self, base: At) -> u64 {
        let mut bodies = 0;
        self.turns.forget_from(base);
        for joined in self.exchanges.values_mut() {
            for body in [&mut joined.request, &mut joined.response] {
                let shed = shed_spans(&mut body.spans, base);
                body.shed |= shed;
                body.told = body.told.min(body.spans.len());
                bodies += u64::from(shed);
            }
        }
        bodies
    }

    /// Forget bodies whose close must have been lost, looking for them now and then.
    pub(super) fn forget_old(&mut self, now: Moment) {
        if now.since(self.forgot_at) < FORGOTTEN_AFTER / 6 {
            return;
        }
        self.forgot_at = now;
        let gathered_total = &mut self.gathered_total;
        self.exchanges.retain(|_, joined| {
            let keep = joined.opened || now.since(joined.touched) < FORGOTTEN_AFTER;
            if !keep {
                *gathered_total -= joined.response.gathered.len();
            }
            keep
        });
    }

    /// Give back what many exchanges at once had taken.
    pub(super) fn rest(&mut self) {
        self.exchanges.shrink_to_fit();
        self.untold = Vec::new();
    }

    fn write_out_all(&mut self, content: &mut Blocks) -> io::Result<()> {
        for (id, joined) in &mut self.exchanges {
            joined.response.write_out(content)?;
            self.untold.push(*id);
        }
        self.gathered_total = 0;
        Ok(())
    }
}

impl Joined {
    fn of(&mut self, kind: BodyKind) -> &mut Body {
        match kind {
            BodyKind::Request => &mut self.request,
            BodyKind::Response => &mut self.response,
        }
    }
}

impl Body {
    /// Store a request body, whole: what is new in it, and where its session stored the rest. The next turn, which may
    /// come while this one is still answered, refers to it in turn.
    fn store_request(
        &mut self,
        data: &[u8],
        session: Option<u64>,
        turns: &mut Turns,
        content: &mut Blocks,
    ) -> io::Result<()> {
        let Some(session) = session else { return self.store(data, content) };
        let mut storing = turns.begin(session, content);
        turns.store(&mut storing, data, true, content, &mut self.spans)?;
        turns.keep(session, storing, self.spans.len(), content);
        Ok(())
    }

    /// Take a part: gather it if it is small, store what there is if it is not or if that has become enough.
    fn take(&mut self, part: &[u8], content: &mut Blocks) -> io::Result<()> {
        let big = part.len() >= BIG_PART_BYTES;
        if big && self.gathered.is_empty() {
            return self.store(part, content);
        }
        self.gathered.extend_from_slice(part);
        if big || self.gathered.len() >= GATHERED_BYTES { self.write_out(content) } else { Ok(()) }
    }

    fn write_out(&mut self, content: &mut Blocks) -> io::Result<()> {
        let gathered = std::mem::take(&mut self.gathered);
        self.store(&gathered, content)
    }

    fn store(&mut self, data: &[u8], content: &mut Blocks) -> io::Result<()> {
        let mut fresh = Vec::new();
        content.put(data, &mut fresh)?;
        for span in fresh {
            // What a line has told of stays as it was told.
            if self.told < self.spans.len() { add_span(&mut self.spans, span) } else { self.spans.push(span) }
        }
        Ok(())
    }
}

/// Drop the spans that lie at or behind `base`. Returns whether there were any.
pub(super) fn shed_spans(spans: &mut Vec<Span>, base: At) -> bool {
    let before = spans.len();
    spans.retain(|span| At { segment: span.segment, offset: span.block } < base);
    spans.len() < before
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::record::segment::{Encoder, Head, Kind};

    fn content() -> Blocks {
        let mut blocks = Blocks::new(Encoder::new(Kind::Content, 1, Head::default(), 3).unwrap(), 1 << 20);
        blocks.begin(At { segment: 1, offset: 0 });
        blocks
    }

    fn part(id: u128, kind: BodyKind, len: usize) -> CapturePart {
        CapturePart { id: ExchangeId(id), kind, bytes: Bytes::from(vec![7; len]) }
    }

    fn joins(gathered_max: usize, body_bytes_max: u64) -> Joins {
        Joins::new(gathered_max, body_bytes_max).unwrap()
    }

    fn open(id: u128, session: &str) -> Open {
        let mut open = Open { id: ExchangeId(id), ..Open::default() };
        open.caller.session = session.to_owned();
        open
    }

    fn lens(spans: &[Span]) -> Vec<u32> {
        spans.iter().map(|span| span.len).collect()
    }

    #[test]
    fn small_parts_become_one_span_and_big_ones_are_written_at_once() {
        let (mut joins, mut content) = (joins(1 << 20, 1 << 30), content());
        joins.part(&part(1, BodyKind::Request, 20_000), Moment(0), &mut content).unwrap();
        for _ in 0..10 {
            joins.part(&part(1, BodyKind::Response, 100), Moment(0), &mut content).unwrap();
            joins.part(&part(2, BodyKind::Response, 100), Moment(0), &mut content).unwrap();
        }
        assert_eq!(content.raw_total(), 20_000);
        let (bodies, state) = joins.close(ExchangeId(1), CaptureState::Full, &mut content).unwrap();
        assert_eq!((lens(&bodies.request), lens(&bodies.response)), (vec![20_000], vec![1_000]));
        assert_eq!(state, CaptureState::Full);
        assert_eq!(joins.gathered_total, 1_000);
    }

    #[test]
    fn a_body_over_its_bound_is_cut_and_marked() {
        let (mut joins, mut content) = (joins(1 << 20, 1_000), content());
        assert!(joins.part(&part(1, BodyKind::Response, 900), Moment(0), &mut content).unwrap());
        assert!(!joins.part(&part(1, BodyKind::Response, 200), Moment(0), &mut content).unwrap());
        assert!(
            !joins.part(&part(1, BodyKind::Response, 1), Moment(0), &mut content).unwrap(),
            "no hole in a body"
        );
        let (bodies, state) = joins.close(ExchangeId(1), CaptureState::Full, &mut content).unwrap();
        assert_eq!((lens(&bodies.response), state), (vec![900], CaptureState::Shed));
    }

    #[test]
    fn over_the_sum_everything_is_written_out_and_nothing_is_lost() {
        let (mut joins, mut content) = (joins(10_000, 1 << 30), content());
        for round in 0..100 {
            for id in 0..30 {
                joins.part(&part(id, BodyKind::Response, 50), Moment(round), &mut content).unwrap();
                assert!(joins.gathered_total <= 10_000);
            }
        }
        for id in 0..30 {
            let (bodies, _) = joins.close(ExchangeId(id), CaptureState::Full, &mut content).unwrap();
            assert_eq!(lens(&bodies.response).iter().sum::<u32>(), 5_000);
        }
        assert_eq!((joins.gathered_total, content.raw_total()), (0, 150_000));
    }

    #[test]
    fn each_span_of_a_running_exchange_is_told_once() {
        let (mut joins, mut content) = (joins(1 << 20, 1 << 30), content());
        joins.open(&open(1, ""), Moment(0));
        joins.part(&part(1, BodyKind::Response, 20_000), Moment(0), &mut content).unwrap();
        joins.part(&part(2, BodyKind::Response, 20_000), Moment(0), &mut content).unwrap();
        let told = joins.tell();
        assert_eq!(told.len(), 1, "an exchange that never opened has nobody to tell of it");
        joins.part(&part(1, BodyKind::Response, 100), Moment(0), &mut content).unwrap();
        assert_eq!(joins.tell(), []);
        joins.part(&part(1, BodyKind::Response, 30_000), Moment(0), &mut content).unwrap();
        let again = joins.tell();
        let all: u32 = told.iter().chain(&again).flat_map(|body| lens(&body.spans)).sum();
        assert_eq!(all, 50_100);
    }

    #[test]
    fn a_next_turn_of_a_session_stores_only_what_is_new() {
        let (mut joins, mut content) = (joins(1 << 20, 1 << 30), content());
        for (id, session) in [(1, "s"), (2, "s"), (3, "other"), (4, "s")] {
            joins.open(&open(id, session), Moment(0));
            let before = content.raw_total();
            let body: Vec<u8> =
                (0..30_000u32).flat_map(|i| (i ^ u32::from(session == "s")).to_le_bytes()).collect();
            let bytes = Bytes::from(body);
            let part = CapturePart { id: ExchangeId(id), kind: BodyKind::Request, bytes };
            joins.part(&part, Moment(0), &mut content).unwrap();
            let (bodies, _) = joins.close(ExchangeId(id), CaptureState::Full, &mut content).unwrap();
            assert_eq!(lens(&bodies.request).iter().sum::<u32>(), 120_000);
            assert_eq!(content.raw_total() - before, if id % 2 == 0 { 0 } else { 120_000 });
        }
    }

    #[test]
    fn a_next_turn_may_come_before_the_end_of_the_last() {
        let (mut joins, mut content) = (joins(1 << 20, 1 << 30), content());
        let body: Vec<u8> = (0..30_000u32).flat_map(u32::to_le_bytes).collect();
        for id in 1..=3u128 {
            joins.open(&open(id, "s"), Moment(0));
            let bytes = Bytes::from(body.clone());
            let part = CapturePart { id: ExchangeId(id), kind: BodyKind::Request, bytes };
            joins.part(&part, Moment(0), &mut content).unwrap();
        }
        assert_eq!(content.raw_total(), 120_000);
        for id in [2, 1, 3] {
            let (bodies, _) = joins.close(ExchangeId(id), CaptureState::Full, &mut content).unwrap();
            assert_eq!(lens(&bodies.request).iter().sum::<u32>(), 120_000);
        }
        assert_eq!(joins.gathered_total, 0);
    }

    #[test]
    fn content_that_was_not_written_leaves_a_mark() {
        let (mut joins, mut content) = (joins(1 << 20, 1 << 30), content());
        joins.part(&part(1, BodyKind::Request, 20_000), Moment(0), &mut content).unwrap();
        assert_eq!(joins.shed_from(At { segment: 1, offset: 0 }), 1);
        let (bodies, state) = joins.close(ExchangeId(1), CaptureState::Full, &mut content).unwrap();
        assert_eq!((bodies, state), (Bodies::default(), CaptureState::Shed));
    }

    #[test]
    fn bodies_without_an_end_are_forgotten_and_open_ones_are_not() {
        let (mut joins, mut content) = (joins(1 << 20, 1 << 30), content());
        joins.part(&part(1, BodyKind::Response, 100), Moment(0), &mut content).unwrap();
        joins.open(&open(2, ""), Moment(0));
        joins.part(&part(2, BodyKind::Response, 100), Moment(0), &mut content).unwrap();
        joins.forget_old(Moment(0).plus(FORGOTTEN_AFTER));
        assert_eq!((joins.exchanges.len(), joins.gathered_total, joins.opened()), (1, 100, 1));
    }
}
