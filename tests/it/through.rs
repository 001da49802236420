//! Recorded traffic served through the running gateway, in every framing and cutting: the client gets the provider's
//! bytes, and the record read back from the store says what the manifest expects, field by field.
//!
//! `fixtures.rs` feeds the meter alone; here everything stands between: sockets, framing, rings, segments, index.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use loadtest::{Canned, Client, Ended, Knobs, Request};
use weir::base::clock;
use weir::policy::snapshot::{Limits, Provider, Snapshot};
use weir::record::record::{CaptureState, Outcome};
use weir::record::store::{Filter, GroupBy, Reader};
use weir::server::Options;

use crate::fixtures::{Entry, recordings};
use crate::gate::Gate;

/// Bodies up to this length are cut in two at every byte; the pause between the parts makes each cut a read of its own.
const EVERY_CUT: usize = 400;
/// Cuts in two of longer bodies, by seed.
const SOME_CUTS: usize = 12;
const BETWEEN: Duration = Duration::from_millis(1);
/// Clients at once: the pauses overlap.
const CLIENTS: usize = 8;

/// One exchange that took place, for the look into the store.
struct Took {
    entry: usize,
    how: String,
    id: String,
    body: Arc<Vec<u8>>,
}

#[test]
fn recordings_pass_unchanged_and_are_recorded_as_expected() {
    let entries: Vec<Entry> = recordings().into_iter().filter(|entry| entry.route().is_some()).collect();
    if entries.is_empty() {
        return; // Said loudly where they are looked for.
    }
    let gate = gate_for(&entries);
    let (next, (done, results)) = (AtomicUsize::new(0), std::sync::mpsc::channel());
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            let (done, next, gate, entries) = (done.clone(), &next, &gate, &entries);
            scope.spawn(move || {
                while let Some((index, entry)) = claim(entries, next) {
                    done.send(serve_all_ways(gate, index, entry)).expect("the receiver outlives us");
                }
            });
        }
        drop(done);
    });
    let mut faults: Vec<Vec<String>> = entries.iter().map(|_| Vec::new()).collect();
    let mut took = Vec::new();
    for served in results {
        match served {
            Ok(mut exchanges) => took.append(&mut exchanges),
            Err((entry, fault)) => faults[entry].push(fault),
        }
    }
    check_records(gate.data.path(), &entries, &took, &mut faults);
    report(&entries, &took, &faults);
}

/// The next recording that nobody serves yet.
fn claim<'a>(entries: &'a [Entry], next: &AtomicUsize) -> Option<(usize, &'a Entry)> {
    let index = next.fetch_add(1, Relaxed);
    entries.get(index).map(|entry| (index, entry))
}

fn report(entries: &[Entry], took: &[Took], faults: &[Vec<String>]) {
    let mut all = Vec::new();
    for (index, (entry, faults)) in entries.iter().zip(faults).enumerate() {
        let ways = took.iter().filter(|took| took.entry == index).count();
        println!(
            "{} {:4} ways  {}",
            if faults.is_empty() { "agrees " } else { "DIFFERS" },
            ways,
            entry.name()
        );
        all.extend(faults.iter().take(3).map(|fault| format!("{}: {fault}", entry.name())));
    }
    println!("{} recordings, {} exchanges, {} differences", entries.len(), took.len(), all.len());
    assert!(all.is_empty(), "{}", all.join("\n"));
}

/// One provider that speaks every language recorded.
fn gate_for(entries: &[Entry]) -> Gate {
    let flags: HashSet<_> = entries.iter().filter_map(Entry::route).map(|route| route.flag).collect();
    let everything = |options: Options| {
        let snapshot = Snapshot::clone(&options.snapshot);
        let provider = Provider { flags: flags.into_iter().collect(), ..(*snapshot.providers[0]).clone() };
        Options {
            snapshot: Arc::new(Snapshot { providers: vec![Arc::new(provider)], ..snapshot }),
            ..options
        }
    };
    Gate::with(Knobs::default(), Limits::default(), everything)
}

/// Serve one recording in every way; stop at the first that arrives otherwise.
fn serve_all_ways(gate: &Gate, index: usize, entry: &Entry) -> Result<Vec<Took>, (usize, String)> {
    let mut client = Client::new(gate.addr).timeout(Duration::from_secs(10));
    let mut took = Vec::new();
    for coded in [false, true] {
        let Some(body) = entry.response(coded).map(Arc::new) else { continue };
        for (how, canned) in ways(&answer(entry, &body, coded), &body, index as u64) {
            let how = if coded { format!("coded, {how}") } else { how };
            let id = serve(gate, &mut client, entry, canned, &body)
                .map_err(|fault| (index, format!("{how}: {fault}")))?;
            took.push(Took { entry: index, how, id, body: body.clone() });
        }
    }
    Ok(took)
}

/// The recorded answer: its fields but those of framing, its body.
fn answer(entry: &Entry, body: &[u8], coded: bool) -> Canned {
    let mut canned = Canned::new(entry.status()).body(body);
    let mut has_coding = false;
    for (name, value) in entry.response_fields() {
        let is_coding = name.eq_ignore_ascii_case("content-encoding");
        let is_framing = ["transfer-encoding", "content-length"].iter().any(|n| name.eq_ignore_ascii_case(n));
        if is_framing || (is_coding && !coded) {
            continue;
        }
        has_coding |= is_coding;
        canned = canned.header(&name, &value);
    }
    if coded && !has_coding { canned.header("content-encoding", "gzip") } else { canned }
}

fn ways(canned: &Canned, body: &[u8], seed: u64) -> Vec<(String, Canned)> {
    let head = canned.wire().len() - body.len();
    let mut ways = vec![
        ("whole".into(), canned.clone()),
        ("until the end of the connection".into(), canned.clone().close_delimited()),
        ("in chunks".into(), canned.clone().chunked(&[1, 2, 7, 300, 4096])),
        ("in cut chunks".into(), canned.clone().chunked(&[13, 1, 1000]).cuts(seed, 900)),
        ("in small cuts".into(), canned.clone().cuts(seed + 1, 60)),
    ];
    let cuts: Vec<usize> = match body.len() {
        0..=1 => Vec::new(),
        length @ 2..=EVERY_CUT => (1..length).collect(),
        length => (0..SOME_CUTS as u64).map(|n| 1 + mix(seed << 8 | n) as usize % (length - 1)).collect(),
    };
    for cut in cuts {
        ways.push((format!("cut at {cut}"), canned.clone().writes(&[head + cut, usize::MAX]).pause(BETWEEN)));
    }
    ways
}

fn mix(seed: u64) -> u64 {
    xxhash_rust::xxh3::xxh3_64(&seed.to_le_bytes())
}

/// One exchange; what arrived is held against what was recorded. The id is the record's.
fn serve(
    gate: &Gate,
    client: &mut Client,
    entry: &Entry,
    canned: Canned,
    body: &[u8],
) -> Result<String, String> {
    // A key for each recording: the clients serve different ones at once.
    gate.provider.can(&entry.name(), canned.clone());
    let request = Request::new(entry.method(), &entry.target(), entry.request())
        .header("content-type", "application/json")
        .header("x-canned", &entry.name());
    let reply = client.send(&request).map_err(|why| why.to_string())?;
    if reply.status != entry.status() || reply.ended != Ended::Complete {
        return Err(format!("status {}, {:?}: {}", reply.status, reply.ended, reply.text()));
    }
    if reply.body != body {
        let at = reply.body.iter().zip(body).position(|(a, b)| a != b);
        return Err(format!("{} bytes of {}, first difference at {at:?}", reply.body.len(), body.len()));
    }
    for (name, value) in entry.response_fields() {
        let changed = reply.header(&name.to_lowercase()) != Some(&value);
        if changed && ["content-type", "retry-after"].contains(&name.to_lowercase().as_str()) {
            return Err(format!("field {name} arrived as {:?}", reply.header(&name)));
        }
    }
    reply.header("x-weir-id").map(str::to_owned).ok_or_else(|| "no x-weir-id".into())
}

/// Every record of every exchange, read back.
fn check_records(data: &Path, entries: &[Entry], took: &[Took], faults: &mut [Vec<String>]) {
    let reader = recorded(data, took.len());
    for took in took {
        let entry = &entries[took.entry];
        let shown = reader.show(&took.id).expect("a readable store");
        let Some(shown) = shown else {
            faults[took.entry].push(format!("{}: no record {}", took.how, took.id));
            continue;
        };
        let record = &shown.record;
        let mut differ = entry.differences(&record.reading);
        if record.status != entry.status() || Some(record.dialect) != entry.route().map(|r| Some(r.dialect)) {
            differ.push(format!("status {}, dialect {:?}", record.status, record.dialect));
        }
        if entry.is_error() != (record.outcome == Outcome::ProviderError) {
            differ.push(format!("outcome {}", record.outcome.name()));
        }
        if record.capture != CaptureState::Full || shown.response_body.as_ref() != Some(&*took.body) {
            differ.push(format!("captured {:?} {:?}", record.capture, shown.response_body.map(|b| b.len())));
        }
        if shown.request_body != Some(entry.request()) {
            differ.push("the request was captured otherwise".into());
        }
        faults[took.entry].extend(differ.into_iter().map(|fault| format!("record, {}: {fault}", took.how)));
    }
}

/// The store once it has that many exchanges.
fn recorded(data: &Path, count: usize) -> Reader {
    let reader = Reader::open(data).expect("a store");
    let until = clock::now().plus(Duration::from_secs(20));
    loop {
        let rows = reader.usage(&Filter::default(), GroupBy::Total).expect("sums");
        let seen = rows.first().map_or(0, |row| row.exchanges);
        if seen >= count as u64 {
            return reader;
        }
        assert!(clock::now() < until, "{seen} of {count} exchanges were recorded");
        clock::pause(Duration::from_millis(20));
    }
}
