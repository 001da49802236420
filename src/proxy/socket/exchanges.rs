//! The exchanges of one socket: each judged before its message goes on, each with an account that is closed once.
//!
//! ```text
//!   client's message ─▶ Said ─┬─ passes ───────────────────────────────▶ forwarded, into the account it belongs to
//!                             └─ asks ─▶ decide ─┬─ allowed ─▶ begun ──▶ forwarded, renamed where the provider says so
//!                                                └─ refused ─▶ recorded, answered by us, not forwarded
//!   provider's message ─▶ Heard ─▶ into the account it belongs to; at the end of an exchange that account is closed
//! ```
//!
//! What belongs to no exchange stands in the account of the upgrade.

use std::sync::Arc;

use crate::base::clock::Moment;
use crate::llm;
use crate::llm::ask::AskFault;
use crate::llm::dialect::Dialect;
use crate::llm::dialect::paths::{Flag, Route};
use crate::llm::reading::Reading;
use crate::llm::socket::{Asked, Begun, Of, Said, Socket, Ticket};
use crate::policy::decide::{Denial, Hop, Verdict, Wants};
use crate::policy::identity::Principal;
use crate::policy::snapshot::Provider;
use crate::proxy::account::Account;
use crate::proxy::account::frame::endpoint_of;
use crate::proxy::budget;
use crate::proxy::core::Core;
use crate::proxy::fault::{Fault, Kind};
use crate::proxy::reply;
use crate::proxy::who;
use crate::wire::head::Fields;

/// What becomes of a client's message.
#[derive(Debug, PartialEq)]
pub(super) enum Judged {
    /// It goes on as it came.
    Passes,
    /// It goes on in this form.
    Replaced(Vec<u8>),
    /// It does not go on; the client gets this instead.
    Refused(String),
    /// It names these objects; whose they are must be known first.
    Names(Vec<String>),
}

/// Whose the objects are that a message names: the provider that has them for this principal.
pub(super) type Owned = Result<Option<String>, Fault>;

/// The exchanges of one socket.
pub(super) struct Exchanges {
    socket: Socket,
    dialect: Dialect,
    flag: Flag,
    provider: Arc<Provider>,
    /// The client's own key was passed through, and sees its own objects.
    sees_own: bool,
    /// The upgrade's, for telling who calls.
    fields: Fields,
    running: Vec<(Ticket, Account)>,
    /// Why the provider's frames are not read any more, if they are not.
    not_metered: Option<&'static str>,
}

impl Exchanges {
    /// None yet. `model` is the one that the address names, `fields` are the upgrade's.
    pub(super) fn new(
        route: &Route,
        provider: Arc<Provider>,
        model: Option<String>,
        fields: Fields,
        sees_own: bool,
    ) -> Self {
        let (dialect, flag) = (route.dialect, route.flag);
        let socket = Socket::new(dialect, model);
        let (running, not_metered) = (Vec::new(), None);
        Exchanges { socket, dialect, flag, provider, sees_own, fields, running, not_metered }
    }

    /// Whether any is under way.
    pub(super) fn is_busy(&self) -> bool {
        !self.running.is_empty()
    }

    /// When the first of those under way must be over, where its whole time is bounded.
    pub(super) fn end_by(&self, core: &Core) -> Option<Moment> {
        let total = self.provider.limits(core.limits()).total?;
        self.running.iter().map(|(_, account)| account.began().plus(total)).min()
    }

    /// Judge a message of the client's; `owned` is the answer to [`Judged::Names`]. A fault is one that ends the socket.
    pub(super) fn judge(
        &mut self,
        core: &Core,
        principal: Option<&Principal>,
        upgrade: &mut Account,
        text: &[u8],
        owned: Option<Owned>,
    ) -> Result<Judged, Fault> {
        let asked = match self.socket.from_client(text) {
            Ok(Said::Asks(asked)) => asked,
            Ok(Said::Passes(of)) => return self.pass(core, upgrade, text, of, owned),
            Err(why) => return self.unreadable(core, upgrade, text, why),
        };
        let named = self.foreign(asked.ask.objects.clone());
        let owned = match owned {
            None if !named.is_empty() => return Ok(Judged::Names(named)),
            owned => owned.unwrap_or(Ok(None)),
        };
        let mut account = upgrade.on_socket(core);
        account.asked_on(upgrade, &self.fields, &asked);
        let begun = owned
            .and_then(|provider| self.is_here(provider))
            .and_then(|()| self.begin(core, principal, &mut account, &asked, text.len()));
        match begun {
            Ok((ticket, name)) => {
                let renamed = name.and_then(|name| asked.renamed(text, &name));
                if renamed.is_some() {
                    account.altered("model");
                }
                account.lasts(core);
                account.sent(core, text, true);
                self.running.push((ticket, account));
                self.close_unread(core);
                Ok(renamed.map_or(Judged::Passes, Judged::Replaced))
            }
            Err(fault) => {
                let said = reply::message(&fault, self.dialect, account.id(), &asked);
                refused(core, account, text, &fault);
                said.map(Judged::Refused).ok_or(fault)
            }
        }
    }

    /// A message that begins nothing may still name what is somebody else's, in what it puts into a running response.
    fn pass(
        &mut self,
        core: &Core,
        upgrade: &mut Account,
        text: &[u8],
        of: Option<Ticket>,
        owned: Option<Owned>,
    ) -> Result<Judged, Fault> {
        if owned.is_none() {
            let named = self.foreign(llm::objects::named(self.dialect, text));
            if !named.is_empty() {
                return Ok(Judged::Names(named));
            }
        }
        let here = owned.unwrap_or(Ok(None)).and_then(|provider| self.is_here(provider));
        if let Err(fault) = here {
            let account = upgrade.on_socket(core);
            let said = reply::message(&fault, self.dialect, account.id(), &Asked::unknown());
            refused(core, account, text, &fault);
            return said.map(Judged::Refused).ok_or(fault);
        }
        self.account(of, upgrade).sent(core, text, true);
        Ok(Judged::Passes)
    }

    /// Objects that a message names, apart from what this socket has made itself.
    fn foreign(&self, mut named: Vec<String>) -> Vec<String> {
        named.retain(|id| !self.sees_own && !self.socket.has_made(id));
        named
    }

    fn is_here(&self, provider: Option<String>) -> Result<(), Fault> {
        match provider.filter(|provider| *provider != self.provider.id) {
            None => Ok(()),
            Some(other) => Err(Fault::because(Kind::NoObject, format!("made at {other}"))),
        }
    }

    /// May it, and is there room for it? The ticket, and the name the provider knows its model by where that differs.
    fn begin(
        &mut self,
        core: &Core,
        principal: Option<&Principal>,
        account: &mut Account,
        asked: &Asked,
        bytes: usize,
    ) -> Result<(Ticket, Option<Arc<str>>), Fault> {
        if core.is_draining() {
            return Err(Fault::new(Kind::Draining));
        }
        let hop = self.granted(core, principal, asked.ask.model.as_deref(), &asked.ask.other_models)?;
        self.reserve(core, principal, account, &hop, asked.kind, bytes)?;
        let busy = || Fault::because(Kind::Busy, "too many exchanges under way on one socket");
        let ticket = self.socket.begin(asked).ok_or_else(busy)?;
        account.admitted(core, &self.provider.id);
        Ok((ticket, hop.model))
    }

    /// Hold what it will probably cost, where budgets are drawn on.
    fn reserve(
        &self,
        core: &Core,
        principal: Option<&Principal>,
        account: &mut Account,
        hop: &Hop,
        kind: Begun,
        bytes: usize,
    ) -> Result<(), Fault> {
        if hop.buckets.is_empty() {
            return Ok(());
        }
        let draw = budget::Draw {
            principal,
            caller: account.caller(),
            ask: account.ask(),
            endpoint: endpoint_of(kind),
            provider: &self.provider,
            hop,
            body_bytes: bytes as u64,
        };
        let held = budget::reserve_now(core, &draw)?;
        account.hold(held);
        Ok(())
    }

    /// What policy says, and whether it says so of the provider that this socket leads to.
    fn granted(
        &self,
        core: &Core,
        principal: Option<&Principal>,
        model: Option<&str>,
        others: &[String],
    ) -> Result<Hop, Fault> {
        let plan = match core.decide(principal, Wants { flag: self.flag, model, others }) {
            Verdict::Allow(plan) => plan,
            Verdict::Deny(why) => return Err(who::denied(core, principal, why)),
        };
        let here = plan.providers.iter().position(|provider| provider.id == self.provider.id);
        let elsewhere =
            || Fault::because(Kind::Denied(Denial::NoModel), "another provider than the socket's serves it");
        here.and_then(|nth| plan.hops.get(nth).cloned()).ok_or_else(elsewhere)
    }

    /// A message that cannot be read ends the socket: it could ask for anything. One that can, but names no model, is
    /// answered like any other bad request.
    fn unreadable(
        &mut self,
        core: &Core,
        upgrade: &Account,
        text: &[u8],
        why: AskFault,
    ) -> Result<Judged, Fault> {
        let account = upgrade.on_socket(core);
        let names_none = why == AskFault::NoModel;
        let fault = Fault::new(Kind::Message(why));
        let said = reply::message(&fault, self.dialect, account.id(), &Asked::unknown());
        refused(core, account, text, &fault);
        said.filter(|_| names_none).map(Judged::Refused).ok_or(fault)
    }

    /// A message of the provider's. A fault is one that ends the socket.
    pub(super) fn heard(
        &mut self,
        core: &Core,
        principal: Option<&Principal>,
        upgrade: &mut Account,
        text: &[u8],
        delivered: bool,
    ) -> Result<(), Fault> {
        let heard = self.socket.from_provider(text);
        let of = match heard.of {
            Of::Socket => None,
            Of::Running(ticket) => Some(ticket),
            Of::Began(ticket, kind) => {
                self.begun_by_provider(core, principal, upgrade, ticket, kind)?;
                Some(ticket)
            }
        };
        let account = self.account(of, upgrade);
        account.heard(core, text, delivered);
        if let Some(bound) = heard
            .opened
            .filter(|_| account.dialect() == Some(Dialect::Responses))
            .and_then(|id| account.made(id))
        {
            core.objects.made(core, bound);
        }
        if let (Some(ticket), Some(reading)) = (of, heard.ended) {
            self.close(core, ticket, |account| account.read(*reading, heard.status));
        }
        if heard.model_told {
            self.granted(core, principal, self.socket.model(), &[])?;
        }
        Ok(())
    }

    /// It has begun and cannot be refused; but where it should have been, the socket ends with it.
    fn begun_by_provider(
        &mut self,
        core: &Core,
        principal: Option<&Principal>,
        upgrade: &Account,
        ticket: Ticket,
        kind: Begun,
    ) -> Result<(), Fault> {
        let mut account = upgrade.on_socket(core);
        account.begun_by_provider(upgrade, &self.fields, kind, self.socket.model_of(kind));
        account.admitted(core, &self.provider.id);
        let hop = self.granted(core, principal, self.socket.model(), &[]);
        let held = hop.and_then(|hop| self.reserve(core, principal, &mut account, &hop, kind, 0));
        self.running.push((ticket, account));
        held
    }

    /// The provider's frames cannot be read any further: what is under way, and what follows, is not metered.
    pub(super) fn give_up(&mut self, core: &Core, why: &'static str) {
        self.not_metered = Some(why);
        self.close_unread(core);
    }

    fn close_unread(&mut self, core: &Core) {
        let Some(why) = self.not_metered else { return };
        for (ticket, reading) in self.socket.end() {
            let reading = Reading { not_metered: Some(why.into()), ..reading };
            self.close(core, ticket, |account| account.read(reading, None));
        }
    }

    /// The socket has ended, and with it what was under way.
    pub(super) fn end(mut self, core: &Core, fault: &Fault) {
        for (ticket, reading) in self.socket.end() {
            self.close(core, ticket, |account| {
                account.read(reading, None);
                account.failed(fault);
            });
        }
        debug_assert!(self.running.is_empty(), "every account belongs to a ticket");
    }

    fn close(&mut self, core: &Core, ticket: Ticket, last: impl FnOnce(&mut Account)) {
        let Some(slot) = self.running.iter().position(|(own, _)| *own == ticket) else { return };
        let (_, mut account) = self.running.swap_remove(slot);
        last(&mut account);
        account.close(core, None);
    }

    /// Whose account a message goes into.
    fn account<'a>(&'a mut self, of: Option<Ticket>, upgrade: &'a mut Account) -> &'a mut Account {
        match self.running.iter_mut().find(|(ticket, _)| Some(*ticket) == of) {
            Some((_, account)) => account,
            None => upgrade,
        }
    }
}

/// A message that does not go on is an exchange all the same.
fn refused(core: &Core, mut account: Account, text: &[u8], fault: &Fault) {
    account.refused(fault);
    account.sent(core, text, false);
    account.close(core, None);
}
