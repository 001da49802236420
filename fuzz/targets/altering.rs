//! What weir itself changes: usage asked for and hidden again, streams ended early, models renamed in paths. Exactly what
//! was meant is changed, in any cutting.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use weir::llm::ask_usage::{Hider, splice};
use weir::llm::dialect::paths::endpoint;
use weir::llm::dialect::{Dialect, Endpoint};
use weir::llm::ending::Ending;
use weir::wire::head::Fields;

fn asked(body: &[u8]) {
    let Some(spliced) = splice(body) else { return };
    let Ok(before) = serde_json::from_slice::<Value>(body) else { return };
    let mut after: Value = serde_json::from_slice(&spliced).expect("JSON as before");
    assert_eq!(after["stream_options"]["include_usage"], true);
    // But for that, the same; where nothing stood, nothing stands.
    let options = after["stream_options"].as_object_mut().expect("an object");
    match before.get("stream_options").and_then(|options| options.get("include_usage")) {
        Some(value) => options["include_usage"] = value.clone(),
        None => drop(options.remove("include_usage")),
    }
    match before.get("stream_options") {
        Some(Value::Null) => after["stream_options"] = Value::Null,
        Some(_) => {}
        None => drop(after.as_object_mut().expect("an object").remove("stream_options")),
    }
    assert_eq!(after, before);
}

fn hidden(pieces: &[&[u8]]) -> Vec<u8> {
    let (mut hider, mut out) = (Hider::new(), Vec::new());
    pieces.iter().for_each(|piece| hider.pass(piece, &mut out));
    hider.finish(&mut out);
    out
}

/// Only whole events are left out: what passes is the stream with some of its bytes missing.
fn is_left_of(part: &[u8], whole: &[u8]) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|byte| rest.any(|other| other == byte))
}

const STREAMS: &[(Dialect, &str)] = &[
    (Dialect::Messages, "text/event-stream"),
    (Dialect::Chat, "text/event-stream"),
    (Dialect::Completions, "text/event-stream"),
    (Dialect::Responses, "text/event-stream"),
    (Dialect::Gemini, "text/event-stream"),
    (Dialect::Gemini, "application/json"),
    (Dialect::CodeAssist, "text/event-stream"),
    (Dialect::Converse, "application/vnd.amazon.eventstream"),
    (Dialect::Invoke, "application/vnd.amazon.eventstream"),
    (Dialect::Ollama, "application/x-ndjson"),
];

/// Where the stream is ended after so many events, and by what.
fn ended(stream: (Dialect, &str), events_max: u64, pieces: &[&[u8]]) -> Option<(usize, Vec<u8>)> {
    let mut fields = Fields::new();
    fields.push(b"content-type", stream.1.as_bytes());
    let mut ending = Ending::new(stream.0, Endpoint::Generate, 200, &fields)?;
    let mut before = 0;
    for piece in pieces {
        if let Some(end) = ending.pass(piece, |_, events| events >= events_max) {
            assert!(end <= piece.len());
            return Some((before + end, ending.terminal("daily:x", (3, 4))));
        }
        before += piece.len();
    }
    None
}

fn ending(choice: u8, seed: u8, bytes: &[u8]) {
    let stream = STREAMS[usize::from(choice) % STREAMS.len()];
    let events_max = 1 + u64::from(seed % 5);
    let whole = ended(stream, events_max, &[bytes]);
    let cut = ended(stream, events_max, &weir_fuzz::cut(bytes, seed));
    match (whole, cut) {
        (Some(whole), Some(cut)) => {
            // The other half of a CRLF goes along only where it has come.
            let half = bytes.get(cut.0).is_some_and(|byte| *byte == b'\n') && whole.0 == cut.0 + 1;
            assert!(whole.0 == cut.0 || half, "{} and {}", whole.0, cut.0);
            assert_eq!(whole.1, cut.1);
        }
        (whole, cut) => assert_eq!(whole, cut),
    }
}

/// A name put where a path has its model is the model that the path then names.
fn path(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let (method, path) = text.split_once(' ').unwrap_or(("POST", text));
    let Some(route) = endpoint(method, path) else { return };
    let Some(span) = route.model_span.clone() else { return };
    assert!(route.model_in_path.is_some());
    let renamed = [&path[..span.start], "another", &path[span.end..]].concat();
    let again = endpoint(method, &renamed).expect("a path as before");
    assert_eq!(again.model_in_path.as_deref(), Some("another"), "{path}");
    assert_eq!((again.dialect, again.endpoint, again.flag), (route.dialect, route.endpoint, route.flag));
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, seed, bytes)) = weir_fuzz::parts(input) else { return };
    match choice % 4 {
        0 => asked(bytes),
        1 => {
            let whole = hidden(&[bytes]);
            assert_eq!(hidden(&weir_fuzz::cut(bytes, seed)), whole);
            assert!(is_left_of(&whole, bytes));
        }
        2 => ending(choice / 4, seed, bytes),
        _ => path(bytes),
    }
});
