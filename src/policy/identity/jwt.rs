//! Source `jwt`: JSON web tokens of configured issuers, against their published keys.
//!
//! The library reads headers, keys and claims; signatures are verified by `ring`, which TLS brings anyway; time is
//! handed in. Only asymmetric algorithms exist here, so a public key can never be taken for a shared secret.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Once;

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::jwk::{Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::signature::{self, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey, Validation};
use ring::digest::{Context, SHA256};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};
use serde_json::Value;

use super::settings::JwtSettings;
use super::{Found, Principal, Shown};
use crate::base::clock::Wall;

/// A longer token is refused.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Published keys by the address they were fetched from.
#[derive(Clone, Debug, Default)]
pub struct KeySets {
    by_url: HashMap<String, JwkSet>,
}

impl KeySets {
    /// Take in what an issuer publishes. Keys for encryption and shared secrets are dropped.
    pub fn put(&mut self, url: &str, body: &[u8]) -> Result<usize, String> {
        let mut set: JwkSet = serde_json::from_slice(body).map_err(|error| format!("no key set: {error}"))?;
        let signs = |jwk: &Jwk| !matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption));
        set.keys.retain(|jwk| {
            signs(jwk) && DecodingKey::from_jwk(jwk).is_ok_and(|key| key.family() != AlgorithmFamily::Hmac)
        });
        if set.keys.is_empty() {
            return Err("a key set without a key that verifies".into());
        }
        let count = set.keys.len();
        self.by_url.insert(url.to_owned(), set);
        Ok(count)
    }

    /// What stood there is believed no longer.
    pub fn forget(&mut self, url: &str) {
        self.by_url.remove(url);
    }
}

/// Tokens verified lately, by one core: a signature costs a hundred times what looking it up does. Only good ones are
/// remembered, until they end or for a minute; a new set of keys forgets all.
#[derive(Debug, Default)]
pub struct Seen(RefCell<HashMap<[u8; 32], (Wall, Principal)>>);

impl Seen {
    /// Forget all: what was verified with is no longer what is trusted.
    pub fn forget(&self) {
        self.0.borrow_mut().clear();
    }

    fn known(&self, token: &[u8; 32], now: Wall) -> Option<Principal> {
        let seen = self.0.borrow();
        seen.get(token).filter(|(until, _)| now < *until).map(|(_, principal)| principal.clone())
    }

    fn put(&self, token: [u8; 32], until: Wall, principal: &Principal) {
        let mut seen = self.0.borrow_mut();
        if seen.len() >= SEEN_MAX {
            seen.clear();
        }
        seen.insert(token, (until, principal.clone()));
    }
}

/// Tokens remembered per core; past it all are forgotten and verified again.
const SEEN_MAX: usize = 4096;
/// How long a verified token is believed without looking again.
const SEEN_LASTS_US: Wall = 60_000_000;

/// Whose token this is. A token of another issuer is no evidence; a bad one of this issuer ends the search.
#[must_use]
pub fn judge(settings: &JwtSettings, sets: &KeySets, seen: &Seen, shown: &Shown<'_>, now: Wall) -> Found {
    let token = match shown.only(&settings.header.0) {
        None => return Found::Nothing,
        Some(Err(())) => return Found::Bad("the token's field stands twice or is no text"),
        Some(Ok(value)) => super::bearer(value).unwrap_or(value),
    };
    // A key of ours, or a vendor's, has no claims to decode.
    if token.bytes().filter(|byte| *byte == b'.').count() != 2 {
        return Found::Nothing;
    }
    // Nobody's token is so long, and whose it claims to be is not looked for in it.
    if token.len() > TOKEN_BYTES_MAX {
        return Found::Bad("the token is too long");
    }
    let mark = mark_of(settings, token);
    if let Some(principal) = seen.known(&mark, now) {
        return Found::Principal(principal);
    }
    if issuer_of(token).as_deref() != Some(settings.issuer.as_str()) {
        return Found::Nothing;
    }
    let Some(set) = sets.by_url.get(&settings.jwks.value) else { return Found::NeedsKeys };
    let claims = match verified(settings, set, token) {
        Ok(claims) => claims,
        Err(Unverified::UnknownKey) => return Found::NeedsKeys,
        Err(Unverified::Bad(why)) => return Found::Bad(why),
    };
    if let Err(why) =
        in_time(&claims, settings.leeway.as_secs(), now).and_then(|()| required(settings, &claims))
    {
        return Found::Bad(why);
    }
    let found = named(settings, &claims);
    if let Found::Principal(principal) = &found {
        let ends = claims.get("exp").and_then(Value::as_f64).map_or(0, |end| (end * 1e6) as Wall);
        seen.put(mark, ends.min(now.saturating_add(SEEN_LASTS_US)), principal);
    }
    found
}

/// What a token is remembered by: also by what it was judged by, since two sources may read the same field.
fn mark_of(settings: &JwtSettings, token: &str) -> [u8; 32] {
    let mut hash = Context::new(&SHA256);
    hash.update(format!("{}\0", settings.place.path).as_bytes());
    hash.update(token.as_bytes());
    let mut mark = [0; 32];
    mark.copy_from_slice(hash.finish().as_ref());
    mark
}

/// The issuer a token claims, before anything is believed.
fn issuer_of(token: &str) -> Option<String> {
    let claims: Value = jsonwebtoken::dangerous::insecure_decode_claims(token).ok()?;
    claims.get("iss")?.as_str().map(str::to_owned)
}

enum Unverified {
    /// Signed with a key that is not in the set: it may have been published since.
    UnknownKey,
    Bad(&'static str),
}

fn verified(settings: &JwtSettings, set: &JwkSet, token: &str) -> Result<Value, Unverified> {
    install();
    let header =
        jsonwebtoken::decode_header(token).map_err(|_| Unverified::Bad("the token cannot be read"))?;
    if parameters(header.alg).is_none() {
        return Err(Unverified::Bad("the token's algorithm is not accepted"));
    }
    // What must be understood is not (RFC 7515 4.1.11): none of its extensions is.
    if header.crit.is_some() {
        return Err(Unverified::Bad("the token has extensions that must be understood"));
    }
    let named = |jwk: &&Jwk| match &header.kid {
        Some(kid) => jwk.common.key_id.as_ref() == Some(kid),
        None => set.keys.len() == 1,
    };
    let jwk = set.keys.iter().find(named).ok_or(Unverified::UnknownKey)?;
    if jwk.common.key_algorithm.is_some_and(|algorithm| !agrees(algorithm, header.alg)) {
        return Err(Unverified::Bad("the token's algorithm is not its key's"));
    }
    let key = DecodingKey::from_jwk(jwk).map_err(|_| Unverified::Bad("the issuer's key cannot be used"))?;
    let mut validation = Validation::new(header.alg);
    validation.set_issuer(&[settings.issuer.as_str()]);
    let audience: Vec<&str> = settings.audience.0.iter().map(|audience| audience.as_str()).collect();
    validation.set_audience(&audience);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    // The library reads the clock itself; ours is handed in, see `in_time`.
    validation.validate_exp = false;
    let decoded = jsonwebtoken::decode::<Value>(token, &key, &validation);
    decoded.map(|token| token.claims).map_err(|error| Unverified::Bad(words(error.kind())))
}

fn words(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidSignature => "the token's signature is wrong",
        ErrorKind::InvalidAudience => "the token is for somebody else",
        ErrorKind::InvalidIssuer => "the token's issuer is another",
        ErrorKind::MissingRequiredClaim(_) => "the token lacks exp, iss or aud",
        _ => "the token is not valid",
    }
}

/// `exp` and `nbf` against the time handed in.
fn in_time(claims: &Value, leeway: u64, now: Wall) -> Result<(), &'static str> {
    let now = now / 1_000_000;
    let at =
        |claim: &str| claims.get(claim).and_then(Value::as_f64).filter(|at| *at >= 0.0).map(|at| at as u64);
    match at("exp") {
        None => return Err("the token has no end"),
        Some(end) if end.saturating_add(leeway) <= now => return Err("the token has expired"),
        Some(_) => {}
    }
    match claims.get("nbf") {
        Some(_) if at("nbf").is_none_or(|start| start > now.saturating_add(leeway)) => {
            Err("the token is not valid yet")
        }
        _ => Ok(()),
    }
}

fn required(settings: &JwtSettings, claims: &Value) -> Result<(), &'static str> {
    let holds = |claim: &str, glob: &crate::policy::glob::Glob| match claims.get(claim) {
        Some(Value::String(text)) => glob.matches(text),
        Some(Value::Bool(value)) => glob.matches(if *value { "true" } else { "false" }),
        Some(Value::Number(number)) => glob.matches(&number.to_string()),
        _ => false,
    };
    let all = settings.require.iter().all(|(claim, glob)| holds(claim, glob));
    all.then_some(()).ok_or("the token lacks a required claim")
}

fn named(settings: &JwtSettings, claims: &Value) -> Found {
    let Some(name) = claims.get(&settings.user_claim).and_then(Value::as_str) else {
        return Found::Bad("the token lacks the claim that names its user");
    };
    // An address that its issuer has not verified is what the user typed.
    let unverified = match claims.get("email_verified") {
        // Some issuers write it as a text.
        Some(Value::String(text)) => !text.eq_ignore_ascii_case("true"),
        Some(value) => *value != Value::Bool(true),
        None => false,
    };
    if settings.user_claim == "email" && unverified {
        return Found::Bad("the token's mail address is not verified");
    }
    if name.is_empty() || name.chars().any(char::is_control) {
        return Found::Bad("the token's user is no name");
    }
    let groups = settings.groups_claim.as_ref().and_then(|claim| claims.get(claim));
    let groups = match groups {
        Some(Value::Array(groups)) => groups.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(Value::String(group)) => vec![group.clone()],
        _ => Vec::new(),
    };
    Found::Principal(Principal { name: name.to_owned(), source: "jwt", groups, ..Principal::default() })
}

fn agrees(key: KeyAlgorithm, token: Algorithm) -> bool {
    format!("{key:?}") == format!("{token:?}")
}

/// How a signature is verified.
enum How {
    Rsa(&'static RsaParameters),
    Bare(AlgorithmFamily, &'static dyn VerificationAlgorithm),
}

/// The accepted algorithms: no shared secrets, no `none`.
fn parameters(algorithm: Algorithm) -> Option<How> {
    Some(match algorithm {
        Algorithm::RS256 => How::Rsa(&RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => How::Rsa(&RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => How::Rsa(&RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => How::Rsa(&RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => How::Rsa(&RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => How::Rsa(&RSA_PSS_2048_8192_SHA512),
        Algorithm::ES256 => How::Bare(AlgorithmFamily::Ec, &ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => How::Bare(AlgorithmFamily::Ec, &ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => How::Bare(AlgorithmFamily::Ed, &ED25519),
        _ => return None,
    })
}

struct ByRing {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl Verifier<Vec<u8>> for ByRing {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let verified = match (parameters(self.algorithm), self.key.kind()) {
            (Some(How::Rsa(how)), DecodingKeyKind::RsaModulusExponent { n, e }) => {
                RsaPublicKeyComponents { n, e }.verify(how, message, signature)
            }
            (Some(How::Bare(family, how)), DecodingKeyKind::SecretOrDer(key))
                if self.key.family() == family =>
            {
                UnparsedPublicKey::new(how, key).verify(message, signature)
            }
            _ => return Err(signature::Error::new()),
        };
        verified.map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for ByRing {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

static BY_RING: CryptoProvider = CryptoProvider {
    signer_factory: never_signs,
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

fn never_signs(_: &Algorithm, _: &EncodingKey) -> Result<Box<dyn JwtSigner>, Error> {
    Err(ErrorKind::InvalidAlgorithm.into())
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    Ok(Box::new(ByRing { algorithm: *algorithm, key: key.clone() }))
}

/// Say once, for the process, who verifies.
fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = BY_RING.install_default();
    });
}

#[cfg(test)]
mod tests;
