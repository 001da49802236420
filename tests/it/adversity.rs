//! What no provider should send: numbers that contradict each other or are none, noise, another API's answers. A reading
//! keeps to what the wire says: nothing is invented, parts stay parts, nothing grows without bound.
//!
//! Seeded; a failure says with which seed.

use serde_json::{Value, json};
use weir::llm::dialect::Dialect;
use weir::llm::dialect::paths::{self, Endpoint};
use weir::llm::meter::{self, HELD_BYTES_MAX, Meter};
use weir::llm::price::{Counts, Unit};
use weir::llm::reading::Reading;
use weir::llm::usage::Usage;
use weir::wire::head::Fields;

use crate::cases;
use crate::reading::{Response, cuts};

/// A small generator, good enough to pick with (Knuth's MMIX constants).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    fn count(&mut self) -> u64 {
        let most = [1, 10, 1_000, 1_000_000][self.below(4)];
        self.below(most) as u64
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

fn response(path: &str, kind: &str, body: Vec<u8>) -> Response {
    let route = paths::endpoint("POST", path).expect("a path of the table");
    Response {
        dialect: route.dialect,
        endpoint: route.endpoint,
        status: 200,
        fields: vec![("content-type".into(), kind.into())],
        body,
    }
}

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

/// Answers of each API with `@` wherever a count stands.
const WITH_COUNTS: &[(&str, &str, &str)] = &[
    (
        "/v1/messages",
        JSON,
        r#"{"id":"m","type":"message","model":"claude","content":[],"usage":{"input_tokens":@,"output_tokens":@,
        "cache_read_input_tokens":@,"cache_creation_input_tokens":@,"output_tokens_details":{"thinking_tokens":@},
        "cache_creation":{"ephemeral_5m_input_tokens":@,"ephemeral_1h_input_tokens":@},"server_tool_use":{"web_search_requests":@}}}"#,
    ),
    (
        "/v1/messages",
        EVENTS,
        "data: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"model\":\"claude\",\"usage\":{\"input_tokens\":@,\
        \"cache_read_input_tokens\":@,\"cache_creation\":{\"ephemeral_5m_input_tokens\":@,\"ephemeral_1h_input_tokens\":@}}}}\n\n\
        data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":@,\"iterations\":[\
        {\"type\":\"message\",\"input_tokens\":@,\"output_tokens\":@,\"cache_read_input_tokens\":@}]}}\n\ndata: {\"type\":\"message_stop\"}\n\n",
    ),
    (
        "/v1/chat/completions",
        JSON,
        r#"{"id":"c","model":"gpt","choices":[],"usage":{"prompt_tokens":@,"completion_tokens":@,"total_tokens":@,
        "prompt_tokens_details":{"cached_tokens":@,"cache_write_tokens":@,"audio_tokens":@,"image_tokens":@},
        "completion_tokens_details":{"reasoning_tokens":@,"audio_tokens":@,"image_tokens":@}}}"#,
    ),
    (
        "/v1/chat/completions",
        EVENTS,
        "data: {\"id\":\"c\",\"choices\":[{\"finish_reason\":\"stop\"}],\"x_groq\":{\"usage\":{\"prompt_tokens\":@,\"completion_tokens\":@}}}\n\n\
        data: {\"choices\":[],\"usage\":{\"prompt_tokens\":@,\"completion_tokens\":@,\"total_tokens\":@,\"prompt_cache_hit_tokens\":@}}\n\ndata: [DONE]\n\n",
    ),
    (
        "/v1/responses",
        JSON,
        r#"{"id":"r","object":"response","model":"gpt","output":[],"usage":{"input_tokens":@,"output_tokens":@,"total_tokens":@,
        "input_tokens_details":{"cached_tokens":@,"cache_write_tokens":@},"output_tokens_details":{"reasoning_tokens":@}}}"#,
    ),
    (
        "/v1beta/models/m:generateContent",
        JSON,
        r#"{"candidates":[],"usageMetadata":{"promptTokenCount":@,"candidatesTokenCount":@,"thoughtsTokenCount":@,
        "cachedContentTokenCount":@,"toolUsePromptTokenCount":@,"totalTokenCount":@,"promptTokensDetails":[{"modality":"AUDIO","tokenCount":@},
        {"modality":"IMAGE","tokenCount":@}],"cacheTokensDetails":[{"modality":"AUDIO","tokenCount":@}],
        "candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":@}]}}"#,
    ),
    (
        "/v1beta/interactions",
        JSON,
        r#"{"id":"i","status":"completed","steps":[],"usage":{"total_input_tokens":@,"total_output_tokens":@,
        "total_thought_tokens":@,"total_cached_tokens":@,"total_tool_use_tokens":@}}"#,
    ),
    (
        "/model/m/converse",
        JSON,
        r#"{"output":{"message":{"content":[]}},"stopReason":"end_turn","usage":{"inputTokens":@,"outputTokens":@,"totalTokens":@,
        "cacheReadInputTokens":@,"cacheWriteInputTokens":@,"cacheDetails":[{"ttl":"5m","inputTokens":@},{"ttl":"1h","inputTokens":@}]}}"#,
    ),
    (
        "/model/m/invoke",
        JSON,
        r#"{"inputTextTokenCount":@,"results":[{"tokenCount":@}],"prompt_token_count":@,"generation_token_count":@}"#,
    ),
    ("/api/chat", JSON, r#"{"model":"l","message":{},"done":true,"prompt_eval_count":@,"eval_count":@}"#),
];

/// The template with something in each place.
fn filled(template: &str, mut with: impl FnMut() -> String) -> Vec<u8> {
    let mut parts = template.split('@');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str(&with());
        text.push_str(part);
    }
    text.into_bytes()
}

/// Numbers as they should not be, and what is no number.
fn odd(dice: &mut Dice) -> String {
    const ODD: &[&str] = &[
        "0",
        "1",
        "-1",
        "3.0",
        "2.5",
        "1e3",
        "1e400",
        "-0",
        "18446744073709551615",
        "18446744073709551616",
        "9223372036854775807",
        "99999999999999999999999999",
        "null",
        "\"7\"",
        "true",
        "[]",
        "[5]",
        "{}",
        "{\"a\":1}",
        "\"\"",
    ];
    if dice.below(2) == 0 { dice.count().to_string() } else { (*dice.pick(ODD)).to_owned() }
}

/// What holds of counts, whoever sent them.
fn parts_are_parts(usage: &Usage) {
    let or_0 = |count: Option<u64>| u128::from(count.unwrap_or(0));
    let cached = or_0(usage.cache_read_tokens) + or_0(usage.cache_write_tokens);
    if let (Some(all), Some(fresh)) = (usage.input_tokens, usage.uncached_input_tokens) {
        assert_eq!(u128::from(fresh), u128::from(all).saturating_sub(cached), "{usage:?}");
    }
    let counts = Counts::of(usage);
    let sum = |units: &[Unit]| units.iter().map(|unit| u128::from(counts.of[*unit as usize])).sum::<u128>();
    use Unit::{AudioCacheRead, AudioInput, CacheRead, CacheWrite, CacheWriteHour, ImageInput, Input};
    let prompt = sum(&[Input, CacheRead, CacheWrite, CacheWriteHour, AudioInput, AudioCacheRead, ImageInput]);
    let written =
        or_0(usage.cache_write_tokens.or(usage.cache_write_5m_tokens)).max(or_0(usage.cache_write_1h_tokens));
    let most = or_0(usage.input_tokens).max(or_0(usage.cache_read_tokens) + written).max(cached);
    let excess = written.saturating_sub(or_0(usage.cache_write_tokens));
    assert!(prompt <= most + excess, "{prompt} billed of {most}: {usage:?}");
    let answer = sum(&[Unit::Output, Unit::Reasoning, Unit::AudioOutput, Unit::ImageOutput]);
    let (answered, reasoning) = (or_0(usage.output_tokens), or_0(usage.reasoning_tokens));
    let whole = if reasoning > answered { answered + reasoning } else { answered };
    assert_eq!(answer, whole.min(u128::from(u64::MAX)), "{usage:?}");
}

#[test]
fn parts_never_exceed_the_whole_whatever_the_numbers_are() {
    for seed in 0..200 {
        let mut dice = Dice(seed);
        for (path, kind, template) in WITH_COUNTS {
            let response = response(path, kind, filled(template, || odd(&mut dice)));
            let reading = response.read_whole();
            parts_are_parts(&reading.usage);
            reading.billed_runs.iter().for_each(|run| parts_are_parts(&run.usage));
            let cut = response.read(None, cuts(&response.body, seed).into_iter());
            assert_eq!(cut, reading, "seed {seed}, {path}: {}", String::from_utf8_lossy(&response.body));
        }
    }
}

#[test]
fn what_is_no_count_is_unknown_and_never_zero() {
    for (path, kind, template) in WITH_COUNTS {
        for junk in ["\"7\"", "-1", "true", "[5]", "{}", "1e400"] {
            let reading = response(path, kind, filled(template, || junk.to_owned())).read_whole();
            let usage = &reading.usage;
            assert_eq!((usage.input_tokens, usage.output_tokens), (None, None), "{path} with {junk}");
            assert_eq!(usage.uncached_input_tokens, None, "{path} with {junk}");
        }
    }
}

/// Counts as they were meant; each API writes them in its own way.
#[derive(Debug)]
struct Meant {
    fresh: u64,
    read: u64,
    write_5m: u64,
    write_1h: u64,
    answer: u64,
    reasoning: u64,
}

/// Path, usage, and which of the parts that language can say: cache writes, their times to live, reasoning.
type Wording = (&'static str, fn(&Meant) -> Value, [bool; 3]);

const WORDINGS: &[Wording] = &[
    (
        "/v1/messages",
        |m| {
            json!({"content": [], "usage": {"input_tokens": m.fresh, "output_tokens": m.answer + m.reasoning,
        "cache_read_input_tokens": m.read, "cache_creation_input_tokens": m.write_5m + m.write_1h,
        "cache_creation": {"ephemeral_5m_input_tokens": m.write_5m, "ephemeral_1h_input_tokens": m.write_1h},
        "output_tokens_details": {"thinking_tokens": m.reasoning}}})
        },
        [true, true, true],
    ),
    // OpenAI's own.
    (
        "/v1/chat/completions",
        |m| {
            json!({"choices": [], "usage": {"prompt_tokens": m.fresh + m.read + m.write_5m + m.write_1h,
        "completion_tokens": m.answer + m.reasoning, "total_tokens": m.fresh + m.read + m.write_5m + m.write_1h + m.answer + m.reasoning,
        "prompt_tokens_details": {"cached_tokens": m.read, "cache_write_tokens": m.write_5m + m.write_1h},
        "completion_tokens_details": {"reasoning_tokens": m.reasoning}}})
        },
        [true, false, true],
    ),
    // xAI's: the total tells that reasoning stands beside the completion.
    (
        "/v1/chat/completions",
        |m| {
            json!({"choices": [], "usage": {"prompt_tokens": m.fresh + m.read,
        "completion_tokens": m.answer, "total_tokens": m.fresh + m.read + m.answer + m.reasoning,
        "prompt_tokens_details": {"cached_tokens": m.read}, "completion_tokens_details": {"reasoning_tokens": m.reasoning}}})
        },
        [false, false, true],
    ),
    // DeepSeek's.
    (
        "/v1/chat/completions",
        |m| {
            json!({"choices": [], "usage": {"prompt_tokens": m.fresh + m.read, "completion_tokens": m.answer,
        "prompt_cache_hit_tokens": m.read, "prompt_cache_miss_tokens": m.fresh}})
        },
        [false, false, false],
    ),
    (
        "/v1/responses",
        |m| {
            json!({"object": "response", "usage": {"input_tokens": m.fresh + m.read + m.write_5m + m.write_1h,
        "output_tokens": m.answer + m.reasoning,
        "input_tokens_details": {"cached_tokens": m.read, "cache_write_tokens": m.write_5m + m.write_1h},
        "output_tokens_details": {"reasoning_tokens": m.reasoning}}})
        },
        [true, false, true],
    ),
    (
        "/v1beta/models/m:generateContent",
        |m| {
            json!({"usageMetadata": {"promptTokenCount": m.fresh + m.read,
        "cachedContentTokenCount": m.read, "candidatesTokenCount": m.answer, "thoughtsTokenCount": m.reasoning}})
        },
        [false, false, true],
    ),
    (
        "/v1internal:generateContent",
        |m| {
            json!({"response": {"usageMetadata": {"promptTokenCount": m.fresh + m.read,
        "cachedContentTokenCount": m.read, "candidatesTokenCount": m.answer, "thoughtsTokenCount": m.reasoning}}})
        },
        [false, false, true],
    ),
    (
        "/v1beta/interactions",
        |m| {
            json!({"status": "completed", "usage": {"total_input_tokens": m.fresh + m.read,
        "total_cached_tokens": m.read, "total_output_tokens": m.answer, "total_thought_tokens": m.reasoning}})
        },
        [false, false, true],
    ),
    (
        "/model/m/converse",
        |m| {
            json!({"stopReason": "end_turn", "usage": {"inputTokens": m.fresh, "cacheReadInputTokens": m.read,
        "cacheWriteInputTokens": m.write_5m + m.write_1h, "outputTokens": m.answer,
        "cacheDetails": [{"ttl": "5m", "inputTokens": m.write_5m}, {"ttl": "1h", "inputTokens": m.write_1h}]}})
        },
        [true, true, false],
    ),
    (
        "/model/m/invoke",
        |m| {
            json!({"type": "message", "content": [], "usage": {"input_tokens": m.fresh, "output_tokens": m.answer,
        "cache_read_input_tokens": m.read, "cache_creation_input_tokens": m.write_5m + m.write_1h}})
        },
        [true, false, false],
    ),
];

#[test]
fn every_api_s_own_way_of_counting_becomes_the_same_normal_form() {
    for seed in 0..200 {
        let mut dice = Dice(seed);
        for (path, usage, [writes, lives, reasons]) in WORDINGS {
            let mut meant = Meant {
                fresh: dice.count(),
                read: dice.count(),
                write_5m: dice.count(),
                write_1h: dice.count(),
                answer: dice.count(),
                reasoning: dice.count(),
            };
            if !writes {
                (meant.write_5m, meant.write_1h) = (0, 0);
            }
            if !reasons {
                meant.reasoning = 0;
            }
            let read = response(path, JSON, usage(&meant).to_string().into_bytes()).read_whole().usage;
            let written = meant.write_5m + meant.write_1h;
            let expected = Usage {
                input_tokens: Some(meant.fresh + meant.read + written),
                uncached_input_tokens: Some(meant.fresh),
                output_tokens: Some(meant.answer + meant.reasoning),
                cache_read_tokens: Some(meant.read),
                cache_write_tokens: Some(written),
                cache_write_5m_tokens: lives.then_some(meant.write_5m),
                cache_write_1h_tokens: lives.then_some(meant.write_1h),
                reasoning_tokens: Some(meant.reasoning),
                ..Usage::default()
            };
            assert_eq!(read, expected, "seed {seed}, {path}: {meant:?}");
        }
    }
}

/// The path of each language in which models answer, and the dialects that speak it. What is invoked may speak as in a chat.
const LANGUAGES: &[(&str, &[Dialect])] = &[
    ("/v1/messages", &[Dialect::Messages]),
    ("/v1/chat/completions", &[Dialect::Chat, Dialect::Completions, Dialect::Invoke]),
    ("/v1/completions", &[Dialect::Chat, Dialect::Completions, Dialect::Invoke]),
    ("/v1/responses", &[Dialect::Responses]),
    ("/v1beta/models/m:streamGenerateContent", &[Dialect::Gemini, Dialect::CodeAssist]),
    ("/v1internal:streamGenerateContent", &[Dialect::Gemini, Dialect::CodeAssist]),
    ("/v1beta/interactions", &[Dialect::Interactions]),
    ("/model/m/converse-stream", &[Dialect::Converse]),
    ("/api/chat", &[Dialect::Ollama]),
];

fn says_nothing(reading: &Reading) -> bool {
    let Reading { model, response_id, usage, tool_uses, stop_reason, wire_usage, .. } = reading;
    let named = model.is_some() || response_id.is_some() || stop_reason.is_some() || wire_usage.is_some();
    usage.is_unknown() && tool_uses.is_empty() && !named
}

#[test]
fn an_answer_in_another_language_is_not_metered() {
    let mut read = 0;
    for (name, of) in cases::responses() {
        let own = of.read_whole();
        // What would tell may lie behind the cut.
        let cut = !own.stream && !own.complete;
        // Vectors look much alike in all languages.
        let vectors = own.usage.output_tokens == Some(0);
        if of.status != 200 || of.endpoint != Endpoint::Generate || own.error.is_some() || cut || vectors {
            continue;
        }
        for (path, languages) in LANGUAGES.iter().filter(|(_, own)| !own.contains(&of.dialect)) {
            // Claude, invoked, speaks its own.
            if *path == "/v1/messages" && of.dialect == Dialect::Invoke && name.contains("claude") {
                continue;
            }
            let kind = of.fields.iter().find(|(name, _)| name == "content-type").map_or("", |(_, kind)| kind);
            let foreign = response(path, kind, of.body.clone());
            let reading = foreign.read_whole();
            assert!(says_nothing(&reading), "{name} as {languages:?}: {reading:?}");
            // Of a value that is cut off nobody can tell its language.
            let cut = !reading.stream && !reading.complete;
            assert!(cut || reading.not_metered.is_some(), "{name} as {languages:?}: {reading:?}");
            read += 1;
        }
    }
    assert!(read > 200, "{read} pairs");
}

/// What an answer may begin with.
const BEGINNINGS: &[&str] = &["", "{", "[", "data: ", "\0\0\0\x40", "<html>"];

#[test]
fn noise_is_not_metered() {
    let deep = |open: &str, close: &str| [open.repeat(5_000), close.repeat(5_000)].concat().into_bytes();
    for (path, _) in LANGUAGES {
        for kind in [JSON, EVENTS, "application/x-ndjson", "application/vnd.amazon.eventstream", "text/html"]
        {
            for seed in 0..15 {
                let mut dice = Dice(seed);
                let mut noise: Vec<u8> = (0..dice.below(2000) + 1).map(|_| dice.below(256) as u8).collect();
                // Some begin as what they claim to be.
                let first = dice.pick(BEGINNINGS);
                noise.splice(0..0, first.bytes());
                let response = response(path, kind, noise);
                let reading = response.read_whole();
                assert!(says_nothing(&reading), "seed {seed}, {path} as {kind}: {reading:?}");
                let cut = response.read(None, cuts(&response.body, seed + 1).into_iter());
                assert_eq!(cut, reading, "seed {seed}, {path} as {kind}");
            }
            for body in [deep("[", "]"), deep("{\"error\":", "}"), deep("{\"usage\":[", "]}"), deep("[", "")]
            {
                assert!(says_nothing(&response(path, kind, body).read_whole()), "{path} as {kind}");
            }
        }
    }
}

#[test]
fn a_stream_that_is_cut_off_anywhere_says_no_more_than_the_whole() {
    for (name, whole) in cases::responses() {
        let said = whole.read_whole();
        for seed in 0..10 {
            let at = Dice(seed).below(whole.body.len().max(1));
            let part = Response { body: whole.body[..at].to_vec(), fields: whole.fields.clone(), ..whole };
            let reading = part.read_whole();
            parts_are_parts(&reading.usage);
            assert!(reading.tool_uses.len() <= said.tool_uses.len(), "{name} cut at {at}");
        }
    }
}

#[test]
fn what_is_held_for_reading_has_a_bound() {
    const PIECE: usize = 1 << 20;
    for (path, kind, first) in [
        ("/v1/messages", EVENTS, &b"data: {\"type\":\"ping"[..]),
        ("/v1/messages", JSON, b"{\"a\":\""),
        ("/api/chat", "application/x-ndjson", b"{\"a\":\""),
        ("/v1beta/models/m:streamGenerateContent", JSON, b"[{\"a\":\""),
        // A frame as long as its length can say, minus what no frame may be.
        ("/model/m/converse-stream", "application/vnd.amazon.eventstream", b"\x00\xff\xff\xff\0\0\0\0"),
    ] {
        let route = paths::endpoint("POST", path).expect("a path of the table");
        let mut fields = Fields::new();
        fields.push(b"content-type", kind.as_bytes());
        let mut meter = Meter::new(route.dialect, route.endpoint, 200, &fields);
        meter.feed(first);
        let piece = vec![b'x'; PIECE];
        for _ in 0..HELD_BYTES_MAX / PIECE + 2 {
            meter.feed(&piece);
            assert!(meter.held_bytes() <= 2 * HELD_BYTES_MAX + PIECE, "{path}: {} held", meter.held_bytes());
        }
        let reading = meter.finish();
        assert!(says_nothing(&reading) && reading.not_metered.is_some(), "{path}: {reading:?}");
    }
}

#[test]
fn pages_words_and_nothing_are_no_answers() {
    for (kind, body, why) in [
        ("text/html", "<html><body>Welcome to our portal</body></html>", meter::NO_ANSWER),
        ("text/html", "  \n<!doctype html>", meter::NO_ANSWER),
        ("text/plain", "internal error", meter::NO_ANSWER),
        (JSON, "upstream connect error", meter::NO_ANSWER),
        (JSON, "", meter::EMPTY),
        (JSON, " \r\n", meter::EMPTY),
        (JSON, r#"{"status":"ok"}"#, meter::FOREIGN),
        (EVENTS, "data: {\"status\":\"ok\"}\n\n", meter::FOREIGN),
    ] {
        for path in ["/v1/messages", "/v1/chat/completions", "/v1/responses"] {
            let reading = response(path, kind, body.into()).read_whole();
            assert_eq!(reading.not_metered.as_deref(), Some(why), "{path}: {kind} {body:?}");
            assert!(says_nothing(&reading));
        }
    }
    // Where it was asked for, text is a good answer.
    let transcript = response("/v1/audio/transcriptions", "text/plain", "indeed".into()).read_whole();
    assert_eq!((transcript.not_metered, transcript.complete, transcript.stream), (None, true, false));
}
