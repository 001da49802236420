//! Money and what stands for it through a running gateway: costs in every answer of the store, usage that the client
//! did not ask for, answers that nobody waited for, answers that come twice.

use std::sync::Arc;
use std::time::Duration;

use loadtest::{Canned, Ended, Knobs, Reading, Reply, Request};
use serde_json::{Value, json};
use weir::base::clock;
use weir::llm::dialect::paths::Flag;
use weir::llm::price::{CostBasis, Listing};
use weir::policy::snapshot::{AskUsage, Limits, Provider, Snapshot};
use weir::record::record::Record;
use weir::record::store::{Filter, GroupBy, Reader, Shown};

use crate::gate::Gate;

/// A gateway whose providers are like this, and speak every language.
fn gate(basis: CostBasis, change: impl Fn(&mut Provider)) -> Gate {
    Gate::with(Knobs::default(), Limits::default(), |options| {
        let of = |provider: &Arc<Provider>| {
            let mut provider = Provider {
                flags: Flag::ALL.to_vec(),
                listing: Listing { basis: Some(basis), ..Listing::default() },
                ..(**provider).clone()
            };
            change(&mut provider);
            Arc::new(provider)
        };
        let providers = options.snapshot.providers.iter().map(of).collect();
        let snapshot = Arc::new(Snapshot { providers, ..(*options.snapshot).clone() });
        weir::server::Options { snapshot, ..options }
    })
}

/// What the store has of an answer, once it has it.
fn shown(gate: &Gate, id: &str) -> Shown {
    let until = clock::now().plus(Duration::from_secs(10));
    loop {
        let shown = Reader::open(gate.data.path()).and_then(|reader| reader.show(id));
        if let Ok(Some(shown)) = shown {
            return shown;
        }
        assert!(clock::now() < until, "{id} is not recorded");
        clock::pause(Duration::from_millis(10));
    }
}

fn record_of(gate: &Gate, reply: &Reply) -> Record {
    shown(gate, reply.header("x-weir-id").expect("an id")).record
}

fn canned(body: &Value) -> Canned {
    Canned::new(200).header("content-type", "application/json").body(body.to_string().as_bytes())
}

#[test]
fn what_an_exchange_cost_stands_in_every_answer() {
    let gate = gate(CostBasis::Anthropic, |_| ());
    let usage = json!({"input_tokens": 1_000, "cache_read_input_tokens": 2_000, "cache_creation_input_tokens": 300,
        "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200}, "output_tokens": 50,
        "service_tier": "standard", "server_tool_use": {"web_search_requests": 2}});
    let body = |model: &str| json!({"type": "message", "id": "m", "model": model, "stop_reason": "end_turn", "content": [], "usage": usage});
    let ask = r#"{"model":"claude-opus-4-8","messages":[{"role":"user","content":"hello"}]}"#;
    let request = Request::messages(ask).header("x-claude-code-session-id", "s1");
    gate.provider.can("/v1/messages", canned(&body("claude-opus-4-8")));
    let priced = gate.client().send(&request).expect("a reply");
    gate.provider.can("/v1/messages", canned(&body("ours-7b")));
    let ask = r#"{"model":"ours-7b","messages":[{"role":"user","content":"hello"}]}"#;
    let unpriced = gate.client().send(&Request::messages(ask)).expect("a reply");
    let id = |reply: &Reply| reply.header("x-weir-id").expect("an id").to_owned();
    // Opus 4.8: 5 in, 0.50 cached, 6.25 and 10 written, 25 out; ten dollars for a thousand searches.
    let expected = 1_000 * 5_000 + 2_000 * 500 + 100 * 6_250 + 200 * 10_000 + 50 * 25_000 + 2 * 10_000_000;
    assert_eq!(shown(&gate, &id(&priced)).worth.cost_nanodollars, Some(expected));
    let unknown = shown(&gate, &id(&unpriced)).worth;
    assert_eq!(unknown.cost_nanodollars, None);
    assert!(unknown.unpriced.is_some_and(|why| why.contains("ours-7b")));
    let reader = Reader::open(gate.data.path()).expect("the store");
    let all = Filter::default();
    let total = &reader.usage(&all, GroupBy::Total).expect("usage")[0];
    assert_eq!(
        (total.exchanges, total.cost.cost_nanodollars, total.cost.cost_unknown),
        (2, Some(expected), 1)
    );
    assert_eq!(total.usage.web_searches, Some(4));
    let by_model = reader.usage(&all, GroupBy::Model).expect("usage");
    let cost_of = |model: &str| by_model.iter().find(|row| row.key == model).expect("a model").cost;
    assert_eq!(cost_of("claude-opus-4-8").cost_nanodollars, Some(expected));
    assert_eq!((cost_of("ours-7b").cost_nanodollars, cost_of("ours-7b").cost_unknown), (None, 1));
    // By session the exchanges are summed, else the roll-ups: the money is the same.
    let of_session = Filter { session: Some("s1".into()), ..Filter::default() };
    let summed = &reader.usage(&of_session, GroupBy::Total).expect("usage")[0];
    assert_eq!(summed.cost.cost_nanodollars, Some(expected));
    let sessions = reader.sessions(&of_session, 10).expect("sessions");
    assert_eq!(sessions[0].cost.cost_nanodollars, Some(expected));
    let requests = reader.requests(&all, 10, None).expect("requests");
    assert_eq!(requests.iter().filter(|row| row.worth.cost_nanodollars == Some(expected)).count(), 1);
}

#[test]
fn runs_are_billed_each_at_its_own_model() {
    let gate = gate(CostBasis::Anthropic, |_| ());
    let run = |kind: &str, model: Option<&str>, input: u64, output: u64| {
        json!({"type": kind, "model": model, "input_tokens": input, "output_tokens": output,
            "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0})
    };
    let usage = json!({"input_tokens": 10, "output_tokens": 2, "cache_read_input_tokens": 0,
    "cache_creation_input_tokens": 0, "iterations": [
        run("message", None, 1_000, 100),
        run("advisor_message", Some("claude-opus-4-8"), 2_000, 30),
    ]});
    let body = json!({"type": "message", "id": "m", "model": "claude-sonnet-5", "stop_reason": "end_turn",
        "content": [], "usage": usage});
    gate.provider.can("/v1/messages", canned(&body));
    let ask = r#"{"model":"claude-sonnet-5","messages":[{"role":"user","content":"hello"}]}"#;
    let reply = gate.client().send(&Request::messages(ask)).expect("a reply");
    let shown = shown(&gate, reply.header("x-weir-id").expect("an id"));
    // Sonnet 5: 2 and 10; Opus 4.8: 5 and 25.
    let expected = 1_000 * 2_000 + 100 * 10_000 + 2_000 * 5_000 + 30 * 25_000;
    assert_eq!(shown.worth.cost_nanodollars, Some(expected));
    let reader = Reader::open(gate.data.path()).expect("the store");
    let total = &reader.usage(&Filter::default(), GroupBy::Total).expect("usage")[0];
    assert_eq!((total.exchanges, total.usage.input_tokens), (1, Some(10)), "what was seen");
    assert_eq!(
        (total.cost.cost_nanodollars, total.cost.cost_unknown),
        (Some(expected), 0),
        "what was billed"
    );
    let row = &reader.requests(&Filter::default(), 1, None).expect("requests")[0];
    assert_eq!(row.worth.cost_nanodollars, Some(expected));
}

const CHAT: &str = r#"{"model":"gpt-5","stream":true,"messages":[{"role":"user","content":"hello"}]}"#;

#[test]
fn usage_is_asked_for_and_kept_from_who_did_not_ask() {
    let gate = gate(CostBasis::Openai, |provider| provider.ask_usage = AskUsage::Always);
    let reply = gate.client().send(&Request::chat(CHAT)).expect("a reply");
    assert_eq!(reply.ended, Ended::Complete);
    let text = reply.text();
    assert!(text.ends_with("data: [DONE]\n\n") && !text.contains("\"usage\":{"), "{text}");
    let record = record_of(&gate, &reply);
    assert_eq!(record.altered, ["ask_usage"]);
    assert!(record.reading.usage.input_tokens.is_some(), "{:?}", record.reading);
    assert_eq!(record.estimated_usage, None);
    assert_eq!(record.bytes.response_sent, text.len() as u64);
    assert!(record.bytes.response_received > record.bytes.response_sent);
    // What is to be kept from the client has to be told apart: no coding is asked for, whatever the client takes.
    let coded = Request::chat(CHAT).header("accept-encoding", "gzip, br, zstd");
    assert!(!gate.client().send(&coded).expect("a reply").text().contains("\"usage\":{"));
    let served = gate.provider.wait(2, Duration::from_secs(5));
    assert_eq!(served[1].header("accept-encoding"), Some("identity"));
    let asking = CHAT.replacen('{', r#"{"stream_options":{"include_usage":true},"#, 1);
    let asked = gate.client().send(&Request::chat(&asking)).expect("a reply");
    assert!(asked.text().contains("\"usage\":{"));
    assert_eq!(record_of(&gate, &asked).altered, Vec::<String>::new());
}

#[test]
fn unasked_usage_is_estimated_and_marked() {
    let gate = gate(CostBasis::Openai, |_| ());
    let reply = gate.client().send(&Request::chat(CHAT)).expect("a reply");
    let shown = shown(&gate, reply.header("x-weir-id").expect("an id"));
    assert!(shown.record.reading.usage.is_unknown(), "the provider's numbers stay what they were");
    let estimate = shown.record.estimated_usage.expect("an estimate");
    assert!(estimate.input_tokens > 0 && estimate.output_tokens > 0, "{estimate:?}");
    assert!(shown.worth.cost_nanodollars.is_some_and(|cost| cost > 0), "{:?}", shown.worth);
    let reader = Reader::open(gate.data.path()).expect("the store");
    let total = &reader.usage(&Filter::default(), GroupBy::Total).expect("usage")[0];
    assert_eq!((total.usage.input_tokens, total.usage_unknown), (None, 1));
    assert_eq!((total.cost.cost_estimated, total.cost.cost_unknown), (1, 0));
}

#[test]
fn an_answer_nobody_waits_for_is_read_to_its_usage() {
    for (drain, complete) in [(true, true), (false, false)] {
        let gate = gate(CostBasis::Anthropic, |provider| provider.drain_when_client_gone = drain);
        let ask = r#"{"model":"claude-opus-4-8","max_tokens":64,"stream":true,"messages":[{"role":"user","content":"x"}]}"#;
        let request = Request::messages(ask).synthetic("events=60,delay_ms=2");
        let reading = Reading { leave_after: Some(3), ..Reading::default() };
        let left = gate.client().check_reading(&request, gate.provider.knobs(), reading).expect("a reply");
        let record = record_of(&gate, &left.reply);
        assert_eq!(
            (record.outcome.name(), record.reading.complete),
            ("client_gone", complete),
            "drain: {drain}"
        );
        assert!(record.bytes.response_sent < record.bytes.response_received || !drain);
        assert_eq!(record.estimated_usage.is_none(), complete);
    }
}

#[test]
fn a_response_that_is_delivered_twice_counts_once() {
    let gate = gate(CostBasis::Openai, |_| ());
    let body = json!({"id": "resp_1", "object": "response", "status": "completed", "model": "gpt-5", "output": [],
        "service_tier": "default", "usage": {"input_tokens": 1_000, "output_tokens": 100, "total_tokens": 1_100}});
    gate.provider.can("/v1/responses", canned(&body));
    let ask = r#"{"model":"gpt-5","input":"hello"}"#;
    let request = Request::new("POST", "/v1/responses", ask).header("content-type", "application/json");
    let first = gate.client().send(&request).expect("a reply");
    assert!(!record_of(&gate, &first).delivered_again);
    let again = gate.client().send(&request).expect("a reply");
    let record = record_of(&gate, &again);
    assert!(record.delivered_again);
    assert_eq!(record.reading.usage.input_tokens, Some(1_000), "what the wire said is kept");
    let reader = Reader::open(gate.data.path()).expect("the store");
    let total = &reader.usage(&Filter::default(), GroupBy::Total).expect("usage")[0];
    assert_eq!((total.exchanges, total.usage.input_tokens), (2, Some(1_000)));
    assert_eq!(total.cost.cost_nanodollars, Some(1_000 * 1_250 + 100 * 10_000));
}

#[test]
fn prices_are_told_to_who_may_know() {
    let gate = gate(CostBasis::Openai, |_| ());
    let one = gate.client().send(&Request::get("/aperture/pricing/gpt-4o")).expect("a reply");
    let page: Value = serde_json::from_slice(&one.body).expect("JSON");
    assert_eq!(page["prices"][0]["input"], json!(2.5), "{page}");
    assert!(page["source"].as_str().is_some_and(|source| source.starts_with("genai-prices")));
    let none = gate.client().send(&Request::get("/aperture/pricing/gpt-4ooo")).expect("a reply");
    assert_eq!(none.status, 404);
    assert!(none.text().contains("did you mean gpt-4o"), "{}", none.text());
    let all = gate.client().send(&Request::get("/aperture/pricing")).expect("a reply");
    let page: Value = serde_json::from_slice(&all.body).expect("JSON");
    assert!(page["prices"].as_array().is_some_and(|prices| prices.len() > 50));
}
