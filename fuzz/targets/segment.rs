//! Segments: any bytes are walked to their end; what was encoded comes back, also behind damage.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::record::segment::{Decoder, Encoder, Found, Head, Kind, Walk, survey};

/// Decoded blocks of a segment; the walk has to cover every byte once.
fn blocks(segment: &[u8]) -> Vec<Vec<u8>> {
    let mut walk = Walk::new(segment).expect("memory");
    let mut decoder = Decoder::new().expect("a decoder");
    let (mut blocks, mut end) = (Vec::new(), 0);
    while let Some((at, found)) = walk.step().expect("memory") {
        assert_eq!(at, end);
        end = at
            + match found {
                Found::Block(header) => {
                    blocks.extend(decoder.decode(&header, walk.payload()));
                    header.block_len()
                }
                Found::Bad { len, .. } => len,
            };
    }
    assert_eq!(end, segment.len() as u64);
    blocks
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, seed, bytes)) = weir_fuzz::parts(input) else { return };
    let _ = survey(bytes, None).expect("memory");
    blocks(bytes);
    let mut encoder = Encoder::new(Kind::Log, 7, Head::default(), 1).expect("an encoder");
    let pieces: Vec<_> = weir_fuzz::cut(bytes, seed.max(1)).into_iter().take(20).collect();
    let mut segment = Vec::new();
    pieces.iter().for_each(|piece| encoder.encode(piece, 1, &mut segment).expect("memory"));
    assert_eq!(blocks(&segment), pieces);
    assert_eq!(survey(&segment[..], None).expect("memory").torn_bytes, 0);
    if let Some(byte) = segment.get_mut(usize::from(choice)) {
        *byte ^= 0x10;
        assert!(blocks(&segment).iter().all(|block| pieces.contains(&&block[..])), "damage passed for a block");
    }
});
