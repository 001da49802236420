//! The only duplex loop: request up, response down, each block forwarded with one write, as it came.
//!
//! ```text
//!             ┌────────────── early answer ──────────────┐
//!             │                                          ▼
//!   Upload ── all sent ──▶ Head ── final head ──▶ Body ── framing ends ──▶ done
//!     │                     │                      │
//!     ├─ refused, lost ─────┼──── no byte out ─────┼──▶ Fault: answered in the caller's dialect (or tried again)
//!     │                     │                      │
//!     └─ client gone ───────┴──────────────────────┴──▶ Fault: the lease is dropped, which cancels upstream
//!                                                  │           (`drain`: the rest is read for its usage first)
//!                                                  └──▶ Truncated, IdleTimeout: the client's connection is cut
//! ```
//!
//! Only the framing scan runs before a block is sent; events are read after it. The next block is read from the
//! provider when the client has taken this one: that is the back-pressure. While the client is awaited or the provider
//! is silent no buffer is held.

mod down;
mod upload;
mod waiting;

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::task::Poll;
use std::time::Duration;

use super::conn::{After, Conn};
use super::core::Core;
use super::credentials::Shown;
use super::fault::{Fault, Kind};
use super::heads::{self, Shape};
use super::io::next_turn;
use super::objects;
use super::request::Sending;
use super::upstream::Lease;
use crate::base::clock;
use crate::policy::decide::Hop;
use crate::policy::snapshot::Provider;
use crate::wire::h1::{FramingFault, HeadLimits, HeadScan, Response, parse_response};
use crate::wire::head::Version;
use down::Down;
use waiting::Event;

/// Largest block taken for a client that has been slow: what it did not take is held in memory until it does.
const SLOW_BLOCK_BYTES: usize = 16 * 1024;
/// An exchange that has no answer after this is told to the writer as open. Within a batch of the writer's.
const LASTS_AFTER: Duration = Duration::from_millis(50);
/// Informational responses a provider may send before the final one.
const INFORMATIONAL_MAX: u32 = 16;

/// How long, and how much of, an answer is read on for its usage when the client has left.
const DRAIN_FOR: Duration = Duration::from_secs(60);
const DRAIN_BYTES_MAX: usize = 16 << 20;

/// How a relay ended before its end.
pub(super) enum Broken {
    /// The pooled connection was dead and no byte of an answer came: the same request may go over a new one.
    Stale(Fault),
    /// The provider did not take a credential that was made, and another has been made.
    Unauthorized(Shown),
    /// Anything else.
    Fault(Fault),
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        Broken::Fault(fault)
    }
}

/// What a provider made of a request to leave HTTP.
pub(super) enum Switched {
    /// It agreed: its connection, its head, and what came behind that.
    Over(Box<(Lease, Response, Vec<u8>)>),
    /// It answered, and the answer went to the client.
    Answered(After),
}

/// One request and its response over one lease.
pub(super) struct Relay<'a, 's> {
    pub(super) core: &'a Core,
    pub(super) conn: &'a mut Conn,
    pub(super) sending: &'a mut Sending<'s>,
    pub(super) lease: Lease,
    /// All of the request has been sent. Before that its connection is nobody else's: the provider would read the next
    /// request as the rest of this one.
    pub(super) uploaded: bool,
    /// Whether the client's farewell and the time limit have been polled, and since then one of the provider's events was
    /// handled and the limit moved on. One of the others may have come together with that event: [`Conn::is_undisturbed`]
    /// tells.
    pub(super) others_armed: bool,
    /// The client has left, and the rest is read for its usage.
    pub(super) gone: bool,
}

impl Relay<'_, '_> {
    /// Carry the exchange to its end; [`Relay::finish`] takes what that leaves.
    ///
    /// Here and below nothing large is handed on by value: what a future is given it holds twice.
    pub(super) async fn run(&mut self, provider: &Provider, hop: Option<&Hop>) -> Result<Down, Broken> {
        let drain = provider.drain_when_client_gone;
        self.upload(provider, hop).await?;
        let (response, rest) = self.response_head(drain).await?;
        let status = response.head.status;
        self.sending.answered = Some((status, retry_after(&response)));
        // A provider that refuses for load has executed nothing: whoever else serves the model may.
        if self.sending.others_left && matches!(status, 429 | 503 | 529) {
            return Err(Fault::because(Kind::Overloaded(status), format!("answered {status}")).into());
        }
        if status == 401
            && let Some(other) = self.core.credentials.instead(self.core, provider, &self.sending.shown).await
        {
            return Err(Broken::Unauthorized(other));
        }
        self.sending.account.first_byte(&response);
        self.capture_request();
        let mut down = Down::new(self, &response);
        let head = self.head(response, &down);
        self.answer(head, rest, &mut down, drain).await?;
        Ok(down)
    }

    /// The head as the client gets it, unless it has left; the provider's stays in the record.
    fn head(&mut self, response: Response, down: &Down) -> Option<Vec<u8>> {
        if self.gone {
            return None;
        }
        let mut head = Vec::with_capacity(1024);
        heads::write_response(&mut head, &response, &down.towards);
        self.sending.account.response_head(response);
        Some(head)
    }

    /// Pass the answer on; where the client leaves, read it to its usage if that is wanted.
    async fn answer(
        &mut self,
        head: Option<Vec<u8>>,
        rest: Vec<u8>,
        down: &mut Down,
        drain: bool,
    ) -> Result<(), Fault> {
        let responded = match head {
            Some(head) => self.respond(head, rest, down).await,
            None => {
                self.read_aside(down, &rest);
                Err(gone(WHILE_THINKING))
            }
        };
        if drain && responded.as_ref().is_err_and(|fault| fault.kind == Kind::ClientGone) {
            self.drain(down).await;
        }
        responded
    }

    /// As [`Relay::run`], for a request to leave HTTP: a provider that agrees hands its connection over, any other
    /// answer is relayed.
    pub(super) async fn switch(mut self, provider: &Provider, hop: &Hop) -> Result<Switched, Broken> {
        self.upload(provider, Some(hop)).await?;
        let (response, rest) = self.response_head(false).await?;
        if response.head.status == 101 {
            return Ok(Switched::Over(Box::new((self.lease, response, rest))));
        }
        self.sending.account.first_byte(&response);
        let mut down = Down::new(&self, &response);
        let head = self.head(response, &down);
        self.answer(head, rest, &mut down, false).await?;
        Ok(Switched::Answered(self.finish(down)))
    }

    /// Once no retry can need it, the request body leaves for the writer.
    fn capture_request(&mut self) {
        if self.sending.body.is_done() {
            self.sending.account.capture_request(self.core, self.sending.body.release());
        }
    }

    /// The final response head, and what of the body came with it.
    async fn response_head(&mut self, drain: bool) -> Result<(Response, Vec<u8>), Broken> {
        let limits = HeadLimits::default();
        // The first wait is short: whoever waits longer is told to the writer, and then waits on.
        let mut patience = self.sending.limits.first_byte.checked_sub(LASTS_AFTER);
        self.conn.limit.set_after(self.sending.limits.first_byte.min(LASTS_AFTER));
        let mut bytes: Vec<u8> = Vec::new();
        for _ in 0..INFORMATIONAL_MAX {
            let mut scan = HeadScan::default();
            let end = loop {
                if let Some(end) = scan.end(&bytes, &limits).map_err(bad_answer)? {
                    break end;
                }
                self.read_head(&mut bytes, &mut patience, drain).await?;
            };
            let rest = bytes.split_off(end);
            let response =
                parse_response(&bytes, &self.sending.request.head.method, &limits).map_err(bad_answer)?;
            match response.head.status {
                101 if self.sending.request.wants_upgrade => return Ok((response, rest)),
                101 => return Err(Fault::because(Kind::BadAnswer, "101 without being asked").into()),
                100..=199 => self.pass_informational(&response).await?,
                _ => return Ok((response, rest)),
            }
            bytes = rest;
        }
        Err(Fault::because(Kind::BadAnswer, "too many informational responses").into())
    }

    async fn read_head(
        &mut self,
        bytes: &mut Vec<u8>,
        patience: &mut Option<Duration>,
        drain: bool,
    ) -> Result<(), Broken> {
        loop {
            match self.wait_response().await {
                Event::FromProvider => {}
                Event::FromClient => {
                    if !drain {
                        return Err(gone(WHILE_THINKING).into());
                    }
                    self.gone = true;
                    self.conn.limit.set_after(DRAIN_FOR);
                    *patience = None;
                    continue;
                }
                Event::Writable | Event::Late => {
                    if self.gone {
                        return Err(gone(WHILE_THINKING).into());
                    }
                    let Some(rest) = patience.take() else {
                        return Err(Fault::new(Kind::FirstByteTimeout).into());
                    };
                    self.sending.account.lasts(self.core);
                    self.conn.limit.set_after(rest);
                    continue;
                }
            }
            let mut scratch = self.core.scratch();
            match self.lease.transport.try_read(&mut scratch.block) {
                Ok(0) => return Err(self.no_answer(bytes, "closed")),
                Ok(n) => {
                    bytes.extend_from_slice(&scratch.block[..n]);
                    return Ok(());
                }
                Err(why) if why.kind() == ErrorKind::WouldBlock => {}
                Err(why) => return Err(self.no_answer(bytes, &why.to_string())),
            }
        }
    }

    /// An informational response goes on to clients that can understand it; 100 has been answered by us.
    async fn pass_informational(&mut self, response: &Response) -> Result<(), Fault> {
        let older = self.sending.request.head.version == Version::Http10;
        if response.head.status == 100 || older || self.gone {
            return Ok(());
        }
        let mut head = Vec::new();
        heads::write_informational(&mut head, response);
        self.conn.send(&head, self.sending.limits.idle).await
    }

    /// Pass head and body to the client.
    async fn respond(&mut self, head: Vec<u8>, rest: Vec<u8>, down: &mut Down) -> Result<(), Fault> {
        self.sending.account.ends_by_close = down.towards.shape == Shape::Unwrapped;
        let idle = self.sending.limits.idle;
        match self.sending.account.makes_objects() {
            true => Box::pin(self.bind_first(down, head, rest)).await?,
            false => {
                self.first_block(down, head, &rest).await?;
                drop(rest);
                self.catch_up().await;
            }
        }
        if !down.done {
            self.sending.account.lasts(self.core);
        }
        self.conn.limit.set_after(idle);
        while !down.done {
            self.wait_more().await?;
            match self.read_block(down) {
                Ok(0) => self.end_of_connection(down).await?,
                Ok(_) => {
                    let flushed = self.flush(down).await;
                    self.catch_up().await;
                    flushed?;
                    self.conn.limit.set_after(idle);
                    // What TLS still holds for the client must not wait for the next event.
                    self.others_armed = !self.conn.socket.is_behind();
                }
                Err(Stop::Empty) => {}
                Err(Stop::Fault(fault)) => return Err(fault),
            }
        }
        Ok(())
    }

    /// What the last block says where it came coded, piece by piece: the client has it already, and the core's other
    /// tasks go on in between, however much a block may hold.
    async fn catch_up(&mut self) {
        while self.sending.account.is_behind() {
            next_turn().await;
            self.sending.account.catch_up();
        }
    }

    /// Read what is left of an answer that nobody waits for any more, for its usage: within a time and a size.
    async fn drain(&mut self, down: &mut Down) {
        self.conn.limit.set_after(DRAIN_FOR);
        let mut left = DRAIN_BYTES_MAX;
        while !down.done && left > 0 {
            let late = poll_fn(|cx| match self.lease.transport.poll_readable(cx) {
                Poll::Ready(_) => Poll::Ready(false),
                Poll::Pending => self.conn.limit.poll(cx).map(|()| true),
            });
            if late.await {
                return;
            }
            match self.drain_block(down) {
                Ok(0) => return,
                Ok(n) => left = left.saturating_sub(n),
                Err(why) if why.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
            self.catch_up().await;
        }
    }

    fn drain_block(&mut self, down: &mut Down) -> io::Result<usize> {
        let mut scratch = self.core.scratch();
        let n = self.lease.transport.try_read(&mut scratch.block)?;
        self.read_aside(down, &scratch.block[..n]);
        Ok(n)
    }

    /// Read a block that goes to nobody.
    fn read_aside(&mut self, down: &mut Down, block: &[u8]) {
        let mut ranges = Vec::new();
        match down.framing.scan(block, &mut ranges) {
            Ok(scan) => down.done = scan.done,
            Err(_) => down.done = true,
        }
        ranges.into_iter().for_each(|range| self.sending.account.metered(&block[range]));
    }

    /// While what is made is not known, blocks are read before they are sent, so that its id is bound when it goes out.
    async fn bind_first(&mut self, down: &mut Down, head: Vec<u8>, rest: Vec<u8>) -> Result<(), Fault> {
        let idle = self.sending.limits.idle;
        let (mut out, mut block) = (head, rest);
        loop {
            let mut ranges = Vec::new();
            let scan = down.framing.scan(&block, &mut ranges).map_err(|why| self.unframed(why))?;
            (down.done, down.left_over) = (scan.done, scan.used < block.len());
            down.shape(&block, scan.used, &ranges, &mut out);
            for range in &ranges {
                self.sending.account.received(self.core, &block[range.clone()]);
            }
            self.catch_up().await;
            let bound = objects::bind(self.core, self.sending.account).await;
            self.sending.account.head_sent = true;
            self.conn.send(&out, idle).await?;
            ranges.into_iter().for_each(|range| self.sending.account.delivered(&block[range]));
            if bound || down.done {
                return Ok(());
            }
            out.clear();
            self.conn.limit.set_after(idle);
            block = self.next_block(down).await?;
            if block.is_empty() {
                // What came last was the end; a body that ends with its connection is read for the last time.
                objects::bind(self.core, self.sending.account).await;
                return Ok(());
            }
        }
    }

    /// A body whose framing breaks: no answer at all where the client has nothing of it yet.
    fn unframed(&self, why: FramingFault) -> Fault {
        if self.sending.account.head_sent { truncated(why) } else { bad_answer(why) }
    }

    /// The next block, in memory of its own; empty at the end.
    async fn next_block(&mut self, down: &mut Down) -> Result<Vec<u8>, Fault> {
        while !down.done {
            self.wait_more().await?;
            match self.copied_block() {
                Ok(block) if block.is_empty() => self.end_of_connection(down).await?,
                Ok(block) => return Ok(block),
                Err(why) if why.kind() == ErrorKind::WouldBlock => {}
                Err(why) => return Err(Fault::because(Kind::Truncated, why)),
            }
        }
        Ok(Vec::new())
    }

    fn copied_block(&mut self) -> io::Result<Vec<u8>> {
        let mut scratch = self.core.scratch();
        let n = self.lease.transport.try_read(&mut scratch.block[..SLOW_BLOCK_BYTES])?;
        Ok(scratch.block[..n].to_vec())
    }

    /// The head goes out together with what is already there of the body.
    async fn first_block(&mut self, down: &mut Down, head: Vec<u8>, rest: &[u8]) -> Result<(), Fault> {
        let mut ranges = Vec::new();
        let scan = down.framing.scan(rest, &mut ranges).map_err(|why| self.unframed(why))?;
        (down.done, down.left_over) = (scan.done, scan.used < rest.len());
        self.sending.account.head_sent = true;
        let terminal = self.sending.account.end_if_overrun(self.core, rest, &mut ranges);
        let mut out = head;
        down.shape(rest, scan.used, &ranges, &mut out);
        down.end(terminal.as_deref(), &mut out);
        self.conn.send(&out, self.sending.limits.idle).await?;
        if down.hider.is_some() {
            ranges.into_iter().for_each(|range| self.sending.account.metered(&rest[range]));
            self.show(down);
        } else {
            for range in ranges {
                self.sending.account.received(self.core, &rest[range.clone()]);
                self.sending.account.delivered(&rest[range]);
            }
        }
        if let Some(terminal) = terminal {
            self.sending.account.added(self.core, &terminal);
            self.sending.account.delivered(&terminal);
        }
        Ok(())
    }

    /// Read one block, send it, then read what it says. What the client did not take stays in `down.unsent`.
    fn read_block(&mut self, down: &mut Down) -> Result<usize, Stop> {
        let mut scratch = self.core.scratch();
        let scratch = &mut *scratch;
        let block = &mut scratch.block[..down.block_bytes_max];
        let n = match self.lease.transport.try_read(block) {
            Ok(n) => n,
            Err(why) if why.kind() == ErrorKind::WouldBlock => return Err(Stop::Empty),
            Err(why) => return Err(Stop::Fault(Fault::because(Kind::Truncated, why))),
        };
        let block = &block[..n];
        scratch.ranges.clear();
        let scan =
            down.framing.scan(block, &mut scratch.ranges).map_err(|why| Stop::Fault(truncated(why)))?;
        (down.done, down.left_over) = (scan.done, scan.used < n);
        let mut terminal = None;
        let sent = if down.towards.shape == Shape::Verbatim {
            self.send_now(&block[..scan.used], down)?
        } else {
            let mut out = Vec::with_capacity(n + 64);
            terminal = self.sending.account.end_if_overrun(self.core, block, &mut scratch.ranges);
            down.shape(block, scan.used, &scratch.ranges, &mut out);
            down.end(terminal.as_deref(), &mut out);
            // Reshaped bytes have no place in the block: the block counts as delivered when all of them are.
            if self.send_now(&out, down)? == out.len() { n } else { 0 }
        };
        if down.hider.is_some() {
            scratch.ranges.iter().for_each(|range| self.sending.account.metered(&block[range.clone()]));
            if sent == n {
                self.show(down);
            } else {
                self.sending.account.kept(self.core, &down.shown);
                down.undelivered.append(&mut down.shown);
            }
        } else {
            for range in &scratch.ranges {
                self.sending.account.received(self.core, &block[range.clone()]);
                let taken = range.start..range.end.min(sent.max(range.start));
                self.sending.account.delivered(&block[taken.clone()]);
                down.undelivered.extend_from_slice(&block[taken.end..range.end]);
            }
        }
        if let Some(terminal) = terminal {
            self.sending.account.added(self.core, &terminal);
            match sent {
                0 => down.undelivered.extend_from_slice(&terminal),
                _ => self.sending.account.delivered(&terminal),
            }
        }
        Ok(n)
    }

    /// What was let through to a client that the usage chunk is kept from has been delivered.
    fn show(&mut self, down: &mut Down) {
        self.sending.account.kept(self.core, &down.shown);
        self.sending.account.delivered(&down.shown);
        down.shown.clear();
    }

    fn send_now(&mut self, bytes: &[u8], down: &mut Down) -> Result<usize, Stop> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let sent = match self.conn.socket.try_write(bytes) {
            Ok(n) => n,
            Err(why) if why.kind() == ErrorKind::WouldBlock => 0,
            Err(why) => return Err(Stop::Fault(Fault::because(Kind::ClientGone, why))),
        };
        if sent < bytes.len() {
            down.keep_unsent(&bytes[sent..]);
        }
        Ok(sent)
    }

    /// Wait until the client has taken what is left of the last block.
    async fn flush(&mut self, down: &mut Down) -> Result<(), Fault> {
        if down.unsent.is_empty() {
            return Ok(());
        }
        let unsent = std::mem::take(&mut down.unsent);
        let since = clock::now();
        let sent = self.conn.send(&unsent, self.sending.limits.idle).await;
        self.sending.account.blocked(clock::now().since(since));
        let undelivered = std::mem::take(&mut down.undelivered);
        sent.map(|()| self.sending.account.delivered(&undelivered))
    }

    /// The provider closed: the proper end of a close-delimited body, too early for any other.
    async fn end_of_connection(&mut self, down: &mut Down) -> Result<(), Fault> {
        if !down.framing.may_end_here() {
            return Err(Fault::because(Kind::Truncated, "the provider closed within the body"));
        }
        down.done = true;
        let mut out = Vec::new();
        down.shape_hiding(&[], &[], &mut out);
        down.end(None, &mut out);
        if !out.is_empty() {
            self.conn.send(&out, self.sending.limits.idle).await?;
        }
        self.show(down);
        Ok(())
    }

    /// The response is complete: the connection goes back to the pool if nothing is left on it.
    pub(super) fn finish(self, down: Down) -> After {
        let complete = self.sending.body.is_done();
        if down.reusable && self.uploaded && !down.left_over {
            self.lease.give_back(self.core);
        }
        match (complete, down.towards.keep_alive) {
            (true, true) => After::KeepAlive,
            (true, false) => After::Close,
            (false, _) => After::Linger,
        }
    }

    fn no_answer(&self, so_far: &[u8], why: &str) -> Broken {
        let cause = format!("{why} after {} bytes of a response head", so_far.len());
        let fault = Fault::because(Kind::NoAnswer, cause);
        // For a client that has left nothing is tried again.
        let stale = self.lease.reused && so_far.is_empty() && !self.gone;
        if stale { Broken::Stale(fault) } else { Broken::Fault(fault) }
    }
}

/// `Retry-After` in seconds; a date is nobody's wish to be left alone for long.
fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.head.fields.text("retry-after")?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

enum Stop {
    Empty,
    Fault(Fault),
}

fn bad_answer(why: impl std::fmt::Display) -> Fault {
    Fault::because(Kind::BadAnswer, why)
}

fn truncated(why: impl std::fmt::Display) -> Fault {
    Fault::because(Kind::Truncated, why)
}

const WHILE_THINKING: &str = "while the provider was thinking";

fn gone(when: &str) -> Fault {
    Fault::because(Kind::ClientGone, when)
}

fn write_chunk(out: &mut Vec<u8>, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    out.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}
