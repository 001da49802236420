//! What stands in the file and is not in force in this version: said, never passed over.
//!
//! What would only add is reported; what would refuse or restrict makes the file fail unless that is allowed by
//! flag, since an unenforced restriction is an open door that looks shut. Lines leave this file as features come.

use super::file::File;
use super::sections::{Capture, OnFull};
use crate::base::settings::{At, Place, Problem, Severity};
use crate::policy::grant::settings::Capability;

/// Everything written that this version does not do.
pub fn not_in_force(file: &File) -> Vec<Problem> {
    let mut found = Found { problems: Vec::new() };
    found.restrictions(file);
    found.additions(file);
    found.incumbent(file);
    found.problems
}

struct Found {
    problems: Vec<Problem>,
}

impl Found {
    /// Would refuse or restrict.
    fn restrictions(&mut self, file: &File) {
        for (name, _) in file.hooks.iter().filter(|(_, hook)| !hook.disabled) {
            self.unenforced(&name.place, "hooks are not asked yet");
        }
        for (name, _) in file.hooks.iter().filter(|(_, hook)| hook.timeout.is_zero()) {
            let what =
                "has a timeout of zero, which the incumbent reads as its default: 5s is meant here too";
            self.problems.push(Problem::warning(&name.place, what));
        }
        for policy in &file.policies {
            self.unenforced(&policy.place, "policies are not evaluated yet");
        }
        let capabilities = file.grants.iter().flat_map(|grant| &grant.app.own);
        for tools in capabilities.filter_map(|capability| capability.tools.as_ref()) {
            self.unenforced(&tools.place, "tool rules are not enforced yet");
        }
        self.database(file);
    }

    fn database(&mut self, file: &File) {
        let Some(database) = &file.database else { return };
        if let Some(retention) = &database.retention {
            self.unenforced(&retention.place, "retention is not enforced yet: everything is kept");
        }
        if let Some(At { value: Capture::Metadata, place }) = &database.capture {
            self.unenforced(place, "bodies are kept all the same");
        }
        if let Some(At { value: OnFull::Strict, place }) = &database.on_full {
            self.unenforced(place, "a full ring sheds instead of refusing");
        }
    }

    /// Would add something.
    fn additions(&mut self, file: &File) {
        let sections = [
            (file.exporters.as_ref().map(|s| &s.place), "exporters are not built yet: nothing is exported"),
            (
                file.mcp.as_ref().map(|s| &s.place),
                "MCP is not built yet; its newer form is connectors.servers",
            ),
            (file.connectors.as_ref().map(|s| &s.place), "connectors are not built yet"),
            (
                file.database.as_ref().and_then(|d| d.headers.as_ref()).map(|s| &s.place),
                "header filters are not built yet",
            ),
        ];
        for (place, what) in sections {
            if let Some(place) = place {
                self.later(place, what);
            }
        }
        if let Some(key) = file.server.as_ref().and_then(|server| server.secret_key.as_ref()) {
            self.later(&key.place, "nothing is kept that it would seal");
        }
        file.grants
            .iter()
            .flat_map(|grant| &grant.app.own)
            .for_each(|capability| self.capability(capability));
    }

    /// What a capability would give that there is not.
    fn capability(&mut self, written: &Capability) {
        let mcp = [&written.mcp_tools, &written.mcp_resources, &written.mcp_templates];
        let cors = [&written.allow_origin, &written.allow_methods, &written.allow_headers];
        for (is_written, what) in [
            (written.connectors.is_some(), "connectors are not built yet"),
            (mcp.iter().any(|globs| globs.is_some()), "MCP is not built yet"),
            (written.filterable_headers.is_some(), "header filters are not built yet"),
            (
                !written.view.is_empty(),
                "whose logs are seen goes by role: user their own, auditor and admin all",
            ),
            (
                written.set_cors || written.cors_paths.is_some() || cors.iter().any(|value| value.is_some()),
                "browsers from elsewhere are refused",
            ),
        ] {
            if is_written {
                self.later(&written.place, what);
            }
        }
    }

    /// Keys of the incumbent that have no counterpart.
    fn incumbent(&mut self, file: &File) {
        let keys = [
            (&file.flags, "weir has no feature flags"),
            (&file.chat_models, "weir has no chat page"),
            (&file.skills, "weir has no chat page"),
            (&file.enable_chat_ui, "weir has no chat page"),
            (&file.cors_paths, "browsers from elsewhere are refused"),
            (&file.upstream, "weir has no upstream gateway"),
        ];
        for (value, why) in keys {
            if let Some(At { place, .. }) = value {
                self.problems.push(Problem::warning(place, format!("read, without effect: {why}")));
            }
        }
        self.incumbent_within(file);
    }

    /// The same of keys that stand deeper.
    fn incumbent_within(&mut self, file: &File) {
        let providers = file.providers.iter().map(|(id, provider)| (&id.place, provider));
        for (place, _) in providers.filter(|(_, provider)| provider.upstream.is_some()) {
            self.problems.push(Problem::warning(
                place,
                "has \"upstream\", read without effect: weir has no upstream gateway",
            ));
        }
        for grant in file.grants.iter().filter(|grant| grant.dst.is_some() || grant.ip.is_some()) {
            let what = "has \"dst\" or \"ip\", read without effect: the device is this gateway";
            self.problems.push(Problem::warning(&grant.place, what));
        }
        let capabilities = file.grants.iter().flat_map(|grant| &grant.app.own);
        for capability in capabilities.filter(|one| one.enable_chat_ui.is_some() || one.skills.is_some()) {
            let what = "has \"enable_chat_ui\" or \"skills\", read without effect: weir has no chat page";
            self.problems.push(Problem::warning(&capability.place, what));
        }
    }

    fn unenforced(&mut self, place: &Place, what: &str) {
        let to_do = "take it out, or start with --allow-unenforced";
        self.problems
            .push(Problem { severity: Severity::Unenforced, ..Problem::error(place, what).expected(to_do) });
    }

    fn later(&mut self, place: &Place, what: &str) {
        self.problems.push(Problem { severity: Severity::NotInForce, ..Problem::error(place, what) });
    }
}
