//! `weir show ID`: everything about one exchange.

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::source::{DataArgs, Source};
use super::table::{count, duration, maybe_count, short, text_or_null, time};
use crate::llm::price::dollars;
use crate::record::record::Record;
use crate::record::store::{Shown, Worth};

/// Everything about one exchange: the record, and with --body its bodies.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  weir show 01hf...                       the record, for people
  weir show 01hf... --json                the whole record and its bodies as one JSON object
  weir show 01hf... --body request | jq   the request body, byte for byte
  weir show 01hf... --body response       the response body as it was delivered (its content coding included)

The id is the x-weir-id header of the response.")]
pub struct ShowArgs {
    /// Id of the exchange.
    #[arg(value_name = "ID")]
    pub id: String,
    /// Write one body, byte for byte, and nothing else.
    #[arg(long, value_enum, conflicts_with = "json")]
    pub body: Option<Body>,
    /// One JSON object: the record, `request_body` and `response_body` (null where they are no text).
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub data: DataArgs,
}

/// Which body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Body {
    Request,
    Response,
}

impl ShowArgs {
    /// Ask the store and print. An unknown id, or a body that was not kept, is an error.
    pub fn run(&self, out: &mut dyn Write) -> io::Result<()> {
        let shown = query(&Source::open(&self.data.data)?, &self.id)?;
        let shown = shown.ok_or_else(|| not_found(format!("no exchange {} in the store", self.id)))?;
        if let Some(body) = self.body {
            return write_body(&shown, body, out);
        }
        if self.json {
            return write_json(&shown, out);
        }
        write_text(&shown, out)
    }
}

/// The exchange, if there is a record of it.
pub fn query(source: &Source, id: &str) -> io::Result<Option<Shown>> {
    match source {
        Source::Store(reader) => reader.show(id),
        Source::Socket(socket) => socket.show(id),
    }
}

/// The JSON form of an exchange: the record's fields and the bodies.
#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    record: &'a Record,
    #[serde(flatten)]
    worth: &'a Worth,
    request_body_len: Option<usize>,
    #[serde(serialize_with = "text_or_null")]
    request_body: &'a Option<Vec<u8>>,
    response_body_len: Option<usize>,
    #[serde(serialize_with = "text_or_null")]
    response_body: &'a Option<Vec<u8>>,
}

fn write_json(shown: &Shown, out: &mut dyn Write) -> io::Result<()> {
    let whole = Whole {
        record: &shown.record,
        worth: &shown.worth,
        request_body_len: shown.request_body.as_ref().map(Vec::len),
        request_body: &shown.request_body,
        response_body_len: shown.response_body.as_ref().map(Vec::len),
        response_body: &shown.response_body,
    };
    super::table::write_json_line(&whole, out)
}

fn write_body(shown: &Shown, body: Body, out: &mut dyn Write) -> io::Result<()> {
    let (bytes, name) = match body {
        Body::Request => (&shown.request_body, "request"),
        Body::Response => (&shown.response_body, "response"),
    };
    match bytes {
        Some(bytes) => out.write_all(bytes),
        None => Err(not_found(format!("no {name} body was kept of {}", shown.record.id))),
    }
}

fn write_text(shown: &Shown, out: &mut dyn Write) -> io::Result<()> {
    let record = &shown.record;
    let mut lines = Lines { out };
    lines.put("id", &record.id.to_string())?;
    lines.put("outcome", &outcome(record))?;
    lines.put(
        "who",
        &format!("{} (by {}, from {})", record.who.principal, record.who.source, record.who.peer),
    )?;
    lines.put("agent", format!("{} {}", record.caller.agent, record.caller.agent_version).trim())?;
    lines.put("session", &session(record))?;
    lines.put("request", &format!("{} {}", record.method, record.path))?;
    lines.put("provider", &provider(record))?;
    lines.put("model", &model(record))?;
    lines.put("status", &record.status.to_string())?;
    lines.put("stop reason", record.reading.stop_reason.as_deref().unwrap_or(""))?;
    lines.put("accepted", &format!("{} UTC", time(record.times.accepted_at_us)))?;
    lines.put("took", &took(record))?;
    lines.put("tokens", &tokens(record))?;
    lines.put("estimated", &estimated(record))?;
    lines.put("cost", &cost(shown))?;
    lines.put("bytes", &bytes(shown))?;
    for call in &record.reading.tool_uses {
        lines.put("tool call", &format!("{} {} {}", call.name, call.id, short(&call.arguments, 160)))?;
    }
    if let Some(error) = &record.reading.error {
        lines.put("error", &error.to_string())?;
    }
    for (label, fields) in
        [("request head", &record.request_headers), ("response head", &record.response_headers)]
    {
        for (name, value) in fields.iter() {
            let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
            lines.put(label, &format!("{name}: {value}"))?;
        }
    }
    Ok(())
}

/// Name and value, one to a line; what is empty is left out, and nothing in it acts on the terminal.
struct Lines<'a> {
    out: &'a mut dyn Write,
}

impl Lines<'_> {
    fn put(&mut self, name: &str, value: &str) -> io::Result<()> {
        if value.is_empty() {
            return Ok(());
        }
        let value: String = value.chars().map(|c| if c.is_control() { '�' } else { c }).collect();
        writeln!(self.out, "{name:<14} {value}")
    }
}

fn outcome(record: &Record) -> String {
    match &record.fault {
        Some(fault) => format!("{}: {} ({}; {})", record.outcome.name(), fault.kind, fault.side, fault.cause),
        None => record.outcome.name().to_owned(),
    }
}

fn session(record: &Record) -> String {
    if record.caller.session.is_empty() {
        return String::new();
    }
    let turn = if record.caller.turn { ", a turn" } else { "" };
    format!("{} (by {}{turn})", record.caller.session, record.caller.session_by)
}

fn provider(record: &Record) -> String {
    match record.attempts.len() {
        0 | 1 => record.provider.clone(),
        attempts => format!("{} after {attempts} attempts", record.provider),
    }
}

fn model(record: &Record) -> String {
    match (&record.ask.model, &record.reading.model) {
        (Some(asked), Some(answered)) if asked != answered => format!("{answered} (asked for {asked})"),
        (asked, answered) => answered.clone().or_else(|| asked.clone()).unwrap_or_default(),
    }
}

fn took(record: &Record) -> String {
    let times = &record.times;
    let first = times.first_byte_us.map_or("none".to_owned(), duration);
    format!(
        "{} (first byte {first}, client was slow for {}, weir itself {})",
        duration(times.last_byte_us),
        duration(times.blocked_us),
        duration(times.own_us)
    )
}

fn tokens(record: &Record) -> String {
    let usage = &record.reading.usage;
    format!(
        "input {} (cache read {}, cache write {}), output {} (reasoning {})",
        maybe_count(usage.input_tokens),
        maybe_count(usage.cache_read_tokens),
        maybe_count(usage.cache_write_tokens),
        maybe_count(usage.output_tokens),
        maybe_count(usage.reasoning_tokens)
    )
}

fn estimated(record: &Record) -> String {
    let Some(estimate) = record.estimated_usage else { return String::new() };
    let (input, output) = (count(estimate.input_tokens), count(estimate.output_tokens));
    format!("input {input}, output {output}: the provider did not say, or not to the end")
}

fn cost(shown: &Shown) -> String {
    let derived = match (shown.worth.cost_nanodollars, &shown.worth.unpriced) {
        (Some(cost), _) => dollars(cost),
        (None, Some(why)) => format!("unknown: {why}"),
        (None, None) => return String::new(),
    };
    match shown.record.reading.reported_cost_nanodollars {
        Some(reported) => format!("{derived} (the provider says {})", dollars(reported)),
        None => derived,
    }
}

fn bytes(shown: &Shown) -> String {
    let bytes = &shown.record.bytes;
    let kept = |body: &Option<Vec<u8>>| {
        body.as_ref().map_or("not kept".to_owned(), |b| format!("{} kept", count(b.len() as u64)))
    };
    format!(
        "request {} ({}), response {} ({})",
        count(bytes.request_received),
        kept(&shown.request_body),
        count(bytes.response_sent),
        kept(&shown.response_body)
    )
}

fn not_found(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, text)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::source::sample::{id, printed, store};
    use super::*;

    /// The command line as clap reads it.
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: ShowArgs,
    }

    fn run(dir: &std::path::Path, words: &[&str], out: &mut dyn Write) -> io::Result<()> {
        Line::parse_from([&["weir", "--data", dir.to_str().unwrap()], words].concat()).args.run(out)
    }

    #[test]
    fn an_exchange_for_people_and_for_programs() {
        let dir = store();
        let id = id(0).to_string();
        let text = printed(|out| run(dir.path(), &[&id], out).unwrap());
        for said in [
            "outcome        ok",
            "model          sonnet-4 (asked for sonnet)",
            "input 1,200 (cache read –",
            "Bash",
        ] {
            assert!(text.contains(said), "{said} in {text}");
        }
        let json = printed(|out| run(dir.path(), &[&id.to_uppercase(), "--json"], out).unwrap());
        let whole: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&whole["id"], &whole["input_tokens"]), (&id.as_str().into(), &1200.into()));
        assert_eq!(
            (&whole["request_body"], &whole["cache_read_tokens"]),
            (&"{\"ask\":1}".into(), &().into())
        );
        assert_eq!(printed(|out| run(dir.path(), &[&id, "--body", "request"], out).unwrap()), "{\"ask\":1}");
    }

    #[test]
    fn a_body_that_is_no_text_is_null_and_its_length_is_told() {
        let dir = store();
        // The second exchange's response is cut inside a character.
        let json = printed(|out| {
            let mut record = Shown { response_body: Some(vec![0x1f, 0x8b, 0xff]), ..Shown::default() };
            record.request_body = None;
            write_json(&record, out).unwrap();
        });
        let whole: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert!(whole["response_body"].is_null() && whole["request_body_len"].is_null());
        assert_eq!(whole["response_body_len"], 3);
        let mut raw = Vec::new();
        run(dir.path(), &[&id(1).to_string(), "--body", "response"], &mut raw).unwrap();
        assert_eq!(raw, b"\x1f\xef\xbf\xbdgzi");
    }

    #[test]
    fn an_unknown_id_is_said() {
        let dir = store();
        let said = run(dir.path(), &["nope"], &mut Vec::new()).unwrap_err().to_string();
        assert_eq!(said, "no exchange nope in the store");
    }
}
