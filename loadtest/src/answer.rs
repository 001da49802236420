//! What the provider says to a request: a pure function of path, body and [`Knobs`], so that a client can rebuild it.
//!
//! Each dialect is a file, with every field the vendors' SDKs insist on. Events of a stream are written on demand from a
//! few templates: a stream of a million events costs no memory. Of Bedrock's model families only Claude is spoken in
//! `invoke`. Images, audio, batches, files and Realtime are not served.

mod api;
mod asked;
mod chat;
mod completions;
mod converse;
mod embeddings;
mod errors;
mod events;
mod gemini;
mod invoke;
mod lists;
mod messages;
mod moderations;
mod ollama;
mod prose;
mod responses;
mod token;

use crate::http::Head;
use crate::json::Value;
use crate::knobs::{Fault, Knobs};
use api::{Api, Call, Dialect};
use asked::Asked;
pub use events::Events;

/// One answer, ready to be put on the wire by a [`crate::plan::Plan`] or compared by an [`crate::Expect`].
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Content,
    pub claim: Claim,
    /// The body goes out gzipped, each write flushed.
    pub gzip: bool,
}

#[derive(Debug, Clone)]
pub enum Content {
    Whole(Vec<u8>),
    Events(Events),
}

/// What the answer says about itself on the wire. Token counts are the dialect's own: OpenAI's input includes the
/// cached part, Anthropic's does not; Gemini's output excludes what was thought.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Claim {
    pub dialect: &'static str,
    pub id: String,
    pub model: String,
    pub stream: bool,
    pub tokens_in: u64,
    pub tokens_cache_read: u64,
    pub tokens_cache_write: u64,
    pub tokens_out: u64,
    pub tokens_reasoning: u64,
    /// False where the dialect sends no usage: Chat streams without `include_usage`, errors, other paths.
    pub usage_sent: bool,
    pub stop: &'static str,
    pub tools: Vec<ToolCall>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    /// JSON, exactly as the fragments add up to; of a custom tool plain text.
    pub arguments: String,
    /// Responses: it takes a text instead of arguments.
    pub custom: bool,
}

impl Claim {
    /// All of the input, cached or not, whatever the dialect counts beside it.
    pub fn input_total(&self) -> u64 {
        let beside = matches!(self.dialect, "messages" | "converse" | "invoke");
        self.tokens_in + if beside { self.tokens_cache_read + self.tokens_cache_write } else { 0 }
    }

    /// All of the output, thoughts too.
    pub fn output_total(&self) -> u64 {
        self.tokens_out + if self.dialect == "gemini" { self.tokens_reasoning } else { 0 }
    }
}

impl Answer {
    /// The answer to a request as it arrived: its knobs, its encoding, and whether its credentials hold.
    pub fn to(head: &Head, body: &[u8], knobs: &Knobs) -> Answer {
        match errors::refusal(head, body) {
            Some(refusal) if !knobs.blind => refusal,
            _ => Answer::new(head.method(), head.target(), body, knobs),
        }
    }

    pub fn new(method: &str, target: &str, body: &[u8], knobs: &Knobs) -> Answer {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut answer = match (knobs.fault, Api::of(method, path, query)) {
            (Some(Fault::Status(status)), _) => errors::error(status, path, body, knobs),
            (_, None) if method == "HEAD" => empty(),
            (_, None) => errors::error(404, path, body, knobs),
            (_, Some(api)) => {
                answer(&api, body, knobs).unwrap_or_else(|| errors::error(400, path, body, knobs))
            }
        };
        answer.gzip = knobs.gzip;
        answer
    }

    /// The text of the answer as a client would assemble it, without stamps' digits.
    pub fn text(&self) -> String {
        match &self.body {
            Content::Events(events) => events.text(),
            Content::Whole(body) => Value::parse(body).and_then(|value| said(&value)).unwrap_or_default(),
        }
    }
}

/// `None` if the body is not what the endpoint takes.
fn answer(api: &Api, body: &[u8], knobs: &Knobs) -> Option<Answer> {
    match &api.call {
        Call::Models => return Some(lists::models(api.dialect)),
        Call::Retrieve(id) => return responses::retrieved(id, api, knobs),
        Call::Token => return token::answer(body),
        Call::Generate | Call::Count | Call::Compact => {}
    }
    let asked = Asked::read(api, body, knobs)?;
    if api.call == Call::Count {
        return Some(lists::count(&asked));
    }
    Some(match api.dialect {
        Dialect::Messages => messages::answer(&asked, knobs),
        Dialect::Chat => chat::answer(&asked, knobs),
        Dialect::Completions => completions::answer(&asked, knobs),
        Dialect::Responses if api.call == Call::Compact => responses::compacted(&asked),
        Dialect::Responses => responses::answer(&asked, knobs),
        Dialect::Gemini => gemini::answer(&asked, knobs),
        Dialect::Converse => converse::answer(&asked, knobs),
        Dialect::Invoke => invoke::answer(&asked, knobs),
        Dialect::Ollama => ollama::answer(&asked, knobs),
        Dialect::Embeddings | Dialect::OllamaEmbed | Dialect::GeminiEmbed => embeddings::answer(&asked),
        Dialect::Moderations => moderations::answer(&asked),
    })
}

/// The text in a whole answer, wherever its dialect has it.
fn said(value: &Value) -> Option<String> {
    let first = |value: &Value, name: &str| value.field(name).and_then(|list| list.items().first().cloned());
    let text_in =
        |blocks: &Value| blocks.items().iter().find_map(|b| b.field("text")?.text().map(str::to_owned));
    if let Some(choice) = first(value, "choices") {
        return choice.path(&["message", "content"]).or(choice.field("text"))?.text().map(str::to_owned);
    }
    if let Some(candidate) = first(value, "candidates") {
        return text_in(candidate.path(&["content", "parts"])?);
    }
    if let Some(output) = value.field("output").filter(|output| !output.items().is_empty()) {
        return output.items().iter().find_map(|item| text_in(item.field("content")?));
    }
    let blocks = value.field("content").or(value.path(&["output", "message", "content"]));
    let plain = value.path(&["message", "content"]).or(value.field("response"));
    blocks.and_then(text_in).or(plain.and_then(Value::text).map(str::to_owned))
}

fn json(status: u16, body: String) -> Answer {
    whole(status, "application/json", body.into_bytes(), Claim::default())
}

fn empty() -> Answer {
    Answer { headers: Vec::new(), ..whole(200, "", Vec::new(), Claim::default()) }
}

fn whole(status: u16, kind: &str, body: Vec<u8>, claim: Claim) -> Answer {
    let headers = vec![("content-type".to_owned(), kind.to_owned())];
    Answer { status, headers, body: Content::Whole(body), claim, gzip: false }
}

fn streamed(kind: &str, events: Events, claim: Claim) -> Answer {
    let headers = vec![("content-type".to_owned(), kind.to_owned())];
    Answer { status: 200, headers, body: Content::Events(events), claim, gzip: false }
}

#[cfg(test)]
mod tests;
