//! Errors as each vendor writes them, with the headers sent along; and who is refused at the door.

use std::time::{SystemTime, UNIX_EPOCH};

use super::api::Vendor;
use super::{Answer, json};
use crate::http::{Head, hash, mix};
use crate::json::quote;
use crate::knobs::Knobs;
use crate::sigv4;

/// An error in the dialect of the path.
pub(super) fn error(status: u16, path: &str, body: &[u8], knobs: &Knobs) -> Answer {
    let seed = knobs.seed.unwrap_or_else(|| if knobs.blind { 0 } else { hash(body) });
    let words = words(status);
    let mut answer = shaped(Vendor::of(path), status, &words, words.message, seed);
    if path.ends_with(":streamGenerateContent") {
        in_an_array(&mut answer);
    }
    if let Some(seconds) = knobs.retry_after.or((status == 429).then_some(1)) {
        answer.headers.push(("retry-after".to_owned(), seconds.to_string()));
    }
    answer
}

/// Bedrock's callers sign each request or bring a key; nobody else's credentials are looked at.
pub(super) fn refusal(head: &Head, body: &[u8]) -> Option<Answer> {
    let path = head.target().split('?').next().unwrap_or("");
    if Vendor::of(path) != Vendor::Aws {
        return None;
    }
    let credential = head.header("authorization").unwrap_or("");
    let refused = match credential.split_once(' ') {
        Some(("Bearer", key)) if !key.is_empty() => return None,
        Some(("AWS4-HMAC-SHA256", _)) => sigv4::verify(head, body, "bedrock", now()).err()?,
        _ => ("MissingAuthenticationTokenException", "Missing Authentication Token".to_owned()),
    };
    let words = Words { aws: refused.0, ..words(403) };
    Some(shaped(Vendor::Aws, 403, &words, &refused.1, hash(body)))
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn shaped(vendor: Vendor, status: u16, words: &Words, message: &str, seed: u64) -> Answer {
    let (kind, message, request) = (words.kind, quote(message), format!("req_{:016x}", mix(seed)));
    let (text, id) = match vendor {
        Vendor::Anthropic => (
            format!(
                "{{\"type\":\"error\",\"error\":{{\"type\":\"{kind}\",\"message\":{message}}},\
                 \"request_id\":\"{request}\"}}"
            ),
            "request-id",
        ),
        Vendor::OpenAi => (
            format!(
                "{{\"error\":{{\"message\":{message},\"type\":\"{kind}\",\"param\":null,\"code\":\"{kind}\"}}}}"
            ),
            "x-request-id",
        ),
        Vendor::Google => {
            let named = words.google;
            let text =
                format!("{{\"error\":{{\"code\":{status},\"message\":{message},\"status\":\"{named}\"}}}}");
            (text, "")
        }
        Vendor::Aws => (format!("{{\"message\":{message}}}"), "x-amzn-requestid"),
        Vendor::Ollama => (format!("{{\"error\":{message}}}"), ""),
    };
    let mut answer = json(status, text);
    if vendor == Vendor::Aws {
        answer.headers.push(("x-amzn-errortype".to_owned(), words.aws.to_owned()));
    }
    if !id.is_empty() {
        answer.headers.push((id.to_owned(), request));
    }
    answer
}

/// Where the answer would have been an array of objects, the error is one of them.
fn in_an_array(answer: &mut Answer) {
    if let super::Content::Whole(body) = &mut answer.body {
        body.insert(0, b'[');
        body.push(b']');
    }
}

/// The same error in each vendor's vocabulary.
#[derive(Debug, Clone, Copy)]
struct Words {
    kind: &'static str,
    google: &'static str,
    aws: &'static str,
    message: &'static str,
}

fn words(status: u16) -> Words {
    let (kind, google, aws, message) = match status {
        400 => (
            "invalid_request_error",
            "INVALID_ARGUMENT",
            "ValidationException",
            "The body is not what this endpoint takes",
        ),
        401 => {
            ("authentication_error", "UNAUTHENTICATED", "UnrecognizedClientException", "invalid x-api-key")
        }
        403 => ("permission_error", "PERMISSION_DENIED", "AccessDeniedException", "Not allowed"),
        404 => ("not_found_error", "NOT_FOUND", "ResourceNotFoundException", "Not found"),
        429 => (
            "rate_limit_error",
            "RESOURCE_EXHAUSTED",
            "ThrottlingException",
            "This request would exceed your rate limit",
        ),
        503 => ("api_error", "UNAVAILABLE", "ServiceUnavailableException", "Try again later"),
        529 => ("overloaded_error", "UNAVAILABLE", "ServiceUnavailableException", "Overloaded"),
        _ => ("api_error", "INTERNAL", "InternalServerException", "Internal server error"),
    };
    Words { kind, google, aws, message }
}
