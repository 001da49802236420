//! One request from head to record.
//!
//! ```text
//!   (wait    while the writer is behind)
//!   admit    host, origin, endpoint          → Route         refused here without reading a byte of the body
//!   who      policy::identity                → principal     what vouched is taken out of the request
//!   ask      read until the model is known   → Ask
//!   verdict  policy::decide                  → Plan
//!   carry    reserve, lease, relay, next on  → After        each provider may draw on other budgets
//!            proven non-execution
//!   close    settle, Account → Record → ring         once, whatever happened above
//! ```
//!
//! Faults of any step fall to the same place: answered in the caller's dialect if no head has gone out, the connection
//! cut if it has, and the record is closed either way.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use super::account::Account;
use super::asking::Asked;
use super::conn::{After, Conn};
use super::core::Core;
use super::credentials::signs;
use super::fault::{Fault, Kind, Retry};
use super::relay::{Broken, Relay};
use super::request::{Body, Sending};
use super::spread::Turn;
use super::{asking, budget, heads, models, objects, page, reply, socket, upstream, who};
use crate::base::clock;
use crate::base::id::ExchangeId;
use crate::base::stats::Count;
use crate::llm::dialect::nearby;
use crate::llm::dialect::paths::{self, Endpoint, Flag, Route};
use crate::policy::decide::{Denial, Hop, Plan, Verdict, Wants};
use crate::policy::identity::peer::is_front_field;
use crate::policy::snapshot::Provider;
use crate::wire::h1::Request;

/// Serve one request.
pub(super) async fn serve(core: &Core, conn: &mut Conn, request: &mut Request) -> After {
    core.adopt();
    if page::is_page(request.head.path()) {
        // Boxed: what is rare must not make every connection larger.
        return Box::pin(page::serve(core, conn, request)).await;
    }
    let mut account = Account::begin(core, conn, Some(request));
    if core.must_wait() {
        Box::pin(core.caught_up()).await;
    }
    let told = survive(pin!(story(core, conn, request, &mut account))).await;
    conn.limit.end_by(None);
    let after = match told {
        Ok(after) => after,
        Err(fault) if conn.is_cut() => {
            let fault = Fault::because(Kind::Revoked, fault.word());
            end_badly(core, conn, Some(request), &mut account, fault).await
        }
        Err(fault) => end_badly(core, conn, Some(request), &mut account, fault).await,
    };
    account.close(core, Some(request));
    after
}

/// Answer, record and end what never became a request.
pub(super) async fn refuse(core: &Core, conn: &mut Conn, fault: Fault) -> After {
    let mut account = Account::begin(core, conn, None);
    let after = end_badly(core, conn, None, &mut account, fault).await;
    account.close(core, None);
    after
}

/// Record what never came to a request, and cannot be answered either.
pub(super) fn note(core: &Core, conn: &Conn, fault: &Fault) {
    let mut account = Account::begin(core, conn, None);
    account.failed(fault);
    account.close(core, None);
}

/// Record a page that is not shown: its id. Without the query, which may hold a link that is still good.
pub(super) fn note_refused(core: &Core, conn: &Conn, request: &Request, fault: &Fault) -> ExchangeId {
    let mut request = request.clone();
    request.head.target = request.head.path().to_owned();
    let mut account = Account::begin(core, conn, Some(&request));
    let id = account.id();
    account.failed(fault);
    account.close(core, Some(&mut request));
    id
}

async fn story(
    core: &Core,
    conn: &mut Conn,
    request: &mut Request,
    account: &mut Account,
) -> Result<After, Fault> {
    let (route, closed) = match admit(conn, core, request) {
        Ok(route) => (route, None),
        Err(fault) => (direct(conn, core, request, &fault).ok_or_else(|| fault.clone())?, Some(fault)),
    };
    let judged = who::judge(core, conn, request).await;
    account.asked_by(conn.principal.as_ref());
    // To whom nothing more is open, a path outside the table is closed like any other.
    if let Some(fault) = closed.filter(|_| judged.is_err() || direct_plan(core, conn, request).is_none()) {
        return Err(fault);
    }
    account.routed(&route);
    judged?;
    let most = core.limits().per_principal_max;
    let _place = most.map(|most| core.doorway.enter(conn.principal.as_ref(), most)).transpose()?;
    if route.endpoint == Endpoint::Socket {
        return Box::pin(socket::serve(core, conn, request, &route, account)).await;
    }
    let mut body = Body::begin(core, conn, request)?;
    if route.endpoint == Endpoint::Models {
        account.request_complete = body.is_done();
        return Box::pin(models::serve(core, conn, request, &route, account)).await;
    }
    if request.expects_continue && !body.is_done() {
        conn.send(b"HTTP/1.1 100 Continue\r\n\r\n", core.limits().body_idle).await?;
    }
    let told = send(core, conn, request, &route, &mut body, account).await;
    // Where no answer has released it: what was refused, or sent in vain, stands in the account too.
    account.capture_request(core, body.release());
    told
}

/// From the body to the end of the response.
async fn send(
    core: &Core,
    conn: &mut Conn,
    request: &Request,
    route: &Route,
    body: &mut Body,
    account: &mut Account,
) -> Result<After, Fault> {
    account.owned_by(conn.principal.as_ref());
    let asked = asking::ask(core, conn, request, route, body, account).await?;
    let plan = verdict(core, conn, request, route, account)?;
    let plan = placed(core, conn, request, route, account, &asked, plan).await?;
    let mut sending = Sending::new(request, route, body, asked, account, core.limits());
    carry(core, conn, &mut sending, &plan).await
}

/// The plan at those providers alone that have what the request names.
async fn placed(
    core: &Core,
    conn: &Conn,
    request: &Request,
    route: &Route,
    account: &Account,
    asked: &Asked,
    plan: Arc<Plan>,
) -> Result<Arc<Plan>, Fault> {
    // A client's own key sees its own objects.
    if plan.providers.iter().all(|provider| provider.passthrough) && heads::has_own_key(request) {
        return Ok(plan);
    }
    let named: Vec<String> = route.object.iter().chain(&account.ask().objects).cloned().collect();
    let plan = match objects::found(core, conn.principal.as_ref(), &named).await? {
        Some(provider) => Arc::new(objects::narrowed(&plan, |candidate| candidate.id == provider)?),
        None => plan,
    };
    let mut flags = asked.flags.clone();
    if route.flag == Flag::Batches && request.head.fields.get("anthropic-version").is_some() {
        flags.insert(Flag::AnthropicMessages);
    }
    if flags.is_empty() {
        return Ok(plan);
    }
    let has_all = |candidate: &Provider| flags.iter().all(|flag| candidate.flags.contains(flag));
    Ok(Arc::new(objects::narrowed(&plan, has_all)?))
}

/// What can be judged by the head alone.
fn admit(conn: &Conn, core: &Core, request: &Request) -> Result<Route, Fault> {
    if core.panic_path.as_deref() == Some(request.head.path()) {
        panic!("a panic injected by a test");
    }
    check_host(conn, core, request)?;
    let (method, path) = (request.head.method.as_str(), request.head.path());
    let route = paths::endpoint(method, path);
    if request.wants_upgrade && route.as_ref().is_none_or(|route| route.endpoint != Endpoint::Socket) {
        return Err(Fault::new(Kind::Upgrade));
    }
    if !core.serves(conn.listener, false) {
        return Err(Fault::new(Kind::UnknownPath));
    }
    route
        .ok_or_else(|| Fault::new(if known_otherwise(core, path) { Kind::Method } else { Kind::UnknownPath }))
}

/// Who the request says it is for, and where it says it comes from: a page in a browser may not speak through us.
pub(super) fn check_host(conn: &Conn, core: &Core, request: &Request) -> Result<(), Fault> {
    let fields = &request.head.fields;
    let host = request.head.authority.as_deref().or_else(|| fields.text("host"));
    if !host.is_none_or(|host| is_own_name(host, conn, &core.snapshot().host_names)) {
        return Err(Fault::new(Kind::WrongHost));
    }
    if fields.get("origin").is_some() {
        return Err(Fault::new(Kind::Origin));
    }
    if core.is_of_the_peer(conn.listener) && fields.iter().any(|(name, _)| is_front_field(name)) {
        return Err(Fault::new(Kind::Front));
    }
    Ok(())
}

/// A name of ours, or the literal address this connection came to; any port, since a forwarded one may differ.
fn is_own_name(host: &str, conn: &Conn, names: &[String]) -> bool {
    let bare = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let bare = bare.trim_end_matches('.');
    let local = conn.local.map(|local| local.ip().to_canonical());
    bare.parse().is_ok_and(|ip: std::net::IpAddr| {
        Some(ip.to_canonical()) == local
            || (ip.is_loopback() && local.is_none_or(|local| local.is_loopback()))
    }) || bare.eq_ignore_ascii_case("localhost")
        || names.iter().any(|name| bare.eq_ignore_ascii_case(name))
}

/// Whether a provider has the path under another method: 405 rather than 404.
fn known_otherwise(core: &Core, path: &str) -> bool {
    let snapshot = core.snapshot();
    paths::flags_of(path).any(|flag| snapshot.providers.iter().any(|provider| provider.flags.contains(&flag)))
}

/// What a path outside the table would be, had somebody the right to it.
fn direct(conn: &Conn, core: &Core, request: &Request, fault: &Fault) -> Option<Route> {
    let outside = matches!(fault.kind, Kind::UnknownPath | Kind::Method)
        && core.serves(conn.listener, false)
        && !request.wants_upgrade;
    paths::direct(&request.head.method, request.head.path()).filter(|_| outside)
}

fn direct_plan(core: &Core, conn: &Conn, request: &Request) -> Option<Arc<Plan>> {
    let path = request.head.path();
    core.with_rights(conn.principal.as_ref()?, |snapshot, rights| rights.direct(snapshot, path))
}

fn verdict(
    core: &Core,
    conn: &Conn,
    request: &Request,
    route: &Route,
    account: &mut Account,
) -> Result<Arc<Plan>, Fault> {
    if route.endpoint == Endpoint::Direct {
        let plan = direct_plan(core, conn, request).ok_or_else(|| Fault::new(Kind::UnknownPath))?;
        account.admitted(core, &plan.providers[0].id);
        return Ok(plan);
    }
    let model = account.ask().model.clone();
    let wants = Wants { flag: route.flag, model: model.as_deref(), others: &account.ask().other_models };
    match core.decide(conn.principal.as_ref(), wants) {
        Verdict::Allow(plan) => {
            let plan = match model.is_none() && route.endpoint.has_a_default_model() {
                true => by_default(core, conn, &plan)?,
                false => plan,
            };
            account.admitted(core, &plan.providers[0].id);
            Ok(plan)
        }
        Verdict::Deny(why) => Err(who::denied(core, conn.principal.as_ref(), why)),
    }
}

/// The plan at those providers of which the caller may have every model: nobody can tell which one will answer.
fn by_default(core: &Core, conn: &Conn, plan: &Plan) -> Result<Arc<Plan>, Fault> {
    let Some(principal) = conn.principal.as_ref() else { return Err(Denial::NoIdentity.into()) };
    let all = core.with_rights(principal, |_, rights| {
        objects::narrowed(plan, |provider| rights.gives_all(&provider.id))
    });
    let why = "the request names no model, and not all of them are granted";
    all.map(Arc::new).map_err(|_| Fault::because(Kind::Denied(Denial::NoModel), why))
}

/// One provider after another, and of each one key after another, as long as faults prove that nothing was executed and
/// the budget for further attempts lasts.
async fn carry(core: &Core, conn: &mut Conn, sending: &mut Sending<'_>, plan: &Plan) -> Result<After, Fault> {
    core.spread.begins();
    let asking = sending.account.asking();
    let mut last: Option<Box<Fault>> = None;
    let order = in_order(core, plan);
    for (nth, (provider, hop)) in order.iter().enumerate() {
        if !sending.may_go_to(provider) || !sending.may_lend_key(provider) {
            continue;
        }
        let mut tried: Vec<usize> = Vec::new();
        while tried.len() < provider.keys.len().max(1) {
            if last.is_some() {
                if !core.spread.may_retry() {
                    break;
                }
                core.stats.add(Count::UpstreamRetries, 1);
            }
            let turn = match core.spread.turn(provider, asking, &tried) {
                Ok(turn) => turn,
                Err(full) => {
                    sending.account.attempt_failed(&provider.id, &full);
                    last.get_or_insert(Box::new(full));
                    break;
                }
            };
            sending.account.provider(&provider.id, turn.nth);
            reserve(core, conn, sending, provider, *hop).await?;
            sending.others_left = tried.len() + 1 < provider.keys.len() || nth + 1 < order.len();
            match attempt(core, conn, sending, &turn, *hop).await {
                Ok(after) => return Ok(after),
                Err(fault) => {
                    let fault = sending.in_time(fault);
                    sending.account.attempt_failed(&provider.id, &fault);
                    core.spread.failed(&turn, &fault);
                    if !may_follow(&fault, provider) || sending.account.head_sent {
                        return Err(fault);
                    }
                    tried.push(turn.nth);
                    last = Some(Box::new(fault));
                }
            }
        }
    }
    Err(last.map_or_else(|| Fault::new(Kind::Connect), |last| *last))
}

/// The plan's order, but those that are known to fail come last.
fn in_order<'p>(core: &Core, plan: &'p Plan) -> Vec<(&'p Arc<Provider>, Option<&'p Hop>)> {
    let mut order: Vec<_> =
        plan.providers.iter().enumerate().map(|(nth, provider)| (provider, plan.hops.get(nth))).collect();
    if order.len() > 1 {
        order.sort_by_cached_key(|(provider, _)| core.spread.is_unfit(provider));
    }
    order
}

fn may_follow(fault: &Fault, provider: &Provider) -> bool {
    match fault.retry() {
        Retry::Safe => true,
        Retry::Unsafe => provider.retry_unsafe,
        Retry::No => false,
    }
}

/// Hold what the exchange will probably cost there. What an attempt before this one held is given back first: nothing
/// was executed, or there would be no other attempt.
async fn reserve(
    core: &Core,
    conn: &mut Conn,
    sending: &mut Sending<'_>,
    provider: &Arc<Provider>,
    hop: Option<&Hop>,
) -> Result<(), Fault> {
    sending.account.release();
    let Some(hop) = hop.filter(|hop| !hop.buckets.is_empty()) else { return Ok(()) };
    // Whose session it is and how much may be written stand anywhere in the body.
    sending.hold_whole(core, conn).await?;
    let draw = budget::Draw {
        principal: conn.principal.as_ref(),
        caller: sending.account.caller(),
        ask: sending.account.ask(),
        endpoint: sending.route.endpoint,
        provider,
        hop,
        body_bytes: sending.body.bytes.len() as u64,
    };
    let held = budget::reserve(core, &draw).await?;
    sending.account.hold(held);
    Ok(())
}

/// One provider by one of its keys: what it is sent, and what became of it.
async fn attempt(
    core: &Core,
    conn: &mut Conn,
    sending: &mut Sending<'_>,
    turn: &Turn,
    hop: Option<&Hop>,
) -> Result<After, Fault> {
    let provider = &*turn.provider;
    sending.limits = provider.limits(core.limits());
    sending.until = sending.limits.total.map(|total| sending.account.began().plus(total));
    conn.limit.end_by(sending.until);
    sending.answered = None;
    sending.address(provider, hop)?;
    sending.rename(core, conn, hop).await?;
    sending.ask_usage(core, conn, provider, hop).await?;
    sending.shown = core.credentials.obtain(core, provider).await?;
    if signs(provider) {
        sending.hold_whole(core, conn).await?;
    }
    let relayed = relayed(core, conn, sending, provider, hop).await;
    if let Some((status, retry_after)) = sending.answered {
        core.spread.answered(turn, status, retry_after);
    }
    relayed
}

/// Over an idle connection if there is one, and over a new one if that turned out to be dead; once more with another
/// credential if one that was made is not taken.
async fn relayed(
    core: &Core,
    conn: &mut Conn,
    sending: &mut Sending<'_>,
    provider: &Provider,
    hop: Option<&Hop>,
) -> Result<After, Fault> {
    let left = sending.until.map(|until| until.since(clock::now()));
    let limit = left.map_or(sending.limits.connect, |left| left.min(sending.limits.connect));
    let (mut fresh, mut renewed) = (false, false);
    loop {
        let since = clock::now();
        let lease = match fresh {
            false => upstream::lease(core, provider, limit).await?,
            true => Box::pin(upstream::connect(core, provider, limit)).await?,
        };
        sending.account.connected(since);
        let mut relay =
            Relay { core, conn, sending, lease, uploaded: false, others_armed: false, gone: false };
        match relay.run(provider, hop).await {
            Ok(down) => return Ok(relay.finish(down)),
            Err(Broken::Fault(fault)) => return Err(fault),
            Err(Broken::Unauthorized(other)) => {
                sending.account.attempt_failed(&provider.id, &Fault::new(Kind::Unauthorized));
                if std::mem::replace(&mut renewed, true) {
                    return Err(Fault::new(Kind::Unauthorized));
                }
                sending.shown = other;
            }
            Err(Broken::Stale(fault)) => {
                core.stats.add(Count::UpstreamStale, 1);
                sending.account.attempt_failed(&provider.id, &fault);
                fresh = true;
            }
        }
    }
}

/// The one place where a fault meets the client.
async fn end_badly(
    core: &Core,
    conn: &mut Conn,
    request: Option<&Request>,
    account: &mut Account,
    fault: Fault,
) -> After {
    account.failed(&fault);
    if account.head_sent {
        return if account.ends_by_close { After::Reset } else { After::Cut };
    }
    if matches!(fault.kind, Kind::ClientGone) {
        return After::Cut;
    }
    let keep = account.request_complete
        && request.is_some_and(|request| request.keep_alive)
        && !matches!(fault.kind, Kind::Panic)
        && !core.is_draining();
    let bodiless = request.is_some_and(|request| request.head.method == "HEAD");
    let by_path = request.and_then(|request| nearby::spoken(request.head.path(), &request.head.fields));
    let response = reply::response(&fault, by_path.or(account.dialect()), account.id(), !keep, bodiless);
    let sent = conn.send(&response, core.limits().body_idle).await;
    match (sent, keep) {
        (Ok(()), true) => After::KeepAlive,
        (Ok(()), false) => After::Linger,
        (Err(_), _) => After::Cut,
    }
}

/// A panic ends the exchange, not the core: the runtime would lose its thread to it.
pub(super) async fn survive<T>(
    mut work: Pin<&mut impl Future<Output = Result<T, Fault>>>,
) -> Result<T, Fault> {
    std::future::poll_fn(|cx| {
        // What the exchange touched is either dropped with it or made of plain counters.
        match std::panic::catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
            Ok(polled) => polled,
            Err(cause) => {
                let text = cause.downcast_ref::<&str>().map(|s| (*s).to_owned());
                let text = text.or_else(|| cause.downcast_ref::<String>().cloned());
                Poll::Ready(Err(Fault::because(Kind::Panic, text.unwrap_or_default())))
            }
        }
    })
    .await
}
