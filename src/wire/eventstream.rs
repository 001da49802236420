//! AWS's binary event stream (`application/vnd.amazon.eventstream`): frames in any chunking, both checksums verified.
//!
//! ```text
//!   total u32 │ headers u32 │ crc u32 │ headers … │ payload … │ crc u32        big endian; the last crc covers all before it
//!   header:  length u8, name │ type u8 │ value
//! ```

use std::ops::Range;

/// Longest frame that is held; the protocol itself allows 24 MiB and Bedrock sends kilobytes.
const FRAME_BYTES_MAX: usize = 16 << 20;

const PRELUDE: usize = 12;
const CHECKSUM: usize = 4;

/// Why a stream can be read no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameFault {
    /// A checksum does not fit.
    Checksum,
    /// Lengths that cannot be, or a header of unknown form.
    Malformed,
    /// A frame longer than is held.
    TooLong,
}

/// Splits a stream into frames.
#[derive(Debug, Default)]
pub struct Frames {
    held: Vec<u8>,
    /// Bytes of `held` that have been handed out.
    done: usize,
}

/// One frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    headers: &'a [u8],
    /// Its payload.
    pub payload: &'a [u8],
}

/// Value of a header. Only the forms that are used are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A text.
    Text(&'a [u8]),
    /// A whole number of any width; a moment, in milliseconds.
    Number(i64),
    /// Yes or no.
    Bool(bool),
    /// Bytes, or an identifier.
    Bytes(&'a [u8]),
}

impl Frames {
    /// Add bytes as they come.
    pub fn feed(&mut self, block: &[u8]) {
        self.held.drain(..self.done);
        self.done = 0;
        self.held.extend_from_slice(block);
    }

    /// The next whole frame. After a fault there are no further ones.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, FrameFault> {
        let Some(length) = self.next_length()? else { return Ok(None) };
        let frame = self.done..self.done + length;
        if frame.end > self.held.len() {
            return Ok(None);
        }
        self.done = frame.end;
        parse(&self.held[frame]).map(Some)
    }

    /// Whether a frame is cut off.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.done < self.held.len()
    }

    /// Bytes held between blocks.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held.capacity()
    }

    /// Length of the frame whose prelude has come; the prelude is verified before its length is believed.
    fn next_length(&self) -> Result<Option<usize>, FrameFault> {
        let Some(prelude) = self.held[self.done..].first_chunk::<PRELUDE>() else { return Ok(None) };
        let (total, headers) = (u32_at(prelude, 0) as usize, u32_at(prelude, 4) as usize);
        if crc32fast::hash(&prelude[..8]) != u32_at(prelude, 8) {
            return Err(FrameFault::Checksum);
        }
        if total > FRAME_BYTES_MAX {
            return Err(FrameFault::TooLong);
        }
        if total < PRELUDE + CHECKSUM || headers > total - PRELUDE - CHECKSUM {
            return Err(FrameFault::Malformed);
        }
        Ok(Some(total))
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u32::from_be_bytes(*word))
}

/// Append a frame with headers that are texts.
pub fn write_frame(out: &mut Vec<u8>, headers: &[(&str, &str)], payload: &[u8]) {
    const TEXT: u8 = 7;
    let mut written = Vec::new();
    for (name, value) in headers {
        written.push(name.len() as u8);
        written.extend_from_slice(name.as_bytes());
        written.push(TEXT);
        written.extend_from_slice(&(value.len() as u16).to_be_bytes());
        written.extend_from_slice(value.as_bytes());
    }
    let begin = out.len();
    let total = PRELUDE + written.len() + payload.len() + CHECKSUM;
    out.extend_from_slice(&(total as u32).to_be_bytes());
    out.extend_from_slice(&(written.len() as u32).to_be_bytes());
    out.extend_from_slice(&crc32fast::hash(&out[begin..]).to_be_bytes());
    out.extend_from_slice(&written);
    out.extend_from_slice(payload);
    out.extend_from_slice(&crc32fast::hash(&out[begin..]).to_be_bytes());
}

/// A whole frame, its prelude already verified.
fn parse(frame: &[u8]) -> Result<Frame<'_>, FrameFault> {
    let end = frame.len() - CHECKSUM;
    if crc32fast::hash(&frame[..end]) != u32_at(frame, end) {
        return Err(FrameFault::Checksum);
    }
    let (headers, payload) = frame[PRELUDE..end].split_at(u32_at(frame, 4) as usize);
    let parsed = Frame { headers, payload };
    // A header that cannot be read makes the whole frame unreadable.
    let mut rest = headers;
    while !rest.is_empty() {
        rest = next_header(rest).ok_or(FrameFault::Malformed)?.2;
    }
    Ok(parsed)
}

impl<'a> Frame<'a> {
    /// Every header in order.
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], Value<'a>)> {
        let mut rest = self.headers;
        std::iter::from_fn(move || {
            let (name, value, after) = next_header(rest)?;
            rest = after;
            Some((name, value))
        })
    }

    /// The text of a header; empty if there is none.
    #[must_use]
    pub fn text(&self, name: &str) -> &'a [u8] {
        let found = self.headers().find_map(|(n, value)| match value {
            Value::Text(text) if n == name.as_bytes() => Some(text),
            _ => None,
        });
        found.unwrap_or_default()
    }
}

fn next_header(bytes: &[u8]) -> Option<(&[u8], Value<'_>, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*length))?;
    let (kind, rest) = rest.split_first()?;
    if name.is_empty() {
        return None;
    }
    let part = |range: Range<usize>| rest.get(range);
    let number = |width: usize| part(0..width).map(|bytes| (Value::Number(signed(bytes)), width));
    let sized = || {
        let length = usize::from(u16::from_be_bytes(*rest.first_chunk()?));
        Some((part(2..2 + length)?, 2 + length))
    };
    let (value, width) = match kind {
        0 => (Value::Bool(true), 0),
        1 => (Value::Bool(false), 0),
        2 => number(1)?,
        3 => number(2)?,
        4 => number(4)?,
        5 | 8 => number(8)?,
        6 => sized().map(|(bytes, width)| (Value::Bytes(bytes), width))?,
        7 => sized().map(|(text, width)| (Value::Text(text), width))?,
        9 => (Value::Bytes(part(0..16)?), 16),
        _ => return None,
    };
    Some((name, value, rest.get(width..)?))
}

/// A signed number of any width up to eight bytes.
fn signed(bytes: &[u8]) -> i64 {
    let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
    bytes.iter().fold(if negative { -1 } else { 0 }, |n, byte| n << 8 | i64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(headers: &[u8], payload: &[u8]) -> Vec<u8> {
        let total = u32::try_from(PRELUDE + headers.len() + payload.len() + CHECKSUM).unwrap();
        let mut out = total.to_be_bytes().to_vec();
        out.extend_from_slice(&u32::try_from(headers.len()).unwrap().to_be_bytes());
        out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
        out.extend_from_slice(headers);
        out.extend_from_slice(payload);
        out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
        out
    }

    const HEADERS: &[u8] = b"\x01a\x07\x00\x02xy\x01b\x04\xff\xff\xff\xfe\x01c\x00\x01d\x06\x00\x01z";

    #[test]
    fn frames_in_any_split() {
        let stream = [frame(HEADERS, b"one"), frame(b"", b""), frame(b"", b"three")].concat();
        for cut in 0..stream.len() {
            let mut frames = Frames::default();
            let mut payloads = Vec::new();
            for block in [&stream[..cut], &stream[cut..]] {
                frames.feed(block);
                while let Some(frame) = frames.next_frame().unwrap() {
                    payloads.push(frame.payload.to_vec());
                }
            }
            assert_eq!(payloads, [&b"one"[..], b"", b"three"], "cut at {cut}");
            assert!(!frames.is_pending());
        }
    }

    #[test]
    fn headers_of_every_form() {
        let mut frames = Frames::default();
        frames.feed(&frame(HEADERS, b""));
        let frame = frames.next_frame().unwrap().unwrap();
        assert_eq!(frame.text("a"), b"xy");
        assert_eq!(frame.text("b"), b"");
        let values: Vec<_> = frame.headers().map(|(_, value)| value).collect();
        assert_eq!(values[1..], [Value::Number(-2), Value::Bool(true), Value::Bytes(b"z")]);
    }

    #[test]
    fn what_is_written_is_read() {
        let mut stream = b"before".to_vec();
        write_frame(&mut stream, &[(":event-type", "messageStop"), ("a", "")], b"{}");
        let mut frames = Frames::default();
        frames.feed(&stream[6..]);
        let frame = frames.next_frame().unwrap().unwrap();
        assert_eq!((frame.text(":event-type"), frame.payload), (&b"messageStop"[..], &b"{}"[..]));
        assert_eq!(frame.headers().count(), 2);
    }

    #[test]
    fn broken_frames_are_refused() {
        let good = frame(HEADERS, b"payload");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            let mut frames = Frames::default();
            frames.feed(&bad);
            assert!(frames.next_frame().is_err(), "byte {at}");
        }
        for headers in [&b"\x00\x07\x00\x01x"[..], b"\x01a\x0a", b"\x05a", b"\x01a\x07\x00\x09x"] {
            let mut frames = Frames::default();
            frames.feed(&frame(headers, b""));
            assert_eq!(frames.next_frame().unwrap_err(), FrameFault::Malformed);
        }
    }
}
