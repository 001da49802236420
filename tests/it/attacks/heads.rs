//! Heads that say who asks in a way that two readers could read differently, and names that would be something else
//! where they are written.

use loadtest::Knobs;
use serde_json::json;

use super::recorded;
use crate::gate::Gate;

const FILE: &str = r#"{
  "server": {"listen": ["127.0.0.1:0"]},
  "identity": [{"source": "headers", "trusted": ["127.0.0.1"], "user": "x-auth-email", "groups": "x-auth-groups"}],
  "providers": {"synthetic": {"baseurl": "$provider", "apikey": "held", "authorization": "x-api-key", "models": ["**"],
    "compatibility": {"anthropic_messages": true}}},
  "grants": [{"src": ["*"], "app": {"weir": [{"role": "user"}, {"models": "**"}]}}],
}"#;

fn gate() -> Gate {
    Gate::of_file(Knobs { keep: true, ..Knobs::default() }, FILE, |_| {})
}

fn asked(gate: &Gate, fields: &str) -> String {
    let body = r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x"}]}"#;
    let length = body.len();
    gate.raw(
        format!("POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{fields}\r\n{body}")
            .as_bytes(),
    )
}

#[test]
fn identity_in_a_broken_head_is_a_broken_head() {
    let gate = gate();
    let hidden = "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nX-Auth-Email: admin@example.com\r\nContent-Length: 0\r\n\r\n";
    for (name, fields) in [
        ("folded", "X-Auth-Email: alice@example.com\r\n admin@example.com\r\n".to_owned()),
        ("folded by a tab", "X-Auth-Email:\r\n\tadmin@example.com\r\n".to_owned()),
        ("NUL", "X-Auth-Email: admin@example.com\0\r\n".to_owned()),
        ("bare CR", "X-Auth-Email: alice@example.com\rX-Auth-Email: admin@example.com\r\n".to_owned()),
        ("bare LF", "X-Auth-Email: alice@example.com\nX-Auth-Email: admin@example.com\r\n".to_owned()),
        ("space before the colon", "X-Auth-Email : admin@example.com\r\n".to_owned()),
        ("space in the name", "X-Auth Email: admin@example.com\r\n".to_owned()),
        ("no name", ": admin@example.com\r\n".to_owned()),
        ("no colon", "X-Auth-Email admin@example.com\r\n".to_owned()),
        (
            "another length, and a request in the body",
            format!("Content-Length: {}\r\n\r\n{hidden}", hidden.len()),
        ),
        ("chunks beside a length", format!("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}")),
    ] {
        let answer = asked(&gate, &fields);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{name}: {answer}");
        assert_eq!(answer.matches("x-weir-id: ").count(), 1, "{name}: one answer and no second: {answer}");
        let record = recorded(&gate, &answer);
        assert_eq!(
            (&record["fault"]["kind"], &record["fault"]["side"]),
            (&json!("malformed_head"), &json!("client"))
        );
        assert_eq!(record["who"]["principal"], "", "{name}: {record}");
    }
    assert_eq!(gate.provider.requests().0, 0);
}

#[test]
fn what_only_looks_like_the_front_s_field_is_nothing_and_stays_here() {
    let gate = gate();
    for fields in
        ["X_Auth_Email: admin@example.com\r\n", "x-auth_email: admin@example.com\r\n", "X-Auth-Email:\r\n"]
    {
        let record = recorded(&gate, &asked(&gate, fields));
        assert_eq!(record["fault"]["kind"], "no_identity", "{fields}: {record}");
        assert!(!record.to_string().contains("admin@example.com"), "{record}");
    }
    let both = "X-Auth-Email: alice@example.com\r\nX_Auth_Email: admin@example.com\r\nx_forwarded_for: 192.0.2.1\r\nX_AUTH_GROUPS: admins\r\n";
    let record = recorded(&gate, &asked(&gate, both));
    assert_eq!(
        (&record["who"]["principal"], &record["who"]["groups"]),
        (&json!("alice@example.com"), &json!(null))
    );
    let served = gate.served(1).pop().expect("it went up");
    for gone in ["x_auth_email", "x_forwarded_for", "x_auth_groups", "x-auth-email"] {
        assert_eq!(served.header(gone), None, "{gone}");
    }
}

#[test]
fn a_person_is_called_like_a_person_and_by_one_name() {
    let gate = gate();
    for name in ["key:ci", "tag:prod", "spiffe://example.org/ci", "group:eng", "alice@example.com\tadmin"] {
        let answer = asked(&gate, &format!("X-Auth-Email: {name}\r\n"));
        assert!(answer.starts_with("HTTP/1.1 401 "), "{name}: {answer}");
        let record = recorded(&gate, &answer);
        assert_eq!(
            (&record["fault"]["kind"], &record["who"]["principal"]),
            (&json!("bad_identity"), &json!(""))
        );
    }
    for name in ["Alice@Example.COM", "alice@example.com"] {
        let record = recorded(&gate, &asked(&gate, &format!("X-Auth-Email: {name}\r\n")));
        assert_eq!(record["who"]["principal"], "alice@example.com", "one history, one budget");
    }
}
