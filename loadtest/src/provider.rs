//! The synthetic provider for tests and `demo`: a thread per connection, std only, stopped on drop.
//!
//! It looks at no credentials but Bedrock's signatures and never keeps a request it was not told to keep.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::answer::{Answer, Claim};
use crate::canned::{Canned, Ending};
use crate::http::{Body, Head, hash};
use crate::knobs::{Fault, Knobs};
use crate::plan::{Plan, Step};
use crate::truth::{End, Served, Truth};
use crate::websocket;

const CONNECTIONS_MAX: usize = 4096;
const REQUEST_BYTES_MAX: usize = 256 << 20;
/// Deep enough for JSON at its depth bound in a debug build.
const STACK_BYTES: usize = 1 << 20;
/// No silence lasts longer than this.
const SILENCE_MAX: Duration = Duration::from_secs(600);

pub struct Provider {
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    accept: Option<JoinHandle<()>>,
}

struct Shared {
    knobs: Mutex<Knobs>,
    canned: Mutex<HashMap<String, Canned>>,
    truth: Mutex<Truth>,
    ended: Condvar,
    live: Mutex<HashMap<u64, TcpStream>>,
    accepted: AtomicU64,
    stop: AtomicBool,
}

impl Provider {
    /// On a free port of the loopback.
    ///
    /// # Panics
    /// If the loopback cannot be bound.
    pub fn start(knobs: Knobs) -> Provider {
        Provider::bind("127.0.0.1:0", knobs).expect("the loopback has a free port")
    }

    pub fn bind(addr: impl ToSocketAddrs, knobs: Knobs) -> io::Result<Provider> {
        let listener = TcpListener::bind(addr)?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            knobs: Mutex::new(knobs),
            canned: Mutex::default(),
            truth: Mutex::default(),
            ended: Condvar::new(),
            live: Mutex::default(),
            accepted: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let inner = shared.clone();
        let accept =
            thread::Builder::new().name("synthetic".into()).spawn(move || inner.accept(&listener))?;
        Ok(Provider { addr, shared, accept: Some(accept) })
    }

    /// `http://ADDR`
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub fn knobs(&self) -> Knobs {
        lock(&self.shared.knobs).clone()
    }

    /// For requests from now on.
    pub fn set(&self, knobs: Knobs) {
        *lock(&self.shared.knobs) = knobs;
    }

    /// Answer with exactly these bytes: `key` is a path (`/v1/messages`), the value of the request header `x-canned`,
    /// or `*` for everything. The header wins over the path, the path over `*`.
    pub fn can(&self, key: &str, canned: Canned) {
        lock(&self.shared.canned).insert(key.to_owned(), canned);
    }

    pub fn uncan(&self) {
        lock(&self.shared.canned).clear();
    }

    /// Every request served to its end, in the order they ended.
    pub fn truth(&self) -> Vec<Served> {
        lock(&self.shared.truth).entries.iter().cloned().collect()
    }

    /// The log once `count` requests have ended since the start, or what there is at the time limit.
    pub fn wait(&self, count: usize, limit: Duration) -> Vec<Served> {
        let truth = lock(&self.shared.truth);
        let waited = self.shared.ended.wait_timeout_while(truth, limit, |t| t.ended < count as u64);
        let truth = match waited {
            Ok((truth, _)) => truth,
            Err(poisoned) => poisoned.into_inner().0,
        };
        truth.entries.iter().cloned().collect()
    }

    /// Begun, ended: requests.
    pub fn requests(&self) -> (u64, u64) {
        let truth = lock(&self.shared.truth);
        (truth.begun, truth.ended)
    }

    /// Accepted so far, open now: connections.
    pub fn connections(&self) -> (u64, usize) {
        (self.shared.accepted.load(Ordering::Relaxed), lock(&self.shared.live).len())
    }

    /// Cut every open connection, idle or not; the listener stays.
    pub fn cut(&self) {
        for stream in lock(&self.shared.live).values() {
            // A peer that has gone already is cut already.
            _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.cut();
        // Wakes the accept loop; if even this fails the thread ends with the process.
        if TcpStream::connect_timeout(&self.addr, Duration::from_secs(1)).is_ok()
            && let Some(accept) = self.accept.take()
        {
            _ = accept.join();
        }
        self.cut();
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            // Out of descriptors: the peer sees a refused connection, the next one may do better.
            let Ok(stream) = stream else {
                thread::sleep(Duration::from_millis(10));
                continue;
            };
            if lock(&self.live).len() < CONNECTIONS_MAX {
                self.admit(stream);
            }
        }
    }

    fn admit(self: &Arc<Self>, stream: TcpStream) {
        let number = self.accepted.fetch_add(1, Ordering::Relaxed) + 1;
        let Ok(twin) = stream.try_clone() else { return };
        lock(&self.live).insert(number, twin);
        let shared = self.clone();
        let thread = thread::Builder::new().name("synthetic".into()).stack_size(STACK_BYTES);
        let spawned = thread.spawn(move || {
            // A peer that breaks off mid-request leaves nothing to account for.
            _ = Connection { shared: &shared, number, wire: Wire::new(stream) }.serve();
            lock(&shared.live).remove(&number);
        });
        if spawned.is_err() {
            lock(&self.live).remove(&number);
        }
    }
}

struct Connection<'a> {
    shared: &'a Shared,
    number: u64,
    wire: Wire,
}

/// How serving one answer ended.
struct Outcome {
    end: End,
    body_bytes: u64,
    events: u64,
    close: bool,
}

impl Connection<'_> {
    fn serve(mut self) -> io::Result<()> {
        _ = self.wire.stream.set_nodelay(true);
        while let Some((head, body)) = self.wire.request()? {
            if websocket::is_upgrade(&head) && self.canned(&head).is_none() {
                self.wire.take_held();
                let early = std::mem::take(&mut self.wire.buffer);
                return websocket::upgraded(self.wire.stream.try_clone()?, &head, early);
            }
            let start = Instant::now();
            let number = lock(&self.shared.truth).begin();
            let knobs = lock(&self.shared.knobs).of_request(|name| head.header(name));
            let keep = knobs.keep;
            let (status, claim, outcome) = match self.canned(&head) {
                Some(canned) => {
                    (canned.status(), Claim::default(), self.serve_canned(&canned, head.method() == "HEAD"))
                }
                None => {
                    let answer = Arc::new(Answer::to(&head, &body, &knobs));
                    let plan =
                        Plan::new(answer.clone(), knobs, number, head.method() == "HEAD", head.closes());
                    (answer.status, answer.claim.clone(), self.serve_plan(plan, start))
                }
            };
            let close = outcome.close || head.closes();
            let [method, target, _] = head.first;
            let served = Served {
                number,
                connection: self.number,
                method,
                target,
                headers: head.headers,
                request_bytes: body.len() as u64,
                request_hash: hash(&body),
                request_body: if keep { body } else { Vec::new() },
                status,
                claim,
                body_bytes: outcome.body_bytes,
                events: outcome.events,
                end: outcome.end,
            };
            lock(&self.shared.truth).end(served);
            self.shared.ended.notify_all();
            if close {
                break;
            }
        }
        Ok(())
    }

    fn canned(&self, head: &Head) -> Option<Canned> {
        let canned = lock(&self.shared.canned);
        let path = head.target().split('?').next().unwrap_or("");
        let named = head.header("x-canned").and_then(|name| canned.get(name));
        named.or_else(|| canned.get(path)).or_else(|| canned.get("*")).cloned()
    }

    fn serve_canned(&mut self, canned: &Canned, head_only: bool) -> Outcome {
        let mut wire = canned.wire();
        if head_only && let Some(end) = crate::http::find(&wire, b"\r\n\r\n") {
            wire.truncate(end + 4);
        }
        let (mut end, mut close) = (End::Complete, canned.ending() != Ending::Keep);
        let mut written = 0;
        for piece in canned.pieces(&wire) {
            if self.wire.write(piece).is_err() {
                (end, close) = (self.gone(), true);
                break;
            }
            written += piece.len() as u64;
            if !canned.between().is_zero() {
                thread::sleep(canned.between());
            }
        }
        let faulty = match canned.ending() {
            Ending::Reset => Some("reset"),
            Ending::Stall => Some("stall"),
            _ if !canned.whole() => Some("truncate"),
            _ => None,
        };
        if end == End::Complete {
            end = faulty.map_or(end, End::Fault);
            self.finish(canned.ending());
        }
        // Of an answer that did not go out whole only the wire is known: what stood behind the head.
        let head = crate::http::find(&wire, b"\r\n\r\n").map_or(0, |at| at as u64 + 4);
        let whole = canned.whole() && written == wire.len() as u64 && !head_only;
        let body_bytes = if whole { canned.body_bytes() } else { written.saturating_sub(head) };
        Outcome { end, body_bytes, events: 0, close }
    }

    fn finish(&mut self, ending: Ending) {
        match ending {
            Ending::Keep => self.wire.take_held(),
            Ending::Close => self.wire.close(),
            Ending::Reset => {}
            Ending::Stall => _ = self.wire.peer_gone_within(SILENCE_MAX),
        }
    }

    fn serve_plan(&mut self, mut plan: Plan, start: Instant) -> Outcome {
        let mut out = Vec::with_capacity(4096);
        let fault = plan.knobs().fault;
        self.wire.will_reset = matches!(fault, Some(Fault::Reset(_)));
        let named = fault.map_or(End::Complete, |f| End::Fault(f.name()));
        let (mut end, mut close) = (named, true);
        loop {
            out.clear();
            match plan.step(start.elapsed(), &mut out) {
                Step::Write => {
                    if self.wire.write(&out).is_err() {
                        end = self.gone();
                        break;
                    }
                }
                Step::At(due) => {
                    if self.wire.peer_gone_within(due.saturating_sub(start.elapsed())) {
                        end = self.gone();
                        break;
                    }
                }
                // Held streams are for the rig; a thread can only wait.
                Step::Silent | Step::Held => {
                    _ = self.wire.peer_gone_within(SILENCE_MAX);
                    break;
                }
                Step::Reset => break,
                Step::Done { close: false } => {
                    self.wire.take_held();
                    close = false;
                    break;
                }
                Step::Done { close: true } => {
                    self.wire.close();
                    break;
                }
            }
        }
        Outcome { end, body_bytes: plan.body_bytes(), events: plan.events(), close }
    }

    fn gone(&self) -> End {
        if self.shared.stop.load(Ordering::Relaxed) { End::Stopped } else { End::ClientGone }
    }
}

/// A socket that always leaves one received byte in the kernel while a request is being answered: closing a socket with
/// unread bytes makes Linux send RST, which is the one way to a true reset that std offers. A clean end takes the
/// byte first.
struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    held: bool,
    /// The answer ends in a reset: the byte stays, which makes the peer's leaving invisible.
    will_reset: bool,
}

impl Wire {
    fn new(stream: TcpStream) -> Wire {
        Wire { stream, buffer: Vec::new(), held: false, will_reset: false }
    }

    /// The next whole request, or `None` at the end of the connection.
    fn request(&mut self) -> io::Result<Option<(Head, Vec<u8>)>> {
        let bad = |why: &str| io::Error::new(ErrorKind::InvalidData, why.to_owned());
        let (head, used) = loop {
            match Head::parse(&self.buffer).map_err(bad)? {
                Some(parsed) => break parsed,
                None if self.fill()? => {}
                None => return Ok(None),
            }
        };
        self.buffer.drain(..used);
        if head.header("expect").is_some_and(|v| v.eq_ignore_ascii_case("100-continue")) {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let mut framing = head.request_body().map_err(bad)?;
        let mut body = Vec::new();
        loop {
            let used = framing.feed(&self.buffer, |part| body.extend_from_slice(part)).map_err(bad)?;
            self.buffer.drain(..used);
            if framing.done() || matches!(framing, Body::UntilClose) {
                return Ok(Some((head, body)));
            }
            if body.len() > REQUEST_BYTES_MAX {
                return Err(bad("request body too large"));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Read some more, leaving the last byte of it in the kernel. False at the end.
    fn fill(&mut self) -> io::Result<bool> {
        self.take_held();
        self.stream.set_read_timeout(None)?;
        let mut block = [0; 64 * 1024];
        let seen = self.stream.peek(&mut block)?;
        if seen == 0 {
            return Ok(false);
        }
        self.buffer.extend_from_slice(&block[..seen]);
        self.stream.read_exact(&mut block[..seen - 1])?;
        self.held = true;
        Ok(true)
    }

    /// Drop the byte left in the kernel; it is in the buffer already.
    fn take_held(&mut self) {
        if std::mem::take(&mut self.held) {
            // It was seen by the peek, so it is there; a reset in between shows at the next read.
            _ = self.stream.read_exact(&mut [0]);
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// End the connection cleanly: FIN, then wait a moment for the peer's, so that bytes of the peer still under way
    /// do not turn the end into a reset.
    fn close(&mut self) {
        self.take_held();
        _ = self.stream.shutdown(Shutdown::Write);
        _ = self.stream.set_read_timeout(Some(Duration::from_millis(100)));
        let mut block = [0; 4096];
        while matches!(self.stream.read(&mut block), Ok(n) if n > 0) {}
    }

    /// Wait, and say whether the peer went meanwhile.
    fn peer_gone_within(&mut self, wait: Duration) -> bool {
        if self.will_reset {
            thread::sleep(wait);
            return false;
        }
        self.take_held();
        let due = Instant::now() + wait;
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            if self.stream.set_read_timeout(Some(left.max(Duration::from_micros(100)))).is_err() {
                return true;
            }
            match self.stream.peek(&mut [0; 1]) {
                Ok(0) => return true,
                // The next request is already here: its sender is.
                Ok(_) => {
                    thread::sleep(left);
                    return false;
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return true,
            }
        }
    }
}

/// A panic elsewhere does not take the log with it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
