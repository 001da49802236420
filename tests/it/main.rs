//! The one integration binary: behaviours over real sockets, in front of the synthetic provider.

mod cases;
mod fixtures;
mod reading;
