//! Floor 2: what a model API means. Sans-io: readers are fed bytes and yield counts, names and reasons.
//!
//! ```text
//!   request body  ──▶ ask::AskReader ──▶ Ask          response bytes ──▶ meter::Meter ──▶ reading::Reading
//!                                                       decode, split      │ per event or body
//!                                                                          ▼
//!                                                                     dialect::Reader
//! ```
//!
//! Invariants of absence: no socket, no clock, no policy. A reader that stumbles gives up on reading; it never
//! changes a byte and never stops the stream.

pub mod agent;
pub mod ask;
pub mod ask_usage;
pub mod batch;
pub mod dialect;
pub mod ending;
pub mod estimate;
pub mod form;
mod likeness;
pub mod mcp;
pub mod meter;
pub mod objects;
pub mod price;
pub mod provider;
pub mod reading;
pub mod socket;
pub mod usage;
