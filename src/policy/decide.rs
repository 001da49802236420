//! The one function that decides: grant → route. Pure; every refusal names its rule.

use std::sync::Arc;

use super::identity::Principal;
use super::snapshot::{Provider, Snapshot};
use crate::llm::dialect::Dialect;

/// What is asked, as far as policy cares.
#[derive(Clone, Copy, Debug)]
pub struct Wants<'a> {
    /// API language of the endpoint.
    pub dialect: Dialect,
    /// Model named; endpoints without a model (listing, probes) have none.
    pub model: Option<&'a str>,
}

/// The verdict.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Go on, at these providers in order.
    Allow(Plan),
    /// Stop here.
    Deny(Denial),
}

/// Where an allowed exchange may go.
#[derive(Clone, Debug)]
pub struct Plan {
    /// First choice and fallbacks.
    pub providers: Vec<Arc<Provider>>,
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// Nobody vouched for the client: 401.
    NoIdentity,
    /// Known, but without a role: 403.
    NoRole,
    /// No provider serves that model in that dialect, or no grant names it: 404.
    NoModel,
    /// No provider speaks the endpoint's dialect at all: 404.
    NoProvider,
}

/// May `principal` have what it wants?
#[must_use]
pub fn decide(snapshot: &Snapshot, principal: Option<&Principal>, wants: Wants<'_>) -> Verdict {
    let Some(_principal) = principal else { return Verdict::Deny(Denial::NoIdentity) };
    if !snapshot.loopback_is_user {
        return Verdict::Deny(Denial::NoRole);
    }
    let speaking: Vec<_> =
        snapshot.providers.iter().filter(|p| p.dialects.contains(&wants.dialect)).collect();
    if speaking.is_empty() {
        return Verdict::Deny(Denial::NoProvider);
    }
    let serving = |p: &&&Arc<Provider>| wants.model.is_none_or(|model| serves(p, model));
    let providers: Vec<_> = speaking.iter().filter(serving).map(|p| Arc::clone(p)).collect();
    if providers.is_empty() { Verdict::Deny(Denial::NoModel) } else { Verdict::Allow(Plan { providers }) }
}

fn serves(provider: &Provider, model: &str) -> bool {
    provider.models.iter().any(|pattern| pattern.matches(model))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::glob::Glob;

    fn snapshot() -> Snapshot {
        let serving = |id: &str, dialect, model: &str| {
            Arc::new(Provider {
                id: id.into(),
                dialects: vec![dialect],
                models: vec![Glob::new(model).expect(model)],
                ..Provider::default()
            })
        };
        Snapshot {
            providers: vec![
                serving("a", Dialect::Messages, "claude-*"),
                serving("b", Dialect::Chat, "**"),
                serving("c", Dialect::Chat, "gpt-4o"),
            ],
            loopback_is_user: true,
            ..Snapshot::default()
        }
    }

    fn asked(dialect: Dialect, model: &str) -> Result<Vec<String>, Denial> {
        let me = Principal { name: "me".into(), source: "peer", loopback: true, ..Principal::default() };
        match decide(&snapshot(), Some(&me), Wants { dialect, model: Some(model) }) {
            Verdict::Allow(plan) => Ok(plan.providers.iter().map(|p| p.id.clone()).collect()),
            Verdict::Deny(why) => Err(why),
        }
    }

    #[test]
    fn a_model_goes_to_those_who_serve_it_in_its_language() {
        assert_eq!(asked(Dialect::Messages, "claude-x"), Ok(vec!["a".into()]));
        assert_eq!(asked(Dialect::Chat, "gpt-4o"), Ok(vec!["b".into(), "c".into()]));
        assert_eq!(asked(Dialect::Messages, "gpt-4o"), Err(Denial::NoModel));
    }

    #[test]
    fn nobody_and_no_role_are_refused() {
        let wants = Wants { dialect: Dialect::Chat, model: None };
        assert!(matches!(decide(&snapshot(), None, wants), Verdict::Deny(Denial::NoIdentity)));
        let closed = Snapshot { loopback_is_user: false, ..snapshot() };
        let me = Principal::default();
        assert!(matches!(decide(&closed, Some(&me), wants), Verdict::Deny(Denial::NoRole)));
    }
}
