//! Google's access tokens: by a service account's key (RFC 7523), by a person's refresh token (RFC 6749 6), or from
//! the metadata server of the machine.

use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer};
use serde::Deserialize;
use serde_json::json;

use crate::admin::fetch::{Answer, Fetcher, Question};
use crate::base::clock;
use crate::wire::base64::url;
use crate::wire::credential::{Lasting, Made, Unmade};

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const METADATA: &str =
    "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token";
/// How long an assertion holds: the most that is allowed.
const ASSERTION_SECONDS: u64 = 3600;
/// Clocks differ a little.
const SKEW_SECONDS: u64 = 10;
/// Where people's refresh tokens are traded, since their files do not say.
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
/// Largest key file.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// A key file (cloud.google.com, "Application Default Credentials").
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum KeyFile {
    ServiceAccount {
        client_email: String,
        private_key: String,
        private_key_id: Option<String>,
        token_uri: String,
    },
    AuthorizedUser {
        client_id: String,
        client_secret: String,
        refresh_token: String,
    },
}

/// What a token endpoint says.
#[derive(Deserialize)]
struct Token {
    access_token: String,
    expires_in: u64,
}

pub(super) async fn by_key_file(fetcher: &Fetcher, path: &str) -> Result<Lasting, Unmade> {
    let file = read(path).await.map_err(|why| wrong(format!("{path}: {why}")))?;
    let (uri, form) = match file {
        KeyFile::ServiceAccount { client_email, private_key, private_key_id, token_uri } => {
            let signed = assertion(&client_email, &private_key, private_key_id.as_deref(), &token_uri);
            let assertion = signed.map_err(|why| wrong(format!("{path}: {why}")))?;
            let grant = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
            (token_uri, format!("grant_type={grant}&assertion={assertion}"))
        }
        KeyFile::AuthorizedUser { client_id, client_secret, refresh_token } => {
            let pairs = [
                ("client_id", client_id),
                ("client_secret", client_secret),
                ("refresh_token", refresh_token),
            ];
            let pairs = pairs.iter().map(|(name, value)| format!("&{name}={}", form_text(value)));
            (TOKEN_URI.to_owned(), format!("grant_type=refresh_token{}", pairs.collect::<String>()))
        }
    };
    let question = Question {
        method: "POST",
        url: uri,
        fields: vec![("content-type".into(), "application/x-www-form-urlencoded".into())],
        body: form.into_bytes(),
        metadata: false,
    };
    token(fetcher.ask(&question).await)
}

pub(super) async fn by_metadata(fetcher: &Fetcher) -> Result<Lasting, Unmade> {
    let host = std::env::var("GCE_METADATA_HOST").ok().filter(|host| !host.is_empty());
    by_metadata_of(fetcher, host).await
}

async fn by_metadata_of(fetcher: &Fetcher, host: Option<String>) -> Result<Lasting, Unmade> {
    let url = host.map_or(METADATA.to_owned(), |host| METADATA.replace("metadata.google.internal", &host));
    let fields = vec![("metadata-flavor".into(), "Google".into())];
    token(fetcher.ask(&Question { method: "GET", url, fields, metadata: true, ..Question::default() }).await)
}

async fn read(path: &str) -> Result<KeyFile, String> {
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let length = std::fs::metadata(&path)?.len();
        if length > FILE_BYTES_MAX {
            return Err(std::io::Error::other(format!("{length} bytes are no key file")));
        }
        std::fs::read(&path)
    });
    let bytes = read.await.map_err(|why| why.to_string())?.map_err(|why| why.to_string())?;
    serde_json::from_slice(&bytes).map_err(|why| format!("is no key file: {why}"))
}

/// A JWT that says who we are, signed with RS256.
fn assertion(email: &str, key: &str, key_id: Option<&str>, audience: &str) -> Result<String, String> {
    let now = clock::wall() / 1_000_000;
    let head = json!({ "alg": "RS256", "typ": "JWT", "kid": key_id });
    let claims = json!({
        "iss": email,
        "scope": SCOPE,
        "aud": audience,
        "iat": now - SKEW_SECONDS,
        "exp": now - SKEW_SECONDS + ASSERTION_SECONDS,
    });
    let text = format!("{}.{}", url(head.to_string().as_bytes()), url(claims.to_string().as_bytes()));
    let pair = key_pair(key)?;
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature)
        .map_err(|_| "the key does not sign".to_owned())?;
    Ok(format!("{text}.{}", url(&signature)))
}

fn key_pair(pem: &str) -> Result<RsaKeyPair, String> {
    let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|why| format!("private_key: {why}"))?;
    let pair = match &der {
        PrivateKeyDer::Pkcs8(key) => RsaKeyPair::from_pkcs8(PrivatePkcs8KeyDer::secret_pkcs8_der(key)),
        PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(PrivatePkcs1KeyDer::secret_pkcs1_der(key)),
        _ => return Err("private_key: is no RSA key".to_owned()),
    };
    pair.map_err(|why| format!("private_key: {why}"))
}

/// A value in a form: everything but letters, digits, `-._~` is encoded.
fn form_text(value: &str) -> String {
    value
        .bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn token(answer: Result<Answer, String>) -> Result<Lasting, Unmade> {
    let answer = answer.map_err(away)?;
    if answer.status != 200 {
        let said = String::from_utf8_lossy(&answer.body[..answer.body.len().min(300)]).into_owned();
        let why = format!("the token endpoint answered {}: {said}", answer.status);
        // What it refuses is our key, what is not there was misnamed; everything else is its own trouble.
        return Err(if matches!(answer.status, 400 | 401 | 403 | 404) { wrong(why) } else { away(why) });
    }
    let token: Token = serde_json::from_slice(&answer.body)
        .map_err(|_| away("the token endpoint's answer holds no token".to_owned()))?;
    let value = token.access_token.trim_end_matches('.').to_owned();
    if value.is_empty() || value.bytes().any(|byte| !(0x21..0x7f).contains(&byte)) {
        return Err(away("the token endpoint's answer holds no token".to_owned()));
    }
    let until = clock::wall().saturating_add(token.expires_in.saturating_mul(1_000_000));
    Ok(Lasting { made: Made::Bearer(value), until })
}

fn wrong(why: String) -> Unmade {
    Unmade { configured_wrong: true, why }
}

fn away(why: String) -> Unmade {
    Unmade { configured_wrong: false, why }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use loadtest::{Canned, Knobs, Provider};
    use rustls::{ClientConfig, RootCertStore};

    use super::*;

    fn by_metadata_at(host: String) -> Result<Lasting, Unmade> {
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()
            .expect("versions");
        let tls = Arc::new(tls.with_root_certificates(RootCertStore::empty()).with_no_client_auth());
        let fetcher = Fetcher { tls, networks: Vec::new() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(by_metadata_of(&fetcher, Some(host)))
    }

    const PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/token";

    #[test]
    fn a_machine_asks_its_metadata_server() {
        let service = Provider::start(Knobs::default());
        let answer = r#"{"access_token":"ya29.machine..","expires_in":3599,"token_type":"Bearer"}"#;
        service.can(PATH, Canned::new(200).body(answer));
        let before = clock::wall();
        let lasting = by_metadata_at(service.addr.to_string()).expect("a token");
        assert_eq!(lasting.made, Made::Bearer("ya29.machine".into()), "it is padded with dots");
        assert!((before..=clock::wall()).contains(&(lasting.until - 3_599_000_000)));
        // It is written down once the answer is out, which may be a moment later.
        let asked = &service.wait(1, std::time::Duration::from_secs(10))[0];
        assert_eq!((asked.target.as_str(), asked.header("metadata-flavor")), (PATH, Some("Google")));
    }

    #[test]
    fn whose_fault_it_is_that_there_is_no_token() {
        let service = Provider::start(Knobs::default());
        for (status, body, ours) in [
            (404, "no such account", true),
            (403, "not allowed", true),
            (500, "oops", false),
            (200, "<html>", false),
            (200, r#"{"access_token":"","expires_in":1}"#, false),
            (200, r#"{"access_token":"a b","expires_in":1}"#, false),
            (200, r#"{"access_token":"a"}"#, false),
        ] {
            service.can(PATH, Canned::new(status).body(body));
            let unmade = by_metadata_at(service.addr.to_string()).expect_err(body);
            assert_eq!(unmade.configured_wrong, ours, "{status} {body}: {unmade:?}");
        }
        let gone =
            std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
        let unmade = by_metadata_at(gone.to_string()).expect_err("nobody there");
        assert!(!unmade.configured_wrong && unmade.why.contains(&gone.to_string()), "{unmade:?}");
    }
}
