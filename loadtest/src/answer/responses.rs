//! OpenAI Responses over HTTP: JSON, the numbered event stream, answers made in the background, compaction.
//!
//! An answer's id holds what its text is made from, so that it can be retrieved, or its stream fetched anew from any
//! event, without a memory. A retrieved answer has words only, no calls.

use super::api::{Api, Dialect};
use super::asked::fragments;
use super::events::{Events, Framing, Spoken};
use super::{Answer, Asked, Claim, ToolCall};
use crate::http::mix;
use crate::json::quote;
use crate::knobs::{Fault, Knobs};

/// Events at the end of a stream repeat its text; past this they leave it out.
const REPEATED_BYTES_MAX: u64 = 4 << 20;
/// Thoughts that a thinking answer claims.
const REASONING_TOKENS: u64 = 64;

pub(super) fn answer(asked: &Asked, knobs: &Knobs) -> Answer {
    let mut answer = match (asked.stream, asked.background) {
        (true, _) => stream(asked, knobs),
        (false, true) => unfinished(asked, "queued"),
        (false, false) => whole(asked, knobs),
    };
    answer.headers.extend([
        ("x-request-id".to_owned(), asked.id("req_")),
        ("openai-processing-ms".to_owned(), (asked.seed % 900 + 50).to_string()),
    ]);
    answer
}

/// `None` for an id that is none of ours.
pub(super) fn retrieved(id: &str, api: &Api, knobs: &Knobs) -> Option<Answer> {
    let asked = asked_by(id, api)?;
    // Cancelling is a POST: its path says nothing of streams.
    if api.stream.is_none() {
        return Some(unfinished(&asked, "cancelled"));
    }
    let mut answer = answer(&asked, knobs);
    if let super::Content::Events(events) = &mut answer.body {
        events.skip = api.after.map_or(0, |seen| seen.saturating_add(1)).min(events.count());
    }
    Some(answer)
}

pub(super) fn compacted(asked: &Asked) -> Answer {
    let claim = Claim { id: asked.id("resp_"), stream: false, tools: Vec::new(), ..asked.claim(400, "") };
    let item = asked.id("cmp_");
    let sealed = format!("{:016x}", mix(asked.seed ^ 7)).repeat(8);
    let body = format!(
        "{{\"id\":\"{}\",\"object\":\"response.compaction\",\"created_at\":{},\"output\":[{{\"id\":\"{item}\",\
         \"type\":\"compaction\",\"encrypted_content\":\"{sealed}\"}}],\"usage\":{}}}",
        claim.id,
        asked.date(),
        usage(&claim)
    );
    super::whole(200, "application/json", body.into_bytes(), claim)
}

fn id(asked: &Asked) -> String {
    let model: String = asked.model.bytes().take(48).map(|b| format!("{b:02x}")).collect();
    format!("resp_{:016x}{:08x}{:08x}{model}", asked.seed, asked.tokens_in, asked.tokens_seen)
}

fn asked_by(id: &str, api: &Api) -> Option<Asked> {
    let digits =
        id.strip_prefix("resp_").filter(|d| d.len() >= 32 && d.bytes().all(|b| b.is_ascii_hexdigit()))?;
    let number = |from: usize, to: usize| u64::from_str_radix(digits.get(from..to)?, 16).ok();
    let model = digits.as_bytes()[32..].chunks_exact(2);
    let model = model.filter_map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok()).collect();
    let (tokens_in, tokens_seen) = (number(16, 24)?, number(24, 32)?);
    let blind = Knobs { blind: true, seed: number(0, 16), ..Knobs::default() };
    Some(Asked {
        model: String::from_utf8(model).ok()?,
        tokens_in,
        tokens_seen: tokens_seen.min(tokens_in),
        ..Asked::read(&Api { dialect: Dialect::Responses, ..api.clone() }, b"", &blind)?
    })
}

fn claim(asked: &Asked, knobs: &Knobs, text_bytes: u64) -> Claim {
    let reasoning = if knobs.thinking { REASONING_TOKENS } else { 0 };
    let claim = asked.claim(text_bytes, "completed");
    Claim { id: id(asked), tokens_out: claim.tokens_out + reasoning, tokens_reasoning: reasoning, ..claim }
}

fn usage(claim: &Claim) -> String {
    format!(
        "{{\"input_tokens\":{},\"input_tokens_details\":{{\"cached_tokens\":{}}},\"output_tokens\":{},\
         \"output_tokens_details\":{{\"reasoning_tokens\":{}}},\"total_tokens\":{}}}",
        claim.tokens_in,
        claim.tokens_cache_read,
        claim.tokens_out,
        claim.tokens_reasoning,
        claim.tokens_in + claim.tokens_out
    )
}

/// The whole object, as it stands alone and inside events.
fn object(asked: &Asked, claim: &Claim, status: &str, output: &str, usage: &str) -> String {
    format!(
        "{{\"id\":\"{}\",\"object\":\"response\",\"created_at\":{},\"status\":\"{status}\",\"background\":{},\
         \"error\":null,\"incomplete_details\":null,\"instructions\":null,\"max_output_tokens\":null,\"model\":{},\
         \"output\":[{output}],\"parallel_tool_calls\":true,\"previous_response_id\":null,\"reasoning\":\
         {{\"effort\":null,\"summary\":null}},\"service_tier\":\"default\",\"store\":true,\"temperature\":1.0,\
         \"text\":{{\"format\":{{\"type\":\"text\"}}}},\"tool_choice\":\"auto\",\"tools\":[],\"top_p\":1.0,\
         \"truncation\":\"disabled\",\"usage\":{usage},\"user\":null,\"metadata\":{{}}}}",
        claim.id,
        asked.date(),
        asked.background,
        quote(&claim.model)
    )
}

/// Nothing to show yet, or any more.
fn unfinished(asked: &Asked, status: &str) -> Answer {
    let claim = Claim { id: id(asked), usage_sent: false, stop: "", tools: Vec::new(), ..asked.claim(0, "") };
    let body = object(asked, &claim, status, "", "null");
    super::whole(200, "application/json", body.into_bytes(), claim)
}

fn whole(asked: &Asked, knobs: &Knobs) -> Answer {
    let text = if asked.tools.is_empty() { asked.text(knobs, 900) } else { String::new() };
    let claim = claim(asked, knobs, text.len() as u64);
    let mut items = Vec::new();
    if knobs.thinking {
        items.push(reasoning(asked));
    }
    if asked.tools.is_empty() {
        items.push(message(asked, "completed", &part(&quote(&text))));
    }
    items.extend(claim.tools.iter().map(|tool| call(tool, "completed", &quote(&tool.arguments))));
    let body = object(asked, &claim, "completed", &items.join(","), &usage(&claim));
    super::whole(200, "application/json", body.into_bytes(), claim)
}

fn reasoning(asked: &Asked) -> String {
    let thought = quote(&super::prose::line(asked.seed, 60));
    format!(
        "{{\"id\":\"{}\",\"type\":\"reasoning\",\"summary\":[{{\"type\":\"summary_text\",\"text\":{thought}}}]}}",
        asked.id("rs_")
    )
}

fn message(asked: &Asked, status: &str, content: &str) -> String {
    format!(
        "{{\"id\":\"{}\",\"type\":\"message\",\"status\":\"{status}\",\"content\":[{content}],\"role\":\"assistant\"}}",
        asked.id("msg_")
    )
}

fn part(quoted: &str) -> String {
    format!("{{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":{quoted}}}")
}

fn call(tool: &ToolCall, status: &str, arguments: &str) -> String {
    let (kind, name) =
        if tool.custom { ("custom_tool_call", "input") } else { ("function_call", "arguments") };
    format!(
        "{{\"id\":\"{}\",\"type\":\"{kind}\",\"status\":\"{status}\",\"{name}\":{arguments},\
         \"call_id\":\"{}\",\"name\":{}}}",
        item_of(tool),
        tool.id,
        quote(&tool.name)
    )
}

fn item_of(tool: &ToolCall) -> String {
    tool.id.replacen("call_", if tool.custom { "ctc_" } else { "fc_" }, 1)
}

/// Events in the making: each has its number.
struct Script {
    events: Vec<Vec<u8>>,
    next: u64,
}

impl Script {
    fn push(&mut self, kind: &str, fields: &str) {
        self.events.push(event(kind, fields, self.next));
        self.next += 1;
    }
}

fn event(kind: &str, fields: &str, number: u64) -> Vec<u8> {
    format!("event: {kind}\ndata: {{\"type\":\"{kind}\",{fields},\"sequence_number\":{number}}}\n\n")
        .into_bytes()
}

fn stream(asked: &Asked, knobs: &Knobs) -> Answer {
    let first = usize::from(knobs.thinking);
    let place = format!("\"item_id\":\"{}\",\"output_index\":{first},\"content_index\":0", asked.id("msg_"));
    let kind = "response.output_text.delta";
    let prefix = format!("event: {kind}\ndata: {{\"type\":\"{kind}\",{place},\"logprobs\":[],\"delta\":\"");
    let suffix = "\",\"sequence_number\":".to_owned();
    // With an answer that calls tools there are no words.
    let silent = !asked.tools.is_empty();
    let spoken = Spoken::new(asked, knobs, prefix.len() + suffix.len() + 8, silent);
    let mut claim = claim(asked, knobs, spoken.bytes);

    let mut opening = Script { events: Vec::new(), next: 0 };
    for status in ["created", "in_progress"] {
        let object = object(asked, &claim, "in_progress", "", "null");
        opening.push(&format!("response.{status}"), &format!("\"response\":{object}"));
    }
    if knobs.thinking {
        think(asked, &mut opening);
    }
    if !silent {
        let item = message(asked, "in_progress", "");
        opening.push("response.output_item.added", &format!("\"output_index\":{first},\"item\":{item}"));
        opening.push("response.content_part.added", &format!("{place},\"part\":{}", part("\"\"")));
    }
    for piece in &spoken.pieces {
        opening.push(kind, &format!("{place},\"logprobs\":[],\"delta\":\"{piece}\""));
    }
    let mut events = Events {
        numbered: Some((opening.next, b"}\n\n".to_vec())),
        opening: opening.events,
        prose: spoken.prose,
        prefix: prefix.into_bytes(),
        suffix: suffix.into_bytes(),
        closing: Vec::new(),
        said: spoken.said,
        framing: Framing::Plain,
        skip: 0,
    };
    if let Some(Fault::Error(after)) = knobs.fault {
        events.fail_after(after, Vec::new());
        let error = "\"code\":\"server_error\",\"message\":\"The server had an error\",\"param\":null";
        events.closing = vec![event("error", error, events.count() - 1)];
        claim = Claim { usage_sent: false, stop: "", tools: Vec::new(), ..claim };
    } else {
        let said = if spoken.bytes > REPEATED_BYTES_MAX { String::new() } else { events.text() };
        events.closing = closing(asked, knobs, &claim, &place, &said, events.count());
    }
    super::streamed("text/event-stream; charset=utf-8", events, claim)
}

fn think(asked: &Asked, script: &mut Script) {
    let (id, thought) = (asked.id("rs_"), quote(&super::prose::line(asked.seed, 60)));
    let place = format!("\"item_id\":\"{id}\",\"output_index\":0,\"summary_index\":0");
    let part = |text: &str| format!("{place},\"part\":{{\"type\":\"summary_text\",\"text\":{text}}}");
    let empty =
        format!("\"output_index\":0,\"item\":{{\"id\":\"{id}\",\"type\":\"reasoning\",\"summary\":[]}}");
    script.push("response.output_item.added", &empty);
    script.push("response.reasoning_summary_part.added", &part("\"\""));
    script.push("response.reasoning_summary_text.delta", &format!("{place},\"delta\":{thought}"));
    script.push("response.reasoning_summary_text.done", &format!("{place},\"text\":{thought}"));
    script.push("response.reasoning_summary_part.done", &part(&thought));
    script.push("response.output_item.done", &format!("\"output_index\":0,\"item\":{}", reasoning(asked)));
}

/// What follows the text: it once more, the calls, and everything once more.
fn closing(asked: &Asked, knobs: &Knobs, claim: &Claim, place: &str, said: &str, next: u64) -> Vec<Vec<u8>> {
    let mut script = Script { events: Vec::new(), next };
    let first = usize::from(knobs.thinking);
    let mut items: Vec<String> = if knobs.thinking { vec![reasoning(asked)] } else { Vec::new() };
    if asked.tools.is_empty() {
        let (text, part) = (quote(said), part(&quote(said)));
        let item = message(asked, "completed", &part);
        script.push("response.output_text.done", &format!("{place},\"logprobs\":[],\"text\":{text}"));
        script.push("response.content_part.done", &format!("{place},\"part\":{part}"));
        script.push("response.output_item.done", &format!("\"output_index\":{first},\"item\":{item}"));
        items.push(item);
    }
    for (n, tool) in claim.tools.iter().enumerate() {
        let index = format!("\"output_index\":{}", first + n);
        let (kind, name) = match tool.custom {
            true => ("custom_tool_call_input", "input"),
            false => ("function_call_arguments", "arguments"),
        };
        let item = format!("\"item_id\":\"{}\",{index}", item_of(tool));
        script.push(
            "response.output_item.added",
            &format!("{index},\"item\":{}", call(tool, "in_progress", "\"\"")),
        );
        for part in fragments(&tool.arguments, asked.seed).into_iter().skip(1) {
            script.push(&format!("response.{kind}.delta"), &format!("{item},\"delta\":{}", quote(part)));
        }
        let arguments = quote(&tool.arguments);
        script.push(&format!("response.{kind}.done"), &format!("{item},\"{name}\":{arguments}"));
        items.push(call(tool, "completed", &arguments));
        script.push("response.output_item.done", &format!("{index},\"item\":{}", items[items.len() - 1]));
    }
    let whole = object(asked, claim, "completed", &items.join(","), &usage(claim));
    script.push("response.completed", &format!("\"response\":{whole}"));
    script.events
}
