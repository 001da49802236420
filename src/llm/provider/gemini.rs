//! Gemini's own API. It serves OpenAI's language, too, below `/v1beta/openai`.

use std::borrow::Cow;

use super::{Authorization, Site, Vendor, unversioned};
use crate::llm::dialect::paths::Flag;

pub(super) static VENDOR: Vendor = Vendor {
    id: "gemini",
    hosts: &["generativelanguage.googleapis.com"],
    origin: "https://generativelanguage.googleapis.com",
    keys: &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
    base_url: "GEMINI_BASE_URL",
    authorization: Authorization::XGoogApiKey,
    flags: &[Flag::GeminiGenerateContent],
    models: &["**"],
    path,
};

fn path<'p>(path: &'p str, site: &Site<'_>) -> Result<Cow<'p, str>, &'static str> {
    let bare = unversioned(path);
    Ok(match (bare.ends_with("/chat/completions"), site.prefix) {
        (true, "") => Cow::Owned(format!("/v1beta/openai{bare}")),
        _ => Cow::Borrowed(bare),
    })
}
