//! weir: a gateway between AI agents and model providers. This page is the map.
//!
//! # Floors
//!
//! A floor imports only what stands below it; `tests/it/tidy.rs` holds the table.
//!
//! ```text
//!  6 server    start cores, writer, admin; signals; drain order
//!  5 admin     API and dashboard on the control thread      cli    one file per command
//!  4 proxy     the data plane: sockets live here            config file as written → Snapshot
//!  3 policy    may this principal do this, now              record the account, on the writer core
//!  2 llm       what a model API means; sans-io
//!  1 wire      bytes ⇄ messages; sans-io
//!  0 base      ring, clock, counters, identifiers
//! ```
//!
//! # Planes and crossings
//!
//! Three planes never call each other: data (one event loop per core), record (one writer), control. They touch at
//! named crossings, each one type:
//!
//! ```text
//!                1 Snapshot   immutable, swapped whole
//!    control ───────────────────────────────▶ data ◀──────────▶ downstream, upstream
//!      ▲  ▲                                    │ │
//!      │  └───────── 2 CoreStats ──────────────┘ │    per-core counters, read without locks
//!      │                                         ▼
//!      │                                 3 base::ring      two lanes per core: notes, captures
//!      │                                         ▼
//!      └──────────── 4 store reader ◀──────── record ─────────▶ segments, index
//!
//!    data ──5 Ask──▶ control      admin pages, DNS, key sets, whois, leases: bounded request and response
//!    control ──6 Command──▶ record      balances changed by hand, acknowledged when durable
//!    data ◀─ policy::quota::Budgets ─▶ data      one cell per bucket: the one thing that cores share
//! ```
//!
//! # Life of an exchange
//!
//! Read [`proxy::exchange`] first: one request from head to record.

// The library is public only enough for the binary, tests, benches and fuzz targets.
#![allow(clippy::missing_errors_doc, reason = "errors are described where they are not the plain io::Error")]

pub mod admin;
pub mod base;
pub mod cli;
pub mod config;
pub mod llm;
pub mod policy;
pub mod proxy;
pub mod record;
pub mod server;
pub mod wire;
