//! Vertex AI: Gemini, Claude and others below a project and a location. Clients that know neither write placeholders,
//! or, where `experimental_gemini_cli_vertex_compat` is set, no project at all.

use std::borrow::Cow;

use super::{Authorization, Site, Vendor, unversioned};
use crate::llm::dialect::paths::Flag;

/// What clients write for the project and the location that they leave to the gateway.
const PROJECT: &str = "_aperture_auto_vertex_project_id_";
const REGION: &str = "_aperture_auto_vertex_region_";

const NO_PROJECT: &str = "the provider has no \"project\", and its key file names none";
const NO_REGION: &str = "the provider has no \"region\"";

pub(super) static VENDOR: Vendor = Vendor {
    id: "vertex",
    hosts: &["aiplatform.googleapis.com", "-aiplatform.googleapis.com", "rep.googleapis.com"],
    origin: "https://{GOOGLE_CLOUD_LOCATION}-aiplatform.googleapis.com",
    keys: &[],
    base_url: "GOOGLE_VERTEX_BASE_URL",
    authorization: Authorization::Bearer,
    flags: &[Flag::GoogleGenerateContent, Flag::GoogleRawPredict, Flag::GeminiCliVertex],
    models: &["**"],
    path,
};

fn path<'p>(path: &'p str, site: &Site<'_>) -> Result<Cow<'p, str>, &'static str> {
    if path.contains(PROJECT) || path.contains(REGION) {
        return filled(path, site).map(Cow::Owned);
    }
    let bare = unversioned(path);
    if bare == "/chat/completions" {
        let rest = "/endpoints/openapi/chat/completions";
        return below_project("v1", rest, site).map(Cow::Owned);
    }
    if let Some((version, rest)) =
        without_project(path).filter(|_| site.flags.contains(&Flag::GeminiCliVertex))
    {
        return below_project(version, rest, site).map(Cow::Owned);
    }
    Ok(Cow::Borrowed(path))
}

/// Placeholders stand for whole segments; a name that only contains one is left alone.
fn filled(path: &str, site: &Site<'_>) -> Result<String, &'static str> {
    let fill = |segment| match segment {
        PROJECT => site.project.ok_or(NO_PROJECT),
        REGION => site.region.ok_or(NO_REGION),
        other => Ok(other),
    };
    let segments: Result<Vec<&str>, _> = path.split('/').map(fill).collect();
    Ok(segments?.join("/"))
}

/// Express form: `/v1beta1/publishers/…`.
fn without_project(path: &str) -> Option<(&str, &str)> {
    let (version, _) = path.strip_prefix('/')?.split_once("/publishers/")?;
    let rest = path.get(1 + version.len()..)?;
    (!version.contains('/')).then_some((version, rest))
}

fn below_project(version: &str, rest: &str, site: &Site<'_>) -> Result<String, &'static str> {
    let project = site.project.ok_or(NO_PROJECT)?;
    let region = site.region.ok_or(NO_REGION)?;
    Ok(format!("/{version}/projects/{project}/locations/{region}{rest}"))
}
