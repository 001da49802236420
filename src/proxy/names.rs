//! Host names → addresses: asked of the control thread, kept per core for a short while.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::sync::oneshot;

use super::fault::{Fault, Kind};
use crate::base::clock::{self, Moment};
use crate::policy::snapshot::Origin;
use crate::wire::crossing::{Ask, Asks};

/// How long an answer is believed. Providers move their names within minutes.
const KEPT: Duration = Duration::from_secs(30);
/// Names kept at once; a core speaks to few providers, so at the bound all are forgotten.
const NAMES_MAX: usize = 256;

/// A core's short memory of names.
#[derive(Default)]
pub(super) struct Names(RefCell<HashMap<Name, Answer>>);

/// Host and port.
type Name = (String, u16);
/// Until when the addresses are believed, and they.
type Answer = (Moment, Vec<SocketAddr>);

impl Names {
    /// Addresses of an origin, in the order to try them: families alternate (RFC 8305 4).
    pub(super) async fn resolve(&self, asks: &Asks, origin: &Origin) -> Result<Vec<SocketAddr>, Fault> {
        if let Ok(ip) = origin.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, origin.port)]);
        }
        let key = (origin.host.clone(), origin.port);
        let remembered = self.0.borrow().get(&key).cloned();
        if let Some((until, addresses)) = &remembered
            && *until > clock::now()
        {
            return Ok(addresses.clone());
        }
        match ask(asks, &key).await {
            Ok(addresses) => {
                let addresses = interleave(addresses);
                self.remember(key, addresses.clone());
                Ok(addresses)
            }
            // An old answer is better than none while the resolver is away.
            Err(why) => remembered.map(|(_, old)| old).ok_or_else(|| Fault::because(Kind::Resolve, why)),
        }
    }

    fn remember(&self, key: Name, addresses: Vec<SocketAddr>) {
        let mut names = self.0.borrow_mut();
        if names.len() >= NAMES_MAX {
            names.clear();
        }
        names.insert(key, (clock::now().plus(KEPT), addresses));
    }
}

async fn ask(asks: &Asks, (host, port): &Name) -> Result<Vec<SocketAddr>, String> {
    let (reply, answer) = oneshot::channel();
    let question = Ask::Resolve(host.clone(), *port, reply);
    asks.send(question).await.map_err(|_| "the control thread is gone".to_owned())?;
    let addresses = answer.await.map_err(|_| "the control thread did not answer".to_owned())??;
    if addresses.is_empty() { Err(format!("{host} has no address")) } else { Ok(addresses) }
}

fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let (six, four): (Vec<_>, Vec<_>) = addresses.into_iter().partition(SocketAddr::is_ipv6);
    let (mut six, mut four) = (six.into_iter(), four.into_iter());
    let mut out = Vec::new();
    loop {
        match (six.next(), four.next()) {
            (None, None) => return out,
            (a, b) => out.extend(a.into_iter().chain(b)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_alternate() {
        let parse = |list: &[&str]| list.iter().map(|a| a.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let mixed = parse(&["1.1.1.1:1", "2.2.2.2:1", "[::1]:1", "3.3.3.3:1"]);
        assert_eq!(interleave(mixed), parse(&["[::1]:1", "1.1.1.1:1", "2.2.2.2:1", "3.3.3.3:1"]));
    }
}
