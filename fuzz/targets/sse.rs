//! Event streams: the same events in any cutting.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::wire::sse::Splitter;

type Events = Vec<(Vec<u8>, Vec<u8>)>;

fn events(blocks: &[&[u8]]) -> Events {
    let (mut splitter, mut events) = (Splitter::new(1 << 20), Vec::new());
    for block in blocks {
        let mut at = 0;
        while let Some(event) = splitter.next(block, &mut at).expect("far below the bound") {
            events.push((event.name.to_vec(), event.data.to_vec()));
        }
        assert_eq!(at, block.len());
    }
    if let Some((last, _)) = splitter.finish() {
        events.push((last.name.to_vec(), last.data.to_vec()));
    }
    events
}

fuzz_target!(|input: &[u8]| {
    let Some((_, seed, bytes)) = weir_fuzz::parts(input) else { return };
    assert_eq!(events(&weir_fuzz::cut(bytes, seed)), events(&[bytes]));
});
