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

/// Bytes per block.
pub const BLOCK: usize = 64;

/// What stands where in one block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Masks {
    /// `"`
    pub quote: u64,
    /// `\`
    pub backslash: u64,
    /// `{}[]:,`; also the control characters 0x0C and 0x1A, which no token begins with.
    pub op: u64,
    /// Space, tab, line feed, carriage return.
    pub space: u64,
    /// Bytes below 0x20, which no string may hold as they are.
    pub control: u64,
}

/// Find the masks of as many blocks as both sides have.
pub fn classify(text: &[[u8; BLOCK]], out: &mut [Masks]) {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the line above found AVX2.
            unsafe { x86::classify_avx2(text, out) }
        } else {
            x86::classify_sse2(text, out);
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    classify_table(text, out);
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
    bits(piece, |b| CLASSES[usize::from(b)] & (QUOTE | BACKSLASH | CONTROL) != 0)
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

/// The reference: one table look-up per byte.
pub fn classify_table(text: &[[u8; BLOCK]], out: &mut [Masks]) {
    for (block, masks) in text.iter().zip(out) {
        *masks = Masks::default();
        for (bit, byte) in block.iter().enumerate() {
            let class = CLASSES[usize::from(*byte)];
            masks.quote |= u64::from(class & QUOTE != 0) << bit;
            masks.backslash |= u64::from(class & BACKSLASH != 0) << bit;
            masks.op |= u64::from(class & OP != 0) << bit;
            masks.space |= u64::from(class & SPACE != 0) << bit;
            masks.control |= u64::from(class & CONTROL != 0) << bit;
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m128i, __m256i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128,
        _mm_set1_epi8, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_min_epu8, _mm256_movemask_epi8,
        _mm256_or_si256, _mm256_set1_epi8, _mm256_setr_epi8, _mm256_shuffle_epi8,
    };

    use super::{BLOCK, Masks};

    #[target_feature(enable = "avx2")]
    pub(super) fn classify_avx2(text: &[[u8; BLOCK]], out: &mut [Masks]) {
        for (block, masks) in text.iter().zip(out) {
            let (low, high) = block.split_at(32);
            let low = half_avx2(load_avx2(low));
            let high = half_avx2(load_avx2(high));
            let join = |i: usize| u64::from(low[i]) | u64::from(high[i]) << 32;
            *masks =
                Masks { quote: join(0), backslash: join(1), op: join(2), space: join(3), control: join(4) };
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn load_avx2(half: &[u8]) -> __m256i {
        assert!(half.len() == 32);
        // SAFETY: the slice is 32 bytes long, and the load asks for no alignment.
        unsafe { _mm256_loadu_si256(half.as_ptr().cast()) }
    }

    /// Quote, backslash, op, space, control of 32 bytes.
    ///
    /// A shuffle looks up each byte's low four bits in sixteen candidates, so that one comparison finds all spaces (or
    /// all brackets) at once. `|0x20` makes `[` into `{` and `]` into `}`.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn half_avx2(bytes: __m256i) -> [u32; 5] {
        const N: i8 = 100;
        let spaces = _mm256_setr_epi8(
            32, N, N, N, 17, N, 113, 2, N, 9, 10, 112, N, 13, N, N, // one lane
            32, N, N, N, 17, N, 113, 2, N, 9, 10, 112, N, 13, N, N,
        );
        let ops = _mm256_setr_epi8(
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 58, 123, 44, 125, 0, 0, // one lane
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 58, 123, 44, 125, 0, 0,
        );
        let is = |a: __m256i, b: __m256i| _mm256_movemask_epi8(_mm256_cmpeq_epi8(a, b)).cast_unsigned();
        let curled = _mm256_or_si256(bytes, _mm256_set1_epi8(0x20));
        [
            is(bytes, _mm256_set1_epi8(34)),
            is(bytes, _mm256_set1_epi8(92)),
            is(curled, _mm256_shuffle_epi8(ops, bytes)),
            is(bytes, _mm256_shuffle_epi8(spaces, bytes)),
            is(bytes, _mm256_min_epu8(bytes, _mm256_set1_epi8(0x1f))),
        ]
    }

    pub(super) fn classify_sse2(text: &[[u8; BLOCK]], out: &mut [Masks]) {
        for (block, masks) in text.iter().zip(out) {
            *masks = Masks::default();
            let (quarters, _) = block.as_chunks::<16>();
            for (i, quarter) in quarters.iter().enumerate() {
                let found = quarter_sse2(load_sse2(quarter));
                let place = |mask: i32| u64::from(mask.cast_unsigned()) << (16 * i);
                masks.quote |= place(found[0]);
                masks.backslash |= place(found[1]);
                masks.op |= place(found[2]);
                masks.space |= place(found[3]);
                masks.control |= place(found[4]);
            }
        }
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

    fn quarter_sse2(bytes: __m128i) -> [i32; 5] {
        // SAFETY: every x86-64 has SSE2.
        unsafe {
            let eq = |x: __m128i, value: i8| _mm_cmpeq_epi8(x, _mm_set1_epi8(value));
            let any = |a: __m128i, b: __m128i| _mm_or_si128(a, b);
            // 0x0C and 0x1A fall in with `,` and `:` here as in the wider path.
            let curled = any(bytes, _mm_set1_epi8(0x20));
            let ops = any(any(eq(curled, 123), eq(curled, 125)), any(eq(curled, 44), eq(curled, 58)));
            let spaces = any(any(eq(bytes, 32), eq(bytes, 9)), any(eq(bytes, 10), eq(bytes, 13)));
            let control = _mm_cmpeq_epi8(bytes, _mm_min_epu8(bytes, _mm_set1_epi8(0x1f)));
            [
                _mm_movemask_epi8(eq(bytes, 34)),
                _mm_movemask_epi8(eq(bytes, 92)),
                _mm_movemask_epi8(ops),
                _mm_movemask_epi8(spaces),
                _mm_movemask_epi8(control),
            ]
        }
    }

    #[cfg(test)]
    #[test]
    fn every_byte_in_every_place_is_classed_as_by_the_table() {
        for byte in 0..=255_u8 {
            for place in 0..BLOCK {
                let mut block = [[b'x'; BLOCK]];
                block[0][place] = byte;
                let mut wanted = [Masks::default()];
                super::classify_table(&block, &mut wanted);
                let mut got = [Masks::default()];
                classify_sse2(&block, &mut got);
                assert_eq!(got, wanted, "SSE2, byte {byte:#x} at {place}");
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: the line above found AVX2.
                    unsafe { classify_avx2(&block, &mut got) };
                    assert_eq!(got, wanted, "AVX2, byte {byte:#x} at {place}");
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
