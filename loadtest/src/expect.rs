//! The bytes a client must receive, compared as they arrive. Nothing is collected: one event is held at a time.

use std::ops::Range;
use std::sync::Arc;

use crate::answer::{Answer, Content};
use crate::gzip::Unzip;

/// Where what arrived differs from what was sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Mismatch {
    /// Offset in the response body.
    pub at: u64,
    /// What should stand there, and what does: a few dozen bytes each.
    pub expected: String,
    pub received: String,
}

#[derive(Debug)]
pub struct Expect {
    answer: Arc<Answer>,
    /// Events whose every byte has been seen.
    events: u64,
    bytes: u64,
    current: Vec<u8>,
    at: usize,
    stamp: Option<Range<usize>>,
    stamp_ns: u64,
    /// Where the bytes arrive gzipped.
    unzip: Option<Unzip>,
}

impl Expect {
    pub fn new(answer: Arc<Answer>) -> Expect {
        let mut expect = Expect {
            unzip: answer.gzip.then(Unzip::default),
            answer,
            events: 0,
            bytes: 0,
            current: Vec::new(),
            at: 0,
            stamp: None,
            stamp_ns: 0,
        };
        expect.load();
        expect
    }

    /// Compare; `on_event` is called for each event completed, with its stamp if it has one.
    pub fn feed(&mut self, bytes: &[u8], mut on_event: impl FnMut(Option<u64>)) -> Result<(), Mismatch> {
        let Some(mut unzip) = self.unzip.take() else { return self.compare(bytes, &mut on_event) };
        let mut compared = Ok(());
        let unpacked = unzip.feed(bytes, |part| {
            if compared.is_ok() {
                compared = self.compare(part, &mut on_event);
            }
        });
        self.unzip = Some(unzip);
        compared?;
        unpacked.map_err(|why| Mismatch {
            at: self.bytes,
            expected: "a gzip member as it was packed".to_owned(),
            received: why.to_owned(),
        })
    }

    fn compare(&mut self, bytes: &[u8], on_event: &mut impl FnMut(Option<u64>)) -> Result<(), Mismatch> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.events == self.count() {
                return Err(self.mismatch(rest));
            }
            let stamped = self.stamp.clone().filter(|s| s.contains(&self.at));
            let end = match (&stamped, &self.stamp) {
                (Some(stamp), _) => stamp.end,
                (None, Some(stamp)) if self.at < stamp.start => stamp.start,
                _ => self.current.len(),
            };
            let take = rest.len().min(end - self.at);
            let (piece, after) = rest.split_at(take);
            if stamped.is_some() {
                self.read_stamp(piece).map_err(|()| self.mismatch(rest))?;
            } else if piece != &self.current[self.at..self.at + take] {
                return Err(self.mismatch(rest));
            }
            self.at += take;
            self.bytes += take as u64;
            rest = after;
            if self.at == self.current.len() {
                on_event(self.stamp.is_some().then_some(self.stamp_ns));
                self.events += 1;
                self.load();
            }
        }
        Ok(())
    }

    /// Every byte of the body has been seen.
    pub fn complete(&self) -> bool {
        self.events == self.count()
            && self.unzip.as_ref().is_none_or(|unzip| unzip.done() || self.events == 0)
    }

    pub fn events(&self) -> u64 {
        self.events
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn answer(&self) -> &Answer {
        &self.answer
    }

    fn count(&self) -> u64 {
        match &self.answer.body {
            Content::Whole(body) => u64::from(!body.is_empty()),
            Content::Events(events) => events.count(),
        }
    }

    fn load(&mut self) {
        self.current.clear();
        (self.at, self.stamp, self.stamp_ns) = (0, None, 0);
        if self.events == self.count() {
            return;
        }
        match &self.answer.body {
            Content::Whole(body) => self.current.extend_from_slice(body),
            Content::Events(events) => self.stamp = events.write(self.events, 0, &mut self.current),
        }
    }

    fn read_stamp(&mut self, digits: &[u8]) -> Result<(), ()> {
        for digit in digits {
            if !digit.is_ascii_digit() {
                return Err(());
            }
            self.stamp_ns = self.stamp_ns.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        }
        Ok(())
    }

    fn mismatch(&self, received: &[u8]) -> Mismatch {
        let expected = &self.current[self.at..];
        let same = expected.iter().zip(received).take_while(|(a, b)| a == b).count();
        let show = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        Mismatch {
            at: self.bytes + same as u64,
            expected: show(&expected[same..]),
            received: show(&received[same..]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Knobs;

    fn wire(answer: &Answer) -> Vec<u8> {
        let Content::Events(events) = &answer.body else { panic!("not a stream") };
        let mut out = Vec::new();
        (0..events.count()).for_each(|i| _ = events.write(i, 1_234_567 + i, &mut out));
        out
    }

    #[test]
    fn any_cutting_is_the_same_stream() {
        let answer = Answer::new("POST", "/v1/messages", b"", &Knobs::of("blind=1,stamp=1,events=9"));
        let (wire, answer) = (wire(&answer), Arc::new(answer));
        for size in [1, 2, 7, 64, 4096] {
            let (mut expect, mut stamps) = (Expect::new(answer.clone()), Vec::new());
            for piece in wire.chunks(size) {
                expect.feed(piece, |s| stamps.extend(s)).expect("same bytes");
            }
            assert!(expect.complete());
            assert_eq!(stamps, (3..12).map(|i| 1_234_567 + i).collect::<Vec<_>>());
        }
    }

    #[test]
    fn one_changed_byte_is_found_where_it_is() {
        let answer = Answer::new("POST", "/v1/chat/completions", b"", &Knobs::of("blind=1,events=3"));
        let (good, answer) = (wire(&answer), Arc::new(answer));
        for at in (0..good.len()).step_by(17) {
            let mut wire = good.clone();
            wire[at] ^= 1;
            let mut expect = Expect::new(answer.clone());
            assert_eq!(expect.feed(&wire, |_| ()).expect_err("changed").at, at as u64);
        }
        let mut expect = Expect::new(answer);
        expect.feed(&good, |_| ()).expect("same");
        assert!(expect.feed(b"x", |_| ()).is_err(), "a byte too many");
    }
}
