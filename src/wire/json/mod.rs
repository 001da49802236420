//! JSON without a tree: views of values inside bytes that somebody else owns.
//!
//! [`Raw`] walks one complete value (an event, a small body, a cut-out); [`scan`] reads a large body once, forward,
//! while it arrives; [`blocks`] finds quotes and brackets 64 bytes at a time for it.
//!
//! Deliberately absent: building values (only [`Raw::value`] does, for objects kept in a record) and mutation: the
//! bytes walked may be the ones being sent. A `Raw` knows that its brackets match and its strings end; the letters of
//! escapes and UTF-8 are checked where text is read.

pub mod blocks;
pub mod scan;
mod text;
mod texts;

use std::borrow::Cow;

use memchr::memchr;

pub use text::{unescape, unescape_start};

/// Deepest nesting that is followed; deeper is unreadable.
pub const DEPTH_MAX: u32 = 128;

/// One complete JSON value, without the whitespace around it.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a>(&'a [u8]);

impl<'a> Raw<'a> {
    /// The whole of `text` as one value; `None` if it is not one.
    #[must_use]
    pub fn whole(text: &'a [u8]) -> Option<Self> {
        let start = skip_space(text, 0);
        let end = skip_value(text, start)?;
        (skip_space(text, end) == text.len()).then(|| Raw(&text[start..end]))
    }

    /// A value whose end is missing: its members and elements end before the first that is cut off.
    #[must_use]
    pub fn cut_off(text: &'a [u8]) -> Self {
        Raw(&text[skip_space(text, 0)..])
    }

    /// The value's own bytes.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// Whether it is an object.
    #[must_use]
    pub fn is_object(self) -> bool {
        self.0.first() == Some(&b'{')
    }

    /// Whether it is an array.
    #[must_use]
    pub fn is_array(self) -> bool {
        self.0.first() == Some(&b'[')
    }

    /// Whether it is a string.
    #[must_use]
    pub fn is_string(self) -> bool {
        self.0.first() == Some(&b'"')
    }

    /// Whether it is `null`.
    #[must_use]
    pub fn is_null(self) -> bool {
        self.0 == b"null"
    }

    /// Whether it is `true`.
    #[must_use]
    pub fn is_true(self) -> bool {
        self.0 == b"true"
    }

    /// Members of an object, in order; none of anything else.
    #[must_use]
    pub fn members(self) -> Members<'a> {
        Members { rest: if self.is_object() { &self.0[1..] } else { b"" } }
    }

    /// Elements of an array, in order; none of anything else.
    #[must_use]
    pub fn elements(self) -> Elements<'a> {
        Elements { rest: if self.is_array() { &self.0[1..] } else { b"" } }
    }

    /// The first member of that name that is not `null`.
    #[must_use]
    pub fn at(self, name: &str) -> Option<Raw<'a>> {
        self.members().find(|(key, value)| key.is(name) && !value.is_null()).map(|(_, value)| value)
    }

    /// Text of a string; `None` of anything else, or if escapes or UTF-8 are broken.
    #[must_use]
    pub fn text(self) -> Option<Cow<'a, str>> {
        let inside = self.0.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        unescape(inside)
    }

    /// As [`Raw::text`], owned.
    #[must_use]
    pub fn string(self) -> Option<String> {
        self.text().map(Cow::into_owned)
    }

    /// A count: a non-negative number, its fraction dropped (some write `12.0`).
    #[must_use]
    pub fn count(self) -> Option<u64> {
        let text = std::str::from_utf8(self.0).ok()?;
        match text.parse::<u64>() {
            Ok(count) => Some(count),
            Err(_) => text.parse::<f64>().ok().filter(|n| *n >= 0.0 && *n < 1e18).map(float_to_count),
        }
    }

    /// A number.
    #[must_use]
    pub fn number(self) -> Option<f64> {
        std::str::from_utf8(self.0).ok()?.parse().ok()
    }

    /// The value built, for what is kept in a record: simd-json on a copy, since it unescapes in place.
    #[must_use]
    pub fn value(self) -> Option<serde_json::Value> {
        // Below this its buffers cost more than its speed saves.
        if self.0.len() < SMALL_BYTES {
            return serde_json::from_slice(self.0).ok();
        }
        let mut scratch = self.0.to_vec();
        match simd_json::serde::from_slice(&mut scratch) {
            Ok(value) => Some(value),
            // Integers above 64 bits are an error there and a float here.
            Err(_) => serde_json::from_slice(self.0).ok(),
        }
    }
}

/// A text this short is parsed without SIMD.
const SMALL_BYTES: usize = 1024;

/// A member's name, as written between its quotes.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a>(&'a [u8]);

impl<'a> Key<'a> {
    /// Whether the name is this one, however it is escaped.
    #[must_use]
    pub fn is(self, name: &str) -> bool {
        self.0 == name.as_bytes()
            || (self.0.contains(&b'\\') && unescape(self.0).is_some_and(|key| key == name))
    }

    /// The name as written, without its quotes; good for a `match` where escapes do not matter.
    #[must_use]
    pub fn written(&self) -> &[u8] {
        self.0
    }

    /// As [`Key::written`], for as long as the text lives.
    #[must_use]
    pub fn name(self) -> &'a [u8] {
        self.0
    }
}

/// See [`Raw::members`].
#[derive(Clone, Debug)]
pub struct Members<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Members<'a> {
    type Item = (Key<'a>, Raw<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.rest;
        // If anything is not as it must be, there are no further members.
        self.rest = b"";
        let start = skip_comma(text);
        let key_end = skip_string(text, start)?;
        let colon = skip_space(text, key_end);
        if text.get(colon) != Some(&b':') {
            return None;
        }
        let value = skip_space(text, colon + 1);
        let value_end = skip_value(text, value)?;
        self.rest = &text[value_end..];
        Some((Key(&text[start + 1..key_end - 1]), Raw(&text[value..value_end])))
    }
}

/// See [`Raw::elements`].
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Elements<'a> {
    type Item = Raw<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.rest;
        self.rest = b"";
        let start = skip_comma(text);
        let end = skip_value(text, start)?;
        self.rest = &text[end..];
        Some(Raw(&text[start..end]))
    }
}

/// Names of members as written, at every depth of a whole value, in one pass: a string that a colon follows is one.
pub fn written_names(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let start = at + memchr(b'"', text.get(at..)?)?;
            at = skip_string(text, start)?;
            if text.get(skip_space(text, at)) == Some(&b':') {
                return Some(&text[start + 1..at - 1]);
            }
        }
    })
}

fn float_to_count(number: f64) -> u64 {
    number as u64
}

/// Index of the first byte at or after `at` that is not JSON whitespace.
#[must_use]
pub fn skip_space(text: &[u8], mut at: usize) -> usize {
    while matches!(text.get(at), Some(b' ' | b'\n' | b'\t' | b'\r')) {
        at += 1;
    }
    at
}

fn skip_comma(text: &[u8]) -> usize {
    let at = skip_space(text, 0);
    if text.get(at) == Some(&b',') { skip_space(text, at + 1) } else { at }
}

/// Index after the string that begins at `start`; `None` if none begins there or it does not end.
fn skip_string(text: &[u8], start: usize) -> Option<usize> {
    if text.get(start) != Some(&b'"') {
        return None;
    }
    let mut at = start + 1;
    loop {
        at = blocks::quote_or_backslash(text, at)?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// Index after the value that begins at `start`; `None` if it is broken, unfinished or too deep.
fn skip_value(text: &[u8], start: usize) -> Option<usize> {
    match text.get(start)? {
        b'"' => skip_string(text, start),
        b'{' | b'[' => skip_nested(text, start),
        _ => skip_scalar(text, start),
    }
}

fn skip_scalar(text: &[u8], start: usize) -> Option<usize> {
    let rest = &text[start..];
    let is_end = |b: &u8| matches!(b, b',' | b'}' | b']' | b' ' | b'\n' | b'\t' | b'\r');
    let end = rest.iter().position(is_end).unwrap_or(rest.len());
    is_scalar(&rest[..end]).then_some(start + end)
}

/// Whether this is a number, `true`, `false` or `null`. Numbers may be looser than the grammar (`01`): nobody's
/// reading differs by it.
fn is_scalar(text: &[u8]) -> bool {
    match text.first() {
        Some(b'-' | b'0'..=b'9') => {
            text.iter().all(|b| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
        }
        _ => matches!(text, b"true" | b"false" | b"null"),
    }
}

fn skip_nested(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    let mut depth = 0_u32;
    // One bit per level: set for an object.
    let mut kinds = 0_u128;
    loop {
        match text.get(at)? {
            b'"' => {
                at = skip_string(text, at)?;
                continue;
            }
            open @ (b'{' | b'[') => {
                if depth == DEPTH_MAX {
                    return None;
                }
                depth += 1;
                kinds = (kinds << 1) | u128::from(*open == b'{');
            }
            close @ (b'}' | b']') => {
                if (kinds & 1 == 1) != (*close == b'}') {
                    return None;
                }
                depth -= 1;
                kinds >>= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_elements_are_found_whatever_the_spacing() {
        let raw = Raw::whole(b" { \"a\" : [ 1 , {\"b\":\"]}\"} ] ,\"c\":null, \"d\":\"x\\\"y\" } ").unwrap();
        assert_eq!(raw.members().count(), 3);
        let a = raw.at("a").unwrap();
        assert_eq!(a.elements().next().and_then(Raw::count), Some(1));
        assert_eq!(a.elements().nth(1).unwrap().at("b").unwrap().string().as_deref(), Some("]}"));
        assert!(raw.at("c").is_none());
        assert_eq!(raw.at("d").unwrap().text().as_deref(), Some("x\"y"));
    }

    #[test]
    fn a_key_is_compared_unescaped() {
        let raw = Raw::whole(br#"{"mod\u0065l":1}"#).unwrap();
        assert_eq!(raw.at("model").and_then(Raw::count), Some(1));
    }

    #[test]
    fn broken_text_is_no_value() {
        let broken: [&[u8]; 9] =
            [b"", b"{", b"{\"a\":1", b"[}", b"{\"a\":\"x}", b"{} x", b"nul", b"\"a\\\"", b"[1]]"];
        for text in broken {
            assert!(Raw::whole(text).is_none(), "{}", String::from_utf8_lossy(text));
        }
        assert!(Raw::whole(&b"[".repeat(200)).is_none());
        let deep = [b"[".repeat(128), b"]".repeat(128)].concat();
        assert!(Raw::whole(&deep).is_some());
    }

    #[test]
    fn names_are_found_at_every_depth_and_values_are_none() {
        let text = br#"{"a" : "b:", "c":[{"d\"e":":"}, "f"], "\u0067": {}}"#;
        let names: Vec<&[u8]> = written_names(text).collect();
        assert_eq!(names, [&b"a"[..], b"c", b"d\\\"e", b"\\u0067"]);
        assert_eq!(written_names(b"{\"a\":\"cut").count(), 1);
    }

    #[test]
    fn counts() {
        let count = |text: &str| Raw::whole(text.as_bytes()).and_then(Raw::count);
        assert_eq!(count("12"), Some(12));
        assert_eq!(count("12.0"), Some(12));
        assert_eq!(count("-1"), None);
        assert_eq!(count("\"12\""), None);
        assert_eq!(count("1e99"), None);
    }
}
