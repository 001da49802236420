//! Globs over names with slashes: `*` within one segment, `**` over any. Compiled once; matching is bounded.
//!
//! Deliberately absent: a regex engine. Two wildcards and literal bytes are all the file's patterns have, and the
//! cost of a match must not depend on who wrote the pattern: the general case steps a set of positions once per
//! byte, never backtracks, and patterns and texts have a longest length.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

use crate::base::settings::{Reader, Setting, Tree};

/// Longest pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 256;
/// A longer text matches nothing but `**`.
pub const TEXT_BYTES_MAX: usize = 1024;

/// A compiled pattern.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Glob {
    pattern: Box<str>,
    shape: Shape,
}

/// The shapes that real files hold get their own short way.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Shape {
    /// `**`
    Anything,
    /// No wildcard.
    Exact,
    /// One `*` at the end: the bytes before it.
    Segment(u16),
    /// One `**` at the end: the bytes before it.
    Prefix(u16),
    /// Everything else.
    General(Box<[Step]>),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    Byte(u8),
    Star,
    Stars,
}

impl Glob {
    /// Compile, or say why it is no pattern.
    pub fn new(pattern: &str) -> Result<Self, &'static str> {
        if pattern.is_empty() {
            return Err("an empty pattern matches nothing");
        }
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err("a pattern has at most 256 bytes");
        }
        if pattern.contains("***") {
            return Err("three stars in a row are no wildcard");
        }
        Ok(Self { pattern: pattern.into(), shape: shape(pattern) })
    }

    /// The pattern that matches everything.
    #[must_use]
    pub fn anything() -> Self {
        Self { pattern: "**".into(), shape: Shape::Anything }
    }

    /// As written.
    #[must_use]
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// Whether it is a plain name.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.shape == Shape::Exact
    }

    /// Whether it matches whatever there is.
    #[must_use]
    pub fn is_anything(&self) -> bool {
        self.shape == Shape::Anything
    }

    /// Does it match the whole text?
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.matches_parts(&[text])
    }

    /// Does it match the parts written one after the other? Saves joining `provider`, `/`, `model` on the hot path.
    #[must_use]
    pub fn matches_parts(&self, parts: &[&str]) -> bool {
        if self.is_anything() {
            return true;
        }
        if parts.iter().map(|part| part.len()).sum::<usize>() > TEXT_BYTES_MAX {
            return false;
        }
        match &self.shape {
            Shape::Anything => true,
            Shape::Exact => {
                strip(parts, self.pattern.as_bytes()).is_some_and(|mut rest| rest.all(str::is_empty))
            }
            Shape::Segment(len) => {
                strip(parts, self.literal(*len)).is_some_and(|mut rest| rest.all(|part| !part.contains('/')))
            }
            Shape::Prefix(len) => strip(parts, self.literal(*len)).is_some(),
            Shape::General(steps) => general(steps, parts.iter().flat_map(|part| part.bytes())),
        }
    }

    /// Could it match a text that begins with `first` and a slash? Errs on the side of yes.
    #[must_use]
    pub fn may_begin_with(&self, first: &str) -> bool {
        let pattern = self.pattern.split('/').next().unwrap_or_default();
        if pattern.contains("**") {
            return true;
        }
        self.pattern.contains('/') && Self::new(pattern).map_or(pattern == first, |glob| glob.matches(first))
    }

    fn literal(&self, len: u16) -> &[u8] {
        &self.pattern.as_bytes()[..usize::from(len)]
    }
}

fn shape(pattern: &str) -> Shape {
    let short = |len: usize| u16::try_from(len).unwrap_or(u16::MAX);
    match pattern.find('*') {
        None => Shape::Exact,
        Some(0) if pattern == "**" => Shape::Anything,
        Some(at) if &pattern[at..] == "**" => Shape::Prefix(short(at)),
        Some(at) if &pattern[at..] == "*" => Shape::Segment(short(at)),
        Some(_) => Shape::General(steps(pattern)),
    }
}

fn steps(pattern: &str) -> Box<[Step]> {
    let mut steps = Vec::with_capacity(pattern.len());
    for byte in pattern.bytes() {
        match (byte, steps.last()) {
            (b'*', Some(Step::Star)) => {
                steps.pop();
                steps.push(Step::Stars);
            }
            (b'*', _) => steps.push(Step::Star),
            (byte, _) => steps.push(Step::Byte(byte)),
        }
    }
    steps.into_boxed_slice()
}

/// What is left of the parts after `prefix`, if they begin with it.
fn strip<'t>(parts: &'t [&'t str], prefix: &[u8]) -> Option<impl Iterator<Item = &'t str> + use<'t>> {
    let mut prefix = prefix;
    let mut at = 0;
    let mut taken = 0;
    while !prefix.is_empty() {
        let part = parts.get(at)?.as_bytes();
        taken = part.len().min(prefix.len());
        if part[..taken] != prefix[..taken] {
            return None;
        }
        prefix = &prefix[taken..];
        at += usize::from(taken == part.len());
        taken %= part.len().max(1);
    }
    // Wildcards are ASCII, so a prefix ends between characters where the text agrees with it.
    let first = parts.get(at).and_then(|part| part.get(taken..));
    Some(first.into_iter().chain(parts.iter().skip(at + 1).copied()))
}

/// The set of steps that a text read so far may stand before: one bit each, and one for the end.
#[derive(Clone, Copy, Default)]
struct Standing([u64; PATTERN_BYTES_MAX / 64 + 1]);

impl Standing {
    /// Stand before `step` and, since wildcards match nothing too, before what follows it.
    fn enter(&mut self, steps: &[Step], step: usize) {
        let mut step = step;
        loop {
            self.0[step / 64] |= 1 << (step % 64);
            match steps.get(step) {
                Some(Step::Star | Step::Stars) => step += 1,
                _ => return,
            }
        }
    }

    fn each(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(word, bits)| {
            let mut bits = *bits;
            std::iter::from_fn(move || {
                let bit = bits.trailing_zeros();
                bits &= bits.wrapping_sub(1);
                (bit < 64).then(|| word * 64 + bit as usize)
            })
        })
    }
}

fn general(steps: &[Step], text: impl Iterator<Item = u8>) -> bool {
    let mut standing = Standing::default();
    standing.enter(steps, 0);
    for byte in text {
        let mut next = Standing::default();
        for step in standing.each() {
            match steps.get(step) {
                Some(Step::Byte(expected)) if *expected == byte => next.enter(steps, step + 1),
                Some(Step::Star) if byte != b'/' => next.enter(steps, step),
                Some(Step::Stars) => next.enter(steps, step),
                _ => {}
            }
        }
        standing = next;
    }
    standing.0[steps.len() / 64] & (1 << (steps.len() % 64)) != 0
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.pattern)
    }
}

impl Setting for Glob {
    fn read(tree: &Tree, reader: &mut Reader<'_>) -> Option<Self> {
        let text = String::read(tree, reader)?;
        match Glob::new(&text) {
            Ok(glob) => Some(glob),
            Err(why) => {
                reader.bad_value(tree, format!("{text:?} is no pattern"), why);
                None
            }
        }
    }

    fn schema(_: &mut BTreeMap<String, Value>) -> Value {
        json!({"type": "string", "description": "* matches within one segment, ** matches anything"})
    }
}

#[cfg(test)]
mod tests;
