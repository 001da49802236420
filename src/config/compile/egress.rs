//! The way out: several keys or regions of one provider, and the proxy towards it.

use std::sync::Arc;

use super::Compiling;
use crate::base::settings::Place;
use crate::config::provider::{Authorization, BaseUrl, ProviderSettings};
use crate::policy::identity::settings::Network;
use crate::policy::snapshot::{Origin, Provider, Proxy};
use crate::wire::base64;

impl Compiling<'_> {
    /// The provider by each of its keys; none where it has one only.
    pub(super) fn keys(&mut self, written: &ProviderSettings, provider: &Provider) -> Vec<Arc<Provider>> {
        let authorization = written.authorization.as_ref().map_or(Authorization::Bearer, |field| field.value);
        let mut keys = Vec::new();
        // A key of its own beside `keys` is the first of them.
        if written.apikey.is_some() && !written.keys.is_empty() {
            keys.push(Arc::new(provider.clone()));
        }
        for slot in &written.keys {
            let Ok(shows) = self.shown(written, Some(&slot.apikey), authorization) else { continue };
            let mut by_key = Provider {
                credential: shows.field,
                made_from: shows.made_from,
                signing: shows.signing,
                region: slot.region.clone().or_else(|| provider.region.clone()),
                ..provider.clone()
            };
            if let Some(url) = &slot.baseurl {
                by_key.origin = url.origin.clone();
                by_key.prefix.clone_from(&url.prefix);
                by_key.proxy = self.proxy(written, &url.origin);
            }
            keys.push(Arc::new(by_key));
        }
        if keys.len() > 1 { keys } else { Vec::new() }
    }

    /// The provider's own proxy, or the one that the environment names for its scheme.
    pub(super) fn proxy(&mut self, written: &ProviderSettings, origin: &Origin) -> Option<Proxy> {
        if let Some(text) = &written.proxy {
            return self.parsed_proxy(text, &written.place, "\"proxy\"");
        }
        let (name, text) = by_environment(self.secrets.env, origin)?;
        let place = Place { path: format!("${name}").into(), ..Place::default() };
        self.parsed_proxy(&text, &place, name)
    }

    fn parsed_proxy(&mut self, text: &str, place: &Place, name: &str) -> Option<Proxy> {
        match parse(text) {
            Ok(proxy) => Some(proxy),
            Err(why) => {
                // Going around a proxy that is meant would be worse than not going.
                self.error(
                    place,
                    format!("{name} {why}"),
                    "expected http://HOST:PORT, with USER:PASSWORD@ if need be",
                );
                None
            }
        }
    }
}

/// The variable for an origin's scheme, unless `NO_PROXY` excludes it. In lower case first, as curl reads them.
pub(crate) fn by_environment(
    env: &dyn Fn(&str) -> Option<String>,
    origin: &Origin,
) -> Option<(&'static str, String)> {
    // HTTP_PROXY in capitals is left out: a CGI's client could set it.
    let names: &[&str] = if origin.tls { &["https_proxy", "HTTPS_PROXY"] } else { &["http_proxy"] };
    let set = |name: &&'static str| {
        Some((*name, env(name)?.trim().to_owned())).filter(|(_, value)| !value.is_empty())
    };
    let (name, value) = names.iter().find_map(set)?;
    let excluded = env("no_proxy").or_else(|| env("NO_PROXY")).unwrap_or_default();
    let local =
        origin.host == "localhost" || origin.host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    (!local && !excluded.split(',').any(|entry| excludes(entry.trim(), &origin.host)))
        .then_some((name, value))
}

/// `*`, a host and all below it (with or without a dot before it), an address or a network.
fn excludes(entry: &str, host: &str) -> bool {
    if let (Ok(ip), Some(network)) = (host.parse(), Network::parse(entry)) {
        return network.contains(ip);
    }
    let entry = entry.split(':').next().unwrap_or_default().trim_start_matches("*.").trim_start_matches('.');
    let below = host.strip_suffix(entry).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    entry == "*" || (!entry.is_empty() && below)
}

/// A proxy's URL. It may hold a user, which goes into a field of its own.
pub(crate) fn parse(text: &str) -> Result<Proxy, &'static str> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    if !scheme.eq_ignore_ascii_case("http") {
        return Err("is no http:// proxy, and others are not spoken");
    }
    let rest = rest.trim_end_matches('/');
    let (user, place) = rest.rsplit_once('@').map_or((None, rest), |(user, place)| (Some(user), place));
    let url = BaseUrl::parse(&format!("http://{place}"))?;
    let authorization = user.map(|user| format!("Basic {}", base64::encode(user.as_bytes())));
    Ok(Proxy { origin: url.origin, authorization })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(tls: bool, host: &str) -> Origin {
        Origin { tls, host: host.into(), port: 443 }
    }

    #[test]
    fn the_environment_names_a_proxy_by_scheme_and_excludes_by_name_and_network() {
        let env = |name: &str| match name {
            "HTTPS_PROXY" => Some("http://proxy:3128".to_owned()),
            "NO_PROXY" => Some("internal.example, .corp, 10.0.0.0/8,host:443".to_owned()),
            _ => None,
        };
        let proxied = |tls: bool, host: &str| by_environment(&env, &origin(tls, host)).is_some();
        assert!(proxied(true, "api.openai.com") && proxied(true, "notinternal.example"));
        for (tls, host) in [
            (false, "api.openai.com"),
            (true, "internal.example"),
            (true, "a.internal.example"),
            (true, "vllm.corp"),
            (true, "10.1.2.3"),
            (true, "host"),
            (true, "localhost"),
            (true, "127.0.0.1"),
        ] {
            assert!(!proxied(tls, host), "{tls} {host}");
        }
    }

    #[test]
    fn a_proxy_may_have_a_user_and_must_be_http() {
        let proxy = parse("http://me:secret@proxy.corp:3128/").expect("a proxy");
        assert_eq!((proxy.origin.host.as_str(), proxy.origin.port), ("proxy.corp", 3128));
        assert_eq!(proxy.authorization.as_deref(), Some("Basic bWU6c2VjcmV0"));
        assert!(!format!("{proxy:?}").contains("secret") && !format!("{proxy:?}").contains("bWU6"));
        assert_eq!(parse("proxy:8080").map(|proxy| proxy.origin.port), Ok(8080));
        for text in ["socks5://x:1", "https://x", "http://", "http://a b"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
