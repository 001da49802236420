//! Who is asking, through a running gateway: each source with real evidence, and every attempt to pass for another.

mod connections;
mod explained;
mod fronts;
mod keys;
mod tailnet;
mod tokens;

use loadtest::{Reply, Request};

use crate::gate::Gate;

/// Providers and grants: everybody who is somebody may ask for everything.
const REST: &str = r#"
  "providers": {"synthetic": {"baseurl": "$provider", "apikey": "held-by-the-gateway", "authorization": "x-api-key",
    "models": ["**"], "compatibility": {"anthropic_messages": true, "openai_chat": true}}},
  "grants": [{"src": ["*"], "app": {"weir": [{"role": "user"}, {"models": "**"}]}}],
"#;

const ASK: &str = r#"{"model":"claude-sonnet-4-5","max_tokens":64,"stream":true,"messages":[{"role":"user","content":"hello"}]}"#;

/// A file with these listeners and sources.
fn file(listen: &str, identity: &str) -> String {
    format!("{{\"server\": {{\"listen\": {listen}}}, \"identity\": {identity}, {REST}}}")
}

/// One request with these fields.
fn ask(gate: &Gate, fields: &[(&str, &str)]) -> Reply {
    let mut request = Request::messages(ASK);
    request.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("x-api-key"));
    let request = fields.iter().fold(request, |request, (name, value)| request.header(name, value));
    gate.client().send(&request).expect("an answer")
}

/// Refused with 401, in the caller's dialect, and recorded with source and reason; nothing went up.
fn refused(gate: &Gate, fields: &[(&str, &str)], word: &str, cause: &str) {
    let before = gate.provider.requests().0;
    let reply = ask(gate, fields);
    assert_eq!(reply.status, 401, "{fields:?}: {}", reply.text());
    assert!(reply.text().contains("\"type\":\"error\""), "{}", reply.text());
    assert_eq!(reply.header("www-authenticate"), Some("Bearer realm=\"weir\""));
    let record = gate.record(&reply);
    assert_eq!(record["outcome"], "refused", "{record}");
    assert_eq!(record["fault"]["kind"], word, "{record}");
    assert!(record["fault"]["cause"].as_str().is_some_and(|said| said.contains(cause)), "{cause}: {record}");
    assert_eq!(record["who"]["principal"], "", "{record}");
    for (_, value) in fields.iter().filter(|(_, value)| value.len() > 12) {
        assert!(!record.to_string().contains(value), "what was shown is in the record: {record}");
    }
    assert_eq!(gate.provider.requests().0, before, "{fields:?} went up");
}
