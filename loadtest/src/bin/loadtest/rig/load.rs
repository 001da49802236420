//! The client on the event loop: many streams, every byte checked, delays measured by the stamps inside the text.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::{Flags, Histogram, Owner, Poll, Timers, Token, connect};
use loadtest::answer::Answer;
use loadtest::clock::stamp_ns;
use loadtest::expect::Expect;
use loadtest::http::{Body, Head, mix};

const COMPLAINTS_MAX: usize = 8;
/// Before a slot whose connection failed tries again.
const RETRY: Duration = Duration::from_millis(200);

/// What the slots ask, and what must come back.
pub(crate) struct Offer {
    pub(crate) addr: SocketAddr,
    /// The head of the request without its end: the slot's `x-synthetic-id` and the length are added.
    pub(crate) head: String,
    /// Taken in turn.
    pub(crate) bodies: Vec<Arc<Vec<u8>>>,
    /// The same for every body: the knobs are `blind`.
    pub(crate) answer: Arc<Answer>,
    pub(crate) slots: usize,
    /// Connections opened a second at the start.
    pub(crate) ramp: f64,
    /// Begin the next exchange when one has ended.
    pub(crate) repeat: bool,
    /// Of a hundred exchanges, how many are left midway, and within how many events.
    pub(crate) leave_percent: u64,
    pub(crate) leave_within: u64,
    /// Keep so many events outstanding, no more and no less; 0 for no such thing.
    pub(crate) lockstep: usize,
    pub(crate) seed: u64,
}

/// Counted so far.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    /// Slots whose first exchange has had its head.
    pub(crate) open: usize,
    pub(crate) events: u64,
    pub(crate) exchanges: u64,
    pub(crate) body_bytes: u64,
    pub(crate) reads: u64,
    pub(crate) left: u64,
    pub(crate) errors: u64,
    pub(crate) mismatches: u64,
    pub(crate) complaints: Vec<String>,
}

pub(crate) struct Load {
    offer: Offer,
    slots: Vec<Slot>,
    pub(super) timers: Timers,
    block: Vec<u8>,
    pub(crate) seen: Seen,
    pub(crate) delays: Histogram,
    turn: usize,
    roll: u64,
    /// Slots in lockstep whose event has come, longest ago first.
    rested: VecDeque<usize>,
    outstanding: usize,
    /// No new exchange begins.
    pub(crate) draining: bool,
}

struct Slot {
    generation: u32,
    stream: Option<TcpStream>,
    connected: bool,
    head: Vec<u8>,
    body: Arc<Vec<u8>>,
    sent: usize,
    inbox: Vec<u8>,
    framing: Option<Body>,
    expect: Expect,
    leave_after: u64,
    begun: bool,
}

/// How reading went.
enum Progress {
    More,
    Done { keep: bool },
    Left,
    Error(String),
    Mismatch(String),
}

impl Load {
    pub(crate) fn new(offer: Offer) -> Load {
        let mut timers = Timers::default();
        let start = stamp_ns();
        let slots = (0..offer.slots)
            .map(|i| {
                timers.set(start + (i as f64 / offer.ramp * 1e9) as u64, Token::new(Owner::Load, 0, i));
                Slot {
                    generation: 0,
                    stream: None,
                    connected: false,
                    head: Vec::new(),
                    body: offer.bodies[0].clone(),
                    sent: 0,
                    inbox: Vec::new(),
                    framing: None,
                    expect: Expect::new(offer.answer.clone()),
                    leave_after: u64::MAX,
                    begun: false,
                }
            })
            .collect();
        Load {
            roll: mix(offer.seed),
            offer,
            slots,
            timers,
            block: vec![0; 256 * 1024],
            seen: Seen::default(),
            delays: Histogram::default(),
            turn: 0,
            rested: VecDeque::new(),
            outstanding: 0,
            draining: false,
        }
    }

    /// Exchanges under way.
    pub(crate) fn busy(&self) -> usize {
        self.slots.iter().filter(|s| s.stream.is_some() && s.sent > 0).count()
    }

    pub(super) fn fire(&mut self, poll: &Poll) {
        let now = stamp_ns();
        while let Some(token) = self.timers.due(now) {
            let (i, stale) = (token.index(), self.slots[token.index()].generation != token.generation());
            if !stale && self.slots[i].stream.is_none() && !self.draining {
                self.open(poll, i);
            }
        }
    }

    /// In lockstep: the slot whose next event is to be let go.
    pub(super) fn next_to_release(&mut self) -> Option<u64> {
        if self.outstanding >= self.offer.lockstep {
            return None;
        }
        // Nothing is let go before every stream stands, so that the number is exact from the first one.
        if self.seen.open < self.offer.slots {
            return None;
        }
        let slot = self.rested.pop_front()?;
        self.outstanding += 1;
        Some(slot as u64)
    }

    pub(super) fn ready(&mut self, poll: &Poll, token: Token, flags: Flags) {
        let i = token.index();
        if self.slots.get(i).is_none_or(|s| s.generation != token.generation()) {
            return;
        }
        if flags.contains(Flags::OUT)
            && let Err(error) = self.send(poll, i)
        {
            return self.fail(i, format!("while sending: {error}"));
        }
        if flags.intersects(Flags::IN | Flags::HUP | Flags::ERR) {
            self.read(poll, i);
        }
    }

    fn open(&mut self, poll: &Poll, i: usize) {
        let opened = connect(self.offer.addr).and_then(|stream| {
            let token = Token::new(Owner::Load, self.slots[i].generation, i);
            poll.add(&stream, token, Flags::IN | Flags::OUT)?;
            Ok(stream)
        });
        match opened {
            Ok(stream) => {
                (self.slots[i].stream, self.slots[i].connected) = (Some(stream), false);
                self.prepare(i);
            }
            Err(error) => self.fail(i, format!("while connecting: {error}")),
        }
    }

    /// The next request of a slot, ready to be sent.
    fn prepare(&mut self, i: usize) {
        self.turn += 1;
        let body = self.offer.bodies[self.turn % self.offer.bodies.len()].clone();
        self.roll = mix(self.roll.wrapping_add(0x9e37_79b9));
        let leaves = self.roll % 100 < self.offer.leave_percent;
        let slot = &mut self.slots[i];
        slot.leave_after =
            if leaves { 1 + (self.roll >> 8) % self.offer.leave_within.max(1) } else { u64::MAX };
        slot.head.clear();
        // Writing into a Vec cannot fail.
        _ = write!(
            slot.head,
            "{}x-synthetic-id: {i}\r\ncontent-length: {}\r\n\r\n",
            self.offer.head,
            body.len()
        );
        (slot.body, slot.sent, slot.framing) = (body, 0, None);
        slot.inbox.clear();
        slot.expect = Expect::new(self.offer.answer.clone());
    }

    fn send(&mut self, poll: &Poll, i: usize) -> io::Result<()> {
        let slot = &mut self.slots[i];
        let Some(stream) = &slot.stream else { return Ok(()) };
        if !slot.connected {
            if let Some(error) = stream.take_error()? {
                return Err(error);
            }
            slot.connected = true;
        }
        let total = slot.head.len() + slot.body.len();
        while slot.sent < total {
            let head = &slot.head[slot.sent.min(slot.head.len())..];
            let body = &slot.body[slot.sent.saturating_sub(slot.head.len())..];
            match (&*stream).write_vectored(&[IoSlice::new(head), IoSlice::new(body)]) {
                Ok(n) => slot.sent += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    let token = Token::new(Owner::Load, slot.generation, i);
                    return poll.change(stream, token, Flags::IN | Flags::OUT);
                }
                Err(e) => return Err(e),
            }
        }
        poll.change(stream, Token::new(Owner::Load, slot.generation, i), Flags::IN)
    }

    fn read(&mut self, poll: &Poll, i: usize) {
        let Some(stream) = &self.slots[i].stream else { return };
        let count = match (&*stream).read(&mut self.block) {
            Ok(n) => n,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return,
            Err(e) => return self.fail(i, format!("after {} events: {e}", self.slots[i].expect.events())),
        };
        if count == 0 {
            return self.ended(poll, i);
        }
        self.seen.reads += 1;
        let mut block = std::mem::take(&mut self.block);
        let progress = self.take(i, &block[..count]);
        std::mem::swap(&mut self.block, &mut block);
        match progress {
            Progress::More => {}
            Progress::Done { keep } => self.done(poll, i, keep),
            Progress::Left => {
                self.seen.left += 1;
                self.close(i, Duration::ZERO);
            }
            Progress::Error(why) => self.fail(i, why),
            Progress::Mismatch(why) => {
                self.seen.mismatches += 1;
                self.complain(why);
                self.close(i, RETRY);
            }
        }
    }

    /// The connection ended: right only for a body that ends so.
    fn ended(&mut self, poll: &Poll, i: usize) {
        let slot = &self.slots[i];
        if slot.framing == Some(Body::UntilClose) && slot.expect.complete() {
            return self.done(poll, i, false);
        }
        let events = slot.expect.events();
        self.fail(i, format!("the connection ended after {events} events"));
    }

    fn take(&mut self, i: usize, bytes: &[u8]) -> Progress {
        let now = stamp_ns();
        if self.slots[i].framing.is_some() {
            return self.take_body(i, bytes, now);
        }
        self.slots[i].inbox.extend_from_slice(bytes);
        loop {
            let inbox = &self.slots[i].inbox;
            let (head, used) = match Head::parse(inbox) {
                Ok(Some(parsed)) => parsed,
                Ok(None) => return Progress::More,
                Err(why) => return Progress::Error(why.to_owned()),
            };
            let rest = inbox[used..].to_vec();
            if (100..200).contains(&head.status()) {
                self.slots[i].inbox = rest;
                continue;
            }
            if head.status() != self.offer.answer.status {
                return Progress::Error(format!(
                    "status {} {}",
                    head.status(),
                    String::from_utf8_lossy(&rest)
                ));
            }
            let framing = match head.response_body("POST") {
                Ok(framing) => framing,
                Err(why) => return Progress::Error(why.to_owned()),
            };
            let slot = &mut self.slots[i];
            slot.inbox = Vec::new();
            slot.framing = Some(framing);
            if !std::mem::replace(&mut slot.begun, true) {
                self.seen.open += 1;
            }
            if self.offer.lockstep > 0 {
                self.rested.push_back(i);
            }
            let progress = self.take_body(i, &rest, now);
            return match progress {
                Progress::Done { keep } => Progress::Done { keep: keep && !head.closes() },
                other => other,
            };
        }
    }

    fn take_body(&mut self, i: usize, bytes: &[u8], now: u64) -> Progress {
        let slot = &mut self.slots[i];
        let Some(framing) = &mut slot.framing else { return Progress::More };
        let (expect, delays, mut wrong) = (&mut slot.expect, &mut self.delays, None);
        let (before, bytes_before) = (expect.events(), expect.bytes());
        let (mut stamped, rested) = (0, &mut self.rested);
        let fed = framing.feed(bytes, |part| {
            if wrong.is_some() {
                return;
            }
            wrong = expect
                .feed(part, |stamp| {
                    if let Some(stamp) = stamp {
                        stamped += 1;
                        delays.add(now.saturating_sub(stamp));
                    }
                })
                .err();
        });
        if self.offer.lockstep > 0 {
            (0..stamped).for_each(|_| rested.push_back(i));
            self.outstanding = self.outstanding.saturating_sub(stamped);
        }
        self.seen.events += expect.events() - before;
        self.seen.body_bytes += expect.bytes() - bytes_before;
        if let Some(mismatch) = wrong {
            return Progress::Mismatch(format!("slot {i}: {mismatch:?}"));
        }
        match fed {
            Err(why) => Progress::Error(why.to_owned()),
            Ok(_) if expect.events() >= slot.leave_after => Progress::Left,
            Ok(_) if !framing.done() => Progress::More,
            Ok(_) if expect.complete() => Progress::Done { keep: true },
            Ok(_) => Progress::Mismatch(format!("slot {i}: a clean end after {} events", expect.events())),
        }
    }

    fn done(&mut self, poll: &Poll, i: usize, keep: bool) {
        self.seen.exchanges += 1;
        if !self.offer.repeat || self.draining || !keep {
            return self.close(i, Duration::ZERO);
        }
        self.prepare(i);
        if let Err(error) = self.send(poll, i) {
            self.fail(i, format!("while sending: {error}"));
        }
    }

    fn fail(&mut self, i: usize, why: String) {
        self.seen.errors += 1;
        self.complain(format!("slot {i}: {why}"));
        self.close(i, RETRY);
    }

    fn complain(&mut self, why: String) {
        if self.seen.complaints.len() < COMPLAINTS_MAX {
            self.seen.complaints.push(why);
        }
    }

    fn close(&mut self, i: usize, pause: Duration) {
        let slot = &mut self.slots[i];
        slot.generation = (slot.generation + 1) & 0xff_ffff;
        (slot.stream, slot.connected, slot.sent, slot.framing) = (None, false, 0, None);
        if self.offer.repeat && !self.draining {
            let token = Token::new(Owner::Load, slot.generation, i);
            self.timers.set(stamp_ns() + pause.as_nanos() as u64, token);
        }
    }
}
