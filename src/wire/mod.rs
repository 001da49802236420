//! Floor 1: bytes ⇄ messages. Sans-io: given bytes, gives messages; never a socket, never a clock, never a panic on input.

pub mod base64;
pub mod credential;
pub mod crossing;
pub mod decode;
pub mod eventstream;
pub mod h1;
pub mod head;
pub mod json;
pub mod jsonarray;
pub mod ndjson;
pub mod proxyv2;
pub mod sse;
pub mod ws;
