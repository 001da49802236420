//! Bedrock Converse: one language for all of Bedrock's models, streamed as binary frames whose type is the event's name.
//!
//! The usage comes *after* `messageStop`, in `metadata`, which is the end.

use super::{Draft, Effect, counted, error_in, raw_text, with_uncached};
use crate::llm::reading::{Reading, ToolUse};
use crate::llm::usage::{Usage, UsageMembers, WireUsage};
use crate::wire::json::Raw;

/// Reads one response.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    pub(crate) draft: Draft,
    usage: Option<WireUsage>,
    /// Block index of each tool call in `draft.tools`.
    blocks: Vec<Option<u64>>,
    /// The reply of `count-tokens`.
    counted: Option<u64>,
}

impl Reader {
    pub(crate) fn event(&mut self, name: &[u8], data: &[u8]) -> Effect {
        let Some(event) = Raw::whole(data) else { return Effect::Unreadable };
        match name {
            b"contentBlockStart" => {
                let call = event.at("start").and_then(|start| start.at("toolUse"));
                call.into_iter().for_each(|call| self.tool(call, event.at("contentBlockIndex")));
            }
            b"contentBlockDelta" => self.delta(event),
            b"messageStop" => self.draft.stop = event.at("stopReason").and_then(Raw::string),
            b"metadata" => {
                self.usage = event.at("usage").and_then(WireUsage::of);
                self.terms(event);
                self.draft.complete = true;
            }
            _ => {}
        }
        Effect::Read
    }

    pub(crate) fn body(&mut self, body: Raw<'_>) {
        let message = body.at("output").and_then(|output| output.at("message"));
        let content = message.and_then(|message| message.at("content"));
        for block in content.into_iter().flat_map(Raw::elements) {
            block.at("toolUse").into_iter().for_each(|call| self.tool(call, None));
        }
        self.draft.stop = body.at("stopReason").and_then(Raw::string);
        self.usage = body.at("usage").and_then(WireUsage::of);
        self.counted = body.at("inputTokens").and_then(Raw::count);
        self.terms(body);
        self.draft.error = error_in(body);
        self.draft.complete = true;
    }

    pub(crate) fn finish(self) -> Reading {
        let mut reading = self.draft.reading();
        if let Some(written) = self.usage {
            reading.usage = written.raw().map(|raw| normal(&UsageMembers::of(raw))).unwrap_or_default();
            reading.wire_usage = Some(written);
        } else if let Some(count) = self.counted {
            reading.usage = counted(count);
        }
        reading
    }

    /// The tier, and the model that a prompt router has chosen: no other answer names its model.
    fn terms(&mut self, object: Raw<'_>) {
        let tier = object.at("serviceTier").and_then(|tier| tier.at("type")?.string());
        self.draft.terms.service_tier = tier;
        let router = object.at("trace").and_then(|trace| trace.at("promptRouter"));
        self.draft.model = router.and_then(|router| router.at("invokedModelId")?.string());
    }

    fn tool(&mut self, call: Raw<'_>, index: Option<Raw<'_>>) {
        let text = |name: &str| call.at(name).and_then(Raw::string).unwrap_or_default();
        self.blocks.push(index.and_then(Raw::count));
        self.draft.tools.push(ToolUse {
            name: text("name"),
            id: text("toolUseId"),
            kind: "toolUse".into(),
            arguments: call.at("input").map(raw_text).unwrap_or_default(),
            server_name: None,
        });
    }

    fn delta(&mut self, event: Raw<'_>) {
        let part = event.at("delta").and_then(|delta| delta.at("toolUse")?.at("input")?.text());
        let index = event.at("contentBlockIndex").and_then(Raw::count);
        let slot = self.blocks.iter().rposition(|block| *block == index);
        if let (Some(slot), Some(part)) = (slot, part) {
            self.draft.tools[slot].arguments.push_str(&part);
        }
    }
}

/// The normal form: the input excludes both cache reads and cache writes.
pub(crate) fn normal(usage: &UsageMembers<'_>) -> Usage {
    let (write_5m, write_1h) = (written_for(usage, "5m"), written_for(usage, "1h"));
    let split = || Some(write_5m.unwrap_or(0).saturating_add(write_1h.unwrap_or(0)));
    let read = usage.count_in(&["cacheReadInputTokens", "cacheReadInputTokenCount"]).unwrap_or(0);
    let write = usage.count_in(&["cacheWriteInputTokens", "cacheWriteInputTokenCount"]).or_else(split);
    let write = write.unwrap_or(0);
    let all = |uncached: u64| uncached.saturating_add(read).saturating_add(write);
    let input = usage.count_in(&["inputTokens", "inputTokenCount"]);
    let output = usage.count_in(&["outputTokens", "outputTokenCount"]);
    if input.is_none() && output.is_none() {
        return Usage::default();
    }
    with_uncached(Usage {
        input_tokens: input.map(all),
        output_tokens: output,
        cache_read_tokens: Some(read),
        cache_write_tokens: Some(write),
        cache_write_5m_tokens: write_5m,
        cache_write_1h_tokens: write_1h,
        reasoning_tokens: Some(0),
        ..Usage::default()
    })
}

/// Written to the cache for so long, by each of the checkpoints together.
fn written_for(usage: &UsageMembers<'_>, ttl: &str) -> Option<u64> {
    let is_it = |entry: &Raw<'_>| entry.at("ttl").and_then(Raw::text).as_deref() == Some(ttl);
    let entries = usage.at("cacheDetails")?.elements().filter(is_it);
    entries.filter_map(|entry| entry.at("inputTokens")?.count()).reduce(u64::saturating_add)
}
