//! Who is asking. Sources judge [`Evidence`], never a socket; one file each.

pub mod peer;

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

/// Who: user, device or key, and the source that vouched for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principal {
    /// Login, joined tags, or key name.
    pub name: String,
    /// Source that vouched.
    pub source: &'static str,
}
