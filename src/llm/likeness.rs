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

use memchr::memchr2;

/// What a gap admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gap {
    /// The rest of a JSON string, up to its closing quote.
    Text,
    /// Digits, at least one.
    Digits,
    /// Spaces, perhaps none: some vendors pad events against traffic analysis.
    Spaces,
    /// The end of the event.
    End,
}

/// Which values a dialect never reads in a silent event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unread {
    /// Keys of strings.
    pub(crate) texts: &'static [&'static str],
    /// Keys of whole numbers.
    pub(crate) numbers: &'static [&'static str],
}

/// One learned event.
#[derive(Debug, Default)]
struct Likeness {
    literals: Vec<u8>,
    /// End of a literal in `literals`, and the gap after it.
    parts: Vec<(u16, Gap)>,
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
        let of = |known: &Likeness| known.literals.capacity() + known.parts.capacity() * 4;
        self.known.iter().map(of).sum()
    }
}

impl Likeness {
    /// Length of the event at the head of `block`, if it is like this one.
    #[inline]
    fn length(&self, block: &[u8]) -> Option<usize> {
        let mut at = 0;
        let mut start = 0;
        for (end, gap) in &self.parts {
            let literal = self.literals.get(start..usize::from(*end))?;
            start = usize::from(*end);
            let rest = block.get(at..)?;
            if !rest.starts_with(literal) {
                return None;
            }
            at += literal.len();
            at = match gap {
                Gap::Text => text_end(block, at)?,
                Gap::Digits => digits_end(block, at)?,
                Gap::Spaces => spaces_end(block, at),
                Gap::End => return Some(at),
            };
        }
        None
    }

    fn learn(&mut self, event: &[u8], unread: Unread) {
        self.literals.clear();
        self.parts.clear();
        let Some(last_brace) = memchr::memrchr(b'}', event) else { return };
        let mut at = 0;
        // Each turn begins before a string; a string followed by a colon is a key.
        while let Some(quote) = event.get(at..last_brace).and_then(|rest| memchr::memchr(b'"', rest)) {
            let key_start = at + quote + 1;
            let Some(key_end) = text_end(event, key_start) else { return self.parts.clear() };
            let value = after_colon(event, key_end + 1);
            let key = &event[key_start..key_end];
            let among = |keys: &[&str]| keys.iter().any(|k| k.as_bytes() == key);
            let (gap_start, gap, gap_end) = match value.map(|v| (v, event[v])) {
                Some((v, b'"')) if among(unread.texts) => (v + 1, Gap::Text, text_end(event, v + 1)),
                Some((v, b'0'..=b'9')) if among(unread.numbers) => (v, Gap::Digits, digits_end(event, v)),
                _ => {
                    self.literals.extend_from_slice(&event[at..=key_end]);
                    at = key_end + 1;
                    continue;
                }
            };
            let Some(gap_end) = gap_end else { return self.parts.clear() };
            self.push(&event[at..gap_start], gap);
            at = gap_end;
            if gap == Gap::Text {
                self.literals.push(b'"');
                at += 1;
            }
        }
        // A last brace inside a text is no object's end.
        let Some(tail) = event.get(at..last_brace) else { return self.parts.clear() };
        self.push(tail.trim_ascii_end(), Gap::Spaces);
        self.push(&event[last_brace..], Gap::End);
        self.literals.shrink_to_fit();
        self.parts.shrink_to_fit();
    }

    fn push(&mut self, literal: &[u8], gap: Gap) {
        self.literals.extend_from_slice(literal);
        // Events are at most EVENT_BYTES_MAX long.
        self.parts.push((u16::try_from(self.literals.len()).unwrap_or(u16::MAX), gap));
    }
}

/// Index of the closing quote of the string whose text begins at `at`; `None` at a control character or the end.
#[inline]
fn text_end(text: &[u8], mut at: usize) -> Option<usize> {
    // Pieces of text are short: eight bytes at a time, then one by one.
    while let Some(word) = text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let odd = odd_bytes(u64::from_le_bytes(*word));
        if odd == 0 {
            at += 8;
            continue;
        }
        at += (odd.trailing_zeros() / 8) as usize;
        match text[at] {
            b'"' => return Some(at),
            b'\\' if *text.get(at + 1)? >= 0x20 => at += 2,
            _ => return None,
        }
    }
    text_end_slow(text, at)
}

fn text_end_slow(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let run = memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at..at + run].iter().any(|b| *b < 0x20) {
            return None;
        }
        at += run;
        if text[at] == b'"' {
            return Some(at);
        }
        if *text.get(at + 1)? < 0x20 {
            return None;
        }
        at += 2;
    }
}

/// The high bit of every byte that is a quote, a backslash or a control character; the lowest set bit is exact, which
/// is all that is asked (a borrow can only disturb bytes above a true hit).
#[inline]
fn odd_bytes(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let zero = |x: u64| x.wrapping_sub(ONES) & !x;
    let quote = zero(word ^ (ONES * 0x22));
    let backslash = zero(word ^ (ONES * 0x5c));
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (quote | backslash | control) & HIGHS
}

#[inline]
fn digits_end(text: &[u8], at: usize) -> Option<usize> {
    let digits = text.get(at..)?.iter().take_while(|b| b.is_ascii_digit()).count();
    (digits > 0).then_some(at + digits)
}

#[inline]
fn spaces_end(text: &[u8], at: usize) -> usize {
    let spaces = text.get(at..).unwrap_or_default().iter().take_while(|b| **b == b' ').count();
    at + spaces
}

/// Index of the value after the colon that follows `at`, if one does.
fn after_colon(text: &[u8], at: usize) -> Option<usize> {
    let colon = spaces_end(text, at);
    if text.get(colon) != Some(&b':') {
        return None;
    }
    let value = spaces_end(text, colon + 1);
    (value < text.len()).then_some(value)
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
    fn two_kinds_may_alternate_and_learning_tires() {
        let mut known = taught("data: {\"i\":0,\"content\":\"a\"}\n\n");
        known.learn(b"data: {\"i\":1,\"content\":\"a\"}\n\n", UNREAD);
        let block = "data: {\"i\":0,\"content\":\"b\"}\n\ndata: {\"i\":1,\"content\":\"c\"}\n\n".repeat(3);
        assert_eq!(known.skip(block.as_bytes()), (block.len(), 6));
        for i in 0..200 {
            known.learn(format!("data: {{\"i\":{i}}}\n\n").as_bytes(), UNREAD);
        }
        assert_eq!(known.skip(b"data: {\"i\":199}\n\n").1, 0);
    }

    #[test]
    fn odd_bytes_are_found_in_every_place() {
        for byte in 0..=255_u8 {
            for place in 0..8 {
                let mut word = [b'x'; 8];
                word[place] = byte;
                let found = odd_bytes(u64::from_le_bytes(word));
                let odd = byte < 0x20 || byte == b'"' || byte == b'\\';
                let wanted = if odd { place as u32 } else { 8 };
                assert_eq!(found.trailing_zeros() / 8, wanted, "{byte:#x} at {place}");
            }
        }
    }
}
