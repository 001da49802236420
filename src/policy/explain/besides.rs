//! What else may be asked beside "which model": a tool, and the budgets that an agent's requests draw on.

use std::fmt::Write;

use super::Telling;
use crate::base::settings::Place;
use crate::policy::decide::Verdict;
use crate::policy::grant::Gives;
use crate::policy::identity::Principal;
use crate::policy::quota::{self, Fill};
use crate::policy::rights::Rights;

/// What is asked besides.
#[derive(Clone, Copy, Debug, Default)]
pub struct Besides<'a> {
    /// The provider meant, as in PROVIDER/MODEL.
    pub provider: Option<&'a str>,
    /// A tool that the model may want to call.
    pub tool: Option<&'a str>,
    /// The program that asks: what fills `<agent>` in the names of buckets.
    pub agent: Option<&'a str>,
    /// Whoever asks is told of groups, and of no other people by name.
    pub discreet: bool,
}

/// Rules for tools are read and not acted upon in this version; whoever is told of them must know.
const NOT_ENFORCED: &str = "rules for tools are not enforced in this version";

impl Telling<'_> {
    /// The buckets that requests draw on at the first provider.
    pub(super) fn budgets(&mut self, principal: &Principal, verdict: &Verdict) {
        let Verdict::Allow(plan) = verdict else { return };
        let snapshot = self.snapshot;
        for template in plan.hops.first().map_or(&[][..], |hop| &hop.buckets) {
            let mut text = format!("draws on {template}");
            let filled = self.filled(template, principal);
            if filled != **template {
                let _ = write!(text, ", for it {filled}");
            }
            match snapshot.bucket(template) {
                Some(_) => self.step(text, None),
                None => self.step(format!("{text}, which is not configured: refused"), None),
            }
        }
    }

    /// As far as the question says.
    fn filled(&self, template: &str, principal: &Principal) -> String {
        let fill = Fill {
            user: &principal.called(),
            node: principal.node.as_deref(),
            agent: self.besides.agent,
            model: self.wants.model,
            ..Fill::default()
        };
        quota::as_far_as_known(template, &fill)
    }

    /// Which rule lets a tool be called, or not: a denial counts before what is allowed; where nothing is allowed by name,
    /// everything is.
    pub(super) fn tool(&mut self, principal: &Principal, rights: &Rights, verdict: &Verdict) {
        let Some(tool) = self.besides.tool else { return };
        let provider = match verdict {
            Verdict::Allow(plan) => plan.providers.first().map(|provider| provider.id.clone()),
            Verdict::Deny(_) => None,
        };
        let (provider, model) = (provider.unwrap_or_default(), self.wants.model.unwrap_or_default());
        let snapshot = self.snapshot;
        let given = rights.grants.iter().flat_map(|at| &snapshot.grants[*at].gives).chain(&principal.carried);
        let rules: Vec<&Gives> = given.filter(|gives| gives.covers(&provider, model)).collect();
        let denies = |gives: &&&Gives| gives.tools_deny.iter().any(|glob| glob.matches(tool));
        let allows = |gives: &&&Gives| gives.tools_allow.iter().flatten().any(|glob| glob.matches(tool));
        let by_name = rules.iter().find(|gives| gives.tools_allow.is_some());
        let (said, place): (&str, Option<&Place>) =
            match (rules.iter().find(denies), rules.iter().find(allows), by_name) {
                (Some(gives), _, _) => ("is denied", Some(&gives.place)),
                (None, Some(gives), _) => ("is allowed", Some(&gives.place)),
                (None, None, Some(gives)) => ("is not among those that are allowed", Some(&gives.place)),
                (None, None, None) => ("may be called: no rule speaks of tools", None),
            };
        let place = place.cloned();
        let note = if place.is_some() { format!(" ({NOT_ENFORCED})") } else { String::new() };
        self.step(format!("tool {tool} {said}{note}"), place.as_ref());
    }
}
