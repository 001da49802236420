//! How the gateway itself is doing. Counts of the whole process, names of nobody.

use std::sync::atomic::Ordering::Relaxed;

use serde::Serialize;

use super::Room;
use crate::admin::door::Viewer;
use crate::admin::watch::ConfigView;
use crate::base::clock;
use crate::base::stats::Count;
use crate::record::health::HealthView;

/// The page.
#[derive(Serialize)]
pub(super) struct Health {
    version: &'static str,
    driver: &'static str,
    started_at_us: u64,
    now_us: u64,
    draining: bool,
    /// Lost on the way and in the store together; 0 is the promise.
    records_lost: u64,
    records_queued: u64,
    cores: Vec<Core>,
    writer: HealthView,
    providers: Vec<String>,
    /// Where agents reach it, as they write it.
    urls: Vec<String>,
    config: ConfigView,
}

#[derive(Serialize)]
struct Core {
    connections_open: u64,
    exchanges_open: u64,
    ring_records: u64,
    ring_capture_bytes: u64,
    panics: u64,
}

/// As `viewer` may see it: what is wrong with the file tells of others, and is for those who can mend it.
pub(super) fn view(room: &Room, viewer: &Viewer) -> Health {
    let facts = &room.facts;
    let mut config = facts.reloads.view();
    if !viewer.sees_sums() {
        for lines in [&mut config.refused, &mut config.warnings] {
            lines.iter_mut().for_each(|line| "told to operators and admins".clone_into(line));
        }
    }
    let core = |stats: &std::sync::Arc<crate::base::stats::CoreStats>| Core {
        connections_open: stats.read(Count::ConnectionsOpen),
        exchanges_open: stats.read(Count::ExchangesOpen),
        ring_records: stats.read(Count::RingRecords),
        ring_capture_bytes: stats.read(Count::RingCaptureBytes),
        panics: stats.read(Count::Panics),
    };
    let writer = facts.health.view();
    Health {
        version: env!("CARGO_PKG_VERSION"),
        driver: facts.driver,
        started_at_us: facts.started_at_us,
        now_us: clock::wall(),
        draining: facts.drain.load(Relaxed),
        // The writer learns of a ring's losses a moment later and counts them too: the larger is the newer.
        records_lost: writer.lost_total.max(facts.stats.total(Count::RecordsLost)),
        records_queued: facts.stats.total(Count::RecordsQueued),
        cores: facts.stats.cores().iter().map(core).collect(),
        writer,
        config,
        urls: facts.urls.clone(),
        providers: facts.snapshot().providers.iter().map(|provider| provider.id.clone()).collect(),
    }
}
