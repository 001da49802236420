//! What is answered without a model: lists of models, and counts of tokens.

use super::api::Dialect;
use super::asked::Asked;
use super::{Answer, Claim, json};

const NAMES: [&str; 2] = ["synthetic-large", "synthetic-small"];

pub(super) fn models(dialect: Dialect) -> Answer {
    let each = |model: fn(&str) -> String| NAMES.map(model).join(",");
    json(
        200,
        match dialect {
            Dialect::Gemini => format!("{{\"models\":[{}]}}", each(gemini)),
            Dialect::Ollama => format!("{{\"models\":[{}]}}", each(ollama)),
            _ => format!(
                "{{\"object\":\"list\",\"data\":[{}],\"has_more\":false,\"first_id\":\"{}\",\"last_id\":\"{}\"}}",
                each(both),
                NAMES[0],
                NAMES[1]
            ),
        },
    )
}

/// One that the SDKs of Anthropic and of OpenAI can read.
fn both(id: &str) -> String {
    format!(
        "{{\"id\":\"{id}\",\"type\":\"model\",\"object\":\"model\",\"display_name\":\"{id}\",\
         \"created\":1750000000,\"created_at\":\"2025-06-15T15:06:40Z\",\"owned_by\":\"synthetic\"}}"
    )
}

fn gemini(id: &str) -> String {
    format!(
        "{{\"name\":\"models/{id}\",\"version\":\"001\",\"displayName\":\"{id}\",\"inputTokenLimit\":1048576,\
         \"outputTokenLimit\":65536,\"supportedGenerationMethods\":[\"generateContent\",\"countTokens\"]}}"
    )
}

fn ollama(id: &str) -> String {
    format!(
        "{{\"name\":\"{id}:latest\",\"model\":\"{id}:latest\",\"modified_at\":\"2025-06-15T15:06:40Z\",\
         \"size\":4661224676,\"digest\":\"365c0bd3c000a25d28ddbf732fe1c6add414de7275464c4e4d1c3b5fcb5d8ad1\",\
         \"details\":{{\"parent_model\":\"\",\"format\":\"gguf\",\"family\":\"synthetic\",\
         \"families\":[\"synthetic\"],\"parameter_size\":\"8.0B\",\"quantization_level\":\"Q4_0\"}}}}"
    )
}

/// Not billed: no usage is claimed.
pub(super) fn count(asked: &Asked) -> Answer {
    let count = asked.tokens_in;
    let text = match asked.dialect {
        Dialect::Responses => format!("{{\"object\":\"response.input_tokens\",\"input_tokens\":{count}}}"),
        Dialect::Gemini => format!(
            "{{\"totalTokens\":{count},\"promptTokensDetails\":[{{\"modality\":\"TEXT\",\"tokenCount\":{count}}}]}}"
        ),
        Dialect::Converse => format!("{{\"inputTokens\":{count}}}"),
        _ => format!("{{\"input_tokens\":{count}}}"),
    };
    let claim = Claim { dialect: asked.dialect.name(), model: asked.model.clone(), ..Claim::default() };
    Answer { claim, ..json(200, text) }
}
