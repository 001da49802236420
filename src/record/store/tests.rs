//! Answers held against a plain count over the same records, and a store that was tampered with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::entry::Entry;
use super::index::{Item, Position};
use super::schema::HOUR_US;
use super::verify::{VerifyReport, verify};
use super::*;
use crate::base::clock;
use crate::base::id::ExchangeId;
use crate::base::ring;
use crate::llm::dialect::Dialect;
use crate::llm::reading::ToolUse;
use crate::record::record::{CapturePart, CaptureState, Note, Outcome, Record};
use crate::record::segment::{Encoder, HEADER_BYTES, Head, Header, Kind};
use crate::record::writer::{Options, Writer};

const START: u64 = 1_700_000_000_000_000;

/// Seeded draws: a failure names the seed in its message.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn one_of<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }

    fn maybe(&mut self, one_in: u64, n: u64) -> Option<u64> {
        (self.below(one_in) > 0).then(|| self.below(n))
    }
}

fn drawn_record(draw: &mut Draw, n: u64) -> Record {
    let mut record = Record { id: ExchangeId(u128::from(n)), ..Record::default() };
    // Times on the hour and beside it, where ranges are cut.
    record.times.accepted_at_us =
        START / HOUR_US * HOUR_US + draw.below(60) * HOUR_US + draw.below(3) * (HOUR_US / 2);
    record.times.last_byte_us = draw.below(5_000_000);
    record.outcome = Outcome::ALL[usize::try_from(draw.below(7)).unwrap()];
    record.status = [200, 429, 500, 0][usize::try_from(draw.below(4)).unwrap()];
    record.who.principal = draw.one_of(&["ann", "bob", ""]).to_owned();
    record.caller.agent = draw.one_of(&["claude-code", "codex", ""]).to_owned();
    record.caller.session = draw.one_of(&["s1", "s2", "s3", ""]).to_owned();
    record.caller.turn = draw.below(2) == 0;
    record.provider = draw.one_of(&["acme", "globex"]).to_owned();
    record.dialect = (draw.below(4) > 0).then_some(Dialect::Chat);
    record.ask.model = Some(draw.one_of(&["m1", "m2"]).to_owned());
    record.reading.model = draw.maybe(3, 2).map(|n| format!("m{}", n + 1));
    record.reading.usage.input_tokens = draw.maybe(3, 1000);
    record.reading.usage.output_tokens = draw.maybe(3, 1000);
    record.reading.usage.cache_read_tokens = draw.maybe(10, 1 << 50).filter(|_| n.is_multiple_of(50));
    for _ in 0..draw.below(4) {
        let name = draw.one_of(&["Bash", "Read", "Edit"]).to_owned();
        record.reading.tool_uses.push(ToolUse { name, kind: "tool_use".to_owned(), ..ToolUse::default() });
    }
    record.bytes.request_received = draw.below(1000);
    record
}

fn drawn_filter(draw: &mut Draw) -> Filter {
    let half_hours = |draw: &mut Draw| START / HOUR_US * HOUR_US + draw.below(130) * (HOUR_US / 2);
    let mut filter = Filter::default();
    for _ in 0..draw.below(3) {
        match draw.below(10) {
            0 => filter.since = Some(half_hours(draw)),
            1 => filter.until = Some(half_hours(draw)),
            2 => filter.principal = Some(draw.one_of(&["ann", "bob", ""]).to_owned()),
            3 => filter.agent = Some(draw.one_of(&["codex", ""]).to_owned()),
            4 => filter.session = Some(draw.one_of(&["s1", "s2", ""]).to_owned()),
            5 => filter.model = Some(draw.one_of(&["m1", "m2", "m3"]).to_owned()),
            6 => filter.provider = Some(draw.one_of(&["acme", "none"]).to_owned()),
            7 => filter.outcome = Some(Outcome::ALL[usize::try_from(draw.below(7)).unwrap()]),
            8 => filter.tool = Some(draw.one_of(&["Bash", "Read", "Nope"]).to_owned()),
            _ => filter.status = Some([200, 429][usize::try_from(draw.below(2)).unwrap()]),
        }
    }
    filter
}

fn model(record: &Record) -> &str {
    record.reading.model.as_deref().or(record.ask.model.as_deref()).unwrap_or("")
}

fn passes(filter: &Filter, record: &Record) -> bool {
    let is = |wanted: &Option<String>, has: &str| wanted.as_deref().is_none_or(|wanted| wanted == has);
    let at = record.times.accepted_at_us;
    filter.since.is_none_or(|since| at >= since)
        && filter.until.is_none_or(|until| at < until)
        && is(&filter.principal, &record.who.principal)
        && is(&filter.agent, &record.caller.agent)
        && is(&filter.session, &record.caller.session)
        && is(&filter.model, model(record))
        && is(&filter.provider, &record.provider)
        && filter.outcome.is_none_or(|outcome| outcome == record.outcome)
        && filter.status.is_none_or(|status| status == record.status)
        && filter
            .tool
            .as_ref()
            .is_none_or(|tool| record.reading.tool_uses.iter().any(|call| call.name == *tool))
}

/// Groups an exchange counts in.
fn keys(record: &Record, by: GroupBy, filter: &Filter) -> BTreeSet<String> {
    let hour = |step: u64| {
        let at = i64::try_from(record.times.accepted_at_us / step * step).unwrap();
        jiff::Timestamp::from_microsecond(at).unwrap().to_string()
    };
    match by {
        GroupBy::Total => [String::new()].into(),
        GroupBy::Model => [model(record).to_owned()].into(),
        GroupBy::Agent => [record.caller.agent.clone()].into(),
        GroupBy::Principal => [record.who.principal.clone()].into(),
        GroupBy::Provider => [record.provider.clone()].into(),
        GroupBy::Session => [record.caller.session.clone()].into(),
        GroupBy::Outcome => [record.outcome.name().to_owned()].into(),
        GroupBy::Hour => [hour(HOUR_US)].into(),
        GroupBy::Day => [hour(24 * HOUR_US)].into(),
        GroupBy::Tool => {
            let names = record.reading.tool_uses.iter().map(|call| call.name.clone());
            names.filter(|name| filter.tool.as_ref().is_none_or(|tool| tool == name)).collect()
        }
    }
}

type Counted = (u64, u64, u64, Option<u64>, Option<u64>, u64, u64);

fn counted(records: &[Record], filter: &Filter, by: GroupBy) -> BTreeMap<String, Counted> {
    let mut groups: BTreeMap<String, Counted> = BTreeMap::new();
    let add = |sum: &mut Option<u64>, count: Option<u64>| {
        if let Some(count) = count {
            *sum = Some(sum.unwrap_or(0) + count.min(1 << 40));
        }
    };
    for record in records.iter().filter(|record| passes(filter, record)) {
        for key in keys(record, by, filter) {
            let calls = record
                .reading
                .tool_uses
                .iter()
                .filter(|call| by != GroupBy::Tool || call.name == key)
                .count();
            let group = groups.entry(key).or_default();
            group.0 += 1;
            group.1 += u64::from(record.outcome == Outcome::Ok);
            group.2 += u64::from(record.outcome == Outcome::Refused);
            add(&mut group.3, record.reading.usage.input_tokens);
            add(&mut group.4, record.reading.usage.cache_read_tokens);
            group.5 += calls as u64;
            group.6 += record.times.last_byte_us;
        }
    }
    groups
}

fn indexed(records: &[Record]) -> (tempfile::TempDir, Reader) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::of(dir.path());
    layout.create().unwrap();
    let mut index = Index::open(&layout).unwrap();
    for batch in records.chunks(37) {
        let entries: Vec<Entry> = batch.iter().map(Entry::of).collect();
        let items: Vec<Item> = entries.iter().map(|entry| Item::Close(entry, LinePlace::default())).collect();
        index.apply(&items, Position::default()).unwrap();
    }
    let reader = Reader::open(dir.path()).unwrap();
    (dir, reader)
}

const GROUPINGS: [GroupBy; 10] = [
    GroupBy::Total,
    GroupBy::Model,
    GroupBy::Agent,
    GroupBy::Principal,
    GroupBy::Provider,
    GroupBy::Tool,
    GroupBy::Session,
    GroupBy::Outcome,
    GroupBy::Hour,
    GroupBy::Day,
];

#[test]
fn usage_equals_a_plain_count_whatever_is_asked() {
    let mut draw = Draw(7);
    let records: Vec<Record> = (0..600).map(|n| drawn_record(&mut draw, n)).collect();
    let (_dir, reader) = indexed(&records);
    for round in 0..120 {
        let filter = if round == 0 { Filter::default() } else { drawn_filter(&mut draw) };
        for by in GROUPINGS {
            let rows = reader.usage(&filter, by).unwrap();
            let answered: BTreeMap<String, Counted> = rows
                .iter()
                .map(|row| {
                    let tokens = (row.usage.input_tokens, row.usage.cache_read_tokens);
                    let counts = (
                        row.exchanges,
                        row.ok,
                        row.refused,
                        tokens.0,
                        tokens.1,
                        row.tool_calls,
                        row.duration_us,
                    );
                    (row.key.clone(), counts)
                })
                .collect();
            assert_eq!(answered, counted(&records, &filter, by), "{by:?} of {filter:?}");
        }
    }
}

#[test]
fn lists_equal_a_plain_filter_and_pages_join() {
    let mut draw = Draw(11);
    let records: Vec<Record> = (0..300).map(|n| drawn_record(&mut draw, n)).collect();
    let (_dir, reader) = indexed(&records);
    for _ in 0..100 {
        let filter = drawn_filter(&mut draw);
        let wanted: BTreeSet<String> = records
            .iter()
            .filter(|record| passes(&filter, record))
            .map(|record| record.id.to_string())
            .collect();
        let (mut paged, mut before): (Vec<RequestRow>, _) = (Vec::new(), None);
        loop {
            let page = reader.requests(&filter, 13, before).unwrap();
            before = page.last().map(|row| row.cursor);
            if before.is_none() {
                break;
            }
            paged.extend(page);
        }
        assert!(paged.is_sorted_by_key(|row| std::cmp::Reverse((row.accepted_at_us, row.cursor))));
        assert_eq!(paged.iter().map(|row| row.id.clone()).collect::<BTreeSet<_>>(), wanted, "{filter:?}");
        assert_eq!(paged.len(), wanted.len(), "no row twice");
        let tailed = reader.tail(&filter, Some(0), 1000).unwrap();
        assert_eq!(tailed.iter().map(|row| row.id.clone()).collect::<BTreeSet<_>>(), wanted, "{filter:?}");
        let last = reader.tail(&filter, None, 5).unwrap();
        assert_eq!(last, tailed[tailed.len().saturating_sub(5)..]);
    }
}

#[test]
fn sessions_tools_and_overview_add_up() {
    let mut draw = Draw(13);
    let records: Vec<Record> = (0..300).map(|n| drawn_record(&mut draw, n)).collect();
    let (_dir, reader) = indexed(&records);
    let all = Filter::default();
    let sessions = reader.sessions(&all, 100).unwrap();
    let with_session = records.iter().filter(|record| !record.caller.session.is_empty());
    assert_eq!(sessions.iter().map(|row| row.exchanges).sum::<u64>(), with_session.clone().count() as u64);
    assert_eq!(
        sessions.iter().map(|row| row.turns).sum::<u64>(),
        with_session.filter(|record| record.caller.turn).count() as u64
    );
    let of_ann = Filter { principal: Some("ann".to_owned()), status: Some(429), ..Filter::default() };
    assert!(reader.sessions(&of_ann, 100).unwrap().iter().all(|row| row.principal == "ann"));
    let tools = reader.tools(&all, 100).unwrap();
    let calls: usize = records.iter().map(|record| record.reading.tool_uses.len()).sum();
    assert_eq!(tools.iter().map(|row| row.calls).sum::<u64>(), calls as u64);
    let overview = reader.overview(&all).unwrap();
    assert_eq!((overview.total.exchanges, overview.principals), (300, 2));
    assert_eq!(overview.sessions, sessions.len() as u64);
    assert_eq!(overview.outcomes.iter().map(|row| row.exchanges).sum::<u64>(), 300);
}

#[test]
fn a_provider_that_claims_absurd_counts_overflows_nothing() {
    let mut record = Record { outcome: Outcome::Ok, ..Record::default() };
    record.reading.usage.output_tokens = Some(u64::MAX);
    let records = vec![record; 40];
    let (_dir, reader) = indexed(&records);
    let total = &reader.usage(&Filter::default(), GroupBy::Total).unwrap()[0];
    assert_eq!(total.usage.output_tokens, Some(40 << 40));
    assert!(reader.sessions(&Filter::default(), 10).is_ok());
}

#[test]
fn no_store_is_said_and_none_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let said = Reader::open(dir.path()).err().unwrap().to_string();
    assert!(said.starts_with("no store in "), "{said}");
    assert!(verify(dir.path()).is_err());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

// Tampering.

/// A store of six batches, each with a body, and its log and content files.
fn written() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (mut producer, consumer) = ring::lanes(64, 64, 1 << 20);
    let options = Options { socket: false, ..Options::default() };
    let mut writer = Writer::open(dir.path(), vec![consumer], options).unwrap();
    for n in 0..6u128 {
        let mut record = Record { id: ExchangeId(n), capture: CaptureState::Full, ..Record::default() };
        record.times.accepted_at_us = clock::wall();
        let bytes = bytes::Bytes::from(vec![u8::try_from(n).unwrap(); 20_000]);
        producer.capture(CapturePart { id: record.id, kind: BodyKind::Request, bytes }, 20_000).unwrap();
        producer.note(Note::Close(Box::new(record))).unwrap();
        writer.finish();
    }
    drop(writer);
    let layout = Layout::of(dir.path());
    let (log, content) = (layout.segment(Kind::Log, 1), layout.segment(Kind::Content, 1));
    (dir, log, content)
}

/// The blocks of a segment, as bytes.
fn blocks_of(path: &Path) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(path).unwrap();
    let (mut blocks, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let header = Header::parse(bytes[at..at + HEADER_BYTES].try_into().unwrap()).unwrap();
        let len = usize::try_from(header.block_len()).unwrap();
        blocks.push(bytes[at..at + len].to_vec());
        at += len;
    }
    blocks
}

fn found(dir: &Path) -> (VerifyReport, Vec<String>) {
    let report = verify(dir).unwrap();
    let whats = report.findings.iter().map(|finding| finding.what.clone()).collect();
    (report, whats)
}

#[test]
fn an_untouched_store_is_whole() {
    let (dir, ..) = written();
    let (report, whats) = found(dir.path());
    assert_eq!(whats, Vec::<String>::new());
    assert_eq!(
        (report.records, report.indexed, report.log.first, report.log.last),
        (6, Some(6), Some(0), Some(5))
    );
}

#[test]
fn a_removed_block_is_found() {
    let (dir, log, _) = written();
    let mut blocks = blocks_of(&log);
    blocks.remove(2);
    std::fs::write(&log, blocks.concat()).unwrap();
    let (report, whats) = found(dir.path());
    assert!(!report.is_clean());
    assert_eq!(whats, ["gap", "index"]);
    assert!(report.findings[0].detail.contains("one is missing"), "{:?}", report.findings[0]);
}

#[test]
fn removed_last_blocks_are_found_by_what_the_index_read() {
    let (dir, log, _) = written();
    let blocks = blocks_of(&log);
    std::fs::write(&log, blocks[..4].concat()).unwrap();
    assert_eq!(found(dir.path()).1, ["cut short"]);
}

#[test]
fn a_block_replaced_by_a_well_formed_one_breaks_the_chain() {
    let (dir, log, _) = written();
    let mut blocks = blocks_of(&log);
    let before = crate::record::segment::hash_of(&[&blocks[1]]);
    let mut encoder = Encoder::new(Kind::Log, 1, Head { next: 2, hash: before }, 3).unwrap();
    let mut forged = Vec::new();
    encoder.encode(br#"{"close":{"record":{"id":"00000000000000000000000002"}}}"#, 2, &mut forged).unwrap();
    blocks[2] = forged;
    std::fs::write(&log, blocks.concat()).unwrap();
    let (report, whats) = found(dir.path());
    assert_eq!(whats, ["chain broken"]);
    assert!(report.findings[0].detail.starts_with("block 3 "), "{:?}", report.findings[0]);
}

#[test]
fn a_flipped_bit_in_a_body_is_found_and_its_record_named() {
    let (dir, _, content) = written();
    let mut bytes = std::fs::read(&content).unwrap();
    bytes[HEADER_BYTES + 5] ^= 4;
    std::fs::write(&content, bytes).unwrap();
    let (report, whats) = found(dir.path());
    assert_eq!((whats, report.bodies_missing), (vec!["damaged".to_owned(), "body missing".to_owned()], 1));
    let reader = Reader::open(dir.path()).unwrap();
    let said = reader.show(&ExchangeId(0).to_string()).unwrap_err().to_string();
    assert!(said.contains("does not match its checksum") && said.contains("weir verify"), "{said}");
    assert!(reader.show(&ExchangeId(1).to_string()).is_ok());
}

#[test]
fn a_torn_tail_is_told_and_is_not_held_against_the_store() {
    let (dir, log, _) = written();
    let mut bytes = std::fs::read(&log).unwrap();
    bytes.extend_from_slice(b"weir\x01 and the power went");
    std::fs::write(&log, bytes).unwrap();
    let (report, whats) = found(dir.path());
    assert_eq!((whats, report.is_clean()), (vec!["torn tail".to_owned()], true));
}

#[test]
fn segments_that_retention_removed_are_not_missing() {
    let (dir, _, content) = written();
    // The first content segment is gone, a later one is there.
    std::fs::rename(&content, Layout::of(dir.path()).segment(Kind::Content, 2)).unwrap();
    let (report, whats) = found(dir.path());
    assert_eq!((whats, report.bodies_missing), (vec![], 0));
}
