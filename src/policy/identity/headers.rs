//! Sources `headers` and `tailscale_serve`: what a front says, believed from that front alone.

use super::settings::{HeadersSettings, TailscaleServeSettings};
use super::{Found, Principal, Shown, tailnet};
use crate::policy::grant::Gives;

/// What the front's fields say. From anybody else they say nothing (and are stripped).
#[must_use]
pub fn judge(settings: &HeadersSettings, shown: &Shown<'_>) -> Found {
    let trusted =
        |peer: std::net::SocketAddr| settings.trusted.iter().any(|network| network.contains(peer.ip()));
    if !shown.evidence.peer.is_some_and(trusted) {
        return Found::Nothing;
    }
    let Some(user) = shown.only(&settings.user.0) else { return Found::Nothing };
    let named = |name: &Option<super::settings::HeaderName>| match name {
        Some(name) => shown.only(&name.0).map_or(Ok(None), |found| found.map(Some)),
        None => Ok(None),
    };
    let (Ok(user), Ok(groups), Ok(behalf)) = (user, named(&settings.groups), named(&settings.on_behalf_of))
    else {
        return Found::Bad("the front's fields stand twice or are no text");
    };
    if user.is_empty() {
        return Found::Nothing;
    }
    let groups = groups.unwrap_or_default().split(',').map(str::trim);
    Found::Principal(Principal {
        name: user.to_owned(),
        source: "headers",
        groups: groups.filter(|group| !group.is_empty()).map(str::to_owned).collect(),
        on_behalf_of: behalf.filter(|name| !name.is_empty()).map(str::to_owned),
        ..Principal::default()
    })
}

/// Grants of the tailnet's own policy file, as the front passes them on; what cannot be read whole gives nothing.
fn capabilities(shown: &Shown<'_>) -> Vec<Gives> {
    let text = shown.only("tailscale-app-capabilities").and_then(Result::ok);
    text.and_then(|text| serde_json::from_str(text).ok()).map(tailnet::carried).unwrap_or_default()
}

/// What the tailnet's front says over its unix socket, its uid told by the kernel.
#[must_use]
pub fn tailscale_serve(settings: &TailscaleServeSettings, shown: &Shown<'_>) -> Found {
    let from_front = shown.evidence.peer.is_none() && shown.evidence.uid == Some(settings.uid);
    if !from_front {
        return Found::Nothing;
    }
    match shown.only("tailscale-user-login") {
        None => Found::Nothing,
        Some(Err(())) => Found::Bad("the front's fields stand twice or are no text"),
        Some(Ok("")) => Found::Nothing,
        Some(Ok(login)) => Found::Principal(Principal {
            name: login.to_owned(),
            source: "tailscale_serve",
            carried: capabilities(shown),
            ..Principal::default()
        }),
    }
}
