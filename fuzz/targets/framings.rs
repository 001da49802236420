//! The other framings of a response: lines, an array in pieces, AWS frames, WebSocket messages, a PROXY header.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::wire::{eventstream::Frames, jsonarray::Elements, ndjson::Lines, proxyv2, ws};

fn lines(blocks: &[&[u8]]) -> Vec<Vec<u8>> {
    let (mut lines, mut found) = (Lines::new(1 << 20), Vec::new());
    for block in blocks {
        let mut at = 0;
        while let Some(line) = lines.next(block, &mut at).expect("far below the bound") {
            found.push(line.to_vec());
        }
    }
    found.push(lines.finish().to_vec());
    found
}

fn elements(blocks: &[&[u8]]) -> Vec<Vec<u8>> {
    let (mut elements, mut found) = (Elements::new(1 << 20), Vec::new());
    for block in blocks {
        let mut at = 0;
        while let Some(element) = elements.next(block, &mut at).expect("far below the bound") {
            found.push(element.to_vec());
        }
    }
    found
}

fn frames(blocks: &[&[u8]]) -> (Vec<Vec<u8>>, bool) {
    let (mut frames, mut found) = (Frames::default(), Vec::new());
    for block in blocks {
        frames.feed(block);
        loop {
            match frames.next_frame() {
                Ok(Some(frame)) => {
                    let headers = frame.headers().count();
                    found.push([frame.payload, &headers.to_le_bytes()].concat());
                }
                Ok(None) => break,
                Err(_) => return (found, true),
            }
        }
    }
    (found, false)
}

const DEFLATE: Option<ws::Deflate> = Some(ws::Deflate { no_context: false });
const ALONE: Option<ws::Deflate> = Some(ws::Deflate { no_context: true });

/// Messages with the place in the whole stream where each ends.
fn messages(blocks: &[&[u8]], deflate: Option<ws::Deflate>) -> (Vec<(usize, String)>, bool) {
    let mut reader = ws::Reader::judging(ws::Sender::Client, deflate, 1 << 20);
    let (mut found, mut before) = (Vec::new(), 0);
    for block in blocks {
        let mut at = 0;
        loop {
            match reader.next(block, &mut at) {
                Ok(Some(message)) => found.push((before + at, format!("{message:?}"))),
                Ok(None) => break,
                Err(_) => return (found, true),
            }
        }
        before += block.len();
    }
    (found, false)
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, seed, bytes)) = weir_fuzz::parts(input) else { return };
    let cut = weir_fuzz::cut(bytes, seed);
    match choice % 7 {
        0 => assert_eq!(lines(&cut), lines(&[bytes])),
        1 => assert_eq!(elements(&cut), elements(&[bytes])),
        2 => assert_eq!(frames(&cut), frames(&[bytes])),
        3 => assert_eq!(messages(&cut, None), messages(&[bytes], None)),
        4 => assert_eq!(messages(&cut, DEFLATE), messages(&[bytes], DEFLATE)),
        5 => assert_eq!(messages(&cut, ALONE), messages(&[bytes], ALONE)),
        _ => {
            if let proxyv2::Parsed::Done(used, _) = proxyv2::parse(bytes) {
                assert!(used <= bytes.len());
            }
        }
    }
});
