//! Round trips, every cut of the last batch, every flipped bit.

use super::*;

/// Three batches: one block, two blocks, two blocks.
fn sample() -> (Vec<u8>, Vec<(u64, Vec<u8>)>) {
    let mut encoder = Encoder::new(Kind::Log, 7, Head::default(), 3).unwrap();
    let (mut out, mut blocks) = (Vec::new(), Vec::new());
    for (i, batch) in [0u64, 1, 1, 3, 3].into_iter().enumerate() {
        let raw = format!("{{\"line\":{i},\"text\":\"{}\"}}\n", "abcdefg".repeat(i * 3)).into_bytes();
        blocks.push((out.len() as u64, raw.clone()));
        encoder.encode(&raw, batch, &mut out).unwrap();
    }
    (out, blocks)
}

fn walk_all(bytes: &[u8]) -> (Vec<Vec<u8>>, Vec<Flaw>) {
    let mut walk = Walk::new(bytes).unwrap();
    let mut decoder = Decoder::new().unwrap();
    let (mut good, mut flaws) = (Vec::new(), Vec::new());
    let mut end = 0;
    while let Some((at, found)) = walk.step().unwrap() {
        assert_eq!(at, end, "stretches lie side by side");
        match found {
            Found::Block(header) => {
                end = at + header.block_len();
                good.push(decoder.decode(&header, walk.payload()).unwrap());
            }
            Found::Bad { len, flaw } => {
                assert!(len > 0);
                end = at + len;
                flaws.push(flaw);
            }
        }
    }
    assert_eq!(end, bytes.len() as u64);
    (good, flaws)
}

#[test]
fn what_goes_in_comes_out() {
    let (bytes, blocks) = sample();
    let (good, flaws) = walk_all(&bytes);
    assert_eq!(flaws, []);
    assert_eq!(good, blocks.iter().map(|(_, raw)| raw.clone()).collect::<Vec<_>>());
    let seen = survey(&bytes[..], None).unwrap();
    assert_eq!((seen.end, seen.torn_bytes, seen.blocks, seen.damaged), (bytes.len() as u64, 0, 5, 0));
    assert_eq!(seen.head.unwrap().next, 5);
}

#[test]
fn incompressible_and_empty_blocks_pass() {
    let mut encoder = Encoder::new(Kind::Content, 7, Head::default(), 3).unwrap();
    let mut state = 1u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(300_000)
    .collect();
    let mut out = Vec::new();
    encoder.encode(&noise, 0, &mut out).unwrap();
    encoder.encode(&[], 0, &mut out).unwrap();
    assert_eq!(walk_all(&out), (vec![noise, vec![]], vec![]));
}

#[test]
fn a_tail_torn_at_any_byte_loses_only_its_own_batch() {
    let (bytes, blocks) = sample();
    let last_batch_at = blocks[3].0;
    for cut in last_batch_at..bytes.len() as u64 {
        let seen = survey(&bytes[..usize::try_from(cut).unwrap()], None).unwrap();
        let whole = if cut >= blocks[4].0 { blocks[4].0 } else { last_batch_at };
        assert_eq!((seen.end, seen.torn_bytes, seen.damaged), (whole, cut - whole, 0), "cut at {cut}");
        // What is left can be continued, and the result is whole.
        let mut mended = bytes[..usize::try_from(whole).unwrap()].to_vec();
        let mut encoder = Encoder::new(Kind::Log, 8, seen.head.unwrap(), 3).unwrap();
        encoder.encode(b"next", seen.head.unwrap().next, &mut mended).unwrap();
        assert_eq!(walk_all(&mended).1, []);
    }
}

#[test]
fn pages_of_an_unsynced_batch_may_arrive_in_any_order() {
    let (mut bytes, blocks) = sample();
    let (first, second) = (usize::try_from(blocks[3].0).unwrap(), usize::try_from(blocks[4].0).unwrap());
    bytes[first..second].fill(0);
    let seen = survey(&bytes[..], None).unwrap();
    assert_eq!(
        (seen.end, seen.damaged),
        (blocks[3].0, 0),
        "the second block of the torn batch goes with the first"
    );
}

#[test]
fn a_torn_first_batch_is_told_by_the_segment_before() {
    let (bytes, blocks) = sample();
    let tail = &mut bytes[usize::try_from(blocks[3].0).unwrap()..].to_vec();
    tail[HEADER_BYTES + 1] ^= 1;
    let before = Head { next: 3, hash: Hash::default() };
    let seen = survey(&tail[..], Some(before)).unwrap();
    assert_eq!((seen.end, seen.damaged, seen.head), (0, 0, Some(before)));
    assert_eq!(survey(&tail[..], None).unwrap().damaged, 1, "without it nothing is cut");
}

#[test]
fn damage_to_an_acknowledged_batch_is_kept_and_counted() {
    let (mut bytes, blocks) = sample();
    let hit = usize::try_from(blocks[2].0).unwrap() + HEADER_BYTES + 3;
    bytes[hit] ^= 1;
    let seen = survey(&bytes[..], None).unwrap();
    assert_eq!((seen.end, seen.torn_bytes, seen.damaged, seen.blocks), (bytes.len() as u64, 0, 1, 4));
}

#[test]
fn every_flipped_bit_is_found_and_costs_one_block() {
    let (bytes, blocks) = sample();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            let (good, flaws) = walk_all(&flipped);
            assert_eq!(flaws.len(), 1, "bit {bit} of byte {at}");
            assert_eq!(good.len(), blocks.len() - 1, "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn garbage_never_panics_and_a_block_in_it_is_found() {
    let (block, _) = sample();
    let first =
        usize::try_from(Header::parse(block[..HEADER_BYTES].try_into().unwrap()).unwrap().block_len())
            .unwrap();
    let mut noise = b"weirweirwei".repeat(20_000);
    noise.extend_from_slice(&block[..first]);
    noise.extend_from_slice(b"weir");
    let (good, flaws) = walk_all(&noise);
    assert_eq!((good.len(), flaws.len()), (1, 2));
}

#[test]
fn a_lying_length_is_refused_before_it_is_believed() {
    let header = Header {
        kind: Kind::Log,
        sequence: 0,
        batch: 0,
        boot: 0,
        raw_len: u32::MAX,
        stored_len: 1,
        payload_crc: 0,
        previous: Hash::default(),
    };
    assert_eq!(Header::parse(&header.to_bytes()), Err(Flaw::Length));
    let small = Header { raw_len: 10, ..header };
    let frame = zstd::bulk::compress(&[0u8; 1000], 3).unwrap();
    assert_eq!(Decoder::new().unwrap().decode(&small, &frame), Err(Flaw::Frame));
}

#[test]
fn a_hash_survives_its_text() {
    let hash = hash_of(&[b"abc"]);
    assert_eq!(hash.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(hash, hash_of(&[b"a", b"bc"]));
    assert_eq!(hash.to_string().parse(), Ok(hash));
    assert!("ba78".parse::<Hash>().is_err());
}
