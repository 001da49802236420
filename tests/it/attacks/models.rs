//! A model that is granted stands in front, one that is not behind it.

use loadtest::{Knobs, Request};

use crate::gate::Gate;

/// The first provider may be asked for one model, the second for both.
const FILE: &str = r#"{
  "server": {"listen": ["127.0.0.1:0"]},
  "providers": {
    "first": {"baseurl": "FIRST", "apikey": "of-the-first", "models": ["**"], "preference": 9},
    "second": {"baseurl": "$provider", "apikey": "of-the-second", "models": ["**"]},
  },
  "grants": [{"src": ["*"], "app": {"weir": [{"role": "user"}, {"models": ["first/a", "second/a", "second/b"]}]}}],
}"#;

/// Long enough that it goes up before its end has come.
fn names_late(late: &str) -> Request {
    let padding = "x".repeat(300_000);
    let body = format!(r#"{{"model":"a","messages":[{{"role":"user","content":"{padding}"}}],{late}}}"#);
    Request { chunk: Some(20_000), ..Request::chat(body) }
}

fn gate(first: &str) -> Gate {
    Gate::of_file(Knobs { keep: true, ..Knobs::default() }, &FILE.replace("FIRST", first), |_| {})
}

#[test]
fn what_is_named_late_must_be_granted_where_the_request_already_goes() {
    let gate = gate("$provider");
    let reply = gate.client().send(&names_late(r#""models":["a"]"#)).expect("an answer");
    assert_eq!(reply.status, 200, "{}", reply.text());
    for late in [r#""models":["b"]"#, r#""mod\u0065ls":["a","b"]"#] {
        let reply = gate.client().send(&names_late(late)).expect("an answer");
        assert_eq!(reply.status, 404, "{late}: {}", reply.text());
        let record = gate.record(&reply);
        assert_eq!((&record["fault"]["kind"], &record["outcome"]), (&"no_model".into(), &"refused".into()));
    }
    assert_eq!(gate.provider.truth().len(), 1, "nothing but the first was ever whole");
}

#[test]
fn what_was_found_late_holds_for_fallbacks_too() {
    let closed =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let gate = gate(&format!("http://{closed}"));
    let reply = gate.client().send(&names_late(r#""models":["a"]"#)).expect("an answer");
    assert_eq!(reply.status, 200, "the second takes it: {}", reply.text());
    let only_first =
        FILE.replace("\"second/b\"", "\"first/b\"").replace("FIRST", &format!("http://{closed}"));
    let gate = Gate::of_file(Knobs { keep: true, ..Knobs::default() }, &only_first, |_| {});
    let reply = gate.client().send(&names_late(r#""models":["b"]"#)).expect("an answer");
    assert_eq!(reply.status, 404, "granted at the first alone, which is not there: {}", reply.text());
    assert!(gate.provider.truth().is_empty());
}

#[test]
fn whatever_a_request_names_in_whatever_way_must_be_granted() {
    const FILE: &str = r#"{
      "server": {"listen": ["127.0.0.1:0"]},
      "providers": {"one": {"baseurl": "$provider", "apikey": "held", "models": ["**"], "compatibility": {"openai_chat": true,
        "openai_other": true, "ollama_native": true, "gemini_generate_content": true, "anthropic_messages": true}}},
      "grants": [{"src": ["*"], "app": {"weir": [{"role": "user"}, {"models": "one/good"}]}}],
    }"#;
    let gate = Gate::of_file(Knobs { keep: true, ..Knobs::default() }, FILE, |_| {});
    let chat = "/v1/chat/completions";
    for (path, body, status) in [
        (chat, r#"{"model":"good"}"#, 200),
        (chat, r#"{"model":"one/good"}"#, 200),
        (chat, r#"{"model":"good","models":["good"]}"#, 200),
        (chat, r#"{"model":"good","model":"bad"}"#, 400),
        (chat, r#"{"model":"good","mod\u0065l":"bad"}"#, 400),
        (chat, r#"{"model":"good","MODEL":"bad"}"#, 400),
        (chat, r#"{"MODEL":"good"}"#, 400),
        (chat, "\u{feff}{\"model\":\"good\"}", 400),
        (chat, r#"{"model":"good"}{"model":"bad"}"#, 400),
        (chat, r#"{"model":"good"/**/}"#, 400),
        (chat, r#"{"model":"good\u0000bad"}"#, 404),
        (chat, r#"{"model":" good"}"#, 404),
        (chat, r#"{"model":"GOOD"}"#, 404),
        (chat, r#"{"model":"good","Models":["bad"]}"#, 404),
        (chat, r#"{"model":"good","fallbacks":[{"model":"good","model":"bad"}]}"#, 404),
        (chat, r#"{"model":"good","fallbacks":[{"Mod\u0065l":"bad"}]}"#, 404),
        (chat, r#"{"model":"good","FALLBACKS":["bad"]}"#, 404),
        (chat, r#"{"model":"good","plugins":[{"allowed_models":["good"],"allowed_models":["bad"]}]}"#, 404),
        (
            chat,
            r#"{"model":"good","providerOptions":{"gateway":{"models":["good"]},"gateway":{"models":["bad"]}}}"#,
            404,
        ),
        (chat, r#"{"model":"good","models":"bad"}"#, 404),
        (chat, r#"{"model":"good","models":{"model":"bad"}}"#, 404),
        (chat, r#"{"model":"good","models":[["bad"]]}"#, 404),
        (chat, r#"{"model":"good","models":["good\q"]}"#, 404),
        (chat, r#"{"model":"good","tools":[{"type":"x","Model":"bad"}]}"#, 404),
        (chat, r#"{"model":"good","Tools":[{"type":"x","model":["bad"]}]}"#, 404),
        ("/v1/chat/completions?model=bad", r#"{"model":"good"}"#, 404),
        ("/v1/chat/completions?%6dodels%5B%5D=bad", r#"{"model":"good"}"#, 404),
        ("/v1/embeddings", r#"{"model":"good","input":"x","models":["bad"]}"#, 404),
        ("/api/chat", r#"{"MODEL":"bad","messages":[]}"#, 400),
        ("/v1beta/models/good:generateContent", r#"{"contents":[]}"#, 200),
        ("/v1beta/models/good:generateContent", r#"{"Model":"bad","contents":[]}"#, 400),
        ("/v1beta/models/good:generateContent", r#"{"model":"models/bad","contents":[]}"#, 404),
        (
            "/v1beta/models/good:batchEmbedContents",
            r#"{"requests":[{"model":"models/good","content":{}}]}"#,
            200,
        ),
        (
            "/v1beta/models/good:batchEmbedContents",
            r#"{"requests":[{"model":"models/good"},{"model":"models/bad"}]}"#,
            404,
        ),
        (
            "/v1beta/models/good:countTokens",
            r#"{"generateContentRequest":{"model":"models/bad","contents":[]}}"#,
            404,
        ),
        (
            "/v1beta/models/good:countTokens",
            r#"{"generateContentRequest":{"model":"models/bad"},"generate_content_request":{"model":"models/good"}}"#,
            400,
        ),
        ("/v1beta/models/good%2f..%2fbad:generateContent", r#"{"contents":[]}"#, 404),
        // The provider's own choice is one that nobody granted.
        ("/v1/images/generations", r#"{"prompt":"x"}"#, 404),
        ("/v1/moderations", r#"{"input":"x"}"#, 404),
    ] {
        let before = gate.provider.requests().0;
        let reply = gate
            .client()
            .send(&Request::new("POST", path, body).header("content-type", "application/json"))
            .expect("an answer");
        assert_eq!(reply.status, status, "{path} {body}: {}", reply.text());
        assert_eq!(gate.provider.requests().0 - before, u64::from(status == 200), "{path} {body}");
    }
}

#[test]
fn a_body_is_what_its_content_type_may_have_it_be() {
    let only_a = FILE.replace(", \"second/b\"", "").replace("FIRST", "$provider");
    let gate = Gate::of_file(Knobs { keep: true, ..Knobs::default() }, &only_a, |_| {});
    const PLAIN: &str = r#"{"model":"a","messages":[]}"#;
    const QUERY: &str = r#"{"model":"a","messages":[],"x":"&mod%65l=b&"}"#;
    for (kinds, body, status) in [
        (&[][..], PLAIN, 200),
        (&["application/json; charset=utf-8"], PLAIN, 200),
        (&["text/plain"], QUERY, 200),
        // What curl says unasked: read as JSON by some, as a form by others.
        (&["application/x-www-form-urlencoded"], PLAIN, 200),
        (&["application/x-www-form-urlencoded"], QUERY, 404),
        (&["application/json", "Application/X-WWW-Form-Urlencoded"], QUERY, 400),
        (&["application/json", "multipart/form-data; boundary=x"], PLAIN, 400),
        (&["application/json, multipart/form-data; boundary=x"], PLAIN, 400),
        (&["application/json; charset=utf-7"], PLAIN, 400),
    ] {
        let before = gate.provider.requests().0;
        let request = Request::new("POST", "/v1/chat/completions", body);
        let request = kinds.iter().fold(request, |request, kind| request.header("content-type", kind));
        let reply = gate.client().send(&request).expect("an answer");
        assert_eq!(reply.status, status, "{kinds:?}: {}", reply.text());
        assert_eq!(gate.provider.requests().0 - before, u64::from(status == 200), "{kinds:?}");
    }
}
