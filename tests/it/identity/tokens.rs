//! Tokens of an issuer whose keys are fetched over HTTP: rotation, and everything that is not a good token.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use loadtest::Knobs;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use weir::base::clock;

use super::{ask, file, refused};
use crate::gate::{Gate, wait_for};

const ISSUER: &str = "https://issuer.example.com";

/// What publishes keys, as an issuer does; counts who asks.
struct Published {
    address: SocketAddr,
    keys: Arc<RwLock<Value>>,
    asked: Arc<AtomicUsize>,
}

impl Published {
    fn start(keys: Value) -> Published {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (keys, asked) = (Arc::new(RwLock::new(keys)), Arc::new(AtomicUsize::new(0)));
        let (served, count) = (keys.clone(), asked.clone());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut block = [0; 4096];
                let _ = stream.read(&mut block);
                count.fetch_add(1, Ordering::Relaxed);
                let body = served.read().expect("keys").to_string();
                let head =
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                let _ = stream.write_all(format!("{head}{body}").as_bytes());
            }
        });
        Published { address, keys, asked }
    }
}

struct Signer {
    key: Ed25519KeyPair,
    id: &'static str,
}

impl Signer {
    fn new(id: &'static str) -> Signer {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        Signer { key: Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("a key"), id }
    }

    fn public(&self) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": self.id,
               "x": BASE64.encode(self.key.public_key().as_ref())})
    }

    fn token(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = json!({"iss": ISSUER, "aud": "weir", "exp": clock::wall() / 1_000_000 + 300,
                                "email": "ada@example.com", "groups": ["eng"]});
        change(&mut claims);
        self.sealed(&json!({"alg": "EdDSA", "kid": self.id}), &claims)
    }

    fn sealed(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
        format!("{message}.{}", BASE64.encode(self.key.sign(message.as_bytes())))
    }
}

fn gate(published: &Published) -> Gate {
    let sources = format!(
        r#"[{{"source": "jwt", "issuer": "{ISSUER}", "audience": "weir", "jwks": "http://{}/keys", "groups_claim": "groups"}},
            {{"source": "headers", "trusted": ["127.0.0.1"], "user": "x-auth-email"}}]"#,
        published.address
    );
    Gate::of_file(Knobs { keep: true, ..Knobs::default() }, &file(r#"["127.0.0.1:0"]"#, &sources), |_| {})
}

#[test]
fn a_good_token_is_its_user_and_keys_rotate() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let published = Published::start(json!({"keys": [old.public()]}));
    let gate = gate(&published);
    for _ in 0..3 {
        let token = format!("Bearer {}", old.token(|_| {}));
        let reply = ask(&gate, &[("authorization", &token)]);
        assert_eq!(reply.status, 200, "{}", reply.text());
        let record = gate.record(&reply);
        assert_eq!(record["who"]["principal"], "ada@example.com", "{record}");
        assert_eq!(record["who"]["strength"], "signed");
        assert_eq!(record["who"]["groups"], json!(["eng"]));
        let served = gate.provider.truth().pop().expect("it went up");
        assert_eq!(served.header("authorization"), None);
        assert!(!record.to_string().contains(&token[20..60]), "{record}");
    }
    assert_eq!(published.asked.load(Ordering::Relaxed), 1, "fetched once, for all");
    *published.keys.write().expect("keys") = json!({"keys": [old.public(), new.public()]});
    // Whatever tokens claim, the issuer is not asked again so soon; what it published before still holds.
    for id in ["new", "made-up", "another"] {
        let token = Signer { id, ..Signer::new(id) }.token(|_| {});
        refused(
            &gate,
            &[("authorization", &format!("Bearer {token}"))],
            "bad_identity",
            "jwt: signed with a key",
        );
    }
    assert_eq!(published.asked.load(Ordering::Relaxed), 1);
    let token = format!("Bearer {}", old.token(|_| {}));
    assert_eq!(ask(&gate, &[("authorization", &token)]).status, 200);
}

#[test]
fn an_issuer_that_comes_late_is_found() {
    let signer = Signer::new("only");
    let published = Published::start(json!({"keys": []}));
    let gate = gate(&published);
    let token = format!("Bearer {}", signer.token(|_| {}));
    assert_eq!(ask(&gate, &[("authorization", &token)]).status, 401, "no key, nobody");
    *published.keys.write().expect("keys") = json!({"keys": [signer.public()]});
    wait_for("the key", || (ask(&gate, &[("authorization", &token)]).status == 200).then_some(()));
}

#[test]
fn bad_tokens_of_the_issuer_end_the_search() {
    let (signer, other) = (Signer::new("k"), Signer::new("k"));
    let published = Published::start(json!({"keys": [signer.public()]}));
    let gate = gate(&published);
    let weaker = ("x-auth-email", "alice@example.com");
    let claims =
        json!({"iss": ISSUER, "aud": "weir", "exp": clock::wall() / 1_000_000 + 300, "email": "a@x"});
    let unsigned = format!(
        "{}.{}.",
        BASE64.encode(json!({"alg": "none"}).to_string()),
        BASE64.encode(claims.to_string())
    );
    let shared = signer.sealed(&json!({"alg": "HS256", "kid": "k"}), &claims);
    for (token, cause) in [
        (unsigned, "jwt: the token"),
        (shared, "jwt: the token's algorithm"),
        (other.token(|_| {}), "jwt: the token's signature is wrong"),
        (signer.token(|claims| claims["aud"] = json!("somebody")), "for somebody else"),
        (signer.token(|claims| claims["exp"] = json!(1_000_000)), "has expired"),
        (signer.token(|claims| claims["nbf"] = json!(9_000_000_000_u64)), "not valid yet"),
        (signer.token(|claims| claims["email_verified"] = json!(false)), "not verified"),
        (signer.token(|claims| claims["padding"] = json!("x".repeat(16 * 1024))), "too long"),
        (signer.token(|claims| claims["email"] = json!("a@x\r\nx-admin: 1")), "no name"),
    ] {
        refused(&gate, &[("authorization", &format!("Bearer {token}")), weaker], "bad_identity", cause);
    }
    let good = format!("Bearer {}", signer.token(|_| {}));
    refused(&gate, &[("authorization", &good), ("Authorization", &good)], "bad_identity", "stands twice");
    // Another issuer's token is nothing to go by here.
    let strange = signer.token(|claims| claims["iss"] = json!("https://elsewhere.example.com"));
    let reply = ask(&gate, &[("authorization", &format!("Bearer {strange}")), weaker]);
    assert_eq!(gate.record(&reply)["who"]["source"], "headers");
}

#[test]
fn an_issuer_speaks_for_its_own_people_alone() {
    let (ours, theirs) = (Signer::new("shared"), Signer::new("shared"));
    let (here, there) = (
        Published::start(json!({"keys": [ours.public()]})),
        Published::start(json!({"keys": [theirs.public()]})),
    );
    let other = "https://other.example.com";
    let sources = format!(
        r#"[{{"source": "jwt", "issuer": "{ISSUER}", "audience": "weir", "jwks": "http://{}/keys"}},
            {{"source": "jwt", "issuer": "{other}", "audience": "weir", "jwks": "http://{}/keys"}}]"#,
        here.address, there.address
    );
    let gate = Gate::of_file(Knobs::default(), &file(r#"["127.0.0.1:0"]"#, &sources), |_| {});
    let bearer = |token: String| format!("Bearer {token}");
    let good = bearer(ours.token(|_| {}));
    wait_for("the keys", || (ask(&gate, &[("authorization", &good)]).status == 200).then_some(()));
    let of_the_other = bearer(theirs.token(|claims| claims["iss"] = json!(other)));
    wait_for("the other's keys", || {
        (ask(&gate, &[("authorization", &of_the_other)]).status == 200).then_some(())
    });
    // Signed by one issuer in the name of the other, under a key id that both have.
    refused(&gate, &[("authorization", &bearer(theirs.token(|_| {})))], "bad_identity", "signature is wrong");
    let crossed = bearer(ours.token(|claims| claims["iss"] = json!(other)));
    refused(&gate, &[("authorization", &crossed)], "bad_identity", "signature is wrong");
    // A key that the token itself brings is nobody's.
    let claims =
        json!({"iss": ISSUER, "aud": "weir", "exp": clock::wall() / 1_000_000 + 300, "email": "a@x"});
    let brought = theirs.sealed(
        &json!({"alg": "EdDSA", "kid": "shared", "jwk": theirs.public(), "jku": "http://x/"}),
        &claims,
    );
    refused(&gate, &[("authorization", &bearer(brought))], "bad_identity", "signature is wrong");
}
