//! Settings as written: a tree that knows where each value stands, and typed structs read from it.
//!
//! Every module owns the struct it is configured by and declares it with [`settings!`](crate::settings) next to the
//! code it configures; the doc comments become the reference and the JSON Schema. Reading never stops at the first
//! fault: all of them are noted with line, column, path, what was expected and the nearest valid name.
//!
//! Deliberately absent: the text format (the tree is made in `config`) and any value of a secret.

mod declare;
mod read;
mod secret;

use std::fmt;
use std::sync::Arc;

pub use declare::{Object, ObjectSchema, nearest};
pub use read::{At, Reader, Setting, duration, plain, tree};
pub use secret::{Kept, SecretText};

/// Where a value stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place {
    /// Line, from 1; 0 for what was never in a file.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Path of keys, as in `providers.openai.models[2]`.
    pub path: Arc<str>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.path.is_empty()) {
            (0, _) => f.write_str(&self.path),
            (line, true) => write!(f, "{line}:{}", self.column),
            (line, false) => write!(f, "{line}:{} {}", self.column, self.path),
        }
    }
}

/// How much a problem matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The file is refused.
    Error,
    /// Something restricts on paper that is not enforced: refused unless that is allowed by flag.
    Unenforced,
    /// Read, but without effect in this version.
    NotInForce,
    /// The file is accepted; somebody should look.
    Warning,
}

impl Severity {
    /// As printed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Unenforced => "not enforced",
            Severity::NotInForce => "not in force",
            Severity::Warning => "warning",
        }
    }
}

/// One thing to mend, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How much it matters.
    pub severity: Severity,
    /// Where.
    pub place: Place,
    /// What is wrong. Never holds the value of a secret.
    pub what: String,
    /// What was expected, or what to do.
    pub expected: Option<String>,
    /// The valid name that comes nearest to the one written.
    pub nearest: Option<String>,
}

impl Problem {
    /// An error at a place.
    #[must_use]
    pub fn error(place: &Place, what: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            place: place.clone(),
            what: what.into(),
            expected: None,
            nearest: None,
        }
    }

    /// A warning at a place.
    #[must_use]
    pub fn warning(place: &Place, what: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(place, what) }
    }

    /// The same with what was expected, or what to do.
    #[must_use]
    pub fn expected(self, expected: impl Into<String>) -> Self {
        Self { expected: Some(expected.into()), ..self }
    }

    /// The same with the nearest of the valid names, if one is near.
    #[must_use]
    pub fn near<'a>(self, written: &str, valid: impl IntoIterator<Item = &'a str>) -> Self {
        Self { nearest: nearest(written, valid).map(str::to_owned), ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.line > 0 {
            write!(f, "{}:{}: ", self.place.line, self.place.column)?;
        }
        write!(f, "{}: ", self.severity.name())?;
        if !self.place.path.is_empty() {
            write!(f, "{}: ", self.place.path)?;
        }
        f.write_str(&self.what)?;
        if let Some(expected) = &self.expected {
            write!(f, "; {expected}")?;
        }
        match &self.nearest {
            Some(nearest) => write!(f, "; did you mean \"{nearest}\"?"),
            None => Ok(()),
        }
    }
}

/// A value as written. Positions are bytes into the text; [`Reader`] turns them into lines.
#[derive(Clone, Debug)]
pub struct Tree {
    /// Byte offset of its first character.
    pub at: usize,
    /// What it is.
    pub kind: Kind,
}

/// The kinds of JSON.
#[derive(Clone, Debug)]
pub enum Kind {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A number, digits as written.
    Number(String),
    /// A string, unescaped.
    Text(String),
    /// An array.
    List(Vec<Tree>),
    /// An object: entries in order, duplicates too.
    Map(Vec<Entry>),
}

/// One entry of an object.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Byte offset of the key.
    pub at: usize,
    /// The key, unescaped.
    pub key: String,
    /// Its value.
    pub value: Tree,
}

impl Tree {
    /// What a reader of the file would call it.
    #[must_use]
    pub fn called(&self) -> &'static str {
        match self.kind {
            Kind::Null => "null",
            Kind::Bool(_) => "true or false",
            Kind::Number(_) => "a number",
            Kind::Text(_) => "a string",
            Kind::List(_) => "an array",
            Kind::Map(_) => "an object",
        }
    }
}
