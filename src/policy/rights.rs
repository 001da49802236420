//! What one principal may do: the union of the grants that match it, compiled once and kept per core.
//!
//! A decision must cost the same with ten grants and with a thousand, so grants are indexed by whom they are for,
//! a principal's globs by the provider they begin with, and the verdict on a model is remembered.

use std::collections::HashSet;
use std::sync::Arc;

use foldhash::HashMap;

use super::decide::{Denial, Hop, Plan, Verdict, Wants};
use super::glob::Glob;
use super::grant::settings::Role;
use super::grant::{Gives, Grant, Src, groups_of};
use super::identity::{Kind, Principal};
use super::snapshot::Snapshot;
use crate::base::settings::Place;
use crate::llm::dialect::paths::Flag;

/// Principals remembered per core; past it all are forgotten and learnt again.
pub const PRINCIPALS_MAX: usize = 16 * 1024;
/// Verdicts remembered per principal; past it they are forgotten.
const VERDICTS_MAX: usize = 256;
/// A longer model name is judged, not remembered.
const REMEMBERED_NAME_BYTES_MAX: usize = 128;

/// Grants by whom they are for: made once per snapshot.
#[derive(Clone, Debug, Default)]
pub struct ByWhom {
    anyone: Vec<usize>,
    loopback: Vec<usize>,
    named: HashMap<Named, Vec<usize>>,
    spiffe: Vec<(Glob, usize)>,
}

/// A `src` that is one name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Named {
    Login(String),
    Group(String),
    Tag(String),
    Key(String),
}

impl ByWhom {
    /// Index a snapshot's grants.
    #[must_use]
    pub fn over(grants: &[Grant]) -> Self {
        let mut index = Self::default();
        for (at, grant) in grants.iter().enumerate() {
            for src in &grant.src {
                index.add(src, at);
            }
        }
        index
    }

    fn add(&mut self, src: &Src, at: usize) {
        let named = match src {
            Src::Anyone => return self.anyone.push(at),
            Src::Loopback => return self.loopback.push(at),
            Src::Spiffe(glob) => return self.spiffe.push((glob.clone(), at)),
            Src::Login(name) => Named::Login(name.clone()),
            Src::Group(name) => Named::Group(name.clone()),
            Src::Tag(name) => Named::Tag(name.clone()),
            Src::Key(name) => Named::Key(name.clone()),
        };
        self.named.entry(named).or_default().push(at);
    }

    /// Indexes of the grants that are for this principal, in the file's order, each once.
    fn of(&self, principal: &Principal, groups: &[&str]) -> Vec<usize> {
        let mut found = self.anyone.clone();
        if principal.loopback {
            found.extend(&self.loopback);
        }
        let mut names: Vec<Named> = groups.iter().map(|group| Named::Group((*group).to_owned())).collect();
        match principal.kind {
            Kind::User => names.push(Named::Login(super::grant::login(&principal.name))),
            Kind::Key => names.push(Named::Key(principal.name.clone())),
            Kind::Device => {
                names.push(Named::Tag(principal.name.clone()));
                names.extend(principal.tags.iter().cloned().map(Named::Tag));
            }
            Kind::Workload => {
                found.extend(
                    self.spiffe.iter().filter(|(glob, _)| glob.matches(&principal.name)).map(|(_, at)| at),
                );
            }
        }
        found.extend(names.iter().filter_map(|name| self.named.get(name)).flatten());
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// What a principal may do.
#[derive(Debug, Default)]
pub struct Rights {
    /// Every role it holds, with the place that gives it.
    pub roles: Vec<(Role, Place)>,
    /// Indexes of the grants that are for it.
    pub grants: Vec<usize>,
    /// Whether it may read `/metrics`.
    pub read_metrics: bool,
    /// Whether it may read prices.
    pub read_pricing: bool,
    everything: Option<Place>,
    by_provider: HashMap<Box<str>, Vec<(Glob, Place)>>,
    wild: Vec<(Glob, Place)>,
    /// Capabilities that say more than which models.
    extras: Vec<Gives>,
    verdicts: HashMap<Box<str>, Vec<(Flag, Verdict)>>,
}

impl Rights {
    /// Compile what a principal may do.
    #[must_use]
    pub fn of(snapshot: &Snapshot, principal: &Principal) -> Self {
        let groups = groups_of(principal, &snapshot.groups);
        let grants = snapshot.by_whom().of(principal, &groups);
        let mut rights = Self::default();
        if snapshot.loopback_is_user && principal.loopback && principal.source == "peer" {
            let place = Place { path: "the embedded default".into(), ..Place::default() };
            rights.roles.push((Role::User, place.clone()));
            // Counters and prices of their own gateway.
            (rights.read_metrics, rights.read_pricing) = (true, true);
            rights.everything = Some(place);
        }
        let mut seen = HashSet::new();
        let listed = grants.iter().flat_map(|at| &snapshot.grants[*at].gives);
        for gives in listed.chain(&principal.carried) {
            rights.add(gives, &mut seen);
            if says_more(gives) {
                rights.extras.push(gives.clone());
            }
        }
        rights.grants = grants;
        rights
    }

    fn add<'s>(&mut self, gives: &'s Gives, seen: &mut HashSet<&'s str>) {
        self.roles.extend(gives.role.map(|role| (role, gives.place.clone())));
        self.read_metrics |= gives.read_metrics;
        self.read_pricing |= gives.read_pricing;
        for glob in gives.models.iter().flatten() {
            if glob.is_anything() {
                self.everything.get_or_insert_with(|| gives.place.clone());
            } else if seen.insert(glob.pattern()) {
                self.add_glob(glob, &gives.place);
            }
        }
    }

    fn add_glob(&mut self, glob: &Glob, place: &Place) {
        let entry = (glob.clone(), place.clone());
        match glob.pattern().split_once('/') {
            Some((id, _)) if !id.contains('*') => self.by_provider.entry(id.into()).or_default().push(entry),
            _ => self.wild.push(entry),
        }
    }

    /// The place of the grant that allows a model at a provider.
    #[must_use]
    pub fn allows(&self, provider: &str, model: &str) -> Option<&Place> {
        if self.everything.is_some() {
            return self.everything.as_ref();
        }
        let here = self.by_provider.get(provider).into_iter().flatten();
        let matching = |(glob, _): &&(Glob, Place)| glob.matches_parts(&[provider, "/", model]);
        here.chain(&self.wild).find(matching).map(|(_, place)| place)
    }

    /// Whether some model at the provider may be allowed: enough for endpoints that name none.
    #[must_use]
    pub fn touches(&self, provider: &str) -> bool {
        self.everything.is_some()
            || self.by_provider.contains_key(provider)
            || self.wild.iter().any(|(glob, _)| glob.may_begin_with(provider))
    }

    /// Whether every model at the provider is allowed, also one that nobody names: whoever names none gets the one that
    /// the provider has by default.
    #[must_use]
    pub fn gives_all(&self, provider: &str) -> bool {
        self.allows(provider, "\u{1}").is_some()
    }

    /// Where a path outside the table may be asked for, and by which rule. Patterns are over `provider/path`; one that
    /// begins with a slash holds at every provider.
    #[must_use]
    pub fn direct(&self, snapshot: &Snapshot, path: &str) -> Option<Arc<Plan>> {
        let mut plan = Plan::default();
        for provider in snapshot.providers.iter().filter(|_| !self.roles.is_empty()) {
            let opens = |glob: &Glob| glob.matches(path) || glob.matches_parts(&[&provider.id, path]);
            let opening = self.extras.iter().find(|gives| gives.direct_paths.iter().any(opens));
            if let Some(gives) = opening {
                plan.providers.push(Arc::clone(provider));
                plan.hops.push(self.hop(&provider.id, None, Some(&gives.place)));
            }
        }
        (!plan.providers.is_empty()).then(|| Arc::new(plan))
    }

    /// Whether it holds a role.
    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        self.roles.iter().any(|(held, _)| *held == role)
    }

    /// The verdict, remembered where it can be.
    fn decide(&mut self, snapshot: &Snapshot, wants: Wants<'_>) -> Verdict {
        let name = wants.model.unwrap_or_default();
        if !wants.others.is_empty() || name.len() > REMEMBERED_NAME_BYTES_MAX {
            return self.judge(snapshot, wants);
        }
        // An endpoint without a model is remembered under the empty name, which no model has.
        if wants.model == Some("") {
            return Verdict::Deny(Denial::NoModel);
        }
        let known = self.verdicts.get(name).into_iter().flatten();
        if let Some((_, verdict)) = known.clone().find(|(flag, _)| *flag == wants.flag) {
            return verdict.clone();
        }
        let verdict = self.judge(snapshot, wants);
        if self.verdicts.len() >= VERDICTS_MAX {
            self.verdicts.clear();
        }
        self.verdicts.entry(name.into()).or_default().push((wants.flag, verdict.clone()));
        verdict
    }

    /// The verdict, from the rules.
    pub(super) fn judge(&self, snapshot: &Snapshot, wants: Wants<'_>) -> Verdict {
        if self.roles.is_empty() {
            return Verdict::Deny(Denial::NoRole);
        }
        if !snapshot.providers.iter().any(|provider| provider.flags.contains(&wants.flag)) {
            return Verdict::Deny(Denial::NoProvider);
        }
        let plan = match wants.model {
            None => self.without_model(snapshot, wants),
            Some(model) => self.with_model(snapshot, wants, model),
        };
        if plan.providers.is_empty() {
            Verdict::Deny(Denial::NoModel)
        } else {
            Verdict::Allow(Arc::new(plan))
        }
    }

    fn without_model(&self, snapshot: &Snapshot, wants: Wants<'_>) -> Plan {
        let mut plan = Plan::default();
        for (index, provider) in snapshot.providers.iter().enumerate() {
            let opens = provider.flags.contains(&wants.flag) && self.touches(&provider.id);
            if opens && self.allows_all(snapshot, index, wants.others) {
                plan.providers.push(Arc::clone(provider));
                plan.hops.push(self.hop(&provider.id, None, None));
            }
        }
        plan
    }

    fn with_model(&self, snapshot: &Snapshot, wants: Wants<'_>, model: &str) -> Plan {
        let mut plan = Plan::default();
        for candidate in snapshot.routes().candidates(&snapshot.providers, wants.flag, model) {
            let provider = &snapshot.providers[candidate.provider];
            let sent = candidate.sent.as_deref().unwrap_or(model);
            // Judged is what is sent: the model's own name, and every other model the request names, as it stands.
            let allowed = self.allows(&provider.id, sent);
            if let Some(place) =
                allowed.filter(|_| self.allows_all(snapshot, candidate.provider, wants.others))
            {
                plan.providers.push(Arc::clone(provider));
                let mut hop = self.hop(&provider.id, Some(sent), Some(place));
                hop.model = candidate.sent;
                plan.hops.push(hop);
            }
        }
        plan
    }

    /// Whether a provider serves each of these under its own name, and a grant allows it there.
    fn allows_all(&self, snapshot: &Snapshot, provider: usize, models: &[String]) -> bool {
        let id = &snapshot.providers[provider].id;
        models
            .iter()
            .all(|model| snapshot.routes().serves(provider, model) && self.allows(id, model).is_some())
    }

    fn hop(&self, provider: &str, model: Option<&str>, rule: Option<&Place>) -> Hop {
        let mut hop = Hop { rule: rule.cloned().unwrap_or_default(), ..Hop::default() };
        for gives in &self.extras {
            let covered = match model {
                Some(model) => gives.covers(provider, model),
                None => gives.models.is_none(),
            };
            if covered {
                hop.add_headers.extend(gives.add_headers.iter().cloned());
                hop.buckets.extend(gives.quotas.iter().cloned());
            }
        }
        hop.buckets.sort();
        hop.buckets.dedup();
        hop
    }
}

/// Whether a capability matters beyond role and models once a request is allowed.
fn says_more(gives: &Gives) -> bool {
    !gives.quotas.is_empty() || !gives.add_headers.is_empty() || !gives.direct_paths.is_empty()
}

/// One core's memory of who may do what. Forgets everything when another snapshot comes into force.
#[derive(Debug, Default)]
pub struct KnownRights {
    of: Option<Arc<Snapshot>>,
    rights: HashMap<Principal, Rights>,
}

impl KnownRights {
    /// As [`super::decide::decide`], from memory where it can be.
    pub fn decide(
        &mut self,
        snapshot: &Arc<Snapshot>,
        principal: Option<&Principal>,
        wants: Wants<'_>,
    ) -> Verdict {
        let Some(principal) = principal else { return Verdict::Deny(Denial::NoIdentity) };
        self.learn(snapshot, principal);
        match self.rights.get_mut(principal) {
            Some(rights) => rights.decide(snapshot, wants),
            None => super::decide::decide(snapshot, Some(principal), wants),
        }
    }

    /// What a principal may do, where that has been asked since the snapshot came into force.
    #[must_use]
    pub fn rights(&self, principal: &Principal) -> Option<&Rights> {
        self.rights.get(principal)
    }

    /// Compile what a principal may do, unless it is known.
    pub fn learn(&mut self, snapshot: &Arc<Snapshot>, principal: &Principal) {
        if !self.of.as_ref().is_some_and(|of| Arc::ptr_eq(of, snapshot)) {
            self.rights.clear();
            self.of = Some(Arc::clone(snapshot));
        }
        if self.rights.contains_key(principal) {
            return;
        }
        if self.rights.len() >= PRINCIPALS_MAX {
            self.rights.clear();
        }
        self.rights.insert(principal.clone(), Rights::of(snapshot, principal));
    }
}
