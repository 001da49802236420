//! Decisions over hand-made snapshots; the larger table stands in `tests/cases/decide`.

use super::*;
use crate::policy::glob::Glob;
use crate::policy::grant::settings::Role;
use crate::policy::grant::{Gives, Grant, Group, Src};
use crate::policy::identity::Kind;
use crate::policy::rights::KnownRights;

fn provider(id: &str, flag: Flag, models: &[&str]) -> Arc<Provider> {
    let models = models.iter().map(|model| Glob::new(model).expect(model)).collect();
    Arc::new(Provider { id: id.into(), flags: vec![flag], models, ..Provider::default() })
}

fn snapshot() -> Snapshot {
    Snapshot {
        providers: vec![
            provider("a", Flag::AnthropicMessages, &["claude-*"]),
            provider("b", Flag::OpenaiChat, &["**"]),
            provider("c", Flag::OpenaiChat, &["gpt-4o"]),
        ],
        loopback_is_user: true,
        ..Snapshot::default()
    }
}

fn me() -> Principal {
    Principal { name: "me".into(), source: "peer", loopback: true, ..Principal::default() }
}

fn asked(snapshot: &Snapshot, who: &Principal, flag: Flag, model: &str) -> Result<Vec<String>, Denial> {
    match decide(snapshot, Some(who), Wants::new(flag, Some(model))) {
        Verdict::Allow(plan) => Ok(plan.providers.iter().map(|p| p.id.clone()).collect()),
        Verdict::Deny(why) => Err(why),
    }
}

#[test]
fn a_model_goes_to_those_who_serve_it_in_its_language() {
    let snapshot = snapshot();
    assert_eq!(asked(&snapshot, &me(), Flag::AnthropicMessages, "claude-x"), Ok(vec!["a".into()]));
    assert_eq!(asked(&snapshot, &me(), Flag::OpenaiChat, "gpt-4o"), Ok(vec!["c".into(), "b".into()]));
    assert_eq!(asked(&snapshot, &me(), Flag::AnthropicMessages, "gpt-4o"), Err(Denial::NoModel));
}

#[test]
fn nobody_and_no_role_are_refused() {
    let wants = Wants::new(Flag::OpenaiChat, None);
    assert!(matches!(decide(&snapshot(), None, wants), Verdict::Deny(Denial::NoIdentity)));
    let closed = Snapshot { loopback_is_user: false, ..snapshot() };
    assert!(matches!(decide(&closed, Some(&me()), wants), Verdict::Deny(Denial::NoRole)));
    let elsewhere = Principal { source: "key", ..me() };
    assert!(matches!(decide(&snapshot(), Some(&elsewhere), wants), Verdict::Deny(Denial::NoRole)));
}

fn gives(role: Option<Role>, models: Option<&str>) -> Gives {
    let models = models.map(|glob| vec![Glob::new(glob).expect(glob)]);
    Gives { role, models, ..Gives::default() }
}

fn grant(src: &str, gives: Vec<Gives>) -> Grant {
    Grant { place: Place::default(), src: vec![Src::parse(src).expect(src)], gives }
}

fn granted(grants: Vec<Grant>) -> Snapshot {
    Snapshot { grants, loopback_is_user: false, ..snapshot() }
}

#[test]
fn a_role_alone_opens_no_model_and_a_model_alone_gives_no_role() {
    let role_only = granted(vec![grant("*", vec![gives(Some(Role::User), None)])]);
    assert_eq!(asked(&role_only, &me(), Flag::OpenaiChat, "gpt-4o"), Err(Denial::NoModel));
    let model_only = granted(vec![grant("*", vec![gives(None, Some("**"))])]);
    assert_eq!(asked(&model_only, &me(), Flag::OpenaiChat, "gpt-4o"), Err(Denial::NoRole));
    let both = granted(vec![grant("*", vec![gives(Some(Role::User), None), gives(None, Some("c/*"))])]);
    assert_eq!(asked(&both, &me(), Flag::OpenaiChat, "gpt-4o"), Ok(vec!["c".into()]));
    assert_eq!(asked(&both, &me(), Flag::OpenaiChat, "b/gpt-4o"), Err(Denial::NoModel));
}

#[test]
fn every_model_a_request_names_must_be_granted_where_it_is_sent() {
    let open = granted(vec![grant("*", vec![gives(Some(Role::User), Some("b/gpt-*"))])]);
    let ask = |others: &[String]| {
        let wants = Wants { others, ..Wants::new(Flag::OpenaiChat, Some("gpt-4o")) };
        matches!(decide(&open, Some(&me()), wants), Verdict::Allow(_))
    };
    assert!(ask(&[]) && ask(&["gpt-4.1".into()]));
    assert!(!ask(&["gpt-4.1".into(), "o3-pro".into()]));
}

#[test]
fn groups_come_from_the_source_or_from_the_file() {
    let mut snapshot = granted(vec![grant("group:eng", vec![gives(Some(Role::User), Some("**"))])]);
    let alice = Principal { name: "Alice@Example.com".into(), source: "key", ..Principal::default() };
    assert_eq!(asked(&snapshot, &alice, Flag::OpenaiChat, "gpt-4o"), Err(Denial::NoRole));
    let brought = Principal { groups: vec!["eng".into()], ..alice.clone() };
    assert!(asked(&snapshot, &brought, Flag::OpenaiChat, "gpt-4o").is_ok());
    snapshot.groups =
        vec![Group { name: "eng".into(), members: vec![Src::parse("alice@example.com").expect("login")] }];
    assert!(asked(&snapshot, &alice, Flag::OpenaiChat, "gpt-4o").is_ok());
}

#[test]
fn kinds_are_not_confused_by_equal_names() {
    for (src, kind) in [("ci", Kind::User), ("key:ci", Kind::Key), ("tag:ci", Kind::Device)] {
        let snapshot = granted(vec![grant(src, vec![gives(Some(Role::User), Some("**"))])]);
        for other in [Kind::User, Kind::Key, Kind::Device, Kind::Workload] {
            let name = if other == Kind::Device { "tag:ci" } else { "ci" };
            let tags = if other == Kind::Device { vec!["tag:ci".to_owned()] } else { Vec::new() };
            let who = Principal { name: name.into(), kind: other, tags, ..Principal::default() };
            assert_eq!(
                asked(&snapshot, &who, Flag::OpenaiChat, "x").is_ok(),
                other == kind,
                "{src} {other:?}"
            );
        }
    }
}

#[test]
fn what_is_remembered_is_what_would_be_decided_and_a_new_snapshot_forgets() {
    let mut known = KnownRights::default();
    let open = Arc::new(granted(vec![grant("me", vec![gives(Some(Role::User), Some("c/*"))])]));
    let wants = |model| Wants::new(Flag::OpenaiChat, Some(model));
    for _ in 0..3 {
        assert!(matches!(known.decide(&open, Some(&me()), wants("gpt-4o")), Verdict::Allow(_)));
        assert!(matches!(known.decide(&open, Some(&me()), wants("o3")), Verdict::Deny(Denial::NoModel)));
        assert!(matches!(known.decide(&open, Some(&me()), wants("")), Verdict::Deny(Denial::NoModel)));
        assert!(matches!(
            known.decide(&open, Some(&me()), Wants::new(Flag::OpenaiChat, None)),
            Verdict::Allow(_)
        ));
    }
    let closed = Arc::new(granted(Vec::new()));
    assert!(matches!(known.decide(&closed, Some(&me()), wants("gpt-4o")), Verdict::Deny(Denial::NoRole)));
}
