//! The meter over every dialect: the same reading in any cutting, and never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::llm::dialect::paths::{self, Route};
use weir::llm::meter::Meter;
use weir::llm::reading::Reading;
use weir::wire::head::Fields;

/// Paths of every dialect; `seeds.py` has the same list.
const PATHS: &[&str] = &[
    "/v1/messages",
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/images/generations",
    "/v1/audio/transcriptions",
    "/v1/moderations",
    "/v1beta/models/m:streamGenerateContent",
    "/v1beta/interactions",
    "/v1internal:streamGenerateContent",
    "/model/m/converse-stream",
    "/model/m/invoke-with-response-stream",
    "/api/chat",
    "/v1/complete",
    "/v1/messages/count_tokens",
];
const TYPES: &[&str] = &[
    "text/event-stream",
    "application/json",
    "application/vnd.amazon.eventstream",
    "application/x-ndjson",
    "",
];

fn read(route: &Route, status: u16, content_type: &str, pieces: &[&[u8]]) -> Reading {
    let mut fields = Fields::new();
    fields.push(b"content-type", content_type.as_bytes());
    let mut meter = Meter::new(route.dialect, route.endpoint, status, &fields);
    pieces.iter().for_each(|piece| meter.feed(piece));
    meter.finish()
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, seed, bytes)) = weir_fuzz::parts(input) else { return };
    let choice = usize::from(choice);
    let route = paths::endpoint("POST", PATHS[choice % PATHS.len()]).expect("in the table");
    let content_type = TYPES[choice / PATHS.len() % TYPES.len()];
    let status = if seed == 9 { 429 } else { 200 };
    let whole = read(&route, status, content_type, &[bytes]);
    assert_eq!(read(&route, status, content_type, &weir_fuzz::cut(bytes, seed)), whole);
});
