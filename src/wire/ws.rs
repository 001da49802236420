//! WebSocket messages read from passing frames (RFC 6455), compressed ones inflated on the side (RFC 7692), and the few
//! frames that a gateway writes itself.
//!
//! ```text
//!   block ─▶ head (2 to 14 bytes) ─▶ payload, unmasked on a copy ─▶ ( inflate ) ─▶ message ─▶ handed out at its last frame
//!              └ control frames may stand between the frames of a message: handed out at once
//! ```
//!
//! A frame need not be there whole: what has come of it is unmasked and inflated as it comes, so that nothing is held but
//! the message. [`Reader::next`] says how far into the block each message reaches; whoever forwards the block cuts there.
//!
//! Deliberately absent: changing what passes, answering pings, and verdicts beyond "cannot be read": the bytes belong to
//! the two ends.

use flate2::{Decompress, FlushDecompress, Status};

/// Why the frames of one direction can be read no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WsFault {
    /// Reserved bits or codes, a continuation of nothing, a long control frame, a mask where none may be or none where
    /// one must be.
    Malformed,
    /// A message longer than is held, before or after inflating.
    TooLong,
    /// Compressed bytes that are broken.
    Broken,
}

impl WsFault {
    /// For records and closing frames.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            WsFault::Malformed => "frames that break RFC 6455",
            WsFault::TooLong => "message too long to be read",
            WsFault::Broken => "compressed message broken",
        }
    }
}

/// A message, or a control frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A text message, whole and inflated.
    Text(&'a [u8]),
    /// A binary message, whole and inflated.
    Binary(&'a [u8]),
    /// A message over the bound, which was not kept.
    Over,
    /// A ping or a pong: somebody is there.
    Beat,
    /// The end, with its code if it has one.
    Close(Option<u16>),
}

/// Which end of the connection sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Its frames are masked (RFC 6455 5.1).
    Client,
    /// Its frames are not.
    Server,
}

/// What permessage-deflate was agreed to be in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deflate {
    /// Each message is compressed by itself, so that one can be left out without harm to the next.
    pub no_context: bool,
}

/// Reads one direction of a connection.
pub struct Reader {
    sender: Sender,
    deflate: Option<Deflate>,
    bytes_max: usize,
    /// What a message over the bound means: the end of reading, or [`Message::Over`].
    strict: bool,
    head: Gathered,
    /// The frame whose payload is passing.
    frame: Option<Frame>,
    /// The message whose frames are passing.
    message: Option<Passing>,
    /// Text of the message so far; after it was handed out, what the next call forgets.
    text: Vec<u8>,
    handed_out: bool,
    control: Gathered,
    inflate: Option<Box<Decompress>>,
    fault: Option<WsFault>,
}

/// Up to 125 bytes, gathered where they may be cut.
struct Gathered {
    bytes: [u8; 125],
    length: usize,
}

#[derive(Clone, Copy)]
struct Frame {
    fin: bool,
    opcode: u8,
    mask: Option<[u8; 4]>,
    /// Payload bytes that have not come yet, and how many have.
    left: u64,
    passed: usize,
}

struct Passing {
    is_text: bool,
    compressed: bool,
    over: bool,
}

/// Text messages.
pub const TEXT: u8 = 1;
const BINARY: u8 = 2;
/// Closing frames.
pub const CLOSE: u8 = 8;
/// Bytes inflated at once.
const INFLATE_BYTES: usize = 16 << 10;
/// A buffer up to this stays between messages.
const KEPT_BYTES_MAX: usize = 1 << 10;

impl Reader {
    /// A reader that ends at the first message over `bytes_max`: for messages that must be judged.
    #[must_use]
    pub fn judging(sender: Sender, deflate: Option<Deflate>, bytes_max: usize) -> Self {
        Reader { strict: true, ..Reader::watching(sender, deflate, bytes_max) }
    }

    /// A reader that passes over a message over `bytes_max`, where what follows can still be read.
    #[must_use]
    pub fn watching(sender: Sender, deflate: Option<Deflate>, bytes_max: usize) -> Self {
        Reader {
            sender,
            deflate,
            bytes_max,
            strict: false,
            head: Gathered::new(),
            frame: None,
            message: None,
            text: Vec::new(),
            handed_out: false,
            control: Gathered::new(),
            inflate: None,
            fault: None,
        }
    }

    /// Whether no frame is under way: control frames may be sent here.
    #[must_use]
    pub fn between_frames(&self) -> bool {
        self.frame.is_none() && self.head.length == 0 && self.fault.is_none()
    }

    /// Whether no message is under way: a message may be sent here.
    #[must_use]
    pub fn between_messages(&self) -> bool {
        self.message.is_none() && self.between_frames()
    }

    /// Length on the wire of the control frame that was handed out last.
    #[must_use]
    pub fn control_bytes(&self) -> usize {
        2 + if self.sender == Sender::Client { 4 } else { 0 } + self.control.length
    }

    /// The next message that ends within `block`, read from `at` on; `at` then stands behind its last byte. `None` once
    /// all of the block has been taken. After a fault there are no further messages.
    pub fn next(&mut self, block: &[u8], at: &mut usize) -> Result<Option<Message<'_>>, WsFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let read = self.read(block, at);
        if let Err(fault) = read {
            self.fault = Some(fault);
            self.text = Vec::new();
            self.inflate = None;
        }
        Ok(match read? {
            None => None,
            Some(Kind::Beat) => Some(Message::Beat),
            Some(Kind::Close) => Some(Message::Close(self.control.code())),
            Some(Kind::Over) => Some(Message::Over),
            Some(Kind::Text) => Some(Message::Text(&self.text)),
            Some(Kind::Binary) => Some(Message::Binary(&self.text)),
        })
    }

    fn read(&mut self, block: &[u8], at: &mut usize) -> Result<Option<Kind>, WsFault> {
        if std::mem::take(&mut self.handed_out) {
            self.text.clear();
            // A socket that waits holds little.
            self.text.shrink_to(KEPT_BYTES_MAX);
        }
        loop {
            let Some(mut frame) = self.frame.take() else {
                let Some(frame) = self.next_head(block, at)? else { return Ok(None) };
                self.begin(&frame)?;
                self.frame = Some(frame);
                continue;
            };
            let rest = &block[*at..];
            let part = &rest[..usize::try_from(frame.left).unwrap_or(usize::MAX).min(rest.len())];
            self.payload(part, &frame)?;
            *at += part.len();
            frame.left -= part.len() as u64;
            frame.passed = frame.passed.wrapping_add(part.len());
            if frame.left > 0 {
                self.frame = Some(frame);
                return Ok(None);
            }
            if let Some(kind) = self.end(&frame)? {
                return Ok(Some(kind));
            }
        }
    }

    /// The head of the next frame, once it has come whole.
    fn next_head(&mut self, block: &[u8], at: &mut usize) -> Result<Option<Frame>, WsFault> {
        while let Some(byte) = block.get(*at) {
            *at += 1;
            self.head.push(*byte);
            if self.head.length == 2 {
                self.check_head(self.head.bytes[0], self.head.bytes[1])?;
            }
            if self.head.length >= 2 && self.head.length == head_bytes(self.head.bytes[1]) {
                return Ok(Some(self.take_head()?));
            }
        }
        Ok(None)
    }

    fn check_head(&self, first: u8, second: u8) -> Result<(), WsFault> {
        let (fin, compressed, opcode) = (first & 0x80 != 0, first & 0x40 != 0, first & 0x0f);
        let control = opcode >= CLOSE;
        let known = matches!(opcode, 0..=2 | 8..=10);
        let masked = second & 0x80 != 0;
        // The first frame of a message says whether it is compressed, the others do not say it again.
        let fits = match (opcode, &self.message) {
            (0, Some(_)) => !compressed,
            (TEXT | BINARY, None) => !compressed || self.deflate.is_some(),
            _ => control && fin && !compressed && second & 0x7f <= 125,
        };
        let sound = first & 0x30 == 0 && known && masked == (self.sender == Sender::Client) && fits;
        if sound { Ok(()) } else { Err(WsFault::Malformed) }
    }

    fn take_head(&mut self) -> Result<Frame, WsFault> {
        let bytes = &self.head.bytes;
        let short = bytes[1] & 0x7f;
        let (left, after) = match short {
            126 => (u64::from(u16::from_be_bytes([bytes[2], bytes[3]])), 4),
            127 => (bytes[2..].first_chunk().map_or(0, |length| u64::from_be_bytes(*length)), 10),
            short => (u64::from(short), 2),
        };
        // The highest bit of a length is always 0 (RFC 6455 5.2).
        if left > u64::MAX >> 1 {
            return Err(WsFault::Malformed);
        }
        let mask = bytes[after..].first_chunk().copied().filter(|_| bytes[1] & 0x80 != 0);
        let frame = Frame { fin: bytes[0] & 0x80 != 0, opcode: bytes[0] & 0x0f, mask, left, passed: 0 };
        self.head.length = 0;
        // What is never kept is not worth waiting for.
        if self.strict && frame.opcode < CLOSE && frame.left > self.bytes_max as u64 {
            return Err(WsFault::TooLong);
        }
        if matches!(frame.opcode, TEXT | BINARY) {
            self.message = Some(Passing {
                is_text: frame.opcode == TEXT,
                compressed: bytes[0] & 0x40 != 0,
                over: false,
            });
        }
        Ok(frame)
    }

    fn begin(&mut self, frame: &Frame) -> Result<(), WsFault> {
        if frame.opcode >= CLOSE {
            self.control.length = 0;
            return Ok(());
        }
        if frame.opcode != 0
            && self.message.as_ref().is_some_and(|message| message.compressed)
            && self.inflate.is_none()
        {
            self.inflate = Some(Box::new(Decompress::new(false)));
        }
        Ok(())
    }

    fn payload(&mut self, part: &[u8], frame: &Frame) -> Result<(), WsFault> {
        if frame.opcode >= CLOSE {
            let start = self.control.length;
            part.iter().for_each(|byte| self.control.push(*byte));
            unmask(&mut self.control.bytes[start..start + part.len()], frame);
            return Ok(());
        }
        let Some(message) = &self.message else { return Err(WsFault::Malformed) };
        if message.over {
            return Ok(());
        }
        if message.compressed {
            let mut coded = part.to_vec();
            unmask(&mut coded, frame);
            return self.inflate(&coded);
        }
        if self.text.len() + part.len() > self.bytes_max {
            return self.over();
        }
        let start = self.text.len();
        self.text.extend_from_slice(part);
        unmask(&mut self.text[start..], frame);
        Ok(())
    }

    fn end(&mut self, frame: &Frame) -> Result<Option<Kind>, WsFault> {
        match frame.opcode {
            CLOSE => return Ok(Some(Kind::Close)),
            opcode if opcode > CLOSE => return Ok(Some(Kind::Beat)),
            _ if !frame.fin => return Ok(None),
            _ => {}
        }
        if self.message.as_ref().is_some_and(|message| message.compressed && !message.over) {
            // The sender cut these four bytes off (RFC 7692 7.2.1).
            self.inflate(&[0, 0, 0xff, 0xff])?;
        }
        if self.deflate.is_some_and(|deflate| deflate.no_context) {
            self.inflate = None;
        }
        self.handed_out = true;
        Ok(self.message.take().map(|message| match (message.over, message.is_text) {
            (true, _) => Kind::Over,
            (false, true) => Kind::Text,
            (false, false) => Kind::Binary,
        }))
    }

    fn inflate(&mut self, coded: &[u8]) -> Result<(), WsFault> {
        let Some(stream) = &mut self.inflate else { return Err(WsFault::Malformed) };
        let mut rest = coded;
        loop {
            // One byte over the bound is enough to know.
            let room = (self.bytes_max + 1).saturating_sub(self.text.len()).min(INFLATE_BYTES);
            if room == 0 {
                return self.over();
            }
            if self.text.capacity() - self.text.len() < room.min(rest.len().max(64) * 4) {
                self.text.reserve(room.min(rest.len().max(64) * 4));
            }
            let (before_in, before_out) = (stream.total_in(), stream.total_out());
            let status = stream.decompress_vec(rest, &mut self.text, FlushDecompress::Sync);
            let status = status.map_err(|_| WsFault::Broken)?;
            let taken = usize::try_from(stream.total_in() - before_in).unwrap_or(rest.len());
            rest = rest.get(taken..).unwrap_or_default();
            let idle = taken == 0 && stream.total_out() == before_out;
            if status == Status::StreamEnd {
                // A final block ends the stream (RFC 7692 7.2.3.4); what follows begins anew.
                stream.reset(false);
                if rest.is_empty() {
                    break;
                }
                continue;
            }
            let room_left = self.text.len() < self.text.capacity();
            if idle || (rest.is_empty() && room_left) {
                break;
            }
        }
        if self.text.len() > self.bytes_max { self.over() } else { Ok(()) }
    }

    /// The message is over the bound. Where its bytes are needed to inflate later ones, those cannot be read either.
    fn over(&mut self) -> Result<(), WsFault> {
        self.text = Vec::new();
        let Some(message) = &mut self.message else { return Err(WsFault::Malformed) };
        message.over = true;
        let window_lost = message.compressed && self.deflate.is_none_or(|deflate| !deflate.no_context);
        if self.strict || window_lost { Err(WsFault::TooLong) } else { Ok(()) }
    }
}

/// What has ended.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Binary,
    Over,
    Beat,
    Close,
}

impl Gathered {
    fn new() -> Self {
        Gathered { bytes: [0; 125], length: 0 }
    }

    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.length) {
            *slot = byte;
            self.length += 1;
        }
    }

    fn code(&self) -> Option<u16> {
        (self.length >= 2).then(|| u16::from_be_bytes([self.bytes[0], self.bytes[1]]))
    }
}

/// Length of a head whose second byte this is.
fn head_bytes(second: u8) -> usize {
    let length = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + length + if second & 0x80 != 0 { 4 } else { 0 }
}

/// The mask goes on where the frame's payload stopped before.
fn unmask(bytes: &mut [u8], frame: &Frame) {
    let Some(mut mask) = frame.mask else { return };
    mask.rotate_left(frame.passed % 4);
    let mut fours = bytes.chunks_exact_mut(4);
    for four in &mut fours {
        four.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    }
    fours.into_remainder().iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
}

/// Write one whole frame; a client's needs a mask that nobody can guess (RFC 6455 5.3).
pub fn write_frame(out: &mut Vec<u8>, opcode: u8, mask: Option<[u8; 4]>, payload: &[u8]) {
    out.push(0x80 | opcode);
    let masked = if mask.is_some() { 0x80 } else { 0 };
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ 0..=125), _) => out.push(masked | short),
        (_, Ok(length)) => {
            out.push(masked | 126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(masked | 127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend(mask.into_iter().flatten());
    let start = out.len();
    out.extend_from_slice(payload);
    let frame = Frame { fin: true, opcode, mask, left: 0, passed: 0 };
    unmask(&mut out[start..], &frame);
}

/// Write a closing frame; of the reason what fits (RFC 6455 5.5).
pub fn write_close(out: &mut Vec<u8>, mask: Option<[u8; 4]>, code: u16, reason: &str) {
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let payload = [&code.to_be_bytes()[..], &reason.as_bytes()[..end]].concat();
    write_frame(out, CLOSE, mask, &payload);
}

#[cfg(test)]
mod tests;
