//! A secret as written: the secret itself, or where it is kept. Never shown.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

use super::{Place, Reader, Setting, Tree};

/// A secret, or a reference to one: `$env:NAME`, `$file:/path`, `keyfile::PATH`.
#[derive(Clone, Default)]
pub struct SecretText {
    written: String,
    /// Where it stands.
    pub place: Place,
}

/// Where a secret is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kept<'a> {
    /// In the file itself.
    Here(&'a str),
    /// In an environment variable of this name.
    Env(&'a str),
    /// In a file that holds nothing else.
    File(&'a str),
    /// In a key file that must be exchanged for tokens (Google service accounts).
    KeyFile(&'a str),
}

impl SecretText {
    /// Where it is kept.
    #[must_use]
    pub fn kept(&self) -> Kept<'_> {
        let written = self.written.as_str();
        if let Some(name) = written.strip_prefix("$env:") {
            return Kept::Env(name);
        }
        if let Some(path) = written.strip_prefix("$file:") {
            return Kept::File(path);
        }
        match written.strip_prefix("keyfile::") {
            Some(path) => Kept::KeyFile(path),
            None => Kept::Here(written),
        }
    }

    /// The reference, or an ellipsis in place of a secret.
    #[must_use]
    pub fn shown(&self) -> &str {
        if matches!(self.kept(), Kept::Here(_)) { "…" } else { &self.written }
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown())
    }
}

impl fmt::Debug for Kept<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kept::Here(_) => f.write_str("…"),
            Kept::Env(name) => write!(f, "$env:{name}"),
            Kept::File(path) => write!(f, "$file:{path}"),
            Kept::KeyFile(path) => write!(f, "keyfile::{path}"),
        }
    }
}

impl Setting for SecretText {
    fn read(tree: &Tree, reader: &mut Reader<'_>) -> Option<Self> {
        let place = reader.place(tree.at);
        String::read(tree, reader).map(|written| Self { written, place })
    }

    fn schema(_: &mut BTreeMap<String, Value>) -> Value {
        json!({"type": "string", "description": "a secret, or $env:NAME, $file:/path, keyfile::PATH"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown_a_reference_is() {
        let secret = |written: &str| SecretText { written: written.into(), place: Place::default() };
        assert!(!format!("{:?}", secret("sk-very")).contains("very"));
        assert!(!format!("{:?}", secret("sk-very").kept()).contains("very"));
        assert_eq!(format!("{:?}", secret("$env:KEY")), "$env:KEY");
        assert_eq!(secret("keyfile::/a/b").kept(), Kept::KeyFile("/a/b"));
    }
}
