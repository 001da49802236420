//! WebSockets through the running gateway: every byte as it came, every message judged, every exchange recorded once.

mod bounds;
mod smuggled;

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use loadtest::http::Head;
use loadtest::websocket::{self, BINARY, Peer, SocketProvider, TEXT, speak};
use loadtest::{Canned, Knobs};
use serde_json::{Value, json};
use weir::base::clock;
use weir::llm::dialect::Dialect;
use weir::llm::dialect::paths::Flag;
use weir::policy::glob::Glob;
use weir::policy::snapshot::{self, Credential, Limits, Origin, Snapshot};
use weir::record::record::Outcome;
use weir::record::store::{Filter, Reader, Shown};
use weir::server::Options;

use crate::fixtures::socket_recordings;
use crate::gate::{Gate, SECRET};

const CREATE: &str = r#"{"type":"response.create","model":"gpt-5","input":"hello"}"#;
const LIVE: &str = "/ws/google.ai.generativelanguage.v1.GenerativeService.BidiGenerateContent";
const PATIENCE: Duration = Duration::from_secs(10);

fn provider_at(addr: SocketAddr) -> snapshot::Provider {
    snapshot::Provider {
        id: "sockets".into(),
        origin: Origin { tls: false, host: addr.ip().to_string(), port: addr.port() },
        credential: Some(Credential { field: "authorization".into(), value: format!("Bearer {SECRET}") }),
        flags: vec![Flag::OpenaiResponses, Flag::OpenaiRealtime, Flag::GeminiGenerateContent],
        models: ["gpt-*", "gemini-*"].iter().map(|model| Glob::new(model).expect("a pattern")).collect(),
        aliases: vec![("ours".into(), "gpt-its".into())],
        ..snapshot::Provider::default()
    }
}

fn gate_before(addr: SocketAddr, epoll: bool) -> Gate {
    Gate::with(Knobs::default(), Limits::default(), |options| {
        let snapshot =
            Snapshot { providers: vec![Arc::new(provider_at(addr))], ..(*options.snapshot).clone() };
        Options { snapshot: Arc::new(snapshot), force_epoll: epoll, ..options }
    })
}

/// A gateway before a scripted provider.
fn gate(
    fields: &'static str,
    script: impl Fn(&Head, Peer) -> io::Result<()> + Send + Sync + 'static,
) -> (Gate, SocketProvider) {
    let provider = SocketProvider::start(fields, script);
    (gate_before(provider.addr, false), provider)
}

/// What the provider's end saw: the upgrade, every byte received, every byte sent.
type Seen = (Head, Vec<u8>, Vec<u8>);

/// As [`gate`]; what the provider's end of each socket saw comes over the channel when its script is over.
fn watched(
    fields: &'static str,
    script: impl Fn(&Head, &mut Peer) -> io::Result<()> + Send + Sync + 'static,
    epoll: bool,
) -> (Gate, SocketProvider, Receiver<Seen>) {
    let (over, ended) = channel();
    let provider = SocketProvider::start(fields, move |head, mut peer| {
        let told = script(head, &mut peer);
        let _ = over.send((head.clone(), peer.received.clone(), peer.sent.clone()));
        told
    });
    (gate_before(provider.addr, epoll), provider, ended)
}

fn connect(gate: &Gate, target: &str, headers: &[(&str, &str)]) -> (Peer, Head) {
    Peer::connect(gate.addr, target, headers).expect("the gateway accepts").expect("an upgrade")
}

/// Records of exchanges on sockets and of their upgrades, oldest first, once there are so many.
fn records(gate: &Gate, count: usize) -> Vec<Shown> {
    let reader = Reader::open(gate.data.path()).expect("a store");
    let until = clock::now().plus(PATIENCE);
    loop {
        let mut rows = reader.requests(&Filter::default(), 1000, None).expect("rows");
        if rows.len() >= count {
            assert_eq!(rows.len(), count, "{rows:?}");
            rows.sort_by(|a, b| a.id.cmp(&b.id));
            return rows.iter().map(|row| reader.show(&row.id).unwrap().expect("a record")).collect();
        }
        assert!(clock::now() < until, "{} of {count} exchanges were recorded: {rows:?}", rows.len());
        clock::pause(Duration::from_millis(20));
    }
}

/// Until a message says that its response is over.
fn hear_response(peer: &mut Peer) -> Vec<String> {
    let mut heard = Vec::new();
    loop {
        let text = peer.hear().expect("bytes").expect("an answer before the end");
        let over =
            ["response.completed", "response.done", "turnComplete"].iter().any(|end| text.contains(end));
        heard.push(text);
        if over {
            return heard;
        }
    }
}

fn texts(shown: Option<&Vec<u8>>) -> Vec<String> {
    let body = shown.map(|body| String::from_utf8_lossy(body).into_owned()).unwrap_or_default();
    body.lines().map(str::to_owned).collect()
}

#[test]
fn frames_pass_byte_for_byte_in_any_split_on_both_drivers() {
    for seed in 0..6 {
        let script = move |_: &Head, peer: &mut Peer| {
            let mut turn = seed;
            while let Some(text) = peer.hear()? {
                turn += 1;
                let answer = json!({"type": "response.completed", "said": "ü".repeat(turn as usize * 700), "to": text,
                    "response": {"id": format!("r{turn}"), "status": "completed", "model": "gpt-5", "usage": {"input_tokens": 3, "output_tokens": turn}}});
                let frames = peer.fragments(answer.to_string().as_bytes(), turn);
                peer.send_cut(&frames, turn)?;
            }
            peer.close(1000)
        };
        let (gate, _provider, ended) = watched("", script, seed % 2 == 0);
        let (mut client, head) = connect(&gate, "/v1/responses", &[("authorization", "Bearer theirs")]);
        assert_eq!(head.header("x-weir-id").map(str::len), Some(26));
        for turn in 0..5 {
            let frames = client.fragments(CREATE.as_bytes(), seed * 7 + turn);
            client.send_cut(&frames, seed + turn).unwrap();
            hear_response(&mut client);
        }
        client.close(1000).unwrap();
        assert_eq!(client.end().unwrap(), Some(1000));
        let (head, received, sent) = ended.recv_timeout(PATIENCE).unwrap();
        assert_eq!((received == client.sent, sent == client.received), (true, true), "seed {seed}");
        assert_eq!(head.header("authorization"), Some(format!("Bearer {SECRET}").as_str()));
        let shown = records(&gate, 6);
        assert_eq!((shown[0].record.status, shown[0].record.socket), (101, None));
        assert_eq!(shown[0].record.outcome, Outcome::Ok, "{:?}", shown[0].record.fault);
        for (turn, shown) in shown[1..].iter().enumerate() {
            assert_eq!(shown.record.outcome, Outcome::Ok, "{:?}", shown.record.fault);
            assert_eq!(shown.record.reading.usage.output_tokens, Some(seed + turn as u64 + 1));
            assert_eq!(texts(shown.request_body.as_ref()), [CREATE]);
        }
    }
}

#[test]
fn each_dialect_is_recorded_exchange_by_exchange() {
    let (gate, _provider) = gate("", |head, mut peer| speak(head.target(), &mut peer));
    // Where, what is asked there, and the session that the client names.
    type Asked = (&'static str, &'static [&'static str], &'static [Option<&'static str>], Dialect);
    let sessions: [Asked; 3] = [
        (
            "/v1/responses",
            &[
                r#"{"type":"response.create","model":"gpt-5","generate":false,"input":[]}"#,
                r#"{"type":"response.create","model":"gpt-5","input":"hi","client_metadata":{"thread-id":"t1"}}"#,
            ],
            &[None, Some("t1")],
            Dialect::Responses,
        ),
        ("/v1/realtime?model=gpt-realtime", &[r#"{"type":"response.create"}"#], &[None], Dialect::Realtime),
        (
            LIVE,
            &[r#"{"clientContent":{"turns":[{"parts":[{"text":"hi"}]}],"turnComplete":true}}"#],
            &[None],
            Dialect::Live,
        ),
    ];
    let mut count = 0;
    for (target, asked, threads, dialect) in sessions {
        let (mut client, _) =
            connect(&gate, target, &[("user-agent", "codex_cli_rs/0.169.0 (Linux; x86_64)")]);
        if dialect == Dialect::Live {
            client.say(r#"{"setup":{"model":"models/gemini-live"}}"#).unwrap();
            assert_eq!(client.hear().unwrap().as_deref(), Some(r#"{"setupComplete":{}}"#));
        }
        let mut heard = Vec::new();
        for text in asked {
            client.say(text).unwrap();
            heard.push(hear_response(&mut client));
        }
        client.close(1000).unwrap();
        client.end().unwrap();
        let before = count;
        count += 1 + asked.len() + usize::from(dialect == Dialect::Live);
        let shown = records(&gate, count);
        let of_socket = &shown[before + 1 + usize::from(dialect == Dialect::Live)..];
        let upgrade = shown[before].record.id;
        for (nth, shown) in of_socket.iter().enumerate() {
            let record = &shown.record;
            assert_eq!((record.outcome, record.status), (Outcome::Ok, 200), "{:?}", record.fault);
            assert_eq!((record.socket, record.dialect), (Some(upgrade), Some(dialect)));
            assert_eq!(record.caller.agent, "codex");
            assert_eq!(record.caller.session, threads[nth].map_or(upgrade.to_string(), str::to_owned));
            assert!(record.ask.model.is_some() && record.reading.usage.input_tokens > Some(0), "{record:?}");
            assert_eq!(texts(shown.request_body.as_ref()), [asked[nth]]);
            let expected: Vec<_> =
                heard[nth].iter().filter(|text| !text.contains("session.created")).cloned().collect();
            assert_eq!(texts(shown.response_body.as_ref()), expected);
        }
    }
    let shown = records(&gate, count);
    assert!(!shown[1].record.caller.turn && shown[2].record.caller.turn, "a warm-up is no turn");
}

#[test]
fn recorded_sockets_are_recorded_as_expected() {
    for (name, expected, lines) in socket_recordings() {
        let played = lines.clone();
        let script = move |_: &Head, mut peer: Peer| {
            for (sent, text) in &played {
                match sent {
                    true => drop(peer.hear()?),
                    false => peer.say(text)?,
                }
            }
            peer.end().map(drop)
        };
        let (gate, _provider) = gate("", script);
        let target = if name.contains("google") { LIVE } else { "/v1/realtime?model=gpt-realtime" };
        let (mut client, _) = connect(&gate, target, &[]);
        let mut asked = 1;
        for (sent, text) in &lines {
            if *sent {
                client.say(text).unwrap();
                asked += usize::from(
                    ["session.update", "response.create", "\"setup\"", "client_content"]
                        .iter()
                        .any(|k| text.contains(k)),
                );
            } else {
                assert_eq!(client.hear().unwrap().as_ref(), Some(text), "{name}");
            }
        }
        client.close(1000).unwrap();
        client.vanish();
        let shown = records(&gate, asked);
        let readings: Vec<_> = shown[1..].iter().map(|shown| &shown.record.reading).collect();
        let usages: Vec<Value> =
            readings.iter().filter_map(|reading| Some(reading.wire_usage.as_ref()?.value())).collect();
        assert_eq!(Value::Array(usages), expected["usages"], "{name}");
        let tools: Vec<_> =
            readings.iter().flat_map(|r| &r.tool_uses).map(|tool| tool.name.as_str()).collect();
        assert_eq!(json!(tools), expected["tool_uses"], "{name}");
        let sum = |count: fn(&weir::llm::usage::Usage) -> Option<u64>| -> u64 {
            readings.iter().filter_map(|reading| count(&reading.usage)).sum()
        };
        assert_eq!(sum(|usage| usage.input_tokens), expected["input_tokens"], "{name}");
        assert_eq!(sum(|usage| usage.output_tokens), expected["output_tokens"], "{name}");
        assert!(readings.iter().all(|reading| json!(reading.model) == expected["model"]), "{name}");
        assert!(shown.iter().all(|shown| shown.record.outcome == Outcome::Ok), "{name}");
        println!("agrees  {name}");
    }
}

/// Compressed without the four bytes that the receiver puts back on (RFC 7692 7.2.1).
fn deflated(coder: &mut Compress, text: &[u8]) -> Vec<u8> {
    let mut coded = Vec::with_capacity(text.len() + 1024);
    coder.compress_vec(text, &mut coded, FlushCompress::Sync).expect("compression");
    coded.truncate(coded.len() - 4);
    coded
}

fn inflated(stream: &mut Decompress, coded: &[u8]) -> String {
    let mut text = Vec::with_capacity(1 << 20);
    let whole = [coded, &[0, 0, 0xff, 0xff]].concat();
    stream.decompress_vec(&whole, &mut text, FlushDecompress::Sync).expect("a stream that was not torn");
    String::from_utf8(text).expect("text")
}

const DEFLATE: &str = "sec-websocket-extensions: permessage-deflate; server_max_window_bits=15\r\n";
const COMPRESSED: u8 = 0xc1;

#[test]
fn compressed_frames_pass_as_they_came_and_a_refused_one_tears_nothing() {
    let script = |_: &Head, peer: &mut Peer| {
        // Both windows are kept from message to message.
        let (mut coder, mut window) = (Compress::new(Compression::default(), false), Decompress::new(false));
        let mut turn = 0;
        while let Some(frame) = peer.next_frame()?.filter(|frame| frame.first == COMPRESSED) {
            turn += 1;
            let asked = inflated(&mut window, &frame.payload);
            let done = json!({"type": "response.completed", "to": asked, "response":
                {"id": format!("r{turn}"), "model": "gpt-5", "status": "completed", "usage": {"input_tokens": 1, "output_tokens": turn}}});
            let coded = deflated(&mut coder, done.to_string().as_bytes());
            let frame = peer.frame(COMPRESSED, &coded);
            peer.send_raw(&frame)?;
        }
        peer.close(1000)
    };
    let (gate, _provider, ended) = watched(DEFLATE, script, false);
    let offer = [("sec-websocket-extensions", "x-unknown, permessage-deflate; client_max_window_bits")];
    let (mut client, head) = connect(&gate, "/v1/responses", &offer);
    let agreed = head.header("sec-websocket-extensions").unwrap();
    assert_eq!(agreed, "permessage-deflate; server_max_window_bits=15; client_no_context_takeover");
    let mut window = Decompress::new(false);
    let denied = CREATE.replace("gpt-5", "other");
    for (turn, text) in [CREATE, &denied, CREATE].into_iter().enumerate() {
        // Each message by itself, as agreed.
        let coded = deflated(&mut Compress::new(Compression::default(), false), text.as_bytes());
        let frame = client.frame(COMPRESSED, &coded);
        client.send_raw(&frame).unwrap();
        let heard = client.next_frame().unwrap().unwrap();
        match turn {
            1 => assert!(heard.first == TEXT && heard.text().contains("model_not_found"), "{}", heard.text()),
            _ => assert!(inflated(&mut window, &heard.payload).contains("hello")),
        }
    }
    client.close(1000).unwrap();
    client.end().unwrap();
    let (head, received, _) = ended.recv_timeout(PATIENCE).unwrap();
    assert_eq!(head.header("sec-websocket-extensions"), Some("permessage-deflate; client_max_window_bits"));
    assert!(received.len() < client.sent.len());
    let shown = records(&gate, 4);
    let outputs: Vec<_> = shown[1..].iter().map(|shown| shown.record.reading.usage.output_tokens).collect();
    assert_eq!(outputs, [Some(1), None, Some(2)]);
    assert_eq!(texts(shown[3].request_body.as_ref()), [CREATE]);
}

#[test]
fn a_model_that_is_not_granted_is_refused_and_the_socket_goes_on() {
    let (gate, _provider, ended) = watched("", |head, peer| speak(head.target(), peer), false);
    let (mut client, _) = connect(&gate, "/v1/responses", &[]);
    let denied = r#"{"type":"response.create","stream_id":"l","model":"other","input":"secret"}"#;
    client.say(denied).unwrap();
    let said: Value = serde_json::from_str(&client.hear().unwrap().unwrap()).unwrap();
    assert_eq!(
        (&said["type"], &said["status"], &said["stream_id"]),
        (&json!("error"), &json!(404), &json!("l"))
    );
    assert_eq!(said["error"]["code"], "model_not_found");
    client.say(r#"{"type":"response.create","input":"secret"}"#).unwrap();
    let said: Value = serde_json::from_str(&client.hear().unwrap().unwrap()).unwrap();
    assert_eq!((&said["type"], &said["status"]), (&json!("error"), &json!(400)));
    client.say(CREATE).unwrap();
    hear_response(&mut client);
    client.close(1000).unwrap();
    client.end().unwrap();
    let (_, received, _) = ended.recv_timeout(PATIENCE).unwrap();
    let first = client.sent.len() - received.len();
    assert_eq!(received, client.sent[first..], "only what was granted arrived");
    let shown = records(&gate, 4);
    let told: Vec<_> = shown.iter().map(|shown| (shown.record.outcome, shown.record.status)).collect();
    let (ok, refused) = (Outcome::Ok, Outcome::Refused);
    assert_eq!(told, [(ok, 101), (refused, 404), (refused, 400), (ok, 200)]);
    assert_eq!(said["headers"]["x-weir-id"], json!(shown[2].record.id));
    assert_eq!(texts(shown[1].request_body.as_ref()), [denied]);
}

#[test]
fn what_cannot_be_read_closes_the_socket_with_1008() {
    let (gate, _provider, ended) = watched("", |_, peer| peer.end().map(drop), false);
    let mut count = 0;
    let cases: [(u8, &str, u16); 7] = [
        (TEXT, "hello", 1008),
        (TEXT, r#"{"type":"response.create","model":"gpt-5","model":"gpt-6"}"#, 1008),
        (TEXT, r#"{"type":"response.processed","Type":"response.create","model":"gpt-5"}"#, 1008),
        (TEXT, r#"{"type":"response.execute","model":"gpt-5"}"#, 1008),
        (BINARY, CREATE, 1008),
        // A reserved bit that was not agreed upon; a continuation of nothing.
        (COMPRESSED, CREATE, 1008),
        (0x80, CREATE, 1008),
    ];
    for (first, text, code) in cases {
        let (mut client, _) = connect(&gate, "/v1/responses", &[]);
        let frame = client.frame(first, text.as_bytes());
        client.send_raw(&frame).unwrap();
        assert_eq!(client.end().unwrap(), Some(code), "{first:x} {text}");
        let (_, received, _) = ended.recv_timeout(PATIENCE).unwrap();
        assert!(!String::from_utf8_lossy(&received).contains("model"), "{text}");
        assert!(received.len() < 10, "nothing but a closing frame arrived: {received:?}");
        // Messages that are whole are exchanges, refused ones; frames that are none have no message.
        count += if text == CREATE { 1 } else { 2 };
        let shown = records(&gate, count);
        assert_eq!(shown.last().map(|shown| shown.record.outcome), Some(Outcome::Refused), "{text}");
    }
}

#[test]
fn a_message_over_the_bound_closes_the_socket_with_1009() {
    let provider = SocketProvider::start(DEFLATE, |_, mut peer| peer.end().map(drop));
    let limits = Limits { body_bytes_max: 64 * 1024, ..Limits::default() };
    let gate = Gate::with(Knobs::default(), limits, |options| {
        let providers = vec![Arc::new(provider_at(provider.addr))];
        Options { snapshot: Arc::new(Snapshot { providers, ..(*options.snapshot).clone() }), ..options }
    });
    let offer = [("sec-websocket-extensions", "permessage-deflate")];
    let long = format!(r#"{{"type":"response.create","model":"gpt-5","input":"{}"}}"#, " ".repeat(1 << 20));
    let bomb = deflated(&mut Compress::new(Compression::best(), false), long.as_bytes());
    assert!(bomb.len() < 8 * 1024);
    for (first, payload) in [(TEXT, long.as_bytes()), (COMPRESSED, &bomb)] {
        let (mut client, _) = connect(&gate, "/v1/responses", &offer);
        let frame = client.frame(first, payload);
        // The gateway may close before it has read everything.
        let _ = client.send_raw(&frame);
        assert!(matches!(client.end(), Ok(Some(1009)) | Err(_)), "{first:x}");
    }
    let shown = records(&gate, 2);
    let kinds = shown.iter().map(|shown| shown.record.fault.as_ref().map(|fault| fault.kind.clone()));
    assert!(kinds.eq([Some("message_too_large".to_owned()), Some("message_too_large".to_owned())]));
}

#[test]
fn lanes_are_told_apart() {
    let script = |_: &Head, mut peer: Peer| {
        let (_, _) = (peer.hear()?, peer.hear()?);
        let event = |lane: &str, kind: &str, tokens: u64| {
            json!({"type": kind, "stream_id": lane, "response": {"id": format!("r-{lane}"), "model": "gpt-5",
                "status": "completed", "usage": {"input_tokens": tokens, "output_tokens": 1}}})
            .to_string()
        };
        for (lane, kind, tokens) in [
            ("a", "response.created", 0),
            ("b", "response.created", 0),
            ("b", "response.completed", 7),
            ("a", "response.completed", 5),
        ] {
            peer.say(&event(lane, kind, tokens))?;
        }
        peer.end().map(drop)
    };
    let (gate, _provider) = gate("", script);
    let (mut client, _) = connect(&gate, "/v1/responses", &[]);
    for lane in ["a", "b"] {
        client.say(&CREATE.replace("\"input\"", &format!("\"stream_id\":\"{lane}\",\"input\""))).unwrap();
    }
    hear_response(&mut client);
    hear_response(&mut client);
    client.close(1000).unwrap();
    client.vanish();
    let shown = records(&gate, 3);
    let inputs: Vec<_> = shown[1..].iter().map(|shown| shown.record.reading.usage.input_tokens).collect();
    assert_eq!(inputs, [Some(5), Some(7)]);
    assert!(shown[1..].iter().all(|shown| texts(shown.response_body.as_ref()).len() == 2));
}

#[test]
fn a_client_that_leaves_within_a_response_ends_it_at_the_provider() {
    let script = |_: &Head, peer: &mut Peer| {
        peer.hear()?;
        peer.say(r#"{"type":"response.created","response":{"id":"r","model":"gpt-5"}}"#)?;
        peer.end().map(drop)
    };
    let (gate, _provider, ended) = watched("", script, false);
    let (mut client, _) = connect(&gate, "/v1/responses", &[]);
    client.say(CREATE).unwrap();
    client.hear().unwrap();
    client.vanish();
    ended.recv_timeout(PATIENCE).expect("the provider's end was told");
    let shown = records(&gate, 2);
    assert!(shown.iter().all(|shown| shown.record.outcome == Outcome::ClientGone));
    assert_eq!(shown[1].record.reading.response_id.as_deref(), Some("r"));
}

#[test]
fn a_provider_that_leaves_is_a_close_that_says_so() {
    let script = |_: &Head, mut peer: Peer| {
        peer.hear()?;
        peer.say(r#"{"type":"response.created","response":{"id":"r","model":"gpt-5"}}"#)?;
        peer.vanish();
        Ok(())
    };
    let (gate, _provider) = gate("", script);
    let (mut client, _) = connect(&gate, "/v1/responses", &[]);
    client.say(CREATE).unwrap();
    client.hear().unwrap();
    assert_eq!(client.end().unwrap(), Some(1011));
    let shown = records(&gate, 2);
    assert!(shown.iter().all(|shown| shown.record.outcome == Outcome::Truncated));
}

#[test]
fn draining_ends_sockets_with_1001_after_what_runs_on_them() {
    let script = |_: &Head, mut peer: Peer| {
        // The second response ends when the test says so, by a ping.
        while let Some(frame) = peer.next_frame()? {
            if frame.first == websocket::PING {
                peer.say(r#"{"type":"response.completed","response":{"id":"r","status":"completed","model":"gpt-5","usage":{"input_tokens":1,"output_tokens":1}}}"#)?;
            } else {
                peer.say(r#"{"type":"response.created","response":{"id":"r","model":"gpt-5"}}"#)?;
            }
        }
        Ok(())
    };
    let (mut gate, _provider) = gate("", script);
    let (mut idle, _) = connect(&gate, "/v1/responses", &[]);
    let (mut busy, _) = connect(&gate, "/v1/responses", &[]);
    busy.say(CREATE).unwrap();
    busy.hear().unwrap();
    let server = gate.server.take().expect("a running server");
    let draining = std::thread::spawn(move || server.drain());
    assert_eq!(idle.end().unwrap(), Some(1001));
    let refused = |text: &str| text.contains("gateway_draining");
    busy.say(CREATE).unwrap();
    assert!(refused(&busy.hear().unwrap().unwrap()));
    let ping = busy.frame(websocket::PING, b"");
    busy.send_raw(&ping).unwrap();
    hear_response(&mut busy);
    assert_eq!(busy.end().unwrap(), Some(1001));
    draining.join().unwrap();
    let shown = records(&gate, 4);
    assert!(shown.iter().filter(|shown| shown.record.outcome == Outcome::Ok).count() == 3);
}

#[test]
fn a_response_that_somebody_else_made_is_not_gone_on_from() {
    let gate = Gate::of_organisation(|origin| {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        vec![snapshot::Provider { origin, ..provider_at(anywhere) }]
    });
    let (mut client, _) = connect(&gate, "/v1/responses", &[]);
    client.say(CREATE).unwrap();
    let own: Value = serde_json::from_str(&hear_response(&mut client)[0]).unwrap();
    let own = own["response"]["id"].as_str().unwrap().to_owned();
    let after =
        |id: &str| CREATE.replace("\"input\"", &format!("\"previous_response_id\":\"{id}\",\"input\""));
    // What was made here may be gone on from; behind a message that waits others wait their turn.
    let two = [after("resp_of_somebody_else"), after(&own)].map(|text| client.frame(TEXT, text.as_bytes()));
    client.send_raw(&two.concat()).unwrap();
    let said: Value = serde_json::from_str(&client.hear().unwrap().unwrap()).unwrap();
    assert_eq!((&said["status"], &said["error"]["code"]), (&json!(404), &json!("no_object")));
    hear_response(&mut client);
    client.close(1000).unwrap();
    client.end().unwrap();
    // Another socket of the same principal may go on from it, too: the id was bound.
    let (mut client, _) = connect(&gate, "/v1/responses", &[]);
    client.say(&after(&own)).unwrap();
    assert!(hear_response(&mut client).len() > 2);
    client.close(1000).unwrap();
    client.end().unwrap();
    let shown = records(&gate, 6);
    assert_eq!(shown[2].record.outcome, Outcome::Refused);
    assert_eq!(shown[1].record.made.ids, [own]);
}

#[test]
fn an_alias_is_replaced_in_the_message() {
    let (gate, _provider, ended) = watched("", |head, peer| speak(head.target(), peer), false);
    let (mut client, _) = connect(&gate, "/v1/responses", &[]);
    client.say(&CREATE.replace("gpt-5", "ours")).unwrap();
    assert!(hear_response(&mut client)[0].contains("gpt-its"));
    client.close(1000).unwrap();
    client.end().unwrap();
    ended.recv_timeout(PATIENCE).unwrap();
    let shown = records(&gate, 2);
    assert_eq!(shown[1].record.altered, ["model"]);
    assert_eq!(shown[1].record.ask.model.as_deref(), Some("ours"));
}

#[test]
fn bytes_behind_a_refused_upgrade_are_no_request() {
    let gate = Gate::start(Knobs::default());
    let smuggled = "GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let upgrade = |path: &str, version: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: {version}\r\nsec-websocket-key: d2VpcidzIGxvYWR0ZXN0IQ==\r\n\r\n{smuggled}"
        )
    };
    for (path, version, status) in [
        ("/v1/messages", "13", "426"),
        ("/v1/nowhere", "13", "426"),
        ("/v1/responses", "8", "426"),
        // No provider speaks it.
        ("/v1/realtime?model=gpt-realtime", "13", "404"),
    ] {
        let answer = gate.raw(upgrade(path, version).as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{path}: {answer}");
    }
    let plain = gate.raw(b"GET /v1/responses HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    assert!(plain.contains("upgrade: websocket\r\nsec-websocket-version: 13\r\n"), "{plain}");
    // A provider that refuses is relayed, and its connection ends all the same.
    let refusing = gate_before(gate.provider.addr, false);
    let teapot =
        Canned::new(418).header("content-type", "application/json").body(r#"{"error":{"code":"no"}}"#);
    gate.provider.can("/v1/responses", teapot);
    let answer = refusing.raw(upgrade("/v1/responses", "13").as_bytes());
    assert!(
        answer.starts_with("HTTP/1.1 418 ") && answer.ends_with(r#"{"error":{"code":"no"}}"#),
        "{answer}"
    );
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    let shown = records(&refusing, 1);
    assert_eq!((shown[0].record.outcome, shown[0].record.status), (Outcome::ProviderError, 418));
}

#[test]
fn a_slow_client_is_waited_for() {
    let script = |_: &Head, peer: &mut Peer| {
        peer.hear()?;
        let delta = json!({"type": "response.output_text.delta", "delta": "x".repeat(40_000)}).to_string();
        for _ in 0..400 {
            peer.say(&delta)?;
        }
        peer.say(r#"{"type":"response.completed","response":{"id":"r","status":"completed","model":"gpt-5","usage":{"input_tokens":1,"output_tokens":1}}}"#)?;
        peer.end().map(drop)
    };
    let (gate, _provider, ended) = watched("", script, false);
    let (mut client, _) = connect(&gate, "/v1/responses", &[]);
    client.say(CREATE).unwrap();
    // Sixteen megabytes fit into no socket's buffer, and a debug build reads slower than it writes.
    assert_eq!(hear_response(&mut client).len(), 401);
    client.close(1000).unwrap();
    client.vanish();
    let (_, _, sent) = ended.recv_timeout(PATIENCE).unwrap();
    assert!(client.received == sent);
    let shown = records(&gate, 2);
    let bytes = shown[1].record.bytes;
    assert!(bytes.response_received > 16_000_000 && bytes.response_sent == bytes.response_received);
}

#[test]
fn sockets_and_plain_requests_share_a_gateway() {
    // The upgrade is the first request of its connection or a later one; either way it ends it for HTTP.
    let (gate, _provider) = gate("", |head, mut peer| speak(head.target(), &mut peer));
    let many: Vec<_> = (0..40).map(|_| connect(&gate, "/v1/responses", &[]).0).collect();
    for mut client in many {
        client.say(CREATE).unwrap();
        hear_response(&mut client);
    }
    assert!(TcpStream::connect(gate.addr).is_ok());
    assert_eq!(records(&gate, 80).len(), 80);
}
