//! One client connection: reads heads, yields exchanges, ends the connection the way that tells the client the truth.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::core::{Core, From};
use super::downstream::{self, Downstream};
use super::exchange;
use super::fault::{Fault, Kind};
use super::io::{Deadline, Socket, within};
use super::running::Cut;
use crate::base::clock::{self, Moment};
use crate::policy::identity::mtls::{self, Certified};
use crate::policy::identity::tailnet::Whois;
use crate::policy::identity::{Evidence, Principal, peer};
use crate::wire::h1::{HeadLimits, HeadScan, Request, parse_request};
use crate::wire::proxyv2::Proxied;

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
    pub(super) socket: Downstream,
    /// Number of the listener it came by.
    pub(super) listener: usize,
    /// The other end, as every record says it.
    pub(super) peer_text: String,
    /// This end's address; none on a unix socket.
    pub(super) local: Option<SocketAddr>,
    /// What it shows about its other end.
    pub(super) evidence: Evidence,
    /// The client's certificate, and the listener's TLS that has verified it.
    pub(super) certificate: Option<Certified>,
    tls: Option<Arc<rustls::ServerConfig>>,
    /// What the tailnet's daemon said of it, and how long that holds.
    whois: Option<(Moment, Whois)>,
    /// Who asks: on a listener of the peer for the whole connection, elsewhere for the request under way.
    pub(super) principal: Option<Principal>,
    /// Ends what runs by a key that was taken back; none before one was shown.
    cut: Option<Rc<Cut>>,
    /// Bytes read and not yet used.
    pub(super) ahead: Vec<u8>,
    /// The one time limit of this connection: moved from wait to wait, which costs less than a timer for each.
    pub(super) limit: Deadline,
    number: u64,
    /// The client has ended its sending half.
    ended: bool,
}

/// Serve a connection until it ends.
pub(super) async fn serve(core: Rc<Core>, socket: Socket, from: From, number: u64) {
    let mut idle = core.limits().head_timeout;
    let (local, tls) = (from.peer.and_then(|_| socket.local_addr().ok()), core.tls_at(from.listener));
    let Ok(socket) = Downstream::over(socket, tls.clone()) else { return };
    let mut conn = Conn {
        listener: from.listener,
        peer_text: from.peer.map_or_else(|| "unix".into(), |peer| peer.to_string()),
        local,
        socket,
        evidence: Evidence { peer: from.peer, ..Evidence::default() },
        certificate: None,
        tls,
        whois: None,
        principal: None,
        cut: None,
        ahead: Vec::new(),
        number,
        limit: Deadline::new(idle),
        ended: false,
    };
    match Box::pin(within(idle, conn.meet(&core))).await {
        Some(Ok(())) => {}
        Some(Err(fault)) if fault.kind != Kind::ClientGone => return exchange::note(&core, &conn, &fault),
        // Nothing was said, so there is nothing to tell of: a probe, most likely.
        None | Some(Err(_)) => return,
    }
    loop {
        if !core.is_of_the_peer(conn.listener) {
            conn.principal = None;
        }
        let after = match conn.head(&core, idle).await {
            Ok(Some(mut request)) => exchange::serve(&core, &mut conn, &mut request).await,
            Ok(None) => break,
            Err(fault) => exchange::refuse(&core, &mut conn, fault).await,
        };
        match after {
            After::KeepAlive if !core.is_draining() && conn.is_current(&core) => {
                idle = core.limits().keep_alive
            }
            After::KeepAlive | After::Close | After::Cut => break,
            After::Linger => return conn.linger(&core).await,
            After::Reset => return conn.socket.reset(),
        }
    }
    conn.finish(&core).await;
}

impl Conn {
    /// Whether the client speaks TLS with us.
    pub(super) fn is_secured(&self) -> bool {
        self.tls.is_some()
    }

    /// What comes before the first request: whom a balancer speaks for, TLS, and what the connection itself shows.
    async fn meet(&mut self, core: &Core) -> Result<(), Fault> {
        let direct = self.evidence.peer;
        let by_balancer = direct.is_some_and(|peer| core.is_balancer(self.listener, peer.ip()));
        if by_balancer {
            match downstream::proxied(self.socket.socket()).await? {
                Proxied::From(client) => {
                    self.evidence.peer = Some(client);
                    self.peer_text = client.to_string();
                }
                Proxied::Local => {}
                Proxied::Unknown => self.evidence.peer = None,
            }
        }
        self.socket.shake_hands().await?;
        self.certificate = self.socket.certificate().map(mtls::read);
        if !by_balancer {
            self.meet_peer(core);
        }
        Ok(())
    }

    /// What the kernel says of the other end, which is the client itself.
    fn meet_peer(&mut self, core: &Core) {
        let of_the_peer = core.is_of_the_peer(self.listener);
        self.evidence.here = self.evidence.peer.is_none_or(|peer| peer.ip().to_canonical().is_loopback());
        self.evidence.uid = match (self.evidence.peer, self.local) {
            (None, _) => self.socket.socket().peer_uid(),
            (Some(peer), Some(local)) if of_the_peer && self.evidence.here => core.uid(peer, local),
            _ => None,
        };
        if of_the_peer {
            self.evidence.login = self.evidence.uid.and_then(|uid| core.login(uid));
            self.principal = peer::judge(&self.evidence);
        }
    }

    /// Whether what TLS has verified is still what this listener would verify by.
    fn is_current(&self, core: &Core) -> bool {
        self.certificate.is_none() || core.is_tls_at(self.listener, self.tls.as_ref())
    }

    /// Let all go that was taken to be sent, then say that nothing follows.
    async fn finish(&mut self, core: &Core) {
        self.socket.say_end();
        if self.socket.is_behind() {
            self.limit.set_after(core.limits().body_idle);
            let (socket, limit) = (&mut self.socket, &mut self.limit);
            poll_fn(|cx| match socket.poll_flush(cx) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => limit.poll(cx),
            })
            .await;
        }
        self.socket.finish();
    }

    /// The tailnet daemon's word, as long as it holds.
    pub(super) fn whois(&self, now: Moment) -> Option<&Whois> {
        self.whois.as_ref().filter(|(until, _)| now < *until).map(|(_, whois)| whois)
    }

    pub(super) fn set_whois(&mut self, answer: (Moment, Whois)) {
        self.whois = Some(answer);
    }

    /// The request under way came by this key, or by none.
    pub(super) fn runs_by_key(&mut self, core: &Core, key: Option<String>) {
        if key.is_some() && self.cut.is_none() {
            self.cut = Some(core.running.enter(self.number));
        }
        if let Some(cut) = &self.cut {
            cut.runs_by(key);
        }
    }

    /// The principal, unless its key was taken back or has expired since: a connection that carries many exchanges
    /// behind one request asks for each of them.
    pub(super) fn still(&self, core: &Core) -> Option<&Principal> {
        let lost = self
            .cut
            .as_ref()
            .is_some_and(|cut| core.with_trust(|_, trust, _| cut.lost(&trust.keys, clock::wall())));
        self.principal.as_ref().filter(|_| !lost)
    }

    /// Whether what runs here must end; if not, the task is woken when it must.
    pub(super) fn poll_cut(&self, cx: &Context<'_>) -> bool {
        self.cut.as_ref().is_some_and(|cut| cut.poll(cx))
    }

    /// Whether what runs here must end because its key was taken back.
    pub(super) fn is_cut(&self) -> bool {
        self.cut.as_ref().is_some_and(|cut| cut.is_called())
    }

    /// The next request head, or `None` at a proper end between requests.
    async fn head(&mut self, core: &Core, idle: Duration) -> Result<Option<Request>, Fault> {
        let limits = core.limits();
        let head_limits = HeadLimits { head_bytes_max: limits.head_bytes_max, ..HeadLimits::default() };
        let mut scan = HeadScan::default();
        self.limit.set_after(if self.ahead.is_empty() { idle } else { limits.head_timeout });
        if !self.ahead.is_empty() {
            // What was sent ahead needs no read, so that one who sends many would be served before all others.
            self.socket.socket().counts_as_read();
            poll_fn(|cx| self.socket.socket().poll_turn(cx)).await;
        }
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
        if self.poll_cut(cx) {
            return Poll::Ready(());
        }
        let _ = self.socket.poll_flush(cx);
        while !self.ended && self.ahead.len() < AHEAD_BYTES_MAX {
            if self.socket.poll_readable(cx).is_pending() {
                return Poll::Pending;
            }
            self.read_ahead(core);
        }
        // At the bound nothing more is read, and only the end of the connection tells.
        if self.ended { Poll::Ready(()) } else { self.socket.socket().poll_ended(cx) }
    }

    /// Whether all that [`Conn::poll_gone`] and the limit were last asked to wake the task for is still to come. Whatever
    /// has come has taken its waker along, and must be asked for again.
    pub(super) fn is_undisturbed(&self) -> bool {
        !self.is_cut() && self.socket.socket().is_quiet() && !self.limit.is_due()
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
                        // Whoever reads nothing is cut all the same.
                        _ if self.poll_cut(cx) => Poll::Ready(true),
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
        self.finish(core).await;
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

#[cfg(test)]
mod tests {
    use std::future::Future;

    use super::*;

    fn bytes_of<T: Future>(_: impl FnOnce(Rc<Core>, Socket, From, u64) -> T) -> usize {
        size_of::<T>()
    }

    /// Every silent stream holds one, with a header of the runtime's in an allocation of 4 KiB: what is rare or large
    /// within is boxed where it is awaited, and nothing large is handed on by value.
    #[test]
    fn a_connections_task_is_small() {
        assert!(bytes_of(serve) <= 4000, "{} bytes", bytes_of(serve));
    }
}
