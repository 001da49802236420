//! What a request wants: read from its body in one forward scan while it arrives.

use serde::{Deserialize, Serialize};

/// What a request asks for, as far as weir needs to know.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ask {
    /// Model as named by the client.
    pub model: Option<String>,
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
    /// `previous_response_id` (a session hint).
    pub previous_response_id: Option<String>,
    /// OpenAI `user` or `safety_identifier`.
    pub user: Option<String>,
    /// First text of the system prompt, cut short: names the agent where headers do not.
    pub system_start: Option<String>,
    /// Hash over the stable parts of system prompt and first user message: the last resort for finding a session.
    pub fingerprint: u64,
}

/// Longest user message kept with a record's metadata, in bytes.
pub const USER_MESSAGE_BYTES_MAX: usize = 512;
