//! Perplexity: OpenAI's language without a version in the path.

use std::borrow::Cow;

use super::{Authorization, Site, Vendor, unversioned};
use crate::llm::dialect::paths::Flag;

pub(super) static VENDOR: Vendor = Vendor {
    id: "perplexity",
    hosts: &["perplexity.ai"],
    origin: "https://api.perplexity.ai",
    keys: &["PERPLEXITY_API_KEY", "PPLX_API_KEY"],
    base_url: "PERPLEXITY_BASE_URL",
    authorization: Authorization::Bearer,
    flags: &[Flag::OpenaiChat],
    models: &["sonar", "sonar-*"],
    path,
};

fn path<'p>(path: &'p str, _: &Site<'_>) -> Result<Cow<'p, str>, &'static str> {
    Ok(Cow::Borrowed(unversioned(path)))
}
