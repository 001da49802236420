//! What the pure functions decide, seen from outside: rows of the table and random grants, through a running gateway.

use loadtest::{Canned, Knobs, Request};
use serde_json::{Value, json};
use weir::config::keys;
use weir::llm::dialect::paths::Flag;
use weir::policy::identity::key::{Minted, mint};

use crate::gate::{Gate, wait_for};

/// A gateway before one synthetic provider that stands for all of the file's, each under a path of its own.
fn gate(mut config: Value, keys: &[Minted]) -> Gate {
    for (id, provider) in config["providers"].as_object_mut().expect("providers") {
        provider["baseurl"] = json!(format!("$provider/{id}"));
    }
    config["server"] = json!({"listen": ["127.0.0.1:0"]});
    config["identity"] = json!([{"source": "key"}, {"source": "headers", "trusted": ["127.0.0.1"],
        "user": "x-auth-email", "groups": "x-auth-groups"}]);
    let rows: Vec<_> = keys.iter().map(|key| key.row.clone()).collect();
    let gate = Gate::of_file(Knobs { keep: true, ..Knobs::default() }, &config.to_string(), |data| {
        keys::write(data, &rows).expect("written");
    });
    gate.provider.can("*", Canned::new(200).header("content-type", "application/json").body("{}"));
    gate
}

fn request(flag: Flag, model: &str) -> Request {
    let body = json!({"model": model, "max_tokens": 1, "messages": []}).to_string();
    match flag {
        Flag::AnthropicMessages => Request::messages(body),
        Flag::OpenaiChat => Request::chat(body),
        other => panic!("no endpoint for {other:?} here"),
    }
}

#[test]
fn rows_of_the_table_through_a_running_gateway() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/decide/organisation.json");
    let case: Value = serde_json::from_str(&std::fs::read_to_string(path).expect("the table")).expect("JSON");
    let nightly = mint("nightly", 1, None, Vec::new()).expect("minted");
    let gate = gate(case["config"].clone(), std::slice::from_ref(&nightly));
    let (mut client, mut rows, mut served) = (gate.client(), 0, 0);
    for row in case["rows"].as_array().expect("rows") {
        let (who, flag, model, expected) = (&row[0], &row[1], row[2].as_str(), &row[3]);
        let flag = flag.as_str().and_then(Flag::from_name).expect("a flag");
        // A request that names an empty model is no request, which the pure functions are not there to say.
        let model = model.filter(|model| !model.is_empty());
        let (Some(model), Flag::AnthropicMessages | Flag::OpenaiChat) = (model, flag) else { continue };
        let mut request = request(flag, model);
        let principal = &case["principals"][who.as_str().unwrap_or_default()];
        match (who.as_str(), principal["kind"].as_str()) {
            (None, _) => {}
            (Some("nightly"), _) => request = request.header("x-api-key", &nightly.key),
            (Some("pretender"), _) => continue,
            (Some(_), None | Some("user")) => {
                let groups: Vec<&str> =
                    principal["groups"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                request = request
                    .header("x-auth-email", principal["name"].as_str().expect("a name"))
                    .header("x-auth-groups", &groups.join(","));
            }
            // Devices and workloads have tests of their own, with real evidence.
            _ => continue,
        }
        let reply = client.send(&request).expect("an answer");
        rows += 1;
        let Some(first) = expected.as_str().map(|all| all.split(", ").next().unwrap_or_default()) else {
            assert_eq!(&json!(reply.status), expected, "{row}: {}", reply.text());
            continue;
        };
        served += 1;
        assert_eq!(reply.status, 200, "{row}: {}", reply.text());
        let went = gate.served(served).pop().expect("it went up");
        let (id, sent) = first.split_once(" as ").unwrap_or((first, model));
        assert!(went.target.starts_with(&format!("/{id}/")), "{row}: {}", went.target);
        let body: Value = serde_json::from_slice(&went.request_body).expect("JSON");
        assert_eq!(body["model"], sent, "{row}");
    }
    assert!(rows > 15 && served > 5, "only {rows} rows, {served} served");
    assert_eq!(gate.provider.truth().len(), served, "nothing that was refused went up");
}

const MODELS: [&str; 6] = ["m1", "m2", "a/m1", "b/m2", "x/y", "unknown"];
const GLOBS: [&str; 6] = ["a/**", "a/m1", "*/m1", "b/m*", "*/x/*", "c/*"];
const SRC: [&str; 5] = ["*", "key:ada", "key:bob", "group:eng", "ada@example.com"];

#[test]
fn another_grant_takes_nothing_from_anybody_who_asks() {
    let keys = [("ada", Vec::new()), ("bob", vec!["eng".to_owned()])]
        .map(|(name, groups)| mint(name, 1, None, groups).expect("minted"));
    let mut random = 7_u64;
    let mut grants =
        vec![json!({"src": ["key:ada"], "app": {"weir": [{"role": "user"}, {"models": "a/m1"}]}})];
    let gate = gate(file(&grants, 0), &keys);
    let mut before = reach(&gate, &keys);
    let mut gained = 0;
    for round in 1..=6 {
        let at = pick(&mut random, grants.len() + 1);
        grants.insert(at, grant(&mut random));
        put_in_force(&gate, &grants, round);
        let after = reach(&gate, &keys);
        let lost: Vec<_> = before.iter().filter(|reached| !after.contains(reached)).collect();
        assert!(lost.is_empty(), "round {round}: {lost:?} with {grants:?}");
        gained += usize::from(after.len() > before.len());
        before = after;
    }
    assert!(gained > 1, "only {gained} rounds changed anything: the sample says nothing");
}

/// Providers and these grants; a group without members says which file it is.
fn file(grants: &[Value], number: usize) -> Value {
    json!({
        "providers": {
            "a": {"models": ["m1", "m2"], "apikey": "k", "baseurl": "http://127.0.0.1:1"},
            "b": {"models": ["m*"], "apikey": "k", "baseurl": "http://127.0.0.1:1"},
            "c": {"models": ["**"], "apikey": "k", "baseurl": "http://127.0.0.1:1"},
            format!("file-{number}"): {"models": ["none"], "auth_mode": "none", "baseurl": "http://127.0.0.1:1"},
        },
        "grants": grants,
    })
}

fn put_in_force(gate: &Gate, grants: &[Value], number: usize) {
    let mut config = file(grants, number);
    for (id, provider) in config["providers"].as_object_mut().expect("providers") {
        provider["baseurl"] = json!(format!("$provider/{id}"));
    }
    config["server"] = json!({"listen": ["127.0.0.1:0"]});
    config["identity"] = json!([{"source": "key"}]);
    gate.write_file(&config.to_string());
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP).expect("a signal");
    let name = format!("file-{number}");
    wait_for(&name, || gate.control("/api/health").1.contains(&format!("\"{name}\"")).then_some(()));
}

/// Who got which model.
fn reach(gate: &Gate, keys: &[Minted]) -> Vec<(String, &'static str)> {
    let mut client = gate.client();
    let mut reached = Vec::new();
    for key in keys {
        for model in MODELS {
            let asked =
                request(Flag::OpenaiChat, model).header("authorization", &format!("Bearer {}", key.key));
            let status = client.send(&asked).expect("an answer").status;
            assert!(matches!(status, 200 | 403 | 404), "{status}");
            if status == 200 {
                reached.push((key.row.name.clone(), model));
            }
        }
    }
    reached
}

fn grant(random: &mut u64) -> Value {
    let src: Vec<&str> = (0..=pick(random, 2)).map(|_| SRC[pick(random, SRC.len())]).collect();
    let mut gives = vec![json!({"models": GLOBS[pick(random, GLOBS.len())]})];
    if pick(random, 2) == 0 {
        gives.push(json!({"role": "user"}));
    }
    json!({"src": src, "app": {"weir": gives}})
}

fn pick(random: &mut u64, below: usize) -> usize {
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*random >> 33) as usize % below
}
