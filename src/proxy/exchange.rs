//! One request from head to record.
//!
//! ```text
//!   admit    host, origin, endpoint          → Route         refused here without reading a byte of the body
//!   ask      read until the model is known   → Ask
//!   verdict  policy::decide                  → Plan
//!   carry    reserve, lease, relay, next on  → After        each provider may draw on other budgets
//!            proven non-execution
//!   close    settle, Account → Record → ring         once, whatever happened above
//! ```
//!
//! Faults of any step fall to the same place: answered in the caller's dialect if no head has gone out, the connection
//! cut if it has, and the record is closed either way.

use std::borrow::Cow;
use std::future::Future;
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use super::account::Account;
use super::conn::{After, Conn};
use super::core::Core;
use super::fault::{Fault, Kind, Retry};
use super::relay::{Broken, Relay};
use super::request::{Body, Sending};
use super::{budget, page, reply, socket, upstream};
use crate::base::clock;
use crate::base::stats::Count;
use crate::llm::ask::{Ask, AskReader};
use crate::llm::dialect::Endpoint;
use crate::llm::dialect::paths::{self, Route};
use crate::policy::decide::{Denial, Hop, Plan, Verdict, Wants};
use crate::policy::identity::peer::is_front_field;
use crate::policy::snapshot::Provider;
use crate::wire::decode::{self, Decoder};
use crate::wire::h1::Request;

/// Largest decoded form of a compressed request body that is read for its model.
const DECODED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Serve one request.
pub(super) async fn serve(core: &Core, conn: &mut Conn, request: Request) -> After {
    if page::is_page(request.head.path()) {
        // Boxed: what is rare must not make every connection larger.
        return Box::pin(page::serve(core, conn, &request)).await;
    }
    let mut account = Account::begin(core, conn, Some(&request));
    let told = survive(pin!(story(core, conn, &request, &mut account))).await;
    let after = match told {
        Ok(after) => after,
        Err(fault) => end_badly(core, conn, Some(&request), &mut account, fault).await,
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

async fn story(
    core: &Core,
    conn: &mut Conn,
    request: &Request,
    account: &mut Account,
) -> Result<After, Fault> {
    let route = admit(conn, core, request)?;
    account.routed(&route);
    if route.endpoint == Endpoint::Socket {
        return Box::pin(socket::serve(core, conn, request, &route, account)).await;
    }
    let mut body = Body::begin(core, conn, request)?;
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
    let (reader, model_span) = ask(core, conn, request, route, body, account).await?;
    let plan = verdict(core, conn, route, account)?;
    let mut sending = Sending { request, route, body, reader, model_span, account };
    carry(core, conn, &mut sending, &plan).await
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
    if conn.principal.is_none() {
        return Err(Denial::NoIdentity.into());
    }
    route.ok_or_else(|| Fault::new(if known_otherwise(path) { Kind::Method } else { Kind::UnknownPath }))
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
    if fields.iter().any(|(name, _)| is_front_field(name)) {
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
    let bare = bare.trim_end_matches('.').to_ascii_lowercase();
    let local = conn.local.ip().to_canonical();
    bare.parse().is_ok_and(|ip: std::net::IpAddr| {
        ip.to_canonical() == local || (ip.is_loopback() && local.is_loopback())
    }) || bare == "localhost"
        || names.contains(&bare)
}

/// Read the request until its model is known, or to its end where that must be.
async fn ask(
    core: &Core,
    conn: &mut Conn,
    request: &Request,
    route: &Route,
    body: &mut Body,
    account: &mut Account,
) -> Result<(Option<Box<AskReader>>, Option<Range<usize>>), Fault> {
    let since = clock::now();
    let coded = request
        .head
        .fields
        .text("content-encoding")
        .filter(|coding| !coding.eq_ignore_ascii_case("identity"));
    let mut reader = (request.head.method == "POST").then(|| Box::new(AskReader::for_route(route)));
    let known = loop {
        if body.is_done() {
            break false;
        }
        // A coded body is read from a decoded copy, which needs all of it.
        if coded.is_none()
            && let Some(reader) = &mut reader
            && reader.advance(&body.bytes)?
        {
            break true;
        }
        body.more(core, conn).await?;
    };
    account.waited(clock::now().since(since));
    account.request_complete = body.is_done();
    let Some(mut reader) = reader else {
        account.asked(request, Ask { model: route.model_in_path.clone(), ..Ask::default() });
        return Ok((None, None));
    };
    if known {
        let model = reader.model(&body.bytes).map(Cow::into_owned);
        account.asked(request, Ask { model, ..Ask::default() });
        let span = reader.model_span();
        return Ok((Some(reader), span));
    }
    let decoded = coded.map(|_| plain(request, &body.bytes)).transpose()?;
    let text = decoded.as_deref().unwrap_or(&body.bytes);
    reader.advance(text)?;
    // In a coded body the place is that of the copy: nothing can be replaced there.
    let span = reader.model_span().filter(|_| decoded.is_none());
    account.asked(request, reader.finish(text)?);
    Ok((None, span))
}

/// A decoded copy of a coded body; the coded one is what is forwarded.
fn plain(request: &Request, body: &[u8]) -> Result<Vec<u8>, Fault> {
    let refused = |why: decode::DecodeFault| Fault::because(Kind::Coding, why.reason());
    let mut plain = Vec::new();
    let mut over = false;
    if let Some(mut decoder) = Decoder::new(request.head.fields.all("content-encoding")).map_err(refused)? {
        let mut take = |piece: &[u8]| match plain.len() + piece.len() > DECODED_BYTES_MAX {
            true => over = true,
            false => plain.extend_from_slice(piece),
        };
        decoder.feed(body, &mut take).map_err(refused)?;
    }
    if over { Err(Fault::because(Kind::Coding, "decoded form over the bound")) } else { Ok(plain) }
}

/// Whether a path exists under another method: 405 rather than 404.
fn known_otherwise(path: &str) -> bool {
    ["GET", "POST"].iter().any(|method| paths::endpoint(method, path).is_some())
}

fn verdict(core: &Core, conn: &Conn, route: &Route, account: &mut Account) -> Result<Arc<Plan>, Fault> {
    let model = account.ask().model.clone();
    let wants =
        Wants { dialect: route.dialect, model: model.as_deref(), others: &account.ask().other_models };
    match core.decide(conn.principal.as_ref(), wants) {
        Verdict::Allow(plan) => {
            account.admitted(core, &plan.providers[0].id);
            Ok(plan)
        }
        Verdict::Deny(why) => Err(why.into()),
    }
}

/// One provider after another, as long as faults prove that nothing was executed.
async fn carry(core: &Core, conn: &mut Conn, sending: &mut Sending<'_>, plan: &Plan) -> Result<After, Fault> {
    let mut last = Fault::new(Kind::Connect);
    for (nth, provider) in plan.providers.iter().enumerate() {
        if nth > 0 {
            core.stats.add(Count::UpstreamRetries, 1);
        }
        reserve(core, conn, sending, provider, plan.hops.get(nth)).await?;
        sending.rename(core, conn, plan.hops.get(nth)).await?;
        match attempt(core, conn, sending, provider, plan.hops.get(nth)).await {
            Ok(after) => return Ok(after),
            Err(fault) => {
                sending.account.attempt_failed(&provider.id, &fault);
                if fault.retry() == Retry::No || sending.account.head_sent {
                    return Err(fault);
                }
                last = fault;
            }
        }
    }
    Err(last)
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
    while !sending.body.is_done() {
        sending.body.more(core, conn).await?;
    }
    sending.judge_whole(core, conn)?;
    let draw = budget::Draw {
        principal: conn.principal.as_ref(),
        caller: sending.account.caller(),
        ask: sending.account.ask(),
        endpoint: sending.route.endpoint,
        provider,
        hop,
        body_bytes: sending.body.bytes.len() as u64,
    };
    let held = budget::reserve(core, &draw)?;
    sending.account.hold(held);
    Ok(())
}

/// One provider: over an idle connection if there is one, and over a new one if that turned out to be dead.
async fn attempt(
    core: &Core,
    conn: &mut Conn,
    sending: &mut Sending<'_>,
    provider: &Provider,
    hop: Option<&Hop>,
) -> Result<After, Fault> {
    sending.account.provider(&provider.id);
    let limit = provider.connect.unwrap_or(core.limits().connect);
    let mut fresh = false;
    loop {
        let since = clock::now();
        let lease = match fresh {
            false => upstream::lease(core, &provider.origin, limit).await?,
            true => Box::pin(upstream::connect(core, &provider.origin, limit)).await?,
        };
        sending.account.connected(clock::now().since(since));
        match (Relay { core, conn, sending, lease, others_armed: false }).run(provider, hop).await {
            Ok(after) => return Ok(after),
            Err(Broken::Fault(fault)) => return Err(fault),
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
    let response = reply::response(&fault, account.dialect(), account.id(), !keep, bodiless);
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
