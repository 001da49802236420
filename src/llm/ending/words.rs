//! What each dialect says at the end of a stream that was ended: as at a bound on output, which every client knows.

use serde_json::{Value, json};

use super::Wire;
use crate::llm::dialect::Dialect;
use crate::wire::base64;
use crate::wire::eventstream::write_frame;
use crate::wire::json::Raw;

/// Choices whose end has to be said; more than any API allows.
const CHOICES_MAX: usize = 128;

/// What of a stream its end has to speak of.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The provider has ended the stream itself.
    pub(super) ended: bool,
    model: Option<String>,
    id: Option<String>,
    /// Chat's `created` and `object`.
    created: u64,
    object: Option<String>,
    /// Choices that have begun and not finished.
    choices: Vec<u64>,
    /// The content block that is open.
    block: Option<u64>,
    /// Responses: the response as it was created, and the last number of the sequence.
    response: Option<Value>,
    sequence: u64,
    /// Ollama: whether lines carry a message (chat) or a text.
    message: bool,
}

impl Seen {
    /// One event.
    pub(super) fn note(&mut self, dialect: Dialect, name: &[u8], data: &[u8]) {
        if data.trim_ascii() == b"[DONE]" {
            self.ended = true;
            return;
        }
        let Some(event) = Raw::whole(data) else { return };
        match dialect {
            Dialect::Messages => self.messages(event, name),
            Dialect::Invoke => {
                let wrapped = event.at("bytes").and_then(Raw::text);
                let inner = wrapped.and_then(|text| base64::decode(text.as_bytes()));
                if let Some(inner) = inner.as_deref().and_then(Raw::whole) {
                    self.messages(inner, b"");
                }
            }
            Dialect::Responses => self.responses(event, name),
            Dialect::Gemini | Dialect::CodeAssist => self.gemini(event.at("response").unwrap_or(event)),
            Dialect::Converse => self.converse(event, name),
            Dialect::Ollama => self.ollama(event),
            _ => self.chat(event),
        }
    }

    fn messages(&mut self, event: Raw<'_>, name: &[u8]) {
        let kind = event.at("type").and_then(Raw::text);
        match kind.as_deref().map_or(name, str::as_bytes) {
            b"content_block_start" => self.block = event.at("index").and_then(Raw::count),
            b"content_block_stop" => self.block = None,
            // The stop reason is said: what is left is a formality.
            b"message_delta" | b"message_stop" | b"error" => self.ended = true,
            _ => {}
        }
    }

    fn chat(&mut self, chunk: Raw<'_>) {
        for (slot, name) in [(&mut self.model, "model"), (&mut self.id, "id"), (&mut self.object, "object")] {
            if slot.is_none() {
                *slot = chunk.at(name).and_then(Raw::string);
            }
        }
        self.created = chunk.at("created").and_then(Raw::count).unwrap_or(self.created);
        for choice in chunk.at("choices").into_iter().flat_map(Raw::elements) {
            let index = choice.at("index").and_then(Raw::count).unwrap_or(0);
            let finished = choice.at("finish_reason").is_some_and(|reason| !reason.is_null());
            if finished {
                self.choices.retain(|open| *open != index);
                // The last one to finish ends the answer; usage may follow, and is not cut off.
                self.ended |= self.choices.is_empty();
            } else if !self.choices.contains(&index) && self.choices.len() < CHOICES_MAX {
                self.choices.push(index);
            }
        }
    }

    fn responses(&mut self, event: Raw<'_>, name: &[u8]) {
        self.sequence = event.at("sequence_number").and_then(Raw::count).unwrap_or(self.sequence);
        let kind = event.at("type").and_then(Raw::text);
        match kind.as_deref().map_or(name, str::as_bytes) {
            b"response.created" => {
                self.response = event.at("response").and_then(Raw::value).filter(Value::is_object)
            }
            b"response.completed" | b"response.incomplete" | b"response.failed" | b"error" => {
                self.ended = true
            }
            _ => {}
        }
    }

    fn gemini(&mut self, chunk: Raw<'_>) {
        for (slot, name) in [(&mut self.model, "modelVersion"), (&mut self.id, "responseId")] {
            if slot.is_none() {
                *slot = chunk.at(name).and_then(Raw::string);
            }
        }
        let mut candidates = chunk.at("candidates").into_iter().flat_map(Raw::elements);
        self.ended |= candidates.any(|candidate| candidate.at("finishReason").is_some());
    }

    fn converse(&mut self, event: Raw<'_>, name: &[u8]) {
        match name {
            b"contentBlockStart" | b"contentBlockDelta" => {
                self.block = event.at("contentBlockIndex").and_then(Raw::count);
            }
            b"contentBlockStop" => self.block = None,
            b"messageStop" => self.ended = true,
            _ => {}
        }
    }

    fn ollama(&mut self, line: Raw<'_>) {
        if self.model.is_none() {
            self.model = line.at("model").and_then(Raw::string);
        }
        self.message |= line.at("message").is_some();
        self.ended |= line.at("done").is_some_and(Raw::is_true) || line.at("error").is_some();
    }

    /// The bytes that end the stream.
    pub(super) fn terminal(&self, dialect: Dialect, wire: Wire, bucket: &str, tokens: (u64, u64)) -> Vec<u8> {
        let reason = json!({ "ended_by": "quota", "bucket": bucket });
        let mut out = Vec::new();
        match dialect {
            Dialect::Messages => {
                for event in self.messages_end(&reason, tokens.1) {
                    let name = event["type"].as_str().unwrap_or_default().to_owned();
                    write_event(&mut out, &name, &event);
                }
            }
            Dialect::Invoke => {
                for event in self.messages_end(&reason, tokens.1) {
                    let payload = json!({ "bytes": base64::encode(event.to_string().as_bytes()) });
                    write_frame_of(&mut out, "chunk", &payload);
                }
            }
            Dialect::Converse => self.converse_end(&mut out, &reason, tokens),
            Dialect::Responses => {
                let event = self.responses_end(&reason);
                write_event(&mut out, "response.incomplete", &event);
            }
            Dialect::Gemini | Dialect::CodeAssist => {
                let chunk = self.gemini_end(&reason);
                let chunk = if dialect == Dialect::CodeAssist { json!({ "response": chunk }) } else { chunk };
                match wire {
                    Wire::Array => out.extend_from_slice(format!(",{chunk}]").as_bytes()),
                    _ => write_event(&mut out, "", &chunk),
                }
            }
            Dialect::Ollama => {
                out.extend_from_slice(self.ollama_end(&reason).to_string().as_bytes());
                out.push(b'\n');
            }
            _ => {
                write_event(&mut out, "", &self.chat_end(&reason));
                out.extend_from_slice(b"data: [DONE]\n\n");
            }
        }
        out
    }

    fn messages_end(&self, reason: &Value, output_tokens: u64) -> Vec<Value> {
        let stop = self.block.map(|index| json!({ "type": "content_block_stop", "index": index }));
        let delta = json!({
            "type": "message_delta",
            "delta": { "stop_reason": "max_tokens", "stop_sequence": null },
            "usage": { "output_tokens": output_tokens },
            "weir": reason,
        });
        stop.into_iter().chain([delta, json!({ "type": "message_stop" })]).collect()
    }

    fn chat_end(&self, reason: &Value) -> Value {
        let text = self.object.as_deref() == Some("text_completion");
        let indexes = if self.choices.is_empty() { &[0][..] } else { &self.choices };
        let choice = |index: &u64| match text {
            true => json!({ "index": index, "text": "", "logprobs": null, "finish_reason": "length" }),
            false => json!({ "index": index, "delta": {}, "logprobs": null, "finish_reason": "length" }),
        };
        json!({
            "id": self.id,
            "object": self.object.as_deref().unwrap_or("chat.completion.chunk"),
            "created": self.created,
            "model": self.model,
            "choices": indexes.iter().map(choice).collect::<Vec<_>>(),
            "weir": reason,
        })
    }

    fn responses_end(&self, reason: &Value) -> Value {
        let mut response =
            self.response.clone().unwrap_or_else(|| json!({ "object": "response", "output": [] }));
        response["status"] = "incomplete".into();
        response["incomplete_details"] = json!({ "reason": "max_output_tokens" });
        json!({
            "type": "response.incomplete",
            "sequence_number": self.sequence.saturating_add(1),
            "response": response,
            "weir": reason,
        })
    }

    fn gemini_end(&self, reason: &Value) -> Value {
        json!({
            "candidates": [{ "content": { "role": "model", "parts": [] }, "finishReason": "MAX_TOKENS", "index": 0 }],
            "modelVersion": self.model,
            "responseId": self.id,
            "weir": reason,
        })
    }

    fn converse_end(&self, out: &mut Vec<u8>, reason: &Value, (input, output): (u64, u64)) {
        if let Some(index) = self.block {
            write_frame_of(out, "contentBlockStop", &json!({ "contentBlockIndex": index }));
        }
        write_frame_of(out, "messageStop", &json!({ "stopReason": "max_tokens", "weir": reason }));
        let usage = json!({ "inputTokens": input, "outputTokens": output, "totalTokens": input.saturating_add(output) });
        write_frame_of(out, "metadata", &json!({ "usage": usage, "metrics": { "latencyMs": 0 } }));
    }

    fn ollama_end(&self, reason: &Value) -> Value {
        let mut line = json!({ "model": self.model, "done": true, "done_reason": "length", "weir": reason });
        match self.message {
            true => line["message"] = json!({ "role": "assistant", "content": "" }),
            false => line["response"] = "".into(),
        }
        line
    }
}

fn write_event(out: &mut Vec<u8>, name: &str, data: &Value) {
    if !name.is_empty() {
        out.extend_from_slice(format!("event: {name}\n").as_bytes());
    }
    out.extend_from_slice(format!("data: {data}\n\n").as_bytes());
}

fn write_frame_of(out: &mut Vec<u8>, event: &str, payload: &Value) {
    let headers = [(":event-type", event), (":content-type", "application/json"), (":message-type", "event")];
    write_frame(out, &headers, payload.to_string().as_bytes());
}
