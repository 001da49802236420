//! One client connection: reads heads, yields exchanges, ends the connection the way that tells the client the truth.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::core::Core;
use super::exchange;
use super::fault::{Fault, Kind};
use super::io::{Deadline, Socket};
use crate::policy::identity::{Evidence, Principal, peer};
use crate::wire::h1::{HeadLimits, HeadScan, Request, parse_request};

/// Bytes a client may send ahead of the response it is waiting for; beyond it they wait in the kernel.
const AHEAD_BYTES_MAX: usize = 64 * 1024;
/// How long, and how much, is read and dropped after a refusal, so that the client reads it before the reset.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What becomes of the connection after an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Another request may follow.
    KeepAlive,
    /// The response is complete; the connection ends.
    Close,
    /// The response is complete but the request was not read to its end.
    Linger,
    /// The response was cut and its framing shows it.
    Cut,
    /// The response was cut and only a reset can show it.
    Reset,
}

/// A client connection.
pub struct Conn {
    pub(super) socket: Socket,
    pub(super) peer: SocketAddr,
    /// The same, as every record says it.
    pub(super) peer_text: String,
    pub(super) local: SocketAddr,
    /// Who is at the other end, judged once per connection.
    pub(super) principal: Option<Principal>,
    /// Bytes read and not yet used.
    pub(super) ahead: Vec<u8>,
    /// The one time limit of this connection: moved from wait to wait, which costs less than a timer for each.
    pub(super) limit: Deadline,
    number: u64,
    /// The client has ended its sending half.
    ended: bool,
}

/// Serve a connection until it ends.
pub(super) async fn serve(core: Rc<Core>, socket: Socket, peer: SocketAddr, number: u64) {
    let Ok(local) = socket.local_addr() else { return };
    let mut idle = core.limits().head_timeout;
    let mut conn = Conn {
        socket,
        peer,
        peer_text: peer.to_string(),
        local,
        principal: None,
        ahead: Vec::new(),
        number,
        limit: Deadline::new(idle),
        ended: false,
    };
    conn.principal = peer::judge(&evidence(&core, &conn));
    loop {
        let after = match conn.head(&core, idle).await {
            Ok(Some(request)) => exchange::serve(&core, &mut conn, request).await,
            Ok(None) => break,
            Err(fault) => exchange::refuse(&core, &mut conn, fault).await,
        };
        match after {
            After::KeepAlive if !core.is_draining() => idle = core.limits().keep_alive,
            After::KeepAlive | After::Close | After::Cut => break,
            After::Linger => return conn.linger(&core).await,
            After::Reset => return conn.socket.reset(),
        }
    }
    conn.socket.finish();
}

fn evidence(core: &Core, conn: &Conn) -> Evidence {
    let local = conn.peer.ip().to_canonical().is_loopback();
    let uid = if local { core.uid(conn.peer, conn.local) } else { None };
    Evidence { peer: Some(conn.peer), uid, login: uid.and_then(|uid| core.login(uid)) }
}

impl Conn {
    /// The next request head, or `None` at a proper end between requests.
    async fn head(&mut self, core: &Core, idle: Duration) -> Result<Option<Request>, Fault> {
        let limits = core.limits();
        let head_limits = HeadLimits { head_bytes_max: limits.head_bytes_max, ..HeadLimits::default() };
        let mut scan = HeadScan::default();
        self.limit.set_after(if self.ahead.is_empty() { idle } else { limits.head_timeout });
        loop {
            if let Some(end) = scan.end(&self.ahead, &head_limits)? {
                let rest = self.ahead.split_off(end);
                let head = std::mem::replace(&mut self.ahead, rest);
                return Ok(Some(parse_request(&head, &head_limits)?));
            }
            if self.ended {
                return self.end_of_input();
            }
            let begun = !self.ahead.is_empty();
            match self.wait_readable(core).await {
                Arrived::Something => {}
                Arrived::Late if begun => return Err(Fault::new(Kind::HeadTimeout)),
                Arrived::Late | Arrived::Drained => return Ok(None),
            }
            self.read_ahead(core);
            if !begun && !self.ahead.is_empty() {
                // The bound covers the whole head, from its first byte.
                self.limit.set_after(limits.head_timeout);
            }
        }
    }

    fn end_of_input(&self) -> Result<Option<Request>, Fault> {
        let blank = self.ahead.iter().all(|b| matches!(b, b'\r' | b'\n'));
        if blank { Ok(None) } else { Err(Fault::because(Kind::ClientGone, "closed within a request head")) }
    }

    async fn wait_readable(&mut self, core: &Core) -> Arrived {
        let between_requests = self.ahead.is_empty();
        poll_fn(|cx| {
            if self.socket.poll_readable(cx).is_ready() {
                return Poll::Ready(Arrived::Something);
            }
            if between_requests && core.poll_draining(self.number, cx) {
                return Poll::Ready(Arrived::Drained);
            }
            self.limit.poll(cx).map(|()| Arrived::Late)
        })
        .await
    }

    /// Take what has arrived into `ahead`; an end or an error of the connection marks it ended.
    fn read_ahead(&mut self, core: &Core) {
        let mut scratch = core.scratch();
        match self.socket.try_read(&mut scratch.block) {
            Ok(0) => self.ended = true,
            Ok(n) => self.ahead.extend_from_slice(&scratch.block[..n]),
            Err(why) if why.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.ended = true,
        }
    }

    /// Ready once the client has gone while a response is awaited or under way. What it sends ahead is kept, to a
    /// bound: early bytes are a next request and no farewell.
    pub(super) fn poll_gone(&mut self, core: &Core, cx: &mut Context<'_>) -> Poll<()> {
        while !self.ended && self.ahead.len() < AHEAD_BYTES_MAX {
            if self.socket.poll_readable(cx).is_pending() {
                return Poll::Pending;
            }
            self.read_ahead(core);
        }
        if self.ended { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Whether the core drains; if not, this connection is woken when it does.
    pub(super) fn poll_draining(&self, core: &Core, cx: &Context<'_>) -> bool {
        core.poll_draining(self.number, cx)
    }

    /// Send all of `bytes`, waiting for the client where it is slow.
    pub(super) async fn send(&mut self, bytes: &[u8], limit: Duration) -> Result<(), Fault> {
        let mut left = bytes;
        while !left.is_empty() {
            match self.socket.try_write(left) {
                Ok(n) => left = &left[n..],
                Err(why) if why.kind() == ErrorKind::WouldBlock => {
                    self.limit.set_after(limit);
                    let late = poll_fn(|cx| match self.socket.poll_writable(cx) {
                        Poll::Ready(_) => Poll::Ready(false),
                        Poll::Pending => self.limit.poll(cx).map(|()| true),
                    });
                    if late.await {
                        return Err(Fault::new(Kind::ClientStalled));
                    }
                }
                Err(why) => return Err(Fault::because(Kind::ClientGone, why)),
            }
        }
        Ok(())
    }

    /// Read and drop what the client is still sending, so that our answer is not lost to a reset.
    async fn linger(mut self, core: &Core) {
        self.socket.finish();
        self.limit.set_after(LINGER);
        let mut dropped = 0;
        while !self.ended && dropped < LINGER_BYTES_MAX {
            if !matches!(self.wait_readable(core).await, Arrived::Something) {
                break;
            }
            self.read_ahead(core);
            dropped += self.ahead.len();
            self.ahead.clear();
        }
    }
}

enum Arrived {
    Something,
    Late,
    Drained,
}
