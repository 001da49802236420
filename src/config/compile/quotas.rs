//! `quotas` → [`Bucket`]s.

use std::time::Duration;

use super::{Compiling, shared};
use crate::base::settings::{At, Problem};
use crate::policy::quota::lease::QuotaStore;
use crate::policy::quota::settings::{FailPolicy, QuotaSettings, Reserve};
use crate::policy::snapshot::Bucket;

/// What may stand between angle brackets in a bucket's name.
pub(super) const TEMPLATES: [&str; 6] = ["user", "node", "group", "agent", "session", "model"];

impl Compiling<'_> {
    pub(super) fn buckets(&mut self) -> Vec<Bucket> {
        let file = self.file;
        file.quotas.iter().filter_map(|(name, written)| self.bucket(name, written)).collect()
    }

    /// The store that machines share, if one is named.
    pub(super) fn quota_store(&mut self) -> Option<QuotaStore> {
        let file = self.file;
        let written = file.server.as_ref()?.quota_store.as_ref()?;
        if written.lease < Duration::from_secs(1) || written.lease > Duration::from_secs(3_600) {
            self.error(&written.place, "has a lease out of bounds", "expected from 1s to 1h");
        }
        let place = written.url.place.clone();
        let url = match self.secrets.resolve(&written.url) {
            Ok(url) if !self.options.no_secrets => url,
            Ok(_) => return None,
            Err(problem) => {
                self.problems.push(problem);
                return None;
            }
        };
        if !["redis://", "rediss://", "redis+unix://", "unix://"].iter().any(|scheme| url.starts_with(scheme))
        {
            self.error(
                &place,
                "is no address of a store",
                "expected redis://host:6379, or rediss:// for TLS",
            );
            return None;
        }
        Some(QuotaStore { url, prefix: written.prefix.clone(), lease: written.lease })
    }

    fn bucket(&mut self, name: &At<String>, written: &QuotaSettings) -> Option<Bucket> {
        self.check_templates(name);
        self.check_overdraft(name, written);
        let amount =
            |this: &mut Self, amount: crate::policy::quota::settings::Amount| match amount.of(written.unit) {
                Ok(value) => Some(value),
                Err(why) => {
                    this.error(
                        &written.place,
                        why,
                        "write \"$10.00\" for money, a number for tokens and requests",
                    );
                    None
                }
            };
        let capacity = amount(self, written.capacity)?;
        let refill = match written.rate {
            Some(rate) => amount(self, rate.amount)?,
            None => 0,
        };
        if capacity == 0 {
            self.warn(&written.place, "holds nothing", "every request that draws on it will be refused");
        }
        Some(Bucket {
            name: shared(name),
            place: name.place.clone(),
            unit: written.unit,
            capacity,
            refill,
            refill_per: written.rate.map_or(Duration::ZERO, |rate| rate.per),
            on_exceed: written.on_exceed,
            overdraft: written.overdraft.iter().map(|name| shared(name)).collect(),
            reserve_max: written.reserve == Reserve::Max,
            fail_open: written.fail_policy == FailPolicy::FailOpen,
        })
    }

    fn check_templates(&mut self, name: &At<String>) {
        for part in name.split('<').skip(1) {
            let template = part.split_once('>').map(|(template, _)| template);
            if !template.is_some_and(|template| TEMPLATES.contains(&template)) {
                let problem = Problem::error(&name.place, format!("<{part} is no template"))
                    .expected("expected <user>, <node>, <group>, <agent>, <session> or <model>")
                    .near(template.unwrap_or(part), TEMPLATES);
                self.problems.push(problem);
            }
        }
        let claimed = ["<session>", "<agent>"].iter().any(|template| name.contains(template));
        if claimed && !self.paired(name) {
            self.error(
                &name.place,
                "is filled by what the client claims, so a client could make itself a new bucket at will",
                "let every capability that names it also name a bucket without <session> and <agent>",
            );
        }
    }

    /// Whether every capability that names the bucket also names one that the client cannot choose.
    fn paired(&self, name: &At<String>) -> bool {
        let capabilities = self.file.grants.iter().flat_map(|grant| &grant.app.own);
        let firm = |bucket: &str| !bucket.contains("<session>") && !bucket.contains("<agent>");
        capabilities
            .filter(|capability| capability.quotas.iter().any(|used| used.bucket.value == name.value))
            .all(|capability| capability.quotas.iter().any(|used| firm(&used.bucket)))
    }

    fn check_overdraft(&mut self, name: &At<String>, written: &QuotaSettings) {
        let file = self.file;
        for other in &written.overdraft {
            let found = file.quotas.iter().find(|(bucket, _)| bucket.value == other.value);
            match found {
                None => {
                    let names = self.names("quotas", &file.quotas);
                    if !names.contains(&other.value) {
                        self.refers_to_nothing(
                            other,
                            format!("no bucket {:?} to borrow from", other.value),
                            &names,
                        );
                    }
                }
                Some(_) if other.value == name.value => {
                    self.error(&other.place, "borrows from itself", "name another bucket");
                }
                Some((_, lender)) if lender.unit != written.unit => {
                    self.error(
                        &other.place,
                        "counts something else",
                        "borrow from a bucket of the same unit",
                    );
                }
                Some(_) => {}
            }
        }
    }
}
