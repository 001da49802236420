//! Who may do what: grants as compiled. Allow only: what applies to a principal is the union of all that match.

pub mod settings;

use std::fmt;
use std::sync::Arc;

use super::glob::Glob;
use super::identity::{Kind, Principal};
use crate::base::settings::Place;
use settings::{Capability, Globs, Role};

/// One grant.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Where it stands in the file.
    pub place: Place,
    /// Whom it is for: any of these.
    pub src: Vec<Src>,
    /// What it gives.
    pub gives: Vec<Gives>,
}

/// One capability, resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gives {
    /// Where it stands in the file.
    pub place: Place,
    /// A role.
    pub role: Option<Role>,
    /// Globs over `provider/model`; none: it floats over all models.
    pub models: Option<Vec<Glob>>,
    /// Buckets (names in `quotas`) that requests it covers draw on.
    pub quotas: Vec<Arc<str>>,
    /// Fields added to requests it covers.
    pub add_headers: Vec<(String, String)>,
    /// Globs of tool names that may be called; none: nothing is said.
    pub tools_allow: Option<Vec<Glob>>,
    /// Globs of tool names that may not be called.
    pub tools_deny: Vec<Glob>,
    /// Provider paths outside the closed table that may be called.
    pub direct_paths: Vec<Glob>,
    /// May read `/metrics`.
    pub read_metrics: bool,
    /// May read prices.
    pub read_pricing: bool,
}

impl Gives {
    /// What a capability gives, as written.
    #[must_use]
    pub fn of(written: &Capability) -> Self {
        let globs = |globs: &Option<Globs>| {
            globs.as_ref().map(|globs| globs.0.iter().map(|glob| glob.value.clone()).collect::<Vec<_>>())
        };
        let tools = written.tools.as_ref();
        let headers = written.add_headers.iter().map(|line| (line.name.clone(), line.value.clone()));
        Self {
            place: written.place.clone(),
            role: written.role,
            models: globs(&written.models),
            quotas: written.quotas.iter().map(|used| Arc::from(used.bucket.as_str())).collect(),
            add_headers: headers.collect(),
            tools_allow: tools.and_then(|tools| globs(&tools.allow)),
            tools_deny: tools.and_then(|tools| globs(&tools.deny)).unwrap_or_default(),
            direct_paths: globs(&written.direct_paths).unwrap_or_default(),
            read_metrics: written.read_metrics,
            read_pricing: written.read_pricing,
        }
    }

    /// Does it cover this model at this provider? One without `models` covers all, but gives none of them.
    #[must_use]
    pub fn covers(&self, provider: &str, model: &str) -> bool {
        let named = |globs: &Vec<Glob>| globs.iter().any(|glob| glob.matches_parts(&[provider, "/", model]));
        self.models.as_ref().is_none_or(named)
    }
}

/// Whom a grant is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Src {
    /// `*`: whoever is known.
    Anyone,
    /// `(loopback)`: whoever connects from this machine.
    Loopback,
    /// A login.
    Login(String),
    /// `group:x`
    Group(String),
    /// `tag:x`: a device with that tag, or the joined tags.
    Tag(String),
    /// `key:x`: a key minted by weir.
    Key(String),
    /// `spiffe://…`, a glob.
    Spiffe(Glob),
}

impl Src {
    /// From the file, or why not.
    pub fn parse(text: &str) -> Result<Self, String> {
        let named = |name: &str, kind: &str| {
            let plain = !name.is_empty() && !name.contains('*');
            plain.then(|| name.to_owned()).ok_or_else(|| format!("{kind} needs a name without wildcards"))
        };
        if text == "*" {
            return Ok(Self::Anyone);
        }
        if text == "(loopback)" {
            return Ok(Self::Loopback);
        }
        if let Some(name) = text.strip_prefix("group:") {
            return named(name, "group:").map(Self::Group);
        }
        if text.starts_with("tag:") {
            return named(text, "tag:").map(Self::Tag);
        }
        if let Some(name) = text.strip_prefix("key:") {
            return named(name, "key:").map(Self::Key);
        }
        if text.starts_with("spiffe://") {
            return Glob::new(text).map(Self::Spiffe).map_err(str::to_owned);
        }
        if text.contains('*') || text.starts_with('(') || text.trim() != text || text.is_empty() {
            return Err("expected *, a login, group:x, tag:x, key:x, (loopback) or a spiffe:// glob".into());
        }
        Ok(Self::Login(login(text)))
    }

    /// Whether it names somebody rather than a kind of people.
    #[must_use]
    pub fn is_one(&self) -> bool {
        matches!(self, Src::Login(_) | Src::Tag(_) | Src::Key(_) | Src::Spiffe(_))
    }

    /// Is it this principal? `groups` are the principal's, those of the file included.
    #[must_use]
    pub fn is(&self, principal: &Principal, groups: &[&str]) -> bool {
        match self {
            Src::Anyone => true,
            Src::Loopback => principal.loopback,
            Src::Login(name) => principal.kind == Kind::User && login(&principal.name) == *name,
            Src::Group(name) => groups.contains(&name.as_str()),
            Src::Tag(name) => {
                principal.kind == Kind::Device
                    && (principal.name == *name || principal.tags.iter().any(|tag| tag == name))
            }
            Src::Key(name) => principal.kind == Kind::Key && principal.name == *name,
            Src::Spiffe(glob) => principal.kind == Kind::Workload && glob.matches(&principal.name),
        }
    }
}

impl fmt::Display for Src {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Src::Anyone => f.write_str("*"),
            Src::Loopback => f.write_str("(loopback)"),
            Src::Login(name) | Src::Tag(name) => f.write_str(name),
            Src::Group(name) => write!(f, "group:{name}"),
            Src::Key(name) => write!(f, "key:{name}"),
            Src::Spiffe(glob) => f.write_str(glob.pattern()),
        }
    }
}

/// Logins that are mail addresses compare in any case; local users are what they are.
pub(super) fn login(name: &str) -> String {
    if name.contains('@') { name.to_lowercase() } else { name.to_owned() }
}

/// A group of the file: members for principals whose source brings no groups.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its name, without `group:`.
    pub name: String,
    /// Who is in it. Never another group.
    pub members: Vec<Src>,
}

/// The groups of a principal: those its source brought, and those the file puts it into.
pub fn groups_of<'a>(principal: &'a Principal, groups: &'a [Group]) -> Vec<&'a str> {
    let brought = principal.groups.iter().map(String::as_str);
    let listed = groups.iter().filter(|group| group.members.iter().any(|member| member.is(principal, &[])));
    brought.chain(listed.map(|group| group.name.as_str())).collect()
}
