//! `grants`, `temp_grants` and `groups` → [`Grant`]s.

use super::{Compiling, shared};
use crate::base::settings::{At, Place, Problem};
use crate::config::file::{File, Listener};
use crate::policy::glob::Glob;
use crate::policy::grant::settings::{Capability, Role, TempCapability, TempGrant};
use crate::policy::grant::{Gives, Grant, Group, Src};
use crate::policy::identity::settings::{SourceKind, SourceSettings};

impl Compiling<'_> {
    pub(super) fn groups(&mut self) -> Vec<Group> {
        let file = self.file;
        let group = |this: &mut Self, name: &At<String>, members: &[At<String>]| {
            let members = members.iter().filter_map(|member| this.member(member)).collect();
            Group { name: name.strip_prefix("group:").unwrap_or(name).to_owned(), members }
        };
        file.groups.iter().map(|(name, members)| group(self, name, members)).collect()
    }

    fn member(&mut self, written: &At<String>) -> Option<Src> {
        let src = self.src(written)?;
        if matches!(src, Src::Group(_)) {
            self.error(&written.place, "is a group in a group", "name its members instead");
            return None;
        }
        Some(src)
    }

    pub(super) fn grants(&mut self, groups: &[Group]) -> Vec<Grant> {
        let file = self.file;
        let mut grants = Vec::with_capacity(file.grants.len());
        for written in &file.grants {
            let src = self.sources(&written.src, &written.place, groups);
            self.check_loopback_roles(&src, &written.app.own);
            let gives = written.app.own.iter().map(|capability| self.gives(capability)).collect();
            grants.push(Grant { place: written.place.clone(), src, gives });
        }
        for written in file.temp_grants.iter().flatten() {
            grants.push(self.older(written, groups));
        }
        let roles = |grant: &Grant| grant.gives.iter().any(|gives| gives.role.is_some());
        if !grants.iter().any(roles) && self.whole() {
            let place = Place { path: "grants".into(), ..file.place.clone() };
            self.warn(
                &place,
                "no grant gives a role",
                "every request will be answered 403: add {\"role\": \"user\"}",
            );
        }
        grants
    }

    /// The agents that are governed run as the local user: loopback gives them the role of one, whatever is written.
    fn check_loopback_roles(&mut self, src: &[Src], gives: &[Capability]) {
        let more = gives.iter().find(|gives| gives.role.is_some_and(|role| role != Role::User));
        if let Some(gives) = more.filter(|_| src.contains(&Src::Loopback)) {
            let what = "gives a role beyond user to whoever is on this machine, where it counts as user";
            self.warn(&gives.place, what, "people of this machine come by `weir link` or the control socket");
        }
    }

    fn sources(&mut self, written: &[At<String>], place: &Place, groups: &[Group]) -> Vec<Src> {
        if written.is_empty() {
            self.warn(place, "is for nobody: src is empty", "add \"*\", a login, group:x, tag:x, key:x");
        }
        let sources: Vec<_> = written.iter().filter_map(|src| Some((src, self.src(src)?))).collect();
        for (written, src) in &sources {
            if let Src::Group(name) = src {
                self.check_group(written, name, groups);
            }
        }
        sources.into_iter().map(|(_, src)| src).collect()
    }

    fn src(&mut self, written: &At<String>) -> Option<Src> {
        if written.value == "tagged-devices" {
            let what = "is the name shown for all tagged devices, not somebody";
            self.warn(&written.place, what, "use tag:x");
        }
        if written.value.starts_with("autogroup:") || written.value.parse::<std::net::IpAddr>().is_ok() {
            let what = "is nobody here: groups of the tailnet's own and addresses are known to its policy file alone";
            self.warn(&written.place, what, "name people, groups or tags");
        }
        match Src::parse(written) {
            Ok(src) => Some(src),
            Err(why) => {
                self.error(&written.place, format!("{:?} is nobody", written.value), why);
                None
            }
        }
    }

    /// Sources may bring groups that the file does not list; without such a source the name refers to nothing.
    fn check_group(&mut self, written: &At<String>, name: &str, groups: &[Group]) {
        let brought = self.file.identity.iter().flatten().any(brings_groups);
        if brought || groups.iter().any(|group| group.name == name) {
            return;
        }
        // The incumbent's files say nothing of identity, which is the tailnet's there: they are taken as they are.
        let File { server, identity, groups: listed, .. } = &self.file;
        let says_nothing = server.is_none() && identity.is_none() && listed.is_empty();
        let problem = match self.takes_keys() {
            true => Problem::warning(&written.place, format!("no group {name:?} in \"groups\""))
                .expected(format!("mint keys that bring it: weir key create NAME --group {name}")),
            false if says_nothing => Problem::warning(
                &written.place,
                format!("nobody is in group {name:?} yet: no identity source brings groups"),
            )
            .expected("add {\"source\": \"tailnet\"} to \"identity\", or list the group in \"groups\""),
            false => Problem::error(
                &written.place,
                format!("no group {name:?}: not in \"groups\", and no identity source brings groups"),
            ),
        };
        self.problems.push(problem.near(name, groups.iter().map(|group| group.name.as_str())));
    }

    /// Whether keys are taken anywhere: each may bring groups.
    fn takes_keys(&self) -> bool {
        let configured = self.file.identity.as_ref();
        let takes = |listener: &Listener| match (&listener.0.identity, configured) {
            (Some(named), _) => named.iter().any(|name| name.value == SourceKind::Key.name()),
            (None, Some(configured)) => configured.iter().any(|source| source.kind() == SourceKind::Key),
            // Without a word, keys are what listeners beyond this machine take.
            (None, None) => !listener.0.address.is_local(),
        };
        let stands_alone = configured.is_some_and(|all| all.iter().any(|one| one.kind() == SourceKind::Key));
        stands_alone || self.file.server.iter().flat_map(|server| &server.listen).any(takes)
    }

    fn gives(&mut self, written: &Capability) -> Gives {
        self.check_names(written);
        Gives::of(written)
    }

    fn check_names(&mut self, written: &Capability) {
        for glob in written.models.iter().flat_map(|globs| &globs.0) {
            self.check_models_glob(glob);
        }
        for used in &written.quotas {
            self.check_bucket(&used.bucket);
        }
        for hook in &written.send_hooks {
            self.check_hook(&hook.name);
        }
    }

    fn check_models_glob(&mut self, glob: &At<Glob>) {
        if !glob.pattern().contains('/') && !glob.pattern().contains("**") {
            let what = format!("{:?} matches no model: names are provider/model", glob.pattern());
            return self.warn(&glob.place, what, format!("write \"*/{}\" or \"**\"", glob.pattern()));
        }
        let names = self.names("providers", &self.file.providers);
        if !names.iter().any(|id| glob.may_begin_with(id)) {
            let first = glob.pattern().split('/').next().unwrap_or_default();
            let written = At { value: first.to_owned(), place: glob.place.clone() };
            self.refers_to_nothing(&written, format!("{:?} is at no provider", glob.pattern()), &names);
        }
    }

    fn check_bucket(&mut self, bucket: &At<String>) {
        let names = self.names("quotas", &self.file.quotas);
        if !names.contains(&bucket.value) {
            self.refers_to_nothing(bucket, format!("no bucket {:?} in \"quotas\"", bucket.value), &names);
        }
    }

    fn check_hook(&mut self, hook: &At<String>) {
        let names = self.names("hooks", &self.file.hooks);
        if !names.contains(&hook.value) {
            self.refers_to_nothing(hook, format!("no hook {:?} in \"hooks\"", hook.value), &names);
        }
    }

    fn older(&mut self, written: &TempGrant, groups: &[Group]) -> Grant {
        let src = self.sources(&written.src, &written.place, groups);
        let what = "temp_grants is the older form";
        self.warn(&written.place, what, format!("write in \"grants\": {}", newer_form(written)));
        let gives = written.grants.iter().map(|capability| self.older_gives(capability)).collect();
        Grant { place: written.place.clone(), src, gives }
    }

    fn older_gives(&mut self, written: &TempCapability) -> Gives {
        if let Some(hook) = &written.hook {
            self.check_hook(&hook.hook);
        }
        for used in &written.quotas {
            self.check_bucket(&used.bucket);
        }
        let mut models = Vec::new();
        for named in &written.providers {
            match Glob::new(&model_glob(&named.provider, &named.model)) {
                Ok(glob) => models.push(At { value: glob, place: named.provider.place.clone() }),
                Err(why) => self.error(&named.provider.place, "is no pattern", why),
            }
        }
        for glob in &models {
            self.check_models_glob(glob);
        }
        let models: Vec<Glob> = models.into_iter().map(|glob| glob.value).collect();
        Gives {
            place: written.place.clone(),
            role: written.role,
            models: (!models.is_empty()).then_some(models),
            quotas: written.quotas.iter().map(|used| shared(&used.bucket)).collect(),
            ..Gives::default()
        }
    }
}

fn brings_groups(source: &SourceSettings) -> bool {
    matches!(
        source.kind(),
        SourceKind::Tailnet | SourceKind::TailscaleServe | SourceKind::Jwt | SourceKind::Headers
    )
}

/// In the older form a star stands for all models, slashes and all.
fn model_glob(provider: &str, model: &str) -> String {
    match (provider, model) {
        ("*" | "**", "*" | "**") => "**".into(),
        (provider, "*") => format!("{provider}/**"),
        (provider, model) => format!("{provider}/{model}"),
    }
}

/// The same grant as it is written today.
fn newer_form(written: &TempGrant) -> String {
    let mut capabilities = Vec::new();
    for capability in &written.grants {
        if let Some(role) = capability.role {
            capabilities.push(format!("{{\"role\": \"{}\"}}", role.name()));
        }
        for named in &capability.providers {
            capabilities.push(format!("{{\"models\": {:?}}}", model_glob(&named.provider, &named.model)));
        }
        if let Some(hook) = &capability.hook {
            capabilities.push(format!("{{\"send_hooks\": [{{\"name\": {:?}, …}}]}}", hook.hook.value));
        }
    }
    let src: Vec<_> = written.src.iter().map(|src| format!("{:?}", src.value)).collect();
    format!("{{\"src\": [{}], \"app\": {{\"weir\": [{}]}}}}", src.join(", "), capabilities.join(", "))
}
