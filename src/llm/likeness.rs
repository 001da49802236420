//! Events that are like one already read: most of a stream is the same event again and again with another piece of
//! text in it, and such an event need not be split, parsed or judged to know that it says nothing new.
//!
//! ```text
//!   learned from:  data: {"id":"c1","choices":[{"index":0,"delta":{"content":"He"},"finish_reason":null}]}⏎⏎
//!   a likeness:    data: {"id":"c1","choices":[{"index":0,"delta":{"content":"▒"},"finish_reason":null}]▒}⏎⏎
//! ```
//!
//! A dialect that has found an event *silent* (nothing in it changed the reading) names the keys whose text it never
//! reads; their values become gaps, all else is compared byte by byte, line ends included. So a match is exact: the
//! event could differ only where nobody looks. A gap admits no raw control character, hence no line end.

use crate::wire::json::blocks;

/// What a gap admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gap {
    /// The rest of a JSON string and its closing quote.
    Text,
    /// Digits, at least one.
    Digits,
}

/// Which values a dialect never reads in a silent event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unread {
    /// Keys of strings.
    pub(crate) texts: &'static [&'static str],
    /// Keys of whole numbers.
    pub(crate) numbers: &'static [&'static str],
}

/// One learned event: literals with gaps after them, spaces (some vendors pad events against traffic analysis), and
/// the last brace with what follows it.
#[derive(Debug, Default)]
struct Likeness {
    literals: Vec<u8>,
    /// Length of a literal in `literals`, and the gap after it.
    parts: Vec<(u16, Gap)>,
    /// Where in `literals` the tail begins; there is none if nothing has been learned.
    tail: usize,
}

/// The likenesses of one stream: two, since reasoning and text, or two choices, may alternate.
#[derive(Debug, Default)]
pub(crate) struct Likenesses {
    known: [Likeness; 2],
    /// Which one was learned last.
    last: usize,
    /// Falls with every lesson, rises with every match: a stream in which no event is like another stops learning.
    misses: u16,
}

/// Longest event that is learned.
const EVENT_BYTES_MAX: usize = 2048;

/// Lessons without a match after which only every 64th event is learned.
const MISSES_MAX: u16 = 16;

impl Likenesses {
    /// Bytes at the head of `block` that are events like a known one, and how many events they are.
    #[inline]
    pub(crate) fn skip(&mut self, block: &[u8]) -> (usize, u64) {
        let mut at = 0;
        let mut events = 0;
        loop {
            let rest = &block[at..];
            let length = match self.known[self.last].length(rest) {
                Some(length) => length,
                None => match self.known[1 - self.last].length(rest) {
                    Some(length) => {
                        self.last = 1 - self.last;
                        length
                    }
                    None => break,
                },
            };
            at += length;
            events += 1;
        }
        if events > 0 {
            self.misses = 0;
        }
        (at, events)
    }

    /// Learn a silent event: its bytes from the first line to the blank one.
    pub(crate) fn learn(&mut self, event: &[u8], unread: Unread) {
        self.misses = self.misses.wrapping_add(1);
        let tired = self.misses > MISSES_MAX && !self.misses.is_multiple_of(64);
        if tired || event.len() > EVENT_BYTES_MAX {
            return;
        }
        self.last = 1 - self.last;
        self.known[self.last].learn(event, unread);
    }

    /// Bytes held.
    #[must_use]
    pub(crate) fn held_bytes(&self) -> usize {
        let of =
            |known: &Likeness| known.literals.capacity() + known.parts.capacity() * size_of::<(u16, Gap)>();
        self.known.iter().map(of).sum()
    }
}

impl Likeness {
    /// Length of the event at the head of `block`, if it is like this one.
    #[inline]
    fn length(&self, block: &[u8]) -> Option<usize> {
        let (mut literals, tail) = self.literals.split_at_checked(self.tail)?;
        let mut at = 0;
        for (length, gap) in &self.parts {
            let (literal, others) = literals.split_at_checked(usize::from(*length))?;
            literals = others;
            let end = at + literal.len();
            if !same(block.get(at..end)?, literal) {
                return None;
            }
            at = match gap {
                Gap::Text => blocks::text_end(block, end)? + 1,
                Gap::Digits => digits_end(block, end)?,
            };
        }
        let end = at + literals.len();
        if tail.is_empty() || !same(block.get(at..end)?, literals) {
            return None;
        }
        let start = blocks::spaces_end(block, end)?;
        let end = start + tail.len();
        same(block.get(start..end)?, tail).then_some(end)
    }

    /// Learn an event; one that cannot be taken apart is like none.
    fn learn(&mut self, event: &[u8], unread: Unread) {
        self.literals.clear();
        self.parts.clear();
        if self.take_apart(event, unread).is_none() {
            self.literals.clear();
        }
        self.literals.shrink_to_fit();
        self.parts.shrink_to_fit();
    }

    fn take_apart(&mut self, event: &[u8], unread: Unread) -> Option<()> {
        let last_brace = memchr::memrchr(b'}', event)?;
        // Up to where the event has gone into literals and gaps, and up to where it has been looked at.
        let (mut done, mut at) = (0, 0);
        // Each turn begins before a string; a string followed by a colon is a key.
        while let Some(quote) = memchr::memchr(b'"', event.get(at..last_brace)?) {
            let key_start = at + quote + 1;
            let key_end = blocks::text_end(event, key_start)?;
            at = key_end + 1;
            let Some(value) = after_colon(event, at) else { continue };
            let among = |keys: &[&str]| keys.iter().any(|key| key.as_bytes() == &event[key_start..key_end]);
            let (literal_end, gap, gap_end) = match event[value] {
                b'"' if among(unread.texts) => {
                    (value + 1, Gap::Text, blocks::text_end(event, value + 1)? + 1)
                }
                b'0'..=b'9' if among(unread.numbers) => (value, Gap::Digits, digits_end(event, value)?),
                _ => continue,
            };
            self.literals.extend_from_slice(&event[done..literal_end]);
            self.parts.push((u16::try_from(literal_end - done).ok()?, gap));
            (done, at) = (gap_end, gap_end);
        }
        // A last brace inside a text is no object's end.
        self.literals.extend_from_slice(event.get(done..last_brace)?.trim_ascii_end());
        self.tail = self.literals.len();
        self.literals.extend_from_slice(&event[last_brace..]);
        Some(())
    }
}

/// As `==`, without the call for up to 32 bytes: the C library compares so few with masked loads, which on some
/// processors take a microsecond where a page ends.
#[inline]
fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match a.len() {
        33.. => a == b,
        16.. => same_ends::<16>(a, b),
        8.. => same_ends::<8>(a, b),
        4.. => same_ends::<4>(a, b),
        2.. => same_ends::<2>(a, b),
        _ => a.first() == b.first(),
    }
}

/// First and last bytes, which overlap.
#[inline]
fn same_ends<const N: usize>(a: &[u8], b: &[u8]) -> bool {
    a.first_chunk::<N>() == b.first_chunk::<N>() && a.last_chunk::<N>() == b.last_chunk::<N>()
}

#[inline]
fn digits_end(text: &[u8], at: usize) -> Option<usize> {
    let digits = text.get(at..)?.iter().take_while(|b| b.is_ascii_digit()).count();
    (digits > 0).then_some(at + digits)
}

/// Index of the value after the colon that follows `at`, if one does.
fn after_colon(text: &[u8], at: usize) -> Option<usize> {
    let colon = blocks::spaces_end(text, at)?;
    if text.get(colon) != Some(&b':') {
        return None;
    }
    blocks::spaces_end(text, colon + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNREAD: Unread = Unread { texts: &["content", "pad"], numbers: &["n"] };

    fn taught(event: &str) -> Likenesses {
        let mut known = Likenesses::default();
        known.learn(event.as_bytes(), UNREAD);
        known
    }

    #[test]
    fn an_event_that_differs_only_where_nobody_looks_is_skipped() {
        let mut known = taught("data: {\"id\":\"x\",\"n\":1,\"d\":{\"content\":\"a\"},\"pad\":\"zz\"}\n\n");
        let like = "data: {\"id\":\"x\",\"n\":234,\"d\":{\"content\":\"\"},\"pad\":\"\\\"q\\\\\"}\n\n";
        let long =
            "data: {\"id\":\"x\",\"n\":0,\"d\":{\"content\":\"0123456789 abcdef ü\"},\"pad\":\"\"}  }\n\n";
        let long = long.replace("}  }", "  }");
        let block = [like, &long, like].concat();
        assert_eq!(known.skip(block.as_bytes()), (block.len(), 3));
    }

    #[test]
    fn anything_else_is_not() {
        let event = "data: {\"id\":\"x\",\"d\":{\"content\":\"a\"},\"u\":null}\n\n";
        let mut known = taught(event);
        let others = [
            event.replace("null", "1"),
            event.replace("\"x\"", "\"y\""),
            event.replace("\"a\"", "\"a\nb\""),
            event.replace("\"a\"", "\"a\\\nb\""),
            event.replace("\"a\"", "\"a\",\"k\":\"v\""),
            event.replace("\n\n", "\r\n"),
            event.replace("\"a\"", "null"),
        ];
        for other in others {
            assert_eq!(known.skip(other.as_bytes()), (0, 0), "{other}");
        }
        for cut in 0..event.len() {
            assert_eq!(known.skip(&event.as_bytes()[..cut]), (0, 0), "cut at {cut}");
        }
        assert_eq!(known.skip(event.as_bytes()).1, 1);
    }

    #[test]
    fn a_key_named_like_text_and_text_that_looks_like_a_key_do_not_mislead() {
        let event = "data: {\"content\":{\"content\":\"b\"},\"a\":[\"content\",\"c\"]}\n\n";
        let mut known = taught(event);
        assert_eq!(known.skip(event.replace("\"b\"", "\"bb\"").as_bytes()).1, 1);
        assert_eq!(known.skip(event.replace("\"c\"", "\"cc\"").as_bytes()).1, 0);
    }

    #[test]
    fn every_event_of_a_stream_may_come_alone() {
        let event = |text: &str, pad: &str| {
            format!("event: delta\ndata: {{\"type\":\"delta\",\"d\":{{\"content\":\"{text}\"}}{pad}}}\n\n")
        };
        let mut known = taught(&event("He", ""));
        for text in ["", "a", "\\n", " 世界", "0123456789012345678901234567890123456789", "\\\"q\\\""] {
            for pad in ["", " ", "                                        "] {
                let event = event(text, pad);
                assert_eq!(known.skip(event.as_bytes()), (event.len(), 1), "{event}");
            }
        }
    }

    #[test]
    fn two_kinds_may_alternate_and_learning_tires() {
        let mut known = taught("data: {\"iiiiii\":0,\"content\":\"a\"}\n\n");
        known.learn(b"data: {\"iiiiii\":1,\"content\":\"a\"}\n\n", UNREAD);
        let block =
            "data: {\"iiiiii\":0,\"content\":\"b\"}\n\ndata: {\"iiiiii\":1,\"content\":\"c\"}\n\n".repeat(3);
        assert_eq!(known.skip(block.as_bytes()), (block.len(), 6));
        for i in 0..200 {
            known.learn(format!("data: {{\"i\":{i}}}\n\n").as_bytes(), UNREAD);
        }
        assert_eq!(known.skip(b"data: {\"i\":199}\n\n").1, 0);
    }
}
