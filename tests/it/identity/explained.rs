//! "Why not?" asked of a running gateway: by its page, by the command, and in the body of the refusal itself; and what
//! roles that grants give let people see there.

use std::path::Path;

use clap::Parser;
use loadtest::{Knobs, Request};
use serde_json::{Value, json};
use weir::cli::explain::{ExplainArgs, answers};
use weir::config::keys;
use weir::policy::identity::key::{Minted, mint};

use super::ask;
use crate::gate::{Gate, wait_for};

const FILE: &str = r#"{
  "server": {"listen": ["127.0.0.1:0"]}, "identity": [{"source": "key"}],
  "providers": {"synthetic": {"baseurl": "$provider", "apikey": "held", "authorization": "x-api-key",
    "models": ["claude-*"], "compatibility": {"anthropic_messages": true}}},
  "grants": [
    {"src": ["key:ada", "group:eng"], "app": {"weir": [{"role": "user"}, {"models": "synthetic/claude-sonnet-*"}]}},
    {"src": ["key:boss"], "app": {"weir": [{"role": "admin"}]}},
    {"src": ["key:audit"], "app": {"weir": [{"role": "auditor"}]}},
    {"src": ["key:ops"], "app": {"weir": [{"role": "operator"}, {"read_metrics": true}]}},
  ],
}"#;

struct People {
    gate: Gate,
    keys: Vec<Minted>,
}

impl People {
    fn new() -> Self {
        let names = ["ada", "boss", "audit", "ops", "stranger"];
        let keys: Vec<Minted> = names.map(|name| mint(name, 1, None, Vec::new()).expect("minted")).into();
        let rows: Vec<_> = keys.iter().map(|key| key.row.clone()).collect();
        let gate = Gate::of_file(Knobs::default(), FILE, |data| keys::write(data, &rows).expect("written"));
        Self { gate, keys }
    }

    fn key(&self, name: &str) -> &str {
        &self.keys.iter().find(|minted| minted.row.name == name).expect("a key").key
    }

    /// A page as this person sees it.
    fn page(&self, name: &str, target: &str) -> (u16, Value) {
        let request = Request::get(target).header("x-api-key", self.key(name));
        let reply = self.gate.client().send(&request).expect("an answer");
        (reply.status, serde_json::from_str(&reply.text()).unwrap_or_else(|_| json!(reply.text())))
    }

    fn audit(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.gate.data.path().join("audit.log")).expect("an audit log");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: ExplainArgs,
}

/// What the command says, as JSON.
fn told(data: &Path, line: &[&str]) -> Value {
    let data = data.to_str().expect("UTF-8");
    let line = [&["explain", "--data", data], line].concat();
    json!(answers(&Line::try_parse_from(line).expect("arguments").args).expect("answers"))
}

#[test]
fn a_running_gateway_and_its_file_give_the_same_answer() {
    let people = People::new();
    let data = people.gate.data.path();
    let file = data.join("weir.hujson");
    for question in [
        &["--as", "key:ada", "--model", "claude-sonnet-4-5"][..],
        &["--as", "key:ada", "--model", "claude-opus-4"],
        &[
            "--as",
            "alice@example.com",
            "--group",
            "eng",
            "--model",
            "claude-sonnet-4-5",
            "--provider",
            "synthetic",
        ],
        &["--as", "key:stranger"],
        &["--as", "tag:b,tag:a", "--loopback", "--model", "gpt & co", "--flag", "openai_chat"],
    ] {
        let running = told(data, question);
        let on_file = told(data, &[question, &["--config", file.to_str().expect("UTF-8")]].concat());
        assert_eq!(running, on_file, "{question:?}");
        assert!(running[0]["steps"][0]["text"].is_string(), "{running}");
    }
    let granted = told(data, &["--as", "key:ada", "--model", "claude-sonnet-4-5"]);
    let rule = &granted[0]["steps"].as_array().expect("steps").last().expect("a step")["path"];
    assert_eq!((&granted[0]["allowed"], rule), (&json!(true), &json!("grants[0].app.weir[1]")), "{granted}");
    let looks: Vec<Value> = people.audit().iter().map(|line| line["look"]["explain"].clone()).collect();
    assert_eq!(looks[0], json!({"principal": "key:ada", "model": "claude-sonnet-4-5"}));
    assert_eq!(looks.len(), 6, "each question to the gateway is written down, none to the file: {looks:?}");
}

#[test]
fn everybody_may_ask_about_themselves_and_some_about_others() {
    let people = People::new();
    let own = "/api/explain?model=claude-opus-4";
    let (status, ada) = people.page("ada", own);
    assert_eq!((status, &ada[0]["allowed"]), (200, &json!(false)), "{ada}");
    assert!(ada[0]["to_change"].to_string().contains("synthetic/claude-opus-4"), "{ada}");
    assert_eq!(people.page("ada", &format!("{own}&as=key:ada")), (200, ada), "by name too");
    let (status, stranger) = people.page("stranger", own);
    assert_eq!((status, &stranger[0]["why"]), (200, &json!("no role granted")), "without any role");
    let other = "/api/explain?as=key:ada&model=claude-sonnet-4-5";
    for (name, expected) in [("stranger", 403), ("ops", 403), ("audit", 200), ("boss", 200)] {
        assert_eq!(people.page(name, other).0, expected, "{name}");
    }
    // Nobody passes for more than they are by naming groups.
    assert_eq!(people.page("stranger", "/api/explain?group=eng").0, 403);
    for bad in ["who=x", "flag=nothing", "provider=synthetic", "as=%ff"] {
        assert_eq!(people.page("boss", &format!("/api/explain?{bad}")).0, 400, "{bad}");
    }
    let through: Vec<_> =
        people.audit().iter().map(|line| (line["viewer"].clone(), line["through"].clone())).collect();
    assert_eq!(through, [(json!("key:audit"), json!("grant")), (json!("key:boss"), json!("grant"))]);
}

#[test]
fn a_refusal_names_the_rule_that_decided() {
    let people = People::new();
    let reply = ask(&people.gate, &[("x-api-key", people.key("stranger"))]);
    let said: Value = serde_json::from_str(&reply.text()).expect("JSON");
    assert_eq!((reply.status, &said["error"]["type"]), (403, &json!("permission_error")));
    let message = said["error"]["message"].as_str().expect("a message");
    for words in ["no role granted", "grants[0]", "6:5", "`weir explain --as key:stranger`"] {
        assert!(message.contains(words), "{words}: {message}");
    }
    assert!(!message.contains("ada") && !message.contains("eng"), "nobody else is named: {message}");
    let record = people.gate.record(&reply);
    assert_eq!((&record["fault"]["kind"], &record["fault"]["cause"]), (&json!("no_role"), &json!(message)));
}

#[test]
fn roles_say_what_is_seen() {
    let people = People::new();
    assert_eq!(ask(&people.gate, &[("x-api-key", people.key("ada"))]).status, 200);
    let rows = wait_for("ada's row", || {
        let (status, rows) = people.page("ada", "/api/requests");
        (status == 200 && rows[0]["id"].is_string()).then_some(rows)
    });
    let id = rows[0]["id"].as_str().expect("an id").to_owned();
    // Who asks; sums over everybody; everybody's records; counters; a change.
    for (name, sums, records, metrics, change) in [
        ("ada", 1, true, 403, 403),
        ("stranger", 0, false, 403, 403),
        ("ops", 1, false, 200, 403),
        ("audit", 1, true, 403, 403),
        ("boss", 1, true, 200, 404),
    ] {
        let (_, total) = people.page(name, "/api/usage?by=total");
        assert_eq!(total[0]["exchanges"].as_u64().unwrap_or(0), sums, "{name}: {total}");
        let (_, rows) = people.page(name, "/api/requests");
        assert_eq!(rows.as_array().map(|rows| !rows.is_empty()), Some(records), "{name}: {rows}");
        assert_eq!(
            people.page(name, &format!("/api/requests/{id}")).0,
            if records { 200 } else { 404 },
            "{name}"
        );
        assert_eq!(people.page(name, "/metrics").0, metrics, "{name}");
        let refill = Request::new("POST", "/api/quotas/refill", r#"{"bucket": "none", "amount": "$1"}"#);
        let reply =
            people.gate.client().send(&refill.header("x-api-key", people.key(name))).expect("an answer");
        assert_eq!(reply.status, change, "{name}: {}", reply.text());
    }
}
