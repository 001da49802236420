//! The token counts that every dialect reduces to (protocols: normal form for token counts).
//!
//! `None` is *unknown*: nothing on the wire said it. It is never written as 0.

use serde::{Deserialize, Serialize};

pub(crate) use wire::UsageMembers;
pub use wire::WireUsage;

mod wire;

/// Token counts of one response, in tokens. Names are those of the fixtures' manifest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// All prompt tokens, cache reads and writes included.
    pub input_tokens: Option<u64>,
    /// Prompt tokens neither read from nor written to a cache.
    pub uncached_input_tokens: Option<u64>,
    /// All generated tokens, reasoning included.
    pub output_tokens: Option<u64>,
    /// Prompt tokens read from the provider's cache.
    pub cache_read_tokens: Option<u64>,
    /// Prompt tokens written to the provider's cache, whatever their time to live.
    pub cache_write_tokens: Option<u64>,
    /// Part of the cache writes that lives five minutes, where the wire says so.
    pub cache_write_5m_tokens: Option<u64>,
    /// Part of the cache writes that lives an hour, where the wire says so.
    pub cache_write_1h_tokens: Option<u64>,
    /// Reasoning tokens: a part of `output_tokens`, not beside it.
    pub reasoning_tokens: Option<u64>,
    /// Audio tokens of the prompt, where the wire says so.
    pub audio_input_tokens: Option<u64>,
    /// Audio tokens generated, where the wire says so.
    pub audio_output_tokens: Option<u64>,
    /// Prompt tokens that provider-run tools added (Gemini), already inside `input_tokens`.
    pub tool_use_prompt_tokens: Option<u64>,
    /// Audio tokens of the prompt read from the cache: a part of `audio_input_tokens` and of `cache_read_tokens`.
    pub cache_read_audio_tokens: Option<u64>,
    /// Image tokens of the prompt, where the wire says so.
    pub image_input_tokens: Option<u64>,
    /// Image tokens generated, where the wire says so.
    pub image_output_tokens: Option<u64>,
    /// Web searches that the provider ran.
    pub web_searches: Option<u64>,
    /// Searches of stored files that the provider ran.
    pub file_searches: Option<u64>,
    /// Seconds of sound, where those are billed instead of tokens.
    pub audio_seconds: Option<u64>,
}

impl Usage {
    /// Whether the wire said nothing at all.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        *self == Usage::default()
    }

    /// Both together; what neither knows stays unknown.
    #[must_use]
    pub fn plus(self, other: &Usage) -> Usage {
        let sum = |one: Option<u64>, two: Option<u64>| match (one, two) {
            (None, None) => None,
            (one, two) => Some(one.unwrap_or(0).saturating_add(two.unwrap_or(0))),
        };
        Usage {
            input_tokens: sum(self.input_tokens, other.input_tokens),
            uncached_input_tokens: sum(self.uncached_input_tokens, other.uncached_input_tokens),
            output_tokens: sum(self.output_tokens, other.output_tokens),
            cache_read_tokens: sum(self.cache_read_tokens, other.cache_read_tokens),
            cache_write_tokens: sum(self.cache_write_tokens, other.cache_write_tokens),
            cache_write_5m_tokens: sum(self.cache_write_5m_tokens, other.cache_write_5m_tokens),
            cache_write_1h_tokens: sum(self.cache_write_1h_tokens, other.cache_write_1h_tokens),
            reasoning_tokens: sum(self.reasoning_tokens, other.reasoning_tokens),
            audio_input_tokens: sum(self.audio_input_tokens, other.audio_input_tokens),
            audio_output_tokens: sum(self.audio_output_tokens, other.audio_output_tokens),
            tool_use_prompt_tokens: sum(self.tool_use_prompt_tokens, other.tool_use_prompt_tokens),
            cache_read_audio_tokens: sum(self.cache_read_audio_tokens, other.cache_read_audio_tokens),
            image_input_tokens: sum(self.image_input_tokens, other.image_input_tokens),
            image_output_tokens: sum(self.image_output_tokens, other.image_output_tokens),
            web_searches: sum(self.web_searches, other.web_searches),
            file_searches: sum(self.file_searches, other.file_searches),
            audio_seconds: sum(self.audio_seconds, other.audio_seconds),
        }
    }
}
