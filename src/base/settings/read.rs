//! From tree to typed values. Each type says how it is read and what its schema is; faults are noted, never thrown.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Entry, Kind, Place, Problem, Severity, Tree};

/// Something that can stand in a settings file.
pub trait Setting: Sized {
    /// Read it, or note why not. `None` always leaves a problem behind.
    fn read(tree: &Tree, reader: &mut Reader<'_>) -> Option<Self>;

    /// Its JSON Schema. Named structs go to `defs` and are referred to.
    fn schema(defs: &mut BTreeMap<String, Value>) -> Value;
}

/// A value with its place, for whatever is looked up or judged later.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

impl<T> std::ops::Deref for At<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Reads one document: knows the path it is at and gathers problems.
#[derive(Debug)]
pub struct Reader<'t> {
    text: &'t str,
    lines: Vec<usize>,
    path: String,
    /// What was found so far, in order of reading.
    pub problems: Vec<Problem>,
    /// Named entries that could not be read, as section and name: what refers to them is not at fault.
    pub unreadable: Vec<(String, String)>,
}

impl<'t> Reader<'t> {
    /// A reader over the text the tree was made from.
    #[must_use]
    pub fn new(text: &'t str) -> Self {
        let starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self {
            text,
            lines: std::iter::once(0).chain(starts).collect(),
            path: String::new(),
            problems: Vec::new(),
            unreadable: Vec::new(),
        }
    }

    /// The place of a byte offset, at the current path.
    #[must_use]
    pub fn place(&self, at: usize) -> Place {
        let line = self.lines.partition_point(|start| *start <= at).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        let column = self.text.get(start..at).map_or(0, |before| before.chars().count()) + 1;
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Place { line: small(line), column: small(column), path: Arc::from(self.path.as_str()) }
    }

    /// Run `read` one key deeper.
    pub fn under<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.path.len();
        let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
        match (plain, before) {
            (true, 0) => self.path.push_str(key),
            (true, _) => {
                self.path.push('.');
                self.path.push_str(key);
            }
            (false, _) => self.path.push_str(&format!("[{key:?}]")),
        }
        let result = read(self);
        self.path.truncate(before);
        result
    }

    /// Run `read` one array index deeper.
    pub fn under_index<T>(&mut self, index: usize, read: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.path.len();
        self.path.push_str(&format!("[{index}]"));
        let result = read(self);
        self.path.truncate(before);
        result
    }

    /// Note that `tree` is not what was expected.
    pub fn wrong_type(&mut self, tree: &Tree, expected: &str) {
        let problem = Problem::error(&self.place(tree.at), format!("is {}", tree.called()));
        self.problems.push(problem.expected(format!("expected {expected}")));
    }

    /// Note that a value is of the right type but makes no sense.
    pub fn bad_value(&mut self, tree: &Tree, what: impl Into<String>, expected: impl Into<String>) {
        let problem = Problem::error(&self.place(tree.at), what);
        self.problems.push(problem.expected(expected));
    }

    /// Note a warning at `tree`.
    pub fn warn(&mut self, tree: &Tree, what: impl Into<String>, to_do: impl Into<String>) {
        let problem = Problem::warning(&self.place(tree.at), what);
        self.problems.push(problem.expected(to_do));
    }

    /// Whether something was noted that refuses the file.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }
}

impl<T: Setting> Setting for At<T> {
    fn read(tree: &Tree, reader: &mut Reader<'_>) -> Option<Self> {
        let place = reader.place(tree.at);
        T::read(tree, reader).map(|value| At { value, place })
    }

    fn schema(defs: &mut BTreeMap<String, Value>) -> Value {
        T::schema(defs)
    }
}

impl<T: Setting> Setting for Option<T> {
    /// `null` is the same as leaving the key out.
    fn read(tree: &Tree, reader: &mut Reader<'_>) -> Option<Self> {
        match tree.kind {
            Kind::Null => Some(None),
            _ => T::read(tree, reader).map(Some),
        }
    }

    fn schema(defs: &mut BTreeMap<String, Value>) -> Value {
        T::schema(defs)
    }
}

impl<T: Setting> Setting for Box<T> {
    fn read(tree: &Tree, reader: &mut Reader<'_>) -> Option<Self> {
        T::read(tree, reader).map(Box::new)
    }

    fn schema(defs: &mut BTreeMap<String, Value>) -> Value {
        T::schema(defs)
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn read(tree: &Tree, reader: &mut Reader<'_>) -> Option<Self> {
        let Kind::List(items) = &tree.kind else {
            reader.wrong_type(tree, "an array");
            return None;
        };
        // A bad item is noted and left out: the rest is still read, so that all problems show at once.
        let read = |(index, item)| reader.under_index(index, |reader| T::read(item, reader));
        Some(items.iter().enumerate().filter_map(read).collect())
    }

    fn schema(defs: &mut BTreeMap<String, Value>) -> Value {
        json!({"type": "array", "items": T::schema(defs)})
    }
}

/// Entries of an object whose keys the operator chooses, in the order written.
impl<T: Setting> Setting for Vec<(At<String>, T)> {
    fn read(tree: &Tree, reader: &mut Reader<'_>) -> Option<Self> {
        let Kind::Map(entries) = &tree.kind else {
            reader.wrong_type(tree, "an object of named entries");
            return None;
        };
        let mut read = Vec::with_capacity(entries.len());
        for entry in entries {
            let value = reader.under(&entry.key, |reader| {
                let key = At { value: entry.key.clone(), place: reader.place(entry.at) };
                T::read(&entry.value, reader).map(|value| (key, value))
            });
            if value.is_none() {
                reader.unreadable.push((reader.path.clone(), entry.key.clone()));
            }
            read.extend(value);
        }
        Some(read)
    }

    fn schema(defs: &mut BTreeMap<String, Value>) -> Value {
        json!({"type": "object", "additionalProperties": T::schema(defs)})
    }
}

impl Setting for String {
    fn read(tree: &Tree, reader: &mut Reader<'_>) -> Option<Self> {
        let Kind::Text(text) = &tree.kind else {
            reader.wrong_type(tree, "a string");
            return None;
        };
        Some(text.clone())
    }

    fn schema(_: &mut BTreeMap<String, Value>) -> Value {
        json!({"type": "string"})
    }
}

impl Setting for bool {
    fn read(tree: &Tree, reader: &mut Reader<'_>) -> Option<Self> {
        let Kind::Bool(value) = tree.kind else {
            reader.wrong_type(tree, "true or false");
            return None;
        };
        Some(value)
    }

    fn schema(_: &mut BTreeMap<String, Value>) -> Value {
        json!({"type": "boolean"})
    }
}

/// A value that this version reads and keeps but does not look into.
impl Setting for Value {
    fn read(tree: &Tree, _: &mut Reader<'_>) -> Option<Self> {
        Some(plain(tree))
    }

    fn schema(_: &mut BTreeMap<String, Value>) -> Value {
        json!({})
    }
}

/// A tree without its places.
#[must_use]
pub fn plain(tree: &Tree) -> Value {
    match &tree.kind {
        Kind::Null => Value::Null,
        Kind::Bool(value) => Value::Bool(*value),
        Kind::Number(digits) => serde_json::from_str(digits).unwrap_or(Value::Null),
        Kind::Text(text) => Value::String(text.clone()),
        Kind::List(items) => Value::Array(items.iter().map(plain).collect()),
        Kind::Map(entries) => {
            Value::Object(entries.iter().map(|entry| (entry.key.clone(), plain(&entry.value))).collect())
        }
    }
}

/// A tree from a value that never stood in a file: all of it at the first character.
#[must_use]
pub fn tree(value: &Value) -> Tree {
    let kind = match value {
        Value::Null => Kind::Null,
        Value::Bool(value) => Kind::Bool(*value),
        Value::Number(number) => Kind::Number(number.to_string()),
        Value::String(text) => Kind::Text(text.clone()),
        Value::Array(items) => Kind::List(items.iter().map(tree).collect()),
        Value::Object(entries) => {
            let entry =
                |(key, value): (&String, &Value)| Entry { at: 0, key: key.clone(), value: tree(value) };
            Kind::Map(entries.iter().map(entry).collect())
        }
    };
    Tree { at: 0, kind }
}

macro_rules! whole_numbers {
    ($($type:ty),*) => {$(
        impl Setting for $type {
            fn read(tree: &Tree, reader: &mut Reader<'_>) -> Option<Self> {
                let expected = concat!("expected a whole number that fits ", stringify!($type));
                let Kind::Number(digits) = &tree.kind else {
                    reader.wrong_type(tree, "a whole number");
                    return None;
                };
                let value = digits.parse().ok();
                if value.is_none() {
                    reader.bad_value(tree, format!("is {digits}"), expected);
                }
                value
            }

            fn schema(_: &mut BTreeMap<String, Value>) -> Value {
                json!({"type": "integer"})
            }
        }
    )*};
}
whole_numbers!(u16, u32, u64, usize, i64);

macro_rules! counts_of_something {
    ($($type:ty, $plain:ty);*) => {$(
        /// A bound of nothing would shut everybody out without a word.
        impl Setting for $type {
            fn read(tree: &Tree, reader: &mut Reader<'_>) -> Option<Self> {
                let value = <$type>::new(<$plain>::read(tree, reader)?);
                if value.is_none() {
                    reader.bad_value(tree, "is 0", "expected a number from 1");
                }
                value
            }

            fn schema(_: &mut BTreeMap<String, Value>) -> Value {
                json!({"type": "integer", "minimum": 1})
            }
        }
    )*};
}
counts_of_something!(NonZeroU32, u32; NonZeroU64, u64);

impl Setting for f64 {
    fn read(tree: &Tree, reader: &mut Reader<'_>) -> Option<Self> {
        let Kind::Number(digits) = &tree.kind else {
            reader.wrong_type(tree, "a number");
            return None;
        };
        let value = digits.parse::<f64>().ok().filter(|value| value.is_finite());
        if value.is_none() {
            reader.bad_value(tree, format!("is {digits}"), "expected a number");
        }
        value
    }

    fn schema(_: &mut BTreeMap<String, Value>) -> Value {
        json!({"type": "number"})
    }
}

/// `"500ms"`, `"5s"`, `"1m30s"`, `"24h"`, `"30d"`, or a number of seconds.
impl Setting for Duration {
    fn read(tree: &Tree, reader: &mut Reader<'_>) -> Option<Self> {
        let value = match &tree.kind {
            Kind::Text(text) => duration(text),
            Kind::Number(digits) => digits.parse().ok().map(Duration::from_secs),
            _ => {
                reader.wrong_type(tree, "a duration such as \"5s\"");
                return None;
            }
        };
        if value.is_none() {
            reader.bad_value(
                tree,
                "is not a duration",
                "expected a number and a unit of ms, s, m, h, d, w, as in \"1m30s\"",
            );
        }
        value
    }

    fn schema(_: &mut BTreeMap<String, Value>) -> Value {
        json!({"type": ["string", "integer"], "description": "a duration: 500ms, 5s, 1m30s, 24h, 30d"})
    }
}

/// A time as people write it: `500ms`, `5s`, `1m30s`, `24h`, `30d`.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|at| *at > 0)?;
        let count: u64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
        let ms = match &rest[digits..unit_end] {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return None,
        };
        total = total.checked_add(Duration::from_millis(count.checked_mul(ms)?))?;
        rest = &rest[unit_end..];
    }
    (!text.trim().is_empty()).then_some(total)
}

macro_rules! parsed_texts {
    ($($type:ty => $expected:literal),* $(,)?) => {$(
        impl Setting for $type {
            fn read(tree: &Tree, reader: &mut Reader<'_>) -> Option<Self> {
                let text = String::read(tree, reader)?;
                let value = text.parse().ok();
                if value.is_none() {
                    reader.bad_value(tree, format!("is {text:?}"), concat!("expected ", $expected));
                }
                value
            }

            fn schema(_: &mut BTreeMap<String, Value>) -> Value {
                json!({"type": "string", "description": $expected})
            }
        }
    )*};
}
parsed_texts!(IpAddr => "an IP address", SocketAddr => "an IP address and port");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in [
            ("5s", 5_000),
            ("500ms", 500),
            ("1m30s", 90_000),
            ("0", 0),
            ("2d", 172_800_000),
            ("1w", 604_800_000),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "5", "5 s", "5x", "-5s", "99999999999999999999d", "18446744073709551615w"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn places_count_lines_and_characters() {
        let reader = Reader::new("é{\n  ü: 1\n}");
        assert_eq!((reader.place(0).line, reader.place(0).column), (1, 1));
        assert_eq!((reader.place(2).line, reader.place(2).column), (1, 2));
        let umlaut_then_colon = "é{\n  ü".len();
        assert_eq!((reader.place(umlaut_then_colon).line, reader.place(umlaut_then_colon).column), (2, 4));
        assert_eq!(reader.place(1_000).line, 3);
    }
}
