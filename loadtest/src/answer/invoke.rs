//! Bedrock InvokeModel and InvokeModelWithResponseStream for the Claude family: the Messages dialect in Bedrock's
//! wrapping, with the counts once more in headers and in the last chunk.

use super::events::{Framing, chunk};
use super::{Answer, Asked, Claim, Content, converse, messages};
use crate::http::find;
use crate::knobs::{Fault, Knobs};

pub(super) fn answer(asked: &Asked, knobs: &Knobs) -> Answer {
    let mut answer = if asked.stream { stream(asked, knobs) } else { messages::whole(asked, knobs) };
    if !asked.stream {
        let claim = &answer.claim;
        let counts = [
            ("x-amzn-bedrock-input-token-count", claim.tokens_in),
            ("x-amzn-bedrock-output-token-count", claim.tokens_out),
            ("x-amzn-bedrock-cache-read-input-token-count", claim.tokens_cache_read),
            ("x-amzn-bedrock-cache-write-input-token-count", claim.tokens_cache_write),
            ("x-amzn-bedrock-invocation-latency", asked.seed % 900 + 50),
        ];
        answer.headers.extend(counts.map(|(name, count)| (name.to_owned(), count.to_string())));
    }
    answer.headers.push(("x-amzn-requestid".to_owned(), asked.id("")));
    answer
}

fn stream(asked: &Asked, knobs: &Knobs) -> Answer {
    let told = messages::stream(asked, knobs);
    let Content::Events(mut events) = told.body else { return told };
    let mut claim = told.claim;
    let wrapped = |json: &[u8]| {
        let mut out = Vec::new();
        chunk(json, &mut out);
        out
    };
    events.opening.iter_mut().for_each(|event| *event = wrapped(data(event)));
    events.prefix = data(&events.prefix).to_vec();
    events.suffix = data(&events.suffix).to_vec();
    events.framing = Framing::Chunk;
    events.prose.stamp = false;
    let last = events.closing.len() - 1;
    for (i, event) in events.closing.iter_mut().enumerate() {
        let mut json = data(event).to_vec();
        if i == last {
            json.truncate(json.len() - 1);
            json.extend_from_slice(metrics(asked, &claim).as_bytes());
        }
        *event = wrapped(&json);
    }
    if matches!(knobs.fault, Some(Fault::Error(_))) {
        events.closing = vec![converse::exception()];
        claim.usage_sent = true;
    }
    let mut answer = super::streamed(converse::EVENT_STREAM, events, claim);
    answer.headers.push(("x-amzn-bedrock-content-type".to_owned(), "application/json".to_owned()));
    answer
}

/// The JSON inside a server-sent event, or its part if that is only a beginning or an end.
fn data(event: &[u8]) -> &[u8] {
    let mark = b"data: ";
    find(event, mark).map_or(event, |at| &event[at + mark.len()..]).trim_ascii_end()
}

fn metrics(asked: &Asked, claim: &Claim) -> String {
    format!(
        ",\"amazon-bedrock-invocationMetrics\":{{\"inputTokenCount\":{},\"outputTokenCount\":{},\
         \"invocationLatency\":{},\"firstByteLatency\":{},\"cacheReadInputTokenCount\":{},\
         \"cacheWriteInputTokenCount\":{}}}}}",
        claim.tokens_in,
        claim.tokens_out,
        asked.seed % 900 + 500,
        asked.seed % 300 + 50,
        claim.tokens_cache_read,
        claim.tokens_cache_write
    )
}
