//! Peers that keep to no time and no order: providers that answer early, twice or byte by byte, clients that leave or never
//! pause. What one of them does is felt by nobody else.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use loadtest::{Knobs, Request};
use weir::base::clock;
use weir::policy::snapshot::Limits;

use crate::gate::{Gate, wait_for};

const ASK: &str = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;

/// Before a provider that does with its nth connection what it is told.
fn before(limits: Limits, serve: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> Gate {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("an address");
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for (nth, stream) in listener.incoming().flatten().enumerate() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream, nth));
        }
    });
    at(addr, limits)
}

fn at(addr: SocketAddr, limits: Limits) -> Gate {
    Gate::with(Knobs::default(), limits, |mut options| {
        let mut snapshot = (*options.snapshot).clone();
        for provider in &mut snapshot.providers {
            let mut moved = (**provider).clone();
            moved.origin.port = addr.port();
            *provider = moved.into();
        }
        options.snapshot = snapshot.into();
        options
    })
}

/// Read until the blank line; false at the end of the connection.
fn read_head(stream: &mut TcpStream) -> bool {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return false,
        }
    }
    true
}

fn post(body: &str) -> String {
    let length = body.len();
    format!("POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// Larger than the buffers of two sockets.
fn long_body() -> String {
    ASK.replace("hi", &"x".repeat(12 << 20))
}

/// As it stands in the store.
fn outcomes(gate: &Gate) -> Vec<(String, String)> {
    let (_, text) = gate.control("/api/requests");
    let all: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap_or_default();
    let word = |record: &serde_json::Value, name: &str| record[name].as_str().unwrap_or_default().to_owned();
    all.iter().map(|record| (word(record, "outcome"), word(record, "fault"))).collect()
}

const REFUSED: &str = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\n{}";
const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

/// The provider would read the next request as the rest of the first one's body.
#[test]
fn a_connection_on_which_a_request_is_not_whole_is_nobody_elses() {
    let gate = before(Limits::default(), |mut stream, nth| {
        read_head(&mut stream);
        let answer = if nth == 0 { REFUSED } else { ANSWER };
        stream.write_all(answer.as_bytes()).expect("the gateway reads");
        // Open, and not read, for as long as it is not closed.
        if nth == 0 {
            std::thread::park();
        }
    });
    let mut client = gate.client();
    assert_eq!(client.send(&Request::messages(long_body())).expect("an answer").status, 413);
    assert_eq!(client.send(&Request::messages(ASK)).expect("an answer").status, 200);
}

#[test]
fn a_client_that_leaves_while_its_request_cannot_go_on_is_noticed() {
    let (reached, reaches) = std::sync::mpsc::channel();
    let gate = before(Limits::default(), move |mut stream, _| {
        read_head(&mut stream);
        let _ = reached.send(());
        std::thread::park();
    });
    let mut client = TcpStream::connect(gate.addr).expect("the gateway accepts");
    client.write_all(post(&long_body()).as_bytes()).expect("the gateway reads all of it");
    reaches.recv().expect("the provider has the head");
    drop(client);
    let seen = wait_for("the record", || outcomes(&gate).pop());
    assert_eq!(seen, ("client_gone".to_owned(), "client_gone".to_owned()));
}

/// The provider has answered, so that nothing more of the request is read, its end included.
#[test]
fn a_client_that_leaves_within_an_upload_that_was_answered_is_noticed() {
    let gate = before(Limits::default(), |mut stream, _| {
        read_head(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nfirst").expect("the gateway reads");
        std::thread::park();
    });
    let mut client = TcpStream::connect(gate.addr).expect("the gateway accepts");
    let body = post(&long_body());
    client.write_all(&body.as_bytes()[..body.len() - (8 << 20)]).expect("the gateway reads");
    assert!(read_head(&mut client), "an early answer");
    drop(client);
    let seen = wait_for("the record", || outcomes(&gate).pop());
    assert_eq!(seen, ("client_gone".to_owned(), "client_gone".to_owned()));
}

/// Each byte wakes the exchange, and so does its time limit, at times together with one.
#[test]
fn an_answer_whose_head_comes_byte_by_byte_has_its_time_and_no_more() {
    let limits = Limits { first_byte: Duration::from_millis(200), ..Limits::default() };
    let gate = before(limits, |mut stream, _| {
        read_head(&mut stream);
        let _ = stream.set_nodelay(true);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX-Slow: ");
        // As long as a head may be, at this pace, is half a minute.
        while stream.write_all(b"x").is_ok() {
            clock::pause(Duration::from_micros(500));
        }
    });
    let replies: Vec<u16> =
        (0..3).map(|_| gate.client().send(&Request::messages(ASK)).expect("an answer").status).collect();
    assert_eq!(replies, [504; 3]);
}

/// Ids of exchanges grow with the time they began at.
#[test]
fn who_asks_without_pause_keeps_nobody_waiting() {
    const MANY: usize = 4000;
    let gate = Gate::start(Knobs::default());
    let one = "GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut greedy = TcpStream::connect(gate.addr).expect("the gateway accepts");
    let mut answers = greedy.try_clone().expect("a descriptor");
    let asking = std::thread::spawn(move || greedy.write_all(one.repeat(MANY).as_bytes()));
    assert!(read_head(&mut answers), "it is being served");
    let id = |text: &str| {
        let last = text.rfind("x-weir-id: ").expect("an id");
        text[last..].lines().next().expect("a line").to_owned()
    };
    let between = id(&gate.raw(one.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").as_bytes()));
    let mut rest = String::new();
    while rest.matches("HTTP/1.1 200").count() < MANY - 1 || !rest.ends_with('}') {
        let mut block = [0; 64 * 1024];
        let n = answers.read(&mut block).expect("more answers");
        assert!(n > 0, "all are answered");
        rest.push_str(&String::from_utf8_lossy(&block[..n]));
    }
    asking.join().expect("a thread").expect("all was read");
    assert!(between < id(&rest), "asked in the midst of them, and served after all of them");
}

#[test]
fn who_sends_without_pause_keeps_nobody_waiting() {
    let gate = Gate::start(Knobs::default());
    // Read to its end here, since the model comes last.
    let body =
        format!(r#"{{"messages":[{{"role":"user","content":"{}"}}],"model":"m"}}"#, "x".repeat(40 << 20));
    let request = post(&body);
    let mut greedy = TcpStream::connect(gate.addr).expect("the gateway accepts");
    let sent = Arc::new(AtomicUsize::new(0));
    let so_far = sent.clone();
    let sending = std::thread::spawn(move || {
        for piece in request.as_bytes().chunks(64 * 1024) {
            greedy.write_all(piece).expect("the gateway reads");
            so_far.fetch_add(piece.len(), Ordering::Relaxed);
        }
        greedy
    });
    wait_for("a part of it", || (sent.load(Ordering::Relaxed) > 1 << 20).then_some(()));
    let answer = gate.raw(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let by_then = sent.load(Ordering::Relaxed);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(by_then < body.len(), "answered only once all of the other's {} bytes had been read", body.len());
    drop(sending.join().expect("a thread"));
}
