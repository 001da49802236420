//! A message head as received: its lines stay one block of bytes, fields are ranges into it.
//!
//! Deliberately absent: a header map. Lookups are few and blocks short, so a scan beats hashing every name,
//! and the block is forwarded in the order and spelling it came in.

use std::ops::Range;

/// A header block: names and values as ranges into the bytes they arrived in.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    block: Vec<u8>,
    lines: Vec<(Range<u32>, Range<u32>)>,
}

impl Fields {
    /// An empty block.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
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
    }

    /// Forget all fields, keep the allocation.
    pub fn clear(&mut self) {
        self.block.clear();
        self.lines.clear();
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
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// As [`Fields::get`], when it is UTF-8.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Every field of that name, in any case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    fn slice(&self, range: &Range<u32>) -> &[u8] {
        &self.block[range.start as usize..range.end as usize]
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Fields {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(pairs: T) -> Self {
        let mut fields = Fields::new();
        for (name, value) in pairs {
            fields.push(name.as_ref(), value.as_ref());
        }
        fields
    }
}

/// HTTP/1 minor version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Version {
    /// HTTP/1.0: no chunked coding towards it, no keep-alive unless asked.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
}

/// A request head.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    /// Method as spelled (case-sensitive, RFC 9110 9.1).
    pub method: String,
    /// Path and query, always beginning with `/` (or `*`); an absolute form has been taken apart.
    pub target: String,
    /// Authority of an absolute-form target, which overrides `Host` (RFC 9112 3.2.2).
    pub authority: Option<String>,
    /// Version of the message.
    pub version: Version,
    /// Fields in order.
    pub fields: Fields,
}

impl RequestHead {
    /// The target without its query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// What follows the first `?`, if anything does.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.target.split_once('?').map(|(_, query)| query)
    }
}

/// A response head.
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    /// Version of the message.
    pub version: Version,
    /// Status code, 100 to 999.
    pub status: u16,
    /// Reason phrase, kept for faithful forwarding.
    pub reason: String,
    /// Fields in order.
    pub fields: Fields,
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
    }

    #[test]
    fn a_target_comes_apart() {
        let head = RequestHead { target: "/v1/messages?beta=true".into(), ..RequestHead::default() };
        assert_eq!((head.path(), head.query()), ("/v1/messages", Some("beta=true")));
    }
}
