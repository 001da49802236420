//! API languages: one file each. A closed set, so that adding one makes the compiler list what is missing.

use serde::{Deserialize, Serialize};

/// The language of a request body and of its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// Anthropic Messages (`/v1/messages`).
    Messages,
    /// OpenAI Chat Completions (`/v1/chat/completions`) and everything compatible with it.
    Chat,
}

impl Dialect {
    /// Name in records, metrics and configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Dialect::Messages => "messages",
            Dialect::Chat => "chat",
        }
    }
}
