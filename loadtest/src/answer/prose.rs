//! Text that varies by seed and costs one copy to write: slices of one long filler.

use std::fmt::Write;
use std::ops::Range;
use std::sync::OnceLock;

use crate::http::mix;

/// Digits of a stamp, and the `@` and space around them.
const STAMP_DIGITS: usize = 19;
const FILLER_BYTES: usize = 1 << 16;

/// What a text event may begin with, as it stands in JSON and as it reads: escapes and more than ASCII must pass.
const LEADS: [(&str, &str); 6] =
    [("", ""), ("", ""), ("\\n", "\n"), ("é", "é"), ("\\\"", "\""), ("— ", "— ")];

const WORDS: &str = "the stream runs over a low wall of stones and the water keeps its level while boats wait below for \
a gate to open each keeper counts what passes and writes it down before the next one comes so that nobody has to ask twice \
where a thing went or who sent it along with which cargo and how much of it there was when it left the upper pool ";

/// The text events of one stream.
#[derive(Debug, Clone)]
pub(super) struct Prose {
    pub(super) events: u64,
    /// Bytes of text in each event, as it stands in JSON.
    pub(super) text_bytes: usize,
    pub(super) seed: u64,
    pub(super) stamp: bool,
}

impl Prose {
    /// Append the text of event `i`; returns where its stamp's digits stand.
    pub(super) fn write(&self, i: u64, stamp_ns: u64, out: &mut Vec<u8>) -> Option<Range<usize>> {
        let (lead, filler) = self.parts(i);
        let mut at = None;
        if self.stamp {
            out.push(b'@');
            at = Some(out.len()..out.len() + STAMP_DIGITS);
            digits(stamp_ns, out);
            out.push(b' ');
        }
        out.extend_from_slice(lead.0.as_bytes());
        let mut left = filler.1;
        let mut from = filler.0;
        while left > 0 {
            let piece = &filler_text()[from..(from + left).min(FILLER_BYTES)];
            out.extend_from_slice(piece);
            left -= piece.len();
            from = 0;
        }
        at
    }

    /// All of it as it reads; stamps as zeros.
    pub(super) fn all(&self) -> String {
        let mut text = Vec::new();
        for i in 0..self.events.min(100_000) {
            let (lead, _) = self.parts(i);
            let start = text.len();
            self.write(i, 0, &mut text);
            if lead.0 != lead.1 {
                let at = start + if self.stamp { STAMP_DIGITS + 2 } else { 0 };
                text.splice(at..at + lead.0.len(), lead.1.bytes());
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    fn parts(&self, i: u64) -> ((&'static str, &'static str), (usize, usize)) {
        let roll = mix(self.seed.wrapping_add(i));
        let room = self.text_bytes.saturating_sub(if self.stamp { STAMP_DIGITS + 2 } else { 0 });
        let lead = LEADS[roll as usize % LEADS.len()];
        let lead = if lead.0.len() < room { lead } else { ("", "") };
        (lead, ((roll >> 8) as usize % FILLER_BYTES, room - lead.0.len()))
    }
}

/// One line of about that many bytes, plain ASCII.
pub(super) fn line(seed: u64, bytes: usize) -> String {
    let at = mix(seed) as usize % (FILLER_BYTES - bytes);
    String::from_utf8_lossy(&filler_text()[at..at + bytes]).trim().to_owned()
}

fn filler_text() -> &'static [u8] {
    static FILLER: OnceLock<Vec<u8>> = OnceLock::new();
    FILLER.get_or_init(|| {
        let words: Vec<&str> = WORDS.split_whitespace().collect();
        let (mut text, mut n) = (String::with_capacity(FILLER_BYTES + 16), 0);
        while text.len() < FILLER_BYTES {
            n += 1;
            // Writing into a String cannot fail.
            _ = write!(text, "{} ", words[mix(n) as usize % words.len()]);
        }
        text.truncate(FILLER_BYTES);
        text.into_bytes()
    })
}

fn digits(mut number: u64, out: &mut Vec<u8>) {
    let mut text = [b'0'; STAMP_DIGITS];
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&text);
}
