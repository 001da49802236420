//! Anthropic Messages: JSON and the event stream in the order vendors send it.

use super::asked::fragments;
use super::events::{Events, Framing, Spoken};
use super::{Answer, Asked, Claim};
use crate::http::mix;
use crate::json::quote;
use crate::knobs::{Fault, Knobs};

pub(super) fn answer(asked: &Asked, knobs: &Knobs) -> Answer {
    let mut answer = if asked.stream { stream(asked, knobs) } else { whole(asked, knobs) };
    answer.headers.extend([
        ("request-id".to_owned(), asked.id("req_")),
        ("anthropic-ratelimit-requests-limit".to_owned(), "4000".to_owned()),
        ("anthropic-ratelimit-requests-remaining".to_owned(), "3999".to_owned()),
    ]);
    answer
}

fn stop(asked: &Asked) -> &'static str {
    if asked.tools.is_empty() { "end_turn" } else { "tool_use" }
}

fn usage(claim: &Claim, tokens_out: u64) -> String {
    format!(
        "{{\"input_tokens\":{},\"cache_creation_input_tokens\":{w},\"cache_read_input_tokens\":{},\
         \"cache_creation\":{{\"ephemeral_5m_input_tokens\":{w},\"ephemeral_1h_input_tokens\":0}},\
         \"output_tokens\":{tokens_out},\"service_tier\":\"standard\"}}",
        claim.tokens_in,
        claim.tokens_cache_read,
        w = claim.tokens_cache_write
    )
}

pub(super) fn whole(asked: &Asked, knobs: &Knobs) -> Answer {
    let text = asked.text(knobs, 420);
    let claim = asked.claim(text.len() as u64, stop(asked));
    let mut content = format!("{{\"type\":\"text\",\"text\":{}}}", quote(&text));
    for tool in &asked.tools {
        content.push_str(&format!(
            ",{{\"type\":\"tool_use\",\"id\":\"{}\",\"name\":{},\"input\":{}}}",
            tool.id,
            quote(&tool.name),
            tool.arguments
        ));
    }
    let body = format!(
        "{{\"id\":\"{}\",\"type\":\"message\",\"role\":\"assistant\",\"model\":{},\"content\":[{content}],\
         \"stop_reason\":\"{}\",\"stop_sequence\":null,\"usage\":{}}}",
        claim.id,
        quote(&claim.model),
        claim.stop,
        usage(&claim, claim.tokens_out)
    );
    super::whole(200, "application/json", body.into_bytes(), claim)
}

pub(super) fn stream(asked: &Asked, knobs: &Knobs) -> Answer {
    let broken = matches!(knobs.fault, Some(Fault::Error(_)));
    let prefix = |index: usize| {
        format!(
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":{index},\
             \"delta\":{{\"type\":\"text_delta\",\"text\":\""
        )
    };
    let text_index = usize::from(knobs.thinking);
    let prefix = prefix(text_index);
    // Padding with trailing spaces is what the vendor does against traffic analysis.
    let suffix = format!("\"}}{}}}\n\n", " ".repeat(mix(asked.seed) as usize % 8));
    let spoken = Spoken::new(asked, knobs, prefix.len() + suffix.len(), false);
    let mut claim = asked.claim(spoken.bytes, if broken { "" } else { stop(asked) });
    let start_out = 1 + asked.seed % 8;
    let mut events = Events {
        opening: opening(asked, knobs, &claim, start_out, text_index, &spoken.pieces),
        prose: spoken.prose,
        prefix: prefix.into_bytes(),
        suffix: suffix.into_bytes(),
        numbered: None,
        closing: closing(asked, &claim, text_index),
        said: spoken.said,
        framing: Framing::Plain,
        skip: 0,
    };
    if let Some(Fault::Error(after)) = knobs.fault {
        let error =
            "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}";
        events.fail_after(after, event("error", error));
        claim.tokens_out = start_out;
        claim.tools.clear();
    }
    let mut answer = super::streamed("text/event-stream; charset=utf-8", events, claim);
    answer.headers.push(("cache-control".to_owned(), "no-cache".to_owned()));
    answer
}

fn opening(
    asked: &Asked,
    knobs: &Knobs,
    claim: &Claim,
    start_out: u64,
    text_index: usize,
    pieces: &[String],
) -> Vec<Vec<u8>> {
    let mut events = vec![event(
        "message_start",
        &format!(
            "{{\"type\":\"message_start\",\"message\":{{\"id\":\"{}\",\"type\":\"message\",\"role\":\"assistant\",\
             \"model\":{},\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{}}}}}",
            claim.id,
            quote(&claim.model),
            usage(claim, start_out)
        ),
    )];
    if knobs.thinking {
        events.extend(thinking(asked));
    }
    events.push(block_start(text_index, "{\"type\":\"text\",\"text\":\"\"}"));
    events.push(event("ping", "{\"type\": \"ping\"}"));
    events.extend(
        pieces
            .iter()
            .map(|piece| delta(text_index, &format!("{{\"type\":\"text_delta\",\"text\":\"{piece}\"}}"))),
    );
    events
}

fn thinking(asked: &Asked) -> Vec<Vec<u8>> {
    let thought = super::prose::line(asked.seed, 60);
    let signature = format!("{:016x}{:016x}", mix(asked.seed ^ 5), mix(asked.seed ^ 6)).repeat(8);
    vec![
        block_start(0, "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}"),
        delta(0, &format!("{{\"type\":\"thinking_delta\",\"thinking\":{}}}", quote(&thought))),
        delta(0, &format!("{{\"type\":\"signature_delta\",\"signature\":\"{signature}\"}}")),
        block_stop(0),
    ]
}

fn closing(asked: &Asked, claim: &Claim, text_index: usize) -> Vec<Vec<u8>> {
    let mut events = vec![block_stop(text_index)];
    for (n, tool) in asked.tools.iter().enumerate() {
        let index = text_index + 1 + n;
        let name = quote(&tool.name);
        let block =
            format!("{{\"type\":\"tool_use\",\"id\":\"{}\",\"name\":{name},\"input\":{{}}}}", tool.id);
        events.push(block_start(index, &block));
        for part in fragments(&tool.arguments, asked.seed) {
            let part = quote(part);
            events.push(delta(index, &format!("{{\"type\":\"input_json_delta\",\"partial_json\":{part}}}")));
        }
        events.push(block_stop(index));
    }
    events.push(event(
        "message_delta",
        &format!(
            "{{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"{}\",\"stop_sequence\":null}},\
             \"usage\":{{\"input_tokens\":{},\"cache_creation_input_tokens\":{},\"cache_read_input_tokens\":{},\
             \"output_tokens\":{}}}}}",
            claim.stop, claim.tokens_in, claim.tokens_cache_write, claim.tokens_cache_read, claim.tokens_out
        ),
    ));
    events.push(event("message_stop", "{\"type\":\"message_stop\"}"));
    events
}

fn block_start(index: usize, block: &str) -> Vec<u8> {
    let name = "content_block_start";
    event(name, &format!("{{\"type\":\"{name}\",\"index\":{index},\"content_block\":{block}}}"))
}

fn block_stop(index: usize) -> Vec<u8> {
    event("content_block_stop", &format!("{{\"type\":\"content_block_stop\",\"index\":{index}}}"))
}

fn delta(index: usize, delta: &str) -> Vec<u8> {
    let name = "content_block_delta";
    event(name, &format!("{{\"type\":\"{name}\",\"index\":{index},\"delta\":{delta}}}"))
}

fn event(name: &str, data: &str) -> Vec<u8> {
    format!("event: {name}\ndata: {data}\n\n").into_bytes()
}
