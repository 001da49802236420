//! AWS Signature Version 4 over a request as it will be sent (AWS General Reference, "Signing AWS API requests").
//!
//! The path is encoded once more for the signature, as every service but S3 wants it, so an id that is percent-encoded
//! on the wire is so twice in what is signed. Own code, since it is a page: the maintained crates bring a framework.

use std::fmt::Write as _;

use ring::digest::{SHA256, digest};
use ring::hmac;

/// Who signs.
#[derive(Clone, Copy)]
pub struct Signer<'a> {
    /// Access key id.
    pub access_key_id: &'a str,
    /// Secret access key.
    pub secret_access_key: &'a str,
    /// Region of the endpoint.
    pub region: &'a str,
    /// Service, as it names itself in signatures.
    pub service: &'a str,
}

/// What is signed.
#[derive(Clone, Copy)]
pub struct Signed<'a> {
    /// Method.
    pub method: &'a str,
    /// Path and query as on the wire.
    pub target: &'a str,
    /// Fields to cover, names in lower case; `host` and `x-amz-date` must be among them.
    pub fields: &'a [(String, String)],
    /// SHA-256 of the body, hexadecimal.
    pub body_hash: &'a str,
    /// As in `x-amz-date`: `20150830T123600Z`.
    pub date: &'a str,
}

impl Signer<'_> {
    /// The value of `Authorization`.
    #[must_use]
    pub fn authorization(&self, signed: &Signed<'_>) -> String {
        let day = signed.date.get(..8).unwrap_or(signed.date);
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let (names, canonical) = canonical(signed);
        let hash = hex(digest(&SHA256, canonical.as_bytes()).as_ref());
        let to_sign = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{hash}", signed.date);
        let signature = hex(&keyed(&self.key(day), &to_sign));
        let id = self.access_key_id;
        format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}")
    }

    fn key(&self, day: &str) -> Vec<u8> {
        let secret = format!("AWS4{}", self.secret_access_key);
        [day, self.region, self.service, "aws4_request"]
            .iter()
            .fold(secret.into_bytes(), |key, part| keyed(&key, part))
    }
}

fn keyed(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

/// Names of the covered fields, and the canonical request.
fn canonical(signed: &Signed<'_>) -> (String, String) {
    let (path, query) = signed.target.split_once('?').unwrap_or((signed.target, ""));
    let mut fields: Vec<(&str, String)> = Vec::with_capacity(signed.fields.len());
    let mut written: Vec<_> = signed.fields.iter().collect();
    // Stable: values of a repeated field keep their order.
    written.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (name, value) in written {
        let value = value.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        match fields.last_mut().filter(|(last, _)| last == name) {
            Some((_, values)) => *values = format!("{values},{value}"),
            None => fields.push((name, value)),
        }
    }
    let names = fields.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let lines: String = fields.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let (method, path, query) = (signed.method, encoded(path.as_bytes(), true), sorted(query));
    let canonical = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{}", signed.body_hash);
    (names, canonical)
}

/// A query in the order of its encoded names, then values.
fn sorted(query: &str) -> String {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let mut pairs: Vec<(String, String)> = pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (encoded(&decoded(name), false), encoded(&decoded(value), false))
        })
        .collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// Everything but RFC 3986's unreserved characters, and a path's slashes, as `%XX`.
fn encoded(bytes: &[u8], slashes_stay: bool) -> String {
    let mut out = String::with_capacity(bytes.len() + 16);
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(*byte))
            }
            b'/' if slashes_stay => out.push('/'),
            _ => _ = write!(out, "%{byte:02X}"),
        }
    }
    out
}

fn decoded(text: &str) -> Vec<u8> {
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        match (byte, digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push((high << 4 | low) as u8);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}

/// SHA-256 of a body, as signatures want it.
#[must_use]
pub fn body_hash(body: &[u8]) -> String {
    hex(digest(&SHA256, body).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        _ = write!(out, "{byte:02x}");
        out
    })
}

/// A moment as `x-amz-date` has it, from microseconds since the Unix epoch.
#[must_use]
pub fn date(wall_us: u64) -> String {
    let seconds = i64::try_from(wall_us / 1_000_000).unwrap_or(i64::MAX);
    let moment = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    moment.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// The region that an endpoint's host names: the label after the service's.
#[must_use]
pub fn region_of(host: &str) -> Option<&str> {
    let labels = host.strip_suffix(".amazonaws.com").or_else(|| host.strip_suffix(".api.aws"))?;
    labels.rsplit('.').next().filter(|label| label.contains('-') && !label.starts_with("bedrock"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    fn signature(service: &str, method: &str, target: &str, fields: &[(&str, &str)], body: &str) -> String {
        let fields: Vec<_> = fields.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let signed = Signed {
            method,
            target,
            fields: &fields,
            body_hash: &body_hash(body.as_bytes()),
            date: "20150830T123600Z",
        };
        let signer =
            Signer { access_key_id: "AKIDEXAMPLE", secret_access_key: SECRET, region: "us-east-1", service };
        signer.authorization(&signed)
    }

    /// From AWS's published test suite, and the worked example of its reference.
    #[test]
    fn published_vectors() {
        let plain = [("host", "example.amazonaws.com"), ("x-amz-date", "20150830T123600Z")];
        for (method, target, expected) in [
            ("GET", "/", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            ("POST", "/", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
            (
                "GET",
                "/?Param2=value2&Param1=value1",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            ("GET", "/\u{1234}", "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
        ] {
            let made = signature("service", method, target, &plain, "");
            assert!(made.ends_with(expected), "{method} {target}: {made}");
        }
        let iam = [
            ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
            ("host", "iam.amazonaws.com"),
            ("x-amz-date", "20150830T123600Z"),
        ];
        assert_eq!(
            signature("iam", "GET", "/?Action=ListUsers&Version=2010-05-08", &iam, ""),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
    }

    #[test]
    fn an_encoded_path_is_encoded_once_more_and_repeated_fields_are_joined() {
        let fields: Vec<_> = [("x-amz-b", " 2   3 "), ("host", "h"), ("x-amz-b", "4")]
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .into();
        let signed = Signed {
            method: "POST",
            target: "/model/a%3A0/converse?b=%2f&a",
            fields: &fields,
            body_hash: "h",
            date: "d",
        };
        assert_eq!(
            canonical(&signed).1,
            "POST\n/model/a%253A0/converse\na=&b=%2F\nhost:h\nx-amz-b:2 3,4\n\nhost;x-amz-b\nh"
        );
    }

    #[test]
    fn dates_and_regions() {
        assert_eq!(date(1_440_938_160_000_000), "20150830T123600Z");
        assert_eq!(region_of("bedrock-runtime.eu-west-1.amazonaws.com"), Some("eu-west-1"));
        assert_eq!(region_of("bedrock-mantle.us-east-1.api.aws"), Some("us-east-1"));
        assert_eq!(region_of("127.0.0.1"), None);
        assert_eq!(region_of("vpce-1.bedrock-runtime.us-west-2.vpce.amazonaws.com"), None);
    }
}
