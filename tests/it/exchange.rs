//! Exchanges over real sockets: bytes in equal bytes out, whatever the framing.

use std::time::Duration;

use loadtest::{Canned, Ended, Knobs, Reading, Request};

use crate::gate::{Gate, SECRET};

const ASK: &str = r#"{"model":"claude-sonnet-4-5","max_tokens":64,"stream":true,"messages":[{"role":"user","content":"hello"}]}"#;
const CHAT: &str = r#"{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"hello"}]}"#;

#[test]
fn streams_of_both_dialects_pass_byte_for_byte_over_kept_connections() {
    let gate = Gate::start(Knobs::default());
    let mut client = gate.client();
    for round in 0..3 {
        for request in [Request::messages(ASK), Request::chat(CHAT)] {
            let checked = client.check(&request, gate.provider.knobs()).unwrap();
            assert!(checked.perfect(), "round {round}: {checked:?}");
            assert_eq!(checked.reply.header("x-weir-id").map(str::len), Some(26));
        }
    }
    let truth = gate.served(6);
    assert_eq!(truth.len(), 6);
    assert!(
        gate.provider.connections().0 <= 2,
        "provider connections are kept: {:?}",
        gate.provider.connections()
    );
}

#[test]
fn credentials_are_replaced() {
    let gate = Gate::start(Knobs::default());
    let request =
        Request::messages(ASK).header("x-api-key", "theirs").header("authorization", "Bearer theirs");
    gate.client().send(&request).unwrap();
    let served = &gate.served(1)[0];
    assert_eq!(served.header("x-api-key"), Some(SECRET));
    assert_eq!(served.header("authorization"), None);
    assert_eq!(served.header("anthropic-version"), Some("2023-06-01"));
}

#[test]
fn every_framing_of_a_response_arrives_whole() {
    let gate = Gate::start(Knobs::default());
    let body: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
    let canned = || Canned::new(200).header("content-type", "application/octet-stream").body(&body);
    for (name, answer) in [
        ("length", canned()),
        ("chunks", canned().chunked(&[1, 7, 4096, 60_000])),
        ("close", canned().close_delimited()),
        ("cut", canned().chunked(&[100]).cuts(7, 3000)),
        ("byte by byte head", canned().writes(&[1, 1, 1, 1, 50, 100_000])),
    ] {
        gate.provider.can("/v1/messages", answer);
        let reply = gate.client().send(&Request::messages(ASK)).unwrap();
        assert_eq!((reply.status, &reply.ended), (200, &Ended::Complete), "{name}");
        assert!(reply.body == body, "{name}: {} bytes of {}", reply.body.len(), body.len());
    }
}

#[test]
fn requests_of_any_framing_are_framed_anew() {
    let gate = Gate::start(Knobs { keep: true, ..Knobs::default() });
    let long = format!(
        r#"{{"messages":[{{"role":"user","content":"{}"}}],"stream":true,"max_tokens":9,"model":"m"}}"#,
        "x".repeat(300_000)
    );
    let mut client = gate.client();
    for chunk in [None, Some(1000), Some(70_000)] {
        let mut request = Request::messages(&long);
        request.chunk = chunk;
        let checked = client.check(&request, gate.provider.knobs()).unwrap();
        assert!(checked.perfect(), "{chunk:?}: {checked:?}");
    }
    for served in gate.provider.truth() {
        assert!(served.request_body == long.as_bytes());
    }
}

#[test]
fn an_early_model_lets_the_upload_begin_before_the_client_has_finished() {
    use std::io::{Read, Write};
    let gate = Gate::start(Knobs { keep: true, ..Knobs::default() });
    let start = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":""#;
    let end = r#""}]}"#;
    let length = start.len() + 100_000 + end.len();
    let mut stream = std::net::TcpStream::connect(gate.addr).unwrap();
    let head =
        format!("POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{start}");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&vec![b'y'; 99_999]).unwrap();
    let begun = (0..200).any(|_| {
        weir::base::clock::pause(Duration::from_millis(10));
        gate.provider.connections().0 == 1
    });
    assert!(begun, "the provider is called while the body still arrives");
    assert_eq!(gate.provider.requests().1, 0);
    stream.write_all(b"y").unwrap();
    stream.write_all(end.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    assert_eq!(gate.provider.wait(1, Duration::from_secs(5))[0].request_bytes, length as u64);
}

#[test]
fn a_client_that_leaves_cancels_upstream_at_once() {
    let gate = Gate::start(Knobs::default());
    let slow = Request::messages(ASK).synthetic("events=1000,delay_ms=20");
    let leave = Reading { leave_after: Some(5), ..Reading::default() };
    let left = gate.client().check_reading(&slow, gate.provider.knobs(), leave).unwrap();
    assert_eq!(left.reply.ended, Ended::Left);
    let silent = Request::messages(ASK).synthetic("head_ms=60000");
    let waited = gate.client().timeout(Duration::from_millis(300)).send(&silent).unwrap();
    assert_eq!(waited.ended, Ended::TimedOut);
    let served = gate.provider.wait(2, Duration::from_secs(5));
    assert_eq!(served.len(), 2, "both generations are cancelled");
    assert!(served[0].events < 200, "{} events after the client had left", served[0].events);
}

#[test]
fn a_stale_pooled_connection_is_replaced_unnoticed() {
    let gate = Gate::start(Knobs::default());
    let mut client = gate.client();
    for _ in 0..3 {
        assert!(client.check(&Request::messages(ASK), gate.provider.knobs()).unwrap().perfect());
        gate.provider.cut();
    }
    assert_eq!(gate.served(3).len(), 3);
}

#[test]
fn a_slow_reader_is_waited_for_and_gets_everything() {
    let gate = Gate::start(Knobs::default());
    let big = Request::messages(ASK).synthetic("events=3000,bytes=1000");
    let slow = Reading { slow: Some((64 * 1024, Duration::from_millis(5))), ..Reading::default() };
    let checked = gate.client().check_reading(&big, gate.provider.knobs(), slow).unwrap();
    assert!(checked.perfect(), "{:?}", checked.mismatch);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let gate = Gate::start(Knobs::default());
    let one = Request::messages(ASK).synthetic("stream=0").wire("localhost");
    let last = Request::chat(CHAT).synthetic("stream=0").header("connection", "close").wire("localhost");
    let both = [one.clone(), one, last].concat();
    let answer = gate.raw(&both);
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 3, "{answer}");
    assert!(answer.rfind("chat.completion") > answer.rfind("\"type\":\"message\""));
}

#[test]
fn http_1_0_clients_get_no_chunks() {
    let gate = Gate::start(Knobs::default());
    let head = format!("POST /v1/messages HTTP/1.0\r\ncontent-length: {}\r\n\r\n{ASK}", ASK.len());
    let answer = gate.raw(head.as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(!head.to_lowercase().contains("transfer-encoding"), "{head}");
    assert!(body.starts_with("event: message_start"), "{body}");
    assert!(body.trim_end().ends_with("}"), "the last event is whole");
}

#[test]
fn expect_100_continue_is_answered_before_the_body() {
    use std::io::{Read, Write};
    let gate = Gate::start(Knobs::default());
    let mut stream = std::net::TcpStream::connect(gate.addr).unwrap();
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        ASK.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(ASK.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[test]
fn informational_responses_pass_and_are_not_the_answer() {
    let gate = Gate::start(Knobs::default());
    let checked =
        gate.client().check(&Request::messages(ASK).synthetic("interim=1"), gate.provider.knobs()).unwrap();
    assert!(checked.perfect());
    assert_eq!(checked.reply.interim, [103]);
}

#[test]
fn a_panic_ends_the_exchange_and_not_the_core() {
    let panicking = |options| weir::server::Options { panic_path: Some("/v1/complete".into()), ..options };
    let gate = Gate::with(Knobs::default(), Default::default(), panicking);
    let reply = gate.client().send(&Request::new("POST", "/v1/complete", ASK)).unwrap();
    assert_eq!(reply.status, 500);
    assert!(gate.client().check(&Request::messages(ASK), gate.provider.knobs()).unwrap().perfect());
}
