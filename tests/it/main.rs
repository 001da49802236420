//! The one integration binary: behaviours over real sockets, in front of the synthetic provider.

mod admin;
mod adversity;
mod attacks;
mod bad_input;
mod cases;
mod crash;
mod credentials;
mod egress;
mod exchange;
mod fixtures;
mod foreign;
mod gate;
mod identity;
mod objects;
mod policy;
mod price;
mod process;
mod providers;
mod quota;
mod reading;
mod reload;
mod setup;
mod socket;
mod through;
mod tidy;
mod tls;
