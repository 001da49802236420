//! What goes wrong before a provider has answered, on an endpoint of each API: the client is told in its own API's words,
//! and the record says whose fault it was.

use loadtest::Request;
use serde_json::{Value, json};
use weir::llm::dialect::paths::Flag;
use weir::policy::glob::Glob;
use weir::policy::snapshot::{Origin, Provider};
use weir::wire::credential::Source;

use crate::credentials::{key_file, record_of};
use crate::gate::Gate;
use crate::providers::provider;

/// How an API writes its errors.
#[derive(Clone, Copy)]
enum Words {
    Anthropic,
    OpenAi,
    Google,
    Bedrock,
    Ollama,
}

/// Path and body, with `MODEL` for the model's name.
const ENDPOINTS: &[(&str, &str, Words)] = &[
    ("/v1/messages", r#"{"model":"MODEL","messages":[]}"#, Words::Anthropic),
    ("/v1/messages/count_tokens", r#"{"model":"MODEL","messages":[]}"#, Words::Anthropic),
    ("/v1/projects/p/locations/l/publishers/anthropic/models/MODEL:rawPredict", "{}", Words::Anthropic),
    ("/v1/chat/completions", r#"{"model":"MODEL","messages":[]}"#, Words::OpenAi),
    ("/v1/projects/p/locations/l/publishers/mistralai/models/MODEL:rawPredict", "{}", Words::OpenAi),
    ("/v1/responses", r#"{"model":"MODEL","input":""}"#, Words::OpenAi),
    ("/v1/completions", r#"{"model":"MODEL","prompt":""}"#, Words::OpenAi),
    ("/v1/embeddings", r#"{"model":"MODEL","input":""}"#, Words::OpenAi),
    ("/v1/images/generations", r#"{"model":"MODEL","prompt":""}"#, Words::OpenAi),
    ("/v1/audio/speech", r#"{"model":"MODEL","input":""}"#, Words::OpenAi),
    ("/v1/moderations", r#"{"model":"MODEL","input":""}"#, Words::OpenAi),
    ("/v1beta/models/MODEL:generateContent", "{}", Words::Google),
    ("/v1beta/interactions", r#"{"model":"MODEL","input":""}"#, Words::Google),
    ("/v1/projects/p/locations/l/publishers/google/models/MODEL:streamGenerateContent", "{}", Words::Google),
    ("/v1/projects/p/locations/l/publishers/google/models/MODEL:predict", "{}", Words::Google),
    ("/v1internal:generateContent", r#"{"model":"MODEL","request":{}}"#, Words::Google),
    ("/model/MODEL/converse", "{}", Words::Bedrock),
    ("/model/MODEL/invoke-with-response-stream", "{}", Words::Bedrock),
    ("/api/chat", r#"{"model":"MODEL","messages":[]}"#, Words::Ollama),
];

/// What is done to the endpoint's request.
enum Amiss {
    Model(&'static str),
    Body(&'static str),
    Method(&'static str),
    /// A path below it that is none.
    Below,
}

/// What is amiss, the status, and side and kind of the fault.
const FAULTS: &[(Amiss, u16, &str, &str)] = &[
    (Amiss::Model("nobodys"), 404, "rule", "no_model"),
    (Amiss::Model("dead"), 502, "provider", "upstream_connect"),
    (Amiss::Model("wrong-file"), 500, "rule", "credential_wrong"),
    (Amiss::Model("no-token"), 503, "provider", "credential_unavailable"),
    (Amiss::Body("{"), 400, "client", "unreadable_body"),
    (Amiss::Body("[]"), 400, "client", "unreadable_body"),
    (Amiss::Method("DELETE"), 405, "client", "method_not_allowed"),
    (Amiss::Below, 404, "client", "unknown_path"),
];

/// A provider that is away, one whose key file is none, one whose token endpoint is away; each with a model of its name.
fn providers(origin: &Origin, folder: &std::path::Path) -> Vec<Provider> {
    let away = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let named = |name: &str| Provider {
        models: vec![Glob::new(name).unwrap()],
        project: Some("p".into()),
        region: Some("l".into()),
        ..provider(name, origin, Flag::ALL)
    };
    let from_file = |name: &str, path: String| Provider {
        credential: None,
        made_from: Some(Source::GoogleKeyFile(path)),
        ..named(name)
    };
    vec![
        Provider { origin: Origin { port: away.port(), ..origin.clone() }, ..named("dead") },
        from_file("wrong-file", folder.join("none.json").display().to_string()),
        from_file("no-token", key_file(folder, &format!("http://{away}/token"))),
    ]
}

/// The error as the API's clients look for it: its kind and its message.
fn said(words: Words, status: u16, body: &[u8]) -> Option<(String, String)> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let text = |place: &str| body.pointer(place)?.as_str().map(str::to_owned);
    match words {
        Words::Anthropic => {
            (body["type"] == "error").then_some(())?;
            Some((text("/error/type")?, text("/error/message")?))
        }
        Words::OpenAi => {
            text("/error/code")?;
            Some((text("/error/type")?, text("/error/message")?))
        }
        Words::Google => {
            (body["error"]["code"] == json!(status)).then_some(())?;
            Some((text("/error/status")?, text("/error/message")?))
        }
        Words::Bedrock => Some((text("/__type")?, text("/message")?)),
        Words::Ollama => Some((String::new(), text("/error")?)),
    }
}

#[test]
fn each_api_is_refused_in_its_own_words_and_the_record_says_whose_fault_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let gate = Gate::before(|origin| providers(&origin, folder.path()));
    let mut client = gate.client();
    let mut told = Vec::new();
    for (path, body, words) in ENDPOINTS {
        for row in FAULTS {
            let (method, model, body, below) = match row.0 {
                Amiss::Model(model) => ("POST", model, *body, ""),
                Amiss::Body(body) => ("POST", "dead", body, ""),
                Amiss::Method(method) => (method, "dead", *body, ""),
                // There the pages of the dashboard begin, and names of models go on to the end.
                Amiss::Below if ["/api/", "/v1beta/models/"].iter().any(|near| path.starts_with(near)) => {
                    continue;
                }
                Amiss::Below => ("POST", "dead", *body, "/a/b"),
            };
            let target = format!("{path}{below}").replace("MODEL", model);
            let ask = Request::new(method, &target, body.replace("MODEL", model));
            let reply = client.send(&ask.header("content-type", "application/json")).unwrap();
            told.push((format!("{method} {target}"), row, *words, reply));
        }
    }
    let mut differences = Vec::new();
    for (what, (_, status, side, kind), words, reply) in told {
        let record = record_of(&gate, reply.header("x-weir-id").expect(&what));
        let fault = record.fault.map(|fault| (fault.side, fault.kind));
        let message = said(words, reply.status, &reply.body).map(|(_, message)| message);
        let right = reply.status == *status
            && fault == Some(((*side).into(), (*kind).into()))
            && message.is_some_and(|message| !message.is_empty())
            && (!matches!(words, Words::Bedrock) || reply.header("x-amzn-errortype").is_some());
        if !right {
            differences.push(format!("{what}: {} {fault:?} {}", reply.status, reply.text()));
        }
    }
    assert!(gate.provider.truth().is_empty(), "nothing of this reached a provider");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
