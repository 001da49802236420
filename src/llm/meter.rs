//! The meter: fed views of passing response bytes, yields a [`Reading`]. It only ever looks.
//!
//! ```text
//!   body bytes ─▶ content coding ─▶ framing ─▶ events like the last silent one ─▶ counted, skipped
//!                 (side copy)        │   └───▶ the others ─▶ dialect::Reader ─▶ Reading
//!                                    └ decided by content type and first byte, not by what was asked for
//! ```
//!
//! Deliberately absent: failure. A meter that cannot go on says why in the reading; the bytes pass all the same.

use super::dialect::{Dialect, Effect, Endpoint, Reader};
use super::likeness::Likenesses;
use super::objects;
use super::reading::Reading;
use crate::wire::decode::Decoder;
use crate::wire::eventstream::Frames;
use crate::wire::head::Fields;
use crate::wire::json::Raw;
use crate::wire::jsonarray::Elements;
use crate::wire::ndjson::Lines;
use crate::wire::sse::Splitter;

/// What came is in another language than the API's that was called.
pub const FOREIGN: &str = "in another language than this API's";
/// What came is neither JSON nor a stream: a web page, a line of text.
pub const NO_ANSWER: &str = "neither JSON nor a stream";
/// Nothing came where an answer is due.
pub const EMPTY: &str = "an empty body";

/// Longest event or JSON body that is held for reading.
pub const HELD_BYTES_MAX: usize = 16 << 20;

/// Reads one response as it passes. Small until something has to be held.
pub struct Meter {
    reader: Reader,
    framing: Framing,
    decoder: Option<Box<Decoder>>,
    likenesses: Likenesses,
    events: u64,
    unreadable_events: u64,
    status: u16,
    dialect: Dialect,
    declared: Declared,
    /// Whether this is a file that may hold a batch's results.
    results: bool,
    /// Whether an answer in the API's own language is due: not so of errors, files, sound, and text that was asked for.
    due: bool,
    /// Whether anything in that language has come.
    own: bool,
    /// Reading was given up within a stream.
    gave_up_stream: bool,
    not_metered: Option<&'static str>,
}

/// What the content type promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Declared {
    EventStream,
    Lines,
    Json,
    Other,
}

impl Declared {
    fn by(fields: &Fields) -> Self {
        let kind = fields.text("content-type").unwrap_or_default().split(';').next().unwrap_or_default();
        match kind.trim().to_ascii_lowercase().as_str() {
            "text/event-stream" => Declared::EventStream,
            "application/x-ndjson" | "application/jsonl" | "application/x-jsonl" => Declared::Lines,
            "application/json" => Declared::Json,
            _ => Declared::Other,
        }
    }
}

/// How the body is cut into pieces that can be read.
#[derive(Debug)]
enum Framing {
    /// Nothing but white space has come.
    Undecided,
    /// An event stream.
    Sse(Splitter),
    /// Lines of JSON; how many have come.
    Lines(Lines, u64),
    /// An array whose elements come one by one.
    Array(Elements),
    /// AWS's binary frames.
    Binary(Frames),
    /// One JSON value, held whole.
    Json(Vec<u8>),
    /// Nothing that can be read (sound, images, a web page).
    Opaque,
}

/// What a body turned out to be.
#[derive(Clone, Copy)]
enum Came {
    Nothing,
    Unread,
    Value,
    /// A value whose end is missing.
    Part,
    PerhapsStream,
    Stream,
}

impl Meter {
    /// A meter for the response whose head this is.
    #[must_use]
    pub fn new(dialect: Dialect, endpoint: Endpoint, status: u16, fields: &Fields) -> Self {
        let (decoder, not_metered) = match Decoder::new(fields.all("content-encoding")) {
            Ok(decoder) => (decoder.map(Box::new), None),
            Err(fault) => (None, Some(fault.reason())),
        };
        let binary =
            fields.text("content-type").is_some_and(|t| t.starts_with("application/vnd.amazon.eventstream"));
        let declared = Declared::by(fields);
        let framing = match endpoint {
            // Sound, but for those who asked for events.
            Endpoint::Speech if status < 400 && declared != Declared::EventStream => Framing::Opaque,
            _ if binary => Framing::Binary(Frames::default()),
            _ => Framing::Undecided,
        };
        let results = endpoint == Endpoint::Results && status < 400;
        let due = (200..300).contains(&status) && status != 204 && endpoint.answers_in_its_language();
        Meter {
            reader: if results { Reader::of_results() } else { Reader::new(dialect, fields) },
            framing,
            decoder,
            likenesses: Likenesses::default(),
            events: 0,
            unreadable_events: 0,
            status,
            dialect,
            declared,
            results,
            due,
            own: !due,
            gave_up_stream: false,
            not_metered,
        }
    }

    /// Body bytes as they pass, without transfer coding, in any split. What is coded is decoded for one turn, and
    /// what is left then waits for [`Meter::go_on`].
    pub fn feed(&mut self, data: &[u8]) {
        if self.not_metered.is_some() {
            return;
        }
        match &mut self.decoder {
            Some(decoder) => decoder.take(data),
            None => self.plain(data),
        }
        self.go_on();
    }

    /// Whether something that has come is not decoded yet.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.decoder.as_ref().is_some_and(|decoder| decoder.has_more())
    }

    /// Decode what has come for another turn.
    pub fn go_on(&mut self) {
        let Some(mut decoder) = self.decoder.take() else { return };
        if let Err(fault) = decoder.go_on(&mut |text| self.plain(text)) {
            self.give_up(fault.reason());
        }
        if self.not_metered.is_none() {
            self.decoder = Some(decoder);
        }
    }

    /// The end of the body, clean or not: everything that was read.
    #[must_use]
    pub fn finish(mut self) -> Reading {
        while self.is_behind() {
            self.go_on();
        }
        let mut pending = false;
        let mut came = self.came();
        let stream = match std::mem::replace(&mut self.framing, Framing::Opaque) {
            Framing::Sse(splitter) => {
                pending = self.finish_stream(splitter);
                let text = matches!(came, Came::PerhapsStream) && self.events == 0;
                self.reader.draft_mut().complete |= text;
                !text
            }
            Framing::Lines(lines, count) => {
                let count = count + self.finish_lines(&lines);
                self.declared == Declared::Lines || count > 1
            }
            Framing::Array(elements) => {
                pending = elements.is_pending();
                self.reader.draft_mut().complete &= elements.ended();
                true
            }
            Framing::Binary(frames) => {
                pending = frames.is_pending();
                true
            }
            Framing::Json(body) => {
                if !self.finish_json(&body) {
                    came = Came::Part;
                }
                false
            }
            // Nothing came: that is all of a body, but a stream has an end of its own.
            Framing::Undecided => {
                self.reader.draft_mut().complete = self.declared != Declared::EventStream;
                self.declared == Declared::EventStream
            }
            Framing::Opaque => {
                self.reader.draft_mut().complete = self.not_metered.is_none();
                self.gave_up_stream
            }
        };
        let amiss = self.amiss(came);
        let mut reading = self.reader.finish();
        if let Some(why) = amiss {
            // Nothing is taken over: where names are alike their meanings are not.
            return Reading {
                stream,
                complete: !stream,
                not_metered: Some(why.into()),
                ..Reading::default()
            };
        }
        reading.stream = stream;
        reading.pending_at_eof = pending;
        reading.not_metered = self.not_metered.map(String::from);
        if reading.not_metered.is_none()
            && !self.results
            && self.unreadable_events > 0
            && self.unreadable_events == self.events
        {
            reading.not_metered = Some("no event could be read".into());
        }
        reading
    }

    /// What the body is, as far as its first byte tells.
    fn came(&self) -> Came {
        match &self.framing {
            Framing::Undecided if self.declared != Declared::EventStream => Came::Nothing,
            Framing::Opaque => Came::Unread,
            Framing::Json(_) => Came::Value,
            // The first letter of a word may be that of a stream's field.
            Framing::Sse(_) if self.declared != Declared::EventStream => Came::PerhapsStream,
            _ => Came::Stream,
        }
    }

    /// What is wrong with an answer that is due, where nothing else has stopped the reading.
    fn amiss(&self, came: Came) -> Option<&'static str> {
        if !self.due || self.not_metered.is_some() {
            return None;
        }
        match came {
            Came::Nothing => Some(EMPTY),
            // It was cut off, perhaps before it could tell.
            Came::Part => None,
            Came::Unread => Some(NO_ANSWER),
            Came::PerhapsStream if self.events == 0 => Some(NO_ANSWER),
            Came::PerhapsStream | Came::Stream if self.events == self.unreadable_events => None,
            Came::PerhapsStream | Came::Stream | Came::Value => (!self.own).then_some(FOREIGN),
        }
    }

    /// Events seen so far.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Ids of objects that the body has made known so far; of a single JSON value, once it is whole.
    #[must_use]
    pub fn made(&self) -> Vec<String> {
        match &self.framing {
            Framing::Json(body) => Raw::whole(body).map(objects::made).unwrap_or_default(),
            _ => self.reader.draft().id.iter().cloned().collect(),
        }
    }

    /// Whether the dialect's terminal marker has passed.
    #[must_use]
    pub fn saw_terminal(&self) -> bool {
        self.reader.saw_terminal()
    }

    /// Bytes held beyond the meter itself.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let framing = match &self.framing {
            Framing::Sse(splitter) => splitter.held_bytes(),
            Framing::Lines(lines, _) => lines.held_bytes(),
            Framing::Array(elements) => elements.held_bytes(),
            Framing::Binary(frames) => frames.held_bytes(),
            Framing::Json(body) => body.capacity(),
            Framing::Undecided | Framing::Opaque => 0,
        };
        let decoder = self.decoder.as_ref().map_or(0, |decoder| decoder.held_bytes());
        framing + decoder + self.likenesses.held_bytes()
    }

    fn give_up(&mut self, reason: &'static str) {
        self.not_metered = Some(reason);
        self.gave_up_stream =
            !matches!(self.framing, Framing::Undecided | Framing::Json(_) | Framing::Opaque);
        self.framing = Framing::Opaque;
        self.decoder = None;
    }

    fn plain(&mut self, text: &[u8]) {
        match &mut self.framing {
            Framing::Sse(_) => self.stream(text),
            Framing::Lines(..) => self.lines(text),
            Framing::Array(_) => self.array(text),
            Framing::Binary(_) => self.frames(text),
            Framing::Json(body) if body.len() + text.len() <= HELD_BYTES_MAX => body.extend_from_slice(text),
            Framing::Json(_) => self.give_up("body too long to be read"),
            Framing::Undecided => self.decide(text),
            Framing::Opaque => {}
        }
    }

    /// The first byte that is neither white space (as JSON knows it: RFC 8259 §2) nor a byte order mark's decides:
    /// providers answer a request for a stream with a JSON error, and some send either under the other's content type.
    /// What stood before it is no part of any event, in whichever pieces it came.
    fn decide(&mut self, text: &[u8]) {
        let Some(start) = text.iter().position(|b| !b" \t\r\n\xEF\xBB\xBF".contains(b)) else { return };
        self.framing = match text[start] {
            // Any other file.
            first if self.results && first != b'{' => Framing::Opaque,
            b'{' if self.sends_lines() => Framing::Lines(Lines::new(HELD_BYTES_MAX), 0),
            b'[' if self.sends_arrays() => Framing::Array(Elements::new(HELD_BYTES_MAX)),
            b'{' | b'[' => Framing::Json(Vec::new()),
            // `data`, `event`, `id`, `retry`, a comment.
            b'd' | b'e' | b'i' | b'r' | b':' => Framing::Sse(Splitter::new(HELD_BYTES_MAX)),
            // The highest byte of a frame's length.
            0 if matches!(self.dialect, Dialect::Converse | Dialect::Invoke) => {
                Framing::Binary(Frames::default())
            }
            _ => Framing::Opaque,
        };
        self.plain(&text[start..]);
    }

    fn sends_lines(&self) -> bool {
        self.declared == Declared::Lines
            || self.results
            || (self.dialect == Dialect::Ollama && self.declared != Declared::Json)
    }

    fn sends_arrays(&self) -> bool {
        matches!(self.dialect, Dialect::Gemini | Dialect::CodeAssist) && self.status < 400
    }

    fn lines(&mut self, block: &[u8]) {
        let Framing::Lines(lines, count) = &mut self.framing else { return };
        let mut at = 0;
        loop {
            match lines.next(block, &mut at) {
                Ok(Some(line)) if line.trim_ascii().is_empty() => {}
                Ok(Some(line)) => {
                    *count += 1;
                    self.events += 1;
                    self.own = self.own || Reader::is_own(self.dialect, b"", line);
                    if self.reader.event(b"", line) == Effect::Unreadable {
                        self.unreadable_events += 1;
                    }
                }
                Ok(None) => return,
                Err(_) => return self.give_up("line too long to be read"),
            }
        }
    }

    /// The last line may lack its end; how many lines it was.
    fn finish_lines(&mut self, lines: &Lines) -> u64 {
        let last = lines.finish();
        if last.trim_ascii().is_empty() {
            return 0;
        }
        self.events += 1;
        self.own = self.own || Reader::is_own(self.dialect, b"", last);
        if self.reader.event(b"", last) == Effect::Unreadable {
            self.unreadable_events += 1;
        }
        1
    }

    fn array(&mut self, block: &[u8]) {
        let Framing::Array(elements) = &mut self.framing else { return };
        let mut at = 0;
        loop {
            match elements.next(block, &mut at) {
                Ok(Some(element)) => {
                    self.events += 1;
                    self.own = self.own || Reader::is_own(self.dialect, b"", element);
                    if self.reader.event(b"", element) == Effect::Unreadable {
                        self.unreadable_events += 1;
                    }
                }
                Ok(None) => return,
                Err(_) => return self.give_up("element too long to be read"),
            }
        }
    }

    fn frames(&mut self, block: &[u8]) {
        let Framing::Binary(frames) = &mut self.framing else { return };
        frames.feed(block);
        loop {
            match frames.next_frame() {
                Ok(Some(frame)) => {
                    self.events += 1;
                    if frame.text(":message-type") == b"event" {
                        let kind = frame.text(":event-type");
                        self.own = self.own || Reader::is_own(self.dialect, kind, frame.payload);
                        if self.reader.event(kind, frame.payload) == Effect::Unreadable {
                            self.unreadable_events += 1;
                        }
                    } else {
                        let kind = [frame.text(":exception-type"), frame.text(":error-code")];
                        let kind = kind.into_iter().find(|kind| !kind.is_empty()).unwrap_or_default();
                        self.own = true;
                        self.reader.exception(kind, frame.payload);
                    }
                }
                Ok(None) => return,
                Err(_) => return self.give_up("binary frame broken"),
            }
        }
    }

    fn stream(&mut self, block: &[u8]) {
        let Framing::Sse(splitter) = &mut self.framing else { return };
        let mut at = 0;
        loop {
            let whole = splitter.at_boundary();
            if whole {
                let (bytes, events) = self.likenesses.skip(&block[at..]);
                at += bytes;
                self.events += events;
                if at == block.len() {
                    return;
                }
            }
            let start = at;
            let effect = match splitter.next(block, &mut at) {
                Ok(Some(event)) => {
                    self.own = self.own || Reader::is_own(self.dialect, event.name, event.data);
                    self.reader.event(event.name, event.data)
                }
                Ok(None) => return,
                Err(_) => return self.give_up("event too long to be read"),
            };
            self.events += 1;
            match effect {
                Effect::Silent if whole && splitter.at_boundary() => {
                    self.likenesses.learn(&block[start..at], self.reader.unread());
                }
                Effect::Silent | Effect::Read => {}
                Effect::Unreadable => self.unreadable_events += 1,
            }
        }
    }

    /// Whether the stream ended within an event. A terminal marker counts if its line is whole.
    fn finish_stream(&mut self, mut splitter: Splitter) -> bool {
        let complete = self.reader.saw_terminal();
        let Some((event, lines_whole)) = splitter.finish() else { return false };
        self.events += 1;
        self.own = self.own || Reader::is_own(self.dialect, event.name, event.data);
        if self.reader.event(event.name, event.data) == Effect::Unreadable {
            self.unreadable_events += 1;
        }
        self.reader.draft_mut().complete &= complete || lines_whole;
        true
    }

    /// Read a body that is one value; whether it was all there.
    fn finish_json(&mut self, body: &[u8]) -> bool {
        self.own = self.own || Reader::is_own_body(self.dialect, Raw::cut_off(body));
        let whole = Raw::whole(body);
        match whole {
            Some(value) => self.reader.body(value),
            None => {
                // What would tell may lie behind the cut.
                self.own =
                    self.own || ["model", "usage"].iter().any(|key| Raw::cut_off(body).at(key).is_some());
                // Cut off, or broken: what stands before that is still true, if it is of this language.
                if self.own {
                    self.reader.body(Raw::cut_off(body));
                }
                self.reader.draft_mut().complete = false;
            }
        }
        let draft = self.reader.draft_mut();
        if self.status >= 400 && draft.error.is_none() {
            // Some vendors' errors have a form of their own: keep whatever came.
            draft.error = whole.and_then(Raw::value);
        }
        whole.is_some()
    }
}
