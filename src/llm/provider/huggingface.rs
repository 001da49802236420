//! Hugging Face's router; models are named OWNER/NAME, or OWNER/NAME:PROVIDER.

use super::{Authorization, Vendor, as_it_came};
use crate::llm::dialect::paths::Flag;

pub(super) static VENDOR: Vendor = Vendor {
    id: "huggingface",
    hosts: &["huggingface.co"],
    origin: "https://router.huggingface.co",
    keys: &["HF_TOKEN"],
    base_url: "HF_BASE_URL",
    authorization: Authorization::Bearer,
    flags: &[Flag::OpenaiChat],
    models: &["*/*"],
    path: as_it_came,
};
