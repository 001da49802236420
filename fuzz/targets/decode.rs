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
    let (whole, cut) = (decode(coding, &[bytes]), decode(coding, &weir_fuzz::cut(bytes, seed)));
    // The brotli decoder looks ahead where it can, so it may see later, or not at all, that a cut stream is broken.
    let lenient = coding.contains("br") && (whole.is_none() || cut.is_none());
    assert!(lenient || whole == cut, "{coding}");
});
