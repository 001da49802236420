//! What passes in MCP over HTTP (JSON-RPC 2.0): which method was called, which tool with which arguments, how it ended.
//!
//! A reply is one JSON object or a stream whose events are messages: notifications first, the response last. A tool that
//! fails answers with `isError` in a good reply; only `error` is a fault of the protocol.
//!
//! Deliberately absent: sessions, aggregation, names: those are `mcp/`'s. This only reads.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::dialect::raw_text;
use super::reading::ToolUse;
use crate::wire::json::Raw;
use crate::wire::sse::Splitter;

/// What one exchange was about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct McpReading {
    /// Method of the request.
    pub method: String,
    /// Its id, as on the wire; none for a notification.
    pub request_id: Option<Value>,
    /// The call, if it calls a tool.
    pub tool: Option<ToolUse>,
    /// Messages in the reply.
    pub events: u64,
    /// Members of the result.
    pub result_keys: Vec<String>,
    /// Tools that the result lists.
    pub tools_listed: Vec<String>,
    /// Whether the tool said that it failed.
    pub is_error: Option<bool>,
    /// Fault of the protocol.
    pub error: Option<Value>,
    /// Whether the response to the request has come.
    pub complete: bool,
}

/// Reads one exchange.
#[derive(Debug)]
pub struct McpReader {
    reading: McpReading,
    id: Vec<u8>,
    splitter: Option<Splitter>,
    body: Vec<u8>,
    gave_up: bool,
}

/// Longest message that is held.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

impl McpReader {
    /// A reader for the reply to this request.
    #[must_use]
    pub fn new(request: &[u8], event_stream: bool) -> Self {
        let mut reader = McpReader {
            reading: McpReading::default(),
            id: Vec::new(),
            splitter: event_stream.then(|| Splitter::new(MESSAGE_BYTES_MAX)),
            body: Vec::new(),
            gave_up: false,
        };
        if let Some(request) = Raw::whole(request) {
            reader.request(request);
        }
        reader
    }

    /// Reply bytes as they pass.
    pub fn feed(&mut self, data: &[u8]) {
        if self.gave_up {
            return;
        }
        let Some(mut splitter) = self.splitter.take() else {
            self.gave_up = self.body.len() + data.len() > MESSAGE_BYTES_MAX;
            return if self.gave_up { self.body = Vec::new() } else { self.body.extend_from_slice(data) };
        };
        let mut at = 0;
        loop {
            match splitter.next(data, &mut at) {
                Ok(Some(event)) => self.message(event.data),
                Ok(None) => break,
                Err(_) => return self.gave_up = true,
            }
        }
        self.splitter = Some(splitter);
    }

    /// The end: what the exchange was about.
    #[must_use]
    pub fn finish(mut self) -> McpReading {
        let body = std::mem::take(&mut self.body);
        if !body.is_empty() {
            self.message(&body);
        }
        self.reading
    }

    fn request(&mut self, request: Raw<'_>) {
        self.reading.method = request.at("method").and_then(Raw::string).unwrap_or_default();
        if let Some(id) = request.at("id") {
            self.id = id.bytes().to_vec();
            self.reading.request_id = id.value();
        }
        let params = request.at("params");
        if self.reading.method == "tools/call"
            && let Some(params) = params
        {
            self.reading.tool = Some(ToolUse {
                name: params.at("name").and_then(Raw::string).unwrap_or_default(),
                id: request
                    .at("id")
                    .map(|id| id.string().unwrap_or_else(|| raw_text(id)))
                    .unwrap_or_default(),
                kind: "mcp tools/call".into(),
                arguments: params.at("arguments").map(raw_text).unwrap_or_default(),
                server_name: None,
            });
        }
    }

    fn message(&mut self, text: &[u8]) {
        let Some(message) = Raw::whole(text) else { return };
        if message.is_array() {
            // Batches, of one revision only.
            return message.elements().for_each(|one| self.message(one.bytes()));
        }
        self.reading.events += 1;
        let ours = message.at("id").is_some_and(|id| id.bytes() == self.id);
        if message.at("method").is_some() || !ours {
            return;
        }
        self.reading.complete = true;
        self.reading.error = message.at("error").and_then(Raw::value);
        let Some(result) = message.at("result") else { return };
        for (key, value) in result.members() {
            self.reading.result_keys.push(String::from_utf8_lossy(key.written()).into_owned());
            match key.written() {
                b"isError" => self.reading.is_error = Some(value.is_true()),
                b"tools" => {
                    let names = value.elements().filter_map(|tool| tool.at("name")?.string());
                    self.reading.tools_listed.extend(names);
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_and_its_reply_in_any_split() {
        let request = br#"{"jsonrpc":"2.0","id":"7","method":"tools/call","params":{"name":"ask","arguments":{"q":1}}}"#;
        let reply = b": ping\n\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\n\n\
            data: {\"jsonrpc\":\"2.0\",\"id\":\"7\",\"result\":{\"content\":[],\"isError\":true}}\n\n";
        for cut in 0..reply.len() {
            let mut reader = McpReader::new(request, true);
            reader.feed(&reply[..cut]);
            reader.feed(&reply[cut..]);
            let reading = reader.finish();
            assert_eq!(
                (reading.events, reading.complete, reading.is_error),
                (2, true, Some(true)),
                "cut at {cut}"
            );
            let tool = reading.tool.unwrap();
            assert_eq!(
                (tool.name.as_str(), tool.id.as_str(), tool.arguments.as_str()),
                ("ask", "7", "{\"q\":1}")
            );
        }
    }

    #[test]
    fn one_object_and_noise() {
        let mut reader = McpReader::new(br#"{"id":1,"method":"tools/list"}"#, false);
        reader.feed(br#"{"id":1,"result":{"tools":[{"name":"a"},{"name":"b"}]}}"#);
        let reading = reader.finish();
        assert_eq!(
            (reading.tools_listed, reading.result_keys),
            (vec!["a".into(), "b".into()], vec!["tools".into()])
        );
        let mut reader = McpReader::new(b"noise", false);
        reader.feed(b"<html>");
        assert_eq!(reader.finish(), McpReading::default());
    }
}
