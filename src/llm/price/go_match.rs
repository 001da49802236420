//! Patterns as Go's `path.Match` reads them, which is what the incumbent's `model_cost_map` is written in.
//!
//! ```text
//!   *        any run of characters that are no slash      [abc] [a-z]   one of these
//!   ?        any one character that is no slash           [^abc]        one that is none of these
//!   \c       the character itself                         c             itself
//! ```
//!
//! A pattern matches the whole name. Checked when it is compiled; matching never fails, and steps back to the last
//! star only, so its time is bounded by the product of both lengths.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use crate::base::settings::{Reader, Setting, Tree};

/// Longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 256;

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    written: Box<str>,
    steps: Box<[Step]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Char(char),
    Any,
    Star,
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Pattern {
    /// Compile, or say why it is no pattern.
    pub fn new(pattern: &str) -> Result<Self, &'static str> {
        if pattern.is_empty() {
            return Err("an empty pattern matches nothing");
        }
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err("a pattern has at most 256 bytes");
        }
        let mut chars = pattern.chars();
        let mut steps = Vec::new();
        while let Some(c) = chars.next() {
            let step = match c {
                '*' if steps.last() == Some(&Step::Star) => continue,
                '*' => Step::Star,
                '?' => Step::Any,
                '[' => class(&mut chars)?,
                '\\' => Step::Char(chars.next().ok_or("a backslash escapes the character after it")?),
                c => Step::Char(c),
            };
            steps.push(step);
        }
        Ok(Self { written: pattern.into(), steps: steps.into() })
    }

    /// As written.
    #[must_use]
    pub fn pattern(&self) -> &str {
        &self.written
    }

    /// Does it match the whole name?
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let (mut rest, mut step) = (name.chars(), 0);
        // Where to go on if what follows the last star does not fit: one character further.
        let mut star: Option<(std::str::Chars<'_>, usize)> = None;
        loop {
            let here = rest.clone();
            match (self.steps.get(step), rest.next()) {
                (None, None) => return true,
                (Some(Step::Star), _) => {
                    star = Some((here.clone(), step + 1));
                    (rest, step) = (here, step + 1);
                    continue;
                }
                (Some(expected), Some(c)) if expected.takes(c) => {
                    step += 1;
                    continue;
                }
                _ => {}
            }
            let Some((from, after)) = &mut star else { return false };
            match from.next() {
                Some(c) if c != '/' => (rest, step) = (from.clone(), *after),
                _ => return false,
            }
        }
    }
}

impl Step {
    fn takes(&self, c: char) -> bool {
        match self {
            Step::Char(expected) => *expected == c,
            Step::Any => c != '/',
            // A class may name the slash and then matches it, as Go has it.
            Step::Class { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
            Step::Star => false,
        }
    }
}

/// What stands after `[`: at least one range, and `]` only escaped.
fn class(chars: &mut std::str::Chars<'_>) -> Result<Step, &'static str> {
    let negated = chars.as_str().starts_with('^');
    if negated {
        chars.next();
    }
    let mut ranges = Vec::new();
    loop {
        if chars.as_str().starts_with(']') && !ranges.is_empty() {
            chars.next();
            return Ok(Step::Class { negated, ranges });
        }
        let low = class_char(chars)?;
        let high = if chars.as_str().starts_with('-') {
            chars.next();
            class_char(chars)?
        } else {
            low
        };
        ranges.push((low, high));
    }
}

fn class_char(chars: &mut std::str::Chars<'_>) -> Result<char, &'static str> {
    const BROKEN: &str = "a class is written [a-z] or [^a-z], with - and ] in it escaped";
    match chars.next() {
        None | Some('-' | ']') => Err(BROKEN),
        Some('\\') => chars.next().ok_or(BROKEN),
        Some(c) => Ok(c),
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.written)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Pattern::new(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl Setting for Pattern {
    fn read(tree: &Tree, reader: &mut Reader<'_>) -> Option<Self> {
        let text = String::read(tree, reader)?;
        match Pattern::new(&text) {
            Ok(pattern) => Some(pattern),
            Err(why) => {
                reader.bad_value(tree, format!("{text:?} is no pattern"), why);
                None
            }
        }
    }

    fn schema(_: &mut BTreeMap<String, Value>) -> Value {
        json!({"type": "string", "description": "as Go's path.Match: * ? [a-z] [^a-z] \\c, none of them over a slash"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_go_matches() {
        // Pattern, name, whether it matches; the first rows are those of the package's own documentation.
        for (pattern, name, expected) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "a", true),
            ("a*", "abc", true),
            ("a*", "ab/c", false),
            ("a*/b", "abc/b", true),
            ("a*/b", "a/c/b", false),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", false),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "a☺b", true),
            ("a[^a]b", "a☺b", true),
            ("a???b", "a☺b", false),
            ("[a-ζ]*", "α", true),
            ("*[a-ζ]", "A", false),
            ("a?b", "a/b", false),
            ("a*b", "a/b", false),
            ("[\\]a]", "]", true),
            ("[\\-]", "-", true),
            ("[x\\-]", "z", false),
            ("[a-b-c]x", "bx", false),
            ("*x", "xxx", true),
            ("claude-*-4-5*", "claude-sonnet-4-5-20250929", true),
            ("*claude*", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", true),
            ("*", "anthropic/claude", false),
            ("*/claude*", "anthropic/claude-sonnet-4.5", true),
            ("gpt-[45]*", "gpt-5.1", true),
        ] {
            let matched = Pattern::new(pattern).is_ok_and(|compiled| compiled.matches(name));
            assert_eq!(matched, expected, "{pattern} {name}");
        }
    }

    #[test]
    fn what_go_calls_a_bad_pattern_is_refused() {
        for pattern in
            ["", "[", "[]a]", "[^]a]", "[a", "[a-", "[a-]", "[-]", "[x-]", "[-x]", "a[", "a\\", "[a-b-c]"]
        {
            assert!(Pattern::new(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn many_stars_end_soon() {
        let pattern = Pattern::new(&format!("{}b", "a*".repeat(100))).expect("a pattern");
        assert!(!pattern.matches(&"a".repeat(1_000)));
    }
}
