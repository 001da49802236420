//! Mistral.

use super::{Authorization, Vendor, as_it_came};
use crate::llm::dialect::paths::Flag;

pub(super) static VENDOR: Vendor = Vendor {
    id: "mistral",
    hosts: &["mistral.ai"],
    origin: "https://api.mistral.ai",
    keys: &["MISTRAL_API_KEY"],
    base_url: "MISTRAL_BASE_URL",
    authorization: Authorization::Bearer,
    flags: &[Flag::OpenaiChat],
    models: &[
        "mistral-*",
        "ministral-*",
        "magistral-*",
        "codestral-*",
        "devstral-*",
        "pixtral-*",
        "voxtral-*",
        "open-mi*",
    ],
    path: as_it_came,
};
