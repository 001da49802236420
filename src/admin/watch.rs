//! The control thread's look at the files: what has changed is put in force for all cores at once, and said.

use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use serde::Serialize;
use tokio::signal::unix::Signal;
use tokio::time::MissedTickBehavior;

use super::api::Room;
use crate::base::clock;
use crate::base::settings::Problem;
use crate::config::reload::{Found, Reloader};
use crate::llm::price::Book;
use crate::policy::quota::settings::Unit;
use crate::policy::snapshot::{InForce, Snapshot};
use crate::record::prices;

/// How often the files are looked at: a revoked key must be felt within 5 s.
const EVERY: Duration = Duration::from_secs(1);
/// Lines kept of what was said last.
const LINES_MAX: usize = 64;

/// How later configurations fared.
#[derive(Default)]
pub struct Reloads(RwLock<ConfigView>);

/// What pages show of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ConfigView {
    /// Configurations put in force since the start.
    pub swaps: u64,
    /// Changes that were refused since the start.
    pub refusals: u64,
    /// When the last one came into force, microseconds since the Unix epoch; none: that of the start is.
    pub in_force_since_us: Option<u64>,
    /// Why what is written now is not in force; empty when it is.
    pub refused: Vec<String>,
    /// What somebody should look at in what is in force.
    pub warnings: Vec<String>,
}

impl Reloads {
    /// As it stands.
    #[must_use]
    pub fn view(&self) -> ConfigView {
        self.0.read().map(|view| view.clone()).unwrap_or_default()
    }

    fn note(&self, found: &Found) {
        let Ok(mut view) = self.0.write() else { return };
        view.refused = lines(&found.refused);
        view.refusals += u64::from(!found.refused.is_empty());
        if found.snapshot.is_some() {
            view.swaps += 1;
            view.in_force_since_us = Some(clock::wall());
            view.warnings = lines(&found.warnings);
        }
    }
}

fn lines(problems: &[Problem]) -> Vec<String> {
    problems.iter().take(LINES_MAX).map(ToString::to_string).collect()
}

/// Look every second, and at once on SIGHUP.
pub(super) async fn look_now_and_then(mut reloader: Reloader, room: Arc<Room>, mut hup: Signal) {
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let asked = tokio::select! {
            _ = every.tick() => false,
            _ = hup.recv() => true,
        };
        // Files and the compiler are other threads' work: pages go on meanwhile.
        let data = room.facts.data.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let found = reloader.look(asked);
            if let Some(snapshot) = &found.snapshot {
                put_prices_in_force(&data, snapshot);
            }
            (reloader, found)
        });
        let Ok((same, found)) = looked.await else { return };
        reloader = same;
        if !found.is_nothing() {
            room.facts.reloads.note(&found);
            say(&found);
            room.facts.in_force.send_modify(|now| put_in_force(now, found));
        }
    }
}

/// Commands price what they read by the file beside the store, and a core that needs a price is not to wait for the data.
fn put_prices_in_force(data: &Path, snapshot: &Snapshot) {
    if let Err(why) = prices::write(data, snapshot.tariff()) {
        eprintln!("weir: what was stored is priced by earlier price lists: {why}");
    }
    if snapshot.buckets.iter().any(|bucket| bucket.unit == Unit::Dollars) {
        Book::warm();
    }
}

fn put_in_force(now: &mut InForce, found: Found) {
    if let Some(snapshot) = found.snapshot {
        now.snapshot = snapshot;
    }
    if let Some(keys) = found.keys {
        now.trust.keys = keys;
    }
    if let Some(tls) = found.tls {
        now.tls = tls;
    }
}

fn say(found: &Found) {
    for problem in &found.refused {
        eprintln!("weir: not in force: {problem}");
    }
    for problem in &found.warnings {
        eprintln!("weir: {problem}");
    }
    if !found.refused.is_empty() {
        eprintln!("weir: what was in force stays in force");
    }
    for (what, there) in [
        ("the configuration", found.snapshot.is_some()),
        ("keys", found.keys.is_some()),
        ("certificates", found.tls.is_some() && found.snapshot.is_none()),
    ] {
        if there {
            eprintln!("weir: {what} read again, in force");
        }
    }
}
