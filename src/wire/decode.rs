//! Content codings decoded on the side: gzip, deflate, br, zstd, and stacks of them, as the bytes pass.
//!
//! What a coding has given so far comes out with the block that completed it, so that a compressed event stream is
//! read event by event. Expansion is capped: past the cap the side copy is given up, the bytes pass all the same.
//!
//! Deliberately absent: encoding, and any use of the decoded bytes but reading them.

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Operation};

/// Most bytes decoded from one body.
pub const DECODED_BYTES_MAX: u64 = 256 << 20;

/// Most decoded bytes per coded byte, once [`RATIO_FREE_BYTES`] are exceeded. Deflate cannot pass 1032.
pub const RATIO_MAX: u64 = 1100;

/// Decoded bytes that are free of [`RATIO_MAX`].
pub const RATIO_FREE_BYTES: u64 = 4 << 20;

/// Most codings stacked on one body.
const STAGES_MAX: usize = 4;

/// Decoded bytes handed on at a time.
const OUT_BYTES: usize = 16 << 10;

/// Bytes decoded in one turn: about a millisecond of a core.
pub const TURN_BYTES: u64 = 256 << 10;

/// Why decoding was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeFault {
    /// A coding that is not known, or too many of them.
    Unknown,
    /// The coded bytes are broken.
    Broken,
    /// The bytes would expand beyond the cap.
    Bomb,
}

impl DecodeFault {
    /// Reason in a record.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            DecodeFault::Unknown => "content coding not known",
            DecodeFault::Broken => "content coding broken",
            DecodeFault::Bomb => "content expands beyond the cap",
        }
    }
}

/// Decodes one body.
///
/// ```text
///   take ──▶ input │ stage │ out ──▶ input │ stage │ out ──▶ sink        the innermost that has something goes first
/// ```
///
/// A block of 64 KiB may hold 64 MiB: who shares a processor with others decodes turn by turn ([`Decoder::go_on`]).
pub struct Decoder {
    /// Outermost coding first: the last one that was applied.
    stages: Vec<Stage>,
    out: Vec<u8>,
    taken_bytes: u64,
    given_bytes: u64,
}

impl Decoder {
    /// A decoder for the values of `content-encoding`; `None` if they say nothing or `identity`.
    pub fn new<'a>(values: impl Iterator<Item = &'a [u8]>) -> Result<Option<Self>, DecodeFault> {
        let mut stages = Vec::new();
        for coding in values.flat_map(|value| value.split(|b| *b == b',')) {
            if let Some(coding) = Coding::named(coding.trim_ascii())? {
                stages.push(Stage { coding, input: Vec::new(), taken: 0, full: false });
            }
        }
        stages.reverse();
        match stages.len() {
            0 => Ok(None),
            1..=STAGES_MAX => Ok(Some(Decoder { stages, out: Vec::new(), taken_bytes: 0, given_bytes: 0 })),
            _ => Err(DecodeFault::Unknown),
        }
    }

    /// Decode all of it; `sink` gets what came out, in pieces. After an error the decoder is of no further use.
    pub fn feed(&mut self, coded: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<(), DecodeFault> {
        self.take(coded);
        while self.has_more() {
            self.go_on(sink)?;
        }
        Ok(())
    }

    /// Coded bytes that are to be decoded.
    pub fn take(&mut self, coded: &[u8]) {
        self.taken_bytes += coded.len() as u64;
        self.stages[0].take(coded);
    }

    /// Whether something that was taken is not decoded yet.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.stages.iter().any(Stage::has_more)
    }

    /// Decode for one turn: about [`TURN_BYTES`] of what comes out of all stages together.
    pub fn go_on(&mut self, sink: &mut dyn FnMut(&[u8])) -> Result<(), DecodeFault> {
        let bytes_max = DECODED_BYTES_MAX.min((self.taken_bytes * RATIO_MAX).max(RATIO_FREE_BYTES));
        let turn_ends = self.given_bytes + TURN_BYTES;
        self.out.resize(OUT_BYTES, 0);
        while let Some(nth) = self.stages.iter().rposition(Stage::has_more) {
            if self.given_bytes >= turn_ends {
                break;
            }
            let given = self.stages[nth].step(&mut self.out)?;
            self.given_bytes += given as u64;
            if self.given_bytes > bytes_max {
                return Err(DecodeFault::Bomb);
            }
            match self.stages.get_mut(nth + 1) {
                Some(next) => next.take(&self.out[..given]),
                None if given > 0 => sink(&self.out[..given]),
                None => {}
            }
        }
        Ok(())
    }

    /// Bytes held, at most: window and buffers.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let stages = self.stages.iter().map(|stage| stage.coding.window_bytes() + stage.input.capacity());
        stages.sum::<usize>() + self.out.capacity()
    }
}

struct Stage {
    coding: Coding,
    /// Given back once all of it is taken: between two events a stream holds none.
    input: Vec<u8>,
    taken: usize,
    /// What it gave last filled the buffer, so that there may be more without any input.
    full: bool,
}

impl Stage {
    fn take(&mut self, coded: &[u8]) {
        self.input.extend_from_slice(coded);
    }

    fn has_more(&self) -> bool {
        self.full || !self.input.is_empty()
    }

    /// Take some of the input, give some decoded bytes. Input of which nothing can be made is dropped.
    fn step(&mut self, out: &mut [u8]) -> Result<usize, DecodeFault> {
        let (taken, given) = self.coding.step(&self.input[self.taken..], out)?;
        self.taken += taken;
        self.full = given == out.len();
        if self.taken == self.input.len() || (taken == 0 && given == 0) {
            (self.input, self.taken) = (Vec::new(), 0);
        }
        Ok(given)
    }
}

enum Coding {
    /// A member follows a member; `between` says that the last one has ended.
    Gzip {
        inflate: Decompress,
        between: bool,
    },
    /// The first two bytes tell zlib from raw deflate, which some servers send under the same name.
    Deflate {
        inflate: Option<Decompress>,
        head: Vec<u8>,
        ended: bool,
    },
    /// What follows the end is nobody's: a state that has ended reads it as broken.
    Brotli {
        state: Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>,
        ended: bool,
    },
    Zstd(zstd::stream::raw::Decoder<'static>),
}

/// Largest zstd window, 2^23 = 8 MiB: RFC 9659 asks no more of a recipient.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

impl Coding {
    fn named(name: &[u8]) -> Result<Option<Self>, DecodeFault> {
        let name = name.to_ascii_lowercase();
        Ok(Some(match name.as_slice() {
            b"" | b"identity" => return Ok(None),
            b"gzip" | b"x-gzip" => Coding::Gzip { inflate: Decompress::new_gzip(15), between: false },
            b"deflate" => Coding::Deflate { inflate: None, head: Vec::new(), ended: false },
            b"br" => Coding::Brotli { state: Box::new(brotli_state()), ended: false },
            b"zstd" => Coding::Zstd(zstd_decoder()?),
            _ => return Err(DecodeFault::Unknown),
        }))
    }

    /// Take some of `coded`, give some decoded bytes.
    fn step(&mut self, coded: &[u8], out: &mut [u8]) -> Result<(usize, usize), DecodeFault> {
        match self {
            Coding::Gzip { inflate, between } => gzip_step(inflate, between, coded, out),
            Coding::Deflate { inflate, head, ended } => deflate_step(inflate, head, ended, coded, out),
            Coding::Brotli { state, ended } => brotli_step(state, ended, coded, out),
            Coding::Zstd(decoder) => {
                let status = decoder.run_on_buffers(coded, out).map_err(|_| DecodeFault::Broken)?;
                Ok((status.bytes_read, status.bytes_written))
            }
        }
    }

    fn window_bytes(&self) -> usize {
        match self {
            Coding::Gzip { .. } | Coding::Deflate { .. } => 48 << 10,
            Coding::Brotli { state, .. } => state.ringbuffer_size.unsigned_abs() as usize + (32 << 10),
            Coding::Zstd(_) => 1 << ZSTD_WINDOW_LOG_MAX,
        }
    }
}

fn brotli_state() -> BrotliState<StandardAlloc, StandardAlloc, StandardAlloc> {
    let mut state =
        BrotliState::new(StandardAlloc::default(), StandardAlloc::default(), StandardAlloc::default());
    // Windows above 16 MiB are not part of RFC 7932.
    state.large_window = false;
    state
}

fn zstd_decoder() -> Result<zstd::stream::raw::Decoder<'static>, DecodeFault> {
    let mut decoder = zstd::stream::raw::Decoder::new().map_err(|_| DecodeFault::Broken)?;
    let window = DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX);
    decoder.set_parameter(window).map_err(|_| DecodeFault::Broken)?;
    Ok(decoder)
}

/// One call of zlib: bytes taken, bytes given, whether its stream has ended.
fn inflate_step(
    inflate: &mut Decompress,
    coded: &[u8],
    out: &mut [u8],
) -> Result<(usize, usize, bool), DecodeFault> {
    let (taken, given) = (inflate.total_in(), inflate.total_out());
    let status = inflate.decompress(coded, out, FlushDecompress::Sync).map_err(|_| DecodeFault::Broken)?;
    let difference = |now: u64, then: u64| usize::try_from(now - then).unwrap_or(0);
    Ok((
        difference(inflate.total_in(), taken),
        difference(inflate.total_out(), given),
        status == Status::StreamEnd,
    ))
}

fn gzip_step(
    inflate: &mut Decompress,
    between: &mut bool,
    coded: &[u8],
    out: &mut [u8],
) -> Result<(usize, usize), DecodeFault> {
    if *between {
        // Zero bytes after a member are padding.
        let padding = coded.iter().take_while(|b| **b == 0).count();
        if padding > 0 || coded.is_empty() {
            return Ok((padding, 0));
        }
        *inflate = Decompress::new_gzip(15);
        *between = false;
    }
    let (taken, given, ended) = inflate_step(inflate, coded, out)?;
    *between = ended;
    Ok((taken, given))
}

fn deflate_step(
    inflate: &mut Option<Decompress>,
    head: &mut Vec<u8>,
    ended: &mut bool,
    coded: &[u8],
    out: &mut [u8],
) -> Result<(usize, usize), DecodeFault> {
    if *ended {
        return Ok((coded.len(), 0));
    }
    if let Some(inflate) = inflate {
        let (taken, given, end) = inflate_step(inflate, coded, out)?;
        *ended = end;
        return Ok((taken, given));
    }
    let taken = coded.len().min(2 - head.len());
    head.extend_from_slice(&coded[..taken]);
    let [first, second] = head[..] else { return Ok((taken, 0)) };
    let zlib = first & 0x0f == 8 && u16::from_be_bytes([first, second]).is_multiple_of(31);
    let mut fresh = Decompress::new(zlib);
    let (_, given, end) = inflate_step(&mut fresh, head, out)?;
    *ended = end;
    *inflate = Some(fresh);
    Ok((taken, given))
}

fn brotli_step(
    state: &mut BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    ended: &mut bool,
    coded: &[u8],
    out: &mut [u8],
) -> Result<(usize, usize), DecodeFault> {
    if *ended {
        return Ok((coded.len(), 0));
    }
    let (mut left, mut taken) = (coded.len(), 0);
    let (mut space, mut given, mut total) = (out.len(), 0, 0);
    let result =
        BrotliDecompressStream(&mut left, &mut taken, coded, &mut space, &mut given, out, &mut total, state);
    match result {
        BrotliResult::ResultFailure => Err(DecodeFault::Broken),
        BrotliResult::ResultSuccess => {
            *ended = true;
            Ok((coded.len(), given))
        }
        BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => Ok((taken, given)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut coder = flate2::write::GzEncoder::new(Vec::new(), Compression::default());
        coder.write_all(text).unwrap();
        coder.finish().unwrap()
    }

    fn zlib(text: &[u8]) -> Vec<u8> {
        let mut coder = flate2::write::ZlibEncoder::new(Vec::new(), Compression::default());
        coder.write_all(text).unwrap();
        coder.finish().unwrap()
    }

    fn raw_deflate(text: &[u8]) -> Vec<u8> {
        let mut coder = flate2::write::DeflateEncoder::new(Vec::new(), Compression::default());
        coder.write_all(text).unwrap();
        coder.finish().unwrap()
    }

    fn decoder(coding: &str) -> Decoder {
        Decoder::new(std::iter::once(coding.as_bytes())).unwrap().unwrap()
    }

    fn decode(coding: &str, coded: &[u8], step: usize) -> Result<Vec<u8>, DecodeFault> {
        let mut decoder = decoder(coding);
        let mut out = Vec::new();
        for part in coded.chunks(step) {
            decoder.feed(part, &mut |text| out.extend_from_slice(text))?;
        }
        Ok(out)
    }

    /// `br` of "data: {\"a\":1}\n\n" in one uncompressed meta-block, written by hand (RFC 7932 section 9): the crate we
    /// use only decodes.
    fn brotli_stored(text: &[u8]) -> Vec<u8> {
        let length = u32::try_from(text.len()).unwrap() - 1;
        // WBITS = 16 (one bit 0), ISLAST 0, MNIBBLES 00 (four), MLEN-1, ISUNCOMPRESSED 1.
        let head = length << 4 | 1 << 20;
        let mut coded = head.to_le_bytes()[..3].to_vec();
        coded.extend_from_slice(text);
        // ISLAST 1, ISEMPTY 1.
        coded.push(3);
        coded
    }

    #[test]
    fn every_coding_in_any_split() {
        let text = "event: x\ndata: {\"a\":\"ü\"}\n\n".repeat(900).into_bytes();
        let stored = brotli_stored(&text);
        let twice = [gzip(&text[..5000]), vec![0; 3], gzip(&text[5000..])].concat();
        let coded = [
            ("gzip", gzip(&text)),
            ("X-Gzip", twice),
            ("deflate", zlib(&text)),
            ("deflate", raw_deflate(&text)),
            ("br", stored),
            ("zstd", zstd::encode_all(&text[..], 3).unwrap()),
            ("gzip, identity, zstd", zstd::encode_all(&gzip(&text)[..], 3).unwrap()),
        ];
        for (coding, coded) in coded {
            for step in [1, 2, 333, usize::MAX] {
                assert_eq!(decode(coding, &coded, step).as_deref(), Ok(&text[..]), "{coding} by {step}");
            }
        }
    }

    #[test]
    fn what_follows_the_end_is_ignored() {
        let text = b"data: 1\n\n".repeat(3);
        for (coding, mut coded) in
            [("br", brotli_stored(&text)), ("deflate", zlib(&text)), ("deflate", raw_deflate(&text))]
        {
            coded.extend_from_slice(b"\xff trailing");
            for step in [1, 5, usize::MAX] {
                assert_eq!(decode(coding, &coded, step).as_deref(), Ok(&text[..]), "{coding} by {step}");
            }
        }
    }

    #[test]
    fn a_flushed_event_comes_out_at_once() {
        let mut coder = flate2::write::GzEncoder::new(Vec::new(), Compression::default());
        coder.write_all(b"data: 1\n\n").unwrap();
        coder.flush().unwrap();
        let coded = coder.get_ref().clone();
        assert_eq!(decode("gzip", &coded, usize::MAX).as_deref(), Ok(&b"data: 1\n\n"[..]));
    }

    #[test]
    fn a_bomb_is_given_up() {
        let mut bomb = zstd::encode_all(&vec![0; 12 << 20][..], 3).unwrap();
        assert_eq!(decode("zstd", &bomb, 4096), Err(DecodeFault::Bomb));
        bomb = gzip(&gzip(&vec![0; 12 << 20]));
        assert_eq!(decode("gzip, gzip", &bomb, 4096), Err(DecodeFault::Bomb));
    }

    #[test]
    fn a_turn_has_a_bound_however_codings_are_stacked() {
        let text = b"data: {}\n\n".repeat(3 << 17);
        let coded = gzip(&text);
        for (coding, coded) in [("gzip, gzip", gzip(&coded)), ("gzip", coded)] {
            let mut decoder = decoder(coding);
            decoder.take(&coded);
            let (mut out, mut turns) = (Vec::new(), 0);
            while decoder.has_more() {
                let before = out.len();
                decoder.go_on(&mut |piece| out.extend_from_slice(piece)).unwrap();
                assert!(((out.len() - before) as u64) < TURN_BYTES + OUT_BYTES as u64, "{coding}");
                turns += 1;
            }
            assert!(turns as u64 >= text.len() as u64 / TURN_BYTES, "{coding}: {turns} turns");
            assert!(out == text, "{coding}");
            assert_eq!(decoder.stages.iter().map(|stage| stage.input.capacity()).sum::<usize>(), 0);
        }
    }

    #[test]
    fn what_follows_the_end_of_brotli_is_nobodys_in_any_split() {
        let mut coded = brotli_stored(b"text");
        coded.extend_from_slice(b"and more");
        for step in [1, 3, usize::MAX] {
            assert_eq!(decode("br", &coded, step), Ok(b"text".to_vec()), "by {step}");
        }
    }

    #[test]
    fn broken_and_unknown_codings() {
        for coding in ["gzip", "zstd", "br", "deflate"] {
            assert_eq!(decode(coding, &[0xff; 400], 7), Err(DecodeFault::Broken), "{coding}");
        }
        let of = |value: &str| Decoder::new(std::iter::once(value.as_bytes())).map(|d| d.is_some());
        assert_eq!(of("compress"), Err(DecodeFault::Unknown));
        assert_eq!(of("gzip,gzip,gzip,gzip,gzip"), Err(DecodeFault::Unknown));
        assert_eq!(of("identity"), Ok(false));
        assert_eq!(of(""), Ok(false));
    }
}
