//! Floor 2: what a model API means. Sans-io: readers are fed bytes and yield counts, names and reasons.
//!
//! Invariants of absence: no socket, no clock, no policy. A reader that stumbles gives up on reading; it never
//! changes a byte and never stops the stream.

pub mod agent;
pub mod ask;
pub mod dialect;
pub mod meter;
pub mod price;
pub mod provider;
pub mod usage;
