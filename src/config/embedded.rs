//! The configuration without a file: providers from the environment, the local user, a loopback listener.

use std::net::SocketAddr;
use std::sync::Arc;

use super::compile::{DEFAULT_LISTEN, Install, Listen, Loaded, Options, in_field};
use super::file::Address;
use super::provider::{Authorization, BaseUrl};
use crate::base::settings::{Place, Problem};
use crate::llm::dialect::Dialect;
use crate::llm::price::{CostBasis, Listing};
use crate::policy::glob::Glob;
use crate::policy::identity::settings::SourceKind;
use crate::policy::snapshot::{Origin, Provider, Snapshot};

/// A vendor whose key people keep in the environment.
struct Vendor {
    id: &'static str,
    keys: &'static [&'static str],
    base_url: &'static str,
    origin: &'static str,
    authorization: Authorization,
    dialects: &'static [Dialect],
    models: &'static [&'static str],
}

/// In order of preference. Vendors that share a language with one above list their own names, which win over `**`.
const VENDORS: &[Vendor] = &[
    Vendor {
        id: "anthropic",
        keys: &["ANTHROPIC_API_KEY"],
        base_url: "ANTHROPIC_BASE_URL",
        origin: "https://api.anthropic.com",
        authorization: Authorization::XApiKey,
        dialects: &[Dialect::Messages],
        models: &["**"],
    },
    Vendor {
        id: "openai",
        keys: &["OPENAI_API_KEY"],
        base_url: "OPENAI_BASE_URL",
        origin: "https://api.openai.com",
        authorization: Authorization::Bearer,
        dialects: &[
            Dialect::Chat,
            Dialect::Responses,
            Dialect::Realtime,
            Dialect::Completions,
            Dialect::Embeddings,
            Dialect::Images,
            Dialect::Audio,
            Dialect::Moderations,
        ],
        models: &["**"],
    },
    Vendor {
        id: "gemini",
        keys: &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
        base_url: "GEMINI_BASE_URL",
        origin: "https://generativelanguage.googleapis.com",
        authorization: Authorization::XGoogApiKey,
        dialects: &[Dialect::Gemini, Dialect::Interactions, Dialect::Live],
        models: &["**"],
    },
    Vendor {
        id: "mistral",
        keys: &["MISTRAL_API_KEY"],
        base_url: "MISTRAL_BASE_URL",
        origin: "https://api.mistral.ai",
        authorization: Authorization::Bearer,
        dialects: &[Dialect::Chat],
        models: &[
            "mistral-*",
            "ministral-*",
            "magistral-*",
            "codestral-*",
            "devstral-*",
            "pixtral-*",
            "open-mi*",
        ],
    },
    Vendor {
        id: "deepseek",
        keys: &["DEEPSEEK_API_KEY"],
        base_url: "DEEPSEEK_BASE_URL",
        origin: "https://api.deepseek.com",
        authorization: Authorization::Bearer,
        dialects: &[Dialect::Chat],
        models: &["deepseek-*"],
    },
    Vendor {
        id: "xai",
        keys: &["XAI_API_KEY"],
        base_url: "XAI_BASE_URL",
        origin: "https://api.x.ai",
        authorization: Authorization::Bearer,
        dialects: &[Dialect::Chat],
        models: &["grok-*"],
    },
    Vendor {
        id: "openrouter",
        keys: &["OPENROUTER_API_KEY"],
        base_url: "OPENROUTER_BASE_URL",
        origin: "https://openrouter.ai/api",
        authorization: Authorization::Bearer,
        dialects: &[Dialect::Chat],
        models: &["*/*"],
    },
];

/// The embedded default. Never fails: what cannot be used is left out with a warning.
#[must_use]
pub fn embedded(env: &dyn Fn(&str) -> Option<String>, options: &Options) -> Loaded {
    let mut listen = options.listen.clone();
    if listen.is_empty() {
        listen.extend(DEFAULT_LISTEN.parse::<SocketAddr>().ok());
    }
    let mut warnings = Vec::new();
    let providers: Vec<_> = VENDORS
        .iter()
        .filter_map(|vendor| provider(vendor, env, &listen, &mut warnings))
        .map(Arc::new)
        .collect();
    if providers.is_empty() {
        let keys: Vec<_> = VENDORS.iter().flat_map(|vendor| vendor.keys.first()).copied().collect();
        warnings.push(
            Problem::warning(&Place::default(), "no provider: no key is set in the environment")
                .expected(format!("set one of {}, write a file, or try `weir demo`", keys.join(", "))),
        );
    }
    for address in listen.iter().filter(|address| !address.ip().to_canonical().is_loopback()) {
        let what =
            format!("{address} can be reached from elsewhere, and only users of this machine are known");
        let problem = Problem::warning(&Place::default(), what);
        warnings.push(problem.expected("others are answered 401: write a file to let them in"));
    }
    let snapshot = Snapshot {
        providers,
        host_names: vec!["localhost".into()],
        loopback_is_user: true,
        ..Snapshot::default()
    };
    let listener = |address| Listen {
        address: Address::Tcp(address),
        tls: None,
        identity: vec![SourceKind::Peer],
        proxy_protocol: Vec::new(),
    };
    let install = Install { listen: listen.into_iter().map(listener).collect(), ..Install::default() };
    Loaded { snapshot, install, warnings }
}

fn provider(
    vendor: &Vendor,
    env: &dyn Fn(&str) -> Option<String>,
    listen: &[SocketAddr],
    warnings: &mut Vec<Problem>,
) -> Option<Provider> {
    let (name, key) = vendor.keys.iter().find_map(|name| Some((*name, env(name)?)))?;
    let key = key.trim();
    let variable = |name: &str| Place { path: format!("${name}").into(), ..Place::default() };
    if key.is_empty() || key.chars().any(char::is_control) {
        warnings.push(
            Problem::warning(&variable(name), "is no key").expected(format!("{} is left out", vendor.id)),
        );
        return None;
    }
    let own = BaseUrl::parse(vendor.origin).ok()?;
    let url = env(vendor.base_url).filter(|text| !text.trim().is_empty()).map_or(own.clone(), |text| {
        chosen(text.trim(), listen).unwrap_or_else(|why| {
            let to_do = format!("{} is used instead", vendor.origin);
            warnings.push(Problem::warning(&variable(vendor.base_url), why).expected(to_do));
            own
        })
    });
    if vendor.dialects.is_empty() {
        let what = format!("no reader for {}'s own API yet: its endpoints answer 404", vendor.id);
        warnings.push(Problem::warning(&variable(name), what));
    }
    let listing = Listing { basis: CostBasis::of_host(&url.origin.host), ..Listing::default() };
    Some(Provider {
        id: vendor.id.into(),
        listing,
        origin: url.origin,
        prefix: url.prefix,
        credential: Some(in_field(vendor.authorization, key)),
        dialects: vendor.dialects.to_vec(),
        models: vendor.models.iter().filter_map(|model| Glob::new(model).ok()).collect(),
        place: variable(name),
        ..Provider::default()
    })
}

/// A base URL from the environment. Agents' settings put this very gateway there, which would be a loop.
fn chosen(text: &str, listen: &[SocketAddr]) -> Result<BaseUrl, &'static str> {
    let mut url = BaseUrl::parse(text)?;
    if listen.iter().any(|address| is_ours(&url.origin, *address)) {
        return Err("points at this gateway itself");
    }
    // OpenAI's clients want /v1 at the end, weir's providers do not.
    if let Some(prefix) = url.prefix.strip_suffix("/v1") {
        url.prefix = prefix.to_owned();
    }
    Ok(url)
}

fn is_ours(origin: &Origin, listen: SocketAddr) -> bool {
    let local = match origin.host.parse::<std::net::IpAddr>() {
        Ok(ip) => {
            ip.to_canonical() == listen.ip().to_canonical()
                || ip.to_canonical().is_loopback()
                || ip.is_unspecified()
        }
        Err(_) => origin.host == "localhost" || origin.host.ends_with(".localhost"),
    };
    local && origin.port == listen.port()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(variables: &[(&str, &str)]) -> Loaded {
        let env =
            |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        embedded(&env, &Options::default())
    }

    #[test]
    fn keys_in_the_environment_become_providers() {
        let loaded = loaded(&[
            ("ANTHROPIC_API_KEY", "sk-ant-x"),
            ("OPENAI_API_KEY", "sk-y\n"),
            ("OPENAI_BASE_URL", "http://127.0.0.1:9/v1"),
        ]);
        let ids: Vec<_> = loaded.snapshot.providers.iter().map(|p| p.id.as_str()).collect();
        assert_eq!(ids, ["anthropic", "openai"]);
        let openai = &loaded.snapshot.providers[1];
        assert_eq!((openai.origin.port, openai.prefix.as_str()), (9, ""));
        let credential = openai.credential.as_ref().expect("a key");
        assert_eq!((credential.field.as_str(), credential.value.as_str()), ("authorization", "Bearer sk-y"));
        assert!(loaded.snapshot.loopback_is_user && loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    }

    #[test]
    fn without_a_key_it_says_what_to_do() {
        let loaded = loaded(&[]);
        assert!(loaded.snapshot.providers.is_empty());
        assert!(loaded.warnings[0].to_string().contains("weir demo"), "{}", loaded.warnings[0]);
        assert_eq!(loaded.install.listen.len(), 1);
    }

    #[test]
    fn a_listener_that_others_reach_lets_nobody_else_in_and_says_so() {
        let options = Options { listen: vec!["0.0.0.0:80".parse().expect("address")], ..Options::default() };
        let loaded = embedded(&|_| Some("key".into()), &options);
        assert!(loaded.warnings.iter().any(|problem| problem.what.contains("only users of this machine")));
        assert!(loaded.install.listen.iter().all(|listen| listen.identity == [SourceKind::Peer]));
    }

    #[test]
    fn a_base_url_that_points_back_is_not_followed() {
        for url in
            ["http://127.0.0.1:8080", "http://localhost:8080/v1", "http://[::1]:8080", "http://0.0.0.0:8080"]
        {
            let loaded = loaded(&[("ANTHROPIC_API_KEY", "k"), ("ANTHROPIC_BASE_URL", url)]);
            assert_eq!(loaded.snapshot.providers[0].origin.host, "api.anthropic.com", "{url}");
            assert!(loaded.warnings[0].to_string().contains("itself"), "{url}");
        }
    }
}
