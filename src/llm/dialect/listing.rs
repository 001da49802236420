//! A list of models, and one of them, as each API writes them.

use serde_json::{Value, json};

/// A model for a list.
#[derive(Clone, Debug, Default)]
pub struct Entry<'a> {
    /// Name to ask for.
    pub name: &'a str,
    /// Id of its provider.
    pub provider: &'a str,
    /// The provider's name and description for people.
    pub provider_name: Option<&'a str>,
    /// Names of the flags that open endpoints for it.
    pub flags: Vec<&'static str>,
    /// Longest prompt and answer together, in tokens.
    pub context_window: Option<u64>,
    /// Prices, as the price book writes them.
    pub pricing: Option<Value>,
}

/// Whose list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// OpenAI, and what is compatible with it.
    OpenAi,
    /// Anthropic.
    Anthropic,
    /// Gemini.
    Gemini,
    /// Ollama's tags.
    Ollama,
}

/// Anthropic's own value for "not known".
const LONG_AGO: &str = "1970-01-01T00:00:00Z";

impl Shape {
    /// The whole list.
    #[must_use]
    pub fn list(self, entries: &[Entry<'_>]) -> Value {
        let data: Vec<Value> = entries.iter().map(|entry| self.one(entry)).collect();
        match self {
            Shape::OpenAi => json!({ "object": "list", "data": data }),
            Shape::Anthropic => json!({
                "data": data,
                "has_more": false,
                "first_id": entries.first().map(|entry| entry.name),
                "last_id": entries.last().map(|entry| entry.name),
            }),
            Shape::Gemini | Shape::Ollama => json!({ "models": data }),
        }
    }

    /// One model.
    #[must_use]
    pub fn one(self, entry: &Entry<'_>) -> Value {
        let name = entry.name;
        let mut value = match self {
            Shape::OpenAi => {
                json!({ "id": name, "object": "model", "created": 0, "owned_by": entry.provider })
            }
            Shape::Anthropic => {
                json!({ "type": "model", "id": name, "display_name": name, "created_at": LONG_AGO })
            }
            Shape::Gemini => json!({
                "name": format!("models/{name}"),
                "baseModelId": name,
                "version": "",
                "displayName": name,
                "supportedGenerationMethods": ["generateContent", "streamGenerateContent", "countTokens"],
            }),
            Shape::Ollama => {
                json!({ "name": name, "model": name, "modified_at": LONG_AGO, "size": 0, "digest": "", "details": {} })
            }
        };
        value["metadata"] = json!({
            "provider": { "id": entry.provider, "name": entry.provider_name.unwrap_or(entry.provider) },
            "compatibility": entry.flags,
        });
        if let Some(tokens) = entry.context_window {
            value[if self == Shape::Gemini { "inputTokenLimit" } else { "context_window" }] = tokens.into();
        }
        if let Some(pricing) = &entry.pricing {
            value["pricing"] = pricing.clone();
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_api_has_its_own_shape() {
        let entries = [Entry { name: "m", provider: "p", context_window: Some(9), ..Entry::default() }];
        let list = |shape: Shape| shape.list(&entries);
        assert_eq!(list(Shape::OpenAi)["data"][0]["owned_by"], "p");
        assert_eq!(list(Shape::OpenAi)["data"][0]["metadata"]["provider"]["id"], "p");
        assert_eq!(list(Shape::Anthropic)["first_id"], "m");
        assert_eq!(list(Shape::Anthropic)["data"][0]["type"], "model");
        assert_eq!(list(Shape::Gemini)["models"][0]["inputTokenLimit"], 9);
        assert_eq!(list(Shape::Ollama)["models"][0]["model"], "m");
        assert_eq!(Shape::Anthropic.list(&[])["last_id"], Value::Null);
    }
}
