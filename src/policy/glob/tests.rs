//! The compiled matcher against a naive one that tries everything.

use super::*;

fn matches(pattern: &str, text: &str) -> bool {
    Glob::new(pattern).expect(pattern).matches(text)
}

#[test]
fn stars_stay_within_a_segment_and_double_stars_do_not() {
    for (pattern, text, expected) in [
        ("**", "anything/at/all", true),
        ("**", "", true),
        ("*", "gpt-4o", true),
        ("*", "openai/gpt-4o", false),
        ("openai/*", "openai/gpt-4o", true),
        ("openai/*", "openrouter/openai/gpt-4o", false),
        ("openrouter/*", "openrouter/openai/gpt-4o", false),
        ("openrouter/**", "openrouter/openai/gpt-4o", true),
        ("*/claude-*", "anthropic/claude-opus-4", true),
        ("*/claude-*", "a/b/claude-opus-4", false),
        ("**/claude-*", "a/b/claude-opus-4", true),
        ("*-mini", "gpt-4o-mini", true),
        ("*-mini", "gpt-4o-mini-x", false),
        ("a*b*c", "axbyc", true),
        ("a*b*c", "axbyd", false),
        ("a**b/c", "a/x/b/c", true),
        ("a/**/b", "a//b", true),
        ("a/**/b", "a/b", false),
        ("gpt", "gpt-4", false),
        ("gpt", "GPT", false),
    ] {
        assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
    }
}

#[test]
fn bad_patterns_are_refused() {
    for pattern in ["", "***", "a/***", &"x".repeat(257)] {
        assert!(Glob::new(pattern).is_err(), "{pattern}");
    }
}

#[test]
fn parts_match_as_if_joined() {
    let glob = Glob::new("openai/gpt-*").expect("pattern");
    assert!(glob.matches_parts(&["openai", "/", "gpt-4o"]));
    assert!(!glob.matches_parts(&["openai", "/", "gpt-4o", "/", "x"]));
}

#[test]
fn a_first_segment_is_recognised() {
    for (pattern, first, expected) in [
        ("**", "openai", true),
        ("openai/**", "openai", true),
        ("openai/**", "azure", false),
        ("*/x", "azure", true),
        ("open**", "azure", true),
        ("openai", "openai", false),
    ] {
        assert_eq!(Glob::new(pattern).expect(pattern).may_begin_with(first), expected, "{pattern} {first}");
    }
}

#[test]
fn long_texts_match_nothing_but_everything() {
    let long = "a".repeat(TEXT_BYTES_MAX + 1);
    assert!(matches("**", &long) && !matches("a*", &long) && !matches("*a", &long));
}

/// What the two wildcards mean, said as plainly as possible.
fn naive(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', b'*', rest @ ..] => (0..=text.len()).any(|n| naive(rest, &text[n..])),
        [b'*', rest @ ..] => {
            let reach = text.iter().position(|b| *b == b'/').unwrap_or(text.len());
            (0..=reach).any(|n| naive(rest, &text[n..]))
        }
        [byte, rest @ ..] => text.first() == Some(byte) && naive(rest, &text[1..]),
    }
}

#[test]
fn random_patterns_agree_with_the_naive_matcher() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut matched = 0;
    for round in 0..40_000 {
        let pattern = random(&mut seed, b"ab/**", 9);
        let text = random(&mut seed, b"ab/", 9);
        let Ok(glob) = Glob::new(&pattern) else { continue };
        let expected = naive(pattern.as_bytes(), text.as_bytes());
        matched += usize::from(expected);
        assert_eq!(glob.matches(&text), expected, "round {round}: {pattern} {text}");
    }
    assert!(matched > 1_000, "only {matched} matched: the sample says nothing");
}

fn random(seed: &mut u64, letters: &[u8], len_max: u64) -> String {
    let len = next(seed) % (len_max + 1);
    (0..len).map(|_| char::from(letters[(next(seed) % letters.len() as u64) as usize])).collect()
}

fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed >> 11
}

#[test]
fn a_text_may_begin_with_a_slash() {
    let glob = Glob::new("/**").expect("a pattern");
    assert!(glob.matches("/a/b") && glob.may_begin_with("") && !glob.may_begin_with("a"));
}
