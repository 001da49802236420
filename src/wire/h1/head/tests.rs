//! The faults that a tried HTTP library showed (docs/decisions.md) are this codec's first regression list.

use super::*;

fn parse(head: &str) -> Result<Request, HeadFault> {
    let limits = HeadLimits::default();
    let end = HeadScan::default().end(head.as_bytes(), &limits)?.expect("a complete head");
    parse_request(&head.as_bytes()[..end], &limits)
}

fn answer(head: &str, method: &str) -> Result<Response, HeadFault> {
    parse_response(head.as_bytes(), method, &HeadLimits::default())
}

fn malformed(head: &str) {
    let seen = parse(head);
    assert!(matches!(seen, Err(HeadFault::Malformed(_))), "{head:?} gave {seen:?}");
}

#[test]
fn a_plain_request() {
    let request =
        parse("POST /v1/messages?beta=true HTTP/1.1\r\nHost: a:1\r\nContent-Length: 12\r\n\r\n").unwrap();
    assert_eq!(request.head.path(), "/v1/messages");
    assert!(matches!(request.framing, Framing::Length(12)));
    assert!(request.keep_alive && !request.expects_continue && !request.wants_upgrade);
}

#[test]
fn rfc9112_6_3_two_lengths_that_differ() {
    malformed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 27\r\n\r\n");
    malformed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n");
    let same = parse("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(same.unwrap().length, Some(5));
}

#[test]
fn rfc9110_8_6_a_length_is_digits() {
    for bad in ["+5", "-5", "5 5", "0x5", "5a", "", "99999999999999999999"] {
        malformed(&format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {bad}\r\n\r\n"));
    }
}

#[test]
fn rfc9112_6_1_transfer_codings() {
    malformed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n");
    malformed("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for other in ["identity", "gzip, chunked", "chunked, chunked", "xchunked", "chunked;q=1", "\"chunked\""] {
        let seen = parse(&format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {other}\r\n\r\n"));
        assert_eq!(seen.unwrap_err(), HeadFault::UnknownCoding, "{other}");
    }
    let twice =
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(parse(twice).unwrap_err(), HeadFault::UnknownCoding);
    let one = parse("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n").unwrap();
    assert!(matches!(one.framing, Framing::Chunked(_)));
}

#[test]
fn rfc9112_3_2_host_and_target() {
    malformed("GET / HTTP/1.1\r\n\r\n");
    malformed("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n");
    malformed("GET / HTTP/1.1\r\nHost: a b\r\n\r\n");
    for odd in ["a@b", "a/b", "a, b", "a:b", "a:1:2", "a:123456", "[::1", "[::1]b", "::1", "a[b]"] {
        malformed(&format!("GET / HTTP/1.1\r\nHost: {odd}\r\n\r\n"));
    }
    for good in ["", "a.", "a:", "a:1", "[::1]", "[::1]:8080", "127.0.0.1:80"] {
        assert!(parse(&format!("GET / HTTP/1.1\r\nHost: {good}\r\n\r\n")).is_ok(), "{good}");
    }
    malformed("GET example.com:443 HTTP/1.1\r\nHost: a\r\n\r\n");
    malformed("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n");
    malformed("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n");
    malformed("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n");
    malformed("GET http://a\\b/ HTTP/1.1\r\nHost: a\r\n\r\n");
    let absolute = parse("GET http://api.example:80/v1/x?y=1 HTTP/1.1\r\nHost: other\r\n\r\n").unwrap().head;
    assert_eq!(
        (absolute.target.as_str(), absolute.authority.as_deref()),
        ("/v1/x?y=1", Some("api.example:80"))
    );
    let bare = parse("GET HTTP://a?q HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().head;
    assert_eq!(bare.target, "/?q");
    assert!(parse("GET / HTTP/1.0\r\n\r\n").is_ok());
}

#[test]
fn rfc9112_2_2_line_ends_and_folding() {
    malformed("GET / HTTP/1.1\nHost: a\n\n");
    malformed("GET / HTTP/1.1\r\nHost: a\r\nX: 1\n\r\n\r\n");
    malformed("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n");
    malformed("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n");
    malformed("GET / HTTP/1.1\r\nHost : a\r\n\r\n");
    malformed("GET / HTTP/1.1\r\nHost: a\r\nX\x00Y: 1\r\n\r\n");
    malformed("GET  / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(parse("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").is_ok());
    assert_eq!(parse("GET / HTTP/2.0\r\nHost: a\r\n\r\n").unwrap_err(), HeadFault::Version);
}

#[test]
fn a_name_of_seventy_thousand_bytes_is_a_refusal_and_not_a_panic() {
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{}: 1\r\n\r\n", "n".repeat(70_000));
    let seen = HeadScan::default().end(head.as_bytes(), &HeadLimits::default());
    assert_eq!(seen, Err(HeadFault::TooLarge));
    let roomy = HeadLimits { head_bytes_max: 1 << 20, ..HeadLimits::default() };
    let end = HeadScan::default().end(head.as_bytes(), &roomy).unwrap().unwrap();
    assert!(parse_request(&head.as_bytes()[..end], &roomy).is_ok());
}

#[test]
fn a_head_without_end_is_refused_at_the_bound_without_scanning_again() {
    let limits = HeadLimits { head_bytes_max: 1000, ..HeadLimits::default() };
    let mut scan = HeadScan::default();
    let endless = vec![b'a'; 2000];
    for n in (0..999).step_by(100) {
        assert_eq!(scan.end(&endless[..n], &limits), Ok(None));
        assert_eq!(scan.seen, n, "resumes where the last read ended");
    }
    assert_eq!(scan.end(&endless, &limits), Err(HeadFault::TooLarge));
}

#[test]
fn what_begins_no_head_is_not_waited_for() {
    let scan = |bytes: &[u8]| HeadScan::default().end(bytes, &HeadLimits::default());
    for odd in [&b"\x16\x03\x01\x02\x00\x01"[..], b"\0", b" GET", b"\r\n\x80"] {
        assert!(matches!(scan(odd), Err(HeadFault::Malformed(_))), "{}", odd.escape_ascii());
    }
    for begun in [&b""[..], b"\r", b"\r\n", b"G", b"\r\nP"] {
        assert_eq!(scan(begun), Ok(None), "{}", begun.escape_ascii());
    }
    // Whole lines behind such a beginning make it none the better, and a bare line feed stays what it is.
    let lines = b" GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    (1..=lines.len()).for_each(|end| assert_eq!(scan(&lines[..end]), scan(b" ")));
    assert_eq!(scan(b"\nGET"), Err(HeadFault::Malformed("bare LF in head (RFC 9112 2.2)")));
}

#[test]
fn field_count_is_bounded() {
    let many = |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: y\r\n".repeat(n));
    assert!(parse(&many(97)).is_ok());
    assert!(parse(&many(99)).is_ok());
    assert_eq!(parse(&many(100)).unwrap_err(), HeadFault::TooManyFields);
}

#[test]
fn heads_are_found_at_every_split() {
    let head = "\r\nPOST /v1 HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
    let bytes = format!("{head}rest");
    for cut in 0..bytes.len() {
        let mut scan = HeadScan::default();
        let early = scan.end(&bytes.as_bytes()[..cut], &HeadLimits::default()).unwrap();
        assert_eq!(early, (cut >= head.len()).then_some(head.len()));
        if early.is_none() {
            assert_eq!(scan.end(bytes.as_bytes(), &HeadLimits::default()), Ok(Some(head.len())));
        }
    }
}

#[test]
fn rfc9112_6_3_responses() {
    let close = answer("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", "POST").unwrap();
    assert!(matches!(close.framing, Framing::UntilClose) && !close.reusable);
    let head = answer("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", "HEAD").unwrap();
    assert!(matches!(head.framing, Framing::None) && head.reusable);
    for status in [100, 103, 204, 304] {
        let seen = answer(&format!("HTTP/1.1 {status} X\r\nContent-Length: 10\r\n\r\n"), "GET").unwrap();
        assert!(matches!(seen.framing, Framing::None), "{status}");
    }
    let both =
        answer("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", "GET").unwrap();
    assert!(matches!(both.framing, Framing::Chunked(_)) && !both.reusable);
    let old = answer("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", "GET").unwrap();
    assert!(!old.reusable);
    assert!(answer("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", "GET").is_err());
    assert!(answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "GET").is_err());
}

#[test]
fn connection_and_expectation() {
    let close = parse("GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Secret, Close\r\n\r\n").unwrap();
    assert!(!close.keep_alive);
    assert!(super::super::is_hop_by_hop(b"x-secret", &close.connection_names));
    let old = parse("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").unwrap();
    assert!(old.keep_alive);
    let waits =
        parse("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-Continue\r\n\r\n").unwrap();
    assert!(waits.expects_continue);
    for odd in ["fries", "100-continue, fries", "100-continue\r\nExpect: fries"] {
        let odd = parse(&format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: {odd}\r\n\r\n"));
        assert_eq!(odd.unwrap_err(), HeadFault::Expectation);
    }
    let upgrade =
        parse("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").unwrap();
    assert!(upgrade.wants_upgrade);
    for (offer, wants) in [("h2c", false), ("h2c, websocket", true), ("H2C", false), ("tls/1.0", true)] {
        let offer = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: {offer}\r\n\r\n");
        assert_eq!(parse(&offer).unwrap().wants_upgrade, wants, "RFC 9110 7.8: {offer}");
    }
}
