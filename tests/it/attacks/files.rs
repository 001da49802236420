//! A file that would read, or send, what its writer may not have; a save over the network that would do the same.

use std::os::unix::fs::symlink;
use std::path::Path;

use loadtest::{Knobs, Request};
use weir::config::Options;
use weir::config::keys;
use weir::config::reload::Source;
use weir::policy::identity::key::mint;

use crate::gate::{Gate, wait_for};

/// With a provider that has this for its credential, and these lines besides.
fn file(apikey: &str, more: &str) -> String {
    format!(
        r#"{{"server": {{"listen": ["127.0.0.1:0"]}}, "identity": [{{"source": "key"}}],
  "providers": {{"synthetic": {{"baseurl": "$provider", "apikey": "{apikey}", "authorization": "x-api-key",
    "models": ["**"], "compatibility": {{"anthropic_messages": true}}{more}}}}},
  "grants": [{{"src": ["key:boss"], "app": {{"weir": [{{"role": "admin"}}, {{"models": "**"}}]}}}},
    {{"src": ["key:ada"], "app": {{"weir": [{{"role": "user"}}, {{"models": "**"}}]}}}}]}}"#
    )
}

/// What loading says, with a folder for secrets.
fn said(dir: &Path, secrets: Option<&Path>, text: &str) -> String {
    let path = dir.join("weir.hujson");
    std::fs::write(&path, text.replace("$provider", "http://127.0.0.1:1")).expect("written");
    let options = Options { secrets_dir: secrets.map(Path::to_owned), ..Options::default() };
    match (Source { file: Some(path), options }).load() {
        Ok(loaded) => format!("good: {:?}", loaded.snapshot.providers),
        Err(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    }
}

#[test]
fn a_reference_reads_the_folder_for_secrets_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a folder");
    let secrets = dir.path().join("secrets");
    std::fs::create_dir(&secrets).expect("a folder");
    std::fs::create_dir(dir.path().join("secrets-of-others")).expect("a folder");
    std::fs::write(secrets.join("good"), "sk-good\n").expect("written");
    std::fs::write(dir.path().join("private"), "of-somebody-else").expect("written");
    std::fs::write(dir.path().join("secrets-of-others/key"), "of-somebody-else").expect("written");
    symlink("../private", secrets.join("leads-out")).expect("a link");
    symlink("/etc/passwd", secrets.join("leads-far")).expect("a link");
    symlink(dir.path(), secrets.join("folder")).expect("a link");
    assert!(said(dir.path(), Some(&secrets), &file("$file:good", "")).starts_with("good"));
    assert!(
        !said(dir.path(), Some(&secrets), &file("$file:good", "")).contains("sk-good"),
        "shown to nobody"
    );
    let absolute = format!("$file:{}", dir.path().join("secrets-of-others/key").display());
    for (secrets, path) in [
        (None, "$file:/etc/shadow"),
        (None, "$file:weir.hujson"),
        (Some(&*secrets), "$file:/etc/shadow"),
        (Some(&secrets), "$file:../private"),
        (Some(&secrets), "$file:./../private"),
        (Some(&secrets), "$file:leads-out"),
        (Some(&secrets), "$file:leads-far"),
        (Some(&secrets), "$file:folder/private"),
        (Some(&secrets), "$file:folder"),
        (Some(&secrets), "$file:"),
        (Some(&secrets), &absolute),
    ] {
        let said = said(dir.path(), secrets, &file(path, ""));
        assert!(said.contains("error: providers.synthetic.apikey"), "{path}: {said}");
        assert!(!said.contains("of-somebody-else") && !said.contains("root:"), "{path}: {said}");
    }
    // What a key file is not is said without a word of it.
    let said = said(dir.path(), None, &file("keyfile::/etc/passwd", ""));
    assert!(said.contains("no Google key file") && !said.contains("root:"), "{said}");
}

#[test]
fn a_line_break_in_a_field_that_is_added_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    for line in [
        r#""X-Team: a\r\nX-Admin: 1""#,
        r#"{"name": "X-Team", "value": "a\nX-Admin: 1"}"#,
        r#"{"name": "X-Team: 1\r\nX-Admin", "value": "a"}"#,
        r#""X-Team: a\u0000""#,
        r#""Host: evil.example""#,
        r#""Content-Length: 0""#,
    ] {
        let said = said(dir.path(), None, &file("held", &format!(", \"add_headers\": [{line}]")));
        assert!(said.contains("error: providers.synthetic.add_headers[0]"), "{line}: {said}");
    }
}

#[test]
fn a_bad_reference_while_it_runs_leaves_the_old_in_force_and_is_shown() {
    let boss = mint("boss", 1, None, Vec::new()).expect("minted");
    let gate = Gate::of_file(Knobs { keep: true, ..Knobs::default() }, &file("held", ""), |data| {
        keys::write(data, std::slice::from_ref(&boss.row)).expect("written");
    });
    gate.write_file(&file("$file:/etc/shadow", ""));
    let why = wait_for("the reason", || {
        let (_, body) = gate.control("/api/health");
        let health: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        health["config"]["refused"][0].as_str().map(str::to_owned)
    });
    assert!(why.contains("providers.synthetic.apikey") && !why.contains("root:"), "{why}");
    let body = r#"{"model":"m","max_tokens":1,"messages":[]}"#;
    let mut request = Request::messages(body);
    request.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("x-api-key"));
    let reply = gate.client().send(&request.header("x-api-key", &boss.key)).expect("an answer");
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(gate.served(1)[0].header("x-api-key"), Some("held"));
}

#[test]
fn nobody_moves_a_stored_key_to_another_address_over_the_network() {
    let keys = ["boss", "ada"].map(|name| mint(name, 1, None, Vec::new()).expect("minted"));
    let rows: Vec<_> = keys.iter().map(|key| key.row.clone()).collect();
    let gate = Gate::of_file(Knobs { keep: true, ..Knobs::default() }, &file("held", ""), |data| {
        keys::write(data, &rows).expect("written");
    });
    let path = gate.data.path().join("weir.hujson");
    let before = std::fs::read_to_string(&path).expect("the file");
    let harvest = before.replace(&gate.provider.url(), "http://198.51.100.7");
    for key in &keys {
        for (method, target) in [
            ("PUT", "/aperture/config"),
            ("POST", "/aperture/config"),
            ("PUT", "/api/providers"),
            ("PATCH", "/api/config"),
        ] {
            let request = Request::new(method, target, &harvest).header("x-api-key", &key.key);
            let reply = gate.client().send(&request).expect("an answer");
            assert_eq!(reply.status, 405, "{method} {target} by {}: {}", key.row.name, reply.text());
        }
    }
    assert_eq!(std::fs::read_to_string(&path).expect("the file"), before);
    let rows = wait_for("all refusals", || {
        let (_, body) = gate.control("/api/requests?outcome=refused");
        (body.matches("page_refused").count() >= 8).then_some(body)
    });
    assert!(rows.contains("key:boss") && rows.contains("key:ada"), "{rows}");
    assert!(!rows.contains("198.51.100.7"));
}
