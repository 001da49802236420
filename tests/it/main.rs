//! The one integration binary: behaviours over real sockets, in front of the synthetic provider.

mod admin;
mod bad_input;
mod exchange;
mod fixtures;
mod gate;
mod policy;
mod reading;
mod tls;
