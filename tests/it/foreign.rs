//! A provider that answers in another language than its configuration says, or with no answer at all: the client gets the
//! bytes as they came, and the record says that nothing was metered and whose fault that was.

use loadtest::{Canned, Request};
use weir::llm::dialect::paths::Flag;
use weir::llm::usage::Usage;
use weir::record::record::Outcome;

use crate::credentials::record_of;
use crate::gate::Gate;
use crate::providers::provider;

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

const CHAT_STREAM: &str = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n\
    data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2,\"total_tokens\":9}}\n\ndata: [DONE]\n\n";
const MESSAGES_STREAM: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"model\":\"claude\",\"usage\":{\"input_tokens\":7,\"output_tokens\":1}}}\n\n\
    event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":2}}\n\n\
    event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
const MESSAGE: &str = r#"{"id":"m","type":"message","model":"claude","content":[{"type":"text","text":"hi"}],"usage":{"input_tokens":7,"output_tokens":2}}"#;
const RESPONSE: &str = r#"{"id":"r","object":"response","model":"gpt","output":[],"usage":{"input_tokens":7,"output_tokens":2}}"#;
const PAGE: &str = "<!doctype html><title>Sign in</title>";

/// Path, content type, answer, outcome, kind of fault.
type Row = (&'static str, &'static str, &'static str, Outcome, &'static str);

const ROWS: &[Row] = &[
    ("/v1/messages", EVENTS, CHAT_STREAM, Outcome::Ok, "foreign_answer"),
    ("/v1/messages", JSON, RESPONSE, Outcome::Ok, "foreign_answer"),
    ("/v1/chat/completions", EVENTS, MESSAGES_STREAM, Outcome::Ok, "foreign_answer"),
    ("/v1/chat/completions", JSON, MESSAGE, Outcome::Ok, "foreign_answer"),
    ("/v1/responses", EVENTS, CHAT_STREAM, Outcome::Ok, "foreign_answer"),
    ("/v1/responses", JSON, MESSAGE, Outcome::Ok, "foreign_answer"),
    ("/v1beta/models/m:generateContent", JSON, MESSAGE, Outcome::Ok, "foreign_answer"),
    ("/api/chat", "application/x-ndjson", MESSAGE, Outcome::Ok, "foreign_answer"),
    ("/v1/messages", "text/html", PAGE, Outcome::ProviderError, "no_answer"),
    ("/v1/chat/completions", JSON, PAGE, Outcome::ProviderError, "no_answer"),
    ("/v1/responses", "text/plain", "upstream error", Outcome::ProviderError, "no_answer"),
    ("/v1/messages", JSON, "", Outcome::ProviderError, "empty_answer"),
    ("/v1/embeddings", JSON, "", Outcome::ProviderError, "empty_answer"),
];

fn gate() -> Gate {
    let flags = [
        Flag::AnthropicMessages,
        Flag::OpenaiChat,
        Flag::OpenaiResponses,
        Flag::OpenaiOther,
        Flag::GeminiGenerateContent,
        Flag::OllamaNative,
    ];
    Gate::before(|origin| vec![provider("only", &origin, &flags)])
}

#[test]
fn what_is_no_answer_of_the_api_passes_and_is_not_metered() {
    let gate = gate();
    let mut client = gate.client();
    for (path, kind, body, outcome, fault) in ROWS {
        let canned = Canned::new(200).header("content-type", kind).body(body);
        for canned in [canned.clone(), canned.chunked(&[3, 50])] {
            gate.provider.can(path, canned);
            let ask =
                Request::new("POST", path, r#"{"model":"m","stream":true}"#).header("content-type", JSON);
            let reply = client.send(&ask).unwrap();
            assert_eq!((reply.status, reply.text().as_str()), (200, *body), "{path} with {kind}");
            assert_eq!(reply.header("content-type"), Some(*kind));
            let record = record_of(&gate, reply.header("x-weir-id").unwrap());
            let told = record.fault.unwrap_or_else(|| panic!("{path} with {kind}: no fault"));
            assert_eq!((told.side.as_str(), told.kind.as_str()), ("provider", *fault), "{path} with {kind}");
            assert_eq!(record.outcome, *outcome, "{path} with {kind}");
            let reading = record.reading;
            assert!(reading.not_metered.is_some(), "{path} with {kind}");
            assert_eq!((reading.usage, reading.model), (Usage::default(), None), "{path} with {kind}");
            // A good answer in another language was made by a model all the same; a page was not.
            let generated = *outcome == Outcome::Ok;
            assert_eq!(record.estimated_usage.is_some(), generated, "{path} with {kind}");
        }
    }
}

#[test]
fn a_wrong_content_type_hides_nothing() {
    let gate = gate();
    let mut client = gate.client();
    let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"later"}}"#;
    for (path, kind, body, input, outcome) in [
        ("/v1/messages", JSON, MESSAGES_STREAM, Some(7), Outcome::Ok),
        ("/v1/messages", EVENTS, MESSAGE, Some(7), Outcome::Ok),
        ("/v1/messages", "text/plain", MESSAGES_STREAM, Some(7), Outcome::Ok),
        ("/v1/chat/completions", JSON, CHAT_STREAM, Some(7), Outcome::Ok),
        ("/v1/responses", "", RESPONSE, Some(7), Outcome::Ok),
        // An error is one whatever the status says.
        ("/v1/messages", JSON, error, None, Outcome::ProviderError),
        ("/v1/messages", EVENTS, error, None, Outcome::ProviderError),
        ("/v1/chat/completions", JSON, error, None, Outcome::ProviderError),
    ] {
        gate.provider.can(path, Canned::new(200).header("content-type", kind).body(body));
        let ask = Request::new("POST", path, r#"{"model":"m","stream":true}"#)
            .header("content-type", "application/json");
        let reply = client.send(&ask).unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (200, body), "{path} with {kind}");
        let record = record_of(&gate, reply.header("x-weir-id").unwrap());
        assert_eq!(record.outcome, outcome, "{path} with {kind}: {:?}", record.fault);
        assert_eq!(record.reading.not_metered, None, "{path} with {kind}");
        assert_eq!(record.reading.usage.input_tokens, input, "{path} with {kind}");
        assert_eq!(record.reading.error.is_some(), input.is_none(), "{path} with {kind}");
    }
}
