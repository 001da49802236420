//! Cloudflare: Workers AI at the account's own address, or the AI gateway, whose `/compat` stands for a version.

use std::borrow::Cow;

use super::{Authorization, Site, Vendor, unversioned, versioned};
use crate::llm::dialect::paths::Flag;

pub(super) static VENDOR: Vendor = Vendor {
    id: "cloudflare",
    hosts: &["api.cloudflare.com", "gateway.ai.cloudflare.com"],
    origin: "https://api.cloudflare.com/client/v4/accounts/{CLOUDFLARE_ACCOUNT_ID}/ai",
    keys: &["CLOUDFLARE_API_TOKEN"],
    base_url: "CLOUDFLARE_BASE_URL",
    authorization: Authorization::Bearer,
    flags: &[Flag::OpenaiChat],
    models: &["@cf/**", "@hf/**"],
    path,
};

fn path<'p>(path: &'p str, site: &Site<'_>) -> Result<Cow<'p, str>, &'static str> {
    Ok(match site.prefix.ends_with("/compat") {
        true => Cow::Borrowed(unversioned(path)),
        false => versioned(path, site),
    })
}
