//! What must be refused, and what must survive: requests that break the rules, providers that break off.

use std::time::Duration;

use loadtest::{Canned, Ended, Knobs, Request};
use weir::policy::snapshot::Limits;

use crate::gate::Gate;

const ASK: &str =
    r#"{"model":"m","max_tokens":64,"stream":true,"messages":[{"role":"user","content":"hi"}]}"#;

fn post(fields: &str, body: &str) -> String {
    format!("POST /v1/messages HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n{body}")
}

#[test]
fn smuggling_shapes_are_refused_and_the_connection_closed() {
    let gate = Gate::start(Knobs::default());
    let hidden = "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    for (name, request, status) in [
        ("two lengths", post("Content-Length: 0\r\nContent-Length: 27\r\n", hidden), "400"),
        (
            "length and chunks",
            post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            "400",
        ),
        ("empty size line", post("Transfer-Encoding: chunked\r\n", "\r\n\r\nGET / HTTP/1.1\r\n\r\n"), "400"),
        (
            "identity then chunked",
            post("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", hidden),
            "501",
        ),
        ("chunked twice", post("Transfer-Encoding: chunked, chunked\r\n", hidden), "501"),
        ("bare LF", "GET / HTTP/1.1\nHost: localhost\n\n".into(), "400"),
        ("space before colon", post("Content-Length : 3\r\n", "abc"), "400"),
        ("folded line", post("X: a\r\n b\r\n", ""), "400"),
        ("no host", "GET /v1/models HTTP/1.1\r\n\r\n".into(), "400"),
        ("two hosts", post("Host: localhost\r\n", ""), "400"),
        ("version", "GET / HTTP/3.0\r\nHost: localhost\r\n\r\n".into(), "505"),
        ("connect", "CONNECT a:443 HTTP/1.1\r\nHost: localhost\r\n\r\n".into(), "400"),
    ] {
        let answer = gate.raw(request.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {answer}");
        assert_eq!(
            answer.matches("HTTP/1.1 ").count() - answer.matches("HTTP/1.1\"").count(),
            1,
            "{name}: {answer}"
        );
        assert!(answer.contains("connection: close"), "{name}: {answer}");
        assert!(answer.contains("x-weir-id: ") && answer.contains("{\"error\""), "{name}: {answer}");
    }
    assert!(gate.provider.truth().is_empty(), "nothing of this reached the provider");
}

#[test]
fn heads_and_bodies_are_bounded_in_size_and_time() {
    let limits = Limits {
        body_bytes_max: 1000,
        head_timeout: Duration::from_millis(300),
        body_idle: Duration::from_millis(300),
        ..Limits::default()
    };
    let gate = Gate::with(Knobs::default(), limits, |options| options);
    let long_name = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}: 1\r\n\r\n", "n".repeat(70_000));
    let endless = vec![b'a'; 20_000_000];
    let many = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "x: y\r\n".repeat(200));
    for (name, request, status) in [
        ("long name", long_name.into_bytes(), "431"),
        ("20 MB head", endless, "431"),
        ("200 fields", many.into_bytes(), "431"),
        ("declared too long", post("Content-Length: 1001\r\n", "").into_bytes(), "413"),
        (
            "chunks too long",
            post("Transfer-Encoding: chunked\r\n", &format!("3e9\r\n{}\r\n0\r\n\r\n", "x".repeat(1001)))
                .into_bytes(),
            "413",
        ),
        ("slow head", b"GET / HT".to_vec(), "408"),
        ("slow body", post("Content-Length: 10\r\n", "{").into_bytes(), "408"),
        ("not JSON", post("Content-Length: 3\r\n", "abc").into_bytes(), "400"),
    ] {
        let answer = gate.raw(&request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{name}: {}",
            &answer[..answer.len().min(300)]
        );
    }
    let reply = gate.client().send(&Request::messages(ASK)).unwrap();
    assert_eq!(reply.status, 200, "the process lives on");
}

#[test]
fn strangers_are_refused() {
    let gate = Gate::start(Knobs::default());
    for (name, request, status) in [
        (
            "foreign host",
            "POST /v1/messages HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
            "421",
        ),
        (
            "origin",
            "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\nConnection: close\r\n\r\n",
            "403",
        ),
        (
            "page with origin",
            "GET /ui HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\nConnection: close\r\n\r\n",
            "403",
        ),
        (
            "page by another name",
            "GET /metrics HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
            "421",
        ),
        (
            "front",
            "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 1.2.3.4\r\nConnection: close\r\n\r\n",
            "403",
        ),
        ("unknown path", "GET /v1/nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "404"),
        ("wrong method", "GET /v1/messages HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "405"),
        (
            "upgrade",
            "GET /v1/responses HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            "426",
        ),
    ] {
        let answer = gate.raw(request.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {answer}");
    }
}

#[test]
fn a_provider_that_breaks_off_is_told_as_it_is() {
    let gate = Gate::start(Knobs::default());
    let ended = |knobs: &str| gate.client().send(&Request::messages(ASK).synthetic(knobs)).unwrap();
    for fault in ["reset@5", "truncate@5", "badchunk@5"] {
        let reply = ended(&format!("events=50,delay_ms=2,fault={fault}"));
        assert_eq!(reply.status, 200);
        assert!(matches!(reply.ended, Ended::Truncated | Ended::Reset), "{fault}: {:?}", reply.ended);
        assert!(reply.body_bytes > 200, "{fault}: what came was forwarded ({} bytes)", reply.body_bytes);
    }
    for (fault, status) in [("close", 502), ("garbage", 502), ("429", 429), ("529", 529), ("500", 500)] {
        let reply = ended(&format!("fault={fault}"));
        assert_eq!((reply.status, &reply.ended), (status, &Ended::Complete), "{fault}");
    }
    assert_eq!(ended("fault=error@3").ended, Ended::Complete);
}

#[test]
fn a_provider_that_goes_silent_is_cut_in_time() {
    let limits = Limits {
        first_byte: Duration::from_millis(300),
        idle: Duration::from_millis(300),
        ..Limits::default()
    };
    let gate = Gate::with(Knobs::default(), limits, |options| options);
    let before = gate.client().send(&Request::messages(ASK).synthetic("head_ms=5000")).unwrap();
    assert_eq!(before.status, 504);
    let within = gate.client().send(&Request::messages(ASK).synthetic("events=50,fault=stall@5")).unwrap();
    assert_eq!((within.status, within.ended), (200, Ended::Truncated));
}

#[test]
fn responses_that_break_http_are_faults_of_the_provider() {
    let gate = Gate::start(Knobs::default());
    for (name, answer, expected) in [
        ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabc", 502),
        ("unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc", 502),
        ("bad status", "HTTP/1.1 99 X\r\n\r\n", 502),
        ("101", "HTTP/1.1 101 Switching Protocols\r\n\r\n", 502),
        ("empty", "", 502),
        ("no chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc", 502),
        (
            "a length that is said to be for us alone",
            "HTTP/1.1 200 OK\r\nConnection: content-length\r\nContent-Length: 3\r\n\r\nabc",
            200,
        ),
        ("100 then 200", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", 200),
        ("204 with length", "HTTP/1.1 204 No Content\r\nContent-Length: 10\r\n\r\n", 204),
        ("close-delimited", "HTTP/1.0 200 OK\r\n\r\nabc", 200),
    ] {
        gate.provider.can("/v1/messages", Canned::raw(answer));
        let reply = gate.client().timeout(Duration::from_secs(3)).send(&Request::messages(ASK)).unwrap();
        assert_eq!((reply.status, &reply.ended), (expected, &Ended::Complete), "{name}");
        if expected == 200 {
            assert_eq!(reply.text(), "abc", "{name}");
        }
    }
}

#[test]
fn nobody_listening_is_a_502() {
    let gate = Gate::start(Knobs::default());
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    drop(gate);
    let snapshot_gate = Gate::with(Knobs::default(), Limits::default(), |mut options| {
        let mut snapshot = (*options.snapshot).clone();
        let mut provider = (*snapshot.providers[0]).clone();
        provider.origin.port = closed.port();
        snapshot.providers[0] = provider.into();
        options.snapshot = snapshot.into();
        options
    });
    let reply = snapshot_gate.client().send(&Request::messages(ASK)).unwrap();
    assert_eq!(reply.status, 502);
    assert!(reply.text().contains("no connection to the provider"), "{}", reply.text());
    let id = reply.header("x-weir-id").expect("an id").to_owned();
    let reader = weir::record::store::Reader::open(snapshot_gate.data.path()).unwrap();
    let kept = (0..200).find_map(|_| {
        weir::base::clock::pause(Duration::from_millis(25));
        reader.show(&id).unwrap()
    });
    let kept = kept.expect("a record of what failed");
    assert_eq!(kept.record.bytes.request_received, ASK.len() as u64);
    assert_eq!(kept.request_body.as_deref(), Some(ASK.as_bytes()), "what was sent in vain is kept");
    assert_eq!(kept.record.outcome, weir::record::record::Outcome::ProviderError, "nobody listened there");
}

#[test]
fn a_port_that_is_taken_is_an_error_even_for_another_gateway_of_the_same_user() {
    let gate = Gate::start(Knobs::default());
    let taken = weir::server::Options {
        listen: vec![gate.addr],
        data: tempfile::tempdir().unwrap().path().join("other"),
        cores: Some(1),
        ..weir::server::Options::default()
    };
    let why = weir::server::Server::start(taken).err().expect("the port is taken").to_string();
    assert!(why.contains("another program listens there"), "{why}");
}
