//! The account of one exchange while it runs: what the record will say, filled in step by step, closed once.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_64_with_seed};

mod end;
pub(super) mod frame;

use super::budget::Held;
use super::conn::Conn;
use super::core::Core;
use super::fault::{Fault, Side};
use super::spread::Asking;
use super::{heads, objects};
use crate::base::clock::{self, Moment};
use crate::base::id::{ExchangeId, hexadecimal};
use crate::base::ring::Reservation;
use crate::base::stats::Count;
use crate::llm::agent::{self, Caller};
use crate::llm::ask::Ask;
use crate::llm::dialect::Dialect;
use crate::llm::dialect::paths::{Endpoint, Route};
use crate::llm::ending::Ending;
use crate::llm::meter::Meter;
use crate::policy::identity::Principal;
use crate::policy::identity::settings::SourceKind;
use crate::record::record::{
    Attempt, BodyKind, CapturePart, CaptureState, FaultNote, Note, Open, Outcome, Record, Who,
};
use crate::wire::crossing::Bound;
use crate::wire::h1::{Request, Response};

/// Response bytes gathered before they leave for the writer.
const PART_BYTES: usize = 16 * 1024;

/// What is known of an exchange so far.
pub(super) struct Account {
    record: Box<Record>,
    began: Moment,
    route: Option<Route>,
    meter: Option<Box<Meter>>,
    /// Of request bodies that come message by message.
    hash_in: Option<Box<Xxh3>>,
    /// Messages of the provider's, on a socket.
    messages: u64,
    /// What has come of the response and not left for the writer, and where in the body it begins.
    part: Vec<u8>,
    part_at: u64,
    /// Over what the client took of the parts that have left.
    hash_out: Option<Box<Xxh3>>,
    reservation: Option<Reservation>,
    /// The principal, as the owner of what it makes.
    owner: String,
    /// Which of the provider's keys is in use.
    key: usize,
    /// What is held of the budgets it draws on; none where it draws on none.
    held: Option<Box<Held>>,
    /// Watches a stream that may have to be ended.
    ending: Option<Box<Ending>>,
    waited: Duration,
    opened: bool,
    /// Whether any byte of a response has gone to the client, so that a fault can no longer be answered.
    pub(super) head_sent: bool,
    /// Whether only a reset can tell the client that its response was cut.
    pub(super) ends_by_close: bool,
    /// Whether the request was read to its end, so that another may follow on the connection.
    pub(super) request_complete: bool,
}

impl Account {
    /// A request head is complete.
    pub(super) fn begin(core: &Core, conn: &Conn, request: Option<&Request>) -> Self {
        let mut record = Box::new(Record { id: core.next_id(), core: core.index, ..Record::default() });
        record.times.accepted_at_us = clock::wall();
        record.who.peer.clone_from(&conn.peer_text);
        if let Some(request) = request {
            record.method.clone_from(&request.head.method);
            record.path = heads::redacted_target(&request.head.target);
            record.trace = heads::trace(&request.head.fields);
        }
        core.stats.add(Count::ExchangesOpen, 1);
        let mut account = Self {
            record,
            began: clock::now(),
            route: None,
            meter: None,
            hash_in: None,
            messages: 0,
            part: Vec::new(),
            part_at: 0,
            hash_out: None,
            reservation: None,
            key: 0,
            owner: String::new(),
            held: None,
            ending: None,
            waited: Duration::ZERO,
            opened: false,
            head_sent: false,
            ends_by_close: false,
            request_complete: false,
        };
        account.asked_by(conn.principal.as_ref());
        account
    }

    /// Who asks, as far as that is known.
    pub(super) fn asked_by(&mut self, principal: Option<&Principal>) {
        // On a listener of the peer it is known from the beginning.
        let Some(principal) = principal.filter(|_| self.record.who.source.is_empty()) else { return };
        let peer = std::mem::take(&mut self.record.who.peer);
        let strength = SourceKind::from_name(principal.source).map(SourceKind::strength);
        self.record.who = Who {
            principal: principal.label(),
            source: principal.source.to_owned(),
            strength: strength.unwrap_or_default().to_owned(),
            on_behalf_of: principal.on_behalf_of.clone(),
            groups: principal.groups.clone(),
            node: principal.node.clone(),
            peer,
        };
    }

    pub(super) fn id(&self) -> ExchangeId {
        self.record.id
    }

    pub(super) fn dialect(&self) -> Option<Dialect> {
        self.record.dialect
    }

    /// What the request asked for, as far as it has been read.
    pub(super) fn ask(&self) -> &Ask {
        &self.record.ask
    }

    /// Which agent and session it is, as far as the request has been read.
    pub(super) fn caller(&self) -> &Caller {
        &self.record.caller
    }

    /// A rule changed what was sent.
    pub(super) fn altered(&mut self, rule: &str) {
        if !self.record.altered.iter().any(|known| known == rule) {
            self.record.altered.push(rule.to_owned());
        }
    }

    /// The provider of the attempt that begins, and which of its keys.
    pub(super) fn provider(&mut self, id: &str, key: usize) {
        id.clone_into(&mut self.record.provider);
        self.key = key;
    }

    /// Whose it will be what this exchange makes, once it is known who asks.
    pub(super) fn owned_by(&mut self, principal: Option<&Principal>) {
        self.owner = principal.map(objects::owner).unwrap_or_default();
    }

    /// Who asks, in which session, as numbers.
    pub(super) fn asking(&self) -> Asking {
        let session = match self.record.caller.session.as_str() {
            "" => 0,
            session => xxh3_64_with_seed(session.as_bytes(), xxh3_64(self.record.who.principal.as_bytes())),
        };
        Asking { who: xxh3_64(self.owner.as_bytes()), session }
    }

    /// When it began.
    pub(super) fn began(&self) -> Moment {
        self.began
    }

    /// The provider of the attempt under way.
    pub(super) fn provider_id(&self) -> &str {
        &self.record.provider
    }

    /// The endpoint is known.
    pub(super) fn routed(&mut self, route: &Route) {
        self.record.dialect = Some(route.dialect);
        self.route = Some(route.clone());
    }

    /// The request has been read, to its end or far enough.
    pub(super) fn asked(&mut self, request: &Request, ask: Ask) {
        if let Some(route) = &self.route {
            let principal = &self.record.who.principal;
            self.record.caller = agent::caller(&request.head.fields, &ask, principal, route.endpoint);
        }
        self.record.ask = ask;
    }

    /// Policy agreed. The place of the record's close is reserved now; the open entry follows if the exchange lasts.
    pub(super) fn admitted(&mut self, core: &Core, provider: &str) {
        self.record.times.admitted_us = Some(self.elapsed_us());
        self.record.provider = provider.to_owned();
        self.reservation = core.reserve();
    }

    /// Budgets hold its likely cost.
    pub(super) fn hold(&mut self, held: Held) {
        self.held = Some(Box::new(held));
    }

    /// What an attempt held that executed nothing is given back.
    pub(super) fn release(&mut self) {
        if let Some(held) = self.held.take() {
            held.release();
        }
    }

    /// The exchange lasts: the small open entry makes a crash visible, and the exchange seen while it runs. One that
    /// ends within a batch of the writer needs none: a crash loses at most that batch either way.
    pub(super) fn lasts(&mut self, core: &Core) {
        if std::mem::replace(&mut self.opened, true) {
            return;
        }
        core.note_open(Note::Open(Box::new(Open {
            id: self.record.id,
            accepted_at_us: self.record.times.accepted_at_us,
            who: self.record.who.clone(),
            caller: self.record.caller.clone(),
            dialect: self.record.dialect,
            method: self.record.method.clone(),
            path: self.record.path.clone(),
            model: self.record.ask.model.clone(),
            provider: self.record.provider.clone(),
            quotas: self.held.as_ref().map(|held| held.notes()).unwrap_or_default(),
        })));
    }

    /// A connection to the provider is in hand; what has passed since then was not our work.
    pub(super) fn connected(&mut self, since: Moment) {
        let now = clock::now();
        self.record.times.connected_us = Some(micros(now.since(self.began)));
        self.waited += now.since(since);
    }

    /// Time that was the client's and not ours.
    pub(super) fn waited(&mut self, waited: Duration) {
        self.waited += waited;
    }

    /// An attempt ended with a fault.
    pub(super) fn attempt_failed(&mut self, provider: &str, fault: &Fault) {
        let fault = Some(format!("{}: {}", fault.word(), fault.cause));
        let provider = provider.to_owned();
        self.attempted(Attempt { provider, key: self.key, status: None, fault });
    }

    /// Most exchanges make one attempt, and hold it for as long as they last.
    fn attempted(&mut self, attempt: Attempt) {
        self.record.attempts.reserve_exact(1);
        self.record.attempts.push(attempt);
    }

    /// Body bytes the provider's socket has taken so far.
    pub(super) fn request_sent(&mut self, bytes: usize) {
        self.record.bytes.request_sent = bytes as u64;
        if self.record.times.own_us == 0 {
            let own = clock::now().since(self.began).saturating_sub(self.waited);
            self.record.times.own_us = micros(own).max(1);
        }
    }

    /// The final response head has come.
    pub(super) fn first_byte(&mut self, response: &Response) {
        self.record.times.first_byte_us = Some(self.elapsed_us());
        let status = response.head.status;
        let provider = self.record.provider.clone();
        self.attempted(Attempt { provider, key: self.key, status: Some(status), fault: None });
        if let Some(route) = &self.route {
            let meter = Meter::new(route.dialect, route.endpoint, status, &response.head.fields);
            self.meter = Some(Box::new(meter));
            if self.asks_plain() {
                let ending = Ending::new(route.dialect, route.endpoint, status, &response.head.fields);
                self.ending = ending.map(Box::new);
            }
        }
    }

    /// The gateway itself has the answer.
    pub(super) fn answered_here(&mut self, core: &Core, status: u16, body: &[u8]) {
        self.record.status = status;
        self.record.reading.complete = true;
        self.head_sent = true;
        self.received(core, body);
        self.delivered(body);
    }

    /// Whether the answer may make something known that stays at the provider.
    pub(super) fn makes_objects(&self) -> bool {
        let Some(route) = &self.route else { return false };
        let kept = self.record.ask.store;
        self.record.status < 300
            && match (route.endpoint, route.dialect) {
                (Endpoint::Make | Endpoint::Object, _) => true,
                (Endpoint::Generate | Endpoint::Compact, Dialect::Responses | Dialect::Interactions) => {
                    kept != Some(false)
                }
                (Endpoint::Generate, Dialect::Chat) => kept == Some(true),
                _ => false,
            }
    }

    /// Objects that the answer has made known since this was last asked; they go into the record, too.
    pub(super) fn fresh_objects(&mut self) -> Vec<Bound> {
        let Some(meter) = &self.meter else { return Vec::new() };
        let known = &mut self.record.made;
        let fresh: Vec<String> = meter.made().into_iter().filter(|id| !known.ids.contains(id)).collect();
        known.ids.extend(fresh.iter().cloned());
        known.owner.clone_from(&self.owner);
        let bound = |id| Bound { id, owner: self.owner.clone(), provider: self.record.provider.clone() };
        fresh.into_iter().map(bound).collect()
    }

    /// The response head as it will stand in the record.
    pub(super) fn response_head(&mut self, response: Response) {
        self.record.status = response.head.status;
        self.record.response_headers = response.head.fields;
        self.record.response_headers.redact(heads::is_secret);
    }

    /// Content that came from the provider. Read and kept only now, after it was sent on.
    pub(super) fn received(&mut self, core: &Core, data: &[u8]) {
        self.metered(data);
        self.kept(core, data);
    }

    /// Content that came from the provider and is read, whoever gets it.
    pub(super) fn metered(&mut self, data: &[u8]) {
        self.record.bytes.response_received += data.len() as u64;
        if let Some(meter) = &mut self.meter {
            meter.feed(data);
        }
    }

    /// Whether something that came coded is not decoded yet.
    pub(super) fn is_behind(&self) -> bool {
        self.meter.as_ref().is_some_and(|meter| meter.is_behind())
    }

    /// Of what came coded another piece is decoded and read.
    pub(super) fn catch_up(&mut self) {
        self.meter.iter_mut().for_each(|meter| meter.go_on());
    }

    /// Content that goes on, for the record.
    pub(super) fn kept(&mut self, core: &Core, data: &[u8]) {
        if self.part.len() + data.len() > PART_BYTES {
            self.send_part(core);
        }
        self.part.extend_from_slice(data);
    }

    /// Whether the answer is wanted without a content coding: a stream that may have to be ended is read as it passes.
    pub(super) fn asks_plain(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.may_end())
    }

    /// Whether the response may be ended before its end, so that its framing has to be ours.
    pub(super) fn may_end(&self) -> bool {
        self.ending.is_some()
    }

    /// Where the content of a block overruns a budget that ends streams, its ranges are cut there; returned is what
    /// ends the stream.
    pub(super) fn end_if_overrun(
        &mut self,
        core: &Core,
        block: &[u8],
        ranges: &mut Vec<Range<usize>>,
    ) -> Option<Vec<u8>> {
        let (held, ending) = (self.held.as_mut()?, self.ending.as_mut()?);
        let (bucket, terminal) = held.end_if_overrun(core, ending, block, ranges)?;
        self.ending = None;
        self.altered("end_stream");
        self.record.outcome = Outcome::Truncated;
        self.record.fault = Some(FaultNote {
            side: Side::Rule.name().to_owned(),
            kind: "quota_exceeded".to_owned(),
            cause: format!("the stream was ended: quota {bucket} is overrun"),
        });
        Some(terminal)
    }

    /// Content of ours behind the provider's: kept with the body, and not metered.
    pub(super) fn added(&mut self, core: &Core, data: &[u8]) {
        if self.part.len() + data.len() > PART_BYTES {
            self.send_part(core);
        }
        self.part.extend_from_slice(data);
    }

    /// Content that the client's socket has taken, in its order. Hashed with the part that it lies in; only what a slow
    /// client takes of a part that has left already must be hashed here.
    pub(super) fn delivered(&mut self, data: &[u8]) {
        let before = usize::try_from(self.part_at.saturating_sub(self.record.bytes.response_sent));
        let late = before.unwrap_or(usize::MAX).min(data.len());
        if late > 0 {
            self.hash_out.get_or_insert_default().update(&data[..late]);
        }
        self.record.bytes.response_sent += data.len() as u64;
    }

    /// Time spent waiting for the client to take bytes.
    pub(super) fn blocked(&mut self, waited: Duration) {
        self.record.times.blocked_us += micros(waited);
    }

    /// The request body, once no retry can need it any more.
    pub(super) fn capture_request(&mut self, core: &Core, body: Vec<u8>) {
        if body.is_empty() {
            return;
        }
        self.record.bytes.request_received = body.len() as u64;
        core.stats.add(Count::BytesFromClients, body.len() as u64);
        self.record.request_hash = hexadecimal(xxh3_64(&body));
        self.keep(core, BodyKind::Request, body);
    }

    fn send_part(&mut self, core: &Core) {
        let part = std::mem::take(&mut self.part);
        if part.is_empty() {
            return;
        }
        let taken = &part[..self.taken_of(&part)];
        self.hash_out.get_or_insert_default().update(taken);
        self.part_at += part.len() as u64;
        self.keep(core, BodyKind::Response, part);
    }

    /// How much of the part that has not left the client has taken.
    fn taken_of(&self, part: &[u8]) -> usize {
        let taken = self.record.bytes.response_sent.saturating_sub(self.part_at);
        usize::try_from(taken).unwrap_or(usize::MAX).min(part.len())
    }

    /// XXH3-64 of what the client took; most bodies are one part, which needs no running hash.
    fn response_hash(&self) -> Option<u64> {
        let rest = &self.part[..self.taken_of(&self.part)];
        match &self.hash_out {
            Some(hash) => {
                let mut hash = hash.clone();
                hash.update(rest);
                Some(hash.digest())
            }
            None => (!rest.is_empty()).then(|| xxh3_64(rest)),
        }
    }

    fn keep(&mut self, core: &Core, kind: BodyKind, bytes: Vec<u8>) {
        // Once a piece is missing the rest would only look like the whole.
        if self.record.capture == CaptureState::Shed {
            return;
        }
        let part = CapturePart { id: self.record.id, kind, bytes: Bytes::from(bytes) };
        self.record.capture = if core.capture(part) { CaptureState::Full } else { CaptureState::Shed };
    }

    fn elapsed_us(&self) -> u64 {
        micros(clock::now().since(self.began))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
