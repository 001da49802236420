//! The file as the API shows it: secrets that stand in it are kept back, and what is saved with their marks has them again.
//!
//! A mark stands for the secret at its own place and nowhere else: moved to another entry it stands for nothing. The text
//! is edited, not written anew, so comments and order survive.

use std::collections::HashMap;
use std::ops::Range;

use super::hujson;
use super::save::{adds_credential, is_reference, is_secret};
use crate::base::settings::{Entry, Kind, Place, Problem, Reader, Tree};

/// What stands in place of a secret.
pub const MARK: &str = "$kept";

/// The text with a mark for each secret that stands in it. `None`: it cannot be read, so it is not known where they are.
#[must_use]
pub fn masked(text: &str) -> Option<String> {
    let secrets = spots(text, |text| !is_reference(text))?;
    Some(replaced(text, secrets.into_values().map(|span| (span, format!("\"{MARK}\"")))))
}

/// The text with the secrets of `old` where it has marks.
pub fn restored(text: &str, old: &str) -> Result<String, Vec<Problem>> {
    // What cannot be read is told by whoever compiles it.
    let Some(marks) = spots(text, |text| text == MARK) else { return Ok(text.to_owned()) };
    let kept = spots(old, |text| !is_reference(text)).unwrap_or_default();
    let missing = |path: &&String| !kept.contains_key(*path);
    let problems: Vec<Problem> = marks.keys().filter(missing).map(|path| nothing_kept(path)).collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    let secrets =
        marks.into_iter().filter_map(|(path, span)| Some((span, old[kept.get(&path)?.clone()].to_owned())));
    Ok(replaced(text, secrets))
}

fn nothing_kept(path: &str) -> Problem {
    let place = Place { path: path.into(), ..Place::default() };
    Problem::error(&place, "has the mark of a kept secret, and none is kept there")
        .expected("give the secret")
}

fn replaced(text: &str, edits: impl Iterator<Item = (Range<usize>, String)>) -> String {
    let mut edits: Vec<_> = edits.collect();
    edits.sort_by_key(|(span, _)| std::cmp::Reverse(span.start));
    let mut out = text.to_owned();
    edits.into_iter().for_each(|(span, by)| out.replace_range(span, &by));
    out
}

/// Where secrets stand as literals, by the path of their key, if their text is one of those.
fn spots(text: &str, which: impl Fn(&str) -> bool) -> Option<HashMap<String, Range<usize>>> {
    let mut reader = Reader::new(text);
    let tree = hujson::parse(text, &mut reader)?;
    let mut found = HashMap::new();
    walk(text, "", false, &tree, &which, &mut found);
    Some(found)
}

fn walk(
    text: &str,
    path: &str,
    secret: bool,
    tree: &Tree,
    which: &impl Fn(&str) -> bool,
    found: &mut HashMap<String, Range<usize>>,
) {
    match &tree.kind {
        Kind::Text(value) if secret && which(value) => {
            found.insert(path.to_owned(), literal(text, tree.at));
        }
        Kind::List(items) => {
            for (at, item) in items.iter().enumerate() {
                let line = matches!(&item.kind, Kind::Text(line) if adds_credential(line) || line == MARK);
                let added = path.ends_with(".add_headers") && line;
                walk(text, &format!("{path}[{at}]"), added, item, which, found);
            }
        }
        Kind::Map(entries) => {
            let adds = path.contains(".add_headers[") && entries.iter().any(names_credential);
            for entry in entries {
                let path = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
                // Of a map of fields each value may be one.
                let named = is_secret(&entry.key)
                    || has_credential(&entry.key, &entry.value)
                    || adds && entry.key == "value";
                walk(text, &path, secret || named, &entry.value, which, found);
            }
        }
        _ => {}
    }
}

/// The name in a field written as name and value, where the value is a credential.
fn names_credential(entry: &Entry) -> bool {
    entry.key == "name" && matches!(&entry.value.kind, Kind::Text(name) if adds_credential(name))
}

/// An address that holds a password, as those of proxies and stores may.
fn has_credential(key: &str, value: &Tree) -> bool {
    let text = match &value.kind {
        Kind::Text(text) => text,
        _ => return false,
    };
    matches!(key, "proxy" | "url") && (text == MARK || text.contains('@'))
}

/// From its opening to its closing quote.
fn literal(text: &str, at: usize) -> Range<usize> {
    let mut escaped = false;
    let inside = text.bytes().enumerate().skip(at + 1);
    let end = inside.into_iter().find(|(_, byte)| {
        let closes = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        closes
    });
    at..end.map_or(text.len(), |(end, _)| end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{
  // who we are
  "server": {"secret_key": "for \"rest\"", "quota_store": {"url": "redis://user:pass@store"}},
  "providers": {
    "a": {"baseurl": "https://a", "apikey": "sk-one", "models": ["m"]}, /* ours */
    "h": {"baseurl": "https://h", "add_headers": ["X-Api-Key: sk-five", "x-team: a", {"name": "Cookie", "value": "sk-six"}]},
    "b": {"baseurl": "https://b", "apikey": "$env:B", "keys": [{"apikey": "sk-two"}, {"apikey": "sk-three"},],},
  },
  "exporters": {"otlp": {"endpoint": "https://o", "headers": {"x-key": "sk-four"}}},
  "database": {"headers": {"filterable": [{"name": "x-team"}]}},
}"#;

    #[test]
    fn no_secret_is_shown_and_all_come_back_in_their_places() {
        let shown = masked(FILE).expect("readable");
        for secret in ["sk-", "rest", "pass"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        assert_eq!(shown.matches(MARK).count(), 8, "{shown}");
        assert!(
            shown.contains("// who we are")
                && shown.contains("$env:B")
                && shown.contains("x-team: a")
                && shown.contains("x-team")
        );
        assert_eq!(restored(&shown, FILE).expect("all are kept"), FILE);
        let more = shown.replace("[\"m\"]", "[\"m\", \"n\"]");
        assert_eq!(restored(&more, FILE).expect("kept"), FILE.replace("[\"m\"]", "[\"m\", \"n\"]"));
    }

    #[test]
    fn a_mark_elsewhere_stands_for_nothing() {
        let shown = masked(FILE).expect("readable");
        for moved in [shown.replace("\"a\":", "\"c\":"), shown.replace("$env:B", MARK)] {
            let problems = restored(&moved, FILE).expect_err("none is kept there");
            assert!(problems[0].to_string().contains("none is kept there"), "{problems:?}");
        }
        assert!(masked("{").is_none(), "what cannot be read is not shown");
    }
}
