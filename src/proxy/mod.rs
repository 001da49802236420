//! proxy

pub mod tls;
