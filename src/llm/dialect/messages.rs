//! Anthropic Messages: the API itself, Claude on Vertex, and what Bedrock wraps; also the legacy Text Completions.
//!
//! ```text
//!   message_start ─▶ ( content_block_start ─▶ content_block_delta* ─▶ content_block_stop )* ─▶ message_delta ─▶ message_stop
//!                      `ping` anywhere; `error` ends it at any point, without message_stop
//! ```
//!
//! Usage is cumulative: each field that `message_delta` carries overrides what `message_start` said. With server tools
//! the later number is a hundred times the earlier one.

use serde_json::{Map, Value, json};

use super::{Draft, Effect, counted, error_in, raw_text, reported_cost, with_uncached};
use crate::llm::likeness::Unread;
use crate::llm::price::Terms;
use crate::llm::reading::{BilledRun, Reading, ToolUse};
use crate::llm::usage::{Usage, UsageMembers, WireUsage};
use crate::wire::json::Raw;

/// Text, thinking and its signature are the client's business.
pub(crate) const UNREAD: Unread =
    Unread { texts: &["text", "thinking", "signature", "completion", "cited_text"], numbers: &[] };

/// Reads one response.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    pub(crate) draft: Draft,
    /// The first usage object as written, since most streams wait long for a second; and what later ones override.
    first_usage: Vec<u8>,
    later_usage: Map<String, Value>,
    /// Block index of each tool call in `draft.tools`.
    blocks: Vec<u64>,
    /// The reply of `count_tokens`.
    counted: Option<u64>,
}

impl Reader {
    pub(crate) fn event(&mut self, name: &[u8], data: &[u8]) -> Effect {
        let Some(event) = Raw::whole(data) else { return Effect::Unreadable };
        // By all accounts the first member, so that this looks no further.
        let kind = event.at("type").and_then(Raw::text);
        // The event's name equals its type; some proxies drop one or the other.
        let kind = kind.as_deref().unwrap_or_else(|| std::str::from_utf8(name).unwrap_or_default());
        match kind {
            "content_block_delta" => return self.block_delta(event),
            "content_block_start" => self.block_start(event),
            "message_start" => self.start(event),
            "message_delta" => self.delta(event),
            "message_stop" => self.draft.complete = true,
            "error" => self.draft.error = error_in(event).or_else(|| event.value()),
            "completion" => return self.completion(event),
            "ping" | "content_block_stop" => return Effect::Silent,
            _ => {}
        }
        Effect::Read
    }

    /// In one pass: a body may be long.
    pub(crate) fn body(&mut self, body: Raw<'_>) {
        self.draft.complete = true;
        if body.is_array() {
            self.draft.error = error_in(body);
        }
        for (key, value) in body.members() {
            match key.written() {
                b"content" => self.tools(value),
                b"input_tokens" => self.counted = value.count(),
                b"error" if !value.is_null() => self.draft.error = value.value(),
                name => self.message_member(name, value),
            }
        }
    }

    pub(crate) fn finish(self) -> Reading {
        let mut reading = self.draft.reading();
        if let Some(count) = self.counted {
            reading.usage = counted(count);
        }
        let merged;
        let written = if self.later_usage.is_empty() {
            // It was a value in one that was whole.
            Some(Raw::cut_off(&self.first_usage)).filter(|usage| usage.is_object())
        } else {
            merged = merge(&self.first_usage, self.later_usage);
            Raw::whole(merged.as_bytes())
        };
        let Some(written) = written.filter(|usage| usage.members().next().is_some()) else { return reading };
        let usage = UsageMembers::of(written);
        reading.usage = normal(&usage);
        reading.terms = terms(&usage);
        // OpenRouter's.
        reading.reported_cost_nanodollars = reported_cost(&usage);
        let iterations = usage.at("iterations").into_iter().flat_map(Raw::elements);
        let iterations: Vec<UsageMembers<'_>> = iterations.map(UsageMembers::of).collect();
        if !iterations.is_empty() {
            let (shown, totals) = by_iteration(&iterations);
            reading.iterations = Some(shown);
            reading.billed_totals_over_iterations = Some(totals);
            reading.billed_runs = iterations.iter().map(billed_run).collect();
        }
        reading.wire_usage = WireUsage::of(written);
        reading
    }

    /// A second `message_start` is a proxy's retry spliced into the stream: what came before it is void.
    fn start(&mut self, event: Raw<'_>) {
        self.draft = Draft::default();
        self.first_usage.clear();
        self.later_usage.clear();
        self.blocks.clear();
        if let Some(message) = event.at("message") {
            for (key, value) in message.members() {
                match key.written() {
                    b"content" => self.tools(value),
                    name => self.message_member(name, value),
                }
            }
        }
    }

    /// What a message object and `message_start` have in common.
    fn message_member(&mut self, name: &[u8], value: Raw<'_>) {
        match name {
            b"model" => Draft::first(&mut self.draft.model, value),
            b"id" => Draft::first(&mut self.draft.id, value),
            b"stop_reason" => Draft::first(&mut self.draft.stop, value),
            b"usage" => self.merge(value),
            b"container" => self.draft.container(value.at("id")),
            _ => {}
        }
    }

    fn tools(&mut self, content: Raw<'_>) {
        for block in content.elements() {
            self.tool(block, raw_text);
        }
    }

    fn delta(&mut self, event: Raw<'_>) {
        if let Some(reason) = event.at("delta").and_then(|delta| delta.at("stop_reason")) {
            self.draft.stop = reason.string();
        }
        let container = event.at("delta").and_then(|delta| delta.at("container"));
        self.draft.container(container.and_then(|container| container.at("id")));
        if let Some(usage) = event.at("usage") {
            self.merge(usage);
        }
    }

    /// Later fields override earlier ones, each by itself.
    fn merge(&mut self, usage: Raw<'_>) {
        if self.first_usage.is_empty() && usage.is_object() {
            self.first_usage.extend_from_slice(usage.bytes());
        } else if let Some(Value::Object(fields)) = usage.value() {
            // What is null was not counted again, and takes nothing back.
            self.later_usage.extend(fields.into_iter().filter(|(_, value)| !value.is_null()));
        }
    }

    fn block_start(&mut self, event: Raw<'_>) {
        let Some(block) = event.at("content_block") else { return };
        self.handed_over(block);
        // The input of a streamed block is `{}` until its deltas come; one that has content is complete.
        let whole = |input: Raw<'_>| {
            let empty = input.members().next().is_none();
            if empty { String::new() } else { raw_text(input) }
        };
        if self.tool(block, whole) {
            self.blocks.resize(self.draft.tools.len(), u64::MAX);
            if let (Some(last), Some(index)) =
                (self.blocks.last_mut(), event.at("index").and_then(Raw::count))
            {
                *last = index;
            }
        }
    }

    /// A model that declines gives way to another in the middle of a stream; the last one named is the one that answers.
    /// Bodies that are whole name it at their top.
    fn handed_over(&mut self, block: Raw<'_>) {
        if block.at("type").and_then(Raw::text).as_deref() == Some("fallback")
            && let Some(model) = block.at("to").and_then(|to| to.at("model")?.string())
        {
            self.draft.model = Some(model);
        }
    }

    /// Note a block that calls a tool, run by whomever; whether it was one.
    fn tool(&mut self, block: Raw<'_>, arguments: impl Fn(Raw<'_>) -> String) -> bool {
        let Some(kind) = block.at("type").and_then(Raw::text) else { return false };
        if !kind.ends_with("tool_use") {
            return false;
        }
        let text = |name: &str| block.at(name).and_then(Raw::string);
        self.draft.tools.push(ToolUse {
            name: text("name").unwrap_or_default(),
            id: text("id").unwrap_or_default(),
            arguments: block.at("input").map(arguments).unwrap_or_default(),
            server_name: text("server_name"),
            kind: kind.into_owned(),
        });
        true
    }

    fn block_delta(&mut self, event: Raw<'_>) -> Effect {
        let Some(delta) = event.at("delta") else { return Effect::Read };
        let Some(part) = delta.at("partial_json") else { return Effect::Silent };
        let index = event.at("index").and_then(Raw::count);
        let slot = self.blocks.iter().rposition(|block| Some(*block) == index);
        if let (Some(slot), Some(part)) = (slot, part.text()) {
            self.draft.tools[slot].arguments.push_str(&part);
        }
        Effect::Read
    }

    /// Legacy `/v1/complete`: no tokens on the wire at all.
    fn completion(&mut self, event: Raw<'_>) -> Effect {
        let Some(reason) = event.at("stop_reason") else { return self.completion_part(event) };
        self.draft.stop = reason.string();
        self.completion_part(event);
        self.draft.complete = true;
        Effect::Read
    }

    fn completion_part(&mut self, event: Raw<'_>) -> Effect {
        if self.draft.model.is_some() {
            return Effect::Silent;
        }
        for (slot, name) in [(&mut self.draft.model, "model"), (&mut self.draft.id, "id")] {
            if let Some(value) = event.at(name) {
                Draft::first(slot, value);
            }
        }
        Effect::Read
    }
}

/// One usage object with the fields of a later one over it.
fn merge(first: &[u8], later: Map<String, Value>) -> String {
    let mut usage = match Raw::whole(first).and_then(Raw::value) {
        Some(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    usage.extend(later);
    Value::Object(usage).to_string()
}

/// The normal form of an Anthropic usage object: its input excludes both cache reads and cache writes.
pub(crate) fn normal(usage: &UsageMembers<'_>) -> Usage {
    let write_5m = usage.count("cache_creation.ephemeral_5m_input_tokens");
    let write_1h = usage.count("cache_creation.ephemeral_1h_input_tokens");
    let split = || Some(write_5m?.saturating_add(write_1h?));
    let read = usage.count("cache_read_input_tokens").unwrap_or(0);
    let write = usage.count("cache_creation_input_tokens").or_else(split).unwrap_or(0);
    let all = |uncached: u64| uncached.saturating_add(read).saturating_add(write);
    let (input, output) = (usage.count("input_tokens"), usage.count("output_tokens"));
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
        reasoning_tokens: Some(usage.count("output_tokens_details.thinking_tokens").unwrap_or(0)),
        web_searches: usage.count("server_tool_use.web_search_requests"),
        ..Usage::default()
    })
}

fn terms(usage: &UsageMembers<'_>) -> Terms {
    Terms {
        service_tier: usage.text("service_tier"),
        speed: usage.text("speed"),
        inference_geo: usage.text("inference_geo"),
        region: None,
    }
}

/// One sampling run as it is billed. Searches stand at the top level only.
fn billed_run(run: &UsageMembers<'_>) -> BilledRun {
    BilledRun { model: run.text("model"), usage: normal(run), prompt: None }
}

/// The sampling runs of one response (compaction, advisor, server-tool loops) and their sums: what is billed. The
/// advisor's run is another model's, so the runs are kept apart.
fn by_iteration(iterations: &[UsageMembers<'_>]) -> (Value, Value) {
    const COUNTS: [(&str, &[&str]); 4] = [
        ("uncached_input_tokens", &["input_tokens"]),
        ("output_tokens", &["output_tokens"]),
        ("cache_read_tokens", &["cache_read_input_tokens"]),
        ("cache_write_tokens", &["cache_creation_input_tokens"]),
    ];
    let count = |run: &UsageMembers<'_>, paths: &[&str]| run.count_in(paths).unwrap_or(0);
    let one = |run: &UsageMembers<'_>| {
        let mut entry = json!({ "type": run.text("type"), "model": run.text("model") });
        for (name, paths) in COUNTS {
            entry[name] = count(run, paths).into();
        }
        entry
    };
    let mut totals = json!({});
    for (name, paths) in COUNTS {
        totals[name] =
            iterations.iter().fold(0, |sum: u64, run| sum.saturating_add(count(run, paths))).into();
    }
    (Value::Array(iterations.iter().map(one).collect()), totals)
}
