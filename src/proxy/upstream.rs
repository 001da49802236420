//! The way to a provider: pool, connect, lease.
//!
//! ```text
//!            lease                    give_back (clean end, nothing left over)
//!   Pool ─────────────▶ Lease ───────────────────────────────────▶ Pool
//!     │ quiet? else drop   │ anything else: dropped, hence closed
//!     └── none ──▶ connect ┘
//! ```

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use foldhash::HashMap;

use super::core::Core;
use super::fault::{Fault, Kind};
use super::io::{Socket, sleep, within};
use super::transport::Transport;
use super::tunnel;
use crate::base::clock::{self, Moment};
use crate::base::stats::Count;
use crate::policy::dial::{self, Closed};
use crate::policy::snapshot::{Origin, Provider, Proxy};

/// Idle connections kept per origin and core, and how long. Providers close after 60 to 100 s; ours go first.
const IDLE_MAX: usize = 256;
const IDLE_KEPT: Duration = Duration::from_secs(50);
/// Head start of one address over the next (RFC 8305 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Idle connections of one core, by origin. Newest first out, so that the surplus ages and is swept.
#[derive(Default)]
pub(super) struct Pool(RefCell<HashMap<Way, Vec<Idle>>>);

struct Idle {
    transport: Transport,
    since: Moment,
    /// Turn of the core in which it was put here.
    turn: u32,
}

impl Idle {
    /// Whether nothing has come that would be taken for the answer to the next request. Within the turn in which it was
    /// put here nobody has looked, so the kernel is asked.
    fn is_good(&mut self) -> bool {
        let seen = self.turn != self.transport.turn();
        let quiet = if seen { self.transport.is_quiet() } else { self.transport.is_silent() };
        quiet && clock::now().since(self.since) < IDLE_KEPT
    }
}

impl Pool {
    fn take(&self, way: &Way, core: &Core) -> Option<Transport> {
        let mut pool = self.0.borrow_mut();
        let idle = pool.get_mut(way)?;
        while let Some(mut found) = idle.pop() {
            if found.is_good() {
                return Some(found.transport);
            }
            core.stats.add(Count::UpstreamStale, 1);
        }
        None
    }

    fn put(&self, way: Way, mut transport: Transport) {
        if !transport.is_quiet() {
            return;
        }
        let mut pool = self.0.borrow_mut();
        let idle = pool.entry(way).or_default();
        if idle.len() < IDLE_MAX {
            let turn = transport.turn();
            idle.push(Idle { transport, since: clock::now(), turn });
        }
    }

    /// Close what has been idle for too long; called now and then by the core.
    pub(super) fn sweep(&self, now: Moment) {
        let mut pool = self.0.borrow_mut();
        for idle in pool.values_mut() {
            idle.retain(|one| now.since(one.since) < IDLE_KEPT);
        }
        pool.retain(|_, idle| !idle.is_empty());
    }
}

/// A borrowed upstream connection. Dropped, it closes: which cancels a generation and saves money.
pub(super) struct Lease {
    pub(super) transport: Transport,
    way: Way,
    /// Whether it came from the pool, and so may have died unnoticed.
    pub(super) reused: bool,
}

impl Lease {
    /// Return a connection whose last response ended cleanly.
    pub(super) fn give_back(self, core: &Core) {
        core.pool.put(self.way, self.transport);
    }
}

/// Where a connection leads, and through what: connections that differ in either are never taken for each other.
type Way = (Origin, Option<Proxy>);

/// A connection to a provider: an idle one that is still quiet, or a new one.
pub(super) async fn lease(core: &Core, provider: &Provider, limit: Duration) -> Result<Lease, Fault> {
    let way = (provider.origin.clone(), provider.proxy.clone());
    if let Some(transport) = core.pool.take(&way, core) {
        core.stats.add(Count::UpstreamReused, 1);
        return Ok(Lease { transport, way, reused: true });
    }
    // Boxed: look-up, race and handshake are large, and most exchanges need none of them.
    Box::pin(connect(core, provider, limit)).await
}

/// A new connection, whatever the pool holds.
pub(super) async fn connect(core: &Core, provider: &Provider, limit: Duration) -> Result<Lease, Fault> {
    let (origin, proxy) = (&provider.origin, &provider.proxy);
    let attempt = async {
        let next = proxy.as_ref().map_or(origin, |proxy| &proxy.origin);
        let found = core.names.resolve(&core.asks, next).await?;
        let addresses = open(core, next, found, proxy.is_some())?;
        let mut socket = race(&addresses).await.map_err(no_connection)?;
        if let Some(proxy) = proxy {
            tunnel::open(&mut socket, proxy, origin).await?;
        }
        Transport::open(socket, origin, &core.tls).await
    };
    let transport = match within(limit, attempt).await {
        Some(done) => done?,
        None => return Err(Fault::because(Kind::Connect, format!("no connection within {limit:?}"))),
    };
    core.stats.add(Count::UpstreamConnects, 1);
    Ok(Lease { transport, way: (origin.clone(), proxy.clone()), reused: false })
}

/// Those of a name's addresses that may be connected to. Judged at every connect, since names change what they mean.
/// A proxy is where the operator has put it; beyond it, it is the proxy that resolves and judges.
fn open(
    core: &Core,
    origin: &Origin,
    found: Vec<SocketAddr>,
    is_proxy: bool,
) -> Result<Vec<SocketAddr>, Fault> {
    let snapshot = core.snapshot();
    let mut closed = None;
    let mut judged =
        |address: &SocketAddr| match dial::judge(address.ip(), &origin.host, &snapshot.private_networks) {
            Ok(()) => true,
            Err(Closed::Private(_)) if is_proxy => true,
            Err(why) => {
                closed = Some(why);
                false
            }
        };
    let open: Vec<_> = found.into_iter().filter(|address| judged(address)).collect();
    match (open.is_empty(), closed) {
        (true, Some(why)) => Err(Fault::because(Kind::ClosedAddress, format!("{}: {why}", origin.host))),
        _ => Ok(open),
    }
}

type Attempt = Pin<Box<dyn Future<Output = (SocketAddr, io::Result<Socket>)>>>;

/// Happy eyeballs (RFC 8305): addresses in turn, the next one after a failure or a head start; the first that
/// connects wins and the others are dropped.
async fn race(addresses: &[SocketAddr]) -> Result<Socket, Failures> {
    let mut waiting = addresses.iter().copied();
    let mut running: Vec<Attempt> = Vec::new();
    let mut errors = Vec::new();
    while let Some(next) = waiting.next() {
        running.push(Box::pin(async move { (next, Socket::connect(next).await) }));
        let alone = waiting.len() == 0;
        match first(&mut running, &mut errors, alone).await {
            Some(socket) => return Ok(socket),
            None if alone => break,
            None => {}
        }
    }
    Err(errors)
}

/// What became of each address.
type Failures = Vec<(SocketAddr, io::Error)>;

/// Without a descriptor or a port of ours to spare nobody was asked, so it is no fault of the provider's.
fn no_connection(failures: Failures) -> Fault {
    let ours = |(_, why): &(SocketAddr, io::Error)| {
        use rustix::io::Errno;
        let code = Errno::from_io_error(why);
        matches!(code, Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::ADDRNOTAVAIL))
    };
    let kind = if failures.iter().any(ours) { Kind::Busy } else { Kind::Connect };
    let told: Vec<String> = failures.iter().map(|(address, why)| format!("{address}: {why}")).collect();
    Fault::because(kind, told.join("; "))
}

/// The first attempt to succeed; `None` when all have failed, or after the head start unless this is the last round.
async fn first(running: &mut Vec<Attempt>, errors: &mut Failures, last: bool) -> Option<Socket> {
    let mut head_start = Box::pin(sleep(HEAD_START));
    poll_fn(|cx| {
        let mut at = 0;
        while at < running.len() {
            match running[at].as_mut().poll(cx) {
                Poll::Pending => at += 1,
                Poll::Ready((_, Ok(socket))) => return Poll::Ready(Some(socket)),
                Poll::Ready((address, Err(why))) => {
                    errors.push((address, why));
                    drop(running.swap_remove(at));
                    if !last {
                        return Poll::Ready(None);
                    }
                }
            }
        }
        if running.is_empty() {
            return Poll::Ready(None);
        }
        if last { Poll::Pending } else { head_start.as_mut().poll(cx).map(|()| None) }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::proxy::io::{Driver, run};

    #[test]
    fn what_comes_in_the_turn_of_the_answer_is_no_answer_to_the_next_request() {
        let seen = run(Driver::Epoll, async {
            let (ours, mut theirs) = UnixStream::pair().expect("a pair");
            let transport = Transport::Plain(Socket::adopt(ours.into()).expect("a socket"));
            let turn = transport.turn();
            let mut idle = Idle { transport, since: clock::now(), turn };
            let before = idle.is_good();
            theirs.write_all(b"HTTP/1.1 200 OK\r\n").expect("room");
            (before, idle.transport.is_quiet(), idle.is_good())
        });
        assert_eq!(seen.expect("a core"), (true, true, false), "no turn has told of it, the kernel has");
    }
}
