//! The one function that decides: identity → role → endpoint → model → grant. Pure; every refusal names its rule.

use std::sync::Arc;

use super::identity::Principal;
use super::rights::Rights;
use super::snapshot::{Provider, Snapshot};
use crate::base::settings::Place;
use crate::llm::dialect::paths::Flag;

/// What is asked, as far as policy cares.
#[derive(Clone, Copy, Debug)]
pub struct Wants<'a> {
    /// Flag of a provider that opens the endpoint.
    pub flag: Flag,
    /// Model named; endpoints without a model (listing, probes) have none.
    pub model: Option<&'a str>,
    /// Every other model the request names (fallback lists, advisors, tools): each must be granted where it is sent.
    pub others: &'a [String],
}

impl<'a> Wants<'a> {
    /// One model, or none, at endpoints of a flag.
    #[must_use]
    pub fn new(flag: Flag, model: Option<&'a str>) -> Self {
        Self { flag, model, others: &[] }
    }
}

/// The verdict.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Go on, at these providers in order.
    Allow(Arc<Plan>),
    /// Stop here.
    Deny(Denial),
}

/// Where an allowed exchange may go.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// First choice and fallbacks.
    pub providers: Vec<Arc<Provider>>,
    /// What holds at each of them, in the same order.
    pub hops: Vec<Hop>,
}

/// What holds for an exchange at one provider.
#[derive(Clone, Debug, Default)]
pub struct Hop {
    /// The name the provider knows the model by, where it differs from the client's: to be spliced into the request.
    pub model: Option<Arc<str>>,
    /// Fields that grants add to the request.
    pub add_headers: Vec<(String, String)>,
    /// Names of the buckets it draws on, templates as written.
    pub buckets: Vec<Arc<str>>,
    /// The place of the grant that allows it.
    pub rule: Place,
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// Nobody vouched for the client: 401.
    NoIdentity,
    /// Known, but without a role: 403.
    NoRole,
    /// No provider serves that model at that endpoint, or no grant names it: 404.
    NoModel,
    /// No provider has a flag that opens the endpoint: 404.
    NoProvider,
}

impl Denial {
    /// For people, and for the body of the refusal.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Denial::NoIdentity => "nobody vouched for this client",
            Denial::NoRole => "no role granted",
            Denial::NoModel => "the model does not exist or you do not have access to it",
            Denial::NoProvider => "no provider has this endpoint",
        }
    }

    /// The status it is answered with.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Denial::NoIdentity => 401,
            Denial::NoRole => 403,
            Denial::NoModel | Denial::NoProvider => 404,
        }
    }
}

/// May `principal` have what it wants? Cores ask [`super::rights::KnownRights`], which remembers.
#[must_use]
pub fn decide(snapshot: &Snapshot, principal: Option<&Principal>, wants: Wants<'_>) -> Verdict {
    match principal {
        None => Verdict::Deny(Denial::NoIdentity),
        Some(principal) => Rights::of(snapshot, principal).judge(snapshot, wants),
    }
}

#[cfg(test)]
mod tests;
