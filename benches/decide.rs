//! What a decision costs with 1,000 grants and 200 models. Each case states its answer; a fast wrong thing fails.
//!
//! `cargo bench --bench decide` prints nanoseconds per decision; the promise is under 2,000.

use std::sync::Arc;

use weir::base::clock;
use weir::config::{Options, load};
use weir::llm::dialect::paths::Flag;
use weir::policy::decide::{Denial, Verdict, Wants, decide};
use weir::policy::identity::Principal;
use weir::policy::rights::{KnownRights, Rights};
use weir::policy::snapshot::Snapshot;

const GRANTS: usize = 1_000;
const MODELS: usize = 200;
const ROUNDS: u32 = 200_000;
const PROMISE_NS: u64 = 2_000;

fn main() {
    let snapshot = Arc::new(snapshot());
    let alice = person("user7@example.com", &["team3", "team4"]);
    let mut known = KnownRights::default();
    let rights = Rights::of(&snapshot, &alice);
    let model = |n: usize| format!("model-{n}");
    let names: Vec<String> = (0..MODELS).map(model).collect();

    report("decide/remembered/1000x200", ROUNDS, |round| {
        let name = &names[round as usize % MODELS];
        allowed(&known.decide(&snapshot, Some(&alice), Wants::new(Flag::OpenaiChat, Some(name))))
    });
    let strangers: Vec<String> = (0..ROUNDS).map(|n| format!("unheard-of-{n}")).collect();
    report("decide/unheard-of-model/1000x200", ROUNDS, |round| {
        let wants = Wants::new(Flag::OpenaiChat, Some(&strangers[round as usize]));
        denied(&known.decide(&snapshot, Some(&alice), wants), Denial::NoModel)
    });
    // Two more models of the same provider: each must be served and granted there.
    let beside: Vec<Vec<String>> =
        (0..10).map(|vendor| vec![model(vendor + 10), model(vendor + 20)]).collect();
    report("decide/several-models/1000x200", ROUNDS, |round| {
        let name = &names[round as usize % MODELS];
        let others = &beside[round as usize % 10];
        let wants = Wants { others, ..Wants::new(Flag::OpenaiChat, Some(name)) };
        allowed(&known.decide(&snapshot, Some(&alice), wants))
    });
    report("decide/known-principal-first-look/1000x200", ROUNDS, |round| {
        rights.allows("vendor3", &names[round as usize % MODELS]).is_some()
    });
    // Not promised: what a principal's first request pays once per core and snapshot.
    let spent = timed(2_000, |_| {
        allowed(&decide(&snapshot, Some(&alice), Wants::new(Flag::OpenaiChat, Some("model-1"))))
    });
    println!("decide/first-request/1000x200 {spent} ns");
}

/// 1,000 grants to people and groups, 200 models at ten providers.
fn snapshot() -> Snapshot {
    let mut text = String::from("{\"providers\": {");
    for provider in 0..10 {
        let models: Vec<_> =
            (0..MODELS).filter(|n| n % 10 == provider).map(|n| format!("\"model-{n}\"")).collect();
        text += &format!(
            "\"vendor{provider}\": {{\"baseurl\": \"https://v{provider}.example.com\", \"apikey\": \"k\", \"models\": [{}]}},",
            models.join(",")
        );
    }
    text += "}, \"groups\": {";
    for team in 0..50 {
        text += &format!("\"team{team}\": [\"user{team}@example.com\"],");
    }
    text += "}, \"grants\": [{\"src\": [\"*\"], \"app\": {\"weir\": [{\"role\": \"user\"}]}},";
    for grant in 1..GRANTS {
        let src = if grant % 2 == 0 {
            format!("group:team{}", grant % 50)
        } else {
            format!("user{}@example.com", grant % 100)
        };
        text += &format!(
            "{{\"src\": [\"{src}\"], \"app\": {{\"weir\": [{{\"models\": \"vendor{}/model-*\"}}]}}}},",
            grant % 10
        );
    }
    text += "{\"src\": [\"group:team3\"], \"app\": {\"weir\": [{\"models\": [\"*/model-1*\", \"**/model-*\"]}]}}]}";
    let none = |_: &str| None;
    let files = |_: &str| Err(std::io::Error::from(std::io::ErrorKind::NotFound));
    match load(&text, &none, &files, &Options::default()) {
        Ok(loaded) => loaded.snapshot,
        Err(problems) => panic!("{problems:#?}"),
    }
}

fn person(name: &str, groups: &[&str]) -> Principal {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    Principal { name: name.into(), source: "key", groups, ..Principal::default() }
}

fn allowed(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Allow(plan) if plan.providers.len() == 1)
}

fn denied(verdict: &Verdict, why: Denial) -> bool {
    matches!(verdict, Verdict::Deny(denial) if *denial == why)
}

fn report(name: &str, rounds: u32, case: impl FnMut(u32) -> bool) {
    let spent = timed(rounds, case);
    println!("{name} {spent} ns");
    assert!(spent < PROMISE_NS, "{name}: {spent} ns is over the promise of {PROMISE_NS}");
}

/// Nanoseconds per round; every round's answer must be right.
fn timed(rounds: u32, mut case: impl FnMut(u32) -> bool) -> u64 {
    let before = clock::now();
    let right = (0..rounds).filter(|round| case(*round)).count();
    let spent = clock::now().since(before);
    assert_eq!(right, rounds as usize, "wrong answers");
    u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX) / u64::from(rounds)
}
