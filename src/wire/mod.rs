//! Floor 1: bytes ⇄ messages. Sans-io: given bytes, gives messages; never a socket, never a clock, never a panic on input.

pub mod decode;
pub mod h1;
pub mod head;
pub mod json;
pub mod proxyv2;
pub mod sse;
