//! The configuration changes while streams run: a good file is in force whole, a bad one leaves the old, no byte is lost.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use loadtest::{Canned, Knobs, Request};
use serde_json::Value;
use weir::base::stats::Count;
use weir::record::store::Reader;

use crate::gate::{Gate, wait_for};

const STREAMS: usize = 24;
const SWAPS: u64 = 100;
const ASK: &str = r#"{"model":"claude-sonnet-4-5","max_tokens":64,"stream":true,"messages":[{"role":"user","content":"hello"}]}"#;

/// A file whose grants allow these models, and with a provider that tells which file it is.
fn file(models: &str, number: u64) -> String {
    format!(
        r#"{{"server": {{"listen": ["127.0.0.1:0"]}},
  "providers": {{"file-{number}": {{"baseurl": "$provider", "models": ["none"], "auth_mode": "none",
    "compatibility": {{"openai_chat": true}}}}, "synthetic": {{"baseurl": "$provider", "apikey": "held", "authorization": "x-api-key",
    "models": ["**"], "compatibility": {{"anthropic_messages": true}}}}}},
  "grants": [{{"src": ["(loopback)"], "app": {{"weir": [{{"role": "user"}}, {{"models": "{models}"}}]}}}}]}}"#
    )
}

fn health(gate: &Gate) -> Value {
    let (status, body) = gate.control("/api/health");
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).expect("JSON")
}

/// That file is in force.
fn in_force(gate: &Gate, number: u64) {
    let name = format!("file-{number}");
    wait_for(&name, || health(gate)["providers"].as_array()?.iter().any(|id| *id == name).then_some(()));
}

/// What is written is refused: why.
fn refused(gate: &Gate) -> String {
    wait_for("the reason", || health(gate)["config"]["refused"][0].as_str().map(str::to_owned))
}

/// What an operator does: write, and say so.
fn write_and_tell(gate: &Gate, text: &str) {
    gate.write_file(text);
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP).expect("a signal");
}

/// Also when a check fails: the streams must end for the test to.
struct SetWhenDropped<'a>(&'a AtomicBool);

impl Drop for SetWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_hundred_swaps_and_a_bad_file_under_running_streams_lose_no_byte() {
    let gate = Gate::of_file(Knobs::default(), &file("**", 0), |_| {});
    let (perfect, done) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let until_here = SetWhenDropped(&done);
        for _ in 0..STREAMS {
            let (perfect, done) = (&perfect, &done);
            let (knobs, mut client) = (gate.provider.knobs(), gate.client().timeout(Duration::from_secs(60)));
            scope.spawn(move || {
                let request = Request::messages(ASK).synthetic("events=40,delay_ms=20");
                // One after the other, so that swaps fall into every phase of them.
                while !done.load(Ordering::Relaxed) {
                    let checked = client.check(&request, knobs.clone()).expect("an answer");
                    assert!(checked.perfect(), "{checked:?}");
                    perfect.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let server = gate.server.as_ref().expect("it runs");
        wait_for("the streams", || (server.in_flight() == STREAMS as u64).then_some(()));
        for number in 1..=SWAPS {
            write_and_tell(&gate, &file("**", number));
            in_force(&gate, number);
            if number == SWAPS / 2 {
                write_and_tell(&gate, "{\"grants\": [{\"src\": [\"*\"], \"apps\": {}}]}");
                let why = refused(&gate);
                assert!(why.contains("apps"), "{why}");
            }
        }
        drop(until_here);
    });
    let perfect = perfect.load(Ordering::Relaxed);
    assert!(perfect >= STREAMS as u64, "{perfect}");
    // The last account is closed a moment after its client has all of it.
    let server = gate.server.as_ref().expect("it runs");
    let counted = || server.stats.total(Count::ExchangesOk);
    wait_for("every stream to be counted", || (counted() >= perfect).then_some(()));
    assert_eq!(counted(), perfect);
    assert_eq!(health(&gate)["config"]["refused"], serde_json::json!([]));
}

#[test]
fn what_was_remembered_does_not_outlive_a_swap() {
    let gate = Gate::of_file(Knobs::default(), &file("**", 0), |_| {});
    let mut client = gate.client();
    let mut status = || client.send(&Request::messages(ASK)).expect("an answer").status;
    assert_eq!(status(), 200);
    write_and_tell(&gate, &file("synthetic/other", 1));
    in_force(&gate, 1);
    assert_eq!(status(), 404, "on the same connection, by the same principal");
    write_and_tell(&gate, "not even JSON");
    refused(&gate);
    assert_eq!(status(), 404, "the old one stays in force");
    let (_, metrics) = gate.control("/metrics");
    assert!(metrics.contains("\nweir_config_current 0\n"), "{metrics}");
    write_and_tell(&gate, &file("**", 2));
    in_force(&gate, 2);
    assert_eq!(status(), 200);
}

#[test]
fn what_is_stored_is_priced_by_the_file_in_force() {
    let file = |dollars: u64, number: u64| {
        let file = file("**", number);
        let prices = format!(
            r#""prices": {{"models": [{{"match": "*", "input": {dollars}, "output": 1}}]}}, "grants":"#
        );
        file.replacen(r#""grants":"#, &prices, 1)
    };
    let gate = Gate::of_file(Knobs::default(), &file(1, 0), |_| {});
    let body = r#"{"type":"message","id":"m","model":"ours","content":[],"usage":{"input_tokens":1000000,"output_tokens":0}}"#;
    gate.provider.can("/v1/messages", Canned::new(200).header("content-type", "application/json").body(body));
    let reply = gate.client().send(&Request::messages(ASK)).expect("a reply");
    gate.record(&reply);
    let id = reply.header("x-weir-id").expect("an id");
    let cost = || {
        let shown = Reader::open(gate.data.path()).and_then(|reader| reader.show(id));
        shown.expect("readable").expect("a record").worth.cost_nanodollars
    };
    assert_eq!(cost(), Some(1_000_000_000));
    write_and_tell(&gate, &file(3, 1));
    in_force(&gate, 1);
    assert_eq!(cost(), Some(3_000_000_000), "a corrected price corrects the past");
    let (status, page) = gate.control("/aperture/pricing/ours");
    assert_eq!(status, 200, "{page}");
    let page: Value = serde_json::from_str(&page).expect("JSON");
    assert_eq!(page["prices"][0]["input"], 3.0, "{page}");
}
