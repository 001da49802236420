//! The blocks of one batch while they are made: bytes in, places out, and a whole that is appended with one write.

use std::io;

use super::files::At;
use super::line::{Span, add_span};
use super::segment::{Encoder, Head, RAW_BYTES_MAX};

/// Gathers bytes into blocks. Where each byte will lie is known when it is put, before anything is compressed.
pub(super) struct Blocks {
    encoder: Encoder,
    block_bytes: usize,
    base: At,
    start: Head,
    raw: Vec<u8>,
    out: Vec<u8>,
    raw_total: u64,
}

impl Blocks {
    /// Blocks of about `block_bytes` raw bytes.
    pub(super) fn new(encoder: Encoder, block_bytes: usize) -> Blocks {
        let start = encoder.head();
        Blocks {
            encoder,
            block_bytes,
            base: At::default(),
            start,
            raw: Vec::new(),
            out: Vec::new(),
            raw_total: 0,
        }
    }

    /// Begin a batch that will be appended at `base`.
    pub(super) fn begin(&mut self, base: At) {
        self.base = base;
        self.start = self.encoder.head();
        self.raw.clear();
        self.out.clear();
        self.raw_total = 0;
        // A rare giant must not stay for ever.
        self.raw.shrink_to(4 * self.block_bytes);
        self.out.shrink_to(4 * self.block_bytes);
    }

    /// Between two batches: free what the next one makes anew.
    pub(super) fn rest(&mut self) {
        if self.raw.is_empty() && self.out.is_empty() {
            (self.raw, self.out) = (Vec::new(), Vec::new());
            self.encoder.rest();
        }
    }

    /// Add bytes that may lie in several blocks; their spans go to `spans`.
    pub(super) fn put(&mut self, mut bytes: &[u8], spans: &mut Vec<Span>) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.raw.len() >= self.block_bytes {
                self.close_block()?;
            }
            let some = bytes.len().min(self.block_bytes - self.raw.len());
            add_span(spans, self.span(some));
            self.raw.extend_from_slice(&bytes[..some]);
            self.raw_total += some as u64;
            bytes = &bytes[some..];
        }
        Ok(())
    }

    /// Add bytes that must lie in one block. `None` if no block can hold them.
    pub(super) fn put_whole(&mut self, bytes: &[u8]) -> io::Result<Option<Span>> {
        if bytes.len() > RAW_BYTES_MAX {
            return Ok(None);
        }
        if !self.raw.is_empty() && self.raw.len() + bytes.len() > self.block_bytes {
            self.close_block()?;
        }
        let span = self.span(bytes.len());
        self.raw.extend_from_slice(bytes);
        self.raw_total += bytes.len() as u64;
        Ok(Some(span))
    }

    /// Close the last block. What [`Blocks::bytes`] then holds is the batch.
    pub(super) fn seal(&mut self) -> io::Result<()> {
        if self.raw.is_empty() { Ok(()) } else { self.close_block() }
    }

    /// The blocks closed so far.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.out
    }

    /// Raw bytes put since the batch began.
    pub(super) fn raw_total(&self) -> u64 {
        self.raw_total
    }

    /// The end of the chain, this batch included.
    pub(super) fn head(&self) -> Head {
        self.encoder.head()
    }

    /// Where this batch begins.
    pub(super) fn base(&self) -> At {
        self.base
    }

    /// Give this batch up: its blocks will never be written, the chain goes on from before them.
    pub(super) fn abandon(&mut self) {
        self.encoder.rewind(self.start);
        self.begin(self.base);
    }

    fn span(&self, len: usize) -> Span {
        let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Span {
            segment: self.base.segment,
            block: self.base.offset + self.out.len() as u64,
            at: narrow(self.raw.len()),
            len: narrow(len),
        }
    }

    fn close_block(&mut self) -> io::Result<()> {
        self.encoder.encode(&self.raw, self.start.next, &mut self.out)?;
        self.raw.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::segment::{Decoder, Found, Kind, Walk};

    fn blocks() -> Blocks {
        Blocks::new(Encoder::new(Kind::Content, 1, Head::default(), 3).unwrap(), 100)
    }

    /// The bytes of a span, the way a reader finds them.
    fn read(batch: &[u8], base: u64, span: Span) -> Vec<u8> {
        let mut walk = Walk::new(batch).unwrap().starting_at(span.block - base);
        let Some((_, Found::Block(header))) = walk.step().unwrap() else { panic!("no block at {span:?}") };
        let raw = Decoder::new().unwrap().decode(&header, walk.payload()).unwrap();
        raw[span.at as usize..(span.at + span.len) as usize].to_vec()
    }

    #[test]
    fn bytes_are_where_their_spans_say() {
        let mut blocks = blocks();
        let base = At { segment: 3, offset: 1000 };
        blocks.begin(base);
        let bodies: Vec<Vec<u8>> = (0..40u8).map(|i| vec![i; usize::from(i) * 11]).collect();
        let mut spans = Vec::new();
        for body in &bodies {
            let mut own = Vec::new();
            blocks.put(body, &mut own).unwrap();
            spans.push(own);
        }
        blocks.seal().unwrap();
        for (body, spans) in bodies.iter().zip(&spans) {
            let back: Vec<u8> = spans.iter().flat_map(|span| read(blocks.bytes(), 1000, *span)).collect();
            assert_eq!(&back, body);
            assert!(spans.iter().all(|span| span.segment == 3));
        }
    }

    #[test]
    fn a_line_is_never_cut_in_two() {
        let mut blocks = blocks();
        blocks.begin(At::default());
        let lines: Vec<Vec<u8>> = (0..20u8).map(|i| vec![i; usize::from(i) * 13 + 1]).collect();
        let spans: Vec<Span> = lines.iter().map(|line| blocks.put_whole(line).unwrap().unwrap()).collect();
        blocks.seal().unwrap();
        for (line, span) in lines.iter().zip(spans) {
            assert_eq!(&read(blocks.bytes(), 0, span), line);
        }
        assert_eq!(blocks.put_whole(&vec![0; RAW_BYTES_MAX + 1]).unwrap(), None);
    }

    #[test]
    fn an_abandoned_batch_leaves_no_gap() {
        let mut blocks = blocks();
        blocks.begin(At::default());
        blocks.put_whole(b"kept").unwrap();
        blocks.seal().unwrap();
        let head = blocks.head();
        blocks.begin(At { segment: 1, offset: 100 });
        blocks.put_whole(b"never written").unwrap();
        blocks.seal().unwrap();
        blocks.abandon();
        assert_eq!((blocks.head(), blocks.bytes().len()), (head, 0));
    }
}
