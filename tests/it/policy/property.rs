//! Grants only ever allow: adding one takes nothing from anybody. Random grants, seeded.

use std::sync::Arc;

use weir::base::settings::Place;
use weir::llm::dialect::paths::Flag;
use weir::policy::decide::{Verdict, Wants, decide};
use weir::policy::glob::Glob;
use weir::policy::grant::settings::Role;
use weir::policy::grant::{Gives, Grant, Src};
use weir::policy::identity::{Kind, Principal};
use weir::policy::snapshot::{Provider, Snapshot};

const SRC: [&str; 7] = ["*", "alice@x", "bob@x", "group:eng", "tag:ci", "key:k", "(loopback)"];
const GLOBS: [&str; 8] = ["**", "a/**", "a/m1", "*/m1", "b/m*", "c/*", "*/x/*", "nowhere/**"];
const MODELS: [&str; 7] = ["m1", "m2", "a/m1", "b/m2", "x/y", "c/x/y", "unknown"];

#[test]
fn adding_a_grant_never_takes_access_away() {
    let mut random = 42_u64;
    let mut gained = 0;
    for round in 0..400 {
        let mut grants: Vec<Grant> = (0..pick(&mut random, 6)).map(|_| grant(&mut random)).collect();
        let before = reach(&snapshot(grants.clone()));
        grants.insert(pick(&mut random, grants.len() + 1), grant(&mut random));
        let after = reach(&snapshot(grants.clone()));
        for reached in &before {
            assert!(after.contains(reached), "round {round}: {reached:?} was lost with {grants:#?}");
        }
        gained += usize::from(after.len() > before.len());
    }
    assert!(gained > 50, "only {gained} rounds changed anything: the sample says nothing");
}

/// Everything that anybody can reach: who, which name, at which provider.
fn reach(snapshot: &Snapshot) -> Vec<(usize, &'static str, String)> {
    let mut reached = Vec::new();
    for (who, principal) in principals().iter().enumerate() {
        for model in MODELS {
            let wants = Wants::new(Flag::OpenaiChat, Some(model));
            if let Verdict::Allow(plan) = decide(snapshot, Some(principal), wants) {
                reached.extend(plan.providers.iter().map(|provider| (who, model, provider.id.clone())));
            }
        }
    }
    reached
}

fn snapshot(grants: Vec<Grant>) -> Snapshot {
    let provider = |id: &str, models: &[&str]| {
        let models = models.iter().map(|model| Glob::new(model).expect(model)).collect();
        Arc::new(Provider { id: id.into(), flags: vec![Flag::OpenaiChat], models, ..Provider::default() })
    };
    let providers = vec![provider("a", &["m1", "m2"]), provider("b", &["m*"]), provider("c", &["**"])];
    Snapshot { providers, grants, ..Snapshot::default() }
}

fn principals() -> Vec<Principal> {
    let user = |name: &str| Principal { name: name.into(), ..Principal::default() };
    vec![
        user("alice@x"),
        Principal { groups: vec!["eng".into()], ..user("bob@x") },
        Principal { kind: Kind::Device, tags: vec!["tag:ci".into()], ..user("tag:ci") },
        Principal { kind: Kind::Key, loopback: true, ..user("k") },
        user("stranger@x"),
    ]
}

fn grant(random: &mut u64) -> Grant {
    let src = (0..=pick(random, 2)).map(|_| Src::parse(SRC[pick(random, SRC.len())]).expect("src")).collect();
    let gives = (0..=pick(random, 3)).map(|_| gives(random)).collect();
    Grant { place: Place::default(), src, gives }
}

fn gives(random: &mut u64) -> Gives {
    let glob = |random: &mut u64| Glob::new(GLOBS[pick(random, GLOBS.len())]).expect("glob");
    Gives {
        role: (pick(random, 2) == 0).then_some(Role::User),
        models: (pick(random, 3) > 0).then(|| vec![glob(random)]),
        ..Gives::default()
    }
}

fn pick(random: &mut u64, below: usize) -> usize {
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*random >> 33) as usize % below
}
