//! What a request asks, as far as the answer depends on it, whatever the dialect.

use super::api::{Api, Dialect};
use super::prose;
use super::{Claim, ToolCall};
use crate::http::{hash, mix};
use crate::json::{Value, quote};
use crate::knobs::Knobs;

pub(super) struct Asked {
    pub(super) dialect: Dialect,
    pub(super) model: String,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    pub(super) seed: u64,
    pub(super) tools: Vec<ToolCall>,
    /// The answer a schema in the request demands.
    pub(super) structured: Option<String>,
    pub(super) tokens_in: u64,
    /// Of which stood already in an earlier turn.
    pub(super) tokens_seen: u64,
    pub(super) marks_cache: bool,
    /// Gemini: server-sent events rather than an array.
    pub(super) sse: bool,
    /// Responses: answered at once, made later.
    pub(super) background: bool,
    /// Embeddings and moderations: how many inputs, of how many dimensions, written how.
    pub(super) inputs: usize,
    pub(super) dimensions: usize,
    pub(super) base64: bool,
    /// Ollama: `/api/generate`, told by its prompt. Gemini: one embedding rather than a batch.
    pub(super) single: bool,
}

impl Asked {
    pub(super) fn read(api: &Api, body: &[u8], knobs: &Knobs) -> Option<Asked> {
        if knobs.blind {
            return Some(Asked::blind(api, knobs));
        }
        let value = Value::parse(body).filter(|value| matches!(value, Value::Object(_)))?;
        let turns = ["messages", "contents", "input"].iter().find_map(|name| value.field(name));
        let turns = turns.map(Value::items).unwrap_or_default();
        let last = turns.last().map_or(0, Value::weight);
        let total = tokens(value.weight());
        let seed = knobs.seed.unwrap_or_else(|| hash(body));
        let said = value.field("model").and_then(Value::text);
        let background = value.field("background").is_some_and(Value::truth);
        // NDJSON streams unless told not to.
        let streams = match value.field("stream") {
            Some(stream) => stream.truth(),
            None => api.dialect == Dialect::Ollama,
        };
        let inputs =
            value.field("input").or(value.field("requests")).map_or(1, |input| input.items().len().max(1));
        let dimensions = value.field("dimensions").and_then(Value::number).unwrap_or(8.0);
        Some(Asked {
            dialect: api.dialect,
            model: api.model.clone().or(said.map(str::to_owned)).unwrap_or_else(|| "synthetic".to_owned()),
            stream: knobs.stream.or(api.stream).unwrap_or(streams) && !background,
            include_usage: value.path(&["stream_options", "include_usage"]).is_some_and(Value::truth),
            seed,
            tools: if background {
                Vec::new()
            } else {
                calls(&value, turns.last(), api.dialect, seed, knobs)
            },
            structured: schema_of(&value).map(|schema| example(schema, "", seed, 0)),
            tokens_in: total,
            tokens_seen: if turns.len() > 1 { total - tokens(last).min(total) } else { 0 },
            marks_cache: value.mentions("cache_control") || value.mentions("cachePoint"),
            sse: api.sse,
            background,
            inputs: inputs.min(2048),
            dimensions: (dimensions as usize).clamp(1, 4096),
            base64: value.field("encoding_format").and_then(Value::text) == Some("base64"),
            single: value.field("prompt").is_some() || value.field("content").is_some(),
        })
    }

    fn blind(api: &Api, knobs: &Knobs) -> Asked {
        Asked {
            dialect: api.dialect,
            model: "synthetic".to_owned(),
            stream: knobs.stream.or(api.stream).unwrap_or(true),
            include_usage: true,
            seed: knobs.seed.unwrap_or(0),
            tools: Vec::new(),
            structured: None,
            tokens_in: BLIND_TOKENS_IN,
            tokens_seen: 0,
            marks_cache: false,
            sse: api.sse,
            background: false,
            inputs: 1,
            dimensions: 8,
            base64: false,
            single: false,
        }
    }

    pub(super) fn id(&self, prefix: &str) -> String {
        format!("{prefix}{:016x}{:08x}", mix(self.seed ^ 1), mix(self.seed ^ 2) >> 32)
    }

    /// A date of the request's own, so that it can be rebuilt; in seconds since 1970.
    pub(super) fn date(&self) -> u64 {
        1_750_000_000 + self.seed % 10_000_000
    }

    /// What a whole answer says: of `bytes`, its frame takes `frame`.
    pub(super) fn text(&self, knobs: &Knobs, frame: usize) -> String {
        let usual = 80 + self.seed as usize % 400;
        let text_bytes = knobs.bytes.map_or(usual, |bytes| bytes.saturating_sub(frame).max(1));
        let prose = prose::Prose { events: 1, text_bytes, seed: self.seed, stamp: false };
        self.structured.clone().unwrap_or_else(|| prose.all())
    }

    /// The account of an answer with that much text, counted as the dialect counts.
    pub(super) fn claim(&self, text_bytes: u64, stop: &'static str) -> Claim {
        let new = self.tokens_in - self.tokens_seen;
        let arguments: usize = self.tools.iter().map(|t| t.arguments.len() + t.name.len()).sum();
        let (tokens_in, read, write) = match (self.dialect.cache_beside(), self.marks_cache) {
            (true, true) => {
                let write = new.saturating_sub(4);
                (new - write, self.tokens_seen, write)
            }
            (true, false) => (new, self.tokens_seen, 0),
            // Cached in steps of 128, as the vendor does.
            (false, _) => (self.tokens_in, self.tokens_seen / 128 * 128, 0),
        };
        Claim {
            dialect: self.dialect.name(),
            id: self.id(self.dialect.prefixes().0),
            model: self.model.clone(),
            stream: self.stream,
            tokens_in,
            tokens_cache_read: read,
            tokens_cache_write: write,
            tokens_out: text_bytes / 4 + arguments as u64 / 3 + 8,
            tokens_reasoning: 0,
            usage_sent: true,
            stop,
            tools: self.tools.clone(),
        }
    }
}

/// Claimed where the body was not looked into.
const BLIND_TOKENS_IN: u64 = 1_000;

/// About four bytes a token, never none.
fn tokens(bytes: usize) -> u64 {
    (bytes as u64 / 4).max(1)
}

/// The tool calls of the answer: one while declared tools have not been answered, none after a result.
fn calls(request: &Value, last: Option<&Value>, dialect: Dialect, seed: u64, knobs: &Knobs) -> Vec<ToolCall> {
    let declared = declared(request);
    let refused = match request.field("tool_choice") {
        Some(choice) => {
            choice.text() == Some("none") || choice.field("type").and_then(Value::text) == Some("none")
        }
        None => false,
    };
    let answered = last.is_some_and(is_tool_result);
    let count = knobs.tools.unwrap_or(u32::from(!declared.is_empty() && !refused && !answered));
    (0..count).map(|n| call(&declared, dialect, mix(seed ^ (u64::from(n) << 32)), n)).collect()
}

struct Tool<'a> {
    name: &'a str,
    schema: Option<&'a Value>,
    /// Takes a text.
    custom: bool,
}

/// The tools a client would run itself, wherever the dialects declare them.
fn declared(request: &Value) -> Vec<Tool<'_>> {
    let tools = request.field("tools").or(request.path(&["toolConfig", "tools"]));
    // Codex declares its tools in an item of the input.
    let later = request.field("input").map(Value::items).unwrap_or_default().iter();
    let lists = tools.into_iter().chain(later.filter_map(|item| item.field("tools")));
    let mut found = Vec::new();
    lists.for_each(|list| leaves(list, &mut found));
    found.into_iter().filter_map(Tool::read).collect()
}

/// Tools stand in lists, in groups of declarations, in namespaces.
fn leaves<'a>(list: &'a Value, found: &mut Vec<&'a Value>) {
    for tool in list.items() {
        let inner = ["functionDeclarations", "function_declarations", "tools"];
        match inner.iter().find_map(|name| tool.field(name)) {
            Some(inner) => leaves(inner, found),
            None => found.push(tool),
        }
    }
}

impl Tool<'_> {
    /// Server tools (no schema of their own) are not the client's to run.
    fn read(tool: &Value) -> Option<Tool<'_>> {
        let inner = tool.field("function").or(tool.field("toolSpec")).unwrap_or(tool);
        let schema =
            ["input_schema", "parameters", "parametersJsonSchema", "parameters_json_schema", "inputSchema"];
        let schema = schema.iter().find_map(|name| inner.field(name));
        let schema = schema.map(|schema| schema.field("json").unwrap_or(schema));
        let function = tool.field("function").is_some();
        let custom = tool.field("type").and_then(Value::text) == Some("custom");
        let name = inner.field("name").and_then(Value::text)?;
        (schema.is_some() || function || custom).then_some(Tool { name, schema, custom })
    }
}

/// Shells of real agents are asked for something harmless that they can be told to allow.
const SHELLS: [(&str, &str); 7] = [
    // Codex's newest takes a program, which calls the shell.
    ("exec", r#"text(await tools.exec_command({cmd: "echo weir-tool-ok"}));"#),
    ("Bash", r#"{"command":"echo weir-tool-ok","description":"Say that the tool ran"}"#),
    ("bash", r#"{"command":"echo weir-tool-ok","description":"Say that the tool ran"}"#),
    ("run_shell_command", r#"{"command":"echo weir-tool-ok","description":"Say that the tool ran"}"#),
    ("exec_command", r#"{"cmd":"echo weir-tool-ok"}"#),
    ("shell_command", r#"{"command":"echo weir-tool-ok"}"#),
    ("shell", r#"{"command":["bash","-lc","echo weir-tool-ok"]}"#),
];

fn call(declared: &[Tool], dialect: Dialect, seed: u64, n: u32) -> ToolCall {
    let id = format!("{}{seed:016x}{:08x}", dialect.prefixes().1, mix(seed) >> 32);
    // A text is what `exec` takes and no other shell does.
    let fits = |tool: &Tool, name: &str| tool.name == name && tool.custom == (name == "exec");
    let shell = SHELLS.iter().find(|(name, _)| declared.iter().any(|tool| fits(tool, name)));
    if let (0, Some((name, arguments))) = (n, shell) {
        let (name, arguments) = ((*name).to_owned(), (*arguments).to_owned());
        return ToolCall { id, custom: name == "exec", name, arguments };
    }
    match declared.get(seed as usize % declared.len().max(1)) {
        Some(tool) => {
            let arguments = match tool.custom {
                true => prose::line(seed, 40),
                false => tool.schema.map_or("{}".to_owned(), |s| example(s, "", seed, 0)),
            };
            ToolCall { id, name: tool.name.to_owned(), arguments, custom: tool.custom }
        }
        None => {
            let arguments = format!("{{\"city\":\"Paris\",\"days\":{}}}", seed % 9 + 1);
            ToolCall { id, name: "get_weather".to_owned(), arguments, custom: false }
        }
    }
}

/// Whether a turn brings what a tool said, in any dialect.
fn is_tool_result(turn: &Value) -> bool {
    let role = turn.field("role").and_then(Value::text);
    let kind = |value: &Value| value.field("type").and_then(Value::text).unwrap_or("").to_owned();
    let blocks = turn.field("content").or(turn.field("parts")).map(Value::items).unwrap_or_default();
    let is_result = |block: &Value| {
        let named = ["toolResult", "functionResponse", "function_response"];
        kind(block) == "tool_result" || named.iter().any(|name| block.field(name).is_some())
    };
    role == Some("tool") || kind(turn).ends_with("_call_output") || blocks.iter().any(is_result)
}

/// The schema the answer's text must keep to, in the places the vendors put it.
fn schema_of(request: &Value) -> Option<&Value> {
    let places: [&[&str]; 9] = [
        &["output_config", "format", "schema"],
        &["output_format", "schema"],
        &["response_format", "json_schema", "schema"],
        &["text", "format", "schema"],
        &["generationConfig", "responseJsonSchema"],
        &["generationConfig", "responseSchema"],
        &["generation_config", "response_json_schema"],
        &["generation_config", "response_schema"],
        &["format"],
    ];
    places.iter().find_map(|path| request.path(path)).filter(|schema| matches!(schema, Value::Object(_)))
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
    let otherwise = if schema.field("properties").is_some() { "object" } else { "string" };
    // Google writes the names of types in capitals.
    match kind.unwrap_or(otherwise).to_ascii_lowercase().as_str() {
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

/// Cut JSON arguments into fragments as providers do: an empty one first, then uneven ones.
pub(super) fn fragments(arguments: &str, seed: u64) -> Vec<&str> {
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
