//! The little HTTP/1.1 that provider and client need, sans-io: heads, and bodies in any framing.

/// A head past this is refused.
pub const HEAD_BYTES_MAX: usize = 256 * 1024;

/// The three words of the first line and the header fields, names in lower case.
#[derive(Debug, Clone, Default)]
pub struct Head {
    pub first: [String; 3],
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// `Ok(None)` while the head is not whole; the count is what it takes of `bytes`.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, &'static str> {
        let Some(end) = find(bytes, b"\r\n\r\n") else {
            return if bytes.len() > HEAD_BYTES_MAX { Err("head too large") } else { Ok(None) };
        };
        let text = std::str::from_utf8(&bytes[..end]).map_err(|_| "head is not UTF-8")?;
        let mut lines = text.split("\r\n");
        let mut words = lines.next().unwrap_or("").splitn(3, ' ').map(str::to_owned);
        let mut word = || words.next().unwrap_or_default();
        let mut head = Head { first: [word(), word(), word()], headers: Vec::with_capacity(16) };
        for line in lines {
            let (name, value) = line.split_once(':').ok_or("header line without colon")?;
            head.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        if !head.first.iter().any(|w| w.starts_with("HTTP/1.")) {
            return Err("not HTTP/1");
        }
        Ok(Some((head, end + 4)))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub fn method(&self) -> &str {
        &self.first[0]
    }

    pub fn target(&self) -> &str {
        &self.first[1]
    }

    /// Of a response.
    pub fn status(&self) -> u16 {
        self.first[1].parse().unwrap_or(0)
    }

    pub fn closes(&self) -> bool {
        let close = self.header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
        close || self.first[2] == "HTTP/1.0" || self.first[0] == "HTTP/1.0"
    }

    pub fn request_body(&self) -> Result<Body, &'static str> {
        self.framing(Body::Length(0))
    }

    pub fn response_body(&self, method: &str) -> Result<Body, &'static str> {
        if method == "HEAD" || matches!(self.status(), 100..200 | 204 | 304) {
            return Ok(Body::Length(0));
        }
        self.framing(Body::UntilClose)
    }

    fn framing(&self, otherwise: Body) -> Result<Body, &'static str> {
        match (self.header("transfer-encoding"), self.header("content-length")) {
            (Some(_), Some(_)) => Err("both transfer-encoding and content-length"),
            (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") => {
                Ok(Body::Chunked(Chunk::Size(0, 0)))
            }
            (Some(_), None) => Err("unknown transfer-encoding"),
            (None, Some(length)) => length.parse().map(Body::Length).map_err(|_| "bad content-length"),
            (None, None) => Ok(otherwise),
        }
    }
}

/// What is left of a body.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Body {
    Length(u64),
    Chunked(Chunk),
    UntilClose,
}

/// Where in the chunked coding the next byte stands.
///
/// ```text
/// Size ──▶ Extension ──▶ SizeEnd ─▶ Data ─▶ DataCr ─▶ DataLf ─▶ Size
///                           └ size 0 ─▶ Trailer … empty line ─▶ Done
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Chunk {
    /// The size so far and how many digits made it.
    Size(u64, u8),
    Extension(u64),
    SizeEnd(u64),
    Data(u64),
    DataCr,
    DataLf,
    /// Bytes of the trailer line so far.
    Trailer(usize),
    TrailerLf(usize),
    Done,
}

impl Body {
    /// Hand payload to `sink`; returns how much of `bytes` belonged to the body.
    pub fn feed(&mut self, bytes: &[u8], mut sink: impl FnMut(&[u8])) -> Result<usize, &'static str> {
        match self {
            Body::Length(left) => {
                let take = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                sink(&bytes[..take]);
                *left -= take as u64;
                Ok(take)
            }
            Body::UntilClose => {
                sink(bytes);
                Ok(bytes.len())
            }
            Body::Chunked(chunk) => feed_chunked(chunk, bytes, sink),
        }
    }

    pub fn done(&self) -> bool {
        matches!(self, Body::Length(0) | Body::Chunked(Chunk::Done))
    }
}

fn feed_chunked(chunk: &mut Chunk, bytes: &[u8], mut sink: impl FnMut(&[u8])) -> Result<usize, &'static str> {
    let mut at = 0;
    while at < bytes.len() && *chunk != Chunk::Done {
        if let Chunk::Data(left) = chunk {
            let take = (bytes.len() - at).min(usize::try_from(*left).unwrap_or(usize::MAX));
            sink(&bytes[at..at + take]);
            at += take;
            *left -= take as u64;
            if *left == 0 {
                *chunk = Chunk::DataCr;
            }
            continue;
        }
        *chunk = next(*chunk, bytes[at])?;
        at += 1;
    }
    Ok(at)
}

fn next(chunk: Chunk, byte: u8) -> Result<Chunk, &'static str> {
    Ok(match (chunk, byte) {
        (Chunk::Size(size, digits), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if digits < 15 => {
            Chunk::Size(size * 16 + u64::from((byte as char).to_digit(16).unwrap_or(0)), digits + 1)
        }
        (Chunk::Size(_, 0), _) => return Err("chunk size without digits"),
        (Chunk::Size(size, _) | Chunk::Extension(size), b'\r') => Chunk::SizeEnd(size),
        (Chunk::Size(size, _), b';') => Chunk::Extension(size),
        (Chunk::Extension(_), b'\n') => return Err("bare LF in a chunk extension"),
        (Chunk::Extension(size), _) => Chunk::Extension(size),
        (Chunk::SizeEnd(0), b'\n') => Chunk::Trailer(0),
        (Chunk::SizeEnd(size), b'\n') => Chunk::Data(size),
        (Chunk::DataCr, b'\r') => Chunk::DataLf,
        (Chunk::DataLf, b'\n') => Chunk::Size(0, 0),
        (Chunk::Trailer(length), b'\r') => Chunk::TrailerLf(length),
        (Chunk::Trailer(length), _) if length < HEAD_BYTES_MAX => Chunk::Trailer(length + 1),
        (Chunk::TrailerLf(0), b'\n') => Chunk::Done,
        (Chunk::TrailerLf(_), b'\n') => Chunk::Trailer(0),
        _ => return Err("broken chunk framing"),
    })
}

/// One chunk holding `payload`, appended to `out`.
pub fn chunk(payload: &[u8], out: &mut Vec<u8>) {
    use std::io::Write;
    // Writing into a Vec cannot fail.
    _ = write!(out, "{:x}\r\n", payload.len());
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}

pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Payload Too Large",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        529 => "Overloaded",
        _ => "Status",
    }
}

/// Where `needle` begins.
pub fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|w| w == needle)
}

/// A fast hash for content, not for secrets: equal bytes, equal number, on every machine.
pub fn hash(bytes: &[u8]) -> u64 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut state = K ^ bytes.len() as u64;
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let word = u64::from_le_bytes(word.try_into().expect("chunks of eight"));
        state = (state ^ word).wrapping_mul(K).rotate_left(29);
    }
    for &byte in words.remainder() {
        state = (state ^ u64::from(byte)).wrapping_mul(K).rotate_left(29);
    }
    mix(state)
}

/// One step of a number into an unrelated one.
pub fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunked_at_every_cut() {
        let wire = b"3;x=\"y\"\r\nabc\r\n00A\r\n0123456789\r\n0\r\nt: v\r\n\r\nNEXT";
        for cut in 0..wire.len() {
            let (mut body, mut got) = (Body::Chunked(Chunk::Size(0, 0)), Vec::new());
            let first = body.feed(&wire[..cut], |p| got.extend_from_slice(p)).expect("first");
            let second = body.feed(&wire[first..], |p| got.extend_from_slice(p)).expect("second");
            assert_eq!(got, b"abc0123456789");
            assert!(body.done());
            assert_eq!(&wire[first + second..], b"NEXT");
        }
    }

    #[test]
    fn broken_chunks_are_told() {
        for bad in [&b"x\r\n"[..], b"\r\n", b"3\r\nabcd", b"3\nabc\r\n", b"ffffffffffffffff\r\n"] {
            assert!(Body::Chunked(Chunk::Size(0, 0)).feed(bad, |_| ()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn heads() {
        assert!(matches!(Head::parse(b"GET / HTTP/1.1\r\nA: b"), Ok(None)));
        let (head, used) =
            Head::parse(b"POST /x HTTP/1.1\r\nA:  b \r\n\r\nbody").expect("ok").expect("whole");
        assert_eq!((head.method(), head.target(), head.header("a"), used), ("POST", "/x", Some("b"), 28));
        assert!(Head::parse(b"SSH-2.0-x\r\n\r\n").is_err());
    }
}
