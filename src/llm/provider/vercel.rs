//! Vercel's AI gateway: models are named VENDOR/NAME.

use super::{Authorization, Vendor, as_it_came};
use crate::llm::dialect::paths::Flag;

pub(super) static VENDOR: Vendor = Vendor {
    id: "vercel",
    hosts: &["ai-gateway.vercel.sh"],
    origin: "https://ai-gateway.vercel.sh",
    keys: &["AI_GATEWAY_API_KEY"],
    base_url: "AI_GATEWAY_BASE_URL",
    authorization: Authorization::Bearer,
    flags: &[Flag::OpenaiChat, Flag::AnthropicMessages],
    models: &["*/*"],
    path: as_it_came,
};
