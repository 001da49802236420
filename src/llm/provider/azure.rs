//! Azure OpenAI: `/openai/v1/…` as OpenAI has it, and `/openai/deployments/{deployment}/…?api-version=`, where the
//! deployment stands for the model. Key in `api-key`, or a bearer token of Entra.

use std::borrow::Cow;

use super::{Authorization, Site, Vendor, versioned};
use crate::llm::dialect::paths::Flag;

pub(super) static VENDOR: Vendor = Vendor {
    id: "azure",
    hosts: &["openai.azure.com", "cognitiveservices.azure.com", "services.ai.azure.com"],
    origin: "{AZURE_OPENAI_ENDPOINT}",
    keys: &["AZURE_OPENAI_API_KEY"],
    base_url: "AZURE_OPENAI_ENDPOINT",
    authorization: Authorization::Azure,
    flags: &[Flag::OpenaiChat, Flag::OpenaiResponses, Flag::OpenaiOther],
    models: &["**"],
    path,
};

/// Clients that know OpenAI only say `/v1/…`, which is `/openai/v1/…` here.
fn path<'p>(path: &'p str, site: &Site<'_>) -> Result<Cow<'p, str>, &'static str> {
    let path = versioned(path, site);
    let moved = path.starts_with("/v1/") && site.prefix.is_empty();
    Ok(if moved { Cow::Owned(format!("/openai{path}")) } else { path })
}
