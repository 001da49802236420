//! WebSocket messages read from passing frames (RFC 6455), compressed ones inflated on the side (RFC 7692).
//!
//! Deliberately absent: writing frames, answering pings, and verdicts on the protocol beyond "cannot be read": the
//! bytes belong to the two ends.

use flate2::{Decompress, FlushDecompress, Status};

/// Longest message that is put together.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Why the frames of one direction can be read no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WsFault {
    /// Reserved bits or codes, a continuation of nothing, a fragmented or long control frame.
    Malformed,
    /// A message longer than is held, before or after inflating.
    TooLong,
    /// Compressed bytes that are broken.
    Broken,
}

/// A message, or a control frame that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A text message, whole and inflated.
    Text(&'a [u8]),
    /// A binary message, whole and inflated.
    Binary(&'a [u8]),
    /// The end, with its code if it has one.
    Close(Option<u16>),
}

/// Reads one direction of a connection.
pub struct Reader {
    held: Vec<u8>,
    done: usize,
    message: Vec<u8>,
    /// Opcode of the message being put together.
    opcode: Option<u8>,
    compressed: bool,
    inflate: Option<Inflate>,
    handed_out: bool,
}

struct Inflate {
    stream: Decompress,
    /// Each message is compressed by itself.
    no_context: bool,
    out: Vec<u8>,
}

struct Head {
    fin: bool,
    compressed: bool,
    opcode: u8,
    mask: Option<[u8; 4]>,
    length: usize,
    head_bytes: usize,
}

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;

impl Reader {
    /// A reader for frames without extensions.
    #[must_use]
    pub fn new() -> Self {
        Reader {
            held: Vec::new(),
            done: 0,
            message: Vec::new(),
            opcode: None,
            compressed: false,
            inflate: None,
            handed_out: false,
        }
    }

    /// A reader for the direction whose `sec-websocket-extensions` were agreed upon. `from_client` tells which.
    #[must_use]
    pub fn with_extensions(agreed: &str, from_client: bool) -> Self {
        let words: Vec<&str> = agreed.split([';', ',']).map(str::trim).collect();
        let no_context =
            if from_client { "client_no_context_takeover" } else { "server_no_context_takeover" };
        let inflate = words.contains(&"permessage-deflate").then(|| Inflate {
            stream: Decompress::new(false),
            no_context: words.contains(&no_context),
            out: Vec::new(),
        });
        Reader { inflate, ..Reader::new() }
    }

    /// Add bytes as they pass.
    pub fn feed(&mut self, block: &[u8]) {
        self.held.drain(..self.done);
        self.done = 0;
        self.held.extend_from_slice(block);
    }

    /// The next message. After a fault there are no further ones.
    pub fn next(&mut self) -> Result<Option<Message<'_>>, WsFault> {
        if std::mem::take(&mut self.handed_out) {
            self.message = Vec::new();
        }
        loop {
            let Some(head) = self.head()? else { return Ok(None) };
            let start = self.done + head.head_bytes;
            let Some(payload) = self.held.get_mut(start..start + head.length) else { return Ok(None) };
            if let Some(mask) = head.mask {
                payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
            }
            self.done = start + head.length;
            if head.opcode >= CLOSE {
                if head.opcode == CLOSE {
                    let code =
                        self.held[start..self.done].first_chunk().map(|code| u16::from_be_bytes(*code));
                    return Ok(Some(Message::Close(code)));
                }
                continue;
            }
            self.begin(&head)?;
            if self.message.len() + head.length > MESSAGE_BYTES_MAX {
                return Err(WsFault::TooLong);
            }
            self.message.extend_from_slice(&self.held[start..self.done]);
            if head.fin {
                return self.whole().map(Some);
            }
        }
    }

    /// The head of the next frame, once it has come whole.
    fn head(&self) -> Result<Option<Head>, WsFault> {
        let bytes = &self.held[self.done..];
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        let (fin, compressed, opcode) = (first & 0x80 != 0, first & 0x40 != 0, first & 0x0f);
        let control = opcode >= CLOSE;
        let known = matches!(opcode, 0..=2 | 8..=10);
        let short = second & 0x7f;
        if first & 0x30 != 0 || !known || (control && (!fin || compressed || short > 125)) {
            return Err(WsFault::Malformed);
        }
        let (length, length_bytes) = match short {
            126 => (rest.first_chunk().map(|l| u64::from(u16::from_be_bytes(*l))), 2),
            127 => (rest.first_chunk().map(|l| u64::from_be_bytes(*l)), 8),
            short => (Some(u64::from(short)), 0),
        };
        let Some(length) = length else { return Ok(None) };
        let length =
            usize::try_from(length).ok().filter(|l| *l <= MESSAGE_BYTES_MAX).ok_or(WsFault::TooLong)?;
        let masked = second & 0x80 != 0;
        let mask = rest.get(length_bytes..).and_then(|rest| rest.first_chunk().copied());
        if masked && mask.is_none() {
            return Ok(None);
        }
        let head_bytes = 2 + length_bytes + if masked { 4 } else { 0 };
        Ok(Some(Head { fin, compressed, opcode, mask: mask.filter(|_| masked), length, head_bytes }))
    }

    /// A message begins or goes on; only its first frame says whether it is compressed.
    fn begin(&mut self, head: &Head) -> Result<(), WsFault> {
        match (head.opcode, self.opcode) {
            (0, Some(_)) if !head.compressed => Ok(()),
            (TEXT | BINARY, None) if !head.compressed || self.inflate.is_some() => {
                self.opcode = Some(head.opcode);
                self.compressed = head.compressed;
                Ok(())
            }
            _ => Err(WsFault::Malformed),
        }
    }

    fn whole(&mut self) -> Result<Message<'_>, WsFault> {
        let text = self.opcode.take() == Some(TEXT);
        self.handed_out = true;
        let message = match &mut self.inflate {
            Some(inflate) if self.compressed => inflate.message(&mut self.message)?,
            _ => &self.message,
        };
        Ok(if text { Message::Text(message) } else { Message::Binary(message) })
    }
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl Inflate {
    /// RFC 7692 section 7.2.2: the four bytes that the sender cut off go back on, then inflate.
    fn message(&mut self, coded: &mut Vec<u8>) -> Result<&[u8], WsFault> {
        coded.extend_from_slice(&[0, 0, 0xff, 0xff]);
        self.out.clear();
        let mut rest = &coded[..];
        loop {
            self.out.reserve((rest.len() * 4).clamp(1 << 10, 64 << 10));
            let (before_in, before_out) = (self.stream.total_in(), self.stream.total_out());
            let status = self.stream.decompress_vec(rest, &mut self.out, FlushDecompress::Sync);
            let status = status.map_err(|_| WsFault::Broken)?;
            if self.out.len() > MESSAGE_BYTES_MAX {
                return Err(WsFault::TooLong);
            }
            let taken = usize::try_from(self.stream.total_in() - before_in).unwrap_or(rest.len());
            rest = rest.get(taken..).unwrap_or_default();
            let idle = taken == 0 && self.stream.total_out() == before_out;
            // Room was left over and nothing is left to take: that was all.
            if idle
                || status == Status::StreamEnd
                || (rest.is_empty() && self.out.len() < self.out.capacity())
            {
                break;
            }
        }
        if self.no_context {
            self.stream.reset(false);
        }
        Ok(&self.out)
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, FlushCompress};

    use super::*;

    fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![first];
        let bit = if mask.is_some() { 0x80 } else { 0 };
        match payload.len() {
            0..=125 => out.push(bit | u8::try_from(payload.len()).unwrap()),
            126..=0xffff => {
                out.push(bit | 126);
                out.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
            }
            _ => {
                out.push(bit | 127);
                out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
            }
        }
        let key = mask.unwrap_or_default();
        out.extend_from_slice(mask.as_ref().map_or(&[], |mask| &mask[..]));
        out.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        out
    }

    fn messages(reader: &mut Reader, stream: &[u8], step: usize) -> Result<Vec<String>, WsFault> {
        let mut found = Vec::new();
        for block in stream.chunks(step) {
            reader.feed(block);
            while let Some(message) = reader.next()? {
                found.push(match message {
                    Message::Text(text) => String::from_utf8_lossy(text).into_owned(),
                    Message::Binary(bytes) => format!("{bytes:?}"),
                    Message::Close(code) => format!("close {code:?}"),
                });
            }
        }
        Ok(found)
    }

    #[test]
    fn messages_in_any_split() {
        let long = "ü".repeat(40_000);
        let mask = Some([1, 2, 3, 250]);
        let stream = [
            frame(0x81, mask, b"{\"a\":1}"),
            frame(0x01, mask, b"frag"),
            frame(0x89, mask, b"ping"),
            frame(0x80, mask, b"mented"),
            frame(0x81, mask, long.as_bytes()),
            frame(0x82, mask, &[1, 2]),
            frame(0x88, mask, &[3, 0xe8]),
        ]
        .concat();
        for step in [1, 7, 4096, usize::MAX] {
            let found = messages(&mut Reader::new(), &stream, step).unwrap();
            assert_eq!(found, ["{\"a\":1}", "fragmented", &long, "[1, 2]", "close Some(1000)"], "by {step}");
        }
    }

    #[test]
    fn compressed_messages_share_a_window_unless_agreed_otherwise() {
        for (agreed, takeover) in
            [("permessage-deflate", true), ("permessage-deflate; server_no_context_takeover", false)]
        {
            let mut coder = Compress::new(Compression::default(), false);
            let mut stream = Vec::new();
            for _ in 0..3 {
                let mut coded = Vec::with_capacity(1 << 16);
                coder.compress_vec(b"{\"hello\":\"hello hello\"}", &mut coded, FlushCompress::Sync).unwrap();
                stream.extend(frame(0xc1, None, &coded[..coded.len() - 4]));
                if !takeover {
                    coder.reset();
                }
            }
            for step in [1, usize::MAX] {
                let found = messages(&mut Reader::with_extensions(agreed, false), &stream, step).unwrap();
                assert_eq!(found, ["{\"hello\":\"hello hello\"}"; 3], "{agreed}");
            }
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for (bytes, fault) in [
            (frame(0xc1, None, b"x"), WsFault::Malformed),
            (frame(0xa1, None, b"x"), WsFault::Malformed),
            (frame(0x83, None, b"x"), WsFault::Malformed),
            (frame(0x80, None, b"x"), WsFault::Malformed),
            (frame(0x08, None, b""), WsFault::Malformed),
            ([frame(0x01, None, b"x"), frame(0x81, None, b"x")].concat(), WsFault::Malformed),
            (vec![0x81, 127, 0, 0, 1, 0, 0, 0, 0, 0], WsFault::TooLong),
        ] {
            assert_eq!(messages(&mut Reader::new(), &bytes, usize::MAX), Err(fault), "{bytes:?}");
        }
        let noise = frame(0xc1, None, &[0xff; 30]);
        let mut reader = Reader::with_extensions("permessage-deflate", true);
        assert_eq!(messages(&mut reader, &noise, usize::MAX), Err(WsFault::Broken));
    }
}
