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

/// The file with two people, one of them admin, and what each gets for a request.
struct Saving {
    gate: Gate,
    keys: [weir::policy::identity::key::Minted; 2],
}

impl Saving {
    fn new() -> Self {
        let keys = ["boss", "ada"].map(|name| mint(name, 1, None, Vec::new()).expect("minted"));
        let rows: Vec<_> = keys.iter().map(|key| key.row.clone()).collect();
        let text = file("held", "").replacen('{', "{ // ours\n", 1);
        let gate = Gate::of_file(Knobs { keep: true, ..Knobs::default() }, &text, |data| {
            keys::write(data, &rows).expect("written");
        });
        Self { gate, keys }
    }

    fn stored(&self) -> String {
        std::fs::read_to_string(self.gate.data.path().join("weir.hujson")).expect("the file")
    }

    fn send(&self, who: usize, method: &str, body: &str, tag: Option<&str>) -> loadtest::Reply {
        let request = Request::new(method, "/aperture/config", body).header("x-api-key", &self.keys[who].key);
        let request = tag.into_iter().fold(request, |request, tag| request.header("if-match", tag));
        self.gate.client().send(&request).expect("an answer")
    }
}

#[test]
fn nobody_moves_a_stored_key_to_another_address_over_the_network() {
    let saving = Saving::new();
    let before = saving.stored();
    let shown = saving.send(0, "GET", "", None);
    assert_eq!(shown.status, 200, "{}", shown.text());
    let shown = shown.text();
    assert!(!shown.contains("held") && shown.contains("\"$kept\"") && shown.contains("// ours"), "{shown}");
    let url = saving.gate.provider.url();
    let added =
        |provider: &str| shown.replacen("\"providers\": {", &format!("\"providers\": {{{provider},"), 1);
    for (name, text, status, said) in [
        (
            "another address",
            shown.replace(&url, "http://198.51.100.7"),
            403,
            "same secret, which would be sent there",
        ),
        (
            "another scheme",
            shown.replace("http://", "https://"),
            403,
            "same secret, which would be sent there",
        ),
        (
            "by a proxy",
            shown.replacen("\"models\"", "\"proxy\": \"http://198.51.100.7\", \"models\"", 1),
            403,
            "sent there",
        ),
        (
            "the mark elsewhere",
            shown.replace("\"synthetic\":", "\"other\":").replace(&url, "http://198.51.100.7"),
            422,
            "none is kept there",
        ),
        (
            "a variable",
            added(r#""x": {"baseurl": "http://198.51.100.7", "models": ["m"], "apikey": "$env:PATH"}"#),
            403,
            "new reference",
        ),
        ("a file", shown.replace("$kept", "$file:/etc/shadow"), 422, "no folder for secrets"),
        (
            "the machine's Google login",
            added(r#""x": {"baseurl": "http://198.51.100.7", "models": ["m"], "apikey": "adc::"}"#),
            403,
            "new reference",
        ),
        (
            "the machine's AWS identity",
            added(
                r#""x": {"baseurl": "http://198.51.100.7", "models": ["m"], "region": "eu-1", "authorization": "sigv4"}"#,
            ),
            403,
            "AWS identity",
        ),
        ("another listener", shown.replace("127.0.0.1:0", "0.0.0.0:0"), 403, "changed on the machine"),
        (
            "no source of identity",
            shown.replace("\"source\": \"key\"", "\"source\": \"peer\""),
            403,
            "changed on the machine",
        ),
        (
            "the own role",
            shown.replace("\"role\": \"admin\"", "\"role\": \"user\""),
            403,
            "your own admin role",
        ),
        ("nonsense", shown.replace("\"models\"", "\"modles\""), 422, "modles"),
    ] {
        let reply = saving.send(0, "PUT", &text, None);
        assert_eq!(reply.status, status, "{name}: {}", reply.text());
        assert!(reply.text().contains(said), "{name}: {}", reply.text());
        assert_eq!(saving.send(1, "PUT", &text, None).status, 403, "{name}, by somebody who is no admin");
        assert_eq!(saving.stored(), before, "{name}");
    }
    assert_eq!(saving.send(1, "GET", "", None).status, 403);
    for (method, target) in
        [("POST", "/aperture/config"), ("PUT", "/api/providers"), ("DELETE", "/aperture/config")]
    {
        let request = Request::new(method, target, "{}").header("x-api-key", &saving.keys[0].key);
        assert_eq!(saving.gate.client().send(&request).expect("an answer").status, 405, "{method} {target}");
    }
    let rows = wait_for("all refusals", || {
        let (_, body) = saving.gate.control("/api/requests?outcome=refused&limit=1000");
        (body.matches("page_refused").count() >= 20).then_some(body)
    });
    assert!(rows.contains("key:boss") && rows.contains("key:ada"), "{rows}");
    assert!(!rows.contains("198.51.100.7"));
}

#[test]
fn what_harms_nobody_is_saved_with_its_comments_and_comes_into_force() {
    let saving = Saving::new();
    let shown = saving.send(0, "GET", "", None);
    let (tag, shown) = (shown.header("etag").expect("a tag").to_owned(), shown.text());
    let wanted = shown.replace("\"models\": [\"**\"]", "\"models\": [\"only\"]");
    assert_eq!(saving.send(0, "PUT", &wanted, Some("\"0000000000000000\"")).status, 412);
    let saved = saving.send(0, "PUT", &wanted, Some(&tag));
    assert_eq!(saved.status, 200, "{}", saved.text());
    assert_ne!(saved.header("etag"), Some(tag.as_str()));
    assert!(
        saving.stored().contains("// ours") && saving.stored().contains("\"held\""),
        "{}",
        saving.stored()
    );
    assert_eq!(saving.send(0, "PUT", &wanted, Some(&tag)).status, 412, "it has changed meanwhile");
    let ask = |model: &str| {
        let body = format!(r#"{{"model":"{model}","max_tokens":1,"messages":[]}}"#);
        let request = Request::messages(body).header("x-api-key", &saving.keys[1].key);
        saving.gate.client().send(&request).expect("an answer").status
    };
    wait_for("it to be in force", || (ask("other") == 404).then_some(()));
    assert_eq!(ask("only"), 200);
    assert_eq!(saving.gate.provider.truth().pop().expect("it went up").header("x-api-key"), Some("held"));
    let audit = std::fs::read_to_string(saving.gate.data.path().join("audit.log")).expect("an audit log");
    assert!(
        audit.lines().any(|line| line.contains("\"action\":\"write\"") && line.contains("key:boss")),
        "{audit}"
    );
}

#[test]
fn of_two_people_who_save_at_once_one_is_told() {
    let saving = Saving::new();
    for round in 0..4 {
        let shown = saving.send(0, "GET", "", None);
        let (tag, shown) = (shown.header("etag").expect("a tag").to_owned(), shown.text());
        let save = |who: usize| {
            let text = format!("{shown}// {who} in round {round}\n");
            saving.send(0, "PUT", &text, Some(&tag)).status
        };
        let mut said = std::thread::scope(|scope| {
            let all: Vec<_> = (0..6).map(|who| scope.spawn(move || save(who))).collect();
            all.into_iter().map(|one| one.join().expect("an answer")).collect::<Vec<_>>()
        });
        said.sort_unstable();
        assert_eq!(said, [200, 412, 412, 412, 412, 412]);
        let stored = saving.stored();
        assert_eq!(stored.matches(&format!("in round {round}")).count(), 1, "{stored}");
    }
    // A list of tags (RFC 9110 13.1.1); a weak one never matches; any state is wanted by a star, or by saying nothing.
    let shown = saving.send(0, "GET", "", None);
    let (tag, shown) = (shown.header("etag").expect("a tag").to_owned(), shown.text());
    assert_eq!(saving.send(0, "PUT", &shown, Some(&format!("W/{tag}"))).status, 412);
    for wanted in [Some(&*format!("\"0\", {tag}")), Some("*"), None] {
        let saved = saving.send(0, "PUT", &shown, wanted);
        assert_eq!(saved.status, 200, "{wanted:?}: {}", saved.text());
    }
}

#[test]
fn clients_of_the_incumbent_s_api_read_and_save_as_they_do_there() {
    let saving = Saving::new();
    let request = Request::new("GET", "/aperture/config", "").header("x-api-key", &saving.keys[0].key);
    let shown = saving.gate.client().send(&request.header("accept", "application/json")).expect("an answer");
    let tag = shown.header("etag").expect("a tag").to_owned();
    let shown: serde_json::Value = serde_json::from_str(&shown.text()).expect("JSON");
    let text = shown["config"].as_str().expect("the text").to_owned();
    assert!(text.contains("// ours") && text.contains("$kept"), "{text}");
    let body = serde_json::json!({"config": format!("{text}// theirs\n")}).to_string();
    let saved = saving.send(0, "PUT", &body, Some(&tag));
    assert_eq!(saved.status, 200, "{}", saved.text());
    assert_ne!(saved.header("etag"), Some(&*tag));
    let saved: serde_json::Value = serde_json::from_str(&saved.text()).expect("JSON");
    assert!(
        saved["config"].as_str().is_some_and(|text| text.contains("// theirs") && !text.contains("held"))
    );
    assert!(saving.stored().contains("\"held\"") && saving.stored().contains("// theirs"));
    for (text, valid) in [(text.clone(), true), (text.replace("\"models\"", "\"modles\""), false)] {
        let body = serde_json::json!({"config": text}).to_string();
        let request = Request::new("POST", "/aperture/config:validate", &body);
        let said =
            saving.gate.client().send(&request.header("x-api-key", &saving.keys[0].key)).expect("an answer");
        let said: serde_json::Value = serde_json::from_str(&said.text()).expect("JSON");
        assert_eq!(said["valid"], valid, "{said}");
        assert_eq!(said["errors"].as_array().expect("a list").is_empty(), valid, "{said}");
    }
}
