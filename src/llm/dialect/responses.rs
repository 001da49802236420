//! OpenAI Responses, over HTTP and as WebSocket frames: the same objects, one per event or frame.
//!
//! ```text
//!   response.created ─▶ ( output_item.added ─▶ deltas ─▶ output_item.done )* ─▶ completed │ incomplete │ failed
//!   a bare `error` may stand before `failed`, or alone
//! ```
//!
//! Usage, status and model stand in the terminal event, which repeats the whole output. Items are told apart by
//! `output_index`: behind some proxies an item's id changes from event to event.

use std::borrow::Cow;

use super::{Draft, Effect, chat, counted, error_in, reported_cost};
use crate::llm::likeness::Unread;
use crate::llm::reading::{BilledRun, Reading, ToolUse};
use crate::llm::usage::{Usage, UsageMembers, WireUsage};
use crate::wire::json::Raw;

/// Text and padding are the client's business.
pub(crate) const UNREAD: Unread =
    Unread { texts: &["delta", "obfuscation", "item_id", "text"], numbers: &["sequence_number"] };

/// Reads one response.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    pub(crate) draft: Draft,
    usage: Option<WireUsage>,
    /// Output index of each tool call in `draft.tools`.
    items: Vec<Option<u64>>,
    /// The reply of `input_tokens`.
    counted: Option<u64>,
    /// Web searches by the provider's own count.
    searched: Option<u64>,
    /// Images that another model has made, billed at its price. Boxed: they are rare.
    images: Option<Box<BilledRun>>,
}

impl Reader {
    pub(crate) fn event(&mut self, name: &[u8], data: &[u8]) -> Effect {
        // OpenAI sends none; some who speak its language do.
        if data.trim_ascii() == b"[DONE]" {
            return Effect::Read;
        }
        let Some(event) = Raw::whole(data) else { return Effect::Unreadable };
        let kind = event.at("type").and_then(Raw::text);
        // Some leave out the event's name, which equals its type.
        let kind = kind.as_deref().unwrap_or_else(|| std::str::from_utf8(name).unwrap_or_default());
        match kind {
            "response.created" | "response.in_progress" | "response.queued" => {
                event.at("response").into_iter().for_each(|response| self.names(response));
            }
            "response.output_item.added" | "response.output_item.done" => self.item(event),
            "response.function_call_arguments.delta"
            | "response.custom_tool_call_input.delta"
            | "response.mcp_call_arguments.delta"
            | "response.code_interpreter_call_code.delta" => self.arguments(event),
            "response.completed" | "response.incomplete" | "response.failed" | "response.done" => {
                self.terminal(event);
            }
            // Fields nested or flat.
            "error" | "response.error" => self.draft.error = error_in(event).or_else(|| event.value()),
            _ if event.at("error").is_some() && event.at("type").is_none() => {
                self.draft.error = error_in(event)
            }
            _ => return Effect::Silent,
        }
        Effect::Read
    }

    pub(crate) fn body(&mut self, body: Raw<'_>) {
        self.response(body);
        if let Some(error) = error_in(body) {
            self.draft.error = Some(error);
        }
        self.counted = body.at("input_tokens").and_then(Raw::count);
        self.draft.complete = true;
    }

    pub(crate) fn finish(self) -> Reading {
        // Billed by call, and counted nowhere else. What a search found is opened and read without a charge.
        let searched = |tool: &ToolUse| tool.kind == "web_search_call" && !is_page(&tool.arguments);
        let web_searches = self.draft.calls_of(searched);
        let file_searches = self.draft.calls_of(|tool| tool.kind == "file_search_call");
        let mut reading = self.draft.reading();
        match (self.usage, self.counted) {
            (Some(written), _) => {
                if let Some(usage) = written.raw().map(UsageMembers::of) {
                    let said = normal(&usage);
                    let web_searches = self.searched.or(web_searches).or(said.web_searches);
                    reading.usage = Usage { web_searches, file_searches, ..said };
                    reading.reported_cost_nanodollars = reported_cost(&usage);
                }
                reading.wire_usage = Some(written);
                if let Some(images) = self.images {
                    let text = BilledRun { usage: reading.usage, ..BilledRun::default() };
                    reading.billed_runs = vec![text, *images];
                }
            }
            (None, Some(count)) => reading.usage = counted(count),
            (None, None) => {}
        }
        reading
    }

    fn terminal(&mut self, event: Raw<'_>) {
        if let Some(response) = event.at("response") {
            self.response(response);
        }
        self.draft.complete = true;
    }

    /// A response object: the body itself, or what a terminal event carries.
    fn response(&mut self, response: Raw<'_>) {
        self.names(response);
        for (key, value) in response.members().filter(|(_, value)| !value.is_null()) {
            match key.written() {
                b"status" => self.draft.stop = value.string(),
                b"usage" => self.usage = WireUsage::of(value),
                b"service_tier" => self.draft.terms.service_tier = value.string(),
                b"error" => self.draft.error = value.value(),
                // Realtime's.
                b"status_details" => self.failed(value),
                b"tool_usage" => self.tool_usage(response, value),
                b"output" => self.output(value),
                _ => {}
            }
        }
        let details = ["incomplete_details", "status_details"];
        if let Some(reason) = details.iter().find_map(|name| response.at(name)?.at("reason")) {
            self.draft.stop = reason.string();
        }
    }

    fn failed(&mut self, details: Raw<'_>) {
        self.draft.error = details.at("error").and_then(Raw::value).or(self.draft.error.take());
    }

    /// The whole output, which counts where it tells of more calls than the events did: those of a stream that was
    /// resumed begin in its middle, and some send none.
    fn output(&mut self, output: Raw<'_>) {
        let calls = output.elements().filter(|item| kind_of_call(*item).is_some()).count();
        if calls <= self.draft.tools.len() {
            return;
        }
        self.items.clear();
        self.draft.tools.clear();
        for (index, item) in (0..).zip(output.elements()) {
            self.tool(item, Some(index));
        }
    }

    /// What the tools that the provider runs took, beside the model's own tokens.
    fn tool_usage(&mut self, response: Raw<'_>, used: Raw<'_>) {
        let searches = used.at("web_search").and_then(|search| search.at("num_requests")?.count());
        self.searched = searches.filter(|searches| *searches > 0);
        let Some(images) = used.at("image_gen").map(UsageMembers::of) else { return };
        if images.count("total_tokens").is_some_and(|total| total > 0) {
            let model = image_model(response).unwrap_or_else(|| IMAGES.into());
            let run = BilledRun { model: Some(model), usage: normal(&images), prompt: None };
            self.images = Some(Box::new(run));
        }
    }

    fn names(&mut self, response: Raw<'_>) {
        for (slot, name) in [(&mut self.draft.model, "model"), (&mut self.draft.id, "id")] {
            // The last to be named is the one that answered.
            if let Some(text) = response.at(name).and_then(Raw::string).filter(|text| !text.is_empty()) {
                *slot = Some(text);
            }
        }
    }

    fn item(&mut self, event: Raw<'_>) {
        if let Some(item) = event.at("item") {
            self.tool(item, event.at("output_index").and_then(Raw::count));
        }
    }

    /// Note an item that calls a tool; the finished form replaces what deltas had gathered.
    fn tool(&mut self, item: Raw<'_>, index: Option<u64>) {
        let Some(tool) = tool_use(item) else { return };
        self.draft.container(item.at("container_id"));
        match self.slot(index, &tool.id) {
            Some(slot) if !tool.arguments.is_empty() || tool.name != self.draft.tools[slot].name => {
                self.draft.tools[slot] = tool;
            }
            Some(_) => {}
            None => {
                self.items.push(index);
                self.draft.tools.push(tool);
            }
        }
    }

    /// The call at that place of the output; by its id where a vendor numbers nothing.
    fn slot(&self, index: Option<u64>, id: &str) -> Option<usize> {
        match index {
            Some(_) => self.items.iter().rposition(|place| *place == index),
            None => self.draft.tools.iter().rposition(|tool| !id.is_empty() && tool.id == id),
        }
    }

    fn arguments(&mut self, event: Raw<'_>) {
        let index = event.at("output_index").and_then(Raw::count);
        let slot = self.slot(index, "");
        if let (Some(slot), Some(part)) = (slot, event.at("delta").and_then(Raw::text)) {
            self.draft.tools[slot].arguments.push_str(&part);
        }
    }
}

/// An output item as a tool call, if it is one: what the client is to run and what the provider runs, not their outputs.
pub(crate) fn tool_use(item: Raw<'_>) -> Option<ToolUse> {
    let kind = kind_of_call(item)?.into_owned();
    let text = |name: &str| item.at(name).and_then(Raw::string);
    let called = match kind.strip_suffix("_call") {
        Some(short) => short.to_owned(),
        None => kind.clone(),
    };
    Some(ToolUse {
        name: text("name").unwrap_or(called),
        id: text("call_id").or_else(|| text("id")).unwrap_or_default(),
        arguments: ARGUMENTS.iter().find_map(|name| argument_text(item.at(name)?)).unwrap_or_default(),
        server_name: if kind == "mcp_call" { text("server_label") } else { None },
        kind,
    })
}

/// The item's type, if it is a call of any kind.
fn kind_of_call(item: Raw<'_>) -> Option<Cow<'_, str>> {
    let is_call =
        |kind: &str| kind.ends_with("_call") || matches!(kind, "mcp_list_tools" | "mcp_approval_request");
    item.at("type")?.text().filter(|kind| is_call(kind))
}

/// Where the kinds of calls keep what they are called with.
const ARGUMENTS: &[&str] = &["arguments", "input", "action", "actions", "operation", "code"];

fn argument_text(value: Raw<'_>) -> Option<String> {
    let empty = value.is_object() && value.members().next().is_none();
    if value.is_string() { value.string() } else { (!empty).then(|| super::raw_text(value)) }
}

/// In place of the name of a model that makes images, where a response does not say: it has no price.
const IMAGES: &str = "(images)";

/// The model that makes a response's images, if its tools name one.
fn image_model(response: Raw<'_>) -> Option<String> {
    let is_it = |tool: &Raw<'_>| tool.at("type").and_then(Raw::text).as_deref() == Some("image_generation");
    response.at("tools")?.elements().find(is_it)?.at("model")?.string()
}

/// Whether a web search call is one of the actions beside searching.
fn is_page(action: &str) -> bool {
    let kind = Raw::whole(action.as_bytes()).and_then(|action| action.at("type")?.string());
    matches!(kind.as_deref(), Some("open_page" | "find_in_page"))
}

/// The same normal form as Chat's, under other names.
fn normal(usage: &UsageMembers<'_>) -> Usage {
    chat::normal(usage)
}
