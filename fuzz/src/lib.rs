//! What the targets share: how one input becomes bytes and the places where they are cut.
//!
//! Most targets hold one claim: however bytes are cut on their way, they are read the same.

/// The choice byte, the cuts' seed, and the bytes themselves.
#[must_use]
pub fn parts(input: &[u8]) -> Option<(u8, u8, &[u8])> {
    match input {
        [choice, seed, bytes @ ..] => Some((*choice, *seed, bytes)),
        _ => None,
    }
}

/// `bytes` in seeded pieces; seed 0 cuts at every byte.
#[must_use]
pub fn cut(bytes: &[u8], seed: u8) -> Vec<&[u8]> {
    if seed == 0 {
        return bytes.chunks(1).collect();
    }
    let mut state = u64::from(seed);
    let (mut rest, mut pieces) = (bytes, Vec::new());
    while !rest.is_empty() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let longest = [2, 9, 60, 900][(state >> 60) as usize % 4];
        let (piece, after) = rest.split_at(((state >> 33) as usize % longest + 1).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}
