//! Floor 3: the account, on the writer core. A sibling of policy: neither knows the other.
//!
//! ```text
//! cores ──ring──▶ writer ──▶ batch ──▶ record log (truth) ──▶ SQLite index (derived)
//!                              └─────▶ content segments
//! ```

pub mod audit;
pub mod balances;
mod batch;
mod blocks;
pub mod delivered;
pub mod files;
pub mod handover;
pub mod health;
mod join;
pub mod line;
pub mod prices;
#[expect(clippy::module_inception, reason = "the record is the subject of the folder")]
pub mod record;
mod recovery;
pub mod segment;
mod sparse;
pub mod store;
mod tail;
mod threads;
mod turns;
pub mod writer;
