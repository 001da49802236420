//! OpenRouter: models are named VENDOR/NAME.

use super::{Authorization, Vendor, as_it_came};
use crate::llm::dialect::paths::Flag;

pub(super) static VENDOR: Vendor = Vendor {
    id: "openrouter",
    hosts: &["openrouter.ai"],
    origin: "https://openrouter.ai/api",
    keys: &["OPENROUTER_API_KEY"],
    base_url: "OPENROUTER_BASE_URL",
    authorization: Authorization::Bearer,
    flags: &[Flag::OpenaiChat, Flag::OpenaiResponses, Flag::AnthropicMessages],
    models: &["*/*"],
    path: as_it_came,
};
