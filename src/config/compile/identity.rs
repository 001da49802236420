//! `identity` and the sources of each listener.

use super::Compiling;
use crate::base::settings::{At, Problem};
use crate::config::file::{Address, ListenerSettings};
use crate::policy::identity::settings::{JwtSettings, SourceKind, SourceSettings};

/// Issuers that hand tokens to anybody: without `require` everybody's CI runner would be let in.
const ISSUERS_FOR_EVERYONE: [&str; 8] = [
    "token.actions.githubusercontent.com",
    "gitlab.com",
    "accounts.google.com",
    "login.microsoftonline.com/common",
    "appleid.apple.com",
    "app.terraform.io",
    "oidc.circleci.com",
    "agent.buildkite.com",
];

impl Compiling<'_> {
    /// Who vouches on this listener. Without a word: the kernel on local listeners, keys elsewhere.
    pub(super) fn sources_of(&mut self, listener: &ListenerSettings) -> Vec<SourceKind> {
        let kinds = match (&listener.identity, &self.file.identity) {
            (Some(named), configured) => self.named_sources(named, configured.as_deref().unwrap_or_default()),
            (None, Some(configured)) => inherited(listener, configured),
            (None, None) if listener.address.is_local() => vec![SourceKind::Peer],
            (None, None) => vec![SourceKind::Key],
        };
        self.check_sources(listener, &kinds);
        kinds
    }

    fn named_sources(&mut self, named: &[At<String>], configured: &[SourceSettings]) -> Vec<SourceKind> {
        let names: Vec<&str> = SourceKind::ALL.iter().map(|kind| kind.name()).collect();
        let mut kinds = Vec::new();
        for name in named {
            let Some(kind) = SourceKind::from_name(name) else {
                let problem = Problem::error(&name.place, format!("no identity source {:?}", name.value));
                self.problems.push(
                    problem
                        .expected(format!("expected one of {}", names.join(", ")))
                        .near(name, names.iter().copied()),
                );
                continue;
            };
            let bare = matches!(kind, SourceKind::Peer | SourceKind::Key);
            if !bare && !configured.iter().any(|source| source.kind() == kind) {
                self.error(&name.place, format!("{kind:?} is not configured"), "add it to \"identity\"");
            }
            kinds.push(kind);
        }
        kinds
    }

    fn check_sources(&mut self, listener: &ListenerSettings, kinds: &[SourceKind]) {
        let place = &listener.address.place;
        if kinds.contains(&SourceKind::Peer) && kinds.len() > 1 {
            let what = "has \"peer\" beside another source: a request could come as the local user by showing nothing";
            self.error(place, what, "give \"peer\" a listener of its own");
        }
        if kinds.contains(&SourceKind::Mtls)
            && listener.tls.as_ref().is_none_or(|tls| tls.client_ca.is_none())
        {
            self.error(
                place,
                "takes client certificates and has no tls.client_ca",
                "name the authority that signs them",
            );
        }
        let balanced = !listener.proxy_protocol.is_empty();
        if listener.proxy_protocol.iter().any(|network| network.is_everything()) {
            let what = "believes everybody's PROXY header: anyone could claim any address";
            self.error(place, what, "list the balancers' networks only");
        }
        if balanced && is_unix(listener) {
            self.error(place, "has PROXY headers on a unix socket", "they are read from TCP balancers only");
        }
        if balanced && kinds.contains(&SourceKind::Peer) {
            let what = "has \"peer\" behind a balancer, whom the kernel knows and not its clients";
            self.warn(place, what, "what comes by the balancer will be answered 401");
        }
        if kinds.contains(&SourceKind::Tailnet) && is_unix(listener) {
            self.error(
                place,
                "has \"tailnet\" on a unix socket, where there is no address to ask about",
                "listen on TCP",
            );
        }
        if kinds.contains(&SourceKind::Peer) && !listener.address.is_local() {
            let what = "has \"peer\", and the kernel knows nobody who connects from elsewhere";
            self.warn(place, what, "connections from other machines will be answered 401");
        }
        if kinds.contains(&SourceKind::TailscaleServe) && !is_unix(listener) {
            self.error(
                place,
                "believes the tailnet front's fields and is no unix socket",
                "listen on unix:PATH",
            );
        }
    }

    /// What is wrong with the sources themselves.
    pub(super) fn check_identity(&mut self) {
        let file = self.file;
        for source in file.identity.iter().flatten() {
            match source {
                SourceSettings::Jwt(jwt) => self.check_jwt(jwt),
                SourceSettings::Headers(headers) if headers.trusted.is_empty() => {
                    self.error(&headers.place, "trusts nobody", "list the front's networks in \"trusted\"");
                }
                SourceSettings::Headers(headers)
                    if headers.trusted.iter().any(|network| network.is_everything()) =>
                {
                    self.error(
                        &headers.place,
                        "trusts every address: anyone could claim to be anyone",
                        "list the front's networks only",
                    );
                }
                _ => {}
            }
        }
    }

    fn check_jwt(&mut self, jwt: &JwtSettings) {
        let host = jwt.issuer.trim_start_matches("https://");
        let open = ISSUERS_FOR_EVERYONE.iter().any(|issuer| host.starts_with(issuer));
        if open && jwt.require.is_empty() {
            let what = format!("{} issues tokens to everybody", jwt.issuer.value);
            self.error(
                &jwt.issuer.place,
                what,
                "say whose count with \"require\", as in {\"repository_owner\": \"my-org\"}",
            );
        }
        let all: Vec<_> = jwt.require.iter().filter(|(_, glob)| glob.is_anything()).collect();
        if open && !jwt.require.is_empty() && all.len() == jwt.require.len() {
            self.error(&jwt.issuer.place, "requires nothing: every pattern is **", "name your organisation");
        }
        if !jwt.jwks.starts_with("https://") && !is_at_home(&jwt.jwks) {
            self.error(&jwt.jwks.place, "the issuer's keys would be fetched unprotected", "use https");
        }
        for blank in std::iter::once(&jwt.issuer).chain(&jwt.audience.0).filter(|text| text.is_empty()) {
            self.error(
                &blank.place,
                "is empty: a token that leaves it empty would do",
                "write what tokens have there",
            );
        }
        if jwt.audience.0.is_empty() {
            self.error(
                &jwt.place,
                "takes tokens made for anybody",
                "name this gateway's audience in \"audience\"",
            );
        }
    }
}

/// Plain HTTP to this very machine: what a development issuer speaks.
fn is_at_home(url: &str) -> bool {
    let authority = url.strip_prefix("http://").and_then(|rest| rest.split('/').next());
    let address = authority.and_then(|authority| authority.parse::<std::net::SocketAddr>().ok());
    address.is_some_and(|address| address.ip().is_loopback())
}

/// All configured sources that can say something on this listener, each kind once.
fn inherited(listener: &ListenerSettings, configured: &[SourceSettings]) -> Vec<SourceKind> {
    let mut kinds = Vec::new();
    for kind in configured.iter().map(SourceSettings::kind) {
        let fits = match kind {
            SourceKind::Mtls => listener.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some()),
            SourceKind::TailscaleServe => is_unix(listener),
            _ => true,
        };
        if fits && !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds
}

fn is_unix(listener: &ListenerSettings) -> bool {
    matches!(listener.address.value, Address::Unix(_))
}
