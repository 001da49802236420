//! Who is asking. Sources judge [`Evidence`], never a socket; one file each.

pub mod peer;
pub mod settings;

use std::net::SocketAddr;

/// What a connection shows about its other end.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// Address of the peer; none on a unix socket.
    pub peer: Option<SocketAddr>,
    /// Local uid of the peer, where the kernel told it (loopback, unix socket).
    pub uid: Option<u32>,
    /// Login of that uid.
    pub login: Option<String>,
}

/// What kind of somebody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A person: login or mail address.
    #[default]
    User,
    /// A device: its tags, sorted and joined by commas.
    Device,
    /// A key minted by weir.
    Key,
    /// A workload: SPIFFE id.
    Workload,
}

/// Who: user, device, key or workload, and the source that vouched for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principal {
    /// Login, joined tags, key name or SPIFFE id.
    pub name: String,
    /// Source that vouched.
    pub source: &'static str,
    /// What kind of somebody.
    pub kind: Kind,
    /// Groups that the source brought, without `group:`.
    pub groups: Vec<String>,
    /// Tags of a device, each with `tag:`.
    pub tags: Vec<String>,
    /// The machine, where the source knows it.
    pub node: Option<String>,
    /// Whom it acts for, where a trusted front says so.
    pub on_behalf_of: Option<String>,
    /// Whether the connection comes from this machine.
    pub loopback: bool,
}

/// The name is enough to spread them; equality still looks at everything.
impl std::hash::Hash for Principal {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.kind.hash(state);
    }
}
