//! Model APIs over WebSocket: Responses, Realtime, Gemini Live. One socket carries many exchanges; each that a client's
//! message begins is one to be granted and recorded by itself.
//!
//! Deliberately absent: frames ([`crate::wire::ws`] puts messages together) and verdicts: a message that cannot be read
//! is an [`AskFault`], and what to do about it is the caller's business.

use super::ask::{Ask, AskFault, AskReader};
use super::dialect::{Dialect, Reader};
use super::meter::Reading;
use crate::wire::head::Fields;
use crate::wire::json::Raw;

/// Reads both directions of one socket.
#[derive(Debug)]
pub struct Socket {
    dialect: Dialect,
    /// Model of the session, once one has been named.
    model: Option<String>,
    /// Responses may run several exchanges at once, told apart by `stream_id`.
    lanes: Vec<(String, Reader)>,
}

/// Lanes that are followed at once; a message of a further one is not read.
const LANES_MAX: usize = 64;

impl Socket {
    /// A reader for a socket in that language; `model` is the one that the address names, if it does.
    #[must_use]
    pub fn new(dialect: Dialect, model: Option<String>) -> Self {
        Socket { dialect, model, lanes: Vec::new() }
    }

    /// Model of the session so far.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// A client's text message. What it asks for, if it begins an exchange.
    pub fn from_client(&mut self, text: &[u8]) -> Result<Option<Ask>, AskFault> {
        let message = Raw::whole(text).ok_or(AskFault::NotJson { at: 0 })?;
        if !message.is_object() {
            return Err(AskFault::NotAnObject);
        }
        let Some(asked) = self.asked(message)? else { return Ok(None) };
        let reader = AskReader::new(self.dialect).with_model_in_path(self.model_unless(asked));
        let mut ask = reader.finish(asked.bytes())?;
        ask.stream = true;
        self.model = ask.model.clone().or(self.model.take());
        Ok(Some(ask))
    }

    /// A provider's text message. What the exchange said that it ends, if it ends one.
    pub fn from_provider(&mut self, text: &[u8]) -> Option<Reading> {
        let message = Raw::whole(text)?;
        match self.dialect {
            Dialect::Live => self.live(message),
            _ => self.event(message),
        }
    }

    /// The part of a client's message that says what is asked for.
    fn asked<'a>(&self, message: Raw<'a>) -> Result<Option<Raw<'a>>, AskFault> {
        if self.dialect == Dialect::Live {
            return one(message, "setup");
        }
        let kind = one(message, "type")?.and_then(Raw::text);
        Ok(match (self.dialect, kind.as_deref()) {
            (Dialect::Realtime, Some("session.update")) => one(message, "session")?,
            // Without a `response` it asks for what the session says.
            (Dialect::Realtime, Some("response.create")) => one(message, "response")?.or(Some(message)),
            (_, Some("response.create")) => Some(message),
            _ => None,
        })
    }

    /// The session's model, where this message does not name one.
    fn model_unless(&self, asked: Raw<'_>) -> Option<String> {
        if asked.at("model").is_some() { None } else { self.model.clone() }
    }

    fn event(&mut self, message: Raw<'_>) -> Option<Reading> {
        let text = |name: &str| message.at(name).and_then(Raw::string);
        let kind = text("type").unwrap_or_default();
        match kind.as_str() {
            "session.created" | "session.updated" => {
                let model =
                    message.at("session").and_then(|session| session.at("model")).and_then(Raw::string);
                self.model = model.or(self.model.take());
                None
            }
            // Billed by itself, beside the answer.
            "conversation.item.input_audio_transcription.completed" => self.alone(message),
            "error" => {
                let mut lane = self.take_lane(&text("stream_id").unwrap_or_default());
                lane.event(b"", message.bytes());
                Some(self.close(lane))
            }
            _ => self.lane_event(&text("stream_id").unwrap_or_default(), message),
        }
    }

    fn lane_event(&mut self, id: &str, message: Raw<'_>) -> Option<Reading> {
        let slot = self.lanes.iter().position(|(lane, _)| lane == id);
        let slot = match slot {
            Some(slot) => slot,
            None if self.lanes.len() >= LANES_MAX => return None,
            None => {
                self.lanes.push((id.to_owned(), self.reader()));
                self.lanes.len() - 1
            }
        };
        self.lanes[slot].1.event(b"", message.bytes());
        if !self.lanes[slot].1.saw_terminal() {
            return None;
        }
        let (_, lane) = self.lanes.swap_remove(slot);
        Some(self.close(lane))
    }

    fn live(&mut self, message: Raw<'_>) -> Option<Reading> {
        let mut lane = self.take_lane("");
        lane.event(b"", message.bytes());
        let turn = message.at("serverContent");
        let ended = turn.is_some_and(|turn| turn.at("turnComplete").is_some_and(Raw::is_true));
        if ended {
            lane.draft_mut().complete = true;
            return Some(self.close(lane));
        }
        self.lanes.push((String::new(), lane));
        None
    }

    fn alone(&self, message: Raw<'_>) -> Option<Reading> {
        message.at("usage")?;
        let mut reader = Reader::new(Dialect::Audio, &Fields::new());
        reader.body(message);
        Some(self.close(reader))
    }

    fn reader(&self) -> Reader {
        Reader::new(self.dialect, &Fields::new())
    }

    fn take_lane(&mut self, id: &str) -> Reader {
        match self.lanes.iter().position(|(lane, _)| lane == id) {
            Some(slot) => self.lanes.swap_remove(slot).1,
            None => self.reader(),
        }
    }

    fn close(&self, lane: Reader) -> Reading {
        let mut reading = lane.finish();
        reading.stream = true;
        reading.model = reading.model.or_else(|| self.model.clone());
        reading
    }
}

/// A member that decides: it may come only once.
fn one<'a>(object: Raw<'a>, name: &str) -> Result<Option<Raw<'a>>, AskFault> {
    let mut found = object.members().filter(|(key, _)| key.is(name)).map(|(_, value)| value);
    let first = found.next();
    if found.next().is_some() { Err(AskFault::DuplicateKey(name.into())) } else { Ok(first) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_in_lanes() {
        let mut socket = Socket::new(Dialect::Responses, None);
        let ask = socket
            .from_client(br#"{"type":"response.create","model":"gpt-5","input":"hi"}"#)
            .unwrap()
            .unwrap();
        assert_eq!((ask.model.as_deref(), ask.user_message.as_deref()), (Some("gpt-5"), Some("hi")));
        assert_eq!(socket.from_client(br#"{"type":"response.processed"}"#), Ok(None));
        let frame = |lane: &str, kind: &str, id: &str, tokens: u64| {
            format!(
                r#"{{"type":"{kind}","stream_id":"{lane}","response":{{"id":"{id}","status":"completed","usage":{{"input_tokens":{tokens},"output_tokens":1}}}}}}"#
            )
        };
        assert_eq!(socket.from_provider(frame("a", "response.created", "r1", 0).as_bytes()), None);
        assert_eq!(socket.from_provider(frame("b", "response.created", "r2", 0).as_bytes()), None);
        let second = socket.from_provider(frame("b", "response.completed", "r2", 7).as_bytes()).unwrap();
        let first = socket.from_provider(frame("a", "response.completed", "r1", 5).as_bytes()).unwrap();
        assert_eq!((second.response_id.as_deref(), second.usage.input_tokens), (Some("r2"), Some(7)));
        assert_eq!((first.response_id.as_deref(), first.usage.input_tokens), (Some("r1"), Some(5)));
        assert_eq!(first.model.as_deref(), Some("gpt-5"));
        let fault = socket.from_provider(br#"{"type":"error","status":429,"error":{"code":"x"}}"#).unwrap();
        assert_eq!(fault.error, Some(serde_json::json!({"code": "x"})));
        assert!(!fault.complete);
    }

    #[test]
    fn what_cannot_be_read_is_a_fault() {
        let mut socket = Socket::new(Dialect::Responses, None);
        for (text, fault) in [
            (&b"hello"[..], AskFault::NotJson { at: 0 }),
            (b"[]", AskFault::NotAnObject),
            (br#"{"type":"response.create"}"#, AskFault::NoModel),
            (br#"{"type":"x","type":"response.create"}"#, AskFault::DuplicateKey("type".into())),
            (
                br#"{"type":"response.create","model":"a","model":"b"}"#,
                AskFault::DuplicateKey("model".into()),
            ),
        ] {
            assert_eq!(socket.from_client(text), Err(fault));
        }
    }

    #[test]
    fn a_session_names_the_model_once() {
        let mut socket = Socket::new(Dialect::Realtime, Some("gpt-realtime".into()));
        let update =
            br#"{"type":"session.update","session":{"instructions":"Be brief.","tools":[{"name":"f"}]}}"#;
        let ask = socket.from_client(update).unwrap().unwrap();
        assert_eq!((ask.model.as_deref(), &ask.tools[..]), (Some("gpt-realtime"), &["f".to_owned()][..]));
        let ask = socket.from_client(br#"{"type":"response.create"}"#).unwrap().unwrap();
        assert_eq!(ask.model.as_deref(), Some("gpt-realtime"));
        let mut live = Socket::new(Dialect::Live, None);
        let ask = live.from_client(br#"{"setup":{"model":"models/gemini-live"}}"#).unwrap().unwrap();
        assert_eq!(ask.model.as_deref(), Some("models/gemini-live"));
        assert_eq!(live.from_client(br#"{"clientContent":{}}"#), Ok(None));
    }
}
