//! One forward scan over a JSON body while it arrives: the grammar is checked, a [`Watch`] is told of keys and values
//! near the top, the rest is leapt over.
//!
//! ```text
//!   body so far ──64 bytes──▶ blocks, texts ──one bit per token──▶ grammar ──▶ Watch
//! ```
//!
//! A token is a bracket, a comma, a colon, or the first byte of a string or scalar. The end of a string is known when
//! the token after it comes, so nothing inside a string is ever looked at byte by byte.
//!
//! Checked: brackets, commas, colons, scalars, control characters in strings, nesting, what follows the value. Not
//! checked: the letter after a backslash and UTF-8, unless the text is read; no two parsers differ on *structure* by
//! them.

use std::borrow::Cow;
use std::ops::Range;

use super::blocks::{BLOCK, quote_or_backslash, tokens};
use super::texts::Texts;
use super::{DEPTH_MAX, is_scalar, unescape};

/// What a scan tells. `depth` counts the containers around the key or value: members of the top object have 1.
pub trait Watch {
    /// Containers and values deeper than this are not told. Asked again after every key.
    fn depth(&self) -> u32;
    /// A key, at any depth. `false` stops the scan.
    fn key(&mut self, key: Key<'_>, depth: u32) -> bool;
    /// A container opens.
    fn open(&mut self, body: &[u8], depth: u32, at: usize);
    /// A value ends, quotes or brackets included.
    fn value(&mut self, body: &[u8], depth: u32, span: Range<usize>);
}

/// A key of an object.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// As it stands between its quotes.
    pub written: &'a [u8],
    /// Whether there are escapes in it.
    pub escaped: bool,
}

impl<'a> Key<'a> {
    /// Its name; broken escapes stand as they are.
    #[inline]
    #[must_use]
    pub fn name(self) -> Cow<'a, [u8]> {
        let undone = if self.escaped { unescape(self.written) } else { None };
        undone.map_or(Cow::Borrowed(self.written), |name| Cow::Owned(name.into_owned().into_bytes()))
    }
}

/// Why a scan ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Not JSON; the offset is that of the first byte that cannot be.
    Grammar(usize),
    /// Nested deeper than [`DEPTH_MAX`].
    TooDeep(usize),
    /// The watch stopped it.
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    Colon,
    CommaOrEnd,
}

/// A leaf whose end is not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pending {
    Nothing,
    Text(usize),
    Scalar(usize),
}

/// The state of a scan between two advances: about 200 bytes, whatever the body's size.
#[derive(Debug)]
pub struct Scan {
    /// Bytes done, a multiple of [`BLOCK`].
    done: usize,
    texts: Texts,
    expect: Expect,
    pending: Pending,
    depth: u32,
    /// One bit per level: set for an object.
    kinds: u128,
    /// Where the containers near the top began.
    starts: [usize; STARTS],
}

/// Containers whose span is told. Deeper ones are only counted.
const STARTS: usize = 8;

/// Blocks whose tokens are found at a time: they stay in the first-level cache.
const BATCH: usize = 32;

impl Default for Scan {
    fn default() -> Self {
        Scan {
            done: 0,
            texts: Texts::default(),
            expect: Expect::Value,
            pending: Pending::Nothing,
            depth: 0,
            kinds: 0,
            starts: [0; STARTS],
        }
    }
}

impl Scan {
    /// Read on, to the last whole block of the body so far.
    pub fn advance<W: Watch>(&mut self, body: &[u8], watch: &mut W) -> Result<(), Broken> {
        let (blocks, _) = body.get(self.done..).unwrap_or_default().as_chunks::<BLOCK>();
        for batch in blocks.chunks(BATCH) {
            self.batch(batch, body, watch)?;
        }
        Ok(())
    }

    /// The body is complete: read its last, partial block and check that the value ended.
    pub fn finish<W: Watch>(mut self, body: &[u8], watch: &mut W) -> Result<(), Broken> {
        self.advance(body, watch)?;
        let rest = body.get(self.done..).unwrap_or_default();
        let mut last = [b' '; BLOCK];
        last[..rest.len()].copy_from_slice(rest);
        self.batch(&[last], body, watch)?;
        if self.texts.is_open() || self.depth != 0 || self.expect != Expect::CommaOrEnd {
            return Err(Broken::Grammar(body.len()));
        }
        self.settle(body, body.len(), watch)
    }

    /// At most [`BATCH`] blocks: first all their tokens, then the grammar.
    fn batch<W: Watch>(&mut self, blocks: &[[u8; BLOCK]], body: &[u8], watch: &mut W) -> Result<(), Broken> {
        let mut found = [0; BATCH];
        let control = tokens(&mut self.texts, blocks, &mut found);
        let mut tokens = Tokens { found: &found[..blocks.len()], bits: 0, start: self.done, body };
        while let Some(token) = tokens.next() {
            self.token(token, &mut tokens, watch)?;
        }
        if let Some(at) = control {
            return Err(Broken::Grammar(self.done + at));
        }
        self.done += blocks.len() * BLOCK;
        Ok(())
    }

    #[inline]
    fn token<W: Watch>(
        &mut self,
        token: Token,
        tokens: &mut Tokens<'_>,
        watch: &mut W,
    ) -> Result<(), Broken> {
        let body = tokens.body;
        match self.expect {
            Expect::CommaOrEnd => {
                if token.byte != b',' {
                    return self.end(token, body, watch);
                }
                if self.depth == 0 {
                    return Err(Broken::Grammar(token.at));
                }
                self.settle(body, token.at, watch)?;
                self.expect = if self.kinds & 1 == 1 { Expect::Key } else { Expect::Value };
                if self.expect == Expect::Key { self.member(tokens, watch) } else { Ok(()) }
            }
            Expect::Value => self.value(token, body, watch),
            Expect::ValueOrEnd if token.byte == b']' => self.close(body, token.at, watch),
            Expect::ValueOrEnd => self.value(token, body, watch),
            Expect::KeyOrEnd if token.byte == b'}' => self.close(body, token.at, watch),
            Expect::Key | Expect::KeyOrEnd => self.key(token),
            Expect::Colon => self.colon(token, body, watch),
        }
    }

    /// What comes in this order anyway needs no choosing, as far as it is here: most of a body is members of objects.
    #[inline]
    fn member<W: Watch>(&mut self, tokens: &mut Tokens<'_>, watch: &mut W) -> Result<(), Broken> {
        let Some(token) = tokens.next() else { return Ok(()) };
        self.key(token)?;
        let Some(token) = tokens.next() else { return Ok(()) };
        self.colon(token, tokens.body, watch)?;
        let Some(token) = tokens.next() else { return Ok(()) };
        self.value(token, tokens.body, watch)
    }

    #[inline]
    fn key(&mut self, token: Token) -> Result<(), Broken> {
        if token.byte != b'"' {
            return Err(Broken::Grammar(token.at));
        }
        self.pending = Pending::Text(token.at);
        self.expect = Expect::Colon;
        Ok(())
    }

    #[inline]
    fn value<W: Watch>(&mut self, token: Token, body: &[u8], watch: &mut W) -> Result<(), Broken> {
        let Token { at, byte } = token;
        match byte {
            b'"' => self.leaf(Pending::Text(at)),
            b'{' | b'[' => return self.open(body, at, byte == b'{', watch),
            b'}' | b']' | b':' | b',' => return Err(Broken::Grammar(at)),
            _ => self.leaf(Pending::Scalar(at)),
        }
        Ok(())
    }

    /// A container ends here, or something stands where nothing may.
    #[inline]
    fn end<W: Watch>(&mut self, token: Token, body: &[u8], watch: &mut W) -> Result<(), Broken> {
        let due = if self.kinds & 1 == 1 { b'}' } else { b']' };
        if self.depth == 0 || token.byte != due {
            return Err(Broken::Grammar(token.at));
        }
        self.close(body, token.at, watch)
    }

    #[inline]
    fn leaf(&mut self, pending: Pending) {
        self.pending = pending;
        self.expect = Expect::CommaOrEnd;
    }

    #[inline]
    fn colon<W: Watch>(&mut self, token: Token, body: &[u8], watch: &mut W) -> Result<(), Broken> {
        let Token { at, byte: b':' } = token else { return Err(Broken::Grammar(token.at)) };
        self.expect = Expect::Value;
        let Pending::Text(start) = std::mem::replace(&mut self.pending, Pending::Nothing) else {
            return Err(Broken::Grammar(at));
        };
        let end = trimmed_end(body, start, at) - 1;
        // One look tells for almost all.
        let escaped = quote_or_backslash(body, start + 1) != Some(end);
        if !watch.key(Key { written: &body[start + 1..end], escaped }, self.depth) {
            return Err(Broken::Stopped);
        }
        Ok(())
    }

    fn open<W: Watch>(&mut self, body: &[u8], at: usize, object: bool, watch: &mut W) -> Result<(), Broken> {
        if self.depth == DEPTH_MAX {
            return Err(Broken::TooDeep(at));
        }
        if self.depth <= watch.depth() {
            watch.open(body, self.depth, at);
        }
        if let Some(start) = self.starts.get_mut(self.depth as usize) {
            *start = at;
        }
        self.depth += 1;
        self.kinds = (self.kinds << 1) | u128::from(object);
        self.expect = if object { Expect::KeyOrEnd } else { Expect::ValueOrEnd };
        Ok(())
    }

    fn close<W: Watch>(&mut self, body: &[u8], at: usize, watch: &mut W) -> Result<(), Broken> {
        self.settle(body, at, watch)?;
        self.depth -= 1;
        self.kinds >>= 1;
        self.expect = Expect::CommaOrEnd;
        if self.depth <= watch.depth()
            && let Some(start) = self.starts.get(self.depth as usize)
        {
            watch.value(body, self.depth, *start..at + 1);
        }
        Ok(())
    }

    /// The leaf before the token at `at`, if there is one, is complete.
    #[inline]
    fn settle<W: Watch>(&mut self, body: &[u8], at: usize, watch: &mut W) -> Result<(), Broken> {
        match std::mem::replace(&mut self.pending, Pending::Nothing) {
            Pending::Nothing => {}
            Pending::Text(start) => {
                if self.depth <= watch.depth() {
                    watch.value(body, self.depth, start..trimmed_end(body, start, at));
                }
            }
            Pending::Scalar(start) => {
                let end = trimmed_end(body, start, at);
                if !is_scalar(&body[start..end]) {
                    return Err(Broken::Grammar(start));
                }
                if self.depth <= watch.depth() {
                    watch.value(body, self.depth, start..end);
                }
            }
        }
        Ok(())
    }
}

/// A token: where it begins, and with which byte.
#[derive(Clone, Copy)]
struct Token {
    at: usize,
    byte: u8,
}

/// The tokens of a batch, in their order.
struct Tokens<'a> {
    /// One word per block that is still to come.
    found: &'a [u64],
    /// What is left of the block before those.
    bits: u64,
    /// Where the blocks that are still to come begin.
    start: usize,
    body: &'a [u8],
}

impl Tokens<'_> {
    #[inline]
    fn next(&mut self) -> Option<Token> {
        while self.bits == 0 {
            let (bits, others) = self.found.split_first()?;
            (self.bits, self.found) = (*bits, others);
            self.start += BLOCK;
        }
        let at = self.start - BLOCK + self.bits.trailing_zeros() as usize;
        self.bits &= self.bits - 1;
        // Only the padding of the last block lies past the body, and it is all space.
        Some(Token { at, byte: *self.body.get(at)? })
    }
}

#[inline]
fn trimmed_end(body: &[u8], start: usize, mut end: usize) -> usize {
    while end > start + 1 && matches!(body[end - 1], b' ' | b'\n' | b'\t' | b'\r') {
        end -= 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tells everything down to depth 7, as text.
    #[derive(Default)]
    struct Told(Vec<String>);

    impl Watch for Told {
        fn depth(&self) -> u32 {
            7
        }
        fn key(&mut self, key: Key<'_>, depth: u32) -> bool {
            assert_eq!(key.escaped, key.written.contains(&b'\\'));
            if depth <= self.depth() {
                self.0.push(format!("{depth} key {}", String::from_utf8_lossy(key.written)));
            }
            true
        }
        fn open(&mut self, _: &[u8], depth: u32, at: usize) {
            self.0.push(format!("{depth} open {at}"));
        }
        fn value(&mut self, body: &[u8], depth: u32, span: Range<usize>) {
            self.0.push(format!("{depth} value {}", String::from_utf8_lossy(&body[span])));
        }
    }

    fn told(body: &[u8], step: usize) -> Result<Vec<String>, Broken> {
        let mut scan = Scan::default();
        let mut watch = Told::default();
        for end in (0..body.len()).step_by(step) {
            scan.advance(&body[..end], &mut watch)?;
        }
        scan.finish(body, &mut watch)?;
        Ok(watch.0)
    }

    #[test]
    fn keys_and_values_are_told_in_order() {
        let body = br#" {"a" : [1, true ,"x\"]"] , "b":{} ,"c": -1.5e3 } "#;
        let wanted = [
            "0 open 1",
            "1 key a",
            "1 open 8",
            "2 value 1",
            "2 value true",
            "2 value \"x\\\"]\"",
            "1 value [1, true ,\"x\\\"]\"]",
            "1 key b",
            "1 open 32",
            "1 value {}",
            "1 key c",
            "1 value -1.5e3",
        ];
        let got = told(body, 1).unwrap();
        assert_eq!(got[..got.len() - 1], wanted);
    }

    /// A small seeded generator (SplitMix64), so that a failure can be run again.
    fn random(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn some_json(state: &mut u64, depth: u32, out: &mut Vec<u8>) {
        match random(state) % if depth == 0 { 4 } else { 6 } {
            0 => out.extend_from_slice(b" 12.5 "),
            1 => out.extend_from_slice(b"null"),
            2 | 3 => some_text(state, out),
            4 => {
                out.push(b'[');
                for i in 0..random(state) % 4 {
                    out.extend_from_slice(if i > 0 { b", " } else { b"" });
                    some_json(state, depth - 1, out);
                }
                out.push(b']');
            }
            _ => {
                out.push(b'{');
                for i in 0..random(state) % 4 {
                    out.extend_from_slice(if i > 0 { b"," } else { b"\n" });
                    some_text(state, out);
                    out.extend_from_slice(b": ");
                    some_json(state, depth - 1, out);
                }
                out.push(b'}');
            }
        }
    }

    fn some_text(state: &mut u64, out: &mut Vec<u8>) {
        out.push(b'"');
        for _ in 0..random(state) % 90 {
            let pieces: [&[u8]; 6] = [b"a", b"\\\\", b"\\\"", b"{", b" ", b"\\n"];
            out.extend_from_slice(pieces[(random(state) % 6) as usize]);
        }
        out.push(b'"');
    }

    #[test]
    fn agrees_with_serde_json_on_what_is_json() {
        for seed in 0..2000 {
            let mut state = seed;
            let mut body = Vec::new();
            some_json(&mut state, 5, &mut body);
            if seed % 2 == 1 {
                let at = random(&mut state) as usize % body.len();
                body[at] = b"\"\\{}[],: 0x"[random(&mut state) as usize % 11];
            }
            let wanted = serde_json::from_slice::<serde_json::Value>(&body);
            // Looser than the grammar on purpose: escape letters and the inside of numbers.
            let loose = wanted.as_ref().is_err_and(|e| {
                let e = e.to_string();
                ["escape", "number"].iter().any(|word| e.contains(word))
            });
            let got = told(&body, 17);
            assert!(loose || got.is_ok() == wanted.is_ok(), "seed {seed}: {got:?} {wanted:?}");
        }
    }

    #[test]
    fn any_split_tells_the_same() {
        for seed in 0..200 {
            let mut state = seed;
            let mut body = Vec::new();
            some_json(&mut state, 6, &mut body);
            let whole = told(&body, usize::MAX);
            for step in [1, 7, 64, 100] {
                assert_eq!(told(&body, step), whole, "seed {seed} step {step}");
            }
        }
    }

    #[test]
    fn broken_bodies_are_refused_with_their_place() {
        let cases: [(&[u8], usize); 10] = [
            (b"", 0),
            (b"{\"a\":1}x", 7),
            (b"{\"a\" 1}", 5),
            (b"{\"a\":1,}", 7),
            (b"[1 2]", 3),
            (b"[1,2}", 4),
            (b"{\"a\":tru}", 5),
            (b"\"a\nb\"", 2),
            (b"{\"a\":\"b\"c}", 8),
            (b"[\x0c]", 1),
        ];
        for (body, at) in cases {
            assert_eq!(told(body, 1), Err(Broken::Grammar(at)), "{}", String::from_utf8_lossy(body));
        }
        assert_eq!(told(&b"[".repeat(129), 1), Err(Broken::TooDeep(128)));
    }
}
