//! Exact bytes to answer with, given by a test: recorded files served in any framing and any cutting.

use std::time::Duration;

use crate::http::{chunk, mix, reason};

/// A response, spelled out. By default framed by content-length, in one write, and the connection stays.
#[derive(Debug, Clone)]
pub struct Canned {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    framing: Framing,
    writes: Writes,
    pause: Duration,
    keep: Option<usize>,
    ending: Ending,
}

#[derive(Debug, Clone)]
enum Framing {
    Length,
    Chunked(Vec<usize>),
    Close,
    /// The body is everything, head included.
    Raw,
    /// The head says what the test's headers say, nothing is added.
    Bare,
}

#[derive(Debug, Clone)]
enum Writes {
    Whole,
    Sizes(Vec<usize>),
    Seeded(u64, usize),
}

/// What happens to the connection afterwards.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Ending {
    Keep,
    Close,
    Reset,
    Stall,
}

impl Canned {
    pub fn new(status: u16) -> Canned {
        Canned {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            framing: Framing::Length,
            writes: Writes::Whole,
            pause: Duration::ZERO,
            keep: None,
            ending: Ending::Keep,
        }
    }

    /// These bytes and nothing else, then the connection closes.
    pub fn raw(bytes: impl AsRef<[u8]>) -> Canned {
        Canned { framing: Framing::Raw, ending: Ending::Close, ..Canned::new(0).body(bytes) }
    }

    pub fn header(mut self, name: &str, value: &str) -> Canned {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn body(mut self, body: impl AsRef<[u8]>) -> Canned {
        body.as_ref().clone_into(&mut self.body);
        self
    }

    /// Chunked: sizes in order, the last one repeats. None at all: the body as one chunk.
    pub fn chunked(mut self, sizes: &[usize]) -> Canned {
        self.framing = Framing::Chunked(sizes.to_vec());
        self
    }

    /// The end of the connection is the end of the body.
    pub fn close_delimited(mut self) -> Canned {
        (self.framing, self.ending) = (Framing::Close, Ending::Close);
        self
    }

    /// Add no framing header: the test's own headers say it (or lie).
    pub fn bare(mut self) -> Canned {
        self.framing = Framing::Bare;
        self
    }

    /// Sizes of the writes over the whole wire image, head included; the last one repeats.
    pub fn writes(mut self, sizes: &[usize]) -> Canned {
        self.writes = Writes::Sizes(sizes.to_vec());
        self
    }

    /// Writes of 1..=max bytes, by seed.
    pub fn cuts(mut self, seed: u64, bytes_max: usize) -> Canned {
        self.writes = Writes::Seeded(seed, bytes_max.max(1));
        self
    }

    /// Between writes, so that they arrive apart.
    pub fn pause(mut self, pause: Duration) -> Canned {
        self.pause = pause;
        self
    }

    /// Close after the answer.
    pub fn then_close(mut self) -> Canned {
        self.ending = Ending::Close;
        self
    }

    /// RST after the answer.
    pub fn then_reset(mut self) -> Canned {
        self.ending = Ending::Reset;
        self
    }

    /// Silence after the answer, until the peer goes.
    pub fn then_stall(mut self) -> Canned {
        self.ending = Ending::Stall;
        self
    }

    /// Only the first bytes of the wire image go out, then the connection closes (unless told otherwise before).
    pub fn truncated(mut self, wire_bytes: usize) -> Canned {
        self.keep = Some(wire_bytes);
        if self.ending == Ending::Keep {
            self.ending = Ending::Close;
        }
        self
    }

    /// Everything that goes on the wire.
    pub fn wire(&self) -> Vec<u8> {
        let mut wire = Vec::with_capacity(self.body.len() + 512);
        if !matches!(self.framing, Framing::Raw) {
            self.head(&mut wire);
        }
        match &self.framing {
            Framing::Chunked(sizes) => {
                for piece in cut(&self.body, sizes) {
                    chunk(piece, &mut wire);
                }
                wire.extend_from_slice(b"0\r\n\r\n");
            }
            _ => wire.extend_from_slice(&self.body),
        }
        wire.truncate(self.keep.unwrap_or(usize::MAX));
        wire
    }

    fn head(&self, wire: &mut Vec<u8>) {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match &self.framing {
            Framing::Length => head.push_str(&format!("content-length: {}\r\n", self.body.len())),
            Framing::Chunked(_) => head.push_str("transfer-encoding: chunked\r\n"),
            Framing::Close | Framing::Raw | Framing::Bare => {}
        }
        head.push_str("\r\n");
        wire.extend_from_slice(head.as_bytes());
    }

    /// The wire image in the pieces it is written in.
    pub(crate) fn pieces<'a>(&self, wire: &'a [u8]) -> Vec<&'a [u8]> {
        match &self.writes {
            Writes::Whole => vec![wire],
            Writes::Sizes(sizes) => cut(wire, sizes),
            Writes::Seeded(seed, max) => {
                let (mut pieces, mut rest, mut roll) = (Vec::new(), wire, *seed);
                while !rest.is_empty() {
                    roll = mix(roll.wrapping_add(0x9e37_79b9));
                    let (piece, after) = rest.split_at((1 + roll as usize % max).min(rest.len()));
                    pieces.push(piece);
                    rest = after;
                }
                pieces
            }
        }
    }

    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    pub(crate) fn body_bytes(&self) -> u64 {
        self.body.len() as u64
    }

    pub(crate) fn between(&self) -> Duration {
        self.pause
    }

    pub(crate) fn ending(&self) -> Ending {
        self.ending
    }

    pub(crate) fn whole(&self) -> bool {
        self.keep.is_none()
    }
}

/// `bytes` in pieces of those sizes, the last repeating; zero counts as one.
fn cut<'a>(bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let (mut pieces, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let size = sizes.get(pieces.len()).or(sizes.last()).copied().unwrap_or(usize::MAX);
        let (piece, after) = rest.split_at(size.clamp(1, rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framings() {
        let canned = Canned::new(200).header("a", "b").body("hello");
        assert_eq!(canned.wire(), b"HTTP/1.1 200 OK\r\na: b\r\ncontent-length: 5\r\n\r\nhello");
        let chunked = canned.clone().chunked(&[1, 3]).wire();
        assert!(chunked.ends_with(b"\r\n\r\n1\r\nh\r\n3\r\nell\r\n1\r\no\r\n0\r\n\r\n"));
        assert_eq!(Canned::raw("x").wire(), b"x");
        assert_eq!(canned.truncated(4).wire(), b"HTTP");
    }

    #[test]
    fn cutting_loses_nothing() {
        let wire: Vec<u8> = (0..=255).collect();
        for canned in [Canned::new(200).writes(&[1, 0, 50]), Canned::new(200).cuts(9, 13), Canned::new(200)] {
            assert_eq!(canned.pieces(&wire).concat(), wire);
        }
    }
}
