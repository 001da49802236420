//! The models that a principal may use, by the names it asks for them: what `/v1/models` says. Pure.

use std::collections::HashSet;
use std::sync::Arc;

use super::rights::Rights;
use super::snapshot::{Provider, Snapshot};
use crate::llm::dialect::paths::Flag;

/// A model under one of its names.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The name to ask for.
    pub name: String,
    /// The provider's own name for it, where that differs.
    pub own_name: Option<String>,
    /// The provider it is asked of first.
    pub provider: Arc<Provider>,
}

/// Names that providers list and grants allow, in the order providers are tried; a name once. `flags` narrows it to
/// providers that have one of them; none: all.
///
/// A pattern names no model, so what only patterns cover is usable and not listed.
#[must_use]
pub fn listed(snapshot: &Snapshot, rights: &Rights, flags: &[Flag]) -> Vec<Listed> {
    let mut seen = HashSet::new();
    let mut list = Vec::new();
    if rights.roles.is_empty() {
        return list;
    }
    for provider in snapshot.providers.iter().filter(|provider| has_one(provider, flags)) {
        let own =
            provider.models.iter().filter(|model| model.is_exact()).map(|model| (model.pattern(), None));
        let aliases = provider.aliases.iter().map(|(ours, its)| (ours.as_str(), Some(its.as_str())));
        for (name, own_name) in own.chain(aliases) {
            if rights.allows(&provider.id, own_name.unwrap_or(name)).is_some() && seen.insert(name) {
                let (name, own_name) = (name.to_owned(), own_name.map(str::to_owned));
                list.push(Listed { name, own_name, provider: Arc::clone(provider) });
            }
        }
    }
    list
}

/// One model by its name, listed or covered by a pattern.
#[must_use]
pub fn find(snapshot: &Snapshot, rights: &Rights, flags: &[Flag], name: &str) -> Option<Listed> {
    if let Some(listed) = listed(snapshot, rights, flags).into_iter().find(|listed| listed.name == name) {
        return Some(listed);
    }
    if rights.roles.is_empty() {
        return None;
    }
    let flags = if flags.is_empty() { Flag::ALL } else { flags };
    let all = flags.iter().flat_map(|flag| snapshot.routes().candidates(&snapshot.providers, *flag, name));
    let mut granted = all.filter_map(|candidate| {
        let provider = &snapshot.providers[candidate.provider];
        let own_name = candidate.sent.as_deref();
        rights.allows(&provider.id, own_name.unwrap_or(name))?;
        let own_name = own_name.map(str::to_owned);
        Some(Listed { name: name.to_owned(), own_name, provider: Arc::clone(provider) })
    });
    granted.next()
}

fn has_one(provider: &Provider, flags: &[Flag]) -> bool {
    flags.is_empty() || provider.flags.iter().any(|flag| flags.contains(flag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::settings::Place;
    use crate::policy::glob::Glob;
    use crate::policy::grant::settings::Role;
    use crate::policy::grant::{Gives, Grant, Src};
    use crate::policy::identity::Principal;

    fn provider(id: &str, flag: Flag, models: &[&str], aliases: &[(&str, &str)]) -> Arc<Provider> {
        Arc::new(Provider {
            id: id.into(),
            flags: vec![flag],
            models: models.iter().map(|model| Glob::new(model).expect(model)).collect(),
            aliases: aliases.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect(),
            ..Provider::default()
        })
    }

    fn rights(snapshot: &Snapshot) -> Rights {
        Rights::of(snapshot, &Principal { name: "me".into(), ..Principal::default() })
    }

    fn snapshot(models: &str, role: Option<Role>) -> Snapshot {
        let gives = |role, models| Gives { role, models, ..Gives::default() };
        let glob = vec![Glob::new(models).expect(models)];
        Snapshot {
            providers: vec![
                provider("a", Flag::AnthropicMessages, &["claude-x", "claude-y"], &[("fast", "claude-y")]),
                provider("o", Flag::OpenaiChat, &["gpt-x", "claude-x", "ft:**"], &[]),
            ],
            grants: vec![Grant {
                place: Place::default(),
                src: vec![Src::Login("me".into())],
                gives: vec![gives(role, None), gives(None, Some(glob))],
            }],
            ..Snapshot::default()
        }
    }

    fn names(snapshot: &Snapshot, flags: &[Flag]) -> Vec<String> {
        let listed = listed(snapshot, &rights(snapshot), flags);
        listed.iter().map(|listed| format!("{} {}", listed.provider.id, listed.name)).collect()
    }

    #[test]
    fn exactly_what_is_granted_is_listed_once_and_at_its_first_provider() {
        let all = snapshot("**", Some(Role::User));
        assert_eq!(names(&all, &[]), ["a claude-x", "a claude-y", "a fast", "o gpt-x"]);
        assert_eq!(names(&all, &[Flag::OpenaiChat]), ["o gpt-x", "o claude-x"]);
        assert_eq!(names(&snapshot("a/claude-y", Some(Role::User)), &[]), ["a claude-y", "a fast"]);
        assert_eq!(names(&snapshot("**", None), &[]), Vec::<String>::new());
    }

    #[test]
    fn one_is_found_by_pattern_too_and_never_without_a_grant() {
        let of = |models: &str, name: &str| {
            let snapshot = snapshot(models, Some(Role::User));
            find(&snapshot, &rights(&snapshot), &[], name).map(|found| found.provider.id.clone())
        };
        assert_eq!(of("**", "ft:gpt"), Some("o".into()));
        assert_eq!(of("**", "o/claude-x"), Some("o".into()));
        assert_eq!(of("a/**", "ft:gpt"), None);
        assert_eq!(of("a/**", "gpt-x"), None);
        assert_eq!(of("**", "nobody"), None);
    }
}
