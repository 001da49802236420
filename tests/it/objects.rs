//! Provider-side objects: whoever made one may use it, nobody else, also after a restart.

use std::time::Duration;

use loadtest::{Canned, Request};
use weir::llm::dialect::paths::Flag;
use weir::policy::snapshot::Provider;

use crate::credentials::record_of;
use crate::gate::Gate;
use crate::providers::provider;

const JSON: (&str, &str) = ("content-type", "application/json");

/// Every way to name an object: method, path and body, with `ID` for it.
const WAYS: &[(&str, &str, &str)] = &[
    ("GET", "/v1/responses/ID", ""),
    ("GET", "/v1/responses/ID/input_items", ""),
    ("POST", "/v1/responses/ID/cancel", ""),
    ("DELETE", "/v1/responses/ID", ""),
    ("POST", "/v1/responses", r#"{"model":"m","previous_response_id":"ID"}"#),
    ("POST", "/v1/responses", r#"{"previous\u005fresponse_id":"ID","model":"m"}"#),
    ("POST", "/v1/responses", r#"{"model":"m","conversation":{"id":"ID"}}"#),
    ("POST", "/v1/responses", r#"{"model":"m","tools":[{"type":"file_search","vector_store_ids":["ID"]}]}"#),
    (
        "POST",
        "/v1/responses",
        r#"{"model":"m","input":[{"role":"user","content":[{"type":"input_file","file_id":"ID"}]}]}"#,
    ),
    ("GET", "/v1/conversations/ID", ""),
    ("POST", "/v1/conversations/ID/items", r#"{"items":[]}"#),
    ("GET", "/v1/vector_stores/ID/files", ""),
    ("POST", "/v1/vector_stores/ID/search", r#"{"query":"x"}"#),
    ("GET", "/v1/files/ID", ""),
    ("GET", "/v1/files/ID/content", ""),
    ("DELETE", "/v1/files/ID", ""),
    ("POST", "/v1/batches", r#"{"input_file_id":"ID","endpoint":"/v1/responses","completion_window":"24h"}"#),
    ("GET", "/v1/batches/ID", ""),
    ("POST", "/v1/batches/ID/cancel", ""),
    ("GET", "/v1/messages/batches/ID", ""),
    ("GET", "/v1/messages/batches/ID/results", ""),
    (
        "POST",
        "/v1/chat/completions",
        r#"{"model":"m","messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"ID"}}]}]}"#,
    ),
    ("POST", "/v1beta/models/m:generateContent", r#"{"cachedContent":"ID"}"#),
    ("POST", "/v1/responses", r#"{"model":"m","tools":[{"type":"code_interpreter","container":"ID"}]}"#),
    (
        "POST",
        "/v1/responses",
        r#"{"model":"m","tools":[{"type":"code_interpreter","container":{"type":"auto","file_ids":["ID"]}}]}"#,
    ),
    (
        "POST",
        "/v1/responses",
        r#"{"model":"m","input":[{"type":"function_call_output","call_id":"c","output":[{"type":"input_file","file_id":"ID"}]}]}"#,
    ),
    ("POST", "/v1/messages", r#"{"model":"m","max_tokens":1,"messages":[],"container":"ID"}"#),
    ("POST", "/v1/messages", r#"{"model":"m","max_tokens":1,"messages":[],"c\u006fntainer":{"id":"ID"}}"#),
    ("POST", "/v1/images/edits", r#"{"model":"m","images":[{"file_id":"ID"}]}"#),
    (
        "POST",
        "/v1/messages/batches",
        r#"{"requests":[{"custom_id":"1","params":{"model":"m","max_tokens":1,"messages":[],"container":"ID"}}]}"#,
    ),
];

fn gate() -> Gate {
    let flags = [
        Flag::OpenaiChat,
        Flag::OpenaiResponses,
        Flag::Batches,
        Flag::AnthropicMessages,
        Flag::GeminiGenerateContent,
        Flag::OpenaiOther,
    ];
    let gate = Gate::of_organisation(|origin| vec![provider("all", &origin, &flags)]);
    gate.provider.can("*", Canned::new(200).header(JSON.0, JSON.1).body("{}"));
    gate
}

/// Have something made under this id; the record's id is returned once it stands in the store.
fn make(gate: &Gate, id: &str) {
    let answer = format!(r#"{{"id":"{id}","object":"response","status":"completed"}}"#);
    gate.provider.can("/v1/responses", Canned::new(200).header(JSON.0, JSON.1).body(&answer));
    let reply = gate.client().send(&Request::new("POST", "/v1/responses", r#"{"model":"m"}"#)).unwrap();
    assert_eq!((reply.status, reply.text()), (200, answer));
    let record = record_of(gate, reply.header("x-weir-id").unwrap());
    assert_eq!(record.made.ids, [id]);
    gate.provider.uncan();
    gate.provider.can("*", Canned::new(200).header(JSON.0, JSON.1).body("{}"));
}

/// Somebody else's object, written into the store as its index has them.
fn foreign(gate: &Gate, id: &str) {
    let find = |folder: &std::path::Path| {
        let entries = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
        entries
            .filter(|path| path.extension().is_some_and(|end| end == "sqlite" || end == "db"))
            .collect::<Vec<_>>()
    };
    let path = find(gate.data.path()).pop().expect("an index");
    let index = rusqlite::Connection::open(path).unwrap();
    index.busy_timeout(Duration::from_secs(10)).unwrap();
    index.execute("INSERT INTO objects VALUES (?1, 'User:mallory', 'all', 1)", [id]).unwrap();
}

#[test]
fn who_may_reach_which_object_by_which_endpoint() {
    let mut gate = gate();
    make(&gate, "resp_mine");
    foreign(&gate, "resp_theirs");
    for round in ["as made", "after a restart"] {
        let mut client = gate.client();
        for (method, path, body) in WAYS {
            for (id, expected) in [("resp_mine", 200), ("resp_theirs", 404), ("resp_nobodys", 404)] {
                let before = gate.provider.truth().len();
                let request = Request::new(method, &path.replace("ID", id), body.replace("ID", id))
                    .header(JSON.0, JSON.1);
                let reply = client.send(&request).unwrap();
                assert_eq!(reply.status, expected, "{round}: {method} {path} {body} {id}: {}", reply.text());
                let called = usize::from(expected == 200);
                assert_eq!(
                    gate.served(before + called).len() - before,
                    called,
                    "{round}: {method} {path} {id}"
                );
            }
        }
        gate.restart();
    }
}

#[test]
fn on_a_laptop_what_nobody_bound_is_the_local_users_own() {
    let gate = Gate::before(|origin| vec![provider("all", &origin, &[Flag::OpenaiResponses])]);
    gate.provider.can("*", Canned::new(200).header(JSON.0, JSON.1).body("{}"));
    foreign(&gate, "resp_theirs");
    for (id, expected) in [("resp_older_than_weir", 200), ("resp_theirs", 404)] {
        let reply = gate.client().send(&Request::get(&format!("/v1/responses/{id}"))).unwrap();
        assert_eq!(reply.status, expected, "{id}: {}", reply.text());
    }
}

#[test]
fn lists_of_objects_are_closed() {
    let gate = gate();
    for path in [
        "/v1/files",
        "/v1/batches",
        "/v1/conversations",
        "/v1/vector_stores",
        "/v1/messages/batches",
        "/v1beta/cachedContents",
    ] {
        let reply = gate.client().send(&Request::get(path)).unwrap();
        assert_eq!(reply.status, 405, "{path}: {}", reply.text());
    }
    assert!(gate.provider.truth().is_empty());
}

#[test]
fn a_list_is_open_to_whom_a_grant_opens_it_and_to_nobody_else() {
    let keys = ["ada", "bob"]
        .map(|name| weir::policy::identity::key::mint(name, 1, None, Vec::new()).expect("minted"));
    let rows: Vec<_> = keys.iter().map(|key| key.row.clone()).collect();
    let file = r#"{
      "server": {"listen": ["127.0.0.1:0"], "admin_listen": ["127.0.0.1:0"]}, "identity": [{"source": "key"}],
      "providers": {
        "first": {"baseurl": "$provider/first", "apikey": "of-the-first", "models": ["**"], "preference": 9},
        "second": {"baseurl": "$provider/second", "apikey": "of-the-second", "models": ["**"]}},
      "grants": [{"src": ["*"], "app": {"weir": [{"role": "user"}]}},
        {"src": ["key:ada"], "app": {"weir": [{"direct_paths": ["second/v1/files", "/v1/batches"]}]}}]}"#;
    let knobs = loadtest::Knobs { keep: true, ..loadtest::Knobs::default() };
    let gate = Gate::of_file(knobs, file, |data| weir::config::keys::write(data, &rows).expect("written"));
    gate.provider.can("*", Canned::new(200).header(JSON.0, JSON.1).body(r#"{"data":[{"id":"file_1"}]}"#));
    let get = |method: &str, path: &str, key: &str| {
        let request = Request::new(method, path, "").header("authorization", &format!("Bearer {key}"));
        gate.client().send(&request).expect("an answer")
    };
    let [ada, bob] = [&keys[0].key, &keys[1].key];
    let lists = [("/v1/files?limit=2", "/second/v1/files?limit=2"), ("/v1/batches", "/first/v1/batches")];
    for (nth, (path, at)) in lists.into_iter().enumerate() {
        let reply = get("GET", path, ada);
        assert_eq!((reply.status, reply.text().as_str()), (200, r#"{"data":[{"id":"file_1"}]}"#), "{path}");
        let served = gate.served(nth + 1).pop().expect("it went up");
        assert_eq!(served.target, at);
        let record = gate.record(&reply);
        assert_eq!(record["who"]["principal"], "key:ada");
        assert!(record["made"]["ids"].as_array().is_none_or(Vec::is_empty), "seen is not made: {record}");
    }
    for (method, path, key, status) in [
        ("GET", "/v1/files", bob, 404),
        ("GET", "/v1/vector_stores", ada, 404),
        ("GET", "/v1/files/../batches", ada, 404),
        ("GET", "/v1/%66iles", ada, 404),
        ("DELETE", "/v1/files", ada, 404),
        ("GET", "/v1/files", &"weir_nobody".to_owned(), 404),
    ] {
        assert_eq!(get(method, path, key).status, status, "{method} {path}");
    }
    let pages = gate.server.as_ref().expect("it runs").addresses[1];
    let request = Request::get("/v1/batches").header("authorization", &format!("Bearer {ada}"));
    let reply = loadtest::Client::new(pages).send(&request).expect("an answer");
    assert_eq!(reply.status, 404, "where pages are, nothing goes to providers: {}", reply.text());
    assert_eq!(gate.provider.truth().len(), 2);
}

#[test]
fn an_id_in_a_stream_is_bound_before_it_arrives_and_store_false_binds_nothing() {
    let gate = gate();
    let events = "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_s\",\"model\":\"m\"}}\n\n\
        event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"resp_s\",\"status\":\"completed\"}}\n\n";
    let stream = || Canned::new(200).header("content-type", "text/event-stream").body(events).chunked(&[7]);
    gate.provider.can("/v1/responses", stream());
    let send = |body: &str| gate.client().send(&Request::new("POST", "/v1/responses", body)).unwrap();
    let without = send(r#"{"model":"m","stream":true,"store":false}"#);
    assert_eq!((without.status, without.text().as_str()), (200, events));
    assert_eq!(send(r#"{"model":"m","previous_response_id":"resp_s"}"#).status, 404);
    let with = send(r#"{"model":"m","stream":true}"#);
    assert_eq!((with.status, with.text().as_str()), (200, events));
    assert_eq!(send(r#"{"model":"m","previous_response_id":"resp_s"}"#).status, 200);
}

#[test]
fn every_model_of_a_batch_must_be_granted_and_its_output_is_bound() {
    let gate = Gate::of_organisation(|origin| {
        let models = vec![weir::policy::glob::Glob::new("cheap").expect("a pattern")];
        let flags = [Flag::Batches, Flag::OpenaiChat, Flag::AnthropicMessages];
        vec![Provider { models, ..provider("all", &origin, &flags) }]
    });
    gate.provider.can("*", Canned::new(200).header(JSON.0, JSON.1).body(r#"{"id":"file_in"}"#));
    let mut client = gate.client();
    let line = |model: &str| {
        format!(
            r#"{{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{{"model":"{model}"}}}}"#
        )
    };
    let mut upload = |lines: &str| {
        let part = |head: &str, body: &str| {
            format!("--b\r\nContent-Disposition: form-data; {head}\r\n\r\n{body}\r\n")
        };
        let form = part("name=\"purpose\"", "batch")
            + &part("name=\"file\"; filename=\"b.jsonl\"", lines)
            + "--b--\r\n";
        let request =
            Request::new("POST", "/v1/files", form).header("content-type", "multipart/form-data; boundary=b");
        client.send(&request).unwrap().status
    };
    assert_eq!(upload(&line("dear")), 404);
    assert_eq!(upload(&format!("{}\n{}", line("cheap"), line("dear"))), 404);
    assert_eq!(upload("nonsense"), 400);
    assert_eq!(upload(&line("cheap").replace("chat/completions", "embeddings")), 404);
    assert!(gate.provider.truth().is_empty());
    assert_eq!(upload(&line("cheap")), 200);
    let batch =
        |model: &str| format!(r#"{{"requests":[{{"custom_id":"1","params":{{"model":"{model}"}}}}]}}"#);
    let mut send = |path: &str, body: &str| {
        client.send(&Request::new("POST", path, body).header(JSON.0, JSON.1)).unwrap().status
    };
    assert_eq!(send("/v1/messages/batches", &batch("dear")), 404);
    assert_eq!(send("/v1/messages/batches", &batch("cheap")), 200);
    gate.provider.can("/v1/batches", Canned::new(200).header(JSON.0, JSON.1).body(r#"{"id":"batch_1"}"#));
    assert_eq!(send("/v1/batches", r#"{"input_file_id":"file_in","endpoint":"/v1/chat/completions"}"#), 200);
    let done = r#"{"id":"batch_1","output_file_id":"file_out"}"#;
    gate.provider.can("/v1/batches/batch_1", Canned::new(200).header(JSON.0, JSON.1).body(done));
    assert_eq!(client.send(&Request::get("/v1/files/file_out/content")).unwrap().status, 404);
    assert_eq!(client.send(&Request::get("/v1/batches/batch_1")).unwrap().status, 200);
    assert_eq!(client.send(&Request::get("/v1/files/file_out/content")).unwrap().status, 200);
}

#[test]
fn the_lines_of_a_batch_s_file_name_what_is_ones_own() {
    let gate = gate();
    make(&gate, "resp_mine");
    foreign(&gate, "resp_theirs");
    for (id, expected) in [("resp_mine", 200), ("resp_theirs", 404), ("resp_nobodys", 404)] {
        let line = format!(
            r#"{{"custom_id":"1","method":"POST","url":"/v1/responses","body":{{"model":"m","previous_response_id":"{id}"}}}}"#
        );
        let body = format!(
            "--b\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--b\r\n\
             Content-Disposition: form-data; name=\"file\"; filename=\"f.jsonl\"\r\n\r\n{line}\r\n--b--\r\n"
        );
        let request =
            Request::new("POST", "/v1/files", body).header("content-type", "multipart/form-data; boundary=b");
        let reply = gate.client().send(&request).unwrap();
        assert_eq!(reply.status, expected, "{id}: {}", reply.text());
    }
}

#[test]
fn a_container_is_its_makers_as_soon_as_an_answer_has_named_it() {
    let gate = gate();
    let stream = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"m\",\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\n\n\
        event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"container\":{\"id\":\"container_s\"}},\"usage\":{\"output_tokens\":2}}\n\n\
        event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    let items = r#"{"id":"resp_1","object":"response","status":"completed","model":"m","store":false,
        "output":[{"type":"code_interpreter_call","id":"ci_1","container_id":"cntr_1","code":"1"}]}"#;
    for (path, content_type, answer, named) in [
        ("/v1/messages", "text/event-stream", stream, "container_s"),
        (
            "/v1/messages",
            JSON.1,
            r#"{"id":"msg_2","type":"message","model":"m","content":[],"container":{"id":"container_j"},"usage":{"input_tokens":1,"output_tokens":1}}"#,
            "container_j",
        ),
        ("/v1/responses", JSON.1, items, "cntr_1"),
    ] {
        gate.provider.uncan();
        gate.provider.can(path, Canned::new(200).header("content-type", content_type).body(answer));
        let made = match path {
            "/v1/messages" => r#"{"model":"m","max_tokens":1,"messages":[],"container":ID}"#,
            _ => r#"{"model":"m","store":false,"tools":[{"type":"code_interpreter","container":ID}]}"#,
        };
        let body = |id: &str| made.replace("ID", id);
        let ask = |body: String| {
            gate.client().send(&Request::new("POST", path, body).header(JSON.0, JSON.1)).unwrap()
        };
        assert_eq!(ask(body(&format!("\"{named}\""))).status, 404, "{named}: nobody's yet");
        let fresh = if path == "/v1/messages" { "null" } else { r#"{"type":"auto"}"# };
        let reply = ask(body(fresh));
        assert_eq!(reply.status, 200, "{}", reply.text());
        let again = ask(body(&format!("\"{named}\"")));
        assert_eq!(again.status, 200, "{named}: {}", again.text());
        assert!(record_of(&gate, reply.header("x-weir-id").unwrap()).made.ids.contains(&named.to_owned()));
    }
}
