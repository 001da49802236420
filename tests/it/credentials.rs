//! Credentials that are made: Google's tokens from a key file, AWS's signatures over what is sent.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use loadtest::{Canned, Request};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::{Value, json};
use weir::base::clock;
use weir::llm::dialect::paths::Flag;
use weir::llm::provider::sigv4::{Signed, Signer, body_hash};
use weir::policy::snapshot::{Origin, Provider};
use weir::record::record::Record;
use weir::record::store::{Filter, GroupBy, Reader};
use weir::wire::credential::{Made, Source};

use crate::gate::Gate;
use crate::providers::provider;

const ASK: &str = "/v1/projects/p/locations/l/publishers/google/models/m:generateContent";

/// Made for these tests, and good for nothing else.
const KEY: &str = include_str!("../keys/test-only-rsa.pem");
const PUBLIC_KEY: &[u8] = include_bytes!("../keys/test-only-rsa.pub.der");

pub(crate) fn key_file(folder: &Path, token_uri: &str) -> String {
    let path = folder.join("key.json");
    let file = json!({
        "type": "service_account", "project_id": "p-1", "private_key_id": "k1", "private_key": KEY,
        "client_email": "weir@p-1.iam.gserviceaccount.com", "token_uri": token_uri,
    });
    std::fs::write(&path, file.to_string()).unwrap();
    path.display().to_string()
}

/// Vertex at the synthetic provider, whose `/token` trades assertions for tokens.
fn vertex(origin: &Origin, path: String) -> Provider {
    Provider {
        credential: None,
        made_from: Some(Source::GoogleKeyFile(path)),
        ..provider("vertex", origin, &[Flag::GoogleGenerateContent])
    }
}

fn gate(folder: &Path) -> Gate {
    let gate = Gate::before(|origin| {
        let uri = format!("http://{}:{}/token", origin.host, origin.port);
        vec![vertex(&origin, key_file(folder, &uri))]
    });
    gate.provider.can(ASK, Canned::new(200).header("content-type", "application/json").body("{}"));
    gate
}

/// The record of an exchange, once it stands in the store.
pub(crate) fn record_of(gate: &Gate, id: &str) -> Record {
    let reader = Reader::open(gate.data.path()).expect("a store");
    let until = clock::now().plus(Duration::from_secs(20));
    loop {
        // Sums first: they are what the writer brings up to date last.
        let _ = reader.usage(&Filter::default(), GroupBy::Total).expect("sums");
        if let Some(shown) = reader.show(id).expect("a readable store") {
            return shown.record;
        }
        assert!(clock::now() < until, "no record of {id}");
        clock::pause(Duration::from_millis(20));
    }
}

#[test]
fn a_key_file_is_traded_for_one_token_that_all_requests_use() {
    let folder = tempfile::tempdir().unwrap();
    let gate = gate(folder.path());
    let token = r#"{"access_token":"ya29.one","expires_in":3599,"token_type":"Bearer"}"#;
    gate.provider.can("/token", Canned::new(200).header("content-type", "application/json").body(token));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let mut client = gate.client();
            scope.spawn(move || {
                let ask = Request::new("POST", ASK, "{}").header("authorization", "Bearer theirs");
                assert_eq!(client.send(&ask).unwrap().status, 200);
            });
        }
    });
    let (traded, asked): (Vec<_>, Vec<_>) =
        gate.served(9).into_iter().partition(|served| served.target == "/token");
    assert_eq!((traded.len(), asked.len()), (1, 8));
    assert!(asked.iter().all(|served| served.header("authorization") == Some("Bearer ya29.one")));
    check_assertion(&traded[0].request_body, &format!("http://{}/token", gate.provider.addr));
}

fn check_assertion(form: &[u8], audience: &str) {
    let form = std::str::from_utf8(form).unwrap();
    let prefix = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=";
    let jwt = form.strip_prefix(prefix).unwrap_or_else(|| panic!("{form}"));
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let parts: Vec<&str> = jwt.split('.').collect();
    let text = jwt.rsplit_once('.').unwrap().0;
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, PUBLIC_KEY);
    key.verify(text.as_bytes(), &engine.decode(parts[2]).unwrap()).expect("a signature that holds");
    let read = |part: &str| serde_json::from_slice::<Value>(&engine.decode(part).unwrap()).unwrap();
    let (head, claims) = (read(parts[0]), read(parts[1]));
    assert_eq!((head["alg"].as_str(), head["kid"].as_str()), (Some("RS256"), Some("k1")));
    assert_eq!(claims["aud"].as_str(), Some(audience));
    assert_eq!(claims["iss"].as_str(), Some("weir@p-1.iam.gserviceaccount.com"));
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 3600);
}

#[test]
fn a_token_that_cannot_be_had_is_said_in_the_clients_format_and_whose_fault_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (name, token, uri, status, side, kind) in [
        ("key refused", Some((400, r#"{"error":"invalid_grant"}"#)), None, 500, "rule", "credential_wrong"),
        ("endpoint ill", Some((500, "oops")), None, 503, "provider", "credential_unavailable"),
        ("endpoint talks nonsense", Some((200, "<html>")), None, 503, "provider", "credential_unavailable"),
        (
            "endpoint away",
            None,
            Some(format!("http://{dead}/token")),
            503,
            "provider",
            "credential_unavailable",
        ),
        ("file away", None, Some(String::new()), 500, "rule", "credential_wrong"),
    ] {
        let gate = gate(folder.path());
        if let Some((status, body)) = token {
            gate.provider.can("/token", Canned::new(status).body(body));
        }
        match uri.as_deref() {
            Some("") => std::fs::remove_file(folder.path().join("key.json")).unwrap(),
            Some(uri) => drop(key_file(folder.path(), uri)),
            None => {}
        }
        let reply = gate.client().send(&Request::new("POST", ASK, "{}")).unwrap();
        assert_eq!(reply.status, status, "{name}: {}", reply.text());
        let said: Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(said["error"]["code"].as_u64(), Some(u64::from(status)), "{name}: {said}");
        let record = record_of(&gate, reply.header("x-weir-id").unwrap());
        let fault = record.fault.expect(name);
        assert_eq!((fault.side.as_str(), fault.kind.as_str()), (side, kind), "{name}: {fault:?}");
        assert!(!fault.cause.contains("PRIVATE KEY"), "{fault:?}");
    }
}

/// A path of each language at Vertex, a body, and where its errors say of what type they are.
const LANGUAGES: &[(&str, &str, &str, &str)] = &[
    (ASK, "{}", "/error/status", "INTERNAL"),
    (
        "/v1/projects/p/locations/l/publishers/anthropic/models/m:rawPredict",
        r#"{"anthropic_version":"vertex-2023-10-16","max_tokens":9,"messages":[]}"#,
        "/error/type",
        "api_error",
    ),
    (
        "/v1/projects/p/locations/l/endpoints/openapi/chat/completions",
        r#"{"model":"m","messages":[]}"#,
        "/error/code",
        "credential_wrong",
    ),
];

#[test]
fn a_key_file_that_is_none_is_said_in_each_language() {
    let account = |key: &str| {
        json!({"type": "service_account", "client_email": "a@b", "private_key": key, "token_uri": "http://127.0.0.1:1/t"})
            .to_string()
    };
    let elliptic = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----\n";
    let files = [
        "not JSON".to_owned(),
        r#"{"type":"service_account"}"#.to_owned(),
        r#"{"type":"external_account"}"#.to_owned(),
        account("no key"),
        account(elliptic),
    ];
    for text in files {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.json");
        std::fs::write(&path, &text).unwrap();
        let gate = Gate::before(|origin| {
            let flags = [Flag::GoogleGenerateContent, Flag::GoogleRawPredict, Flag::OpenaiChat];
            vec![Provider { flags: flags.to_vec(), ..vertex(&origin, path.display().to_string()) }]
        });
        for (path, body, place, kind) in LANGUAGES {
            let ask = Request::new("POST", path, *body).header("content-type", "application/json");
            let reply = gate.client().send(&ask).unwrap();
            assert_eq!(reply.status, 500, "{path}: {}", reply.text());
            let said: Value = serde_json::from_slice(&reply.body).unwrap();
            assert_eq!(said.pointer(place).and_then(Value::as_str), Some(*kind), "{path}: {said}");
            let record = record_of(&gate, reply.header("x-weir-id").unwrap());
            let fault = record.fault.expect("a fault");
            assert_eq!((fault.side.as_str(), fault.kind.as_str()), ("rule", "credential_wrong"), "{fault:?}");
            assert!(fault.cause.contains("key.json"), "{fault:?}");
            assert!(!reply.text().contains("key.json"), "the place is for the operator: {}", reply.text());
        }
        assert!(gate.provider.truth().is_empty());
    }
}

#[test]
fn a_token_that_the_provider_no_longer_takes_is_not_asked_for_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let gate = gate(folder.path());
    let token = r#"{"access_token":"ya29.revoked","expires_in":3599}"#;
    gate.provider.can("/token", Canned::new(200).header("content-type", "application/json").body(token));
    let refusal = r#"{"error":{"code":401,"message":"expired","status":"UNAUTHENTICATED"}}"#;
    gate.provider.can(ASK, Canned::new(401).header("content-type", "application/json").body(refusal));
    for round in 1..=3 {
        let reply = gate.client().send(&Request::new("POST", ASK, "{}")).unwrap();
        // It is made once, and asked for once more at most: the refusal is the provider's own, and passes.
        assert_eq!((reply.status, reply.text().as_str()), (401, refusal), "round {round}");
        let record = record_of(&gate, reply.header("x-weir-id").unwrap());
        assert_eq!(record.outcome.name(), "provider_error");
    }
    let traded = gate.provider.truth().iter().filter(|served| served.target == "/token").count();
    assert_eq!(traded, 1);
}

#[test]
fn a_signature_covers_the_request_as_it_is_sent() {
    let gate = Gate::before(|origin| {
        let aws = |id: &str, token: Option<&str>| Provider {
            credential: None,
            region: Some("eu-west-1".into()),
            signing: Some(Made::Aws {
                access_key_id: "AKID".into(),
                secret_access_key: "SECRET".into(),
                session_token: token.map(str::to_owned),
            }),
            ..provider(id, &origin, &[Flag::BedrockConverse, Flag::OpenaiChat])
        };
        let alias = vec![("short".to_owned(), "us.anthropic.claude:0".to_owned())];
        vec![Provider { aliases: alias, ..aws("aws", Some("SESSION")) }]
    });
    gate.provider.can("*", Canned::new(200).header("content-type", "application/json").body("{}"));
    let body = r#"{"messages":[{"role":"user","content":[{"text":"hi"}]}]}"#;
    let mut sent_so_far = 0;
    for (path, sent, body, sent_body) in [
        ("/bedrock/model/short/converse", "/model/us.anthropic.claude:0/converse", body, body),
        ("/model/a%3A0%2Fb/converse", "/model/a%3A0%2Fb/converse", body, body),
        (
            "/v1/chat/completions",
            "/openai/v1/chat/completions",
            r#"{"model":"short"}"#,
            r#"{"model":"us.anthropic.claude:0"}"#,
        ),
    ] {
        let mut ask = Request::new("POST", path, body)
            .header("content-type", "application/json")
            .header("x-amzn-bedrock-trace", "ENABLED")
            .header("x-amz-date", "19700101T000000Z")
            .header("authorization", "AWS4-HMAC-SHA256 Credential=THEIRS");
        ask.chunk = Some(10);
        let reply = gate.client().send(&ask).unwrap();
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        sent_so_far += 1;
        let served = gate.served(sent_so_far).pop().unwrap();
        assert_eq!((served.target.as_str(), &*served.request_body), (sent, sent_body.as_bytes()));
        let field =
            |name: &str| served.header(name).unwrap_or_else(|| panic!("{path}: no {name}")).to_owned();
        let names = ["content-type", "host", "x-amz-date", "x-amz-security-token", "x-amzn-bedrock-trace"];
        let fields: Vec<_> = names.iter().map(|name| ((*name).to_owned(), field(name))).collect();
        let signer = Signer {
            access_key_id: "AKID",
            secret_access_key: "SECRET",
            region: "eu-west-1",
            service: "bedrock",
        };
        let expected = signer.authorization(&Signed {
            method: "POST",
            target: sent,
            fields: &fields,
            body_hash: &body_hash(sent_body.as_bytes()),
            date: &field("x-amz-date"),
        });
        assert_eq!(field("authorization"), expected, "{path}");
        assert_eq!(field("x-amz-security-token"), "SESSION");
    }
}
