//! From a request to a page: who looks, which endpoint, what it may show. One file per noun.

mod configuration;
mod exchange;
mod explain;
mod health;
mod lists;
mod overview;
mod pricing;
mod quotas;
mod settings_lines;
mod tail;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{Mutex, Semaphore};

use super::audit::Audit;
use super::dashboard;
use super::door::{Door, Viewer};
use super::leases::Leases;
use super::question::Question;
use super::reply::{Answer, Problem, json, redirect, whole};
use super::store::Store;
use super::{Facts, metrics};
use crate::base::clock;
use crate::policy::identity::Principal;
use crate::policy::rights::Rights;
use crate::record::record::BodyKind;
use crate::wire::crossing::{PageRequest, PageResponse};
use crate::wire::head::Fields;

/// Live tails at once.
const TAILS_MAX: usize = 32;

/// What endpoints work with.
pub(super) struct Room {
    pub(super) facts: Facts,
    pub(super) store: Store,
    pub(super) audit: Audit,
    pub(super) leases: Leases,
    door: Mutex<Door>,
    tails: Arc<Semaphore>,
    /// One save at a time: what is compared with the file is what it replaces.
    saving: Mutex<()>,
}

impl Room {
    pub(super) fn new(facts: Facts, door: Door, leases: Leases) -> io::Result<Room> {
        let store = Store::new(facts.data.clone());
        let audit = Audit::open(&facts.data)?;
        let tails = Arc::new(Semaphore::new(TAILS_MAX));
        Ok(Room { facts, store, audit, leases, door: Mutex::new(door), tails, saving: Mutex::new(()) })
    }
}

/// One request for a page.
struct Visit<'a> {
    viewer: Viewer,
    asker: &'a Principal,
    rights: &'a Rights,
    method: &'a str,
    path: &'a str,
    query: Option<&'a str>,
    fields: &'a Fields,
    body: &'a [u8],
    /// Whether it came over TLS; none over the control socket.
    listener: Option<bool>,
}

impl Visit<'_> {
    /// The query, for records: the filter of whoever may not see others' is forced to what is theirs.
    fn question(&self, allowed: &[&str]) -> Result<Question, Problem> {
        self.narrowed(allowed, self.viewer.sees_records())
    }

    /// The query, for sums over records.
    fn sums(&self, allowed: &[&str]) -> Result<Question, Problem> {
        self.narrowed(allowed, self.viewer.sees_sums())
    }

    fn narrowed(&self, allowed: &[&str], sees_all: bool) -> Result<Question, Problem> {
        let mut question = Question::read(self.query, clock::wall(), allowed)?;
        if !sees_all {
            let name = self.viewer.name();
            if question.filter.principal.as_ref().is_some_and(|wanted| wanted != name) {
                return Err(Problem::new(403, "what others did is seen by admins and auditors only"));
            }
            question.filter.principal = Some(name.to_owned());
        }
        Ok(question)
    }
}

/// Answer a request. `admin_by` is set where the way in makes its user an admin.
pub(super) async fn page(room: &Room, request: PageRequest, admin_by: Option<&'static str>) -> PageResponse {
    let head = &request.head;
    let asker = request.principal.and_then(|asker| asker.downcast::<Principal>().ok()).unwrap_or_default();
    let rights = Rights::of(&room.facts.snapshot(), &asker);
    let viewer = match admin_by {
        Some(through) => Viewer::Admin { name: asker.label(), through },
        None => room.door.lock().await.judge(&asker, &rights, &head.fields),
    };
    let visit = Visit {
        viewer,
        asker: &asker,
        rights: &rights,
        method: &head.method,
        path: head.path(),
        query: head.query(),
        fields: &head.fields,
        body: &request.body,
        listener: request.tls,
    };
    route(room, &visit).await.unwrap_or_else(|problem| problem.page())
}

/// The table of endpoints. What stands above the line is for everybody.
async fn route(room: &Room, visit: &Visit<'_>) -> Answer {
    let path: Vec<&str> = visit.path.trim_start_matches('/').split('/').collect();
    match (visit.method, &path[..]) {
        ("HEAD", [""]) => return Ok(whole(200, "text/plain; charset=utf-8", "")),
        ("GET" | "HEAD", ["healthz"]) => return Ok(whole(200, "text/plain; charset=utf-8", "ok\n")),
        ("GET" | "HEAD", ["readyz"]) => return ready(room),
        _ if visit.viewer == Viewer::Nobody => return Err(nobody()),
        ("POST", ["api", "link"]) => return link(room, visit).await,
        ("POST", ["api", "quotas", "refill"]) => return quotas::refill(room, visit).await,
        ("PUT", ["aperture", "config"]) => return configuration::write(room, visit).await,
        ("POST", ["aperture", "config:validate"]) => return configuration::validate(room, visit).await,
        ("GET" | "HEAD", _) => {}
        _ => return Err(Problem::new(405, "this endpoint is only read")),
    }
    match &path[..] {
        [""] => Ok(redirect("/ui")),
        ["ui"] => ui(room, visit).await,
        ["ui", file] => dashboard::file(file),
        ["favicon.ico"] => dashboard::file("icon.svg"),
        ["metrics"] => metrics_page(room, visit),
        ["api", "overview"] => overview::page(room, visit).await,
        ["api", "usage"] => lists::usage(room, visit).await,
        ["api", "requests"] => lists::requests(room, visit).await,
        ["api", "requests", id] => exchange::record(room, visit, id).await,
        ["api", "requests", id, "bodies", "request"] => {
            exchange::body(room, visit, id, BodyKind::Request).await
        }
        ["api", "requests", id, "bodies", "response"] => {
            exchange::body(room, visit, id, BodyKind::Response).await
        }
        ["api", "sessions"] => lists::sessions(room, visit).await,
        ["api", "tools"] => lists::tools(room, visit).await,
        ["api", "tail"] => tail::page(room, visit).await,
        ["api", "quotas"] => quotas::list(room, visit),
        ["api", "explain"] => explain::page(room, visit).await,
        ["api", "health"] => json(&health::view(room, &visit.viewer)),
        ["aperture", "config"] => configuration::read(room, visit).await,
        ["aperture", "pricing"] => pricing::all(room, visit).await,
        ["aperture", "pricing", model @ ..] => pricing::one(room, visit, model).await,
        ["api", "settings-lines"] => settings_lines::page(room, visit),
        _ => Err(Problem::not_found("page")),
    }
}

fn nobody() -> Problem {
    Problem::new(401, "nobody vouches for this connection")
        .detail("over loopback the kernel names the local user; otherwise use the control socket")
}

fn ready(room: &Room) -> Answer {
    let why = if room.facts.drain.load(Ordering::Relaxed) {
        "draining"
    } else if room.facts.health.failing.load(Ordering::Relaxed) {
        "the writer cannot write"
    } else {
        return Ok(whole(200, "text/plain; charset=utf-8", "ready\n"));
    };
    Err(Problem::new(503, why))
}

/// The page itself, or the visit by an admin's link.
async fn ui(room: &Room, visit: &Visit<'_>) -> Answer {
    // The page's own filters stand in the same query; the link is a visit of its own.
    let token = visit.query.and_then(|query| query.strip_prefix("admin="));
    match token {
        Some(token) => {
            let secured = visit.listener == Some(true);
            room.door.lock().await.enter(token, visit.viewer.name(), secured)
        }
        None => dashboard::file("index.html"),
    }
}

/// Another one-time link, for those who came by the control socket.
async fn link(room: &Room, visit: &Visit<'_>) -> Answer {
    if !matches!(visit.viewer, Viewer::Admin { through: "socket", .. }) {
        return Err(Problem::new(403, "links are made through the control socket"));
    }
    let link = room.door.lock().await.make_link().map_err(|why| Problem::new(503, why.to_string()))?;
    let base = room.facts.pages.clone().unwrap_or_default();
    json(&serde_json::json!({ "url": format!("{base}{}", link.target()) }))
}

fn metrics_page(room: &Room, visit: &Visit<'_>) -> Answer {
    if !visit.viewer.is_admin() && !visit.rights.read_metrics {
        return Err(Problem::new(403, "metrics are for admins and for whom a grant gives read_metrics"));
    }
    Ok(whole(200, "text/plain; version=0.0.4; charset=utf-8", metrics::text(&room.facts, room.leases.seen())))
}
