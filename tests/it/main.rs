//! The one integration binary: behaviours over real sockets, in front of the synthetic provider.

mod admin;
mod bad_input;
mod cases;
mod crash;
mod exchange;
mod fixtures;
mod gate;
mod policy;
mod process;
mod quota;
mod reading;
mod socket;
mod through;
mod tidy;
mod tls;
