//! Floor 3: may this principal do this, now. Pure over the [`snapshot::Snapshot`]: no socket, no file, no clock.
//!
//! A step that needs I/O says so in its answer (`identity::Judged::NeedsLookup` and its kin); the data plane does it.

pub mod decide;
pub mod dial;
pub mod explain;
pub mod glob;
pub mod grant;
pub mod identity;
pub mod listing;
pub mod prices;
pub mod quota;
pub mod rights;
pub mod route;
pub mod snapshot;
