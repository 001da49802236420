//! OpenAI Chat Completions and everything compatible with it.
//!
//! Chunks come as `data:` lines without names and end with `[DONE]`, which some vendors never send. The finish reason
//! comes *before* the usage, and usage is cumulative wherever it is repeated: the last object wins as a whole.
//!
//! What vendors do differently stands in the tables at the foot, a row each; the code above them knows no vendor.

use super::{Draft, Effect, Stops, error_in, reported_cost, with_uncached};
use crate::llm::likeness::Unread;
use crate::llm::reading::{BilledRun, Reading, ToolUse};
use crate::llm::usage::{Usage, UsageMembers, WireUsage};
use crate::wire::json::Raw;

/// Text and padding are the client's business; `p` is Mistral's padding.
pub(crate) const UNREAD: Unread = Unread {
    texts: &["content", "text", "reasoning_content", "reasoning", "refusal", "obfuscation", "p"],
    numbers: &[],
};

/// Reads one response.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    pub(crate) draft: Draft,
    /// Last usage object, as written.
    usage: Vec<u8>,
    /// What each of several models took, where one name stands for them.
    breakdown: Vec<u8>,
    /// Choice and call index of each tool call in `draft.tools`.
    calls: Vec<(u64, Option<u64>)>,
    /// Finish reason of each choice, by index.
    stops: Stops,
}

impl Reader {
    pub(crate) fn event(&mut self, name: &[u8], data: &[u8]) -> Effect {
        if data.trim_ascii() == b"[DONE]" {
            self.draft.complete = true;
            return Effect::Read;
        }
        let Some(chunk) = Raw::whole(data) else { return Effect::Unreadable };
        let is_error = name == b"error";
        let changed = self.object(chunk);
        if is_error && self.draft.error.is_none() {
            self.draft.error = chunk.value();
        }
        if changed || is_error { Effect::Read } else { Effect::Silent }
    }

    pub(crate) fn body(&mut self, body: Raw<'_>) {
        self.draft.complete = true;
        if body.is_array() {
            self.draft.error = error_in(body);
        }
        self.object(body);
    }

    pub(crate) fn finish(mut self) -> Reading {
        let stops = std::mem::take(&mut self.stops).all();
        self.draft.stop = stops.first().cloned();
        let mut reading = self.draft.reading();
        if stops.len() > 1 {
            reading.stop_reasons = stops;
        }
        if let Some(written) = Raw::whole(&self.usage) {
            let usage = UsageMembers::of(written);
            reading.usage = normal(&usage);
            reading.reported_cost_nanodollars = reported_cost(&usage);
            // Mistral says its tier there.
            reading.terms.service_tier = reading.terms.service_tier.or_else(|| usage.text("service_tier"));
            reading.wire_usage = WireUsage::of(written);
        }
        let models = Raw::whole(&self.breakdown).and_then(|breakdown| breakdown.at("models"));
        reading.billed_runs = models.into_iter().flat_map(Raw::elements).filter_map(billed_run).collect();
        reading
    }

    /// A chunk or a whole body; whether it changed anything.
    fn object(&mut self, object: Raw<'_>) -> bool {
        let mut changed = false;
        let mut usage = None;
        for (key, value) in object.members().filter(|(_, value)| !value.is_null()) {
            match key.written() {
                b"id" if self.draft.id.is_none() => {
                    Draft::first(&mut self.draft.id, value);
                    changed = true;
                }
                b"model" if self.draft.model.is_none() => {
                    Draft::first(&mut self.draft.model, value);
                    changed = true;
                }
                b"service_tier" if self.draft.terms.service_tier.is_none() => {
                    Draft::first(&mut self.draft.terms.service_tier, value);
                    changed = true;
                }
                b"choices" => {
                    for choice in value.elements() {
                        changed |= self.choice(choice, &mut usage);
                    }
                }
                b"error" => {
                    self.draft.error = value.value();
                    changed = true;
                }
                // vLLM, Mistral: the object is the error.
                b"object" if value.bytes() == b"\"error\"" => {
                    self.draft.error = object.value();
                    changed = true;
                }
                // Groq, whose systems run several models.
                b"usage_breakdown" => {
                    self.breakdown = value.bytes().to_vec();
                    changed = true;
                }
                name => {
                    changed |= self.inside(name, value);
                    consider(&mut usage, USAGE_AT_TOP, name, value);
                }
            }
        }
        if let Some((_, found)) = usage {
            self.usage.clear();
            self.usage.extend_from_slice(found.bytes());
            changed = true;
        }
        changed
    }

    /// What Groq keeps in a member of its own beside the usage: why it has stopped early, and the breakdown of streams.
    fn inside(&mut self, name: &[u8], value: Raw<'_>) -> bool {
        if name != b"x_groq" {
            return false;
        }
        let (error, breakdown) = (value.at("error"), value.at("usage_breakdown"));
        if let Some(error) = error {
            self.draft.error = self.draft.error.take().or_else(|| error.value());
        }
        if let Some(breakdown) = breakdown {
            self.breakdown = breakdown.bytes().to_vec();
        }
        error.or(breakdown).is_some()
    }

    fn choice<'a>(&mut self, choice: Raw<'a>, usage: &mut Option<(usize, Raw<'a>)>) -> bool {
        let mut changed = false;
        let (mut index, mut reason, mut delta, mut message) = (0, None, None, None);
        for (key, value) in choice.members().filter(|(_, value)| !value.is_null()) {
            match key.written() {
                b"index" => index = value.count().unwrap_or(0),
                b"finish_reason" => reason = value.string(),
                b"delta" => delta = Some(value),
                b"message" => message = Some(value),
                // OpenRouter: of several choices one alone may fail.
                b"error" if self.draft.error.is_none() => {
                    self.draft.error = value.value();
                    changed = true;
                }
                name => consider(usage, USAGE_IN_CHOICE, name, value),
            }
        }
        if let Some(reason) = reason {
            self.stops.note(index, reason);
            changed = true;
        }
        // Perplexity sends both in a chunk: the delta is what is new.
        let Some(message) = delta.or(message) else { return changed };
        for (key, value) in message.members() {
            match key.written() {
                b"tool_calls" => {
                    for (place, call) in (0..).zip(value.elements()) {
                        self.call(index, place, call);
                        changed = true;
                    }
                }
                b"function_call" if value.is_object() => {
                    self.function_call(index, value);
                    changed = true;
                }
                _ => {}
            }
        }
        changed
    }

    /// A whole call, or a fragment of one: only the first fragment has id and name.
    fn call(&mut self, choice: u64, place: u64, call: Raw<'_>) {
        let id = call.at("id").and_then(Raw::string).unwrap_or_default();
        let kind = call.at("type").and_then(Raw::string).filter(|kind| !kind.is_empty());
        let body = CALL_BODIES.iter().find_map(|(member, input)| Some((call.at(member)?, *input)));
        let name = body.and_then(|(body, _)| body.at("name")).and_then(Raw::string).unwrap_or_default();
        let part = body.and_then(|(body, input)| body.at(input));
        let index = call.at("index").and_then(Raw::count);
        let whole = part.is_some_and(begins_an_object);
        // In a list without numbers a name behind the first is another call's.
        let apart = index.is_none() && place > 0 && !name.is_empty();
        let slot = if apart { None } else { self.slot(choice, index, &id, &name, whole) };
        let slot = slot.unwrap_or_else(|| {
            self.calls.push((choice, index));
            self.draft.tools.push(ToolUse::default());
            self.calls.len() - 1
        });
        let tool = &mut self.draft.tools[slot];
        for (held, new) in [(&mut tool.name, name), (&mut tool.id, id)] {
            if held.is_empty() {
                *held = new;
            }
        }
        if tool.kind.is_empty() {
            tool.kind = kind.unwrap_or_else(|| "function".into());
        }
        if let Some(part) = part {
            push_arguments(&mut tool.arguments, part);
        }
    }

    /// The call that a fragment belongs to. Where vendors number every call 0, or none, a new id with a name begins a
    /// new call; where they give no ids either, another name does, and an object after one that is whole.
    fn slot(&self, choice: u64, index: Option<u64>, id: &str, name: &str, whole: bool) -> Option<usize> {
        let same = |key: &(u64, Option<u64>)| key.0 == choice && (index.is_none() || key.1 == index);
        let slot = self.calls.iter().rposition(same)?;
        let held = &self.draft.tools[slot];
        let begins = match (held.id.is_empty(), id.is_empty()) {
            (false, false) => held.id != id,
            (true, true) => held.name != name || (whole && is_whole_object(&held.arguments)),
            _ => false,
        };
        (name.is_empty() || !begins).then_some(slot)
    }

    /// The legacy form, one per choice and without an id.
    fn function_call(&mut self, choice: u64, call: Raw<'_>) {
        let key = (choice, Some(u64::MAX));
        let slot = self.calls.iter().position(|k| *k == key).unwrap_or_else(|| {
            self.calls.push(key);
            self.draft.tools.push(ToolUse { kind: "function_call".into(), ..ToolUse::default() });
            self.calls.len() - 1
        });
        let tool = &mut self.draft.tools[slot];
        if tool.name.is_empty() {
            tool.name = call.at("name").and_then(Raw::string).unwrap_or_default();
        }
        if let Some(part) = call.at("arguments") {
            push_arguments(&mut tool.arguments, part);
        }
    }
}

/// What one of several models took.
fn billed_run(part: Raw<'_>) -> Option<BilledRun> {
    let usage = normal(&UsageMembers::of(part.at("usage")?));
    Some(BilledRun { model: part.at("model").and_then(Raw::string), usage, prompt: None })
}

/// Whether a piece of arguments begins an object: as text, or as itself.
fn begins_an_object(part: Raw<'_>) -> bool {
    part.is_object() || part.text().is_some_and(|text| text.starts_with('{'))
}

fn is_whole_object(arguments: &str) -> bool {
    arguments.len() > 1 && Raw::whole(arguments.as_bytes()).is_some_and(Raw::is_object)
}

/// Arguments are text that holds JSON; some vendors send the JSON itself.
fn push_arguments(held: &mut String, part: Raw<'_>) {
    if part.is_string() {
        held.push_str(&part.text().unwrap_or_default());
    } else {
        held.push_str(&String::from_utf8_lossy(part.bytes()));
    }
}

/// The normal form of an OpenAI usage object: its prompt includes what was read from and written to a cache.
pub(crate) fn normal(usage: &UsageMembers<'_>) -> Usage {
    let prompt = usage.count_in(PROMPT);
    let completion = usage.count_in(COMPLETION);
    let reasoning = usage.count_in(REASONING).unwrap_or(0);
    let audio_in = usage.count_in(AUDIO_IN);
    let total = usage.count_in(&["total_tokens"]);
    let seconds = seconds(usage);
    if prompt.is_none() && completion.is_none() && seconds.is_none() {
        return Usage::default();
    }
    with_uncached(Usage {
        input_tokens: with_excluded(prompt, completion, total, audio_in.unwrap_or(0)),
        output_tokens: with_excluded(completion, prompt, total, reasoning),
        cache_read_tokens: Some(usage.count_in(CACHE_READ).unwrap_or(0)),
        cache_write_tokens: Some(usage.count_in(CACHE_WRITE).unwrap_or(0)),
        reasoning_tokens: Some(reasoning),
        audio_input_tokens: audio_in,
        audio_output_tokens: usage.count_in(AUDIO_OUT),
        cache_read_audio_tokens: usage.at(CACHED_BY_KIND).and_then(|kinds| kinds.at("audio_tokens")?.count()),
        image_input_tokens: usage.count_in(IMAGE_IN),
        image_output_tokens: usage.count_in(IMAGE_OUT),
        web_searches: usage.count_in(WEB_SEARCHES),
        audio_seconds: seconds,
        ..Usage::default()
    })
}

/// Sound that is billed by its length.
fn seconds(usage: &UsageMembers<'_>) -> Option<u64> {
    let by_length = usage.text("type").is_some_and(|kind| kind == "duration");
    usage.number("seconds").filter(|_| by_length).and_then(whole_seconds)
}

/// Begun seconds count whole.
pub(super) fn whole_seconds(seconds: f64) -> Option<u64> {
    (0.0..1e9).contains(&seconds).then(|| seconds.ceil() as u64)
}

/// xAI leaves reasoning out of the completion, Mistral leaves audio out of the prompt. The total tells: it is the sum
/// of all three then, and of two elsewhere.
fn with_excluded(count: Option<u64>, other: Option<u64>, total: Option<u64>, part: u64) -> Option<u64> {
    let count = count?;
    let both = count.saturating_add(other.unwrap_or(0));
    let excluded = part > 0 && total == Some(both.saturating_add(part));
    Some(if excluded { count.saturating_add(part) } else { count })
}

/// A member that may hold the usage: its name, the member inside that does (if it is not itself), and its rank; of
/// several in one chunk the lowest counts.
type UsagePlace = (&'static str, Option<&'static str>, usize);

/// Keep the value if it is usage from a better place than the one found so far.
fn consider<'a>(found: &mut Option<(usize, Raw<'a>)>, places: &[UsagePlace], name: &[u8], value: Raw<'a>) {
    let Some((_, inside, rank)) = places.iter().find(|place| place.0.as_bytes() == name) else { return };
    let usage =
        inside.map_or(Some(value), |inside| value.at(inside)).filter(|usage| says_something(*usage, *rank));
    if let Some(usage) = usage.filter(|_| found.is_none_or(|(best, _)| rank < &best)) {
        *found = Some((*rank, usage));
    }
}

/// An object without members is as good as none; beside the usage proper Groq has one of its own hardware's caches.
fn says_something(usage: Raw<'_>, rank: usize) -> bool {
    let counts = || PROMPT.iter().chain(COMPLETION).any(|name| usage.at(name).is_some());
    usage.members().next().is_some() && (rank == 0 || counts())
}

const USAGE_AT_TOP: &[UsagePlace] = &[
    // OpenAI (a chunk of its own, asked for), Azure, Mistral, DeepSeek, Together, OpenRouter, Vercel, GPUStack (with the
    // finish reason, unasked), Perplexity and vLLM's continuous_usage_stats (in every chunk).
    ("usage", None, 0),
    // Groq, beside or instead of the above; never to be added to it.
    ("x_groq", Some("usage"), 1),
];

const USAGE_IN_CHOICE: &[UsagePlace] = &[
    // Moonshot.
    ("usage", None, 2),
];

/// Where a call keeps its name, and under which name its arguments stand there.
const CALL_BODIES: &[(&str, &str)] = &[
    ("function", "arguments"),
    // Custom tools take free text.
    ("custom", "input"),
];

const PROMPT: &[&str] = &["prompt_tokens", "input_tokens"];
const COMPLETION: &[&str] = &["completion_tokens", "output_tokens"];

const CACHE_READ: &[&str] = &[
    "prompt_tokens_details.cached_tokens",
    // Responses, images; Realtime.
    "input_tokens_details.cached_tokens",
    "input_token_details.cached_tokens",
    // DeepSeek, older models.
    "prompt_cache_hit_tokens",
    // Moonshot.
    "cached_tokens",
    // Mistral.
    "num_cached_tokens",
    // Claude behind compatible gateways.
    "cache_read_input_tokens",
];

const CACHE_WRITE: &[&str] = &[
    // OpenAI since gpt-5.6, OpenRouter.
    "prompt_tokens_details.cache_write_tokens",
    "input_tokens_details.cache_write_tokens",
    "cache_write_tokens",
    // Vercel's gateway.
    "cache_creation_input_tokens",
];

const REASONING: &[&str] = &[
    "completion_tokens_details.reasoning_tokens",
    "output_tokens_details.reasoning_tokens",
    // Perplexity's research models.
    "reasoning_tokens",
];

const IMAGE_IN: &[&str] = &[
    "prompt_tokens_details.image_tokens",
    "input_tokens_details.image_tokens",
    // Realtime.
    "input_token_details.image_tokens",
];

const IMAGE_OUT: &[&str] = &["completion_tokens_details.image_tokens", "output_tokens_details.image_tokens"];

/// Realtime's: what was read from the cache, by kind.
const CACHED_BY_KIND: &str = "input_token_details.cached_tokens_details";

const WEB_SEARCHES: &[&str] = &[
    // xAI.
    "server_side_tool_usage_details.web_search_calls",
    // Claude behind compatible gateways; OpenRouter.
    "server_tool_use.web_search_requests",
    "server_tool_use_details.web_search_requests",
    // Perplexity's research models.
    "num_search_queries",
];

const AUDIO_OUT: &[&str] = &["completion_tokens_details.audio_tokens", "output_token_details.audio_tokens"];

const AUDIO_IN: &[&str] = &[
    "prompt_tokens_details.audio_tokens",
    "input_token_details.audio_tokens",
    // Azure AI models.
    "audio_prompt_tokens",
];
