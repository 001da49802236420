//! Model APIs over WebSocket: Responses, Realtime, Gemini Live. One socket carries many exchanges; each that a client's
//! message begins is one to be granted and recorded by itself.
//!
//! ```text
//!   client    message ─▶ Said::Asks ──(granted)──▶ begin ─▶ ticket          Said::Passes: belongs to one, or to none
//!   provider  message ─▶ Heard ─▶ of which ticket; at its end a Reading
//!
//!   Responses   lane by stream_id; in a lane first come, first served; once it has an id, by that
//!   Realtime    by the response's id; session.update ends with session.updated; what speech detection begins has no
//!               message of the client's and is an exchange all the same, and so is a transcription that is billed
//!   Live        the setup ends with setupComplete; a turn, whoever begins it, with turnComplete
//! ```
//!
//! Deliberately absent: frames ([`crate::wire::ws`] puts messages together) and verdicts: a message that cannot be read
//! is an [`AskFault`], and what to do about it is the caller's business.

mod said;

use std::collections::VecDeque;

use super::ask::AskFault;
use super::dialect::paths::decode;
use super::dialect::{Dialect, Reader};
use super::reading::Reading;
use crate::wire::json::Raw;

pub use said::{Asked, Said};

/// An exchange of the socket, by number.
pub type Ticket = u64;

/// What kind of exchange it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// A model writes an answer.
    Response,
    /// `generate: false`: the provider gets ready, and writes nothing.
    WarmUp,
    /// Input queued for the response under way, which a new one then follows.
    Steer,
    /// A session is set up or changed.
    Session,
    /// A turn of a Live session.
    Turn,
    /// Speech was written down, billed beside the answer.
    Transcription,
}

impl Begun {
    /// Whether it is a turn of a conversation.
    #[must_use]
    pub fn is_turn(self) -> bool {
        matches!(self, Begun::Response | Begun::Steer | Begun::Turn)
    }
}

/// Which exchange a provider's message belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// None: it is about the session.
    Socket,
    /// One under way.
    Running(Ticket),
    /// One that no message of the client's began, and that begins here.
    Began(Ticket, Begun),
}

/// What a provider's message said.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// Whose it is.
    pub of: Of,
    /// What the exchange said, if this was its end.
    pub ended: Option<Box<Reading>>,
    /// Whether it named the session's model, which nobody had named before.
    pub model_told: bool,
    /// Status of an error, where it says one.
    pub status: Option<u16>,
    /// Id of the response that it opens.
    pub opened: Option<String>,
}

impl Heard {
    const SOCKET: Heard =
        Heard { of: Of::Socket, ended: None, model_told: false, status: None, opened: None };
}

/// Follows the exchanges of one socket.
#[derive(Debug)]
pub struct Socket {
    dialect: Dialect,
    /// Model of the session: what the address or the client's last granted message named, or the provider told.
    model: Option<String>,
    /// The same, where it was the provider who said so.
    told: Option<String>,
    /// What writes down speech in a Realtime session, billed at its own price: asked for, or else told of.
    transcriber: Option<String>,
    running: Vec<Running>,
    next: Ticket,
    /// Responses that have ended lately: what else comes of them is not a new exchange.
    past: VecDeque<String>,
    /// Responses that were made here: a later message may go on from one.
    made: VecDeque<String>,
}

#[derive(Debug)]
struct Running {
    ticket: Ticket,
    kind: Begun,
    lane: String,
    /// Model that was asked for, be it by the session.
    model: Option<String>,
    /// The client's own name for its message (Realtime).
    event_id: Option<String>,
    previous: Option<String>,
    /// The provider has taken what is to steer, and says no more of it until the response opens.
    accepted: bool,
    /// The response's id, once the provider has given it.
    response: Option<String>,
    reader: Reader,
}

impl Running {
    /// Whether it waits to steer a response.
    fn is_to_steer(&self) -> bool {
        self.kind == Begun::Steer && self.response.is_none()
    }
}

/// What Live says in a turn. The rest (it waits for input, it was interrupted) may come when none is under way.
const BEGINS_A_TURN: &[&str] = &["modelTurn", "inputTranscription", "outputTranscription"];

/// Exchanges under way at once; one more is refused.
pub const RUNNING_MAX: usize = 64;
const PAST_MAX: usize = 32;
const MADE_MAX: usize = 256;

impl Socket {
    /// A reader for a socket in that language; `model` is the one that the address names, if it does.
    #[must_use]
    pub fn new(dialect: Dialect, model: Option<String>) -> Self {
        let (past, made) = (VecDeque::new(), VecDeque::new());
        let (told, transcriber) = (None, None);
        Socket { dialect, model, told, transcriber, running: Vec::new(), next: 0, past, made }
    }

    /// Model of the session so far.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// Model that an exchange of this kind runs, where no message of the client's asks for one.
    #[must_use]
    pub fn model_of(&self, kind: Begun) -> Option<&str> {
        let own = self.transcriber.as_deref().filter(|_| kind == Begun::Transcription);
        own.or(self.model())
    }

    /// Whether a response of that id was made on this socket, and not long ago.
    #[must_use]
    pub fn has_made(&self, id: &str) -> bool {
        self.made.iter().any(|own| own == id)
    }

    /// Whether any exchange is under way.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.running.is_empty()
    }

    /// What was asked has been granted and goes on to the provider. `None` at the bound on exchanges at once.
    pub fn begin(&mut self, asked: &Asked) -> Option<Ticket> {
        if self.running.len() >= RUNNING_MAX {
            return None;
        }
        self.model = asked.ask.model.clone().or(self.model.take());
        self.transcriber = asked.transcriber.clone().or(self.transcriber.take());
        let ticket = self.start(asked.kind, &asked.lane, self.dialect);
        if let Some(running) = self.running.last_mut() {
            running.event_id.clone_from(&asked.event_id);
            running.previous.clone_from(&asked.ask.previous_response_id);
        }
        Some(ticket)
    }

    /// A provider's message, text or binary: Live sends its JSON as either.
    pub fn from_provider(&mut self, text: &[u8]) -> Heard {
        let Some(message) = Raw::whole(text) else { return Heard::SOCKET };
        match self.dialect {
            Dialect::Live => self.live(message),
            Dialect::Realtime => self.realtime(&Event::of(message)),
            _ => self.responses(&Event::of(message)),
        }
    }

    /// The socket has ended, or can be read no further: what each exchange had said by then.
    pub fn end(&mut self) -> Vec<(Ticket, Reading)> {
        let running = std::mem::take(&mut self.running);
        running.into_iter().map(|one| (one.ticket, self.reading(one))).collect()
    }

    fn start(&mut self, kind: Begun, lane: &str, dialect: Dialect) -> Ticket {
        let ticket = self.next;
        self.next += 1;
        self.running.push(Running {
            ticket,
            kind,
            lane: lane.to_owned(),
            model: self.model.clone(),
            event_id: None,
            previous: None,
            accepted: false,
            response: None,
            reader: Reader::on_socket(dialect, self.model.as_deref()),
        });
        ticket
    }

    fn responses(&mut self, event: &Event<'_>) -> Heard {
        match event.kind.as_str() {
            "error" => {
                let found = self.failing(event);
                found.map_or(Heard::SOCKET, |slot| self.close(slot, event))
            }
            "response.steer.accepted" => {
                let slot = self.steer(event);
                slot.into_iter().for_each(|slot| self.running[slot].accepted = true);
                self.heard(slot)
            }
            "response.steer.pending" | "response.steer.failed" => self.not_steered(event),
            kind if kind.starts_with("response.") => self.response(event),
            _ => Heard::SOCKET,
        }
    }

    /// What was to steer waits for the client's next message, or comes to nothing: no response follows by itself, unless
    /// this was refused at once, and more than it waits.
    fn not_steered(&mut self, event: &Event<'_>) -> Heard {
        let Some(slot) = self.steer(event) else { return Heard::SOCKET };
        let one = &mut self.running[slot];
        let numbered = event.message.at("steer").is_some_and(|steer| steer.at("id").is_some());
        if one.accepted && !numbered {
            return self.heard(Some(slot));
        }
        one.reader.draft_mut().complete = true;
        one.reader.draft_mut().error = event.error.and_then(Raw::value);
        self.close(slot, event)
    }

    fn realtime(&mut self, event: &Event<'_>) -> Heard {
        match event.kind.as_str() {
            "session.created"
            | "session.updated"
            | "transcription_session.created"
            | "transcription_session.updated" => self.session(event),
            "conversation.item.input_audio_transcription.completed" => self.transcription(event),
            "error" => {
                let found = self.blamed(event);
                found.map_or(Heard::SOCKET, |slot| self.close(slot, event))
            }
            kind if kind.starts_with("response.") => self.response(event),
            _ => Heard::SOCKET,
        }
    }

    /// An event of a response.
    fn response(&mut self, event: &Event<'_>) -> Heard {
        let known = event.id().and_then(|id| self.by_id(&id));
        let mut opened = None;
        let slot = match (known, event.id()) {
            (Some(slot), _) => slot,
            (None, Some(id)) if self.past.contains(&id) => return Heard::SOCKET,
            (None, Some(id)) if event.response.is_some() => match self.waiting(event) {
                Some(slot) => {
                    self.opens(slot, id.clone());
                    opened = Some(id);
                    slot
                }
                None => return self.unasked(event, id),
            },
            _ => match self.current(&event.lane) {
                Some(slot) => slot,
                None => return Heard::SOCKET,
            },
        };
        self.running[slot].reader.event(b"", event.message.bytes());
        let over = self.running[slot].reader.saw_terminal();
        let heard = if over { self.close(slot, event) } else { self.heard(Some(slot)) };
        Heard { opened, ..heard }
    }

    /// The response of an exchange has its id.
    fn opens(&mut self, slot: usize, id: String) {
        self.made.truncate(MADE_MAX - 1);
        self.made.push_front(id.clone());
        self.running[slot].response = Some(id);
    }

    /// A response that the provider began by itself.
    fn unasked(&mut self, event: &Event<'_>, id: String) -> Heard {
        if self.running.len() >= RUNNING_MAX {
            return Heard::SOCKET;
        }
        let ticket = self.start(Begun::Response, &event.lane, self.dialect);
        let slot = self.running.len() - 1;
        self.opens(slot, id.clone());
        self.running[slot].reader.event(b"", event.message.bytes());
        let (of, opened) = (Of::Began(ticket, Begun::Response), Some(id));
        if self.running[slot].reader.saw_terminal() {
            return Heard { of, opened, ..self.close(slot, event) };
        }
        Heard { of, opened, ..Heard::SOCKET }
    }

    fn session(&mut self, event: &Event<'_>) -> Heard {
        let session = event.message.at("session");
        let model = session.and_then(|session| session.at("model")?.string());
        self.transcriber = self.transcriber.take().or_else(|| said::transcriber(session?));
        let model_told = model.is_some() && self.model.is_none();
        // Providers tell the dated name of what was asked for; grants are for what is asked for.
        self.model = self.model.take().or_else(|| model.clone());
        self.told = model.or(self.told.take());
        let changed = event.kind.ends_with(".updated");
        let slot = self.running.iter().position(|one| changed && one.kind == Begun::Session);
        let Some(slot) = slot else { return Heard { model_told, ..Heard::SOCKET } };
        self.running[slot].reader.draft_mut().complete = true;
        Heard { model_told, ..self.close(slot, event) }
    }

    /// Billed by itself, beside the answer.
    fn transcription(&mut self, event: &Event<'_>) -> Heard {
        if event.message.at("usage").is_none() {
            return Heard::SOCKET;
        }
        let ticket = self.start(Begun::Transcription, "", Dialect::Audio);
        let slot = self.running.len() - 1;
        self.running[slot].reader.body(event.message);
        Heard { of: Of::Began(ticket, Begun::Transcription), ..self.close(slot, event) }
    }

    fn live(&mut self, message: Raw<'_>) -> Heard {
        let (mut setup, mut turn, mut begins, mut usage) = (false, false, false, false);
        for (key, value) in message.members().filter(|(_, value)| !value.is_null()) {
            match key.written() {
                b"setupComplete" | b"setup_complete" => setup = true,
                b"serverContent" => {
                    turn = true;
                    begins |= BEGINS_A_TURN.iter().any(|key| value.at(key).is_some());
                }
                b"toolCall" => (turn, begins) = (true, true),
                b"usageMetadata" => usage = true,
                _ => {}
            }
        }
        let of_kind = |kind| self.running.iter().position(|one| one.kind == kind);
        let event = Event { message, ..Event::default() };
        match (setup, of_kind(Begun::Turn)) {
            (true, _) => {
                let Some(slot) = of_kind(Begun::Session) else { return Heard::SOCKET };
                self.running[slot].reader.draft_mut().complete = true;
                self.close(slot, &event)
            }
            (false, Some(slot)) if turn || usage => self.turn(slot, &event, false),
            (false, None) if begins || usage => {
                let ticket = self.start(Begun::Turn, "", self.dialect);
                // Counts that come behind the end of a turn are all there is of this one.
                let heard = self.turn(self.running.len() - 1, &event, !begins);
                Heard { of: Of::Began(ticket, Begun::Turn), ..heard }
            }
            _ => Heard::SOCKET,
        }
    }

    fn turn(&mut self, slot: usize, event: &Event<'_>, ended: bool) -> Heard {
        self.running[slot].reader.event(b"", event.message.bytes());
        let content = event.message.at("serverContent");
        if ended || content.and_then(|content| content.at("turnComplete")).is_some_and(Raw::is_true) {
            self.running[slot].reader.draft_mut().complete = true;
            return self.close(slot, event);
        }
        self.heard(Some(slot))
    }

    fn heard(&self, slot: Option<usize>) -> Heard {
        let of = slot.map_or(Of::Socket, |slot| Of::Running(self.running[slot].ticket));
        Heard { of, ..Heard::SOCKET }
    }

    /// The exchange ends with this event, an error among them.
    fn close(&mut self, slot: usize, event: &Event<'_>) -> Heard {
        let mut one = self.running.remove(slot);
        if event.kind == "error" {
            one.reader.event(b"", event.message.bytes());
        }
        if let Some(id) = one.response.take() {
            self.past.truncate(PAST_MAX - 1);
            self.past.push_front(id);
        }
        let status =
            event.message.at("status").and_then(Raw::count).and_then(|status| status.try_into().ok());
        let of = Of::Running(one.ticket);
        Heard { of, ended: Some(Box::new(self.reading(one))), status, ..Heard::SOCKET }
    }

    fn reading(&self, one: Running) -> Reading {
        let mut reading = one.reader.finish();
        reading.stream = true;
        // What the provider told of is the session's, and not what writes down speech.
        let told = self.told.clone().filter(|_| one.kind != Begun::Transcription);
        reading.model = reading.model.or(told);
        reading
    }

    fn by_id(&self, id: &str) -> Option<usize> {
        self.running.iter().position(|one| one.response.as_deref() == Some(id))
    }

    /// Who waits for the response that this event opens: whoever continues what it continues, or the first in the lane.
    fn waiting(&self, event: &Event<'_>) -> Option<usize> {
        let waits =
            |one: &&Running| one.response.is_none() && one.lane == event.lane && one.kind != Begun::Session;
        let previous = event.response.and_then(|response| response.at("previous_response_id")?.string());
        let place = |one: &Running| self.running.iter().position(|other| other.ticket == one.ticket);
        let mut all = self.running.iter().filter(waits);
        all.clone().find(|one| previous.is_some() && one.previous == previous).or(all.next()).and_then(place)
    }

    /// The response under way in a lane, else the first that waits in it.
    fn current(&self, lane: &str) -> Option<usize> {
        let of_lane = |one: &Running| one.lane == lane && one.kind != Begun::Session;
        let bound = self.running.iter().position(|one| of_lane(one) && one.response.is_some());
        bound.or_else(|| self.running.iter().position(of_lane))
    }

    /// The steering message that an event is about: it says what was to be steered, and in which lane.
    fn steer(&self, event: &Event<'_>) -> Option<usize> {
        let steered = event.message.at("steer").and_then(|steer| steer.at("previous_response_id")?.string());
        let of = |one: &Running| steered.is_none() || one.previous == steered;
        let named = self.running.iter().position(|one| one.is_to_steer() && of(one));
        named.or_else(|| self.running.iter().position(|one| one.is_to_steer() && one.lane == event.lane))
    }

    /// What an error is about, in Responses: what it names; the response under way, if it has a number among its events;
    /// else what waits in its lane, since a response ends with an event of its own; else that.
    fn failing(&self, event: &Event<'_>) -> Option<usize> {
        let named = event.id().and_then(|id| self.by_id(&id));
        let current = || self.current(&event.lane);
        let numbered = || event.message.at("sequence_number").and_then(|_| current());
        let waiting = || self.running.iter().position(|one| one.lane == event.lane && one.response.is_none());
        let only = || (self.running.len() == 1).then_some(0);
        named.or_else(numbered).or_else(waiting).or_else(current).or_else(only)
    }

    /// What an error is about, in Realtime: the message it names; most errors there end nothing.
    fn blamed(&self, event: &Event<'_>) -> Option<usize> {
        let named = event.error.and_then(|error| error.at("event_id")).and_then(Raw::string);
        match named {
            Some(name) => self.running.iter().position(|one| one.event_id.as_ref() == Some(&name)),
            None => self.running.iter().position(|one| one.response.is_none() && one.event_id.is_none()),
        }
    }
}

/// The model that an address names in its query (Realtime; Azure calls it a deployment).
pub fn model_in_query(query: &str) -> Result<Option<String>, AskFault> {
    let mut model = None;
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name).unwrap_or_default();
        if !["model", "deployment"].iter().any(|key| key.eq_ignore_ascii_case(&name)) {
            continue;
        }
        let value = decode(value).filter(|value| !value.is_empty()).ok_or(AskFault::ModelNotAString)?;
        if model.replace(value).is_some() {
            return Err(AskFault::DuplicateKey("model".into()));
        }
    }
    Ok(model)
}

/// What every event is looked at for.
struct Event<'a> {
    message: Raw<'a>,
    kind: String,
    lane: String,
    response: Option<Raw<'a>>,
    response_id: Option<Raw<'a>>,
    error: Option<Raw<'a>>,
}

impl Default for Event<'_> {
    fn default() -> Self {
        Event {
            message: Raw::cut_off(b""),
            kind: String::new(),
            lane: String::new(),
            response: None,
            response_id: None,
            error: None,
        }
    }
}

impl<'a> Event<'a> {
    fn of(message: Raw<'a>) -> Self {
        let mut event = Event { message, ..Event::default() };
        for (key, value) in message.members().filter(|(_, value)| !value.is_null()) {
            match key.written() {
                b"type" => event.kind = value.string().unwrap_or_default(),
                b"stream_id" => event.lane = value.string().unwrap_or_default(),
                b"response" => event.response = Some(value),
                b"response_id" => event.response_id = Some(value),
                b"error" => event.error = Some(value),
                _ => {}
            }
        }
        event
    }

    /// Id of the response it is about, where it says so.
    fn id(&self) -> Option<String> {
        let id = self.response.and_then(|response| response.at("id")).or(self.response_id);
        id.and_then(Raw::string)
    }
}

#[cfg(test)]
mod tests;
