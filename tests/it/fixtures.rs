//! Recorded traffic against its expected readings, field by field: whole, in every split, under every content coding.
//!
//! The recordings live outside the repository (`WEIR_FIXTURES`, by default beside the checkout); without them this
//! says so and passes. Weir's own cases (`cases.rs`) run everywhere.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use serde_json::Value;
use weir::llm::ask::AskReader;
use weir::llm::dialect::Dialect;
use weir::llm::dialect::paths::{self, Route};
use weir::llm::mcp::McpReader;
use weir::llm::reading::Reading;
use weir::llm::socket::{Said, Socket};
use weir::wire::eventstream::Frames;

use crate::reading::{self, Response};

/// The folder of the recordings, if it is there.
fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("WEIR_FIXTURES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures"), PathBuf::from);
    if folder.join("manifest.jsonl").is_file() {
        return Some(folder);
    }
    eprintln!("\n*** fixtures SKIPPED: no manifest.jsonl in {} (set WEIR_FIXTURES) ***\n", folder.display());
    None
}

/// One line of the manifest.
pub(crate) struct Entry {
    row: Value,
    folder: PathBuf,
}

impl Entry {
    fn text(&self, key: &str) -> &str {
        self.row[key].as_str().unwrap_or_default()
    }

    fn label(&self) -> String {
        format!("{}/{}", self.text("protocol"), self.text("name"))
    }

    /// Language of the body: a derived entry names its source's.
    fn protocol(&self) -> &str {
        self.row.get("protocol_of_body").and_then(Value::as_str).unwrap_or_else(|| self.text("protocol"))
    }

    fn expected(&self) -> &Value {
        &self.row["expected"]
    }

    fn file(&self, part: &str, coded: bool) -> Option<Vec<u8>> {
        let files = self.row["files"].as_array()?;
        let name = files.iter().filter_map(Value::as_str).find(|name| {
            let is_coded = name.ends_with(".gz") || name.ends_with(".br");
            name.contains(part) && is_coded == coded
        })?;
        Some(std::fs::read(self.folder.join(name)).expect(name))
    }

    /// Path, with the vendors' prefixes taken off as a provider's base URL would; the dialect's own where there is none.
    fn path(&self) -> String {
        let url = self.text("url");
        let path = url
            .split_once("://")
            .and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]))
            .unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default();
        let path = path.replace("<GOOGLE_CLOUD_PROJECT>", "p").replace("<GOOGLE_CLOUD_LOCATION>", "l");
        match (self.protocol(), path.as_str()) {
            ("anthropic", "") => "/v1/messages".into(),
            ("openai-chat" | "compat", _) => "/v1/chat/completions".into(),
            ("openai-responses", "" | "/responses") => "/v1/responses".into(),
            ("vertex", "") => "/v1/publishers/google/models/m:streamGenerateContent".into(),
            _ => path,
        }
    }

    fn fields(&self) -> Vec<(String, String)> {
        let fields = self.row["response_headers"].as_object();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        fields.into_iter().flatten().map(|(name, value)| (name.clone(), text(value))).collect()
    }
}

fn entries(folder: &Path) -> Vec<Entry> {
    let manifest = std::fs::read_to_string(folder.join("manifest.jsonl")).expect("manifest");
    let rows = manifest.lines().map(|line| serde_json::from_str(line).expect("a line of the manifest"));
    rows.map(|row| Entry { row, folder: folder.to_path_buf() }).collect()
}

/// Protocols whose entries are model API responses over HTTP.
const PROTOCOLS: &[&str] = &[
    "anthropic",
    "openai-chat",
    "compat",
    "openai-responses",
    "openai-other",
    "gemini",
    "vertex",
    "bedrock",
    "ollama",
];

#[test]
fn every_recorded_response_reads_as_expected() {
    let Some(folder) = folder() else { return };
    let mut entries = entries(&folder);
    entries.retain(|entry| PROTOCOLS.contains(&entry.protocol()));
    let next = AtomicUsize::new(0);
    let (done, results) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            let (done, entries, next) = (done.clone(), &entries, &next);
            scope.spawn(move || {
                while let Some(entry) = entries.get(next.fetch_add(1, Relaxed)) {
                    done.send((entry.label(), check(entry))).expect("the receiver outlives us");
                }
            });
        }
    });
    drop(done);
    let mut faults = Vec::new();
    for (label, found) in results {
        println!("{} {label}", if found.is_empty() { "agrees " } else { "DIFFERS" });
        faults.extend(found.into_iter().map(|fault| format!("{label}: {fault}")));
    }
    println!("{} recordings, {} differences", entries.len(), faults.len());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Every way of serving one entry, and what differs.
fn check(entry: &Entry) -> Vec<String> {
    // Creating a cache is no inference: no path leads there, and its reply must read as saying nothing.
    let path = entry.path();
    let path = if path.ends_with("/cachedContents") { "/v1beta/models/m:generateContent" } else { &path };
    let method = if entry.text("method") == "GET" { "GET" } else { "POST" };
    let Some(route) = paths::endpoint(method, path) else {
        return vec![format!("no route for {path}")];
    };
    let body = entry.file(".response.", false).unwrap_or_default();
    let response = Response {
        dialect: route.dialect,
        endpoint: route.endpoint,
        status: entry.row["status"].as_u64().and_then(|s| s.try_into().ok()).unwrap_or(200),
        fields: entry.fields(),
        body,
    };
    let whole = response.read_whole();
    let mut faults = differences(entry, &route, &whole);
    faults.extend(response.differences_by_split(&whole));
    faults.extend(response.differences_by_coding(&whole));
    if let Some(coded) = entry.file(".response.", true) {
        let reading = response.read_coded(&coded);
        if reading != whole {
            faults.push("the recorded coded bytes read otherwise".into());
        }
    }
    faults.extend(check_request(entry, &route));
    faults
}

/// Compare what both have; a key that the manifest lacks says nothing.
fn differences(entry: &Entry, route: &Route, reading: &Reading) -> Vec<String> {
    let expected = entry.expected();
    let got = serde_json::to_value(reading).expect("a reading");
    let mut faults = Vec::new();
    let mut compare = |key: &str, wanted: &Value, got: &Value| {
        if wanted != got {
            faults.push(format!("{key}: expected {wanted}, got {got}"));
        }
    };
    for (key, wanted) in expected.as_object().into_iter().flatten() {
        match key.as_str() {
            "id" => compare(key, wanted, &got["response_id"]),
            "server_tool_use" => compare(key, wanted, &got["wire_usage"]["server_tool_use"]),
            "tool_uses" => {
                let names = reading.tool_uses.iter().map(|tool| Value::from(tool.name.as_str()));
                compare(key, wanted, &names.collect());
            }
            "tool_args" => {
                let (wanted, got) = reading::comparable_tools(wanted, &got["tool_uses"], reading.stream);
                compare(key, &wanted, &got);
            }
            "extra_usage" => {
                for (name, wanted) in wanted.as_object().into_iter().flatten() {
                    compare(name, wanted, &got["wire_usage"][name]);
                }
            }
            // Bedrock's model is the path's; what the body says stands beside it.
            "model" if expected.get("model_from").is_some() => {
                compare(key, wanted, &route.model_in_path.clone().into());
            }
            "response_model" => compare(key, wanted, &got["model"]),
            "model" if entry.protocol() == "bedrock" => {}
            // Enums that are numbers are kept as their text.
            "stop_reason" if wanted.is_number() => compare(key, &wanted.to_string().into(), &got[key]),
            "status" => {
                let incomplete = wanted == "incomplete" || wanted == &got["stop_reason"];
                compare(key, &true.into(), &incomplete.into());
            }
            // Remarks of the manifest's maker, and counts that no record needs.
            "n_usage_chunks"
            | "kind"
            | "note"
            | "final_event"
            | "api"
            | "model_from"
            | "tokens_from"
            | "form"
            | "invocation_metrics"
            | "web_search_queries"
            | "cached_total_tokens"
            | "request_model" => {}
            _ if key.starts_with("note_") => {}
            _ => compare(key, wanted, got.get(key).unwrap_or(&Value::Null)),
        }
    }
    if let Some(reason) = &reading.not_metered {
        faults.push(format!("not metered: {reason}"));
    }
    faults
}

/// The request is read too: as far as serde_json can tell, it says the same.
fn check_request(entry: &Entry, route: &Route) -> Vec<String> {
    let Some(body) = entry.file(".request.json", false) else { return Vec::new() };
    let Ok(wanted) = serde_json::from_slice::<Value>(&body) else { return Vec::new() };
    if entry.text("method") == "GET" || entry.text("url").ends_with("/cachedContents") {
        return Vec::new();
    }
    let ask = match AskReader::for_route(route).finish(&body) {
        Ok(ask) => ask,
        Err(fault) => return vec![format!("request ({:?}): {fault}", route.endpoint)],
    };
    let mut faults = Vec::new();
    let model = route.model_in_path.as_deref().or(wanted["model"].as_str());
    if ask.model.as_deref() != model {
        faults.push(format!("request model: {:?}", ask.model));
    }
    let by_default = route.dialect == Dialect::Ollama || route.stream;
    if ask.stream != wanted["stream"].as_bool().unwrap_or(by_default) {
        faults.push(format!("request stream: {}", ask.stream));
    }
    let messages = ["messages", "input", "contents", "prompt"].iter().find_map(|key| match &wanted[key] {
        Value::Array(messages) => Some(messages.len()),
        Value::String(_) => Some(1),
        _ => None,
    });
    let counts = route.dialect != Dialect::Embeddings && route.dialect != Dialect::Moderations;
    if counts
        && usize::try_from(ask.messages) != Ok(messages.unwrap_or(0))
        && route.dialect != Dialect::Invoke
    {
        faults.push(format!("request messages: {} of {messages:?}", ask.messages));
    }
    let tools =
        wanted["tools"].as_array().map_or(0, Vec::len) + wanted["functions"].as_array().map_or(0, Vec::len);
    if ask.tools.len() < tools {
        faults.push(format!("request tools: {:?}", ask.tools));
    }
    faults
}

#[test]
fn the_grammar_of_event_streams() {
    let Some(folder) = folder() else { return };
    let vectors = std::fs::read_to_string(folder.join("sse-grammar/vectors.jsonl")).expect("vectors");
    for line in vectors.lines() {
        let vector: Value = serde_json::from_str(line).expect("a vector");
        let input = base64::Engine::decode(
            &base64::engine::general_purpose::STANDARD,
            vector["input_base64"].as_str().expect("input"),
        );
        let input = input.expect("base64");
        let whole = reading::events(&[&input]);
        assert_eq!(Value::Array(whole.clone()), vector["events"], "{}", vector["name"]);
        for cut in 0..input.len() {
            assert_eq!(
                reading::events(&[&input[..cut], &input[cut..]]),
                whole,
                "{} at {cut}",
                vector["name"]
            );
        }
    }
}

#[test]
fn binary_frames_valid_and_invalid() {
    let Some(folder) = folder() else { return };
    for entry in entries(&folder).iter().filter(|entry| entry.text("protocol") == "aws-eventstream") {
        let body = entry.file(".response.", false).expect("a body");
        let mut frames = Frames::default();
        frames.feed(&body);
        let mut found = Vec::new();
        let fault = loop {
            match frames.next_frame() {
                Ok(Some(frame)) => found.push(String::from_utf8_lossy(frame.payload).into_owned()),
                Ok(None) => break None,
                Err(fault) => break Some(fault),
            }
        };
        let valid = entry.expected()["valid"] == true;
        assert_eq!(fault.is_none() && !frames.is_pending(), valid, "{}: {fault:?}", entry.label());
        if valid {
            let wanted = entry.expected()["frames"].as_array().expect("frames");
            let wanted: Vec<_> =
                wanted.iter().map(|frame| frame["payload"].as_str().unwrap_or_default()).collect();
            assert_eq!(found, wanted, "{}", entry.label());
        }
        println!("agrees  {}", entry.label());
    }
}

#[test]
fn messages_of_sockets() {
    let Some(folder) = folder() else { return };
    for entry in entries(&folder).iter().filter(|entry| entry.text("protocol") == "realtime-ws") {
        let file = entry.file(".frames.jsonl", false).expect("frames");
        let live = entry.text("name").starts_with("google");
        let mut socket = Socket::new(if live { Dialect::Live } else { Dialect::Realtime }, None);
        let (mut asks, mut readings) = (0, Vec::new());
        for line in file.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let frame: Value = serde_json::from_slice(line).expect("a frame");
            let text = frame["data"].to_string();
            if frame["direction"] == "received" {
                readings.extend(socket.from_provider(text.as_bytes()).ended.map(|reading| *reading));
            } else if let Said::Asks(asked) = socket.from_client(text.as_bytes()).expect("a readable message")
            {
                socket.begin(&asked).expect("few at once");
                asks += 1;
            }
        }
        let expected = entry.expected();
        let usages: Vec<_> =
            readings.iter().filter_map(|reading| Some(reading.wire_usage.as_ref()?.value())).collect();
        assert_eq!(Value::Array(usages), expected["usages"], "{}", entry.label());
        let sum = |count: fn(&Reading) -> Option<u64>| readings.iter().filter_map(count).sum::<u64>();
        assert_eq!(sum(|reading| reading.usage.input_tokens), expected["input_tokens"], "{}", entry.label());
        assert_eq!(
            sum(|reading| reading.usage.output_tokens),
            expected["output_tokens"],
            "{}",
            entry.label()
        );
        let tools = readings.iter().flat_map(|reading| &reading.tool_uses).map(|tool| tool.name.as_str());
        assert_eq!(Value::from(tools.collect::<Vec<_>>()), expected["tool_uses"], "{}", entry.label());
        assert!(asks > 0, "{}", entry.label());
        println!("agrees  {}", entry.label());
    }
}

#[test]
fn mcp_exchanges() {
    let Some(folder) = folder() else { return };
    for entry in entries(&folder).iter().filter(|entry| entry.text("protocol") == "mcp") {
        let request = entry.file(".request.json", false).expect("a request");
        let reply = entry.file(".response.", false).unwrap_or_default();
        let read = |step: usize| {
            let mut reader = McpReader::new(&request, entry.expected()["stream"] == true);
            reply.chunks(step).for_each(|part| reader.feed(part));
            reader.finish()
        };
        let (expected, reading) = (entry.expected(), read(usize::MAX));
        assert_eq!(reading, read(1), "{} byte by byte", entry.label());
        assert_eq!(reading.method, expected["jsonrpc_method"], "{}", entry.label());
        assert_eq!(
            reading.request_id.clone().unwrap_or_default(),
            expected["request_id"],
            "{}",
            entry.label()
        );
        let mut keys = reading.result_keys.clone();
        keys.sort();
        let absent = |key: &str| expected.get(key).is_none();
        assert!(absent("result_keys") || expected["result_keys"] == Value::from(keys), "{}", entry.label());
        assert!(absent("n_events") || expected["n_events"] == reading.events, "{}", entry.label());
        let listed = Value::from(reading.tools_listed.clone());
        assert!(absent("tools_listed") || expected["tools_listed"] == listed, "{}", entry.label());
        assert!(
            absent("is_error") || expected["is_error"] == Value::from(reading.is_error),
            "{}",
            entry.label()
        );
        let tool = reading.tool.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>();
        assert_eq!(expected["tool_uses"], Value::from(tool), "{}", entry.label());
        println!("agrees  {}", entry.label());
    }
}

/// Name, what is expected, and the messages in order with whether the client sent them.
pub(crate) type SocketRecording = (String, Value, Vec<(bool, String)>);

/// Recorded sockets.
pub(crate) fn socket_recordings() -> Vec<SocketRecording> {
    let entries = folder().map(|folder| entries(&folder)).unwrap_or_default();
    let of_sockets = entries.iter().filter(|entry| entry.text("protocol") == "realtime-ws");
    let read = |entry: &Entry| {
        let file = entry.file(".frames.jsonl", false).expect("frames");
        let lines = file.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        let frames = lines.map(|line| serde_json::from_slice::<Value>(line).expect("a frame"));
        let messages = frames.map(|frame| (frame["direction"] == "sent", frame["data"].to_string()));
        (entry.label(), entry.expected().clone(), messages.collect())
    };
    of_sockets.map(read).collect()
}

/// The recorded responses of model APIs, for the suite that serves them through a running gateway.
pub(crate) fn recordings() -> Vec<Entry> {
    let mut entries = folder().map(|folder| entries(&folder)).unwrap_or_default();
    entries.retain(|entry| PROTOCOLS.contains(&entry.protocol()));
    entries
}

impl Entry {
    pub(crate) fn name(&self) -> String {
        self.label()
    }

    pub(crate) fn method(&self) -> &str {
        if self.text("method") == "GET" { "GET" } else { "POST" }
    }

    /// Path and query as a client of the gateway sends them.
    pub(crate) fn target(&self) -> String {
        match self.text("url").split_once('?') {
            Some((_, query)) => format!("{}?{query}", self.path()),
            None => self.path(),
        }
    }

    pub(crate) fn route(&self) -> Option<paths::Route> {
        paths::endpoint(self.method(), &self.path())
    }

    /// Body of the request; a small one for the expected model where none was recorded.
    pub(crate) fn request(&self) -> Vec<u8> {
        if let Some(body) = self.file(".request.", false) {
            return body;
        }
        let model = self.expected()["model"].as_str().unwrap_or("some-model");
        let stream = self.expected()["stream"] == true;
        serde_json::to_vec(&serde_json::json!({
            "model": model, "stream": stream, "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}],
        }))
        .expect("JSON")
    }

    pub(crate) fn status(&self) -> u16 {
        self.row["status"].as_u64().and_then(|status| status.try_into().ok()).unwrap_or(200)
    }

    /// Recorded response fields.
    pub(crate) fn response_fields(&self) -> Vec<(String, String)> {
        self.fields()
    }

    /// Recorded response body: without content coding, or as it was coded on the wire.
    pub(crate) fn response(&self, coded: bool) -> Option<Vec<u8>> {
        self.file(".response.", coded)
    }

    /// Whether the manifest expects an error, in the status or in the body.
    pub(crate) fn is_error(&self) -> bool {
        self.status() >= 400 || !self.expected()["error"].is_null()
    }

    /// What a reading says otherwise than the manifest.
    pub(crate) fn differences(&self, reading: &Reading) -> Vec<String> {
        let route = self.route().expect("a path of the table");
        differences(self, &route, reading)
    }
}
