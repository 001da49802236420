//! The front page in one answer: totals, what is in flight, the last hour by minute, health.

use serde::Serialize;

use super::health::{self, Health};
use super::{Room, Visit};
use crate::admin::reply::{Answer, json};
use crate::base::clock;
use crate::base::stats::Count;
use crate::record::store::{Filter, GroupBy, InFlightRow, Overview, Reader};

/// Exchanges in flight that are looked at, and that are shown.
const IN_FLIGHT_READ: u32 = 10_000;
const IN_FLIGHT_SHOWN: usize = 50;
const MINUTE_US: u64 = 60_000_000;
const MINUTES: u64 = 60;

#[derive(Serialize)]
struct Front {
    viewer: Seen,
    totals: Overview,
    agents: u64,
    in_flight: Vec<InFlightRow>,
    per_minute: Vec<Minute>,
    health: Health,
}

#[derive(Serialize)]
struct Seen {
    name: String,
    role: &'static str,
    /// Whether the sums are over everybody.
    sees_everybody: bool,
}

#[derive(Serialize)]
struct Minute {
    at_us: u64,
    exchanges: u64,
}

/// What the store knows of it.
struct Stored {
    totals: Overview,
    agents: u64,
    in_flight: Vec<InFlightRow>,
    per_minute: Vec<(u64, u64)>,
}

pub(super) async fn page(room: &Room, visit: &Visit<'_>) -> Answer {
    let filter = visit.sums(&[])?.filter;
    let now = clock::wall();
    let everything = filter == Filter::default();
    let mut stored = room.store.look(move |reader| look(reader, &filter, now)).await?;
    stored.totals.in_flight = match everything {
        // The counters are ahead of the store; a user's filter is never empty.
        true => room.facts.stats.total(Count::ExchangesOpen),
        false => stored.in_flight.len() as u64,
    };
    // What runs just now is somebody's: sums alone say nothing of whose.
    stored.in_flight.retain(|row| visit.viewer.may_see(&row.principal));
    stored.in_flight.truncate(IN_FLIGHT_SHOWN);
    json(&Front {
        viewer: Seen {
            name: visit.viewer.name().to_owned(),
            role: visit.viewer.role(),
            sees_everybody: visit.viewer.sees_sums(),
        },
        totals: stored.totals,
        agents: stored.agents,
        in_flight: stored.in_flight,
        per_minute: every_minute(&stored.per_minute, now),
        health: health::view(room, &visit.viewer),
    })
}

fn look(reader: &Reader, filter: &Filter, now: u64) -> std::io::Result<Stored> {
    let mut in_flight = reader.in_flight(IN_FLIGHT_READ)?;
    in_flight.retain(|row| fits(filter, row));
    in_flight.reverse();
    let agents =
        reader.usage(filter, GroupBy::Agent)?.iter().filter(|row| !row.key.is_empty()).count() as u64;
    let since = first_minute(now);
    Ok(Stored {
        totals: reader.overview(filter)?,
        agents,
        in_flight,
        per_minute: reader.per_minute(filter.principal.as_deref(), since)?,
    })
}

/// What is known before the end; a filter on the rest leaves nothing that has not ended.
fn fits(filter: &Filter, row: &InFlightRow) -> bool {
    let same = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is);
    same(&filter.principal, &row.principal)
        && same(&filter.agent, &row.agent)
        && same(&filter.session, &row.session)
        && same(&filter.provider, &row.provider)
        && same(&filter.model, row.model_asked.as_deref().unwrap_or_default())
        && filter.tool.is_none()
        && filter.outcome.is_none()
        && filter.status.is_none()
}

fn first_minute(now: u64) -> u64 {
    (now / MINUTE_US).saturating_sub(MINUTES - 1) * MINUTE_US
}

/// Minutes without an exchange are zeros in the picture, not gaps.
fn every_minute(seen: &[(u64, u64)], now: u64) -> Vec<Minute> {
    let first = first_minute(now);
    let at = |minute: u64| first + minute * MINUTE_US;
    let count = |at_us| seen.iter().find(|(at, _)| *at == at_us).map_or(0, |(_, exchanges)| *exchanges);
    (0..MINUTES).map(|n| Minute { at_us: at(n), exchanges: count(at(n)) }).collect()
}
