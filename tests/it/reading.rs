//! One response read in every way it may arrive: the harness of recordings and cases.

use std::io::Write;

use serde_json::{Value, json};
use weir::llm::dialect::Dialect;
use weir::llm::dialect::paths::Endpoint;
use weir::llm::meter::Meter;
use weir::llm::reading::Reading;
use weir::wire::head::Fields;
use weir::wire::sse::Splitter;

/// Bodies up to this length are split at every byte: the work grows with its square, and is slow unoptimised.
const SMALL: usize = if cfg!(debug_assertions) { 2 << 10 } else { 8 << 10 };

/// Seeds of cuts for a body of this length: unoptimised, a long one gets some and a very long one few.
const fn seeds(length: usize) -> u64 {
    match length {
        _ if !cfg!(debug_assertions) => 20,
        ..=4096 => 20,
        4097..=65_536 => 8,
        _ => 2,
    }
}

/// A response to be read.
pub(crate) struct Response {
    pub(crate) dialect: Dialect,
    pub(crate) endpoint: Endpoint,
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    /// Without content coding.
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn read_whole(&self) -> Reading {
        self.read(None, [&self.body[..]].into_iter())
    }

    /// The coded bytes as recorded, under the recorded fields.
    pub(crate) fn read_coded(&self, coded: &[u8]) -> Reading {
        let coding = self.fields.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-encoding"));
        let coding = coding.map_or("gzip", |(_, value)| value.as_str());
        self.read(Some(coding), coded.chunks(1000))
    }

    pub(crate) fn differences_by_split(&self, whole: &Reading) -> Vec<String> {
        let body = &self.body;
        let mut faults = Vec::new();
        let mut check = |what: String, reading: &Reading| {
            if reading != whole {
                faults.push(format!("reads otherwise {what}"));
            }
        };
        check("byte by byte".into(), &self.read(None, body.chunks(1)));
        if body.len() <= SMALL {
            for cut in 1..body.len() {
                let parts = [&body[..cut], &body[cut..]];
                check(format!("split at {cut}"), &self.read(None, parts.into_iter()));
            }
        }
        for seed in 1..=seeds(body.len()) {
            check(format!("with cuts of seed {seed}"), &self.read(None, cuts(body, seed).into_iter()));
        }
        faults
    }

    pub(crate) fn differences_by_coding(&self, whole: &Reading) -> Vec<String> {
        let mut faults = Vec::new();
        for (coding, coded) in codings(&self.body) {
            // Byte by byte is slow without optimisation, and adds nothing for a long body.
            let steps = if coded.len() <= SMALL { &[1, 700, usize::MAX][..] } else { &[700, usize::MAX] };
            for step in steps.iter().copied() {
                if self.read(Some(coding), coded.chunks(step)) != *whole {
                    faults.push(format!("reads otherwise as {coding} by {step}"));
                }
            }
        }
        faults
    }

    pub(crate) fn read<'a>(&self, coding: Option<&str>, parts: impl Iterator<Item = &'a [u8]>) -> Reading {
        let mut fields = Fields::new();
        for (name, value) in &self.fields {
            if !name.eq_ignore_ascii_case("content-encoding") {
                fields.push(name.as_bytes(), value.as_bytes());
            }
        }
        if let Some(coding) = coding {
            fields.push(b"Content-Encoding", coding.as_bytes());
        }
        let mut meter = Meter::new(self.dialect, self.endpoint, self.status, &fields);
        parts.for_each(|part| meter.feed(part));
        meter.finish()
    }
}

/// Pieces of seeded, mostly small lengths.
pub(crate) fn cuts(body: &[u8], seed: u64) -> Vec<&[u8]> {
    let mut state = seed;
    let mut rest = body;
    let mut parts = Vec::new();
    while !rest.is_empty() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let longest = [3, 40, 400, 4000][(state >> 60) as usize % 4];
        let length = ((state >> 33) as usize % longest + 1).min(rest.len());
        let (part, after) = rest.split_at(length);
        parts.push(part);
        rest = after;
    }
    parts
}

fn codings(body: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    use flate2::Compression;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(body).unwrap();
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), Compression::fast());
    zlib.write_all(body).unwrap();
    let gzip = gzip.finish().unwrap();
    let stacked = zstd::encode_all(&gzip[..], 1).unwrap();
    vec![
        ("gzip", gzip),
        ("deflate", zlib.finish().unwrap()),
        ("zstd", zstd::encode_all(body, 1).unwrap()),
        ("gzip, zstd", stacked),
    ]
}

/// Both sides' tool calls so that they can be compared: absent ids are empty; a body's arguments compare as JSON; what
/// the manifest does not tell (`null`) is not compared; parts stand for the whole.
pub(crate) fn comparable_tools(wanted: &Value, got: &Value, stream: bool) -> (Value, Value) {
    let list = |tools: &Value| tools.as_array().cloned().unwrap_or_default();
    let (wanted, mut got) = (list(wanted), list(got));
    for (wanted, got) in wanted.iter().zip(&mut got) {
        if wanted["arguments"].is_null() {
            got["arguments"] = Value::Null;
        }
    }
    let normal = |tool: &Value| {
        let text = |key: &str| tool[key].as_str().unwrap_or_default().to_owned();
        let as_json =
            !stream || !tool["kind"].as_str().is_some_and(|kind| KINDS_OF_FRAGMENTS.contains(&kind));
        let arguments = match (tool.get("partial_args"), &tool["arguments"]) {
            (Some(parts), _) => parts.clone(),
            (None, Value::String(text)) => match serde_json::from_str::<Value>(text) {
                Ok(value) if as_json => value,
                _ => text.clone().into(),
            },
            (None, other) => other.clone(),
        };
        let server_name = text("server_name");
        json!({"name": text("name"), "id": text("id"), "kind": text("kind"), "server_name": server_name, "arguments": arguments})
    };
    (wanted.iter().map(normal).collect(), got.iter().map(normal).collect())
}

/// Kinds whose arguments a stream sends as fragments of text, to be kept byte for byte.
const KINDS_OF_FRAGMENTS: &[&str] = &[
    "tool_use",
    "server_tool_use",
    "mcp_tool_use",
    "function",
    "function_call",
    "custom",
    "custom_tool_call",
    "toolUse",
];

/// Events of a stream that arrives in these blocks, in the form of the grammar's vectors.
pub(crate) fn events(blocks: &[&[u8]]) -> Vec<Value> {
    let mut splitter = Splitter::new(1 << 20);
    let mut found = Vec::new();
    for block in blocks {
        let mut at = 0;
        while let Some(event) = splitter.next(block, &mut at).expect("within bounds") {
            let name = if event.name.is_empty() { b"message" } else { event.name };
            found.push(json!({ "event": String::from_utf8_lossy(name), "data": String::from_utf8_lossy(event.data) }));
        }
    }
    found
}
