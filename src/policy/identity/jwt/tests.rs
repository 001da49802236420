//! Tokens made by hand, good and bad.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde_json::json;

use super::*;
use crate::base::settings::{At, Place};
use crate::policy::glob::Glob;
use crate::policy::identity::Evidence;
use crate::policy::identity::settings::{HeaderName, OneOrMore, SourceKind};

const ISSUER: &str = "https://issuer.example.com";
const JWKS: &str = "https://issuer.example.com/jwks";
const NOW: Wall = 1_000_000_000_000;
const NOW_SECONDS: u64 = 1_000_000;

fn at(text: &str) -> At<String> {
    At { value: text.into(), place: Place::default() }
}

fn settings() -> JwtSettings {
    JwtSettings {
        place: Place::default(),
        source: SourceKind::Jwt,
        header: HeaderName("authorization".into()),
        issuer: at(ISSUER),
        audience: OneOrMore(vec![at("weir")]),
        jwks: at(JWKS),
        user_claim: "email".into(),
        groups_claim: Some("groups".into()),
        require: vec![(at("repository"), Glob::new("my-org/*").expect("glob"))],
        private_networks: Vec::new(),
        leeway: std::time::Duration::from_secs(30),
    }
}

struct Issuer {
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
    random: SystemRandom,
}

fn issuer() -> Issuer {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("key");
    let ec =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).expect("key");
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&random).expect("key");
    let ed = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("key");
    Issuer { ec, ed, random }
}

impl Issuer {
    fn sets(&self) -> KeySets {
        let point = self.ec.public_key().as_ref();
        let body = json!({"keys": [
            {"kty": "EC", "crv": "P-256", "kid": "ec", "alg": "ES256", "use": "sig",
             "x": BASE64.encode(&point[1..33]), "y": BASE64.encode(&point[33..])},
            {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": BASE64.encode(self.ed.public_key().as_ref())},
            {"kty": "oct", "kid": "shared", "k": BASE64.encode(b"secret")},
        ]});
        let mut sets = KeySets::default();
        assert_eq!(sets.put(JWKS, body.to_string().as_bytes()), Ok(2));
        sets
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
        let signature = match header["kid"].as_str() {
            Some("ed") => self.ed.sign(message.as_bytes()).as_ref().to_vec(),
            _ => self.ec.sign(&self.random, message.as_bytes()).expect("signed").as_ref().to_vec(),
        };
        format!("{message}.{}", BASE64.encode(signature))
    }
}

fn claims() -> Value {
    json!({"iss": ISSUER, "aud": "weir", "exp": NOW_SECONDS + 60, "email": "ci@example.com",
           "groups": ["bots"], "repository": "my-org/app"})
}

fn judged(sets: &KeySets, field: &str, token: &str) -> Found {
    let evidence = Evidence::default();
    let fields = [(field.as_bytes(), token.as_bytes())];
    judge(&settings(), sets, &Seen::default(), &Shown::of(&evidence, &fields), NOW)
}

#[test]
fn a_good_token_names_its_user() {
    let issuer = issuer();
    let sets = issuer.sets();
    for header in [json!({"alg": "ES256", "kid": "ec"}), json!({"alg": "EdDSA", "kid": "ed"})] {
        let token = issuer.token(&header, &claims());
        let Found::Principal(who) = judged(&sets, "Authorization", &format!("Bearer {token}")) else {
            panic!("{header}: {:?}", judged(&sets, "Authorization", &token))
        };
        assert_eq!(
            (who.name.as_str(), who.groups.as_slice(), who.source),
            ("ci@example.com", &["bots".to_owned()][..], "jwt")
        );
    }
}

#[test]
fn bad_tokens_of_the_issuer_end_the_search() {
    let issuer = issuer();
    let sets = issuer.sets();
    let ec = json!({"alg": "ES256", "kid": "ec"});
    let with = |key: &str, value: Value| {
        let mut claims = claims();
        claims[key] = value;
        issuer.token(&ec, &claims)
    };
    let without = |key: &str| {
        let mut claims = claims();
        claims.as_object_mut().expect("object").remove(key);
        issuer.token(&ec, &claims)
    };
    let good = issuer.token(&ec, &claims());
    let (head, signature) = good.rsplit_once('.').expect("parts");
    let stranger = self::issuer().token(&ec, &claims());
    for (case, token) in [
        ("another audience", with("aud", json!("somebody"))),
        ("no audience", without("aud")),
        ("expired", with("exp", json!(NOW_SECONDS - 31))),
        ("no end", without("exp")),
        ("not yet", with("nbf", json!(NOW_SECONDS + 31))),
        ("another organisation", with("repository", json!("other-org/app"))),
        ("no repository", without("repository")),
        ("no user", without("email")),
        ("unverified address", with("email_verified", json!(false))),
        ("unverified address, as a text", with("email_verified", json!("false"))),
        ("an end that is a text", with("exp", json!((NOW_SECONDS + 60).to_string()))),
        ("too long", with("padding", json!("x".repeat(20_000)))),
        (
            "extensions that must be understood",
            issuer.token(&json!({"alg": "ES256", "kid": "ec", "crit": ["exp"], "exp": 0}), &claims()),
        ),
        ("control characters", with("email", json!("a\r\nb"))),
        ("no signature", format!("{head}.")),
        ("a flipped signature", format!("{head}.{}A", &signature[..signature.len() - 2])),
        ("another's signature", stranger),
        ("none", issuer.token(&json!({"alg": "none", "kid": "ec"}), &claims())),
        ("shared secret", issuer.token(&json!({"alg": "HS256", "kid": "ec"}), &claims())),
        ("another algorithm than the key's", issuer.token(&json!({"alg": "EdDSA", "kid": "ec"}), &claims())),
        ("another family", issuer.token(&json!({"alg": "RS256", "kid": "ec"}), &claims())),
    ] {
        let found = judged(&sets, "authorization", &token);
        assert!(matches!(found, Found::Bad(_)), "{case}: {found:?}");
    }
}

#[test]
fn other_credentials_are_no_evidence() {
    let issuer = issuer();
    let sets = issuer.sets();
    let mut other = claims();
    other["iss"] = json!("https://elsewhere.example.com");
    let elsewhere = issuer.token(&json!({"alg": "ES256", "kid": "ec"}), &other);
    for token in ["sk-ant-x", "-", "a.b.c", "", &elsewhere, &"x".repeat(20_000)] {
        assert_eq!(judged(&sets, "authorization", token), Found::Nothing, "{token:.20}");
    }
    assert_eq!(
        judged(&sets, "x-other", &issuer.token(&json!({"alg": "ES256", "kid": "ec"}), &claims())),
        Found::Nothing
    );
}

#[test]
fn keys_that_are_not_here_must_be_looked_up() {
    let issuer = issuer();
    let token = issuer.token(&json!({"alg": "ES256", "kid": "ec"}), &claims());
    assert_eq!(judged(&KeySets::default(), "authorization", &token), Found::NeedsKeys);
    let rotated = issuer.token(&json!({"alg": "ES256", "kid": "next"}), &claims());
    assert_eq!(judged(&issuer.sets(), "authorization", &rotated), Found::NeedsKeys);
}
