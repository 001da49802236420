//! Gemini's Interactions: steps that start, grow and stop; running totals on the way, the final ones at the end.

use super::{Draft, Effect, error_in, gemini, raw_text, with_uncached};
use crate::llm::likeness::Unread;
use crate::llm::reading::{Reading, ToolUse};
use crate::llm::usage::{Usage, UsageMembers, WireUsage};
use crate::wire::json::Raw;

/// Text is the client's business.
pub(crate) const UNREAD: Unread = Unread { texts: &["text", "signature"], numbers: &[] };

/// Reads one response.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    pub(crate) draft: Draft,
    usage: Vec<u8>,
    /// Step index of each tool call in `draft.tools`.
    steps: Vec<Option<u64>>,
}

impl Reader {
    pub(crate) fn event(&mut self, name: &[u8], data: &[u8]) -> Effect {
        if data.trim_ascii() == b"[DONE]" {
            self.draft.complete = true;
            return Effect::Read;
        }
        let Some(event) = Raw::whole(data) else { return Effect::Unreadable };
        let kind = event.at("event_type").and_then(Raw::text);
        let kind = kind.as_deref().unwrap_or_else(|| std::str::from_utf8(name).unwrap_or_default());
        let usage = running_totals(event);
        if let Some(usage) = usage {
            self.take_usage(usage);
        }
        match kind {
            // The first release's names beside the present ones.
            "interaction.created"
            | "interaction.completed"
            | "interaction.start"
            | "interaction.complete" => {
                event.at("interaction").into_iter().for_each(|interaction| self.interaction(interaction));
            }
            "interaction.status_update" => {
                event.at("status").into_iter().for_each(|status| self.status(status))
            }
            "step.start" => self.step(event.at("step"), event.at("index").and_then(Raw::count)),
            "step.delta" => return self.delta(event, usage.is_some()),
            // There calls came whole.
            "content.delta" => self.step(event.at("delta"), event.at("index").and_then(Raw::count)),
            "error" => self.draft.error = error_in(event).or_else(|| event.value()),
            _ => {}
        }
        Effect::Read
    }

    pub(crate) fn body(&mut self, body: Raw<'_>) {
        self.interaction(body);
        let steps = body.at("outputs").or_else(|| body.at("steps"));
        steps.into_iter().flat_map(Raw::elements).for_each(|step| self.step(Some(step), None));
        self.draft.error = error_in(body);
        self.draft.complete = true;
    }

    pub(crate) fn finish(self) -> Reading {
        let mut reading = self.draft.reading();
        if let Some(written) = Raw::whole(&self.usage) {
            let usage = UsageMembers::of(written);
            let model = reading.model.as_deref().unwrap_or_default();
            let web_searches = gemini::billed_searches(model, queries(&usage));
            reading.usage = Usage { web_searches, ..normal(&usage) };
            reading.wire_usage = WireUsage::of(written);
        }
        reading
    }

    fn interaction(&mut self, interaction: Raw<'_>) {
        for (key, value) in interaction.members().filter(|(_, value)| !value.is_null()) {
            match key.written() {
                b"id" => Draft::first(&mut self.draft.id, value),
                b"model" => Draft::first(&mut self.draft.model, value),
                b"status" => self.status(value),
                b"usage" => self.take_usage(value),
                b"service_tier" => self.draft.terms.service_tier = value.string(),
                b"error" => self.draft.error = value.value(),
                _ => {}
            }
        }
    }

    /// Why it has ended, if it has.
    fn status(&mut self, status: Raw<'_>) {
        self.draft.stop = status.string().filter(|status| !matches!(&**status, "in_progress" | "queued"));
    }

    fn take_usage(&mut self, usage: Raw<'_>) {
        self.usage.clear();
        self.usage.extend_from_slice(usage.bytes());
    }

    fn step(&mut self, step: Option<Raw<'_>>, index: Option<u64>) {
        let Some(step) = step else { return };
        let Some(kind) = step.at("type").and_then(Raw::string).filter(|kind| kind.ends_with("_call")) else {
            return;
        };
        let text = |name: &str| step.at(name).and_then(Raw::string);
        let called = kind.trim_end_matches("_call").to_owned();
        self.steps.push(index);
        self.draft.tools.push(ToolUse {
            name: text("name").unwrap_or(called),
            id: text("id").unwrap_or_default(),
            arguments: step.at("arguments").map(raw_text).filter(|text| text != "{}").unwrap_or_default(),
            server_name: text("server_name"),
            kind,
        });
    }

    fn delta(&mut self, event: Raw<'_>, read: bool) -> Effect {
        let arguments = event.at("delta").and_then(|delta| delta.at("arguments"));
        let Some(arguments) = arguments else { return if read { Effect::Read } else { Effect::Silent } };
        let index = event.at("index").and_then(Raw::count);
        if let Some(slot) = self.steps.iter().rposition(|step| *step == index) {
            let held = &mut self.draft.tools[slot].arguments;
            // Texts are parts; an object is all of it, and may have stood at the start already.
            match arguments.text() {
                Some(part) => held.push_str(&part),
                None => *held = raw_text(arguments),
            }
        }
        Effect::Read
    }
}

/// Totals up to an event, which may stand in its metadata (by either name) or beside what it says.
fn running_totals(event: Raw<'_>) -> Option<Raw<'_>> {
    let metadata = event.at("metadata");
    let inside = metadata.and_then(|metadata| metadata.at("usage").or_else(|| metadata.at("total_usage")));
    inside.or_else(|| event.at("usage"))
}

/// The normal form: thoughts beside the output, tools' additions beside the input.
fn normal(usage: &UsageMembers<'_>) -> Usage {
    let or_zero = |name: &str| usage.count(name).unwrap_or(0);
    let thoughts = or_zero("total_thought_tokens");
    let tools = usage.count("total_tool_use_tokens");
    let (input, output) = (usage.count("total_input_tokens"), usage.count("total_output_tokens"));
    if input.is_none() && output.is_none() {
        return Usage::default();
    }
    with_uncached(Usage {
        input_tokens: input.map(|n| n.saturating_add(tools.unwrap_or(0))),
        output_tokens: output.map(|n| n.saturating_add(thoughts)),
        cache_read_tokens: Some(or_zero("total_cached_tokens")),
        cache_write_tokens: Some(0),
        reasoning_tokens: Some(thoughts),
        tool_use_prompt_tokens: tools,
        audio_input_tokens: of_kind(usage, "input_tokens_by_modality", "audio"),
        audio_output_tokens: of_kind(usage, "output_tokens_by_modality", "audio"),
        cache_read_audio_tokens: of_kind(usage, "cached_tokens_by_modality", "audio"),
        image_input_tokens: of_kind(usage, "input_tokens_by_modality", "image"),
        image_output_tokens: of_kind(usage, "output_tokens_by_modality", "image"),
        ..Usage::default()
    })
}

/// Queries that Google has searched the web for.
fn queries(usage: &UsageMembers<'_>) -> u64 {
    let tools = usage.at("grounding_tool_count").into_iter().flat_map(Raw::elements);
    let searches =
        tools.filter(|tool| tool.at("type").and_then(Raw::text).as_deref() == Some("google_search"));
    let queries = searches.filter_map(|search| search.at("search_query_count")?.count());
    queries.fold(0, u64::saturating_add)
}

fn of_kind(usage: &UsageMembers<'_>, list: &str, modality: &str) -> Option<u64> {
    let is_it = |entry: &Raw<'_>| entry.at("modality").and_then(Raw::text).as_deref() == Some(modality);
    usage.at(list)?.elements().find(is_it)?.at("tokens")?.count()
}
