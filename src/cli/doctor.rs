//! `weir doctor [URL]`: a checklist. Without a URL it runs a gateway of its own before a synthetic provider and looks
//! at both ends of every exchange; with one it asks a running gateway what can be asked from outside.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use loadtest::{Checked, Client, End, Knobs, Provider, Reading, Request, Served};
use serde::Serialize;
use serde_json::{Value, json};

use super::Failure;
use super::stage::{Folder, HELD, recorded, served, snapshot_before};
use super::table::{count, write_json_line};
use crate::base::clock::{self, Moment};
use crate::llm::usage::Usage;
use crate::record::store::{Filter, Reader};
use crate::server::{Options, Server};

const PATIENCE: Duration = Duration::from_secs(10);
const EVENTS: u32 = 10;
const EVENT_EVERY: Duration = Duration::from_millis(40);
const LARGE_BYTES: usize = 2 << 20;

const MESSAGES: &str = r#"{"model":"claude-sonnet-4-6","max_tokens":64,"stream":true,"messages":[{"role":"user","content":"hello"}]}"#;
const CHAT: &str = r#"{"model":"gpt-5.2","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"hello"}]}"#;
const RESPONSES: &str = r#"{"model":"gpt-5.2","stream":true,"input":"hello"}"#;
const GEMINI: &str = r#"{"contents":[{"role":"user","parts":[{"text":"hello"}]}]}"#;
const CONVERSE: &str = r#"{"messages":[{"role":"user","content":[{"text":"hello"}]}]}"#;
const INVOKE: &str = r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":64,"messages":[{"role":"user","content":"hello"}]}"#;
const OLLAMA: &str = r#"{"model":"llama3.2","messages":[{"role":"user","content":"hello"}]}"#;

/// A language as it is looked at: a request that streams, a field of its own that must pass, the credential that the
/// gateway puts in.
struct Spoken {
    name: &'static str,
    path: &'static str,
    body: &'static str,
    field: (&'static str, &'static str),
    credential: &'static str,
}

#[rustfmt::skip] // A table reads as one.
const SPOKEN: [Spoken; 7] = [
    Spoken { name: "Messages, every byte", path: "/v1/messages?beta=true", body: MESSAGES,
        field: ("anthropic-beta", "context-1m-2025-08-07,fine-grained-tool-streaming-2025-05-14"), credential: "x-api-key" },
    Spoken { name: "Chat, every byte", path: "/v1/chat/completions", body: CHAT,
        field: ("openai-organization", "org-doctor"), credential: "authorization" },
    Spoken { name: "Responses, every byte", path: "/v1/responses", body: RESPONSES,
        field: ("openai-beta", "responses=experimental"), credential: "authorization" },
    Spoken { name: "Gemini, every byte", path: "/v1beta/models/gemini-3-pro:streamGenerateContent?alt=sse", body: GEMINI,
        field: ("x-goog-api-client", "genai-js/1"), credential: "x-goog-api-key" },
    Spoken { name: "Bedrock Converse, every byte", path: "/model/us.anthropic.claude-v1%3A0/converse-stream", body: CONVERSE,
        field: ("x-amzn-bedrock-trace", "ENABLED"), credential: "authorization" },
    Spoken { name: "Bedrock Invoke, every byte", path: "/model/us.anthropic.claude-v1%3A0/invoke-with-response-stream", body: INVOKE,
        field: ("x-amzn-bedrock-accept", "application/json"), credential: "authorization" },
    Spoken { name: "Ollama, every byte", path: "/api/chat", body: OLLAMA,
        field: ("x-ollama-trace", "1"), credential: "" },
];

impl Spoken {
    fn request(&self) -> Request {
        Request::new("POST", self.path, self.body).header("content-type", "application/json")
    }
}

/// A checklist: streaming, headers, tool arguments, counts.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  weir doctor                              this build on this machine, with a provider of its own
  weir doctor --epoll                      the same without io_uring
  weir doctor http://127.0.0.1:8080        a gateway that runs
  weir doctor --json | jq '.checks[] | select(.ok == false)'

Exit code 0: nothing failed.")]
pub struct DoctorArgs {
    /// A running gateway; without it one is started for the occasion.
    #[arg(value_name = "URL")]
    pub url: Option<String>,
    /// Use epoll even where io_uring is granted.
    #[arg(long)]
    pub epoll: bool,
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
}

impl DoctorArgs {
    /// Check and print. Returns whether nothing failed.
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<bool, Failure> {
        let mut list = List::default();
        match &self.url {
            Some(url) => from_outside(&mut list, url)?,
            None => both_ends(&mut list, self.epoll)?,
        }
        let ok = list.checks.iter().all(|check| check.ok != Some(false));
        if self.json {
            write_json_line(&json!({"ok": ok, "checks": list.checks}), out)?;
        } else {
            list.print(out)?;
        }
        Ok(ok)
    }
}

/// What was looked at, in order.
#[derive(Default)]
struct List {
    checks: Vec<Check>,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    /// Nothing: could not be looked at from here.
    ok: Option<bool>,
    detail: String,
}

type Found = Result<String, String>;

impl List {
    fn note(&mut self, name: &'static str, found: Found) {
        let (ok, detail) = match found {
            Ok(detail) => (Some(true), detail),
            Err(detail) => (Some(false), detail),
        };
        self.checks.push(Check { name, ok, detail });
    }

    fn skip(&mut self, name: &'static str, why: &str) {
        self.checks.push(Check { name, ok: None, detail: why.to_owned() });
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        for check in &self.checks {
            let mark = match check.ok {
                Some(true) => "ok",
                Some(false) => "FAIL",
                None => "–",
            };
            writeln!(out, "{mark:<5} {:<36} {}", check.name, check.detail)?;
        }
        Ok(())
    }
}

/// A gateway of our own: every byte is known at both ends.
fn both_ends(list: &mut List, force_epoll: bool) -> Result<(), Failure> {
    let folder = Folder::make(None)?;
    let provider = Provider::start(Knobs { keep: true, ..Knobs::default() });
    let server = Server::start(Options {
        listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        data: folder.path.clone(),
        cores: Some(1),
        snapshot: Arc::new(snapshot_before(provider.addr)),
        drain_timeout: Duration::from_secs(5),
        force_epoll,
        ..Options::default()
    })?;
    let stage = Stage { addr: server.addresses[0], provider };
    list.note("the gateway starts", Ok(format!("driver {}", server.driver.name())));
    list.note("it says that it lives", stage.page("/healthz").and_then(|_| stage.page("/readyz")));
    for spoken in &SPOKEN {
        list.note(spoken.name, stage.bytes(&spoken.request()));
    }
    list.note("streaming arrives unbuffered", stage.unbuffered());
    list.note("beta and unknown headers pass", stage.headers());
    list.note("the client's credential stays here", stage.credentials());
    list.note("a request of 2 MiB arrives whole", stage.large());
    list.note("a client that leaves cancels", stage.cancels());
    let arguments = stage.tools();
    server.drain();
    list.note("tool arguments survive", arguments.and_then(|ids| recorded_calls(&ids, &folder)));
    list.note("counts match the provider's", stage.counts(&folder));
    Ok(())
}

struct Stage {
    addr: SocketAddr,
    provider: Provider,
}

impl Stage {
    fn client(&self) -> Client {
        Client::new(self.addr).timeout(PATIENCE)
    }

    fn page(&self, path: &str) -> Found {
        page(self.addr, path).map(|_| "healthz and readyz".to_owned())
    }

    fn check(&self, request: &Request) -> Result<Checked, String> {
        let checked = self.client().check(request, self.provider.knobs()).map_err(|why| why.to_string())?;
        match &checked.mismatch {
            None if checked.perfect() => Ok(checked),
            mismatch => Err(format!("{:?}, {mismatch:?}", checked.reply.ended)),
        }
    }

    /// The same, as the provider saw it: it notes an exchange a moment after the last byte.
    fn served(&self, request: &Request) -> Result<Served, String> {
        let before = self.provider.truth().len();
        self.check(request)?;
        self.provider.wait(before + 1, PATIENCE).pop().ok_or_else(|| "the provider saw nothing".into())
    }

    fn bytes(&self, request: &Request) -> Found {
        let checked = self.check(request)?;
        let id = checked.reply.header("x-weir-id").ok_or("the response has no x-weir-id")?;
        Ok(format!("{} bytes in {} events, {id}", count(checked.reply.body_bytes as u64), checked.events))
    }

    /// Events that leave the provider apart must arrive apart: in every language at once, which takes no longer.
    fn unbuffered(&self) -> Found {
        let knobs = format!("events={EVENTS},delay_ms={}", EVENT_EVERY.as_millis());
        let addr = self.addr;
        let looks = SPOKEN.each_ref().map(|spoken| {
            let request = spoken.request().synthetic(&knobs).header("connection", "close");
            std::thread::spawn(move || arrivals(addr, &request))
        });
        let mut told = Vec::new();
        for (spoken, look) in SPOKEN.iter().zip(looks) {
            let arrivals = look.join().map_err(|_| "the reader panicked")?.map_err(|why| why.to_string())?;
            let (Some(first), Some(last)) = (arrivals.first(), arrivals.last()) else {
                return Err(format!("{}: nothing arrived", spoken.path));
            };
            let (pieces, spread) = (arrivals.len(), last.since(*first));
            // Half of the schedule: a machine under load may join some, a buffer joins all.
            if spread < EVENT_EVERY * (EVENTS / 2) || pieces < EVENTS as usize / 2 {
                let spread = spread.as_millis();
                return Err(format!("{}: {EVENTS} events in {pieces} pieces over {spread} ms", spoken.path));
            }
            told.push(pieces);
        }
        let fewest = told.iter().min().copied().unwrap_or(0);
        Ok(format!("{EVENTS} events in {fewest} pieces or more, {} languages", told.len()))
    }

    fn headers(&self) -> Found {
        let common = [("x-stainless-lang", "js"), ("x-some-header-of-tomorrow", "1")];
        for spoken in &SPOKEN {
            let sent = [common[0], common[1], spoken.field];
            let request = sent.iter().fold(spoken.request(), |request, (n, v)| request.header(n, v));
            let served = self.served(&request)?;
            if let Some((name, _)) = sent.iter().find(|(name, value)| served.header(name) != Some(value)) {
                return Err(format!("{}: {name} arrived as {:?}", spoken.path, served.header(name)));
            }
        }
        Ok(format!("3 in each of {} languages", SPOKEN.len()))
    }

    fn credentials(&self) -> Found {
        const FIELDS: [&str; 3] = ["authorization", "x-api-key", "x-goog-api-key"];
        for spoken in &SPOKEN {
            let theirs = FIELDS.iter().fold(spoken.request(), |r, field| r.header(field, "Bearer theirs"));
            let served = self.served(&theirs)?;
            let right = |field: &&str| {
                let own = if *field == "authorization" { format!("Bearer {HELD}") } else { HELD.to_owned() };
                served.header(field) == (*field == spoken.credential).then_some(own).as_deref()
            };
            // The values are the doctor's own and no secrets; a real one would not be printed.
            if !FIELDS.iter().all(right) {
                return Err(format!(
                    "{}: the provider got another credential than the gateway's",
                    spoken.path
                ));
            }
        }
        Ok("replaced by the gateway's own".into())
    }

    fn large(&self) -> Found {
        let filler = "weir ".repeat(LARGE_BYTES / 5);
        let body = MESSAGES.replace("hello", &filler);
        let served = self.served(&Request::messages(&body))?;
        if served.request_body == body.as_bytes() {
            Ok(format!("{} bytes", count(served.request_bytes)))
        } else {
            Err(format!("{} of {} bytes, or others", served.request_bytes, body.len()))
        }
    }

    fn cancels(&self) -> Found {
        let request = Request::messages(MESSAGES).synthetic("events=2000,delay_ms=10");
        let leave = Reading { leave_after: Some(3), ..Reading::default() };
        let before = self.provider.truth().len();
        let left = self.client().check_reading(&request, self.provider.knobs(), leave);
        left.map_err(|why| why.to_string())?;
        let served = self.provider.wait(before + 1, PATIENCE).pop().ok_or("the provider saw nothing")?;
        let told = format!("the provider stopped after {} of 2,000 events", served.events);
        if served.end == End::ClientGone && served.events < 1000 { Ok(told) } else { Err(told) }
    }

    /// Ids of the calls and their arguments, as the provider sent them.
    fn tools(&self) -> Result<Vec<(String, String)>, String> {
        let mut calls = Vec::new();
        for spoken in &SPOKEN {
            let served = self.served(&spoken.request().synthetic("tools=3"))?;
            calls.extend(served.claim.tools.into_iter().map(|call| (call.id, call.arguments)));
        }
        Ok(calls)
    }

    /// All but the exchange that was left midway: what that one cost nobody knows.
    fn counts(&self, folder: &Folder) -> Found {
        let (provider, store) = (served(&self.provider), recorded(&folder.path));
        if provider.exchanges != store.exchanges {
            return Err(format!("{} exchanges served, {} recorded", provider.exchanges, store.exchanges));
        }
        let ok = Filter { outcome: Some(crate::record::record::Outcome::Ok), ..Filter::default() };
        let rows = Reader::open(&folder.path)
            .and_then(|reader| reader.requests(&ok, 1000, None))
            .map_err(|why| why.to_string())?;
        let of_rows =
            |of: fn(&Usage) -> Option<u64>| rows.iter().filter_map(|row| of(&row.usage)).sum::<u64>();
        let kept = (of_rows(|usage| usage.input_tokens), of_rows(|usage| usage.output_tokens));
        let (mut claimed, mut billed) = ((0, 0), HashSet::new());
        for served in self.provider.truth() {
            // The same request is answered by the same response here, which is billed once where it has an id to be
            // fetched by.
            let again = served.claim.dialect == "responses" && !billed.insert(served.claim.id.clone());
            if served.end == End::Complete && served.claim.usage_sent && !again {
                claimed.0 += served.claim.input_total();
                claimed.1 += served.claim.output_total();
            }
        }
        let told = format!(
            "{} exchanges; {} tokens in and {} out claimed, {} and {} recorded",
            store.exchanges, claimed.0, claimed.1, kept.0, kept.1
        );
        if claimed == kept { Ok(told) } else { Err(told) }
    }
}

/// The calls as the store has them.
fn recorded_calls(calls: &[(String, String)], folder: &Folder) -> Found {
    let reader = Reader::open(&folder.path).map_err(|why| why.to_string())?;
    let rows = reader.requests(&Filter::default(), 1000, None).map_err(|why| why.to_string())?;
    let mut kept = Vec::new();
    for row in rows.iter().filter(|row| row.tool_calls > 0) {
        let shown = reader.show(&row.id).map_err(|why| why.to_string())?;
        kept.extend(shown.into_iter().flat_map(|shown| shown.record.reading.tool_uses));
    }
    let same = |(id, arguments): &&(String, String)| {
        kept.iter().any(|call| call.id == *id && same_json(&call.arguments, arguments))
    };
    match calls.iter().filter(same).count() {
        all if all == calls.len() && all > 0 => Ok(format!("{all} calls, {} languages", SPOKEN.len())),
        some => Err(format!("{some} of {} calls are recorded as they were sent", calls.len())),
    }
}

fn same_json(a: &str, b: &str) -> bool {
    let parsed = |text: &str| serde_json::from_str::<Value>(text).ok();
    a == b || (parsed(a).is_some() && parsed(a) == parsed(b))
}

/// When the pieces of the body arrived.
fn arrivals(addr: SocketAddr, request: &Request) -> io::Result<Vec<Moment>> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&request.wire(&addr.to_string()))?;
    let (mut arrivals, mut block) = (Vec::new(), [0u8; 16 * 1024]);
    loop {
        let n = stream.read(&mut block)?;
        if n == 0 {
            return Ok(arrivals);
        }
        let piece = &block[..n];
        let head_alone = piece.starts_with(b"HTTP/1.1") && piece.ends_with(b"\r\n\r\n");
        if !head_alone {
            arrivals.push(clock::now());
        }
    }
}

/// What a running gateway tells.
fn from_outside(list: &mut List, url: &str) -> Result<(), Failure> {
    let rest =
        url.strip_prefix("http://").ok_or("write the address as http://HOST:PORT; TLS is not spoken here")?;
    let host = rest.split('/').next().unwrap_or_default();
    let host = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let addr = host.to_socket_addrs()?.next().ok_or("the host has no address")?;
    list.note("it lives", page(addr, "/healthz").map(|_| format!("http://{addr}")));
    list.note("it takes requests", page(addr, "/readyz").map(|_| "ready".into()));
    list.note("HEAD / as clients probe it", head(addr));
    match page(addr, "/api/health")
        .and_then(|text| serde_json::from_str(&text).map_err(|why| why.to_string()))
    {
        Err(why) => list.skip("health", &format!("{why}; only a local user may ask")),
        Ok(health) => told(list, &health),
    }
    let why = "needs a provider whose answers are known: `weir doctor` without URL";
    for name in ["streaming arrives unbuffered", "tool arguments survive", "counts match the provider's"] {
        list.skip(name, why);
    }
    Ok(())
}

fn told(list: &mut List, health: &Value) {
    let text = |key: &str| health[key].as_str().unwrap_or("unknown").to_owned();
    list.note("version and driver", Ok(format!("{}, {}", text("version"), text("driver"))));
    let providers = health["providers"].as_array().map_or(0, Vec::len);
    let told = format!("{providers} configured");
    list.note("providers", if providers > 0 { Ok(told) } else { Err(told) });
    let lost = health["records_lost"].as_u64().unwrap_or(0);
    list.note("records lost", if lost == 0 { Ok("0".into()) } else { Err(count(lost)) });
    let failing = health["writer"]["failing"].as_bool().unwrap_or(true);
    let cause = health["writer"]["last_error"].as_str().unwrap_or("no cause told").to_owned();
    list.note("the writer writes", if failing { Err(cause) } else { Ok("yes".into()) });
}

fn page(addr: SocketAddr, path: &str) -> Result<String, String> {
    let reply =
        Client::new(addr).timeout(PATIENCE).send(&Request::get(path)).map_err(|why| why.to_string())?;
    match reply.status {
        200 => Ok(reply.text()),
        status => Err(format!("{path} answers {status}: {}", reply.text().trim())),
    }
}

fn head(addr: SocketAddr) -> Found {
    let request = Request::new("HEAD", "/", "");
    let reply = Client::new(addr).timeout(PATIENCE).send(&request).map_err(|why| why.to_string())?;
    if reply.status == 200 { Ok("200".into()) } else { Err(reply.status.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_build_is_well() {
        let mut list = List::default();
        both_ends(&mut list, false).unwrap();
        let failed: Vec<_> = list.checks.iter().filter(|check| check.ok != Some(true)).collect();
        assert!(failed.is_empty() && list.checks.len() > 10, "{failed:?}");
    }
}
