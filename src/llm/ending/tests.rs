//! A stream ended at any point is whole to whoever reads it.

use super::*;
use crate::llm::meter::Meter;
use crate::llm::reading::Reading;
use crate::wire::base64;
use crate::wire::eventstream::write_frame;

fn sse(events: &[&str]) -> Vec<u8> {
    events.iter().flat_map(|data| format!("data: {data}\n\n").into_bytes()).collect()
}

fn frames(events: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, payload) in events {
        let headers =
            [(":event-type", *name), (":content-type", "application/json"), (":message-type", "event")];
        write_frame(&mut out, &headers, payload.as_bytes());
    }
    out
}

const CLAUDE: [&str; 5] = [
    r#"{"type":"message_start","message":{"id":"m","model":"claude","usage":{"input_tokens":9,"output_tokens":1}}}"#,
    r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"one } \\" two"}}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"three"}}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"four"}}"#,
];

/// A stream without its end, its content type, and how a bound on output is called there.
fn streams() -> Vec<(Dialect, &'static str, Vec<u8>, &'static str)> {
    let chat = [
        r#"{"id":"c","object":"chat.completion.chunk","created":7,"model":"gpt","choices":[{"index":0,"delta":{"role":"assistant"}}]}"#,
        r#"{"id":"c","object":"chat.completion.chunk","created":7,"model":"gpt","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}"#,
        r#"{"id":"c","object":"chat.completion.chunk","created":7,"model":"gpt","choices":[{"index":0,"delta":{"content":"b"},"finish_reason":null}]}"#,
    ];
    let responses = [
        r#"{"type":"response.created","sequence_number":0,"response":{"id":"r","model":"gpt","status":"in_progress","output":[]}}"#,
        r#"{"type":"response.output_text.delta","sequence_number":1,"output_index":0,"delta":"a"}"#,
        r#"{"type":"response.output_text.delta","sequence_number":2,"output_index":0,"delta":"b"}"#,
    ];
    let gemini = [
        r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"a ] }"}]}}],"modelVersion":"g","responseId":"x"}"#,
        r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"b"}]}}],"modelVersion":"g","responseId":"x"}"#,
    ];
    let converse = [
        ("messageStart", r#"{"role":"assistant"}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"a"}}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"b"}}"#),
    ];
    let invoke: Vec<_> =
        CLAUDE.iter().map(|event| format!(r#"{{"bytes":"{}"}}"#, base64::encode(event.as_bytes()))).collect();
    let invoke: Vec<_> = invoke.iter().map(|payload| ("chunk", payload.as_str())).collect();
    let ollama =
        "{\"model\":\"l\",\"message\":{\"role\":\"assistant\",\"content\":\"a\"},\"done\":false}\n".repeat(3);
    let code_assist = gemini.map(|chunk| format!(r#"{{"response":{chunk}}}"#));
    let code_assist: Vec<_> = code_assist.iter().map(String::as_str).collect();
    vec![
        (Dialect::Messages, "text/event-stream", sse(&CLAUDE), "max_tokens"),
        (Dialect::Chat, "text/event-stream; charset=utf-8", sse(&chat), "length"),
        (Dialect::Responses, "text/event-stream", sse(&responses), "max_output_tokens"),
        (Dialect::Gemini, "text/event-stream", sse(&gemini), "MAX_TOKENS"),
        (
            Dialect::Gemini,
            "application/json",
            format!("[{}\n,\r\n{}\n", gemini[0], gemini[1]).into(),
            "MAX_TOKENS",
        ),
        (Dialect::CodeAssist, "text/event-stream", sse(&code_assist), "MAX_TOKENS"),
        (Dialect::Converse, "application/vnd.amazon.eventstream", frames(&converse), "max_tokens"),
        (Dialect::Invoke, "application/vnd.amazon.eventstream", frames(&invoke), "max_tokens"),
        (Dialect::Ollama, "application/x-ndjson", ollama.into_bytes(), "length"),
    ]
}

/// The stream, ended with the first event that goes beyond so many bytes, given in blocks of `block` bytes.
fn ended(dialect: Dialect, kind: &str, stream: &[u8], beyond: u64, block: usize) -> Option<Reading> {
    let fields: Fields = [("content-type", kind)].into_iter().collect();
    let mut ending = Ending::new(dialect, Endpoint::Generate, 200, &fields).expect("a stream");
    let mut sent = Vec::new();
    for data in stream.chunks(block) {
        let end = ending.pass(data, |bytes, _| bytes > beyond);
        sent.extend_from_slice(&data[..end.unwrap_or(data.len())]);
        if end.is_some() {
            sent.extend_from_slice(&ending.terminal("daily:ada", (9, 42)));
            let mut meter = Meter::new(dialect, Endpoint::Generate, 200, &fields);
            meter.feed(&sent);
            return Some(meter.finish());
        }
    }
    assert_eq!(sent, stream, "what is not ended passes as it is");
    None
}

#[test]
fn ended_at_any_event_it_is_whole_to_its_reader() {
    for (dialect, kind, stream, reason) in streams() {
        let mut ends = 0;
        for (beyond, block) in (0..stream.len() as u64).zip([1, 2, 7, 64, 4_096].into_iter().cycle()) {
            let Some(reading) = ended(dialect, kind, &stream, beyond, block) else { continue };
            ends += 1;
            let whole = reading.complete && !reading.pending_at_eof && reading.stream;
            assert!(whole, "{dialect:?} beyond {beyond}: {reading:?}");
            assert_eq!(reading.stop_reason.as_deref(), Some(reason), "{dialect:?} beyond {beyond}");
            assert_eq!((reading.not_metered, reading.error), (None, None), "{dialect:?} beyond {beyond}");
        }
        assert!(ends > stream.len() / 2, "{dialect:?}: {ends} of {}", stream.len());
    }
}

#[test]
fn line_ends_of_every_kind_are_ends_of_events() {
    for end in ["\n", "\r\n", "\r"] {
        let text = format!(": hello{end}{end}data: {{}}{end}{end}data: {{}}{end}{end}");
        let fields: Fields = [("content-type", "text/event-stream")].into_iter().collect();
        for block in [1, 3, 1_000] {
            let mut ending = Ending::new(Dialect::Chat, Endpoint::Generate, 200, &fields).expect("a stream");
            let ends: Vec<_> =
                text.as_bytes().chunks(block).filter_map(|data| ending.pass(data, |_, _| false)).collect();
            assert_eq!(
                (ends.len(), ending.passed()),
                (0, (text.len() as u64, 3)),
                "{end:?} in blocks of {block}"
            );
        }
    }
}

#[test]
fn what_has_ended_or_cannot_be_ended_is_left_alone() {
    let fields = |kind: &str| -> Fields { [("content-type", kind)].into_iter().collect() };
    let of = |dialect, kind| Ending::new(dialect, Endpoint::Generate, 200, &fields(kind));
    assert!(of(Dialect::Messages, "application/json").is_none(), "a whole answer");
    assert!(of(Dialect::Realtime, "text/event-stream").is_none());
    let coded: Fields =
        [("content-type", "text/event-stream"), ("content-encoding", "gzip")].into_iter().collect();
    assert!(Ending::new(Dialect::Chat, Endpoint::Generate, 200, &coded).is_none());
    let always = |_, _| true;
    let mut chat = of(Dialect::Chat, "text/event-stream").expect("a stream");
    let last = b"data: {\"choices\":[{\"index\":0,\"finish_reason\":\"stop\"}]}\n\ndata: {\"usage\":{}}\n\n";
    assert_eq!(chat.pass(last, always), None, "only its usage is still to come");
    let mut whole = of(Dialect::Gemini, "application/json").expect("perhaps an array");
    assert_eq!(
        whole.pass(b"{\"candidates\":[{}],\"a\":{}}", always),
        None,
        "an object has no place to be ended at"
    );
}

#[test]
fn a_response_that_is_no_object_is_ended_as_one_that_was_never_seen() {
    let fields: Fields = [("content-type", "text/event-stream")].into_iter().collect();
    let mut ending = Ending::new(Dialect::Responses, Endpoint::Generate, 200, &fields).expect("a stream");
    let stream =
        sse(&[r#"{"type":"response.created","sequence_number":18446744073709551615,"response":"resp_1"}"#]);
    assert_eq!(ending.pass(&stream, |_, _| true), Some(stream.len()));
    let terminal = String::from_utf8(ending.terminal("daily:x", (3, 4))).expect("text");
    assert!(terminal.contains(r#""status":"incomplete""#), "{terminal}");
}
