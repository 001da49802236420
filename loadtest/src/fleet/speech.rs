//! How each dialect writes a conversation: what was asked, answered, called and returned; tools, bodies and paths.

use crate::answer::ToolCall;
use crate::json::quote;

/// The language an agent speaks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Speech {
    Messages,
    Chat,
    Responses,
    Gemini,
}

/// The parts of a request.
pub(super) struct Parts<'a> {
    pub(super) model: &'a str,
    pub(super) system: &'a str,
    pub(super) tools: &'a [(&'static str, &'static str)],
    pub(super) history: &'a [String],
    /// Fields of the program's own, each with a comma behind it.
    pub(super) extra: &'a str,
}

impl Speech {
    pub(super) fn path(self, model: &str) -> String {
        match self {
            Speech::Messages => "/v1/messages".to_owned(),
            Speech::Chat => "/v1/chat/completions".to_owned(),
            Speech::Responses => "/v1/responses".to_owned(),
            Speech::Gemini => format!("/v1beta/models/{model}:streamGenerateContent?alt=sse"),
        }
    }

    /// The field of the vendor's credential, and what stands before it.
    pub(super) fn credential(self) -> (&'static str, &'static str) {
        match self {
            Speech::Messages => ("x-api-key", ""),
            Speech::Gemini => ("x-goog-api-key", ""),
            Speech::Chat | Speech::Responses => ("authorization", "Bearer "),
        }
    }

    pub(super) fn question(self, text: &str) -> String {
        let text = quote(text);
        match self {
            Speech::Gemini => format!("{{\"role\":\"user\",\"parts\":[{{\"text\":{text}}}]}}"),
            _ => format!("{{\"role\":\"user\",\"content\":{text}}}"),
        }
    }

    /// An answer as it is sent along with the next request: one piece of the history, or several.
    pub(super) fn answer(self, text: &str, calls: &[ToolCall]) -> Vec<String> {
        match self {
            Speech::Messages => vec![messages_answer(text, calls)],
            Speech::Chat => vec![chat_answer(text, calls)],
            Speech::Responses => responses_answer(text, calls),
            Speech::Gemini => vec![gemini_answer(text, calls)],
        }
    }

    /// What the tools said, in the order of their calls.
    pub(super) fn results(self, calls: &[ToolCall], outputs: &[String]) -> Vec<String> {
        let each = |one: fn(&ToolCall, &str) -> String| -> Vec<String> {
            calls.iter().zip(outputs).map(|(call, output)| one(call, &quote(output))).collect()
        };
        match self {
            Speech::Messages => {
                let blocks = each(|call, output| {
                    format!(
                        "{{\"type\":\"tool_result\",\"tool_use_id\":\"{}\",\"content\":{output}}}",
                        call.id
                    )
                });
                vec![format!("{{\"role\":\"user\",\"content\":[{}]}}", blocks.join(","))]
            }
            Speech::Chat => each(|call, output| {
                format!("{{\"role\":\"tool\",\"tool_call_id\":\"{}\",\"content\":{output}}}", call.id)
            }),
            Speech::Responses => each(|call, output| {
                format!(
                    "{{\"type\":\"function_call_output\",\"call_id\":\"{}\",\"output\":{output}}}",
                    call.id
                )
            }),
            Speech::Gemini => {
                let parts = each(|call, output| {
                    let name = quote(&call.name);
                    format!(
                        "{{\"functionResponse\":{{\"name\":{name},\"response\":{{\"output\":{output}}}}}}}"
                    )
                });
                vec![format!("{{\"role\":\"user\",\"parts\":[{}]}}", parts.join(","))]
            }
        }
    }

    pub(super) fn body(self, parts: &Parts) -> String {
        let Parts { model, extra, .. } = parts;
        let (system, tools, history) =
            (quote(parts.system), self.tools(parts.tools), parts.history.join(","));
        match self {
            Speech::Messages => format!(
                "{{\"model\":\"{model}\",\"max_tokens\":32000,\"stream\":true,{extra}{tools}\"system\":[{{\"type\":\"text\",\
                 \"text\":{system},\"cache_control\":{{\"type\":\"ephemeral\"}}}}],\"messages\":[{history}]}}"
            ),
            Speech::Chat => format!(
                "{{\"model\":\"{model}\",\"stream\":true,{extra}{tools}\"messages\":[{{\"role\":\"system\",\
                 \"content\":{system}}},{history}]}}"
            ),
            Speech::Responses => format!(
                "{{\"model\":\"{model}\",\"stream\":true,\"store\":false,{extra}{tools}\"instructions\":{system},\
                 \"input\":[{history}]}}"
            ),
            Speech::Gemini => format!(
                "{{{extra}{tools}\"systemInstruction\":{{\"role\":\"user\",\"parts\":[{{\"text\":{system}}}]}},\
                 \"contents\":[{history}]}}"
            ),
        }
    }

    /// The declarations with a comma behind them; nothing where there are none.
    fn tools(self, tools: &[(&str, &str)]) -> String {
        let declared: Vec<String> = tools.iter().map(|(name, field)| self.tool(name, field)).collect();
        match (self, declared.is_empty()) {
            (_, true) => String::new(),
            (Speech::Gemini, _) => {
                format!("\"tools\":[{{\"functionDeclarations\":[{}]}}],", declared.join(","))
            }
            _ => format!("\"tools\":[{}],", declared.join(",")),
        }
    }

    fn tool(self, name: &str, field: &str) -> String {
        let schema = format!(
            "{{\"type\":\"object\",\"properties\":{{\"{field}\":{{\"type\":\"string\"}}}},\"required\":[\"{field}\"]}}"
        );
        let about = format!("\"name\":\"{name}\",\"description\":\"Runs {name}\"");
        match self {
            Speech::Messages => format!("{{{about},\"input_schema\":{schema}}}"),
            Speech::Chat => {
                format!("{{\"type\":\"function\",\"function\":{{{about},\"parameters\":{schema}}}}}")
            }
            Speech::Responses => format!("{{\"type\":\"function\",{about},\"parameters\":{schema}}}"),
            Speech::Gemini => format!("{{{about},\"parametersJsonSchema\":{schema}}}"),
        }
    }
}

fn messages_answer(text: &str, calls: &[ToolCall]) -> String {
    let mut blocks = vec![format!("{{\"type\":\"text\",\"text\":{}}}", quote(text))];
    blocks.extend(calls.iter().map(|call| {
        let name = quote(&call.name);
        format!(
            "{{\"type\":\"tool_use\",\"id\":\"{}\",\"name\":{name},\"input\":{}}}",
            call.id, call.arguments
        )
    }));
    format!("{{\"role\":\"assistant\",\"content\":[{}]}}", blocks.join(","))
}

fn chat_answer(text: &str, calls: &[ToolCall]) -> String {
    if calls.is_empty() {
        return format!("{{\"role\":\"assistant\",\"content\":{}}}", quote(text));
    }
    let calls = calls.iter().map(|call| {
        let (name, arguments) = (quote(&call.name), quote(&call.arguments));
        format!(
            "{{\"id\":\"{}\",\"type\":\"function\",\"function\":{{\"name\":{name},\"arguments\":{arguments}}}}}",
            call.id
        )
    });
    let calls = calls.collect::<Vec<_>>().join(",");
    format!("{{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{calls}]}}")
}

fn responses_answer(text: &str, calls: &[ToolCall]) -> Vec<String> {
    if calls.is_empty() {
        let part = format!("{{\"type\":\"output_text\",\"text\":{}}}", quote(text));
        return vec![format!("{{\"type\":\"message\",\"role\":\"assistant\",\"content\":[{part}]}}")];
    }
    let item = |call: &ToolCall| {
        let (name, arguments) = (quote(&call.name), quote(&call.arguments));
        format!(
            "{{\"type\":\"function_call\",\"call_id\":\"{}\",\"name\":{name},\"arguments\":{arguments}}}",
            call.id
        )
    };
    calls.iter().map(item).collect()
}

fn gemini_answer(text: &str, calls: &[ToolCall]) -> String {
    let part = |call: &ToolCall| {
        format!("{{\"functionCall\":{{\"name\":{},\"args\":{}}}}}", quote(&call.name), call.arguments)
    };
    let parts = match calls.is_empty() {
        true => format!("{{\"text\":{}}}", quote(text)),
        false => calls.iter().map(part).collect::<Vec<_>>().join(","),
    };
    format!("{{\"role\":\"model\",\"parts\":[{parts}]}}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Value;
    use crate::{Answer, Knobs};

    /// The provider understands each dialect's way of saying things: a call is asked for once, and answered once.
    #[test]
    fn every_dialect_holds_a_conversation() {
        for speech in [Speech::Messages, Speech::Chat, Speech::Responses, Speech::Gemini] {
            let mut history = vec![speech.question("do \"it\"")];
            for called in [1, 0] {
                let tools = [("look", "where")];
                let parts = Parts { model: "m", system: "s", tools: &tools, history: &history, extra: "" };
                let body = speech.body(&parts);
                assert!(Value::parse(body.as_bytes()).is_some(), "{speech:?}: {body}");
                let answer = Answer::new("POST", &speech.path("m"), body.as_bytes(), &Knobs::default());
                let calls = &answer.claim.tools;
                assert_eq!(
                    (answer.status, calls.len(), answer.claim.stream),
                    (200, called, true),
                    "{speech:?}"
                );
                history.extend(speech.answer(&answer.text(), calls));
                let outputs = vec!["out\nput".to_owned(); calls.len()];
                if !calls.is_empty() {
                    history.extend(speech.results(calls, &outputs));
                }
            }
        }
    }
}
