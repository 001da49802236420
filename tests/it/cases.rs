//! Weir's own cases, `tests/cases/<dialect>/<case>.txt`: request, upstream bytes, what the record must say.
//!
//! ```text
//! A line or more on what it shows.
//! === request POST /v1/messages
//! {"model": …}
//! === response 200 [crlf] [cut] [base64]      crlf: line ends are CRLF; cut: without the last line end
//! content-type: text/event-stream
//!
//! event: …
//! === expected
//! {"ask": {…}, "reading": {…}}                 without what is null
//! ```
//!
//! `UPDATE=1` rewrites the expectations; the difference is for review.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use weir::llm::ask::AskReader;
use weir::llm::dialect::paths::{self, Route};

use crate::reading::Response;

struct Case {
    path: PathBuf,
    /// The file up to the expectation.
    given: String,
    method: String,
    target: String,
    request: String,
    response: Response,
    expected: Value,
}

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("tests/cases")
        .flat_map(|dialect| std::fs::read_dir(dialect.expect("a folder").path()).expect("a folder of cases"))
        .map(|file| file.expect("a case").path())
        // Beside them lie cases of other suites, in other forms.
        .filter(|path| path.extension().is_some_and(|end| end == "txt"))
        .collect();
    files.sort();
    files.into_iter().map(|path| parse(path).expect("a case")).collect()
}

/// Every case's name and response.
pub(crate) fn responses() -> Vec<(String, Response)> {
    let name = |case: &Case| case.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    cases().into_iter().map(|case| (name(&case), case.response)).collect()
}

fn parse(path: PathBuf) -> Option<Case> {
    let text = std::fs::read_to_string(&path).ok()?;
    let (given, expected) = text.split_once("=== expected\n")?;
    let (_, rest) = given.split_once("=== request ")?;
    let (request, response) = rest.split_once("=== response ")?;
    let (line, request) = request.split_once('\n')?;
    let (method, target) = line.split_once(' ')?;
    let (status, response) = response.split_once('\n')?;
    let (fields, body) = response.split_once("\n\n")?;
    let fields = fields.lines().filter_map(|line| line.split_once(": "));
    let route = route(method, target)?;
    Some(Case {
        given: given.into(),
        method: method.into(),
        target: target.into(),
        request: request.trim().into(),
        expected: serde_json::from_str(expected).unwrap_or_default(),
        response: Response {
            dialect: route.dialect,
            endpoint: route.endpoint,
            status: status.split(' ').next()?.parse().ok()?,
            fields: fields.map(|(name, value)| (name.into(), value.into())).collect(),
            body: body_bytes(body, status),
        },
        path,
    })
}

fn route(method: &str, target: &str) -> Option<Route> {
    paths::endpoint(method, target.split('?').next()?)
}

fn body_bytes(body: &str, flags: &str) -> Vec<u8> {
    let body = if flags.contains("cut") { body.trim_end_matches('\n') } else { body };
    if flags.contains("base64") {
        let text: String = body.split_whitespace().collect();
        let engine = &base64::engine::general_purpose::STANDARD;
        return base64::Engine::decode(engine, text).expect("base64");
    }
    let body = if flags.contains("crlf") { body.replace('\n', "\r\n") } else { body.into() };
    body.into_bytes()
}

/// Without what is `null`: unknown stays apart from zero, and files stay short.
fn without_null(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            members.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_null(v))).collect()
        }
        other => other,
    }
}

fn found(case: &Case) -> Value {
    let route = route(&case.method, &case.target).expect("a path of the table");
    let reader = AskReader::for_route(&route);
    let mut ask = match reader.finish(case.request.as_bytes()) {
        Ok(ask) => serde_json::to_value(ask).expect("an ask"),
        Err(fault) => json!({ "refused": fault.to_string() }),
    };
    // Its value is nobody's business, only its stability (tested beside it).
    ask.as_object_mut().expect("an object").remove("fingerprint");
    let reading = serde_json::to_value(case.response.read_whole()).expect("a reading");
    without_null(json!({ "ask": without_null(ask), "reading": without_null(reading) }))
}

#[test]
fn every_case_reads_as_it_says() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut faults = Vec::new();
    for case in cases() {
        let name = case.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let found = found(&case);
        if update {
            let text = serde_json::to_string_pretty(&found).expect("JSON");
            std::fs::write(&case.path, format!("{}=== expected\n{text}\n", case.given))
                .expect("a case written");
        } else if found != case.expected {
            faults.push(format!("{name}: found {found:#}\nexpected {:#}", case.expected));
        }
        let whole = case.response.read_whole();
        let splits = case.response.differences_by_split(&whole);
        let codings = case.response.differences_by_coding(&whole);
        faults.extend(splits.into_iter().chain(codings).map(|fault| format!("{name}: {fault}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
