//! The heads weir writes: the request to the provider, the response to the client. Everything end-to-end passes in
//! its order and spelling; connection fields and credentials do not.

use std::borrow::Cow;

use crate::base::id::ExchangeId;
use crate::policy::identity::peer::is_front_field;
use crate::policy::snapshot::Provider;
use crate::wire::h1::{Request, Response, is_hop_by_hop, write_decimal, write_field};
use crate::wire::head::Version;

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

/// Client fields that never reach a provider besides hop-by-hop ones: credentials, cookies, what describes the path
/// between client and gateway, and what weir writes itself.
const NOT_FORWARDED: [&str; 10] = [
    "host",
    "content-length",
    "expect",
    "authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "cookie",
    "x-weir-id",
    "x-real-ip",
];

/// Fields that may carry a credential: dropped on the way out unless the provider passes them through.
const CREDENTIALS: [&str; 4] = ["authorization", "x-api-key", "api-key", "x-goog-api-key"];

fn is_one_of(name: &[u8], list: &[&str]) -> bool {
    list.iter().any(|item| name.eq_ignore_ascii_case(item.as_bytes()))
}

/// The request head for the provider.
pub(super) fn write_request(
    out: &mut Vec<u8>,
    request: &Request,
    provider: &Provider,
    added: &[(String, String)],
    upload: Upload,
) {
    let head = &request.head;
    let target = match provider.passthrough {
        true => Cow::Borrowed(head.target.as_str()),
        false => without_key(&head.target),
    };
    for piece in [head.method.as_str(), " ", &provider.prefix, &target, " HTTP/1.1\r\n"] {
        out.extend_from_slice(piece.as_bytes());
    }
    write_field(out, b"Host", provider.origin.authority().as_bytes());
    for (name, value) in head.fields.iter() {
        if passes_up(name, request, provider, added) {
            write_field(out, name, value);
        }
    }
    if let Some(credential) = &provider.credential {
        write_field(out, credential.field.as_bytes(), credential.value.as_bytes());
    }
    for (name, value) in provider.add_headers.iter().chain(added) {
        write_field(out, name.as_bytes(), value.as_bytes());
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

/// The target without a credential in its query (`?key=`, Gemini): the client's own key never reaches a provider.
fn without_key(target: &str) -> Cow<'_, str> {
    let Some((path, query)) = target.split_once('?') else { return Cow::Borrowed(target) };
    let is_key = |pair: &&str| matches!(pair.split('=').next(), Some("key" | "api_key" | "access_token"));
    if !query.split('&').any(|pair| is_key(&pair)) {
        return Cow::Borrowed(target);
    }
    let kept: Vec<_> = query.split('&').filter(|pair| !is_key(pair)).collect();
    Cow::Owned(if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) })
}

fn passes_up(name: &[u8], request: &Request, provider: &Provider, added: &[(String, String)]) -> bool {
    if provider.passthrough && provider.credential.is_none() && is_one_of(name, &CREDENTIALS) {
        return true;
    }
    let mut ours = provider.add_headers.iter().chain(added);
    let replaced = ours.any(|(own, _)| name.eq_ignore_ascii_case(own.as_bytes()));
    !replaced
        && !is_one_of(name, &NOT_FORWARDED)
        && !is_front_field(name)
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
        let length = name.eq_ignore_ascii_case(b"content-length");
        if is_hop_by_hop(name, &response.connection_names)
            || name.eq_ignore_ascii_case(b"x-weir-id")
            || (length && no_length)
        {
            continue;
        }
        write_field(out, name, value);
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

/// Whether a field's value stays out of the record: credentials and cookies keep their name only.
pub(super) fn is_secret(name: &[u8]) -> bool {
    const SECRET: [&str; 9] = [
        "authorization",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "proxy-authorization",
        "cookie",
        "set-cookie",
        "x-amz-security-token",
        // Browsers, which cannot set fields, put a key among these.
        "sec-websocket-protocol",
    ];
    is_one_of(name, &SECRET)
}

/// The target for record and log: query parameters that carry credentials lose their value.
pub(super) fn redacted_target(target: &str) -> String {
    let Some((path, query)) = target.split_once('?') else { return target.to_owned() };
    let shown = |pair: &str| match pair.split_once('=') {
        Some((name @ ("key" | "api_key" | "access_token" | "token"), _)) => format!("{name}=(redacted)"),
        _ => pair.to_owned(),
    };
    let query: Vec<_> = query.split('&').map(shown).collect();
    format!("{path}?{}", query.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::snapshot::{Credential, Origin};
    use crate::wire::h1::{HeadLimits, parse_request, parse_response};

    fn sent(head: &str, provider: &Provider) -> String {
        let request = parse_request(head.as_bytes(), &HeadLimits::default()).unwrap();
        let mut out = Vec::new();
        write_request(&mut out, &request, provider, &[], Upload::Length(3));
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
    fn a_key_in_the_query_does_not_go_up() {
        for (target, expected) in [
            ("/v1beta/m:g?key=s&alt=sse", "/v1beta/m:g?alt=sse"),
            ("/v1beta/m:g?key=s", "/v1beta/m:g"),
            ("/v1beta/m:g?alt=sse", "/v1beta/m:g?alt=sse"),
            ("/v1/messages?beta=true", "/v1/messages?beta=true"),
        ] {
            assert_eq!(without_key(target), expected);
        }
    }

    #[test]
    fn secrets_are_not_recorded() {
        assert!(is_secret(b"Authorization") && is_secret(b"Set-Cookie") && !is_secret(b"x"));
        assert_eq!(redacted_target("/v1?key=s&alt=sse"), "/v1?key=(redacted)&alt=sse");
    }
}
