//! Quotas through a running gateway: what is held and charged, who is refused and how, for every end of an exchange.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use loadtest::{Canned, Client, Ended, Knobs, Provider as Synthetic, Reply, Request};
use serde_json::{Value, json};
use weir::base::clock;
use weir::config::compile;
use weir::llm::dialect::paths::Flag;
use weir::policy::snapshot::{Limits, Provider, Snapshot};
use weir::record::store::{Filter, Reader};

use crate::gate::Gate;
use crate::process::{PATIENCE, Weir, weir};

const ASK: &str = r#"{"model":"claude-sonnet-4-5","max_tokens":64,"stream":true,"messages":[{"role":"user","content":"hello"}]}"#;

/// A gateway with these quotas, all of which everybody draws on.
fn gate(quotas: &Value) -> Gate {
    Gate::with(Knobs::default(), Limits::default(), |options| {
        let snapshot = under(&options.snapshot, quotas);
        weir::server::Options { snapshot: Arc::new(snapshot), ..options }
    })
}

/// The same providers, with every flag, under a file with these quotas.
fn under(before: &Snapshot, quotas: &Value) -> Snapshot {
    let names: Vec<_> = quotas.as_object().expect("quotas").keys().collect();
    let drawn: Vec<_> = names.iter().map(|name| json!({ "bucket": name })).collect();
    let file = json!({
        "providers": {"synthetic": {"baseurl": "http://127.0.0.1:1", "models": ["**"], "auth_mode": "none"}},
        "quotas": quotas,
        "grants": [{"src": ["*"], "app": {"weir": [{"role": "user", "models": "**"}, {"quotas": drawn}]}}],
    });
    let (none, no_file) = (|_: &str| None, |_: &str| Err(std::io::Error::other("no files here")));
    let loaded = compile::load(&file.to_string(), &none, &no_file, &compile::Options::default());
    let loaded = loaded.unwrap_or_else(|problems| panic!("{problems:?}")).snapshot;
    let of_all = |provider: &Arc<Provider>| {
        Arc::new(Provider { flags: Flag::ALL.to_vec(), unpriced_allowed: false, ..(**provider).clone() })
    };
    Snapshot {
        providers: before.providers.iter().map(of_all).collect(),
        buckets: loaded.buckets,
        grants: loaded.grants,
        loopback_is_user: false,
        ..before.clone()
    }
}

fn tokens(capacity: u64) -> Value {
    json!({ "each:<user>": {"unit": "tokens", "capacity": capacity} })
}

/// The record of an answer, once it is in the store.
fn record(gate: &Gate, reply: &Reply) -> Value {
    let id = reply.header("x-weir-id").expect("an id");
    let until = clock::now().plus(Duration::from_secs(10));
    loop {
        let shown = Reader::open(gate.data.path()).and_then(|reader| reader.show(id));
        if let Ok(Some(shown)) = shown {
            return serde_json::to_value(&shown.record).expect("JSON");
        }
        assert!(clock::now() < until, "{id} is not recorded");
        clock::pause(Duration::from_millis(10));
    }
}

fn used(input: u64, output: u64) -> Canned {
    let body = json!({"type": "message", "id": "m", "model": "claude-sonnet-4-5", "stop_reason": "end_turn",
        "content": [], "usage": {"input_tokens": input, "output_tokens": output}});
    Canned::new(200).header("content-type", "application/json").body(body.to_string().as_bytes())
}

#[test]
fn what_the_provider_says_is_charged_and_an_empty_bucket_refuses() {
    let gate = gate(&tokens(100));
    gate.provider.can("/v1/messages", used(70, 50));
    let first = gate.client().send(&Request::messages(ASK)).expect("a reply");
    assert_eq!(first.status, 200);
    let record_of = record(&gate, &first);
    let note = &record_of["quotas"][0];
    assert_eq!(
        (&note["charged"], &note["unit"], &note["result"]),
        (&json!(120), &json!("tokens"), &json!("held"))
    );
    assert!(note["reserved"].as_i64() > Some(64), "{note}");
    assert_eq!(record_of.get("estimated"), None);
    let second = gate.client().send(&Request::messages(ASK)).expect("a reply");
    assert_eq!(second.status, 429, "{}", second.text());
    let refused = record(&gate, &second);
    assert_eq!(
        (&refused["outcome"], &refused["fault"]["kind"]),
        (&json!("refused"), &json!("quota_exceeded"))
    );
    assert_eq!(refused["quotas"][0]["bucket"], note["bucket"]);
    assert_eq!(refused["quotas"][0]["result"], "refused");
}

/// Path and body of a request in a language, and where its refusal says what.
const SHAPES: [(&str, &str, &str, &str); 8] = [
    ("/v1/messages", r#"{"model":"m","messages":[]}"#, "/error/type", "rate_limit_error"),
    ("/v1/chat/completions", r#"{"model":"m","messages":[]}"#, "/error/type", "insufficient_quota"),
    ("/v1/chat/completions", r#"{"model":"m","messages":[]}"#, "/error/code", "insufficient_quota"),
    ("/v1/responses", r#"{"model":"m","input":"x"}"#, "/error/code", "insufficient_quota"),
    ("/v1beta/models/m:generateContent", r#"{"contents":[]}"#, "/error/status", "RESOURCE_EXHAUSTED"),
    ("/model/m/converse", r#"{"messages":[]}"#, "/__type", "ThrottlingException"),
    ("/model/m/invoke", r#"{"messages":[]}"#, "/__type", "ThrottlingException"),
    ("/api/chat", r#"{"model":"m","messages":[]}"#, "/error", ""),
];

#[test]
fn each_language_is_refused_in_its_own_words() {
    let gate = gate(&json!({ "each:<user>": {"unit": "requests", "capacity": 0, "rate": "1/min"} }));
    for (path, body, at, word) in SHAPES {
        let request = Request::new("POST", path, body).header("content-type", "application/json");
        let reply = gate.client().send(&request).expect("a reply");
        assert_eq!(reply.status, 429, "{path}: {}", reply.text());
        let wait: u64 =
            reply.header("retry-after").and_then(|text| text.parse().ok()).expect("whole seconds");
        assert!((1..=61).contains(&wait), "{path}: {wait}");
        assert_eq!(reply.header("x-should-retry"), Some("false"), "{path}");
        let said: Value = serde_json::from_str(&reply.text()).expect("JSON");
        let found = said.pointer(at).and_then(Value::as_str).unwrap_or_else(|| panic!("{path}: {said}"));
        assert!(found == word || word.is_empty(), "{path}: {said}");
        assert!(reply.text().contains("each:"), "it names the bucket: {said}");
    }
    assert_eq!(gate.provider.requests().0, 0, "nothing reached the provider");
}

#[test]
fn an_end_that_says_nothing_is_charged_by_what_was_seen_or_not_at_all() {
    let gate = gate(&tokens(1_000_000));
    let json = |status: u16, body: &str| {
        Canned::new(status).header("content-type", "application/json").body(body.as_bytes())
    };
    let charged = |reply: &Reply| {
        let record = record(&gate, reply);
        let charged = record["quotas"][0]["charged"].as_i64().expect("charged");
        (charged, record.get("estimated").is_some())
    };
    // A provider's refusal costs nothing.
    gate.provider.can("/v1/messages", json(529, r#"{"type":"error","error":{"type":"overloaded_error"}}"#));
    let reply = gate.client().send(&Request::messages(ASK)).expect("a reply");
    assert_eq!(charged(&reply), (0, false));
    // A good answer without usage does.
    gate.provider.can(
        "/v1/messages",
        json(200, &format!(r#"{{"type":"message","content":["{}"]}}"#, "x".repeat(4_000))),
    );
    let reply = gate.client().send(&Request::messages(ASK)).expect("a reply");
    let (cost, estimated) = charged(&reply);
    assert!(estimated && cost > 900 && cost < 1_500, "{cost}");
    gate.provider.uncan();
    // So does a stream that breaks off, and one whose client leaves: its usage so far is a beginning only.
    let reply =
        gate.client().send(&Request::messages(ASK).synthetic("events=50,fault=truncate@40")).expect("a head");
    let (cost, estimated) = charged(&reply);
    assert!(estimated && cost >= 38, "{cost}");
    let reply = leave_early(&mut gate.client(), &gate);
    let (cost, estimated) = charged(&reply);
    assert!(estimated && cost >= 5, "{cost}");
}

fn leave_early(client: &mut Client, gate: &Gate) -> Reply {
    let request = Request::messages(ASK).synthetic("events=500,delay_ms=5");
    let reading = loadtest::Reading { leave_after: Some(10), ..loadtest::Reading::default() };
    client.check_reading(&request, gate.provider.knobs(), reading).expect("a head").reply
}

#[test]
fn a_bucket_that_warns_lets_pass_and_the_record_says_so() {
    let gate = gate(&json!({ "soft": {"unit": "requests", "capacity": 1, "on_exceed": "warn"} }));
    let results: Vec<_> = (0..2)
        .map(|_| {
            let reply = gate.client().send(&Request::messages(ASK)).expect("a reply");
            assert_eq!(reply.status, 200);
            record(&gate, &reply)["quotas"][0]["result"].clone()
        })
        .collect();
    assert_eq!(results, [json!("held"), json!("warned")]);
}

#[test]
fn parallel_agents_do_not_pass_a_bucket_that_holds_one() {
    let gate = gate(&tokens(1_000));
    let admitted = std::thread::scope(|scope| {
        let one = || {
            let mut client = gate.client();
            let reply = client.send(&Request::messages(ASK).synthetic("events=100,delay_ms=3"));
            u32::from(reply.expect("a reply").status == 200)
        };
        let all: Vec<_> = (0..32).map(|_| scope.spawn(one)).collect();
        all.into_iter().map(|thread| thread.join().expect("a client")).sum::<u32>()
    });
    // Each is expected to take some 85 tokens: twelve fit, and not thirty-two.
    assert!((1..=12).contains(&admitted), "{admitted} of 32 were admitted");
    let refused = Filter { outcome: Some(weir::record::record::Outcome::Refused), ..Filter::default() };
    let until = clock::now().plus(Duration::from_secs(10));
    loop {
        let rows = Reader::open(gate.data.path()).and_then(|reader| reader.requests(&refused, 100, None));
        if rows.is_ok_and(|rows| rows.len() as u32 == 32 - admitted) {
            break;
        }
        assert!(clock::now() < until, "every refusal has its record");
        clock::pause(Duration::from_millis(10));
    }
}

/// What `weir quota` says of the gateway over that folder.
fn standing(data: &Path, more: &[&str]) -> Result<Vec<Value>, String> {
    let told = weir(&[&["quota", "--json", "--data", data.to_str().expect("UTF-8")], more].concat()).output();
    let told = told.expect("it runs");
    if !told.status.success() {
        return Err(String::from_utf8_lossy(&told.stderr).into_owned());
    }
    let text = String::from_utf8(told.stdout).expect("text");
    Ok(text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect())
}

#[test]
fn the_command_shows_what_is_held_and_refills_what_is_used_up() {
    let gate = gate(&json!({
        "each:<user>": {"unit": "tokens", "capacity": 100, "rate": "1/month"},
        "money": {"capacity": "$10.00"},
    }));
    let fresh = standing(gate.data.path(), &[]).expect("a list");
    let names: Vec<_> = fresh.iter().map(|row| row["bucket"].as_str().expect("a name")).collect();
    assert_eq!(names, ["each:<user>", "money"], "what nobody has drawn on stands under its configured name");
    let reply = gate.client().send(&Request::messages(ASK)).expect("a reply");
    assert_eq!(reply.status, 429, "no price is known, and nothing is free: {}", reply.text());
    drop(gate);

    let gate = self::gate(&json!({ "each:<user>": {"unit": "tokens", "capacity": 100, "rate": "1/month"} }));
    gate.provider.can("/v1/messages", used(170, 50));
    let send = || gate.client().send(&Request::messages(ASK)).expect("a reply").status;
    assert_eq!((send(), send()), (200, 429));
    let row = standing(gate.data.path(), &[]).expect("a list").remove(0);
    assert_eq!((&row["balance"], &row["reserved"], &row["capacity"]), (&json!(-120), &json!(0), &json!(100)));
    let name = row["bucket"].as_str().expect("a name");
    let refilled = standing(gate.data.path(), &[name, "--refill", "1000"]).expect("refilled").remove(0);
    assert_eq!(refilled["balance"], 100, "up to its capacity");
    assert_eq!(send(), 200);
    let audit = std::fs::read_to_string(gate.data.path().join("audit.log")).expect("an audit log");
    assert!(audit.contains("\"refill\"") && audit.contains("\"amount\":1000"), "{audit}");
    assert!(
        standing(gate.data.path(), &["nobody", "--refill", "1"])
            .expect_err("no such")
            .contains("no such quota")
    );
    assert!(standing(gate.data.path(), &[name, "--refill", "$1"]).expect_err("money").contains("money"));
}

fn with_budget(provider: &Synthetic, capacity: u64) -> String {
    json!({
        "server": {"listen": ["127.0.0.1:0"]},
        "providers": {"synthetic": {
            "baseurl": provider.url(), "models": ["**"], "auth_mode": "none", "compatibility": {"anthropic_messages": true},
        }},
        "quotas": {"all": {"unit": "tokens", "capacity": capacity}},
        "grants": [{"src": ["*"], "app": {"weir": [{"role": "user", "models": "**", "quotas": [{"bucket": "all"}]}]}}],
    })
    .to_string()
}

fn start(text: &str, folder: &Path) -> Weir {
    let started = Weir::start_as(text, &folder.join("data"), &folder.join("weir.hujson"));
    started.unwrap_or_else(|(status, said)| panic!("did not start ({status}): {said}"))
}

#[test]
fn balances_survive_a_restart_and_a_crash_charges_what_was_open() {
    let provider = Synthetic::start(Knobs::default());
    let folder = tempfile::tempdir().expect("a folder");
    let (data, text) = (folder.path().join("data"), with_budget(&provider, 100_000));
    let gateway = start(&text, folder.path());
    for _ in 0..3 {
        let reply = gateway.client().send(&Request::messages(ASK)).expect("a reply");
        assert_eq!(reply.ended, Ended::Complete);
    }
    gateway.ask_to_drain();
    assert!(gateway.end().0.success());

    let gateway = start(&text, folder.path());
    let row = standing(&data, &["all"]).expect("a list").remove(0);
    let balance = row["balance"].as_i64().expect("a number");
    assert!(balance < 100_000 && row["reserved"] == 0, "{row}");
    let (mut client, long) = (gateway.client(), Request::messages(ASK).synthetic("events=3000,delay_ms=20"));
    let open = std::thread::spawn(move || client.send(&long).expect("a head"));
    let reserved = until_durable(&data);
    gateway.kill();
    assert_ne!(open.join().expect("a client").ended, Ended::Complete);

    let gateway = start(&text, folder.path());
    let row = standing(&data, &["all"]).expect("a list").remove(0);
    assert_eq!((&row["balance"], &row["reserved"]), (&json!(balance - reserved), &json!(0)));
    let lost = Filter { outcome: Some(weir::record::record::Outcome::GatewayLost), ..Filter::default() };
    let reader = Reader::open(&data).expect("a store");
    let rows = reader.requests(&lost, 10, None).expect("a list");
    let shown = reader.show(&rows[0].id).expect("a look").expect("a record").record;
    assert_eq!((shown.quotas[0].charged, shown.estimated), (Some(reserved), true));
    // A lowered capacity caps at once.
    drop(gateway);
    let _gateway = start(&with_budget(&provider, 500), folder.path());
    assert_eq!(standing(&data, &["all"]).expect("a list").remove(0)["balance"], 500);
}

/// What the one open exchange holds, once the store knows of it: its balance is written before its batch.
fn until_durable(data: &Path) -> i64 {
    let until = clock::now().plus(PATIENCE);
    loop {
        let open = Reader::open(data).and_then(|reader| reader.in_flight(10));
        if open.is_ok_and(|open| open.len() == 1) {
            let row = standing(data, &["all"]).expect("a list").remove(0);
            return row["reserved"].as_i64().expect("a number");
        }
        assert!(clock::now() < until, "the open exchange is not in the store");
        clock::pause(Duration::from_millis(10));
    }
}

#[test]
fn a_stream_that_overruns_is_ended_in_its_own_words() {
    let gate =
        gate(&json!({ "each:<user>": {"unit": "tokens", "capacity": 300, "on_exceed": "end_stream"} }));
    let request = Request::messages(ASK).synthetic("events=2000,delay_ms=1");
    let reply = gate.client().send(&request).expect("a head");
    assert_eq!((reply.status, &reply.ended), (200, &Ended::Complete), "its framing is whole");
    let text = reply.text();
    assert!(text.ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"), "{text}");
    assert!(
        text.contains(r#""ended_by":"quota""#) && text.contains(r#""stop_reason":"max_tokens""#),
        "{text}"
    );
    assert_eq!(
        text.matches("event: content_block_start").count(),
        text.matches("event: content_block_stop").count()
    );
    let record = record(&gate, &reply);
    assert_eq!((&record["altered"], &record["outcome"]), (&json!(["end_stream"]), &json!("truncated")));
    assert_eq!(
        (&record["fault"]["side"], &record["fault"]["kind"]),
        (&json!("rule"), &json!("quota_exceeded"))
    );
    assert_eq!(record["quotas"][0]["result"], "ended");
    assert_eq!(record["bytes"]["response_sent"], text.len());
    let charged = record["quotas"][0]["charged"].as_i64().expect("charged");
    assert!((250..450).contains(&charged), "{charged}: about what the bucket held");
    let served = gate.provider.wait(1, PATIENCE);
    assert!(served[0].events < 2000, "the provider is told to stop");
    assert_eq!(served[0].header("accept-encoding"), Some("identity"));
    // A stream within its budget passes byte for byte.
    let gate = self::gate(
        &json!({ "each:<user>": {"unit": "tokens", "capacity": 3000000, "on_exceed": "end_stream"} }),
    );
    for knobs in ["events=20", "events=20,close=1", "events=3,stream=0"] {
        let checked = gate
            .client()
            .check(&Request::messages(ASK).synthetic(knobs), gate.provider.knobs())
            .expect("a reply");
        assert!(checked.perfect(), "{knobs}: {checked:?}");
    }
}

/// A gateway under a bucket of dollars, whose provider's models are priced as Anthropic's.
fn dollars(capacity: &str) -> Gate {
    Gate::with(Knobs::default(), Limits::default(), |options| {
        let mut snapshot =
            under(&options.snapshot, &json!({ "each:<user>": {"capacity": capacity, "rate": "$0.01/day"} }));
        let priced = |provider: &Arc<Provider>| {
            let basis = weir::llm::price::CostBasis::Anthropic;
            let listing = weir::llm::price::Listing { basis: Some(basis), ..Default::default() };
            Arc::new(Provider { listing, ..(**provider).clone() })
        };
        snapshot.providers = snapshot.providers.iter().map(priced).collect();
        weir::server::Options { snapshot: Arc::new(snapshot), ..options }
    })
}

#[test]
fn dollars_are_counted_by_the_price_list() {
    let gate = dollars("$0.01");
    // Claude Sonnet 4.5: three dollars a million in, fifteen out.
    gate.provider.can("/v1/messages", used(1_000, 500));
    let reply = gate.client().send(&Request::messages(ASK)).expect("a reply");
    assert_eq!(reply.status, 200, "{}", reply.text());
    let note = record(&gate, &reply)["quotas"][0].clone();
    assert_eq!((&note["unit"], &note["charged"]), (&json!("dollars"), &json!(10_500_000)));
    let refused = gate.client().send(&Request::messages(ASK)).expect("a reply");
    assert_eq!(refused.status, 429, "ten and a half cents of a cent's ten: {}", refused.text());
    let other = ASK.replace("claude-sonnet-4-5", "no-such-model");
    let unpriced = gate.client().send(&Request::messages(other)).expect("a reply");
    assert!(unpriced.status == 429 && unpriced.text().contains("no known price"), "{}", unpriced.text());
}

/// What the store says that an answer cost, and what the bucket was charged for it.
fn cost_and_charge(gate: &Gate, reply: &Reply) -> (Option<i64>, Option<i64>) {
    let charged = record(gate, reply)["quotas"][0]["charged"].as_i64();
    let reader = Reader::open(gate.data.path()).expect("the store");
    let shown = reader.show(reply.header("x-weir-id").expect("an id")).expect("readable").expect("a record");
    (shown.worth.cost_nanodollars, charged)
}

#[test]
fn a_quota_is_charged_what_the_store_says_an_answer_cost() {
    let gate = dollars("$1000");
    let usage = |more: Value| {
        let mut usage = json!({"input_tokens": 1_000, "output_tokens": 100, "cache_read_input_tokens": 10});
        usage.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        json!({"type": "message", "id": "m", "model": "claude-opus-4-8", "stop_reason": "end_turn", "content": [], "usage": usage})
    };
    let run = |model: Option<&str>| json!({"type": "message", "model": model, "input_tokens": 2_000, "output_tokens": 30});
    let ordinary = 1_000 * 5_000 + 100 * 25_000 + 10 * 500;
    for (more, expected) in [
        (json!({}), Some(ordinary)),
        (json!({"service_tier": "standard"}), Some(ordinary)),
        (json!({"service_tier": "batch"}), Some(ordinary / 2)),
        (json!({"speed": "fast"}), Some(ordinary * 2)),
        (json!({"inference_geo": "us"}), Some(ordinary * 11 / 10)),
        (json!({"server_tool_use": {"web_search_requests": 2}}), Some(ordinary + 20_000_000)),
        // Each run at its own model; the top level is not billed.
        (
            json!({"iterations": [run(None), run(Some("claude-sonnet-5"))]}),
            Some(2_000 * (5_000 + 2_000) + 30 * (25_000 + 10_000)),
        ),
        // What no list prices costs nobody knows what, and charges what the ordinary tier would.
        (json!({"service_tier": "made-up"}), None),
    ] {
        let body = usage(more.clone()).to_string();
        gate.provider
            .can("/v1/messages", Canned::new(200).header("content-type", "application/json").body(&body));
        let ask = ASK.replace("claude-sonnet-4-5", "claude-opus-4-8");
        let reply = gate.client().send(&Request::messages(&ask)).expect("a reply");
        assert_eq!(reply.status, 200, "{}", reply.text());
        let (cost, charged) = cost_and_charge(&gate, &reply);
        assert_eq!(cost, expected, "{more}");
        assert_eq!(charged, Some(expected.unwrap_or(ordinary)), "{more}");
    }
}

#[test]
fn a_batch_is_charged_when_its_results_are_read_at_the_batch_tier_and_once() {
    let gate = dollars("$1000");
    let json_kind = ("content-type", "application/json");
    let made = r#"{"id":"msgbatch_1","type":"message_batch","processing_status":"in_progress"}"#;
    gate.provider.can("/v1/messages/batches", Canned::new(200).header(json_kind.0, json_kind.1).body(made));
    let create = |model: &str| {
        let body = format!(
            r#"{{"requests":[{{"custom_id":"a","params":{{"model":"{model}","max_tokens":9,"messages":[]}}}}]}}"#
        );
        let request = Request::new("POST", "/v1/messages/batches", body).header(json_kind.0, json_kind.1);
        gate.client().send(&request.header("anthropic-version", "2023-06-01")).expect("a reply")
    };
    let unpriced = create("nobodys-model");
    assert!(unpriced.status == 429 && unpriced.text().contains("no known price"), "{}", unpriced.text());
    let created = create("claude-opus-4-8");
    assert_eq!((created.status, created.text().as_str()), (200, made));
    assert_eq!(cost_and_charge(&gate, &created).1, Some(0));
    let line = |id: &str, model: &str, input: u64| {
        let usage = json!({"input_tokens": input, "output_tokens": 10, "service_tier": "batch"});
        let message = json!({"id": id, "type": "message", "model": model, "stop_reason": "end_turn", "content": [], "usage": usage});
        json!({"custom_id": id, "result": {"type": "succeeded", "message": message}}).to_string()
    };
    let lines = [
        line("a", "claude-opus-4-8", 1_000),
        line("b", "claude-opus-4-8", 2_000),
        line("c", "claude-sonnet-5", 500),
        json!({"custom_id": "d", "result": {"type": "errored", "error": {"type": "invalid_request"}}})
            .to_string(),
    ];
    let results = lines.join("\n") + "\n";
    // Half of 5 and 25 dollars a million, and of 2 and 10.
    let expected = (3_000 * 5_000 + 20 * 25_000 + 500 * 2_000 + 10 * 10_000) / 2;
    let path = "/v1/messages/batches/msgbatch_1/results";
    for (round, charged) in [("first", expected), ("again", 0)] {
        let canned = Canned::new(200).header("content-type", "application/x-jsonl").body(&results);
        gate.provider.can(path, canned.chunked(&[50]));
        let reply = gate.client().send(&Request::get(path)).expect("a reply");
        assert_eq!((reply.status, reply.text()), (200, results.clone()), "{round}");
        assert_eq!(cost_and_charge(&gate, &reply).1, Some(charged), "{round}");
        let record = record(&gate, &reply);
        assert_eq!((&record["batch"]["lines"], &record["batch"]["failed"]), (&json!(4), &json!(1)));
        assert_eq!(record["batch"]["first"][2]["custom_id"], "c");
        assert_eq!((&record["input_tokens"], &record["service_tier"]), (&json!(3_500), &json!("batch")));
        assert_eq!(record["outcome"], "ok");
    }
    let reader = Reader::open(gate.data.path()).expect("the store");
    let total = &reader.usage(&Filter::default(), weir::record::store::GroupBy::Total).expect("usage")[0];
    assert_eq!(total.cost.cost_nanodollars, Some(expected));
    assert_eq!((total.usage.input_tokens, total.cost.cost_unknown), (Some(3_500), 0));
}

#[test]
fn a_batch_read_in_part_is_billed_as_far_as_it_goes_and_the_whole_once_more() {
    let gate = dollars("$1000");
    let body = json!({"id": "c", "object": "chat.completion", "model": "claude-opus-4-8", "choices": [], "usage": {"prompt_tokens": 1_000, "completion_tokens": 10}});
    let line = |id: &str| {
        json!({"id": "x", "custom_id": id, "response": {"status_code": 200, "body": body}, "error": null})
            .to_string()
    };
    let results = [line("a"), line("b")].join("\n");
    let one = (1_000 * 5_000 + 10 * 25_000) / 2;
    let path = "/v1/files/file_out/content";
    let make = Canned::new(200)
        .header("content-type", "application/json")
        .body(r#"{"id":"batch_1","output_file_id":"file_out"}"#);
    gate.provider.can("/v1/batches", make);
    let create = Request::new("POST", "/v1/batches", "{}").header("content-type", "application/json");
    assert_eq!(gate.client().send(&create).expect("a reply").status, 200);
    for (part, charged) in [(line("a").len() + 30, one), (results.len(), 2 * one), (results.len(), 0)] {
        // What is cut off ends with the connection, before the length that was promised.
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: {}\r\n\r\n",
            results.len()
        );
        gate.provider.can(path, Canned::raw(head + &results[..part]));
        let reply = gate.client().send(&Request::get(path)).expect("a reply");
        assert_eq!(cost_and_charge(&gate, &reply).1, Some(charged), "{part} of {}", results.len());
    }
}
