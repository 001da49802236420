//! Heads: found incrementally, parsed by httparse, then held to the rules that httparse leaves to its caller.

use std::fmt;
use std::mem::MaybeUninit;

use crate::wire::head::{Fields, RequestHead, ResponseHead, Version};

use super::chunked::Chunked;
use super::framing::Framing;
use super::{is_token, list_members};

/// Bounds on a head.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes of start line and fields together.
    pub head_bytes_max: usize,
    /// Number of fields.
    pub fields_max: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { head_bytes_max: 64 * 1024, fields_max: FIELDS_MAX }
    }
}

/// httparse wants its table up front; this is the table's size and the ceiling of [`HeadLimits::fields_max`].
const FIELDS_MAX: usize = 100;

/// Why a head is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeadFault {
    /// Over the bound on bytes: 431.
    TooLarge,
    /// Over the bound on fields: 431.
    TooManyFields,
    /// Anything else about its form: 400. The text says which rule.
    Malformed(&'static str),
    /// A transfer coding other than `chunked`: 501 (RFC 9112 6.1).
    UnknownCoding,
    /// An HTTP version other than 1.0 and 1.1: 505.
    Version,
    /// An expectation other than `100-continue`: 417.
    Expectation,
}

impl fmt::Display for HeadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HeadFault::TooLarge => "head over the bound on bytes",
            HeadFault::TooManyFields => "head over the bound on fields",
            HeadFault::Malformed(rule) => rule,
            HeadFault::UnknownCoding => "transfer coding other than one `chunked` (RFC 9112 6.1)",
            HeadFault::Version => "HTTP version other than 1.0 and 1.1",
            HeadFault::Expectation => "expectation other than 100-continue (RFC 9110 10.1.1)",
        })
    }
}

impl std::error::Error for HeadFault {}

/// Finds the end of a head while it arrives; never looks at a byte twice.
#[derive(Clone, Debug, Default)]
pub struct HeadScan {
    seen: usize,
    line_start: usize,
    begun: bool,
}

impl HeadScan {
    /// The length of the head at the start of `bytes` once it is complete. `bytes` grows between calls.
    ///
    /// Empty lines before a start line are tolerated (RFC 9112 2.2) but count towards the bound.
    pub fn end(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<Option<usize>, HeadFault> {
        let window = &bytes[..bytes.len().min(limits.head_bytes_max)];
        while let Some(found) = memchr::memchr(b'\n', &window[self.seen..]) {
            let newline = self.seen + found;
            self.begins_as_a_head(window)?;
            self.seen = newline + 1;
            if newline == 0 || window[newline - 1] != b'\r' || newline == self.line_start {
                return Err(HeadFault::Malformed("bare LF in head (RFC 9112 2.2)"));
            }
            let line = &window[self.line_start..newline - 1];
            self.line_start = self.seen;
            match (line.is_empty(), self.begun) {
                (true, true) => return Ok(Some(self.seen)),
                (true, false) => {}
                (false, _) => self.begun = true,
            }
        }
        self.begins_as_a_head(window)?;
        self.seen = window.len();
        if bytes.len() >= limits.head_bytes_max { Err(HeadFault::TooLarge) } else { Ok(None) }
    }

    /// What is no head at all, TLS most likely, need not be waited for.
    fn begins_as_a_head(&self, window: &[u8]) -> Result<(), HeadFault> {
        match window.get(self.line_start) {
            Some(first) if !self.begun && !matches!(first, b'\r' | b'\n') && !is_token(*first) => {
                Err(HeadFault::Malformed("malformed start line (RFC 9112 3)"))
            }
            _ => Ok(()),
        }
    }
}

/// A request head with what its fields say about the message.
#[derive(Clone, Debug)]
pub struct Request {
    /// The head.
    pub head: RequestHead,
    /// How the body is delimited.
    pub framing: Framing,
    /// Declared `Content-Length`, if that is the framing.
    pub length: Option<u64>,
    /// Whether the connection may serve another request after this one.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// Whether the client asks to leave HTTP/1.1 (`Upgrade` named by `Connection`), for anything but `h2c`.
    pub wants_upgrade: bool,
    /// Names that `Connection` makes hop-by-hop.
    pub connection_names: Vec<Vec<u8>>,
}

/// A response head with what its fields say about the message.
#[derive(Clone, Debug)]
pub struct Response {
    /// The head.
    pub head: ResponseHead,
    /// How the body is delimited, given method and status.
    pub framing: Framing,
    /// Whether the connection may be used again after the body.
    pub reusable: bool,
    /// Names that `Connection` makes hop-by-hop.
    pub connection_names: Vec<Vec<u8>>,
}

/// Parse a complete request head (as found by [`HeadScan`]).
pub fn parse_request(bytes: &[u8], limits: &HeadLimits) -> Result<Request, HeadFault> {
    let mut table = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(bytes, &mut table) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(HeadFault::Malformed("incomplete head")),
        Err(why) => return Err(parse_fault(why)),
    }
    let version = version(parsed.version)?;
    let method = parsed.method.unwrap_or_default();
    let (target, authority) = target(method, parsed.path.unwrap_or_default())?;
    let fields = fields(parsed.headers, limits)?;
    host(&fields, version)?;
    let about = About::read(&fields)?;
    let (framing, length) = request_framing(&about, version)?;
    let expects_continue = expectation(&fields, version)?;
    let keep_alive = about.keep_alive(version);
    let head = RequestHead { method: method.to_owned(), target, authority, version, fields };
    Ok(Request {
        framing,
        length,
        keep_alive,
        expects_continue,
        wants_upgrade: about.names(b"upgrade") && wants_upgrade(&head.fields),
        connection_names: about.connection,
        head,
    })
}

/// Parse a complete response head to a request of that `method`.
pub fn parse_response(bytes: &[u8], method: &str, limits: &HeadLimits) -> Result<Response, HeadFault> {
    let mut table = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    match parser.parse_response_with_uninit_headers(&mut parsed, bytes, &mut table) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(HeadFault::Malformed("incomplete head")),
        Err(why) => return Err(parse_fault(why)),
    }
    let version = version(parsed.version)?;
    let status = parsed.code.unwrap_or_default();
    if status < 100 {
        return Err(HeadFault::Malformed("status code below 100"));
    }
    let fields = fields(parsed.headers, limits)?;
    let about = About::read(&fields)?;
    let framing = response_framing(&about, method, status)?;
    // Both framings at once, or a coding in HTTP/1.0: the coding wins, the connection is never trusted again (RFC 9112 6.3).
    let doubtful = about.coding.is_some() && (about.length.is_some() || version == Version::Http10);
    let reusable = about.keep_alive(version) && !doubtful && !matches!(framing, Framing::UntilClose);
    let reason = parsed.reason.unwrap_or_default().to_owned();
    Ok(Response {
        head: ResponseHead { version, status, reason, fields },
        framing,
        reusable,
        connection_names: about.connection,
    })
}

/// What the fields say about framing and connection.
struct About {
    coding: Option<Coding>,
    length: Option<u64>,
    connection: Vec<Vec<u8>>,
}

enum Coding {
    Chunked,
    Other,
}

impl About {
    fn read(fields: &Fields) -> Result<Self, HeadFault> {
        let connection = fields.all("connection").flat_map(list_members).map(<[u8]>::to_vec).collect();
        Ok(Self { coding: coding(fields), length: length(fields)?, connection })
    }

    fn names(&self, name: &[u8]) -> bool {
        self.connection.iter().any(|member| member.eq_ignore_ascii_case(name))
    }

    fn keep_alive(&self, version: Version) -> bool {
        !self.names(b"close") && (version == Version::Http11 || self.names(b"keep-alive"))
    }
}

/// Exactly one field, exactly `chunked`; a second field or a list is another coding (RFC 9112 6.1).
fn coding(fields: &Fields) -> Option<Coding> {
    let mut all = fields.all("transfer-encoding");
    let first = all.next()?;
    let plain = first.eq_ignore_ascii_case(b"chunked") && all.next().is_none();
    Some(if plain { Coding::Chunked } else { Coding::Other })
}

/// Digits only; repeated values must agree (RFC 9110 8.6).
fn length(fields: &Fields) -> Result<Option<u64>, HeadFault> {
    let mut agreed = None;
    for value in fields.all("content-length") {
        let digits = !value.is_empty() && value.len() <= 18 && value.iter().all(u8::is_ascii_digit);
        let number = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse().ok());
        let number: u64 =
            number.ok_or(HeadFault::Malformed("content-length is not a number (RFC 9110 8.6)"))?;
        if agreed.is_some_and(|before| before != number) {
            return Err(HeadFault::Malformed("content-length given twice and different (RFC 9112 6.3)"));
        }
        agreed = Some(number);
    }
    Ok(agreed)
}

fn request_framing(about: &About, version: Version) -> Result<(Framing, Option<u64>), HeadFault> {
    match (&about.coding, about.length) {
        (Some(_), Some(_)) => {
            Err(HeadFault::Malformed("content-length and transfer-encoding together (RFC 9112 6.1)"))
        }
        (Some(_), None) if version == Version::Http10 => {
            Err(HeadFault::Malformed("transfer-encoding in HTTP/1.0 (RFC 9112 6.1)"))
        }
        (Some(Coding::Other), None) => Err(HeadFault::UnknownCoding),
        (Some(Coding::Chunked), None) => Ok((Framing::Chunked(Chunked::default()), None)),
        (None, Some(0)) => Ok((Framing::None, Some(0))),
        (None, Some(length)) => Ok((Framing::Length(length), Some(length))),
        (None, None) => Ok((Framing::None, None)),
    }
}

/// RFC 9112 6.3, items 1 to 8, for responses.
fn response_framing(about: &About, method: &str, status: u16) -> Result<Framing, HeadFault> {
    let bodiless = method == "HEAD" || status < 200 || status == 204 || status == 304;
    match (&about.coding, about.length) {
        _ if bodiless => Ok(Framing::None),
        (Some(Coding::Other), _) => Err(HeadFault::UnknownCoding),
        (Some(Coding::Chunked), _) => Ok(Framing::Chunked(Chunked::default())),
        (None, Some(length)) => Ok(Framing::Length(length)),
        (None, None) => Ok(Framing::UntilClose),
    }
}

fn expectation(fields: &Fields, version: Version) -> Result<bool, HeadFault> {
    let mut all = fields.all("expect").flat_map(list_members).peekable();
    // A 1.0 client's expectation is ignored (RFC 9110 10.1.1).
    if version == Version::Http10 || all.peek().is_none() {
        return Ok(false);
    }
    let known = all.all(|expected| expected.eq_ignore_ascii_case(b"100-continue"));
    if known { Ok(true) } else { Err(HeadFault::Expectation) }
}

/// An offer of `h2c` is passed over, as RFC 9110 7.8 allows: some clients make it with every first request, which is good
/// without it, and RFC 9113 3.1 has given it up.
fn wants_upgrade(fields: &Fields) -> bool {
    fields.all("upgrade").flat_map(list_members).any(|protocol| !protocol.eq_ignore_ascii_case(b"h2c"))
}

fn version(minor: Option<u8>) -> Result<Version, HeadFault> {
    match minor {
        Some(0) => Ok(Version::Http10),
        Some(1) => Ok(Version::Http11),
        _ => Err(HeadFault::Version),
    }
}

/// Origin form stays; absolute form is taken apart; authority form (CONNECT) has no place here (RFC 9112 3.2).
fn target(method: &str, target: &str) -> Result<(String, Option<String>), HeadFault> {
    if target.bytes().any(|b| b <= b' ' || b == b'#' || b >= 0x7f) {
        return Err(HeadFault::Malformed(
            "byte in request target that must be percent-encoded (RFC 9112 3.2)",
        ));
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok((target.to_owned(), None));
    }
    let lower = target.get(..8).unwrap_or(target).to_ascii_lowercase();
    let rest = match &lower {
        l if l.starts_with("http://") => &target[7..],
        l if l.starts_with("https://") => &target[8..],
        _ => {
            return Err(HeadFault::Malformed(
                "request target is neither a path nor an absolute URL (RFC 9112 3.2)",
            ));
        }
    };
    let slash = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(slash);
    if authority.is_empty() || !is_authority(authority.as_bytes()) {
        return Err(HeadFault::Malformed("absolute URL with a bad authority (RFC 9110 4.2.4)"));
    }
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok((path, Some(authority.to_owned())))
}

/// One `Host`, with a well-formed value, in every HTTP/1.1 request (RFC 9112 3.2).
fn host(fields: &Fields, version: Version) -> Result<(), HeadFault> {
    let mut hosts = fields.all("host");
    let first = hosts.next();
    if hosts.next().is_some() {
        return Err(HeadFault::Malformed("more than one Host (RFC 9112 3.2)"));
    }
    let Some(value) = first else {
        let optional = version == Version::Http10;
        return if optional { Ok(()) } else { Err(HeadFault::Malformed("no Host (RFC 9112 3.2)")) };
    };
    match is_authority(value) {
        true => Ok(()),
        false => Err(HeadFault::Malformed("malformed Host (RFC 9112 3.2)")),
    }
}

/// A name or address, in brackets if it has colons, and perhaps a port (RFC 9110 4.2, RFC 3986 3.2); empty where there is
/// no authority to name.
fn is_authority(value: &[u8]) -> bool {
    let (host, port) = match value {
        [b'[', rest @ ..] => match rest.iter().position(|b| *b == b']') {
            Some(end) => (&rest[..end], &rest[end + 1..]),
            None => return false,
        },
        _ => value.split_at(value.iter().position(|b| *b == b':').unwrap_or(value.len())),
    };
    let in_brackets = value.first() == Some(&b'[');
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-._%~".contains(b) || (in_brackets && *b == b':');
    let digits = |port: &[u8]| port.len() <= 5 && port.iter().all(u8::is_ascii_digit);
    host.iter().all(plain) && (port.is_empty() || port.strip_prefix(b":").is_some_and(digits))
}

fn fields(parsed: &[httparse::Header<'_>], limits: &HeadLimits) -> Result<Fields, HeadFault> {
    if parsed.len() > limits.fields_max {
        return Err(HeadFault::TooManyFields);
    }
    let bytes = parsed.iter().map(|header| header.name.len() + header.value.len()).sum();
    let mut fields = Fields::with_room(bytes, parsed.len());
    for header in parsed {
        // httparse keeps trailing white space within a value; it is not part of it (RFC 9110 5.5).
        fields.push(header.name.as_bytes(), header.value.trim_ascii());
    }
    Ok(fields)
}

fn parse_fault(why: httparse::Error) -> HeadFault {
    match why {
        httparse::Error::TooManyHeaders => HeadFault::TooManyFields,
        httparse::Error::Version => HeadFault::Version,
        httparse::Error::HeaderName => HeadFault::Malformed("malformed field name (RFC 9112 5.1)"),
        httparse::Error::HeaderValue => HeadFault::Malformed("malformed field value (RFC 9110 5.5)"),
        httparse::Error::NewLine => HeadFault::Malformed("bare CR in head (RFC 9112 2.2)"),
        httparse::Error::Status => HeadFault::Malformed("malformed status (RFC 9112 4)"),
        httparse::Error::Token => HeadFault::Malformed("malformed start line (RFC 9112 3)"),
    }
}

#[cfg(test)]
mod tests;
