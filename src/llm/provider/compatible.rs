//! Whoever speaks a known language at an address of their own: vLLM, llama.cpp, LM Studio, and what is not known yet.

use super::{Authorization, Vendor, as_it_came};
use crate::llm::dialect::paths::Flag;

pub(super) static VENDOR: Vendor = Vendor {
    id: "compatible",
    hosts: &[],
    origin: "",
    keys: &[],
    base_url: "",
    authorization: Authorization::Bearer,
    flags: &[Flag::OpenaiChat],
    models: &["**"],
    path: as_it_came,
};
