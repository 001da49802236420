//! Floor 4: the data plane, and the only place with client and upstream sockets.
//!
//! Start with [`exchange`]: one request from head to record. Around it: [`core`] is one event loop, [`conn`] one
//! client connection, `upstream` the way to a provider, `relay` the duplex loop of HTTP and `socket` its second shape,
//! [`io`] the runtime's face.

mod account;
mod asking;
mod backlog;
mod budget;
pub mod conn;
pub mod core;
mod credentials;
pub mod crowd;
mod downstream;
pub mod exchange;
pub mod fault;
mod heads;
pub mod io;
mod lookup;
mod models;
mod names;
mod objects;
mod page;
mod peer;
mod readiness;
mod relay;
mod reply;
mod request;
mod running;
mod socket;
mod spread;
pub mod tls;
mod transport;
mod tunnel;
mod upstream;
mod who;
