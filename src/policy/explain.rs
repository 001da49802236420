//! Why, or why not: the deciding rule with its place, or the nearest miss and what would have to change.
//!
//! The verdict is [`decide`]'s own; this file only says how it came about. Slow and thorough, for people. The answer is
//! plain data, so that a running gateway and a command that reads the file give the same one.

mod asked;
mod besides;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use asked::{Question, somebody};
pub use besides::Besides;

use super::decide::{Denial, Verdict, Wants, decide};
use super::grant::{Grant, Src, groups_of};
use super::identity::{Kind, Principal};
use super::rights::Rights;
use super::route::{self, Because, Candidate};
use super::snapshot::Snapshot;
use crate::base::settings::{Place, nearest};

/// The answer to "why?".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Flag of the endpoints that were asked about.
    pub flag: String,
    /// Whether it would be allowed.
    pub allowed: bool,
    /// The refusal in short.
    pub why: Option<String>,
    /// Where it would go, in order.
    pub providers: Vec<String>,
    /// How it came about, in order.
    pub steps: Vec<Step>,
    /// What would have to change; empty where it is allowed.
    pub to_change: Vec<String>,
}

/// One step of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What was found.
    pub text: String,
    /// Where in the file: line, from 1.
    pub line: Option<u32>,
    /// Column in characters, from 1.
    pub column: Option<u32>,
    /// Path of keys.
    pub path: Option<String>,
}

impl Step {
    fn new(text: impl Into<String>, place: Option<&Place>) -> Self {
        let (line, column) = place.map(|place| (place.line, place.column)).unzip();
        Self { text: text.into(), line, column, path: place.map(|place| place.path.to_string()) }
    }

    /// Its place, as it is written everywhere else.
    fn place(&self) -> Option<Place> {
        let (line, column) = (self.line?, self.column?);
        Some(Place { line, column, path: self.path.as_deref().unwrap_or_default().into() })
    }
}

/// Suggestions of one kind are cut here.
const SUGGESTIONS_MAX: usize = 3;

/// Explain what [`decide`] says, and why. `provider` narrows the question to one of them.
#[must_use]
pub fn explain(
    snapshot: &Snapshot,
    principal: Option<&Principal>,
    wants: Wants<'_>,
    provider: Option<&str>,
) -> Explanation {
    explain_besides(snapshot, principal, wants, Besides { provider, ..Besides::default() })
}

/// As [`explain`], and what was asked besides.
#[must_use]
pub fn explain_besides(
    snapshot: &Snapshot,
    principal: Option<&Principal>,
    wants: Wants<'_>,
    besides: Besides<'_>,
) -> Explanation {
    let qualified = match (besides.provider, wants.model) {
        (Some(id), Some(model)) => Some(format!("{id}/{model}")),
        _ => None,
    };
    let wants = Wants { model: qualified.as_deref().or(wants.model), ..wants };
    let verdict = decide(snapshot, principal, wants);
    let mut told = Telling { snapshot, wants, besides, steps: Vec::new(), to_change: Vec::new() };
    match principal {
        None => told.nobody(),
        Some(principal) => told.somebody(principal, &verdict),
    }
    let (allowed, why, providers) = match verdict {
        Verdict::Allow(plan) => (true, None, plan.providers.iter().map(|p| p.id.clone()).collect()),
        Verdict::Deny(why) => (false, Some(why.words().to_owned()), Vec::new()),
    };
    let flag = wants.flag.name().to_owned();
    Explanation { flag, allowed, why, providers, steps: told.steps, to_change: told.to_change }
}

/// Why somebody without a role is refused, in one line for the body of a 403: a rule that gives one by its place, nobody
/// else's name, and who can say more.
#[must_use]
pub fn no_role(snapshot: &Snapshot, principal: &Principal) -> String {
    // On the data path: which is nearest is for `explain` to find out.
    let mut giving = snapshot.grants.iter().filter(|grant| gives_role(grant));
    let told = match (giving.next(), giving.count()) {
        (None, _) => "no grant gives a role".to_owned(),
        (Some(only), 0) => format!("the one grant that gives a role, at {}, is not for it", only.place),
        (Some(first), more) => format!(
            "none of the {} grants that give a role is for it, the first of them at {}",
            more + 1,
            first.place
        ),
    };
    let name = principal.label();
    // What is pasted into a shell must be a plain word there.
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"@._:,/+-".contains(&b));
    let who = if plain { name.as_str() } else { "WHO" };
    format!(
        "no role granted to {name}: {told}; `weir explain --as {who}` or GET /api/explain says what would change it"
    )
}

fn gives_role(grant: &Grant) -> bool {
    grant.gives.iter().any(|gives| gives.role.is_some())
}

/// What is nearly written for somebody was most likely meant for them; the rest stays in the order of the file.
fn nearest_first(grants: &mut [&Grant], principal: &Principal) {
    let near = |grant: &Grant| {
        let written: Vec<String> = grant.src.iter().filter(|src| src.is_one()).map(Src::to_string).collect();
        nearest(&as_src(principal), written.iter().map(String::as_str)).is_some()
    };
    grants.sort_by_cached_key(|grant| !near(grant));
}

struct Telling<'a> {
    snapshot: &'a Snapshot,
    wants: Wants<'a>,
    besides: Besides<'a>,
    steps: Vec<Step>,
    to_change: Vec<String>,
}

impl Telling<'_> {
    fn step(&mut self, text: impl Into<String>, place: Option<&Place>) {
        self.steps.push(Step::new(text, place));
    }

    /// Whom a grant is for. Of people, keys and devices whoever is not to know them is told that there are some.
    fn whom(&self, grant: &Grant) -> String {
        let is_told = |src: &&Src| !self.besides.discreet || !src.is_one();
        let told: Vec<String> =
            grant.src.iter().filter(is_told).take(SUGGESTIONS_MAX).map(Src::to_string).collect();
        match (told.is_empty(), grant.src.len() > told.len()) {
            (true, _) => "others".into(),
            (false, true) => format!("{}, …", told.join(", ")),
            (false, false) => told.join(", "),
        }
    }

    fn nobody(&mut self) {
        self.step("no identity source vouches for the client: 401", None);
        self.to_change
            .push("connect so that a source of the listener knows you: see \"identity\" in the file".into());
    }

    fn somebody(&mut self, principal: &Principal, verdict: &Verdict) {
        let rights = Rights::of(self.snapshot, principal);
        self.who(principal, &rights);
        if rights.roles.is_empty() {
            return self.no_role(principal);
        }
        for (role, place) in &rights.roles {
            self.step(format!("role {} is granted", role.name()), Some(place));
        }
        let flag = self.wants.flag;
        if matches!(verdict, Verdict::Deny(Denial::NoProvider)) {
            self.step(format!("no provider has the flag {}: 404", flag.name()), None);
            self.to_change
                .push(format!("set {} in the compatibility of a provider that speaks it", flag.name()));
            return;
        }
        match self.wants.model {
            None => self.step("the endpoint names no model: any provider with a granted model will do", None),
            Some(model) => self.model(principal, &rights, model),
        }
        self.budgets(principal, verdict);
        self.tool(principal, &rights, verdict);
    }

    fn who(&mut self, principal: &Principal, rights: &Rights) {
        let groups = groups_of(principal, &self.snapshot.groups);
        let kind = match principal.kind {
            Kind::User => "user",
            Kind::Device => "device",
            Kind::Key => "key",
            Kind::Workload => "workload",
        };
        let member =
            if groups.is_empty() { String::from("in no group") } else { format!("in {}", groups.join(", ")) };
        self.step(
            format!("{kind} {}, {member}; grants for it: {}", principal.name, rights.grants.len()),
            None,
        );
    }

    fn no_role(&mut self, principal: &Principal) {
        self.step("no role granted: 403", None);
        let mut giving: Vec<&Grant> = self.snapshot.grants.iter().filter(|grant| gives_role(grant)).collect();
        nearest_first(&mut giving, principal);
        if giving.is_empty() {
            self.to_change.push("no grant gives a role at all: add one with {\"role\": \"user\"}".into());
        }
        for grant in giving.into_iter().take(SUGGESTIONS_MAX) {
            let suggestion = add_to(grant, principal);
            self.step(format!("a role is granted to {}", self.whom(grant)), Some(&grant.place));
            self.to_change.push(suggestion);
        }
    }

    fn model(&mut self, principal: &Principal, rights: &Rights, model: &str) {
        let candidates = self.snapshot.routes().candidates(&self.snapshot.providers, self.wants.flag, model);
        if candidates.is_empty() {
            return self.nobody_serves(model);
        }
        let mut allowed = false;
        for candidate in &candidates {
            allowed |= self.candidate(rights, candidate, model);
        }
        if !allowed {
            self.not_granted(principal, rights, &candidates, model);
        }
        for other in self.wants.others {
            self.step(
                format!("the request names {other} too, which must be granted at the same provider"),
                None,
            );
        }
    }

    fn candidate(&mut self, rights: &Rights, candidate: &Candidate, model: &str) -> bool {
        let snapshot = self.snapshot;
        let provider = &snapshot.providers[candidate.provider];
        let sent = candidate.sent.as_deref().unwrap_or(model);
        let because = match candidate.because {
            Because::Name if candidate.sent.is_some() => "lists it as an alias",
            Because::Name => "lists it",
            Because::Qualified => "is named by the client",
            Because::Glob => "lists a pattern for it",
            Because::Everything => "serves everything",
        };
        self.step(
            format!("{} {because}; preference {}", provider.id, provider.preference),
            Some(&provider.place),
        );
        match rights.allows(&provider.id, sent) {
            Some(place) => self.step(format!("{}/{sent} is granted", provider.id), Some(place)),
            None => self.step(format!("{}/{sent} is not granted", provider.id), None),
        }
        rights.allows(&provider.id, sent).is_some()
    }

    fn nobody_serves(&mut self, model: &str) {
        self.step(
            format!("no provider serves {model} at endpoints of {}: 404", self.wants.flag.name()),
            None,
        );
        let bare = model.split_once('/').map_or(model, |(_, rest)| rest);
        for provider in
            self.snapshot.providers.iter().filter(|p| route::serves(p, model) || route::serves(p, bare))
        {
            let text = format!("{} serves it, but has not the flag {}", provider.id, self.wants.flag.name());
            self.steps.push(Step::new(text, Some(&provider.place)));
            self.to_change
                .push("ask at an endpoint that the provider has, or set its compatibility flag".into());
        }
        if let Some(near) = nearest(model, self.snapshot.routes().names()) {
            self.to_change.push(format!("ask for \"{near}\", if that was meant"));
        } else if self.to_change.is_empty() {
            self.to_change.push(format!("list \"{model}\" in the models of a provider"));
        }
    }

    /// The nearest misses: grants that cover the model and are for others.
    fn not_granted(&mut self, principal: &Principal, rights: &Rights, candidates: &[Candidate], model: &str) {
        self.step("no grant for it covers the model: 404", None);
        let snapshot = self.snapshot;
        let named = |candidate: &Candidate| {
            let sent = candidate.sent.as_deref().unwrap_or(model).to_owned();
            (snapshot.providers[candidate.provider].id.clone(), sent)
        };
        let names: Vec<(String, String)> = candidates.iter().map(named).collect();
        let covering = |grant: &&Grant| {
            let covers = |gives: &super::grant::Gives| {
                gives.models.is_some() && names.iter().any(|(provider, sent)| gives.covers(provider, sent))
            };
            grant.gives.iter().any(covers)
        };
        let mut covering: Vec<&Grant> = snapshot.grants.iter().filter(covering).collect();
        nearest_first(&mut covering, principal);
        for grant in covering.into_iter().take(SUGGESTIONS_MAX) {
            self.step(format!("it is granted to {}", self.whom(grant)), Some(&grant.place));
            self.to_change.push(add_to(grant, principal));
        }
        let own = rights
            .grants
            .iter()
            .map(|at| &snapshot.grants[*at])
            .find(|grant| grant.gives.iter().any(|g| g.models.is_some()));
        if let (Some(grant), Some((provider, sent))) = (own, names.first()) {
            self.to_change.push(format!(
                "or add {{\"models\": \"{provider}/{sent}\"}} to the grant at {}",
                grant.place
            ));
        } else if let Some((provider, sent)) = names.first() {
            self.to_change.push(format!(
                "add a grant with {{\"models\": \"{provider}/{sent}\"}} for {}",
                as_src(principal)
            ));
        }
    }
}

fn add_to(grant: &Grant, principal: &Principal) -> String {
    let groups: Vec<&Src> = grant.src.iter().filter(|src| matches!(src, Src::Group(_))).take(1).collect();
    let by_group = groups.first().map(|group| format!(", or become a member of {group}")).unwrap_or_default();
    if grant.src.contains(&Src::Loopback) && !principal.loopback {
        return format!(
            "connect from this machine, or add \"{}\" to src of the grant at {}",
            as_src(principal),
            grant.place
        );
    }
    format!("add \"{}\" to src of the grant at {}{by_group}", as_src(principal), grant.place)
}

/// How the principal is written in a `src` list.
fn as_src(principal: &Principal) -> String {
    match principal.kind {
        Kind::Key => format!("key:{}", principal.name),
        Kind::User | Kind::Device | Kind::Workload => principal.name.clone(),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            None => writeln!(f, "allowed, at {}", self.providers.join(", then "))?,
            Some(why) => writeln!(f, "refused: {why}")?,
        }
        for step in &self.steps {
            match step.place() {
                Some(place) => writeln!(f, "  - {}  [{place}]", step.text)?,
                None => writeln!(f, "  - {}", step.text)?,
            }
        }
        if !self.to_change.is_empty() {
            writeln!(f, "to change it:")?;
        }
        self.to_change.iter().try_for_each(|change| writeln!(f, "  - {change}"))
    }
}
