//! The provider on the event loop: the same answers and plans as the threaded one, five thousand at a time.

use std::collections::HashMap;
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::{Flags, Owner, Poll, Timers, Token};
use loadtest::answer::Answer;
use loadtest::clock::stamp_ns;
use loadtest::http::{Body, Head, hash};
use loadtest::knobs::Knobs;
use loadtest::plan::{Plan, Step};
use loadtest::truth::{End, Served};
use loadtest::websocket;

const REQUEST_BYTES_MAX: usize = 256 << 20;
/// Writes to one connection before the others have their turn. Where nothing is paced the subject must be the one that
/// cannot follow, or its figure is the provider's; so the provider is let run a little.
const WRITES_IN_A_ROW: usize = 8;
/// Answers kept that do not depend on the body.
const BLIND_ANSWERS_MAX: usize = 64;

pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    listener: TcpListener,
    knobs: Knobs,
    conns: Vec<Place>,
    free: Vec<usize>,
    pub(super) timers: Timers,
    block: Vec<u8>,
    spare: Vec<Vec<u8>>,
    blind: HashMap<(String, String, bool), Arc<Answer>>,
    held: HashMap<u64, Token>,
    truth: Option<BufWriter<std::fs::File>>,
    /// Requests begun, ended; of these left by the peer; open connections.
    pub(crate) begun: u64,
    pub(crate) ended: u64,
    pub(crate) gone: u64,
    pub(crate) open: usize,
    /// Events of the exchanges that have ended.
    pub(crate) events: u64,
}

/// Where a connection may stand; its generation outlives it.
#[derive(Default)]
struct Place {
    generation: u32,
    conn: Option<Box<Conn>>,
}

struct Conn {
    number: u64,
    stream: TcpStream,
    inbox: Vec<u8>,
    /// A request of which the head has come.
    request: Option<(Head, Body, Vec<u8>)>,
    serving: Option<Serving>,
    out: Vec<u8>,
    sent: usize,
    waits_to_write: bool,
}

struct Serving {
    plan: Plan,
    start_ns: u64,
    /// Only where a truth file is written.
    served: Option<Served>,
    id: Option<u64>,
    close: bool,
}

/// What is to become of a connection after it was looked at.
#[derive(PartialEq)]
enum Fate {
    Stays,
    Closes,
}

fn is_upgrade(conn: &Conn) -> bool {
    conn.request.as_ref().is_some_and(|(head, ..)| websocket::is_upgrade(head))
}

/// A WebSocket leaves the loop for a thread of its own: there are few, and they are not what is measured.
fn hand_over(poll: &Poll, conn: &mut Conn) -> io::Result<()> {
    poll.remove(&conn.stream)?;
    let stream = conn.stream.try_clone()?;
    stream.set_nonblocking(false)?;
    let early = std::mem::take(&mut conn.inbox);
    if let Some((head, ..)) = conn.request.take() {
        std::thread::spawn(move || websocket::upgraded(stream, &head, early));
    }
    Ok(())
}

impl Server {
    pub(crate) fn bind(addr: &str, knobs: Knobs, truth: Option<std::fs::File>) -> io::Result<Server> {
        let listener = TcpListener::bind(addr)?;
        // std's backlog is too short for a ramp of thousands.
        rustix::net::listen(&listener, 4096)?;
        listener.set_nonblocking(true)?;
        Ok(Server {
            addr: listener.local_addr()?,
            listener,
            knobs,
            conns: Vec::new(),
            free: Vec::new(),
            timers: Timers::default(),
            block: vec![0; 256 * 1024],
            spare: Vec::new(),
            blind: HashMap::new(),
            held: HashMap::new(),
            truth: truth.map(BufWriter::new),
            begun: 0,
            ended: 0,
            gone: 0,
            open: 0,
            events: 0,
        })
    }

    pub(super) fn open(&mut self, poll: &Poll) -> io::Result<()> {
        poll.add(&self.listener, Token::new(Owner::Listener, 0, 0), Flags::IN)
    }

    pub(super) fn accept(&mut self, poll: &Poll) {
        // An error other than "none left" passes by itself or shows on the client's side.
        while let Ok((stream, _)) = self.listener.accept() {
            if stream.set_nonblocking(true).is_err() || stream.set_nodelay(true).is_err() {
                continue;
            }
            let index = self.free.pop().unwrap_or_else(|| {
                self.conns.push(Place::default());
                self.conns.len() - 1
            });
            let place = &mut self.conns[index];
            let token = Token::new(Owner::Server, place.generation, index);
            if poll.add(&stream, token, Flags::IN).is_err() {
                self.free.push(index);
                continue;
            }
            self.open += 1;
            place.conn = Some(Box::new(Conn {
                number: u64::from(place.generation) << 32 | index as u64,
                stream,
                inbox: Vec::new(),
                request: None,
                serving: None,
                out: Vec::new(),
                sent: 0,
                waits_to_write: false,
            }));
        }
    }

    pub(super) fn ready(&mut self, poll: &Poll, token: Token, flags: Flags) {
        self.with(poll, token, |server, poll, conn| {
            if flags.intersects(Flags::IN | Flags::HUP | Flags::ERR) && server.read(conn) == Fate::Closes {
                return Fate::Closes;
            }
            server.advance(poll, token, conn)
        });
    }

    pub(super) fn fire(&mut self, poll: &Poll) {
        let now = stamp_ns();
        // Each pass sees what was due when it began: a stream that is always due must not hold the loop.
        while let Some(token) = self.timers.due(now) {
            self.with(poll, token, |server, poll, conn| server.advance(poll, token, conn));
        }
    }

    /// Let one more event of the `manual` stream with that `x-synthetic-id` go.
    pub(super) fn release(&mut self, poll: &Poll, id: u64) {
        let Some(&token) = self.held.get(&id) else { return };
        self.with(poll, token, |server, poll, conn| {
            if let Some(serving) = &mut conn.serving {
                serving.plan.release();
            }
            server.advance(poll, token, conn)
        });
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.truth.as_mut().map_or(Ok(()), Write::flush)
    }

    fn with(&mut self, poll: &Poll, token: Token, act: impl FnOnce(&mut Server, &Poll, &mut Conn) -> Fate) {
        let Some(place) = self.conns.get_mut(token.index()) else { return };
        if place.generation != token.generation() {
            return;
        }
        let Some(mut conn) = place.conn.take() else { return };
        if act(self, poll, &mut conn) == Fate::Stays {
            self.conns[token.index()].conn = Some(conn);
            return;
        }
        if let Some(serving) = conn.serving.take() {
            self.gone += 1;
            self.end(serving, End::ClientGone);
        }
        let place = &mut self.conns[token.index()];
        place.generation = (place.generation + 1) & 0xff_ffff;
        self.free.push(token.index());
        self.open -= 1;
    }

    fn read(&mut self, conn: &mut Conn) -> Fate {
        match conn.stream.read(&mut self.block) {
            Ok(0) => Fate::Closes,
            Ok(n) if conn.inbox.is_empty() && conn.request.is_some() => {
                let used = self.take_body(conn, n);
                conn.inbox.extend_from_slice(&self.block[used..n]);
                Fate::Stays
            }
            Ok(n) if conn.inbox.len() + n <= REQUEST_BYTES_MAX => {
                conn.inbox.extend_from_slice(&self.block[..n]);
                Fate::Stays
            }
            Ok(_) => Fate::Closes,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Fate::Stays,
            Err(_) => Fate::Closes,
        }
    }

    /// The common case of a large body: straight from the block, without a stay in the inbox.
    fn take_body(&self, conn: &mut Conn, n: usize) -> usize {
        let Some((_, framing, body)) = &mut conn.request else { return 0 };
        // A broken framing stays in the inbox and is found there.
        framing.feed(&self.block[..n], |part| body.extend_from_slice(part)).unwrap_or(0)
    }

    fn advance(&mut self, poll: &Poll, token: Token, conn: &mut Conn) -> Fate {
        loop {
            match self.send(poll, token, conn) {
                Ok(true) => {}
                Ok(false) => return Fate::Stays,
                Err(_) => return Fate::Closes,
            }
            if conn.serving.is_none() {
                match self.take_request(conn) {
                    Ok(true) if is_upgrade(conn) => {
                        // A broken-off hand-over shows on the client's side.
                        _ = hand_over(poll, conn);
                        return Fate::Closes;
                    }
                    Ok(true) => self.begin(token, conn),
                    Ok(false) => return Fate::Stays,
                    Err(_) => return Fate::Closes,
                }
            }
            if let Some(fate) = self.serve(poll, token, conn) {
                return fate;
            }
        }
    }

    /// True when nothing is left to write.
    fn send(&self, poll: &Poll, token: Token, conn: &mut Conn) -> io::Result<bool> {
        while conn.sent < conn.out.len() {
            match (&conn.stream).write(&conn.out[conn.sent..]) {
                Ok(n) => conn.sent += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    if !conn.waits_to_write {
                        conn.waits_to_write = true;
                        poll.change(&conn.stream, token, Flags::IN | Flags::OUT)?;
                    }
                    return Ok(false);
                }
                Err(e) => return Err(e),
            }
        }
        conn.out.clear();
        conn.sent = 0;
        if conn.waits_to_write {
            conn.waits_to_write = false;
            poll.change(&conn.stream, token, Flags::IN)?;
        }
        Ok(true)
    }

    /// True when a whole request stands in `conn.request`.
    fn take_request(&mut self, conn: &mut Conn) -> Result<bool, &'static str> {
        if conn.request.is_none() {
            let Some((head, used)) = Head::parse(&conn.inbox)? else { return Ok(false) };
            conn.inbox.drain(..used);
            if head.header("expect").is_some() {
                // A short write is impossible for a line on an idle socket; if it fails so does the next.
                _ = (&conn.stream).write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            let framing = match head.request_body()? {
                Body::UntilClose => Body::Length(0),
                framing => framing,
            };
            conn.request = Some((head, framing, self.spare.pop().unwrap_or_default()));
        }
        let Some((_, framing, body)) = &mut conn.request else { return Ok(false) };
        let used = framing.feed(&conn.inbox, |part| body.extend_from_slice(part))?;
        conn.inbox.drain(..used);
        if conn.inbox.is_empty() {
            conn.inbox = Vec::new();
        }
        if body.len() > REQUEST_BYTES_MAX {
            return Err("request body too large");
        }
        Ok(framing.done())
    }

    fn begin(&mut self, token: Token, conn: &mut Conn) {
        let Some((head, _, mut body)) = conn.request.take() else { return };
        self.begun += 1;
        let own = head.header("x-synthetic");
        let knobs = self.knobs.of_request(|name| head.header(name));
        let answer = self.answer(&head, own.unwrap_or(""), &body, &knobs);
        let id = head.header("x-synthetic-id").and_then(|id| id.parse().ok());
        if let (true, Some(id)) = (knobs.manual, id) {
            self.held.insert(id, token);
        }
        let close = head.closes();
        let served = self.truth.is_some().then(|| Served {
            number: self.begun,
            connection: conn.number,
            method: head.method().to_owned(),
            target: head.target().to_owned(),
            request_bytes: body.len() as u64,
            request_hash: hash(&body),
            request_body: Vec::new(),
            status: answer.status,
            claim: answer.claim.clone(),
            body_bytes: 0,
            events: 0,
            end: End::Complete,
            headers: head.headers.clone(),
        });
        body.clear();
        if self.spare.len() < 16 {
            self.spare.push(body);
        }
        let plan = Plan::new(answer, knobs, self.begun, head.method() == "HEAD", close);
        conn.serving = Some(Serving { plan, start_ns: stamp_ns(), served, id, close });
    }

    fn answer(&mut self, head: &Head, own: &str, body: &[u8], knobs: &Knobs) -> Arc<Answer> {
        let fresh = || Arc::new(Answer::to(head, body, knobs));
        if !knobs.blind || self.blind.len() >= BLIND_ANSWERS_MAX {
            return fresh();
        }
        let key = (head.target().to_owned(), own.to_owned(), knobs.gzip);
        self.blind.entry(key).or_insert_with(fresh).clone()
    }

    /// `None` to look at the connection again at once.
    fn serve(&mut self, poll: &Poll, token: Token, conn: &mut Conn) -> Option<Fate> {
        let mut writes = 0;
        loop {
            let serving = conn.serving.as_mut()?;
            let now = stamp_ns();
            let elapsed = Duration::from_nanos(now - serving.start_ns);
            match serving.plan.step(elapsed, &mut conn.out) {
                Step::Write => {
                    match self.send(poll, token, conn) {
                        Ok(true) => {}
                        Ok(false) => return Some(Fate::Stays),
                        Err(_) => return Some(Fate::Closes),
                    }
                    writes += 1;
                    if writes == WRITES_IN_A_ROW {
                        self.timers.set(now, token);
                        return Some(Fate::Stays);
                    }
                }
                Step::At(due) => {
                    self.timers.set(serving.start_ns + due.as_nanos() as u64, token);
                    return Some(Fate::Stays);
                }
                Step::Held | Step::Silent => return Some(Fate::Stays),
                end => return self.finish(conn, end),
            }
        }
    }

    fn finish(&mut self, conn: &mut Conn, step: Step) -> Option<Fate> {
        let serving = conn.serving.take()?;
        let fault = serving.plan.knobs().fault;
        let close = serving.close || step != (Step::Done { close: false });
        self.end(serving, fault.map_or(End::Complete, |f| End::Fault(f.name())));
        if step == Step::Reset {
            // Closing with a linger of zero sends RST.
            _ = rustix::net::sockopt::set_socket_linger(&conn.stream, Some(Duration::ZERO));
        } else if close {
            _ = conn.stream.shutdown(Shutdown::Write);
        }
        close.then_some(Fate::Closes)
    }

    fn end(&mut self, serving: Serving, end: End) {
        self.ended += 1;
        self.events += serving.plan.events();
        if let Some(id) = serving.id {
            self.held.remove(&id);
        }
        let (Some(truth), Some(mut served)) = (&mut self.truth, serving.served) else { return };
        (served.end, served.events, served.body_bytes) =
            (end, serving.plan.events(), serving.plan.body_bytes());
        if let Err(error) = writeln!(truth, "{}", served.json()) {
            eprintln!("loadtest: the truth log cannot be written, it ends here: {error}");
            self.truth = None;
        }
    }
}
