//! Bedrock InvokeModel: each model family's own language, in JSON or, streamed, wrapped in base64 inside binary frames.
//!
//! Claude's objects are those of [`messages`]; Nova's look like [`converse`]'s; those of OpenAI's open models, and of
//! others after them, are [`chat`]'s. Of the rest only the last object is uniform: `amazon-bedrock-invocationMetrics`.
//! Some bodies have no counts at all, and the response's fields do.

use serde_json::json;

use super::{Draft, Effect, chat, converse, messages, raw_text};
use crate::llm::reading::{Reading, ToolUse};
use crate::llm::usage::{Usage, UsageMembers, WireUsage};
use crate::wire::base64;
use crate::wire::head::Fields;
use crate::wire::json::Raw;

/// Reads one response.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// Claude's events; its draft is everybody's.
    pub(crate) claude: messages::Reader,
    nova: converse::Reader,
    chat: chat::Reader,
    metrics: Option<WireUsage>,
    /// Counts that a family's body has in a form of its own.
    family: Usage,
    family_usage: Option<WireUsage>,
    /// It is vectors: nothing is generated, which is known.
    embeds: bool,
    /// Counts in the response's fields.
    fields: Usage,
    /// Service tier in the response's fields.
    tier: Option<String>,
}

impl Reader {
    pub(crate) fn new(fields: &Fields) -> Self {
        let count = |name: &str| fields.text(name).and_then(|text| text.parse().ok());
        let input = count("x-amzn-bedrock-input-token-count");
        let read = count("x-amzn-bedrock-cache-read-input-token-count");
        let write = count("x-amzn-bedrock-cache-write-input-token-count");
        let tier = fields.text("x-amzn-bedrock-service-tier").map(str::to_owned);
        let cached = read.unwrap_or(0_u64).saturating_add(write.unwrap_or(0));
        let fields = Usage {
            input_tokens: input.map(|n: u64| n.saturating_add(cached)),
            uncached_input_tokens: input,
            output_tokens: count("x-amzn-bedrock-output-token-count"),
            cache_read_tokens: read,
            cache_write_tokens: write,
            ..Usage::default()
        };
        Reader { fields, tier, ..Reader::default() }
    }

    /// A frame's payload: `{"bytes":"…","p":"padding"}`.
    pub(crate) fn event(&mut self, _name: &[u8], data: &[u8]) -> Effect {
        let wrapped = Raw::whole(data).and_then(|payload| payload.at("bytes")?.text());
        let Some(bytes) = wrapped.and_then(|text| base64::decode(text.as_bytes())) else {
            return Effect::Unreadable;
        };
        let Some(object) = Raw::whole(&bytes) else { return Effect::Unreadable };
        if let Some(metrics) = object.at("amazon-bedrock-invocationMetrics") {
            self.metrics = WireUsage::of(metrics);
            self.claude.draft.complete = true;
        }
        if object.at("choices").is_some() {
            self.chat.event(b"", &bytes);
        } else if object.at("type").is_some() {
            return self.claude.event(b"", &bytes);
        }
        // Nova: one member, named like Converse's events.
        let event = object.members().next().filter(|(_, value)| value.is_object());
        if let Some((key, value)) = event {
            self.nova.event(key.written(), value.bytes());
        }
        self.family_object(object);
        Effect::Read
    }

    pub(crate) fn body(&mut self, body: Raw<'_>) {
        // Claude's first API had completions.
        if body.at("content").or_else(|| body.at("completion")).is_some() {
            self.claude.body(body);
        } else if body.at("output").is_some() {
            self.nova.body(body);
        } else if body.at("choices").is_some() {
            self.chat.body(body);
        }
        self.embeds = VECTORS.iter().any(|name| body.at(name).is_some());
        self.family_object(body);
        self.draft_mut().complete = true;
    }

    pub(crate) fn finish(mut self) -> Reading {
        let (nova, chat) = (self.nova.finish(), self.chat.finish());
        let draft = &mut self.claude.draft;
        draft.stop = draft.stop.take().or(nova.stop_reason).or(chat.stop_reason);
        draft.model = draft.model.take().or(chat.model);
        draft.id = draft.id.take().or(chat.response_id);
        draft.error = draft.error.take().or(chat.error);
        if draft.tools.is_empty() {
            draft.tools = [nova.tool_uses, chat.tool_uses].concat();
        }
        let mut reading = self.claude.finish();
        reading.terms.service_tier = reading.terms.service_tier.or(self.tier);
        if reading.wire_usage.is_some() {
            return reading;
        }
        let metrics = self.metrics.as_ref().and_then(WireUsage::raw);
        let metrics = metrics.map(|raw| converse::normal(&UsageMembers::of(raw))).unwrap_or_default();
        // Best word first: a stream's metrics are final, a family's counts may be running ones.
        let of_family = [
            (nova.wire_usage, nova.usage),
            (chat.wire_usage, chat.usage),
            (self.metrics, metrics),
            (self.family_usage, self.family),
            (None, self.fields),
        ];
        let best = of_family.into_iter().find(|(_, usage)| !usage.is_unknown());
        if let Some((wire, usage)) = best {
            reading.usage = usage;
            reading.wire_usage = wire;
        }
        if self.embeds && reading.usage.input_tokens.is_some() {
            reading.usage.output_tokens.get_or_insert(0);
        }
        reading
    }

    pub(crate) fn draft_mut(&mut self) -> &mut Draft {
        &mut self.claude.draft
    }

    /// What the older families say in their own words.
    fn family_object(&mut self, object: Raw<'_>) {
        let first = |list: &&str| object.at(list).and_then(|list| list.elements().next());
        let mut places = std::iter::once(object).chain(ANSWERS.iter().filter_map(first));
        let reason = places.find_map(|place| STOP_REASONS.iter().find_map(|name| reason_at(place, name)));
        if let Some(reason) = reason {
            self.claude.draft.stop = Some(reason);
        }
        self.llama(object);
        self.titan(object);
        self.cohere(object);
    }

    fn llama(&mut self, object: Raw<'_>) {
        let count = |name: &str| object.at(name).and_then(Raw::count);
        let (Some(input), Some(output)) = (count("prompt_token_count"), count("generation_token_count"))
        else {
            return;
        };
        self.family = only(input, output);
        self.family_usage =
            Some(WireUsage::made(&json!({"prompt_token_count": input, "generation_token_count": output})));
    }

    fn titan(&mut self, object: Raw<'_>) {
        let results = object.at("results").into_iter().flat_map(Raw::elements);
        let input = object.at("inputTextTokenCount").and_then(Raw::count);
        let output =
            results.filter_map(|result| result.at("tokenCount")?.count()).reduce(u64::saturating_add);
        if let (Some(input), Some(output)) = (input, output.or(self.embeds.then_some(0))) {
            self.family = only(input, output);
        }
    }

    /// Cohere's calls are whole, without ids, and stand at the top.
    fn cohere(&mut self, object: Raw<'_>) {
        for call in object.at("tool_calls").into_iter().flat_map(Raw::elements) {
            let Some(name) = call.at("name").and_then(Raw::string) else { continue };
            self.claude.draft.tools.push(ToolUse {
                name,
                kind: "tool_call".into(),
                arguments: call.at("parameters").map(raw_text).unwrap_or_default(),
                ..ToolUse::default()
            });
        }
    }
}

/// Lists of answers, of which there is one: Titan, Cohere's older models, Mistral, AI21, and those that speak as in a chat.
const ANSWERS: &[&str] = &["results", "generations", "outputs", "completions", "choices"];

/// What models that make vectors answer with.
const VECTORS: &[&str] = &["embedding", "embeddings", "embeddingsByType"];

/// Where the families keep their stop reason.
const STOP_REASONS: &[&str] =
    &["stop_reason", "finish_reason", "completionReason", "stopReason", "finishReason"];

/// A stop reason by that name: a text, or AI21's object around it.
fn reason_at(place: Raw<'_>, name: &str) -> Option<String> {
    let reason = place.at(name)?;
    reason.at("reason").unwrap_or(reason).string()
}

/// Counts of a family that has no cache and no reasoning.
fn only(input: u64, output: u64) -> Usage {
    Usage {
        input_tokens: Some(input),
        uncached_input_tokens: Some(input),
        output_tokens: Some(output),
        cache_read_tokens: Some(0),
        cache_write_tokens: Some(0),
        reasoning_tokens: Some(0),
        ..Usage::default()
    }
}
