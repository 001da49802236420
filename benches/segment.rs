//! How fast does the writer write, and how small? Blocks alone, the whole record plane, and the index.
//!
//! `cargo bench --bench segment`. CPU time of the process, since the disk is not what is measured; every figure is
//! checked against what is read back.

#![allow(clippy::disallowed_methods, reason = "a bench reads the clock itself")]

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use weir::base::clock;
use weir::base::id::ExchangeId;
use weir::base::ring::{self, Room};
use weir::llm::dialect::Dialect;
use weir::record::record::{BodyKind, CapturePart, CaptureState, Note, Open, Outcome, Record};
use weir::record::segment::{Decoder, Encoder, Found, Head, Kind, Walk};
use weir::record::store::verify::verify;
use weir::record::store::{Filter, GroupBy, Reader};
use weir::record::writer::{Options, Producer, Writer};

fn main() {
    blocks("own-bodies", 3, &unrelated(48, 200_000));
    blocks("own-bodies", 1, &unrelated(48, 200_000));
    blocks("session-bodies", 3, &sessions(6, 20));
    store("own-bodies", &unrelated(600, 200_000), None);
    store("session-bodies", &sessions(24, 40), Some(24));
    store("session-bodies-200", &sessions(200, 40), Some(200));
    small_records(60_000);
}

/// Raw bytes → blocks of 4 MiB, and back.
fn blocks(name: &str, level: i32, bodies: &[Vec<u8>]) {
    let name = format!("{name}/{level}");
    let raw = bodies.concat();
    let mut encoder = Encoder::new(Kind::Content, 1, Head::default(), level).unwrap();
    let mut out = Vec::new();
    let (cpu, _) = timed(|| {
        for piece in raw.chunks(4 << 20) {
            encoder.encode(piece, 0, &mut out).unwrap();
        }
    });
    println!(
        "segment/encode/{name:<16} {:7.0} MB/s raw   ratio {:5.1}",
        rate(raw.len(), cpu),
        ratio(raw.len(), out.len())
    );
    let mut back = Vec::with_capacity(raw.len());
    let (cpu, _) = timed(|| {
        let (mut walk, mut decoder) = (Walk::new(&out[..]).unwrap(), Decoder::new().unwrap());
        while let Some((_, found)) = walk.step().unwrap() {
            let Found::Block(header) = found else { panic!("{found:?}") };
            back.extend_from_slice(&decoder.decode(&header, walk.payload()).unwrap());
        }
    });
    assert!(back == raw, "what comes back is what went in");
    println!("segment/decode/{name:<16} {:7.0} MB/s raw", rate(raw.len(), cpu));
}

/// Ring → writer → segments, synced → index: everything the record plane does.
fn store(name: &str, bodies: &[Vec<u8>], sessions: Option<u64>) {
    let dir = tempfile::tempdir().unwrap();
    let (mut producer, mut writer) = start(dir.path());
    let raw: usize = bodies.iter().map(Vec::len).sum();
    let (cpu, wall) = timed(|| {
        for (n, body) in bodies.iter().enumerate() {
            let session =
                sessions.map(|sessions| format!("session-{}", n as u64 % sessions)).unwrap_or_default();
            put(&mut producer, &mut writer, n as u64, session, Some(body));
        }
        writer.finish();
    });
    let view = writer.health().view();
    assert_eq!((view.records, view.lost_total, view.shed_total), (bodies.len() as u64, 0, 0));
    drop(writer);
    println!(
        "record/store/{name:<18} {:7.0} MB/s raw   ratio {:5.1}   {:6.0} records/s of CPU   {:4.0} MB/s of wall",
        rate(raw, cpu),
        ratio(raw, view.bytes_stored as usize),
        bodies.len() as f64 / cpu.as_secs_f64(),
        rate(raw, wall),
    );
    let reader = Reader::open(dir.path()).unwrap();
    for (n, body) in bodies.iter().enumerate().step_by(97) {
        let shown = reader.show(&id(n as u64).to_string()).unwrap().unwrap();
        assert!(shown.request_body.as_ref() == Some(body), "body {n} comes back as it went");
    }
    assert_eq!(verify(dir.path()).unwrap().findings, vec![]);
}

/// Records without bodies: the log's lines and the index.
fn small_records(count: u64) {
    let dir = tempfile::tempdir().unwrap();
    let (mut producer, mut writer) = start(dir.path());
    let (cpu, wall) = timed(|| {
        for n in 0..count {
            put(&mut producer, &mut writer, n, format!("session-{}", n % 200), None);
        }
        writer.finish();
    });
    drop(writer);
    println!(
        "record/store/no-bodies          {:7.0} records/s of CPU   {:7.0} of wall",
        count as f64 / cpu.as_secs_f64(),
        count as f64 / wall.as_secs_f64(),
    );
    let reader = Reader::open(dir.path()).unwrap();
    let total = &reader.usage(&Filter::default(), GroupBy::Total).unwrap()[0];
    assert_eq!((total.exchanges, total.usage.input_tokens), (count, Some(count * (count - 1) / 2)));
}

fn start(dir: &Path) -> (Producer, Writer) {
    let (producer, consumer) = ring::lanes(8192, 8192, 64 << 20);
    let options = Options { socket: false, ..Options::default() };
    (producer, Writer::open(dir, vec![consumer], options).unwrap())
}

fn put(producer: &mut Producer, writer: &mut Writer, n: u64, session: String, body: Option<&Vec<u8>>) {
    let mut record =
        Record { id: id(n), outcome: Outcome::Ok, status: 200, provider: "acme".into(), ..Record::default() };
    record.times.accepted_at_us = clock::wall();
    record.caller.session = session;
    record.who.principal = format!("user-{}", record.caller.session);
    record.caller.agent = "claude-code".into();
    record.dialect = Some(Dialect::Messages);
    record.path = "/v1/messages".into();
    record.ask.model = Some("claude-sonnet".into());
    record.reading.usage.input_tokens = Some(n);
    record.reading.usage.output_tokens = Some(7);
    record.request_headers = [("content-type", "application/json"); 8].into_iter().collect();
    let open =
        Open { id: record.id, who: record.who.clone(), caller: record.caller.clone(), ..Open::default() };
    let held = producer.open(Note::Open(Box::new(open)), Room::default()).unwrap();
    if let Some(body) = body {
        record.capture = CaptureState::Full;
        let bytes = Bytes::copy_from_slice(body);
        producer.capture(CapturePart { id: id(n), kind: BodyKind::Request, bytes }, body.len()).unwrap();
    }
    producer.close(Note::Close(Box::new(record)), Some(held)).unwrap();
    while producer.notes_waiting() > 4096 || producer.part_bytes_in_flight() > 32 << 20 {
        writer.turn(clock::now());
    }
}

fn id(n: u64) -> ExchangeId {
    ExchangeId::new(1_700_000_000_000_000, 0, 1, n)
}

/// Bodies that have nothing in common but the language.
fn unrelated(count: usize, len: usize) -> Vec<Vec<u8>> {
    let mut words = Words::new();
    (0..count).map(|_| words.text(len).into_bytes()).collect()
}

/// Agents that resend their whole history each turn, turns of all sessions interleaved.
fn sessions(count: usize, turns: usize) -> Vec<Vec<u8>> {
    let mut words = Words::new();
    let mut histories: Vec<String> = (0..count).map(|_| words.text(60_000)).collect();
    let mut bodies = Vec::new();
    for _ in 0..turns {
        for history in &mut histories {
            history.push_str(&words.text(6_000));
            bodies.push(history.clone().into_bytes());
        }
    }
    bodies
}

/// Prose of a sort: a few thousand words, the short ones more often.
struct Words {
    state: u64,
    words: Vec<String>,
}

impl Words {
    fn new() -> Words {
        let mut words = Words { state: 42, words: Vec::new() };
        words.words = (0..4000).map(|_| words.word()).collect();
        words
    }

    fn word(&mut self) -> String {
        let len = 2 + self.next() % 9;
        (0..len).map(|_| char::from(b'a' + (self.next() % 26) as u8)).collect()
    }

    fn text(&mut self, len: usize) -> String {
        let mut text = String::with_capacity(len + 16);
        while text.len() < len {
            // The square of an even draw favours the front of the list.
            let draw = self.next() % 4000;
            let word = (draw * draw / 4000) as usize;
            text.push_str(&self.words[word]);
            text.push(if draw.is_multiple_of(12) { '\n' } else { ' ' });
        }
        text.truncate(len);
        text
    }

    fn next(&mut self) -> u64 {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.state >> 33
    }
}

/// CPU and wall time of a piece of work.
fn timed(work: impl FnOnce()) -> (Duration, Duration) {
    let (cpu, wall) = (cpu(), Instant::now());
    work();
    (cpu_since(cpu), wall.elapsed())
}

fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn cpu_since(before: Duration) -> Duration {
    cpu() - before
}

fn rate(bytes: usize, took: Duration) -> f64 {
    bytes as f64 / 1e6 / took.as_secs_f64()
}

fn ratio(raw: usize, stored: usize) -> f64 {
    raw as f64 / stored as f64
}
