//! Ollama's own `/api/chat` and `/api/generate`: one JSON object, or one a line.

use super::events::{Events, Framing, Spoken};
use super::{Answer, Asked, Claim};
use crate::json::quote;
use crate::knobs::{Fault, Knobs};

const NDJSON: &str = "application/x-ndjson";

pub(super) fn answer(asked: &Asked, knobs: &Knobs) -> Answer {
    if asked.stream { stream(asked, knobs) } else { whole(asked, knobs) }
}

fn claim(asked: &Asked, text_bytes: u64) -> Claim {
    // What was cached is not told.
    Claim { id: String::new(), tokens_cache_read: 0, ..asked.claim(text_bytes, "stop") }
}

/// The fields every object begins with.
fn frame(asked: &Asked) -> String {
    let second = asked.seed % 60;
    format!("{{\"model\":{},\"created_at\":\"2025-06-15T15:06:{second:02}.123456789Z\",", quote(&asked.model))
}

/// The words, up to the quoted text and what follows it.
fn around(asked: &Asked) -> (&'static str, &'static str) {
    if asked.single {
        ("\"response\":", ",")
    } else {
        ("\"message\":{\"role\":\"assistant\",\"content\":", "},")
    }
}

fn end(claim: &Claim) -> String {
    format!(
        "\"done\":true,\"done_reason\":\"{}\",\"total_duration\":4883583458,\"load_duration\":1334875,\
         \"prompt_eval_count\":{},\"prompt_eval_duration\":342546000,\"eval_count\":{},\"eval_duration\":4535599000}}",
        claim.stop, claim.tokens_in, claim.tokens_out
    )
}

/// The calls as they follow the content inside a message.
fn calls(claim: &Claim) -> String {
    if claim.tools.is_empty() {
        return String::new();
    }
    let calls = claim.tools.iter().map(|tool| {
        format!(
            "{{\"id\":\"{}\",\"function\":{{\"name\":{},\"arguments\":{}}}}}",
            tool.id,
            quote(&tool.name),
            tool.arguments
        )
    });
    format!(",\"tool_calls\":[{}]", calls.collect::<Vec<_>>().join(","))
}

fn whole(asked: &Asked, knobs: &Knobs) -> Answer {
    let text = if asked.tools.is_empty() { asked.text(knobs, 360) } else { String::new() };
    let claim = claim(asked, text.len() as u64);
    let (before, after) = around(asked);
    let body = format!("{}{before}{}{}{after}{}", frame(asked), quote(&text), calls(&claim), end(&claim));
    super::whole(200, "application/json; charset=utf-8", body.into_bytes(), claim)
}

fn stream(asked: &Asked, knobs: &Knobs) -> Answer {
    let (frame, (before, after)) = (frame(asked), around(asked));
    let prefix = format!("{frame}{before}\"");
    let suffix = format!("\"{after}\"done\":false}}\n");
    let spoken = Spoken::new(asked, knobs, prefix.len() + suffix.len(), !asked.tools.is_empty());
    let mut claim = claim(asked, spoken.bytes);
    let mut opening = Vec::new();
    if knobs.thinking && !asked.single {
        let thought = quote(&super::prose::line(asked.seed, 60));
        opening.push(
            format!("{frame}{before}\"\",\"thinking\":{thought}{after}\"done\":false}}\n").into_bytes(),
        );
    }
    opening.extend(spoken.pieces.iter().map(|piece| format!("{prefix}{piece}{suffix}").into_bytes()));
    if !claim.tools.is_empty() {
        opening.push(format!("{frame}{before}\"\"{}{after}\"done\":false}}\n", calls(&claim)).into_bytes());
    }
    let mut events = Events {
        opening,
        prose: spoken.prose,
        prefix: prefix.into_bytes(),
        suffix: suffix.into_bytes(),
        numbered: None,
        closing: vec![format!("{frame}{before}\"\"{after}{}\n", end(&claim)).into_bytes()],
        said: spoken.said,
        framing: Framing::Plain,
        skip: 0,
    };
    if let Some(Fault::Error(after)) = knobs.fault {
        events.fail_after(
            after,
            b"{\"error\":\"an error was encountered while running the model\"}\n".to_vec(),
        );
        claim = Claim { usage_sent: false, stop: "", tools: Vec::new(), ..claim };
    }
    super::streamed(NDJSON, events, claim)
}
