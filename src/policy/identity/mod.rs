//! Who is asking. Sources judge [`Evidence`] and what the exchange shows, never a socket; one file each.
//!
//! ```text
//!  each source of the listener, in order
//!    nothing to go by ──▶ the next one          (a strange credential is nothing to go by)
//!    somebody         ──▶ known, and the fields it took as evidence never leave
//!    bad evidence     ──▶ 401, the search ends  (a revoked key must not come in by a weaker source behind it)
//!    must be looked up ─▶ the data plane does it and asks again; if it cannot, 401
//! ```

pub mod headers;
pub mod jwt;
pub mod key;
pub mod mtls;
pub mod peer;
pub mod settings;
pub mod tailnet;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use super::grant::{Gives, login};
use crate::base::clock::Wall;
use crate::base::fields::{Names, is_spelled};
use settings::{SourceKind, SourceSettings};

/// What a connection shows about its other end.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Address of the peer, as a trusted balancer tells it where there is one; none on a unix socket.
    pub peer: Option<SocketAddr>,
    /// Whether the other end is known to be on this machine: never so of one a balancer speaks for.
    pub here: bool,
    /// Local uid of the peer, where the kernel told it (loopback, unix socket).
    pub uid: Option<u32>,
    /// Login of that uid.
    pub login: Option<String>,
}

/// What kind of somebody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A person: login or mail address.
    #[default]
    User,
    /// A device: its tags, sorted and joined by commas.
    Device,
    /// A key minted by weir.
    Key,
    /// A workload: SPIFFE id.
    Workload,
}

impl Kind {
    /// Its name, as stores keep it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::User => "User",
            Kind::Device => "Device",
            Kind::Key => "Key",
            Kind::Workload => "Workload",
        }
    }
}

/// Who: user, device, key or workload, and the source that vouched for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principal {
    /// Login, joined tags, key name or SPIFFE id.
    pub name: String,
    /// Source that vouched.
    pub source: &'static str,
    /// What kind of somebody.
    pub kind: Kind,
    /// Groups that the source brought, without `group:`.
    pub groups: Vec<String>,
    /// Tags of a device, each with `tag:`.
    pub tags: Vec<String>,
    /// The machine, where the source knows it.
    pub node: Option<String>,
    /// Whom it acts for, where a trusted front says so.
    pub on_behalf_of: Option<String>,
    /// Whether the connection comes from this machine.
    pub loopback: bool,
    /// Grants that the source itself carries (the tailnet's), united with the file's.
    pub carried: Vec<Gives>,
}

impl Principal {
    /// The name under which it is recorded and shown, and its budgets are kept. A key called like a person is not that
    /// person.
    #[must_use]
    pub fn label(&self) -> String {
        self.called().into_owned()
    }

    /// The same, where a copy can be avoided.
    #[must_use]
    pub fn called(&self) -> Cow<'_, str> {
        match self.kind {
            Kind::Key => Cow::Owned(["key:", &self.name].concat()),
            Kind::User | Kind::Device | Kind::Workload => Cow::Borrowed(&self.name),
        }
    }
}

/// The name is enough to spread them; equality still looks at everything.
impl std::hash::Hash for Principal {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.kind.hash(state);
    }
}

/// What one exchange shows, beside its connection's evidence.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// What the connection shows.
    pub evidence: &'a Evidence,
    /// Client certificate that TLS has verified.
    pub certificate: Option<&'a mtls::Certified>,
    /// The tailnet daemon's word about the connection, once it was asked.
    pub whois: Option<&'a tailnet::Whois>,
    /// Header fields as received.
    pub fields: &'a [(&'a [u8], &'a [u8])],
}

impl<'a> Shown<'a> {
    /// Evidence and fields, nothing else.
    #[must_use]
    pub fn of(evidence: &'a Evidence, fields: &'a [(&'a [u8], &'a [u8])]) -> Self {
        Self { evidence, certificate: None, whois: None, fields }
    }

    /// Values of a field.
    fn all<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let is = move |own: &&(&[u8], &[u8])| own.0.eq_ignore_ascii_case(name.as_bytes());
        self.fields.iter().filter(is).map(|(_, value)| *value)
    }

    /// The one value of a field. Twice, or no plain text, is an error: two readers could disagree about it.
    fn only(&self, name: &str) -> Option<Result<&'a str, ()>> {
        let mut values = self.all(name);
        let first = values.next()?;
        if values.next().is_some() {
            return Some(Err(()));
        }
        let text = std::str::from_utf8(first).map(str::trim).map_err(|_| ());
        Some(text.and_then(|text| if text.chars().any(char::is_control) { Err(()) } else { Ok(text) }))
    }
}

/// What is trusted beside the configuration: minted keys and issuers' published keys. Swapped whole, like the snapshot.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Keys minted by weir.
    pub keys: Arc<key::KeyRing>,
    /// Issuers' published keys.
    pub key_sets: Arc<jwt::KeySets>,
}

/// What the gateway knows that evidence is held against.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Sources as configured.
    pub sources: &'a [SourceSettings],
    /// Keys minted by weir.
    pub keys: &'a key::KeyRing,
    /// Issuers' published keys.
    pub key_sets: &'a jwt::KeySets,
    /// Tokens verified lately.
    pub seen: &'a jwt::Seen,
}

/// What one source found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing to go by.
    Nothing,
    /// Somebody.
    Principal(Principal),
    /// Evidence that is bad. The words are for the log.
    Bad(&'static str),
    /// The issuer's keys are not here, or not all of them.
    NeedsKeys,
    /// The tailnet daemon must be asked.
    NeedsWhois,
}

/// What all of them found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// Somebody.
    Known(Vouched),
    /// Nobody: 401.
    Nobody,
    /// Bad evidence: 401. The words are for the log; clients are told no more than for nobody.
    Refused(SourceKind, &'static str),
    /// Do this and ask again, once. Where it cannot be done, or is asked for again: 401.
    NeedsLookup(Lookup),
}

/// Somebody, and what vouched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vouched {
    /// Who.
    pub principal: Principal,
    /// Fields that were evidence, in lower case: they never leave.
    pub consumed: Vec<String>,
    /// Id of the key that vouched, where one did: what `weir key revoke --cut` is about.
    pub key: Option<String>,
}

/// What a source needs to be looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The tailnet daemon's word about the connection.
    Whois,
    /// What an issuer publishes at this address. Fetched at most now and then, whatever tokens claim.
    KeySet(String),
}

/// Who is asking, by the sources of its listener in their order.
#[must_use]
pub fn judge(order: &[SourceKind], known: Known<'_>, shown: &Shown<'_>, now: Wall) -> Judged {
    for kind in order {
        let mut settings = known.sources.iter().filter(|source| source.kind() == *kind).peekable();
        let bare = settings.peek().is_none();
        let judged = match kind {
            SourceKind::Peer => step(*kind, peer_of(shown), &[], None),
            SourceKind::Key => by_key(known.keys, shown, now),
            _ if bare => None,
            _ => settings.find_map(|source| one(source, known, shown, now)),
        };
        if let Some(judged) = judged {
            return judged;
        }
    }
    Judged::Nobody
}

fn one(source: &SourceSettings, known: Known<'_>, shown: &Shown<'_>, now: Wall) -> Option<Judged> {
    let kind = source.kind();
    match source {
        SourceSettings::Peer(_) | SourceSettings::Key(_) => None,
        SourceSettings::Mtls(mtls) => step(kind, mtls::judge(mtls, shown, now), &[], None),
        SourceSettings::Jwt(jwt) => {
            let keys = Lookup::KeySet(jwt.jwks.value.clone());
            let found = jwt::judge(jwt, known.key_sets, known.seen, shown, now);
            step(kind, found, &[&jwt.header.0], Some(keys))
        }
        SourceSettings::Headers(headers) => {
            step(kind, headers::judge(headers, shown), &[&headers.user.0], None)
        }
        SourceSettings::Tailnet(_) => step(kind, whois_of(shown), &[], Some(Lookup::Whois)),
        SourceSettings::TailscaleServe(serve) => {
            step(kind, headers::tailscale_serve(serve, shown), &[], None)
        }
    }
}

/// `None`: on to the next source.
fn step(kind: SourceKind, found: Found, consumed: &[&str], lookup: Option<Lookup>) -> Option<Judged> {
    match found {
        Found::Nothing => None,
        Found::Principal(principal) if is_no_name(&principal) => {
            Some(Judged::Refused(kind, "names somebody as no person is called"))
        }
        Found::Principal(principal) => Some(Judged::Known(Vouched {
            principal: spelled_once(principal),
            consumed: consumed.iter().map(|name| (*name).to_owned()).collect(),
            key: None,
        })),
        Found::Bad(why) => Some(Judged::Refused(kind, why)),
        Found::NeedsKeys | Found::NeedsWhois => lookup.map(Judged::NeedsLookup),
    }
}

/// What would break a line where it is written, and a person who reads as a key, a device or a workload: records,
/// buckets and objects know people by their name.
fn is_no_name(principal: &Principal) -> bool {
    let told =
        principal.groups.iter().chain(&principal.tags).chain(&principal.node).chain(&principal.on_behalf_of);
    let mut told = told.chain([&principal.name]);
    let marks = ["key:", "tag:", "group:", "spiffe://"];
    let passes_for_other =
        principal.kind == Kind::User && marks.iter().any(|mark| principal.name.starts_with(mark));
    passes_for_other || told.any(|text| text.chars().any(char::is_control))
}

/// A mail address is one person in any case: one bucket, one history.
fn spelled_once(principal: Principal) -> Principal {
    match principal.kind {
        Kind::User => Principal { name: login(&principal.name), ..principal },
        Kind::Device | Kind::Key | Kind::Workload => principal,
    }
}

/// A front's field on a `peer` listener: the peer is then the front, not the asker.
fn peer_of(shown: &Shown<'_>) -> Found {
    if shown.fields.iter().any(|(name, _)| peer::is_front_field(name)) {
        return Found::Bad("a front's header field on a listener that believes the kernel alone");
    }
    peer::judge(shown.evidence).map_or(Found::Nothing, Found::Principal)
}

fn whois_of(shown: &Shown<'_>) -> Found {
    match shown.whois {
        None => Found::NeedsWhois,
        Some(tailnet::Whois::Known(principal)) => Found::Principal((**principal).clone()),
        Some(tailnet::Whois::Stranger) => Found::Nothing,
        Some(tailnet::Whois::Silent(why)) => Found::Bad(why),
    }
}

fn by_key(keys: &key::KeyRing, shown: &Shown<'_>, now: Wall) -> Option<Judged> {
    let mut ours = shown.fields.iter().filter_map(|(name, value)| key::of_field(name, value));
    let (name, first) = ours.next()?;
    let mut consumed = vec![name];
    for (name, other) in ours {
        if other != first {
            return Some(Judged::Refused(SourceKind::Key, "two different keys"));
        }
        consumed.push(name);
    }
    let found = match keys.judge(first, now) {
        Ok(principal) => Found::Principal(Principal { loopback: is_from_here(shown), ..principal }),
        Err(key::BadKey::Malformed) => Found::Bad("what begins with weir_ is no key"),
        Err(key::BadKey::Unknown) => Found::Bad("an unknown key"),
        Err(key::BadKey::Expired) => Found::Bad("an expired key"),
        Err(key::BadKey::Revoked) => Found::Bad("a revoked key"),
    };
    let judged = step(SourceKind::Key, found, &consumed, None);
    judged.map(|judged| match judged {
        Judged::Known(vouched) => {
            Judged::Known(Vouched { key: key::id_in(first).map(str::to_owned), ..vouched })
        }
        other => other,
    })
}

/// Whether the asker itself is on this machine. Behind a front that is, it need not be.
fn is_from_here(shown: &Shown<'_>) -> bool {
    let direct = shown.evidence.here && shown.evidence.peer.is_some();
    direct && !shown.fields.iter().any(|(name, _)| peer::is_front_field(name))
}

/// What follows `Bearer `, in any case.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, rest) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| rest.trim())
}

/// Fields that say who asks and are never sent on, whoever sent them.
const ABOUT_THE_CLIENT: Names = Names::of(&[
    "cookie",
    "proxy-authorization",
    "forwarded",
    "via",
    "x-real-ip",
    "true-client-ip",
    "x-goog-iap-jwt-assertion",
    "x-goog-authenticated-user-email",
    "x-amzn-oidc-data",
]);

/// Beginnings of such fields.
const ABOUT_THE_CLIENT_PREFIXES: [&str; 4] = ["x-forwarded-", "tailscale-", "cf-access-", "cf-connecting-"];

/// Whether a field is withheld from providers and from the record whatever it holds. Credentials are the credential
/// rule's business; what a source took as evidence is in [`Vouched::consumed`].
#[must_use]
pub fn is_withheld(name: &[u8], sources: &[SourceSettings]) -> bool {
    is_about_the_client(name) || sources.iter().any(|source| is_of(source, name))
}

/// Fields that speak of the client, whatever the configuration.
#[must_use]
pub fn is_about_the_client(name: &[u8]) -> bool {
    // Most fields of a request are told from these by their first letter.
    if !name.first().is_some_and(|first| b"cpfvxt".contains(&first.to_ascii_lowercase())) {
        return false;
    }
    let begins = |prefix: &&str| name.get(..prefix.len()).is_some_and(|start| is_spelled(start, prefix));
    ABOUT_THE_CLIENT.has_spelled(name) || ABOUT_THE_CLIENT_PREFIXES.iter().any(begins)
}

fn is_of(source: &SourceSettings, name: &[u8]) -> bool {
    let is = |own: &str| is_spelled(name, own);
    match source {
        SourceSettings::Headers(headers) => {
            let named = [Some(&headers.user), headers.groups.as_ref(), headers.on_behalf_of.as_ref()];
            named.into_iter().flatten().any(|header| is(&header.0))
        }
        // A provider's own credential may stand in the same field, which is then replaced or passed on as such.
        SourceSettings::Jwt(jwt) => is(&jwt.header.0) && !key::FIELDS.iter().any(|field| is(field)),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
