//! Bedrock Converse and ConverseStream: JSON, and binary frames whose usage comes after the stop.

use super::asked::fragments;
use super::events::{Events, Framing, Spoken};
use super::{Answer, Asked, Claim};
use crate::frame;
use crate::http::mix;
use crate::json::quote;
use crate::knobs::{Fault, Knobs};

pub(super) const EVENT_STREAM: &str = "application/vnd.amazon.eventstream";

pub(super) fn answer(asked: &Asked, knobs: &Knobs) -> Answer {
    let mut answer = if asked.stream { stream(asked, knobs) } else { whole(asked, knobs) };
    answer.headers.push(("x-amzn-requestid".to_owned(), asked.id("")));
    answer
}

fn stop(asked: &Asked) -> &'static str {
    if asked.tools.is_empty() { "end_turn" } else { "tool_use" }
}

fn usage(claim: &Claim) -> String {
    format!(
        "{{\"cacheReadInputTokens\":{},\"cacheWriteInputTokens\":{},\"inputTokens\":{},\"outputTokens\":{},\
         \"totalTokens\":{}}}",
        claim.tokens_cache_read,
        claim.tokens_cache_write,
        claim.tokens_in,
        claim.tokens_out,
        claim.input_total() + claim.tokens_out
    )
}

fn whole(asked: &Asked, knobs: &Knobs) -> Answer {
    let text = asked.text(knobs, 300);
    let claim = Claim { id: String::new(), ..asked.claim(text.len() as u64, stop(asked)) };
    let mut blocks = Vec::new();
    if knobs.thinking {
        let thought = quote(&super::prose::line(asked.seed, 60));
        let signature = signature(asked);
        blocks.push(format!(
            "{{\"reasoningContent\":{{\"reasoningText\":{{\"signature\":\"{signature}\",\"text\":{thought}}}}}}}"
        ));
    }
    blocks.push(format!("{{\"text\":{}}}", quote(&text)));
    blocks.extend(claim.tools.iter().map(|tool| {
        format!(
            "{{\"toolUse\":{{\"input\":{},\"name\":{},\"toolUseId\":\"{}\"}}}}",
            tool.arguments,
            quote(&tool.name),
            tool.id
        )
    }));
    let body = format!(
        "{{\"metrics\":{{\"latencyMs\":{}}},\"output\":{{\"message\":{{\"content\":[{}],\"role\":\"assistant\"}}}},\
         \"stopReason\":\"{}\",\"usage\":{}}}",
        asked.seed % 900 + 50,
        blocks.join(","),
        claim.stop,
        usage(&claim)
    );
    super::whole(200, "application/json", body.into_bytes(), claim)
}

fn signature(asked: &Asked) -> String {
    format!("{:016x}{:016x}", mix(asked.seed ^ 5), mix(asked.seed ^ 6)).repeat(8)
}

/// One frame; `p` is padding against those who listen to lengths.
fn event(kind: &str, fields: &str) -> Vec<u8> {
    let mut out = Vec::new();
    frame::event(kind, format!("{{{fields},\"p\":\"abcdefgh\"}}").as_bytes(), &mut out);
    out
}

fn delta(index: usize, delta: &str) -> Vec<u8> {
    event("contentBlockDelta", &format!("\"contentBlockIndex\":{index},\"delta\":{{{delta}}}"))
}

fn block_stop(index: usize) -> Vec<u8> {
    event("contentBlockStop", &format!("\"contentBlockIndex\":{index}"))
}

fn stream(asked: &Asked, knobs: &Knobs) -> Answer {
    let text_index = usize::from(knobs.thinking);
    let prefix = format!("{{\"contentBlockIndex\":{text_index},\"delta\":{{\"text\":\"");
    let suffix = "\"},\"p\":\"abcdefgh\"}";
    // Prelude, three headers and two sums.
    let spoken = Spoken::new(asked, knobs, prefix.len() + suffix.len() + 105, false);
    let mut claim = Claim { id: String::new(), ..asked.claim(spoken.bytes, stop(asked)) };
    let mut opening = vec![event("messageStart", "\"role\":\"assistant\"")];
    if knobs.thinking {
        let thought = quote(&super::prose::line(asked.seed, 60));
        opening.push(delta(0, &format!("\"reasoningContent\":{{\"text\":{thought}}}")));
        opening.push(delta(0, &format!("\"reasoningContent\":{{\"signature\":\"{}\"}}", signature(asked))));
        opening.push(block_stop(0));
    }
    opening.extend(spoken.pieces.iter().map(|piece| delta(text_index, &format!("\"text\":\"{piece}\""))));
    let mut events = Events {
        opening,
        prose: spoken.prose,
        prefix: prefix.into_bytes(),
        suffix: suffix.into(),
        numbered: None,
        closing: closing(asked, &claim, text_index),
        said: spoken.said,
        framing: Framing::Frame("contentBlockDelta"),
        skip: 0,
    };
    if let Some(Fault::Error(after)) = knobs.fault {
        events.fail_after(after, exception());
        claim = Claim { usage_sent: false, stop: "", tools: Vec::new(), ..claim };
    }
    super::streamed(EVENT_STREAM, events, claim)
}

/// What an error inside a stream is here.
pub(super) fn exception() -> Vec<u8> {
    let mut out = Vec::new();
    frame::exception("modelStreamErrorException", b"{\"message\":\"The model had an error\"}", &mut out);
    out
}

fn closing(asked: &Asked, claim: &Claim, text_index: usize) -> Vec<Vec<u8>> {
    let mut events = vec![block_stop(text_index)];
    for (n, tool) in claim.tools.iter().enumerate() {
        let index = text_index + 1 + n;
        let named =
            format!("{{\"toolUse\":{{\"name\":{},\"toolUseId\":\"{}\"}}}}", quote(&tool.name), tool.id);
        events.push(event("contentBlockStart", &format!("\"contentBlockIndex\":{index},\"start\":{named}")));
        let parts = fragments(&tool.arguments, asked.seed);
        events.extend(
            parts.into_iter().map(|part| delta(index, &format!("\"toolUse\":{{\"input\":{}}}", quote(part)))),
        );
        events.push(block_stop(index));
    }
    events.push(event("messageStop", &format!("\"stopReason\":\"{}\"", claim.stop)));
    let latency = asked.seed % 900 + 50;
    let metadata = format!("\"metrics\":{{\"latencyMs\":{latency}}},\"usage\":{}", usage(claim));
    events.push(event("metadata", &metadata));
    events
}
