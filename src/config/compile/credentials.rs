//! What a provider is shown: a field, a source that a token or keys are made from, or keys that sign.

use super::Compiling;
use super::providers::in_field;
use crate::base::settings::{Kept, Problem, SecretText};
use crate::config::provider::{AuthMode, Authorization, ProviderSettings};
use crate::llm::provider::sigv4;
use crate::policy::snapshot::Credential;
use crate::wire::credential::{Made, Source};

/// What an `apikey` may say in place of a key.
const GOOGLE_DEFAULT: &str = "adc::";
const AWS_PROFILE: &str = "profile::";
/// Where Google's command line leaves a person's login, below the home folder.
const GOOGLE_LOGIN: &str = ".config/gcloud/application_default_credentials.json";

/// What a provider shows.
#[derive(Clone, Debug, Default)]
pub(super) struct Shows {
    pub(super) field: Option<Credential>,
    pub(super) made_from: Option<Source>,
    pub(super) signing: Option<Made>,
    /// The project that a Google key file names.
    pub(super) project: Option<String>,
}

impl Shows {
    fn made(source: Source) -> Self {
        Self { made_from: Some(source), ..Self::default() }
    }
}

impl Compiling<'_> {
    /// `Err`: the provider cannot be used, and why has been noted.
    pub(super) fn credential(&mut self, written: &ProviderSettings) -> Result<Shows, ()> {
        let mode = written.auth_mode.value;
        let authorization = written.authorization.as_ref().map_or(Authorization::Bearer, |a| a.value);
        let secret = written.apikey.as_ref().or_else(|| written.keys.first().map(|slot| &slot.apikey));
        if mode == AuthMode::None {
            if let Some(secret) = secret {
                self.warn(&secret.place, "is never sent", "auth_mode is none");
            }
            return Ok(Shows::default());
        }
        self.shown(written, secret, authorization)
    }

    /// One credential of a provider: its own, or one of its `keys`.
    pub(super) fn shown(
        &mut self,
        written: &ProviderSettings,
        secret: Option<&SecretText>,
        authorization: Authorization,
    ) -> Result<Shows, ()> {
        if authorization == Authorization::Sigv4 {
            self.check_region(written);
        }
        let Some(secret) = secret else {
            if authorization == Authorization::Sigv4 {
                return Ok(Shows::made(Source::AwsChain));
            }
            if written.auth_mode.value == AuthMode::Override {
                let what = "has no apikey: requests reach it without a credential";
                self.warn(&written.place, what, "add one, or say \"auth_mode\": \"none\"");
            }
            return Ok(Shows::default());
        };
        match secret.kept() {
            Kept::KeyFile(path) => return Ok(self.key_file(secret, path)),
            Kept::Here(GOOGLE_DEFAULT) => return Ok(self.google_default(secret)),
            _ => {}
        }
        let value = match self.secrets.resolve(secret) {
            Ok(value) => value,
            Err(_) if written.disabled => return Err(()),
            Err(problem) => {
                self.problems.push(problem);
                return Err(());
            }
        };
        match authorization {
            Authorization::Sigv4 => self.signing(secret, &value),
            _ => Ok(Shows { field: Some(in_field(authorization, &value)), ..Shows::default() }),
        }
    }

    /// A key file is read again whenever a token is made, so that it may be replaced; here it is only looked at.
    fn key_file(&mut self, secret: &SecretText, path: &str) -> Shows {
        let mut shows = Shows::made(Source::GoogleKeyFile(path.to_owned()));
        if self.secrets.skip || path.is_empty() {
            return shows;
        }
        match std::fs::read(path) {
            Err(why) => {
                let what = format!("{path} cannot be read: {why}");
                self.warn(&secret.place, what, "until it can, requests to this provider are answered 500");
            }
            Ok(bytes) => match serde_json::from_slice::<serde_json::Value>(&bytes) {
                Ok(file) if file["type"].is_string() => {
                    let named = file["project_id"].as_str().or_else(|| file["quota_project_id"].as_str());
                    shows.project = named.map(str::to_owned);
                }
                _ => {
                    let what = format!("{path} is no Google key file");
                    self.error(&secret.place, what, "expected JSON with \"type\": \"service_account\"");
                }
            },
        }
        shows
    }

    /// As Google's own libraries look: the file that the environment names, a person's login, the machine.
    fn google_default(&mut self, secret: &SecretText) -> Shows {
        let env = self.secrets.env;
        let login = || {
            let path = format!("{}/{GOOGLE_LOGIN}", env("HOME")?);
            std::fs::exists(&path).unwrap_or(false).then_some(path)
        };
        match env("GOOGLE_APPLICATION_CREDENTIALS").or_else(login) {
            Some(path) => self.key_file(secret, &path),
            None => Shows { project: env("GOOGLE_CLOUD_PROJECT"), ..Shows::made(Source::GoogleMetadata) },
        }
    }

    fn signing(&mut self, secret: &SecretText, value: &str) -> Result<Shows, ()> {
        if let Some(name) = value.strip_prefix(AWS_PROFILE) {
            return Ok(Shows::made(Source::AwsProfile(name.to_owned())));
        }
        let mut parts = value.splitn(3, ':').map(str::to_owned);
        if let (Some(access_key_id), Some(secret_access_key)) = (parts.next(), parts.next()) {
            let signing = Made::Aws { access_key_id, secret_access_key, session_token: parts.next() };
            return Ok(Shows { signing: Some(signing), ..Shows::default() });
        }
        if self.secrets.skip {
            return Ok(Shows::made(Source::AwsChain));
        }
        let problem = Problem::error(&secret.place, "is no pair of AWS keys");
        self.problems.push(
            problem.expected("expected ID:SECRET, ID:SECRET:TOKEN, profile::NAME, or no apikey at all"),
        );
        Err(())
    }

    fn check_region(&mut self, written: &ProviderSettings) {
        if written.region.is_none() && sigv4::region_of(&written.baseurl.origin.host).is_none() {
            self.error(&written.place, "signs for no region", "add \"region\": its address names none");
        }
    }
}
