//! OpenAI Chat Completions: JSON, and the stream with and without `include_usage`.

use super::prose::Prose;
use super::{Answer, Asked, Claim, Content, Events, ToolCall, fragments};
use crate::http::mix;
use crate::json::{escape, quote};
use crate::knobs::{Fault, Knobs};

pub(super) fn answer(asked: &Asked, knobs: &Knobs) -> Answer {
    let mut answer = if asked.stream { stream(asked, knobs) } else { whole(asked, knobs) };
    answer.headers.extend([
        ("x-request-id".to_owned(), asked.id("req_")),
        ("openai-processing-ms".to_owned(), (asked.seed % 900 + 50).to_string()),
        ("x-ratelimit-remaining-requests".to_owned(), "4999".to_owned()),
    ]);
    answer
}

fn claim(asked: &Asked, text_bytes: u64) -> Claim {
    let arguments: usize = asked.tools.iter().map(|t| t.arguments.len() + t.name.len()).sum();
    Claim {
        dialect: "chat",
        id: asked.id("chatcmpl-"),
        model: asked.model.clone(),
        stream: asked.stream,
        tokens_in: asked.tokens_in,
        // Cached in steps of 128, as the vendor does.
        tokens_cache_read: asked.tokens_seen / 128 * 128,
        tokens_cache_write: 0,
        tokens_out: text_bytes / 4 + arguments as u64 / 3 + 8,
        usage_sent: !asked.stream || asked.include_usage,
        stop: if asked.tools.is_empty() { "stop" } else { "tool_calls" },
        tools: asked.tools.clone(),
    }
}

fn usage(claim: &Claim) -> String {
    format!(
        "{{\"prompt_tokens\":{},\"completion_tokens\":{},\"total_tokens\":{},\
         \"prompt_tokens_details\":{{\"cached_tokens\":{},\"audio_tokens\":0}},\
         \"completion_tokens_details\":{{\"reasoning_tokens\":0,\"audio_tokens\":0,\
         \"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}}}",
        claim.tokens_in,
        claim.tokens_out,
        claim.tokens_in + claim.tokens_out,
        claim.tokens_cache_read
    )
}

/// The fields every object of the dialect begins with. The date is the request's, so that it can be rebuilt.
fn frame(asked: &Asked, claim: &Claim, object: &str) -> String {
    format!(
        "{{\"id\":\"{}\",\"object\":\"{object}\",\"created\":{},\"model\":{},\"service_tier\":\"default\",\
         \"system_fingerprint\":\"fp_synthetic\"",
        claim.id,
        1_750_000_000 + asked.seed % 10_000_000,
        quote(&claim.model)
    )
}

fn whole(asked: &Asked, knobs: &Knobs) -> Answer {
    let text_bytes = knobs.bytes.map_or(80 + asked.seed as usize % 400, |b| b.saturating_sub(540).max(1));
    let prose = Prose { events: 1, text_bytes, seed: asked.seed, stamp: false };
    let text = asked.structured.clone().unwrap_or_else(|| prose.all());
    let claim = claim(asked, text.len() as u64);
    let content = if asked.tools.is_empty() { quote(&text) } else { "null".to_owned() };
    let body = format!(
        "{},\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":{content},\"refusal\":null,\
         \"annotations\":[]{}}},\"logprobs\":null,\"finish_reason\":\"{}\"}}],\"usage\":{}}}",
        frame(asked, &claim, "chat.completion"),
        tool_calls(&claim.tools),
        claim.stop,
        usage(&claim)
    );
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    Answer { status: 200, headers, body: Content::Whole(body.into_bytes()), claim }
}

fn tool_calls(tools: &[ToolCall]) -> String {
    if tools.is_empty() {
        return String::new();
    }
    let calls: Vec<String> = tools
        .iter()
        .map(|t| {
            format!(
                "{{\"id\":\"{}\",\"type\":\"function\",\"function\":{{\"name\":{},\"arguments\":{}}}}}",
                t.id,
                quote(&t.name),
                quote(&t.arguments)
            )
        })
        .collect();
    format!(",\"tool_calls\":[{}]", calls.join(","))
}

fn stream(asked: &Asked, knobs: &Knobs) -> Answer {
    let head = claim(asked, 0);
    let frame = frame(asked, &head, "chat.completion.chunk");
    let usage_null = if asked.include_usage { ",\"usage\":null" } else { "" };
    let chunk = |delta: &str, finish: &str| {
        format!(
            "data: {frame},\"choices\":[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\
             \"finish_reason\":{finish}}}]{usage_null}}}\n\n"
        )
        .into_bytes()
    };
    let prefix = format!("data: {frame},\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"");
    let suffix = format!("\"}},\"logprobs\":null,\"finish_reason\":null}}]{usage_null}}}\n\n");
    let fixed = prefix.len() + suffix.len();
    let text_bytes =
        knobs.bytes.map_or(6 + mix(asked.seed ^ 3) as usize % 30, |b| b.saturating_sub(fixed).max(1));
    // An answer that calls tools says nothing besides, and one held to a schema says only that.
    let spoken = asked.structured.is_none() && asked.tools.is_empty();
    let deltas = if spoken { knobs.events.unwrap_or(4 + mix(asked.seed ^ 4) % 36) } else { 0 };
    let said = asked.structured.as_ref().map_or(deltas * text_bytes as u64, |s| s.len() as u64);
    let mut claim = claim(asked, said);

    let mut opening = vec![chunk("{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}", "null")];
    for part in asked.structured.iter().flat_map(|text| fragments(text, asked.seed)).skip(1) {
        let mut escaped = String::new();
        escape(part, &mut escaped);
        opening.push(chunk(&format!("{{\"content\":\"{escaped}\"}}"), "null"));
    }
    let mut closing = Vec::new();
    for (n, tool) in asked.tools.iter().enumerate() {
        closing.extend(tool_fragments(n, tool, asked.seed).iter().map(|delta| chunk(delta, "null")));
    }
    closing.push(chunk("{}", &format!("\"{}\"", claim.stop)));
    if asked.include_usage {
        closing.push(format!("data: {frame},\"choices\":[],\"usage\":{}}}\n\n", usage(&claim)).into_bytes());
    }
    closing.push(b"data: [DONE]\n\n".to_vec());

    let mut prose = Prose { events: deltas, text_bytes, seed: asked.seed, stamp: knobs.stamp };
    if let Some(Fault::Error(after)) = knobs.fault {
        prose.events = after.saturating_sub(opening.len() as u64).min(prose.events);
        closing = vec![
            b"data: {\"error\":{\"message\":\"The server had an error\",\"type\":\"server_error\",\
            \"param\":null,\"code\":null}}\n\n"
                .to_vec(),
        ];
        claim = Claim { usage_sent: false, stop: "", tools: Vec::new(), ..claim };
    }
    let events = Events {
        opening,
        prose,
        prefix: prefix.into_bytes(),
        suffix: suffix.into_bytes(),
        closing,
        said: if spoken { None } else { Some(asked.structured.clone().unwrap_or_default()) },
    };
    let headers = vec![("content-type".to_owned(), "text/event-stream; charset=utf-8".to_owned())];
    Answer { status: 200, headers, body: Content::Events(events), claim }
}

/// The first fragment names the call, the others only add to its arguments.
fn tool_fragments(index: usize, tool: &ToolCall, seed: u64) -> Vec<String> {
    let parts = fragments(&tool.arguments, seed);
    let first = format!(
        "{{\"tool_calls\":[{{\"index\":{index},\"id\":\"{}\",\"type\":\"function\",\
         \"function\":{{\"name\":{},\"arguments\":\"\"}}}}]}}",
        tool.id,
        quote(&tool.name)
    );
    let rest = parts[1..].iter().map(|part| {
        format!("{{\"tool_calls\":[{{\"index\":{index},\"function\":{{\"arguments\":{}}}}}]}}", quote(part))
    });
    std::iter::once(first).chain(rest).collect()
}
