//! The settings lines of each client, for the address that this page was asked at.

use super::{Room, Visit};
use crate::admin::reply::{Answer, json};
use crate::config::clients::{Client, Gateway, NO_KEY, setup};

pub(super) fn page(room: &Room, visit: &Visit<'_>) -> Answer {
    visit.question(&[])?;
    let facts = &room.facts;
    let own = facts.urls.iter().find(|url| url.starts_with("http"));
    // The core has checked `Host` against our names; the control socket's host is a placeholder. Where pages have a
    // listener of their own, agents go to another.
    let host = visit.fields.text("host").filter(|_| visit.listener.is_some() && own == facts.pages.as_ref());
    let url = match (host, own) {
        (Some(host), _) => {
            format!("{}://{host}", if visit.listener == Some(true) { "https" } else { "http" })
        }
        (None, own) => own.cloned().unwrap_or_default(),
    };
    let gateway = Gateway { url: &url, key: NO_KEY, ca: None };
    json(&Client::ALL.map(|client| setup(client, &gateway)))
}
