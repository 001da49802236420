//! Recorded traffic against its expected readings, field by field: whole, in every split, under every content coding.
//!
//! The recordings live outside the repository (`WEIR_FIXTURES`, by default beside the checkout); without them this
//! says so and passes. Weir's own cases (`cases.rs`) run everywhere.

use std::path::{Path, PathBuf};

use serde_json::Value;
use weir::llm::ask::AskReader;
use weir::llm::dialect::Dialect;
use weir::llm::dialect::paths::{self, Endpoint};
use weir::llm::meter::Reading;

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

    /// Method and path, with the vendors' prefixes taken off as a provider's base URL would.
    fn path(&self) -> String {
        let url = self.text("url");
        let path = url
            .split_once("://")
            .and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]))
            .unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default();
        match self.protocol() {
            "anthropic" if path.is_empty() => "/v1/messages".into(),
            "openai-chat" | "compat" => "/v1/chat/completions".into(),
            _ => path.into(),
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
const PROTOCOLS: &[&str] = &["anthropic", "openai-chat", "compat"];

#[test]
fn every_recorded_response_reads_as_expected() {
    let Some(folder) = folder() else { return };
    let mut entries = entries(&folder);
    entries.retain(|entry| PROTOCOLS.contains(&entry.protocol()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let found: Vec<Vec<String>> = std::thread::scope(|scope| {
        let shares = entries.chunks(entries.len().div_ceil(threads));
        let running: Vec<_> =
            shares.map(|share| scope.spawn(move || share.iter().map(check).collect())).collect();
        running
            .into_iter()
            .flat_map(|thread| -> Vec<Vec<String>> { thread.join().expect("a check") })
            .collect()
    });
    let mut faults = Vec::new();
    for (entry, found) in entries.iter().zip(found) {
        println!("{} {}", if found.is_empty() { "agrees " } else { "DIFFERS" }, entry.label());
        faults.extend(found.into_iter().map(|fault| format!("{}: {fault}", entry.label())));
    }
    println!("{} recordings, {} differences", entries.len(), faults.len());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Every way of serving one entry, and what differs.
fn check(entry: &Entry) -> Vec<String> {
    let Some(route) = paths::endpoint("POST", &entry.path()) else {
        return vec![format!("no route for {}", entry.path())];
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
    let mut faults = differences(entry.expected(), &whole);
    faults.extend(response.differences_by_split(&whole));
    faults.extend(response.differences_by_coding(&whole));
    if let Some(coded) = entry.file(".response.", true) {
        let reading = response.read_coded(&coded);
        if reading != whole {
            faults.push("the recorded coded bytes read otherwise".into());
        }
    }
    faults.extend(check_request(entry, route.dialect, route.endpoint));
    faults
}

/// Compare what both have; a key that the manifest lacks says nothing.
fn differences(expected: &Value, reading: &Reading) -> Vec<String> {
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
            "tool_args" => compare(key, &reading::tools_normal(wanted, reading.stream), &tools(reading)),
            "extra_usage" => {
                for (name, wanted) in wanted.as_object().into_iter().flatten() {
                    compare(name, wanted, &got["wire_usage"][name]);
                }
            }
            // Remarks of the manifest's maker, and counts that no record needs.
            "n_usage_chunks" | "kind" | "note" => {}
            _ if key.starts_with("note_") => {}
            _ => compare(key, wanted, got.get(key).unwrap_or(&Value::Null)),
        }
    }
    if let Some(reason) = &reading.not_metered {
        faults.push(format!("not metered: {reason}"));
    }
    faults
}

fn tools(reading: &Reading) -> Value {
    reading::tools_normal(&serde_json::to_value(&reading.tool_uses).expect("tools"), reading.stream)
}

/// The request is read too: as far as serde_json can tell, it says the same.
fn check_request(entry: &Entry, dialect: Dialect, endpoint: Endpoint) -> Vec<String> {
    let Some(body) = entry.file(".request.json", false) else { return Vec::new() };
    let Ok(wanted) = serde_json::from_slice::<Value>(&body) else { return Vec::new() };
    let ask = match AskReader::new(dialect).finish(&body) {
        Ok(ask) => ask,
        Err(fault) => return vec![format!("request ({endpoint:?}): {fault}")],
    };
    let mut faults = Vec::new();
    if ask.model.as_deref() != wanted["model"].as_str() {
        faults.push(format!("request model: {:?}", ask.model));
    }
    if ask.stream != wanted["stream"].as_bool().unwrap_or(false) {
        faults.push(format!("request stream: {}", ask.stream));
    }
    let messages = wanted["messages"].as_array().map_or(0, Vec::len);
    if usize::try_from(ask.messages) != Ok(messages) {
        faults.push(format!("request messages: {} of {messages}", ask.messages));
    }
    let tools =
        wanted["tools"].as_array().map_or(0, Vec::len) + wanted["functions"].as_array().map_or(0, Vec::len);
    if ask.tools.len() != tools {
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
        differences(self.expected(), reading)
    }
}
