//! The heads weir writes: the request to the provider, the response to the client. Everything end-to-end passes in
//! its order and spelling; connection fields and credentials do not.

use std::borrow::Cow;

use memchr::memmem;

use super::credentials::{self, Shown, ToSign, signs};
use crate::base::fields::Names;
use crate::base::id::ExchangeId;
use crate::policy::identity::is_about_the_client;
use crate::policy::identity::peer::is_front_field;
use crate::policy::snapshot::Provider;
use crate::wire::h1::{Request, Response, is_hop_by_hop, write_decimal, write_field};
use crate::wire::head::{Fields, Version};

/// How the request body is framed towards the provider: always anew, never the client's own chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upload {
    /// No body at all.
    None,
    /// All of it is here or its length was declared.
    Length(u64),
    /// The client sends chunks and has not finished.
    Chunked,
}

/// How the response body reaches the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// As it came, transfer framing included.
    Verbatim,
    /// The provider ends by closing, the client speaks HTTP/1.1: wrapped into chunks.
    Wrapped,
    /// The provider sends chunks, the client speaks HTTP/1.0: unwrapped, ended by closing.
    Unwrapped,
}

/// Client fields that never reach a provider besides hop-by-hop ones: what describes the path between client and gateway,
/// what is written anew, and what weir writes itself.
const NOT_FORWARDED: Names = Names::of(&[
    "host",
    "content-length",
    "expect",
    "x-weir-id",
    "x-real-ip",
    "x-amz-content-sha256",
    // Another method than the one that was judged, for vendors who would go by it.
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    // Likewise another path.
    "x-original-url",
    "x-original-uri",
    "x-rewrite-url",
]);

/// Client fields that carry a credential, or a signature over a request that is no longer the one sent: replaced, never
/// merged, and redacted in records.
const CREDENTIALS: Names = Names::of(&[
    "authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "cookie",
    "cookie2",
    "proxy-authorization",
    "x-amz-security-token",
    "x-amz-date",
    "cf-aig-authorization",
    "ocp-apim-subscription-key",
    "x-auth-token",
    "x-access-token",
    "x-api-token",
    "apikey",
    "x-goog-iap-jwt-assertion",
    "x-serverless-authorization",
    "helicone-auth",
]);

/// What else stays out of records. Browsers, which cannot set fields, put a key among a socket's protocols.
const KEPT_TO_OURSELVES: Names = Names::of(&["set-cookie", "sec-websocket-protocol"]);

/// Those a client's own key may come in where a provider passes it through.
const OWN_KEY: Names = Names::of(&["authorization", "x-api-key", "api-key", "x-goog-api-key"]);

/// Parameters of a query that carry a credential, lower case. Presigned requests of AWS begin with `x-amz-`. Google's
/// platform takes whole header fields and another method from a query.
const CREDENTIAL_PARAMETERS: [&str; 14] = [
    "key",
    "api_key",
    "apikey",
    "api-key",
    "x-api-key",
    "x-goog-api-key",
    "access_token",
    "token",
    "auth_token",
    "authorization",
    "subscription-key",
    "sig",
    "httpheaders",
    "httpmethod",
];

/// A request on its way to one provider.
pub(super) struct Outbound<'a> {
    pub(super) request: &'a Request,
    /// Path and query as the provider has them.
    pub(super) target: &'a str,
    pub(super) provider: &'a Provider,
    /// Fields that grants add.
    pub(super) added: &'a [(String, String)],
    pub(super) upload: Upload,
    pub(super) shown: &'a Shown,
    /// The whole body where it is signed.
    pub(super) body: &'a [u8],
    /// The body goes without the client's coding.
    pub(super) plain: bool,
}

/// The request head for the provider.
pub(super) fn write_request(out: &mut Vec<u8>, outbound: &Outbound<'_>) {
    let Outbound { request, target, provider, added, upload, .. } = *outbound;
    let head = &request.head;
    for piece in [head.method.as_str(), " ", target, " HTTP/1.1\r\n"] {
        out.extend_from_slice(piece.as_bytes());
    }
    let host = provider.origin.authority();
    write_field(out, b"Host", host.as_bytes());
    let own_key = provider.passthrough && has_own_key(request);
    let signs = signs(provider);
    let mut covered = if signs { vec![("host".to_owned(), host)] } else { Vec::new() };
    let passing = head.fields.iter();
    let passing = passing
        .filter(|(name, value)| passes_up(name, value, request, own_key, &[&provider.add_headers, added]))
        .filter(|(name, _)| !(outbound.plain && name.eq_ignore_ascii_case(b"content-encoding")));
    let ours = provider.add_headers.iter().chain(added);
    for (name, value) in passing.chain(ours.map(|(name, value)| (name.as_bytes(), value.as_bytes()))) {
        write_field(out, name, value);
        if signs && is_signed(name) {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            covered.push((text(name).to_ascii_lowercase(), text(value)));
        }
    }
    if !own_key {
        let to_sign = ToSign { method: &head.method, target, covered, body: outbound.body };
        credentials::write(out, provider, outbound.shown, to_sign);
    }
    match upload {
        Upload::None => {}
        Upload::Length(length) => {
            out.extend_from_slice(b"Content-Length: ");
            write_decimal(out, length);
            out.extend_from_slice(b"\r\n");
        }
        Upload::Chunked => write_field(out, b"Transfer-Encoding", b"chunked"),
    }
    out.extend_from_slice(b"\r\n");
}

/// A query for a provider: the client's own key never reaches one, but where that is the point.
pub(super) fn query_for<'q>(query: &'q str, provider: &Provider) -> Cow<'q, str> {
    if provider.passthrough || !parameters(query).any(is_credential_parameter) {
        return Cow::Borrowed(query);
    }
    let kept: String = parameters(query).filter(|part| !is_credential_parameter(part)).collect();
    Cow::Owned(kept.trim_end_matches(['&', ';']).to_owned())
}

/// What a signature must cover besides what weir writes (AWS Signature Version 4, "canonical headers").
fn is_signed(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"content-type")
        || name.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"x-amz"))
}

/// Models that a query names: some servers let it speak for the body.
pub(super) fn models_in_query(target: &str) -> Vec<String> {
    target.split_once('?').map(|(_, query)| models_in(query)).unwrap_or_default()
}

/// As [`models_in_query`], of what would be read as a query.
pub(super) fn models_in(query: &str) -> Vec<String> {
    let named = parameters(query).filter_map(|part| {
        let (name, value) = part.trim_end_matches(['&', ';']).split_once('=')?;
        let name = percent_decoded(name).to_ascii_lowercase();
        // A list, as some frameworks write one.
        let name = name.strip_suffix("[]").unwrap_or(&name);
        matches!(name, "model" | "models").then(|| percent_decoded(value))
    });
    named.collect()
}

/// Parameters with the separator behind each; some servers take a semicolon for one.
fn parameters(query: &str) -> impl Iterator<Item = &str> {
    query.split_inclusive(['&', ';'])
}

/// Judged by the name as a server would read it: decoded, in any case.
fn is_credential_parameter(part: &str) -> bool {
    let written = part.trim_end_matches(['&', ';']).split('=').next().unwrap_or_default();
    let name = percent_decoded(written).to_ascii_lowercase();
    // Google takes its own parameters with a dollar before them, too.
    let name = name.trim().trim_start_matches('$');
    CREDENTIAL_PARAMETERS.contains(&name) || name.starts_with("x-amz-")
}

pub(super) fn percent_decoded(written: &str) -> String {
    if !written.contains(['%', '+']) {
        return written.to_owned();
    }
    let hex = |digit: Option<u8>| char::from(digit?).to_digit(16).map(|n| n as u8);
    let mut out = Vec::with_capacity(written.len());
    let mut bytes = written.bytes();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        match (byte, hex(ahead.next()), hex(ahead.next())) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                bytes = ahead;
            }
            (b'+', ..) => out.push(b' '),
            _ => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Whether the client sent a key of its own that may be passed through: one of weir's is evidence, and never leaves.
pub(super) fn has_own_key(request: &Request) -> bool {
    let of_client = |(name, value): (&[u8], &[u8])| OWN_KEY.has(name) && is_own(value);
    let query = request.head.target.split_once('?').map_or("", |(_, query)| query);
    request.head.fields.iter().any(of_client) || parameters(query).any(is_credential_parameter)
}

/// Whether a credential is the client's own: neither one of weir's nor what stands for none, since programs want some
/// text there (`-`).
fn is_own(value: &[u8]) -> bool {
    let bare = match value.get(..7) {
        Some(scheme) if scheme.eq_ignore_ascii_case(b"bearer ") => &value[7..],
        _ => value,
    };
    !matches!(bare.trim_ascii(), b"" | b"-") && !is_of_weir(value)
}

/// Whether a credential is one of weir's, or was meant to be.
pub(super) fn is_of_weir(value: &[u8]) -> bool {
    memmem::find(value, WEIR_KEY).is_some()
}

/// Whether any other value has a key minted by weir in it: most are too short to.
fn holds_key(value: &[u8]) -> bool {
    value.len() >= KEY_BYTES && is_of_weir(value)
}

/// How keys minted by weir begin, and how long they are.
const WEIR_KEY: &[u8] = b"weir_";
const KEY_BYTES: usize = 54;

fn passes_up(
    name: &[u8],
    value: &[u8],
    request: &Request,
    own_key: bool,
    ours: &[&[(String, String)]],
) -> bool {
    if CREDENTIALS.has_spelled(name) {
        return own_key && OWN_KEY.has(name) && is_own(value);
    }
    let replaced = ours.iter().copied().flatten().any(|(own, _)| name.eq_ignore_ascii_case(own.as_bytes()));
    !replaced
        && !holds_key(value)
        && !NOT_FORWARDED.has(name)
        && !is_front_field(name)
        && !is_about_the_client(name)
        && !is_hop_by_hop(name, &request.connection_names)
}

/// What decides the form of a response towards the client.
pub(super) struct Towards {
    pub(super) id: ExchangeId,
    pub(super) version: Version,
    pub(super) shape: Shape,
    pub(super) chunked: bool,
    pub(super) keep_alive: bool,
}

/// The response head for the client.
pub(super) fn write_response(out: &mut Vec<u8>, response: &Response, towards: &Towards) {
    out.extend_from_slice(b"HTTP/1.1 ");
    write_decimal(out, u64::from(response.head.status));
    out.push(b' ');
    out.extend_from_slice(response.head.reason.as_bytes());
    out.extend_from_slice(b"\r\n");
    // Beside a coding a length is void, and must not reach a client that might believe it (RFC 9112 6.3).
    let no_length = towards.chunked || towards.shape != Shape::Verbatim;
    for (name, value) in response.head.fields.iter() {
        // Where it is what frames the body, `Connection` cannot name it away: the client would wait for the connection's end.
        let left_out = match name.eq_ignore_ascii_case(b"content-length") {
            true => no_length,
            false => {
                is_hop_by_hop(name, &response.connection_names) || name.eq_ignore_ascii_case(b"x-weir-id")
            }
        };
        if !left_out {
            write_field(out, name, value);
        }
    }
    if towards.chunked {
        write_field(out, b"Transfer-Encoding", b"chunked");
    }
    match (towards.keep_alive, towards.version) {
        (false, _) => write_field(out, b"Connection", b"close"),
        (true, Version::Http10) => write_field(out, b"Connection", b"keep-alive"),
        (true, Version::Http11) => {}
    }
    write_field(out, b"x-weir-id", &towards.id.letters());
    out.extend_from_slice(b"\r\n");
}

/// An informational response, passed on to an HTTP/1.1 client (RFC 9110 15.2).
pub(super) fn write_informational(out: &mut Vec<u8>, response: &Response) {
    out.extend_from_slice(b"HTTP/1.1 ");
    write_decimal(out, u64::from(response.head.status));
    out.push(b' ');
    out.extend_from_slice(response.head.reason.as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in response.head.fields.iter() {
        if !is_hop_by_hop(name, &response.connection_names) && !name.eq_ignore_ascii_case(b"content-length") {
            write_field(out, name, value);
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// The one well-formed `traceparent` (W3C Trace Context 3.2). It passes on as it came, so the trace goes on.
pub(super) fn trace(fields: &Fields) -> String {
    let mut all = fields.all("traceparent");
    let (Some(value), None) = (all.next(), all.next()) else { return String::new() };
    let hex = |b: &u8| b.is_ascii_digit() || (b'a'..=b'f').contains(b);
    let parts: Vec<&[u8]> = value.split(|b| *b == b'-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    let well_formed = lengths == [2, 32, 16, 2] && parts.iter().all(|part| part.iter().all(hex));
    if well_formed { String::from_utf8_lossy(value).into_owned() } else { String::new() }
}

/// Whether a field's value stays out of the record: credentials and cookies keep their name only, and so does whatever
/// has a key of ours in it.
pub(super) fn is_secret(name: &[u8], value: &[u8]) -> bool {
    CREDENTIALS.has_spelled(name) || KEPT_TO_OURSELVES.has(name) || holds_key(value)
}

/// The target for record and log: query parameters that carry credentials lose their value.
pub(super) fn redacted_target(target: &str) -> String {
    let Some((path, query)) = target.split_once('?') else { return target.to_owned() };
    let mut shown = format!("{path}?");
    for part in parameters(query) {
        let bare = part.trim_end_matches(['&', ';']);
        match bare.split_once('=').filter(|_| is_credential_parameter(bare)) {
            Some((name, _)) => {
                shown.push_str(name);
                shown.push_str("=(redacted)");
                shown.push_str(&part[bare.len()..]);
            }
            None => shown.push_str(part),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::snapshot::{Credential, Origin};
    use crate::wire::h1::{HeadLimits, parse_request, parse_response};

    fn sent(head: &str, provider: &Provider) -> String {
        let request = parse_request(head.as_bytes(), &HeadLimits::default()).unwrap();
        let mut out = Vec::new();
        let target = format!("{}{}", provider.prefix, request.head.target);
        let (shown, upload) = (Shown::Written, Upload::Length(3));
        let request = &request;
        let outbound = Outbound {
            request,
            target: &target,
            provider,
            added: &[],
            upload,
            shown: &shown,
            body: b"",
            plain: false,
        };
        write_request(&mut out, &outbound);
        String::from_utf8(out).unwrap()
    }

    fn provider() -> Provider {
        Provider {
            origin: Origin { tls: true, host: "api.example".into(), port: 443 },
            prefix: "/base".into(),
            credential: Some(Credential { field: "x-api-key".into(), value: "ours".into() }),
            ..Provider::default()
        }
    }

    #[test]
    fn credentials_are_replaced_and_all_else_passes_in_order_and_spelling() {
        let head = "POST /v1/messages?beta=true HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: theirs\r\n\
                    Authorization: Bearer theirs\r\nAnthropic-Beta: a,b\r\naccept-encoding: br\r\nCookie: c\r\n\
                    Connection: keep-alive, X-Private\r\nX-Private: 1\r\nContent-Length: 3\r\nTE: trailers\r\n\r\n";
        assert_eq!(
            sent(head, &provider()),
            "POST /base/v1/messages?beta=true HTTP/1.1\r\nHost: api.example\r\nAnthropic-Beta: a,b\r\n\
             accept-encoding: br\r\nx-api-key: ours\r\nContent-Length: 3\r\n\r\n"
        );
    }

    #[test]
    fn passthrough_forwards_the_clients_own_credential() {
        let own = Provider { passthrough: true, credential: None, ..provider() };
        let head = "POST / HTTP/1.1\r\nHost: l\r\nAuthorization: Bearer mine\r\n\r\n";
        assert!(sent(head, &own).contains("Authorization: Bearer mine\r\n"));
        // What stands for no key is none: the one that is configured is shown.
        let fallback = Provider { passthrough: true, ..provider() };
        for none in ["Authorization: Bearer -", "authorization: bearer  -", "X-Api-Key: -", "Api-Key:"] {
            let sent = sent(&format!("POST / HTTP/1.1\r\nHost: l\r\n{none}\r\n\r\n"), &fallback);
            assert!(sent.contains("x-api-key: ours\r\n") && !sent.contains("-\r\n"), "{none}: {sent}");
        }
    }

    #[test]
    fn a_key_of_ours_goes_nowhere_and_credentials_in_disguise_neither() {
        let key = format!("weir_{}_{}", "a".repeat(8), "b".repeat(40));
        assert_eq!(key.len(), KEY_BYTES);
        let head = format!(
            "POST / HTTP/1.1\r\nHost: l\r\nX_Api_Key: theirs\r\nX-Note: for {key}\r\nReferer: http://l/?k={key}\r\n\
             X-Team: weir_ops\r\n\r\n"
        );
        for provider in [provider(), Provider { passthrough: true, ..provider() }] {
            let sent = sent(&head, &provider);
            assert!(!sent.contains("weir_a") && !sent.contains("theirs"), "{sent}");
            assert!(sent.contains("X-Team: weir_ops"), "{sent}");
        }
        let redacted = |name: &str, value: &str| is_secret(name.as_bytes(), value.as_bytes());
        assert!(
            redacted("X_API_KEY", "x")
                && redacted("referer", &format!("?k={key}"))
                && !redacted("x-team", "weir_ops")
        );
    }

    #[test]
    fn no_other_method_is_asked_for_by_a_field() {
        let head =
            "POST / HTTP/1.1\r\nHost: l\r\nAuthorization: Bearer mine\r\nX-HTTP-Method-Override: GET\r\n\r\n";
        let bare =
            "POST /base/ HTTP/1.1\r\nHost: api.example\r\nx-api-key: ours\r\nContent-Length: 3\r\n\r\n";
        assert_eq!(sent(head, &provider()), bare);
        let own = sent(head, &Provider { passthrough: true, credential: None, ..provider() });
        assert!(own.contains("Bearer mine") && !own.contains("Override"), "{own}");
    }

    #[test]
    fn a_response_loses_framing_of_its_connection_and_gains_the_id() {
        let head = "HTTP/1.1 200 Fine\r\nContent-Type: text/event-stream\r\nContent-Length: 5\r\n\
                    Transfer-Encoding: chunked\r\nConnection: x-hop\r\nX-Hop: 1\r\nx-weir-id: forged\r\n\r\n";
        let response = parse_response(head.as_bytes(), "GET", &HeadLimits::default()).unwrap();
        let towards = Towards {
            id: ExchangeId(0),
            version: Version::Http11,
            shape: Shape::Verbatim,
            chunked: true,
            keep_alive: true,
        };
        let mut out = Vec::new();
        write_response(&mut out, &response, &towards);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!(
                "HTTP/1.1 200 Fine\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\
                 x-weir-id: {}\r\n\r\n",
                "0".repeat(26)
            )
        );
    }

    #[test]
    fn a_key_in_the_query_does_not_go_up_however_it_is_spelt() {
        for (query, expected) in [
            ("key=s&alt=sse", "alt=sse"),
            ("key=s", ""),
            ("alt=sse&KEY=s", "alt=sse"),
            ("alt=sse&k%65y=s&x=1", "alt=sse&x=1"),
            ("alt=sse;key=s", "alt=sse"),
            ("%4bEy=s&key=t&key=u&alt=sse", "alt=sse"),
            ("X-Amz-Signature=s&X-Amz-Credential=c&a=1", "a=1"),
            ("monkey=1&keyed=2", "monkey=1&keyed=2"),
            ("beta=true", "beta=true"),
            ("%24httpMethod=GET&alt=sse&$httpHeaders=x-goog-api-key:s&$key=s", "alt=sse"),
        ] {
            assert_eq!(query_for(query, &provider()), expected, "{query}");
        }
        assert_eq!(query_for("key=s", &Provider { passthrough: true, ..provider() }), "key=s");
    }

    #[test]
    fn every_credential_of_the_client_is_dropped_twice_sent_or_not() {
        let mut head = String::from("POST / HTTP/1.1\r\nHost: l\r\n");
        for name in CREDENTIALS.all() {
            let title = name[..1].to_uppercase() + &name[1..];
            head.push_str(&format!("{}: theirs\r\n{title}: theirs\r\n", name.to_uppercase()));
        }
        let sent = sent(&(head + "\r\n"), &provider());
        assert!(!sent.contains("theirs") && sent.matches("ours").count() == 1, "{sent}");
    }

    #[test]
    fn passthrough_takes_the_configured_key_where_the_client_has_none_and_never_one_of_weirs() {
        let provider = Provider { passthrough: true, ..provider() };
        let with = |field: &str| sent(&format!("POST / HTTP/1.1\r\nHost: l\r\n{field}\r\n"), &provider);
        assert!(with("Authorization: Bearer mine\r\n").contains("Bearer mine"));
        assert!(!with("Authorization: Bearer mine\r\n").contains("ours"));
        assert!(with("").contains("x-api-key: ours"));
        let of_weir = with("Authorization: Bearer weir_abc\r\n");
        assert!(of_weir.contains("x-api-key: ours") && !of_weir.contains("weir_"), "{of_weir}");
    }

    #[test]
    fn a_trace_is_taken_whole_or_not_at_all() {
        let of = |values: &[&str]| trace(&values.iter().map(|value| ("Traceparent", *value)).collect());
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(of(&[good]), good);
        assert_eq!(of(&[good, good]) + &of(&["00-x-y-01"]) + &of(&[&good.to_uppercase()]) + &of(&[]), "");
    }

    #[test]
    fn secrets_are_not_recorded() {
        let secret = |name: &[u8]| is_secret(name, b"");
        assert!(secret(b"Authorization") && secret(b"Set-Cookie") && !secret(b"x"));
        assert_eq!(
            redacted_target("/v1?key=s&alt=sse&K%45Y=s"),
            "/v1?key=(redacted)&alt=sse&K%45Y=(redacted)"
        );
    }
}
