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
    /// Models are listed.
    Models,
    /// Sound is made: the body is not text.
    Speech,
}

impl Endpoint {
    /// Whether an exchange here can be a turn of a conversation.
    #[must_use]
    pub fn is_turn(self) -> bool {
        matches!(self, Endpoint::Generate)
    }
}

/// Flags of a provider's `compatibility`; each opens its endpoints with their counting and streaming variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// OpenAI Chat Completions.
    OpenaiChat,
    /// Anthropic Messages.
    AnthropicMessages,
}

impl Flag {
    /// Every flag.
    pub const ALL: &'static [Flag] = &[Flag::OpenaiChat, Flag::AnthropicMessages];

    /// Name in configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Flag::OpenaiChat => "openai_chat",
            Flag::AnthropicMessages => "anthropic_messages",
        }
    }
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
}

struct Row {
    method: &'static str,
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
    flag: Option<Flag>,
) -> Row {
    Row { method, path, dialect, endpoint, flag }
}

const TABLE: &[Row] = &[
    row("POST", "/v1/messages", Dialect::Messages, Endpoint::Generate, Some(Flag::AnthropicMessages)),
    row(
        "POST",
        "/v1/messages/count_tokens",
        Dialect::Messages,
        Endpoint::CountTokens,
        Some(Flag::AnthropicMessages),
    ),
    row("POST", "/v1/complete", Dialect::Messages, Endpoint::Generate, Some(Flag::AnthropicMessages)),
    row("POST", "/v1/chat/completions", Dialect::Chat, Endpoint::Generate, Some(Flag::OpenaiChat)),
    // Clients whose base URL ends in the version.
    row("POST", "/chat/completions", Dialect::Chat, Endpoint::Generate, Some(Flag::OpenaiChat)),
    row("GET", "/v1/models", Dialect::Chat, Endpoint::Models, None),
];

/// What this method and path (without query) mean; `None` is not forwarded.
#[must_use]
pub fn endpoint(method: &str, path: &str) -> Option<Route> {
    let row = TABLE.iter().find(|row| row.method == method && row.path == path)?;
    Some(Route { dialect: row.dialect, endpoint: row.endpoint, flag: row.flag, model_in_path: None })
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
        ] {
            assert_eq!(endpoint(method, path), None, "{method} {path}");
        }
    }
}
