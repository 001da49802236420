//! Where the quotes, backslashes, brackets and spaces of 64 bytes are, one bit per byte.
//!
//! The masks are what a JSON reader needs to leap over text: bit `n` of a mask speaks of byte `n` of the block. Three
//! ways to get them, chosen once per call: AVX2 where the processor has it, SSE2 on every other x86-64, a table
//! elsewhere. The table is the reference that the others are tested against.
//!
//! [`text_end`], [`quote_or_backslash`] and [`spaces_end`] are the same idea for the short texts of events, thirty-two
//! bytes at a time.
//!
//! The only `unsafe` of the JSON readers lives here: two loads and the call into the AVX2 path.
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "vector loads and a call that needs a runtime check of the processor")
)]

use memchr::memchr2;

use super::texts::Texts;

/// Bytes per block.
pub const BLOCK: usize = 64;

/// What begins, ends and breaks strings, in one block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// `"`
    pub(super) quote: u64,
    /// `\`
    pub(super) backslash: u64,
    /// Bytes below 0x20, which no string may hold as they are.
    pub(super) control: u64,
}

/// What stands between strings and scalars, in one block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Between {
    /// `{}[]:,`; also the control characters 0x0C and 0x1A, which no token begins with.
    pub(super) op: u64,
    /// Space, tab, line feed, carriage return.
    pub(super) space: u64,
}

/// [`Texts::tokens`], looking at blocks in the best way that there is here.
pub(super) fn tokens(texts: &mut Texts, text: &[[u8; BLOCK]], out: &mut [u64]) -> Option<usize> {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the line above found AVX2.
            unsafe { x86::tokens_avx2(texts, text, out) }
        } else {
            texts.tokens(text, out, x86::marks_sse2, x86::between_sse2)
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    texts.tokens(text, out, table::marks, table::between)
}

/// Index of the closing quote of the string whose text begins at `at`; `None` at a control character, at the end, and
/// in texts shorter than 32 bytes altogether.
#[inline]
#[must_use]
pub fn text_end(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let odd = piece(text, at, odd_in_text)?;
        if odd == 0 {
            at += 32;
            continue;
        }
        at += odd.trailing_zeros() as usize;
        match text.get(at)? {
            b'"' => return Some(at),
            b'\\' if *text.get(at + 1)? >= 0x20 => at += 2,
            _ => return None,
        }
    }
}

/// Index of the first quote or backslash at or after `at`. Most strings of a small object end within one look, for which
/// a search through a long text is too much ado.
#[inline]
#[must_use]
pub fn quote_or_backslash(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match piece(text, at, odd_in_text) {
            Some(0) | None => return memchr2(b'"', b'\\', text.get(at..)?).map(|n| at + n),
            Some(odd) => at += odd.trailing_zeros() as usize,
        }
        if *text.get(at)? >= 0x20 {
            return Some(at);
        }
        at += 1;
    }
}

/// Index of the first byte at or after `at` that is not a space; `None` if there is none, and in texts shorter than
/// 32 bytes altogether.
#[inline]
#[must_use]
pub fn spaces_end(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let other = piece(text, at, not_space)?;
        if other != 0 {
            return Some(at + other.trailing_zeros() as usize);
        }
        at += 32;
    }
}

/// What a test finds in the 32 bytes from `at` on. Near the end the last 32 are tested, and those before `at` shifted
/// out: no branch, no copy.
#[inline]
fn piece(text: &[u8], at: usize, find: impl Fn(&[u8; 32]) -> u32) -> Option<u32> {
    let start = at.min(text.len().checked_sub(32)?);
    let found = find(text.get(start..)?.first_chunk::<32>()?);
    // All 32 shifted out: `at` is at the end, or beyond.
    u32::try_from(at - start).ok().and_then(|before| found.checked_shr(before))
}

/// One bit per byte that is a quote, a backslash or a control character.
#[inline]
fn odd_in_text(piece: &[u8; 32]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    return x86::odd_in_text(piece);
    #[cfg(not(target_arch = "x86_64"))]
    bits(piece, table::is_odd)
}

/// One bit per byte that is not a space.
#[inline]
fn not_space(piece: &[u8; 32]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    return x86::not_space(piece);
    #[cfg(not(target_arch = "x86_64"))]
    bits(piece, |b| b != b' ')
}

#[cfg(not(target_arch = "x86_64"))]
fn bits(piece: &[u8; 32], is: impl Fn(u8) -> bool) -> u32 {
    piece.iter().enumerate().fold(0, |found, (bit, byte)| found | u32::from(is(*byte)) << bit)
}

/// The reference: one table look-up per byte.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod table {
    use super::{BLOCK, Between, Marks};

    const QUOTE: u8 = 1;
    const BACKSLASH: u8 = 2;
    const OP: u8 = 4;
    const SPACE: u8 = 8;
    const CONTROL: u8 = 16;

    const CLASSES: [u8; 256] = classes();

    const fn classes() -> [u8; 256] {
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < 0x20 {
            table[byte] = CONTROL;
            byte += 1;
        }
        table[b'"' as usize] = QUOTE;
        table[b'\\' as usize] = BACKSLASH;
        let ops = *b"{}[]:,\x0c\x1a";
        let mut i = 0;
        while i < ops.len() {
            table[ops[i] as usize] |= OP;
            i += 1;
        }
        let spaces = *b" \t\n\r";
        let mut i = 0;
        while i < spaces.len() {
            table[spaces[i] as usize] |= SPACE;
            i += 1;
        }
        table
    }

    fn of_class(block: &[u8; BLOCK], class: u8) -> u64 {
        let is = |byte: &u8| u64::from(CLASSES[usize::from(*byte)] & class != 0);
        block.iter().enumerate().fold(0, |found, (bit, byte)| found | is(byte) << bit)
    }

    pub(super) fn marks(block: &[u8; BLOCK]) -> Marks {
        Marks {
            quote: of_class(block, QUOTE),
            backslash: of_class(block, BACKSLASH),
            control: of_class(block, CONTROL),
        }
    }

    pub(super) fn between(block: &[u8; BLOCK]) -> Between {
        Between { op: of_class(block, OP), space: of_class(block, SPACE) }
    }

    /// Whether it is a quote, a backslash or a control character.
    #[cfg(not(target_arch = "x86_64"))]
    pub(super) fn is_odd(byte: u8) -> bool {
        CLASSES[usize::from(byte)] & (QUOTE | BACKSLASH | CONTROL) != 0
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m128i, __m256i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128,
        _mm_set1_epi8, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_min_epu8, _mm256_movemask_epi8,
        _mm256_or_si256, _mm256_set1_epi8, _mm256_setr_epi8, _mm256_shuffle_epi8,
    };

    use super::{BLOCK, Between, Marks, Texts};

    #[target_feature(enable = "avx2")]
    pub(super) fn tokens_avx2(texts: &mut Texts, text: &[[u8; BLOCK]], out: &mut [u64]) -> Option<usize> {
        texts.tokens(text, out, |block| marks_avx2(block), |block| between_avx2(block))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn halves(block: &[u8; BLOCK]) -> [__m256i; 2] {
        let (low, high) = block.split_at(32);
        assert!(low.len() == 32 && high.len() == 32);
        // SAFETY: each half is 32 bytes long, and the load asks for no alignment.
        unsafe { [_mm256_loadu_si256(low.as_ptr().cast()), _mm256_loadu_si256(high.as_ptr().cast())] }
    }

    /// One bit per byte that is the same in both.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn alike(a: [__m256i; 2], b: [__m256i; 2]) -> u64 {
        let half = |n: usize| _mm256_movemask_epi8(_mm256_cmpeq_epi8(a[n], b[n])).cast_unsigned();
        u64::from(half(0)) | u64::from(half(1)) << 32
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn marks_avx2(block: &[u8; BLOCK]) -> Marks {
        let bytes = halves(block);
        let all = |byte: i8| [_mm256_set1_epi8(byte); 2];
        let low = bytes.map(|half| _mm256_min_epu8(half, _mm256_set1_epi8(0x1f)));
        Marks { quote: alike(bytes, all(34)), backslash: alike(bytes, all(92)), control: alike(bytes, low) }
    }

    /// A shuffle looks up each byte's low four bits in sixteen candidates, so that one comparison finds all spaces (or
    /// all brackets) at once. `|0x20` makes `[` into `{` and `]` into `}`.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn between_avx2(block: &[u8; BLOCK]) -> Between {
        const N: i8 = 100;
        let spaces = _mm256_setr_epi8(
            32, N, N, N, 17, N, 113, 2, N, 9, 10, 112, N, 13, N, N, // one lane
            32, N, N, N, 17, N, 113, 2, N, 9, 10, 112, N, 13, N, N,
        );
        let ops = _mm256_setr_epi8(
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 58, 123, 44, 125, 0, 0, // one lane
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 58, 123, 44, 125, 0, 0,
        );
        let bytes = halves(block);
        let curled = bytes.map(|half| _mm256_or_si256(half, _mm256_set1_epi8(0x20)));
        Between {
            op: alike(curled, bytes.map(|half| _mm256_shuffle_epi8(ops, half))),
            space: alike(bytes, bytes.map(|half| _mm256_shuffle_epi8(spaces, half))),
        }
    }

    #[inline]
    pub(super) fn marks_sse2(block: &[u8; BLOCK]) -> Marks {
        let bytes = quarters(block);
        // SAFETY: every x86-64 has SSE2.
        unsafe {
            let low = bytes.map(|quarter| _mm_min_epu8(quarter, _mm_set1_epi8(0x1f)));
            let is = |byte: i8| bytes.map(|quarter| _mm_cmpeq_epi8(quarter, _mm_set1_epi8(byte)));
            let mut control = bytes;
            control.iter_mut().zip(low).for_each(|(byte, low)| *byte = _mm_cmpeq_epi8(*byte, low));
            Marks { quote: bits(is(34)), backslash: bits(is(92)), control: bits(control) }
        }
    }

    #[inline]
    pub(super) fn between_sse2(block: &[u8; BLOCK]) -> Between {
        // SAFETY: every x86-64 has SSE2.
        unsafe {
            let eq = |x: __m128i, value: i8| _mm_cmpeq_epi8(x, _mm_set1_epi8(value));
            let any = |a: __m128i, b: __m128i| _mm_or_si128(a, b);
            let bytes = quarters(block);
            // 0x0C and 0x1A fall in with `,` and `:` here as in the wider path.
            let curled = bytes.map(|quarter| any(quarter, _mm_set1_epi8(0x20)));
            let op = |x| any(any(eq(x, 123), eq(x, 125)), any(eq(x, 44), eq(x, 58)));
            let space = |x| any(any(eq(x, 32), eq(x, 9)), any(eq(x, 10), eq(x, 13)));
            Between { op: bits(curled.map(op)), space: bits(bytes.map(space)) }
        }
    }

    #[inline]
    fn quarters(block: &[u8; BLOCK]) -> [__m128i; 4] {
        let (quarters, _) = block.as_chunks::<16>();
        std::array::from_fn(|n| load_sse2(&quarters[n]))
    }

    /// One bit per byte that is set.
    #[inline]
    fn bits(quarters: [__m128i; 4]) -> u64 {
        let place = |(n, quarter)| {
            // SAFETY: every x86-64 has SSE2.
            u64::from(unsafe { _mm_movemask_epi8(quarter) }.cast_unsigned()) << (16 * n)
        };
        quarters.into_iter().enumerate().map(place).fold(0, std::ops::BitOr::bitor)
    }

    #[inline]
    pub(super) fn odd_in_text(piece: &[u8; 32]) -> u32 {
        let (halves, _) = piece.as_chunks::<16>();
        let half = |n: usize| {
            let bytes = load_sse2(&halves[n]);
            // SAFETY: every x86-64 has SSE2.
            unsafe {
                let quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(34));
                let backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(92));
                let control = _mm_cmpeq_epi8(bytes, _mm_min_epu8(bytes, _mm_set1_epi8(0x1f)));
                _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, backslash), control)).cast_unsigned()
            }
        };
        half(0) | half(1) << 16
    }

    #[inline]
    pub(super) fn not_space(piece: &[u8; 32]) -> u32 {
        let (halves, _) = piece.as_chunks::<16>();
        // SAFETY: every x86-64 has SSE2.
        let half = |n: usize| unsafe {
            _mm_movemask_epi8(_mm_cmpeq_epi8(load_sse2(&halves[n]), _mm_set1_epi8(32))).cast_unsigned()
        };
        !(half(0) | half(1) << 16)
    }

    #[inline]
    fn load_sse2(quarter: &[u8; 16]) -> __m128i {
        // SAFETY: the array is 16 bytes long, the load asks for no alignment, and every x86-64 has SSE2.
        unsafe { _mm_loadu_si128(quarter.as_ptr().cast()) }
    }

    #[cfg(test)]
    #[test]
    fn every_byte_in_every_place_is_classed_as_by_the_table() {
        for byte in 0..=255_u8 {
            for place in 0..BLOCK {
                let mut block = [b'x'; BLOCK];
                block[place] = byte;
                let wanted = (super::table::marks(&block), super::table::between(&block));
                assert_eq!((marks_sse2(&block), between_sse2(&block)), wanted, "SSE2, {byte:#x} at {place}");
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: the line above found AVX2.
                    let got = unsafe { (marks_avx2(&block), between_avx2(&block)) };
                    assert_eq!(got, wanted, "AVX2, {byte:#x} at {place}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The plain way.
    fn text_end_slow(text: &[u8], mut at: usize) -> Option<usize> {
        loop {
            match text.get(at)? {
                b'"' => return Some(at),
                0..0x20 => return None,
                b'\\' if *text.get(at + 1)? < 0x20 => return None,
                b'\\' => at += 2,
                _ => at += 1,
            }
        }
    }

    #[test]
    fn short_searches_agree_with_looking_at_each_byte() {
        let alphabet = b"a\\\" \n";
        let mut state = 1_u64;
        for round in 0..60_000_usize {
            let length = round % 90;
            let text: Vec<u8> = (0..length)
                .map(|_| {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let rare = (state >> 40) % 8;
                    alphabet[if rare < 4 { (round % 3) * 3 % 4 } else { (state >> 50) as usize % 5 }]
                })
                .collect();
            for at in [0, length / 3, length] {
                let wanted = if length < 32 { None } else { text_end_slow(&text, at) };
                assert_eq!(text_end(&text, at), wanted, "{text:?} from {at}");
                let wanted = text.iter().skip(at).position(|b| matches!(b, b'"' | b'\\')).map(|n| at + n);
                assert_eq!(quote_or_backslash(&text, at), wanted, "{text:?} from {at}");
                let wanted = text.iter().skip(at).position(|b| *b != b' ').filter(|_| length >= 32);
                assert_eq!(spaces_end(&text, at), wanted.map(|n| at + n), "{text:?} from {at}");
            }
        }
    }
}
