//! API languages: one file each. A closed set, so that adding one makes the compiler list what is missing.
//!
//! Every dialect's reader has the same face: it is given events or one body, says what it learned of each
//! (`Effect`), and fills a `Draft` from which the reading is made at the end.

mod chat;
mod converse;
mod gemini;
mod interactions;
mod invoke;
pub mod listing;
mod messages;
pub mod nearby;
mod ollama;
mod openai;
mod own;
pub mod paths;
mod responses;
mod results;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use paths::Endpoint;

use super::likeness::Unread;
use super::objects;
use super::price::Terms;
use super::reading::{Reading, ToolUse};
use super::usage::{Usage, UsageMembers};
use crate::wire::head::Fields;
use crate::wire::json::{Raw, written_names};

/// The language of a request body and of its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// Anthropic Messages (`/v1/messages`).
    Messages,
    /// OpenAI Chat Completions (`/v1/chat/completions`) and everything compatible with it.
    Chat,
    /// OpenAI Responses (`/v1/responses`).
    Responses,
    /// OpenAI's legacy completions (`/v1/completions`).
    Completions,
    /// OpenAI embeddings.
    Embeddings,
    /// OpenAI images.
    Images,
    /// OpenAI audio: transcription, translation, speech.
    Audio,
    /// OpenAI moderations.
    Moderations,
    /// OpenAI Realtime, over WebSocket.
    Realtime,
    /// Gemini, on its own API and on Vertex.
    Gemini,
    /// Gemini's Interactions.
    Interactions,
    /// Gemini inside Code Assist's wrapper (Gemini CLI with a Google login).
    CodeAssist,
    /// Gemini Live, over WebSocket.
    Live,
    /// Bedrock Converse.
    Converse,
    /// Bedrock InvokeModel.
    Invoke,
    /// Ollama's own.
    Ollama,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: &'static [Dialect] = &[
        Dialect::Messages,
        Dialect::Chat,
        Dialect::Responses,
        Dialect::Completions,
        Dialect::Embeddings,
        Dialect::Images,
        Dialect::Audio,
        Dialect::Moderations,
        Dialect::Realtime,
        Dialect::Gemini,
        Dialect::Interactions,
        Dialect::CodeAssist,
        Dialect::Live,
        Dialect::Converse,
        Dialect::Invoke,
        Dialect::Ollama,
    ];

    /// Name in records, metrics and configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Dialect::Messages => "messages",
            Dialect::Chat => "chat",
            Dialect::Responses => "responses",
            Dialect::Completions => "completions",
            Dialect::Embeddings => "embeddings",
            Dialect::Images => "images",
            Dialect::Audio => "audio",
            Dialect::Moderations => "moderations",
            Dialect::Realtime => "realtime",
            Dialect::Gemini => "gemini",
            Dialect::Interactions => "interactions",
            Dialect::CodeAssist => "code_assist",
            Dialect::Live => "live",
            Dialect::Converse => "converse",
            Dialect::Invoke => "invoke",
            Dialect::Ollama => "ollama",
        }
    }
}

/// What an event did to the reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing, and neither will any event that differs from it only in unread values.
    Silent,
    /// Something, or it might have.
    Read,
    /// It could not be read.
    Unreadable,
}

/// What readers gather while bytes pass.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub(crate) model: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) stop: Option<String>,
    pub(crate) tools: Vec<ToolUse>,
    pub(crate) error: Option<Value>,
    pub(crate) complete: bool,
    pub(crate) terms: Terms,
    /// Containers that the provider has opened: they stay there, and may be named again.
    pub(crate) containers: Vec<String>,
}

impl Draft {
    /// The reading without counts: those are the dialect's to add.
    fn reading(self) -> Reading {
        Reading {
            model: self.model,
            response_id: self.id,
            tool_uses: self.tools,
            stop_reason: self.stop,
            complete: self.complete,
            error: self.error,
            terms: self.terms,
            containers: self.containers,
            ..Reading::default()
        }
    }

    /// Take the text if there is one and it is not empty; the first stays.
    fn first(slot: &mut Option<String>, value: Raw<'_>) {
        if slot.is_none() {
            *slot = value.string().filter(|text| !text.is_empty());
        }
    }

    /// A container is named, once or again.
    fn container(&mut self, id: Option<Raw<'_>>) {
        let id = id.and_then(Raw::string).filter(|id| !id.is_empty() && !self.containers.contains(id));
        self.containers.extend(id);
    }

    /// How many of the tool calls are of this kind, where there is one: counts that some bill by and do not send.
    fn calls_of(&self, is: impl Fn(&ToolUse) -> bool) -> Option<u64> {
        let calls = self.tools.iter().filter(|tool| is(tool)).count();
        (calls > 0).then_some(calls as u64)
    }
}

/// Why each choice or candidate ended, by its index.
#[derive(Debug, Default)]
pub(crate) struct Stops {
    reasons: Vec<Option<String>>,
    /// Bit `n` for choice `n`: it has begun.
    begun: u128,
}

impl Stops {
    /// Choices that are told apart; more than any API allows.
    const CHOICES_MAX: usize = 128;

    /// One of them has begun.
    fn begin(&mut self, index: u64) {
        self.begun |= u32::try_from(index).ok().and_then(|index| 1_u128.checked_shl(index)).unwrap_or(0);
    }

    /// Whether each of those that have begun has ended.
    fn are_all_told(&self) -> bool {
        self.reasons.iter().flatten().count() >= self.begun.count_ones() as usize
    }

    /// The last word on one of them. Some vendors send an empty one until there is a reason.
    fn note(&mut self, index: u64, reason: String) {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        if index < Self::CHOICES_MAX && !reason.is_empty() {
            self.reasons.resize(self.reasons.len().max(index + 1), None);
            self.reasons[index] = Some(reason);
        }
    }

    /// Those that have one, in order.
    fn all(self) -> Vec<String> {
        self.reasons.into_iter().flatten().collect()
    }
}

/// A dialect's reader of one response.
#[derive(Debug)]
pub(crate) enum Reader {
    Messages(messages::Reader),
    Chat(chat::Reader),
    Responses(responses::Reader),
    Openai(openai::Reader),
    Gemini(gemini::Reader),
    Interactions(interactions::Reader),
    Converse(converse::Reader),
    /// Boxed: it holds two others' readers, and Bedrock's JSON languages are the rare ones.
    Invoke(Box<invoke::Reader>),
    Ollama(ollama::Reader),
    /// Boxed: few responses are what a batch has written.
    Results(Box<results::Reader>),
}

/// The same expression for whichever reader it is.
macro_rules! each {
    ($reader:expr, $name:ident => $do:expr) => {
        match $reader {
            Reader::Messages($name) => $do,
            Reader::Chat($name) => $do,
            Reader::Responses($name) => $do,
            Reader::Openai($name) => $do,
            Reader::Gemini($name) => $do,
            Reader::Interactions($name) => $do,
            Reader::Converse($name) => $do,
            Reader::Invoke($name) => $do,
            Reader::Ollama($name) => $do,
            Reader::Results($name) => $do,
        }
    };
}

impl Reader {
    pub(crate) fn new(dialect: Dialect, fields: &Fields) -> Self {
        match dialect {
            Dialect::Messages => Reader::Messages(messages::Reader::default()),
            Dialect::Chat => Reader::Chat(chat::Reader::default()),
            Dialect::Responses | Dialect::Realtime => Reader::Responses(responses::Reader::default()),
            Dialect::Completions
            | Dialect::Embeddings
            | Dialect::Images
            | Dialect::Audio
            | Dialect::Moderations => Reader::Openai(openai::Reader::new(dialect)),
            Dialect::Gemini | Dialect::CodeAssist | Dialect::Live => {
                Reader::Gemini(gemini::Reader::default())
            }
            Dialect::Interactions => Reader::Interactions(interactions::Reader::default()),
            Dialect::Converse => Reader::Converse(converse::Reader::default()),
            Dialect::Invoke => Reader::Invoke(Box::new(invoke::Reader::new(fields))),
            Dialect::Ollama => Reader::Ollama(ollama::Reader::default()),
        }
    }

    /// A reader of an exchange on a socket whose session has that model: what Live says names none.
    pub(crate) fn on_socket(dialect: Dialect, model: Option<&str>) -> Self {
        let mut reader = Reader::new(dialect, &Fields::new());
        if let Reader::Gemini(live) = &mut reader {
            live.session_model = model.map(str::to_owned);
        }
        reader
    }

    /// A reader of what a batch has written, in whichever language each line is.
    pub(crate) fn of_results() -> Self {
        Reader::Results(Box::default())
    }

    /// Keys that events of this dialect carry and nobody reads in a silent one.
    pub(crate) fn unread(&self) -> Unread {
        match self {
            Reader::Messages(_) => messages::UNREAD,
            Reader::Chat(_) | Reader::Openai(_) => chat::UNREAD,
            Reader::Responses(_) => responses::UNREAD,
            Reader::Interactions(_) => interactions::UNREAD,
            Reader::Gemini(_)
            | Reader::Converse(_)
            | Reader::Invoke(_)
            | Reader::Ollama(_)
            | Reader::Results(_) => gemini::UNREAD,
        }
    }

    /// One event of a stream: an SSE event, a binary frame, a line, an element.
    pub(crate) fn event(&mut self, name: &[u8], data: &[u8]) -> Effect {
        let spelt = spelt_out(data);
        let data = spelt.as_deref().unwrap_or(data);
        let effect = each!(self, reader => reader.event(name, data));
        // Proxies in between say in plain text what went wrong.
        if effect == Effect::Unreadable && name == b"error" {
            self.draft_mut().error.get_or_insert_with(|| String::from_utf8_lossy(data).into());
            return Effect::Read;
        }
        effect
    }

    /// Whether an object of the response is in this language; text that is no JSON is in none.
    pub(crate) fn is_own(dialect: Dialect, name: &[u8], data: &[u8]) -> bool {
        Raw::whole(data).is_some_and(|object| own::is_own(dialect, name, object))
    }

    /// The same of a body, which may be cut off.
    pub(crate) fn is_own_body(dialect: Dialect, body: Raw<'_>) -> bool {
        own::is_own(dialect, b"", body)
    }

    /// A frame that says that the stream has failed (Bedrock).
    pub(crate) fn exception(&mut self, kind: &[u8], payload: &[u8]) {
        let payload = Raw::whole(payload).and_then(Raw::value);
        let kind = String::from_utf8_lossy(kind);
        self.draft_mut().error = Some(serde_json::json!({ "exception": kind, "payload": payload }));
    }

    /// A body that is one JSON value.
    pub(crate) fn body(&mut self, body: Raw<'_>) {
        let spelt = spelt_out(body.bytes());
        let body = spelt.as_deref().and_then(Raw::whole).unwrap_or(body);
        each!(self, reader => reader.body(body));
    }

    /// Whether the terminal marker has passed.
    pub(crate) fn saw_terminal(&self) -> bool {
        self.draft().complete
    }

    pub(crate) fn draft(&self) -> &Draft {
        match self {
            Reader::Openai(reader) => &reader.chat.draft,
            Reader::Invoke(reader) => &reader.claude.draft,
            Reader::Messages(reader) => &reader.draft,
            Reader::Chat(reader) => &reader.draft,
            Reader::Responses(reader) => &reader.draft,
            Reader::Gemini(reader) => &reader.draft,
            Reader::Interactions(reader) => &reader.draft,
            Reader::Converse(reader) => &reader.draft,
            Reader::Ollama(reader) => &reader.draft,
            Reader::Results(reader) => &reader.draft,
        }
    }

    pub(crate) fn draft_mut(&mut self) -> &mut Draft {
        match self {
            Reader::Openai(reader) => &mut reader.chat.draft,
            Reader::Invoke(reader) => &mut reader.claude.draft,
            Reader::Messages(reader) => &mut reader.draft,
            Reader::Chat(reader) => &mut reader.draft,
            Reader::Responses(reader) => &mut reader.draft,
            Reader::Gemini(reader) => &mut reader.draft,
            Reader::Interactions(reader) => &mut reader.draft,
            Reader::Converse(reader) => &mut reader.draft,
            Reader::Ollama(reader) => &mut reader.draft,
            Reader::Results(reader) => &mut reader.draft,
        }
    }

    /// The end: everything the response said.
    pub(crate) fn finish(self) -> Reading {
        each!(self, reader => reader.finish())
    }
}

/// The same value without escapes where a name hides behind one: readers compare names as they are written. Nobody is
/// known to write so, but every client would read it. Escapes in texts are common, and such a value stays as it came: its
/// arguments and its usage are kept byte for byte.
fn spelt_out(text: &[u8]) -> Option<Vec<u8>> {
    if !objects::may_hide_a_name(text) || !written_names(text).any(objects::may_hide_a_name) {
        return None;
    }
    Raw::whole(text)?.value().map(|value| value.to_string().into_bytes())
}

/// A value's own text.
pub(crate) fn raw_text(value: Raw<'_>) -> String {
    String::from_utf8_lossy(value.bytes()).into_owned()
}

/// What a counting endpoint says: the input is known, nothing was written or read.
pub(crate) fn counted(input: u64) -> Usage {
    Usage {
        input_tokens: Some(input),
        cache_read_tokens: Some(0),
        cache_write_tokens: Some(0),
        reasoning_tokens: Some(0),
        ..Usage::default()
    }
}

/// The part of the prompt that no cache had a hand in. Providers do report more cached tokens than prompt tokens.
pub(crate) fn with_uncached(usage: Usage) -> Usage {
    let cached = usage.cache_read_tokens.unwrap_or(0).saturating_add(usage.cache_write_tokens.unwrap_or(0));
    Usage { uncached_input_tokens: usage.input_tokens.map(|all| all.saturating_sub(cached)), ..usage }
}

/// What the provider says that it cost: a number of dollars, an object with a total (Perplexity), xAI's ticks of 10⁻¹⁰.
pub(crate) fn reported_cost(usage: &UsageMembers<'_>) -> Option<i64> {
    let dollars = |path: &str| usage.number(path).filter(|cost| (0.0..1e9).contains(cost));
    let cost = dollars("cost").or_else(|| dollars("cost.total_cost"));
    let ticks = || dollars("cost_in_usd_ticks").map(|ticks| ticks / 1e10);
    cost.or_else(ticks).map(|dollars| (dollars * 1e9).round() as i64)
}

/// The error object of a body or event: inside `error`, or, where the status says error, whatever was sent.
pub(crate) fn error_in(value: Raw<'_>) -> Option<Value> {
    // Some proxies wrap it in an array.
    let value = if value.is_array() { value.elements().next()? } else { value };
    value.at("error")?.value()
}
