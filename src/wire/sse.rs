//! Event streams (WHATWG HTML 9.2): bytes in any chunking, events out.
//!
//! An event that lies whole in one block, with one `data` line, is handed out as a view into that block; only what a
//! block's end cuts off is copied. Line ends are LF, CR or CRLF, mixed at will.
//!
//! Deliberately absent: reconnection (`id` and `retry` are skipped, as are unknown fields) and text decoding: bytes
//! that are not UTF-8 are passed on as they are, since nobody downstream of here sends them.

use memchr::memchr2;

/// One dispatched event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its `event` field; empty where there was none (the specification then says `message`).
    pub name: &'a [u8],
    /// Its `data` lines, joined by LF.
    pub data: &'a [u8],
}

/// An event or a line grew over the splitter's bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// Splits a stream into events. Holds only what an earlier block's end cut off.
#[derive(Debug)]
pub struct Splitter {
    /// Beginning of a line whose end has not come.
    line: Vec<u8>,
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// A field of the current event has been seen.
    has_field: bool,
    /// The last byte was a CR that ended a line: an LF now belongs to it.
    after_cr: bool,
    at_start: bool,
    bytes_max: usize,
}

/// Where an event's only `data` line lies while it is being put together.
#[derive(Clone, Copy)]
enum Place {
    /// In `Splitter::data` (perhaps nothing yet).
    Held,
    /// In the current block.
    Block(usize, usize),
}

impl Splitter {
    /// A splitter that gives up on events above `bytes_max`.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Splitter {
            line: Vec::new(),
            name: Vec::new(),
            data: Vec::new(),
            has_data: false,
            has_field: false,
            after_cr: false,
            at_start: true,
            bytes_max,
        }
    }

    /// The next event of `block` from `at` on; `at` moves behind it. `None` when the block is used up: then what it
    /// holds of an unfinished event has been copied.
    pub fn next<'a>(&'a mut self, block: &'a [u8], at: &mut usize) -> Result<Option<Event<'a>>, TooLong> {
        self.forget_dispatched();
        let mut name = Place::Held;
        let mut data = Place::Held;
        while let Some((start, end)) = self.next_line(block, at)? {
            if !self.line.is_empty() {
                let mut line = std::mem::take(&mut self.line);
                self.held_field(&line, block, &mut name, &mut data);
                line.clear();
                line.shrink_to(KEPT);
                self.line = line;
            } else if start < end {
                self.block_field(block, start, end, &mut name, &mut data);
            } else if self.has_data {
                return Ok(Some(self.dispatch(block, name, data)));
            } else {
                self.reset();
                (name, data) = (Place::Held, Place::Held);
            }
            if self.data.len() > self.bytes_max {
                return Err(TooLong);
            }
        }
        keep(&mut self.name, block, &mut name);
        keep(&mut self.data, block, &mut data);
        Ok(None)
    }

    /// Whether the next byte begins a new event (or a line between events).
    #[must_use]
    pub fn at_boundary(&self) -> bool {
        !self.at_start && !self.after_cr && self.line.is_empty() && !self.has_field
    }

    /// The stream has ended: the event that it cut off, if there is one, and whether at least its last line is whole.
    ///
    /// The specification discards it; a meter tries it and flags it (several servers end without the last blank line).
    pub fn finish(&mut self) -> Option<(Event<'_>, bool)> {
        self.forget_dispatched();
        let lines_whole = self.line.is_empty();
        if !self.line.is_empty() {
            let line = std::mem::take(&mut self.line);
            self.held_field(&line, b"", &mut Place::Held, &mut Place::Held);
        }
        self.has_data.then_some((Event { name: &self.name, data: &self.data }, lines_whole))
    }

    /// Bytes held between blocks.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.line.capacity() + self.name.capacity() + self.data.capacity()
    }

    /// The line that ends next: its range in the block, or in `self.line` when an earlier block began it.
    fn next_line(&mut self, block: &[u8], at: &mut usize) -> Result<Option<(usize, usize)>, TooLong> {
        if self.after_cr && *at < block.len() {
            self.after_cr = false;
            *at += usize::from(block[*at] == b'\n');
        }
        let start = *at;
        let rest = &block[start..];
        let Some(length) = memchr2(b'\n', b'\r', rest) else {
            *at = block.len();
            self.line.extend_from_slice(rest);
            return if self.line.len() > self.bytes_max { Err(TooLong) } else { Ok(None) };
        };
        let mut end = start + length;
        *at = end + 1;
        if block[end] == b'\r' {
            match block.get(end + 1) {
                Some(b'\n') => *at += 1,
                Some(_) => {}
                None => self.after_cr = true,
            }
        }
        let mut start = start;
        if !self.line.is_empty() {
            self.line.extend_from_slice(&block[start..end]);
        }
        if std::mem::replace(&mut self.at_start, false) {
            if let Some(rest) = self.line.strip_prefix(BOM) {
                self.line = rest.to_vec();
                // An empty rest must not be taken for a line of the block.
                (start, end) = (*at, *at);
            } else if self.line.is_empty() && block[start..end].starts_with(BOM) {
                start += BOM.len();
            }
        }
        Ok(Some((start, end)))
    }

    /// A whole line of the block.
    #[inline]
    fn block_field(&mut self, block: &[u8], start: usize, end: usize, name: &mut Place, data: &mut Place) {
        let (field, value) = split_field(&block[start..end]);
        let value = Place::Block(end - value.len(), end);
        match field {
            b"data" => {
                self.next_data_line(block, data);
                *data = value;
            }
            b"event" => {
                self.name.clear();
                *name = value;
            }
            _ => {}
        }
        // A comment alone does not begin an event.
        self.has_field |= !field.is_empty();
    }

    /// A line that an earlier block began.
    fn held_field(&mut self, line: &[u8], block: &[u8], name: &mut Place, data: &mut Place) {
        let (field, value) = split_field(line);
        match field {
            b"data" => {
                self.next_data_line(block, data);
                self.data.extend_from_slice(value);
            }
            b"event" => {
                *name = Place::Held;
                value.clone_into(&mut self.name);
            }
            _ => {}
        }
        self.has_field |= !field.is_empty();
    }

    /// A further line of data moves what came before it, and a line feed, into our own buffer.
    fn next_data_line(&mut self, block: &[u8], data: &mut Place) {
        keep(&mut self.data, block, data);
        if std::mem::replace(&mut self.has_data, true) {
            self.data.push(b'\n');
        }
    }

    fn dispatch<'a>(&'a mut self, block: &'a [u8], name: Place, data: Place) -> Event<'a> {
        // A second line of data has moved the first into `self.data`, where this last one belongs too.
        if let (Place::Block(start, end), false) = (data, self.data.is_empty()) {
            self.data.extend_from_slice(&block[start..end]);
        }
        self.has_data = false;
        self.has_field = false;
        let name = match name {
            Place::Block(start, end) => &block[start..end],
            Place::Held => &self.name,
        };
        let data = match data {
            Place::Block(start, end) if self.data.is_empty() => &block[start..end],
            _ => &self.data,
        };
        Event { name, data }
    }

    /// An event that was handed out lived in our buffers until now.
    fn forget_dispatched(&mut self) {
        if !self.has_field {
            self.reset();
        }
    }

    fn reset(&mut self) {
        self.has_data = false;
        self.has_field = false;
        for held in [&mut self.name, &mut self.data] {
            held.clear();
            // One huge event must not weigh on the rest of a long stream.
            if held.capacity() > KEPT {
                held.shrink_to(KEPT);
            }
        }
    }
}

/// Copy what lies in the block to where it outlives it.
fn keep(held: &mut Vec<u8>, block: &[u8], place: &mut Place) {
    if let Place::Block(start, end) = std::mem::replace(place, Place::Held) {
        held.extend_from_slice(&block[start..end]);
    }
}

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// Capacity that a buffer keeps between events.
const KEPT: usize = 4096;

/// Name and value of a line; a comment has the empty name, a line without a colon the empty value.
fn split_field(line: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b':', line) {
        None => (line, b""),
        Some(colon) => {
            let value = &line[colon + 1..];
            (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(blocks: &[&[u8]]) -> Vec<(String, String)> {
        let mut splitter = Splitter::new(1 << 20);
        let mut found = Vec::new();
        for block in blocks {
            let mut at = 0;
            while let Some(event) = splitter.next(block, &mut at).unwrap() {
                let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
                found.push((text(event.name), text(event.data)));
            }
            assert_eq!(at, block.len());
        }
        found
    }

    fn pair(name: &str, data: &str) -> (String, String) {
        (name.into(), data.into())
    }

    const STREAM: &[u8] =
        b"\xEF\xBB\xBFevent: a\ndata: 1\n\n: comment\n\ndata:2\r\ndata:  3\r\n\r\nevent: lost\n\n\
        data\rdata: x\revent: b\revent: c\r\rid: 7\nretry: 1\n\ndata:\n\ndataa: no\n data: no\n\ndata: end";

    #[test]
    fn the_grammar() {
        let wanted = [pair("a", "1"), pair("", "2\n 3"), pair("c", "\nx"), pair("", "")];
        assert_eq!(events(&[STREAM]), wanted);
    }

    #[test]
    fn any_split_gives_the_same_events() {
        let whole = events(&[STREAM]);
        let single: Vec<&[u8]> = STREAM.chunks(1).collect();
        assert_eq!(events(&single), whole);
        for cut in 0..STREAM.len() {
            assert_eq!(events(&[&STREAM[..cut], &STREAM[cut..]]), whole, "cut at {cut}");
            for second in cut..STREAM.len() {
                let parts = [&STREAM[..cut], &STREAM[cut..second], &STREAM[second..]];
                assert_eq!(events(&parts), whole, "cuts at {cut} and {second}");
            }
        }
    }

    #[test]
    fn what_the_end_cuts_off_is_offered() {
        for cut in 0..STREAM.len() {
            let mut splitter = Splitter::new(1 << 20);
            for part in [&STREAM[..cut], &STREAM[cut..]] {
                let mut at = 0;
                while splitter.next(part, &mut at).unwrap().is_some() {}
            }
            assert_eq!(
                splitter.finish().map(|(event, whole)| (event.data, whole)),
                Some((&b"end"[..], false))
            );
        }
    }

    #[test]
    fn a_boundary_is_only_between_events() {
        let mut splitter = Splitter::new(100);
        let mut at = 0;
        assert!(splitter.next(b"data: 1\n\n", &mut at).unwrap().is_some());
        assert!(splitter.at_boundary());
        assert!(splitter.next(b"", &mut 0).unwrap().is_none());
        assert!(splitter.next(b"event: x\n", &mut 0).unwrap().is_none());
        assert!(!splitter.at_boundary());
    }

    #[test]
    fn growth_is_bounded() {
        let mut splitter = Splitter::new(100);
        assert_eq!(splitter.next(&[b'x'; 101], &mut 0), Err(TooLong));
        let mut splitter = Splitter::new(100);
        let lines = b"data: 0123456789\n".repeat(12);
        assert_eq!(splitter.next(&lines, &mut 0), Err(TooLong));
    }
}
