//! `/v1/models` and its kin: answered from our own list, never from a provider's. An exchange like any other, but nobody
//! is called.

use tokio::sync::oneshot;

use super::account::Account;
use super::conn::{After, Conn};
use super::core::Core;
use super::fault::Fault;
use super::who;
use crate::llm::dialect::Dialect;
use crate::llm::dialect::listing::{Entry, Shape};
use crate::llm::dialect::paths::{Flag, Route};
use crate::policy::decide::Denial;
use crate::policy::listing::{self, Listed};
use crate::wire::crossing::{Ask, Priced};
use crate::wire::h1::{Request, write_decimal, write_field};

/// Answer.
pub(super) async fn serve(
    core: &Core,
    conn: &mut Conn,
    request: &Request,
    route: &Route,
    account: &mut Account,
) -> Result<After, Fault> {
    let body = page(core, conn, request, route).await?;
    let keep = request.keep_alive && account.request_complete && !core.is_draining();
    let mut out = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ".to_vec();
    write_decimal(&mut out, body.len() as u64);
    out.extend_from_slice(b"\r\n");
    write_field(&mut out, b"x-weir-id", &account.id().letters());
    if !keep {
        write_field(&mut out, b"connection", b"close");
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body.as_bytes());
    account.answered_here(core, 200, body.as_bytes());
    conn.send(&out, core.limits().body_idle).await?;
    Ok(if keep { After::KeepAlive } else { After::Linger })
}

async fn page(core: &Core, conn: &Conn, request: &Request, route: &Route) -> Result<String, Fault> {
    let (shape, flags) = asked(request, route);
    let found = found(core, conn, route, flags)?;
    let priced = priced(core, &found).await;
    let entries: Vec<Entry<'_>> =
        found.iter().enumerate().map(|(nth, listed)| entry(listed, priced.get(nth))).collect();
    let value = match (&route.model_in_path, entries.first()) {
        (Some(_), Some(one)) => shape.one(one),
        _ => shape.list(&entries),
    };
    Ok(value.to_string())
}

/// All that the caller may use, or the one it names.
fn found(core: &Core, conn: &Conn, route: &Route, flags: &[Flag]) -> Result<Vec<Listed>, Fault> {
    let principal = conn.principal.as_ref().ok_or(Denial::NoIdentity)?;
    if core.with_rights(principal, |_, rights| rights.roles.is_empty()) {
        return Err(who::denied(core, Some(principal), Denial::NoRole));
    }
    core.with_rights(principal, |snapshot, rights| match &route.model_in_path {
        None => Ok(listing::listed(snapshot, rights, flags)),
        Some(name) => {
            let one = listing::find(snapshot, rights, flags, name).ok_or(Denial::NoModel)?;
            Ok(vec![one])
        }
    })
}

/// Prices are the control thread's to look up; without an answer the list has none.
async fn priced(core: &Core, found: &[Listed]) -> Vec<Priced> {
    let own_name = |listed: &Listed| listed.own_name.clone().unwrap_or_else(|| listed.name.clone());
    let models = found.iter().map(|listed| (listed.provider.id.clone(), own_name(listed))).collect();
    let (reply, answer) = oneshot::channel();
    match core.asks.try_send(Ask::Prices(models, reply)) {
        Ok(()) => answer.await.unwrap_or_default(),
        Err(_) => Vec::new(),
    }
}

/// Whose shape the client expects, and which endpoints it can use. Anthropic's clients say so by their version field.
fn asked(request: &Request, route: &Route) -> (Shape, &'static [Flag]) {
    match route.dialect {
        Dialect::Gemini => (Shape::Gemini, &[Flag::GeminiGenerateContent, Flag::GoogleGenerateContent]),
        Dialect::Ollama => (Shape::Ollama, &[Flag::OllamaNative]),
        _ if request.head.fields.get("anthropic-version").is_some() => {
            (Shape::Anthropic, &[Flag::AnthropicMessages])
        }
        _ => (Shape::OpenAi, &[]),
    }
}

fn entry<'l>(listed: &'l Listed, priced: Option<&Priced>) -> Entry<'l> {
    Entry {
        name: &listed.name,
        provider: &listed.provider.id,
        provider_name: listed.provider.name.as_deref(),
        flags: listed.provider.flags.iter().map(|flag| flag.name()).collect(),
        context_window: priced.and_then(|priced| priced.context_window),
        pricing: priced.and_then(|priced| priced.pricing.clone()),
    }
}
