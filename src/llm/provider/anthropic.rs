//! Anthropic's own API.

use super::{Authorization, Vendor, as_it_came};
use crate::llm::dialect::paths::Flag;

pub(super) static VENDOR: Vendor = Vendor {
    id: "anthropic",
    hosts: &["anthropic.com"],
    origin: "https://api.anthropic.com",
    keys: &["ANTHROPIC_API_KEY"],
    base_url: "ANTHROPIC_BASE_URL",
    authorization: Authorization::XApiKey,
    flags: &[Flag::AnthropicMessages, Flag::Batches],
    models: &["**"],
    path: as_it_came,
};
