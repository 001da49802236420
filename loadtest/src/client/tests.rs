//! Provider and client against each other over real sockets.

use super::*;
use crate::{Canned, End, Provider};

const BODY: &str = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"hello there"}]}"#;
const LIMIT: Duration = Duration::from_secs(5);

fn check(provider: &Provider, knobs: &str) -> Checked {
    let request = Request::messages(BODY).synthetic(knobs);
    Client::new(provider.addr)
        .timeout(Duration::from_secs(3))
        .check(&request, provider.knobs())
        .expect("an exchange")
}

#[test]
fn both_dialects_whole_and_streaming_on_one_connection() {
    let provider = Provider::start(Knobs::default());
    let mut client = Client::new(provider.addr);
    let requests = [
        Request::messages(BODY),
        Request::chat(BODY),
        Request::messages(BODY).synthetic("stream=0"),
        Request::chat(BODY).synthetic("stream=0,tools=2"),
        Request::messages(BODY).synthetic("events=50,bytes=300,join=4000,interim=1"),
        Request::chat(BODY).synthetic("events=20,split=11,chunk=50,stamp=1"),
        Request::get("/v1/models"),
        Request::new("HEAD", "/", b""),
        Request::new("POST", "/v1/messages/count_tokens", BODY),
        Request { chunk: Some(7), ..Request::messages(BODY) },
    ];
    for request in &requests {
        let checked = client.check(request, provider.knobs()).expect("an exchange");
        assert!(checked.perfect(), "{request:?} {checked:?}");
    }
    let truth = provider.wait(requests.len(), LIMIT);
    assert_eq!(truth.len(), requests.len());
    assert!(truth.iter().all(|s| s.connection == 1 && s.end == End::Complete));
    assert_eq!(truth[9].request_bytes as usize, BODY.len());
    assert_eq!(provider.connections().0, 1);
    assert!(truth.iter().all(|s| crate::json::Value::parse(s.json().as_bytes()).is_some()));
}

#[test]
fn faults_look_as_they_should() {
    let provider = Provider::start(Knobs::of("events=40"));
    let ended = |knobs| {
        let checked = check(&provider, knobs);
        assert_eq!(checked.mismatch, None, "{knobs}");
        (checked.reply.ended, checked.events)
    };
    assert_eq!(ended("fault=truncate@5"), (Ended::Truncated, 5));
    assert_eq!(ended("fault=close"), (Ended::Truncated, 0));
    assert_eq!(ended("fault=badchunk@5"), (Ended::Broken("chunk size without digits"), 5));
    assert_eq!(ended("fault=garbage"), (Ended::Broken("not HTTP/1"), 0));
    assert_eq!(ended("fault=error@8"), (Ended::Complete, 9));
    assert_eq!(ended("close=1").0, Ended::Complete);
    // The pause lets the client read what came before the RST: a reset may discard what was not read yet.
    assert_eq!(ended("fault=reset@5,delay_ms=5").0, Ended::Reset);
    let mut truth = provider.wait(7, LIMIT);
    truth.sort_by_key(|s| s.number);
    let ends: Vec<_> = truth.iter().map(|s| s.end.name()).collect();
    assert_eq!(ends, ["truncate", "close", "badchunk", "garbage", "error", "complete", "reset"]);
    let checked = check(&provider, "fault=429,retry_after=3");
    assert_eq!((checked.reply.status, checked.reply.header("retry-after")), (429, Some("3")));
}

#[test]
fn a_stall_times_out_and_leaving_is_noticed() {
    let provider = Provider::start(Knobs::of("events=400"));
    let request = Request::messages(BODY).synthetic("fault=stall@4");
    let mut client = Client::new(provider.addr).timeout(Duration::from_millis(200));
    let checked = client.check(&request, provider.knobs()).expect("an exchange");
    assert_eq!((checked.reply.ended, checked.events), (Ended::TimedOut, 4));

    let request = Request::messages(BODY).synthetic("delay_ms=5");
    let reading = Reading { leave_after: Some(10), slow: None };
    let mut client = Client::new(provider.addr);
    let checked = client.check_reading(&request, provider.knobs(), reading).expect("an exchange");
    assert_eq!((checked.reply.ended, checked.mismatch), (Ended::Left, None));
    let truth = provider.wait(2, LIMIT);
    assert_eq!(truth[1].end, End::ClientGone);
    assert!((10..50).contains(&truth[1].events), "{}", truth[1].events);
}

#[test]
fn a_slow_reader_gets_the_same_bytes() {
    let provider = Provider::start(Knobs::of("events=30,bytes=200,stamp=1"));
    let reading = Reading { leave_after: None, slow: Some((500, Duration::from_millis(1))) };
    let request = Request::chat(BODY);
    let checked =
        Client::new(provider.addr).check_reading(&request, provider.knobs(), reading).expect("an exchange");
    assert!(checked.perfect());
    assert_eq!(checked.delays_ns.len(), 30);
}

#[test]
fn canned_bytes_in_any_framing_and_cutting() {
    let provider = Provider::start(Knobs::default());
    let body: String = (0..400).map(|i| format!("data: {i}\n\n")).collect();
    let canned = Canned::new(200).header("content-type", "text/event-stream").body(&body);
    let pause = Duration::from_micros(200);
    provider.can("length", canned.clone());
    provider.can("chunks", canned.clone().chunked(&[1, 2, 500]).cuts(3, 900).pause(pause));
    provider.can("close", canned.clone().close_delimited());
    provider.can("/v1/path", canned.clone().chunked(&[]));
    let mut client = Client::new(provider.addr);
    for name in ["length", "chunks", "/v1/path", "close"] {
        let request = Request::new("POST", "/v1/path?x=1", "{}").header("x-canned", name);
        let reply = client.send(&request).expect("an exchange");
        assert_eq!((reply.ended.clone(), reply.text()), (Ended::Complete, body.clone()), "{name}");
    }
    provider.can("*", Canned::raw("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort"));
    let reply = client.send(&Request::get("/any")).expect("an exchange");
    assert_eq!((reply.ended, reply.body), (Ended::Truncated, b"short".to_vec()));
    provider.can("*", canned.then_reset());
    let ended = client.send(&Request::get("/any")).expect("an exchange").ended;
    assert!(matches!(ended, Ended::Complete | Ended::Reset));
}

#[test]
fn stopping_cuts_what_is_open() {
    let provider = Provider::start(Knobs::of("fault=stall@2"));
    let addr = provider.addr;
    let reader = thread::spawn(move || Client::new(addr).send(&Request::messages(BODY)));
    while provider.requests().0 == 0 {
        thread::sleep(Duration::from_millis(1));
    }
    drop(provider);
    let reply = reader.join().expect("no panic").expect("an exchange");
    assert!(matches!(reply.ended, Ended::Truncated | Ended::Reset), "{:?}", reply.ended);
    assert!(TcpStream::connect(addr).is_err());
}

#[test]
fn gzipped_answers_are_compared_unpacked() {
    let provider = Provider::start(Knobs::of("gzip=1,events=30,stamp=1"));
    let mut client = Client::new(provider.addr);
    let stream = br#"{"model":"m","stream":true,"messages":[]}"#;
    for (i, body) in [&stream[..], br#"{"model":"m","messages":[]}"#].into_iter().enumerate() {
        let request = Request::messages(body);
        let plain = client.check(&request, provider.knobs()).expect("sent");
        assert!(plain.perfect() && plain.reply.header("content-encoding").is_none());
        let packed = client.check(&request.header("accept-encoding", "br, gzip;q=0.5"), provider.knobs());
        let packed = packed.expect("sent");
        assert!(packed.perfect(), "{packed:?}");
        assert_eq!(packed.reply.header("content-encoding"), Some("gzip"));
        assert_eq!(packed.events, plain.events);
        let written = provider.wait(2 * i + 2, LIMIT).pop().map(|served| served.body_bytes);
        assert_eq!(written, Some(packed.reply.body_bytes as u64));
    }
    let cut = Request::messages(stream).header("accept-encoding", "gzip").synthetic("fault=truncate@9");
    assert!(!client.check(&cut, provider.knobs()).expect("sent").perfect());
}
