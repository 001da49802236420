//! Globs: the same verdict as the plain definition of their wildcards, however the text is put together.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::llm::price::go_match::Pattern;
use weir::policy::glob::{Glob, TEXT_BYTES_MAX};

/// What a piece of a pattern takes: one such byte, or a run of bytes, slashes among them or not.
#[derive(Clone, Copy)]
enum Takes {
    One(Option<u8>),
    Run { slashes: bool },
}

/// The definition, without any thought for speed: row by row which lengths of the text are taken so far.
fn defined(pieces: &[Takes], text: &[u8]) -> bool {
    let mut taken: Vec<bool> = std::iter::once(true).chain(text.iter().map(|_| false)).collect();
    for piece in pieces {
        let before = taken;
        taken = vec![false; text.len() + 1];
        for at in 0..=text.len() {
            taken[at] = match piece {
                Takes::One(byte) => {
                    at > 0 && before[at - 1] && byte.map_or(text[at - 1] != b'/', |byte| byte == text[at - 1])
                }
                Takes::Run { slashes } => {
                    before[at] || (at > 0 && taken[at - 1] && (*slashes || text[at - 1] != b'/'))
                }
            };
        }
    }
    taken[text.len()]
}

/// `*` within a segment, `**` over any.
fn ours(pattern: &[u8]) -> Vec<Takes> {
    let (mut pieces, mut rest) = (Vec::new(), pattern);
    while let [first, after @ ..] = rest {
        let (piece, after) = match (first, after) {
            (b'*', [b'*', after @ ..]) => (Takes::Run { slashes: true }, after),
            (b'*', after) => (Takes::Run { slashes: false }, after),
            (byte, after) => (Takes::One(Some(*byte)), after),
        };
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// Go's: `*` within a segment, `?` any one character but a slash.
fn gos(pattern: &[u8]) -> Vec<Takes> {
    let piece = |byte: &u8| match byte {
        b'*' => Takes::Run { slashes: false },
        b'?' => Takes::One(None),
        byte => Takes::One(Some(*byte)),
    };
    pattern.iter().map(piece).collect()
}

fuzz_target!(|input: (&str, &str, u8)| {
    let (pattern, text, at) = input;
    if let Ok(glob) = Glob::new(pattern) {
        let verdict = glob.matches(text);
        let expected = defined(&ours(pattern.as_bytes()), text.as_bytes());
        assert!(text.len() > TEXT_BYTES_MAX || verdict == expected, "{pattern:?} over {text:?}");
        let at = (0..=usize::from(at).min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        assert_eq!(glob.matches_parts(&[&text[..at], "", &text[at..]]), verdict);
        if let Some((first, _)) = text.split_once('/').filter(|_| verdict) {
            assert!(glob.may_begin_with(first), "{pattern:?} matches {text:?}");
        }
    }
    // Classes and escapes are Go's own business; of characters, `?` takes one.
    let plain = pattern.is_ascii() && text.is_ascii() && !pattern.contains(['[', '\\']);
    if let (Ok(compiled), true) = (Pattern::new(pattern), plain) {
        assert_eq!(compiled.matches(text), defined(&gos(pattern.as_bytes()), text.as_bytes()), "{pattern:?} over {text:?}");
    }
});
