//! OpenAI.

use super::{Authorization, Vendor, as_it_came};
use crate::llm::dialect::paths::Flag;

pub(super) static VENDOR: Vendor = Vendor {
    id: "openai",
    hosts: &["openai.com"],
    origin: "https://api.openai.com",
    keys: &["OPENAI_API_KEY"],
    base_url: "OPENAI_BASE_URL",
    authorization: Authorization::Bearer,
    flags: &[Flag::OpenaiChat, Flag::OpenaiResponses, Flag::OpenaiOther, Flag::OpenaiRealtime, Flag::Batches],
    models: &["**"],
    path: as_it_came,
};
