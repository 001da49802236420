//! An [`Answer`] put on the wire step by step: what to write next, when, and how it ends. Sans-io, so that the
//! thread-per-connection provider and the event loop of the binary serve the same bytes at the same times.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::answer::{Answer, Content};
use crate::clock::stamp_ns;
use crate::gzip::Zip;
use crate::http::{chunk, reason};
use crate::knobs::{Fault, Knobs};

/// What is to be done before the next call of [`Plan::step`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    /// Write what was appended to `out`, as one write.
    Write,
    /// Wait until this long after the request.
    At(Duration),
    /// Wait to be told (`manual`).
    Held,
    /// Say nothing more until the peer goes.
    Silent,
    /// Send RST.
    Reset,
    /// Done; keep the connection or close it.
    Done { close: bool },
}

/// ```text
/// Early ─▶ Interim ─▶ Head(0..8) ─▶ Body ─▶ Last ─▶ Over
///   └ close, garbage ───────────────▶ Over    └ a fault ends Body too
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    Early,
    Interim,
    Head(usize),
    Body,
    Last,
    Over(Step),
}

#[derive(Debug)]
pub struct Plan {
    answer: Arc<Answer>,
    knobs: Knobs,
    stage: Stage,
    headers: Vec<u8>,
    head_only: bool,
    close: bool,
    chunked: bool,
    /// The next event, and how many have been let go in `manual`.
    event: u64,
    released: u64,
    /// When the first event was due: the schedule's zero.
    zero: Option<Duration>,
    body_bytes: u64,
    scratch: Vec<u8>,
    /// Where the answer goes out gzipped.
    zip: Option<Zip>,
    /// Bytes still to be cut into writes, where `split` is on.
    pending: Vec<u8>,
    cut: usize,
    rest_until: Duration,
}

/// Pieces of a slow head.
const HEAD_PIECES: usize = 8;

impl Plan {
    /// `close`: the request wants the connection closed, or speaks HTTP/1.0.
    pub fn new(answer: Arc<Answer>, knobs: Knobs, number: u64, head_only: bool, close: bool) -> Plan {
        let streams = matches!(answer.body, Content::Events(_));
        let bodyless = head_only || answer.status == 204;
        let chunked = streams && !knobs.close && !close;
        let close = close || (knobs.close && !bodyless);
        let mut plan = Plan {
            zip: answer.gzip.then(Zip::default),
            answer,
            knobs,
            stage: Stage::Early,
            headers: Vec::new(),
            head_only: bodyless,
            close,
            chunked,
            event: 0,
            released: 0,
            zero: None,
            body_bytes: 0,
            scratch: Vec::new(),
            pending: Vec::new(),
            cut: 0,
            rest_until: Duration::ZERO,
        };
        plan.headers = plan.head(number);
        plan
    }

    pub fn events(&self) -> u64 {
        self.event
    }

    /// Payload given out to be written, chunk framing not counted.
    pub fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    pub fn answer(&self) -> &Answer {
        &self.answer
    }

    pub fn knobs(&self) -> &Knobs {
        &self.knobs
    }

    /// Let one more held event go.
    pub fn release(&mut self) {
        self.released += 1;
    }

    /// `elapsed` is the time since the request. `out` must be empty.
    pub fn step(&mut self, elapsed: Duration, out: &mut Vec<u8>) -> Step {
        if self.knobs.split == 0 {
            return self.next(elapsed, out);
        }
        if self.cut == self.pending.len() {
            self.cut = 0;
            self.pending.clear();
            let mut pending = std::mem::take(&mut self.pending);
            let step = self.next(elapsed, &mut pending);
            self.pending = pending;
            if step != Step::Write {
                return step;
            }
        }
        if elapsed < self.rest_until {
            return Step::At(self.rest_until);
        }
        let end = (self.cut + self.knobs.split).min(self.pending.len());
        out.extend_from_slice(&self.pending[self.cut..end]);
        self.cut = end;
        self.rest_until = elapsed + self.knobs.split_pause;
        Step::Write
    }

    fn next(&mut self, elapsed: Duration, out: &mut Vec<u8>) -> Step {
        match self.stage {
            Stage::Early => self.early(elapsed, out),
            Stage::Interim => {
                self.stage = Stage::Head(0);
                if !self.knobs.interim {
                    return self.next(elapsed, out);
                }
                out.extend_from_slice(b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n");
                Step::Write
            }
            Stage::Head(piece) => self.head_piece(piece, elapsed, out),
            Stage::Body if self.head_only => self.over(Step::Done { close: self.close }),
            Stage::Body => match self.answer.clone().body {
                Content::Whole(ref body) => {
                    let body = zipped(self.zip.is_some(), body);
                    self.whole(&body, out)
                }
                Content::Events(_) => self.events_due(elapsed, out),
            },
            Stage::Last => {
                self.over(Step::Done { close: self.close });
                if let Some(mut zip) = self.zip.take() {
                    let mut end = Vec::new();
                    zip.end(&mut end);
                    self.frame(&end, out);
                }
                if self.chunked {
                    out.extend_from_slice(b"0\r\n\r\n");
                }
                if out.is_empty() { Step::Done { close: self.close } } else { Step::Write }
            }
            Stage::Over(step) => step,
        }
    }

    fn over(&mut self, step: Step) -> Step {
        self.stage = Stage::Over(step);
        step
    }

    fn early(&mut self, elapsed: Duration, out: &mut Vec<u8>) -> Step {
        let streams = matches!(self.answer.body, Content::Events(_));
        let wait = if streams { self.knobs.head } else { self.knobs.head + self.knobs.first };
        if elapsed < wait {
            return Step::At(wait);
        }
        match self.knobs.fault {
            Some(Fault::Close) => self.over(Step::Done { close: true }),
            Some(Fault::Garbage) => {
                self.over(Step::Done { close: true });
                out.extend_from_slice(
                    b"\x16\x03\x01 220 this is not the protocol you are looking for\r\n\r\n\0\0",
                );
                Step::Write
            }
            _ => {
                self.stage = Stage::Interim;
                self.next(elapsed, out)
            }
        }
    }

    fn head_piece(&mut self, piece: usize, elapsed: Duration, out: &mut Vec<u8>) -> Step {
        if self.knobs.slow_head.is_zero() {
            self.stage = Stage::Body;
            out.extend_from_slice(&self.headers);
            return match &self.answer.body {
                // A short answer leaves with its head, as every server sends it.
                Content::Whole(_) if !self.head_only => self.next(elapsed, out),
                _ => Step::Write,
            };
        }
        let due = self.knobs.head + self.knobs.slow_head * piece as u32;
        if elapsed < due {
            return Step::At(due);
        }
        let size = self.headers.len().div_ceil(HEAD_PIECES);
        let from = (piece * size).min(self.headers.len());
        let to = (from + size).min(self.headers.len());
        out.extend_from_slice(&self.headers[from..to]);
        self.stage = if piece + 1 == HEAD_PIECES { Stage::Body } else { Stage::Head(piece + 1) };
        Step::Write
    }

    /// An answer without events: a fault strikes half-way.
    fn whole(&mut self, body: &[u8], out: &mut Vec<u8>) -> Step {
        let fault = self.fault_step(out);
        let part = if fault.is_some() { body.len() / 2 } else { body.len() };
        out.extend_from_slice(&body[..part]);
        self.body_bytes += part as u64;
        self.event = u64::from(fault.is_none() && !body.is_empty());
        self.over(fault.unwrap_or(Step::Done { close: self.close }));
        Step::Write
    }

    fn fault_step(&mut self, out: &mut Vec<u8>) -> Option<Step> {
        match self.knobs.fault? {
            Fault::Reset(_) => Some(Step::Reset),
            Fault::Stall(_) => Some(Step::Silent),
            Fault::Truncate(_) => Some(Step::Done { close: true }),
            Fault::BadChunk(_) if self.chunked => {
                out.extend_from_slice(b"zz\r\n");
                Some(Step::Done { close: true })
            }
            _ => None,
        }
    }

    fn events_due(&mut self, elapsed: Duration, out: &mut Vec<u8>) -> Step {
        let zero = *self.zero.get_or_insert(elapsed.max(self.knobs.head) + self.knobs.first);
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let stop = self.gather(zero, elapsed, &mut scratch, out);
        if !self.knobs.apart && !scratch.is_empty() {
            self.put(&scratch, out);
        }
        self.scratch = scratch;
        match stop {
            _ if !out.is_empty() => Step::Write,
            Some(step) => step,
            None => self.next(elapsed, out),
        }
    }

    /// Collect what may go out as one write: one event, or as many as `join` holds. What stops it is kept for the
    /// next call if something was collected.
    fn gather(
        &mut self,
        zero: Duration,
        elapsed: Duration,
        held: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Option<Step> {
        let answer = self.answer.clone();
        let Content::Events(events) = &answer.body else { return None };
        loop {
            let gathered = held.len() + out.len();
            if self.struck() {
                if gathered > 0 {
                    return None;
                }
                let step = self.fault_step(out);
                self.stage = step.map_or(self.stage, Stage::Over);
                return step;
            }
            if self.event == events.count() {
                self.stage = Stage::Last;
                return None;
            }
            let due = zero + self.knobs.delay * u32::try_from(self.event).unwrap_or(u32::MAX);
            if elapsed < due {
                return Some(Step::At(due));
            }
            if self.knobs.manual && events.is_text(self.event) {
                if self.released == 0 {
                    return Some(Step::Held);
                }
                self.released -= 1;
            }
            events.write(self.event, stamp_ns(), held);
            self.event += 1;
            if self.knobs.apart {
                self.put(held, out);
                held.clear();
            }
            if held.len() + out.len() >= self.knobs.join {
                return None;
            }
        }
    }

    fn struck(&self) -> bool {
        match self.knobs.fault {
            Some(Fault::Reset(n) | Fault::Stall(n) | Fault::Truncate(n)) => self.event >= n,
            Some(Fault::BadChunk(n)) => self.chunked && self.event >= n,
            _ => false,
        }
    }

    /// Payload as it goes out: gzipped where that is wanted, and in chunks.
    fn put(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        let Some(zip) = &mut self.zip else { return self.frame(payload, out) };
        let mut packed = Vec::with_capacity(payload.len() + 32);
        zip.part(payload, &mut packed);
        self.frame(&packed, out);
    }

    fn frame(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        self.body_bytes += payload.len() as u64;
        if !self.chunked {
            out.extend_from_slice(payload);
            return;
        }
        let size = if self.knobs.chunk == 0 { payload.len() } else { self.knobs.chunk };
        for piece in payload.chunks(size) {
            chunk(piece, out);
        }
    }

    fn head(&self, number: u64) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.answer.status, reason(self.answer.status));
        for (name, value) in &self.answer.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.zip.is_some() {
            head.push_str("content-encoding: gzip\r\nvary: accept-encoding\r\n");
        }
        head.push_str(&format!("server: synthetic\r\nx-synthetic-number: {number}\r\n"));
        if self.chunked {
            head.push_str("transfer-encoding: chunked\r\n");
        } else if let Content::Whole(body) = &self.answer.body
            && !self.knobs.close
        {
            let length = zipped(self.zip.is_some(), body).len();
            head.push_str(&format!("content-length: {length}\r\n"));
        }
        if self.close {
            head.push_str("connection: close\r\n");
        }
        head.push_str("\r\n");
        head.into_bytes()
    }
}

fn zipped(wanted: bool, body: &[u8]) -> Cow<'_, [u8]> {
    if !wanted || body.is_empty() {
        return Cow::Borrowed(body);
    }
    let (mut zip, mut out) = (Zip::default(), Vec::with_capacity(body.len() + 64));
    zip.part(body, &mut out);
    zip.end(&mut out);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All writes with the times they were due, and the end.
    fn play(knobs: &str) -> (Vec<(u64, Vec<u8>)>, Step) {
        let knobs = Knobs::of(knobs);
        let answer = Arc::new(Answer::new("POST", "/v1/messages", b"", &knobs));
        let mut plan = Plan::new(answer, knobs, 1, false, false);
        let (mut writes, mut now) = (Vec::new(), Duration::ZERO);
        loop {
            let mut out = Vec::new();
            match plan.step(now, &mut out) {
                Step::Write => writes.push((now.as_millis() as u64, out)),
                Step::At(due) => {
                    assert!(due > now, "a wait must pass time");
                    now = due;
                }
                end => return (writes, end),
            }
        }
    }

    #[test]
    fn paced_on_a_schedule() {
        let (writes, end) = play("blind=1,events=3,delay_ms=50,first_ms=100");
        let times: Vec<u64> = writes.iter().map(|(t, _)| *t).collect();
        // Head, then nine events: three of the opening, three of text, three of the closing; then the last chunk.
        assert_eq!(times, [0, 100, 150, 200, 250, 300, 350, 400, 450, 500, 500]);
        assert_eq!(end, Step::Done { close: false });
        assert_eq!(writes[10].1, b"0\r\n\r\n");
    }

    #[test]
    fn joined_and_split_are_the_same_bytes() {
        let all = |knobs| play(knobs).0.into_iter().flat_map(|(_, b)| b).collect::<Vec<u8>>();
        let plain = all("blind=1,events=50");
        assert_eq!(all("blind=1,events=50,split=7"), plain);
        assert_eq!(all("blind=1,events=50,join=9000,apart=1"), plain);
        assert_eq!(play("blind=1,events=50,join=1000000").0.len(), 3);
        assert!(play("blind=1,events=5,split=3").0.iter().all(|(_, b)| b.len() <= 3));
    }

    #[test]
    fn faults_end_as_they_are_named() {
        assert_eq!(play("blind=1,events=9,fault=reset@4").1, Step::Reset);
        assert_eq!(play("blind=1,events=9,fault=reset@4").0.len(), 5);
        assert_eq!(play("blind=1,events=9,fault=stall@0").1, Step::Silent);
        assert_eq!(play("blind=1,events=9,fault=truncate@4").1, Step::Done { close: true });
        assert_eq!(play("blind=1,fault=close"), (vec![], Step::Done { close: true }));
        let (writes, _) = play("blind=1,events=9,fault=badchunk@4");
        assert_eq!(writes.last().expect("some").1, b"zz\r\n");
        assert_eq!(play("blind=1,manual=1").1, Step::Held);
        let (writes, _) = play("blind=1,stream=0,fault=truncate,bytes=2000");
        assert!(writes[0].1.windows(18).any(|w| w.starts_with(b"content-length: ")));
    }

    #[test]
    fn slow_head_comes_in_pieces() {
        let (writes, _) = play("blind=1,events=1,slow_head_ms=10,interim=1");
        let times: Vec<u64> = writes.iter().map(|(t, _)| *t).collect();
        assert_eq!(times[..9], [0, 0, 10, 20, 30, 40, 50, 60, 70]);
        assert!(writes[0].1.starts_with(b"HTTP/1.1 103"));
    }
}
