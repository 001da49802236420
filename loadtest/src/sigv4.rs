//! AWS Signature Version 4 as the receiving side reads it: the signature is made again from what arrived.
//!
//! Header signatures of whole bodies only, which is what Bedrock's clients send: no query signatures, no signed chunks.
//! Source: the "Signature Version 4 signing process" pages of AWS's general reference.

use crate::digest::{hex, hmac, sha256};
use crate::http::Head;

/// A pair of keys that opens the synthetic provider; both are examples from AWS's own documentation.
pub struct Keys {
    pub id: &'static str,
    pub secret: &'static str,
    /// Temporary keys come with a token that must be sent along and signed.
    pub token: Option<&'static str>,
}

pub const KEYS: [Keys; 2] = [
    Keys { id: "AKIAIOSFODNN7EXAMPLE", secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", token: None },
    Keys {
        id: "ASIAIOSFODNN7EXAMPLE",
        secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        token: Some("synthetic-session-token"),
    },
];

/// How far the clock of the signer may be off, in seconds.
const SKEW_MAX: u64 = 300;

/// Why a request is refused, in the words of AWS's errors: the type, and what to say.
pub type Refusal = (&'static str, String);

/// Whether `head` and `body` are signed for `service` by one of [`KEYS`]. `now` in seconds since 1970.
pub fn verify(head: &Head, body: &[u8], service: &str, now: u64) -> Result<(), Refusal> {
    verify_by(&KEYS, head, body, service, now)
}

fn verify_by(keys: &[Keys], head: &Head, body: &[u8], service: &str, now: u64) -> Result<(), Refusal> {
    let signed = Signed::read(head)
        .ok_or(("IncompleteSignatureException", "Authorization is unreadable".to_owned()))?;
    let Some(keys) = keys.iter().find(|keys| keys.id == signed.id) else {
        return Err((
            "UnrecognizedClientException",
            "The security token included in the request is invalid.".to_owned(),
        ));
    };
    let mismatch = |why: String| Err(("InvalidSignatureException", why));
    if signed.service != service {
        return mismatch(format!("Credential should be scoped to correct service: '{service}'."));
    }
    if !signed.date.starts_with(signed.day) || signed.date.len() != 16 {
        return mismatch("the day of the scope is not that of x-amz-date".to_owned());
    }
    match seconds(signed.date) {
        Some(then) if then.abs_diff(now) <= SKEW_MAX => {}
        _ => return mismatch(format!("Signature expired: {} is not now", signed.date)),
    }
    if keys.token.is_some() && head.header("x-amz-security-token") != keys.token {
        return Err(("UnrecognizedClientException", "The session token is missing or another".to_owned()));
    }
    // What is not signed could have been changed under way.
    let amz = head.headers.iter().map(|(name, _)| name.as_str()).filter(|name| name.starts_with("x-amz-"));
    if let Some(name) = std::iter::once("host").chain(amz).find(|name| !signed.names.contains(name)) {
        return mismatch(format!("'{name}' must be a 'SignedHeader' in the AWS Authorization."));
    }
    let body_sum = hex(&sha256(body));
    if head.header("x-amz-content-sha256").is_some_and(|sum| sum != body_sum) {
        return mismatch("x-amz-content-sha256 is not the body's".to_owned());
    }
    let canonical = canonical(head, &signed.names, head.header("x-amz-content-sha256").unwrap_or(&body_sum));
    if signature(keys.secret, &signed, &canonical) == signed.signature {
        return Ok(());
    }
    mismatch(format!(
        "The request signature we calculated does not match the signature you provided. The canonical request should \
         have been: {canonical:?}"
    ))
}

/// What `Authorization` and the date beside it say.
struct Signed<'a> {
    id: &'a str,
    day: &'a str,
    region: &'a str,
    service: &'a str,
    names: Vec<&'a str>,
    signature: &'a str,
    date: &'a str,
}

impl<'a> Signed<'a> {
    fn read(head: &'a Head) -> Option<Signed<'a>> {
        let fields = head.header("authorization")?.strip_prefix("AWS4-HMAC-SHA256 ")?;
        let field =
            |name: &str| fields.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
        let mut scope = field("Credential")?.split('/');
        let mut next = || scope.next();
        let (id, day, region, service) = (next()?, next()?, next()?, next()?);
        (next()? == "aws4_request" && next().is_none()).then_some(())?;
        let names = field("SignedHeaders")?.split(';').collect();
        let date = head.header("x-amz-date")?;
        Some(Signed { id, day, region, service, names, signature: field("Signature")?, date })
    }
}

fn signature(secret: &str, signed: &Signed, canonical: &str) -> String {
    let Signed { day, region, service, date, .. } = signed;
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{date}\n{day}/{region}/{service}/aws4_request\n{}",
        hex(&sha256(canonical.as_bytes()))
    );
    let steps = [*day, region, service, "aws4_request"];
    let key = steps
        .iter()
        .fold(format!("AWS4{secret}").into_bytes(), |key, step| hmac(&key, step.as_bytes()).to_vec());
    hex(&hmac(&key, to_sign.as_bytes()))
}

/// The canonical request, from the wire.
fn canonical(head: &Head, names: &[&str], body_sum: &str) -> String {
    let (path, query) = head.target().split_once('?').unwrap_or((head.target(), ""));
    // Every service but S3 encodes the path once more, as it was sent.
    let path: String = path.split('/').map(encode).collect::<Vec<_>>().join("/");
    let mut pairs: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| if pair.contains('=') { pair.to_owned() } else { format!("{pair}=") })
        .collect();
    pairs.sort();
    let headers: String = names.iter().map(|name| format!("{name}:{}\n", values(head, name))).collect();
    format!("{}\n{path}\n{}\n{headers}\n{}\n{body_sum}", head.method(), pairs.join("&"), names.join(";"))
}

/// All values of a header, joined, inner spaces made one.
fn values(head: &Head, name: &str) -> String {
    let all = head.headers.iter().filter(|(n, _)| n == name);
    all.map(|(_, value)| value.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(",")
}

fn encode(segment: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    segment.bytes().map(|b| if plain(b) { (b as char).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Seconds since 1970 of `20150830T123600Z`.
fn seconds(date: &str) -> Option<u64> {
    let part = |from: usize, to: usize| date.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, second) = (part(9, 11)?, part(11, 13)?, part(13, 15)?);
    if year < 1970 || !(1..=12).contains(&month) || date.get(8..9)? != "T" || date.get(15..)? != "Z" {
        return None;
    }
    // Days since the first of March of year zero: leap days fall at the ends of such years.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1;
    Some(((days - 719_468) * 24 + hour) * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEST_KEYS: [Keys; 1] =
        [Keys { id: "AKIDEXAMPLE", secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", token: None }];
    const THEN: u64 = 1_440_938_160;

    fn check(request: &str, authorization: &str, body: &str) -> Result<(), Refusal> {
        let text = format!("{request}Authorization: {authorization}\r\n\r\n");
        let (head, _) = Head::parse(text.as_bytes()).expect("a head").expect("whole");
        verify_by(&TEST_KEYS, &head, body.as_bytes(), "service", THEN)
    }

    fn authorization(names: &str, signature: &str) -> String {
        format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders={names}, Signature={signature}"
        )
    }

    const GET: &str = "GET / HTTP/1.1\r\nHost: example.amazonaws.com\r\nX-Amz-Date: 20150830T123600Z\r\n";
    const VANILLA: &str = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";

    /// `get-vanilla` and its like of AWS's published test suite.
    #[test]
    fn signatures_as_published() {
        let right = authorization("host;x-amz-date", VANILLA);
        assert_eq!(check(GET, &right, ""), Ok(()));
        let queried = GET.replace("GET /", "GET /?Param2=value2&Param1=value1");
        let order = authorization(
            "host;x-amz-date",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        );
        assert_eq!(check(&queried, &order, ""), Ok(()));
        let posted = GET
            .replace("GET", "POST")
            .replace("X-Amz", "Content-Type: application/x-www-form-urlencoded\r\nX-Amz");
        let form = authorization(
            "content-type;host;x-amz-date",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        );
        assert_eq!(check(&posted, &form, "Param1=value1"), Ok(()));
    }

    #[test]
    fn what_was_changed_under_way_shows() {
        let right = authorization("host;x-amz-date", VANILLA);
        let refused = |request: &str, authorization: &str, body: &str| {
            check(request, authorization, body).expect_err("changed").0
        };
        let wrong = "InvalidSignatureException";
        assert_eq!(refused(GET, &right, "x"), wrong);
        assert_eq!(refused(&GET.replace("GET /", "GET /a"), &right, ""), wrong);
        assert_eq!(refused(&GET.replace("example.", "other."), &right, ""), wrong);
        assert_eq!(refused(&GET.replace("T1236", "T1336"), &right, ""), wrong);
        assert_eq!(refused(&format!("{GET}X-Amz-Target: y\r\n"), &right, ""), wrong);
        assert_eq!(refused(GET, &right.replace("/service/", "/bedrock/"), ""), wrong);
        assert_eq!(refused(GET, &right.replace("AKID", "OTHER"), ""), "UnrecognizedClientException");
        assert_eq!(refused(GET, "AWS4-HMAC-SHA256 nothing", ""), "IncompleteSignatureException");
    }

    #[test]
    fn dates() {
        assert_eq!(seconds("20150830T123600Z"), Some(THEN));
        assert_eq!(seconds("19700101T000000Z"), Some(0));
        assert_eq!(seconds("20240229T000001Z"), Some(1_709_164_801));
        assert_eq!(seconds("2024-02-29T0000Z"), None);
    }

    #[test]
    fn paths_are_encoded_once_more() {
        let (head, _) = Head::parse(b"POST /model/a%3A0/converse HTTP/1.1\r\nHost: h\r\n\r\n")
            .expect("ok")
            .expect("whole");
        assert!(canonical(&head, &["host"], "").starts_with("POST\n/model/a%253A0/converse\n\nhost:h\n"));
    }
}
