//! Ollama's own language: lines of JSON, streamed unless asked otherwise; the last one says `done`.

use serde_json::{Map, Value};

use super::{Draft, Effect, error_in, raw_text, with_uncached};
use crate::llm::reading::{Reading, ToolUse};
use crate::llm::usage::{Usage, UsageMembers, WireUsage};
use crate::wire::json::Raw;

/// Reads one response.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    pub(crate) draft: Draft,
    /// It is vectors: nothing is generated, which is known.
    embeds: bool,
    usage: Map<String, Value>,
}

/// What of the last line is usage: counts, and times in nanoseconds.
const USAGE: &[&str] = &[
    "prompt_eval_count",
    "eval_count",
    "total_duration",
    "load_duration",
    "prompt_eval_duration",
    "eval_duration",
];

impl Reader {
    /// One line.
    pub(crate) fn event(&mut self, _name: &[u8], data: &[u8]) -> Effect {
        let Some(line) = Raw::whole(data) else { return Effect::Unreadable };
        self.body(line);
        Effect::Read
    }

    pub(crate) fn body(&mut self, body: Raw<'_>) {
        for (key, value) in body.members().filter(|(_, value)| !value.is_null()) {
            match key.written() {
                b"model" => Draft::first(&mut self.draft.model, value),
                b"done" => self.draft.complete |= value.is_true(),
                b"done_reason" => self.draft.stop = value.string(),
                b"error" => self.draft.error = error_in(body),
                b"message" => {
                    let calls = value.at("tool_calls").into_iter().flat_map(Raw::elements);
                    calls.for_each(|call| self.tool(call));
                }
                // Embeddings have no `done`.
                b"embeddings" | b"embedding" => {
                    self.draft.complete = true;
                    self.embeds = true;
                }
                name => {
                    if let Some(name) = USAGE.iter().find(|known| known.as_bytes() == name) {
                        self.usage.insert((*name).into(), value.value().unwrap_or_default());
                    }
                }
            }
        }
    }

    pub(crate) fn finish(self) -> Reading {
        let mut reading = self.draft.reading();
        if !self.usage.is_empty() {
            let written = WireUsage::made(&Value::Object(self.usage));
            reading.usage = written.raw().map(|raw| normal(&UsageMembers::of(raw))).unwrap_or_default();
            reading.wire_usage = Some(written);
        }
        if self.embeds && reading.usage.input_tokens.is_some() {
            reading.usage.output_tokens.get_or_insert(0);
        }
        reading
    }

    fn tool(&mut self, call: Raw<'_>) {
        let function = call.at("function");
        let name = function.and_then(|function| function.at("name")?.string());
        self.draft.tools.push(ToolUse {
            name: name.unwrap_or_default(),
            id: call.at("id").and_then(Raw::string).unwrap_or_default(),
            kind: "function".into(),
            arguments: function
                .and_then(|function| function.at("arguments"))
                .map(raw_text)
                .unwrap_or_default(),
            server_name: None,
        });
    }
}

/// The normal form. A prompt that was in the cache is not counted at all: unknown, not zero.
fn normal(usage: &UsageMembers<'_>) -> Usage {
    let (input, output) = (usage.count("prompt_eval_count"), usage.count("eval_count"));
    if input.is_none() && output.is_none() {
        return Usage::default();
    }
    with_uncached(Usage {
        input_tokens: input,
        output_tokens: output,
        cache_read_tokens: Some(0),
        cache_write_tokens: Some(0),
        reasoning_tokens: Some(0),
        ..Usage::default()
    })
}
