//! Do questions stay quick when the store is full? A million exchanges, indexed as the writer indexes them.
//!
//! `cargo bench --bench store` (`WEIR_BENCH_ROWS` for another number). Each answer is checked where it can be known.

#![allow(clippy::disallowed_methods, reason = "a bench reads the clock itself")]

use std::time::Instant;

use weir::base::id::ExchangeId;
use weir::llm::dialect::Dialect;
use weir::llm::reading::ToolUse;
use weir::record::files::Layout;
use weir::record::record::{Outcome, Record};
use weir::record::store::entry::Entry;
use weir::record::store::index::{Index, Item, LinePlace, Position};
use weir::record::store::{Filter, GroupBy, Reader};

const START: u64 = 1_700_000_000_000_000;
const HOUR_US: u64 = 3_600_000_000;
/// The exchanges are spread over thirty days.
const SPAN_US: u64 = 720 * HOUR_US;

fn main() {
    let rows = std::env::var("WEIR_BENCH_ROWS").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::of(dir.path());
    layout.create().unwrap();
    fill(&layout, rows);
    let size = std::fs::metadata(layout.index()).unwrap().len();
    println!("store/size/{rows:<28} {:8.0} bytes/row", size as f64 / rows as f64);
    ask(&Reader::open(dir.path()).unwrap(), rows);
}

fn fill(layout: &Layout, rows: u64) {
    let mut index = Index::open(layout).unwrap();
    let start = Instant::now();
    for first in (0..rows).step_by(2000) {
        let batch: Vec<Record> = (first..rows.min(first + 2000)).map(|n| record(n, rows)).collect();
        let entries: Vec<Entry> = batch.iter().map(Entry::of).collect();
        let items: Vec<Item> = entries.iter().map(|entry| Item::Close(entry, LinePlace::default())).collect();
        index.apply(&items, Position::default()).unwrap();
    }
    println!("store/index/{rows:<27} {:8.0} rows/s", rows as f64 / start.elapsed().as_secs_f64());
}

fn ask(reader: &Reader, rows: u64) {
    let all = Filter::default();
    let person = Filter { principal: Some("user-77".into()), ..Filter::default() };
    // Begins and ends in the middle of an hour, a day apart.
    let day = Filter {
        since: Some(START + 300 * HOUR_US + 1),
        until: Some(START + 324 * HOUR_US + 1),
        ..Filter::default()
    };
    let session = Filter { session: Some("session-4711".into()), ..Filter::default() };
    let rare = Filter { status: Some(529), ..Filter::default() };
    let tool = Filter { tool: Some("WebSearch".into()), ..day.clone() };

    time("usage/total", || assert_eq!(reader.usage(&all, GroupBy::Total).unwrap()[0].exchanges, rows));
    time("usage/by-model", || assert_eq!(reader.usage(&all, GroupBy::Model).unwrap().len(), 5));
    time("usage/by-person", || assert_eq!(reader.usage(&all, GroupBy::Principal).unwrap().len(), 200));
    time("usage/by-hour", || assert_eq!(reader.usage(&all, GroupBy::Hour).unwrap().len(), 721));
    time("usage/by-model-of-a-day", || assert_eq!(reader.usage(&day, GroupBy::Model).unwrap().len(), 5));
    time("usage/by-tool-of-a-day", || assert_eq!(reader.usage(&day, GroupBy::Tool).unwrap().len(), 4));
    time("usage/by-session-of-a-person", || {
        assert!(!reader.usage(&person, GroupBy::Session).unwrap().is_empty())
    });
    time("usage/by-tool (all rows)", || assert_eq!(reader.usage(&all, GroupBy::Tool).unwrap().len(), 4));
    time("requests/newest", || assert_eq!(reader.requests(&all, 100, None).unwrap().len(), 100));
    time("requests/of-a-person", || assert_eq!(reader.requests(&person, 100, None).unwrap().len(), 100));
    time("requests/of-a-session", || assert!(!reader.requests(&session, 100, None).unwrap().is_empty()));
    time("requests/of-a-rare-status", || assert_eq!(reader.requests(&rare, 100, None).unwrap().len(), 100));
    time("requests/with-a-tool-of-a-day", || {
        assert_eq!(reader.requests(&tool, 100, None).unwrap().len(), 100)
    });
    time("sessions/newest", || assert_eq!(reader.sessions(&all, 100).unwrap().len(), 100));
    time("sessions/of-a-person", || assert!(!reader.sessions(&person, 100).unwrap().is_empty()));
    time("tools/of-a-day", || assert_eq!(reader.tools(&day, 100).unwrap().len(), 4));
    time("tail", || assert_eq!(reader.tail(&all, None, 100).unwrap().len(), 100));
    time("overview", || assert_eq!(reader.overview(&all).unwrap().total.exchanges, rows));
    time("overview/of-a-day", || assert_eq!(reader.overview(&day).unwrap().outcomes.len(), 3));
}

/// Best of three: the first may wait for the disk.
fn time(name: &str, mut question: impl FnMut()) {
    let best = (0..3).map(|_| {
        let start = Instant::now();
        question();
        start.elapsed()
    });
    println!("store/{name:<33} {:8.1} ms", best.min().unwrap_or_default().as_secs_f64() * 1e3);
}

/// Two hundred people, five models, sessions of twenty exchanges, a tool call in every second one.
fn record(n: u64, rows: u64) -> Record {
    let mix = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let mut record = Record { id: ExchangeId::new(START, 0, 1, n), ..Record::default() };
    record.times.accepted_at_us = START + n * (SPAN_US / rows);
    record.times.last_byte_us = mix % 30_000_000;
    let session = n / 20_000 * 1_000 + n % 1_000;
    record.who.principal = format!("user-{}", session % 200);
    record.caller.session = format!("session-{session}");
    record.caller.agent = ["claude-code", "codex", "opencode"][(session % 3) as usize].into();
    record.caller.turn = true;
    record.dialect = Some(Dialect::Messages);
    record.method = "POST".into();
    record.path = "/v1/messages".into();
    record.provider = ["acme", "globex"][(mix % 2) as usize].into();
    record.ask.model = Some(format!("model-{}", mix % 5));
    record.reading.model = record.ask.model.clone();
    (record.outcome, record.status) = match mix % 1000 {
        0..5 => (Outcome::ProviderError, 529),
        5..20 => (Outcome::ClientGone, 200),
        _ => (Outcome::Ok, 200),
    };
    record.reading.usage.input_tokens = Some(mix % 200_000);
    record.reading.usage.cache_read_tokens = Some(mix % 150_000);
    record.reading.usage.output_tokens = Some(mix % 2_000);
    record.reading.stop_reason = Some("tool_use".into());
    if mix.is_multiple_of(2) {
        let name = ["Bash", "Read", "Edit", "WebSearch"][(mix / 2 % 4) as usize].into();
        let call =
            ToolUse { name, id: format!("toolu_{n:016x}"), kind: "tool_use".into(), ..ToolUse::default() };
        record.reading.tool_uses = vec![call];
    }
    record
}
