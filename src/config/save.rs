//! What may be saved through the API, beyond being a good file: writing the configuration is not reading its
//! secrets, and nobody saves away their own way back.
//!
//! ```text
//!  a new reference ($env:, $file:, keyfile::)       would read what the saver cannot
//!  another address beside a kept secret             would send the secret there
//!  server, identity, policies, a file exporter,
//!  a file of prices                                belong to who has the machine
//!  the saver's own admin role                       would lock the saver out
//! ```

use serde_json::{Map, Value};

use super::hujson;
use crate::base::settings::{Place, Problem, Reader, plain};
use crate::policy::grant::settings::Role;
use crate::policy::identity::Principal;
use crate::policy::rights::Rights;
use crate::policy::snapshot::Snapshot;

/// Sections that are written on the machine alone.
const OF_THE_MACHINE: [&str; 3] = ["server", "identity", "policies"];
/// Keys whose value is an address that secrets beside and below it are sent to.
const ADDRESSES: [&str; 5] = ["baseurl", "url", "endpoint", "proxy", "jwks"];
/// Keys whose value is a secret.
pub(super) const SECRETS: [&str; 8] = [
    "apikey",
    "access_key_id",
    "access_secret",
    "password",
    "secret_key",
    "token",
    "client_secret",
    "headers",
];
/// What stands for a secret that the saver need not know: also those that the machine itself has.
const REFERENCES: [&str; 5] = ["$env:", "$file:", "keyfile::", "adc::", "profile::"];

/// What keeps `saver` from replacing `before` by `after`, both good files with the snapshots they compile to.
#[must_use]
pub fn refusals(before: (&str, &Snapshot), after: (&str, &Snapshot), saver: &Principal) -> Vec<Problem> {
    let mut found = Vec::new();
    let (old, new) = (value(before.0), value(after.0));
    for section in OF_THE_MACHINE.iter().filter(|section| old.get(*section) != new.get(*section)) {
        found.push(refuse(section, "is changed on the machine, not through the API", "edit the file there"));
    }
    for (pointer, path) in [("/exporters/file", "exporters.file"), ("/prices/file", "prices.file")] {
        if old.pointer(pointer) != new.pointer(pointer) {
            found.push(refuse(path, "is changed on the machine, not through the API", "edit the file there"));
        }
    }
    walk(&mut found, "", Some(&old), &new);
    let admin = |snapshot| Rights::of(snapshot, saver).has(Role::Admin);
    if admin(before.1) && !admin(after.1) {
        found.push(refuse("grants", "takes your own admin role away", "keep a grant that gives it to you"));
    }
    found
}

/// Whether a text stands for a secret rather than being one.
pub(super) fn is_reference(text: &str) -> bool {
    REFERENCES.iter().any(|mark| text.starts_with(mark))
}

fn refuse(path: &str, what: &str, to_do: &str) -> Problem {
    let place = Place { path: path.into(), ..Place::default() };
    Problem::error(&place, what).expected(to_do)
}

/// The text as plain values. Both are good files, so a text that cannot be read here holds nothing.
fn value(text: &str) -> Value {
    let mut reader = Reader::new(text);
    hujson::parse(text, &mut reader).map_or(Value::Null, |tree| plain(&tree))
}

fn walk(found: &mut Vec<Problem>, path: &str, old: Option<&Value>, new: &Value) {
    match new {
        Value::Object(entries) => {
            moved(found, path, old.and_then(Value::as_object), entries);
            for (key, value) in entries {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                walk(found, &path, old.and_then(|old| old.get(key)), value);
            }
        }
        Value::Array(items) => {
            for (at, value) in items.iter().enumerate() {
                walk(found, &format!("{path}[{at}]"), old.and_then(|old| old.get(at)), value);
            }
        }
        Value::String(text) if is_reference(text) && old != Some(new) => {
            let what = "is a new reference, which would read what you cannot";
            found.push(refuse(path, what, "write references on the machine, or the secret itself here"));
        }
        _ => {}
    }
}

/// An address has changed and a secret that goes there has not.
fn moved(found: &mut Vec<Problem>, path: &str, old: Option<&Map<String, Value>>, new: &Map<String, Value>) {
    let moves = |old: Option<&Map<String, Value>>| {
        old.is_none_or(|old| origin(old.get("baseurl")) != origin(new.get("baseurl")))
    };
    if signs_as_the_machine(new) && (moves(old) || !old.is_some_and(signs_as_the_machine)) {
        let what = "is signed for with the machine's own AWS identity, at another address";
        found.push(refuse(path, what, "give keys of its own in apikey, or write it on the machine"));
    }
    let Some(old) = old else { return };
    let changed = ADDRESSES.iter().any(|key| origin(old.get(*key)) != origin(new.get(*key)));
    if changed && keeps_secret(old, new) {
        let what = "has another address and the same secret, which would be sent there";
        found.push(refuse(path, what, "give the secret again"));
    }
}

/// Whether a provider is shown what this machine's surroundings give (AWS's usual places).
fn signs_as_the_machine(entry: &Map<String, Value>) -> bool {
    let is = |key: &str, value: &str| entry.get(key).and_then(Value::as_str) == Some(value);
    is("authorization", "sigv4") && !entry.contains_key("apikey") && !entry.contains_key("keys")
}

/// Scheme, host and port; a path may change freely.
fn origin(address: Option<&Value>) -> Option<String> {
    let text = address?.as_str()?;
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let authority = rest.split('/').next().unwrap_or_default();
    Some(format!("{scheme}://{authority}").to_lowercase())
}

fn keeps_secret(old: &Map<String, Value>, new: &Map<String, Value>) -> bool {
    new.iter().any(|(key, value)| match (old.get(key), value) {
        (Some(before), _) if SECRETS.contains(&key.as_str()) => before == value && !value.is_null(),
        (Some(Value::Object(before)), Value::Object(after)) => keeps_secret(before, after),
        (Some(Value::Array(before)), Value::Array(after)) => {
            // Order does not matter here: a secret kept anywhere in the list is kept.
            let objects =
                |items: &'_ [Value]| items.iter().filter_map(Value::as_object).cloned().collect::<Vec<_>>();
            let before = objects(before);
            objects(after).iter().any(|after| before.iter().any(|before| keeps_secret(before, after)))
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Options, load};

    const BEFORE: &str = r#"{
      "server": {"listen": ["127.0.0.1:1"]},
      "providers": {
        "a": {"baseurl": "https://a.example.com", "models": ["**"], "apikey": "$env:KEY"},
        "b": {"baseurl": "https://b.example.com", "models": ["**"], "keys": [{"apikey": "secret"}]},
      },
      "grants": [{"src": ["admin@x"], "app": {"weir": [{"role": "admin"}]}}, {"src": ["*"], "app": {"weir": [{"role": "user"}]}}],
    }"#;

    fn refused(replace: &str, by: &str) -> Vec<String> {
        assert!(BEFORE.contains(replace), "{replace}");
        let after = BEFORE.replacen(replace, by, 1);
        let options = Options { secrets_dir: Some("/".into()), ..Options::default() };
        let snapshot = |text: &str| {
            let loaded = load(text, &|_| Some("k".into()), &|_| Ok(b"k".to_vec()), &options);
            loaded.unwrap_or_else(|problems| panic!("{problems:?}")).snapshot
        };
        let saver = Principal { name: "admin@x".into(), ..Principal::default() };
        let problems = refusals((BEFORE, &snapshot(BEFORE)), (&after, &snapshot(&after)), &saver);
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_harms_nobody_is_saved() {
        for (replace, by) in [
            ("\"**\"", "\"gpt-5\""),
            ("https://a.example.com", "https://a.example.com/prefix"),
            ("\"$env:KEY\"", "\"given-again\""),
            (
                "\"https://b.example.com\", \"models\": [\"**\"], \"keys\": [{\"apikey\": \"secret\"}]",
                "\"https://c.example.com\", \"models\": [\"**\"], \"keys\": [{\"apikey\": \"new\"}]",
            ),
        ] {
            assert_eq!(refused(replace, by), Vec::<String>::new(), "{replace} -> {by}");
        }
    }

    #[test]
    fn what_would_harvest_a_secret_or_lock_out_is_refused() {
        for (replace, by, expected) in [
            ("https://a.example.com", "https://evil.example.com", "providers.a: has another address"),
            ("https://a.example.com", "http://a.example.com", "providers.a: has another address"),
            ("https://b.example.com", "https://b.example.com:8443", "providers.b: has another address"),
            (
                "\"keys\": [",
                "\"proxy\": \"http://evil.example.com\", \"keys\": [",
                "providers.b: has another address",
            ),
            ("\"secret\"", "\"$file:/etc/shadow\"", "providers.b.keys[0].apikey: is a new reference"),
            ("\"secret\"", "\"$env:AWS_SECRET_ACCESS_KEY\"", "is a new reference"),
            ("127.0.0.1:1", "127.0.0.1:2", "server: is changed on the machine"),
            ("admin@x", "other@x", "grants: takes your own admin role away"),
        ] {
            let mut problems = refused_allowing(replace, by);
            problems.retain(|problem| problem.contains(expected));
            assert_eq!(problems.len(), 1, "{replace} -> {by}");
        }
    }

    /// As `refused`, for files with something that is not enforced yet.
    fn refused_allowing(replace: &str, by: &str) -> Vec<String> {
        if !by.contains("proxy") {
            return refused(replace, by);
        }
        let after = BEFORE.replacen(replace, by, 1);
        let nobody = Snapshot::default();
        let problems = refusals((BEFORE, &nobody), (&after, &nobody), &Principal::default());
        problems.iter().map(ToString::to_string).collect()
    }
}
