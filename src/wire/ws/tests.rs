//! Frames, whole and in pieces, well-formed and not.

use flate2::{Compress, Compression, FlushCompress};

use super::*;

const MASK: Option<[u8; 4]> = Some([1, 2, 3, 250]);
const BOUND: usize = 1 << 20;

/// A frame with any first byte.
fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_frame(&mut out, 0, mask, payload);
    out[0] = first;
    out
}

fn deflated(coder: &mut Compress, text: &[u8]) -> Vec<u8> {
    let mut coded = Vec::with_capacity(text.len() + 1024);
    coder.compress_vec(text, &mut coded, FlushCompress::Sync).unwrap();
    coded.truncate(coded.len() - 4);
    coded
}

/// What was read, and where in the whole stream each message ended.
fn read(reader: &mut Reader, stream: &[u8], step: usize) -> (Vec<(usize, String)>, Option<WsFault>) {
    let (mut found, mut before) = (Vec::new(), 0);
    for block in stream.chunks(step.min(stream.len()).max(1)) {
        let mut at = 0;
        loop {
            match reader.next(block, &mut at) {
                Ok(Some(message)) => {
                    let shown = match message {
                        Message::Text(text) => String::from_utf8_lossy(text).into_owned(),
                        other => format!("{other:?}"),
                    };
                    found.push((before + at, shown));
                }
                Ok(None) => break,
                Err(fault) => return (found, Some(fault)),
            }
        }
        assert_eq!(at, block.len());
        before += block.len();
    }
    (found, None)
}

#[test]
fn messages_in_any_split() {
    let long = "ü".repeat(40_000);
    let parts = [
        frame(0x81, MASK, b"{\"a\":1}"),
        frame(0x01, MASK, b"frag"),
        frame(0x89, MASK, b"ping"),
        frame(0x80, MASK, b"mented"),
        frame(0x81, MASK, long.as_bytes()),
        frame(0x82, MASK, &[1, 2]),
        frame(0x81, MASK, b""),
        frame(0x88, MASK, &[3, 0xe8]),
    ];
    let ends: Vec<usize> =
        parts.iter().scan(0, |sum, part| Some(*sum + part.len()).inspect(|s| *sum = *s)).collect();
    let expected = [
        (ends[0], "{\"a\":1}"),
        (ends[2], "Beat"),
        (ends[3], "fragmented"),
        (ends[4], &long),
        (ends[5], "Binary([1, 2])"),
        (ends[6], ""),
        (ends[7], "Close(Some(1000))"),
    ];
    let expected: Vec<(usize, String)> =
        expected.iter().map(|(end, text)| (*end, (*text).to_owned())).collect();
    for step in [1, 7, 4096, usize::MAX] {
        let mut reader = Reader::judging(Sender::Client, None, BOUND);
        assert_eq!(read(&mut reader, &parts.concat(), step), (expected.clone(), None), "by {step}");
        assert!(reader.between_messages());
    }
}

#[test]
fn compressed_messages_share_a_window_unless_agreed_otherwise() {
    for no_context in [false, true] {
        let mut coder = Compress::new(Compression::default(), false);
        let mut stream = Vec::new();
        for _ in 0..3 {
            let coded = deflated(&mut coder, b"{\"hello\":\"hello hello\"}");
            let (first, second) = coded.split_at(coded.len() / 2);
            stream.extend(frame(0x41, None, first));
            stream.extend(frame(0x80, None, second));
            // One that is not compressed leaves the window alone.
            stream.extend(frame(0x81, None, b"plain"));
            if no_context {
                coder.reset();
            }
        }
        for step in [1, usize::MAX] {
            let mut reader = Reader::watching(Sender::Server, Some(Deflate { no_context }), BOUND);
            let (found, fault) = read(&mut reader, &stream, step);
            let texts: Vec<_> = found.iter().map(|(_, text)| text.as_str()).collect();
            let one = ["{\"hello\":\"hello hello\"}", "plain"];
            assert_eq!((texts, fault), ([one, one, one].concat(), None), "no context: {no_context}");
        }
    }
}

#[test]
fn a_final_block_ends_a_message_and_not_the_reading() {
    let mut coder = Compress::new(Compression::default(), false);
    let mut coded = Vec::with_capacity(1024);
    coder.compress_vec(b"hello", &mut coded, FlushCompress::Finish).unwrap();
    // RFC 7692 7.2.3.4: a byte of zeros stands for the empty block that follows a final one.
    coded.push(0);
    let stream = [frame(0xc1, None, &coded), frame(0xc1, None, &coded)].concat();
    let mut reader = Reader::watching(Sender::Server, Some(Deflate::default()), BOUND);
    let (found, fault) = read(&mut reader, &stream, usize::MAX);
    assert_eq!((found.iter().filter(|(_, text)| text == "hello").count(), fault), (2, None));
}

#[test]
fn what_cannot_be_read_is_refused() {
    let bare = |bytes: &[u8]| frame(bytes[0], None, &bytes[1..]);
    for (bytes, fault) in [
        (bare(b"\xc1x"), WsFault::Malformed),
        (bare(b"\xa1x"), WsFault::Malformed),
        (bare(b"\x83x"), WsFault::Malformed),
        (bare(b"\x80x"), WsFault::Malformed),
        (bare(b"\x08"), WsFault::Malformed),
        (frame(0x88, None, &[0; 126]), WsFault::Malformed),
        ([bare(b"\x01x"), bare(b"\x81x")].concat(), WsFault::Malformed),
        (vec![0x81, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], WsFault::Malformed),
        (vec![0x81, 127, 0, 0, 1, 0, 0, 0, 0, 0], WsFault::TooLong),
        (frame(0x81, MASK, b"x"), WsFault::Malformed),
    ] {
        for step in [1, usize::MAX] {
            let mut reader = Reader::judging(Sender::Server, None, BOUND);
            assert_eq!(read(&mut reader, &bytes, step).1, Some(fault), "{bytes:?}");
            assert!(!reader.between_frames());
        }
    }
    let mut unmasked = Reader::judging(Sender::Client, None, BOUND);
    assert_eq!(read(&mut unmasked, &bare(b"\x81x"), 1).1, Some(WsFault::Malformed));
    let noise = frame(0xc1, MASK, &[0xff; 30]);
    let mut reader = Reader::judging(Sender::Client, Some(Deflate::default()), BOUND);
    assert_eq!(read(&mut reader, &noise, usize::MAX).1, Some(WsFault::Broken));
}

#[test]
fn a_message_over_the_bound_is_passed_over_where_what_follows_can_be_read() {
    let bomb = {
        let mut coder = Compress::new(Compression::best(), false);
        deflated(&mut coder, &vec![b' '; 4 * BOUND])
    };
    let long = vec![b'x'; BOUND + 1];
    let after = frame(0x81, None, b"after");
    let cases = [
        (frame(0x81, None, &long), None, Ok(())),
        (frame(0xc1, None, &bomb), Some(Deflate { no_context: true }), Ok(())),
        (frame(0xc1, None, &bomb), Some(Deflate { no_context: false }), Err(WsFault::TooLong)),
    ];
    for (first, deflate, expected) in cases {
        let stream = [first, after.clone()].concat();
        for step in [1000, usize::MAX] {
            let mut watching = Reader::watching(Sender::Server, deflate, BOUND);
            let (found, fault) = read(&mut watching, &stream, step);
            let texts: Vec<_> = found.iter().map(|(_, text)| text.as_str()).collect();
            match expected {
                Ok(()) => assert_eq!((texts, fault), (vec!["Over", "after"], None)),
                Err(expected) => assert_eq!((texts.is_empty(), fault), (true, Some(expected))),
            }
            let mut judging = Reader::judging(Sender::Server, deflate, BOUND);
            assert_eq!(read(&mut judging, &stream, step).1, Some(WsFault::TooLong));
        }
    }
}

#[test]
fn a_closing_frame_holds_what_fits() {
    let mut out = Vec::new();
    write_close(&mut out, None, 1008, &"ü".repeat(100));
    let mut reader = Reader::judging(Sender::Server, None, BOUND);
    assert_eq!(read(&mut reader, &out, 1).0, [(out.len(), "Close(Some(1008))".to_owned())]);
    assert_eq!(out.len(), 2 + 2 + 122);
}
