//! WebSocket messages: whatever they are cut into, compressed and masked, what was sent is what is read; and no message
//! over the bound is held, whatever a few bytes inflate to.
#![no_main]

use flate2::{Compress, Compression, FlushCompress};
use libfuzzer_sys::fuzz_target;
use weir::wire::ws::{Deflate, Message, Reader, Sender};

const MASK: [u8; 4] = [0x81, 0x00, 0xff, 0x37];

/// One frame, by the letter of RFC 6455 5.2 and apart from weir's own writer.
fn frame(out: &mut Vec<u8>, first: u8, masked: bool, payload: &[u8]) {
    let mask_bit = if masked { 0x80 } else { 0 };
    out.push(first);
    match payload.len() {
        short @ 0..=125 => out.push(mask_bit | short as u8),
        middle @ 126..=0xffff => {
            out.push(mask_bit | 126);
            out.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            out.push(mask_bit | 127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    if masked {
        out.extend_from_slice(&MASK);
        out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    } else {
        out.extend_from_slice(payload);
    }
}

/// A message's payload as permessage-deflate has it (RFC 7692 7.2.1).
fn deflated(stream: &mut Compress, text: &[u8]) -> Vec<u8> {
    if text.is_empty() {
        // A compressor that has nothing to flush writes nothing; this is the empty block (7.2.3.6).
        return vec![0];
    }
    let mut coded = Vec::with_capacity(text.len() + 64);
    loop {
        let (before_in, before_out) = (stream.total_in(), stream.total_out());
        coded.reserve(64);
        let rest = &text[usize::try_from(before_in - START.get()).expect("small")..];
        stream.compress_vec(rest, &mut coded, FlushCompress::Sync).expect("room");
        if coded.len() < coded.capacity() || (stream.total_in(), stream.total_out()) == (before_in, before_out) {
            break;
        }
    }
    START.set(stream.total_in());
    assert!(coded.ends_with(&[0, 0, 0xff, 0xff]));
    coded.truncate(coded.len() - 4);
    coded
}

thread_local! {
    /// Where in the compressor's input the message began.
    static START: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

fn read(pieces: &[&[u8]], sender: Sender, deflate: Option<Deflate>, bytes_max: usize) -> Vec<Vec<u8>> {
    let (mut reader, mut found) = (Reader::judging(sender, deflate, bytes_max), Vec::new());
    for piece in pieces {
        let mut at = 0;
        while let Ok(Some(message)) = reader.next(piece, &mut at) {
            if let Message::Text(text) | Message::Binary(text) = message {
                assert!(text.len() <= bytes_max, "{} bytes held", text.len());
                found.push(text.to_vec());
            }
        }
    }
    found
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, seed, bytes)) = weir_fuzz::parts(input) else { return };
    let masked = choice & 1 != 0;
    let sender = if masked { Sender::Client } else { Sender::Server };
    let deflate = (choice & 2 != 0).then_some(Deflate { no_context: choice & 4 != 0 });
    let bombs = Some(Deflate { no_context: choice & 4 != 0 });
    read(&weir_fuzz::cut(bytes, seed), sender, bombs, 1000);

    let texts: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').take(50).collect();
    START.set(0);
    let mut stream = Compress::new(Compression::new(u32::from(choice >> 4) % 10), false);
    let mut wire = Vec::new();
    for text in &texts {
        let payload = match deflate {
            Some(Deflate { no_context: true }) => {
                stream.reset();
                START.set(0);
                deflated(&mut stream, text)
            }
            Some(_) => deflated(&mut stream, text),
            None => text.to_vec(),
        };
        let mut first = 1 | if deflate.is_some() { 0x40 } else { 0 };
        let mut parts = if payload.is_empty() { vec![&payload[..]] } else { weir_fuzz::cut(&payload, seed.max(1)) };
        let last = parts.pop().expect("one at least");
        for part in parts {
            frame(&mut wire, first, masked, part);
            frame(&mut wire, 0x89, masked, b"beat");
            first = 0;
        }
        frame(&mut wire, 0x80 | first, masked, last);
    }
    assert_eq!(read(&[&wire], sender, deflate, 1 << 20), texts);
    assert_eq!(read(&weir_fuzz::cut(&wire, seed), sender, deflate, 1 << 20), texts);
});
