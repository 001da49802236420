//! DeepSeek: OpenAI's language at the root, Anthropic's below `/anthropic`.

use std::borrow::Cow;

use super::{Authorization, Site, Vendor, versioned};
use crate::llm::dialect::paths::Flag;

pub(super) static VENDOR: Vendor = Vendor {
    id: "deepseek",
    hosts: &["deepseek.com"],
    origin: "https://api.deepseek.com",
    keys: &["DEEPSEEK_API_KEY"],
    base_url: "DEEPSEEK_BASE_URL",
    authorization: Authorization::Bearer,
    flags: &[Flag::OpenaiChat, Flag::AnthropicMessages],
    models: &["deepseek-*"],
    path,
};

fn path<'p>(path: &'p str, site: &Site<'_>) -> Result<Cow<'p, str>, &'static str> {
    Ok(match path.starts_with("/v1/messages") && site.prefix.is_empty() {
        true => Cow::Owned(format!("/anthropic{path}")),
        false => versioned(path, site),
    })
}
