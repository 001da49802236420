//! `providers.<id>` as written, and the flags that open endpoints.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::{Value, json};

use crate::base::settings::{At, Kind, Reader, SecretText, Setting, Tree};
use crate::llm::dialect::paths::Flag;
use crate::llm::price::CostBasis;
use crate::llm::price::go_match::Pattern;
pub use crate::llm::provider::Authorization;
use crate::policy::glob::Glob;
use crate::policy::grant::settings::HeaderLine;
use crate::policy::snapshot::Origin;
use crate::{choices, settings};

choices! {
    /// Whose credential reaches the provider.
    pub enum AuthMode {
        /// The configured one, always.
        Override = "override",
        /// The client's own; the configured one where the client sent none.
        Passthrough = "passthrough",
        /// None.
        None = "none",
    }

    /// When usage is asked for that the client did not ask for.
    pub enum AskUsage {
        /// Never.
        Never = "never",
        /// Where a quota counts it.
        WhenQuota = "when_quota",
        /// Always.
        Always = "always",
    }

    /// What happens upstream when the client has gone.
    pub enum OnClientGone {
        /// The request is cancelled at once.
        Cancel = "cancel",
        /// The rest is read within a bound, for its usage.
        Drain = "drain",
    }

    /// What happens to models without a price under a dollar bucket.
    pub enum Unpriced {
        /// Refused.
        Refuse = "refuse",
        /// Let pass, cost unknown.
        Allow = "allow",
    }
}

settings! {
    /// A vendor endpoint with its credential.
    pub struct ProviderSettings {
        /// Where it is. The whole incoming path is appended, so no `/v1` at its end.
        pub baseurl: At<BaseUrl>,
        /// Names of models it serves, or globs over them; `**` serves all.
        pub models: Vec<At<Glob>>,
        /// Its credential, or a reference to it.
        pub apikey: Option<SecretText> = None,
        /// Which field carries the credential.
        pub authorization: Option<At<Authorization>> = None,
        /// Whose credential reaches it.
        pub auth_mode: At<AuthMode> = At { value: AuthMode::Override, place: crate::base::settings::Place::default() },
        /// API languages it speaks; `openai_chat` where nothing is said.
        pub compatibility: Flags = Flags::default(),
        /// Name for people.
        pub name: Option<String> = None,
        /// For people.
        pub description: Option<String> = None,
        /// Higher is tried first.
        pub preference: i64 = 0,
        /// Takes it out of every route.
        pub disabled: bool = false,
        /// Fields added to every request.
        pub add_headers: Vec<HeaderLine> = Vec::new(),
        /// Whose price list applies.
        pub cost_basis: Option<CostBasis> = None,
        /// Prices of models under other names, or adjusted.
        pub model_cost_map: Vec<ModelCost> = Vec::new(),
        /// Names of ours for models of its: the request is rewritten to the model's own name.
        pub aliases: Vec<(At<String>, At<String>)> = Vec::new(),
        /// Region, for prices, signing and Vertex paths.
        pub region: Option<String> = None,
        /// Cloud project, for Vertex paths; that of the key file where absent.
        pub project: Option<String> = None,
        /// Timeouts of this provider.
        pub timeouts: Option<TimeoutSettings> = None,
        /// Most requests that run at once by one of its keys, all cores together.
        pub max_connections: Option<NonZeroU32> = None,
        /// Several credentials or regions instead of one.
        pub keys: Vec<KeySlot> = Vec::new(),
        /// Proxy towards it.
        pub proxy: Option<String> = None,
        /// When usage is asked for that the client did not ask for.
        pub ask_usage: AskUsage = AskUsage::Never,
        /// What happens upstream when the client has gone.
        pub on_client_gone: OnClientGone = OnClientGone::Cancel,
        /// Retry faults that do not prove that nothing was executed.
        pub retry_unsafe: bool = false,
        /// Models without a price under a dollar bucket.
        pub unpriced: Unpriced = Unpriced::Refuse,
        /// Of the incumbent. Read, without effect.
        pub upstream: Option<Value> = None,
    }

    /// A price under another name.
    pub struct ModelCost {
        /// Models it holds for, by a pattern as of Go's `path.Match`; the first entry that matches counts.
        pub matching as "match": Pattern,
        /// Model whose price is taken; its own where absent.
        pub priced_as as "as": Option<String> = None,
        /// Factor on the price.
        pub adjustment: Option<f64> = None,
    }

    /// Timeouts of a provider; what is absent is as in `server.limits`.
    pub struct TimeoutSettings {
        /// Name look-up, TCP and TLS together.
        pub connect: Option<Duration> = None,
        /// From the request sent to the first byte of the answer.
        pub first_byte: Option<Duration> = None,
        /// Longest silence within an answer.
        pub idle: Option<Duration> = None,
        /// The whole exchange.
        pub total: Option<Duration> = None,
    }

    /// One of several credentials.
    pub struct KeySlot {
        /// The credential, or a reference to it.
        pub apikey: SecretText,
        /// Where, if not at the provider's `baseurl`.
        pub baseurl: Option<At<BaseUrl>> = None,
        /// Region, for prices and signing.
        pub region: Option<String> = None,
    }
}

/// The `compatibility` object.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// Flags set to true, in the order of [`Flag::ALL`].
    pub on: Vec<At<Flag>>,
}

impl Setting for Flags {
    fn read(tree: &Tree, reader: &mut Reader<'_>) -> Option<Self> {
        let Kind::Map(entries) = &tree.kind else {
            reader.wrong_type(tree, "an object of flags");
            return None;
        };
        let names: Vec<&str> = Flag::ALL.iter().map(|flag| flag.name()).collect();
        let mut on = Vec::new();
        for entry in entries {
            reader.under(&entry.key, |reader| {
                let place = reader.place(entry.at);
                let Some(flag) = Flag::from_name(&entry.key) else {
                    return reader.unknown_name(&place, "unknown flag", &entry.key, &names);
                };
                if bool::read(&entry.value, reader) == Some(true) {
                    on.push(At { value: flag, place });
                }
            });
        }
        on.sort_by_key(|flag| flag.value);
        Some(Self { on })
    }

    fn schema(_: &mut BTreeMap<String, Value>) -> Value {
        let flags: serde_json::Map<_, _> =
            Flag::ALL.iter().map(|flag| (flag.name().to_owned(), json!({"type": "boolean"}))).collect();
        json!({"type": "object", "properties": flags, "additionalProperties": false})
    }
}

/// Scheme, host, port and a path prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    /// Scheme, host and port.
    pub origin: Origin,
    /// Path without a slash at its end.
    pub prefix: String,
}

impl BaseUrl {
    /// Take an absolute http or https URL apart. Stricter than browsers: what is odd is refused, not repaired.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = text.split_once("://").ok_or("has no scheme: expected http:// or https://")?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err("has a scheme other than http and https"),
        };
        if rest.bytes().any(|b| !(0x21..0x7f).contains(&b)) || rest.contains('\\') {
            return Err("has characters that no URL has");
        }
        if rest.contains(['?', '#']) {
            return Err(
                "has a query or a fragment: the incoming path is appended, so there is no place for one",
            );
        }
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if authority.contains('@') {
            return Err("has a user in it: credentials belong into apikey");
        }
        if path.split('/').any(|part| matches!(part, "." | "..")) {
            return Err("has dots for a path");
        }
        let (host, port) = host_and_port(authority, tls)?;
        Ok(Self { origin: Origin { tls, host, port }, prefix: path.trim_end_matches('/').to_owned() })
    }
}

fn host_and_port(authority: &str, tls: bool) -> Result<(String, u16), &'static str> {
    let default = if tls { 443 } else { 80 };
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0).ok_or("has no valid port");
    if let Some(bracketed) = authority.strip_prefix('[') {
        let (host, rest) = bracketed.split_once(']').ok_or("has an open bracket")?;
        host.parse::<std::net::Ipv6Addr>().map_err(|_| "has no valid address in brackets")?;
        let port = rest.strip_prefix(':').map_or(Ok(default), port)?;
        return Ok((host.to_owned(), port));
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, digits)) => (host, port(digits)?),
        None => (authority, default),
    };
    let named = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    if host.is_empty() || host.len() > 253 || !host.bytes().all(named) {
        return Err("has no valid host");
    }
    Ok((host.to_ascii_lowercase(), port))
}

impl Setting for BaseUrl {
    fn read(tree: &Tree, reader: &mut Reader<'_>) -> Option<Self> {
        let text = String::read(tree, reader)?;
        match BaseUrl::parse(&text) {
            Ok(url) => Some(url),
            Err(why) => {
                // Not shown whole: people write credentials into URLs.
                reader.bad_value(tree, why, "expected a URL such as \"https://api.example.com\"");
                None
            }
        }
    }

    fn schema(_: &mut BTreeMap<String, Value>) -> Value {
        json!({"type": "string", "pattern": "^https?://"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_come_apart() {
        for (text, tls, host, port, prefix) in [
            ("https://api.openai.com", true, "api.openai.com", 443, ""),
            ("http://127.0.0.1:8099/", false, "127.0.0.1", 8099, ""),
            ("HTTPS://Api.Example.com/openai/", true, "api.example.com", 443, "/openai"),
            ("http://[::1]:80/a/b", false, "::1", 80, "/a/b"),
        ] {
            let url = BaseUrl::parse(text).expect(text);
            assert_eq!(url.origin, Origin { tls, host: host.into(), port }, "{text}");
            assert_eq!(url.prefix, prefix, "{text}");
        }
    }

    #[test]
    fn odd_urls_are_refused() {
        for text in [
            "",
            "api.openai.com",
            "ftp://x",
            "https://",
            "https://a b",
            "https://u:p@host",
            "https://h?x=1",
            "https://h#x",
            "https://h:0",
            "https://h:99999",
            "https://[::1",
            "https://[x]",
            "https://h/../admin",
            "https://h\\x",
            "http://é",
        ] {
            assert!(BaseUrl::parse(text).is_err(), "{text}");
        }
    }
}
