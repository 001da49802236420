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
/// How keys of further addresses end: `token_url`, `authorization_url`.
const ADDRESS_ENDING: &str = "_url";
/// Keys whose value is a secret.
const SECRETS: [&str; 14] = [
    "apikey",
    "api_key",
    "access_key_id",
    "access_secret",
    "access_token",
    "refresh_token",
    "bearer_token",
    "password",
    "private_key",
    "secret",
    "secret_key",
    "token",
    "client_secret",
    "headers",
];
/// What the name of a field that carries a credential has in it, where one is added to requests.
const CREDENTIAL_FIELDS: [&str; 6] = ["authorization", "key", "token", "secret", "cookie", "password"];
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
    lent_elsewhere(&mut found, &old, &new);
    let admin = |snapshot| Rights::of(snapshot, saver).has(Role::Admin);
    if admin(before.1) && !admin(after.1) {
        found.push(refuse("grants", "takes your own admin role away", "keep a grant that gives it to you"));
    }
    found
}

/// Whether a key's value is a secret.
pub(super) fn is_secret(key: &str) -> bool {
    SECRETS.contains(&key)
}

/// Whether a line `Name: value` adds a credential.
pub(super) fn adds_credential(line: &str) -> bool {
    let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
    CREDENTIAL_FIELDS.iter().any(|part| name.contains(part))
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
    let is_address = |key: &&String| ADDRESSES.contains(&key.as_str()) || key.ends_with(ADDRESS_ENDING);
    let mut addresses = old.keys().chain(new.keys()).filter(is_address);
    let changed = addresses.any(|key| origin(old.get(key)) != origin(new.get(key)));
    if changed && keeps_secret(old, new) {
        let what = "has another address and the same secret, which would be sent there";
        found.push(refuse(path, what, "give the secret again"));
    }
}

/// Lines of a list of fields that add a credential, in either form.
fn credential_lines(list: &Value) -> Vec<&Value> {
    let name = |line: &Value| match line {
        Value::String(text) => adds_credential(text),
        _ => line.get("name").and_then(Value::as_str).is_some_and(adds_credential),
    };
    list.as_array().into_iter().flatten().filter(|line| name(line)).collect()
}

/// A credential that a grant adds goes to every provider which it covers: kept, it must not meet a new one.
fn lent_elsewhere(found: &mut Vec<Problem>, old: &Value, new: &Value) {
    let (before, known) = (added_by_grants(old), provider_origins(old));
    let kept = added_by_grants(new).iter().any(|line| before.contains(line));
    if kept && provider_origins(new).iter().any(|origin| !known.contains(origin)) {
        let what = "have an address that a credential in a grant's add_headers would be sent to";
        found.push(refuse("providers", what, "give the credential again, or write it on the machine"));
    }
}

fn added_by_grants(file: &Value) -> Vec<&Value> {
    let grants = file.get("grants").and_then(Value::as_array).into_iter().flatten();
    let domains = grants.filter_map(|grant| grant.get("app")?.as_object()).flat_map(Map::values);
    let capabilities = domains.filter_map(Value::as_array).flatten();
    capabilities.filter_map(|capability| capability.get("add_headers")).flat_map(credential_lines).collect()
}

/// Where providers are, by themselves and by their keys, and through whom they are reached.
fn provider_origins(file: &Value) -> Vec<String> {
    let providers: Vec<&Value> =
        file.get("providers").and_then(Value::as_object).into_iter().flat_map(Map::values).collect();
    let keys = providers.iter().filter_map(|provider| provider.get("keys")?.as_array()).flatten();
    let entries = providers.iter().copied().chain(keys);
    entries.flat_map(|entry| [entry.get("baseurl"), entry.get("proxy")]).filter_map(origin).collect()
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
        (Some(before), _) if is_secret(key) => before == value && !value.is_null(),
        (Some(before), Value::Array(lines)) if key == "add_headers" => {
            let before = credential_lines(before);
            lines.iter().any(|line| before.contains(&line))
        }
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
        "c": {"baseurl": "https://c.example.com", "models": ["**"], "auth_mode": "none", "add_headers": ["X-Vault-Token: t", "X-Team: a"]},
      },
      "grants": [{"src": ["admin@x"], "app": {"weir": [{"role": "admin"}]}}, {"src": ["*"], "app": {"weir": [{"role": "user", "add_headers": [{"name": "x-api-key", "value": "lent"}]}]}}],
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
            (
                "\"https://c.example.com\", \"models\": [\"**\"], \"auth_mode\": \"none\", \"add_headers\": [\"X-Vault-Token: t\",",
                "\"https://a.example.com\", \"models\": [\"**\"], \"auth_mode\": \"none\", \"add_headers\": [\"X-Vault-Token: u\",",
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
            ("https://c.example.com", "https://evil.example.com", "providers.c: has another address"),
            (
                "\"https://b.example.com\"",
                "\"https://evil.example.com\"",
                "providers: have an address that a credential in a grant's add_headers would be sent to",
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
