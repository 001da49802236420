//! The question as people put it: about whom, and what. Asked on a file and of a running gateway alike.

use super::{Besides, Explanation, explain_besides};
use crate::llm::dialect::paths::Flag;
use crate::policy::decide::Wants;
use crate::policy::identity::{Kind, Principal};
use crate::policy::snapshot::Snapshot;

/// A question.
#[derive(Clone, Debug)]
pub struct Question {
    /// About whom.
    pub who: Principal,
    /// The model asked for; endpoints that name none where absent.
    pub model: Option<String>,
    /// The provider meant, as in PROVIDER/MODEL.
    pub provider: Option<String>,
    /// A tool that the model may want to call.
    pub tool: Option<String>,
    /// The program that asks.
    pub agent: Option<String>,
    /// Whether other people stay unnamed.
    pub discreet: bool,
    /// Flag that opens the endpoint; every one that a provider has where absent.
    pub flag: Option<Flag>,
}

impl Question {
    /// One answer for each flag asked about.
    #[must_use]
    pub fn answers(&self, snapshot: &Snapshot) -> Vec<Explanation> {
        let mut who = self.who.clone();
        // The embedded default has one listener, on this machine, where the kernel vouches.
        if snapshot.loopback_is_user {
            (who.loopback, who.source) = (true, "peer");
        }
        let answer = |flag: Flag| {
            let wants = Wants::new(flag, self.model.as_deref());
            let besides = Besides {
                provider: self.provider.as_deref(),
                tool: self.tool.as_deref(),
                agent: self.agent.as_deref(),
                discreet: self.discreet,
            };
            explain_besides(snapshot, Some(&who), wants, besides)
        };
        self.flags(snapshot).into_iter().map(answer).collect()
    }

    /// The same about endpoints of the flag of that name.
    #[must_use]
    pub fn of_flag(self, name: &str) -> Option<Self> {
        Some(Self { flag: Some(Flag::from_name(name)?), ..self })
    }

    fn flags(&self, snapshot: &Snapshot) -> Vec<Flag> {
        if let Some(flag) = self.flag {
            return vec![flag];
        }
        let mut open: Vec<Flag> =
            snapshot.providers.iter().flat_map(|provider| &provider.flags).copied().collect();
        open.sort_unstable();
        open.dedup();
        if open.is_empty() { vec![Flag::OpenaiChat] } else { open }
    }
}

/// Whoever is called so: a login, `tag:x` (or several, with commas), `key:x`, a `spiffe://` id.
#[must_use]
pub fn somebody(who: &str, groups: &[String], loopback: bool) -> Principal {
    let (kind, name) = match who.strip_prefix("key:") {
        Some(name) => (Kind::Key, name.to_owned()),
        None if who.starts_with("tag:") => (Kind::Device, joined(who)),
        None if who.starts_with("spiffe://") => (Kind::Workload, who.to_owned()),
        None => (Kind::User, who.to_owned()),
    };
    let tags = if kind == Kind::Device { name.split(',').map(str::to_owned).collect() } else { Vec::new() };
    let plain = |group: &String| group.strip_prefix("group:").unwrap_or(group).to_owned();
    Principal {
        name,
        kind,
        tags,
        groups: groups.iter().map(plain).collect(),
        loopback,
        source: if loopback { "peer" } else { "explain" },
        ..Principal::default()
    }
}

/// Tags sorted and joined, as a device's name is.
fn joined(tags: &str) -> String {
    let mut tags: Vec<&str> = tags.split(',').map(str::trim).collect();
    tags.sort_unstable();
    tags.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_meant() {
        let who = |text: &str| somebody(text, &["group:eng".into(), "ops".into()], false);
        assert_eq!(who("key:nightly").kind, Kind::Key);
        assert_eq!(who("tag:b, tag:a").name, "tag:a,tag:b");
        assert_eq!(who("alice@example.com").kind, Kind::User);
        assert_eq!(who("spiffe://x/y").kind, Kind::Workload);
        assert_eq!(who("x").groups, ["eng", "ops"]);
    }
}
