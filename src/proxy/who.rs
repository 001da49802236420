//! Step `who` of an exchange: evidence of the connection and of this request, judged by the sources of its listener.
//!
//! ```text
//!   a listener of the peer ─────▶ known since the connection began; nothing is judged here
//!   any other ──▶ judge ──▶ known: what vouched is taken out of the request, so that it cannot leave
//!                   ▲  └──▶ nobody, or bad evidence: 401, recorded with source and reason
//!                   └─ look up, each thing once: whois, key set
//! ```
//!
//! A source that cannot answer in time is a refusal. Nothing of what was shown reaches record or log.

use super::conn::Conn;
use super::core::Core;
use super::fault::{Fault, Kind};
use super::heads::percent_decoded;
use super::lookup;
use crate::base::clock;
use crate::base::fields::Fields;
use crate::policy::decide::Denial;
use crate::policy::explain::no_role;
use crate::policy::identity::key::MARK;
use crate::policy::identity::{self, Judged, Known, Lookup, Principal, Shown, Vouched};
use crate::wire::h1::Request;

/// Things that may have to be looked up for one request.
const LOOKUPS_MAX: usize = 4;

/// Who asks: afterwards the connection's principal is that of this request, and what vouched is gone from it.
pub(super) async fn judge(core: &Core, conn: &mut Conn, request: &mut Request) -> Result<(), Fault> {
    let consumed = match core.is_of_the_peer(conn.listener) {
        true => of_the_peer(conn)?,
        // Boxed: look-ups must not make the task of every connection larger.
        false => Box::pin(asker(core, conn, request)).await?,
    };
    take_out(core, &mut request.head.fields, &consumed);
    Ok(())
}

/// As [`judge`], for pages: what is for everybody may be seen by nobody in particular, and cookies are the pages' own.
pub(super) async fn judge_viewer(core: &Core, conn: &mut Conn, request: &Request) -> Result<(), Fault> {
    match asker(core, conn, request).await {
        Err(fault) if fault.kind == Kind::Denied(Denial::NoIdentity) => Ok(()),
        judged => judged.map(drop),
    }
}

/// Find the connection's principal; the fields that were evidence are returned.
async fn asker(core: &Core, conn: &mut Conn, request: &Request) -> Result<Vec<String>, Fault> {
    if core.is_of_the_peer(conn.listener) {
        return of_the_peer(conn);
    }
    if request.head.query().is_some_and(shows_key) {
        // Queries end up in logs, and in passthrough at the vendor.
        return Err(Fault::because(Kind::BadIdentity, "key: in the query, where it is no evidence"));
    }
    let refused =
        |source: &str, why: &str| Err(Fault::because(Kind::BadIdentity, format!("{source}: {why}")));
    match look(core, conn, request).await {
        Judged::Known(Vouched { principal, consumed, key }) => {
            conn.runs_by_key(core, key);
            conn.principal = Some(principal);
            Ok(consumed)
        }
        Judged::Nobody => Err(Denial::NoIdentity.into()),
        Judged::Refused(source, why) => refused(source.name(), why),
        Judged::NeedsLookup(Lookup::Whois) => refused("tailnet", "the daemon did not answer"),
        Judged::NeedsLookup(Lookup::KeySet(_)) => {
            refused("jwt", "signed with a key that its issuer does not publish, or cannot be asked for")
        }
    }
}

/// The fault for what policy refuses; without a role it names the rule that comes nearest.
pub(super) fn denied(core: &Core, principal: Option<&Principal>, why: Denial) -> Fault {
    match (why, principal) {
        (Denial::NoRole, Some(principal)) => {
            Fault::because(Kind::Denied(why), no_role(&core.snapshot(), principal))
        }
        _ => why.into(),
    }
}

/// Whether a query has a key of ours for a value, however it is written.
fn shows_key(query: &str) -> bool {
    let values = query.split(['&', ';']).filter_map(|pair| pair.split_once('='));
    values.map(|(_, value)| percent_decoded(value)).any(|value| value.starts_with(MARK))
}

/// Known since the connection began, or never. The kernel knows nothing of a socket that its owner has closed.
fn of_the_peer(conn: &Conn) -> Result<Vec<String>, Fault> {
    match &conn.principal {
        Some(_) => Ok(Vec::new()),
        None if conn.socket.socket().has_ended() => {
            Err(Fault::because(Kind::ClientGone, "before it was known who asks"))
        }
        None => Err(Denial::NoIdentity.into()),
    }
}

async fn look(core: &Core, conn: &mut Conn, request: &Request) -> Judged {
    let mut asked: Vec<Lookup> = Vec::new();
    loop {
        let judged = judge_once(core, conn, request);
        let Judged::NeedsLookup(lookup) = &judged else { return judged };
        if asked.contains(lookup) || asked.len() == LOOKUPS_MAX {
            return judged;
        }
        lookup::ask(core, conn, lookup).await;
        asked.push(lookup.clone());
    }
}

fn judge_once(core: &Core, conn: &Conn, request: &Request) -> Judged {
    let fields: Vec<(&[u8], &[u8])> = request.head.fields.iter().collect();
    let shown = Shown {
        evidence: &conn.evidence,
        certificate: conn.certificate.as_ref(),
        whois: conn.whois(clock::now()),
        fields: &fields,
    };
    core.with_trust(|snapshot, trust, seen| {
        let Some(listener) = snapshot.listeners.get(conn.listener) else { return Judged::Nobody };
        let known = Known { sources: &snapshot.sources, keys: &trust.keys, key_sets: &trust.key_sets, seen };
        identity::judge(&listener.identity, known, &shown, clock::wall())
    })
}

/// What was evidence, and what speaks of the client, is no longer part of the request. Where no source is configured
/// there is nothing but what the heads leave out anyway.
fn take_out(core: &Core, fields: &mut Fields, consumed: &[String]) {
    core.with_trust(|snapshot, _, _| {
        if consumed.is_empty() && snapshot.sources.is_empty() {
            return;
        }
        fields.retain(|name| {
            let was_evidence = consumed.iter().any(|own| name.eq_ignore_ascii_case(own.as_bytes()));
            !was_evidence && !identity::is_withheld(name, &snapshot.sources)
        });
    });
}
