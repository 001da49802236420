//! OpenAI's moderations: every input is found harmless, and nothing is counted.

use super::{Answer, Asked, Claim, json};
use crate::json::quote;

const CATEGORIES: [&str; 13] = [
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
];

pub(super) fn answer(asked: &Asked) -> Answer {
    let each = |value: &str| CATEGORIES.map(|name| format!("\"{name}\":{value}")).join(",");
    let result = format!(
        "{{\"flagged\":false,\"categories\":{{{}}},\"category_scores\":{{{}}},\
         \"category_applied_input_types\":{{{}}}}}",
        each("false"),
        each("0.0001"),
        each("[\"text\"]")
    );
    let id = asked.id("modr-");
    let body = format!(
        "{{\"id\":\"{id}\",\"model\":{},\"results\":[{}]}}",
        quote(&asked.model),
        vec![result; asked.inputs].join(",")
    );
    let claim = Claim { dialect: "moderations", id, model: asked.model.clone(), ..Claim::default() };
    Answer { claim, ..json(200, body) }
}
