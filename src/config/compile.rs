//! From what is written to what is in force: names resolved, contradictions refused with the place they stand.

mod credentials;
mod egress;
mod grants;
mod identity;
mod prices;
mod providers;
mod quotas;
mod secrets;

pub(crate) use egress::{by_environment, parse as parse_proxy};
pub(crate) use providers::in_field;

use std::io;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::file::{
    Address, Cores, File, LimitSettings, Listener as Written, Pin, ServerSettings, TlsSettings, WriterPlace,
};
use super::force;
use super::secret::Secrets;
use crate::base::settings::{At, Place, Problem, Severity};
use crate::policy::identity::settings::{Network, SourceKind};
use crate::policy::quota::lease::QuotaStore;
use crate::policy::snapshot::{Limits, Listener, Serves, Snapshot};

/// How to load.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Start although something in the file would restrict and is not enforced yet.
    pub allow_unenforced: bool,
    /// The only folder that `$file:` may name.
    pub secrets_dir: Option<PathBuf>,
    /// Do not look up references to secrets; for checking and explaining, never for serving.
    pub no_secrets: bool,
    /// Listen here instead of where the file says.
    pub listen: Vec<SocketAddr>,
}

/// A configuration that may be put in force.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// For the data plane.
    pub snapshot: Snapshot,
    /// For the start of the process; changing it takes a restart.
    pub install: Install,
    /// What somebody should look at.
    pub warnings: Vec<Problem>,
}

/// What is decided once, at start.
#[derive(Clone, Debug)]
pub struct Install {
    /// Where clients connect.
    pub listen: Vec<Listen>,
    /// Where the dashboard and the API listen, if not with the agents.
    pub admin_listen: Vec<Listen>,
    /// Serving cores.
    pub cores: Cores,
    /// Whether cores stay on one processor.
    pub pin: Pin,
    /// Where the writer runs.
    pub writer: WriterPlace,
    /// How long running exchanges may take to end at shutdown.
    pub drain_timeout: Duration,
    /// PEM file with authorities beside the public ones.
    pub ca_file: Option<PathBuf>,
    /// The store of quotas that machines share.
    pub quota_store: Option<QuotaStore>,
}

/// A listener.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Where.
    pub address: Address,
    /// TLS towards clients.
    pub tls: Option<Tls>,
    /// Who vouches here, in order: indexes into the identity sources, or kinds where none are configured.
    pub identity: Vec<SourceKind>,
    /// Balancers whose PROXY headers are believed.
    pub proxy_protocol: Vec<Network>,
    /// What can be asked for here.
    pub serves: Serves,
}

impl Listen {
    /// For this machine's own users.
    #[must_use]
    pub fn of_the_peer(address: SocketAddr) -> Self {
        let Listener { identity, proxy_protocol, serves } = Listener::of_the_peer();
        Self { address: Address::Tcp(address), tls: None, identity, proxy_protocol, serves }
    }

    /// What the data plane needs to know of it.
    #[must_use]
    pub fn rules(&self) -> Listener {
        Listener {
            identity: self.identity.clone(),
            proxy_protocol: self.proxy_protocol.clone(),
            serves: self.serves,
        }
    }
}

/// Certificate files.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Chain.
    pub cert: PathBuf,
    /// Key.
    pub key: PathBuf,
    /// Authority of client certificates.
    pub client_ca: Option<PathBuf>,
}

/// Where weir listens when nothing says otherwise.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8080";

impl Default for Install {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            admin_listen: Vec::new(),
            cores: Cores::Auto,
            pin: Pin::Auto,
            writer: WriterPlace::Auto,
            drain_timeout: Duration::from_secs(60),
            ca_file: None,
            quota_store: None,
        }
    }
}

/// Read, check and resolve a whole file. All problems come at once, in the order they stand in the file.
pub fn load(
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
    files: &dyn Fn(&str) -> io::Result<Vec<u8>>,
    options: &Options,
) -> Result<Loaded, Vec<Problem>> {
    let (file, reader) = File::read(text);
    let (mut problems, unreadable) = (reader.problems, reader.unreadable);
    let mut loaded = Loaded::default();
    if let Some(file) = &file {
        let secrets = Secrets { env, files, dir: options.secrets_dir.as_deref(), skip: options.no_secrets };
        let mut compiling = Compiling { file, secrets, options, problems, unreadable };
        loaded = compiling.run();
        problems = compiling.problems;
    }
    problems.sort_by_key(|problem| (problem.place.line, problem.place.column));
    let refuses = |problem: &Problem| match problem.severity {
        Severity::Error => true,
        Severity::Unenforced => !options.allow_unenforced,
        Severity::NotInForce | Severity::Warning => false,
    };
    if file.is_none() || problems.iter().any(refuses) {
        return Err(problems);
    }
    loaded.warnings = problems;
    Ok(loaded)
}

/// A file on its way.
struct Compiling<'a> {
    file: &'a File,
    secrets: Secrets<'a>,
    options: &'a Options,
    problems: Vec<Problem>,
    unreadable: Vec<(String, String)>,
}

impl<'a> Compiling<'a> {
    /// Names that a section of the file holds, the unreadable ones too.
    fn names<T>(&self, section: &str, readable: &'a [(At<String>, T)]) -> Vec<String> {
        let unreadable = self.unreadable.iter().filter(|(of, _)| of == section).map(|(_, name)| name.clone());
        readable.iter().map(|(name, _)| name.value.clone()).chain(unreadable).collect()
    }

    /// Whether the file was read whole, so that what is absent was not written.
    fn whole(&self) -> bool {
        !self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// Note a name that refers to nothing.
    fn refers_to_nothing(&mut self, written: &At<String>, what: String, valid: &[String]) {
        let problem = Problem::error(&written.place, what);
        self.problems.push(problem.near(written, valid.iter().map(String::as_str)));
    }

    fn run(&mut self) -> Loaded {
        let prices = self.book();
        let providers = self.providers();
        let groups = self.groups();
        let grants = self.grants(&groups);
        let buckets = self.buckets();
        let install = self.install();
        self.check_identity();
        self.check_secrets();
        self.problems.extend(force::not_in_force(self.file));
        let server = self.file.server.as_ref();
        let snapshot = Snapshot {
            limits: server.map(|server| limits(&server.limits)).unwrap_or_default(),
            providers,
            prices,
            host_names: self.host_names(&install),
            private_networks: server.map(|server| server.private_networks.clone()).unwrap_or_default(),
            loopback_is_user: false,
            grants,
            groups,
            buckets,
            sources: self.file.identity.clone().unwrap_or_default(),
            ..Snapshot::default()
        };
        Loaded { snapshot, install, warnings: Vec::new() }
    }

    fn error(&mut self, place: &Place, what: impl Into<String>, to_do: impl Into<String>) {
        self.problems.push(Problem::error(place, what).expected(to_do));
    }

    fn warn(&mut self, place: &Place, what: impl Into<String>, to_do: impl Into<String>) {
        self.problems.push(Problem::warning(place, what).expected(to_do));
    }

    fn install(&mut self) -> Install {
        let Some(server) = &self.file.server else {
            return Install {
                listen: self.listeners(&[], self.options.listen.as_slice()),
                ..Install::default()
            };
        };
        let (models, pages) = match server.admin_listen.is_empty() {
            true => (Serves::Everything, Serves::Pages),
            false => (Serves::Models, Serves::Pages),
        };
        let serving = |listen: Vec<Listen>, serves| -> Vec<Listen> {
            listen.into_iter().map(|listen| Listen { serves, ..listen }).collect()
        };
        Install {
            listen: serving(self.listeners(&server.listen, &self.options.listen), models),
            admin_listen: serving(self.listeners_as_written(&server.admin_listen), pages),
            cores: server.cores,
            pin: server.pin,
            writer: server.writer,
            drain_timeout: server.drain_timeout,
            ca_file: server.ca_file.as_ref().map(PathBuf::from),
            quota_store: self.quota_store(),
        }
    }

    /// The command line wins over the file, the file over the default.
    fn listeners(&mut self, written: &[Written], instead: &[SocketAddr]) -> Vec<Listen> {
        let plain = |address| Written::plain(At { value: Address::Tcp(address), place: Place::default() });
        if !instead.is_empty() {
            let instead: Vec<_> = instead.iter().map(|address| plain(*address)).collect();
            return self.listeners_as_written(&instead);
        }
        if written.is_empty() {
            let default: Vec<_> = DEFAULT_LISTEN.parse().map(plain).into_iter().collect();
            return self.listeners_as_written(&default);
        }
        self.listeners_as_written(written)
    }

    fn listeners_as_written(&mut self, written: &[Written]) -> Vec<Listen> {
        let one = |Written(listener): &Written| Listen {
            identity: self.sources_of(listener),
            address: listener.address.value.clone(),
            tls: listener.tls.as_ref().map(tls_files),
            proxy_protocol: listener.proxy_protocol.clone(),
            serves: Serves::Everything,
        };
        written.iter().map(one).collect()
    }

    fn host_names(&mut self, install: &Install) -> Vec<String> {
        let file = self.file;
        let named = || file.server.iter().flat_map(|server: &ServerSettings| &server.names);
        for name in named().filter(|name| !is_host_name(&name.to_lowercase())) {
            self.error(
                &name.place,
                format!("{:?} is no host name", name.value),
                "expected a name without scheme and port, such as \"ai.example.com\"",
            );
        }
        let mut names: Vec<String> = named().map(|name| name.to_lowercase()).collect();
        // A listener on loopback is called localhost by everybody.
        if install.listen.iter().any(|listen| listen.address.is_local())
            && !names.iter().any(|n| n == "localhost")
        {
            names.push("localhost".into());
        }
        names
    }
}

fn is_host_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 253
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
}

fn tls_files(tls: &TlsSettings) -> Tls {
    let path = |text: &str| Path::new(text).to_owned();
    Tls { cert: path(&tls.cert), key: path(&tls.key), client_ca: tls.client_ca.as_deref().map(path) }
}

fn limits(written: &LimitSettings) -> Limits {
    let default = Limits::default();
    Limits {
        head_bytes_max: written
            .head_bytes
            .map_or(default.head_bytes_max, |b| usize::try_from(b.0).unwrap_or(usize::MAX)),
        body_bytes_max: written.body_bytes.map_or(default.body_bytes_max, |b| b.0),
        head_timeout: written.head_timeout.unwrap_or(default.head_timeout),
        body_idle: written.body_idle.unwrap_or(default.body_idle),
        connect: written.connect.unwrap_or(default.connect),
        first_byte: written.first_byte.unwrap_or(default.first_byte),
        idle: written.idle.unwrap_or(default.idle),
        keep_alive: written.keep_alive.unwrap_or(default.keep_alive),
        connections_max: written.connections.map_or(default.connections_max, NonZeroU64::get),
        total: written.total,
        per_principal_max: written.per_principal.map(NonZeroU32::get),
    }
}

/// A name that is handed from list to list.
fn shared(name: &str) -> Arc<str> {
    Arc::from(name)
}

#[cfg(test)]
mod tests;
