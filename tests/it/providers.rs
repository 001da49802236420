//! The way to a provider: which endpoints its flags open, how a path is written there, whose key it sees.

use loadtest::{Canned, Request};
use weir::llm::dialect::paths::{Flag, endpoint};
use weir::llm::price::{CostBasis, Listing};
use weir::llm::provider::Vendor;
use weir::policy::glob::Glob;
use weir::policy::snapshot::{Credential, Origin, Provider};

use crate::credentials::record_of;
use crate::gate::{Gate, SECRET};

/// A provider with these flags, at the synthetic one.
pub(crate) fn provider(id: &str, origin: &Origin, flags: &[Flag]) -> Provider {
    Provider {
        id: id.into(),
        origin: origin.clone(),
        vendor: Vendor::of("", None, flags),
        flags: flags.to_vec(),
        credential: Some(Credential { field: "authorization".into(), value: format!("Bearer {SECRET}") }),
        models: vec![Glob::new("**").expect("a pattern")],
        ..Provider::default()
    }
}

/// An endpoint of each flag, and a body that it takes.
const ONE_OF_EACH: &[(Flag, &str, &str)] = &[
    (Flag::OpenaiChat, "/v1/chat/completions", r#"{"model":"m"}"#),
    (Flag::OpenaiResponses, "/v1/responses", r#"{"model":"m"}"#),
    (Flag::OpenaiOther, "/v1/embeddings", r#"{"model":"m"}"#),
    (Flag::AnthropicMessages, "/v1/messages", r#"{"model":"m"}"#),
    (Flag::GeminiGenerateContent, "/v1beta/models/m:generateContent", "{}"),
    (
        Flag::GoogleGenerateContent,
        "/v1/projects/p/locations/l/publishers/google/models/m:generateContent",
        "{}",
    ),
    (Flag::GoogleRawPredict, "/v1/projects/p/locations/l/publishers/anthropic/models/m:rawPredict", "{}"),
    (Flag::BedrockModelInvoke, "/model/m/invoke", "{}"),
    (Flag::BedrockConverse, "/model/m/converse", "{}"),
    (Flag::OllamaNative, "/api/chat", r#"{"model":"m"}"#),
    (Flag::CodeAssist, "/v1internal:generateContent", r#"{"model":"m"}"#),
];

#[test]
fn a_flag_opens_its_own_endpoints_and_no_others() {
    for (flag, ..) in ONE_OF_EACH {
        let gate = Gate::before(|origin| vec![provider("only", &origin, &[*flag])]);
        gate.provider.can("*", Canned::new(200).header("content-type", "application/json").body("{}"));
        let mut client = gate.client();
        for (of, path, body) in ONE_OF_EACH {
            let reply = client.send(&Request::new("POST", path, body)).unwrap();
            let expected = if of == flag { 200 } else { 404 };
            assert_eq!(reply.status, expected, "{path} with {}: {}", flag.name(), reply.text());
            let wrong = client.send(&Request::new("PUT", path, body)).unwrap();
            assert_eq!(wrong.status, if of == flag { 405 } else { 404 }, "PUT {path} with {}", flag.name());
        }
    }
}

#[test]
fn paths_and_queries_arrive_as_the_vendor_has_them() {
    let arn = "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fm";
    let gate = Gate::before(|origin| {
        let vertex = [Flag::GoogleGenerateContent, Flag::GeminiCliVertex];
        let alias = |ours: &str, its: &str| vec![(ours.to_owned(), its.to_owned())];
        vec![
            provider("aws", &origin, &[Flag::BedrockConverse, Flag::BedrockModelInvoke]),
            Provider {
                project: Some("p-1".into()),
                region: Some("us-central1".into()),
                aliases: alias("flash", "gemini-2.5-flash"),
                ..provider("vertex", &origin, &vertex)
            },
            Provider { prefix: "/base".into(), ..provider("chat", &origin, &[Flag::OpenaiChat]) },
        ]
    });
    gate.provider.can("*", Canned::new(200).header("content-type", "application/json").body("{}"));
    let mut client = gate.client();
    let auto = "/v1/projects/_aperture_auto_vertex_project_id_/locations/_aperture_auto_vertex_region_/publishers/google/models";
    for (nth, (path, expected)) in [
        (format!("/bedrock{arn}/converse"), format!("{arn}/converse")),
        (format!("{arn}/invoke"), format!("{arn}/invoke")),
        ("/chat/completions".into(), "/base/v1/chat/completions".into()),
        (
            format!("{auto}/g:streamGenerateContent?alt=sse&k%65y=theirs"),
            "/v1/projects/p-1/locations/us-central1/publishers/google/models/g:streamGenerateContent?alt=sse".into(),
        ),
        (
            "/v1beta1/publishers/google/models/flash:generateContent?KEY=theirs".into(),
            "/v1beta1/projects/p-1/locations/us-central1/publishers/google/models/gemini-2.5-flash:generateContent".into(),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        assert!(endpoint("POST", path.split('?').next().unwrap()).is_some());
        let reply = client.send(&Request::new("POST", &path, r#"{"model":"m"}"#)).unwrap();
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        let served = gate.served(nth + 1).pop().unwrap();
        assert_eq!(served.target, expected, "{path}");
    }
}

#[test]
fn what_the_configuration_lacks_is_said_to_the_client_in_its_own_format() {
    let gate = Gate::before(|origin| vec![provider("vertex", &origin, &[Flag::GoogleGenerateContent])]);
    let path = "/v1/projects/_aperture_auto_vertex_project_id_/locations/l/publishers/google/models/g:generateContent";
    let reply = gate.client().send(&Request::new("POST", path, "{}")).unwrap();
    assert_eq!(reply.status, 500);
    assert!(
        reply.text().contains(r#""status":"INTERNAL""#) && reply.text().contains("project"),
        "{}",
        reply.text()
    );
}

#[test]
fn a_clients_own_key_is_shown_to_one_host_alone() {
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gate = Gate::before(|origin| {
        let passing = |id: &str, origin: &Origin| Provider {
            passthrough: true,
            ..provider(id, origin, &[Flag::OpenaiChat])
        };
        vec![passing("gone", &Origin { port: dead.port(), ..origin.clone() }), passing("other", &origin)]
    });
    let ask = Request::chat(r#"{"model":"m"}"#);
    let own = gate.client().send(&ask.clone().header("authorization", "Bearer mine")).unwrap();
    assert_eq!(own.status, 502, "{}", own.text());
    assert!(gate.provider.truth().is_empty());
    assert_eq!(gate.client().send(&ask).unwrap().status, 200);
    assert_eq!(gate.served(1)[0].header("authorization"), Some(&*format!("Bearer {SECRET}")));
}

#[test]
fn models_are_listed_from_what_is_configured_and_in_the_clients_shape() {
    let exact = |models: &[&str]| models.iter().map(|model| Glob::new(model).expect(model)).collect();
    let gate = Gate::before(|origin| {
        vec![
            Provider {
                models: exact(&["claude-x", "claude-sonnet-4-5"]),
                listing: Listing { basis: Some(CostBasis::Anthropic), ..Listing::default() },
                ..provider("anthropic", &origin, &[Flag::AnthropicMessages])
            },
            Provider {
                models: exact(&["gpt-x", "meta/llama"]),
                ..provider("openai", &origin, &[Flag::OpenaiChat])
            },
            Provider {
                models: exact(&["gemini-x"]),
                ..provider("gemini", &origin, &[Flag::GeminiGenerateContent])
            },
        ]
    });
    let mut client = gate.client();
    let mut get = |path: &str, field: Option<(&str, &str)>| {
        let request = Request::get(path);
        let request = field.map_or(request.clone(), |(name, value)| request.header(name, value));
        let reply = client.send(&request).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        (reply.status, value)
    };
    let claude = get("/v1/models/claude-sonnet-4-5", None).1;
    assert_eq!(claude["pricing"]["per_million_tokens"]["output"], 15.0, "{claude}");
    assert!(claude["context_window"].as_u64().is_some_and(|tokens| tokens >= 200_000), "{claude}");
    let names = |list: &serde_json::Value, key: &str| {
        let list = list.as_array().unwrap().iter();
        list.map(|model| model[key].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    let (status, list) = get("/v1/models", None);
    assert_eq!(
        (status, names(&list["data"], "id").as_str()),
        (200, "claude-x claude-sonnet-4-5 gpt-x meta/llama gemini-x")
    );
    assert_eq!(list["data"][2]["metadata"]["provider"]["id"], "openai");
    let (_, list) = get("/v1/models?limit=1000", Some(("anthropic-version", "2023-06-01")));
    assert_eq!(names(&list["data"], "id"), "claude-x claude-sonnet-4-5");
    assert_eq!((&list["has_more"], &list["last_id"]), (&false.into(), &"claude-sonnet-4-5".into()));
    assert_eq!(names(&get("/v1beta/models", None).1["models"], "name"), "models/gemini-x");
    assert_eq!(get("/v1/models/meta%2Fllama", None).1["id"], "meta/llama");
    assert_eq!(get("/v1/models/meta/llama", None).1["id"], "meta/llama");
    assert_eq!(get("/v1beta/models/gemini-x", None).1["name"], "models/gemini-x");
    let (status, refused) = get("/v1/models/nobody", None);
    assert_eq!((status, refused["error"]["code"].as_str()), (404, Some("model_not_found")));
    assert!(gate.provider.truth().is_empty(), "no provider was asked");
}

/// A form with a file in it.
fn form(fields: &[(&str, &str)]) -> String {
    let part = |(name, value): &(&str, &str)| {
        format!("--bOuNd\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let fields: String = fields.iter().map(part).collect();
    let file = "--bOuNd\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF\r\n";
    format!("{file}{fields}--bOuNd--\r\n")
}

#[test]
fn a_form_names_its_model_and_an_alias_is_put_in_its_place() {
    let gate = Gate::before(|origin| {
        let aliases = vec![("ears".to_owned(), "whisper-1".to_owned())];
        let models = vec![Glob::new("whisper-*").expect("a pattern")];
        vec![Provider { aliases, models, ..provider("openai", &origin, &[Flag::OpenaiOther]) }]
    });
    gate.provider
        .can("*", Canned::new(200).header("content-type", "application/json").body(r#"{"text":"hi"}"#));
    let mut client = gate.client();
    let mut send = |body: &str| {
        let request = Request::new("POST", "/v1/audio/transcriptions", body)
            .header("content-type", "multipart/form-data; boundary=bOuNd");
        client.send(&request).unwrap().status
    };
    assert_eq!(send(&form(&[("model", "whisper-1")])), 200);
    assert_eq!(send(&form(&[("model", "ears")])), 200);
    assert_eq!(send(&form(&[("model", "gpt-4o-transcribe")])), 404);
    assert_eq!(send(&form(&[("model", "whisper-1"), ("model", "gpt-4o-transcribe")])), 400);
    let served = gate.served(2);
    assert_eq!(served.len(), 2);
    for served in served {
        assert_eq!(String::from_utf8_lossy(&served.request_body), form(&[("model", "whisper-1")]));
    }
}

#[test]
fn a_coded_request_is_read_and_forwarded_as_it_came_unless_its_model_must_be_renamed() {
    let gate = Gate::before(|origin| {
        let aliases = vec![("short".to_owned(), "long-name".to_owned())];
        let models = vec![Glob::new("long-*").expect("a pattern")];
        vec![Provider { aliases, models, ..provider("openai", &origin, &[Flag::OpenaiChat]) }]
    });
    gate.provider.can("*", Canned::new(200).body("{}"));
    let zstd = |text: &str| zstd::encode_all(text.as_bytes(), 3).expect("encodes");
    let mut client = gate.client();
    let mut send = |model: &str| {
        let body = zstd(&format!(r#"{{"model":"{model}","stream":false}}"#));
        let request = Request::new("POST", "/v1/chat/completions", &body).header("content-encoding", "zstd");
        (client.send(&request).unwrap().status, body)
    };
    let (status, coded) = send("long-name");
    assert_eq!(status, 200);
    assert_eq!(send("short").0, 200);
    assert_eq!(send("other").0, 404);
    let served = gate.served(2);
    assert_eq!(served[0].request_body, coded);
    assert_eq!(served[0].header("content-encoding"), Some("zstd"));
    assert_eq!(String::from_utf8_lossy(&served[1].request_body), r#"{"model":"long-name","stream":false}"#);
    assert_eq!(served[1].header("content-encoding"), None);
}

#[test]
fn a_model_in_the_query_counts_like_one_in_the_body() {
    let gate = Gate::before(|origin| {
        let models = vec![Glob::new("cheap").expect("a pattern")];
        vec![Provider { models, ..provider("openai", &origin, &[Flag::OpenaiChat]) }]
    });
    for (query, status) in
        [("", 200), ("?model=cheap", 200), ("?model=dear", 404), ("?a=1&m%6Fdel=dear", 404)]
    {
        let request = Request::new("POST", &format!("/v1/chat/completions{query}"), r#"{"model":"cheap"}"#);
        assert_eq!(gate.client().send(&request).unwrap().status, status, "{query}");
    }
}

/// Path at Vertex, request body, answer, and what the record then says: dialect, model, input and output tokens.
type OfPublisher = (&'static str, &'static str, &'static str, (&'static str, &'static str, u64, u64));

const PUBLISHERS: &[OfPublisher] = &[
    (
        "publishers/anthropic/models/claude-x@1:rawPredict",
        r#"{"anthropic_version":"vertex-2023-10-16","max_tokens":9,"messages":[]}"#,
        r#"{"type":"message","model":"claude-x","content":[],"usage":{"input_tokens":7,"output_tokens":2}}"#,
        ("messages", "claude-x", 7, 2),
    ),
    (
        "publishers/mistralai/models/mistral-small-2503:rawPredict",
        r#"{"model":"mistral-small-2503","messages":[]}"#,
        CHAT_ANSWER,
        ("chat", "its-name", 7, 2),
    ),
    (
        "publishers/mistralai/models/mistral-small-2503:streamRawPredict",
        r#"{"model":"mistral-small-2503","stream":true,"messages":[]}"#,
        "data: {\"object\":\"chat.completion.chunk\",\"model\":\"its-name\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n",
        ("chat", "its-name", 7, 2),
    ),
    (
        "publishers/ai21/models/jamba-1.5:rawPredict",
        r#"{"messages":[]}"#,
        CHAT_ANSWER,
        ("chat", "its-name", 7, 2),
    ),
    (
        "endpoints/openapi/chat/completions",
        r#"{"model":"meta/llama-4-maas","messages":[]}"#,
        CHAT_ANSWER,
        ("chat", "its-name", 7, 2),
    ),
    (
        "publishers/google/models/text-embedding-005:predict",
        r#"{"instances":[{"content":"a"}]}"#,
        r#"{"predictions":[{"embeddings":{"statistics":{"token_count":7},"values":[0.1]}}]}"#,
        ("gemini", "", 7, 0),
    ),
];

const CHAT_ANSWER: &str = r#"{"id":"c","object":"chat.completion","model":"its-name","choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}"#;

#[test]
fn each_publisher_at_vertex_is_read_in_its_own_language() {
    let flags = [Flag::GoogleGenerateContent, Flag::GoogleRawPredict, Flag::OpenaiChat];
    let gate = Gate::before(|origin| {
        let place = (Some("p-1".into()), Some("europe-west4".into()));
        vec![Provider { project: place.0, region: place.1, ..provider("vertex", &origin, &flags) }]
    });
    let mut client = gate.client();
    let auto = "/v1/projects/_aperture_auto_vertex_project_id_/locations/_aperture_auto_vertex_region_";
    for (nth, (path, body, answer, said)) in PUBLISHERS.iter().enumerate() {
        let sent = format!("/v1/projects/p-1/locations/europe-west4/{path}");
        let kind = if answer.starts_with('{') { "application/json" } else { "text/event-stream" };
        gate.provider.can(&sent, Canned::new(200).header("content-type", kind).body(*answer));
        let reply = client.send(&Request::new("POST", &format!("{auto}/{path}"), *body)).unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (200, *answer), "{path}");
        let served = gate.served(nth + 1).pop().unwrap();
        assert_eq!((served.target, &*served.request_body), (sent, body.as_bytes()), "{path}");
        let record = record_of(&gate, reply.header("x-weir-id").unwrap());
        let (usage, model) = (record.reading.usage, record.reading.model.unwrap_or_default());
        let found =
            (usage.input_tokens, usage.output_tokens, model.as_str(), record.dialect.map(|d| d.name()));
        let (dialect, model, input, output) = *said;
        assert_eq!(found, (Some(input), Some(output), model, Some(dialect)), "{path}");
    }
}
