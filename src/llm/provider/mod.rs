//! Vendors, one small file each: where it is, which credential field it reads, which variable holds its key, which
//! endpoints it has, and how a client's path is written at its own address.
//!
//! Deliberately absent: bodies. A vendor is reached at another path, never in another language.

mod anthropic;
mod azure;
mod bedrock;
mod cloudflare;
mod compatible;
mod deepseek;
mod gemini;
mod groq;
mod huggingface;
mod mistral;
mod ollama;
mod openai;
mod openrouter;
mod perplexity;
pub mod sigv4;
mod together;
mod vercel;
mod vertex;
mod xai;

use std::borrow::Cow;

use super::dialect::paths::Flag;
use crate::choices;

choices! {
    /// Which field carries the provider's credential.
    pub enum Authorization {
        /// `Authorization: Bearer KEY`
        Bearer = "bearer",
        /// `x-api-key: KEY` (Anthropic)
        XApiKey = "x-api-key",
        /// `x-goog-api-key: KEY` (Gemini)
        XGoogApiKey = "x-goog-api-key",
        /// `Authorization: Splunk KEY`
        Hec = "hec",
        /// `cf-aig-authorization: Bearer KEY`
        CfAig = "cf-aig-authorization",
        /// `api-key: KEY` (Azure)
        Azure = "azure",
        /// Each request signed (AWS).
        Sigv4 = "sigv4",
    }
}

/// What is known of a vendor before anybody configures it.
#[derive(Debug)]
pub struct Vendor {
    /// Id in the embedded default.
    pub id: &'static str,
    /// Ends of the host names it answers to: whole labels, or with a hyphen before them, part of one.
    pub hosts: &'static [&'static str],
    /// Where it is, in the embedded default; `{NAME}` is taken from that variable.
    pub origin: &'static str,
    /// Variables that hold its key, in order.
    pub keys: &'static [&'static str],
    /// Variable that moves it elsewhere.
    pub base_url: &'static str,
    /// The field its key goes into.
    pub authorization: Authorization,
    /// Flags that open its endpoints.
    pub flags: &'static [Flag],
    /// Models it serves in the embedded default; vendors that share endpoints with one before them list their own
    /// names, which win over `**`.
    pub models: &'static [&'static str],
    /// A client's path as the vendor writes it.
    pub path: PathOf,
}

/// Query excluded. `Err` says what the configuration lacks.
pub type PathOf = for<'p> fn(&'p str, &Site<'_>) -> Result<Cow<'p, str>, &'static str>;

/// What a configured provider adds to its vendor.
#[derive(Clone, Copy, Debug, Default)]
pub struct Site<'a> {
    /// Path of its `baseurl`, to which a path is appended.
    pub prefix: &'a str,
    /// Region, or location.
    pub region: Option<&'a str>,
    /// Cloud project.
    pub project: Option<&'a str>,
    /// Its flags.
    pub flags: &'a [Flag],
}

/// Every vendor. The embedded default takes them in this order.
pub const ALL: &[&Vendor] = &[
    &anthropic::VENDOR,
    &openai::VENDOR,
    &gemini::VENDOR,
    &mistral::VENDOR,
    &deepseek::VENDOR,
    &xai::VENDOR,
    &perplexity::VENDOR,
    &groq::VENDOR,
    &together::VENDOR,
    &huggingface::VENDOR,
    &openrouter::VENDOR,
    &vercel::VENDOR,
    &cloudflare::VENDOR,
    &azure::VENDOR,
    &vertex::VENDOR,
    &bedrock::VENDOR,
    &ollama::VENDOR,
];

/// Any address that speaks one of the languages: vLLM, llama.cpp, LM Studio and whatever comes next.
pub static COMPATIBLE: &Vendor = &compatible::VENDOR;

impl Default for &'static Vendor {
    fn default() -> Self {
        COMPATIBLE
    }
}

impl Vendor {
    /// The vendor behind a host; where nobody is known by it, the one that alone has such endpoints.
    #[must_use]
    pub fn of(host: &str, authorization: Option<Authorization>, flags: &[Flag]) -> &'static Vendor {
        let is_below = |end: &&str| {
            let rest = host.strip_suffix(end);
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.') || end.starts_with('-'))
        };
        if let Some(known) = ALL.iter().find(|vendor| vendor.hosts.iter().any(is_below)) {
            return known;
        }
        let only = |flag: &Flag| match flag {
            Flag::BedrockModelInvoke | Flag::BedrockConverse => Some(&bedrock::VENDOR),
            Flag::GoogleGenerateContent | Flag::GoogleRawPredict | Flag::GeminiCliVertex => {
                Some(&vertex::VENDOR)
            }
            _ => None,
        };
        match authorization {
            Some(Authorization::Azure) => &azure::VENDOR,
            Some(Authorization::Sigv4) => &bedrock::VENDOR,
            _ => flags.iter().find_map(only).unwrap_or(COMPATIBLE),
        }
    }
}

/// A path as it came; where a client's base URL lacked the version, with it, unless the provider's address ends in a
/// version of its own.
pub(crate) fn versioned<'p>(path: &'p str, site: &Site<'_>) -> Cow<'p, str> {
    let bare = UNVERSIONED.contains(&path);
    let last = site.prefix.rsplit('/').next().unwrap_or_default();
    match bare && !is_version(last) {
        true => Cow::Owned(format!("/v1{path}")),
        false => Cow::Borrowed(path),
    }
}

/// Endpoints that clients also call without a version before them.
const UNVERSIONED: &[&str] = &["/chat/completions", "/responses", "/embeddings", "/completions"];

/// A path of OpenAI's without its version: for vendors that have none there.
pub(crate) fn unversioned(path: &str) -> &str {
    path.strip_prefix("/v1").filter(|rest| UNVERSIONED.contains(rest)).unwrap_or(path)
}

/// `v1`, `v4`, `v1beta`, or a folder that stands for one.
fn is_version(segment: &str) -> bool {
    let numbered =
        segment.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    numbered || matches!(segment, "compat" | "openapi")
}

/// As most vendors have it.
pub(crate) fn as_it_came<'p>(path: &'p str, site: &Site<'_>) -> Result<Cow<'p, str>, &'static str> {
    Ok(versioned(path, site))
}

/// A name as one segment of a path: what RFC 3986 3.3 allows there stays, a slash does not.
#[must_use]
pub fn segment(name: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b'@' => {
                out.push(char::from(byte));
            }
            _ => _ = write!(out, "%{byte:02X}"),
        }
    }
    out
}

#[cfg(test)]
mod tests;
