//! Floor 5: API and dashboard, on the control thread. Cores hand it requests over a channel; it never sees a socket of
//! theirs, and never imports the data plane.
//!
//! ```text
//!   core ──Ask::Page──┐                       ┌▶ stats, health        atomics, read in place
//!                     ├▶ door: who looks ▶ api ┼▶ store  ▶ Reader      blocking, a few at a time, on other threads
//!   control.sock ─────┘                       └▶ audit  ▶ audit.log   a line before an admin's look
//! ```
//!
//! Deliberately absent: a session of a user. Who looks is judged per request, from what the core or the kernel says;
//! only an admin who came by the one-time link has a cookie.

mod api;
mod audit;
mod control;
mod credentials;
mod dashboard;
mod door;
mod fetch;
mod issuers;
mod leases;
mod metrics;
mod objects;
mod pricing;
mod question;
mod reply;
mod socket;
mod store;
mod tailnet;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub use control::Control;
pub use watch::Reloads;

use crate::base::stats::Stats;
use crate::config::reload::Source;
use crate::policy::quota::Budgets;
use crate::policy::snapshot::{InForce, Snapshot};
use crate::record::balances::Commands;
use crate::record::health::WriterHealth;
use crate::record::writer::TailDoor;

/// What the pages show.
pub struct Facts {
    /// Folder of the store.
    pub data: PathBuf,
    /// Where agents reach it, as they write it: listeners that have models first.
    pub urls: Vec<String>,
    /// The same of the first listener that has pages.
    pub pages: Option<String>,
    /// Live counters.
    pub stats: Stats,
    /// How the writer is doing.
    pub health: Arc<WriterHealth>,
    /// Balances, shared with the cores.
    pub budgets: Arc<Budgets>,
    /// Where balances changed by hand are made durable.
    pub commands: Commands,
    /// Live tail.
    pub tail: TailDoor,
    /// How the cores wait.
    pub driver: &'static str,
    /// When this process began to serve, microseconds since the Unix epoch.
    pub started_at_us: u64,
    /// What is in force; whoever sends here swaps it.
    pub in_force: tokio::sync::watch::Sender<InForce>,
    /// What is trusted when something is fetched over TLS.
    pub tls: Arc<rustls::ClientConfig>,
    /// Where the configuration comes from.
    pub source: Source,
    /// How later configurations fared.
    pub reloads: Arc<Reloads>,
    /// Set while draining.
    pub drain: Arc<AtomicBool>,
}

impl Facts {
    /// The configuration in force now.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.in_force.borrow().snapshot.clone()
    }
}

/// Name of the control socket in the data folder.
pub const SOCKET_NAME: &str = "control.sock";
