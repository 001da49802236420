//! A WebSocket through the gateway: the handshake forwarded, then frames both ways as they came.
//!
//! This is a second shape of the relay, and no variant of the first. There one side speaks at a time, framing is HTTP's,
//! and the response is all that follows the request; here both speak at once for an hour, exchanges begin and end within,
//! and what the client says is held until it has been judged. Only the beginning is common, so the handshake goes
//! through [`Relay`]: a provider that refuses is relayed like any other answer.
//!
//! ```text
//!              held: approved │ awaiting its end                       judged message by message, then sent as it came
//!   client ──▶ ▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓│░░░░░░░░ ──────────────────▶ provider    read only while nothing approved waits
//!   client ◀────────────────────────────────────────────── provider    sent at once; read for the account after that
//!              unsent ◀── what the client has not taken                 read only while nothing waits
//!              ours   ◀── refusals: between two of its messages
//!
//!   Open ── a Close passes, either way ──▶ Closing ── its answer, or 5 s ──▶ ended
//!     ├── client gone ──▶ provider closed        ├── unreadable: 1008      ├── drained: 1001, when nothing runs any more
//!     ├── provider gone ──▶ client closed: 1011  └── too long: 1009        ├── idle: 1001 (1011 while something runs)
//!     └── an exchange lasts longer than any may: 1008                      └── …
//! ```
//!
//! Bounds: a client's message by the bound on request bodies and the core's budget for them; of the provider's, one block
//! that the client has not taken; what is put together on the side by [`HELD_BYTES_MAX`]. A socket that waits holds no
//! buffer, and of permessage-deflate the provider's window at most.

mod exchanges;
mod handshake;
mod ways;

use std::future::poll_fn;
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::account::Account;
use super::asking::Asked;
use super::conn::{After, Conn};
use super::core::{Core, SCRATCH_BYTES};
use super::fault::{Fault, Kind, Retry};
use super::relay::{Broken, Relay, Switched};
use super::request::{Body, Sending};
use super::spread::Turn;
use super::transport::Transport;
use super::upstream::Lease;
use super::{exchange, heads, objects, reply, upstream, who};
use crate::base::clock::{self, Moment};
use crate::base::stats::Count;
use crate::llm::ask::Ask;
use crate::llm::dialect::paths::Route;
use crate::llm::meter::HELD_BYTES_MAX;
use crate::policy::decide::{Hop, Plan, Verdict, Wants};
use crate::policy::snapshot::Provider;
use crate::wire::h1::{Request, Response};
use crate::wire::ws::{self, Message, WsFault};
use exchanges::{Exchanges, Judged};
use handshake::{Agreed, Offer};
use ways::{Down, Up};

/// Largest block taken for a client that has been slow.
const SLOW_BLOCK_BYTES: usize = 16 * 1024;
/// Between a closing frame and the end of its connection.
const CLOSING: Duration = Duration::from_secs(5);
/// A socket on which nothing runs is closed after this much silence; providers close theirs within the hour.
const SILENT_MAX: Duration = Duration::from_secs(60 * 60);

/// Serve one upgrade, and the socket that comes of it.
pub(super) async fn serve(
    core: &Core,
    conn: &mut Conn,
    request: &Request,
    route: &Route,
    account: &mut Account,
) -> Result<After, Fault> {
    let mut offer = Offer::read(request, route)?;
    let plan = admitted(core, conn, route, &offer, account)?;
    let (over, turn) = match open(core, conn, &mut offer, route, account, &plan).await? {
        Opened::Over(over, turn) => (*over, turn),
        Opened::Answered(after) => return Ok(after),
    };
    let (lease, response, rest) = over;
    let agreed = offer.agree(&response)?;
    let mut head = Vec::with_capacity(512);
    agreed.write_head(&mut head, &response, &account.id().letters());
    conn.send(&head, core.limits().idle).await?;
    account.switched(&response);
    account.lasts(core);
    let provider = turn.provider.clone();
    let sees_own = provider.passthrough && heads::has_own_key(&offer.request);
    let fields = offer.request.head.fields;
    let mut exchanges = Exchanges::new(route, provider, offer.model, fields, sees_own);
    let pump = Pump::new(core, conn, lease.transport, account, &mut exchanges, &agreed);
    // The accounts outlive a panic, so that each is closed.
    let ended = exchange::survive(pin!(pump.run(&rest))).await;
    let (after, fault) = match ended {
        Ok(Ended { after, fault, of_upgrade }) => {
            of_upgrade.inspect(|fault| account.failed(fault));
            (Ok(after), fault)
        }
        Err(fault) => (Err(fault.clone()), fault),
    };
    exchanges.end(core, &fault);
    after
}

/// Whether the caller may open it at all. What passes over it is judged message by message.
fn admitted(
    core: &Core,
    conn: &Conn,
    route: &Route,
    offer: &Offer,
    account: &mut Account,
) -> Result<Arc<Plan>, Fault> {
    let model = offer.model.as_deref();
    account.owned_by(conn.principal.as_ref());
    account.asked(&offer.request, Ask { model: offer.model.clone(), ..Ask::default() });
    match core.decide(conn.principal.as_ref(), Wants { flag: route.flag, model, others: &[] }) {
        Verdict::Allow(plan) => {
            account.admitted(core, &plan.providers[0].id);
            Ok(plan)
        }
        Verdict::Deny(why) => Err(who::denied(core, conn.principal.as_ref(), why)),
    }
}

enum Opened {
    /// The turn counts as running for as long as the socket lasts.
    Over(Box<(Lease, Response, Vec<u8>)>, Turn),
    Answered(After),
}

/// One provider after another, as long as no connection was made.
async fn open(
    core: &Core,
    conn: &mut Conn,
    offer: &mut Offer,
    route: &Route,
    account: &mut Account,
    plan: &Plan,
) -> Result<Opened, Fault> {
    core.spread.begins();
    let mut last = None;
    for (provider, hop) in plan.providers.iter().zip(&plan.hops) {
        if last.is_some() {
            if !core.spread.may_retry() {
                break;
            }
            core.stats.add(Count::UpstreamRetries, 1);
        }
        let attempted = match core.spread.turn(provider, account.asking(), &[]) {
            Ok(turn) => {
                account.provider(&provider.id, turn.nth);
                let attempted = attempt(core, conn, offer, route, account, &turn.provider, hop).await;
                if let Err(fault) = &attempted {
                    core.spread.failed(&turn, fault);
                }
                attempted.map(|switched| (switched, turn))
            }
            Err(full) => Err(full),
        };
        match attempted {
            Ok((Switched::Answered(after), _)) => return Ok(Opened::Answered(after)),
            Ok((Switched::Over(over), turn)) => return Ok(Opened::Over(over, turn)),
            Err(fault) => {
                account.attempt_failed(&provider.id, &fault);
                // A client's own key goes to one host alone.
                let lent = provider.passthrough && heads::has_own_key(&offer.request);
                if fault.retry() != Retry::Safe || account.head_sent || lent {
                    return Err(fault);
                }
                last = Some(fault);
            }
        }
    }
    Err(last.unwrap_or_else(|| Fault::new(Kind::Connect)))
}

async fn attempt(
    core: &Core,
    conn: &mut Conn,
    offer: &mut Offer,
    route: &Route,
    account: &mut Account,
    provider: &Provider,
    hop: &Hop,
) -> Result<Switched, Fault> {
    if let Some(name) = &hop.model {
        offer.rename(name);
        account.altered("model");
    }
    let limits = provider.limits(core.limits());
    let mut hop = Hop { model: None, ..hop.clone() };
    hop.add_headers.extend(offer.added.iter().cloned());
    let request = &offer.request;
    let mut body = Body::begin(core, conn, request)?;
    let mut sending = Sending::new(request, route, &mut body, Asked::default(), account, limits);
    // Of the opening too; what follows on the socket is bounded exchange by exchange.
    sending.until = limits.total.map(|total| sending.account.began().plus(total));
    conn.limit.end_by(sending.until);
    sending.address(provider, Some(&hop))?;
    sending.shown = core.credentials.obtain(core, provider).await?;
    let since = clock::now();
    // A new one: it leaves HTTP for good.
    let left = sending.until.map_or(limits.connect, |until| until.since(since).min(limits.connect));
    let lease = Box::pin(upstream::connect(core, provider, left)).await;
    let lease = lease.map_err(|fault| sending.in_time(fault))?;
    sending.account.connected(since);
    let relay =
        Relay { core, conn, sending: &mut sending, lease, uploaded: false, others_armed: false, gone: false };
    let switched = relay.switch(provider, &hop).await;
    conn.limit.end_by(None);
    switched.map_err(|broken| match broken {
        Broken::Fault(fault) | Broken::Stale(fault) => sending.in_time(fault),
        Broken::Unauthorized(_) => Fault::new(Kind::Unauthorized),
    })
}

/// How a socket ended.
struct Ended {
    after: After,
    /// For what was still under way.
    fault: Fault,
    /// For the upgrade's own record; a socket that was closed by its ends has none.
    of_upgrade: Option<Fault>,
}

/// Why the pump stops.
enum Stop {
    /// One end closed and the other answered, or had its time to.
    Closed,
    /// We end it.
    Ours(Fault),
    ClientGone(String),
    ProviderGone(String),
}

/// Who sent a closing frame first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Provider,
}

/// Both directions of one socket.
struct Pump<'a> {
    core: &'a Core,
    conn: &'a mut Conn,
    transport: Transport,
    upgrade: &'a mut Account,
    exchanges: &'a mut Exchanges,
    up: Up,
    down: Down,
    /// Who closed first, and whether the other has answered.
    closing: Option<Side>,
    answered: bool,
    /// Once the core drains: when what runs is cut.
    drained_at: Option<Moment>,
    /// A message that names objects, while it is found out whose they are.
    waiting: Option<Waiting>,
}

struct Waiting {
    ids: Vec<String>,
    text: Vec<u8>,
    /// What came behind it, not judged yet.
    rest: Vec<u8>,
}

enum Event {
    FromClient,
    FromProvider,
    ClientTakes,
    ProviderTakes,
    Draining,
    Revoked,
    Late,
}

impl<'a> Pump<'a> {
    fn new(
        core: &'a Core,
        conn: &'a mut Conn,
        transport: Transport,
        upgrade: &'a mut Account,
        exchanges: &'a mut Exchanges,
        agreed: &Agreed,
    ) -> Self {
        let bytes_max = usize::try_from(core.limits().body_bytes_max).unwrap_or(usize::MAX);
        let up = Up::new(core, agreed.up, bytes_max);
        let down = Down::new(agreed.down, HELD_BYTES_MAX);
        Pump {
            core,
            conn,
            transport,
            upgrade,
            exchanges,
            up,
            down,
            closing: None,
            answered: false,
            drained_at: None,
            waiting: None,
        }
    }

    async fn run(mut self, rest: &[u8]) -> Result<Ended, Fault> {
        let stop = self.flow(rest).await;
        Ok(self.finish(stop).await)
    }

    /// Until something stops it.
    async fn flow(&mut self, rest: &[u8]) -> Stop {
        // What came behind the heads.
        let early = std::mem::take(&mut self.conn.ahead);
        let mut moved = self.take_up(&early).and_then(|()| self.pass_down(rest));
        loop {
            while moved.is_ok() && self.waiting.is_some() {
                moved = self.find_owner().await;
            }
            let pushed = moved.and_then(|()| self.push());
            if let Err(stop) = pushed {
                return stop;
            }
            if self.answered && self.up.is_sent() && self.down.is_sent() {
                return Stop::Closed;
            }
            if self.is_over() {
                return self.late();
            }
            self.conn.limit.set(self.patience());
            moved = match self.wait().await {
                Event::FromClient => self.read_client(),
                Event::FromProvider => self.read_provider(),
                Event::ClientTakes | Event::ProviderTakes => Ok(()),
                Event::Draining => self.drain(),
                Event::Revoked => Err(Stop::Ours(Fault::new(Kind::Revoked))),
                Event::Late => Err(self.late()),
            };
        }
    }

    /// When silence has lasted too long.
    fn patience(&self) -> Moment {
        let limits = self.core.limits();
        let longest = match (self.closing, self.exchanges.is_busy() || !self.down.is_sent()) {
            (Some(_), _) => CLOSING,
            (None, true) => limits.idle,
            (None, false) => SILENT_MAX,
        };
        let at = clock::now().plus(longest);
        [self.drained_at, self.end_by()].into_iter().flatten().fold(at, Moment::min)
    }

    /// When an exchange has had its whole time. One that both ends are closing has the time that closing has.
    fn end_by(&self) -> Option<Moment> {
        self.exchanges.end_by(self.core).filter(|_| self.closing.is_none())
    }

    /// Asked each time round: a provider that never pauses would keep the limit from being looked at.
    fn is_over(&self) -> bool {
        self.end_by().is_some_and(|end| clock::now() >= end)
    }

    async fn wait(&mut self) -> Event {
        poll_fn(|cx| {
            // Before those that may never pause.
            if self.closing.is_none() && self.conn.poll_cut(cx) {
                return Poll::Ready(Event::Revoked);
            }
            if !self.down.is_sent() {
                if self.conn.socket.poll_writable(cx).is_ready() {
                    return Poll::Ready(Event::ClientTakes);
                }
            } else if self.transport.poll_readable(cx).is_ready() {
                return Poll::Ready(Event::FromProvider);
            }
            if !self.up.is_sent() {
                if self.transport.poll_writable(cx).is_ready() {
                    return Poll::Ready(Event::ProviderTakes);
                }
            } else if self.down.takes_more() && self.conn.socket.poll_readable(cx).is_ready() {
                return Poll::Ready(Event::FromClient);
            }
            // Only TLS holds anything back, and it must not wait for the next frame.
            let _ = (self.conn.socket.poll_flush(cx), self.transport.poll_flush(cx));
            if self.drained_at.is_none() && self.conn.poll_draining(self.core, cx) {
                return Poll::Ready(Event::Draining);
            }
            self.conn.limit.poll(cx).map(|()| Event::Late)
        })
        .await
    }

    fn late(&self) -> Stop {
        let drained = self.drained_at.is_some_and(|cut| clock::now() >= cut);
        match self.closing {
            Some(_) => Stop::Closed,
            None if drained => {
                Stop::Ours(Fault::because(Kind::Draining, "cut at the time limit of draining"))
            }
            None if self.is_over() => {
                Stop::Ours(Fault::because(Kind::TotalTimeout, "an exchange on the socket"))
            }
            None if !self.down.is_sent() => Stop::Ours(Fault::new(Kind::ClientStalled)),
            None if self.exchanges.is_busy() => Stop::Ours(Fault::new(Kind::IdleTimeout)),
            None => Stop::Ours(Fault::because(Kind::ClientStalled, "a socket on which nothing happened")),
        }
    }

    /// Nothing new begins; the socket ends with what runs on it, or shortly before everything does.
    fn drain(&mut self) -> Result<(), Stop> {
        self.drained_at = Some(clock::now().plus(self.core.drain_timeout * 9 / 10));
        self.idle_while_draining()
    }

    fn idle_while_draining(&self) -> Result<(), Stop> {
        let over = self.drained_at.is_some() && self.closing.is_none() && !self.exchanges.is_busy();
        if over { Err(Stop::Ours(Fault::new(Kind::Draining))) } else { Ok(()) }
    }

    fn read_client(&mut self) -> Result<(), Stop> {
        let core = self.core;
        let mut scratch = core.scratch();
        match self.conn.socket.try_read(&mut scratch.block) {
            Ok(0) => Err(Stop::ClientGone("closed without a closing frame".into())),
            Ok(n) => self.take_up(&scratch.block[..n]),
            Err(why) if why.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(why) => Err(Stop::ClientGone(why.to_string())),
        }
    }

    /// Bytes of the client's: each message that is complete is judged, and what may go on is approved.
    fn take_up(&mut self, block: &[u8]) -> Result<(), Stop> {
        self.up.hold(block).map_err(Stop::Ours)?;
        self.judge_block(block)
    }

    fn judge_block(&mut self, block: &[u8]) -> Result<(), Stop> {
        let mut at = 0;
        loop {
            // What stands in a message is borrowed from the reader, so that the rest is named field by field.
            let (core, principal) = (self.core, self.conn.still(self.core));
            let judged = match self.up.reader.next(block, &mut at) {
                Ok(Some(Message::Text(text))) => {
                    match self.exchanges.judge(core, principal, self.upgrade, text, None) {
                        Ok(Judged::Names(ids)) => {
                            let (text, rest) = (text.to_vec(), block[at..].to_vec());
                            self.waiting = Some(Waiting { ids, text, rest });
                            return Ok(());
                        }
                        judged => judged,
                    }
                }
                Ok(Some(Message::Binary(_) | Message::Over)) => Err(unreadable()),
                Ok(Some(Message::Beat)) => {
                    self.up.beat(block.len() - at);
                    continue;
                }
                Ok(Some(Message::Close(_))) => {
                    self.up.close(block.len() - at);
                    self.closed_by(Side::Client);
                    return Ok(());
                }
                Ok(None) => return Ok(()),
                Err(why) => Err(Fault::new(Kind::Frames(why))),
            };
            self.apply(judged.map_err(Stop::Ours)?, block.len() - at);
        }
    }

    /// A message that ends `behind` bytes before the end of what is held has been judged.
    fn apply(&mut self, judged: Judged, behind: usize) {
        match judged {
            Judged::Passes => self.up.approve(behind),
            Judged::Replaced(text) => self.up.replace(behind, &text),
            Judged::Refused(said) => {
                self.up.refuse(behind);
                self.down.say(said.as_bytes());
            }
            // Asked for before the message is judged, and not twice.
            Judged::Names(_) => self.up.refuse(behind),
        }
    }

    /// A message waits for whose its objects are; then what came behind it has its turn.
    async fn find_owner(&mut self) -> Result<(), Stop> {
        let Some(Waiting { ids, text, rest }) = self.waiting.take() else { return Ok(()) };
        let (core, principal) = (self.core, self.conn.still(self.core));
        let owned = Some(objects::found(core, principal, &ids).await);
        let judged = self.exchanges.judge(core, principal, self.upgrade, &text, owned);
        self.apply(judged.map_err(Stop::Ours)?, rest.len());
        self.judge_block(&rest)
    }

    fn read_provider(&mut self) -> Result<(), Stop> {
        let core = self.core;
        let block_bytes_max = if self.down.was_slow() { SLOW_BLOCK_BYTES } else { SCRATCH_BYTES };
        let mut scratch = core.scratch();
        match self.transport.try_read(&mut scratch.block[..block_bytes_max]) {
            Ok(0) => Err(Stop::ProviderGone("closed without a closing frame".into())),
            Ok(n) => self.pass_down(&scratch.block[..n]),
            Err(why) if why.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(why) => Err(Stop::ProviderGone(why.to_string())),
        }
    }

    /// Bytes of the provider's: sent first, then read. What the client does not take is read once it has.
    fn pass_down(&mut self, block: &[u8]) -> Result<(), Stop> {
        if block.is_empty() {
            return Ok(());
        }
        if self.down.has_to_say() || !self.down.is_sent() {
            // Ours goes in where the provider's message ends, so this block is read first.
            let end = self.read_down(block, true)?;
            self.down.interleave(block, end);
            return Ok(());
        }
        let sent = match self.conn.socket.try_write(block) {
            Ok(n) => n,
            Err(why) if why.kind() == ErrorKind::WouldBlock => 0,
            Err(why) => {
                let _ = self.read_down(block, false);
                return Err(Stop::ClientGone(why.to_string()));
            }
        };
        if sent < block.len() {
            self.down.keep(block, sent);
            return Ok(());
        }
        self.read_down(block, true).map(drop)
    }

    /// Read what has passed. Where in the block the provider stood between two messages, if it did.
    fn read_down(&mut self, block: &[u8], delivered: bool) -> Result<Option<usize>, Stop> {
        let (mut at, mut between) = (0, None);
        let (core, principal) = (self.core, self.conn.principal.as_ref());
        loop {
            let heard = match self.down.reader.next(block, &mut at) {
                Ok(Some(Message::Text(text) | Message::Binary(text))) => {
                    self.exchanges.heard(core, principal, self.upgrade, text, delivered)
                }
                Ok(Some(Message::Over | Message::Beat)) => Ok(()),
                Ok(Some(Message::Close(_))) => {
                    self.closed_by(Side::Provider);
                    return Ok(between);
                }
                Ok(None) => break,
                // Said once: the reader stays where it stumbled.
                Err(why) => {
                    self.exchanges.give_up(core, why.reason());
                    return Ok(between);
                }
            };
            heard.map_err(Stop::Ours)?;
            if between.is_none() && self.down.reader.between_messages() {
                between = Some(at);
            }
        }
        self.idle_while_draining().map(|()| between)
    }

    fn closed_by(&mut self, side: Side) {
        self.answered |= self.closing.is_some_and(|first| first != side);
        self.closing = self.closing.or(Some(side));
    }

    /// Send what waits, in both directions, as far as it goes.
    fn push(&mut self) -> Result<(), Stop> {
        while !self.up.is_sent() {
            match self.transport.try_write(self.up.sendable(), &[]) {
                Ok(n) => self.up.advance(n),
                Err(why) if why.kind() == ErrorKind::WouldBlock => break,
                Err(why) => return Err(Stop::ProviderGone(why.to_string())),
            }
        }
        while !self.down.is_sent() {
            match self.conn.socket.try_write(self.down.sendable()) {
                Ok(n) => {
                    if let Some(unread) = self.down.advance(n) {
                        self.read_down(&unread, true)?;
                        self.down.say_now();
                    }
                }
                Err(why) if why.kind() == ErrorKind::WouldBlock => break,
                Err(why) => return Err(Stop::ClientGone(why.to_string())),
            }
        }
        Ok(())
    }

    /// Tell both ends, and say what becomes of the client's connection.
    async fn finish(mut self, stop: Stop) -> Ended {
        match stop {
            Stop::Closed => {
                let fault = match self.closing {
                    Some(Side::Client) => Fault::because(Kind::ClientGone, "the client closed the socket"),
                    _ => Fault::because(Kind::Truncated, "the provider closed the socket"),
                };
                Ended { after: After::Linger, fault, of_upgrade: None }
            }
            Stop::ClientGone(why) => {
                if let Some(unread) = self.down.take_unread() {
                    let _ = self.read_down(&unread, false);
                }
                self.close_up(1001);
                let fault = Fault::because(Kind::ClientGone, why);
                let of_upgrade = self.closing.is_none().then(|| fault.clone());
                Ended { after: After::Cut, fault, of_upgrade }
            }
            // Whoever has been told goodbye may leave without answering.
            Stop::ProviderGone(_) if self.closing == Some(Side::Client) => {
                let fault = Fault::because(Kind::ClientGone, "the client closed the socket");
                Ended { after: After::Linger, fault, of_upgrade: None }
            }
            Stop::ProviderGone(why) => {
                let fault = Fault::because(Kind::Truncated, why);
                let after = self.close_down(&fault).await;
                Ended { after, of_upgrade: Some(fault.clone()), fault }
            }
            Stop::Ours(fault) => {
                self.close_up(1001);
                let after = self.close_down(&fault).await;
                let cut = match fault.kind {
                    Kind::IdleTimeout | Kind::TotalTimeout | Kind::Draining | Kind::Panic => fault.clone(),
                    _ => Fault::because(Kind::ClientGone, format!("the socket was closed: {fault}")),
                };
                let of_upgrade = (!matches!(fault.kind, Kind::Draining)).then_some(fault);
                Ended { after, fault: cut, of_upgrade }
            }
        }
    }

    /// A closing frame to the provider, if it takes one at once; its connection ends either way.
    fn close_up(&mut self, code: u16) {
        if self.up.is_sent() {
            let mut frame = Vec::new();
            ws::write_close(&mut frame, Some(ways::mask()), code, "");
            let _ = self.transport.try_write(&frame, &[]);
        }
    }

    /// A closing frame to the client, behind what it has yet to take. Within a frame of the provider's there is no
    /// place for one.
    async fn close_down(&mut self, fault: &Fault) -> After {
        let waiting = self.down.take_unsent();
        if self.conn.send(&waiting, CLOSING).await.is_err() {
            return After::Cut;
        }
        if let Some(unread) = self.down.take_unread() {
            let _ = self.read_down(&unread, true);
        }
        if !self.down.reader.between_frames() {
            return After::Cut;
        }
        let mut frame = Vec::new();
        ws::write_close(&mut frame, None, reply::close_code(fault), &fault.to_string());
        match self.conn.send(&frame, CLOSING).await {
            Ok(()) => After::Linger,
            Err(_) => After::Cut,
        }
    }
}

/// Neither binary messages nor, where messages are judged, ones over the bound.
fn unreadable() -> Fault {
    Fault::because(Kind::Frames(WsFault::Malformed), "a binary message")
}
