//! Gemini `generateContent` and `streamGenerateContent`, on its own API and under Vertex: JSON, server-sent events with
//! CRLF, or one JSON array that grows.

use super::events::{Events, Framing, Spoken};
use super::{Answer, Asked, Claim, ToolCall};
use crate::http::mix;
use crate::json::quote;
use crate::knobs::{Fault, Knobs};

/// Thoughts that a thinking answer claims: counted beside the candidates.
const THOUGHT_TOKENS: u64 = 64;

pub(super) fn answer(asked: &Asked, knobs: &Knobs) -> Answer {
    if asked.stream { stream(asked, knobs) } else { whole(asked, knobs) }
}

fn claim(asked: &Asked, knobs: &Knobs, text_bytes: u64) -> Claim {
    Claim {
        id: asked.id(""),
        tokens_reasoning: if knobs.thinking { THOUGHT_TOKENS } else { 0 },
        // It stops so for calls as well.
        ..asked.claim(text_bytes, "STOP")
    }
}

fn usage(claim: &Claim) -> String {
    let zero_is_absent =
        |name: &str, count: u64| if count == 0 { String::new() } else { format!("\"{name}\":{count},") };
    format!(
        "{{\"promptTokenCount\":{},\"candidatesTokenCount\":{},{}{}\"totalTokenCount\":{},\"promptTokensDetails\":\
         [{{\"modality\":\"TEXT\",\"tokenCount\":{}}}]}}",
        claim.tokens_in,
        claim.tokens_out,
        zero_is_absent("cachedContentTokenCount", claim.tokens_cache_read),
        zero_is_absent("thoughtsTokenCount", claim.tokens_reasoning),
        claim.tokens_in + claim.tokens_out + claim.tokens_reasoning,
        claim.tokens_in
    )
}

fn thought(asked: &Asked) -> String {
    format!("{{\"text\":{},\"thought\":true}}", quote(&super::prose::line(asked.seed, 60)))
}

fn call(tool: &ToolCall, asked: &Asked) -> String {
    let signature = format!("{:016x}", mix(asked.seed ^ 5)).repeat(4);
    format!(
        "{{\"functionCall\":{{\"name\":{},\"args\":{},\"id\":\"{}\"}},\"thoughtSignature\":\"{signature}\"}}",
        quote(&tool.name),
        tool.arguments,
        tool.id
    )
}

/// What follows the parts of a candidate.
fn rest(claim: &Claim, finish: &str, usage: &str) -> String {
    format!(
        "],\"role\":\"model\"}},{finish}\"index\":0}}],\"usageMetadata\":{usage},\"modelVersion\":{},\"responseId\":\"{}\"}}",
        quote(&claim.model),
        claim.id
    )
}

const PARTS: &str = "{\"candidates\":[{\"content\":{\"parts\":[";
const FINISH: &str = "\"finishReason\":\"STOP\",";

fn whole(asked: &Asked, knobs: &Knobs) -> Answer {
    let text = if asked.tools.is_empty() { asked.text(knobs, 420) } else { String::new() };
    let claim = claim(asked, knobs, text.len() as u64);
    let mut parts: Vec<String> = if knobs.thinking { vec![thought(asked)] } else { Vec::new() };
    if asked.tools.is_empty() {
        parts.push(format!("{{\"text\":{}}}", quote(&text)));
    }
    parts.extend(claim.tools.iter().map(|tool| call(tool, asked)));
    let body = format!("{PARTS}{}{}", parts.join(","), rest(&claim, FINISH, &usage(&claim)));
    super::whole(200, "application/json; charset=UTF-8", body.into_bytes(), claim)
}

/// What stands around each object of a stream: the first one's beginning, the others', every end, the last of all.
struct Around {
    first: &'static str,
    begin: &'static str,
    end: &'static str,
    last: &'static str,
}

const SSE: Around = Around { first: "data: ", begin: "data: ", end: "\r\n\r\n", last: "" };
const ARRAY: Around = Around { first: "[", begin: ",\r\n", end: "\n", last: "]" };

fn stream(asked: &Asked, knobs: &Knobs) -> Answer {
    let (around, kind) = match asked.sse {
        true => (SSE, "text/event-stream"),
        false => (ARRAY, "application/json; charset=UTF-8"),
    };
    let silent = !asked.tools.is_empty();
    let before = claim(asked, knobs, 0);
    // On the way only the prompt is counted.
    let early = format!("{{\"promptTokenCount\":{n},\"totalTokenCount\":{n}}}", n = before.tokens_in);
    let prefix = format!("{}{PARTS}{{\"text\":\"", around.begin);
    let suffix = format!("\"}}{}{}", rest(&before, "", &early), around.end);
    let spoken = Spoken::new(asked, knobs, prefix.len() + suffix.len(), silent);
    let mut claim = claim(asked, knobs, spoken.bytes);
    let object = |begin: &str, parts: &str, finish: &str, usage: &str| {
        format!("{begin}{PARTS}{parts}{}{}", rest(&claim, finish, usage), around.end)
    };

    let first = if knobs.thinking { thought(asked) } else { "{\"text\":\"\"}".to_owned() };
    let mut opening = vec![object(around.first, &first, "", &early).into_bytes()];
    opening.extend(spoken.pieces.iter().map(|piece| format!("{prefix}{piece}{suffix}").into_bytes()));
    let calls: Vec<String> = claim.tools.iter().map(|tool| call(tool, asked)).collect();
    let end = if calls.is_empty() { "{\"text\":\"\"}".to_owned() } else { calls.join(",") };
    let mut closing = vec![object(around.begin, &end, FINISH, &usage(&claim)).into_bytes()];
    if !around.last.is_empty() {
        closing.push(around.last.into());
    }
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
        let error = "{\"error\":{\"code\":500,\"message\":\"Internal error\",\"status\":\"INTERNAL\"}}";
        let error = format!("{}{error}{}{}", around.begin, around.end, around.last);
        events.fail_after(after, error.into_bytes());
        // What was counted on the way stays said.
        claim = Claim {
            tokens_out: 0,
            tokens_reasoning: 0,
            tokens_cache_read: 0,
            stop: "",
            tools: Vec::new(),
            ..claim
        };
    }
    super::streamed(kind, events, claim)
}
