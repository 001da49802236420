//! Model name → providers, in the order they are tried. Who asks does not matter here: a name means the same to all.
//!
//! ```text
//!  1  listed by name (or alias)         ─┐
//!  2  provider/model, if nobody lists it │  each by descending preference, then in the file's order
//!  3  listed by glob                     │
//!  4  listed by **                      ─┘
//! ```
//!
//! A name with a slash that somebody lists as it stands is that name (OpenRouter's have slashes); only otherwise is
//! its first part a provider's id, and then that provider alone is meant.

use std::collections::HashMap;
use std::sync::Arc;

use super::glob::Glob;
use super::snapshot::Provider;
use crate::llm::dialect::paths::Flag;

/// Who serves what: made once per snapshot.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    named: HashMap<Box<str>, Vec<Named>>,
    ids: HashMap<Box<str>, usize>,
    /// Providers that list patterns, with those alone.
    patterns: Vec<(usize, Vec<Glob>)>,
}

/// A provider that lists a name.
#[derive(Clone, Debug)]
struct Named {
    provider: usize,
    /// The model's own name, where ours is an alias.
    alias_of: Option<Arc<str>>,
}

/// A provider that serves what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Index into the snapshot's providers.
    pub provider: usize,
    /// The name it is asked by, where that differs from the client's.
    pub sent: Option<Arc<str>>,
    /// Why it is here.
    pub because: Because,
}

/// Why a provider serves a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Because {
    /// It lists it.
    Name,
    /// The client named the provider.
    Qualified,
    /// A glob of its list matches.
    Glob,
    /// It serves everything.
    Everything,
}

impl Routes {
    /// Over a snapshot's providers, which stand in order of preference.
    #[must_use]
    pub fn over(providers: &[Arc<Provider>]) -> Self {
        let mut routes = Routes::default();
        for (index, provider) in providers.iter().enumerate() {
            routes.ids.entry(provider.id.as_str().into()).or_insert(index);
            for model in provider.models.iter().filter(|model| model.is_exact()) {
                routes.name(model.pattern(), Named { provider: index, alias_of: None });
            }
            let patterns: Vec<Glob> =
                provider.models.iter().filter(|model| !model.is_exact()).cloned().collect();
            if !patterns.is_empty() {
                routes.patterns.push((index, patterns));
            }
            for (ours, its) in &provider.aliases {
                routes.name(ours, Named { provider: index, alias_of: Some(Arc::from(its.as_str())) });
            }
        }
        routes
    }

    fn name(&mut self, name: &str, by: Named) {
        let listed = self.named.entry(name.into()).or_default();
        // The model's own name wins over an alias of the same provider.
        if listed.last().is_none_or(|last| last.provider != by.provider) {
            listed.push(by);
        }
    }

    /// Every name that some provider lists, aliases too.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.named.keys().map(AsRef::as_ref)
    }

    /// Providers that serve `model` at the endpoints of a flag, in order.
    #[must_use]
    pub fn candidates(&self, providers: &[Arc<Provider>], flag: Flag, model: &str) -> Vec<Candidate> {
        let opens = |index: &usize| providers.get(*index).is_some_and(|p| p.flags.contains(&flag));
        let listed = self.named.get(model).into_iter().flatten().filter(|named| opens(&named.provider));
        let mut found: Vec<Candidate> = listed
            .map(|named| Candidate {
                provider: named.provider,
                sent: named.alias_of.clone(),
                because: Because::Name,
            })
            .collect();
        if found.is_empty()
            && let Some(qualified) = self.qualified(providers, model).filter(|found| opens(&found.provider))
        {
            return vec![qualified];
        }
        let named = found.len();
        for (provider, patterns) in self.patterns.iter().filter(|(provider, _)| opens(provider)) {
            if found[..named].iter().all(|candidate| candidate.provider != *provider)
                && let Some(because) = narrowest(patterns, model)
            {
                found.push(Candidate { provider: *provider, sent: None, because });
            }
        }
        found[named..].sort_by_key(|candidate| candidate.because);
        found
    }

    /// Whether a provider serves a model under its own name.
    #[must_use]
    pub fn serves(&self, provider: usize, model: &str) -> bool {
        let mut named = self.named.get(model).into_iter().flatten();
        named.any(|named| named.provider == provider && named.alias_of.is_none())
            || self
                .patterns
                .iter()
                .any(|(at, patterns)| *at == provider && narrowest(patterns, model).is_some())
    }

    fn qualified(&self, providers: &[Arc<Provider>], model: &str) -> Option<Candidate> {
        let (id, rest) = model.split_once('/')?;
        let provider = *self.ids.get(id)?;
        let alias = providers[provider].aliases.iter().find(|(ours, _)| ours == rest);
        let sent = match alias {
            Some((_, its)) if !serves(&providers[provider], rest) => its,
            _ if serves(&providers[provider], rest) => rest,
            _ => return None,
        };
        Some(Candidate { provider, sent: Some(Arc::from(sent)), because: Because::Qualified })
    }
}

/// Whether a provider lists a model by name or glob.
#[must_use]
pub fn serves(provider: &Provider, model: &str) -> bool {
    provider.models.iter().any(|pattern| pattern.matches(model))
}

/// The narrowest kind of pattern that matches.
fn narrowest(patterns: &[Glob], model: &str) -> Option<Because> {
    let matching = patterns.iter().filter(|pattern| pattern.matches(model));
    matching.map(|pattern| if pattern.is_anything() { Because::Everything } else { Because::Glob }).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(id: &str, models: &[&str], aliases: &[(&str, &str)]) -> Arc<Provider> {
        Arc::new(Provider {
            id: id.into(),
            flags: vec![Flag::OpenaiChat],
            models: models.iter().map(|model| Glob::new(model).expect(model)).collect(),
            aliases: aliases.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect(),
            ..Provider::default()
        })
    }

    fn asked(providers: &[Arc<Provider>], model: &str) -> Vec<(String, String)> {
        let found = Routes::over(providers).candidates(providers, Flag::OpenaiChat, model);
        let sent = |c: &Candidate| c.sent.as_deref().unwrap_or(model).to_owned();
        found.iter().map(|c| (providers[c.provider].id.clone(), sent(c))).collect()
    }

    #[test]
    fn names_come_before_globs_and_globs_before_everything() {
        let all = [
            provider("any", &["**"], &[]),
            provider("glob", &["gpt-*"], &[]),
            provider("exact", &["gpt-4o"], &[]),
        ];
        let order: Vec<_> = asked(&all, "gpt-4o").into_iter().map(|(id, _)| id).collect();
        assert_eq!(order, ["exact", "glob", "any"]);
        assert_eq!(asked(&all, "o3")[0].0, "any");
    }

    #[test]
    fn a_listed_name_with_a_slash_wins_over_the_qualified_reading() {
        let listed = [provider("openai", &["gpt-4o"], &[]), provider("openrouter", &["openai/gpt-4o"], &[])];
        assert_eq!(asked(&listed, "openai/gpt-4o"), [("openrouter".into(), "openai/gpt-4o".into())]);
        let unlisted = [provider("openai", &["gpt-4o"], &[]), provider("openrouter", &["**"], &[])];
        assert_eq!(asked(&unlisted, "openai/gpt-4o"), [("openai".into(), "gpt-4o".into())]);
        assert_eq!(asked(&unlisted, "openai/unknown"), [("openrouter".into(), "openai/unknown".into())]);
        assert_eq!(asked(&unlisted, "openrouter/x/y"), [("openrouter".into(), "x/y".into())]);
    }

    #[test]
    fn an_alias_is_sent_under_the_models_own_name() {
        let all = [provider("a", &["claude-haiku-4"], &[("fast", "claude-haiku-4")])];
        assert_eq!(asked(&all, "fast"), [("a".into(), "claude-haiku-4".into())]);
        assert_eq!(asked(&all, "a/fast"), [("a".into(), "claude-haiku-4".into())]);
        assert_eq!(asked(&all, "slow"), []);
    }
}
