//! Sessions stored linearly: a request body is kept as what is new in it, and places where the rest already lies.
//!
//! An agent resends its whole history with every turn; stored one by one that is quadratic. A body here is a list of
//! [`Span`]s in any case, so a turn may simply point at bytes that an earlier turn of its session stored: no second
//! format, no chain to unpack, and a reader needs to know nothing.
//!
//! ```text
//!  turn 7   │ history                                   │ new │ system, tools   │
//!  turn 8   │ history                                   │ new │ more new │ system, tools   │
//!             └ spans of turn 7 ──────────────────────────────┘ └ stored ┘└ spans of turn 7 ┘
//! ```
//!
//! How what is old is found: a body is remembered as pieces of [`PIECE_BYTES`], each with a strong and a rolling hash.
//! The next turn is held against the pieces in order, which is one pass of the strong hash. Where one differs, the
//! rolling hash looks for the place where the old text goes on, byte by byte, over the new text only.
//!
//! The strong hash is GMAC under a key of this run that nobody sees: who sends bodies cannot make two that collide,
//! and a wrong match would be a wrong account. (A cryptographic hash would do as well, at three times the price.)
//!
//! Bounds: pieces remembered in all, spans of a body (over it the next turn is stored whole: a key frame), bytes
//! rolled over in vain, strong hashes in vain. References never leave a segment, so a segment can be deleted whole.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;

use ring::aead;
use ring::rand::SecureRandom;

use super::blocks::Blocks;
use super::files::At;
use super::line::{Span, add_span};

/// Length of a piece; the last of a stretch may be shorter.
const PIECE_BYTES: usize = 2048;
/// Most pieces remembered in all: about 64 bytes each.
const PIECES_MAX: usize = 512 << 10;
/// Most spans of a body that a next turn may refer to: each may be a block to unpack.
const SPANS_MAX: usize = 128;
/// Bytes rolled over without a match after which a body is taken to have nothing in common with the turn before.
const VAIN_BYTES_MAX: usize = 128 << 10;
/// Strong hashes that a rolling hash asked for in vain, likewise.
const VAIN_HASHES_MAX: usize = 64;

/// The last turn of each session, remembered by its pieces.
pub(super) struct Turns {
    strong: Strong,
    key_hash: RandomState,
    kept: HashMap<u64, Kept>,
    pieces: usize,
    clock: u64,
}

struct Kept {
    turn: Arc<Turn>,
    used: u64,
}

/// A body that a next one may refer to.
struct Turn {
    segment: u32,
    pieces: Vec<Piece>,
    /// Rolling hash and number of each piece of full length, sorted.
    grid: Vec<(u64, u32)>,
    /// One bit for each rolling hash, so that most places are dismissed with one look.
    sieve: [u64; 64],
}

#[derive(Clone, Copy)]
struct Piece {
    span: Span,
    strong: [u8; 16],
    weak: u64,
}

/// A body while it is stored.
#[derive(Default)]
pub(super) struct Storing {
    before: Option<Arc<Turn>>,
    next: usize,
    pieces: Vec<Piece>,
    vain_bytes: usize,
    vain_hashes: usize,
}

impl Turns {
    pub(super) fn new() -> io::Result<Turns> {
        Ok(Turns {
            strong: Strong::new()?,
            key_hash: RandomState::new(),
            kept: HashMap::new(),
            pieces: 0,
            clock: 0,
        })
    }

    /// The key of a session, which is its principal's, or of a sub-agent's part in it: its history is its own.
    /// `None` where there is no session.
    pub(super) fn key(&self, principal: &str, session: &str, sub_agent: &str) -> Option<u64> {
        (!session.is_empty()).then(|| self.key_hash.hash_one((principal, session, sub_agent)))
    }

    /// Begin a body of this session.
    pub(super) fn begin(&mut self, key: u64, content: &Blocks) -> Storing {
        self.clock += 1;
        let segment = content.base().segment;
        let kept = self.kept.get_mut(&key).filter(|kept| kept.turn.segment == segment);
        let before = kept.map(|kept| {
            kept.used = self.clock;
            kept.turn.clone()
        });
        Storing { before, ..Storing::default() }
    }

    /// Store as much of `data` as can be decided, all of it if it is the `last` there is. Returns how much that is;
    /// the rest must stand at the front of the next call's data.
    pub(super) fn store(
        &self,
        body: &mut Storing,
        data: &[u8],
        last: bool,
        content: &mut Blocks,
        spans: &mut Vec<Span>,
    ) -> io::Result<usize> {
        let mut pass = Pass { strong: &self.strong, data, at: 0, fresh_from: 0, content, spans };
        pass.run(body, last)?;
        Ok(pass.fresh_from)
    }

    /// A body is complete: the session's next turn may refer to it.
    pub(super) fn keep(&mut self, key: u64, body: Storing, spans: usize, content: &Blocks) {
        self.forget(key);
        let segment = content.base().segment;
        let one_segment = body.pieces.iter().all(|piece| piece.span.segment == segment);
        if spans > SPANS_MAX || !one_segment || body.pieces.is_empty() {
            return;
        }
        self.clock += 1;
        self.pieces += body.pieces.len();
        self.kept.insert(key, Kept { turn: Arc::new(Turn::new(segment, body.pieces)), used: self.clock });
        if self.pieces > PIECES_MAX {
            self.forget_oldest();
        }
    }

    /// Content from `base` on was not written: nothing may refer to it.
    pub(super) fn forget_from(&mut self, base: At) {
        let behind = |piece: &Piece| At { segment: piece.span.segment, offset: piece.span.block } >= base;
        self.kept.retain(|_, kept| !kept.turn.pieces.iter().any(behind));
        self.pieces = self.kept.values().map(|kept| kept.turn.pieces.len()).sum();
    }

    fn forget(&mut self, key: u64) {
        if let Some(kept) = self.kept.remove(&key) {
            self.pieces -= kept.turn.pieces.len();
        }
    }

    /// A quarter of the sessions, those not used for longest: rarely, so that it costs little in the mean.
    fn forget_oldest(&mut self) {
        let mut ages: Vec<(u64, u64)> = self.kept.iter().map(|(key, kept)| (kept.used, *key)).collect();
        ages.sort_unstable();
        for (_, key) in &ages[..ages.len().div_ceil(4)] {
            self.forget(*key);
        }
    }
}

impl Storing {
    fn give_up_if_vain(&mut self) {
        if self.vain_bytes > VAIN_BYTES_MAX || self.vain_hashes > VAIN_HASHES_MAX {
            self.before = None;
        }
    }
}

impl Turn {
    fn new(segment: u32, mut pieces: Vec<Piece>) -> Turn {
        pieces.shrink_to_fit();
        let full = pieces.iter().zip(0u32..).filter(|(piece, _)| piece.span.len as usize == PIECE_BYTES);
        let mut grid: Vec<(u64, u32)> = full.map(|(piece, i)| (piece.weak, i)).collect();
        grid.sort_unstable();
        let mut sieve = [0u64; 64];
        for (weak, _) in &grid {
            let (word, bit) = sieve_place(*weak);
            sieve[word] |= 1 << bit;
        }
        Turn { segment, pieces, grid, sieve }
    }

    /// Pieces with this rolling hash.
    fn candidates(&self, weak: u64) -> &[(u64, u32)] {
        let (word, bit) = sieve_place(weak);
        if self.sieve[word] >> bit & 1 == 0 {
            return &[];
        }
        let from = self.grid.partition_point(|(have, _)| *have < weak);
        let same = self.grid[from..].iter().take_while(|(have, _)| *have == weak).count();
        &self.grid[from..from + same]
    }
}

/// One call's way through its data.
struct Pass<'a> {
    strong: &'a Strong,
    data: &'a [u8],
    /// Everything before is decided, …
    at: usize,
    /// … and from here to there it is new and not stored yet.
    fresh_from: usize,
    content: &'a mut Blocks,
    spans: &'a mut Vec<Span>,
}

impl Pass<'_> {
    fn run(&mut self, body: &mut Storing, last: bool) -> io::Result<()> {
        while let Some(before) = body.before.clone() {
            if !self.follow(body, &before)? && !last {
                // The next piece may match once there is more.
                return self.store_fresh(body, self.at);
            }
            match self.find(body, &before) {
                Some((at, piece)) => (self.at, body.next) = (at, piece),
                None if body.before.is_none() => break,
                None if last => break,
                None => {
                    // A match may begin in what is shorter than a piece.
                    let decided = self.data.len().saturating_sub(PIECE_BYTES - 1).max(self.at);
                    return self.store_fresh(body, decided);
                }
            }
        }
        // Whole pieces only while more may come, so that the grid stays even.
        let rest = self.data.len() - self.fresh_from;
        let end = if last { self.data.len() } else { self.fresh_from + rest / PIECE_BYTES * PIECE_BYTES };
        self.store_fresh(body, end)
    }

    /// Go along the old pieces while they match. False if there is too little data to tell.
    fn follow(&mut self, body: &mut Storing, before: &Turn) -> io::Result<bool> {
        while let Some(piece) = before.pieces.get(body.next) {
            let len = piece.span.len as usize;
            let Some(data) = self.data[self.at..].get(..len) else { return Ok(false) };
            if self.strong.of(data) != piece.strong {
                break;
            }
            self.store_fresh(body, self.at)?;
            add_span(self.spans, piece.span);
            body.pieces.push(*piece);
            body.next += 1;
            body.vain_hashes = 0;
            self.at += len;
            self.fresh_from = self.at;
        }
        Ok(true)
    }

    /// The next place at which an old piece stands, and its number.
    fn find(&self, body: &mut Storing, before: &Turn) -> Option<(usize, usize)> {
        let data = &self.data[self.at..];
        let mut weak = weak_of(data.get(..PIECE_BYTES)?);
        for at in 0..=data.len() - PIECE_BYTES {
            for (_, piece) in before.candidates(weak) {
                let piece = *piece as usize;
                if self.strong.of(&data[at..at + PIECE_BYTES]) == before.pieces[piece].strong {
                    return Some((self.at + at, piece));
                }
                body.vain_hashes += 1;
            }
            if let Some(next) = data.get(at + PIECE_BYTES) {
                weak = roll(weak, data[at], *next);
            }
        }
        body.vain_bytes += data.len() - PIECE_BYTES;
        body.give_up_if_vain();
        None
    }

    /// Store what is new, up to `end`.
    fn store_fresh(&mut self, body: &mut Storing, end: usize) -> io::Result<()> {
        for piece in self.data[self.fresh_from..end].chunks(PIECE_BYTES) {
            let Some(span) = self.content.put_whole(piece)? else { continue };
            add_span(self.spans, span);
            let weak = if piece.len() == PIECE_BYTES { weak_of(piece) } else { 0 };
            body.pieces.push(Piece { span, strong: self.strong.of(piece), weak });
        }
        self.fresh_from = end;
        self.at = self.at.max(end);
        Ok(())
    }
}

/// The strong hash. Its key and its values never leave this process.
struct Strong(aead::LessSafeKey);

impl Strong {
    fn new() -> io::Result<Strong> {
        let mut key = [0u8; 16];
        let unusable = |_| io::Error::other("no randomness from the system for the hash of bodies");
        ring::rand::SystemRandom::new().fill(&mut key).map_err(unusable)?;
        let key = aead::UnboundKey::new(&aead::AES_128_GCM, &key).map_err(unusable)?;
        Ok(Strong(aead::LessSafeKey::new(key)))
    }

    fn of(&self, data: &[u8]) -> [u8; 16] {
        // One nonce for all: what would be a leak for a message is a keyed hash for a table that nobody sees.
        let nonce = aead::Nonce::assume_unique_for_key([0; 12]);
        let tag = self.0.seal_in_place_separate_tag(nonce, aead::Aad::from(data), &mut []);
        let mut hash = [0u8; 16];
        // It fails for more than 2^36 bytes, and a piece has 2^11.
        if let Ok(tag) = tag {
            hash.copy_from_slice(tag.as_ref());
        }
        hash
    }
}

/// Base of the rolling hash: odd, otherwise of no meaning.
const BASE: u64 = 0x9e37_79b9_7f4a_7c15;
/// What the byte that leaves the window has been multiplied with.
const LEAVES: u64 = power(PIECE_BYTES);

const fn power(n: usize) -> u64 {
    let (mut value, mut i) = (1u64, 0);
    while i < n {
        value = value.wrapping_mul(BASE);
        i += 1;
    }
    value
}

/// The rolling hash of a window: a polynomial over its bytes. Four bytes a step, which is one multiplication's wait
/// instead of four.
fn weak_of(window: &[u8]) -> u64 {
    const B2: u64 = power(2);
    const B3: u64 = power(3);
    const B4: u64 = power(4);
    let (fours, rest) = window.as_chunks::<4>();
    let whole = fours.iter().fold(0u64, |hash, [a, b, c, d]| {
        let four = u64::from(*a).wrapping_mul(B3).wrapping_add(u64::from(*b).wrapping_mul(B2));
        let four = four.wrapping_add(u64::from(*c).wrapping_mul(BASE)).wrapping_add(u64::from(*d));
        hash.wrapping_mul(B4).wrapping_add(four)
    });
    rest.iter().fold(whole, |hash, byte| hash.wrapping_mul(BASE).wrapping_add(u64::from(*byte)))
}

/// The hash of the window one byte further on.
fn roll(hash: u64, leaves: u8, comes: u8) -> u64 {
    hash.wrapping_mul(BASE)
        .wrapping_add(u64::from(comes))
        .wrapping_sub(u64::from(leaves).wrapping_mul(LEAVES))
}

fn sieve_place(weak: u64) -> (usize, u32) {
    let bits = weak.wrapping_mul(0xff51_afd7_ed55_8ccd) >> 52;
    ((bits >> 6) as usize, (bits & 63) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::segment::{Decoder, Encoder, Found, Head, Kind, Walk};

    struct Draw(u64);

    impl Draw {
        fn below(&mut self, n: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % n
        }

        fn bytes(&mut self, len: usize) -> Vec<u8> {
            (0..len).map(|_| self.below(251) as u8).collect()
        }
    }

    fn content() -> Blocks {
        let mut blocks = Blocks::new(Encoder::new(Kind::Content, 1, Head::default(), 1).unwrap(), 100_000);
        blocks.begin(At { segment: 1, offset: 0 });
        blocks
    }

    /// Store a body in parts of up to `part` bytes, as the join does.
    fn store(turns: &mut Turns, key: u64, data: &[u8], part: usize, content: &mut Blocks) -> Vec<Span> {
        let (mut body, mut spans, mut carry) = (turns.begin(key, content), Vec::new(), Vec::new());
        for part in data.chunks(part.max(1)) {
            carry.extend_from_slice(part);
            let done = turns.store(&mut body, &carry, false, content, &mut spans).unwrap();
            carry.drain(..done);
        }
        turns.store(&mut body, &carry, true, content, &mut spans).unwrap();
        turns.keep(key, body, spans.len(), content);
        spans
    }

    fn read(batch: &[u8], spans: &[Span]) -> Vec<u8> {
        let mut body = Vec::new();
        for span in spans {
            let mut walk = Walk::new(batch).unwrap().starting_at(span.block);
            let Some((_, Found::Block(header))) = walk.step().unwrap() else {
                panic!("no block at {span:?}")
            };
            let raw = Decoder::new().unwrap().decode(&header, walk.payload()).unwrap();
            body.extend_from_slice(&raw[span.at as usize..(span.at + span.len) as usize]);
        }
        body
    }

    #[test]
    fn a_growing_history_is_stored_once() {
        let (mut turns, mut content, mut draw) = (Turns::new().unwrap(), content(), Draw(1));
        let (mut history, tools) = (draw.bytes(60_000), draw.bytes(40_000));
        let mut bodies = Vec::new();
        for _ in 0..30 {
            history.extend(draw.bytes(3_000));
            let body = [&history[..], &tools].concat();
            let spans = store(&mut turns, 5, &body, 64_000, &mut content);
            bodies.push((body, spans));
        }
        content.seal().unwrap();
        for (body, spans) in &bodies {
            assert!(read(content.bytes(), spans) == *body);
            assert!(spans.len() <= 100, "{} spans", spans.len());
        }
        // All that is new, and about two pieces a turn at the seams.
        let new = 60_000 + 40_000 + 30 * 3_000;
        let stored = usize::try_from(content.raw_total()).unwrap();
        assert!((new..new + 30 * 3 * PIECE_BYTES).contains(&stored), "{stored} stored of {new}");
    }

    #[test]
    fn any_change_in_any_parts_comes_back_as_it_was() {
        for seed in 0..60 {
            let (mut turns, mut content, mut draw) = (Turns::new().unwrap(), content(), Draw(seed));
            let len = draw.below(40_000);
            let mut body = draw.bytes(len);
            let mut bodies = Vec::new();
            for _ in 0..8 {
                let part = 1 + draw.below(30_000);
                let spans = store(&mut turns, 1, &body, part, &mut content);
                bodies.push((body.clone(), spans));
                for _ in 0..draw.below(3) {
                    let at = draw.below(body.len() + 1);
                    let to = (at + draw.below(5_000)).min(body.len());
                    let len = draw.below(5_000);
                    let put = draw.bytes(len);
                    body.splice(at..to, put);
                }
            }
            content.seal().unwrap();
            for (body, spans) in &bodies {
                assert!(read(content.bytes(), spans) == *body, "seed {seed}");
            }
        }
    }

    #[test]
    fn a_long_session_gets_a_key_frame_now_and_then() {
        let (mut turns, mut content, mut draw) = (Turns::new().unwrap(), content(), Draw(2));
        let (mut body, mut most, mut key_frames) = (draw.bytes(10_000), 0, 0);
        for _ in 0..300 {
            body.extend(draw.bytes(2_100));
            // Another session's bytes lie between, so that no two turns' spans join.
            store(&mut turns, 2, &draw.bytes(3_000), 4_096, &mut content);
            let spans = store(&mut turns, 1, &body, 1 << 20, &mut content);
            most = most.max(spans.len());
            key_frames += usize::from(spans.len() < 10);
        }
        assert!(most <= SPANS_MAX + 8, "{most}");
        assert!((2..40).contains(&key_frames), "{key_frames}");
    }

    #[test]
    fn nothing_refers_across_segments_nor_to_what_was_not_written() {
        let (mut turns, mut content, mut draw) = (Turns::new().unwrap(), content(), Draw(3));
        let body = draw.bytes(20_000);
        store(&mut turns, 1, &body, 1 << 20, &mut content);
        content.seal().unwrap();
        content.begin(At { segment: 2, offset: 0 });
        let spans = store(&mut turns, 1, &body, 1 << 20, &mut content);
        assert!(spans.iter().all(|span| span.segment == 2));
        turns.forget_from(At { segment: 2, offset: 0 });
        assert_eq!((turns.kept.len(), turns.pieces), (0, 0));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut turns, mut content, mut draw) = (Turns::new().unwrap(), content(), Draw(4));
        let body = draw.bytes(30_000);
        let pieces = {
            store(&mut turns, 0, &body, 1 << 20, &mut content);
            turns.pieces
        };
        for key in 1..(PIECES_MAX / pieces + 10) as u64 {
            let pieces = turns.kept[&(key - 1)].turn.pieces.clone();
            let body = Storing { pieces, ..Storing::default() };
            turns.keep(key, body, 1, &content);
            assert!(turns.pieces <= PIECES_MAX);
        }
        assert!(!turns.kept.contains_key(&0), "the oldest went first");
    }

    #[test]
    fn the_rolling_hash_rolls() {
        let data = Draw(5).bytes(PIECE_BYTES + 500);
        let mut hash = weak_of(&data[..PIECE_BYTES]);
        for at in 0..500 {
            assert_eq!(hash, weak_of(&data[at..at + PIECE_BYTES]));
            hash = roll(hash, data[at], data[at + PIECE_BYTES]);
        }
    }
}
