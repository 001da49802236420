//! Source `tailnet`, the sans-io half: what to ask the tailnet daemon about an address, and what its answer means.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Deserialize;
use serde_json::Value;

use super::{Kind, Principal};
use crate::base::settings::{Place, Reader, Setting, tree};
use crate::policy::grant::Gives;
use crate::policy::grant::settings::{CAPABILITY_KEYS, Capability};

/// `Host` the daemon insists on.
pub const HOST: &str = "local-tailscaled.sock";

/// Path to ask for.
#[must_use]
pub fn path(peer: SocketAddr) -> String {
    // Brackets and colons of the newer kind of address are escaped, as in any query.
    let address = peer.to_string().replace('[', "%5B").replace(']', "%5D").replace(':', "%3A");
    format!("/localapi/v0/whois?addr={address}")
}

/// What the daemon's answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whois {
    /// Somebody.
    Known(Box<Principal>),
    /// Nobody on the tailnet has that address.
    Stranger,
    /// It could not be asked, or its answer makes no sense: refused, since identity fails closed.
    Silent(&'static str),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    node: Option<Node>,
    user_profile: Option<Profile>,
    #[serde(default)]
    cap_map: Option<BTreeMap<String, Vec<Value>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Node {
    computed_name: String,
    name: String,
    tags: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Profile {
    login_name: String,
    groups: Option<Vec<String>>,
}

/// Read the daemon's answer.
#[must_use]
pub fn read(status: u16, body: &[u8]) -> Whois {
    match status {
        200 => {}
        404 => return Whois::Stranger,
        403 => return Whois::Silent("the tailnet daemon does not let this process ask"),
        _ => return Whois::Silent("the tailnet daemon answered with an error"),
    }
    let Ok(answer) = serde_json::from_slice::<Answer>(body) else {
        return Whois::Silent("the tailnet daemon's answer cannot be read");
    };
    let node = answer.node.unwrap_or_default();
    let profile = answer.user_profile.unwrap_or_default();
    let mut tags = node.tags.unwrap_or_default();
    tags.sort();
    let (name, kind) = match tags.is_empty() {
        // A tagged node is its tags, never the pseudo user that the daemon shows for it.
        false => (tags.join(","), Kind::Device),
        true => (profile.login_name, Kind::User),
    };
    if name.is_empty() || name == "tagged-devices" || name.chars().any(char::is_control) {
        return Whois::Silent("the tailnet daemon named nobody");
    }
    let plain = |group: String| group.strip_prefix("group:").map_or(group.clone(), str::to_owned);
    let groups = if kind == Kind::User { profile.groups.unwrap_or_default() } else { Vec::new() };
    let node = if node.computed_name.is_empty() { node.name } else { node.computed_name };
    Whois::Known(Box::new(Principal {
        name,
        source: "tailnet",
        kind,
        groups: groups.into_iter().map(plain).collect(),
        tags,
        node: Some(node).filter(|node| !node.is_empty()),
        carried: carried(answer.cap_map.unwrap_or_default()),
        ..Principal::default()
    }))
}

/// Grants of the tailnet's own policy file. One that cannot be read whole gives nothing.
pub(super) fn carried(capabilities: BTreeMap<String, Vec<Value>>) -> Vec<Gives> {
    let ours = capabilities.into_iter().filter(|(name, _)| CAPABILITY_KEYS.contains(&name.as_str()));
    ours.flat_map(|(_, values)| values).filter_map(|value| one(&value)).collect()
}

fn one(value: &Value) -> Option<Gives> {
    let mut reader = Reader::new("");
    let capability = Capability::read(&tree(value), &mut reader).filter(|_| !reader.failed())?;
    let place = Place { path: "the tailnet's policy file".into(), ..Place::default() };
    Some(Gives { place, ..Gives::of(&capability) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_and_a_tagged_device() {
        let user = br#"{"Node":{"ComputedName":"laptop","Tags":null},"UserProfile":{"LoginName":"alice@example.com","Groups":["group:eng"]},"CapMap":{}}"#;
        let Whois::Known(who) = read(200, user) else { panic!("known") };
        assert_eq!(
            (who.name.as_str(), who.kind, who.groups.as_slice()),
            ("alice@example.com", Kind::User, &["eng".to_owned()][..])
        );
        assert_eq!(who.node.as_deref(), Some("laptop"));
        let device = br#"{"Node":{"Name":"ci.example.ts.net","Tags":["tag:k8s","tag:ci"]},"UserProfile":{"LoginName":"tagged-devices"}}"#;
        let Whois::Known(who) = read(200, device) else { panic!("known") };
        assert_eq!((who.name.as_str(), who.kind), ("tag:ci,tag:k8s", Kind::Device));
    }

    #[test]
    fn grants_of_the_tailnet_are_united_with_the_files() {
        let answer = br#"{"UserProfile":{"LoginName":"a@x"},"CapMap":{
            "tailscale.com/cap/aperture":[{"role":"user"},{"models":"openai/**"},{"modles":"**"},{"role":"root"}],
            "other/cap":[{"models":"**"}]}}"#;
        let Whois::Known(who) = read(200, answer) else { panic!("known") };
        assert_eq!(who.carried.len(), 2, "what cannot be read whole, and what is others', gives nothing");
        let rights = crate::policy::rights::Rights::of(&crate::policy::snapshot::Snapshot::default(), &who);
        assert!(rights.allows("openai", "gpt-5").is_some() && rights.allows("anthropic", "x").is_none());
        assert_eq!(rights.roles.len(), 1);
    }

    #[test]
    fn everything_else_is_nobody() {
        assert_eq!(read(404, b"no match"), Whois::Stranger);
        for (status, body) in [
            (403, &b""[..]),
            (500, b""),
            (200, b""),
            (200, b"<html>"),
            (200, b"{}"),
            (200, b"[]"),
            (200, br#"{"UserProfile":{"LoginName":"tagged-devices"}}"#),
            (200, br#"{"UserProfile":{"LoginName":"a\r\nb"}}"#),
        ] {
            assert!(matches!(read(status, body), Whois::Silent(_)), "{status} {body:?}");
        }
    }

    #[test]
    fn addresses_are_escaped() {
        assert_eq!(path("100.64.0.1:5".parse().expect("address")), "/localapi/v0/whois?addr=100.64.0.1%3A5");
        assert_eq!(
            path("[fd7a::1]:5".parse().expect("address")),
            "/localapi/v0/whois?addr=%5Bfd7a%3A%3A1%5D%3A5"
        );
    }
}
