//! AWS Bedrock: `/model/{id}/…`, ids percent-encoded as the client wrote them; ARNs count as ids. Clients that keep
//! several APIs apart by prefix say `/bedrock/model/…`. OpenAI's language lives below `/openai`.

use std::borrow::Cow;

use super::{Authorization, Site, Vendor, versioned};
use crate::llm::dialect::paths::Flag;

pub(super) static VENDOR: Vendor = Vendor {
    id: "bedrock",
    hosts: &["amazonaws.com", "amazonaws.com.cn", "api.aws"],
    origin: "https://bedrock-runtime.{AWS_REGION}.amazonaws.com",
    keys: &["AWS_BEARER_TOKEN_BEDROCK"],
    base_url: "AWS_ENDPOINT_URL_BEDROCK_RUNTIME",
    authorization: Authorization::Bearer,
    flags: &[Flag::BedrockConverse, Flag::BedrockModelInvoke],
    models: &["**"],
    path,
};

fn path<'p>(path: &'p str, site: &Site<'_>) -> Result<Cow<'p, str>, &'static str> {
    if let Some(own) = path.strip_prefix("/bedrock").filter(|own| own.starts_with("/model/")) {
        return Ok(Cow::Borrowed(own));
    }
    let path = versioned(path, site);
    let moved = path.starts_with("/v1/") && site.prefix.is_empty();
    Ok(if moved { Cow::Owned(format!("/openai{path}")) } else { path })
}
