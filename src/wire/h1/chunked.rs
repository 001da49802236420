//! Chunked transfer coding (RFC 9112 7.1): finds where data lies and where the message ends, copies nothing.
//!
//! ```text
//!        ┌─────────────────────────────────────────────────────────┐
//!        ▼                                                         │
//!      Size ─blank─▶ Pad ─;─▶ Ext ──CR──▶ SizeLf ──n>0──▶ Data(n) ─▶ DataCr ─▶ DataLf
//!        └─────;──────────────▲             │
//!                                           └──n=0──▶ LineStart ──CR──▶ EndLf ──▶ Done
//!                                                        ▲  │
//!                                                        │  └─name─▶ Name ─:─▶ Value ──CR──▶ TrailerLf
//!                                                        └─────────────────────────────────────┘
//! ```
//!
//! `Data` skips n bytes at once, so the cost is per chunk and not per byte.

use std::ops::Range;

use super::framing::{FramingFault, Scan};
use super::is_token;

/// Digits of a chunk size: 15 hexadecimal digits stay far below 2^63.
const SIZE_DIGITS_MAX: u8 = 15;
/// Bytes of extensions per chunk; those that are more than twice its data are counted up to [`EXCESS_BYTES_MAX`].
const EXTENSION_BYTES_MAX: u32 = 4096;
/// How much longer the extensions of a message may be than its data. Without this bound a body of some megabytes would be
/// some gigabytes on the way.
const EXCESS_BYTES_MAX: u32 = 64 * 1024;
/// Bytes of trailers per message.
const TRAILER_BYTES_MAX: u32 = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size { value: u64, digits: u8 },
    Pad { value: u64, seen: u32 },
    Ext { value: u64, seen: u32 },
    SizeLf { value: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    LineStart,
    Name,
    Value,
    TrailerLf,
    EndLf,
    Done,
}

/// Where the scan of one chunked message stands.
#[derive(Clone, Debug)]
pub struct Chunked {
    state: State,
    trailer_bytes: u32,
    excess_bytes: u32,
}

impl Default for Chunked {
    fn default() -> Self {
        Self { state: State::Size { value: 0, digits: 0 }, trailer_bytes: 0, excess_bytes: 0 }
    }
}

impl Chunked {
    /// Whether the last chunk and its trailers have passed.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Scan a block; `data` receives the ranges of it that are content. Stops behind the end of the message.
    pub fn scan(&mut self, block: &[u8], data: &mut Vec<Range<usize>>) -> Result<Scan, FramingFault> {
        let mut at = 0;
        while at < block.len() && self.state != State::Done {
            at = match self.state {
                State::Data { left } => self.skip_data(block, at, left, data),
                _ => {
                    self.state = self.step(block[at])?;
                    at + 1
                }
            };
        }
        Ok(Scan { used: at, done: self.is_done() })
    }

    fn skip_data(&mut self, block: &[u8], at: usize, left: u64, data: &mut Vec<Range<usize>>) -> usize {
        let here = left.min((block.len() - at) as u64);
        let end = at + here as usize;
        data.push(at..end);
        self.state = if here == left { State::DataCr } else { State::Data { left: left - here } };
        end
    }

    fn step(&mut self, byte: u8) -> Result<State, FramingFault> {
        use FramingFault::{BadChunk, ExtensionTooLong};
        Ok(match self.state {
            State::Size { value, digits } => return size(byte, value, digits),
            State::Pad { value, seen } | State::Ext { value, seen } if byte == b'\r' => {
                let paid = u32::try_from(value.saturating_mul(2)).unwrap_or(u32::MAX);
                self.excess_bytes = (self.excess_bytes + seen).saturating_sub(paid);
                State::SizeLf { value }
            }
            State::Pad { seen, .. } | State::Ext { seen, .. }
                if seen >= EXTENSION_BYTES_MAX || self.excess_bytes > EXCESS_BYTES_MAX =>
            {
                return Err(ExtensionTooLong);
            }
            State::Pad { value, seen } if byte == b';' => State::Ext { value, seen },
            State::Pad { value, seen } if matches!(byte, b' ' | b'\t') => {
                State::Pad { value, seen: seen + 1 }
            }
            // Control bytes have no place in an extension; a bare LF is the classic way to hide a second size line.
            State::Ext { .. } if byte < b' ' && byte != b'\t' || byte == 0x7f => return Err(BadChunk),
            State::Ext { value, seen } => State::Ext { value, seen: seen + 1 },
            State::SizeLf { value: 0 } if byte == b'\n' => State::LineStart,
            State::SizeLf { value } if byte == b'\n' => State::Data { left: value },
            State::DataCr if byte == b'\r' => State::DataLf,
            State::DataLf if byte == b'\n' => State::Size { value: 0, digits: 0 },
            State::LineStart if byte == b'\r' => State::EndLf,
            State::LineStart | State::Name | State::Value => return self.trailer(byte),
            State::TrailerLf if byte == b'\n' => State::LineStart,
            State::EndLf if byte == b'\n' => State::Done,
            _ => return Err(BadChunk),
        })
    }

    /// What has no name, or is folded, may pass for something else elsewhere.
    fn trailer(&mut self, byte: u8) -> Result<State, FramingFault> {
        self.trailer_bytes += 1;
        match (self.state, byte) {
            _ if self.trailer_bytes > TRAILER_BYTES_MAX => Err(FramingFault::TrailerTooLong),
            (State::Value, b'\r') => Ok(State::TrailerLf),
            (State::Value, _) if byte >= b' ' && byte != 0x7f || byte == b'\t' => Ok(State::Value),
            (State::Name, b':') => Ok(State::Value),
            (State::LineStart | State::Name, _) if is_token(byte) => Ok(State::Name),
            _ => Err(FramingFault::BadChunk),
        }
    }
}

/// At least one digit, no sign, no space before it (RFC 9112 7.1; smuggling by an empty size line).
fn size(byte: u8, value: u64, digits: u8) -> Result<State, FramingFault> {
    let digit = match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        b'\r' if digits > 0 => return Ok(State::SizeLf { value }),
        b';' if digits > 0 => return Ok(State::Ext { value, seen: 0 }),
        b' ' | b'\t' if digits > 0 => return Ok(State::Pad { value, seen: 0 }),
        _ => return Err(FramingFault::BadChunk),
    };
    if digits == SIZE_DIGITS_MAX {
        return Err(FramingFault::ChunkTooLarge);
    }
    Ok(State::Size { value: value << 4 | u64::from(digit), digits: digits + 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(message: &[u8], step: usize) -> Result<(Vec<u8>, usize, bool), FramingFault> {
        let (mut scan, mut out, mut used) = (Chunked::default(), Vec::new(), 0);
        for block in message.chunks(step) {
            let mut ranges = Vec::new();
            let seen = scan.scan(block, &mut ranges)?;
            ranges.into_iter().for_each(|range| out.extend_from_slice(&block[range]));
            used += seen.used;
            if seen.done {
                break;
            }
        }
        Ok((out, used, scan.is_done()))
    }

    #[test]
    fn data_is_found_at_every_split_and_the_next_message_is_left() {
        let message = b"5;ext=\"a b\"\r\nhello\r\n00003 \r\n!!!\r\n0\r\nx-sum: 1\r\nvary: a\r\n\r\n";
        let mut with_next = message.to_vec();
        with_next.extend_from_slice(b"GET / HTTP/1.1\r\n");
        for step in 1..with_next.len() {
            assert_eq!(
                content(&with_next, step),
                Ok((b"hello!!!".to_vec(), message.len(), true)),
                "step {step}"
            );
        }
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_refused() {
        for bad in [
            &b"\r\n\r\n"[..],
            b"\r\n0\r\n\r\n",
            b" 5\r\nhello\r\n0\r\n\r\n",
            b"+5\r\nhello\r\n",
            b"0x5\r\nhello\r\n",
            b"5\nhello\r\n",
            b"5 6\r\nhello\r\n",
            b"5 hello\r\nhello\r\n",
            b"5\r\nhelloX\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"5;a\n\r\nhello\r\n",
            b"0\r\n\r\rX",
            b"0\r\nbad\ntrailer\r\n\r\n",
            b"0\r\nno colon\r\n\r\n",
            b"0\r\nHTTP/1.1 200 OK\r\n\r\n",
            b"0\r\n: no name\r\n\r\n",
            b"0\r\nspaced : a\r\n\r\n",
            b"0\r\na: b\r\n folded\r\n\r\n",
            b"1000000000000000\r\n",
            b"-1\r\n",
        ] {
            assert!(content(bad, bad.len()).is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let mut long = b"1;".to_vec();
        long.resize(EXTENSION_BYTES_MAX as usize + 10, b'e');
        assert_eq!(content(&long, 100), Err(FramingFault::ExtensionTooLong));
        // As long in sum as their data may not grow without end; those of usual size beside usual data may.
        let mut many = b"1;0123456789abcdef0123456789abcdef\r\nx\r\n".repeat(10_000);
        assert_eq!(content(&many, 100), Err(FramingFault::ExtensionTooLong));
        many = [&b"40;chunk-signature=0123456789abcdef0123456789abcdef\r\n"[..], &[b'x'; 64], b"\r\n"]
            .concat()
            .repeat(10_000);
        assert_eq!(content(&many, 100).map(|(data, ..)| data.len()), Ok(640_000));
        let mut trailers = b"0\r\nt:".to_vec();
        trailers.resize(TRAILER_BYTES_MAX as usize + 10, b't');
        assert_eq!(content(&trailers, 100), Err(FramingFault::TrailerTooLong));
    }
}
