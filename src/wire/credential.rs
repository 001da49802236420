//! Credentials that are made rather than written in the file: what from, and what comes of it. Made on the control
//! thread, kept by cores until shortly before they end.

use std::fmt;

/// What a credential is made from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A Google key file: of a service account, or of a person who has logged in.
    GoogleKeyFile(String),
    /// The metadata server of a Google machine.
    GoogleMetadata,
    /// AWS's usual places: environment, profile file, single sign-on, web identity, container, instance.
    AwsChain,
    /// A profile of AWS's shared files.
    AwsProfile(String),
}

/// What was made.
#[derive(Clone, PartialEq, Eq)]
pub enum Made {
    /// A bearer token.
    Bearer(String),
    /// Keys that requests are signed with.
    Aws {
        /// Access key id.
        access_key_id: String,
        /// Secret access key.
        secret_access_key: String,
        /// Token of a temporary pair.
        session_token: Option<String>,
    },
}

/// Never the value: this may reach a log.
impl fmt::Debug for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Made::Bearer(_) => "bearer token",
            Made::Aws { .. } => "AWS keys",
        })
    }
}

/// A credential and how long it holds.
#[derive(Clone, Debug)]
pub struct Lasting {
    /// The credential.
    pub made: Made,
    /// When it ends, microseconds since the Unix epoch.
    pub until: u64,
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmade {
    /// Whether what the operator configured is wrong (a file, a key that is refused); else who makes them is away.
    pub configured_wrong: bool,
    /// For the log; never a credential.
    pub why: String,
}
