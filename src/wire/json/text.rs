//! Text of JSON strings: escapes resolved, UTF-8 checked.

use std::borrow::Cow;

/// The text between a string's quotes; `None` if an escape or the UTF-8 is broken.
///
/// A lone surrogate becomes U+FFFD, as most parsers read it: refusing it would make one odd emoji unreadable.
#[must_use]
pub fn unescape(inside: &[u8]) -> Option<Cow<'_, str>> {
    let Some(first) = memchr::memchr(b'\\', inside) else {
        return std::str::from_utf8(inside).ok().map(Cow::Borrowed);
    };
    let mut out = Vec::with_capacity(inside.len());
    out.extend_from_slice(&inside[..first]);
    let mut rest = &inside[first..];
    while !rest.is_empty() {
        let run = memchr::memchr(b'\\', rest).unwrap_or(rest.len());
        out.extend_from_slice(&rest[..run]);
        rest = &rest[run..];
        if !rest.is_empty() {
            rest = one_escape(rest, &mut out)?;
        }
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

/// The beginning of a long text, at most `bytes_max` bytes and ending at a character. Reads no further than it needs.
#[must_use]
pub fn unescape_start(inside: &[u8], bytes_max: usize) -> Option<String> {
    // Six written bytes are at least one byte of text; the cut may fall into an escape or a character.
    let mut cut = inside.len().min(bytes_max.saturating_mul(6));
    let mut text = None;
    for _ in 0..12 {
        text = unescape(&inside[..cut]);
        if text.is_some() || cut == 0 || cut == inside.len() {
            break;
        }
        cut -= 1;
    }
    let mut text = text?.into_owned();
    text.truncate(floor_char(&text, bytes_max));
    // It is kept for as long as a stream lasts; what it was cut from is six times as long.
    text.shrink_to_fit();
    Some(text)
}

fn floor_char(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0)
}

/// Resolve the escape at the head of `text` into `out`; what follows it.
fn one_escape<'a>(text: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let plain = match text.get(1)? {
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'b' => 8,
        b'f' => 12,
        b'u' => return unicode(text, out),
        same @ (b'"' | b'\\' | b'/') => *same,
        _ => return None,
    };
    out.push(plain);
    Some(&text[2..])
}

fn unicode<'a>(text: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let first = hex4(text)?;
    let rest = &text[6..];
    let (code, rest) = match (first, hex4(rest)) {
        (0xD800..=0xDBFF, Some(second @ 0xDC00..=0xDFFF)) => {
            (0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00), &rest[6..])
        }
        _ => (first, rest),
    };
    let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Some(rest)
}

fn hex4(text: &[u8]) -> Option<u32> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |n, d| Some(n * 16 + char::from(*d).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        let cases: [(&str, &str); 6] = [
            ("plain ü", "plain ü"),
            (r#"a\n\t\"\\\/\b\f\r"#, "a\n\t\"\\/\u{8}\u{c}\r"),
            (r"mod\u0065l", "model"),
            (r"\ud83d\ude00!", "😀!"),
            (r"\ud83dx", "\u{fffd}x"),
            (r"\ude00\ud83d\u0041", "\u{fffd}\u{fffd}A"),
        ];
        for (written, text) in cases {
            assert_eq!(unescape(written.as_bytes()).as_deref(), Some(text), "{written}");
        }
    }

    #[test]
    fn broken_text_is_none() {
        let broken: [&[u8]; 5] = [b"\\", b"\\q", b"\\u12", b"\\u12g4", b"\xff"];
        for written in broken {
            assert_eq!(unescape(written), None, "{}", String::from_utf8_lossy(written));
        }
    }

    #[test]
    fn a_start_ends_at_a_character() {
        assert_eq!(unescape_start("aü".repeat(100).as_bytes(), 5).as_deref(), Some("aüa"));
        assert_eq!(unescape_start(r"\u00e4".repeat(100).as_bytes(), 5).as_deref(), Some("ää"));
        assert_eq!(unescape_start(b"ab", 5).as_deref(), Some("ab"));
        assert_eq!(unescape_start(b"\xff\xff\xff", 5), None);
    }
}
