//! HTTP/1.1 (RFC 9112), sans-io: heads and framing, strict on the way in.
//!
//! Deliberately absent: sockets, time, header maps, and any leniency that two parsers could read differently.
//! What a request may not do is refused here, whatever stands above: two framings at once, a repeated length
//! that differs, a coding other than one `chunked`, bare CR or LF, folded lines, a missing or doubled `Host`.

pub mod chunked;
mod framing;
mod head;

pub use framing::{Framing, FramingFault, Scan};
pub use head::{HeadFault, HeadLimits, HeadScan, Request, Response, parse_request, parse_response};

/// Fields that belong to one connection and never pass (RFC 9110 7.6.1), lower case.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether a field is for this connection only, by its name or because `Connection` names it.
#[must_use]
pub fn is_hop_by_hop(name: &[u8], named_by_connection: &[Vec<u8>]) -> bool {
    HOP_BY_HOP.iter().any(|hop| name.eq_ignore_ascii_case(hop.as_bytes()))
        || named_by_connection.iter().any(|hop| name.eq_ignore_ascii_case(hop))
}

/// The members of a comma-separated list, trimmed, empty ones skipped (RFC 9110 5.6.1).
pub fn list_members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// Whether a byte may stand in a method or a field's name (RFC 9110 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Append one field line.
pub fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Append a decimal number without going through `format!`.
pub fn write_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}
