//! What a front says of its clients: believed from that front alone, for each exchange anew.

use loadtest::{Knobs, Request};
use serde_json::json;

use super::{ASK, ask, file, refused};
use crate::gate::Gate;

const FRONT: &str = r#"[{"source": "headers", "trusted": ["127.0.0.1"], "user": "x-auth-email",
    "groups": "x-auth-groups", "on_behalf_of": "x-auth-for"}]"#;
const SOMEBODY_ELSES: &str =
    r#"[{"source": "headers", "trusted": ["192.0.2.0/24"], "user": "x-auth-email"}]"#;

fn gate(sources: &str) -> Gate {
    let knobs = Knobs { keep: true, ..Knobs::default() };
    Gate::of_file(knobs, &file(r#"["127.0.0.1:0"]"#, sources), |_| {})
}

#[test]
fn two_people_on_one_connection_are_two_people() {
    let gate = gate(FRONT);
    let mut client = gate.client();
    for (name, groups, behalf) in [
        ("alice@example.com", "eng, ops", None),
        ("bob@example.com", "", Some("carol@example.com")),
        ("alice@example.com", "", None),
    ] {
        let mut request = Request::messages(ASK).header("X-Auth-Email", name).header("x-auth-groups", groups);
        request = behalf.into_iter().fold(request, |request, name| request.header("x-auth-for", name));
        let reply = client.send(&request).expect("an answer");
        let record = gate.record(&reply);
        assert_eq!(record["who"]["principal"], name);
        assert_eq!(record["who"]["strength"], "asserted");
        assert_eq!(record["who"]["on_behalf_of"], behalf.map_or(json!(null), |name| json!(name)));
        let groups: Vec<_> = groups.split(", ").filter(|group| !group.is_empty()).collect();
        assert_eq!(record["who"]["groups"], if groups.is_empty() { json!(null) } else { json!(groups) });
    }
    // And the next on the same connection who shows nothing is nobody, not the one before.
    let reply = client.send(&Request::messages(ASK)).expect("an answer");
    assert_eq!(reply.status, 401, "{}", reply.text());
    assert!(gate.provider.connections().1 <= 1, "one connection of the front");
}

#[test]
fn doubled_and_broken_fields_are_neither_of_two() {
    let gate = gate(FRONT);
    for fields in [
        &[("x-auth-email", "alice@example.com"), ("X-Auth-Email", "admin@example.com")][..],
        &[("x-auth-email", "alice@example.com"), ("x-auth-groups", "a"), ("x-auth-groups", "admins")],
        &[("x-auth-email", "alice@example.com"), ("x-auth-for", "bob@x"), ("x-auth-for", "admin@x")],
    ] {
        refused(&gate, fields, "bad_identity", "headers: the front's fields stand twice");
    }
}

#[test]
fn from_anybody_else_the_same_fields_are_nothing() {
    let gate = gate(SOMEBODY_ELSES);
    refused(&gate, &[("x-auth-email", "admin@example.com")], "no_identity", "");
    refused(
        &gate,
        &[("x-forwarded-for", "192.0.2.7"), ("x-auth-email", "admin@example.com")],
        "no_identity",
        "",
    );
    refused(
        &gate,
        &[("forwarded", "for=192.0.2.7"), ("x-auth-email", "admin@example.com")],
        "no_identity",
        "",
    );
}

#[test]
fn a_listener_of_the_peer_refuses_whatever_a_front_sets() {
    let gate = Gate::of_file(
        Knobs { keep: true, ..Knobs::default() },
        &file(r#"[{"address": "127.0.0.1:0", "identity": ["peer"]}]"#, FRONT),
        |_| {},
    );
    for field in ["X-Forwarded-For", "forwarded", "VIA", "cf-connecting-ip", "Tailscale-User-Login"] {
        let reply = ask(&gate, &[(field, "127.0.0.1")]);
        assert_eq!(reply.status, 403, "{field}");
        let record = gate.record(&reply);
        assert_eq!(record["fault"]["kind"], "forwarded_fields");
        // The kernel has said who it was, and the record says so.
        assert_eq!(record["who"]["source"], "peer");
    }
    // A field that is evidence elsewhere says nothing here, and does not go up.
    let reply = ask(&gate, &[("x-auth-email", "admin@example.com")]);
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(gate.record(&reply)["who"]["source"], "peer");
    let served = gate.provider.truth().pop().expect("it went up");
    assert_eq!(served.header("x-auth-email"), None);
}
