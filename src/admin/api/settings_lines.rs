//! The settings lines of each client, for the address that this page was asked at.

use super::{Room, Visit};
use crate::admin::reply::{Answer, json};
use crate::config::clients::{Client, Gateway, NO_KEY, setup};

pub(super) fn page(room: &Room, visit: &Visit<'_>) -> Answer {
    visit.question(&[])?;
    let own = room.facts.addresses.first().map(ToString::to_string).unwrap_or_default();
    // The core has checked `Host` against our names; the control socket's host is a placeholder.
    let host = visit.fields.text("host").filter(|host| host.contains(':')).unwrap_or(&own);
    let url = format!("http://{host}");
    let gateway = Gateway { url: &url, key: NO_KEY, ca: None };
    json(&Client::ALL.map(|client| setup(client, &gateway)))
}
