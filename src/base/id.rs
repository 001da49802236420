//! Identifiers: of exchanges, boots and cores.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::clock::Wall;

/// One exchange: 26 letters of Crockford base 32, sortable by time (the layout of a ULID).
///
/// ```text
///  127            80 79        64 63        40 39            0
/// ┌─────────────────┬────────────┬────────────┬───────────────┐
/// │ unix ms         │ core       │ boot       │ count on core │
/// └─────────────────┴────────────┴────────────┴───────────────┘
/// ```
///
/// Unique without a shared counter: a core counts for itself, a boot is random.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ExchangeId(pub u128);

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl ExchangeId {
    /// Compose an id; `count` is the core's own running number.
    #[must_use]
    pub fn new(at: Wall, core: u16, boot: u32, count: u64) -> Self {
        let ms = u128::from(at / 1000) & ((1 << 48) - 1);
        let boot = u128::from(boot) & 0xff_ffff;
        let count = u128::from(count) & ((1 << 40) - 1);
        Self(ms << 80 | u128::from(core) << 64 | boot << 40 | count)
    }

    /// The core that counted it.
    #[must_use]
    pub fn core(self) -> u16 {
        (self.0 >> 64) as u16
    }

    /// The 26 letters, lower case.
    #[must_use]
    pub fn letters(self) -> [u8; 26] {
        let mut out = [0u8; 26];
        let mut rest = self.0;
        for slot in out.iter_mut().rev() {
            *slot = ALPHABET[(rest & 31) as usize];
            rest >>= 5;
        }
        out
    }
}

/// The sixteen digits of a hash.
#[must_use]
pub fn hexadecimal(hash: u64) -> String {
    let mut text = String::with_capacity(16);
    for at in 0..16 {
        text.push(char::from(b"0123456789abcdef"[(hash >> (60 - 4 * at)) as usize & 15]));
    }
    text
}

impl fmt::Display for ExchangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = self.letters();
        f.write_str(std::str::from_utf8(&letters).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for ExchangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not an exchange id.
#[derive(Debug, PartialEq, Eq)]
pub struct NotAnId;

impl fmt::Display for NotAnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an exchange id is 26 letters and digits, as in the x-weir-id header")
    }
}

impl std::error::Error for NotAnId {}

impl FromStr for ExchangeId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        if text.len() != 26 {
            return Err(NotAnId);
        }
        let mut value: u128 = 0;
        for (i, letter) in text.bytes().enumerate() {
            let digit = ALPHABET.iter().position(|a| *a == letter.to_ascii_lowercase()).ok_or(NotAnId)?;
            // 26 letters carry 130 bits: the first may only use three of its five.
            if i == 0 && digit > 7 {
                return Err(NotAnId);
            }
            value = value << 5 | digit as u128;
        }
        Ok(Self(value))
    }
}

impl Serialize for ExchangeId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ExchangeId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_their_letters_and_sort_by_time() {
        let early = ExchangeId::new(1_700_000_000_000_000, 3, 77, 5);
        let late = ExchangeId::new(1_700_000_000_001_000, 0, 0, 0);
        assert!(early < late);
        assert_eq!(early.core(), 3);
        assert!(early.to_string() < late.to_string());
        assert_eq!(early.to_string().parse(), Ok(early));
        assert_eq!("z".repeat(26).parse::<ExchangeId>(), Err(NotAnId));
        assert_eq!("".parse::<ExchangeId>(), Err(NotAnId));
    }
}
