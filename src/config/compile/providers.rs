//! `providers` → [`Provider`]s by descending preference.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::Compiling;
use crate::base::settings::{At, Problem};
use crate::config::provider::{AuthMode, Authorization, ProviderSettings};
use crate::llm::dialect::paths::Flag;
use crate::llm::provider::Vendor;
use crate::policy::snapshot::{AskUsage, Credential, Provider};

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

    /// Regions and projects stand in paths and signatures: what would be more than one segment there is refused.
    fn check_words(&mut self, written: &ProviderSettings) {
        let plain = |text: &&String| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
        };
        let regions =
            written.region.iter().chain(written.keys.iter().filter_map(|slot| slot.region.as_ref()));
        for odd in regions.chain(&written.project).filter(|text| !plain(text)) {
            self.error(
                &written.place,
                format!("has the region or project {odd:?}"),
                "letters, digits, - _ . :",
            );
        }
    }

    fn provider(&mut self, id: &At<String>, written: &ProviderSettings) -> Option<Provider> {
        self.check_id(id);
        self.check_address(written);
        self.check_models(written);
        self.check_words(written);
        let credential = self.credential(written);
        let shows = credential.clone().unwrap_or_default();
        let flags = self.flags(written);
        let authorization = written.authorization.as_ref().map(|field| field.value);
        let usable = !written.disabled && credential.is_ok();
        let listing = self.listing(written);
        let timeouts = written.timeouts.as_ref();
        let proxy = self.proxy(written, &written.baseurl.origin);
        let mut provider = Provider {
            id: id.value.clone(),
            origin: written.baseurl.origin.clone(),
            prefix: written.baseurl.prefix.clone(),
            credential: shows.field,
            made_from: shows.made_from,
            signing: shows.signing,
            passthrough: written.auth_mode.value == AuthMode::Passthrough,
            vendor: Vendor::of(&written.baseurl.origin.host, authorization, &flags),
            flags,
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
            project: written.project.clone().or(shows.project),
            ask_usage: match written.ask_usage {
                crate::config::provider::AskUsage::Never => AskUsage::Never,
                crate::config::provider::AskUsage::WhenQuota => AskUsage::WhenQuota,
                crate::config::provider::AskUsage::Always => AskUsage::Always,
            },
            drain_when_client_gone: written.on_client_gone == crate::config::provider::OnClientGone::Drain,
            connect: timeouts.and_then(|t| t.connect),
            first_byte: timeouts.and_then(|t| t.first_byte),
            idle: timeouts.and_then(|t| t.idle),
            total: timeouts.and_then(|t| t.total),
            connections_max: written.max_connections.map(NonZeroU32::get),
            unpriced_allowed: written.unpriced == crate::config::provider::Unpriced::Allow,
            place: id.place.clone(),
            proxy,
            retry_unsafe: written.retry_unsafe,
            keys: Vec::new(),
        };
        if !usable {
            return None;
        }
        provider.keys = self.keys(written, &provider);
        Some(provider)
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

    fn flags(&self, written: &ProviderSettings) -> Vec<Flag> {
        let on = &written.compatibility.on;
        if on.is_empty() {
            return vec![Flag::OpenaiChat];
        }
        on.iter().map(|flag| flag.value).collect()
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
