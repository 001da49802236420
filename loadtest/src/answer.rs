//! What the provider says to a request: a pure function of path, body and [`Knobs`], so that a client can rebuild it.
//!
//! Two dialects, Anthropic Messages and OpenAI Chat Completions, with every field the vendors' SDKs insist on. Events
//! of a stream are written on demand from a few templates: a stream of a million events costs no memory.

mod chat;
mod messages;
mod prose;

use std::ops::Range;

use crate::http::{hash, mix};
use crate::json::{Value, quote};
use crate::knobs::{Fault, Knobs};

/// One answer, ready to be put on the wire by a [`crate::plan::Plan`] or compared by an [`crate::Expect`].
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Content,
    pub claim: Claim,
}

#[derive(Debug, Clone)]
pub enum Content {
    Whole(Vec<u8>),
    Events(Events),
}

/// What the answer says about itself on the wire. Token counts are the dialect's own: OpenAI's input includes the
/// cached part, Anthropic's does not.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Claim {
    pub dialect: &'static str,
    pub id: String,
    pub model: String,
    pub stream: bool,
    pub tokens_in: u64,
    pub tokens_cache_read: u64,
    pub tokens_cache_write: u64,
    pub tokens_out: u64,
    /// False where the dialect sends no usage: Chat streams without `include_usage`, errors, other paths.
    pub usage_sent: bool,
    pub stop: &'static str,
    pub tools: Vec<ToolCall>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    /// JSON, exactly as the fragments add up to.
    pub arguments: String,
}

impl Answer {
    pub fn new(method: &str, target: &str, body: &[u8], knobs: &Knobs) -> Answer {
        let path = target.split('?').next().unwrap_or("");
        // A base path before the API's own is somebody's route to here.
        let path = path.find("/v1/").map_or(path, |at| &path[at..]);
        if let Some(Fault::Status(status)) = knobs.fault {
            return error(status, path, body, knobs);
        }
        match (method, path) {
            ("HEAD", _) => empty(),
            ("GET", "/v1/models") => models(),
            ("POST", "/v1/messages" | "/v1/chat/completions") => match Asked::read(path, body, knobs) {
                Some(asked) if asked.chat => chat::answer(&asked, knobs),
                Some(asked) => messages::answer(&asked, knobs),
                None => error(400, path, body, knobs),
            },
            ("POST", "/v1/messages/count_tokens") => match Value::parse(body) {
                Some(value) => json(200, format!("{{\"input_tokens\":{}}}", tokens(value.weight()))),
                None => error(400, path, body, knobs),
            },
            _ => error(404, path, body, knobs),
        }
    }

    /// The text of the answer as a client would assemble it, without stamps' digits.
    pub fn text(&self) -> String {
        match &self.body {
            Content::Events(events) => events.said.clone().unwrap_or_else(|| events.prose.all()),
            Content::Whole(_) => self.claim_text().unwrap_or_default(),
        }
    }

    fn claim_text(&self) -> Option<String> {
        let Content::Whole(body) = &self.body else { return None };
        let value = Value::parse(body)?;
        let blocks = value.field("content").map(Value::items).unwrap_or_default();
        let choice = value.field("choices").and_then(|c| c.items().first());
        let said = choice.and_then(|c| c.path(&["message", "content"])).and_then(Value::text);
        let text = blocks.iter().find_map(|b| b.field("text").and_then(Value::text));
        text.or(said).map(str::to_owned)
    }
}

/// The events of a stream: some before the text, the text by template, some after.
#[derive(Debug, Clone)]
pub struct Events {
    opening: Vec<Vec<u8>>,
    prose: prose::Prose,
    prefix: Vec<u8>,
    suffix: Vec<u8>,
    closing: Vec<Vec<u8>>,
    /// Set where the text is not prose (an answer held to a schema is in `opening`).
    said: Option<String>,
}

impl Events {
    pub fn count(&self) -> u64 {
        (self.opening.len() + self.closing.len()) as u64 + self.prose.events
    }

    /// Whether event `i` is one of the paced text events.
    pub fn is_text(&self, i: u64) -> bool {
        i.checked_sub(self.opening.len() as u64).is_some_and(|i| i < self.prose.events)
    }

    /// Append event `i`; returns where in `out` its stamp stands, if it has one.
    pub fn write(&self, i: u64, stamp_ns: u64, out: &mut Vec<u8>) -> Option<Range<usize>> {
        let Some(text) = i.checked_sub(self.opening.len() as u64) else {
            out.extend_from_slice(&self.opening[i as usize]);
            return None;
        };
        let Some(after) = text.checked_sub(self.prose.events) else {
            out.extend_from_slice(&self.prefix);
            let stamp = self.prose.write(text, stamp_ns, out);
            out.extend_from_slice(&self.suffix);
            return stamp;
        };
        out.extend_from_slice(&self.closing[after as usize]);
        None
    }
}

/// What the request asks, as far as the answer depends on it.
struct Asked {
    chat: bool,
    model: String,
    stream: bool,
    include_usage: bool,
    seed: u64,
    tools: Vec<ToolCall>,
    /// The answer a schema in the request demands.
    structured: Option<String>,
    tokens_in: u64,
    /// Of which stood already in an earlier turn.
    tokens_seen: u64,
    marks_cache: bool,
}

impl Asked {
    fn read(path: &str, body: &[u8], knobs: &Knobs) -> Option<Asked> {
        let chat = path.ends_with("completions");
        if knobs.blind {
            return Some(Asked::blind(chat, knobs));
        }
        let value = Value::parse(body)?;
        let messages = value.field("messages").map(Value::items).unwrap_or_default();
        let last = messages.last().map_or(0, Value::weight);
        let total = tokens(value.weight());
        let seed = knobs.seed.unwrap_or_else(|| hash(body));
        Some(Asked {
            chat,
            model: value.field("model").and_then(Value::text).unwrap_or("synthetic").to_owned(),
            stream: knobs.stream.unwrap_or_else(|| value.field("stream").is_some_and(Value::truth)),
            include_usage: value.path(&["stream_options", "include_usage"]).is_some_and(Value::truth),
            seed,
            tools: calls(&value, messages.last(), chat, seed, knobs),
            structured: schema_of(&value).map(|schema| example(schema, "", seed, 0)),
            tokens_in: total,
            tokens_seen: if messages.len() > 1 { total - tokens(last).min(total) } else { 0 },
            marks_cache: value.mentions("cache_control"),
        })
    }

    fn blind(chat: bool, knobs: &Knobs) -> Asked {
        Asked {
            chat,
            model: "synthetic".to_owned(),
            stream: knobs.stream.unwrap_or(true),
            include_usage: true,
            seed: knobs.seed.unwrap_or(0),
            tools: Vec::new(),
            structured: None,
            tokens_in: BLIND_TOKENS_IN,
            tokens_seen: 0,
            marks_cache: false,
        }
    }

    fn id(&self, prefix: &str) -> String {
        format!("{prefix}{:016x}{:08x}", mix(self.seed ^ 1), mix(self.seed ^ 2) >> 32)
    }
}

/// Claimed where the body was not looked into.
const BLIND_TOKENS_IN: u64 = 1_000;

/// About four bytes a token, never none.
fn tokens(bytes: usize) -> u64 {
    (bytes as u64 / 4).max(1)
}

/// The tool calls of the answer: one while declared tools have not been answered, none after a result.
fn calls(request: &Value, last: Option<&Value>, chat: bool, seed: u64, knobs: &Knobs) -> Vec<ToolCall> {
    let declared: Vec<Tool> =
        request.field("tools").map(Value::items).unwrap_or_default().iter().filter_map(Tool::read).collect();
    let refused = match request.field("tool_choice") {
        Some(choice) => {
            choice.text() == Some("none") || choice.field("type").and_then(Value::text) == Some("none")
        }
        None => false,
    };
    let answered = last.is_some_and(is_tool_result);
    let count = knobs.tools.unwrap_or(u32::from(!declared.is_empty() && !refused && !answered));
    (0..count).map(|n| call(&declared, chat, mix(seed ^ (u64::from(n) << 32)), n)).collect()
}

struct Tool<'a> {
    name: &'a str,
    schema: Option<&'a Value>,
}

impl Tool<'_> {
    /// Server tools (no schema of their own) are not the client's to run.
    fn read(tool: &Value) -> Option<Tool<'_>> {
        let inner = tool.field("function").unwrap_or(tool);
        let schema = inner.field("input_schema").or_else(|| inner.field("parameters"));
        let function = tool.field("function").is_some();
        let name = inner.field("name").and_then(Value::text)?;
        (schema.is_some() || function).then_some(Tool { name, schema })
    }
}

/// Where real agents are served, `Bash` is called with something harmless they are known to allow.
fn call(declared: &[Tool], chat: bool, seed: u64, n: u32) -> ToolCall {
    let prefix = if chat { "call_" } else { "toolu_" };
    let id = format!("{prefix}{seed:016x}{:08x}", mix(seed) >> 32);
    let bash = declared.iter().find(|t| t.name == "Bash");
    if let (0, Some(_)) = (n, bash) {
        let arguments = r#"{"command":"echo weir-tool-ok","description":"Say that the tool ran"}"#.to_owned();
        return ToolCall { id, name: "Bash".to_owned(), arguments };
    }
    match declared.get(seed as usize % declared.len().max(1)) {
        Some(tool) => {
            let arguments = tool.schema.map_or("{}".to_owned(), |s| example(s, "", seed, 0));
            ToolCall { id, name: tool.name.to_owned(), arguments }
        }
        None => {
            let arguments = format!("{{\"city\":\"Paris\",\"days\":{}}}", seed % 9 + 1);
            ToolCall { id, name: "get_weather".to_owned(), arguments }
        }
    }
}

fn is_tool_result(message: &Value) -> bool {
    let role = message.field("role").and_then(Value::text);
    let blocks = message.field("content").map(Value::items).unwrap_or_default();
    role == Some("tool")
        || blocks.iter().any(|b| b.field("type").and_then(Value::text) == Some("tool_result"))
}

/// The schema the answer's text must keep to, in the places the vendors put it.
fn schema_of(request: &Value) -> Option<&Value> {
    [
        &["output_config", "format", "schema"][..],
        &["output_format", "schema"],
        &["response_format", "json_schema", "schema"],
    ]
    .iter()
    .find_map(|path| request.path(path))
}

/// A value that a JSON Schema accepts in the common cases: required properties, enums, plain types.
fn example(schema: &Value, name: &str, seed: u64, depth: usize) -> String {
    if let Some(first) = schema.field("enum").and_then(|e| e.items().first()) {
        return first.text().map_or_else(|| "null".to_owned(), quote);
    }
    if depth > 8 {
        return "null".to_owned();
    }
    let kind = schema.field("type");
    let kind = kind.and_then(|k| k.text().or_else(|| k.items().first().and_then(Value::text)));
    match kind.unwrap_or(if schema.field("properties").is_some() { "object" } else { "string" }) {
        "object" => example_object(schema, seed, depth),
        "array" => match schema.field("items") {
            Some(item) => format!("[{}]", example(item, name, seed, depth + 1)),
            None => "[]".to_owned(),
        },
        "integer" | "number" => (seed % 7 + 1).to_string(),
        "boolean" => "false".to_owned(),
        "null" => "null".to_owned(),
        _ => quote(&example_text(name, seed)),
    }
}

fn example_object(schema: &Value, seed: u64, depth: usize) -> String {
    let Some(Value::Object(properties)) = schema.field("properties") else { return "{}".to_owned() };
    let required = schema.field("required").map(Value::items).unwrap_or_default();
    let wanted = |name: &str| required.is_empty() || required.iter().any(|r| r.text() == Some(name));
    let fields: Vec<String> = properties
        .iter()
        .filter(|(name, _)| wanted(name))
        .map(|(name, inner)| format!("{}:{}", quote(name), example(inner, name, mix(seed), depth + 1)))
        .collect();
    format!("{{{}}}", fields.join(","))
}

fn example_text(name: &str, seed: u64) -> String {
    let name = name.to_ascii_lowercase();
    match () {
        () if name.contains("command") => "ls -la".to_owned(),
        () if name.contains("path") || name.contains("file") => format!("src/part_{}.rs", seed % 40),
        () if name.contains("url") => "https://example.com/".to_owned(),
        () if name.contains("pattern") || name.contains("query") => format!("fn part_{}", seed % 40),
        () => prose::line(seed, 24),
    }
}

fn json(status: u16, body: String) -> Answer {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    Answer { status, headers, body: Content::Whole(body.into_bytes()), claim: Claim::default() }
}

fn empty() -> Answer {
    Answer { status: 200, headers: Vec::new(), body: Content::Whole(Vec::new()), claim: Claim::default() }
}

/// One list that both vendors' SDKs can read.
fn models() -> Answer {
    let model = |id: &str| {
        format!(
            "{{\"id\":\"{id}\",\"type\":\"model\",\"object\":\"model\",\"display_name\":\"{id}\",\
             \"created\":1750000000,\"created_at\":\"2025-06-15T15:06:40Z\",\"owned_by\":\"synthetic\"}}"
        )
    };
    let list = format!("{},{}", model("synthetic-large"), model("synthetic-small"));
    json(
        200,
        format!(
            "{{\"object\":\"list\",\"data\":[{list}],\"has_more\":false,\"first_id\":\"synthetic-large\",\
             \"last_id\":\"synthetic-small\"}}"
        ),
    )
}

/// An error in the dialect of the path, with the headers vendors send along.
fn error(status: u16, path: &str, body: &[u8], knobs: &Knobs) -> Answer {
    let seed = knobs.seed.unwrap_or_else(|| if knobs.blind { 0 } else { hash(body) });
    let request = format!("req_{:016x}", mix(seed));
    let (kind, message) = error_words(status);
    let text = if path.contains("chat") {
        format!(
            "{{\"error\":{{\"message\":\"{message}\",\"type\":\"{kind}\",\"param\":null,\"code\":\"{kind}\"}}}}"
        )
    } else {
        format!(
            "{{\"type\":\"error\",\"error\":{{\"type\":\"{kind}\",\"message\":\"{message}\"}},\
             \"request_id\":\"{request}\"}}"
        )
    };
    let mut answer = json(status, text);
    answer.headers.push(("request-id".to_owned(), request));
    if let Some(seconds) = knobs.retry_after.or((status == 429).then_some(1)) {
        answer.headers.push(("retry-after".to_owned(), seconds.to_string()));
    }
    answer
}

fn error_words(status: u16) -> (&'static str, &'static str) {
    match status {
        400 => ("invalid_request_error", "The body is not what this endpoint takes"),
        401 => ("authentication_error", "invalid x-api-key"),
        404 => ("not_found_error", "Not found"),
        429 => ("rate_limit_error", "This request would exceed your rate limit"),
        529 => ("overloaded_error", "Overloaded"),
        _ => ("api_error", "Internal server error"),
    }
}

/// Cut JSON arguments into fragments as providers do: an empty one first, then uneven ones.
fn fragments(arguments: &str, seed: u64) -> Vec<&str> {
    let (mut parts, mut at) = (vec![""], 0);
    while at < arguments.len() {
        let mut end = (at + 4 + mix(seed ^ at as u64) as usize % 24).min(arguments.len());
        while !arguments.is_char_boundary(end) {
            end += 1;
        }
        parts.push(&arguments[at..end]);
        at = end;
    }
    parts
}

#[cfg(test)]
mod tests;
