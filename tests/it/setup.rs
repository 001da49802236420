//! `weir setup` as people run it: it finds the gateway by itself, and every client is pointed there.

use std::path::Path;

use loadtest::Knobs;
use weir::config::clients::Client;

use crate::gate::Gate;
use crate::process::weir;

/// What the command says for a client, as JSON; what went wrong where it fails.
fn told(client: &str, args: &[&str], home: &Path) -> Result<serde_json::Value, String> {
    let args = [&["setup", client, "--json"], args].concat();
    let done = weir(&args).env("HOME", home).current_dir(home).output().expect("the program runs");
    match done.status.success() {
        true => Ok(serde_json::from_slice(&done.stdout).expect("one JSON object")),
        false => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
    }
}

/// Every client, by the name that the command knows it by.
fn clients() -> impl Iterator<Item = String> {
    use clap::ValueEnum;
    Client::ALL.iter().map(|client| client.to_possible_value().expect("a name").get_name().to_owned())
}

/// Whether what is told points at that address, or at none since it is told in words.
fn points_at(told: &serde_json::Value, url: &str) -> bool {
    let lines = format!("{} {}", told["shell"], told["files"]);
    lines.contains(url)
        || !lines.contains("://") && told["note"].as_str().is_some_and(|note| note.contains("base URL"))
}

#[test]
fn every_client_is_pointed_at_the_gateway_that_runs() {
    let gate = Gate::start(Knobs::default());
    let (home, data) = (tempfile::tempdir().expect("a folder"), gate.data.path().to_str().expect("UTF-8"));
    for client in clients() {
        let told = told(&client, &["--data", data], home.path()).expect("told");
        assert!(points_at(&told, &format!("http://{}", gate.addr)), "{client}: {told}");
    }
    let written = told("claude-code", &["--data", data, "--write"], home.path()).expect("written");
    assert_eq!(written["changed"], true);
    let settings = std::fs::read_to_string(home.path().join(".claude/settings.json")).expect("a file");
    assert!(settings.contains(&format!("\"http://{}\"", gate.addr)), "{settings}");
}

#[test]
fn a_file_says_where_its_gateway_is_and_what_it_is_called() {
    let home = tempfile::tempdir().expect("a folder");
    let file = home.path().join("weir.hujson");
    let path = file.to_str().expect("UTF-8");
    let tls = r#""tls": {"cert": "/c.pem", "key": "/k.pem"}"#;
    for (server, url) in [
        (r#""listen": ["127.0.0.1:9000"]"#.to_owned(), "http://127.0.0.1:9000"),
        (
            format!(
                r#""listen": ["unix:/run/weir.sock", {{"address": "0.0.0.0:443", {tls}}}], "names": ["ai.example.com"]"#
            ),
            "https://ai.example.com",
        ),
        (
            format!(r#""listen": [{{"address": "10.0.0.7:8443", {tls}}}], "names": ["ai.example.com"]"#),
            "https://ai.example.com:8443",
        ),
        (r#""listen": ["10.0.0.7:80"], "admin_listen": ["127.0.0.1:9001"]"#.to_owned(), "http://10.0.0.7:80"),
        (r#""cores": 1"#.to_owned(), "http://127.0.0.1:8080"),
    ] {
        let text = format!(
            r#"{{"server": {{{server}}}, "identity": [{{"source": "key"}}],
                "providers": {{"a": {{"baseurl": "https://a.example.com", "models": ["**"], "apikey": "$env:UNSET"}}}},
                "grants": [{{"src": ["*"], "app": {{"weir": [{{"role": "user"}}, {{"models": "**"}}]}}}}]}}"#
        );
        std::fs::write(&file, text).expect("written");
        for client in clients() {
            let told = told(&client, &["--config", path], home.path()).expect("told");
            assert!(points_at(&told, url), "{client}: {url}: {told}");
        }
    }
    std::fs::write(&file, r#"{"server": {"listen": ["unix:/run/weir.sock"]}, "providers": {}}"#)
        .expect("written");
    assert!(told("codex", &["--config", path], home.path()).expect_err("no address").contains("--url"));
    assert!(told("codex", &["--config", "/nowhere"], home.path()).expect_err("no file").contains("/nowhere"));
    // Nothing runs over the folder, and nothing is said: where a gateway is by default.
    let default = told("codex", &[], home.path()).expect("told");
    assert!(points_at(&default, "http://127.0.0.1:8080/v1"), "{default}");
}
