//! What a request wants: read from its body in one forward scan while it arrives.
//!
//! The scan ([`crate::wire::json::scan`]) checks the whole body's grammar and leaps over its texts; here only keys near the
//! top are looked at. Of `messages` and `tools`, often hundreds of kilobytes, nothing is built: the watch notes where
//! values lie and, of each message, its role and its last text. What was cut out is read at the end.
//!
//! What is judged is what is sent: keys are compared unescaped, and a key that decides something may come only once, in
//! any case, so that no parser behind us can see another value than we did.

mod finds;
mod keys;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::dialect::Dialect;
use super::dialect::paths::{Endpoint, Route};
use super::objects;
use crate::wire::json::Raw;
use crate::wire::json::scan::{Broken, Scan};
use finds::{Finds, start_of, start_of_text};
use keys::{Top, has_default_model};

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
    /// How many answers are wanted, where the request says; each is billed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choices: Option<u64>,
    /// Chat: whether `stream_options.include_usage` was asked for.
    pub include_usage: bool,
    /// Messages: `metadata.user_id`, as written (a session hint).
    pub metadata_user_id: Option<String>,
    /// `prompt_cache_key` (a session hint).
    pub prompt_cache_key: Option<String>,
    /// A session id that the body itself carries (Code Assist's `session_id`, the `conversation` of Responses).
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

impl Ask {
    /// Bound on generated tokens, of all the answers that are wanted together.
    #[must_use]
    pub fn output_max(&self) -> Option<u64> {
        Some(self.max_tokens?.saturating_mul(self.choices.unwrap_or(1).max(1)))
    }
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
        Ok(self.model_in_path.is_some() || self.model_span().is_some())
    }

    /// The model, as soon as it is known.
    #[must_use]
    pub fn model<'a>(&'a self, body: &'a [u8]) -> Option<Cow<'a, str>> {
        match &self.model_in_path {
            Some(model) => Some(Cow::Borrowed(model)),
            None => self.named(body)?.text(),
        }
    }

    /// Where the model's JSON string stands in the body, quotes included: what an alias replaces.
    #[must_use]
    pub fn model_span(&self) -> Option<Range<usize>> {
        self.finds.span(Top::Model).or_else(|| self.finds.span(Top::Agent))
    }

    /// The model, or the agent where none is named.
    fn named<'a>(&self, body: &'a [u8]) -> Option<Raw<'a>> {
        self.finds.value(body, Top::Model).or_else(|| self.finds.value(body, Top::Agent))
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
        if self.finds.model_otherwise && self.model_in_path.is_some() {
            // The path names one, and whoever reads this as well would have another.
            return Err(AskFault::DuplicateKey("model".into()));
        }
        if let (Some(_), Some(agent)) = (self.finds.span(Top::Model), self.finds.value(body, Top::Agent)) {
            self.more_models.extend(agent.string());
        }
        let named = match self.named(body) {
            Some(value) => Some(value.string().filter(|m| !m.is_empty()).ok_or(AskFault::ModelNotAString)?),
            None => None,
        };
        match self.model_in_path.take() {
            Some(model) => {
                // Whichever the provider goes by: both must be granted.
                self.more_models.extend(named.filter(|named| !is_the_same(named, &model)));
                Ok(Some(model))
            }
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
        let mut other_models = finds.other_models(body);
        if let (Dialect::Gemini, Some(model)) = (self.dialect, &model) {
            other_models.retain(|named| !is_the_same(named, model));
        }
        other_models.extend(self.more_models.iter().cloned());
        Ask {
            other_models,
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
            choices: finds.choices(body),
            include_usage: value(Top::StreamOptions)
                .and_then(|options| options.at("include_usage"))
                .is_some_and(Raw::is_true),
            metadata_user_id: value(Top::Metadata).and_then(|m| m.at("user_id")).and_then(Raw::string),
            prompt_cache_key: text(Top::PromptCacheKey),
            session_id: text(Top::SessionId).or_else(|| self.conversation(body)),
            previous_response_id: text(Top::PreviousResponseId),
            objects: match finds.may_name {
                true => objects::named_by_keys(self.dialect, body),
                false => Vec::new(),
            },
            store: value(Top::Store).map(Raw::is_true),
            user: text(Top::SafetyIdentifier).or_else(|| text(Top::User)),
            fingerprint: self.fingerprint(body, system_start.as_deref()),
            system_start,
            model,
        }
    }

    /// Responses: the conversation that the answer joins, by its id or as an object that has one.
    fn conversation(&self, body: &[u8]) -> Option<String> {
        let conversation = self.finds.value(body, Top::Conversation);
        let conversation = conversation.filter(|_| self.dialect == Dialect::Responses)?;
        conversation.string().or_else(|| conversation.at("id")?.string())
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

/// Whether the path names that model, too: Google writes the same name behind a path.
fn is_the_same(named: &str, in_path: &str) -> bool {
    named.rsplit_once("models/").map_or(named, |(_, name)| name) == in_path
}

/// Bytes of the first user message that go into a fingerprint.
const FINGERPRINT_BYTES: usize = 1024;

#[cfg(test)]
mod tests;
