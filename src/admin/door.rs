//! Who is looking, and what they may see and do.
//!
//! ```text
//!   nobody                                      probes
//!   user       known by a source                what is their own
//!   operator   a grant says so                  and sums over everybody
//!   auditor    a grant says so                  and everybody's records, each look written down
//!   admin      a grant, the link, the socket    everything
//! ```
//!
//! Loopback never gives more than user: the agents that are governed run as that user. Its people come by the control
//! socket or by the link.
//!
//! ```text
//!   link   made ──visited once──▶ session (12 h, bound to the visitor's login) ──▶ forgotten
//!             └──── 24 h ───▶ forgotten
//! ```
//!
//! Tokens are 256 random bits and are kept as their SHA-256: looking one up tells nothing by its timing, and the
//! memory of this process holds none that could be used.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

use super::reply::{Answer, Problem, redirect};
use crate::base::clock::{self, Moment};
use crate::policy::grant::settings::Role;
use crate::policy::identity::Principal;
use crate::policy::identity::settings::SourceKind;
use crate::policy::rights::Rights;
use crate::wire::head::Fields;

/// How long an admin who came by the link stays one.
const SESSION_LASTS: Duration = Duration::from_secs(12 * 3600);
/// How long a link that nobody visited stays good.
const LINK_LASTS: Duration = Duration::from_secs(24 * 3600);
/// Sessions and unvisited links at once; past it the oldest goes.
const SESSIONS_MAX: usize = 64;
const LINKS_MAX: usize = 16;

const COOKIE: &str = "weir_admin";

type Hash = [u8; 32];

/// Who is looking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Viewer {
    /// No source vouched.
    Nobody,
    /// Somebody with a login: sees own records.
    User {
        /// The login.
        name: String,
    },
    /// Sees sums over everybody, and own records.
    Operator {
        /// The login.
        name: String,
    },
    /// Sees everything, changes nothing; looks at others' records are audited.
    Auditor {
        /// The login.
        name: String,
    },
    /// Sees everything; looks at others' records are audited.
    Admin {
        /// The login behind it.
        name: String,
        /// How admin was reached: `socket`, `link` or `grant`.
        through: &'static str,
    },
}

impl Viewer {
    /// By what grants give.
    fn of(principal: &Principal, rights: &Rights) -> Self {
        let name = principal.label();
        let local = principal.source == SourceKind::Peer.name() && principal.loopback;
        let has = |role| !local && rights.has(role);
        match () {
            () if has(Role::Admin) => Viewer::Admin { name, through: "grant" },
            () if has(Role::Auditor) => Viewer::Auditor { name },
            () if has(Role::Operator) => Viewer::Operator { name },
            () => Viewer::User { name },
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Viewer::Nobody => "",
            Viewer::User { name }
            | Viewer::Operator { name }
            | Viewer::Auditor { name }
            | Viewer::Admin { name, .. } => name,
        }
    }

    pub(super) fn role(&self) -> &'static str {
        match self {
            Viewer::Nobody => "nobody",
            Viewer::User { .. } => "user",
            Viewer::Operator { .. } => "operator",
            Viewer::Auditor { .. } => "auditor",
            Viewer::Admin { .. } => "admin",
        }
    }

    /// May change things.
    pub(super) fn is_admin(&self) -> bool {
        matches!(self, Viewer::Admin { .. })
    }

    /// May look at everybody's records.
    pub(super) fn sees_records(&self) -> bool {
        matches!(self, Viewer::Auditor { .. } | Viewer::Admin { .. })
    }

    /// May look at sums over everybody.
    pub(super) fn sees_sums(&self) -> bool {
        self.sees_records() || matches!(self, Viewer::Operator { .. })
    }

    /// Whether a record of `principal` may be shown at all.
    pub(super) fn may_see(&self, principal: &str) -> bool {
        *self != Viewer::Nobody && (self.sees_records() || self.name() == principal)
    }

    /// How somebody who may look at others came to that; none for those who see only what is theirs.
    pub(super) fn through(&self) -> Option<&'static str> {
        match self {
            Viewer::Admin { through, .. } => Some(through),
            Viewer::Auditor { .. } => Some("grant"),
            Viewer::Nobody | Viewer::User { .. } | Viewer::Operator { .. } => None,
        }
    }
}

/// A link that makes its first visitor admin. Shown once; only its hash is kept.
pub(super) struct Link(String);

impl Link {
    /// Path and query.
    pub(super) fn target(&self) -> String {
        format!("/ui?admin={}", self.0)
    }
}

/// Links not yet visited and admins' sessions.
#[derive(Default)]
pub(super) struct Door {
    links: HashMap<Hash, Moment>,
    sessions: HashMap<Hash, Session>,
}

struct Session {
    until: Moment,
    /// The login that visited the link: a cookie in other hands is worth nothing.
    login: String,
}

impl Door {
    /// A new link.
    pub(super) fn make_link(&mut self) -> io::Result<Link> {
        let (token, hash) = make_token()?;
        make_room(&mut self.links, LINKS_MAX, |until| *until);
        self.links.insert(hash, clock::now().plus(LINK_LASTS));
        Ok(Link(token))
    }

    /// A visit by link: from now on its visitor is admin. A link is good once, whoever comes second.
    pub(super) fn enter(&mut self, token: &str, login: &str, secured: bool) -> Answer {
        let good = self.links.remove(&hash_of(token)).is_some_and(|until| clock::now() < until);
        if !good {
            return Err(Problem::new(403, "this link has been used or has expired")
                .detail("make another with `weir link`, or start the gateway again"));
        }
        let (token, hash) = make_token().map_err(|why| Problem::new(503, why.to_string()))?;
        make_room(&mut self.sessions, SESSIONS_MAX, |session| session.until);
        self.sessions
            .insert(hash, Session { until: clock::now().plus(SESSION_LASTS), login: login.to_owned() });
        let seconds = SESSION_LASTS.as_secs();
        // What was given over TLS is not shown without it.
        let secure = if secured { "; Secure" } else { "" };
        let cookie =
            format!("{COOKIE}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
        let mut page = redirect("/ui");
        page.fields.push(b"set-cookie", cookie.as_bytes());
        Ok(page)
    }

    /// Who is behind a request that a core brought.
    pub(super) fn judge(&self, principal: &Principal, rights: &Rights, fields: &Fields) -> Viewer {
        let login = principal.label();
        if login.is_empty() {
            return Viewer::Nobody;
        }
        let good = |token: &str| {
            let session = self.sessions.get(&hash_of(token));
            session.is_some_and(|session| session.login == login && clock::now() < session.until)
        };
        match fields.all("cookie").filter_map(cookie).any(good) {
            true => Viewer::Admin { name: login, through: "link" },
            false => Viewer::of(principal, rights),
        }
    }
}

/// Our cookie among those of a `cookie` field.
fn cookie(value: &[u8]) -> Option<&str> {
    let pairs = std::str::from_utf8(value).ok()?;
    pairs.split(';').filter_map(|pair| pair.trim().split_once('=')).find(|pair| pair.0 == COOKIE).map(|p| p.1)
}

/// Forget what has expired and, where that is not enough, what expires first.
fn make_room<V>(all: &mut HashMap<Hash, V>, most: usize, until: impl Fn(&V) -> Moment) {
    let now = clock::now();
    all.retain(|_, value| until(value) > now);
    while all.len() >= most {
        let Some(first) = all.iter().min_by_key(|(_, value)| until(value)).map(|(hash, _)| *hash) else {
            return;
        };
        all.remove(&first);
    }
}

fn make_token() -> io::Result<(String, Hash)> {
    let mut bits = [0u8; 32];
    SystemRandom::new()
        .fill(&mut bits)
        .map_err(|_| io::Error::other("the system has no randomness to give"))?;
    let token: String = bits.iter().map(|byte| format!("{byte:02x}")).collect();
    let hash = hash_of(&token);
    Ok((token, hash))
}

fn hash_of(token: &str) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(link: &Link) -> &str {
        link.target().strip_prefix("/ui?admin=").map(|_| link.0.as_str()).expect("a link to the dashboard")
    }

    fn cookies(value: &str) -> Fields {
        [("cookie", value)].into_iter().collect()
    }

    #[test]
    fn a_link_is_good_once_and_its_cookie_for_its_visitor_only() {
        let mut door = Door::default();
        let link = door.make_link().unwrap();
        assert_eq!(token(&link).len(), 64);
        let page = door.enter(token(&link), "ada", false).expect("the first visit");
        let cookie = page.fields.text("set-cookie").expect("a cookie").to_owned();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
        assert!(door.enter(token(&link), "ada", false).is_err(), "a second visit");

        let judge = |name: &str, fields: &Fields| {
            door.judge(&Principal { name: name.into(), ..Principal::default() }, &Rights::default(), fields)
        };
        let cookie = cookies(&format!("a=b; {}", cookie.split(';').next().unwrap()));
        assert_eq!(judge("ada", &cookie), Viewer::Admin { name: "ada".into(), through: "link" });
        assert_eq!(judge("bob", &cookie), Viewer::User { name: "bob".into() });
        assert_eq!(judge("", &cookie), Viewer::Nobody);
        assert_eq!(judge("ada", &cookies("weir_admin=")).role(), "user");
    }

    #[test]
    fn roles_are_given_by_grants_and_never_by_loopback() {
        let given = |role| {
            let mut rights = Rights::default();
            rights.roles.push((role, Default::default()));
            rights
        };
        let ada = Principal { name: "ada".into(), source: "key", ..Principal::default() };
        let local = Principal { source: "peer", loopback: true, ..ada.clone() };
        for role in Role::ALL.iter().copied() {
            let judge = |who: &Principal| Door::default().judge(who, &given(role), &Fields::default());
            assert_eq!(judge(&ada).role(), role.name());
            assert_eq!(judge(&local).role(), "user", "{}", role.name());
        }
    }

    #[test]
    fn the_number_of_links_is_bounded_and_the_oldest_goes_first() {
        let mut door = Door::default();
        let links: Vec<_> = (0..=LINKS_MAX).map(|_| door.make_link().unwrap()).collect();
        assert_eq!(door.links.len(), LINKS_MAX);
        assert!(door.enter(token(&links[0]), "ada", false).is_err());
        assert!(door.enter(token(&links[LINKS_MAX]), "ada", true).is_ok());
    }
}
