//! Fault → status and body in the caller's dialect. One table, so that it can be read and tested.

use serde_json::json;

use super::fault::{Fault, Kind, Side};
use crate::base::id::ExchangeId;
use crate::llm::dialect::Dialect;
use crate::llm::socket::Asked;
use crate::policy::decide::Denial;
use crate::policy::quota::Exceeded;
use crate::wire::h1::{HeadFault, write_decimal, write_field};
use crate::wire::ws::WsFault;

/// Status for a fault.
#[must_use]
pub(super) fn status(fault: &Fault) -> u16 {
    match &fault.kind {
        Kind::Head(HeadFault::TooLarge | HeadFault::TooManyFields) => 431,
        Kind::Head(HeadFault::UnknownCoding) => 501,
        Kind::Head(HeadFault::Version) => 505,
        Kind::Head(HeadFault::Expectation) => 417,
        Kind::Head(HeadFault::Malformed(_)) | Kind::Framing(_) | Kind::Body(_) | Kind::Coding => 400,
        // Never sent: nothing has been agreed on that an answer could travel by.
        Kind::Handshake | Kind::Balancer => 400,
        Kind::HeadTimeout | Kind::BodyTimeout => 408,
        Kind::BodyTooLarge(_) => 413,
        Kind::WrongHost => 421,
        Kind::Origin | Kind::Front | Kind::Denied(Denial::NoRole) => 403,
        Kind::Upgrade | Kind::WantsSocket => 426,
        Kind::Frames(WsFault::TooLong) => 413,
        Kind::Opening(_) | Kind::Frames(_) | Kind::Message(_) => 400,
        Kind::NoObject | Kind::UnknownPath | Kind::Denied(Denial::NoModel | Denial::NoProvider) => 404,
        Kind::Method => 405,
        Kind::BadIdentity | Kind::Revoked | Kind::Denied(Denial::NoIdentity) => 401,
        Kind::Exceeded(why) if matches!(**why, Exceeded::StoreGone { .. }) => 503,
        Kind::Exceeded(_) | Kind::Crowded => 429,
        Kind::Page(status) => *status,
        Kind::ClosedAddress | Kind::Proxy => 502,
        Kind::Overloaded(status) => *status,
        Kind::Busy | Kind::Full | Kind::Draining => 503,
        Kind::Resolve | Kind::Connect | Kind::Tls | Kind::NoAnswer | Kind::BadAnswer | Kind::Truncated => 502,
        Kind::FirstByteTimeout | Kind::IdleTimeout | Kind::TotalTimeout => 504,
        // Nobody is there to read these; the number stands in the record only.
        Kind::ClientGone | Kind::ClientStalled => 499,
        Kind::Misconfigured(_)
        | Kind::Unauthorized
        | Kind::Credential { configured_wrong: true }
        | Kind::Panic => 500,
        Kind::Credential { configured_wrong: false } => 503,
    }
}

/// The whole response for a fault: head and JSON body (`bodiless`: the answer to a HEAD).
#[must_use]
pub(super) fn response(
    fault: &Fault,
    dialect: Option<Dialect>,
    id: ExchangeId,
    close: bool,
    bodiless: bool,
) -> Vec<u8> {
    let status = status(fault);
    let body = body(fault, status, dialect, id).to_string();
    let mut out = Vec::with_capacity(256 + body.len());
    out.extend_from_slice(b"HTTP/1.1 ");
    write_decimal(&mut out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(b"\r\n");
    write_field(&mut out, b"content-type", b"application/json");
    write_field(&mut out, b"content-length", body.len().to_string().as_bytes());
    write_field(&mut out, b"x-weir-id", &id.letters());
    if matches!(dialect, Some(Dialect::Converse | Dialect::Invoke)) {
        write_field(&mut out, b"x-amzn-errortype", bedrock_type(status).as_bytes());
    }
    if status == 426 {
        // RFC 9110 15.5.22: a 426 names the protocol to use, mostly the one already spoken.
        if matches!(fault.kind, Kind::WantsSocket) {
            write_field(&mut out, b"upgrade", b"websocket");
            write_field(&mut out, b"sec-websocket-version", b"13");
        } else {
            write_field(&mut out, b"upgrade", b"HTTP/1.1");
        }
        write_field(&mut out, b"connection", if close { b"upgrade, close" } else { b"upgrade" });
    } else if close {
        write_field(&mut out, b"connection", b"close");
    }
    match &fault.kind {
        Kind::Exceeded(why) => {
            write_field(&mut out, b"retry-after", why.retry_after().as_secs().to_string().as_bytes());
            if status == 429 {
                // The vendors' own clients ask again at a 429 unless they are told not to.
                write_field(&mut out, b"x-should-retry", b"false");
            }
        }
        // RFC 9110 15.5.2: a 401 says how to do better.
        _ if status == 401 => write_field(&mut out, b"www-authenticate", b"Bearer realm=\"weir\""),
        _ if status == 503 || fault.kind == Kind::Crowded => write_field(&mut out, b"retry-after", b"1"),
        _ => {}
    }
    out.extend_from_slice(b"\r\n");
    if !bodiless {
        out.extend_from_slice(body.as_bytes());
    }
    out
}

/// A refusal on a socket: the message of the client's dialect that says so. Live has none; there the socket is closed.
#[must_use]
pub(super) fn message(fault: &Fault, dialect: Dialect, id: ExchangeId, asked: &Asked) -> Option<String> {
    let status = status(fault);
    let mut error = body(fault, status, Some(dialect), id)["error"].take();
    let said = match dialect {
        Dialect::Live => return None,
        Dialect::Realtime => {
            error["event_id"] = json!(asked.event_id);
            json!({ "type": "error", "event_id": format!("event_{id}"), "error": error })
        }
        _ => {
            let headers = json!({ "x-weir-id": id });
            let mut said = json!({ "type": "error", "status": status, "error": error, "headers": headers });
            if !asked.lane.is_empty() {
                said["stream_id"] = json!(asked.lane);
            }
            said
        }
    };
    Some(said.to_string())
}

/// Status of the closing frame that ends a socket for a fault (RFC 6455 7.4.1).
#[must_use]
pub(super) fn close_code(fault: &Fault) -> u16 {
    match &fault.kind {
        Kind::Draining | Kind::ClientStalled => 1001,
        Kind::Frames(WsFault::TooLong) | Kind::BodyTooLarge(_) => 1009,
        Kind::Busy => 1013,
        _ if fault.side() == Side::Provider || matches!(fault.kind, Kind::Panic) => 1011,
        _ => 1008,
    }
}

/// Error body in the dialect's own shape.
fn body(fault: &Fault, status: u16, dialect: Option<Dialect>, id: ExchangeId) -> serde_json::Value {
    let message = fault.to_string();
    match dialect.map(Shape::of) {
        Some(Shape::Anthropic) => json!({
            "type": "error",
            "error": { "type": anthropic_type(status), "message": message },
            "request_id": id,
        }),
        Some(Shape::OpenAi) => json!({
            "error": { "message": message, "type": openai_type(fault, status), "param": null, "code": openai_code(fault) },
        }),
        Some(Shape::Google) => json!({
            "error": { "code": status, "message": message, "status": google_status(status) },
        }),
        Some(Shape::Bedrock) => json!({ "message": message, "__type": bedrock_type(status) }),
        Some(Shape::Ollama) => json!({ "error": message }),
        None => json!({ "error": { "type": fault.word(), "message": message, "id": id } }),
    }
}

/// Families of error bodies.
enum Shape {
    Anthropic,
    OpenAi,
    Google,
    Bedrock,
    Ollama,
}

impl Shape {
    fn of(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Messages => Shape::Anthropic,
            Dialect::Chat | Dialect::Responses | Dialect::Completions | Dialect::Embeddings => Shape::OpenAi,
            Dialect::Images | Dialect::Audio | Dialect::Moderations | Dialect::Realtime => Shape::OpenAi,
            Dialect::Gemini | Dialect::Interactions | Dialect::CodeAssist | Dialect::Live => Shape::Google,
            Dialect::Converse | Dialect::Invoke => Shape::Bedrock,
            Dialect::Ollama => Shape::Ollama,
        }
    }
}

/// google.rpc.Code for a status (google/rpc/code.proto).
fn google_status(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        400..=499 => "INVALID_ARGUMENT",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        _ => "INTERNAL",
    }
}

/// Exception names of the Bedrock runtime.
fn bedrock_type(status: u16) -> &'static str {
    match status {
        401 | 403 => "AccessDeniedException",
        404 => "ResourceNotFoundException",
        429 => "ThrottlingException",
        400..=499 => "ValidationException",
        503 => "ServiceUnavailableException",
        504 => "ModelTimeoutException",
        _ => "InternalServerException",
    }
}

fn anthropic_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        503 => "overloaded_error",
        504 => "timeout_error",
        _ => "api_error",
    }
}

fn openai_type(fault: &Fault, status: u16) -> &'static str {
    match status {
        // A moment's crowd is no quota used up: clients wait for the one and give up at the other.
        429 if fault.kind == Kind::Crowded => "rate_limit_error",
        401 => "authentication_error",
        403 => "permission_error",
        429 => "insufficient_quota",
        400..=499 => "invalid_request_error",
        _ => "server_error",
    }
}

fn openai_code(fault: &Fault) -> &'static str {
    match fault.kind {
        Kind::Denied(Denial::NoModel) => "model_not_found",
        Kind::Exceeded(_) => "insufficient_quota",
        Kind::Crowded => "rate_limit_exceeded",
        _ => fault.word(),
    }
}

/// Reason phrases for the statuses of this file (RFC 9110 15).
fn reason(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dialect_gets_its_own_shape() {
        let fault = Fault::new(Kind::Denied(Denial::NoModel));
        let id = ExchangeId::default();
        let text = |dialect| String::from_utf8(response(&fault, dialect, id, true, false)).unwrap();
        assert!(text(Some(Dialect::Messages)).contains(r#""type":"not_found_error""#));
        assert!(text(Some(Dialect::Chat)).contains(r#""code":"model_not_found""#));
        assert!(text(None).contains(r#""type":"no_model""#));
        assert!(text(Some(Dialect::Gemini)).contains(r#""status":"NOT_FOUND""#));
        assert!(text(Some(Dialect::Converse)).contains("x-amzn-errortype: ResourceNotFoundException"));
        for shape in Dialect::ALL.iter().copied().map(Some).chain([None]) {
            let (head, body) =
                text(shape).split_once("\r\n\r\n").map(|(h, b)| (h.to_owned(), b.to_owned())).unwrap();
            assert!(head.starts_with("HTTP/1.1 404 Not Found\r\n") && head.contains("connection: close"));
            assert!(head.contains(&format!("content-length: {}", body.len())));
            serde_json::from_str::<serde_json::Value>(&body).unwrap();
        }
    }

    #[test]
    fn a_socket_that_is_asked_for_otherwise_is_answered_by_426_naming_it() {
        let text = response(&Fault::new(Kind::WantsSocket), None, ExchangeId::default(), false, false);
        let text = String::from_utf8(text).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 426 ")
                && text.contains("upgrade: websocket\r\nsec-websocket-version: 13\r\n")
        );
    }

    #[test]
    fn an_upgrade_is_answered_by_426_naming_http_1_1() {
        let text = response(&Fault::new(Kind::Upgrade), None, ExchangeId::default(), false, false);
        let text = String::from_utf8(text).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 426 ")
                && text.contains("upgrade: HTTP/1.1\r\nconnection: upgrade\r\n")
        );
    }
}
