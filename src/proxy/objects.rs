//! What stays at a provider belongs to the principal that made it: bound before its id reaches the client, and not there
//! (404) for anybody else.
//!
//! ```text
//!   response makes an id known ──Ask::Bind──▶ control thread ──▶ block that holds it goes out; the record keeps it
//!   request names an id ── this core's memory ── else Ask::Owner ──▶ control thread, else the store
//! ```

use std::cell::RefCell;
use std::collections::HashMap;

use tokio::sync::oneshot;

use super::account::Account;
use super::core::Core;
use super::fault::{Fault, Kind};
use crate::policy::decide::Plan;
use crate::policy::identity::Principal;
use crate::policy::snapshot::Provider;
use crate::wire::crossing::{Ask, Bound};

/// Objects remembered per core; past it all are forgotten and asked for again.
const KNOWN_MAX: usize = 4096;
/// Objects that one request may name.
const NAMED_MAX: usize = 256;

/// A core's memory of whose objects are whose.
#[derive(Default)]
pub(super) struct Objects(RefCell<HashMap<String, Bound>>);

/// The principal as the owner of objects: the source that vouched does not matter.
pub(super) fn owner(principal: &Principal) -> String {
    [principal.kind.name(), ":", &principal.name].concat()
}

impl Objects {
    fn remember(&self, bound: Bound) {
        let mut known = self.0.borrow_mut();
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(bound.id.clone(), bound);
    }

    /// An object has just been made, and nobody waits until that is written down.
    pub(super) fn made(&self, core: &Core, bound: Bound) {
        let (reply, _) = oneshot::channel();
        // A control thread that is behind costs the owner a 404 on other cores, and nobody else anything.
        let _ = core.asks.try_send(Ask::Bind(vec![bound.clone()], reply));
        self.remember(bound);
    }

    async fn find(&self, core: &Core, id: &str) -> Option<Bound> {
        if let Some(known) = self.0.borrow().get(id) {
            return Some(known.clone());
        }
        let (reply, answer) = oneshot::channel();
        core.asks.send(Ask::Owner(id.to_owned(), reply)).await.ok()?;
        let bound = answer.await.ok()??;
        self.remember(bound.clone());
        Some(bound)
    }
}

/// The provider at which all these ids are the principal's own; none where there are no ids. Boxed: it is rare.
pub(super) async fn found(
    core: &Core,
    principal: Option<&Principal>,
    ids: &[String],
) -> Result<Option<String>, Fault> {
    if ids.is_empty() { Ok(None) } else { Box::pin(provider_of(core, principal, ids)).await }
}

async fn provider_of(
    core: &Core,
    principal: Option<&Principal>,
    ids: &[String],
) -> Result<Option<String>, Fault> {
    let Some(principal) = principal else { return Err(Fault::new(Kind::NoObject)) };
    if ids.len() > NAMED_MAX {
        return Err(Fault::because(Kind::NoObject, format!("{} ids in one request", ids.len())));
    }
    let owner = owner(principal);
    // Of the embedded default the keys are the local user's own: what was made before weir came, or beside it, is too.
    let strangers_are_own = core.snapshot().loopback_is_user && principal.loopback;
    let mut provider = None;
    for id in ids {
        let bound = match core.objects.find(core, id).await {
            Some(bound) if bound.owner == owner => bound,
            None if strangers_are_own => continue,
            _ => return Err(Fault::because(Kind::NoObject, "an id that is not the principal's")),
        };
        match provider.get_or_insert_with(|| bound.provider.clone()) {
            same if *same == bound.provider => {}
            _ => return Err(Fault::because(Kind::NoObject, "ids of two providers in one request")),
        }
    }
    Ok(provider)
}

/// A plan at the providers that will do.
pub(super) fn narrowed(plan: &Plan, will_do: impl Fn(&Provider) -> bool) -> Result<Plan, Fault> {
    let mut narrow = Plan::default();
    for (candidate, hop) in plan.providers.iter().zip(&plan.hops).filter(|(candidate, _)| will_do(candidate))
    {
        narrow.providers.push(candidate.clone());
        narrow.hops.push(hop.clone());
    }
    let nowhere = || Fault::because(Kind::NoObject, "no provider open to this request has what it names");
    if narrow.providers.is_empty() { Err(nowhere()) } else { Ok(narrow) }
}

/// Bind what a response has made known since the last time, before it goes out; whether there was anything.
pub(super) async fn bind(core: &Core, account: &mut Account) -> bool {
    let fresh = account.fresh_objects();
    if fresh.is_empty() {
        return false;
    }
    let (reply, bound) = oneshot::channel();
    // Unbound is closed to everybody, so a control thread that is behind costs the owner a 404 and nobody else anything.
    if core.asks.send(Ask::Bind(fresh, reply)).await.is_ok() {
        let _ = bound.await;
    }
    true
}
