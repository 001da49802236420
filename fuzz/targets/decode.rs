//! Content codings: the same text in any cutting, or refused in both; bombs end at their cap.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::wire::decode::Decoder;

const CODINGS: &[&str] = &["gzip", "deflate", "br", "zstd", "gzip, zstd", "br, identity", "x-gzip"];

fn decode(coding: &str, pieces: &[&[u8]]) -> Option<Vec<u8>> {
    let mut decoder = Decoder::new([coding.as_bytes()].into_iter()).ok()??;
    let mut text = Vec::new();
    for piece in pieces {
        decoder.feed(piece, &mut |part| text.extend_from_slice(part)).ok()?;
    }
    Some(text)
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, seed, bytes)) = weir_fuzz::parts(input) else { return };
    let coding = CODINGS[usize::from(choice) % CODINGS.len()];
    let (whole, pieces) = (decode(coding, &[bytes]), decode(coding, &weir_fuzz::cut(bytes, seed)));
    // The library for br sees later that a stream is broken when it is given more at once: it may refuse in pieces what
    // it takes whole, never the other way round.
    let refused_early = coding.starts_with("br") && pieces.is_none();
    assert!(refused_early || whole == pieces, "{coding}");
});
