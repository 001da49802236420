//! Whose budget is drawn on: nobody's but one's own, whatever one is called.

use loadtest::{Knobs, Request};
use weir::config::keys;
use weir::policy::identity::key::mint;

use crate::gate::Gate;

const FILE: &str = r#"{
  "server": {"listen": ["127.0.0.1:0"]},
  "identity": [{"source": "key"}, {"source": "headers", "trusted": ["127.0.0.1"], "user": "x-auth-user"}],
  "providers": {"synthetic": {"baseurl": "$provider", "apikey": "held", "authorization": "x-api-key", "models": ["**"],
    "compatibility": {"anthropic_messages": true}}},
  "quotas": {"each:<user>": {"unit": "requests", "capacity": 1}},
  "grants": [{"src": ["*"], "app": {"weir": [{"role": "user"}, {"models": "**", "quotas": [{"bucket": "each:<user>"}]}]}}],
}"#;

#[test]
fn a_key_called_like_a_person_has_a_budget_of_its_own_and_sees_it_alone() {
    let key = mint("ada", 1, None, Vec::new()).expect("minted");
    let gate = Gate::of_file(Knobs::default(), FILE, |data| {
        keys::write(data, std::slice::from_ref(&key.row)).expect("written");
    });
    let send = |who: (&str, &str), request: Request| {
        let mut request = request;
        request.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("x-api-key"));
        gate.client().send(&request.header(who.0, who.1)).expect("an answer")
    };
    let (by_key, by_name) = (("x-api-key", key.key.as_str()), ("x-auth-user", "ada"));
    for (who, status) in [(by_key, 200), (by_name, 200), (by_key, 429), (by_name, 429)] {
        let body = r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x"}]}"#;
        let reply = send(who, Request::messages(body));
        assert_eq!(reply.status, status, "{}: {}", who.0, reply.text());
    }
    for (who, own) in [(by_key, "each:key:ada"), (by_name, "each:ada")] {
        let seen: serde_json::Value =
            serde_json::from_str(&send(who, Request::get("/api/quotas")).text()).expect("JSON");
        let names: Vec<_> =
            seen.as_array().expect("a list").iter().map(|row| row["bucket"].clone()).collect();
        assert_eq!(names, [own], "{}", who.0);
    }
}
