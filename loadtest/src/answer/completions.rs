//! OpenAI's older completions: a prompt, text, no tools.

use super::events::{Events, Framing, Spoken};
use super::{Answer, Asked, Claim, chat};
use crate::json::quote;
use crate::knobs::{Fault, Knobs};

pub(super) fn answer(asked: &Asked, knobs: &Knobs) -> Answer {
    let mut answer = if asked.stream { stream(asked, knobs) } else { whole(asked, knobs) };
    answer.headers.push(("x-request-id".to_owned(), asked.id("req_")));
    answer
}

fn claim(asked: &Asked, text_bytes: u64) -> Claim {
    Claim {
        usage_sent: !asked.stream || asked.include_usage,
        tools: Vec::new(),
        ..asked.claim(text_bytes, "stop")
    }
}

fn whole(asked: &Asked, knobs: &Knobs) -> Answer {
    let text = asked.text(knobs, 420);
    let claim = claim(asked, text.len() as u64);
    let body = format!(
        "{},\"choices\":[{{\"text\":{},\"index\":0,\"logprobs\":null,\"finish_reason\":\"stop\"}}],\"usage\":{}}}",
        chat::frame(asked, &claim, "text_completion"),
        quote(&text),
        chat::usage(&claim)
    );
    super::whole(200, "application/json", body.into_bytes(), claim)
}

fn stream(asked: &Asked, knobs: &Knobs) -> Answer {
    let frame = chat::frame(asked, &claim(asked, 0), "text_completion");
    let null = if asked.include_usage { ",\"usage\":null" } else { "" };
    let prefix = format!("data: {frame},\"choices\":[{{\"text\":\"");
    let end =
        |finish: &str| format!("\",\"index\":0,\"logprobs\":null,\"finish_reason\":{finish}}}]{null}}}\n\n");
    let suffix = end("null");
    let spoken = Spoken::new(asked, knobs, prefix.len() + suffix.len(), false);
    let mut claim = claim(asked, spoken.bytes);
    let mut closing = vec![format!("{prefix}{}", end("\"stop\"")).into_bytes()];
    if asked.include_usage {
        let usage = chat::usage(&claim);
        closing.push(format!("data: {frame},\"choices\":[],\"usage\":{usage}}}\n\n").into_bytes());
    }
    closing.push(b"data: [DONE]\n\n".to_vec());
    let mut events = Events {
        opening: spoken.pieces.iter().map(|piece| format!("{prefix}{piece}{suffix}").into_bytes()).collect(),
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
        events.fail_after(after, chat::ERROR.to_vec());
        claim = Claim { usage_sent: false, stop: "", ..claim };
    }
    super::streamed("text/event-stream; charset=utf-8", events, claim)
}
