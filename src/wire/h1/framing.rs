//! Where a message body ends (RFC 9112 6.3), over all four ways of saying it.

use std::fmt;
use std::ops::Range;

use super::chunked::Chunked;

/// How the body of one message is delimited, and how far its scan has come.
#[derive(Clone, Debug)]
pub enum Framing {
    /// There is no body.
    None,
    /// `Content-Length`: bytes still to come.
    Length(u64),
    /// Chunked transfer coding.
    Chunked(Chunked),
    /// Until the connection closes; only responses.
    UntilClose,
}

/// What a scan found in one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Bytes of the block that belong to this message.
    pub used: usize,
    /// Whether the message ended within the block.
    pub done: bool,
}

/// Why framing is broken. Where it is in doubt the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramingFault {
    /// A chunk header, chunk end or trailer is malformed.
    BadChunk,
    /// A chunk size has more than 15 digits.
    ChunkTooLarge,
    /// Chunk extensions over their bound.
    ExtensionTooLong,
    /// Trailers over their bound.
    TrailerTooLong,
}

impl fmt::Display for FramingFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FramingFault::BadChunk => "malformed chunk (RFC 9112 7.1)",
            FramingFault::ChunkTooLarge => "chunk size of more than 15 digits",
            FramingFault::ExtensionTooLong => "chunk extensions over 4096 bytes",
            FramingFault::TrailerTooLong => "trailers over 16384 bytes",
        })
    }
}

impl std::error::Error for FramingFault {}

impl Framing {
    /// Scan a block; `data` receives the ranges of it that are content.
    pub fn scan(&mut self, block: &[u8], data: &mut Vec<Range<usize>>) -> Result<Scan, FramingFault> {
        match self {
            Framing::None => Ok(Scan { used: 0, done: true }),
            Framing::Length(left) => {
                let used = usize::try_from(*left).unwrap_or(usize::MAX).min(block.len());
                if used > 0 {
                    data.push(0..used);
                }
                *left -= used as u64;
                Ok(Scan { used, done: *left == 0 })
            }
            Framing::Chunked(chunked) => chunked.scan(block, data),
            Framing::UntilClose => {
                if !block.is_empty() {
                    data.push(0..block.len());
                }
                Ok(Scan { used: block.len(), done: false })
            }
        }
    }

    /// Whether the message is over, as far as bytes can tell.
    #[must_use]
    pub fn is_done(&self) -> bool {
        match self {
            Framing::None | Framing::Length(0) => true,
            Framing::Length(_) | Framing::UntilClose => false,
            Framing::Chunked(chunked) => chunked.is_done(),
        }
    }

    /// Whether the end of the connection here is a proper end of the message.
    #[must_use]
    pub fn may_end_here(&self) -> bool {
        matches!(self, Framing::UntilClose) || self.is_done()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_ends_where_it_says() {
        let mut framing = Framing::Length(5);
        let mut data = Vec::new();
        assert_eq!(framing.scan(b"hel", &mut data), Ok(Scan { used: 3, done: false }));
        assert!(!framing.may_end_here());
        assert_eq!(framing.scan(b"loGET", &mut data), Ok(Scan { used: 2, done: true }));
        assert_eq!(data, [0..3, 0..2]);
        assert!(framing.is_done());
    }

    #[test]
    fn only_a_close_delimited_body_may_end_anywhere() {
        let mut data = Vec::new();
        let mut framing = Framing::UntilClose;
        assert_eq!(framing.scan(b"abc", &mut data), Ok(Scan { used: 3, done: false }));
        assert!(framing.may_end_here() && !framing.is_done());
        assert!(Framing::None.is_done());
    }
}
