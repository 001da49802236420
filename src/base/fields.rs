//! Lines of name and value: one block of bytes, each line a pair of ranges into it.
//!
//! Deliberately absent: a map. Look-ups are few and blocks short, so a scan beats hashing every name; order and spelling
//! stay as they came; and a block of twenty lines is two allocations, in a record too.

use std::borrow::Cow;
use std::ops::Range;

use serde::de::{SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A header block: names and values as ranges into the bytes they arrived in.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    block: Vec<u8>,
    lines: Vec<Line>,
    /// A bit for each name there is: most look-ups are for names that are not, and end here.
    sieve: u64,
}

/// Where name and value stand.
type Line = (Range<u32>, Range<u32>);

/// The bit of a name: by its length and its first letter, in any case.
const fn bit(name: &[u8]) -> u64 {
    let first = match name.first() {
        Some(letter) => (*letter | 0x20) as usize,
        None => 0,
    };
    1 << ((name.len() * 11 + first) % 64)
}

/// Names of fields, in any case. Most names are told by one look that they are none of these.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    names: &'static [&'static str],
    sieve: u64,
}

impl Names {
    /// A set of these.
    #[must_use]
    pub const fn of(names: &'static [&'static str]) -> Names {
        let (mut sieve, mut at) = (0, 0);
        while at < names.len() {
            sieve |= bit(names[at].as_bytes());
            at += 1;
        }
        Names { names, sieve }
    }

    /// All of them, as written here.
    #[must_use]
    pub fn all(&self) -> &'static [&'static str] {
        self.names
    }

    /// Whether a name is one of them.
    #[must_use]
    pub fn has(&self, name: &[u8]) -> bool {
        self.sieve & bit(name) != 0 && self.names.iter().any(|own| name.eq_ignore_ascii_case(own.as_bytes()))
    }

    /// As [`Names::has`], of names with hyphens that somebody may have written with underscores.
    #[must_use]
    pub fn has_spelled(&self, name: &[u8]) -> bool {
        self.sieve & bit(name) != 0 && self.names.iter().any(|own| is_spelled(name, own))
    }
}

/// Whether a field's name is this one, in any case; many servers take an underscore for a hyphen.
#[must_use]
pub fn is_spelled(name: &[u8], own: &str) -> bool {
    let same = |(a, b): (&u8, &u8)| a.eq_ignore_ascii_case(b) || (*a == b'_' && *b == b'-');
    name.len() == own.len() && name.iter().zip(own.as_bytes()).all(same)
}

impl Fields {
    /// An empty block.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty block with room for so many bytes and lines.
    #[must_use]
    pub fn with_room(bytes: usize, lines: usize) -> Self {
        Self { block: Vec::with_capacity(bytes), lines: Vec::with_capacity(lines), sieve: 0 }
    }

    /// Append a field. The caller has checked name and value (RFC 9110 5.1, 5.5).
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let start = self.block.len();
        self.block.extend_from_slice(name);
        let middle = self.block.len();
        self.block.extend_from_slice(value);
        let range =
            |a: usize, b: usize| u32::try_from(a).unwrap_or(u32::MAX)..u32::try_from(b).unwrap_or(u32::MAX);
        self.lines.push((range(start, middle), range(middle, self.block.len())));
        self.sieve |= bit(name);
    }

    /// Forget the fields whose name is not kept.
    pub fn retain(&mut self, keep: impl Fn(&[u8]) -> bool) {
        let block = &self.block;
        self.lines.retain(|(name, _)| keep(&block[name.start as usize..name.end as usize]));
    }

    /// Forget all fields, keep the allocation.
    pub fn clear(&mut self) {
        self.block.clear();
        self.lines.clear();
        self.sieve = 0;
    }

    /// Number of fields.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Every field in order, name as spelled.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.lines.iter().map(|(name, value)| (self.slice(name), self.slice(value)))
    }

    /// The first field of that name, in any case.
    #[must_use]
    #[inline]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        if self.sieve & bit(name.as_bytes()) == 0 { None } else { self.find(name) }
    }

    fn find(&self, name: &str) -> Option<&[u8]> {
        self.lines.iter().find(|line| self.is_named(line, name)).map(|line| self.slice(&line.1))
    }

    /// As [`Fields::get`], when it is UTF-8.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Every field of that name, in any case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let same = move |line: &&Line| self.is_named(line, name);
        self.lines_with(name).iter().filter(same).map(|line| self.slice(&line.1))
    }

    /// All lines, or none where the sieve knows that there is no such name.
    fn lines_with(&self, name: &str) -> &[Line] {
        if self.sieve & bit(name.as_bytes()) == 0 { &[] } else { &self.lines }
    }

    fn is_named(&self, line: &Line, name: &str) -> bool {
        line.0.len() == name.len() && self.slice(&line.0).eq_ignore_ascii_case(name.as_bytes())
    }

    /// Take the values of some fields out for good: the line stays, and says that something stood there.
    pub fn redact(&mut self, is_secret: impl Fn(&[u8], &[u8]) -> bool) {
        for at in 0..self.lines.len() {
            let (name, value) = self.lines[at].clone();
            if is_secret(self.slice(&name), self.slice(&value)) {
                // Not only out of sight: what held the value is overwritten.
                self.block[value.start as usize..value.end as usize].fill(b'-');
                let start = self.block.len() as u32;
                self.block.extend_from_slice(b"(redacted)");
                self.lines[at].1 = start..self.block.len() as u32;
            }
        }
    }

    fn slice(&self, range: &Range<u32>) -> &[u8] {
        &self.block[range.start as usize..range.end as usize]
    }
}

/// By what they say, however their bytes lie.
impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Fields {}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Fields {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(pairs: T) -> Self {
        let mut fields = Fields::new();
        for (name, value) in pairs {
            fields.push(name.as_ref(), value.as_ref());
        }
        fields
    }
}

/// As a list of pairs; what is not UTF-8 is shown with replacement characters.
impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut list = to.serialize_seq(Some(self.len()))?;
        for (name, value) in self.iter() {
            list.serialize_element(&(shown(name), shown(value)))?;
        }
        list.end()
    }
}

/// As [`String::from_utf8_lossy`], which takes the long way through what is plain text.
fn shown(text: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(text).map_or_else(|_| String::from_utf8_lossy(text), Cow::Borrowed)
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Fields;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of pairs of texts")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Fields, A::Error> {
                let mut fields = Fields::new();
                while let Some((name, value)) = list.next_element::<(String, String)>()? {
                    fields.push(name.as_bytes(), value.as_bytes());
                }
                Ok(fields)
            }
        }
        from.deserialize_seq(Pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_order_and_spelling_and_are_found_in_any_case() {
        let fields: Fields = [("X-A", "1"), ("x-b", "2"), ("x-a", "3")].into_iter().collect();
        assert_eq!(fields.text("x-A"), Some("1"));
        assert_eq!(fields.all("x-a").count(), 2);
        assert_eq!(fields.iter().next(), Some((&b"X-A"[..], &b"1"[..])));
        assert_eq!(fields.get("x-c"), None);
        let mut fields = fields;
        fields.retain(|name| !name.eq_ignore_ascii_case(b"x-a"));
        assert_eq!(fields.iter().collect::<Vec<_>>(), [(&b"x-b"[..], &b"2"[..])]);
    }

    #[test]
    fn a_set_of_names_has_them_in_any_case_and_no_other() {
        const NAMES: Names = Names::of(&["x-api-key", "cookie", "via"]);
        for name in ["x-api-key", "X-API-Key", "COOKIE", "via"] {
            assert!(NAMES.has(name.as_bytes()), "{name}");
        }
        for name in ["", "x-api-kez", "cookie2", "vib", "content-type"] {
            assert!(!NAMES.has(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_redacted_value_is_gone() {
        let mut fields: Fields = [("a", "1"), ("Key", "s3cret"), ("b", "2")].into_iter().collect();
        fields.redact(|name, _| name.eq_ignore_ascii_case(b"key"));
        let shown: Fields = [("a", "1"), ("Key", "(redacted)"), ("b", "2")].into_iter().collect();
        assert_eq!(fields, shown);
        assert!(!fields.block.windows(6).any(|bytes| bytes == b"s3cret"));
    }

    #[test]
    fn fields_survive_json() {
        let fields: Fields = [("a", "1"), ("b", "\"")].into_iter().collect();
        let text = serde_json::to_string(&fields).unwrap();
        assert_eq!(text, r#"[["a","1"],["b","\""]]"#);
        assert_eq!(serde_json::from_str::<Fields>(&text).unwrap(), fields);
    }
}
