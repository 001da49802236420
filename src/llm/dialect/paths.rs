//! The closed table of paths: which methods and paths exist, what they speak, and which flag of a provider opens them.
//! Whatever is not in it is not forwarded.

use std::ops::Range;

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
    /// What a batch has written is fetched: many answers, each billed.
    Results,
    /// Texts become vectors.
    Embeddings,
    /// Images are made or changed.
    Images,
    /// Google's form for models without a conversation: vectors, images.
    Predict,
    /// Speech becomes text.
    Transcription,
    /// Text becomes speech: the body is not text.
    Speech,
    /// Content is judged.
    Moderations,
    /// Models are listed or described.
    Models,
    /// Something is made that stays at the provider: a file, a batch, a conversation, a cache.
    Make,
    /// Something that was made there is looked at, changed or taken away.
    Object,
    /// A WebSocket whose frames are exchanges of their own.
    Socket,
    /// A path outside the table, opened by `direct_paths` of a grant: lists of what stays at the provider.
    Direct,
}

impl Endpoint {
    /// Whether an exchange here can be a turn of a conversation.
    #[must_use]
    pub fn is_turn(self) -> bool {
        matches!(self, Endpoint::Generate)
    }

    /// Whether the provider runs a model of its own choice where a request names none.
    #[must_use]
    pub fn has_a_default_model(self) -> bool {
        matches!(self, Endpoint::Images | Endpoint::Transcription | Endpoint::Speech | Endpoint::Moderations)
    }

    /// Whether every good answer is JSON, or a stream, in the language of the API.
    #[must_use]
    pub fn answers_in_its_language(self) -> bool {
        matches!(
            self,
            Endpoint::Generate
                | Endpoint::CountTokens
                | Endpoint::Compact
                | Endpoint::Embeddings
                | Endpoint::Images
                | Endpoint::Predict
                | Endpoint::Moderations
        )
    }
}

macro_rules! flags {
    ($( $(#[doc = $doc:literal])* $name:ident, $text:literal; )*) => {
        /// Flags of a provider's `compatibility`; each opens its endpoints with their counting, streaming and
        /// WebSocket variants.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Flag { $( $(#[doc = $doc])* $name, )* }

        impl Flag {
            /// Every flag.
            pub const ALL: &'static [Flag] = &[ $( Flag::$name, )* ];

            /// Name in configuration.
            #[must_use]
            pub fn name(self) -> &'static str { match self { $( Flag::$name => $text, )* } }

            /// The flag of that name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Flag> {
                Flag::ALL.iter().copied().find(|flag| flag.name() == name)
            }
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
    /// Batches, and the files they are made of.
    Batches, "batches";
    /// Gemini CLI with a Google login.
    CodeAssist, "code_assist";
    /// Vertex paths without a project, as Gemini CLI writes them, led to the provider's own. Opens nothing by itself.
    GeminiCliVertex, "experimental_gemini_cli_vertex_compat";
}

impl Flag {
    /// The API languages behind the flag.
    pub fn dialects(self) -> impl Iterator<Item = Dialect> {
        let opened = TABLE.iter().filter(move |row| row.flag == self).map(|row| row.dialect);
        Dialect::ALL.iter().copied().filter(move |dialect| opened.clone().any(|of| of == *dialect))
    }
}

/// What a method and path mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Language spoken there.
    pub dialect: Dialect,
    /// What it is for.
    pub endpoint: Endpoint,
    /// Flag of a provider that opens it.
    pub flag: Flag,
    /// Model named by the path, percent-decoded; then the body names none.
    pub model_in_path: Option<String>,
    /// Where the path names it, as written.
    pub model_span: Option<Range<usize>>,
    /// Id of the provider-side object that the path names.
    pub object: Option<String>,
    /// The path itself asks for a stream.
    pub stream: bool,
}

struct Row {
    method: &'static str,
    /// `{}` stands for any one segment, `{model}` for the model's, `{model*}` for a model's name to the end, slashes and all.
    path: &'static str,
    dialect: Dialect,
    endpoint: Endpoint,
    flag: Flag,
}

const fn row(
    method: &'static str,
    path: &'static str,
    dialect: Dialect,
    endpoint: Endpoint,
    flag: Flag,
) -> Row {
    Row { method, path, dialect, endpoint, flag }
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
    // DeepSeek, Azure's models of other makers, Gemini's own endpoint for OpenAI's clients.
    post("/beta/chat/completions", Dialect::Chat, Endpoint::Generate, Flag::OpenaiChat),
    post("/models/chat/completions", Dialect::Chat, Endpoint::Generate, Flag::OpenaiChat),
    post("/v1beta/openai/chat/completions", Dialect::Chat, Endpoint::Generate, Flag::OpenaiChat),
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
    row("GET", "/v1/responses/{id}", Dialect::Responses, Endpoint::Retrieve, Flag::OpenaiResponses),
    post("/v1/responses/{id}/cancel", Dialect::Responses, Endpoint::Retrieve, Flag::OpenaiResponses),
    row("DELETE", "/v1/responses/{id}", Dialect::Responses, Endpoint::Object, Flag::OpenaiResponses),
    row("GET", "/v1/responses/{id}/input_items", Dialect::Responses, Endpoint::Object, Flag::OpenaiResponses),
    row("GET", "/openai/v1/responses/{id}", Dialect::Responses, Endpoint::Retrieve, Flag::OpenaiResponses),
    post("/openai/v1/responses/{id}/cancel", Dialect::Responses, Endpoint::Retrieve, Flag::OpenaiResponses),
    row("DELETE", "/openai/v1/responses/{id}", Dialect::Responses, Endpoint::Object, Flag::OpenaiResponses),

    // Lists of objects are closed: nobody can tell whose they are before they are read.
    post("/v1/conversations", Dialect::Responses, Endpoint::Make, Flag::OpenaiResponses),
    row("GET", "/v1/conversations/{id}", Dialect::Responses, Endpoint::Object, Flag::OpenaiResponses),
    post("/v1/conversations/{id}", Dialect::Responses, Endpoint::Object, Flag::OpenaiResponses),
    row("DELETE", "/v1/conversations/{id}", Dialect::Responses, Endpoint::Object, Flag::OpenaiResponses),
    row("GET", "/v1/conversations/{id}/items", Dialect::Responses, Endpoint::Object, Flag::OpenaiResponses),
    post("/v1/conversations/{id}/items", Dialect::Responses, Endpoint::Object, Flag::OpenaiResponses),
    row("GET", "/v1/conversations/{id}/items/{}", Dialect::Responses, Endpoint::Object, Flag::OpenaiResponses),
    row("DELETE", "/v1/conversations/{id}/items/{}", Dialect::Responses, Endpoint::Object, Flag::OpenaiResponses),
    post("/v1/vector_stores", Dialect::Responses, Endpoint::Make, Flag::OpenaiResponses),
    row("GET", "/v1/vector_stores/{id}", Dialect::Responses, Endpoint::Object, Flag::OpenaiResponses),
    post("/v1/vector_stores/{id}", Dialect::Responses, Endpoint::Object, Flag::OpenaiResponses),
    row("DELETE", "/v1/vector_stores/{id}", Dialect::Responses, Endpoint::Object, Flag::OpenaiResponses),
    row("GET", "/v1/vector_stores/{id}/files", Dialect::Responses, Endpoint::Object, Flag::OpenaiResponses),
    post("/v1/vector_stores/{id}/files", Dialect::Responses, Endpoint::Object, Flag::OpenaiResponses),
    post("/v1/vector_stores/{id}/search", Dialect::Responses, Endpoint::Object, Flag::OpenaiResponses),
    row("GET", "/v1/chat/completions/{id}", Dialect::Chat, Endpoint::Object, Flag::OpenaiChat),
    row("GET", "/v1/chat/completions/{id}/messages", Dialect::Chat, Endpoint::Object, Flag::OpenaiChat),
    post("/v1/chat/completions/{id}", Dialect::Chat, Endpoint::Object, Flag::OpenaiChat),
    row("DELETE", "/v1/chat/completions/{id}", Dialect::Chat, Endpoint::Object, Flag::OpenaiChat),

    post("/v1/files", Dialect::Responses, Endpoint::Make, Flag::Batches),
    row("GET", "/v1/files/{id}", Dialect::Responses, Endpoint::Object, Flag::Batches),
    row("GET", "/v1/files/{id}/content", Dialect::Responses, Endpoint::Results, Flag::Batches),
    row("DELETE", "/v1/files/{id}", Dialect::Responses, Endpoint::Object, Flag::Batches),
    post("/v1/batches", Dialect::Responses, Endpoint::Make, Flag::Batches),
    row("GET", "/v1/batches/{id}", Dialect::Responses, Endpoint::Object, Flag::Batches),
    post("/v1/batches/{id}/cancel", Dialect::Responses, Endpoint::Object, Flag::Batches),
    post("/v1/messages/batches", Dialect::Messages, Endpoint::Make, Flag::Batches),
    row("GET", "/v1/messages/batches/{id}", Dialect::Messages, Endpoint::Object, Flag::Batches),
    row("GET", "/v1/messages/batches/{id}/results", Dialect::Messages, Endpoint::Results, Flag::Batches),
    post("/v1/messages/batches/{id}/cancel", Dialect::Messages, Endpoint::Object, Flag::Batches),
    row("DELETE", "/v1/messages/batches/{id}", Dialect::Messages, Endpoint::Object, Flag::Batches),

    post("/openai/responses", Dialect::Responses, Endpoint::Generate, Flag::OpenaiResponses),

    post("/v1/completions", Dialect::Completions, Endpoint::Generate, Flag::OpenaiOther),
    post("/v1/embeddings", Dialect::Embeddings, Endpoint::Embeddings, Flag::OpenaiOther),
    post("/v1/images/generations", Dialect::Images, Endpoint::Images, Flag::OpenaiOther),
    post("/v1/images/edits", Dialect::Images, Endpoint::Images, Flag::OpenaiOther),
    post("/v1/images/variations", Dialect::Images, Endpoint::Images, Flag::OpenaiOther),
    post("/v1/audio/transcriptions", Dialect::Audio, Endpoint::Transcription, Flag::OpenaiOther),
    post("/v1/audio/translations", Dialect::Audio, Endpoint::Transcription, Flag::OpenaiOther),
    post("/v1/audio/speech", Dialect::Audio, Endpoint::Speech, Flag::OpenaiOther),
    post("/v1/moderations", Dialect::Moderations, Endpoint::Moderations, Flag::OpenaiOther),
    post("/completions", Dialect::Completions, Endpoint::Generate, Flag::OpenaiOther),
    post("/embeddings", Dialect::Embeddings, Endpoint::Embeddings, Flag::OpenaiOther),
    post("/openai/v1/completions", Dialect::Completions, Endpoint::Generate, Flag::OpenaiOther),
    post("/models/embeddings", Dialect::Embeddings, Endpoint::Embeddings, Flag::OpenaiOther),
    post("/v1beta/openai/embeddings", Dialect::Embeddings, Endpoint::Embeddings, Flag::OpenaiOther),
    post("/openai/v1/embeddings", Dialect::Embeddings, Endpoint::Embeddings, Flag::OpenaiOther),
    post("/openai/v1/images/generations", Dialect::Images, Endpoint::Images, Flag::OpenaiOther),
    post("/openai/v1/images/edits", Dialect::Images, Endpoint::Images, Flag::OpenaiOther),
    post("/openai/v1/audio/transcriptions", Dialect::Audio, Endpoint::Transcription, Flag::OpenaiOther),
    post("/openai/v1/audio/translations", Dialect::Audio, Endpoint::Transcription, Flag::OpenaiOther),
    post("/openai/v1/audio/speech", Dialect::Audio, Endpoint::Speech, Flag::OpenaiOther),
    post("/openai/deployments/{model}/completions", Dialect::Completions, Endpoint::Generate, Flag::OpenaiOther),
    post("/openai/deployments/{model}/embeddings", Dialect::Embeddings, Endpoint::Embeddings, Flag::OpenaiOther),
    post("/openai/deployments/{model}/images/generations", Dialect::Images, Endpoint::Images, Flag::OpenaiOther),
    post("/openai/deployments/{model}/images/edits", Dialect::Images, Endpoint::Images, Flag::OpenaiOther),
    post("/openai/deployments/{model}/audio/transcriptions", Dialect::Audio, Endpoint::Transcription, Flag::OpenaiOther),
    post("/openai/deployments/{model}/audio/translations", Dialect::Audio, Endpoint::Transcription, Flag::OpenaiOther),
    post("/openai/deployments/{model}/audio/speech", Dialect::Audio, Endpoint::Speech, Flag::OpenaiOther),
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
    // Imagen.
    post("/v1beta/models/{model}:predict", Dialect::Gemini, Endpoint::Predict, Flag::GeminiGenerateContent),
    post("/v1beta/interactions", Dialect::Interactions, Endpoint::Generate, Flag::GeminiGenerateContent),
    row("GET", "/v1beta/interactions/{id}", Dialect::Interactions, Endpoint::Retrieve, Flag::GeminiGenerateContent),
    row("DELETE", "/v1beta/interactions/{id}", Dialect::Interactions, Endpoint::Object, Flag::GeminiGenerateContent),
    post("/v1beta/interactions/{id}/cancel", Dialect::Interactions, Endpoint::Retrieve, Flag::GeminiGenerateContent),
    post("/v1beta/cachedContents", Dialect::Gemini, Endpoint::Make, Flag::GeminiGenerateContent),
    row("GET", "/v1beta/cachedContents/{id}", Dialect::Gemini, Endpoint::Object, Flag::GeminiGenerateContent),
    row("PATCH", "/v1beta/cachedContents/{id}", Dialect::Gemini, Endpoint::Object, Flag::GeminiGenerateContent),
    row("DELETE", "/v1beta/cachedContents/{id}", Dialect::Gemini, Endpoint::Object, Flag::GeminiGenerateContent),
    row("GET", "/ws/google.ai.generativelanguage.v1.GenerativeService.BidiGenerateContent", Dialect::Live, Endpoint::Socket, Flag::GeminiGenerateContent),
    row("GET", "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent", Dialect::Live, Endpoint::Socket, Flag::GeminiGenerateContent),
    row("GET", "/ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContent", Dialect::Live, Endpoint::Socket, Flag::GeminiGenerateContent),

    post(vertex!("v1", "publishers/google/models/{model}:generateContent"), Dialect::Gemini, Endpoint::Generate, Flag::GoogleGenerateContent),
    post(vertex!("v1", "publishers/google/models/{model}:streamGenerateContent"), Dialect::Gemini, Endpoint::Generate, Flag::GoogleGenerateContent),
    post(vertex!("v1", "publishers/google/models/{model}:countTokens"), Dialect::Gemini, Endpoint::CountTokens, Flag::GoogleGenerateContent),
    post(vertex!("v1beta1", "publishers/google/models/{model}:generateContent"), Dialect::Gemini, Endpoint::Generate, Flag::GoogleGenerateContent),
    post(vertex!("v1beta1", "publishers/google/models/{model}:streamGenerateContent"), Dialect::Gemini, Endpoint::Generate, Flag::GoogleGenerateContent),
    post(vertex!("v1beta1", "publishers/google/models/{model}:countTokens"), Dialect::Gemini, Endpoint::CountTokens, Flag::GoogleGenerateContent),
    post(vertex!("v1", "publishers/google/models/{model}:embedContent"), Dialect::Gemini, Endpoint::Embeddings, Flag::GoogleGenerateContent),
    post(vertex!("v1beta1", "publishers/google/models/{model}:embedContent"), Dialect::Gemini, Endpoint::Embeddings, Flag::GoogleGenerateContent),
    // Vectors and images.
    post(vertex!("v1", "publishers/google/models/{model}:predict"), Dialect::Gemini, Endpoint::Predict, Flag::GoogleGenerateContent),
    post(vertex!("v1beta1", "publishers/google/models/{model}:predict"), Dialect::Gemini, Endpoint::Predict, Flag::GoogleGenerateContent),
    row("GET", "/ws/google.cloud.aiplatform.v1.LlmBidiService/BidiGenerateContent", Dialect::Live, Endpoint::Socket, Flag::GoogleGenerateContent),
    row("GET", "/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent", Dialect::Live, Endpoint::Socket, Flag::GoogleGenerateContent),
    // Express mode: a key, no project.
    post("/v1/publishers/google/models/{model}:generateContent", Dialect::Gemini, Endpoint::Generate, Flag::GoogleGenerateContent),
    post("/v1/publishers/google/models/{model}:streamGenerateContent", Dialect::Gemini, Endpoint::Generate, Flag::GoogleGenerateContent),
    post("/v1beta1/publishers/google/models/{model}:generateContent", Dialect::Gemini, Endpoint::Generate, Flag::GoogleGenerateContent),
    post("/v1beta1/publishers/google/models/{model}:streamGenerateContent", Dialect::Gemini, Endpoint::Generate, Flag::GoogleGenerateContent),
    post("/v1/publishers/google/models/{model}:countTokens", Dialect::Gemini, Endpoint::CountTokens, Flag::GoogleGenerateContent),
    post("/v1/publishers/google/models/{model}:embedContent", Dialect::Gemini, Endpoint::Embeddings, Flag::GoogleGenerateContent),
    post("/v1/publishers/google/models/{model}:predict", Dialect::Gemini, Endpoint::Predict, Flag::GoogleGenerateContent),
    post("/v1beta1/publishers/google/models/{model}:countTokens", Dialect::Gemini, Endpoint::CountTokens, Flag::GoogleGenerateContent),
    post("/v1beta1/publishers/google/models/{model}:embedContent", Dialect::Gemini, Endpoint::Embeddings, Flag::GoogleGenerateContent),
    post("/v1beta1/publishers/google/models/{model}:predict", Dialect::Gemini, Endpoint::Predict, Flag::GoogleGenerateContent),

    post(vertex!("v1", "publishers/anthropic/models/count-tokens:rawPredict"), Dialect::Messages, Endpoint::CountTokens, Flag::GoogleRawPredict),
    post(vertex!("v1", "publishers/anthropic/models/{model}:rawPredict"), Dialect::Messages, Endpoint::Generate, Flag::GoogleRawPredict),
    post(vertex!("v1", "publishers/anthropic/models/{model}:streamRawPredict"), Dialect::Messages, Endpoint::Generate, Flag::GoogleRawPredict),
    post(vertex!("v1beta1", "publishers/anthropic/models/count-tokens:rawPredict"), Dialect::Messages, Endpoint::CountTokens, Flag::GoogleRawPredict),
    post(vertex!("v1beta1", "publishers/anthropic/models/{model}:rawPredict"), Dialect::Messages, Endpoint::Generate, Flag::GoogleRawPredict),
    post(vertex!("v1beta1", "publishers/anthropic/models/{model}:streamRawPredict"), Dialect::Messages, Endpoint::Generate, Flag::GoogleRawPredict),

    // Mistral and AI21 on Vertex speak as on their own APIs. Others (Llama, DeepSeek, Qwen) have the OpenAI-style endpoint.
    post(vertex!("v1", "publishers/mistralai/models/{model}:rawPredict"), Dialect::Chat, Endpoint::Generate, Flag::GoogleRawPredict),
    post(vertex!("v1", "publishers/mistralai/models/{model}:streamRawPredict"), Dialect::Chat, Endpoint::Generate, Flag::GoogleRawPredict),
    post(vertex!("v1beta1", "publishers/mistralai/models/{model}:rawPredict"), Dialect::Chat, Endpoint::Generate, Flag::GoogleRawPredict),
    post(vertex!("v1beta1", "publishers/mistralai/models/{model}:streamRawPredict"), Dialect::Chat, Endpoint::Generate, Flag::GoogleRawPredict),
    post(vertex!("v1", "publishers/ai21/models/{model}:rawPredict"), Dialect::Chat, Endpoint::Generate, Flag::GoogleRawPredict),
    post(vertex!("v1", "publishers/ai21/models/{model}:streamRawPredict"), Dialect::Chat, Endpoint::Generate, Flag::GoogleRawPredict),

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
    post("/api/embeddings", Dialect::Ollama, Endpoint::Embeddings, Flag::OllamaNative),
    post("/api/embed", Dialect::Ollama, Endpoint::Embeddings, Flag::OllamaNative),

    post("/v1internal:generateContent", Dialect::CodeAssist, Endpoint::Generate, Flag::CodeAssist),
    post("/v1internal:streamGenerateContent", Dialect::CodeAssist, Endpoint::Generate, Flag::CodeAssist),
    post("/v1internal:countTokens", Dialect::CodeAssist, Endpoint::CountTokens, Flag::CodeAssist),

    // Answered from our own list, whatever flags there are.
    row("GET", "/v1/models", Dialect::Chat, Endpoint::Models, Flag::OpenaiChat),
    row("GET", "/v1/models/{model*}", Dialect::Chat, Endpoint::Models, Flag::OpenaiChat),
    row("GET", "/models", Dialect::Chat, Endpoint::Models, Flag::OpenaiChat),
    row("GET", "/openai/v1/models", Dialect::Chat, Endpoint::Models, Flag::OpenaiChat),
    row("GET", "/v1beta/models", Dialect::Gemini, Endpoint::Models, Flag::GeminiGenerateContent),
    row("GET", "/v1beta/models/{model*}", Dialect::Gemini, Endpoint::Models, Flag::GeminiGenerateContent),
    row("GET", "/api/tags", Dialect::Ollama, Endpoint::Models, Flag::OllamaNative),
];

/// What this method and path (without query) mean; `None` is not forwarded.
#[must_use]
pub fn endpoint(method: &str, path: &str) -> Option<Route> {
    let rows = TABLE.iter().filter(|row| row.method == method);
    let (row, found) = rows.filter_map(|row| Some((row, fits(row.path, path)?))).next()?;
    let text = |span: &Option<Range<usize>>| match span {
        Some(span) => decode(&path[span.clone()]).map(Some),
        None => Some(None),
    };
    let stream = row.path.contains(":stream") || row.path.ends_with("-stream");
    Some(Route {
        dialect: row.dialect,
        endpoint: row.endpoint,
        flag: row.flag,
        model_in_path: text(&found.model)?,
        object: text(&found.object)?.map(|id| [row.object_prefix(), &id].concat()),
        model_span: found.model,
        stream,
    })
}

/// A path outside the table, for whom a grant opens it. Only reading: what has a body must be judged by it.
#[must_use]
pub fn direct(method: &str, path: &str) -> Option<Route> {
    let segments = path.strip_prefix('/')?;
    // What is escaped could be something else to whoever reads it behind us.
    if method != "GET" || path.contains('%') || !segments.split('/').all(is_plain) {
        return None;
    }
    let dialect = match segments.split('/').nth(1) {
        _ if segments.starts_with("v1beta") => Dialect::Gemini,
        Some("messages") => Dialect::Messages,
        _ => Dialect::Chat,
    };
    Some(Route {
        dialect,
        endpoint: Endpoint::Direct,
        flag: Flag::OpenaiChat,
        model_in_path: None,
        model_span: None,
        object: None,
        stream: false,
    })
}

impl Row {
    /// What an object's id begins with where the path says it apart: Gemini calls its caches by a path.
    fn object_prefix(&self) -> &'static str {
        if self.path.contains("/cachedContents/") { "cachedContents/" } else { "" }
    }
}

/// What a path names, as places in it.
#[derive(Default)]
struct Named {
    model: Option<Range<usize>>,
    object: Option<Range<usize>>,
}

/// Flags that open a path under some method: where a provider has one, a wrong method is 405.
pub fn flags_of(path: &str) -> impl Iterator<Item = Flag> {
    TABLE.iter().filter(move |row| fits(row.path, path).is_some()).map(|row| row.flag)
}

/// What is spoken at a path, whatever the method.
pub(super) fn dialect_of(path: &str) -> Option<Dialect> {
    TABLE.iter().find(|row| fits(row.path, path).is_some()).map(|row| row.dialect)
}

/// Whether a path is of this pattern, and what it names.
fn fits(pattern: &str, path: &str) -> Option<Named> {
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    let (mut named, mut at) = (Named::default(), 0);
    loop {
        let (want, segment) = match (wanted.next(), given.next()) {
            (None, None) => return Some(named),
            (Some(want), Some(segment)) => (want, segment),
            _ => return None,
        };
        match want {
            "{}" if is_plain(segment) => {}
            "{id}" if is_plain(segment) => named.object = Some(at..at + segment.len()),
            "{model*}" => {
                named.model = Some(at..path.len());
                return std::iter::once(segment).chain(given).all(is_plain).then_some(named);
            }
            _ => match want.strip_prefix("{model}") {
                Some(verb) => {
                    let written = segment.strip_suffix(verb).filter(|model| is_plain(model))?;
                    named.model = Some(at..at + written.len());
                }
                None if want == segment => {}
                None => return None,
            },
        }
        at += segment.len() + 1;
    }
}

/// A segment that stands for itself behind us, too, also for who undoes escapes before taking a path apart, or twice:
/// not empty, no step up, nothing that is still escaped.
fn is_plain(segment: &str) -> bool {
    let is_step = |part: &str| part.is_empty() || matches!(part, "." | "..");
    let stands = |decoded: String| !decoded.contains('%') && !decoded.split(['/', '\\']).any(is_step);
    decode(segment).is_some_and(stands)
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
mod tests;
