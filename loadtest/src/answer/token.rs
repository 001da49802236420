//! Google's token endpoint: a service account's signed assertion, or a question to the metadata server, for an access
//! token. Of the assertion the shape, the times and the audience are judged, and the RS256 signature of the one account
//! whose key is known here; the private half lies with weir's tests and is good for nothing else.

use super::errors::now;
use super::{Answer, json};
use crate::digest::unbase64;
use crate::json::Value;
use crate::rsa;

/// What every token begins with.
const TOKEN: &str = "ya29.synthetic";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The metadata server is asked without a body.
pub(super) fn answer(body: &[u8]) -> Option<Answer> {
    let refused = if body.is_empty() { None } else { refusal(body, now()) };
    Some(match refused {
        None => json(
            200,
            format!(
                "{{\"access_token\":\"{TOKEN}-{}\",\"expires_in\":3599,\"token_type\":\"Bearer\"}}",
                now()
            ),
        ),
        Some(why) => json(400, format!("{{\"error\":\"invalid_grant\",\"error_description\":\"{why}\"}}")),
    })
}

/// The account whose assertions are verified, and its public key (RFC 8017 A.1.1, 2,048 bits).
const ACCOUNT: &str = "weir@synthetic.iam.gserviceaccount.com";
const KEY: &[u8] = include_bytes!("../../keys/synthetic-account.pub.der");

/// The key's modulus, behind two heads of four bytes and a zero.
fn modulus() -> &'static [u8] {
    &KEY[9..9 + 256]
}

/// Whether the assertion is signed as its account would.
fn is_signed(assertion: &str, issuer: &str, signature: &[u8]) -> bool {
    let text = assertion.rsplit_once('.').map_or("", |(text, _)| text);
    issuer != ACCOUNT || rsa::verifies(modulus(), text.as_bytes(), signature)
}

/// What is wrong with the form, at that many seconds since 1970.
fn refusal(form: &[u8], now: u64) -> Option<&'static str> {
    let Ok(form) = std::str::from_utf8(form) else { return Some("not a form") };
    let field = |name: &str| form.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    if field("grant_type").map(|grant| grant.replace("%3A", ":").replace("%3a", ":")).as_deref()
        != Some(GRANT)
    {
        return Some("another grant_type");
    }
    let assertion = field("assertion").unwrap_or("");
    let parts: Vec<&str> = assertion.split('.').collect();
    let [header, claims, signature] = parts[..] else { return Some("the assertion is no JWT") };
    let read = |part: &str| Value::parse(&unbase64(part)?);
    let (Some(header), Some(claims)) = (read(header), read(claims)) else {
        return Some("the assertion is unreadable");
    };
    let text = |value: &Value, name: &str| value.field(name).and_then(Value::text).unwrap_or("").to_owned();
    let number = |name: &str| claims.field(name).and_then(Value::number).unwrap_or(0.0) as u64;
    let (issued, expires) = (number("iat"), number("exp"));
    let signature = unbase64(signature).unwrap_or_default();
    match () {
        () if text(&header, "alg") != "RS256" => Some("alg is not RS256"),
        // 2,048 bits at least.
        () if signature.len() < 256 => Some("no signature"),
        () if text(&claims, "iss").is_empty() => Some("no iss"),
        () if text(&claims, "scope").is_empty() => Some("no scope"),
        () if !text(&claims, "aud").ends_with("/token") => Some("aud is not this endpoint"),
        () if issued > now + 60 || expires <= now => Some("not now"),
        () if expires > issued + 3_600 => Some("exp is more than an hour after iat"),
        // Last: it takes some milliseconds.
        () if !is_signed(assertion, &text(&claims, "iss"), &signature) => Some("the signature is another's"),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::base64;

    fn form(claims: &str, alg: &str) -> String {
        let part = |text: &[u8]| {
            let mut out = Vec::new();
            base64(text, &mut out);
            let text = String::from_utf8_lossy(&out).into_owned();
            text.replace('+', "-").replace('/', "_").replace('=', "")
        };
        let header = part(format!("{{\"alg\":\"{alg}\",\"typ\":\"JWT\"}}").as_bytes());
        let grant = GRANT.replace(':', "%3A");
        format!("grant_type={grant}&assertion={header}.{}.{}", part(claims.as_bytes()), part(&[7; 256]))
    }

    #[test]
    fn assertions_are_judged() {
        let good =
            r#"{"iss":"a@b","scope":"s","aud":"https://oauth2.googleapis.com/token","iat":1000,"exp":4600}"#;
        let judged = |claims: &str, now| refusal(form(claims, "RS256").as_bytes(), now);
        assert_eq!(judged(good, 1010), None);
        assert_eq!(judged(good, 4600), Some("not now"));
        assert_eq!(judged(&good.replace("4600", "4601"), 1010), Some("exp is more than an hour after iat"));
        assert_eq!(judged(&good.replace("/token", ""), 1010), Some("aud is not this endpoint"));
        assert_eq!(judged(&good.replace("a@b", ""), 1010), Some("no iss"));
        let known = good.replace("a@b", ACCOUNT);
        assert_eq!(judged(&known, 1010), Some("the signature is another's"));
        assert_eq!(refusal(form(good, "none").as_bytes(), 1010), Some("alg is not RS256"));
        assert_eq!(refusal(b"grant_type=password", 1010), Some("another grant_type"));
    }
}
