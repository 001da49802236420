//! Together.

use super::{Authorization, Vendor, as_it_came};
use crate::llm::dialect::paths::Flag;

pub(super) static VENDOR: Vendor = Vendor {
    id: "together",
    hosts: &["together.xyz", "together.ai"],
    origin: "https://api.together.xyz",
    keys: &["TOGETHER_API_KEY"],
    base_url: "TOGETHER_BASE_URL",
    authorization: Authorization::Bearer,
    flags: &[Flag::OpenaiChat],
    models: &["*/*"],
    path: as_it_came,
};
