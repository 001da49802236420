//! Floor 0: what everything else stands on. Knows no HTTP, no models, no sockets.
//!
//! Invariants of absence: nothing here imports another floor, names the runtime, or blocks.

pub mod buf;
pub mod clock;
pub mod fields;
pub mod id;
pub mod memory;
pub mod ring;
pub mod settings;
pub mod stats;
