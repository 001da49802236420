//! The whole record plane over real files: rings in, store out, with crashes and full disks between.

use bytes::Bytes;

use super::*;
use crate::base::id::ExchangeId;
use crate::base::ring::Room;
use crate::llm::dialect::Dialect;
use crate::llm::reading::ToolUse;
use crate::record::record::{BodyKind, CaptureState, Open, Outcome, Record};
use crate::record::store::verify::verify;
use crate::record::store::{Filter, GroupBy, Reader, rebuild};

const NO_ROOM: Room = Room { parts: 0, bytes: 0 };

fn options() -> Options {
    Options { socket: false, retry_for: Duration::from_secs(1), ..Options::default() }
}

fn start(dir: &Path, options: Options) -> (Producer, Writer) {
    let (producer, consumer) = ring::lanes(256, 256, 8 << 20);
    let writer = Writer::open(dir, vec![consumer], options).unwrap();
    (producer, writer)
}

fn id(n: u64) -> ExchangeId {
    ExchangeId::new(1_700_000_000_000_000 + n * 1000, 0, 1, n)
}

fn open_note(n: u64) -> Note {
    let mut open = Open { id: id(n), accepted_at_us: 1_700_000_000_000_000 + n * 1000, ..Open::default() };
    open.who.principal = "ann".to_owned();
    open.caller.session = "s1".to_owned();
    open.model = Some("claude".to_owned());
    Note::Open(Box::new(open))
}

fn record(n: u64) -> Record {
    let mut record = Record {
        id: id(n),
        outcome: Outcome::Ok,
        status: 200,
        provider: "acme".to_owned(),
        ..Record::default()
    };
    record.times.accepted_at_us = 1_700_000_000_000_000 + n * 1000;
    record.times.last_byte_us = 500;
    record.who.principal = "ann".to_owned();
    record.caller.agent = "claude-code".to_owned();
    record.caller.session = "s1".to_owned();
    record.caller.turn = true;
    record.dialect = Some(Dialect::Messages);
    record.ask.model = Some("claude".to_owned());
    record.reading.usage.input_tokens = Some(100 + n);
    record.reading.usage.output_tokens = Some(10);
    record.reading.tool_uses =
        vec![ToolUse { name: "Bash".to_owned(), kind: "tool_use".to_owned(), ..ToolUse::default() }];
    record.capture = CaptureState::Full;
    record
}

fn close_note(n: u64) -> Note {
    Note::Close(Box::new(record(n)))
}

fn part(n: u64, kind: BodyKind, bytes: &[u8]) -> (CapturePart, usize) {
    (CapturePart { id: id(n), kind, bytes: Bytes::copy_from_slice(bytes) }, bytes.len())
}

/// One exchange with a 20 KB request and a response in three pieces.
fn put_exchange(producer: &mut Producer, n: u64) {
    let held = producer.open(open_note(n), NO_ROOM).unwrap();
    let (request, len) = part(n, BodyKind::Request, format!("question {n} ").repeat(2_000).as_bytes());
    producer.capture(request, len).unwrap();
    for piece in ["answer ", &n.to_string(), " end"] {
        let (piece, len) = part(n, BodyKind::Response, piece.as_bytes());
        producer.capture(piece, len).unwrap();
    }
    producer.close(close_note(n), Some(held)).unwrap();
}

fn assert_shown(reader: &Reader, n: u64) {
    let shown = reader.show(&id(n).to_string()).unwrap().unwrap();
    assert_eq!(shown.record, record(n));
    assert_eq!(shown.request_body.unwrap(), format!("question {n} ").repeat(2_000).as_bytes());
    assert_eq!(shown.response_body.unwrap(), format!("answer {n} end").as_bytes());
}

#[test]
fn what_a_core_puts_stands_in_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let (mut producer, mut writer) = start(dir.path(), options());
    let rows = writer.tail().subscribe(100);
    for n in 0..10 {
        put_exchange(&mut producer, n);
    }
    let now = clock::now();
    assert!(writer.turn(now));
    assert!(rows.try_recv().is_err(), "the batch is not old enough");
    writer.turn(now.plus(Duration::from_millis(150)));
    assert_eq!(rows.try_iter().count(), 10);
    assert_eq!(producer.part_bytes_in_flight(), 0, "the room is given back");

    let reader = Reader::open(dir.path()).unwrap();
    (0..10).for_each(|n| assert_shown(&reader, n));
    let total = &reader.usage(&Filter::default(), GroupBy::Total).unwrap()[0];
    assert_eq!((total.exchanges, total.ok, total.tool_calls), (10, 10, 10));
    assert_eq!((total.usage.input_tokens, total.usage.output_tokens), (Some(1045), Some(100)));
    assert_eq!(total.usage.cache_read_tokens, None, "unknown is not zero");
    assert_eq!(reader.in_flight(10).unwrap(), []);
    let view = writer.health().view();
    assert_eq!((view.records, view.batches, view.lost_total, view.open, view.failing), (10, 1, 0, 0, false));
    let report = verify(dir.path()).unwrap();
    assert_eq!((report.findings, report.records, report.indexed), (vec![], 10, Some(10)));
}

#[test]
fn a_crash_loses_at_most_the_unsynced_batch_and_open_exchanges_get_a_record() {
    let dir = tempfile::tempdir().unwrap();
    let (mut producer, mut writer) = start(dir.path(), options());
    put_exchange(&mut producer, 1);
    let held = producer.open(open_note(2), NO_ROOM).unwrap();
    let (request, len) = part(2, BodyKind::Request, &[b'q'; 20_000]);
    producer.capture(request, len).unwrap();
    let now = clock::now();
    writer.turn(now);
    writer.turn(now.plus(Duration::from_secs(2)));
    let flying = Reader::open(dir.path()).unwrap().in_flight(10).unwrap();
    assert_eq!(flying.len(), 1);
    assert_eq!((flying[0].id.clone(), flying[0].principal.as_str()), (id(2).to_string(), "ann"));
    // Taken, not written: this is what a crash may take.
    put_exchange(&mut producer, 3);
    writer.turn(now.plus(Duration::from_secs(2)));
    drop((held, writer));

    let (_producer, mut writer) = start(dir.path(), options());
    writer.finish();
    let reader = Reader::open(dir.path()).unwrap();
    assert_shown(&reader, 1);
    let lost = reader.show(&id(2).to_string()).unwrap().unwrap();
    assert_eq!((lost.record.outcome, lost.record.who.principal.as_str()), (Outcome::GatewayLost, "ann"));
    assert!(lost.request_body == Some(vec![b'q'; 20_000]), "what was stored before the crash is kept");
    assert_eq!(reader.show(&id(3).to_string()).unwrap(), None);
    assert_eq!(reader.in_flight(10).unwrap(), []);
    assert!(verify(dir.path()).unwrap().is_clean());
    // A third start has nothing left to account for.
    drop(writer);
    let (_producer, writer) = start(dir.path(), options());
    assert_eq!(writer.health().view().records, 0);
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_the_store_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (mut producer, mut writer) = start(dir.path(), options());
    put_exchange(&mut producer, 1);
    writer.finish();
    let log = Layout::of(dir.path()).segment(Kind::Log, 1);
    let whole = std::fs::read(&log).unwrap();
    put_exchange(&mut producer, 2);
    writer.finish();
    drop((producer, writer));
    let both = std::fs::read(&log).unwrap();
    let mut tails = 0;
    for cut in (whole.len() + 1..both.len()).step_by(23) {
        std::fs::write(&log, &both[..cut]).unwrap();
        let (_producer, mut writer) = start(dir.path(), options());
        writer.finish();
        tails += 1;
        // The batch had been acknowledged (its row was in the index), so its end is not only torn but lost.
        assert_eq!(
            writer.health().view().lost_total,
            u64::from(tails == 1),
            "counted once, at the first start"
        );
        let reader = Reader::open(dir.path()).unwrap();
        assert_shown(&reader, 1);
        assert_eq!(reader.show(&id(2).to_string()).unwrap(), None, "the index forgets what the log lost");
        drop(writer);
        let report = verify(dir.path()).unwrap();
        assert_eq!(report.findings, vec![], "cut at {cut}");
    }
    assert!(tails > 10);
}

#[test]
fn the_index_can_be_thrown_away_and_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut producer, mut writer) = start(dir.path(), options());
    for n in 0..5 {
        put_exchange(&mut producer, n);
        writer.finish();
    }
    let _held = producer.open(open_note(9), NO_ROOM).unwrap();
    writer.finish();
    drop(writer);
    let before = everything(dir.path());
    assert_eq!(rebuild(dir.path()).unwrap().lines, 6);
    assert_eq!(everything(dir.path()), before);
    std::fs::write(dir.path().join("index.db"), b"this is not a database, it only looks like a file of one")
        .unwrap();
    drop(start(dir.path(), options()).1);
    assert!(Reader::open(dir.path()).unwrap().show(&id(4).to_string()).unwrap().is_some());
}

fn everything(dir: &Path) -> String {
    let reader = Reader::open(dir).unwrap();
    let all = Filter::default();
    let hours = reader.usage(&all, GroupBy::Hour).unwrap();
    let tools = reader.tools(&all, 10).unwrap();
    let sessions = reader.sessions(&all, 10).unwrap();
    let rows = reader.requests(&all, 100, None).unwrap();
    serde_json::to_string(&(hours, tools, sessions, rows, reader.in_flight(10).unwrap())).unwrap()
}

#[test]
fn a_full_ring_sheds_bodies_before_records_and_every_loss_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (mut producer, consumer) = ring::lanes(8, 4, 1 << 20);
    let mut writer = Writer::open(dir.path(), vec![consumer], options()).unwrap();
    for n in 0..12 {
        let (piece, len) = part(n, BodyKind::Response, b"body");
        let mut record = record(n);
        if producer.capture(piece, len).is_err() {
            record.capture = CaptureState::Shed;
        }
        let _ = producer.note(Note::Close(Box::new(record)));
    }
    writer.finish();
    let view = writer.health().view();
    assert_eq!((view.records, view.lost_total, view.shed_total), (8, 4, 8));
    drop((producer, writer));
    // The counts are durable, and the log itself knows them.
    let (_producer, writer) = start(dir.path(), options());
    assert_eq!(writer.health().view().lost_total, 4);
    assert_eq!(verify(dir.path()).unwrap().records_lost, 4);
    assert_eq!(Reader::open(dir.path()).unwrap().overview(&Filter::default()).unwrap().records_lost, 4);
}

#[test]
fn a_full_disk_costs_bodies_first_then_records_and_never_the_gateway() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::of(dir.path());
    layout.create().unwrap();
    let (content, log) = (layout.segment(Kind::Content, 1), layout.segment(Kind::Log, 1));
    std::os::unix::fs::symlink("/dev/full", &content).unwrap();
    let (mut producer, mut writer) = start(dir.path(), options());
    put_exchange(&mut producer, 1);
    let start = clock::now();
    let after = |ms| start.plus(Duration::from_millis(ms));
    writer.turn(start);
    writer.turn(after(1_500));
    let view = writer.health().view();
    assert!(view.failing && view.records == 0);
    assert!(view.last_error.unwrap().contains("content segments failed: No space left"));
    // Tried for its time, then the record goes without its bodies.
    writer.turn(after(5_000));
    let reader = Reader::open(dir.path()).unwrap();
    let shown = reader.show(&id(1).to_string()).unwrap().unwrap();
    assert_eq!((shown.record.capture, shown.request_body), (CaptureState::Shed, None));
    assert_eq!((writer.health().view().failing, writer.health().view().records), (false, 1));

    // Now the log cannot be written either: the batch is lost after its time, and counted once there is room again.
    std::fs::remove_file(&content).unwrap();
    let kept = dir.path().join("kept");
    drop(writer);
    std::fs::rename(&log, &kept).unwrap();
    std::os::unix::fs::symlink("/dev/full", layout.segment(Kind::Log, 2)).unwrap();
    std::fs::rename(&kept, &log).unwrap();
    let (mut producer, mut writer) = super::tests::start(dir.path(), options());
    put_exchange(&mut producer, 2);
    writer.turn(start);
    writer.turn(after(200));
    assert!(writer.health().view().failing);
    writer.turn(after(10_000));
    writer.turn(after(10_001));
    assert_eq!(writer.health().view().lost_total, 1);
    std::fs::remove_file(layout.segment(Kind::Log, 2)).unwrap();
    put_exchange(&mut producer, 3);
    writer.finish();
    assert_shown(&reader, 3);
    assert_eq!(reader.overview(&Filter::default()).unwrap().records_lost, 1);
    assert!(verify(dir.path()).unwrap().findings.is_empty(), "{:?}", verify(dir.path()).unwrap().findings);
}

#[test]
fn an_index_that_fails_catches_up_from_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (mut producer, mut writer) = start(dir.path(), options());
    put_exchange(&mut producer, 1);
    writer.finish();
    // Somebody holds the index for writing.
    let other = rusqlite::Connection::open(dir.path().join("index.db")).unwrap();
    writer.index.do_not_wait();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    put_exchange(&mut producer, 2);
    writer.finish();
    let view = writer.health().view();
    assert_eq!((view.records, view.lost_total, view.failing, view.index_behind), (2, 0, true, 1));
    other.execute_batch("ROLLBACK").unwrap();
    writer.turn(clock::now().plus(Duration::from_secs(1)));
    assert_shown(&Reader::open(dir.path()).unwrap(), 2);
    assert!(!writer.health().view().failing);
}

#[test]
fn at_a_clean_end_the_index_is_tried_without_a_pause() {
    let dir = tempfile::tempdir().unwrap();
    let (mut producer, mut writer) = start(dir.path(), options());
    let other = rusqlite::Connection::open(dir.path().join("index.db")).unwrap();
    writer.index.do_not_wait();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    put_exchange(&mut producer, 1);
    writer.finish();
    assert_eq!(writer.health().view().index_behind, 1);
    other.execute_batch("ROLLBACK").unwrap();
    writer.finish();
    assert_shown(&Reader::open(dir.path()).unwrap(), 1);
    assert_eq!(writer.health().view().index_behind, 0);
}

#[test]
fn two_gateways_cannot_write_one_store() {
    let dir = tempfile::tempdir().unwrap();
    let (_producer, writer) = start(dir.path(), options());
    let refused = Writer::open(dir.path(), Vec::new(), options()).err().unwrap().to_string();
    assert!(refused.contains("another gateway writes to"), "{refused}");
    drop(writer);
    start(dir.path(), options());
}

#[test]
fn a_batch_handed_in_is_answered_when_it_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let (_producer, mut writer) = start(dir.path(), Options { socket: true, ..options() });
    let socket = Layout::of(dir.path()).socket();
    let peer = std::thread::spawn(move || {
        let parts = [part(1, BodyKind::Request, b"from elsewhere").0];
        handover::send(&socket, &[open_note(1), close_note(1)], &parts)
    });
    while !peer.is_finished() {
        writer.turn(clock::now());
        clock::pause(Duration::from_millis(1));
    }
    assert_eq!(peer.join().unwrap().unwrap(), 1);
    let shown = Reader::open(dir.path()).unwrap().show(&id(1).to_string()).unwrap().unwrap();
    assert_eq!(shown.request_body.unwrap(), b"from elsewhere");
}

#[test]
fn the_thread_ends_when_told_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (mut producer, writer) = start(dir.path(), options());
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let thread = std::thread::spawn(move || writer.run(&stopped));
    for n in 0..50 {
        put_exchange(&mut producer, n);
    }
    stop.store(true, Ordering::Release);
    thread.join().unwrap();
    assert!(producer.is_abandoned());
    assert_eq!(Reader::open(dir.path()).unwrap().requests(&Filter::default(), 100, None).unwrap().len(), 50);
}

/// Where the child of the next test writes; unset in an ordinary run.
const CHILD_DIR: &str = "WEIR_TEST_KILLED_WRITER_DIR";

#[test]
fn a_killed_process_loses_nothing_that_it_called_durable() {
    let dir = tempfile::tempdir().unwrap();
    let mut durable = 0;
    for round in 0..3 {
        let told = told_before_kill(dir.path(), 40 + round * 35);
        durable += told.len();
        let (producer, mut writer) = start(dir.path(), options());
        writer.finish();
        drop((producer, writer));
        let report = verify(dir.path()).unwrap();
        assert_eq!(report.findings, vec![], "after round {round}");
        assert!(report.records >= durable as u64);
        let reader = Reader::open(dir.path()).unwrap();
        for id in told {
            let shown = reader.show(&id).unwrap().expect("what was called durable is there");
            assert_eq!(shown.record.outcome, Outcome::Ok);
            assert!(shown.request_body.is_some_and(|body| body.len() > 20_000));
        }
        // Every exchange that was open is closed by now, as lost.
        assert_eq!(reader.in_flight(10).unwrap(), []);
        let lost = Filter { outcome: Some(Outcome::GatewayLost), ..Filter::default() };
        assert!(reader.requests(&lost, 1000, None).unwrap().len() > round);
    }
}

/// Run a writer in a process of its own and kill it once it has called `enough` records durable. Returns all it did.
fn told_before_kill(dir: &Path, enough: usize) -> Vec<String> {
    use std::io::BufRead;
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "record::writer::tests::writes_until_killed", "--nocapture"])
        .env(CHILD_DIR, dir)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = Vec::new();
    for line in std::io::BufReader::new(child.stdout.take().unwrap()).lines() {
        told.extend(line.unwrap().strip_prefix("durable ").map(str::to_owned));
        if told.len() == enough {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(told.len() >= enough, "the child ended by itself after {} records", told.len());
    told
}

/// The child's part of the test above; does nothing in an ordinary run.
#[test]
fn writes_until_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let (mut producer, mut writer) =
        start(Path::new(&dir), Options { batch_age: (Duration::ZERO, Duration::ZERO), ..options() });
    let rows = writer.tail().subscribe(1000);
    // Numbers of this process alone.
    let first = clock::wall() % 1_000_000_000;
    let mut left_open = Vec::new();
    for n in first..first + 100_000 {
        put_exchange(&mut producer, n * 2);
        left_open.extend(producer.open(open_note(n * 2 + 1), NO_ROOM).ok().filter(|_| n % 10 == 0));
        writer.turn(clock::now());
        for row in rows.try_iter() {
            println!("durable {}", row.id);
        }
    }
}
