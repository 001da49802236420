//! The configuration without a file: providers from the environment, the local user, a loopback listener.

use std::net::SocketAddr;
use std::sync::Arc;

use super::compile::{
    DEFAULT_LISTEN, Install, Listen, Loaded, Options, by_environment, in_field, parse_proxy,
};
use super::provider::BaseUrl;
use crate::base::settings::{Place, Problem};
use crate::llm::price::{CostBasis, Listing};
use crate::llm::provider::{self as vendor, Vendor};
use crate::policy::glob::Glob;
use crate::policy::snapshot::{Origin, Provider, Snapshot};
use crate::wire::credential::Source;

/// The embedded default. Never fails: what cannot be used is left out with a warning.
#[must_use]
pub fn embedded(env: &dyn Fn(&str) -> Option<String>, options: &Options) -> Loaded {
    let mut listen = options.listen.clone();
    if listen.is_empty() {
        listen.extend(DEFAULT_LISTEN.parse::<SocketAddr>().ok());
    }
    let mut warnings = Vec::new();
    let providers: Vec<_> = vendor::ALL
        .iter()
        .filter_map(|vendor| provider(vendor, env, &listen, &mut warnings))
        .map(Arc::new)
        .collect();
    if providers.is_empty() {
        let keys: Vec<_> =
            vendor::ALL.iter().filter_map(|vendor| vendor.keys.first()).take(3).copied().collect();
        warnings.push(
            Problem::warning(&Place::default(), "no provider: no key is set in the environment").expected(
                format!("set {} or another vendor's, write a file, or try `weir demo`", keys.join(", ")),
            ),
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
    let listen = listen.into_iter().map(Listen::of_the_peer).collect();
    let install = Install { listen, ..Install::default() };
    Loaded { snapshot, install, warnings }
}

fn provider(
    vendor: &'static Vendor,
    env: &dyn Fn(&str) -> Option<String>,
    listen: &[SocketAddr],
    warnings: &mut Vec<Problem>,
) -> Option<Provider> {
    let env = |name: &str| env(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    let (name, key) = match vendor.keys.iter().find_map(|name| Some((*name, env(name)?))) {
        Some((name, key)) => (name, Some(key)),
        // Without a key, a vendor is there when its credential can be made, or when it takes none and somebody says where.
        None if made_from(vendor, &env).is_some() || vendor.id == "ollama" => (vendor.base_url, None),
        None => return None,
    };
    let variable = |name: &str| Place { path: format!("${name}").into(), ..Place::default() };
    if key.as_ref().is_some_and(|key| key.chars().any(char::is_control)) {
        warnings.push(
            Problem::warning(&variable(name), "is no key").expected(format!("{} is left out", vendor.id)),
        );
        return None;
    }
    // The location that is everywhere has no label in the host.
    let origin = filled(vendor.origin, &env).map(|origin| origin.replace("://global-", "://"));
    let own = origin.and_then(|origin| BaseUrl::parse(&origin).ok());
    let url = match env(vendor.base_url) {
        None => own,
        Some(text) => chosen(&text, listen).map(Some).unwrap_or_else(|why| {
            let instead = own
                .as_ref()
                .map_or("it is left out".into(), |own| format!("{} is used instead", own.origin.authority()));
            warnings.push(Problem::warning(&variable(vendor.base_url), why).expected(instead));
            own
        }),
    };
    let Some(url) = url else {
        if key.is_some() {
            let what = format!("is set, but not where {} is", vendor.id);
            warnings.push(Problem::warning(&variable(name), what).expected(where_from(vendor)));
        }
        return None;
    };
    let proxy = match by_environment(&env, &url.origin) {
        None => None,
        Some((name, text)) => match parse_proxy(&text) {
            Ok(proxy) => Some(proxy),
            Err(why) => {
                let left_out = format!("{} is left out", vendor.id);
                warnings.push(Problem::warning(&variable(name), why).expected(left_out));
                return None;
            }
        },
    };
    let listing = Listing { basis: CostBasis::of_host(&url.origin.host), ..Listing::default() };
    Some(Provider {
        id: vendor.id.into(),
        listing,
        proxy,
        origin: url.origin,
        prefix: url.prefix,
        made_from: made_from(vendor, &env).filter(|_| key.is_none()),
        region: match vendor.id {
            "bedrock" => env("AWS_REGION"),
            "vertex" => env("GOOGLE_CLOUD_LOCATION"),
            _ => None,
        },
        project: env("GOOGLE_CLOUD_PROJECT"),
        credential: key.map(|key| in_field(vendor.authorization, &key)),
        vendor,
        flags: vendor.flags.to_vec(),
        models: vendor.models.iter().filter_map(|model| Glob::new(model).ok()).collect(),
        place: variable(name),
        ..Provider::default()
    })
}

/// What a vendor's credential is made from, where the environment has what it takes.
fn made_from(vendor: &Vendor, env: &dyn Fn(&str) -> Option<String>) -> Option<Source> {
    const AWS: [&str; 4] = [
        "AWS_ACCESS_KEY_ID",
        "AWS_PROFILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    ];
    match vendor.id {
        "bedrock" => AWS.iter().any(|name| env(name).is_some()).then_some(Source::AwsChain),
        "vertex" => env("GOOGLE_APPLICATION_CREDENTIALS").map(Source::GoogleKeyFile),
        _ => None,
    }
}

/// An origin with its variables filled in; `None` where one is not set.
fn filled(origin: &str, env: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let Some((before, rest)) = origin.split_once('{') else { return Some(origin.to_owned()) };
    let (name, after) = rest.split_once('}')?;
    Some([before, &env(name)?, after].concat())
}

fn where_from(vendor: &Vendor) -> String {
    let named = vendor.origin.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    let named = named.map_or(vendor.base_url, |(name, _)| name);
    format!("set {named}, too")
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
    use crate::policy::identity::settings::SourceKind;

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
    fn vendors_without_a_key_are_known_by_what_makes_their_credential() {
        let loaded = loaded(&[
            ("AWS_REGION", "eu-west-1"),
            ("AWS_PROFILE", "work"),
            ("GOOGLE_CLOUD_LOCATION", "global"),
            ("GOOGLE_CLOUD_PROJECT", "p-1"),
            ("GOOGLE_APPLICATION_CREDENTIALS", "/etc/key.json"),
            ("OLLAMA_HOST", "127.0.0.1:11434"),
            ("AZURE_OPENAI_API_KEY", "k"),
        ]);
        let shown = |id: &str| {
            let provider = loaded.snapshot.providers.iter().find(|provider| provider.id == id).expect(id);
            (provider.origin.host.clone(), provider.region.clone(), provider.made_from.clone())
        };
        let aws = "bedrock-runtime.eu-west-1.amazonaws.com";
        assert_eq!(shown("bedrock"), (aws.into(), Some("eu-west-1".into()), Some(Source::AwsChain)));
        let google = Some(Source::GoogleKeyFile("/etc/key.json".into()));
        assert_eq!(shown("vertex"), ("aiplatform.googleapis.com".into(), Some("global".into()), google));
        assert_eq!(shown("ollama").0, "127.0.0.1");
        let azure = loaded.warnings.iter().find(|problem| problem.what.contains("azure")).expect("a warning");
        assert!(azure.to_string().contains("AZURE_OPENAI_ENDPOINT"), "{azure}");
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
