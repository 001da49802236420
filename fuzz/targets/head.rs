//! Heads: found the same however they arrive; what is accepted is framed in one way only.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::wire::h1::{Framing, HeadLimits, HeadScan, parse_request, parse_response};

fuzz_target!(|input: &[u8]| {
    let Some((choice, seed, bytes)) = weir_fuzz::parts(input) else { return };
    let limits = HeadLimits { head_bytes_max: 4096, fields_max: 40 };
    let whole = HeadScan::default().end(bytes, &limits);
    let mut scan = HeadScan::default();
    let (mut seen, mut pieced) = (0, Ok(None));
    for piece in weir_fuzz::cut(bytes, seed) {
        seen += piece.len();
        pieced = scan.end(&bytes[..seen], &limits);
        if pieced != Ok(None) {
            break;
        }
    }
    assert_eq!(pieced, whole);
    let Ok(Some(end)) = whole else { return };
    let head = &bytes[..end];
    if choice % 2 == 1 {
        let _ = parse_response(head, if choice % 4 == 1 { "GET" } else { "HEAD" }, &limits);
    } else if let Ok(request) = parse_request(head, &limits) {
        let fields = &request.head.fields;
        assert!(!matches!(request.framing, Framing::UntilClose), "a request never ends with its connection");
        assert!(fields.get("content-length").is_none() || fields.get("transfer-encoding").is_none());
        assert!(fields.all("host").count() <= 1);
    }
});
