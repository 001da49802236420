//! Chunked framing: the same content and the same end in any cutting, and never past the block.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::wire::h1::chunked::Chunked;

/// Content, bytes used, whether it ended, whether it was refused.
fn scan(pieces: &[&[u8]]) -> (Vec<u8>, usize, bool, bool) {
    let (mut scan, mut content, mut used) = (Chunked::default(), Vec::new(), 0);
    for piece in pieces {
        let mut ranges = Vec::new();
        let Ok(seen) = scan.scan(piece, &mut ranges) else { return (content, used, false, true) };
        ranges.into_iter().for_each(|range| content.extend_from_slice(&piece[range]));
        used += seen.used;
        assert_eq!(seen.done, scan.is_done());
        if seen.done {
            return (content, used, true, false);
        }
        assert_eq!(seen.used, piece.len());
    }
    (content, used, false, false)
}

fuzz_target!(|input: &[u8]| {
    let Some((_, seed, bytes)) = weir_fuzz::parts(input) else { return };
    let (whole, cut) = (scan(&[bytes]), scan(&weir_fuzz::cut(bytes, seed)));
    assert_eq!(whole.3, cut.3);
    // Where it is refused, how much was given out before depends on the cuts.
    assert!(whole.3 || whole == cut);
});
