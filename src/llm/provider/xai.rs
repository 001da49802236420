//! xAI.

use super::{Authorization, Vendor, as_it_came};
use crate::llm::dialect::paths::Flag;

pub(super) static VENDOR: Vendor = Vendor {
    id: "xai",
    hosts: &["x.ai"],
    origin: "https://api.x.ai",
    keys: &["XAI_API_KEY"],
    base_url: "XAI_BASE_URL",
    authorization: Authorization::Bearer,
    flags: &[Flag::OpenaiChat, Flag::OpenaiResponses],
    models: &["grok-*"],
    path: as_it_came,
};
