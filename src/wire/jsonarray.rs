//! A JSON array whose elements arrive in pieces (Gemini without `alt=sse`): each element out as soon as it is whole.
//!
//! Deliberately absent: grammar. Depth and strings are followed to find where an element ends; whether it is good JSON
//! is for its reader to see.

use super::sse::TooLong;

/// Splits an array into its elements that are objects or arrays; scalars between them are skipped.
#[derive(Debug)]
pub struct Elements {
    cut: Vec<u8>,
    handed_out: bool,
    /// Open containers, the outer array included.
    depth: u32,
    in_string: bool,
    escaped: bool,
    ended: bool,
    bytes_max: usize,
}

impl Elements {
    /// A splitter that gives up on elements above `bytes_max`.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Elements {
            cut: Vec::new(),
            handed_out: false,
            depth: 0,
            in_string: false,
            escaped: false,
            ended: false,
            bytes_max,
        }
    }

    /// The next element that ends in `block` at or after `at`; `at` moves behind it. `None` when the block is used up.
    pub fn next<'a>(&'a mut self, block: &'a [u8], at: &mut usize) -> Result<Option<&'a [u8]>, TooLong> {
        if std::mem::take(&mut self.handed_out) {
            self.cut = Vec::new();
        }
        // Where the element begins in this block: at once, if an earlier block began it.
        let mut start = (self.depth >= 2).then_some(*at);
        while let Some(byte) = block.get(*at) {
            *at += 1;
            if self.in_string {
                self.string_byte(*byte);
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => {
                    self.depth = self.depth.saturating_add(1);
                    if self.depth == 2 {
                        start = Some(*at - 1);
                    }
                }
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.ended |= self.depth == 0;
                    if self.depth == 1
                        && let Some(start) = start.take()
                    {
                        return Ok(Some(self.whole(&block[start..*at])));
                    }
                }
                _ => {}
            }
        }
        if let Some(start) = start {
            self.cut.extend_from_slice(&block[start..]);
        }
        if self.cut.len() > self.bytes_max { Err(TooLong) } else { Ok(None) }
    }

    /// Whether the array's end has come.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Whether an element is cut off.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.depth >= 2
    }

    /// Bytes held between blocks.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.cut.capacity()
    }

    fn string_byte(&mut self, byte: u8) {
        if self.escaped {
            self.escaped = false;
        } else if byte == b'\\' {
            self.escaped = true;
        } else if byte == b'"' {
            self.in_string = false;
        }
    }

    fn whole<'a>(&'a mut self, last: &'a [u8]) -> &'a [u8] {
        if self.cut.is_empty() {
            return last;
        }
        self.cut.extend_from_slice(last);
        self.handed_out = true;
        &self.cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_in_any_split() {
        let text = b" [{\"a\":\"]}\\\"[\"}\n,\r\n{\"b\":[1,{}]}, 7, {}]\n";
        for cut in 0..text.len() {
            let mut elements = Elements::new(100);
            let mut found = Vec::new();
            for block in [&text[..cut], &text[cut..]] {
                let mut at = 0;
                while let Some(element) = elements.next(block, &mut at).unwrap() {
                    found.push(element.to_vec());
                }
            }
            assert_eq!(found, [&b"{\"a\":\"]}\\\"[\"}"[..], b"{\"b\":[1,{}]}", b"{}"], "cut at {cut}");
            assert!(elements.ended() && !elements.is_pending());
        }
        let mut elements = Elements::new(3);
        assert_eq!(elements.next(b"[{\"a\":1", &mut 0), Err(TooLong));
        assert!(elements.is_pending());
    }
}
