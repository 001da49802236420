//! gzip without compressing (RFC 1952 around stored blocks of RFC 1951): every part that is put in comes out of a
//! decoder at once, as from a server that flushes after each event. What it does not test is a decoder's speed.

use crate::digest::crc32;

const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// Most that one stored block holds.
const BLOCK_BYTES_MAX: usize = 65_535;

/// Puts parts into one gzip member.
#[derive(Debug, Default)]
pub struct Zip {
    begun: bool,
    crc: u32,
    length: u32,
}

impl Zip {
    pub fn part(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.begin(out);
        for block in bytes.chunks(BLOCK_BYTES_MAX) {
            stored(0, block, out);
        }
        self.crc = crc32(self.crc, bytes);
        self.length = self.length.wrapping_add(bytes.len() as u32);
    }

    pub fn end(&mut self, out: &mut Vec<u8>) {
        self.begin(out);
        stored(1, b"", out);
        out.extend_from_slice(&self.crc.to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.begun, true) {
            out.extend_from_slice(&HEAD);
        }
    }
}

fn stored(last: u8, block: &[u8], out: &mut Vec<u8>) {
    let length = block.len() as u16;
    out.push(last);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&(!length).to_le_bytes());
    out.extend_from_slice(block);
}

/// Takes apart what [`Zip`] made, in any cutting, and believes none of it.
///
/// ```text
/// Head ─▶ Block ─▶ Data ─▶ Block …  a last block ─▶ Trailer ─▶ Done
/// ```
#[derive(Debug)]
pub struct Unzip {
    stage: Stage,
    /// Bytes of the field under way.
    field: Vec<u8>,
    crc: u32,
    length: u32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    Head,
    Block,
    Data { left: usize, last: bool },
    Trailer,
    Done,
}

impl Default for Unzip {
    fn default() -> Unzip {
        Unzip { stage: Stage::Head, field: Vec::new(), crc: 0, length: 0 }
    }
}

impl Unzip {
    /// Hand what was packed to `sink`; says what is wrong with the packing.
    pub fn feed(&mut self, bytes: &[u8], mut sink: impl FnMut(&[u8])) -> Result<(), &'static str> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if let Stage::Data { left, last } = &mut self.stage {
                let (part, after) = rest.split_at(rest.len().min(*left));
                sink(part);
                self.crc = crc32(self.crc, part);
                self.length = self.length.wrapping_add(part.len() as u32);
                *left -= part.len();
                rest = after;
                if *left == 0 {
                    self.stage = if *last { Stage::Trailer } else { Stage::Block };
                }
                continue;
            }
            self.field.push(rest[0]);
            rest = &rest[1..];
            self.stage = self.field_stage()?;
        }
        Ok(())
    }

    pub fn done(&self) -> bool {
        self.stage == Stage::Done
    }

    fn field_stage(&mut self) -> Result<Stage, &'static str> {
        let wanted = match self.stage {
            Stage::Head => HEAD.len(),
            Stage::Block => 5,
            Stage::Trailer => 8,
            Stage::Data { .. } | Stage::Done => return Err("more after the end of the gzip member"),
        };
        if self.field.len() < wanted {
            return Ok(self.stage);
        }
        let field = std::mem::take(&mut self.field);
        match self.stage {
            Stage::Head if field == HEAD => Ok(Stage::Block),
            Stage::Head => Err("another gzip head"),
            Stage::Block => {
                let (length, check) = (u16_of(&field[1..3]), u16_of(&field[3..5]));
                if field[0] > 1 || length != !check {
                    return Err("no stored block");
                }
                Ok(match (usize::from(length), field[0] == 1) {
                    (0, true) => Stage::Trailer,
                    (0, false) => Stage::Block,
                    (left, last) => Stage::Data { left, last },
                })
            }
            _ if field[..4] == self.crc.to_le_bytes() && field[4..] == self.length.to_le_bytes() => {
                Ok(Stage::Done)
            }
            _ => Err("the sums of the gzip member are wrong"),
        }
    }
}

fn u16_of(bytes: &[u8]) -> u16 {
    u16::from_le_bytes([bytes[0], bytes[1]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_apart_at_every_cut() {
        let (mut zip, mut wire) = (Zip::default(), Vec::new());
        for part in [&b"one event\n\n"[..], b"", b"another"] {
            zip.part(part, &mut wire);
        }
        zip.end(&mut wire);
        for cut in 0..wire.len() {
            let (mut unzip, mut got) = (Unzip::default(), Vec::new());
            unzip.feed(&wire[..cut], |p| got.extend_from_slice(p)).expect("first");
            assert!(!unzip.done());
            unzip.feed(&wire[cut..], |p| got.extend_from_slice(p)).expect("second");
            assert_eq!((got.as_slice(), unzip.done()), (&b"one event\n\nanother"[..], true));
            assert!(unzip.feed(b"x", |_| ()).is_err());
        }
        let last = wire.len() - 1;
        wire[last] ^= 1;
        assert!(Unzip::default().feed(&wire, |_| ()).is_err());
    }

    #[test]
    fn long_parts_take_several_blocks() {
        let (mut zip, mut wire, mut got) = (Zip::default(), Vec::new(), 0);
        zip.part(&[7; 200_000], &mut wire);
        zip.end(&mut wire);
        Unzip::default().feed(&wire, |p| got += p.len()).expect("whole");
        assert_eq!(got, 200_000);
    }
}
