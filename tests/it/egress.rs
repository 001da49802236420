//! The way out: which addresses are connected to, through which proxy, by which of several keys.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use loadtest::{Canned, Knobs, Request};
use weir::llm::dialect::paths::Flag;
use weir::policy::snapshot::{Credential, Origin, Provider, Proxy};
use weir::server::Options;

use crate::credentials::record_of;
use crate::gate::Gate;
use crate::providers::provider;

const ASK: &str = r#"{"model":"m","messages":[]}"#;

fn origin_of(addr: SocketAddr) -> Origin {
    Origin { tls: false, host: addr.ip().to_string(), port: addr.port() }
}

fn by_key(provider: &Provider, key: &str, at: SocketAddr) -> Arc<Provider> {
    let credential = Some(Credential { field: "authorization".into(), value: format!("Bearer {key}") });
    Arc::new(Provider { credential, origin: origin_of(at), ..provider.clone() })
}

#[test]
fn addresses_where_no_provider_can_be_are_never_connected_to() {
    for host in
        ["169.254.169.254", "0.0.0.0", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fe80::1", "::"]
    {
        let gate = Gate::before(|origin| {
            let at = Origin { host: host.into(), ..origin.clone() };
            vec![Provider { origin: at, ..provider("odd", &origin, &[Flag::OpenaiChat]) }]
        });
        let reply = gate.client().send(&Request::chat(ASK)).unwrap();
        assert_eq!(reply.status, 502, "{host}: {}", reply.text());
        assert!(reply.text().contains(r#""code":"closed_address""#), "{host}: {}", reply.text());
        assert!(!reply.text().contains(host), "the client is not told the address: {}", reply.text());
        let fault = record_of(&gate, reply.header("x-weir-id").unwrap()).fault.unwrap();
        assert_eq!(fault.side, "rule", "{host}: {fault:?}");
    }
}

#[test]
fn a_redirect_is_an_answer_and_is_not_followed() {
    let gate = Gate::before(|origin| vec![provider("moved", &origin, &[Flag::OpenaiChat])]);
    let elsewhere = format!("http://{}/v1/messages", gate.provider.addr);
    gate.provider.can("/v1/chat/completions", Canned::new(307).header("location", &elsewhere));
    let reply = gate.client().send(&Request::chat(ASK)).unwrap();
    assert_eq!((reply.status, reply.header("location")), (307, Some(elsewhere.as_str())));
    assert_eq!(gate.served(1).len(), 1);
}

/// A proxy that opens each way it is asked for with this answer, and tells what it was asked.
fn proxy(answer: &'static str) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let mut client = client;
            let (mut asked, mut byte) = (Vec::new(), [0]);
            while !asked.ends_with(b"\r\n\r\n") && client.read(&mut byte).is_ok_and(|n| n > 0) {
                asked.push(byte[0]);
            }
            let asked = String::from_utf8_lossy(&asked).into_owned();
            let place = asked.split(' ').nth(1).unwrap_or_default().to_owned();
            tell.send(asked).unwrap();
            client.write_all(answer.as_bytes()).unwrap();
            if answer.starts_with("HTTP/1.1 200") {
                both_ways(client, TcpStream::connect(place).unwrap());
            }
        }
    });
    (addr, told)
}

fn both_ways(client: TcpStream, server: TcpStream) {
    for (mut from, mut to) in [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)] {
        std::thread::spawn(move || std::io::copy(&mut from, &mut to));
    }
}

#[test]
fn a_proxy_opens_the_way_and_its_refusal_is_told() {
    for (answer, status) in
        [("HTTP/1.1 200 Fine\r\n\r\n", 200), ("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", 502)]
    {
        let (addr, told) = proxy(answer);
        let gate = Gate::before(|origin| {
            let proxy = Proxy { origin: origin_of(addr), authorization: Some("Basic bWU=".into()) };
            vec![Provider { proxy: Some(proxy), ..provider("far", &origin, &[Flag::OpenaiChat]) }]
        });
        let mut client = gate.client();
        for _ in 0..2 {
            let reply = client.send(&Request::chat(ASK)).unwrap();
            assert_eq!(reply.status, status, "{answer}: {}", reply.text());
        }
        let asked = told.recv_timeout(Duration::from_secs(5)).unwrap();
        let place = gate.provider.addr;
        assert_eq!(
            asked,
            format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\nProxy-Authorization: Basic bWU=\r\n\r\n")
        );
        if status == 200 {
            assert!(told.try_recv().is_err(), "the connection is kept, tunnel and all");
        }
    }
}

#[test]
fn a_key_that_is_refused_for_load_rests_and_another_takes_its_place() {
    let other = loadtest::Provider::start(Knobs { keep: true, ..Knobs::default() });
    let gate = Gate::before(|origin| {
        let base = provider("two", &origin, &[Flag::OpenaiChat]);
        let here: SocketAddr = format!("{}:{}", origin.host, origin.port).parse().unwrap();
        let keys = vec![by_key(&base, "one", here), by_key(&base, "two", other.addr)];
        vec![Provider { keys, ..base }]
    });
    gate.provider.can("*", Canned::new(429).header("retry-after", "60").body("{}"));
    let mut client = gate.client();
    for _ in 0..3 {
        assert_eq!(client.send(&Request::chat(ASK)).unwrap().status, 200);
    }
    assert_eq!(gate.served(1).len(), 1, "the first key is asked once and then left alone");
    let served = other.wait(3, Duration::from_secs(5));
    assert_eq!(served.len(), 3);
    assert!(served.iter().all(|served| served.header("authorization") == Some("Bearer two")));
    // With nobody left to ask, the client hears the provider itself.
    other.can("*", Canned::new(429).header("retry-after", "7").body("full"));
    let reply = client.send(&Request::chat(ASK)).unwrap();
    assert_eq!((reply.status, reply.text().as_str()), (429, "{}"));
    let record = record_of(&gate, reply.header("x-weir-id").unwrap());
    let attempts: Vec<_> = record.attempts.iter().map(|attempt| attempt.key).collect();
    assert_eq!(attempts, [1, 0], "{:?}", record.attempts);
}

/// A connection whose long answer has begun.
fn under_way(gate: &Gate) -> TcpStream {
    let long =
        Request::chat(r#"{"model":"m","stream":true,"messages":[]}"#).synthetic("events=1000,delay_ms=20");
    let mut held = TcpStream::connect(gate.addr).unwrap();
    held.write_all(&long.wire("localhost")).unwrap();
    let mut first = [0; 12];
    held.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    held
}

#[test]
fn a_provider_has_its_own_patience_and_its_own_bound() {
    let gate = Gate::before(|origin| {
        let base = provider("slow", &origin, &[Flag::OpenaiChat]);
        vec![Provider { first_byte: Some(Duration::from_millis(200)), connections_max: Some(1), ..base }]
    });
    let slow = Request::chat(ASK).synthetic("head_ms=60000");
    let reply = gate.client().send(&slow).unwrap();
    assert_eq!(reply.status, 504, "{}", reply.text());
    let held = under_way(&gate);
    let full = gate.client().send(&Request::chat(ASK)).unwrap();
    assert_eq!((full.status, full.header("retry-after")), (503, Some("1")), "{}", full.text());
    drop(held);
}

#[test]
fn an_exchange_ends_when_its_whole_time_is_over() {
    let total = Some(Duration::from_millis(1500));
    let gate = Gate::before(|origin| {
        vec![Provider { total, ..provider("slow", &origin, &[Flag::OpenaiChat, Flag::AnthropicMessages]) }]
    });
    let silent = gate.client().send(&Request::chat(ASK).synthetic("head_ms=60000")).unwrap();
    assert_eq!(silent.status, 504, "{}", silent.text());
    assert_eq!(gate.record(&silent)["fault"]["kind"], "total_timeout");
    // Each event comes in time, and all of them together do not.
    let stream = r#"{"model":"m","stream":true,"messages":[]}"#;
    let long = gate.client().send(&Request::chat(stream).synthetic("events=1000,delay_ms=20")).unwrap();
    assert_eq!((long.status, long.ended.clone()), (200, loadtest::Ended::Truncated));
    let record = gate.record(&long);
    assert_eq!(
        (&record["fault"]["kind"], &record["fault"]["cause"]),
        (&"total_timeout".into(), &"upstream_idle_timeout".into())
    );
    // A bound of one exchange is none of the next on the same connection: each has time to spare, the three together have not.
    let mut client = gate.client();
    for _ in 0..3 {
        let reply = client.send(&Request::chat(stream).synthetic("events=30,delay_ms=20")).unwrap();
        assert_eq!((reply.status, reply.ended), (200, loadtest::Ended::Complete));
    }
}

#[test]
fn one_principal_leaves_room_for_others() {
    let limits = weir::policy::snapshot::Limits { per_principal_max: Some(1), ..Default::default() };
    let gate = Gate::with(loadtest::Knobs::default(), limits, |options| options);
    let held = under_way(&gate);
    let full = gate.client().send(&Request::chat(ASK)).unwrap();
    assert_eq!((full.status, full.header("retry-after")), (429, Some("1")), "{}", full.text());
    assert!(full.text().contains("rate_limit_exceeded") && full.header("x-should-retry").is_none());
    let record = gate.record(&full);
    assert_eq!((&record["fault"]["kind"], &record["outcome"]), (&"principal_full".into(), &"refused".into()));
    drop(held);
    crate::gate::wait_for("room", || {
        (gate.client().send(&Request::chat(ASK)).unwrap().status == 200).then_some(())
    });
}

#[test]
fn the_bound_of_a_principal_holds_for_all_cores_together() {
    let limits = weir::policy::snapshot::Limits { per_principal_max: Some(4), ..Default::default() };
    let gate =
        Gate::with(loadtest::Knobs::default(), limits, |options| Options { cores: Some(2), ..options });
    let ask = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nx-synthetic: head_ms=60000\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{ASK}",
        ASK.len()
    );
    let mut many: Vec<TcpStream> = (0..24).map(|_| TcpStream::connect(gate.addr).unwrap()).collect();
    for client in &mut many {
        client.write_all(ask.as_bytes()).unwrap();
        client.set_nonblocking(true).unwrap();
    }
    // Counted core by core, up to twice as many would run, and wait in silence.
    let mut head = [0; 12];
    crate::gate::wait_for("twenty refusals", || {
        let answered = many.iter().filter(|client| client.peek(&mut head).is_ok()).count();
        (answered == 20).then_some(())
    });
    let refused = many.iter().filter(|client| client.peek(&mut head).is_ok()).count();
    assert_eq!((refused, &head), (20, b"HTTP/1.1 429"));
}
