//! WebSockets, both ends: a client and a provider whose every byte a test can see, std only.
//!
//! A [`Peer`] writes what it is told, frames that break the protocol included, and keeps every byte it received. The
//! provider of this crate answers upgrades with [`speak`]: Responses, Realtime and Gemini Live, as far as their clients
//! need it. A test that wants something else starts a [`SocketProvider`] with a script of its own.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::answer::{Answer, Content};
use crate::http::{Head, mix};
use crate::json::{Value, quote};
use crate::knobs::Knobs;

pub const TEXT: u8 = 0x81;
pub const BINARY: u8 = 0x82;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8a;
pub const CLOSE: u8 = 0x88;

/// The key that every client of this crate sends.
const KEY: &str = "d2VpcidzIGxvYWR0ZXN0IQ==";
const PATIENCE: Duration = Duration::from_secs(10);
/// Zero would stay zero.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// A frame as it came, unmasked.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// Final bit, reserved bits, opcode.
    pub first: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    /// Of a closing frame.
    pub fn code(&self) -> Option<u16> {
        let code = self.payload.first_chunk::<2>().filter(|_| self.first == CLOSE)?;
        Some(u16::from_be_bytes(*code))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

/// One end of a socket.
pub struct Peer {
    stream: TcpStream,
    is_client: bool,
    unread: Vec<u8>,
    /// Every byte that came behind the handshake.
    pub received: Vec<u8>,
    /// Every byte that was sent.
    pub sent: Vec<u8>,
    seed: u64,
}

/// What a server answered to an upgrade.
#[derive(Debug)]
pub struct Answered {
    pub head: Head,
    /// Of an answer that is no upgrade: what came until the connection closed.
    pub body: Vec<u8>,
}

impl Peer {
    /// Ask for an upgrade. `Err` is an answer other than 101.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn connect(
        addr: SocketAddr,
        target: &str,
        headers: &[(&str, &str)],
    ) -> io::Result<Result<(Peer, Head), Answered>> {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut request = format!(
            "GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\n"
        );
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes())?;
        let (head, mut rest) = read_head(&mut stream)?;
        if head.status() == 101 {
            if head.header("sec-websocket-accept") != Some(&accept(KEY)) {
                return Err(bad("wrong sec-websocket-accept"));
            }
            return Ok(Ok((Peer::over(stream, true, rest), head)));
        }
        // A refusal that leaves the connection open is read to the time limit.
        let _ = stream.read_to_end(&mut rest);
        Ok(Err(Answered { head, body: rest }))
    }

    fn over(stream: TcpStream, is_client: bool, early: Vec<u8>) -> Peer {
        Peer { stream, is_client, received: early.clone(), unread: early, sent: Vec::new(), seed: 1 }
    }

    /// A frame as this end sends it: a client's is masked.
    pub fn frame(&mut self, first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![first];
        let masked = if self.is_client { 0x80 } else { 0 };
        match payload.len() {
            short @ 0..=125 => out.push(masked | short as u8),
            middle @ 126..=0xffff => {
                out.push(masked | 126);
                out.extend_from_slice(&(middle as u16).to_be_bytes());
            }
            long => {
                out.push(masked | 127);
                out.extend_from_slice(&(long as u64).to_be_bytes());
            }
        }
        if !self.is_client {
            out.extend_from_slice(payload);
            return out;
        }
        self.seed = mix(self.seed);
        let mask = (self.seed as u32).to_be_bytes();
        out.extend_from_slice(&mask);
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        out
    }

    /// A text in seeded fragments, a ping between some of them.
    pub fn fragments(&mut self, text: &[u8], seed: u64) -> Vec<u8> {
        let (mut out, mut rest, mut state, mut first) = (Vec::new(), text, mix(seed ^ SEED), TEXT & 0x7f);
        loop {
            state = mix(state);
            let (part, after) = rest.split_at((state as usize % 40).min(rest.len()));
            let last = after.is_empty() && !part.is_empty() || rest.is_empty();
            out.extend(self.frame(first | if last { 0x80 } else { 0 }, part));
            if last {
                return out;
            }
            if state % 5 == 0 {
                out.extend(self.frame(PING, b"between"));
            }
            (rest, first) = (after, 0);
        }
    }

    /// # Errors
    /// Those of the connection.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sent.extend_from_slice(bytes);
        self.stream.write_all(bytes)
    }

    /// In seeded pieces, each a write of its own.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn send_cut(&mut self, bytes: &[u8], seed: u64) -> io::Result<()> {
        let (mut rest, mut state) = (bytes, mix(seed ^ SEED));
        while !rest.is_empty() {
            state = mix(state);
            let longest = [1, 7, 60, 3000][state as usize % 4];
            let (piece, after) = rest.split_at(((state >> 8) as usize % longest + 1).min(rest.len()));
            self.send_raw(piece)?;
            rest = after;
        }
        Ok(())
    }

    /// # Errors
    /// Those of the connection.
    pub fn say(&mut self, text: &str) -> io::Result<()> {
        let frame = self.frame(TEXT, text.as_bytes());
        self.send_raw(&frame)
    }

    /// # Errors
    /// Those of the connection.
    pub fn close(&mut self, code: u16) -> io::Result<()> {
        let frame = self.frame(CLOSE, &code.to_be_bytes());
        self.send_raw(&frame)
    }

    /// The connection ends without a word.
    pub fn vanish(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// The next frame; `None` at the end of the connection.
    ///
    /// # Errors
    /// Those of the connection, silence for ten seconds among them.
    pub fn next_frame(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some((frame, used)) = parse(&self.unread)? {
                self.unread.drain(..used);
                return Ok(Some(frame));
            }
            let mut block = [0; 16 * 1024];
            match self.stream.read(&mut block) {
                Ok(0) => return Ok(None),
                Ok(n) => {
                    self.received.extend_from_slice(&block[..n]);
                    self.unread.extend_from_slice(&block[..n]);
                }
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(why) if why.kind() == ErrorKind::ConnectionReset => return Ok(None),
                Err(why) => return Err(why),
            }
        }
    }

    /// The next text message, put together; pings are answered, and the end or a closing frame is `None`.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn hear(&mut self) -> io::Result<Option<String>> {
        let mut message = Vec::new();
        loop {
            let Some(frame) = self.next_frame()? else { return Ok(None) };
            match frame.first & 0x0f {
                8 => return Ok(None),
                9 => {
                    let pong = self.frame(PONG, &frame.payload);
                    self.send_raw(&pong)?;
                }
                10 => {}
                _ => {
                    message.extend_from_slice(&frame.payload);
                    if frame.first & 0x80 != 0 {
                        return Ok(Some(String::from_utf8_lossy(&message).into_owned()));
                    }
                }
            }
        }
    }

    /// Read to the end; the code of the closing frame, if there was one.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn end(&mut self) -> io::Result<Option<u16>> {
        let mut code = None;
        while let Some(frame) = self.next_frame()? {
            code = code.or(frame.code());
        }
        Ok(code)
    }
}

fn parse(bytes: &[u8]) -> io::Result<Option<(Frame, usize)>> {
    let [first, second, ..] = bytes else { return Ok(None) };
    let (length, mut at) = match second & 0x7f {
        126 if bytes.len() >= 4 => (u64::from(u16::from_be_bytes([bytes[2], bytes[3]])), 4),
        127 if bytes.len() >= 10 => (bytes[2..].first_chunk().map_or(0, |b| u64::from_be_bytes(*b)), 10),
        126 | 127 => return Ok(None),
        short => (u64::from(short), 2),
    };
    let length = usize::try_from(length).map_err(|_| bad("frame too long"))?;
    let mask = if second & 0x80 != 0 {
        let Some(mask) = bytes.get(at..at + 4) else { return Ok(None) };
        at += 4;
        mask.to_vec()
    } else {
        vec![0]
    };
    let Some(payload) = bytes.get(at..at.saturating_add(length)) else { return Ok(None) };
    let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    Ok(Some((Frame { first: *first, payload }, at + length)))
}

fn read_head(stream: &mut TcpStream) -> io::Result<(Head, Vec<u8>)> {
    let (mut bytes, mut block) = (Vec::new(), [0; 4096]);
    loop {
        if let Some((head, used)) = Head::parse(&bytes).map_err(bad)? {
            return Ok((head, bytes.split_off(used)));
        }
        match stream.read(&mut block)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            n => bytes.extend_from_slice(&block[..n]),
        }
    }
}

fn bad(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why.to_owned())
}

/// A listener whose upgrades are answered by a script: a thread per connection, stopped on drop.
pub struct SocketProvider {
    pub addr: SocketAddr,
    stop: Arc<AtomicBool>,
    accept: Option<JoinHandle<()>>,
}

impl SocketProvider {
    /// On a free port of the loopback. `fields` stand in every 101.
    ///
    /// # Panics
    /// If the loopback cannot be bound.
    pub fn start(
        fields: &'static str,
        script: impl Fn(&Head, Peer) -> io::Result<()> + Send + Sync + 'static,
    ) -> SocketProvider {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let (stop, script) = (Arc::new(AtomicBool::new(false)), Arc::new(script));
        let stopped = stop.clone();
        let accept = thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let script = script.clone();
                // A client that breaks off ends its script.
                thread::spawn(move || serve(stream, fields, &*script));
            }
        });
        SocketProvider { addr, stop, accept: Some(accept) }
    }
}

impl Drop for SocketProvider {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if TcpStream::connect(self.addr).is_ok()
            && let Some(accept) = self.accept.take()
        {
            _ = accept.join();
        }
    }
}

fn serve(
    mut stream: TcpStream,
    fields: &str,
    script: &dyn Fn(&Head, Peer) -> io::Result<()>,
) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let (head, rest) = read_head(&mut stream)?;
    stream.write_all(switch(&head, fields).as_bytes())?;
    script(&head, Peer::over(stream, false, rest))
}

/// The 101 to a request.
fn switch(head: &Head, fields: &str) -> String {
    let accept = accept(head.header("sec-websocket-key").unwrap_or_default());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-accept: {accept}\r\n{fields}\r\n"
    )
}

/// Answer an upgrade that reached the HTTP provider, and speak until the client leaves. `early` came behind its head.
///
/// # Errors
/// Those of the connection.
pub fn upgraded(mut stream: TcpStream, head: &Head, early: Vec<u8>) -> io::Result<()> {
    stream.write_all(switch(head, "openai-model: synthetic\r\n").as_bytes())?;
    stream.set_read_timeout(None)?;
    speak(head.target(), &mut Peer::over(stream, false, early))
}

/// Whether a request asks for a WebSocket.
pub fn is_upgrade(head: &Head) -> bool {
    head.header("upgrade").is_some_and(|name| name.eq_ignore_ascii_case("websocket"))
}

/// What the provider says, by the path it was asked at.
///
/// # Errors
/// Those of the connection.
pub fn speak(target: &str, peer: &mut Peer) -> io::Result<()> {
    let path = target.split('?').next().unwrap_or_default();
    let spoken = match path {
        path if path.ends_with("/realtime") => Spoken::Realtime,
        path if path.ends_with("BidiGenerateContent") => Spoken::Live,
        _ => Spoken::Responses,
    };
    let query = target.split_once("model=").map_or("gpt-realtime", |(_, rest)| rest);
    let model = query.split('&').next().unwrap_or_default();
    if spoken == Spoken::Realtime {
        peer.say(&session("created", model))?;
    }
    while let Some(text) = peer.hear()? {
        let Some(asked) = Value::parse(text.as_bytes()) else { return peer.close(1007) };
        match spoken {
            Spoken::Responses => responses(peer, &asked, &text)?,
            Spoken::Realtime => realtime(peer, &asked, model)?,
            Spoken::Live => live(peer, &asked)?,
        }
    }
    peer.close(1000)
}

#[derive(Clone, Copy, PartialEq)]
enum Spoken {
    Responses,
    Realtime,
    Live,
}

const WORDS: [&str; 4] = ["Hello", ", this", " is", " synthetic."];

/// What `POST /v1/responses` would stream, one event a message; without `generate` only its first and last.
fn responses(peer: &mut Peer, asked: &Value, text: &str) -> io::Result<()> {
    if asked.field("type").and_then(Value::text) != Some("response.create") {
        return Ok(());
    }
    let lane = asked.field("stream_id").and_then(Value::text);
    let lane = lane.map(|lane| format!("\"stream_id\":{},", quote(lane))).unwrap_or_default();
    let body = text.replacen('{', "{\"stream\":true,", 1);
    let answer = Answer::new("POST", "/v1/responses", body.as_bytes(), &Knobs::default());
    let events = match answer.body {
        Content::Events(events) => events,
        Content::Whole(body) => {
            let error = String::from_utf8_lossy(&body);
            let inside = error.strip_prefix('{').unwrap_or("}");
            return peer.say(&format!("{{\"type\":\"error\",\"status\":{},{inside}", answer.status));
        }
    };
    let writes = asked.field("generate") != Some(&Value::Bool(false));
    let all = 0..events.count();
    for i in all.filter(|i| writes || *i == 0 || i + 1 == events.count()) {
        let mut event = Vec::new();
        events.write(i, 0, &mut event);
        let event = String::from_utf8_lossy(&event);
        let data = event.split_once("data: ").map_or("", |(_, data)| data.trim_end());
        peer.say(&data.replacen('{', &format!("{{{lane}"), 1))?;
    }
    Ok(())
}

fn session(what: &str, model: &str) -> String {
    format!(
        r#"{{"type":"session.{what}","event_id":"event_s","session":{{"type":"realtime","object":"realtime.session","id":"sess_1","model":{},"output_modalities":["text"]}}}}"#,
        quote(model)
    )
}

fn realtime(peer: &mut Peer, asked: &Value, model: &str) -> io::Result<()> {
    match asked.field("type").and_then(Value::text) {
        Some("session.update") => peer.say(&session("updated", model)),
        Some("response.create") => {
            let say = |peer: &mut Peer, kind: &str, rest: &str| {
                peer.say(&format!(r#"{{"type":"{kind}","event_id":"event_1",{rest}}}"#))
            };
            say(
                peer,
                "response.created",
                r#""response":{"object":"realtime.response","id":"resp_1","status":"in_progress","output":[]}"#,
            )?;
            for word in WORDS {
                let delta = format!(
                    r#""response_id":"resp_1","item_id":"item_1","output_index":0,"content_index":0,"delta":{}"#,
                    quote(word)
                );
                say(peer, "response.output_text.delta", &delta)?;
            }
            say(
                peer,
                "response.done",
                r#""response":{"object":"realtime.response","id":"resp_1","status":"completed","output":[],"usage":{"total_tokens":16,"input_tokens":12,"output_tokens":4,"input_token_details":{"text_tokens":12,"audio_tokens":0,"cached_tokens":0},"output_token_details":{"text_tokens":4,"audio_tokens":0}}}"#,
            )
        }
        _ => Ok(()),
    }
}

fn live(peer: &mut Peer, asked: &Value) -> io::Result<()> {
    if asked.field("setup").is_some() {
        // Google sends its JSON in binary frames.
        let frame = peer.frame(BINARY, br#"{"setupComplete":{}}"#);
        return peer.send_raw(&frame);
    }
    if asked.field("clientContent").or_else(|| asked.field("client_content")).is_some() {
        for word in WORDS {
            let part =
                format!(r#"{{"serverContent":{{"modelTurn":{{"parts":[{{"text":{}}}]}}}}}}"#, quote(word));
            let frame = peer.frame(BINARY, part.as_bytes());
            peer.send_raw(&frame)?;
        }
        let end = r#"{"serverContent":{"turnComplete":true},"usageMetadata":{"promptTokenCount":12,"responseTokenCount":4,"totalTokenCount":16}}"#;
        let frame = peer.frame(BINARY, end.as_bytes());
        return peer.send_raw(&frame);
    }
    Ok(())
}

/// What a server answers to a key (RFC 6455 4.2.2).
pub fn accept(key: &str) -> String {
    base64(&sha1(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes()))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let three = [group[0], *group.get(1).unwrap_or(&0), *group.get(2).unwrap_or(&0)];
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= group.len() { digit as char } else { '=' });
        }
    }
    out
}

/// FIPS 180-4; here only because the handshake asks for it.
fn sha1(message: &[u8]) -> [u8; 20] {
    let mut state: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend_from_slice(&(message.len() as u64 * 8).to_be_bytes());
    for block in padded.chunks(64) {
        let mut words = [0u32; 80];
        for (word, bytes) in words.iter_mut().zip(block.chunks(4)) {
            *word = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        for i in 16..80 {
            words[i] = (words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16]).rotate_left(1);
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for (i, word) in words.iter().enumerate() {
            let (f, k) = match i {
                0..20 => (b & c | !b & d, 0x5a82_7999),
                20..40 => (b ^ c ^ d, 0x6ed9_eba1),
                40..60 => (b & c | b & d | c & d, 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6_u32),
            };
            let next = a.rotate_left(5).wrapping_add(f).wrapping_add(e).wrapping_add(k).wrapping_add(*word);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
        }
        for (own, add) in state.iter_mut().zip([a, b, c, d, e]) {
            *own = own.wrapping_add(add);
        }
    }
    let mut out = [0; 20];
    for (bytes, word) in out.chunks_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_6455() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn both_ends_understand_each_other() {
        let provider = SocketProvider::start("", |head, mut peer| speak(head.target(), &mut peer));
        let (mut client, _) = Peer::connect(provider.addr, "/v1/responses", &[]).unwrap().unwrap();
        let asked = br#"{"type":"response.create","model":"m","input":"hello"}"#;
        let frames = client.fragments(asked, 7);
        client.send_cut(&frames, 9).unwrap();
        let mut heard = Vec::new();
        while !heard.last().is_some_and(|text: &String| text.contains("response.completed")) {
            heard.push(client.hear().unwrap().expect("an answer"));
        }
        assert!(heard.len() > 3 && heard[0].contains("response.created"), "{heard:?}");
        client.close(1000).unwrap();
        assert_eq!(client.end().unwrap(), Some(1000));
    }
}
