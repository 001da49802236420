//! Whether an object is in a dialect's own language. A provider's address may lead to an API of another one, to a page or
//! to a front that answers for it: what that says must not be read as counts of this one, for some names are common to
//! several languages and mean different things (what `usage.input_tokens` includes).
//!
//! Asked until the first object of a response that is; deliberately generous, since vendors leave out and add members.

use super::Dialect;
use crate::wire::json::Raw;

/// Whether an event, a line, an element or a body is of this language. Errors are of every language.
pub(super) fn is_own(dialect: Dialect, name: &[u8], object: Raw<'_>) -> bool {
    let object = if object.is_array() { object.elements().next().unwrap_or(object) } else { object };
    let has = |keys: &[&str]| keys.iter().any(|key| object.at(key).is_some());
    let text = |key: &str| object.at(key).and_then(Raw::text).unwrap_or_default();
    // What stands first in an object is asked first, and of every language last, since it needs a look at all members.
    let own = match dialect {
        Dialect::Messages => {
            MESSAGES_EVENTS.iter().any(|event| event.as_bytes() == name)
                || MESSAGES_EVENTS.contains(&&*text("type"))
                || object.at("content").is_some_and(Raw::is_array)
                || has(&["completion", "input_tokens"])
        }
        Dialect::Chat | Dialect::Completions => {
            let kind = text("object");
            ["chat.completion", "text_completion"].iter().any(|own| kind.starts_with(own))
                || has(&["choices"])
        }
        Dialect::Responses | Dialect::Realtime => {
            let events = |name: &str| name.starts_with("response.") || name == "error";
            events(&text("type"))
                || events(&String::from_utf8_lossy(name))
                || text("object").starts_with("response")
                || has(&["input_tokens"])
                || object.at("output").is_some_and(Raw::is_array)
        }
        Dialect::Embeddings => has(&["data", "embedding", "embeddings"]),
        Dialect::Images => has(&["data", "b64_json"]) || text("type").starts_with("image_"),
        // Transcripts come as plain text, too, where that was asked for.
        Dialect::Audio => true,
        Dialect::Moderations => has(&["results"]),
        Dialect::Gemini | Dialect::CodeAssist | Dialect::Live => {
            let inner = object.at("response").unwrap_or(object);
            GEMINI_MEMBERS.iter().any(|key| inner.at(key).is_some())
        }
        Dialect::Interactions => {
            has(&["event_type", "steps"])
                || (has(&["status"]) && (!has(&["object"]) || text("object") == "interaction"))
        }
        Dialect::Converse => {
            CONVERSE_EVENTS.contains(&name)
                || has(&["stopReason", "inputTokens"])
                || object.at("output").is_some_and(Raw::is_object)
        }
        // A frame's payload; of whole bodies each family of models has its own.
        Dialect::Invoke => name.is_empty() || has(&["bytes"]),
        Dialect::Ollama => {
            let text = object.at("response").is_some_and(Raw::is_string);
            (text || has(&["done", "message", "embedding", "embeddings"])) && !has(&["type", "choices"])
        }
    };
    own || name == b"error" || has(&["error"])
}

const MESSAGES_EVENTS: &[&str] = &[
    "message",
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
    "ping",
    "completion",
];

const GEMINI_MEMBERS: &[&str] = &[
    "candidates",
    "usageMetadata",
    "promptFeedback",
    "modelVersion",
    "responseId",
    "totalTokens",
    "embedding",
    "embeddings",
    "serverContent",
    "toolCall",
    "setupComplete",
    "error",
    "predictions",
];

const CONVERSE_EVENTS: &[&[u8]] = &[
    b"messageStart",
    b"contentBlockStart",
    b"contentBlockDelta",
    b"contentBlockStop",
    b"messageStop",
    b"metadata",
];
