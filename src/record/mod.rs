//! Floor 3: the account, on the writer core. A sibling of policy: neither knows the other.
//!
//! ```text
//! cores ──ring──▶ writer ──▶ batch ──▶ record log (truth) ──▶ SQLite index (derived)
//!                              └─────▶ content segments
//! ```

pub mod balances;
mod batch;
mod blocks;
pub mod files;
pub mod handover;
pub mod health;
mod join;
pub mod line;
#[expect(clippy::module_inception, reason = "the record is the subject of the folder")]
pub mod record;
mod recovery;
pub mod segment;
pub mod store;
mod tail;
mod turns;
pub mod writer;
