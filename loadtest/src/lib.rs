//! Synthetic provider, byte-checking client and a fleet of agents. Without features: std only.
//!
//! This crate judges the gateway, so it shares no code with it: its own HTTP, its own JSON, its own idea of what a
//! model API answers. One rule makes every byte checkable: **an answer is a pure function of the request** (path, body,
//! [`Knobs`]), so the client rebuilds from what it sent exactly what the provider must have written.
//!
//! ```text
//!   Knobs ──┐
//!   request ┴▶ Answer ──▶ Plan ──▶ bytes on the wire       Provider: a thread per connection; the truth log
//!                │                                          rig (feature `bin`): the same plan on one epoll loop
//!                └──────▶ Expect ◀── bytes that arrived     Client, fleet
//! ```
//!
//! # A test against it
//!
//! ```
//! use loadtest::{Canned, Client, Knobs, Provider, Request};
//!
//! let provider = Provider::start(Knobs::of("events=20,bytes=200"));
//! let body = br#"{"model":"m","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"hello"}]}"#;
//! let checked = Client::new(provider.addr).check(&Request::messages(body), provider.knobs()).unwrap();
//! assert_eq!(checked.mismatch, None);
//! assert_eq!(provider.truth()[0].body_bytes as usize, checked.reply.body_bytes);
//!
//! provider.can("x", Canned::new(200).header("content-type", "text/event-stream").body("data: 1\n\n").chunked(&[3]));
//! let reply = Client::new(provider.addr).send(&Request::messages(b"{}").header("x-canned", "x")).unwrap();
//! assert_eq!(reply.body, b"data: 1\n\n");
//! ```

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a load generator shares nothing with weir's clock, cores or crossings: it sleeps, reads time and locks"
)]

pub mod answer;
pub mod canned;
pub mod client;
pub mod clock;
pub mod digest;
pub mod expect;
pub mod fleet;
pub mod frame;
pub mod gzip;
pub mod http;
pub mod json;
pub mod knobs;
pub mod plan;
pub mod provider;
pub mod rsa;
pub mod sigv4;
pub mod truth;
pub mod websocket;

pub use answer::{Answer, Claim, ToolCall};
pub use canned::Canned;
pub use client::{Checked, Client, Ended, Reading, Reply, Request};
pub use expect::{Expect, Mismatch};
pub use fleet::{Fleet, Totals};
pub use knobs::{Fault, Knobs};
pub use provider::Provider;
pub use truth::{End, Served};
