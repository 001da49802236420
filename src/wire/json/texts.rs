//! Which bytes of a JSON text stand in strings, 64 at a time, and where the tokens between them begin.

use super::blocks::{BLOCK, Between, Marks};

/// What of one block reaches into the next: a string, a backslash, a scalar.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Texts {
    /// All ones within a string, else zero.
    in_string: u64,
    /// One if the next byte is escaped.
    escaped: u64,
    /// One if the last byte belonged to a scalar.
    after_scalar: u64,
}

impl Texts {
    /// Whether a string has begun that has not ended.
    pub(super) fn is_open(&self) -> bool {
        self.in_string != 0
    }

    /// One bit per token and block. Ends early at a control character inside a string and tells its offset; tokens
    /// after it are left out.
    ///
    /// Most of a long body is the inside of long strings, so that what stands between strings is not looked for where a
    /// block has none of it.
    #[inline]
    pub(super) fn tokens(
        &mut self,
        text: &[[u8; BLOCK]],
        tokens: &mut [u64],
        marks: impl Fn(&[u8; BLOCK]) -> Marks,
        between: impl Fn(&[u8; BLOCK]) -> Between,
    ) -> Option<usize> {
        // Worked on as a value, which stays in registers.
        let mut texts = *self;
        for (n, (block, tokens)) in text.iter().zip(tokens).enumerate() {
            let Marks { quote, backslash, control } = marks(block);
            let quote = quote & !texts.find_escaped(backslash);
            if quote == 0 && texts.is_open() && control == 0 {
                *tokens = 0;
                continue;
            }
            let Between { op, space } = between(block);
            let in_string = prefix_xor(quote) ^ texts.in_string;
            texts.in_string = 0_u64.wrapping_sub(in_string >> 63);
            let scalar = !(op | space);
            let bare = scalar & !quote;
            let follows = (bare << 1) | texts.after_scalar;
            // Within a string it says nothing, and the block after one that was left out begins within.
            texts.after_scalar = bare >> 63;
            // Inside strings and at closing quotes nothing begins.
            *tokens = (op | (scalar & !follows)) & !(in_string ^ quote);
            let control = control & in_string;
            if control != 0 {
                *tokens &= (control & control.wrapping_neg()) - 1;
                return Some(n * BLOCK + control.trailing_zeros() as usize);
            }
        }
        *self = texts;
        None
    }

    /// Bytes that a backslash before them makes literal. A run of backslashes escapes what follows if it is odd; the
    /// addition carries each run to its end, so the parity of begin and end tells.
    #[inline]
    fn find_escaped(&mut self, backslash: u64) -> u64 {
        const EVEN: u64 = 0x5555_5555_5555_5555;
        if backslash == 0 {
            return std::mem::take(&mut self.escaped);
        }
        let backslash = backslash & !self.escaped;
        let follows = backslash << 1 | self.escaped;
        let odd_starts = backslash & !EVEN & !follows;
        let (ends, carried) = odd_starts.overflowing_add(backslash);
        self.escaped = u64::from(carried);
        (EVEN ^ (ends << 1)) & follows
    }
}

/// Each bit the parity of the quotes up to it: set from an opening quote to before the closing one.
#[inline]
fn prefix_xor(mut bits: u64) -> u64 {
    bits ^= bits << 1;
    bits ^= bits << 2;
    bits ^= bits << 4;
    bits ^= bits << 8;
    bits ^= bits << 16;
    bits ^ (bits << 32)
}
