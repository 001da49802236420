//! The dialects beside Messages and Chat: what stands on the wire adds up to the claim, in words, calls and counts.

use super::*;
use crate::digest::unbase64;
use crate::frame;

const OPENAI_TOOL: &str = r#""tools":[{"type":"function","name":"look_up","parameters":{"type":"object","properties":{"x":{"type":"string"}}}}]"#;
const GEMINI_TOOL: &str = r#""tools":[{"functionDeclarations":[{"name":"look_up","parameters":{"type":"OBJECT","properties":{"x":{"type":"STRING"}}}}]}]"#;
const CONVERSE_TOOL: &str = r#""toolConfig":{"tools":[{"toolSpec":{"name":"look_up","inputSchema":{"json":{"type":"object","properties":{"x":{"type":"string"}}}}}}]}"#;
const CHAT_TOOL: &str = r#""tools":[{"type":"function","function":{"name":"look_up","parameters":{"type":"object","properties":{"x":{"type":"string"}}}}}]"#;
const CLAUDE_TOOL: &str =
    r#""tools":[{"name":"look_up","input_schema":{"type":"object","properties":{"x":{"type":"string"}}}}]"#;

fn wire(answer: &Answer) -> Vec<u8> {
    match &answer.body {
        Content::Whole(body) => body.clone(),
        Content::Events(events) => {
            let mut out = Vec::new();
            (0..events.count()).for_each(|i| _ = events.write(i, 0, &mut out));
            out
        }
    }
}

fn kind(answer: &Answer) -> &str {
    let kind = answer.headers.iter().find(|(name, _)| name == "content-type");
    kind.map_or("", |(_, kind)| kind.split(';').next().unwrap_or(""))
}

/// The JSON objects of an answer in any of the framings, unwrapped; exceptions come as they are.
fn objects(answer: &Answer) -> Vec<Value> {
    let wire = wire(answer);
    let parse = |text: &[u8]| {
        Value::parse(text).unwrap_or_else(|| panic!("not JSON: {}", String::from_utf8_lossy(text)))
    };
    match kind(answer) {
        "text/event-stream" => super::data(answer),
        "application/x-ndjson" => wire.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(parse).collect(),
        "application/vnd.amazon.eventstream" => {
            let (mut rest, mut found) = (&wire[..], Vec::new());
            while !rest.is_empty() {
                let ((headers, payload), used) = frame::read(rest).expect("a whole frame");
                rest = &rest[used..];
                let value = parse(payload);
                let inner = value.field("bytes").and_then(Value::text).and_then(unbase64);
                let name = headers[0].1.to_owned();
                let value = inner.map_or(value, |json| parse(&json));
                found.push(Value::Object(vec![(name, value)]));
            }
            found
        }
        _ => match parse(&wire) {
            Value::Array(items) => items,
            one => vec![one],
        },
    }
}

/// Every value of a field of that name anywhere, in order.
fn all<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| all(item, name, found)),
        Value::Object(fields) => {
            for (field, inner) in fields {
                if field == name {
                    found.push(inner);
                }
                all(inner, name, found);
            }
        }
        _ => {}
    }
}

fn last_number(objects: &[Value], name: &str) -> Option<u64> {
    let mut found = Vec::new();
    objects.iter().for_each(|object| all(object, name, &mut found));
    found.iter().rev().find_map(|value| value.number()).map(|n| n as u64)
}

/// Path, body, and the wire's names of input and output.
fn cases() -> Vec<(&'static str, String, &'static str, &'static str)> {
    let prompt = r#""messages":[{"role":"user","content":"hi"}]"#;
    let contents = r#""contents":[{"role":"user","parts":[{"text":"hi"}]}]"#;
    let turn = r#""messages":[{"role":"user","content":[{"text":"hi"}]}]"#;
    let mut cases = Vec::new();
    for stream in [false, true] {
        let flag = format!("\"stream\":{stream}");
        let verb = |plain, streaming| if stream { streaming } else { plain };
        cases.extend([
            ("/v1/responses", format!("{{\"model\":\"m\",{flag},{OPENAI_TOOL},\"input\":\"hi\"}}"), "input_tokens", "output_tokens"),
            (
                verb("/v1beta/models/m:generateContent", "/v1beta/models/m:streamGenerateContent?alt=sse"),
                format!("{{{GEMINI_TOOL},{contents}}}"),
                "promptTokenCount",
                "candidatesTokenCount",
            ),
            (
                verb(
                    "/v1/projects/p/locations/l/publishers/google/models/m:generateContent",
                    "/v1/projects/p/locations/l/publishers/google/models/m:streamGenerateContent",
                ),
                format!("{{{GEMINI_TOOL},{contents}}}"),
                "promptTokenCount",
                "candidatesTokenCount",
            ),
            (
                verb("/model/m/converse", "/model/m/converse-stream"),
                format!("{{{CONVERSE_TOOL},{turn}}}"),
                "inputTokens",
                "outputTokens",
            ),
            (
                verb("/model/m/invoke", "/model/m/invoke-with-response-stream"),
                format!("{{\"anthropic_version\":\"bedrock-2023-05-31\",{CLAUDE_TOOL},{prompt}}}"),
                "input_tokens",
                "output_tokens",
            ),
            ("/api/chat", format!("{{\"model\":\"m\",{flag},{CHAT_TOOL},{prompt}}}"), "prompt_eval_count", "eval_count"),
            ("/api/generate", format!("{{\"model\":\"m\",{flag},\"prompt\":\"hi\"}}"), "prompt_eval_count", "eval_count"),
            (
                "/v1/completions",
                format!("{{\"model\":\"m\",{flag},\"stream_options\":{{\"include_usage\":true}},\"prompt\":\"hi\"}}"),
                "prompt_tokens",
                "completion_tokens",
            ),
        ]);
    }
    cases
}

#[test]
fn counts_on_the_wire_are_the_claim() {
    for (path, body, input, output) in cases() {
        for knobs in ["tools=0,events=5", "tools=0,thinking=1", "gzip=1"] {
            let answer = ask(path, &body, knobs);
            let (objects, claim) = (objects(&answer), &answer.claim);
            assert_eq!(answer.status, 200, "{path}");
            assert_eq!(last_number(&objects, input), Some(claim.tokens_in), "{path} {knobs}");
            assert_eq!(last_number(&objects, output), Some(claim.tokens_out), "{path} {knobs}");
            assert!(claim.usage_sent && claim.model == "m", "{path}");
        }
    }
}

#[test]
fn words_on_the_wire_are_the_text() {
    for (path, body, ..) in cases().into_iter().filter(|(path, ..)| !path.contains("generate:")) {
        let answer = ask(path, &body, "tools=0,events=7,bytes=400");
        let objects = objects(&answer);
        let text: String = match &answer.body {
            Content::Whole(_) => answer.text(),
            Content::Events(_) => {
                let mut parts = Vec::new();
                let name = match () {
                    () if path.contains("/responses") => "delta",
                    () if path == "/api/chat" => "content",
                    () if path == "/api/generate" => "response",
                    () => "text",
                };
                let closing = |object: &Value| {
                    let kind = object.field("type").and_then(Value::text).unwrap_or("");
                    path.contains("/responses") && !kind.ends_with(".delta")
                };
                objects.iter().filter(|o| !closing(o)).for_each(|object| all(object, name, &mut parts));
                parts.iter().filter_map(|part| part.text()).collect()
            }
        };
        assert!(!text.is_empty(), "{path}");
        assert_eq!(text, answer.text(), "{path}");
    }
}

#[test]
fn calls_on_the_wire_are_the_claim_and_come_once() {
    for (path, body, ..) in cases().into_iter().filter(|(_, body, ..)| body.contains("look_up")) {
        let answer = ask(path, &body, "");
        let [call] = &answer.claim.tools[..] else { panic!("{path}: {:?}", answer.claim.tools) };
        assert_eq!(call.name, "look_up");
        let mut names = Vec::new();
        let objects = objects(&answer);
        objects.iter().for_each(|object| all(object, "name", &mut names));
        assert!(names.iter().any(|name| name.text() == Some("look_up")), "{path}");
        // As one object, or as the fragments of a text.
        let expected = Value::parse(call.arguments.as_bytes());
        let (mut whole, mut parts) = (Vec::new(), Vec::new());
        for name in ["arguments", "args", "input"] {
            objects.iter().for_each(|object| all(object, name, &mut whole));
        }
        for name in ["input", "partial_json", "delta"] {
            objects.iter().for_each(|object| all(object, name, &mut parts));
        }
        let joined: String = parts.iter().filter_map(|part| part.text()).collect();
        let found = whole.iter().any(|value| {
            Some(*value) == expected.as_ref() || value.text().is_some_and(|text| text == call.arguments)
        });
        assert!(found || joined == call.arguments, "{path}: {joined}");
    }
}

#[test]
fn no_call_follows_a_result() {
    for (path, body) in [
        (
            "/v1/responses",
            format!(
                "{{{OPENAI_TOOL},\"input\":[{{\"type\":\"function_call_output\",\"call_id\":\"c\",\"output\":\"x\"}}]}}"
            ),
        ),
        (
            "/v1beta/models/m:generateContent",
            format!(
                "{{{GEMINI_TOOL},\"contents\":[{{\"role\":\"user\",\"parts\":[{{\"functionResponse\":{{}}}}]}}]}}"
            ),
        ),
        (
            "/model/m/converse",
            format!(
                "{{{CONVERSE_TOOL},\"messages\":[{{\"role\":\"user\",\"content\":[{{\"toolResult\":{{}}}}]}}]}}"
            ),
        ),
        ("/api/chat", format!("{{{CHAT_TOOL},\"messages\":[{{\"role\":\"tool\",\"content\":\"x\"}}]}}")),
    ] {
        assert_eq!(ask(path, &body, "").claim.tools, [], "{path}");
    }
}

#[test]
fn responses_are_numbered_and_come_again_by_their_id() {
    let body = r#"{"model":"gpt-x","stream":true,"input":"hi"}"#;
    let answer = ask("/v1/responses", body, "events=20");
    let events = super::data(&answer);
    let number = |event: &Value| event.field("sequence_number").and_then(Value::number);
    let numbers: Vec<_> = events.iter().map(number).collect();
    assert_eq!(numbers, (0..events.len()).map(|n| Some(n as f64)).collect::<Vec<_>>());

    let queued = ask("/v1/responses", &body.replace("\"stream\":true", "\"background\":true"), "");
    assert!(!queued.claim.usage_sent && wire(&queued).windows(6).any(|w| w == b"queued"));
    let get = |query: &str, claim: &Claim| {
        Answer::new("GET", &format!("/v1/responses/{}{query}", claim.id), b"", &Knobs::of("events=20"))
    };
    let later = get("", &queued.claim);
    assert_eq!((&later.claim.id, &later.claim.model), (&queued.claim.id, &"gpt-x".to_owned()));
    assert_eq!(later.claim.tokens_in, queued.claim.tokens_in);

    let again = get("?stream=true&starting_after=9", &answer.claim);
    assert_eq!(wire(&again), wire(&answer)[wire(&answer).len() - wire(&again).len()..]);
    assert_eq!(number(&super::data(&again)[0]), Some(10.0));
    assert_eq!(Answer::new("GET", "/v1/responses/resp_other", b"", &Knobs::default()).status, 400);
}

#[test]
fn an_error_inside_a_stream_ends_it() {
    for (path, body, ..) in cases()
        .into_iter()
        .filter(|(path, body, ..)| body.contains("\"stream\":true") || path.contains("tream"))
    {
        let answer = ask(path, &body, "tools=0,events=50,fault=error@9");
        let text = String::from_utf8_lossy(&wire(&answer)).to_lowercase();
        assert!(text.contains("error"), "{path}");
        let Content::Events(events) = &answer.body else { panic!("{path} does not stream") };
        assert!(events.count() <= 12, "{path}: {}", events.count());
    }
}

#[test]
fn lists_counts_and_vectors() {
    let get = |path: &str| Answer::new("GET", path, b"", &Knobs::default());
    for path in ["/v1/models", "/v1beta/models", "/api/tags"] {
        assert!(String::from_utf8_lossy(&wire(&get(path))).contains("synthetic-large"), "{path}");
    }
    for (path, name) in [
        ("/v1/responses/input_tokens", "input_tokens"),
        ("/v1beta/models/m:countTokens", "totalTokens"),
        ("/model/m/count-tokens", "inputTokens"),
        ("/v1/messages/count_tokens", "input_tokens"),
    ] {
        let answer = ask(path, "{\"input\":\"some words to be counted\"}", "");
        assert_eq!(last_number(&objects(&answer), name), Some(7), "{path}");
        assert!(!answer.claim.usage_sent);
    }
    let plain = ask("/v1/embeddings", r#"{"model":"e","input":["a","b"],"dimensions":3}"#, "seed=1");
    let mut vectors = Vec::new();
    let plain = objects(&plain);
    all(&plain[0], "embedding", &mut vectors);
    assert_eq!(vectors.iter().map(|v| v.items().len()).collect::<Vec<_>>(), [3, 3]);
    let packed = ask(
        "/v1/embeddings",
        r#"{"model":"e","input":"a","dimensions":3,"encoding_format":"base64"}"#,
        "seed=1",
    );
    let packed = objects(&packed);
    let mut texts = Vec::new();
    all(&packed[0], "embedding", &mut texts);
    let bytes = texts[0].text().and_then(unbase64).expect("base64");
    let first = f32::from_le_bytes(bytes[..4].try_into().expect("four"));
    assert_eq!(
        (bytes.len(), Some(f64::from(first) as f32)),
        (12, vectors[0].items()[0].number().map(|n| n as f32))
    );
}

#[test]
fn errors_speak_each_vendors_dialect() {
    for (path, header, part) in [
        ("/v1/responses", "x-request-id", "\"type\":\"rate_limit_error\""),
        ("/v1beta/models/m:generateContent", "retry-after", "\"status\":\"RESOURCE_EXHAUSTED\""),
        ("/model/m/converse", "x-amzn-errortype", "{\"message\":"),
        ("/api/chat", "retry-after", "{\"error\":\"This"),
        (
            "/v1/projects/p/locations/l/publishers/anthropic/models/m:rawPredict",
            "request-id",
            "\"type\":\"error\"",
        ),
    ] {
        let answer = ask(path, "{}", "fault=429");
        assert_eq!(answer.status, 429);
        assert!(answer.headers.iter().any(|(name, _)| name == header), "{path}");
        assert!(String::from_utf8_lossy(&wire(&answer)).contains(part), "{path}");
    }
    let array = ask("/v1beta/models/m:streamGenerateContent", "{}", "fault=400");
    assert!(wire(&array).starts_with(b"[{\"error\""));
}

#[test]
fn bedrock_is_for_those_who_sign_or_bring_a_key() {
    let answer = |authorization: &str| {
        let text = format!("POST /model/m/converse HTTP/1.1\r\nHost: h\r\n{authorization}\r\n");
        let (head, _) = Head::parse(text.as_bytes()).expect("a head").expect("whole");
        Answer::to(&head, b"{\"messages\":[]}", &Knobs::default())
    };
    assert_eq!(answer("Authorization: Bearer key\r\n").status, 200);
    for bad in ["", "Authorization: AWS4-HMAC-SHA256 Credential=x\r\n", "x-api-key: k\r\n"] {
        let refused = answer(bad);
        assert_eq!(refused.status, 403, "{bad}");
        assert!(refused.headers.iter().any(|(name, _)| name == "x-amzn-errortype"));
    }
}
