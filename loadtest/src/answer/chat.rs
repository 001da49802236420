//! OpenAI Chat Completions: JSON, and the stream with and without `include_usage`.

use super::asked::fragments;
use super::events::{Events, Framing, Spoken};
use super::{Answer, Asked, Claim, ToolCall};
use crate::json::quote;
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
    let stop = if asked.tools.is_empty() { "stop" } else { "tool_calls" };
    Claim { usage_sent: !asked.stream || asked.include_usage, ..asked.claim(text_bytes, stop) }
}

pub(super) fn usage(claim: &Claim) -> String {
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
pub(super) fn frame(asked: &Asked, claim: &Claim, object: &str) -> String {
    format!(
        "{{\"id\":\"{}\",\"object\":\"{object}\",\"created\":{},\"model\":{},\"service_tier\":\"default\",\
         \"system_fingerprint\":\"fp_synthetic\"",
        claim.id,
        asked.date(),
        quote(&claim.model)
    )
}

fn whole(asked: &Asked, knobs: &Knobs) -> Answer {
    let text = asked.text(knobs, 540);
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
    super::whole(200, "application/json", body.into_bytes(), claim)
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
    // An answer that calls tools says nothing besides, and one held to a schema says only that.
    let spoken = Spoken::new(asked, knobs, prefix.len() + suffix.len(), !asked.tools.is_empty());
    let mut claim = claim(asked, spoken.bytes);

    let mut opening = vec![chunk("{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}", "null")];
    opening.extend(spoken.pieces.iter().map(|piece| chunk(&format!("{{\"content\":\"{piece}\"}}"), "null")));
    let mut closing = Vec::new();
    for (n, tool) in asked.tools.iter().enumerate() {
        closing.extend(tool_fragments(n, tool, asked.seed).iter().map(|delta| chunk(delta, "null")));
    }
    closing.push(chunk("{}", &format!("\"{}\"", claim.stop)));
    if asked.include_usage {
        closing.push(format!("data: {frame},\"choices\":[],\"usage\":{}}}\n\n", usage(&claim)).into_bytes());
    }
    closing.push(b"data: [DONE]\n\n".to_vec());

    let mut events = Events {
        opening,
        prose: spoken.prose,
        prefix: prefix.into_bytes(),
        suffix: suffix.into_bytes(),
        numbered: None,
        closing,
        said: spoken.said,
        framing: Framing::Plain,
        skip: 0,
    };
    if let Some(Fault::Error(after)) = knobs.fault {
        events.fail_after(after, ERROR.to_vec());
        claim = Claim { usage_sent: false, stop: "", tools: Vec::new(), ..claim };
    }
    super::streamed("text/event-stream; charset=utf-8", events, claim)
}

/// As it stands inside a stream of this dialect and of the older one.
pub(super) const ERROR: &[u8] =
    b"data: {\"error\":{\"message\":\"The server had an error\",\"type\":\"server_error\",\
    \"param\":null,\"code\":null}}\n\n";

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
