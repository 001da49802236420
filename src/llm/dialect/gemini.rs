//! Gemini: `generateContent` and its stream, as events or as an array in pieces; on Vertex, with enums as numbers if so
//! asked; inside Code Assist's `response` wrapper.
//!
//! No event says that it is the last: a finish reason does. Counts that are zero are left out (proto3), and the last
//! `usageMetadata` with any count wins as a whole: intermediate ones may hold fields that the last one drops.

use super::{Draft, Effect, Stops, counted, error_in, raw_text, with_uncached};
use crate::llm::likeness::Unread;
use crate::llm::reading::{Reading, ToolUse};
use crate::llm::usage::{Usage, UsageMembers, WireUsage};
use crate::wire::json::Raw;

/// Every chunk carries usage, so none is silent.
pub(crate) const UNREAD: Unread = Unread { texts: &[], numbers: &[] };

/// Reads one response.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    pub(crate) draft: Draft,
    /// Last usage object with a count, as written.
    usage: Vec<u8>,
    blocked: Option<String>,
    /// Why a turn of a Live session has ended, and the model of that session.
    turn: Option<String>,
    pub(super) session_model: Option<String>,
    /// Finish reason of each candidate, by index.
    stops: Stops,
    /// A call whose arguments come in parts is open.
    partial: bool,
    /// Web searches that the answer is grounded on.
    queries: u64,
    /// The reply of `countTokens`.
    counted: Option<u64>,
    /// Tokens of the texts that `predict` has made vectors of.
    embedded: Option<u64>,
}

impl Reader {
    pub(crate) fn event(&mut self, _name: &[u8], data: &[u8]) -> Effect {
        let Some(chunk) = Raw::whole(data) else { return Effect::Unreadable };
        self.object(chunk);
        Effect::Read
    }

    pub(crate) fn body(&mut self, body: Raw<'_>) {
        if body.is_array() {
            body.elements().for_each(|chunk| self.object(chunk));
        } else {
            self.object(body);
        }
        self.draft.complete = true;
    }

    pub(crate) fn finish(mut self) -> Reading {
        let stops = std::mem::take(&mut self.stops).all();
        self.draft.stop = stops.first().cloned().or(self.blocked).or(self.turn);
        let model = self.draft.model.as_deref().or(self.session_model.as_deref());
        let searches = model.and_then(|model| billed_searches(model, self.queries));
        let mut reading = self.draft.reading();
        if stops.len() > 1 {
            reading.stop_reasons = stops;
        }
        if let Some(written) = Raw::whole(&self.usage) {
            let usage = UsageMembers::of(written);
            reading.usage = Usage { web_searches: searches, ..normal(&usage) };
            reading.terms.service_tier = tier(&usage);
            reading.wire_usage = WireUsage::of(written);
        } else if let Some(count) = self.counted {
            reading.usage = counted(count);
        } else if let Some(count) = self.embedded {
            reading.usage = with_uncached(Usage { output_tokens: Some(0), ..counted(count) });
        }
        reading
    }

    fn object(&mut self, chunk: Raw<'_>) {
        // Code Assist wraps each one.
        let chunk = chunk.at("response").unwrap_or(chunk);
        for (key, value) in chunk.members().filter(|(_, value)| !value.is_null()) {
            match key.written() {
                b"modelVersion" => self.draft.model = value.string(),
                b"responseId" => Draft::first(&mut self.draft.id, value),
                b"candidates" => value.elements().for_each(|candidate| self.candidate(candidate)),
                b"usageMetadata" => self.take_usage(value),
                b"promptFeedback" => self.blocked = value.at("blockReason").and_then(reason),
                b"totalTokens" => self.counted = value.count(),
                b"predictions" => value.elements().for_each(|prediction| self.prediction(prediction)),
                b"error" => self.draft.error = error_in(chunk),
                // Live: content and calls stand by themselves.
                b"serverContent" => self.server_content(value),
                b"toolCall" => {
                    let calls = value.at("functionCalls").into_iter().flat_map(Raw::elements);
                    calls.for_each(|call| self.function_call(call));
                }
                _ => {}
            }
        }
        self.draft.complete |= self.blocked.is_some();
    }

    fn candidate(&mut self, candidate: Raw<'_>) {
        // An index of zero is left out. Older models give a reason with every chunk: the last counts.
        let index = candidate.at("index").and_then(Raw::count).unwrap_or(0);
        self.stops.begin(index);
        // One that begins when others have ended is still to end.
        self.draft.complete &= self.stops.are_all_told();
        if let Some(reason) = candidate.at("finishReason").and_then(reason) {
            self.stops.note(index, reason);
            self.draft.complete = self.stops.are_all_told();
        }
        self.content(candidate, "content");
    }

    /// What Live says of a turn. An interruption is followed by the turn's end, which may give a better reason.
    fn server_content(&mut self, content: Raw<'_>) {
        self.content(content, "modelTurn");
        let interrupted = content.at("interrupted").filter(|value| value.is_true());
        let why = content.at("turnCompleteReason").and_then(reason);
        self.turn = why.or_else(|| interrupted.map(|_| "interrupted".into())).or(self.turn.take());
    }

    /// Content in a member of that name, and what it is grounded on.
    fn content(&mut self, around: Raw<'_>, name: &str) {
        let parts = around.at(name).and_then(|content| content.at("parts"));
        parts.into_iter().flat_map(Raw::elements).for_each(|part| self.part(part));
        let queries = around.at("groundingMetadata").and_then(|grounding| grounding.at("webSearchQueries"));
        // Repeated from chunk to chunk, and complete in the last.
        let queries = queries.into_iter().flat_map(Raw::elements).count() as u64;
        self.queries = self.queries.max(queries);
    }

    /// Each vector comes with the count of its text; images come with none.
    fn prediction(&mut self, prediction: Raw<'_>) {
        let statistics = prediction.at("embeddings").and_then(|vector| vector.at("statistics"));
        if let Some(count) = statistics.and_then(|statistics| statistics.at("token_count")?.count()) {
            self.embedded = Some(self.embedded.unwrap_or(0).saturating_add(count));
        }
    }

    fn part(&mut self, part: Raw<'_>) {
        for (key, value) in part.members() {
            match key.written() {
                b"functionCall" => self.function_call(value),
                b"executableCode" => {
                    let code = value.at("code").and_then(Raw::string).unwrap_or_default();
                    self.push("executableCode", "code_execution".into(), value, code);
                }
                b"toolCall" => {
                    let name = value.at("toolType").and_then(scalar_text).unwrap_or_default();
                    let arguments = value.at("args").map(raw_text).unwrap_or_default();
                    self.push("toolCall", name, value, arguments);
                }
                _ => {}
            }
        }
    }

    /// A call counts where its name stands; with streamed arguments an empty `functionCall` closes it.
    fn function_call(&mut self, call: Raw<'_>) {
        if let Some(name) = call.at("name").and_then(Raw::string) {
            let arguments = call.at("args").map(raw_text).unwrap_or_default();
            self.push("functionCall", name, call, arguments);
            self.partial = false;
        }
        let Some(parts) = call.at("partialArgs") else { return };
        let Some(tool) = self.draft.tools.last_mut() else { return };
        // Each part says where it belongs; what they add up to is the client's to work out, so they are kept in order.
        for part in parts.elements() {
            if std::mem::replace(&mut self.partial, true) {
                tool.arguments.pop();
                tool.arguments.push(',');
            } else {
                tool.arguments = "[".into();
            }
            tool.arguments.push_str(&raw_text(part));
            tool.arguments.push(']');
        }
    }

    fn push(&mut self, kind: &str, name: String, call: Raw<'_>, arguments: String) {
        let id = call.at("id").and_then(Raw::string).unwrap_or_default();
        self.draft.tools.push(ToolUse { name, id, kind: kind.into(), arguments, server_name: None });
    }

    fn take_usage(&mut self, usage: Raw<'_>) {
        let has_count = usage
            .members()
            .any(|(key, _)| key.written().ends_with(b"TokenCount") && key.written() != b"totalTokenCount");
        if has_count {
            self.usage.clear();
            self.usage.extend_from_slice(usage.bytes());
        }
    }
}

/// A reason; the one of an enum that means none is none, be it a name or a number.
fn reason(value: Raw<'_>) -> Option<String> {
    scalar_text(value).filter(|reason| reason != "0" && !reason.ends_with("_UNSPECIFIED"))
}

/// A name, or the number that stands for it.
fn scalar_text(value: Raw<'_>) -> Option<String> {
    if value.is_string() { value.string() } else { Some(raw_text(value)) }
}

/// The normal form: what was thought is beside the candidates, what tools added is beside the prompt.
pub(crate) fn normal(usage: &UsageMembers<'_>) -> Usage {
    let count = |name: &str| usage.count(name);
    // Absent is zero; what is there and no count is unknown.
    let or_zero = |name: &str| if usage.at(name).is_none() { Some(0) } else { count(name) };
    let both = |one: Option<u64>, other: Option<u64>| Some(one?.saturating_add(other?));
    let thoughts = or_zero("thoughtsTokenCount");
    // Live calls them responses.
    let candidates = count("candidatesTokenCount").or_else(|| count("responseTokenCount"));
    let candidates = candidates.or_else(|| or_zero("candidatesTokenCount"));
    with_uncached(Usage {
        input_tokens: both(or_zero("promptTokenCount"), or_zero("toolUsePromptTokenCount")),
        output_tokens: both(candidates, thoughts),
        cache_read_tokens: or_zero("cachedContentTokenCount"),
        cache_write_tokens: Some(0),
        reasoning_tokens: thoughts,
        audio_input_tokens: of_kind(usage, &["promptTokensDetails"], AUDIO),
        audio_output_tokens: of_kind(usage, ANSWERED, AUDIO),
        cache_read_audio_tokens: of_kind(usage, &["cacheTokensDetails"], AUDIO),
        image_input_tokens: of_kind(usage, &["promptTokensDetails"], IMAGE),
        image_output_tokens: of_kind(usage, ANSWERED, IMAGE),
        tool_use_prompt_tokens: count("toolUsePromptTokenCount"),
        ..Usage::default()
    })
}

const ANSWERED: &[&str] = &["candidatesTokensDetails", "responseTokensDetails"];

/// A modality's name, and its number where enums are sent as numbers.
type Modality = (&'static str, u64);
const IMAGE: Modality = ("IMAGE", 2);
const AUDIO: Modality = ("AUDIO", 4);

fn of_kind(usage: &UsageMembers<'_>, lists: &[&str], (name, number): Modality) -> Option<u64> {
    let is_it = |kind: Raw<'_>| kind.text().as_deref() == Some(name) || kind.count() == Some(number);
    let mut entries = lists.iter().filter_map(|list| usage.at(list)).flat_map(Raw::elements);
    entries.find(|entry| entry.at("modality").is_some_and(is_it))?.at("tokenCount")?.count()
}

/// The tier, as the Gemini API or as Vertex calls it.
fn tier(usage: &UsageMembers<'_>) -> Option<String> {
    let said = usage.at("serviceTier").or_else(|| usage.at("trafficType"))?;
    said.string().or_else(|| said.count().map(|number| number.to_string()))
}

/// Up to Gemini 2.5 a grounded answer is billed once, from Gemini 3 on each query is
/// (ai.google.dev/gemini-api/docs/pricing, 2026).
pub(super) fn billed_searches(model: &str, queries: u64) -> Option<u64> {
    let once = ["gemini-1", "gemini-2"].iter().any(|old| model.contains(old));
    (queries > 0).then_some(if once { 1 } else { queries })
}
