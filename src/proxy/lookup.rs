//! What identity needs to know and a core cannot find out itself: asked of the control thread (crossing 5), remembered
//! here for a short while.
//!
//! The control thread asks once however many cores wait (single flight), and never more often than its own bounds say.
//! Whatever goes wrong on the way, the caller judges again with what there is then, which is a refusal.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::sync::oneshot;

use super::conn::Conn;
use super::core::Core;
use super::io::within;
use crate::base::clock::{self, Moment};
use crate::base::stats::Count;
use crate::policy::identity::Lookup;
use crate::policy::identity::settings::SourceSettings;
use crate::policy::identity::tailnet::{self, Whois};
use crate::wire::crossing::Ask;

/// How long a request waits for a look-up before it is refused.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it is believed that the tailnet does not know an address, and that its daemon is silent.
const STRANGER_KEPT: Duration = Duration::from_secs(5);
const SILENCE_KEPT: Duration = Duration::from_secs(1);
/// Addresses remembered per core; past it all are forgotten.
const ADDRESSES_MAX: usize = 16 * 1024;

/// A core's short memory: what the tailnet's daemon said, by address, and which issuers were asked just now.
#[derive(Default)]
pub(super) struct Memory {
    whois: RefCell<HashMap<IpAddr, (Moment, Whois)>>,
    /// Only what the configuration names is asked for, so there are few.
    key_sets: RefCell<HashMap<String, Moment>>,
}

impl Memory {
    /// Another configuration may name another daemon, and other issuers.
    pub(super) fn forget(&self) {
        self.whois.borrow_mut().clear();
        self.key_sets.borrow_mut().clear();
    }

    /// Whether an issuer's keys were asked for so lately that asking again is of no use: tokens may claim any key.
    fn was_asked(&self, url: &str) -> bool {
        let asked = self.key_sets.borrow().get(url).copied();
        asked.is_some_and(|asked| clock::now().since(asked) < SILENCE_KEPT)
    }

    fn asked(&self, url: &str) {
        self.key_sets.borrow_mut().insert(url.to_owned(), clock::now());
    }

    fn known(&self, peer: SocketAddr) -> Option<(Moment, Whois)> {
        let known = self.whois.borrow().get(&peer.ip()).cloned();
        known.filter(|(until, _)| *until > clock::now())
    }

    fn put(&self, peer: SocketAddr, answer: &(Moment, Whois)) {
        // On loopback stands a daemon that hands connections on: there each port is somebody else.
        if peer.ip().to_canonical().is_loopback() {
            return;
        }
        let mut known = self.whois.borrow_mut();
        if known.len() >= ADDRESSES_MAX {
            known.clear();
        }
        known.insert(peer.ip(), answer.clone());
    }
}

/// Look one thing up; what came of it is found where it is looked for next.
pub(super) async fn ask(core: &Core, conn: &mut Conn, lookup: &Lookup) {
    core.stats.add(Count::IdentityLookups, 1);
    match lookup {
        Lookup::Whois => {
            let answer = whois(core, conn).await;
            conn.set_whois(answer);
        }
        Lookup::KeySet(url) if core.memory.was_asked(url) => {}
        Lookup::KeySet(url) => {
            let (reply, done) = oneshot::channel();
            if core.asks.try_send(Ask::KeySet(url.clone(), reply)).is_ok() {
                // The keys themselves come with what is in force.
                let _ = within(PATIENCE, done).await;
            }
            core.memory.asked(url);
            core.adopt();
        }
    }
}

async fn whois(core: &Core, conn: &Conn) -> (Moment, Whois) {
    let for_now = |kept: Duration, whois| (clock::now().plus(kept), whois);
    let Some(peer) = conn.evidence.peer else {
        return for_now(STRANGER_KEPT, Whois::Stranger);
    };
    if let Some(known) = core.memory.known(peer) {
        return known;
    }
    let Some((socket, ttl)) = daemon(core) else {
        return for_now(SILENCE_KEPT, Whois::Silent("no tailnet is configured any more"));
    };
    let (reply, answer) = oneshot::channel();
    let whois = match core.asks.try_send(Ask::Whois { socket, path: tailnet::path(peer), reply }) {
        Err(_) => Whois::Silent("the control thread is behind"),
        Ok(()) => match within(PATIENCE, answer).await {
            Some(Ok(Ok((status, body)))) => tailnet::read(status, &body),
            Some(Ok(Err(why))) => Whois::Silent(why),
            None | Some(Err(_)) => Whois::Silent("the tailnet daemon did not answer in time"),
        },
    };
    let kept = match &whois {
        Whois::Known(_) => ttl,
        Whois::Stranger => STRANGER_KEPT,
        Whois::Silent(_) => SILENCE_KEPT,
    };
    let answer = for_now(kept, whois);
    core.memory.put(peer, &answer);
    answer
}

/// The daemon's socket, and how long its word holds.
fn daemon(core: &Core) -> Option<(String, Duration)> {
    core.with_trust(|snapshot, _, _| {
        snapshot.sources.iter().find_map(|source| match source {
            SourceSettings::Tailnet(tailnet) => Some((tailnet.socket.clone(), tailnet.ttl)),
            _ => None,
        })
    })
}
