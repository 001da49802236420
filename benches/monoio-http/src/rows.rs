//! The rows: one fault each, with what a conforming server or proxy must do with that input.

use std::io::{Read, Write};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use monoio::io::Splitable;
use monoio::io::sink::SinkExt;
use monoio::io::stream::Stream;
use monoio_http::common::body::{Body, StreamHint};
use monoio_http::common::request::Request;
use monoio_http::h1::codec::decoder::{DecodeError, FillPayload, RequestDecoder};
use monoio_http::h1::codec::encoder::EncodeError;
use monoio_http::h1::codec::{ClientCodec, ServerCodec};
use monoio_http::h1::payload::{Payload, stream_payload_pair};
use monoio_transports::connectors::{Connector, TcpConnector};
use monoio_transports::http::HttpConnector;

use crate::stage::{
    Seen, cpu_ms, far_end, ms_since, on_loop, pause, peak_mib, peer, pour, requests, says, story, took,
    within,
};

pub struct Row {
    pub number: &'static str,
    pub name: &'static str,
    pub input: &'static str,
    pub must: &'static str,
    pub run: fn() -> Seen,
}

pub const ROWS: &[Row] = &[
    Row {
        number: "1",
        name: "sse-late",
        input: "a server's event stream, 100 events of 160 B, one each 5 ms",
        must: "each event goes out when it is there: RFC 9110 §7.6 permits a relay to buffer, a reader of events cannot live with it",
        run: sse_late,
    },
    Row {
        number: "2",
        name: "client-buffers",
        input: "a chunked answer of 10 chunks, one each 50 ms, read through monoio-transports 0.5.3",
        must: "head and chunks reach the caller as they come (permitted not to, RFC 9110 §7.6; no stream lives with it)",
        run: client_buffers,
    },
    Row {
        number: "3",
        name: "long-name",
        input: "a field name of 70,000 bytes",
        must: "a 4xx answer (RFC 9110 §5.4), the process unharmed",
        run: long_name,
    },
    Row {
        number: "4",
        name: "two-lengths",
        input: "Content-Length: 0 and a second one that covers a hidden request",
        must: "400 and close (RFC 9112 §6.3 rule 5)",
        run: two_lengths,
    },
    Row {
        number: "5",
        name: "empty-size-line",
        input: "a chunked body that starts with an empty size line, a hidden request behind it",
        must: "400: a chunk size has at least one digit (RFC 9112 §7.1)",
        run: empty_size_line,
    },
    Row {
        number: "6",
        name: "identity-then-chunked",
        input: "Transfer-Encoding: identity, then a second one: chunked",
        must: "one list; unknown coding: 501 or 400, never `no body` (RFC 9112 §6.1, §6.3 rule 4)",
        run: identity_then_chunked,
    },
    Row {
        number: "7",
        name: "both-lengths",
        input: "Content-Length and Transfer-Encoding together, a next request behind",
        must: "400, or at the least nothing more from this connection (RFC 9112 §6.1, §6.3 rule 3)",
        run: both_lengths,
    },
    Row {
        number: "8",
        name: "until-close",
        input: "an answer without length or chunks, ended by close",
        must: "the body is all until the close (RFC 9112 §6.3 rule 8)",
        run: until_close,
    },
    Row {
        number: "9",
        name: "no-body-by-rule",
        input: "HEAD answered 200 with Content-Length: 5; GET answered 304 with the same",
        must: "no body, whatever the fields say (RFC 9112 §6.3 rule 1)",
        run: no_body_by_rule,
    },
    Row {
        number: "10",
        name: "interim",
        input: "103 Early Hints, then 200",
        must: "the 200 is the answer, interim ones come before it (RFC 9110 §15.2)",
        run: interim,
    },
    Row {
        number: "11",
        name: "extension-and-trailer",
        input: "a chunk extension; a trailer field",
        must: "unknown extensions are ignored (RFC 9112 §7.1.1), trailers are taken (§7.1.2)",
        run: extension_and_trailer,
    },
    Row {
        number: "12",
        name: "endless-head",
        input: "a 20 MiB field without end; a head that drips a byte each 50 ms, timeout set to 200 ms",
        must: "431 at a bound (RFC 6585 §5); a time limit for the whole head",
        run: endless_head,
    },
    Row {
        number: "13",
        name: "fixed-body-held",
        input: "100 kB body in two halves 400 ms apart; 64 MiB of a 1 TiB body",
        must: "the first half can be read when it is there; past a bound of the server's choice: 413 (RFC 9110 §15.5.14)",
        run: fixed_body_held,
    },
    Row {
        number: "14",
        name: "error-clone",
        input: "DecodeError::clone(), EncodeError::clone()",
        must: "a copy",
        run: error_clone,
    },
    Row {
        number: "15",
        name: "no-back-pressure",
        input: "64 MiB of chunks nobody reads; a body read without its pump",
        must: "a slow reader slows the sender; a body that has come can be read",
        run: no_back_pressure,
    },
    Row {
        number: "-",
        name: "expect",
        input: "Expect: 100-continue, body withheld until the 100",
        must: "100 or a final status is sent (RFC 9110 §10.1.1); a 100 has no Content-Length (§8.6)",
        run: expect,
    },
    Row {
        number: "-",
        name: "97-fields",
        input: "96 fields, then 97",
        must: "no fixed limit in the RFC (9110 §5.4): the server's to choose, then a 431",
        run: fields_97,
    },
    Row {
        number: "-",
        name: "slow-chunk",
        input: "one 64 kB chunk, its second half 400 ms after the first",
        must: "the first half can be read when it is there (as rows 1 and 2)",
        run: slow_chunk,
    },
    Row {
        number: "-",
        name: "old-tls",
        input: "the lock file of this very workspace",
        must: "no TLS library past its end of life in the tree",
        run: old_tls,
    },
    Row {
        number: "-",
        name: "control",
        input: "pipelined requests, absolute-form, an empty line before the request line",
        must: "all taken (RFC 9112 §9.3.2, §3.2.2, §2.2)",
        run: control,
    },
];

const EVENTS: usize = 100;
const EVENT_BYTES: usize = 160;
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nhost: a\r\n\r\n";
const FLOOD_BYTES: usize = 64 << 20;

fn sse_late() -> Seen {
    let start = Instant::now();
    let (report, arrivals) = mpsc::channel();
    let script = move |mut socket: std::net::TcpStream| {
        let _ = socket.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let _ = report.send(delays_by_read(&mut socket, start));
    };
    on_loop(async {
        let mut codec = ServerCodec::new(peer(script).await);
        let _request = codec.next().await.expect("a request").expect("a sound request");
        let (stream, mut sender) = stream_payload_pair();
        monoio::spawn(async move {
            for _ in 0..EVENTS {
                monoio::time::sleep(Duration::from_millis(5)).await;
                let event = format!("data: {}", start.elapsed().as_micros());
                sender.feed_data(Some(Bytes::from(format!("{event:158}\n\n"))));
            }
            sender.feed_data(None);
        });
        let response: Response<Payload> = Response::new(Payload::Stream(stream));
        codec.send_and_flush(response).await.expect("the answer goes out");
    });
    let (reads, mut late_us) = arrivals.recv_timeout(Duration::from_secs(3)).expect("the far end's account");
    late_us.sort_unstable();
    let (events, median_ms) = (late_us.len(), late_us[late_us.len() / 2] / 1_000);
    Seen::fault_if(
        reads < EVENTS / 2 || median_ms > 20,
        format!(
            "{events} events in {reads} reads, {} a read, median {median_ms} ms late",
            events / reads.max(1)
        ),
    )
}

/// How many reads brought events, and for each event the time between its making and its arrival.
fn delays_by_read(socket: &mut std::net::TcpStream, start: Instant) -> (usize, Vec<u128>) {
    let (mut text, mut read, mut reads, mut late_us) = (String::new(), [0; 65_536], 0, Vec::new());
    while late_us.len() < EVENTS {
        let n = socket.read(&mut read).unwrap_or(0);
        if n == 0 {
            break;
        }
        let now = start.elapsed().as_micros();
        text.push_str(&String::from_utf8_lossy(&read[..n]));
        let before = late_us.len();
        while let Some(at) = text.find("data: ").filter(|at| text.len() >= at + EVENT_BYTES) {
            let made: u128 = text[at + 6..at + EVENT_BYTES].trim().parse().expect("a time");
            late_us.push(now.saturating_sub(made));
            text.drain(..at + EVENT_BYTES);
        }
        reads += usize::from(late_us.len() > before);
    }
    (reads, late_us)
}

fn client_buffers() -> Seen {
    let start = Instant::now();
    let script = |mut socket: std::net::TcpStream| {
        let _ = socket.read(&mut [0; 1_024]);
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        for _ in 0..10 {
            pause(50);
            let _ = socket.write_all(b"5\r\nhello\r\n");
        }
        let _ = socket.write_all(b"0\r\n\r\n");
        pause(200);
    };
    let status = through_transports(script);
    let after_ms = ms_since(start);
    Seen::fault_if(
        after_ms > 250,
        format!(
            "head sent at once, last chunk after 500 ms; the call gave the response ({status}) after {after_ms} ms"
        ),
    )
}

fn long_name() -> Seen {
    let steps = requests(format!("GET / HTTP/1.1\r\nhost: a\r\n{}: 1\r\n\r\n", "n".repeat(70_000)));
    Seen::fault_if(took(&steps, "GET /"), story(&steps))
}

fn two_lengths() -> Seen {
    let steps = requests(format!(
        "POST /open HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\ncontent-length: {}\r\n\r\n{HIDDEN}",
        HIDDEN.len()
    ));
    Seen::fault_if(took(&steps, "POST /open"), story(&steps))
}

fn empty_size_line() -> Seen {
    let steps = requests(format!(
        "POST /open HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\r\n\r\n{HIDDEN}"
    ));
    Seen::fault_if(took(&steps, "POST /open"), story(&steps))
}

fn identity_then_chunked() -> Seen {
    let steps = requests(
        "POST /open HTTP/1.1\r\nhost: a\r\ntransfer-encoding: identity\r\ntransfer-encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\n\r\n",
    );
    Seen::fault_if(took(&steps, "POST /open"), story(&steps))
}

fn both_lengths() -> Seen {
    let steps = requests(format!(
        "POST /open HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\ntransfer-encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\n\r\n{HIDDEN}"
    ));
    Seen::fault_if(took(&steps, "POST /open") && took(&steps, "GET /hidden"), story(&steps))
}

fn until_close() -> Seen {
    let (status, body) =
        answer(Method::GET, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\ndata: hello\n\n", 100);
    Seen::fault_if(
        body != Ok(b"data: hello\n\n".to_vec()),
        format!("{status}, of 13 body bytes: {}", told(&body)),
    )
}

fn no_body_by_rule() -> Seen {
    let (_, head) = answer(Method::HEAD, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", 1_500);
    let (_, unchanged) = answer(Method::GET, "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", 1_500);
    Seen::fault_if(
        head != Ok(Vec::new()) || unchanged != Ok(Vec::new()),
        format!("HEAD: {}; 304: {}", told(&head), told(&unchanged)),
    )
}

fn interim() -> Seen {
    let wire = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let (codec_status, _) = answer(Method::GET, wire, 500);
    let status = through_transports(says(wire, 500));
    Seen::fault_if(
        !status.starts_with("200"),
        format!("the codec's first item: {codec_status}; send_request gave as the response: {status}"),
    )
}

fn extension_and_trailer() -> Seen {
    let head = "POST /open HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let extension = requests(format!("{head}5;name=value\r\nhello\r\n0\r\n\r\n"));
    let trailer = requests(format!("{head}5\r\nhello\r\n0\r\nchecksum: 1\r\n\r\n"));
    Seen::fault_if(
        !took(&extension, "POST /open") || !took(&trailer, "POST /open"),
        format!("extension: {}. Trailer: {}", story(&extension), story(&trailer)),
    )
}

fn endless_head() -> Seen {
    const HEAD_BYTES: usize = 20 << 20;
    let (report, taken) = mpsc::channel();
    let flood = move |mut socket: std::net::TcpStream| {
        let _ = socket.write_all(b"GET / HTTP/1.1\r\nx: ");
        let _ = report.send(pour(&mut socket, &[b'a'; 65_536], HEAD_BYTES));
        pause(4_000);
    };
    let (before_mib, before_ms) = (peak_mib(), cpu_ms());
    let refused = on_loop(async {
        let (reading, _writing) = peer(flood).await.into_split();
        within(2_000, RequestDecoder::new(reading).next()).await.is_some()
    });
    let taken_mib = taken.recv_timeout(Duration::from_millis(100)).unwrap_or(0) >> 20;
    let (grown_mib, spent_ms) = (peak_mib() - before_mib, cpu_ms() - before_ms);

    let drip = |mut socket: std::net::TcpStream| {
        let _ = socket.write_all(b"GET / HTTP/1.1\r\nx: ");
        while socket.write_all(b"a").is_ok() {
            pause(50);
        }
    };
    let timed_out = on_loop(async {
        let (reading, _writing) = peer(drip).await.into_split();
        let mut decoder = RequestDecoder::new_with_timeout(reading, Duration::from_millis(200));
        within(1_500, decoder.next()).await.is_some()
    });
    Seen::fault_if(
        !refused || !timed_out,
        format!(
            "{}: {taken_mib} MiB taken, memory grew by {grown_mib} MiB, {spent_ms} ms of CPU; the dripping head was {}",
            if refused { "refused" } else { "not refused" },
            if timed_out { "ended by the timeout" } else { "still awaited after 1,500 ms" },
        ),
    )
}

fn fixed_body_held() -> Seen {
    let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n";
    let first_ms = first_piece_ms(head.into(), vec![b'x'; 50_000], vec![b'x'; 50_000]);
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", 1_u64 << 40);
    let grown_mib = flood_grows_mib(head, vec![b'x'; 65_536]);
    Seen::fault_if(
        first_ms.is_none_or(|ms| ms > 200) || grown_mib > 32,
        format!(
            "first piece of the body {}; the 1 TiB body was accepted, memory grew by {grown_mib} MiB",
            told_ms(first_ms)
        ),
    )
}

fn error_clone() -> Seen {
    let decode = clone_returns(|| drop(DecodeError::UnexpectedEof.clone()));
    let encode = clone_returns(|| drop(EncodeError::Io(std::io::ErrorKind::BrokenPipe.into()).clone()));
    let told = |outcome: &Result<(), u128>| match outcome {
        Ok(()) => "returned".to_owned(),
        Err(cpu) => format!("not back after 1,000 ms, {cpu} ms of CPU spent by the process"),
    };
    Seen::fault_if(
        decode.is_err() || encode.is_err(),
        format!("DecodeError: {}; EncodeError: {}", told(&decode), told(&encode)),
    )
}

/// Whether `clone` comes back within a second; if not, the processor time gone by. Its thread is left behind.
fn clone_returns(clone: fn()) -> Result<(), u128> {
    let (report, back) = mpsc::channel();
    let before_ms = cpu_ms();
    std::thread::spawn(move || {
        clone();
        let _ = report.send(());
    });
    back.recv_timeout(Duration::from_secs(1)).map_err(|_| cpu_ms() - before_ms)
}

fn no_back_pressure() -> Seen {
    let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut chunk = b"10000\r\n".to_vec();
    chunk.resize(chunk.len() + 65_536, b'x');
    chunk.extend_from_slice(b"\r\n");
    let grown_mib = flood_grows_mib(head.into(), chunk);
    let stuck = on_loop(async {
        let (reading, _writing) =
            peer(says(format!("{head}5\r\nhello\r\n0\r\n\r\n"), 1_000)).await.into_split();
        let mut decoder = RequestDecoder::new(reading);
        let mut body = decoder.next().await.expect("a request").expect("a sound request").into_body();
        within(500, body.next_data()).await.is_none()
    });
    Seen::fault_if(
        grown_mib > 32 || stuck,
        format!(
            "memory grew by {grown_mib} MiB; a body read without polling fill_payload beside it {}",
            if stuck { "gave nothing for 500 ms though all of it had come" } else { "was read" }
        ),
    )
}

fn expect() -> Seen {
    let (report, heard) = mpsc::channel();
    let script = move |mut socket: std::net::TcpStream| {
        let _ = socket
            .write_all(b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n");
        let mut read = [0; 1_024];
        for wait_ms in [500, 1_000] {
            let _ = socket.set_read_timeout(Some(Duration::from_millis(wait_ms)));
            let n = socket.read(&mut read).unwrap_or(0);
            let _ = report.send(String::from_utf8_lossy(&read[..n]).into_owned());
        }
    };
    on_loop(async {
        let mut codec = ServerCodec::new(peer(script).await);
        let _request = codec.next().await.expect("a request").expect("a sound request");
        let _ = within(700, codec.fill_payload()).await;
        let mut by_hand: Response<Payload> = Response::new(Payload::None);
        *by_hand.status_mut() = StatusCode::CONTINUE;
        codec.send_and_flush(by_hand).await.expect("the interim answer goes out");
        monoio::time::sleep(Duration::from_millis(100)).await;
    });
    let alone = heard.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
    let by_hand = heard.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
    Seen::fault_if(
        !alone.starts_with("HTTP/1.1 100") || by_hand.contains("content-length"),
        format!(
            "sent of itself in 500 ms: {}; a 100 sent by hand went out as {by_hand:?}",
            if alone.is_empty() { "nothing".to_owned() } else { format!("{alone:?}") }
        ),
    )
}

fn fields_97() -> Seen {
    let with = |count: usize| {
        let fields: String = (1..count).map(|n| format!("x-{n}: 1\r\n")).collect();
        requests(format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n"))
    };
    let (fits, over) = (with(96), with(97));
    Seen::fault_if(!took(&over, "GET /"), format!("96: {}. 97: {}", story(&fits), story(&over)))
}

fn slow_chunk() -> Seen {
    let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n10000\r\n";
    let mut rest = vec![b'x'; 32_768];
    rest.extend_from_slice(b"\r\n0\r\n\r\n");
    let first_ms = first_piece_ms(head.into(), vec![b'x'; 32_768], rest);
    Seen::fault_if(
        first_ms.is_none_or(|ms| ms > 200),
        format!("first piece of the chunk {}", told_ms(first_ms)),
    )
}

fn old_tls() -> Seen {
    let lock = include_str!("../Cargo.lock");
    let block = |name: &str, version: &str| {
        let start = format!("name = \"{name}\"\nversion = \"{version}");
        lock.split("[[package]]").find(|block| block.trim_start().starts_with(&start))
    };
    let pulled = block("monoio-http", "0.3.12").is_some_and(|block| block.contains("\"monoio-rustls 0.3"))
        && block("monoio-rustls", "0.3").is_some_and(|block| block.contains("\"rustls 0.21"));
    let what = match block("rustls", "0.21").and_then(|block| block.lines().nth(2)) {
        Some(version) if pulled => {
            format!(
                "monoio-http -> monoio-rustls 0.3 -> rustls {}",
                version.trim_start_matches("version = ").trim_matches('"')
            )
        }
        _ => "no rustls 0.21 below monoio-http".to_owned(),
    };
    Seen::fault_if(pulled, what)
}

fn control() -> Seen {
    let steps =
        requests("\r\nGET /one HTTP/1.1\r\nhost: a\r\n\r\nGET http://a/two HTTP/1.1\r\nhost: a\r\n\r\n");
    Seen::fault_if(!took(&steps, "GET /one") || !took(&steps, "GET http://a/two"), story(&steps))
}

fn request(method: Method) -> Request {
    Request::builder().method(method).uri("/").header("host", "a").body(Payload::None).expect("a request")
}

/// The status with which the family's own client, in its plain TCP form, answers a GET.
fn through_transports(script: impl FnOnce(std::net::TcpStream) + Send + 'static) -> String {
    on_loop(async {
        let connector: HttpConnector<TcpConnector, _, _> = HttpConnector::build_tcp_http1_only();
        let mut connection = connector.connect(far_end(script)).await.expect("the loopback answers");
        match within(2_000, connection.send_request(request(Method::GET))).await {
            Some((Ok(response), _)) => response.status().to_string(),
            Some((Err(error), _)) => format!("error: {error}"),
            None => "nothing in 2,000 ms".to_owned(),
        }
    })
}

/// What the client codec makes of `wire`, sent in answer to a request with `method`: status and body, or how it failed.
fn answer(method: Method, wire: &'static str, open_ms: u64) -> (String, Result<Vec<u8>, String>) {
    on_loop(async {
        let mut codec = ClientCodec::new(peer(says(wire, open_ms)).await);
        codec.send_and_flush(request(method)).await.expect("the request goes out");
        let response = match within(1_000, codec.next()).await {
            Some(Some(Ok(response))) => response,
            Some(Some(Err(error))) => return ("no head".to_owned(), Err(error.to_string())),
            Some(None) | None => return ("no head".to_owned(), Err("nothing came of it".to_owned())),
        };
        let (parts, decoder) = response.into_parts();
        let mut body = decoder.with_io(&mut codec);
        let mut bytes = Vec::new();
        while body.stream_hint() != StreamHint::None {
            match within(1_000, body.next_data()).await {
                Some(Some(Ok(piece))) => bytes.extend_from_slice(&piece),
                Some(Some(Err(error))) => return (parts.status.to_string(), Err(error.to_string())),
                Some(None) => break,
                None => return (parts.status.to_string(), Err("waits for a body for 1,000 ms".to_owned())),
            }
        }
        (parts.status.to_string(), Ok(bytes))
    })
}

fn told(body: &Result<Vec<u8>, String>) -> String {
    match body {
        Ok(bytes) => format!("{} bytes", bytes.len()),
        Err(error) => error.clone(),
    }
}

fn told_ms(ms: Option<u128>) -> String {
    ms.map_or("never came".to_owned(), |ms| format!("given out after {ms} ms"))
}

/// When a reader got the first piece of a body whose second part follows 400 ms after its first.
fn first_piece_ms(head: String, first: Vec<u8>, second: Vec<u8>) -> Option<u128> {
    let script = move |mut socket: std::net::TcpStream| {
        let _ = socket.write_all(&[head.into_bytes(), first].concat());
        pause(400);
        let _ = socket.write_all(&second);
        pause(100);
    };
    on_loop(async {
        let (reading, _writing) = peer(script).await.into_split();
        let mut decoder = RequestDecoder::new(reading);
        let request = decoder.next().await.expect("a request").expect("a sound request");
        let start = Instant::now();
        monoio::spawn(async move {
            let _ = decoder.fill_payload().await;
        });
        let mut body = request.into_body();
        let first = within(2_000, body.next_data()).await;
        matches!(first, Some(Some(Ok(_)))).then(|| ms_since(start))
    })
}

/// By how much memory grows while `block` is sent again and again into a body that nobody reads.
fn flood_grows_mib(head: String, block: Vec<u8>) -> u64 {
    let (report, done) = mpsc::channel();
    let script = move |mut socket: std::net::TcpStream| {
        let _ = socket.write_all(head.as_bytes());
        pour(&mut socket, &block, FLOOD_BYTES);
        let _ = report.send(());
        pause(3_000);
    };
    let before_mib = peak_mib();
    on_loop(async {
        let (reading, _writing) = peer(script).await.into_split();
        let mut decoder = RequestDecoder::new(reading);
        let unread = decoder.next().await.expect("a request").expect("a sound request");
        let pump = monoio::spawn(async move {
            let _ = decoder.fill_payload().await;
        });
        let _ = within(2_000, async {
            while done.try_recv().is_err() {
                monoio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        drop((pump, unread));
    });
    peak_mib() - before_mib
}
