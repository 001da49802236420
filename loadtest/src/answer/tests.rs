//! Answers: pure functions of their requests.

use super::*;

fn ask(path: &str, body: &str, knobs: &str) -> Answer {
    Answer::new("POST", path, body.as_bytes(), &Knobs::of(knobs))
}

/// The `data:` objects of a stream; `[DONE]` is left out.
fn data(answer: &Answer) -> Vec<Value> {
    let Content::Events(events) = &answer.body else { panic!("not a stream") };
    let mut wire = Vec::new();
    (0..events.count()).for_each(|i| _ = events.write(i, 7, &mut wire));
    let text = String::from_utf8(wire).expect("UTF-8");
    text.replace("\r\n", "\n")
        .split("\n\n")
        .filter_map(|event| event.lines().find_map(|l| l.strip_prefix("data: ")))
        .filter(|data| *data != "[DONE]")
        .map(|data| Value::parse(data.as_bytes()).unwrap_or_else(|| panic!("not JSON: {data}")))
        .collect()
}

fn joined(data: &[Value], path: &[&str]) -> String {
    data.iter().filter_map(|v| v.path(path)).filter_map(Value::text).collect()
}

const TOOLS: &str = r#""tools":[{"name":"read_file","input_schema":{"type":"object","properties":
    {"path":{"type":"string"},"lines":{"type":"integer"},"x":{"type":"string"}},"required":["path","lines"]}}]"#;

#[test]
fn messages_stream_adds_up_to_its_claim() {
    let body =
        format!(r#"{{"model":"m-1","stream":true,{TOOLS},"messages":[{{"role":"user","content":"hi"}}]}}"#);
    let answer = ask("/v1/messages?beta=true", &body, "events=30,stamp=1,bytes=200,thinking=1");
    let data = data(&answer);
    assert_eq!(data[0].path(&["message", "model"]).and_then(Value::text), Some("m-1"));
    assert_eq!(joined(&data, &["delta", "partial_json"]), answer.claim.tools[0].arguments);
    let arguments = Value::parse(answer.claim.tools[0].arguments.as_bytes()).expect("arguments are JSON");
    assert!(arguments.field("lines").is_some() && arguments.field("x").is_none());
    let text = joined(&data, &["delta", "text"]);
    assert_eq!(text.replace("0000000000000000007", "0000000000000000000"), answer.text());
    let usage = data[data.len() - 2].field("usage").expect("usage");
    let out = usage.field("output_tokens").and_then(Value::number);
    assert_eq!(out, Some(answer.claim.tokens_out as f64));
    assert_eq!(answer.claim.stop, "tool_use");
}

#[test]
fn chat_stream_adds_up_and_sends_usage_only_when_asked() {
    for (option, sent) in [("", false), (r#","stream_options":{"include_usage":true}"#, true)] {
        let body =
            format!(r#"{{"model":"m","stream":true{option},"messages":[{{"role":"user","content":"hi"}}]}}"#);
        let answer = ask("/v1/chat/completions", &body, "");
        let data = data(&answer);
        let usage = data.last().and_then(|v| v.path(&["usage", "completion_tokens"])).and_then(Value::number);
        assert_eq!((usage.is_some(), answer.claim.usage_sent), (sent, sent));
        let text: String = data
            .iter()
            .filter_map(|v| v.field("choices")?.items().first()?.path(&["delta", "content"])?.text())
            .collect();
        assert_eq!(text, answer.text());
    }
}

#[test]
fn tool_then_text() {
    let bash = r#""tools":[{"name":"Bash","input_schema":{"type":"object"}}]"#;
    let first = format!(r#"{{"model":"m",{bash},"messages":[{{"role":"user","content":"run"}}]}}"#);
    let call = ask("/v1/messages", &first, "");
    assert_eq!(call.claim.tools[0].name, "Bash");
    assert!(call.claim.tools[0].arguments.contains("echo weir-tool-ok"));
    let second = first.replace(
        "]}",
        r#",{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"weir-tool-ok"}]}]}"#,
    );
    // The declaration's own "]}" is not touched by the replacement: it ends in `}}]`.
    let text = ask("/v1/messages", &second, "");
    assert_eq!((text.claim.stop, text.claim.tools.len()), ("end_turn", 0));
    assert!(text.claim.tokens_cache_read > 0 && !text.text().is_empty());
}

#[test]
fn sizes_are_kept() {
    for path in ["/v1/messages", "/v1/chat/completions"] {
        let answer = ask(path, "", "blind=1,events=5,bytes=600,stamp=1");
        let Content::Events(events) = &answer.body else { panic!("not a stream") };
        for i in (0..events.count()).filter(|i| events.is_text(*i)) {
            let mut out = Vec::new();
            assert!(events.write(i, 1, &mut out).is_some());
            assert_eq!(out.len(), 600, "{path}");
        }
    }
}

#[test]
fn structured_output_keeps_to_its_schema() {
    let body = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"title?"}],"output_config":
        {"format":{"type":"json_schema","schema":{"type":"object","properties":{"title":{"type":"string"}}}}}}"#;
    let answer = ask("/v1/messages", body, "");
    let text = joined(&data(&answer), &["delta", "text"]);
    assert!(Value::parse(text.as_bytes()).expect("JSON").field("title").is_some(), "{text}");
}

#[test]
fn errors_speak_the_dialect() {
    let answer = ask("/v1/messages", "{}", "fault=529");
    let Content::Whole(body) = &answer.body else { panic!("a stream") };
    let value = Value::parse(body).expect("JSON");
    assert_eq!(value.path(&["error", "type"]).and_then(Value::text), Some("overloaded_error"));
    let answer = ask("/v1/chat/completions", "{}", "fault=429,retry_after=7");
    assert!(answer.headers.contains(&("retry-after".to_owned(), "7".to_owned())));
    assert_eq!(ask("/v1/messages", "not json", "").status, 400);
}

mod dialects;
