//! Keys at the top of a request: what they mean, and how each language spells them.

use crate::llm::dialect::Dialect;

/// Top-level values that are looked at, under one name for all languages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Top {
    Model,
    /// Interactions: an agent in a model's place.
    Agent,
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
    /// Models to fall back to: names, or objects that name one. In Gemini's language requests within the request.
    Fallbacks,
    /// A gateway's own options (Vercel: `gateway.models`).
    ProviderOptions,
    /// OpenRouter's plugins, some with `allowed_models`.
    Plugins,
    /// How many answers are wanted, each of which is billed.
    Choices,
    /// The same, where the best of so many is wanted.
    BestOf,
}

pub(super) const TOPS: usize = 27;

impl Top {
    /// Whether it names models beside the one asked for, or may.
    pub(super) fn names_models(self) -> bool {
        matches!(self, Top::Models | Top::Fallbacks | Top::ProviderOptions | Top::Plugins | Top::Tools)
    }
}

/// Whether the provider takes a request that names no model.
pub(super) fn has_default_model(dialect: Dialect) -> bool {
    matches!(
        dialect,
        Dialect::Images | Dialect::Audio | Dialect::Moderations | Dialect::Realtime | Dialect::Live
    )
}

/// How each language spells them.
#[rustfmt::skip] // A table reads as one.
pub(super) fn keys(dialect: Dialect) -> &'static [(&'static str, Top)] {
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
            ("providerOptions", Top::ProviderOptions), ("plugins", Top::Plugins), ("n", Top::Choices),
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
            ("user", Top::User), ("fallbacks", Top::Fallbacks), ("providerOptions", Top::ProviderOptions),
            ("plugins", Top::Plugins), ("n", Top::Choices), ("best_of", Top::BestOf),
        ],
        Dialect::Embeddings | Dialect::Images | Dialect::Audio | Dialect::Moderations => &[
            ("model", Top::Model), ("stream", Top::Stream), ("prompt", Top::History), ("user", Top::User),
            ("models", Top::Models), ("fallbacks", Top::Fallbacks), ("providerOptions", Top::ProviderOptions),
        ],
        Dialect::Gemini | Dialect::Live => &[
            ("model", Top::Model), ("contents", Top::History), ("systemInstruction", Top::System),
            ("system_instruction", Top::System), ("tools", Top::ToolGroups), ("generationConfig", Top::Settings),
            ("generation_config", Top::Settings),
            ("cachedContent", Top::Conversation),
            // Each of `batchEmbedContents`, the one that `countTokens` is to count.
            ("requests", Top::Fallbacks), ("generateContentRequest", Top::Models),
            ("generate_content_request", Top::Models),
        ],
        Dialect::Interactions => &[
            ("model", Top::Model), ("agent", Top::Agent), ("stream", Top::Stream), ("input", Top::History),
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
            // OpenAI's open models, Claude of old, Llama, Titan, Cohere.
            ("max_completion_tokens", Top::MaxCompletionTokens), ("prompt", Top::History),
            ("max_tokens_to_sample", Top::MaxTokens), ("max_gen_len", Top::MaxTokens),
            ("inputText", Top::History), ("textGenerationConfig", Top::Settings), ("message", Top::History),
        ],
        Dialect::Ollama => &[
            ("model", Top::Model), ("stream", Top::Stream), ("tools", Top::Tools), ("messages", Top::History),
            ("prompt", Top::History), ("system", Top::System), ("options", Top::Settings),
        ],
    }
}

/// The same of how many answers are wanted.
pub(super) const CHOICES: &[&str] = &["candidateCount", "candidate_count"];

/// How the languages that keep it in an object spell the bound on tokens.
pub(super) const MAX_TOKENS: &[&str] =
    &["maxOutputTokens", "max_output_tokens", "maxTokens", "max_new_tokens", "maxTokenCount", "num_predict"];
