//! The closed table of paths: which methods and paths exist, what they speak, and which flag of a provider opens them.
//! Whatever is not in it is not forwarded.

use serde::{Deserialize, Serialize};

use super::Dialect;

/// What a path is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// A model writes an answer.
    Generate,
    /// Tokens are counted, nothing is written or billed.
    CountTokens,
    /// A conversation is made shorter: billed, but no turn.
    Compact,
    /// An answer that was made earlier is fetched, resumed or cancelled: billed once, under its id.
    Retrieve,
    /// Texts become vectors.
    Embeddings,
    /// Images are made or changed.
    Images,
    /// Speech becomes text.
    Transcription,
    /// Text becomes speech: the body is not text.
    Speech,
    /// Content is judged.
    Moderations,
    /// Models are listed or described.
    Models,
    /// A WebSocket whose frames are exchanges of their own.
    Socket,
}

impl Endpoint {
    /// Whether an exchange here can be a turn of a conversation.
    #[must_use]
    pub fn is_turn(self) -> bool {
        matches!(self, Endpoint::Generate)
    }
}

macro_rules! flags {
    ($( $(#[doc = $doc:literal])* $name:ident, $text:literal; )*) => {
        /// Flags of a provider's `compatibility`; each opens its endpoints with their counting, streaming and
        /// WebSocket variants.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Flag { $( $(#[doc = $doc])* $name, )* }

        impl Flag {
            /// Every flag.
            pub const ALL: &'static [Flag] = &[ $( Flag::$name, )* ];

            /// Name in configuration.
            #[must_use]
            pub fn name(self) -> &'static str { match self { $( Flag::$name => $text, )* } }
        }
    };
}

flags! {
    /// OpenAI Chat Completions; the default when no other is set.
    OpenaiChat, "openai_chat";
    /// OpenAI Responses.
    OpenaiResponses, "openai_responses";
    /// Completions, embeddings, images, audio, moderations.
    OpenaiOther, "openai_other";
    /// Realtime.
    OpenaiRealtime, "openai_realtime";
    /// Anthropic Messages.
    AnthropicMessages, "anthropic_messages";
    /// Gemini on its own API.
    GeminiGenerateContent, "gemini_generate_content";
    /// Gemini on Vertex.
    GoogleGenerateContent, "google_generate_content";
    /// Claude and others on Vertex.
    GoogleRawPredict, "google_raw_predict";
    /// Bedrock InvokeModel.
    BedrockModelInvoke, "bedrock_model_invoke";
    /// Bedrock Converse.
    BedrockConverse, "bedrock_converse";
    /// Ollama's own language.
    OllamaNative, "ollama_native";
    /// Gemini CLI with a Google login.
    CodeAssist, "code_assist";
}

/// What a method and path mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Language spoken there.
    pub dialect: Dialect,
    /// What it is for.
    pub endpoint: Endpoint,
    /// Flag that opens it; `None` where any provider's flag will do (the list of models).
    pub flag: Option<Flag>,
    /// Model named by the path, percent-decoded; then the body names none.
    pub model_in_path: Option<String>,
    /// The path itself asks for a stream.
    pub stream: bool,
}

struct Row {
    method: &'static str,
    /// `{}` stands for any one segment, `{model}` for the model's.
    path: &'static str,
    dialect: Dialect,
    endpoint: Endpoint,
    flag: Option<Flag>,
}

const fn row(
    method: &'static str,
    path: &'static str,
    dialect: Dialect,
    endpoint: Endpoint,
    flag: Flag,
) -> Row {
    Row { method, path, dialect, endpoint, flag: Some(flag) }
}

const fn post(path: &'static str, dialect: Dialect, endpoint: Endpoint, flag: Flag) -> Row {
    row("POST", path, dialect, endpoint, flag)
}

/// Segments of Vertex's paths before the publisher.
macro_rules! vertex {
    ($version:literal, $rest:literal) => {
        concat!("/", $version, "/projects/{}/locations/{}/", $rest)
    };
}

#[rustfmt::skip] // A table reads as one.
const TABLE: &[Row] = &[
    post("/v1/messages", Dialect::Messages, Endpoint::Generate, Flag::AnthropicMessages),
    post("/v1/messages/count_tokens", Dialect::Messages, Endpoint::CountTokens, Flag::AnthropicMessages),
    post("/v1/complete", Dialect::Messages, Endpoint::Generate, Flag::AnthropicMessages),

    post("/v1/chat/completions", Dialect::Chat, Endpoint::Generate, Flag::OpenaiChat),
    // Clients whose base URL ends in the version, or lacks it.
    post("/chat/completions", Dialect::Chat, Endpoint::Generate, Flag::OpenaiChat),
    post("/openai/v1/chat/completions", Dialect::Chat, Endpoint::Generate, Flag::OpenaiChat),
    post("/openai/deployments/{model}/chat/completions", Dialect::Chat, Endpoint::Generate, Flag::OpenaiChat),
    post(vertex!("v1", "endpoints/openapi/chat/completions"), Dialect::Chat, Endpoint::Generate, Flag::OpenaiChat),
    post(vertex!("v1beta1", "endpoints/openapi/chat/completions"), Dialect::Chat, Endpoint::Generate, Flag::OpenaiChat),

    post("/v1/responses", Dialect::Responses, Endpoint::Generate, Flag::OpenaiResponses),
    post("/responses", Dialect::Responses, Endpoint::Generate, Flag::OpenaiResponses),
    post("/openai/v1/responses", Dialect::Responses, Endpoint::Generate, Flag::OpenaiResponses),
    post("/v1/responses/input_tokens", Dialect::Responses, Endpoint::CountTokens, Flag::OpenaiResponses),
    post("/v1/responses/compact", Dialect::Responses, Endpoint::Compact, Flag::OpenaiResponses),
    row("GET", "/v1/responses", Dialect::Responses, Endpoint::Socket, Flag::OpenaiResponses),
    row("GET", "/responses", Dialect::Responses, Endpoint::Socket, Flag::OpenaiResponses),
    row("GET", "/openai/v1/responses", Dialect::Responses, Endpoint::Socket, Flag::OpenaiResponses),
    row("GET", "/v1/responses/{}", Dialect::Responses, Endpoint::Retrieve, Flag::OpenaiResponses),
    post("/v1/responses/{}/cancel", Dialect::Responses, Endpoint::Retrieve, Flag::OpenaiResponses),

    post("/v1/completions", Dialect::Completions, Endpoint::Generate, Flag::OpenaiOther),
    post("/v1/embeddings", Dialect::Embeddings, Endpoint::Embeddings, Flag::OpenaiOther),
    post("/v1/images/generations", Dialect::Images, Endpoint::Images, Flag::OpenaiOther),
    post("/v1/images/edits", Dialect::Images, Endpoint::Images, Flag::OpenaiOther),
    post("/v1/images/variations", Dialect::Images, Endpoint::Images, Flag::OpenaiOther),
    post("/v1/audio/transcriptions", Dialect::Audio, Endpoint::Transcription, Flag::OpenaiOther),
    post("/v1/audio/translations", Dialect::Audio, Endpoint::Transcription, Flag::OpenaiOther),
    post("/v1/audio/speech", Dialect::Audio, Endpoint::Speech, Flag::OpenaiOther),
    post("/v1/moderations", Dialect::Moderations, Endpoint::Moderations, Flag::OpenaiOther),
    row("GET", "/v1/realtime", Dialect::Realtime, Endpoint::Socket, Flag::OpenaiRealtime),
    row("GET", "/openai/v1/realtime", Dialect::Realtime, Endpoint::Socket, Flag::OpenaiRealtime),
    row("GET", "/openai/realtime", Dialect::Realtime, Endpoint::Socket, Flag::OpenaiRealtime),

    post("/v1beta/models/{model}:generateContent", Dialect::Gemini, Endpoint::Generate, Flag::GeminiGenerateContent),
    post("/v1beta/models/{model}:streamGenerateContent", Dialect::Gemini, Endpoint::Generate, Flag::GeminiGenerateContent),
    post("/v1beta/models/{model}:countTokens", Dialect::Gemini, Endpoint::CountTokens, Flag::GeminiGenerateContent),
    post("/v1beta/models/{model}:embedContent", Dialect::Gemini, Endpoint::Embeddings, Flag::GeminiGenerateContent),
    post("/v1beta/models/{model}:batchEmbedContents", Dialect::Gemini, Endpoint::Embeddings, Flag::GeminiGenerateContent),
    post("/v1/models/{model}:generateContent", Dialect::Gemini, Endpoint::Generate, Flag::GeminiGenerateContent),
    post("/v1/models/{model}:streamGenerateContent", Dialect::Gemini, Endpoint::Generate, Flag::GeminiGenerateContent),
    post("/v1/models/{model}:countTokens", Dialect::Gemini, Endpoint::CountTokens, Flag::GeminiGenerateContent),
    post("/v1/models/{model}:embedContent", Dialect::Gemini, Endpoint::Embeddings, Flag::GeminiGenerateContent),
    post("/v1/models/{model}:batchEmbedContents", Dialect::Gemini, Endpoint::Embeddings, Flag::GeminiGenerateContent),
    post("/v1beta/interactions", Dialect::Interactions, Endpoint::Generate, Flag::GeminiGenerateContent),
    row("GET", "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent", Dialect::Live, Endpoint::Socket, Flag::GeminiGenerateContent),
    row("GET", "/ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContent", Dialect::Live, Endpoint::Socket, Flag::GeminiGenerateContent),

    post(vertex!("v1", "publishers/google/models/{model}:generateContent"), Dialect::Gemini, Endpoint::Generate, Flag::GoogleGenerateContent),
    post(vertex!("v1", "publishers/google/models/{model}:streamGenerateContent"), Dialect::Gemini, Endpoint::Generate, Flag::GoogleGenerateContent),
    post(vertex!("v1", "publishers/google/models/{model}:countTokens"), Dialect::Gemini, Endpoint::CountTokens, Flag::GoogleGenerateContent),
    post(vertex!("v1beta1", "publishers/google/models/{model}:generateContent"), Dialect::Gemini, Endpoint::Generate, Flag::GoogleGenerateContent),
    post(vertex!("v1beta1", "publishers/google/models/{model}:streamGenerateContent"), Dialect::Gemini, Endpoint::Generate, Flag::GoogleGenerateContent),
    post(vertex!("v1beta1", "publishers/google/models/{model}:countTokens"), Dialect::Gemini, Endpoint::CountTokens, Flag::GoogleGenerateContent),
    // Express mode: a key, no project.
    post("/v1/publishers/google/models/{model}:generateContent", Dialect::Gemini, Endpoint::Generate, Flag::GoogleGenerateContent),
    post("/v1/publishers/google/models/{model}:streamGenerateContent", Dialect::Gemini, Endpoint::Generate, Flag::GoogleGenerateContent),
    post("/v1beta1/publishers/google/models/{model}:generateContent", Dialect::Gemini, Endpoint::Generate, Flag::GoogleGenerateContent),
    post("/v1beta1/publishers/google/models/{model}:streamGenerateContent", Dialect::Gemini, Endpoint::Generate, Flag::GoogleGenerateContent),

    post(vertex!("v1", "publishers/anthropic/models/count-tokens:rawPredict"), Dialect::Messages, Endpoint::CountTokens, Flag::GoogleRawPredict),
    post(vertex!("v1", "publishers/anthropic/models/{model}:rawPredict"), Dialect::Messages, Endpoint::Generate, Flag::GoogleRawPredict),
    post(vertex!("v1", "publishers/anthropic/models/{model}:streamRawPredict"), Dialect::Messages, Endpoint::Generate, Flag::GoogleRawPredict),
    post(vertex!("v1beta1", "publishers/anthropic/models/{model}:rawPredict"), Dialect::Messages, Endpoint::Generate, Flag::GoogleRawPredict),
    post(vertex!("v1beta1", "publishers/anthropic/models/{model}:streamRawPredict"), Dialect::Messages, Endpoint::Generate, Flag::GoogleRawPredict),

    post("/model/{model}/invoke", Dialect::Invoke, Endpoint::Generate, Flag::BedrockModelInvoke),
    post("/model/{model}/invoke-with-response-stream", Dialect::Invoke, Endpoint::Generate, Flag::BedrockModelInvoke),
    post("/bedrock/model/{model}/invoke", Dialect::Invoke, Endpoint::Generate, Flag::BedrockModelInvoke),
    post("/bedrock/model/{model}/invoke-with-response-stream", Dialect::Invoke, Endpoint::Generate, Flag::BedrockModelInvoke),
    post("/model/{model}/converse", Dialect::Converse, Endpoint::Generate, Flag::BedrockConverse),
    post("/model/{model}/converse-stream", Dialect::Converse, Endpoint::Generate, Flag::BedrockConverse),
    post("/model/{model}/count-tokens", Dialect::Converse, Endpoint::CountTokens, Flag::BedrockConverse),
    post("/bedrock/model/{model}/converse", Dialect::Converse, Endpoint::Generate, Flag::BedrockConverse),
    post("/bedrock/model/{model}/converse-stream", Dialect::Converse, Endpoint::Generate, Flag::BedrockConverse),
    post("/bedrock/model/{model}/count-tokens", Dialect::Converse, Endpoint::CountTokens, Flag::BedrockConverse),

    post("/api/chat", Dialect::Ollama, Endpoint::Generate, Flag::OllamaNative),
    post("/api/generate", Dialect::Ollama, Endpoint::Generate, Flag::OllamaNative),
    post("/api/embed", Dialect::Ollama, Endpoint::Embeddings, Flag::OllamaNative),
    row("GET", "/api/tags", Dialect::Ollama, Endpoint::Models, Flag::OllamaNative),

    post("/v1internal:generateContent", Dialect::CodeAssist, Endpoint::Generate, Flag::CodeAssist),
    post("/v1internal:streamGenerateContent", Dialect::CodeAssist, Endpoint::Generate, Flag::CodeAssist),
    post("/v1internal:countTokens", Dialect::CodeAssist, Endpoint::CountTokens, Flag::CodeAssist),

    Row { method: "GET", path: "/v1/models", dialect: Dialect::Chat, endpoint: Endpoint::Models, flag: None },
    Row { method: "GET", path: "/v1beta/models", dialect: Dialect::Gemini, endpoint: Endpoint::Models, flag: None },
];

/// What this method and path (without query) mean; `None` is not forwarded.
#[must_use]
pub fn endpoint(method: &str, path: &str) -> Option<Route> {
    let rows = TABLE.iter().filter(|row| row.method == method);
    let (row, model) = rows.filter_map(|row| Some((row, fits(row.path, path)?))).next()?;
    let model_in_path = match model {
        Some(written) => Some(decode(written)?),
        None => None,
    };
    let path = row.path;
    let stream = path.contains(":stream") || path.ends_with("-stream");
    Some(Route { dialect: row.dialect, endpoint: row.endpoint, flag: row.flag, model_in_path, stream })
}

/// Whether a path is of this pattern, and what stands for its model.
fn fits<'a>(pattern: &str, path: &'a str) -> Option<Option<&'a str>> {
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    let mut model = None;
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(model),
            (Some("{}"), Some(segment)) if is_plain(segment) => {}
            (Some(want), Some(segment)) => match want.strip_prefix("{model}") {
                Some(verb) => model = Some(segment.strip_suffix(verb).filter(|model| is_plain(model))?),
                None if want == segment => {}
                None => return None,
            },
            _ => return None,
        }
    }
}

/// A segment that stands for itself behind us, too: not empty, and no step up.
fn is_plain(segment: &str) -> bool {
    !segment.is_empty() && decode(segment).is_some_and(|decoded| !matches!(decoded.as_str(), "." | ".."))
}

/// Percent-decoded once; `None` if it is not well-formed or hides control characters.
pub(in crate::llm) fn decode(written: &str) -> Option<String> {
    let mut out = Vec::with_capacity(written.len());
    let mut bytes = written.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            plain => plain,
        };
        if byte < 0x20 || byte == 0x7f {
            return None;
        }
        out.push(byte);
    }
    String::from_utf8(out).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_closed() {
        assert_eq!(endpoint("POST", "/v1/messages").map(|r| r.dialect), Some(Dialect::Messages));
        assert_eq!(endpoint("POST", "/chat/completions").map(|r| r.dialect), Some(Dialect::Chat));
        for (method, path) in [
            ("GET", "/v1/messages"),
            ("POST", "/v1/messages/"),
            ("POST", "/v1/messages/../files"),
            ("POST", "/v1/files"),
            ("POST", "/V1/messages"),
            ("POST", ""),
            ("GET", "/v1/responses/.."),
            ("GET", "/v1/responses/%2e%2E"),
            ("GET", "/v1/responses/"),
            ("GET", "/v1/responses/a/b"),
            ("POST", "/model//invoke"),
            ("POST", "/model/%/invoke"),
            ("POST", "/model/a%0ab/invoke"),
            ("POST", "/v1beta/models/:generateContent"),
            ("POST", "/v1beta/models/m:delete"),
        ] {
            assert_eq!(endpoint(method, path), None, "{method} {path}");
        }
    }

    #[test]
    fn models_in_paths() {
        for (path, dialect, model, stream) in [
            (
                "/v1beta/models/gemini-2.5-flash:streamGenerateContent",
                Dialect::Gemini,
                "gemini-2.5-flash",
                true,
            ),
            ("/v1beta/models/gemini-2.5-flash:generateContent", Dialect::Gemini, "gemini-2.5-flash", false),
            (
                "/v1/projects/p/locations/l/publishers/anthropic/models/claude-3-7-sonnet@20250219:streamRawPredict",
                Dialect::Messages,
                "claude-3-7-sonnet@20250219",
                true,
            ),
            (
                "/model/us.anthropic.claude-v1%3A0/converse",
                Dialect::Converse,
                "us.anthropic.claude-v1:0",
                false,
            ),
            (
                "/model/us.anthropic.claude-v1:0/converse-stream",
                Dialect::Converse,
                "us.anthropic.claude-v1:0",
                true,
            ),
            (
                "/bedrock/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fm/invoke",
                Dialect::Invoke,
                "arn:aws:bedrock:us-east-1:1:inference-profile/m",
                false,
            ),
            ("/openai/deployments/my-gpt/chat/completions", Dialect::Chat, "my-gpt", false),
        ] {
            let route = endpoint("POST", path).unwrap();
            assert_eq!(
                (route.dialect, route.model_in_path.as_deref(), route.stream),
                (dialect, Some(model), stream)
            );
        }
        let counting = "/v1/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict";
        assert_eq!(
            endpoint("POST", counting).map(|r| (r.endpoint, r.model_in_path)),
            Some((Endpoint::CountTokens, None))
        );
    }
}
