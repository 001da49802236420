//! AWS's keys from its usual places, by a library that knows them all: environment, profile file, single sign-on, web
//! identity, container, instance metadata. Commands named by a profile are not run.

use std::time::Duration;

use bytes::Bytes;
use reqsign_aws_v4::{Credential, DefaultCredentialProvider};
use reqsign_core::{Context, Env, Error, FileRead, HttpSend, OsEnv, ProvideCredential};

use crate::admin::fetch::{Fetcher, Question};
use crate::base::clock;
use crate::wire::credential::{Lasting, Made, Unmade};

/// Keys without an end are looked up again after this: their file may have changed.
const LOOKED_UP_AGAIN: Duration = Duration::from_secs(900);
/// Metadata services: of an instance, of containers, of EKS pods.
const METADATA: [&str; 4] =
    ["http://169.254.169.254", "http://169.254.170.2", "http://169.254.170.23", "http://[fd00:ec2::"];

/// Keys from the first place that has some, or from a profile.
pub(super) async fn make(fetcher: &Fetcher, profile: Option<&str>) -> Result<Lasting, Unmade> {
    make_in(Http(fetcher.clone()), OsEnv, profile).await
}

async fn make_in(http: impl HttpSend, env: impl Env, profile: Option<&str>) -> Result<Lasting, Unmade> {
    let context = Context::new().with_file_read(Files).with_http_send(http).with_env(env);
    let builder = DefaultCredentialProvider::builder().no_process();
    let chain = match profile {
        // A profile that is named must not be passed over for what happens to be in the environment.
        Some(name) => builder.no_env().with_profile(name).build(),
        None => builder.build(),
    };
    match chain.provide_credential(&context).await {
        Ok(Some(keys)) => Ok(lasting(keys)),
        Ok(None) => Err(Unmade { configured_wrong: true, why: "no place holds AWS credentials".into() }),
        Err(why) => Err(Unmade { configured_wrong: !why.is_retryable(), why: why.to_string() }),
    }
}

fn lasting(keys: Credential) -> Lasting {
    let again = clock::wall() + LOOKED_UP_AGAIN.as_micros() as u64 + super::MARGIN.as_micros() as u64;
    let end = keys.expires_in.and_then(|end| u64::try_from(end.as_second()).ok()).map(|end| end * 1_000_000);
    let made = Made::Aws {
        access_key_id: keys.access_key_id,
        secret_access_key: keys.secret_access_key,
        session_token: keys.session_token,
    };
    Lasting { made, until: end.map_or(again, |end| end.min(again)) }
}

#[derive(Debug)]
struct Files;

impl FileRead for Files {
    async fn file_read(&self, path: &str) -> reqsign_core::Result<Vec<u8>> {
        let path = path.to_owned();
        let read = tokio::task::spawn_blocking(move || std::fs::read(path));
        let read = read.await.map_err(|why| Error::unexpected("a file was not read").with_source(why))?;
        read.map_err(|why| Error::config_invalid("a file cannot be read").with_source(why))
    }
}

struct Http(Fetcher);

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Http")
    }
}

impl HttpSend for Http {
    async fn http_send(&self, asked: http::Request<Bytes>) -> reqsign_core::Result<http::Response<Bytes>> {
        let url = asked.uri().to_string();
        let fields = asked.headers().iter().filter(|(name, _)| *name != http::header::CONTENT_LENGTH);
        let fields =
            fields.filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
        let question = Question {
            method: match asked.method().as_str() {
                "POST" => "POST",
                "PUT" => "PUT",
                _ => "GET",
            },
            metadata: METADATA.iter().any(|service| url.starts_with(service)),
            fields: fields.collect(),
            body: asked.body().to_vec(),
            url,
        };
        let away = |why: String| Error::unexpected(why).set_retryable(true);
        let answer = self.0.ask(&question).await.map_err(away)?;
        let mut response = http::Response::new(Bytes::from(answer.body));
        *response.status_mut() = http::StatusCode::from_u16(answer.status).unwrap_or_default();
        for (name, value) in answer.fields.iter() {
            let name = http::HeaderName::from_bytes(name).ok();
            if let (Some(name), Ok(value)) = (name, http::HeaderValue::from_bytes(value)) {
                response.headers_mut().append(name, value);
            }
        }
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::PathBuf;
    use std::sync::Arc;

    use loadtest::{Canned, Knobs, Provider};
    use rustls::{ClientConfig, RootCertStore};

    use super::*;

    #[derive(Debug)]
    struct Only(HashMap<String, String>);

    impl Env for Only {
        fn var(&self, key: &str) -> Option<String> {
            self.0.get(key).cloned()
        }

        fn vars(&self) -> HashMap<String, String> {
            self.0.clone()
        }

        fn home_dir(&self) -> Option<PathBuf> {
            None
        }
    }

    /// A service that answers everything alike, and what it was asked.
    #[derive(Clone, Debug)]
    struct Answers(u16, String, Arc<std::sync::OnceLock<String>>);

    impl HttpSend for Answers {
        async fn http_send(
            &self,
            asked: http::Request<Bytes>,
        ) -> reqsign_core::Result<http::Response<Bytes>> {
            let text = format!("{} {}", asked.uri(), String::from_utf8_lossy(asked.body()));
            let _ = self.2.set(text);
            let mut response = http::Response::new(Bytes::from(self.1.clone()));
            *response.status_mut() = http::StatusCode::from_u16(self.0).expect("a status");
            Ok(response)
        }
    }

    fn run<T>(what: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(what)
    }

    fn only(variables: &[(&str, &str)]) -> Only {
        Only(variables.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect())
    }

    fn made(variables: &[(&str, &str)], profile: Option<&str>) -> Result<Made, Unmade> {
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()
            .expect("versions");
        let tls = Arc::new(tls.with_root_certificates(RootCertStore::empty()).with_no_client_auth());
        let fetcher = Fetcher { tls, networks: Vec::new() };
        run(make_in(Http(fetcher), only(variables), profile)).map(|lasting| lasting.made)
    }

    fn keys(id: &str, token: Option<&str>) -> Made {
        let session_token = token.map(str::to_owned);
        Made::Aws { access_key_id: id.into(), secret_access_key: "secret".into(), session_token }
    }

    #[test]
    fn keys_come_from_the_environment_or_from_the_profile_that_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("credentials");
        std::fs::write(&file, "[work]\naws_access_key_id = AKWORK\naws_secret_access_key = secret\n")
            .expect("a file");
        let file = file.display().to_string();
        let env = [
            ("AWS_ACCESS_KEY_ID", "AKENV"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_SESSION_TOKEN", "session"),
            ("AWS_SHARED_CREDENTIALS_FILE", &file),
            ("AWS_CONFIG_FILE", "/nonexistent"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        assert_eq!(made(&env, None), Ok(keys("AKENV", Some("session"))));
        assert_eq!(made(&env, Some("work")), Ok(keys("AKWORK", None)));
        assert!(made(&env[5..], None).is_err());
    }

    #[test]
    fn an_instance_asks_its_metadata_service() {
        let service = Provider::start(Knobs::default());
        let folder = "/latest/meta-data/iam/security-credentials/";
        service.can("/latest/api/token", Canned::new(200).body("t"));
        service.can(folder, Canned::new(200).body("role"));
        let answer = r#"{"Code":"Success","AccessKeyId":"AKROLE","SecretAccessKey":"secret","Token":"session","Expiration":"2099-01-01T00:00:00Z"}"#;
        service.can(&format!("{folder}role"), Canned::new(200).body(answer));
        let url = service.url();
        let env = [
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &*url),
            ("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent"),
            ("AWS_CONFIG_FILE", "/nonexistent"),
        ];
        assert_eq!(made(&env, None), Ok(keys("AKROLE", Some("session"))));
        // An exchange is noted a moment after its client has seen its end, so that two may be noted in either order.
        let served = service.wait(3, std::time::Duration::from_secs(10));
        let asked = served.iter().filter(|asked| asked.header("x-aws-ec2-metadata-token") == Some("t"));
        assert_eq!(asked.count(), 2, "{served:?}");
    }

    /// With a web identity's token in a file; what the token service answers is made up.
    fn by_web_identity(token: Option<&str>, status: u16, answer: &str) -> (Result<Lasting, Unmade>, String) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        if let Some(token) = token {
            std::fs::write(&file, token).expect("a file");
        }
        let file = file.display().to_string();
        let env = [
            ("AWS_ROLE_ARN", "arn:aws:iam::1:role/weir"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", &*file),
            ("AWS_REGION", "eu-west-1"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent"),
            ("AWS_CONFIG_FILE", "/nonexistent"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        let service = Answers(status, answer.to_owned(), Arc::default());
        let made = run(make_in(service.clone(), only(&env), None));
        (made, service.2.get().cloned().unwrap_or_default())
    }

    fn assumed(end: &str) -> String {
        format!(
            "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
             <AccessKeyId>AKWEB</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>session</SessionToken>\
             <Expiration>{end}</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        )
    }

    #[test]
    fn a_web_identity_is_traded_for_keys_that_last_as_long_as_they_say() {
        let (made, asked) = by_web_identity(Some("jwt"), 200, &assumed("2099-01-01T00:00:00Z"));
        let lasting = made.expect("keys");
        assert_eq!(lasting.made, keys("AKWEB", Some("session")));
        assert!(asked.contains("AssumeRoleWithWebIdentity") && asked.contains("jwt"), "{asked}");
        let looked_up_again = clock::wall() + (LOOKED_UP_AGAIN + super::super::MARGIN).as_micros() as u64;
        assert!(lasting.until <= looked_up_again, "a file may change long before they end");
        let soon =
            jiff::Timestamp::from_second(i64::try_from(clock::wall() / 1_000_000).expect("small") + 60);
        let soon = soon.expect("a moment");
        let (made, _) = by_web_identity(Some("jwt"), 200, &assumed(&soon.to_string()));
        let end = u64::try_from(soon.as_second()).expect("after 1970") * 1_000_000;
        assert_eq!(made.expect("keys").until, end);
    }

    #[test]
    fn an_identity_that_is_not_taken_or_not_there_is_said() {
        let expired = "<ErrorResponse><Error><Code>ExpiredTokenException</Code><Message>expired</Message></Error></ErrorResponse>";
        for (name, token, status, answer) in [
            ("expired", Some("jwt"), 400, expired),
            (
                "refused",
                Some("jwt"),
                403,
                "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>",
            ),
            ("no file", None, 200, ""),
            ("nonsense", Some("jwt"), 200, "<html>"),
        ] {
            let (made, asked) = by_web_identity(token, status, answer);
            let why = made.map(|lasting| lasting.made).expect_err(name);
            assert_eq!(asked.is_empty(), token.is_none(), "{name}: {why:?}");
            assert!(!why.why.is_empty() && !why.why.contains("jwt"), "{name}: {why:?}");
        }
    }
}
