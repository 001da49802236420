//! `providers` → [`Provider`]s by descending preference.

use std::sync::Arc;

use super::Compiling;
use crate::base::settings::{At, Kept, Problem, SecretText, Severity};
use crate::config::provider::{AuthMode, Authorization, Flag, ProviderSettings};
use crate::llm::dialect::Dialect;
use crate::policy::snapshot::{Credential, Provider};

/// Hosts that take another credential field than the default, which is the second commonest mistake.
const KNOWN_HOSTS: [(&str, Authorization); 2] = [
    ("api.anthropic.com", Authorization::XApiKey),
    ("generativelanguage.googleapis.com", Authorization::XGoogApiKey),
];

impl Compiling<'_> {
    pub(super) fn providers(&mut self) -> Vec<Arc<Provider>> {
        let file = self.file;
        if file.providers.is_empty() && self.whole() {
            let place = crate::base::settings::Place { path: "providers".into(), ..file.place.clone() };
            self.warn(&place, "there are no providers", "every request will be answered 404");
        }
        let mut providers: Vec<_> = file
            .providers
            .iter()
            .filter_map(|(id, written)| self.provider(id, written))
            .map(Arc::new)
            .collect();
        // Stable: among equals the file's order counts.
        providers.sort_by_key(|provider| std::cmp::Reverse(provider.preference));
        providers
    }

    fn provider(&mut self, id: &At<String>, written: &ProviderSettings) -> Option<Provider> {
        self.check_id(id);
        self.check_address(written);
        self.check_models(written);
        let credential = self.credential(written);
        let dialects = self.dialects(id, written);
        let usable = !written.disabled && credential.is_ok();
        let listing = self.listing(written);
        let timeouts = written.timeouts.as_ref();
        usable.then(|| Provider {
            id: id.value.clone(),
            origin: written.baseurl.origin.clone(),
            prefix: written.baseurl.prefix.clone(),
            credential: credential.ok().flatten(),
            passthrough: written.auth_mode.value == AuthMode::Passthrough,
            dialects,
            models: written.models.iter().map(|model| model.value.clone()).collect(),
            add_headers: written
                .add_headers
                .iter()
                .map(|line| (line.name.clone(), line.value.clone()))
                .collect(),
            name: written.name.clone(),
            preference: written.preference,
            aliases: written
                .aliases
                .iter()
                .map(|(ours, its)| (ours.value.clone(), its.value.clone()))
                .collect(),
            region: written.region.clone(),
            listing,
            drain_when_client_gone: written.on_client_gone == crate::config::provider::OnClientGone::Drain,
            connect: timeouts.and_then(|t| t.connect),
            first_byte: timeouts.and_then(|t| t.first_byte),
            idle: timeouts.and_then(|t| t.idle),
            connections_max: written.max_connections,
            unpriced_allowed: written.unpriced == crate::config::provider::Unpriced::Allow,
            place: id.place.clone(),
        })
    }

    /// Ids stand before the slash in `provider/model`, so they cannot hold one.
    fn check_id(&mut self, id: &At<String>) {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if id.is_empty() || id.len() > 64 || !id.bytes().all(plain) {
            self.error(&id.place, "is no id for a provider", "expected up to 64 letters, digits, - _ .");
        }
    }

    fn check_address(&mut self, written: &ProviderSettings) {
        let url = &written.baseurl;
        if url.prefix.ends_with("/v1") {
            self.warn(
                &url.place,
                "ends in /v1, and the whole incoming path is appended, which begins with /v1 itself",
                "drop /v1 from its end",
            );
        }
        let known = KNOWN_HOSTS.iter().find(|(host, _)| *host == url.origin.host);
        if let Some((host, expected)) =
            known.filter(|_| written.authorization.is_none() && written.apikey.is_some())
        {
            self.warn(
                &url.place,
                format!("{host} takes its key in another field than the default, bearer"),
                format!("add \"authorization\": \"{}\"", expected.name()),
            );
        }
        let local = url.origin.host == "localhost"
            || url.origin.host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        if !url.origin.tls && !local && written.apikey.is_some() {
            self.warn(
                &url.place,
                "sends its key unencrypted",
                "use https, or be sure of the network between",
            );
        }
    }

    fn check_models(&mut self, written: &ProviderSettings) {
        if written.models.is_empty() {
            self.warn(&written.place, "lists no models", "name them in \"models\"; \"**\" serves all");
        }
        for (ours, its) in &written.aliases {
            if !written.models.iter().any(|model| model.matches(its)) {
                let problem = Problem::error(
                    &its.place,
                    format!("stands for {:?}, which is not among its models", its.value),
                );
                let exact = written.models.iter().map(|model| model.pattern());
                self.problems.push(problem.near(its, exact));
            }
            if written.aliases.iter().any(|(other, _)| other.value == its.value) {
                self.error(
                    &ours.place,
                    "stands for another alias",
                    "aliases lead to models, not to each other",
                );
            }
        }
    }

    fn dialects(&mut self, id: &At<String>, written: &ProviderSettings) -> Vec<Dialect> {
        let on = &written.compatibility.on;
        if on.is_empty() {
            return Flag::OpenaiChat.dialects().to_vec();
        }
        for flag in on.iter().filter(|flag| flag.value.dialects().is_empty()) {
            let what =
                format!("no reader for {} yet: its endpoints of {} answer 404", flag.value.name(), id.value);
            let severity = Severity::NotInForce;
            self.problems.push(Problem { severity, ..Problem::error(&flag.place, what) });
        }
        on.iter().flat_map(|flag| flag.value.dialects()).copied().collect()
    }

    /// `Err`: the provider cannot be used, and why has been noted.
    fn credential(&mut self, written: &ProviderSettings) -> Result<Option<Credential>, ()> {
        let mode = &written.auth_mode;
        let authorization = written.authorization.as_ref().map_or(Authorization::Bearer, |a| a.value);
        let Some(secret) = written.apikey.as_ref().or_else(|| written.keys.first().map(|slot| &slot.apikey))
        else {
            if mode.value == AuthMode::Override && authorization != Authorization::Sigv4 {
                let what = "has no apikey: requests reach it without a credential";
                self.warn(&written.place, what, "add one, or say \"auth_mode\": \"none\"");
            }
            return if authorization == Authorization::Sigv4 { self.unsigned(written) } else { Ok(None) };
        };
        if mode.value == AuthMode::None {
            self.warn(&secret.place, "is never sent", "auth_mode is none");
            return Ok(None);
        }
        if matches!(secret.kept(), Kept::KeyFile(_)) || authorization == Authorization::Sigv4 {
            return self.unsigned(written);
        }
        match self.secrets.resolve(secret) {
            Ok(value) => Ok(Some(in_field(authorization, &value))),
            Err(_) if written.disabled => Err(()),
            Err(problem) => {
                self.problems.push(problem);
                Err(())
            }
        }
    }

    fn unsigned(&mut self, written: &ProviderSettings) -> Result<Option<Credential>, ()> {
        let place = written.apikey.as_ref().map_or(&written.place, |secret: &SecretText| &secret.place);
        let what = "signed requests and Google key files are not built yet: the provider is left out";
        self.problems.push(Problem { severity: Severity::NotInForce, ..Problem::error(place, what) });
        Err(())
    }
}

/// A credential in the field its provider reads.
pub(crate) fn in_field(authorization: Authorization, value: &str) -> Credential {
    let (field, value) = match authorization {
        Authorization::Bearer | Authorization::Sigv4 => ("authorization", format!("Bearer {value}")),
        Authorization::XApiKey => ("x-api-key", value.to_owned()),
        Authorization::XGoogApiKey => ("x-goog-api-key", value.to_owned()),
        Authorization::Hec => ("authorization", format!("Splunk {value}")),
        Authorization::CfAig => ("cf-aig-authorization", format!("Bearer {value}")),
        Authorization::Azure => ("api-key", value.to_owned()),
    };
    Credential { field: field.into(), value }
}
