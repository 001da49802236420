//! A web page that somebody of this machine has open: its scripts reach loopback, by a name that its own server has
//! just made point here, or across origins.

use loadtest::Knobs;

use super::recorded;
use crate::gate::Gate;

const FILE: &str = r#"{
  "server": {"listen": ["127.0.0.1:0", {"address": "127.0.0.1:0", "identity": ["key"]}], "names": ["ai.example.com"]},
  "identity": [{"source": "key"}, {"source": "peer"}],
  "providers": {"synthetic": {"baseurl": "$provider", "apikey": "held", "models": ["**"],
    "compatibility": {"anthropic_messages": true, "openai_responses": true, "openai_realtime": true}}},
  "grants": [{"src": ["*"], "app": {"weir": [{"role": "user"}, {"models": "**"}]}}],
}"#;

/// Every kind of thing that can be asked for.
const TARGETS: &[(&str, &str)] = &[
    ("POST", "/v1/messages"),
    ("GET", "/v1/models"),
    ("GET", "/v1/realtime?model=m"),
    ("GET", "/v1/files"),
    ("GET", "/"),
    ("GET", "/ui"),
    ("GET", "/ui?admin=0000"),
    ("GET", "/metrics"),
    ("GET", "/healthz"),
    ("GET", "/api/requests"),
    ("GET", "/api/tail"),
    ("GET", "/api/explain"),
    ("POST", "/api/quotas/refill"),
    ("POST", "/api/link"),
    ("PUT", "/aperture/config"),
    ("OPTIONS", "/v1/messages"),
];

fn asked(gate: &Gate, method: &str, target: &str, fields: &str) -> String {
    let socket = if target.contains("realtime") {
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    } else {
        "Connection: close\r\n"
    };
    let body = r#"{"model":"m","max_tokens":1,"messages":[]}"#;
    let length = if method == "GET" { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let body = if method == "GET" { "" } else { body };
    gate.raw(format!("{method} {target} HTTP/1.1\r\n{fields}\r\n{socket}{length}\r\n{body}").as_bytes())
}

#[test]
fn another_name_for_this_machine_opens_nothing() {
    let gate = gate();
    for (method, target) in TARGETS {
        for host in
            ["rebound.evil.example", "127.0.0.1.evil.example:80", "localhost.evil.example", "0.0.0.0", "[::]"]
        {
            let answer = asked(&gate, method, target, &format!("Host: {host}"));
            assert!(answer.starts_with("HTTP/1.1 421 "), "{method} {target} {host}: {answer}");
            assert!(!answer.to_ascii_lowercase().contains("access-control-allow"), "{answer}");
        }
        let record = recorded(&gate, &asked(&gate, method, target, "Host: rebound.evil.example"));
        assert_eq!((&record["fault"]["kind"], &record["outcome"]), (&"wrong_host".into(), &"refused".into()));
        assert_eq!(record["who"]["source"], "peer", "{method} {target}: who tried it: {record}");
    }
    assert_eq!(gate.provider.requests().0, 0);
}

#[test]
fn a_page_of_elsewhere_opens_nothing_by_our_own_name_either() {
    let gate = gate();
    for (method, target) in TARGETS {
        for origin in ["http://evil.example", "null", "http://127.0.0.1:1", "https://ai.example.com"] {
            let fields = format!("Host: localhost\r\norigin: {origin}");
            let answer = asked(&gate, method, target, &fields);
            assert!(answer.starts_with("HTTP/1.1 403 "), "{method} {target} {origin}: {answer}");
            assert_eq!(recorded(&gate, &answer)["fault"]["kind"], "cross_origin", "{method} {target}");
        }
    }
    assert_eq!(gate.provider.requests().0, 0);
}

#[test]
fn pages_that_are_not_for_whoever_asks_are_recorded_with_who_tried() {
    let gate = gate();
    for (method, target, status) in [
        ("POST", "/api/quotas/refill", 403),
        ("POST", "/api/link", 403),
        ("PUT", "/aperture/config", 403),
        ("GET", "/aperture/config", 403),
        ("DELETE", "/api/requests", 405),
        ("GET", "/api/explain?as=key:boss", 403),
        ("GET", "/api/requests?principal=somebody", 403),
        ("GET", "/metrics", 403),
        ("GET", "/ui?admin=guessed", 403),
    ] {
        let answer = asked(&gate, method, target, "Host: localhost");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {target}: {answer}");
        let path = target.split('?').next().expect("a path");
        let row = crate::gate::wait_for("the row", || {
            let (_, body) = gate.control("/api/requests?outcome=refused");
            let rows: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            let of = |row: &&serde_json::Value| {
                row["status"] == status
                    && row["method"] == method
                    && row["path"].as_str().is_some_and(|shown| shown.starts_with(path))
            };
            rows.as_array()?.iter().find(of).cloned()
        });
        assert!(row["principal"].as_str().is_some_and(|name| !name.is_empty()), "{row}");
        assert!(!row.to_string().contains("guessed"), "a link that was tried is no text for records: {row}");
    }
}

fn gate() -> Gate {
    Gate::of_file(
        Knobs::default(),
        &FILE.replace(r#"["127.0.0.1:0", "#, r#"[{"address": "127.0.0.1:0", "identity": ["peer"]}, "#),
        |_| {},
    )
}
