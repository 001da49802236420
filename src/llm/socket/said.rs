//! What a client's message says: whether it begins an exchange, and what that asks for.
//!
//! The table of messages is closed. A type that is not in it could begin something that nobody has judged, so it cannot
//! be read; likewise a key that decides something and comes twice, in any spelling.

use std::borrow::Cow;
use std::ops::Range;

use super::{Begun, Running, Socket, Ticket};
use crate::llm::ask::{Ask, AskFault, AskReader, USER_MESSAGE_BYTES_MAX};
use crate::llm::dialect::Dialect;
use crate::llm::objects;
use crate::wire::head::Fields;
use crate::wire::json::{Raw, unescape, unescape_start};

/// What a client's message is.
#[derive(Debug, PartialEq)]
pub enum Said {
    /// It begins an exchange, if that is granted.
    Asks(Box<Asked>),
    /// It belongs to one under way, or to none.
    Passes(Option<Ticket>),
}

/// An exchange that a message would begin.
#[derive(Debug, PartialEq)]
pub struct Asked {
    /// What it asks for.
    pub ask: Ask,
    /// Of what kind it is.
    pub kind: Begun,
    /// Its `stream_id`; empty without one.
    pub lane: String,
    /// The client's own name for the message.
    pub event_id: Option<String>,
    /// What a session has speech written down by.
    pub transcriber: Option<String>,
    /// `client_metadata`: what agents would say in header fields if there were any.
    pub claims: Fields,
    /// Where the model's JSON string stands in the message.
    model_span: Option<Range<usize>>,
}

/// What a message of a type does.
#[derive(Clone, Copy)]
enum Deed {
    Begins(Begun),
    /// Goes into the response that it names.
    Joins,
    Passes,
}

#[rustfmt::skip] // Tables read as ones.
const RESPONSES: &[(&str, Deed)] = &[
    ("response.create", Deed::Begins(Begun::Response)),
    ("response.steer", Deed::Begins(Begun::Steer)),
    ("response.inject", Deed::Joins),
    ("response.cancel", Deed::Joins),
    ("response.processed", Deed::Passes),
    ("session.close", Deed::Passes),
];

#[rustfmt::skip]
const REALTIME: &[(&str, Deed)] = &[
    ("session.update", Deed::Begins(Begun::Session)),
    ("transcription_session.update", Deed::Begins(Begun::Session)),
    ("response.create", Deed::Begins(Begun::Response)),
    ("response.cancel", Deed::Joins),
    ("conversation.item.create", Deed::Passes),
    ("conversation.item.retrieve", Deed::Passes),
    ("conversation.item.truncate", Deed::Passes),
    ("conversation.item.delete", Deed::Passes),
    ("input_audio_buffer.append", Deed::Passes),
    ("input_audio_buffer.commit", Deed::Passes),
    ("input_audio_buffer.clear", Deed::Passes),
    ("output_audio_buffer.clear", Deed::Passes),
    ("session.close", Deed::Passes),
];

/// Keys of an envelope that decide something.
const DECIDING: &[&str] = &[
    "type",
    "stream_id",
    "generate",
    "response",
    "response_id",
    "session",
    "event_id",
    "previous_response_id",
    "client_metadata",
];

/// Members of `client_metadata` that are looked at.
const CLAIMS_MAX: usize = 32;

impl Socket {
    /// A client's text message. Nothing has happened yet: what asks must be granted and begun.
    pub fn from_client(&self, text: &[u8]) -> Result<Said, AskFault> {
        let message = Raw::whole(text).ok_or(AskFault::NotJson { at: 0 })?;
        if !message.is_object() {
            return Err(AskFault::NotAnObject);
        }
        match self.dialect {
            Dialect::Live => self.live_said(text, message),
            Dialect::Realtime => self.typed(text, message, REALTIME),
            _ => self.typed(text, message, RESPONSES),
        }
    }

    fn typed(&self, text: &[u8], message: Raw<'_>, table: &[(&str, Deed)]) -> Result<Said, AskFault> {
        once(message, DECIDING)?;
        // There a message is the body itself; what stands in a member of that name nobody would have judged.
        if self.dialect == Dialect::Responses && has_member(message, "response") {
            return Err(AskFault::UnknownMessage);
        }
        let kind = message.at("type").and_then(Raw::string).unwrap_or_default();
        let Some((_, deed)) = table.iter().find(|(name, _)| *name == kind) else {
            return Err(AskFault::UnknownMessage);
        };
        match *deed {
            Deed::Passes => Ok(Said::Passes(None)),
            Deed::Joins => {
                let id = message.at("response_id").and_then(Raw::string);
                let slot = id.and_then(|id| self.by_id(&id));
                Ok(Said::Passes(slot.map(|slot| self.running[slot].ticket)))
            }
            Deed::Begins(begun) => self.begins(text, message, begun),
        }
    }

    fn begins(&self, text: &[u8], message: Raw<'_>, begun: Begun) -> Result<Said, AskFault> {
        // In Realtime what is asked for lies one level down; without it the session's settings hold.
        let inner = match (self.dialect, begun) {
            (Dialect::Realtime, Begun::Session) => message.at("session"),
            (Dialect::Realtime, _) => message.at("response"),
            _ => None,
        };
        let own = |name: &str| message.at(name).and_then(Raw::string);
        let steered = own("previous_response_id").filter(|_| begun == Begun::Steer);
        let before = self.running.iter().find(|one| one.is_to_steer() && one.previous == steered);
        let steered = steered.and_then(|id| self.by_id(&id)).map(|slot| &self.running[slot]);
        let inherited = steered.map_or(&self.model, |one| &one.model);
        let mut asked = self.asked(text, inner.unwrap_or(message), begun, inherited.as_ref())?;
        // One response follows on all that steers another.
        let same = |one: &&Running| asked.ask.model == one.model && asked.ask.other_models.is_empty();
        if let Some(one) = before.filter(same) {
            return Ok(Said::Passes(Some(one.ticket)));
        }
        // What steers a response says nothing of lanes, and goes into that one's.
        let lane = own("stream_id").or_else(|| steered.map(|one| one.lane.clone()));
        asked.lane = lane.unwrap_or_default();
        asked.event_id = own("event_id");
        asked.claims = claims(message);
        if message.at("generate").is_some_and(|generate| generate.bytes() == b"false") {
            asked.kind = Begun::WarmUp;
        }
        if begun == Begun::Session {
            let transcribers = transcription_models(inner.unwrap_or(message))?;
            asked.transcriber = transcribers.last().cloned();
            asked.add_models(transcribers);
        }
        Ok(Said::Asks(Box::new(asked)))
    }

    fn asked(
        &self,
        text: &[u8],
        from: Raw<'_>,
        kind: Begun,
        model: Option<&String>,
    ) -> Result<Asked, AskFault> {
        // Each response names its own model; what steers one, or speaks within a session, goes on with that one's.
        let inherits = self.dialect != Dialect::Responses || kind == Begun::Steer;
        if inherits && let Some(other) = misspelt(from, "model") {
            return Err(AskFault::DuplicateKey(other));
        }
        let inherited = model.cloned().filter(|_| inherits && from.at("model").is_none());
        let reader = AskReader::new(self.dialect).with_model_in_path(inherited);
        let mut ask = reader.finish(from.bytes())?;
        let place = |value: Raw<'_>| value.bytes().as_ptr().addr() - text.as_ptr().addr();
        let model_span = from.at("model").map(|model| place(model)..place(model) + model.bytes().len());
        ask.stream = true;
        if self.dialect == Dialect::Live {
            ask.model = ask.model.map(|model| bare_model(&model).to_owned());
        }
        Ok(Asked { ask, kind, model_span, ..Asked::unknown() })
    }

    /// Live's messages have one member, whose name is their type, in either of the spellings that JSON has for a
    /// protocol buffer's fields.
    fn live_said(&self, text: &[u8], message: Raw<'_>) -> Result<Said, AskFault> {
        let mut members = message.members();
        let (Some((key, value)), None) = (members.next(), members.next()) else {
            return Err(AskFault::UnknownMessage);
        };
        let running = self.running.iter().find(|one| one.kind == Begun::Turn).map(|one| one.ticket);
        match key.written() {
            b"setup" => {
                let asked = self.asked(text, value, Begun::Session, self.model.as_ref())?;
                if asked.ask.model.is_some() {
                    Ok(Said::Asks(Box::new(asked)))
                } else {
                    Err(AskFault::NoModel)
                }
            }
            // Before its setup a session has nothing to say.
            _ if self.model.is_none() => Err(AskFault::NoModel),
            b"realtimeInput" | b"realtime_input" | b"contextUpdate" | b"context_update" => {
                Ok(Said::Passes(running))
            }
            b"clientContent" | b"client_content" | b"toolResponse" | b"tool_response" => match running {
                Some(ticket) => Ok(Said::Passes(Some(ticket))),
                None => Ok(Said::Asks(Box::new(self.turn_asked(value)))),
            },
            _ => Err(AskFault::UnknownMessage),
        }
    }

    fn turn_asked(&self, content: Raw<'_>) -> Asked {
        let turns = || content.at("turns").into_iter().flat_map(Raw::elements);
        let parts = turns().filter_map(|turn| turn.at("parts")).flat_map(Raw::elements);
        let last = parts.filter_map(|part| part.at("text")).last();
        let ask = Ask {
            model: self.model.clone(),
            stream: true,
            user_message: last.and_then(|text| start_of(text, USER_MESSAGE_BYTES_MAX)),
            messages: u32::try_from(turns().count()).unwrap_or(u32::MAX),
            objects: objects::named(self.dialect, content.bytes()),
            ..Ask::default()
        };
        Asked { ask, kind: Begun::Turn, ..Asked::unknown() }
    }
}

impl Asked {
    /// Nothing is known of what was asked.
    #[must_use]
    pub fn unknown() -> Self {
        Asked {
            ask: Ask::default(),
            kind: Begun::Response,
            lane: String::new(),
            event_id: None,
            transcriber: None,
            claims: Fields::new(),
            model_span: None,
        }
    }

    /// The message with another name for its model: exactly that JSON string is replaced. `None` where the message
    /// names none.
    #[must_use]
    pub fn renamed(&self, text: &[u8], name: &str) -> Option<Vec<u8>> {
        let span = self.model_span.clone()?;
        let written = Raw::cut_off(text.get(span.clone())?).string()?;
        // Live's names are paths; what stands before the model's own name stays.
        let path = written.strip_suffix(self.ask.model.as_deref()?)?;
        let name = serde_json::Value::from(format!("{path}{name}")).to_string();
        Some([&text[..span.start], name.as_bytes(), &text[span.end..]].concat())
    }

    /// Models beside the one named. Where none is named the first of them is what is asked for.
    fn add_models(&mut self, models: Vec<String>) {
        self.ask.other_models.extend(models);
        if self.ask.model.is_none() && !self.ask.other_models.is_empty() {
            self.ask.model = Some(self.ask.other_models.remove(0));
        }
    }
}

/// The model's own name: Google writes it behind its path (`models/m`, `…/publishers/google/models/m`).
fn bare_model(named: &str) -> &str {
    match named.rsplit_once("models/") {
        Some((path, model)) if path.is_empty() || path.ends_with('/') => model,
        _ => named,
    }
}

/// Members that decide may come only once, in any case and spelling.
fn once(object: Raw<'_>, names: &[&str]) -> Result<(), AskFault> {
    let mut seen = 0u32;
    for (key, _) in object.members() {
        let key = spelt(key.written());
        let Some(n) = names.iter().position(|name| name.eq_ignore_ascii_case(&key)) else { continue };
        if seen & (1 << n) != 0 {
            return Err(AskFault::DuplicateKey(names[n].into()));
        }
        seen |= 1 << n;
    }
    Ok(())
}

/// A member whose name differs from this one in case only: some parsers would take it.
fn misspelt(object: Raw<'_>, name: &str) -> Option<String> {
    object.members().find_map(|(key, _)| {
        let key = spelt(key.written());
        (key != name && key.eq_ignore_ascii_case(name)).then(|| name.to_owned())
    })
}

fn has_member(object: Raw<'_>, name: &str) -> bool {
    object.members().any(|(key, _)| spelt(key.written()).eq_ignore_ascii_case(name))
}

fn spelt(written: &[u8]) -> Cow<'_, str> {
    unescape(written).unwrap_or_else(|| String::from_utf8_lossy(written))
}

/// Models that a session has speech written down by, in the present form and the older one.
fn transcription_models(session: Raw<'_>) -> Result<Vec<String>, AskFault> {
    const PATHS: [&[&str]; 2] = [&["audio", "input", "transcription"], &["input_audio_transcription"]];
    let mut models = Vec::new();
    for path in PATHS {
        let mut place = Some(session);
        for name in path.iter().chain(&["model"]) {
            let Some(object) = place else { break };
            once(object, &[name])?;
            place = object.at(name);
        }
        models.extend(place.and_then(Raw::string));
    }
    Ok(models)
}

/// What a session that the provider tells of has speech written down by.
pub(super) fn transcriber(session: Raw<'_>) -> Option<String> {
    transcription_models(session).ok()?.pop()
}

fn claims(message: Raw<'_>) -> Fields {
    let members = message.at("client_metadata").into_iter().flat_map(Raw::members).take(CLAIMS_MAX);
    members
        .filter_map(|(key, value)| Some((spelt(key.written()).into_owned(), value.text()?)))
        .map(|(key, value)| (key, value.into_owned()))
        .collect()
}

/// The beginning of a JSON string.
fn start_of(text: Raw<'_>, bytes_max: usize) -> Option<String> {
    unescape_start(text.bytes().strip_prefix(b"\"")?.strip_suffix(b"\"")?, bytes_max)
}
