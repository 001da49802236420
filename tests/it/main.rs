//! The one integration binary: behaviours over real sockets and the synthetic provider.

mod policy;
