//! A small HTTP/1.1 client that believes nothing: every byte of the body is compared with what the provider must have
//! sent. Blocking, std only; the event loop of the binary has its own.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::answer::Answer;
use crate::expect::{Expect, Mismatch};
use crate::http::Head;
use crate::knobs::Knobs;

/// A body longer than this is not collected by [`Client::send`].
const BODY_BYTES_MAX: usize = 256 << 20;

#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Send the body chunked, in chunks of that size; otherwise with content-length.
    pub chunk: Option<usize>,
}

impl Request {
    pub fn new(method: &str, target: &str, body: impl AsRef<[u8]>) -> Request {
        Request {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: body.as_ref().to_vec(),
            chunk: None,
        }
    }

    pub fn get(target: &str) -> Request {
        Request::new("GET", target, b"")
    }

    /// POST to Anthropic Messages.
    pub fn messages(body: impl AsRef<[u8]>) -> Request {
        Request::new("POST", "/v1/messages", body)
            .header("content-type", "application/json")
            .header("anthropic-version", "2023-06-01")
    }

    /// POST to OpenAI Chat Completions.
    pub fn chat(body: impl AsRef<[u8]>) -> Request {
        Request::new("POST", "/v1/chat/completions", body).header("content-type", "application/json")
    }

    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Knobs for this request alone.
    pub fn synthetic(self, knobs: &str) -> Request {
        self.header("x-synthetic", knobs)
    }

    /// As it goes on the wire. `host` is added unless given.
    pub fn wire(&self, host: &str) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !self.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("host")) {
            head.push_str(&format!("host: {host}\r\n"));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let bodyless = self.body.is_empty() && matches!(self.method.as_str(), "GET" | "HEAD");
        match self.chunk {
            Some(_) => head.push_str("transfer-encoding: chunked\r\n"),
            None if bodyless => {}
            None => head.push_str(&format!("content-length: {}\r\n", self.body.len())),
        }
        let mut wire = head.into_bytes();
        wire.extend_from_slice(b"\r\n");
        match self.chunk {
            Some(size) => {
                for piece in self.body.chunks(size.max(1)) {
                    crate::http::chunk(piece, &mut wire);
                }
                wire.extend_from_slice(b"0\r\n\r\n");
            }
            None => wire.extend_from_slice(&self.body),
        }
        wire
    }

    /// The answer the synthetic provider gives to this request where the server's knobs are `server`.
    pub fn answer(&self, server: Knobs) -> Answer {
        let field = |name: &str| self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        let knobs = server.of_request(|name| field(name).map(|(_, text)| text.as_str()));
        Answer::new(&self.method, &self.target, &self.body, &knobs)
    }
}

/// How a response ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ended {
    Complete,
    /// The connection ended cleanly inside the head or the body.
    Truncated,
    Reset,
    /// Nothing came for the whole time limit.
    TimedOut,
    /// We left on purpose.
    Left,
    /// The framing was broken, and how.
    Broken(&'static str),
}

#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    /// Names in lower case; empty if no head came.
    pub headers: Vec<(String, String)>,
    /// Heads of status 1xx that came before: their statuses.
    pub interim: Vec<u16>,
    /// Collected by [`Client::send`] only.
    pub body: Vec<u8>,
    pub body_bytes: usize,
    /// Socket reads that brought body bytes.
    pub reads: usize,
    pub ended: Ended,
    /// From the last request byte sent to the head, to the first body byte, to the end.
    pub head_after: Duration,
    pub first_after: Duration,
    pub end_after: Duration,
    /// The connection was a kept one.
    pub reused: bool,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A reply and what comparing it with the truth showed.
#[derive(Debug, Clone)]
pub struct Checked {
    pub reply: Reply,
    pub answer: Arc<Answer>,
    /// Events (or whole bodies) of which every byte came.
    pub events: u64,
    /// The status, or the first wrong byte.
    pub mismatch: Option<Mismatch>,
    /// Send-to-arrival of stamped events, in ns.
    pub delays_ns: Vec<u64>,
}

impl Checked {
    /// Whole, and every byte right.
    pub fn perfect(&self) -> bool {
        self.mismatch.is_none() && self.reply.ended == Ended::Complete
    }
}

/// How to read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reading {
    /// Close the connection once that many events have come whole.
    pub leave_after: Option<u64>,
    /// Read at most this many bytes at a time, and pause after each.
    pub slow: Option<(usize, Duration)>,
}

/// One connection, kept while both sides keep it.
#[derive(Debug)]
pub struct Client {
    addr: SocketAddr,
    host: String,
    timeout: Duration,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Client {
    pub fn new(addr: SocketAddr) -> Client {
        let timeout = Duration::from_secs(30);
        Client { addr, host: addr.to_string(), timeout, stream: None, buffer: Vec::new() }
    }

    /// The longest wait for one read.
    pub fn timeout(mut self, timeout: Duration) -> Client {
        self.timeout = timeout;
        self
    }

    /// Send and collect the body.
    pub fn send(&mut self, request: &Request) -> io::Result<Reply> {
        let mut body = Vec::new();
        let mut reply = self.exchange(request, None, |part| {
            let room = BODY_BYTES_MAX.saturating_sub(body.len());
            body.extend_from_slice(&part[..part.len().min(room)]);
            true
        })?;
        reply.body = body;
        Ok(reply)
    }

    /// Send and compare every byte with the synthetic provider's answer under `server` knobs.
    pub fn check(&mut self, request: &Request, server: Knobs) -> io::Result<Checked> {
        self.check_reading(request, server, Reading::default())
    }

    pub fn check_reading(
        &mut self,
        request: &Request,
        server: Knobs,
        reading: Reading,
    ) -> io::Result<Checked> {
        let answer = Arc::new(request.answer(server));
        let mut expect = Expect::new(answer.clone());
        let (mut mismatch, mut delays_ns) = (None, Vec::new());
        let reply = self.exchange(request, reading.slow, |part| {
            let now = crate::clock::stamp_ns();
            let fed = expect.feed(part, |stamp| delays_ns.extend(stamp.map(|s| now.saturating_sub(s))));
            mismatch = fed.err();
            mismatch.is_none() && reading.leave_after.is_none_or(|events| expect.events() < events)
        })?;
        if mismatch.is_none() && reply.status != answer.status && reply.status != 0 {
            mismatch = Some(Mismatch {
                at: 0,
                expected: format!("status {}", answer.status),
                received: format!("status {}", reply.status),
            });
        }
        if mismatch.is_none()
            && reply.ended == Ended::Complete
            && request.method != "HEAD"
            && !expect.complete()
        {
            let at = expect.bytes();
            mismatch = Some(Mismatch { at, expected: "more".into(), received: "a clean end".into() });
        }
        Ok(Checked { events: expect.events(), reply, answer, mismatch, delays_ns })
    }

    /// Give the kept connection up.
    pub fn close(&mut self) {
        self.stream = None;
        self.buffer.clear();
    }

    /// `sink` is handed the body as it comes and says whether to go on.
    fn exchange(
        &mut self,
        request: &Request,
        slow: Option<(usize, Duration)>,
        sink: impl FnMut(&[u8]) -> bool,
    ) -> io::Result<Reply> {
        let reused = self.stream.is_some();
        let stream = match self.stream.take() {
            Some(stream) => stream,
            None => TcpStream::connect_timeout(&self.addr, self.timeout)?,
        };
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        let buffer = std::mem::take(&mut self.buffer);
        let mut inbound =
            Inbound { stream, buffer, slow, method: &request.method, reply: Reply::none(reused), sink };
        // A server may answer and close before it has read everything: the answer is what counts.
        let written = (&inbound.stream).write_all(&request.wire(&self.host));
        inbound.read(Instant::now());
        let Inbound { stream, buffer, reply, .. } = inbound;
        if reply.status == 0 && reply.interim.is_empty() {
            written?;
        }
        let closes = reply.header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
        let framed = reply.header("content-length").is_some() || reply.header("transfer-encoding").is_some();
        let bodyless = request.method == "HEAD" || matches!(reply.status, 204 | 304);
        if reply.ended == Ended::Complete && !closes && (framed || bodyless) {
            (self.stream, self.buffer) = (Some(stream), buffer);
        }
        Ok(reply)
    }
}

impl Reply {
    fn none(reused: bool) -> Reply {
        Reply {
            status: 0,
            headers: Vec::new(),
            interim: Vec::new(),
            body: Vec::new(),
            body_bytes: 0,
            reads: 0,
            ended: Ended::Truncated,
            head_after: Duration::ZERO,
            first_after: Duration::ZERO,
            end_after: Duration::ZERO,
            reused,
        }
    }
}

/// One response being read.
struct Inbound<'a, F> {
    stream: TcpStream,
    buffer: Vec<u8>,
    slow: Option<(usize, Duration)>,
    method: &'a str,
    reply: Reply,
    sink: F,
}

impl<F: FnMut(&[u8]) -> bool> Inbound<'_, F> {
    fn read(&mut self, start: Instant) {
        let ended = match self.head(start) {
            Ok(head) => self.body(&head, start),
            Err(ended) => Err(ended),
        };
        self.reply.ended = ended.err().unwrap_or(Ended::Complete);
        self.reply.end_after = start.elapsed();
    }

    fn head(&mut self, start: Instant) -> Result<Head, Ended> {
        loop {
            if let Some((head, used)) = Head::parse(&self.buffer).map_err(Ended::Broken)? {
                self.buffer.drain(..used);
                if matches!(head.status(), 100..=199) && head.status() != 101 {
                    self.reply.interim.push(head.status());
                    continue;
                }
                self.reply.head_after = start.elapsed();
                (self.reply.status, self.reply.headers) = (head.status(), head.headers.clone());
                return Ok(head);
            }
            if self.fill()? == 0 {
                return Err(Ended::Truncated);
            }
        }
    }

    fn body(&mut self, head: &Head, start: Instant) -> Result<(), Ended> {
        let mut framing = head.response_body(self.method).map_err(Ended::Broken)?;
        loop {
            let (reply, sink, mut go_on) = (&mut self.reply, &mut self.sink, true);
            let before = reply.body_bytes;
            let fed = framing.feed(&self.buffer, |part| {
                if reply.body_bytes == 0 && !part.is_empty() {
                    reply.first_after = start.elapsed();
                }
                reply.body_bytes += part.len();
                go_on = go_on && sink(part);
            });
            self.reply.reads += usize::from(self.reply.body_bytes > before);
            let used = fed.map_err(Ended::Broken)?;
            self.buffer.drain(..used);
            if !go_on {
                return Err(Ended::Left);
            }
            if framing.done() {
                return Ok(());
            }
            if self.fill()? == 0 {
                let close_ends_it = framing == crate::http::Body::UntilClose;
                return if close_ends_it { Ok(()) } else { Err(Ended::Truncated) };
            }
        }
    }

    fn fill(&mut self) -> Result<usize, Ended> {
        let mut block = [0; 64 * 1024];
        let size = self.slow.map_or(block.len(), |(bytes, _)| bytes.clamp(1, block.len()));
        if let Some((_, pause)) = self.slow {
            thread::sleep(pause);
        }
        loop {
            match self.stream.read(&mut block[..size]) {
                Ok(n) => {
                    self.buffer.extend_from_slice(&block[..n]);
                    return Ok(n);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err(Ended::TimedOut);
                }
                Err(_) => return Err(Ended::Reset),
            }
        }
    }
}

#[cfg(test)]
mod tests;
