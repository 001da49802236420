//! The table: principals × requests × expected decisions, from `tests/cases/decide`.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use weir::config::{Options, load};
use weir::llm::dialect::paths::Flag;
use weir::policy::decide::{Verdict, Wants, decide};
use weir::policy::identity::{Kind, Principal};
use weir::policy::rights::KnownRights;
use weir::policy::snapshot::Snapshot;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[expect(dead_code, reason = "for readers of the file")]
    about: String,
    config: Value,
    principals: std::collections::BTreeMap<String, Who>,
    rows: Vec<(Option<String>, Flag, Option<String>, Value)>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Who {
    name: String,
    kind: String,
    tags: Vec<String>,
    groups: Vec<String>,
    loopback: bool,
}

impl Who {
    fn principal(&self) -> Principal {
        let kind = match self.kind.as_str() {
            "" | "user" => Kind::User,
            "device" => Kind::Device,
            "key" => Kind::Key,
            "workload" => Kind::Workload,
            other => panic!("no kind {other}"),
        };
        Principal {
            name: self.name.clone(),
            kind,
            tags: self.tags.clone(),
            groups: self.groups.clone(),
            loopback: self.loopback,
            source: "case",
            ..Principal::default()
        }
    }
}

#[test]
fn the_table_of_decisions() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/decide");
    let mut rows = 0;
    for file in std::fs::read_dir(folder).expect("cases") {
        let path = file.expect("a file").path();
        let text = std::fs::read_to_string(&path).expect("text");
        let case: Case =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        rows += run(&path.display().to_string(), &case);
    }
    assert!(rows > 40, "only {rows} rows were found");
}

fn run(name: &str, case: &Case) -> usize {
    let snapshot = std::sync::Arc::new(snapshot(name, &case.config));
    let mut known = KnownRights::default();
    for (who, flag, model, expected) in &case.rows {
        let principal = who.as_ref().map(|who| case.principals.get(who).expect(who).principal());
        let wants = Wants::new(*flag, model.as_deref());
        let fresh = said(&decide(&snapshot, principal.as_ref(), wants), model.as_deref());
        // Asked twice from memory: what is remembered must be what would be decided.
        for _ in 0..2 {
            assert_eq!(said(&known.decide(&snapshot, principal.as_ref(), wants), model.as_deref()), fresh);
        }
        assert_eq!(&fresh, expected, "{name}: {who:?} asks {flag:?} for {model:?}");
    }
    case.rows.len()
}

fn snapshot(name: &str, config: &Value) -> Snapshot {
    let files = |_: &str| Err(std::io::Error::from(std::io::ErrorKind::NotFound));
    match load(&config.to_string(), &|_| None, &files, &Options::default()) {
        Ok(loaded) => loaded.snapshot,
        Err(problems) => panic!("{name}: {problems:#?}"),
    }
}

/// The status of a refusal, or the providers in order, with the name each is asked by where that differs.
fn said(verdict: &Verdict, asked: Option<&str>) -> Value {
    match verdict {
        Verdict::Deny(why) => why.status().into(),
        Verdict::Allow(plan) => {
            assert_eq!(plan.providers.len(), plan.hops.len());
            let hop = |(provider, hop): (
                &std::sync::Arc<weir::policy::snapshot::Provider>,
                &weir::policy::decide::Hop,
            )| {
                match hop.model.as_deref().filter(|model| Some(*model) != asked) {
                    Some(model) => format!("{} as {model}", provider.id),
                    None => provider.id.clone(),
                }
            };
            let hops: Vec<String> = plan.providers.iter().zip(&plan.hops).map(hop).collect();
            hops.join(", ").into()
        }
    }
}
