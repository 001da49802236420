//! Lines of JSON, in any chunking. Only a line that a block's end cuts off is copied.

use memchr::memchr;

use super::sse::TooLong;

/// Splits a body into lines.
#[derive(Debug)]
pub struct Lines {
    cut: Vec<u8>,
    /// `cut` was handed out as a whole line and goes with the next call.
    handed_out: bool,
    bytes_max: usize,
}

impl Lines {
    /// A splitter that gives up on lines above `bytes_max`.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Lines { cut: Vec::new(), handed_out: false, bytes_max }
    }

    /// The next line of `block` from `at` on, without its end; `at` moves behind it. `None` when the block is used up.
    pub fn next<'a>(&'a mut self, block: &'a [u8], at: &mut usize) -> Result<Option<&'a [u8]>, TooLong> {
        if std::mem::take(&mut self.handed_out) {
            self.cut = Vec::new();
        }
        let rest = block.get(*at..).unwrap_or_default();
        let Some(length) = memchr(b'\n', rest) else {
            *at = block.len();
            self.cut.extend_from_slice(rest);
            return if self.cut.len() > self.bytes_max { Err(TooLong) } else { Ok(None) };
        };
        *at += length + 1;
        if self.cut.is_empty() {
            return Ok(Some(&rest[..length]));
        }
        self.cut.extend_from_slice(&rest[..length]);
        self.handed_out = true;
        Ok(Some(&self.cut))
    }

    /// What followed the last line end; lines need not end with one.
    #[must_use]
    pub fn finish(&self) -> &[u8] {
        if self.handed_out { b"" } else { &self.cut }
    }

    /// Bytes held between blocks.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.cut.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_in_any_split() {
        let text = b"{\"a\":1}\n\n{\"b\":\"\xc3\xbc\"}\r\n{\"c\":3}";
        for cut in 0..text.len() {
            let mut lines = Lines::new(100);
            let mut found = Vec::new();
            for block in [&text[..cut], &text[cut..]] {
                let mut at = 0;
                while let Some(line) = lines.next(block, &mut at).unwrap() {
                    found.push(line.to_vec());
                }
            }
            assert_eq!(found, [&b"{\"a\":1}"[..], b"", b"{\"b\":\"\xc3\xbc\"}\r"], "cut at {cut}");
            assert_eq!(lines.finish(), b"{\"c\":3}");
        }
        assert_eq!(Lines::new(3).next(b"abcd", &mut 0), Err(TooLong));
    }
}
