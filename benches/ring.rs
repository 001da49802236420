//! What does a note cost the core that puts it? One core puts, nobody waits, everything arrives.
//!
//! `cargo bench --bench ring`. Each figure is the best of a few rounds, in nanoseconds of this thread's time.

#![allow(clippy::disallowed_methods, reason = "a bench reads the clock itself")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use weir::base::ring::{self, Room};

const SLOTS: usize = 8192;
const ROUNDS: usize = 200;

type Lanes = (ring::Producer<Box<u64>, Bytes>, ring::Consumer<Box<u64>, Bytes>);

fn main() {
    note();
    open_and_close();
    capture();
    two_threads();
}

fn lanes() -> Lanes {
    ring::lanes(SLOTS, SLOTS, 1 << 30)
}

fn note() {
    let (mut producer, mut consumer) = lanes();
    let (mut notes, mut parts, mut sum, mut boxes) = (Vec::new(), Vec::new(), 0, Vec::new());
    let best = best_of(SLOTS, |i| {
        boxes.extend((0..SLOTS as u64).map(Box::new));
        let start = Instant::now();
        for note in boxes.drain(..) {
            producer.note(black_box(note)).unwrap();
        }
        let took = start.elapsed();
        consumer.take(usize::MAX, &mut notes, &mut parts);
        sum += notes.drain(..).map(|note| *note).sum::<u64>() + i;
        took
    });
    assert_eq!(sum, expected_sum());
    println!("ring/note/8192                {best:6.1} ns");
}

fn open_and_close() {
    let (mut producer, mut consumer) = lanes();
    let (mut notes, mut parts, mut sum, mut boxes) = (Vec::new(), Vec::new(), 0, Vec::new());
    let best = best_of(SLOTS / 2, |i| {
        boxes.extend((0..SLOTS as u64).rev().map(Box::new));
        let start = Instant::now();
        while let (Some(open), Some(close)) = (boxes.pop(), boxes.pop()) {
            let held = producer.open(open, Room::default()).unwrap();
            producer.close(close, Some(held)).unwrap();
        }
        let took = start.elapsed();
        consumer.take(usize::MAX, &mut notes, &mut parts);
        sum += notes.drain(..).map(|note| *note).sum::<u64>() + i;
        took
    });
    assert_eq!(sum, expected_sum());
    assert!(consumer.losses().is_none());
    println!("ring/open+close/8192          {best:6.1} ns");
}

fn capture() {
    let (mut producer, mut consumer) = lanes();
    let body = Bytes::from(vec![7u8; 16 << 10]);
    let (mut notes, mut parts, mut count) = (Vec::new(), Vec::new(), 0);
    let best = best_of(SLOTS, |_| {
        let mut shared: Vec<Bytes> = (0..SLOTS).map(|_| body.clone()).collect();
        let start = Instant::now();
        for part in shared.drain(..) {
            producer.capture(black_box(part), 16 << 10).unwrap();
        }
        let took = start.elapsed();
        consumer.take(usize::MAX, &mut notes, &mut parts);
        count += parts.len();
        consumer.give_back(parts.drain(..).map(|(_, bytes)| bytes).sum());
        took
    });
    assert_eq!((count, producer.part_bytes_in_flight()), (SLOTS * ROUNDS, 0));
    println!("ring/capture/16k              {best:6.1} ns");
}

/// With a writer that polls every millisecond: the core's cost must not change.
fn two_threads() {
    const NOTES: u64 = 2_000_000;
    let (mut producer, mut consumer) = ring::lanes::<Box<u64>, Bytes>(1 << 16, 1, 0);
    let writer = std::thread::spawn(move || {
        let (mut notes, mut parts, mut sum, mut count) = (Vec::new(), Vec::new(), 0u64, 0u64);
        while count < NOTES {
            consumer.take(4096, &mut notes, &mut parts);
            if notes.is_empty() {
                std::thread::park_timeout(Duration::from_millis(1));
            }
            count += notes.len() as u64;
            sum += notes.drain(..).map(|note| *note).sum::<u64>();
        }
        sum
    });
    let (mut spent, mut put) = (Duration::ZERO, 0u64);
    while put < NOTES {
        let boxes: Vec<Box<u64>> = (put..put + 1024).map(Box::new).collect();
        while producer.notes_waiting() > (1 << 16) - 2048 {
            std::thread::yield_now();
        }
        let start = Instant::now();
        for note in boxes.into_iter().take((NOTES - put).min(1024) as usize) {
            producer.note(note).unwrap();
        }
        spent += start.elapsed();
        put += 1024;
    }
    assert_eq!(writer.join().unwrap(), NOTES * (NOTES - 1) / 2);
    println!("ring/note-while-taken/2M      {:6.1} ns", spent.as_nanos() as f64 / NOTES as f64);
}

fn best_of(puts: usize, mut round: impl FnMut(u64) -> Duration) -> f64 {
    let best = (0..ROUNDS as u64).map(&mut round).min().unwrap_or_default();
    best.as_nanos() as f64 / puts as f64
}

fn expected_sum() -> u64 {
    let (slots, rounds) = (SLOTS as u64, ROUNDS as u64);
    rounds * slots * (slots - 1) / 2 + rounds * (rounds - 1) / 2
}
