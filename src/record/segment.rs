//! Blocks: zstd frames with a header that proves order and completeness. Sans-io: bytes in, bytes out.
//!
//! ```text
//!  segment file = block block block …
//!
//!  block  ┌─────────────────────────────── header, 84 bytes, little endian ────────────────────────────────┐
//!         │ magic 4 │ version 1 │ kind 1 │ 0 0 │ sequence 8 │ batch 8 │ boot 8 │ raw len 4 │ stored len 4  │
//!         │ payload crc32 4 │ 0 4 │ SHA-256 of the previous block 32 │ header crc32 4                        │
//!         └─────────────────────────────────────────────────────────────────────────────────────────────────┘
//!         payload: one zstd frame
//! ```
//!
//! *Sequence* runs through all segments of a kind and never restarts: a gap is a removed block. The *previous hash*
//! chains each block to everything before it: a block that was replaced by another well-formed one breaks it. *Batch*
//! is the sequence of the first block that was synced together with this one: it tells a torn write (the batch was
//! never acknowledged) from damage to something that was (which is reported and never cut away).
//!
//! Reading never trusts: lengths are bounded before anything is allocated, and a damaged header costs no more than
//! itself, since the next one is found by its magic and checksum.

use std::fmt;
use std::io;

/// Bytes of a block's header.
pub const HEADER_BYTES: usize = 84;
/// Most raw bytes a block may hold.
pub const RAW_BYTES_MAX: usize = 16 << 20;
/// Most stored bytes a block may hold: what zstd makes of [`RAW_BYTES_MAX`] incompressible bytes, and a little.
pub const STORED_BYTES_MAX: usize = RAW_BYTES_MAX + (RAW_BYTES_MAX >> 7) + 1024;

const MAGIC: [u8; 4] = *b"weir";
const VERSION: u8 = 1;
const CRC_AT: usize = 80;

/// What a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// The record log: JSON lines.
    Log = 1,
    /// Bodies, back to back; the log says where each lies.
    Content = 2,
}

/// The hash that chains blocks.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Hash(pub [u8; 32]);

/// A block's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the segment holds.
    pub kind: Kind,
    /// Number of the block among all of its kind.
    pub sequence: u64,
    /// Sequence of the first block synced together with this one.
    pub batch: u64,
    /// The run of the gateway that wrote it.
    pub boot: u64,
    /// Bytes before compression.
    pub raw_len: u32,
    /// Bytes of the payload.
    pub stored_len: u32,
    /// CRC-32 of the payload.
    pub payload_crc: u32,
    /// SHA-256 of the previous block, header and payload; zeros before the first.
    pub previous: Hash,
}

impl Header {
    /// Bytes of the whole block.
    #[must_use]
    pub fn block_len(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.stored_len)
    }

    /// The header as it is written.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0u8; HEADER_BYTES];
        out[0..4].copy_from_slice(&MAGIC);
        out[4] = VERSION;
        out[5] = self.kind as u8;
        out[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        out[16..24].copy_from_slice(&self.batch.to_le_bytes());
        out[24..32].copy_from_slice(&self.boot.to_le_bytes());
        out[32..36].copy_from_slice(&self.raw_len.to_le_bytes());
        out[36..40].copy_from_slice(&self.stored_len.to_le_bytes());
        out[40..44].copy_from_slice(&self.payload_crc.to_le_bytes());
        out[48..80].copy_from_slice(&self.previous.0);
        let crc = crc32fast::hash(&out[..CRC_AT]);
        out[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Read a header, trusting nothing.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Header, Flaw> {
        if bytes[0..4] != MAGIC {
            return Err(Flaw::NoHeader);
        }
        if crc32fast::hash(&bytes[..CRC_AT]) != u32_at(bytes, CRC_AT) {
            return Err(Flaw::HeaderChecksum);
        }
        if bytes[4] != VERSION {
            return Err(Flaw::Version(bytes[4]));
        }
        let kind = match bytes[5] {
            1 => Kind::Log,
            2 => Kind::Content,
            other => return Err(Flaw::Kind(other)),
        };
        let (raw_len, stored_len) = (u32_at(bytes, 32), u32_at(bytes, 36));
        if raw_len as usize > RAW_BYTES_MAX || stored_len as usize > STORED_BYTES_MAX {
            return Err(Flaw::Length);
        }
        let mut previous = Hash::default();
        previous.0.copy_from_slice(&bytes[48..80]);
        Ok(Header {
            kind,
            sequence: u64_at(bytes, 8),
            batch: u64_at(bytes, 16),
            boot: u64_at(bytes, 24),
            raw_len,
            stored_len,
            payload_crc: u32_at(bytes, 40),
            previous,
        })
    }
}

/// The end of a chain: what the next block continues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Sequence of the next block.
    pub next: u64,
    /// Hash of the last block.
    pub hash: Hash,
}

/// Makes blocks. Keeps the end of the chain and, while it is at work, one compression context.
pub struct Encoder {
    kind: Kind,
    boot: u64,
    head: Head,
    level: i32,
    /// Some megabytes; made with the first block.
    zstd: Option<zstd::bulk::Compressor<'static>>,
}

impl Encoder {
    /// An encoder that continues at `head`.
    pub fn new(kind: Kind, boot: u64, head: Head, level: i32) -> io::Result<Encoder> {
        Ok(Encoder { kind, boot, head, level, zstd: Some(compressor(level)?) })
    }

    /// Free the compression context until the next block.
    pub fn rest(&mut self) {
        self.zstd = None;
    }

    /// The end of the chain so far.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// Forget the blocks made since `head`: they were never written and never will be.
    pub fn rewind(&mut self, head: Head) {
        self.head = head;
    }

    /// Append one block holding `raw` to `out`. `batch` is the sequence of the first block synced together with it.
    pub fn encode(&mut self, raw: &[u8], batch: u64, out: &mut Vec<u8>) -> io::Result<()> {
        assert!(raw.len() <= RAW_BYTES_MAX, "callers split what is longer");
        let start = out.len();
        let payload_at = start + HEADER_BYTES;
        out.resize(payload_at + zstd::zstd_safe::compress_bound(raw.len()), 0);
        let zstd = match &mut self.zstd {
            Some(zstd) => zstd,
            None => self.zstd.insert(compressor(self.level)?),
        };
        let stored = zstd.compress_to_buffer(raw, &mut out[payload_at..])?;
        out.truncate(payload_at + stored);
        let header = Header {
            kind: self.kind,
            sequence: self.head.next,
            batch,
            boot: self.boot,
            raw_len: narrow(raw.len()),
            stored_len: narrow(stored),
            payload_crc: crc32fast::hash(&out[payload_at..]),
            previous: self.head.hash,
        };
        out[start..payload_at].copy_from_slice(&header.to_bytes());
        self.head = Head { next: self.head.next + 1, hash: hash_of(&[&out[start..]]) };
        Ok(())
    }
}

fn compressor(level: i32) -> io::Result<zstd::bulk::Compressor<'static>> {
    let mut zstd = zstd::bulk::Compressor::new(level)?;
    // The header has the length and the checksum; a second copy of either only costs.
    zstd.include_checksum(false)?;
    zstd.include_contentsize(false)?;
    Ok(zstd)
}

/// Unpacks payloads. Keeps one decompression context.
pub struct Decoder {
    zstd: zstd::bulk::Decompressor<'static>,
}

impl Decoder {
    /// A fresh decoder.
    pub fn new() -> io::Result<Decoder> {
        Ok(Decoder { zstd: zstd::bulk::Decompressor::new()? })
    }

    /// The raw bytes of a block whose payload passed its checksum. Allocates at most [`RAW_BYTES_MAX`].
    pub fn decode(&mut self, header: &Header, payload: &[u8]) -> Result<Vec<u8>, Flaw> {
        let raw = self.zstd.decompress(payload, header.raw_len as usize).map_err(|_| Flaw::Frame)?;
        if raw.len() == header.raw_len as usize { Ok(raw) } else { Err(Flaw::Length) }
    }
}

/// Hash of a block given in pieces.
#[must_use]
pub fn hash_of(pieces: &[&[u8]]) -> Hash {
    let mut sha = ring::digest::Context::new(&ring::digest::SHA256);
    for piece in pieces {
        sha.update(piece);
    }
    let mut hash = Hash::default();
    hash.0.copy_from_slice(sha.finish().as_ref());
    hash
}

/// Something that holds a segment's bytes.
pub trait ReadAt {
    /// Bytes there are.
    fn size(&self) -> io::Result<u64>;
    /// Fill `out` from `at`. Callers stay within the length.
    fn read_at(&self, at: u64, out: &mut [u8]) -> io::Result<()>;
}

impl ReadAt for &[u8] {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_at(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        let at = usize::try_from(at).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let from = at.checked_add(out.len()).and_then(|end| self.get(at..end));
        out.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// What stands at a place in a segment.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// A whole block, checksums good; its payload is in [`Walk::payload`].
    Block(Header),
    /// Bytes that are no good block. Good ones may follow.
    Bad {
        /// How many.
        len: u64,
        /// Why.
        flaw: Flaw,
    },
}

/// Walks a segment block by block, past whatever is damaged.
pub struct Walk<R> {
    from: R,
    len: u64,
    at: u64,
    payload: Vec<u8>,
}

impl<R: ReadAt> Walk<R> {
    /// Walk all that is there now.
    pub fn new(from: R) -> io::Result<Walk<R>> {
        let len = from.size()?;
        Ok(Walk { from, len, at: 0, payload: Vec::new() })
    }

    /// Start at a block's place instead of at the front.
    #[must_use]
    pub fn starting_at(mut self, at: u64) -> Self {
        self.at = at.min(self.len);
        self
    }

    /// The payload of the block last found.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The next thing and where it stands, or `None` at the end.
    pub fn step(&mut self) -> io::Result<Option<(u64, Found)>> {
        if self.at >= self.len {
            return Ok(None);
        }
        let at = self.at;
        let found = match self.block_at(at)? {
            Ok(header) => Found::Block(header),
            Err((flaw, None)) => Found::Bad { len: self.next_header(at + 1)? - at, flaw },
            Err((flaw, Some(len))) => Found::Bad { len, flaw },
        };
        self.at = at
            + match &found {
                Found::Block(header) => header.block_len(),
                Found::Bad { len, .. } => *len,
            };
        Ok(Some((at, found)))
    }

    /// The end of the chain behind the good block at `at`.
    fn head_after(&mut self, at: u64) -> io::Result<Head> {
        match self.block_at(at)? {
            Ok(header) => {
                Ok(Head { next: header.sequence + 1, hash: hash_of(&[&header.to_bytes(), &self.payload]) })
            }
            Err((flaw, _)) => Err(io::Error::other(flaw.to_string())),
        }
    }

    /// The good block at `at`, or what is wrong and, where its header can be believed, how long it is.
    fn block_at(&mut self, at: u64) -> io::Result<Result<Header, (Flaw, Option<u64>)>> {
        if self.len - at < HEADER_BYTES as u64 {
            return Ok(Err((Flaw::Short, Some(self.len - at))));
        }
        let mut head = [0u8; HEADER_BYTES];
        self.from.read_at(at, &mut head)?;
        let header = match Header::parse(&head) {
            Ok(header) => header,
            Err(flaw) => return Ok(Err((flaw, None))),
        };
        if self.len - at < header.block_len() {
            return Ok(Err((Flaw::Short, None)));
        }
        self.payload.resize(header.stored_len as usize, 0);
        self.from.read_at(at + HEADER_BYTES as u64, &mut self.payload)?;
        if crc32fast::hash(&self.payload) != header.payload_crc {
            return Ok(Err((Flaw::PayloadChecksum, Some(header.block_len()))));
        }
        Ok(Ok(header))
    }

    /// Place of the first believable header at or after `at`, else the end.
    fn next_header(&self, mut at: u64) -> io::Result<u64> {
        let mut window = vec![0u8; 64 << 10];
        while at + (HEADER_BYTES as u64) <= self.len {
            let some = usize::try_from(self.len - at).unwrap_or(usize::MAX).min(window.len());
            self.from.read_at(at, &mut window[..some])?;
            for start in memchr::memmem::find_iter(&window[..some], &MAGIC) {
                let head = window[..some].get(start..start + HEADER_BYTES);
                let head: Option<&[u8; HEADER_BYTES]> = head.and_then(|bytes| bytes.try_into().ok());
                if head.is_some_and(|bytes| Header::parse(bytes).is_ok()) {
                    return Ok(at + start as u64);
                }
            }
            // Windows overlap by one header less a byte, so that none is cut in two.
            at += (some - (HEADER_BYTES - 1)) as u64;
        }
        Ok(self.len)
    }
}

/// What a start finds in the segment that was last written to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Where the next block goes: behind the last good one.
    pub end: u64,
    /// Bytes behind `end` that belong to a batch that was never acknowledged.
    pub torn_bytes: u64,
    /// Good blocks.
    pub blocks: u64,
    /// Bad stretches in the middle, in acknowledged batches: kept, and reported by `verify`.
    pub damaged: u64,
    /// The end of the chain, if there is any block here or before.
    pub head: Option<Head>,
}

/// Find the end of a segment and tell a torn tail from damage. `before` is the end of the chain in the segment
/// before this one, where it is known.
pub fn survey<R: ReadAt>(from: R, before: Option<Head>) -> io::Result<Survey> {
    let len = from.size()?;
    let mut walk = Walk::new(from)?;
    let mut seen = Survey::default();
    let mut expected = before.map(|head| head.next);
    let mut last = None;
    // Bad stretches that nothing good has followed yet.
    let mut bad = 0u64;
    while let Some((at, found)) = walk.step()? {
        let Found::Block(header) = found else {
            bad += 1;
            continue;
        };
        if bad > 0 && expected.is_some_and(|expected| header.batch <= expected) {
            // This block was synced together with the bad one before it, or rather never was: cut both.
            break;
        }
        seen.damaged += std::mem::take(&mut bad);
        seen.blocks += 1;
        seen.end = at + header.block_len();
        expected = Some(header.sequence + 1);
        last = Some(at);
    }
    seen.torn_bytes = len - seen.end;
    seen.head = match last {
        Some(at) => Some(walk.head_after(at)?),
        None => before,
    };
    Ok(seen)
}

/// What is wrong with a stretch of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// No block begins here.
    NoHeader,
    /// The header does not match its checksum.
    HeaderChecksum,
    /// The payload does not match its checksum.
    PayloadChecksum,
    /// Written by another version.
    Version(u8),
    /// A kind of block that is not known.
    Kind(u8),
    /// A length that cannot be.
    Length,
    /// The block ends behind the end of the file.
    Short,
    /// Checksums match and the zstd frame is broken all the same.
    Frame,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::NoHeader => f.write_str("no block begins here"),
            Flaw::HeaderChecksum => f.write_str("block header does not match its checksum"),
            Flaw::PayloadChecksum => f.write_str("block payload does not match its checksum"),
            Flaw::Version(version) => {
                write!(f, "block written in version {version}, this program reads {VERSION}")
            }
            Flaw::Kind(kind) => write!(f, "unknown kind of block: {kind}"),
            Flaw::Length => f.write_str("block length out of bounds"),
            Flaw::Short => f.write_str("block is cut off by the end of the file"),
            Flaw::Frame => f.write_str("zstd frame is broken"),
        }
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Hash {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut hash = Hash::default();
        for (i, byte) in hash.0.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2).unwrap_or(""), 16)?;
        }
        Ok(hash)
    }
}

fn u32_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    bytes[at..at + 4].iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte))
}

fn u64_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn narrow(len: usize) -> u32 {
    u32::try_from(len).expect("block lengths are bounded far below 4 GiB")
}

#[cfg(test)]
mod tests;
