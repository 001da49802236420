//! Quotas: what every bucket holds, and refilling one by hand.

use std::time::Duration;

use serde::Deserialize;

use super::{Room, Visit};
use crate::admin::audit::Look;
use crate::admin::door::Viewer;
use crate::admin::reply::{Answer, Problem, json};
use crate::base::clock;
use crate::policy::quota::lease::StoreAsk;
use crate::policy::quota::settings::Amount;
use crate::policy::quota::{Balance, Cell, Standing, is_of};
use crate::policy::snapshot::{Bucket, Snapshot};
use crate::record::balances::Command;

/// Rows of an answer.
const ROWS_MAX: usize = 10_000;
/// How long a refill waits to be durable.
const DURABLE_WITHIN: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refill {
    bucket: String,
    /// `"$5.00"`, or a number of the unit.
    amount: serde_json::Value,
}

/// Every bucket that somebody has drawn on, and those configured that nobody has. A user sees what is theirs alone.
pub(super) fn list(room: &Room, visit: &Visit<'_>) -> Answer {
    let wanted = match visit.query.map(|query| query.split_once('=')) {
        None => None,
        Some(Some(("bucket", name))) => Some(crate::admin::question::decoded(name).ok_or_else(unreadable)?),
        Some(_) => return Err(unreadable()),
    };
    let snapshot = &room.facts.snapshot();
    let mut rows = rows(room, snapshot, visit);
    if let Some(wanted) = wanted {
        rows.retain(|row| row.bucket == wanted || row.template == wanted);
    }
    rows.truncate(ROWS_MAX);
    json(&rows)
}

fn unreadable() -> Problem {
    Problem::new(400, "expected ?bucket=NAME or nothing")
}

fn rows(room: &Room, snapshot: &Snapshot, visit: &Visit<'_>) -> Vec<Standing> {
    let theirs = |balance: &Balance| match &visit.viewer {
        Viewer::Nobody => false,
        viewer if viewer.sees_sums() => true,
        viewer => is_of(&balance.template, &balance.bucket, viewer.name()),
    };
    let drawn = room.facts.budgets.balances(snapshot, clock::wall());
    let fresh =
        snapshot.buckets.iter().filter(|bucket| !drawn.iter().any(|kept| kept.template == *bucket.name));
    let fresh: Vec<_> = match visit.viewer.sees_sums() {
        true => fresh.map(Standing::untouched).collect(),
        false => Vec::new(),
    };
    let stands = |balance: &Balance| Some(Standing::of(balance, snapshot.bucket(&balance.template)?));
    drawn.iter().filter(|balance| theirs(balance)).filter_map(stands).chain(fresh).collect()
}

/// Put an amount into a bucket by hand. Answered when that is durable.
pub(super) async fn refill(room: &Room, visit: &Visit<'_>) -> Answer {
    if !visit.viewer.is_admin() {
        return Err(Problem::new(403, "only an admin refills a quota"));
    }
    let asked: Refill = serde_json::from_slice(visit.body).map_err(|why| {
        Problem::new(422, "expected {\"bucket\": NAME, \"amount\": \"$5.00\"}").detail(why.to_string())
    })?;
    let snapshot = &room.facts.snapshot();
    let (cell, bucket) = room.facts.budgets.find(&asked.bucket, snapshot).ok_or_else(|| {
        Problem::not_found("quota")
            .detail("nobody has drawn on a bucket of that full name; see GET /api/quotas")
    })?;
    let amount = amount(&asked.amount, bucket)?;
    let look = Look::Refill { bucket: asked.bucket.clone(), amount, unit: bucket.unit.name() };
    room.audit.note(&visit.viewer, look).await?;
    if cell.is_leased() {
        return refill_shared(room, &cell, bucket, amount).await;
    }
    let refilled = room.facts.budgets.refill(&asked.bucket, amount, snapshot, clock::wall());
    let balance = refilled.ok_or_else(|| Problem::not_found("quota"))?;
    made_durable(room, asked.bucket).await?;
    json(&Standing::of(&balance, bucket))
}

/// The same where machines share the bucket: the store has it.
async fn refill_shared(room: &Room, cell: &Cell, bucket: &Bucket, amount: i64) -> Answer {
    match room.leases.refill(StoreAsk::refill(cell, bucket, amount)).await {
        true => json(&Standing::of(&cell.balance(), bucket)),
        false => Err(Problem::new(503, "the store of quotas cannot be reached: nothing was refilled")),
    }
}

fn amount(written: &serde_json::Value, bucket: &Bucket) -> Result<i64, Problem> {
    let text = match written {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let amount = Amount::parse(&text).ok_or("is no amount: write \"$5.00\" or a whole number");
    amount.and_then(|amount| amount.of(bucket.unit)).map_err(|why| Problem::new(422, format!("{text} {why}")))
}

async fn made_durable(room: &Room, bucket: String) -> Result<(), Problem> {
    let late = || Problem::new(503, "refilled, but the store has not confirmed it yet");
    let (done, told) = crossbeam_channel::bounded(1);
    room.facts.commands.try_send(Command { bucket, done }).map_err(|_| late())?;
    let answer = tokio::task::spawn_blocking(move || told.recv_timeout(DURABLE_WITHIN)).await;
    match answer {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(Ok(Err(why))) => Err(late().detail(why)),
        _ => Err(late()),
    }
}
