//! What reading a passing response costs, per event: whole blocks of many events, and one event per read.
//!
//! `cargo bench --bench meter`

use weir::llm::dialect::Dialect;
use weir::llm::dialect::paths::Endpoint;
use weir::llm::meter::Meter;
use weir::llm::reading::Reading;
use weir::wire::head::Fields;

mod stopwatch;

/// Events of text in a stream.
const TEXTS: usize = 2000;

/// Block that a busy provider's joined events arrive in.
const BLOCK: usize = 16 << 10;

const WORDS: [&str; 8] =
    [" the", "He", " world,", " 世界", "\\n\\n", " \\\"quoted\\\"", " a somewhat longer piece of text", "."];

struct Stream {
    name: &'static str,
    dialect: Dialect,
    events: Vec<String>,
    output_tokens: u64,
}

fn messages() -> Stream {
    let start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-sonnet-5\",\"content\":[],\"usage\":{\"input_tokens\":10,\"output_tokens\":1}}}\n\n";
    let mut events = vec![start.to_owned()];
    events.extend((0..TEXTS).map(|i| {
        let (word, pad) = (WORDS[i % 8], &"                "[..i % 16]);
        format!("event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"{word}\"}}{pad}}}\n\n")
    }));
    events.push("event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":4711}}\n\n".into());
    events.push("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n".into());
    Stream { name: "messages", dialect: Dialect::Messages, events, output_tokens: 4711 }
}

fn chat() -> Stream {
    let mut events: Vec<String> = (0..TEXTS)
        .map(|i| {
            let (word, pad) = (WORDS[i % 8], &"abcdefghijklmnop"[..i % 16]);
            format!("data: {{\"id\":\"chatcmpl-DuLe5uYcQLe3hznEQpmI0pr8qyHJ8\",\"object\":\"chat.completion.chunk\",\"created\":1782000000,\"model\":\"gpt-5-2025-08-07\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_44709d6fcb\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{word}\"}},\"logprobs\":null,\"finish_reason\":null}}],\"usage\":null,\"obfuscation\":\"{pad}\"}}\n\n")
        })
        .collect();
    events.push("data: {\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":null}\n\n".into());
    events.push("data: {\"id\":\"c\",\"model\":\"m\",\"choices\":[],\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":4711,\"total_tokens\":4731}}\n\n".into());
    events.push("data: [DONE]\n\n".into());
    Stream { name: "chat", dialect: Dialect::Chat, events, output_tokens: 4711 }
}

fn read<'a>(stream: &Stream, fields: &Fields, parts: impl Iterator<Item = &'a [u8]>) -> Reading {
    let mut meter = Meter::new(stream.dialect, Endpoint::Generate, 200, fields);
    parts.for_each(|part| meter.feed(part));
    meter.finish()
}

fn main() {
    let fields: Fields = [("content-type", "text/event-stream")].into_iter().collect();
    for stream in [messages(), chat()] {
        let whole: Vec<u8> = stream.events.concat().into_bytes();
        let check = |reading: Reading| {
            assert_eq!(reading.usage.output_tokens, Some(stream.output_tokens), "the answer");
            assert!(reading.complete, "the end");
        };
        let tell = |case: &str, ns: (f64, f64)| {
            let size = whole.len() / stream.events.len();
            let case = format!("meter/{}-{case}/{size}", stream.name);
            stopwatch::tell(&case, ns, stream.events.len(), "event", whole.len());
        };
        check(read(&stream, &fields, whole.chunks(BLOCK)));
        tell("joined", stopwatch::spend_ns(20, || read(&stream, &fields, whole.chunks(BLOCK))));
        let single = || stream.events.iter().map(String::as_bytes);
        check(read(&stream, &fields, single()));
        tell("single", stopwatch::spend_ns(20, || read(&stream, &fields, single())));
        // What the least useful look at every byte costs on this machine, to read the figures above by.
        let lines = || memchr::memchr_iter(b'\n', &whole).count();
        assert!(lines() > stream.events.len(), "the answer");
        tell("reference-lines", stopwatch::spend_ns(20, lines));
        let finder = memchr::memmem::Finder::new(b"\"usage\":{");
        let usages = || finder.find_iter(&whole).count();
        assert!(usages() > 0, "the answer");
        tell("reference-memmem", stopwatch::spend_ns(20, usages));
        let mut meter = Meter::new(stream.dialect, Endpoint::Generate, 200, &fields);
        stream.events.iter().take(3).for_each(|event| meter.feed(event.as_bytes()));
        println!("meter/{}-memory {} bytes + {} held", stream.name, size_of::<Meter>(), meter.held_bytes());
    }
}
