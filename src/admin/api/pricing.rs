//! Prices of the models that the gateway's providers serve: `/aperture/pricing`, and of one model.

use super::{Room, Visit};
use crate::admin::question::decoded;
use crate::admin::reply::{Answer, Problem, json};
use crate::base::clock;
use crate::policy::prices;

pub(super) async fn all(room: &Room, visit: &Visit<'_>) -> Answer {
    may_look(visit)?;
    let snapshot = room.facts.snapshot();
    // Some hundred models are looked up, and the first look reads the price data: not on the control loop.
    let looked = tokio::task::spawn_blocking(move || prices::of_all(&snapshot, clock::wall())).await;
    json(&looked.map_err(|_| Problem::new(500, "a look at the prices failed"))?)
}

pub(super) async fn one(room: &Room, visit: &Visit<'_>, model: &[&str]) -> Answer {
    may_look(visit)?;
    let model = decoded(&model.join("/")).ok_or_else(|| Problem::not_found("model"))?;
    let snapshot = room.facts.snapshot();
    let looked =
        tokio::task::spawn_blocking(move || prices::of_model(&snapshot, &model, clock::wall())).await;
    match looked.map_err(|_| Problem::new(500, "a look at the prices failed"))? {
        Ok(found) => json(&found),
        Err(Some(near)) => Err(Problem::not_found("price").detail(format!("did you mean {near}?"))),
        Err(None) => Err(Problem::not_found("price")),
    }
}

fn may_look(visit: &Visit<'_>) -> Result<(), Problem> {
    visit.sums(&[])?;
    if visit.viewer.is_admin() || visit.rights.read_pricing {
        return Ok(());
    }
    Err(Problem::new(403, "prices are for admins and for whom a grant gives read_pricing"))
}
