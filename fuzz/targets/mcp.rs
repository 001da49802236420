//! MCP replies: the same reading in any cutting; a call is named by its request alone.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::llm::mcp::{McpReader, McpReading};

fn read(request: &[u8], event_stream: bool, pieces: &[&[u8]]) -> McpReading {
    let mut reader = McpReader::new(request, event_stream);
    pieces.iter().for_each(|piece| reader.feed(piece));
    reader.finish()
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, seed, bytes)) = weir_fuzz::parts(input) else { return };
    let at = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (request, reply) = (&bytes[..at], bytes.get(at + 1..).unwrap_or_default());
    let event_stream = choice % 2 == 1;
    let whole = read(request, event_stream, &[reply]);
    assert_eq!(read(request, event_stream, &weir_fuzz::cut(reply, seed)), whole);
    let silent = read(request, event_stream, &[]);
    assert_eq!((&whole.tool, &whole.method, &whole.request_id), (&silent.tool, &silent.method, &silent.request_id));
});
