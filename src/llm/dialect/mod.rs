//! API languages: one file each. A closed set, so that adding one makes the compiler list what is missing.
//!
//! Every dialect's reader has the same face: it is given events or one body, says what it learned of each
//! ([`Effect`]), and fills a [`Draft`] from which the reading is made at the end.

mod chat;
mod messages;
pub mod paths;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use paths::Endpoint;

use super::likeness::Unread;
use super::meter::{Reading, ToolUse};
use super::usage::Usage;
use crate::wire::json::Raw;

/// The language of a request body and of its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// Anthropic Messages (`/v1/messages`).
    Messages,
    /// OpenAI Chat Completions (`/v1/chat/completions`) and everything compatible with it.
    Chat,
}

impl Dialect {
    /// Name in records, metrics and configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Dialect::Messages => "messages",
            Dialect::Chat => "chat",
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
            ..Reading::default()
        }
    }

    /// Take the text if there is one and it is not empty; the first stays.
    fn first(slot: &mut Option<String>, value: Raw<'_>) {
        if slot.is_none() {
            *slot = value.string().filter(|text| !text.is_empty());
        }
    }
}

/// A dialect's reader of one response.
#[derive(Debug)]
pub(crate) enum Reader {
    Messages(messages::Reader),
    Chat(chat::Reader),
}

impl Reader {
    pub(crate) fn new(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Messages => Reader::Messages(messages::Reader::default()),
            Dialect::Chat => Reader::Chat(chat::Reader::default()),
        }
    }

    /// Keys that events of this dialect carry and nobody reads in a silent one.
    pub(crate) fn unread(&self) -> Unread {
        match self {
            Reader::Messages(_) => messages::UNREAD,
            Reader::Chat(_) => chat::UNREAD,
        }
    }

    /// One event of a stream.
    pub(crate) fn event(&mut self, name: &[u8], data: &[u8]) -> Effect {
        match self {
            Reader::Messages(reader) => reader.event(name, data),
            Reader::Chat(reader) => reader.event(name, data),
        }
    }

    /// A body that is one JSON value.
    pub(crate) fn body(&mut self, body: Raw<'_>) {
        match self {
            Reader::Messages(reader) => reader.body(body),
            Reader::Chat(reader) => reader.body(body),
        }
    }

    /// Whether the terminal marker has passed.
    pub(crate) fn saw_terminal(&self) -> bool {
        self.draft().complete
    }

    pub(crate) fn draft(&self) -> &Draft {
        match self {
            Reader::Messages(reader) => &reader.draft,
            Reader::Chat(reader) => &reader.draft,
        }
    }

    pub(crate) fn draft_mut(&mut self) -> &mut Draft {
        match self {
            Reader::Messages(reader) => &mut reader.draft,
            Reader::Chat(reader) => &mut reader.draft,
        }
    }

    /// The end: everything the response said.
    pub(crate) fn finish(self) -> Reading {
        match self {
            Reader::Messages(reader) => reader.finish(),
            Reader::Chat(reader) => reader.finish(),
        }
    }
}

/// A count at a dotted path of a usage object; `null`, absent or not a number is unknown.
pub(crate) fn count_at(usage: &Value, path: &str) -> Option<u64> {
    let value = path.split('.').try_fold(usage, |value, key| value.get(key))?;
    match value.as_u64() {
        Some(count) => Some(count),
        None => value.as_f64().filter(|n| *n >= 0.0 && *n < 1e18).map(|n| n as u64),
    }
}

/// The first of several places that has a count.
pub(crate) fn count_in(usage: &Value, paths: &[&str]) -> Option<u64> {
    paths.iter().find_map(|path| count_at(usage, path))
}

/// The part of the prompt that no cache had a hand in. Providers do report more cached tokens than prompt tokens.
pub(crate) fn with_uncached(usage: Usage) -> Usage {
    let cached = usage.cache_read_tokens.unwrap_or(0).saturating_add(usage.cache_write_tokens.unwrap_or(0));
    Usage { uncached_input_tokens: usage.input_tokens.map(|all| all.saturating_sub(cached)), ..usage }
}

/// The error object of a body or event: inside `error`, or, where the status says error, whatever was sent.
pub(crate) fn error_in(value: Raw<'_>) -> Option<Value> {
    // Some proxies wrap it in an array.
    let value = if value.is_array() { value.elements().next()? } else { value };
    value.at("error")?.value()
}
