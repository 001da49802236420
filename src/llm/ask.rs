//! What a request wants: read from its body in one forward scan while it arrives.
//!
//! The scan ([`crate::wire::json::scan`]) checks the whole body's grammar and leaps over its texts; here only keys near the
//! top are looked at. Of `messages` and `tools`, often hundreds of kilobytes, nothing is built: the watch notes where
//! values lie and, of each message, its role and its last text. What was cut out is read at the end.
//!
//! What is judged is what is sent: keys are compared unescaped, and a key that decides something may come only once, in
//! any case, so that no parser behind us can see another value than we did.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::dialect::Dialect;
use super::dialect::paths::{Endpoint, Route};
use super::objects;
use crate::wire::json::scan::{Broken, Scan, Watch};
use crate::wire::json::{Raw, unescape, unescape_start};

/// What a request asks for, as far as weir needs to know.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ask {
    /// Model as named by the client.
    pub model: Option<String>,
    /// Every other model that the request names and that may be run for it (OpenRouter's `models`, tools with a model).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_models: Vec<String>,
    /// Whether the client asked for a stream.
    pub stream: bool,
    /// Names of declared tools, in order; provider-run tools by their `type` where they have no name.
    pub tools: Vec<String>,
    /// Text of the last user message, cut to [`USER_MESSAGE_BYTES_MAX`] at a character.
    pub user_message: Option<String>,
    /// Number of messages in the request's history.
    pub messages: u32,
    /// Bound on generated tokens that the client set.
    pub max_tokens: Option<u64>,
    /// Chat: whether `stream_options.include_usage` was asked for.
    pub include_usage: bool,
    /// Messages: `metadata.user_id`, as written (a session hint).
    pub metadata_user_id: Option<String>,
    /// `prompt_cache_key` (a session hint).
    pub prompt_cache_key: Option<String>,
    /// A session id that the body itself carries (Code Assist's `session_id`).
    pub session_id: Option<String>,
    /// `previous_response_id` (a session hint).
    pub previous_response_id: Option<String>,
    /// Ids of provider-side objects that the request names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<String>,
    /// Whether the answer is to be kept at the provider, where the request says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<bool>,
    /// OpenAI `user` or `safety_identifier`.
    pub user: Option<String>,
    /// First text of the system prompt, cut short: names the agent where headers do not.
    pub system_start: Option<String>,
    /// Hash over the stable parts of system prompt and first user message: the last resort for finding a session.
    pub fingerprint: u64,
}

/// Longest user message kept with a record's metadata, in bytes.
pub const USER_MESSAGE_BYTES_MAX: usize = 512;

/// Longest beginning of a system prompt that is kept.
pub const SYSTEM_START_BYTES_MAX: usize = 256;

/// Why a request body cannot be read. The text is for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskFault {
    /// Not JSON; where it stops being so.
    NotJson {
        /// Offset of the first byte that cannot be.
        at: usize,
    },
    /// JSON, but not an object.
    NotAnObject,
    /// A key that decides something came twice, or in two spellings.
    DuplicateKey(String),
    /// Nested deeper than is followed.
    TooDeep,
    /// No `model` where the body has to name one.
    NoModel,
    /// `model` is not a text, or an empty one.
    ModelNotAString,
    /// A message on a socket whose type is not known: it could ask for anything.
    UnknownMessage,
    /// A form that cannot be read, or could be in two ways.
    NotAForm(&'static str),
    /// A request of a batch that cannot be read.
    BatchLine(&'static str),
}

impl fmt::Display for AskFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AskFault::NotJson { at } => {
                write!(f, "the request body is not JSON: unexpected byte or end at offset {at}")
            }
            AskFault::NotAnObject => write!(f, "the request body is not a JSON object"),
            AskFault::DuplicateKey(key) => {
                write!(f, "the request body has the key \"{key}\" twice; which of them counts is not defined")
            }
            AskFault::TooDeep => write!(f, "the request body is nested deeper than 128 levels"),
            AskFault::NoModel => write!(f, "the request body names no model"),
            AskFault::NotAForm(why) => {
                write!(f, "the request body is no form that can be read in one way only: {why}")
            }
            AskFault::BatchLine(why) => write!(f, "a request of the batch {why}"),
            AskFault::ModelNotAString => write!(f, "\"model\" in the request body is not a non-empty string"),
            AskFault::UnknownMessage => write!(f, "a message of a type that is not known here"),
        }
    }
}

impl std::error::Error for AskFault {}

/// Reads a request body that grows.
pub struct AskReader {
    scan: Scan,
    finds: Finds,
    dialect: Dialect,
    model_in_path: Option<String>,
    /// The path asks for a stream.
    stream_in_path: bool,
    /// Models that something beside the body names.
    more_models: Vec<String>,
    /// The endpoint takes bodies that name no model.
    model_optional: bool,
}

impl AskReader {
    /// A reader for a body in that language.
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        AskReader {
            scan: Scan::default(),
            finds: Finds::new(dialect),
            dialect,
            model_in_path: None,
            stream_in_path: false,
            more_models: Vec::new(),
            model_optional: false,
        }
    }

    /// A reader for a request to that route, whose path may have said a part already.
    #[must_use]
    pub fn for_route(route: &Route) -> Self {
        let reader = AskReader::new(route.dialect).with_model_in_path(route.model_in_path.clone());
        let model_optional = matches!(
            route.endpoint,
            Endpoint::Make | Endpoint::Object | Endpoint::Retrieve | Endpoint::Results
        );
        AskReader { stream_in_path: route.stream, model_optional, ..reader }
    }

    /// The path has named the model already: the body need not.
    #[must_use]
    pub fn with_model_in_path(self, model: Option<String>) -> Self {
        AskReader { model_in_path: model, ..self }
    }

    /// Models that the query names count like those of the body.
    #[must_use]
    pub fn with_more_models(self, more_models: Vec<String>) -> Self {
        AskReader { more_models, ..self }
    }

    /// Read on. `body` is everything received so far; cheap to call after each read. `true` once the model is known.
    pub fn advance(&mut self, body: &[u8]) -> Result<bool, AskFault> {
        let scanned = self.scan.advance(body, &mut self.finds);
        self.fault(scanned)?;
        Ok(self.model_in_path.is_some() || self.finds.span(Top::Model).is_some())
    }

    /// The model, as soon as it is known.
    #[must_use]
    pub fn model<'a>(&'a self, body: &'a [u8]) -> Option<Cow<'a, str>> {
        match &self.model_in_path {
            Some(model) => Some(Cow::Borrowed(model)),
            None => self.finds.value(body, Top::Model)?.text(),
        }
    }

    /// Where the model's JSON string stands in the body, quotes included: what an alias replaces.
    #[must_use]
    pub fn model_span(&self) -> Option<Range<usize>> {
        self.finds.span(Top::Model)
    }

    /// The body is complete: read what was cut out of it.
    pub fn finish(self, body: &[u8]) -> Result<Ask, AskFault> {
        self.finish_placed(body).map(|(ask, _)| ask)
    }

    /// As [`AskReader::finish`], and where the model's JSON string stands.
    pub fn finish_placed(mut self, body: &[u8]) -> Result<(Ask, Option<Range<usize>>), AskFault> {
        let scan = std::mem::take(&mut self.scan);
        let scanned = scan.finish(body, &mut self.finds);
        self.fault(scanned)?;
        let model = self.required_model(body)?;
        Ok((self.ask(body, model), self.model_span()))
    }

    fn fault(&mut self, scanned: Result<(), Broken>) -> Result<(), AskFault> {
        match scanned {
            Err(Broken::Stopped) => Err(AskFault::DuplicateKey(self.finds.twice.take().unwrap_or_default())),
            Err(Broken::TooDeep(_)) => Err(AskFault::TooDeep),
            Err(Broken::Grammar(at)) => Err(AskFault::NotJson { at }),
            Ok(()) if self.finds.not_an_object => Err(AskFault::NotAnObject),
            Ok(()) => Ok(()),
        }
    }

    fn required_model(&mut self, body: &[u8]) -> Result<Option<String>, AskFault> {
        let named = match self.finds.value(body, Top::Model) {
            Some(value) => Some(value.string().filter(|m| !m.is_empty()).ok_or(AskFault::ModelNotAString)?),
            None => None,
        };
        match self.model_in_path.take() {
            Some(model) => Ok(Some(model)),
            None if named.is_none() && !self.model_optional && !has_default_model(self.dialect) => {
                Err(AskFault::NoModel)
            }
            None => Ok(named),
        }
    }

    fn ask(&self, body: &[u8], model: Option<String>) -> Ask {
        let finds = &self.finds;
        let value = |top| finds.value(body, top).filter(|value| !value.is_null());
        let text = |top| value(top).and_then(Raw::string);
        let system_start = self.system_start(body);
        Ask {
            other_models: finds
                .other_models(body)
                .into_iter()
                .chain(self.more_models.iter().cloned())
                .collect(),
            // Ollama streams unless told not to.
            stream: value(Top::Stream).map_or(self.dialect == Dialect::Ollama, Raw::is_true)
                || self.stream_in_path,
            tools: finds.tool_names(body),
            user_message: finds
                .last_user
                .clone()
                .and_then(|span| start_of(body, span, USER_MESSAGE_BYTES_MAX)),
            messages: finds.messages,
            max_tokens: finds.max_tokens(body),
            include_usage: value(Top::StreamOptions)
                .and_then(|options| options.at("include_usage"))
                .is_some_and(Raw::is_true),
            metadata_user_id: value(Top::Metadata).and_then(|m| m.at("user_id")).and_then(Raw::string),
            prompt_cache_key: text(Top::PromptCacheKey),
            session_id: text(Top::SessionId),
            previous_response_id: text(Top::PreviousResponseId),
            objects: objects::named(self.dialect, body),
            store: value(Top::Store).map(Raw::is_true),
            user: text(Top::SafetyIdentifier).or_else(|| text(Top::User)),
            fingerprint: self.fingerprint(body, system_start.as_deref()),
            system_start,
            model,
        }
    }

    /// The first system text that is the agent's own: Claude Code's first block is an attribution that varies.
    fn system_start(&self, body: &[u8]) -> Option<String> {
        let Some(system) = self.finds.value(body, Top::System) else {
            return self.finds.system.clone().and_then(|span| start_of(body, span, SYSTEM_START_BYTES_MAX));
        };
        if system.is_string() {
            return start_of_text(system.bytes(), SYSTEM_START_BYTES_MAX);
        }
        if system.is_object() && system.at("text").is_some() {
            return system.at("text").and_then(|text| start_of_text(text.bytes(), SYSTEM_START_BYTES_MAX));
        }
        let parts = system.at("parts").unwrap_or(system);
        parts
            .elements()
            .filter_map(|part| part.at("text"))
            .find(|text| !text.bytes().starts_with(b"\"x-anthropic-billing-header"))
            .and_then(|text| start_of_text(text.bytes(), SYSTEM_START_BYTES_MAX))
    }

    /// Dates and counters vary from request to request, so digits of the system prompt do not count.
    fn fingerprint(&self, body: &[u8], system: Option<&str>) -> u64 {
        let mut hash = Xxh3::new();
        hash.update(self.dialect.name().as_bytes());
        for run in system.unwrap_or_default().split(|c: char| c.is_ascii_digit()) {
            hash.update(run.as_bytes());
        }
        if let Some(first) = self.finds.first_user.clone().and_then(|span| body.get(span)) {
            hash.update(&first[..first.len().min(FINGERPRINT_BYTES)]);
        }
        hash.digest()
    }
}

/// Bytes of the first user message that go into a fingerprint.
const FINGERPRINT_BYTES: usize = 1024;

/// Top-level values that are looked at, under one name for all languages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
enum Top {
    Model,
    Models,
    Stream,
    StreamOptions,
    Tools,
    Functions,
    History,
    System,
    MaxTokens,
    MaxCompletionTokens,
    Metadata,
    PromptCacheKey,
    PreviousResponseId,
    SessionId,
    User,
    SafetyIdentifier,
    /// Gemini's and Bedrock's tools, whose names lie deeper.
    ToolGroups,
    /// An object with the bound on tokens inside.
    Settings,
    /// Code Assist's wrapper: its members count as if they stood at the top.
    Wrapped,
    Store,
    /// Names an object that decides whose answer is continued: may come only once.
    Conversation,
    /// Models to fall back to: names, or objects that name one.
    Fallbacks,
    /// A gateway's own options (Vercel: `gateway.models`).
    ProviderOptions,
    /// OpenRouter's plugins, some with `allowed_models`.
    Plugins,
}

const TOPS: usize = 24;

/// Whether the provider takes a request that names no model.
fn has_default_model(dialect: Dialect) -> bool {
    matches!(
        dialect,
        Dialect::Images | Dialect::Audio | Dialect::Moderations | Dialect::Realtime | Dialect::Live
    )
}

/// How each language spells them.
#[rustfmt::skip] // A table reads as one.
fn keys(dialect: Dialect) -> &'static [(&'static str, Top)] {
    match dialect {
        Dialect::Messages => &[
            ("model", Top::Model), ("stream", Top::Stream), ("tools", Top::Tools), ("messages", Top::History),
            ("prompt", Top::History), ("system", Top::System), ("max_tokens", Top::MaxTokens),
            ("max_tokens_to_sample", Top::MaxCompletionTokens), ("metadata", Top::Metadata),
            ("models", Top::Models), ("fallbacks", Top::Fallbacks), ("providerOptions", Top::ProviderOptions),
        ],
        Dialect::Chat => &[
            ("model", Top::Model), ("models", Top::Models), ("stream", Top::Stream),
            ("stream_options", Top::StreamOptions), ("tools", Top::Tools), ("functions", Top::Functions),
            ("messages", Top::History), ("max_tokens", Top::MaxTokens),
            ("max_completion_tokens", Top::MaxCompletionTokens), ("metadata", Top::Metadata),
            ("prompt_cache_key", Top::PromptCacheKey), ("user", Top::User),
            ("safety_identifier", Top::SafetyIdentifier), ("store", Top::Store), ("fallbacks", Top::Fallbacks),
            ("providerOptions", Top::ProviderOptions), ("plugins", Top::Plugins),
        ],
        Dialect::Responses | Dialect::Realtime => &[
            ("model", Top::Model), ("models", Top::Models), ("stream", Top::Stream), ("tools", Top::Tools),
            ("input", Top::History), ("instructions", Top::System), ("max_output_tokens", Top::MaxTokens),
            ("metadata", Top::Metadata), ("prompt_cache_key", Top::PromptCacheKey),
            ("previous_response_id", Top::PreviousResponseId), ("user", Top::User),
            ("safety_identifier", Top::SafetyIdentifier), ("store", Top::Store),
            ("conversation", Top::Conversation), ("fallbacks", Top::Fallbacks),
            ("providerOptions", Top::ProviderOptions), ("plugins", Top::Plugins),
        ],
        Dialect::Completions => &[
            ("model", Top::Model), ("models", Top::Models), ("stream", Top::Stream),
            ("stream_options", Top::StreamOptions), ("prompt", Top::History), ("max_tokens", Top::MaxTokens),
            ("user", Top::User),
        ],
        Dialect::Embeddings | Dialect::Images | Dialect::Audio | Dialect::Moderations => &[
            ("model", Top::Model), ("stream", Top::Stream), ("prompt", Top::History), ("user", Top::User),
        ],
        Dialect::Gemini | Dialect::Live => &[
            ("model", Top::Model), ("contents", Top::History), ("systemInstruction", Top::System),
            ("system_instruction", Top::System), ("tools", Top::ToolGroups), ("generationConfig", Top::Settings),
            ("generation_config", Top::Settings),
            ("cachedContent", Top::Conversation),
        ],
        Dialect::Interactions => &[
            ("model", Top::Model), ("stream", Top::Stream), ("input", Top::History),
            ("system_instruction", Top::System), ("tools", Top::Tools),
            ("previous_interaction_id", Top::PreviousResponseId), ("generation_config", Top::Settings),
            ("store", Top::Store),
        ],
        Dialect::CodeAssist => &[
            ("model", Top::Model), ("request", Top::Wrapped), ("contents", Top::History),
            ("systemInstruction", Top::System), ("tools", Top::ToolGroups), ("generationConfig", Top::Settings),
            ("session_id", Top::SessionId),
        ],
        Dialect::Converse => &[
            ("messages", Top::History), ("system", Top::System), ("toolConfig", Top::ToolGroups),
            ("inferenceConfig", Top::Settings),
        ],
        Dialect::Invoke => &[
            ("messages", Top::History), ("system", Top::System), ("tools", Top::Tools),
            ("max_tokens", Top::MaxTokens), ("metadata", Top::Metadata), ("toolConfig", Top::ToolGroups),
            ("inferenceConfig", Top::Settings),
        ],
        Dialect::Ollama => &[
            ("model", Top::Model), ("stream", Top::Stream), ("tools", Top::Tools), ("messages", Top::History),
            ("prompt", Top::History), ("system", Top::System), ("options", Top::Settings),
        ],
    }
}

/// How the languages that keep it in an object spell the bound on tokens.
const MAX_TOKENS: &[&str] = &["maxOutputTokens", "max_output_tokens", "maxTokens", "num_predict"];

/// What the scan found: places only.
struct Finds {
    dialect: Dialect,
    keys: &'static [(&'static str, Top)],
    /// Levels that the wrapper adds while the scan is in it.
    wrapped: u32,
    spans: [Option<(usize, usize)>; TOPS],
    /// Keys seen, in any case: bit `n` for `keys[n]`.
    seen: u32,
    twice: Option<String>,
    not_an_object: bool,
    /// Which top-level value the scan is in.
    top: Option<Top>,
    messages: u32,
    message: Message,
    /// Names of declared tools, and the models that some bring.
    tools: Vec<Range<usize>>,
    tool_models: Vec<Range<usize>>,
    /// Lists of tools inside tools (namespaces) and inside items of the history (tools that join later).
    tool_lists: Vec<Range<usize>>,
    tool: Tool,
    first_user: Option<Range<usize>>,
    last_user: Option<Range<usize>>,
    system: Option<Range<usize>>,
}

/// The declared tool that the scan is in.
#[derive(Default)]
struct Tool {
    key: ToolKey,
    named: bool,
    kind: Option<Range<usize>>,
    /// It is a namespace: the tools are those in it.
    holds: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum ToolKey {
    Name,
    /// `type`: stands in for a name where the provider runs the tool.
    Kind,
    Model,
    /// `function`, `custom`: the name is one level down.
    Body,
    /// `tools`: a namespace.
    Tools,
    #[default]
    Other,
}

/// The message that the scan is in.
#[derive(Default)]
struct Message {
    key: MessageKey,
    part_is_text: bool,
    has_role: bool,
    role: Role,
    text: Option<Range<usize>>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum MessageKey {
    Role,
    /// `content`, or `parts`.
    Content,
    /// `tools` of an item that declares more of them (Responses: `additional_tools`, `tool_search_output`).
    Tools,
    #[default]
    Other,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Role {
    User,
    /// `system`, or `developer`.
    System,
    #[default]
    Other,
}

// Depths of an object's members, from the outside.
const TOP: u32 = 1;
const MESSAGE: u32 = 2;
const MESSAGE_MEMBER: u32 = 3;
const PART_MEMBER: u32 = 5;
const TOOL: u32 = 2;
const TOOL_MEMBER: u32 = 3;
const TOOL_BODY_MEMBER: u32 = 4;

impl Finds {
    fn new(dialect: Dialect) -> Self {
        Finds {
            dialect,
            keys: keys(dialect),
            wrapped: 0,
            spans: [None; TOPS],
            seen: 0,
            twice: None,
            not_an_object: false,
            top: None,
            messages: 0,
            message: Message::default(),
            tools: Vec::new(),
            tool_models: Vec::new(),
            tool_lists: Vec::new(),
            tool: Tool::default(),
            first_user: None,
            last_user: None,
            system: None,
        }
    }

    fn span(&self, top: Top) -> Option<Range<usize>> {
        self.spans[top as usize].map(|(start, end)| start..end)
    }

    fn value<'a>(&self, body: &'a [u8], top: Top) -> Option<Raw<'a>> {
        Some(Raw::cut_off(body.get(self.span(top)?)?))
    }

    /// `false` if the key has been there before.
    fn top_key(&mut self, written: &[u8]) -> bool {
        self.top = None;
        let key = if written.contains(&b'\\') { unescape(written) } else { None };
        let key = key.as_ref().map_or(written, |key| key.as_bytes());
        let Some(n) = self.keys.iter().position(|(name, _)| name.as_bytes().eq_ignore_ascii_case(key)) else {
            return true;
        };
        let (name, top) = self.keys[n];
        if self.seen & (1 << n) != 0 {
            self.twice = Some(name.into());
            return false;
        }
        self.seen |= 1 << n;
        // Another spelling is nobody's key to us, but some parsers behind us would take it.
        self.top = (name.as_bytes() == key).then_some(top);
        true
    }

    fn message_ends(&mut self) {
        self.messages = self.messages.saturating_add(1);
        let message = std::mem::take(&mut self.message);
        let Some(text) = message.text else { return };
        // Gemini's contents may leave it out.
        let by_default = matches!(self.dialect, Dialect::Gemini | Dialect::CodeAssist) && !message.has_role;
        match if by_default { Role::User } else { message.role } {
            Role::User => {
                self.first_user.get_or_insert_with(|| text.clone());
                self.last_user = Some(text);
            }
            Role::System => {
                self.system.get_or_insert(text);
            }
            Role::Other => {}
        }
    }

    fn message_member(&mut self, body: &[u8], span: Range<usize>) {
        match self.message.key {
            MessageKey::Role => {
                self.message.has_role = true;
                self.message.role = match &body[span] {
                    b"\"user\"" => Role::User,
                    b"\"system\"" | b"\"developer\"" => Role::System,
                    _ => Role::Other,
                }
            }
            MessageKey::Content if body[span.start] == b'"' => self.message.text = Some(span),
            MessageKey::Tools => self.tool_lists.push(span),
            _ => {}
        }
    }

    /// The last text of a message is what was typed: agents put their reminders and contexts before it.
    fn part_member(&mut self, body: &[u8], span: Range<usize>) {
        let text = &body[span.clone()];
        let is_text = self.message.part_is_text && self.message.key == MessageKey::Content;
        if is_text && text.first() == Some(&b'"') && !text.starts_with(b"\"<system-reminder>") {
            self.message.text = Some(span);
        }
    }
}

impl Finds {
    #[inline]
    fn message_key(&mut self, written: &[u8], depth: u32) {
        let key = if written.contains(&b'\\') { unescape(written) } else { None };
        let key = key.as_ref().map_or(written, |key| key.as_bytes());
        match depth {
            MESSAGE_MEMBER => {
                self.message.key = match key {
                    b"role" => MessageKey::Role,
                    b"content" | b"parts" => MessageKey::Content,
                    b"tools" if self.dialect == Dialect::Responses => MessageKey::Tools,
                    _ => MessageKey::Other,
                }
            }
            PART_MEMBER => self.message.part_is_text = key == b"text",
            _ => {}
        }
    }

    #[inline]
    fn message_value(&mut self, body: &[u8], depth: u32, span: Range<usize>) {
        match depth {
            MESSAGE => self.message_ends(),
            MESSAGE_MEMBER => self.message_member(body, span),
            PART_MEMBER => self.part_member(body, span),
            _ => {}
        }
    }

    #[inline]
    fn tool_key(&mut self, written: &[u8], depth: u32) {
        let key = if written.contains(&b'\\') { unescape(written) } else { None };
        let key = key.as_ref().map_or(written, |key| key.as_bytes());
        match (depth, self.tool.key) {
            (TOOL_MEMBER, _) => {
                self.tool.key = match key {
                    b"name" => ToolKey::Name,
                    b"type" => ToolKey::Kind,
                    _ if key.eq_ignore_ascii_case(b"model") => ToolKey::Model,
                    b"function" | b"custom" => ToolKey::Body,
                    b"tools" => ToolKey::Tools,
                    _ => ToolKey::Other,
                }
            }
            (TOOL_BODY_MEMBER, ToolKey::Body) if key == b"name" => self.tool.key = ToolKey::Name,
            // The next member of the tool sets it anew.
            (TOOL_BODY_MEMBER, ToolKey::Name) => self.tool.key = ToolKey::Body,
            _ => {}
        }
    }

    #[inline]
    fn tool_value(&mut self, depth: u32, span: Range<usize>) {
        match (depth, self.tool.key) {
            (TOOL, _) => {
                let tool = std::mem::take(&mut self.tool);
                if tool.holds && tool.named {
                    self.tools.pop();
                } else if !tool.named && !tool.holds {
                    self.tools.extend(tool.kind);
                }
            }
            (TOOL_MEMBER | TOOL_BODY_MEMBER, ToolKey::Name) if !self.tool.named => {
                self.tool.named = true;
                self.tools.push(span);
            }
            (TOOL_MEMBER, ToolKey::Kind) => self.tool.kind = Some(span),
            (TOOL_MEMBER, ToolKey::Model) => self.tool_models.push(span),
            (TOOL_MEMBER, ToolKey::Tools) => {
                self.tool.holds = true;
                self.tool_lists.push(span);
            }
            _ => {}
        }
    }

    fn tool_names(&self, body: &[u8]) -> Vec<String> {
        let plain = self.tools.iter().filter_map(|name| string_at(body, name));
        let groups = self.value(body, Top::ToolGroups);
        let grouped = groups.into_iter().flat_map(names_in_groups);
        plain.chain(grouped).chain(self.listed_tools(body, names_of)).collect()
    }

    /// One member of every tool in the lists that lie deeper.
    fn listed_tools(&self, body: &[u8], member: fn(Raw<'_>) -> Vec<String>) -> Vec<String> {
        let mut found = Vec::new();
        for span in &self.tool_lists {
            in_list(Raw::cut_off(&body[span.clone()]), 0, member, &mut found);
        }
        found
    }

    fn max_tokens(&self, body: &[u8]) -> Option<u64> {
        let plain = [Top::MaxCompletionTokens, Top::MaxTokens];
        let plain = plain.into_iter().find_map(|top| self.value(body, top).and_then(Raw::count));
        let settings = self.value(body, Top::Settings);
        plain.or_else(|| settings.and_then(|s| MAX_TOKENS.iter().find_map(|name| s.at(name)?.count())))
    }

    /// Models beyond `model` that the provider may run: fallbacks, and tools that bring a model of their own.
    fn other_models(&self, body: &[u8]) -> Vec<String> {
        let elements = |top| self.value(body, top).into_iter().flat_map(Raw::elements);
        let listed = elements(Top::Models).filter_map(Raw::string);
        let of_tools = self.tool_models.iter().filter_map(|model| string_at(body, model));
        let fallbacks =
            elements(Top::Fallbacks).filter_map(|one| one.string().or_else(|| one.at("model")?.string()));
        let gateway =
            self.value(body, Top::ProviderOptions).and_then(|options| options.at("gateway")?.at("models"));
        let plugins = elements(Top::Plugins).filter_map(|plugin| plugin.at("allowed_models"));
        let nested = gateway.into_iter().chain(plugins).flat_map(Raw::elements).filter_map(Raw::string);
        listed
            .chain(of_tools)
            .chain(self.listed_tools(body, models_of))
            .chain(fallbacks)
            .chain(nested)
            .collect()
    }
}

impl Watch for Finds {
    #[inline]
    fn depth(&self) -> u32 {
        let depth = match self.top {
            Some(Top::History) => PART_MEMBER,
            Some(Top::Tools | Top::Functions) => TOOL_BODY_MEMBER,
            _ => TOP,
        };
        depth + self.wrapped
    }

    #[inline]
    fn key(&mut self, body: &[u8], depth: u32, key: Range<usize>) -> bool {
        let key = &body[key];
        let depth = depth.saturating_sub(self.wrapped);
        if depth <= TOP {
            return self.top_key(key);
        }
        if self.top == Some(Top::History) {
            self.message_key(key, depth)
        } else {
            self.tool_key(key, depth)
        }
        true
    }

    #[inline]
    fn open(&mut self, body: &[u8], depth: u32, at: usize) {
        match (depth, self.top) {
            (0, _) => self.not_an_object = body[at] != b'{',
            (TOP, Some(Top::Wrapped)) if body[at] == b'{' => {
                self.wrapped = 1;
                self.top = None;
            }
            _ => {}
        }
    }

    #[inline]
    fn value(&mut self, body: &[u8], depth: u32, span: Range<usize>) {
        if depth <= self.wrapped {
            // The wrapper itself ends, or the whole body.
            self.wrapped = 0;
            if depth == 0 {
                self.not_an_object = body[span.start] != b'{';
            }
            return;
        }
        match (depth - self.wrapped, self.top) {
            (TOP, Some(top)) => {
                self.top = None;
                // A history that is a plain string is one user message.
                if top == Top::History && body[span.start] == b'"' {
                    self.messages = 1;
                    self.first_user = Some(span.clone());
                    self.last_user = Some(span.clone());
                }
                self.spans[top as usize] = Some((span.start, span.end));
            }
            (depth, Some(Top::History)) => self.message_value(body, depth, span),
            (depth, Some(Top::Tools | Top::Functions)) => self.tool_value(depth, span),
            _ => {}
        }
    }
}

fn start_of(body: &[u8], span: Range<usize>, bytes_max: usize) -> Option<String> {
    start_of_text(body.get(span)?, bytes_max)
}

/// The beginning of a JSON string that is given with its quotes.
fn start_of_text(text: &[u8], bytes_max: usize) -> Option<String> {
    unescape_start(text.strip_prefix(b"\"")?.strip_suffix(b"\"")?, bytes_max)
}

/// Names of tools that are declared in groups: Gemini's function declarations and built-in tools, Bedrock's tool
/// specifications.
fn names_in_groups(groups: Raw<'_>) -> Vec<String> {
    let list = groups.at("tools").unwrap_or(groups);
    let mut names = Vec::new();
    for group in list.elements() {
        for (key, value) in group.members() {
            match key.written() {
                b"functionDeclarations" | b"function_declarations" => {
                    names.extend(value.elements().filter_map(|tool| tool.at("name")?.string()));
                }
                b"toolSpec" => names.extend(value.at("name").and_then(Raw::string)),
                b"cachePoint" => {}
                // A tool that the provider runs: its key is its name.
                other => names.extend(unescape(other).map(Cow::into_owned)),
            }
        }
    }
    names
}

/// Namespaces within namespaces are looked into this deep.
const NAMESPACES_MAX: u32 = 4;

fn in_list(list: Raw<'_>, depth: u32, member: fn(Raw<'_>) -> Vec<String>, found: &mut Vec<String>) {
    for tool in list.elements() {
        match tool.at("tools").filter(|_| depth < NAMESPACES_MAX) {
            Some(inner) => in_list(inner, depth + 1, member, found),
            None => found.extend(member(tool)),
        }
    }
}

fn names_of(tool: Raw<'_>) -> Vec<String> {
    let named = |holder: Raw<'_>| holder.at("name").and_then(Raw::string);
    let inner = || ["function", "custom"].iter().find_map(|key| named(tool.at(key)?));
    named(tool).or_else(inner).or_else(|| tool.at("type")?.string()).into_iter().collect()
}

/// In any spelling that somebody behind us might read.
fn models_of(tool: Raw<'_>) -> Vec<String> {
    let is_model = |key: &[u8]| unescape(key).is_some_and(|key| key.eq_ignore_ascii_case("model"));
    let members = tool.members().filter(|(key, _)| is_model(key.written()));
    members.filter_map(|(_, value)| value.string()).collect()
}

fn string_at(body: &[u8], span: &Range<usize>) -> Option<String> {
    Raw::cut_off(body.get(span.clone())?).string()
}

#[cfg(test)]
mod tests;
