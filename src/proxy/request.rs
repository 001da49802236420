//! The request body: held as it arrives, to a bound, and read for its model meanwhile.
//!
//! The regime is *peek*: bytes go up as soon as the model is known and policy has agreed, but the last byte is
//! withheld until the whole body has been read, so that what was judged is what is sent.

use std::borrow::Cow;
use std::cell::Cell;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::account::Account;
use super::asking::{self, Asked, Spot};
use super::conn::Conn;
use super::core::Core;
use super::credentials::Shown;
use super::fault::{Fault, Kind};
use super::{heads, objects, who};
use crate::base::clock::{self, Moment};
use crate::llm::ask_usage;
use crate::llm::dialect::Dialect;
use crate::llm::dialect::paths::{Endpoint, Route};
use crate::llm::provider::segment;
use crate::policy::decide::{Denial, Hop, Verdict, Wants};
use crate::policy::snapshot::{AskUsage, Limits, Origin, Provider};
use crate::wire::h1::{Framing, Request};

/// First allocation for a body of declared length: enough for most, not so much that a declaration alone costs us.
const FIRST_BYTES_MAX: usize = 512 * 1024;
const GROW_BYTES_MIN: usize = 64 * 1024;

/// A request body, all of it that has come.
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    framing: Framing,
    bytes_max: u64,
    held: Held,
    /// The body with its model renamed, where a provider knows it by another name.
    renamed: Option<Vec<u8>>,
}

impl Body {
    /// Begin with what was read along with the head.
    pub(super) fn begin(core: &Core, conn: &mut Conn, request: &Request) -> Result<Self, Fault> {
        Self::begin_within(core, conn, request, core.limits().body_bytes_max)
    }

    /// As [`Body::begin`], of a body that may have so many bytes.
    pub(super) fn begin_within(
        core: &Core,
        conn: &mut Conn,
        request: &Request,
        bytes_max: u64,
    ) -> Result<Self, Fault> {
        if request.length.is_some_and(|length| length > bytes_max) {
            return Err(Fault::new(Kind::BodyTooLarge(bytes_max)));
        }
        let held = Held::new(core.held.clone());
        let mut body =
            Self { bytes: Vec::new(), framing: request.framing.clone(), bytes_max, held, renamed: None };
        let early = std::mem::take(&mut conn.ahead);
        if let Framing::Length(length) = body.framing {
            let first = usize::try_from(length).unwrap_or(usize::MAX).min(FIRST_BYTES_MAX);
            body.held.grow_to(first)?;
            body.bytes = core.buffer(first);
        }
        conn.ahead = body.accept(&early)?;
        Ok(body)
    }

    /// Whether the client has sent all of it.
    pub(super) fn is_done(&self) -> bool {
        self.framing.is_done()
    }

    /// Bytes that may be sent to the provider now.
    pub(super) fn sendable(&self) -> &[u8] {
        if let Some(renamed) = &self.renamed {
            return renamed;
        }
        let withheld = usize::from(!self.is_done());
        &self.bytes[..self.bytes.len().saturating_sub(withheld)]
    }

    /// Whether what is sent is a plain copy, whatever coding the client's had.
    pub(super) fn is_renamed(&self) -> bool {
        self.renamed.is_some()
    }

    /// The length of what is sent, where it is no longer what the client declared.
    pub(super) fn renamed_length(&self) -> Option<u64> {
        self.renamed.as_ref().map(|renamed| renamed.len() as u64)
    }

    /// Wait for more, and take it.
    pub(super) async fn more(&mut self, core: &Core, conn: &mut Conn) -> Result<(), Fault> {
        conn.limit.set_after(core.limits().body_idle);
        // What may have come already is tried first, unless it is the others' turn.
        let mut tried = false;
        loop {
            let late = poll_fn(|cx| {
                if conn.poll_cut(cx) {
                    return Poll::Ready(true);
                }
                let there = match tried {
                    true => conn.socket.poll_readable(cx),
                    false => conn.socket.socket().poll_turn(cx),
                };
                match there {
                    Poll::Ready(()) => Poll::Ready(false),
                    Poll::Pending => conn.limit.poll(cx).map(|()| true),
                }
            });
            if late.await {
                return Err(Fault::new(Kind::BodyTimeout));
            }
            if self.take(core, conn)? {
                return Ok(());
            }
            tried = true;
        }
    }

    /// Take what has arrived without waiting; false when nothing has.
    pub(super) fn take(&mut self, core: &Core, conn: &mut Conn) -> Result<bool, Fault> {
        let read = match &mut self.framing {
            // Straight into place: no copy, and never past the declared end.
            Framing::Length(left) => {
                let spare = self.bytes.capacity() - self.bytes.len();
                if spare == 0 {
                    let room = usize::try_from(*left).unwrap_or(usize::MAX);
                    let more = room.min(self.bytes.len().max(GROW_BYTES_MIN));
                    self.held.grow_to(self.bytes.len() + more)?;
                    self.bytes.reserve_exact(more);
                }
                let read = conn.socket.try_read_behind(&mut self.bytes);
                if let Ok(n) = read {
                    let over = (n as u64).saturating_sub(*left);
                    *left -= n as u64 - over;
                    conn.ahead.extend(self.bytes.drain(self.bytes.len() - over as usize..));
                }
                read
            }
            _ => {
                let mut scratch = core.scratch();
                let read = conn.socket.try_read(&mut scratch.block);
                if let Ok(n) = read {
                    conn.ahead = self.accept(&scratch.block[..n])?;
                }
                read
            }
        };
        match read {
            Ok(0) => Err(Fault::because(Kind::ClientGone, "closed within its request body")),
            Ok(_) => Ok(true),
            Err(why) if why.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(why) => Err(Fault::because(Kind::ClientGone, why)),
        }
    }

    /// Take content out of a block of wire bytes; what lies behind the body's end is returned.
    fn accept(&mut self, block: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut ranges = Vec::new();
        let scan = self.framing.scan(block, &mut ranges)?;
        let more: usize = ranges.iter().map(ExactSizeIterator::len).sum();
        if (self.bytes.len() + more) as u64 > self.bytes_max {
            return Err(Fault::new(Kind::BodyTooLarge(self.bytes_max)));
        }
        self.held.grow_to(self.bytes.len() + more)?;
        for range in ranges {
            self.bytes.extend_from_slice(&block[range]);
        }
        Ok(block[scan.used..].to_vec())
    }

    /// The bytes, for the capture; the core's budget is given back.
    pub(super) fn release(&mut self) -> Vec<u8> {
        self.held.grow_to(0).ok();
        std::mem::take(&mut self.bytes)
    }
}

/// A request on its way to a provider: what every attempt needs.
pub(super) struct Sending<'a> {
    pub(super) request: &'a Request,
    pub(super) route: &'a Route,
    /// Path and query at the provider of the attempt.
    pub(super) target: String,
    /// What is shown to the provider of the attempt.
    pub(super) shown: Shown,
    /// Who has been shown the client's own key: nobody else is.
    pub(super) lent_to: Option<Origin>,
    /// Providers that may have it, once all of it has been judged and that made a difference.
    only: Option<Vec<String>>,
    pub(super) body: &'a mut Body,
    /// How far it has been read.
    pub(super) asked: Asked,
    pub(super) account: &'a mut Account,
    /// Bounds on time at the provider of the attempt.
    pub(super) limits: Limits,
    /// When the whole exchange must be over, where the provider bounds it.
    pub(super) until: Option<Moment>,
    /// Whether another attempt may follow this one.
    pub(super) others_left: bool,
    /// Status that the attempt was answered with, and how long the provider asks to be left alone.
    pub(super) answered: Option<(u16, Option<Duration>)>,
    /// Whether usage was asked for that the client did not ask for, so that its chunk is kept from it.
    pub(super) asked_usage: bool,
}

impl<'a> Sending<'a> {
    pub(super) fn new(
        request: &'a Request,
        route: &'a Route,
        body: &'a mut Body,
        asked: Asked,
        account: &'a mut Account,
        limits: Limits,
    ) -> Self {
        Self {
            request,
            route,
            target: String::new(),
            shown: Shown::Written,
            lent_to: None,
            only: None,
            body,
            asked,
            account,
            limits,
            until: None,
            others_left: false,
            answered: None,
            asked_usage: false,
        }
    }
}

impl Sending<'_> {
    /// The body is complete: the whole of it is judged before its last byte is let go.
    pub(super) async fn judge_whole(&mut self, core: &Core, conn: &Conn) -> Result<(), Fault> {
        let Some(reader) = self.asked.reader.take() else { return Ok(()) };
        let ask = reader.finish(&self.body.bytes)?;
        let early = self.account.ask().model == ask.model;
        debug_assert!(early, "the model that was judged is the model of the whole");
        if !ask.other_models.is_empty() {
            let wants =
                Wants { flag: self.route.flag, model: ask.model.as_deref(), others: &ask.other_models };
            // Each must be granted where it is sent, which is where the request is on its way to already.
            match core.decide(conn.principal.as_ref(), wants) {
                Verdict::Deny(why) => return Err(who::denied(core, conn.principal.as_ref(), why)),
                Verdict::Allow(plan) => self.goes_to(plan.providers.iter().map(|provider| &*provider.id))?,
            }
        }
        // Named late, an object must be at the provider that the request is already on its way to.
        if self.lent_to.is_none()
            && let Some(provider) = objects::found(core, conn.principal.as_ref(), &ask.objects).await?
        {
            let elsewhere = Fault::because(Kind::NoObject, format!("made at {provider}"));
            self.goes_to([provider.as_str()]).map_err(|_| elsewhere)?;
        }
        self.account.asked(self.request, ask);
        self.account.request_complete = true;
        Ok(())
    }

    /// What was found in the whole of it: these providers alone may have it, in this attempt and in later ones.
    fn goes_to<'p>(&mut self, providers: impl IntoIterator<Item = &'p str>) -> Result<(), Fault> {
        let kept = |id: &&str| self.only.as_ref().is_none_or(|only| only.iter().any(|known| known == id));
        let only: Vec<String> = providers.into_iter().filter(kept).map(str::to_owned).collect();
        let here = only.iter().any(|id| id == self.account.provider_id());
        self.only = Some(only);
        let elsewhere =
            || Fault::because(Kind::Denied(Denial::NoModel), "what it names late is granted elsewhere");
        here.then_some(()).ok_or_else(elsewhere)
    }

    /// Whether an attempt may be made at this provider, by what is known of the whole request.
    pub(super) fn may_go_to(&self, provider: &Provider) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(&provider.id))
    }

    /// A limit on time that came when the whole was over is that of the whole.
    pub(super) fn in_time(&self, fault: Fault) -> Fault {
        match self.until.is_some_and(|until| clock::now() >= until) && fault.is_of_time() {
            true => Fault::because(Kind::TotalTimeout, fault.word()),
            false => fault,
        }
    }

    /// Whether an attempt may be made at this provider: a client's own key goes to one host alone.
    pub(super) fn may_lend_key(&mut self, provider: &Provider) -> bool {
        if !provider.passthrough || !heads::has_own_key(self.request) {
            return true;
        }
        *self.lent_to.get_or_insert_with(|| provider.origin.clone()) == provider.origin
    }

    /// Write path and query as the provider of this attempt has them.
    pub(super) fn address(&mut self, provider: &Provider, hop: Option<&Hop>) -> Result<(), Fault> {
        let target = &self.request.head.target;
        let (path, query) =
            target.split_once('?').map_or((&**target, None), |(path, query)| (path, Some(query)));
        let renamed = hop.and_then(|hop| hop.model.as_deref()).zip(self.route.model_span.clone());
        let written = match renamed {
            Some((name, span)) => {
                self.account.altered("model");
                Cow::Owned([&path[..span.start], &segment(name), &path[span.end..]].concat())
            }
            None => Cow::Borrowed(path),
        };
        self.target = provider.path(&written).map_err(|why| Fault::new(Kind::Misconfigured(why)))?;
        if let Some(query) = query.map(|query| heads::query_for(query, provider)).filter(|q| !q.is_empty()) {
            self.target.push('?');
            self.target.push_str(&query);
        }
        Ok(())
    }

    /// Wait for the whole body, and judge it: for what cannot be done with a part.
    pub(super) async fn hold_whole(&mut self, core: &Core, conn: &mut Conn) -> Result<(), Fault> {
        while !self.body.is_done() {
            self.body.more(core, conn).await?;
        }
        self.judge_whole(core, conn).await
    }

    /// Put the provider's own name for the model into the body: exactly that JSON string, and the record says so.
    pub(super) async fn rename(
        &mut self,
        core: &Core,
        conn: &mut Conn,
        hop: Option<&Hop>,
    ) -> Result<(), Fault> {
        self.body.renamed = None;
        let Some(name) = hop.and_then(|hop| hop.model.as_deref()) else { return Ok(()) };
        if self.route.model_span.is_some() {
            return Ok(());
        }
        self.hold_whole(core, conn).await?;
        let text = asking::plain(self.request, &self.body.bytes)?;
        let (span, name) = match self.asked.spot.clone() {
            Some(Spot::Json(span)) => (span, serde_json::Value::from(name).to_string()),
            Some(Spot::Form(span)) => (span, name.to_owned()),
            None => {
                return Err(Fault::because(Kind::Coding, "the request names no model that could be renamed"));
            }
        };
        let renamed = [&text[..span.start], name.as_bytes(), &text[span.end..]].concat();
        self.body.renamed = Some(renamed);
        self.account.altered("model");
        Ok(())
    }
}

impl Sending<'_> {
    /// Ask for the usage of a stream in the client's place, where the configuration says so. A coded body is sent plain
    /// then, as one whose model is renamed; one that leaves a doubt of which member would count is left as it is.
    pub(super) async fn ask_usage(
        &mut self,
        core: &Core,
        conn: &mut Conn,
        provider: &Provider,
        hop: Option<&Hop>,
    ) -> Result<(), Fault> {
        self.asked_usage = false;
        let wanted = match provider.ask_usage {
            AskUsage::Never => false,
            AskUsage::WhenQuota => hop.is_some_and(|hop| !hop.buckets.is_empty()),
            AskUsage::Always => true,
        };
        let speaks = matches!(self.route.dialect, Dialect::Chat | Dialect::Completions);
        if !wanted || !speaks || self.route.endpoint != Endpoint::Generate {
            return Ok(());
        }
        self.hold_whole(core, conn).await?;
        let ask = self.account.ask();
        if !ask.stream || ask.include_usage {
            return Ok(());
        }
        let spliced = match &self.body.renamed {
            Some(renamed) => ask_usage::splice(renamed),
            None => ask_usage::splice(&asking::plain(self.request, &self.body.bytes)?),
        };
        if let Some(spliced) = spliced {
            self.body.renamed = Some(spliced);
            self.asked_usage = true;
            self.account.altered("ask_usage");
        }
        Ok(())
    }
}

/// A body's share of the core's budget for held bodies: past it, 503 with Retry-After.
pub(super) struct Held {
    budget: Rc<Cell<usize>>,
    mine: usize,
}

impl Held {
    pub(super) fn new(budget: Rc<Cell<usize>>) -> Self {
        Self { budget, mine: 0 }
    }

    pub(super) fn grow_to(&mut self, bytes: usize) -> Result<(), Fault> {
        let free = self.budget.get() + self.mine;
        let Some(left) = free.checked_sub(bytes) else { return Err(Fault::new(Kind::Busy)) };
        self.budget.set(left);
        self.mine = bytes;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.set(self.budget.get() + self.mine);
    }
}
