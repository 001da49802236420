//! Base64 (RFC 4648): decoded as Bedrock wraps its events, encoded for a WebSocket handshake (section 4) and as tokens
//! are written (section 5).

/// The bytes that `text` stands for; `None` if it is not base64. Padding may be absent.
#[must_use]
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.chunks(4) {
        let mut bits = 0_u32;
        for digit in group {
            bits = bits << 6 | u32::from(value(*digit)?);
        }
        let [_, a, b, c] = (bits << (6 * (4 - group.len()))).to_be_bytes();
        match group.len() {
            4 => out.extend_from_slice(&[a, b, c]),
            3 => out.extend_from_slice(&[a, b]),
            2 => out.push(a),
            _ => return None,
        }
    }
    Some(out)
}

/// `bytes` encoded, padding included (section 4).
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut out = digits(bytes, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
    out.extend(std::iter::repeat_n('=', (3 - bytes.len() % 3) % 3));
    out
}

/// `bytes` in the alphabet of URLs, without padding (section 5).
#[must_use]
pub fn url(bytes: &[u8]) -> String {
    digits(bytes, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
}

fn digits(bytes: &[u8], alphabet: &[u8; 64]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for digit in 0..=group.len() {
            out.push(char::from(alphabet[(bits >> (18 - 6 * digit) & 63) as usize]));
        }
    }
    out
}

fn value(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_rfc_4648() {
        for (coded, plain) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(decode(coded.as_bytes()).as_deref(), Some(plain.as_bytes()), "{coded}");
            assert!(coded.len() % 4 != 0 || encode(plain.as_bytes()) == coded, "{plain}");
        }
        for (plain, coded) in
            [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("\u{3ff}\u{3fe}", "z7_Pvg")]
        {
            assert_eq!(url(plain.as_bytes()), coded);
        }
        assert_eq!(decode(b"Zm9vYmE").as_deref(), Some(&b"fooba"[..]));
        for broken in ["Z", "Zm9vY", "Zm 9v", "Z===", "Zm9v\n"] {
            assert_eq!(decode(broken.as_bytes()), None, "{broken}");
        }
    }
}
