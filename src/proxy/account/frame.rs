//! Accounts on a socket: the upgrade's own, which lasts as long as the socket, and one for each exchange that passes
//! over it. A body here is a sequence of messages, each with a line feed behind it.

use super::Account;
use crate::base::clock;
use crate::base::stats::Count;
use crate::llm::agent;
use crate::llm::ask::Ask;
use crate::llm::dialect::paths::Endpoint;
use crate::llm::reading::Reading;
use crate::llm::socket::{Asked, Begun};
use crate::proxy::core::Core;
use crate::proxy::fault::Fault;
use crate::proxy::heads;
use crate::record::record::{Attempt, BodyKind, Outcome, Record};
use crate::wire::crossing::Bound;
use crate::wire::h1::Response;
use crate::wire::head::Fields;

/// What an exchange of that kind is for. Setting up costs no tokens.
pub(in crate::proxy) fn endpoint_of(kind: Begun) -> Endpoint {
    match kind {
        Begun::Response | Begun::Steer | Begun::Turn => Endpoint::Generate,
        Begun::Transcription => Endpoint::Transcription,
        Begun::WarmUp | Begun::Session => Endpoint::Socket,
    }
}

impl Account {
    /// The provider has agreed to leave HTTP.
    pub(in crate::proxy) fn switched(&mut self, response: &Response) {
        self.record.times.first_byte_us = Some(self.elapsed_us());
        self.record.status = response.head.status;
        self.record.response_headers = response.head.fields.clone();
        self.record.response_headers.redact(heads::is_secret);
        let provider = self.record.provider.clone();
        self.record.attempts.push(Attempt { provider, key: self.key, status: Some(101), fault: None });
        self.record.reading = Reading { stream: true, complete: true, ..Reading::default() };
        self.head_sent = true;
        self.request_complete = true;
    }

    /// An exchange begins on the socket whose upgrade this is the account of.
    pub(in crate::proxy) fn on_socket(&self, core: &Core) -> Account {
        let upgrade = &self.record;
        let mut record = Box::new(Record {
            id: core.next_id(),
            core: core.index,
            socket: Some(upgrade.id),
            who: upgrade.who.clone(),
            dialect: upgrade.dialect,
            method: upgrade.method.clone(),
            path: upgrade.path.clone(),
            provider: upgrade.provider.clone(),
            ..Record::default()
        });
        record.times.accepted_at_us = clock::wall();
        core.stats.add(Count::ExchangesOpen, 1);
        Account {
            record,
            began: clock::now(),
            route: self.route.clone(),
            meter: None,
            hash_in: None,
            messages: 0,
            part: Vec::new(),
            part_at: 0,
            hash_out: None,
            reservation: None,
            key: self.key,
            owner: self.owner.clone(),
            held: None,
            ending: None,
            waited: std::time::Duration::ZERO,
            opened: false,
            head_sent: true,
            ends_by_close: false,
            request_complete: true,
        }
    }

    /// What its first message asks for. `fields` are the upgrade's; what the message itself claims of them comes first,
    /// since the fields are as old as the socket.
    pub(in crate::proxy) fn asked_on(&mut self, upgrade: &Account, fields: &Fields, asked: &Asked) {
        let claims: Fields = asked.claims.iter().chain(fields.iter()).collect();
        self.begun(upgrade, &claims, asked.kind, asked.ask.clone());
    }

    /// The provider has begun it, within the session that was granted.
    pub(in crate::proxy) fn begun_by_provider(
        &mut self,
        upgrade: &Account,
        fields: &Fields,
        kind: Begun,
        model: Option<&str>,
    ) {
        let ask = Ask { model: model.map(str::to_owned), stream: true, ..Ask::default() };
        self.begun(upgrade, fields, kind, ask);
    }

    fn begun(&mut self, upgrade: &Account, fields: &Fields, kind: Begun, ask: Ask) {
        let endpoint = endpoint_of(kind);
        if let Some(route) = &mut self.route {
            route.endpoint = endpoint;
        }
        self.record.caller = agent::caller(fields, &ask, &self.record.who.principal, endpoint);
        // Messages carry only what is new, so that the beginning of one says nothing; but a socket is one conversation.
        if !["header", "cache_key"].contains(&self.record.caller.session_by.as_str()) {
            self.record.caller.session = upgrade.id().to_string();
            self.record.caller.session_by = "socket".into();
        }
        // Within a session tools are declared once, and a message without any is a turn all the same.
        self.record.caller.turn = kind.is_turn();
        self.record.ask = ask;
    }

    /// It was refused, and nothing of it went on.
    pub(in crate::proxy) fn refused(&mut self, fault: &Fault) {
        self.failed(fault);
        self.record.outcome = Outcome::Refused;
    }

    /// A message of the client's; `passed` says whether it goes on to the provider.
    pub(in crate::proxy) fn sent(&mut self, core: &Core, text: &[u8], passed: bool) {
        let bytes = text.len() as u64 + 1;
        self.record.bytes.request_received += bytes;
        self.record.bytes.request_sent += if passed { bytes } else { 0 };
        core.stats.add(Count::BytesFromClients, bytes);
        let mut body = Vec::with_capacity(text.len() + 1);
        body.extend_from_slice(text);
        body.push(b'\n');
        self.hash_in.get_or_insert_default().update(&body);
        self.keep(core, BodyKind::Request, body);
    }

    /// A message of the provider's; `delivered` says whether the client has taken it.
    pub(in crate::proxy) fn heard(&mut self, core: &Core, text: &[u8], delivered: bool) {
        if self.record.times.first_byte_us.is_none() {
            self.record.times.first_byte_us = Some(self.elapsed_us());
            self.record.status = 200;
        }
        self.messages += 1;
        for piece in [text, b"\n"] {
            self.received(core, piece);
            if delivered {
                self.delivered(piece);
            }
        }
    }

    /// It has made a response that may stay at the provider under this id: whose it is, unless it was not to stay.
    pub(in crate::proxy) fn made(&mut self, id: String) -> Option<Bound> {
        if self.record.ask.store == Some(false) { None } else { self.bind(id) }
    }

    /// Something stays at the provider under this id: whose it is, the first time that it is named.
    pub(in crate::proxy) fn bind(&mut self, id: String) -> Option<Bound> {
        if self.record.made.ids.contains(&id) {
            return None;
        }
        self.record.made.ids.push(id.clone());
        self.record.made.owner.clone_from(&self.owner);
        Some(Bound { id, owner: self.owner.clone(), provider: self.record.provider.clone() })
    }

    /// The exchange has ended, and said this.
    pub(in crate::proxy) fn read(&mut self, reading: Reading, status: Option<u16>) {
        self.record.status = status.unwrap_or(self.record.status);
        self.record.reading = reading;
    }
}
