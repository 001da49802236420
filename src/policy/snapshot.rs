//! Crossing 1: the compiled configuration. Immutable, swapped whole; running exchanges keep theirs.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use foldhash::HashMap;

use super::glob::Glob;
use super::grant::{Grant, Group};
use super::identity::Trust;
use super::identity::settings::{Network, SourceKind, SourceSettings};
use super::quota::settings::{OnExceed, Unit};
use super::rights::ByWhom;
use super::route::Routes;
use crate::base::settings::Place;
use crate::llm::dialect::paths::Flag;
use crate::llm::price::tariff::{Priced, Tariff};
use crate::llm::price::{Book, Listing};
use crate::llm::provider::{Site, Vendor};
use crate::wire::credential::{Made, Source};

/// Everything the data plane needs to know, resolved: no name in here is looked up again.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Bounds on what a client may send and on how long things may take.
    pub limits: Limits,
    /// Providers, by descending preference.
    pub providers: Vec<Arc<Provider>>,
    /// Price lists.
    pub prices: Arc<Book>,
    /// Host names this gateway answers to, lower case, without port; IP literals of its own address always pass.
    pub host_names: Vec<String>,
    /// Private networks that names may lead to.
    pub private_networks: Vec<Network>,
    /// Whether the loopback connection's own user holds role `user` on all models (the embedded default).
    pub loopback_is_user: bool,
    /// Who may do what.
    pub grants: Vec<Grant>,
    /// Groups that the file lists.
    pub groups: Vec<Group>,
    /// Buckets.
    pub buckets: Vec<Bucket>,
    /// Who vouches for clients, as configured; listeners say which of them in which order.
    pub sources: Vec<SourceSettings>,
    /// How each listener knows its clients, in the order in which they were bound.
    pub listeners: Vec<Listener>,
    /// What is looked up by name in the above; made when first asked for.
    pub indexes: Indexes,
}

/// Made from a snapshot's lists when first asked for, so that nobody can forget to. The lists never change after.
#[derive(Clone, Debug, Default)]
pub struct Indexes {
    routes: OnceLock<Routes>,
    by_whom: OnceLock<ByWhom>,
    buckets: OnceLock<HashMap<Arc<str>, usize>>,
}

impl Snapshot {
    /// Who serves which model.
    #[must_use]
    pub fn routes(&self) -> &Routes {
        self.indexes.routes.get_or_init(|| Routes::over(&self.providers))
    }

    /// How what is stored is priced.
    #[must_use]
    pub fn tariff(&self) -> Tariff {
        let priced = |provider: &Arc<Provider>| {
            let aliases = provider.aliases.iter().cloned().collect();
            (provider.id.clone(), Priced { listing: provider.listing.clone(), aliases })
        };
        Tariff { providers: self.providers.iter().map(priced).collect(), book: Arc::clone(&self.prices) }
    }

    /// Grants by whom they are for.
    #[must_use]
    pub fn by_whom(&self) -> &ByWhom {
        self.indexes.by_whom.get_or_init(|| ByWhom::over(&self.grants))
    }

    /// A bucket by its name as configured.
    #[must_use]
    pub fn bucket(&self, name: &str) -> Option<&Bucket> {
        let by_name =
            || self.buckets.iter().enumerate().map(|(at, bucket)| (Arc::clone(&bucket.name), at)).collect();
        let at = *self.indexes.buckets.get_or_init(by_name).get(name)?;
        self.buckets.get(at)
    }
}

/// Everything in force, each part swapped whole without the others: what the control thread hands to the cores.
#[derive(Clone, Default)]
pub struct InForce {
    /// The configuration.
    pub snapshot: Arc<Snapshot>,
    /// Keys that clients may show.
    pub trust: Trust,
    /// TLS of each listener, in their order; none: in the clear.
    pub tls: Arc<Vec<Option<Arc<rustls::ServerConfig>>>>,
}

/// How one listener knows its clients.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Who vouches here, in order.
    pub identity: Vec<SourceKind>,
    /// Balancers whose PROXY headers are believed.
    pub proxy_protocol: Vec<Network>,
    /// What can be asked for here.
    pub serves: Serves,
}

impl Listener {
    /// For this machine's own users.
    #[must_use]
    pub fn of_the_peer() -> Self {
        Self { identity: vec![SourceKind::Peer], proxy_protocol: Vec::new(), serves: Serves::Everything }
    }

    /// For nobody any more: it stands no longer in the file, and its socket goes with the process.
    #[must_use]
    pub fn of_nobody() -> Self {
        Self { identity: Vec::new(), ..Self::of_the_peer() }
    }

    /// Whether the connection alone says who is there: nothing is then judged per request.
    #[must_use]
    pub fn is_of_the_peer(&self) -> bool {
        self.identity == [SourceKind::Peer]
    }
}

/// What can be asked for on a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Serves {
    /// Models and pages.
    #[default]
    Everything,
    /// Models: the pages have listeners of their own.
    Models,
    /// Pages.
    Pages,
}

/// A bucket as resolved: amounts in the smallest parts of its unit (nanodollars, tokens, requests).
#[derive(Clone, Debug)]
pub struct Bucket {
    /// Name with its templates, as in `daily:<user>`.
    pub name: Arc<str>,
    /// Where it stands in the file.
    pub place: Place,
    /// What it counts.
    pub unit: Unit,
    /// Most it holds, and what it begins with.
    pub capacity: i64,
    /// Refill: this much …
    pub refill: i64,
    /// … in this long; zero: never.
    pub refill_per: Duration,
    /// What happens when it is empty.
    pub on_exceed: OnExceed,
    /// Buckets to borrow from, in order.
    pub overdraft: Vec<Arc<str>>,
    /// Whether requests pass while the shared store cannot be reached.
    pub fail_open: bool,
    /// Whether all that a request may cost is reserved, rather than what such requests cost lately.
    pub reserve_max: bool,
}

/// Bounds; each says what happens at it.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a request head: 431 and closed.
    pub head_bytes_max: usize,
    /// Bytes of a request body: 413 and closed.
    pub body_bytes_max: u64,
    /// The whole request head must arrive within: 408 and closed.
    pub head_timeout: Duration,
    /// Longest silence while a request body arrives: 408 and closed.
    pub body_idle: Duration,
    /// Name look-up, TCP and TLS to a provider together: 504.
    pub connect: Duration,
    /// From the request sent to the first byte of the answer: 504.
    pub first_byte: Duration,
    /// Longest silence within a response: the stream is cut.
    pub idle: Duration,
    /// The whole exchange, from its head to its last byte: 504, or the stream is cut. On a WebSocket each exchange: the
    /// socket is closed with 1008. None: as long as it lasts.
    pub total: Option<Duration>,
    /// An idle client connection is closed after.
    pub keep_alive: Duration,
    /// Client connections of all cores: over it new ones are closed at once and counted.
    pub connections_max: u64,
    /// Exchanges of one principal at once, over all cores: over it 429 with `Retry-After`. None: as many as there are.
    pub per_principal_max: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes_max: 64 * 1024,
            body_bytes_max: 50 * 1024 * 1024,
            head_timeout: Duration::from_secs(30),
            body_idle: Duration::from_secs(60),
            connect: Duration::from_secs(10),
            first_byte: Duration::from_secs(600),
            idle: Duration::from_secs(600),
            keep_alive: Duration::from_secs(75),
            connections_max: 50_000,
            total: None,
            per_principal_max: None,
        }
    }
}

/// A vendor endpoint with its credential.
#[derive(Clone, Debug, Default)]
pub struct Provider {
    /// Id in the configuration, in records and in `provider/model`.
    pub id: String,
    /// Where it stands.
    pub origin: Origin,
    /// Path prefix of `baseurl`, without a slash at its end; the whole incoming path is appended.
    pub prefix: String,
    /// The credential field that replaces whatever the client sent; none for `auth_mode` `none` and `passthrough`.
    pub credential: Option<Credential>,
    /// What its credential is made from, where it is not written.
    pub made_from: Option<Source>,
    /// The same provider by each of its keys, or in each of its regions; none where there is one only.
    pub keys: Vec<Arc<Provider>>,
    /// Proxy on the way to it.
    pub proxy: Option<Proxy>,
    /// Whether faults that do not prove that nothing was executed are retried.
    pub retry_unsafe: bool,
    /// Keys that sign each request (AWS), where they are written.
    pub signing: Option<Made>,
    /// Whether the client's own credential is forwarded.
    pub passthrough: bool,
    /// What is known of it beforehand: how paths are written there.
    pub vendor: &'static Vendor,
    /// Flags that open its endpoints.
    pub flags: Vec<Flag>,
    /// Models it serves: names, or globs over them.
    pub models: Vec<Glob>,
    /// Fields added to every request.
    pub add_headers: Vec<(String, String)>,
    /// Name for people.
    pub name: Option<String>,
    /// Higher is tried first.
    pub preference: i64,
    /// Names of ours → its own.
    pub aliases: Vec<(String, String)>,
    /// Region, for prices, signing and Vertex paths.
    pub region: Option<String>,
    /// Cloud project, for Vertex paths.
    pub project: Option<String>,
    /// How its models are priced.
    pub listing: Listing,
    /// When usage is asked for that the client did not ask for.
    pub ask_usage: AskUsage,
    /// Whether the rest of an answer is read for its usage when the client has gone.
    pub drain_when_client_gone: bool,
    /// Bounds on time of this provider; none: those of [`Limits`].
    pub connect: Option<Duration>,
    /// See [`Limits::first_byte`].
    pub first_byte: Option<Duration>,
    /// See [`Limits::idle`].
    pub idle: Option<Duration>,
    /// See [`Limits::total`].
    pub total: Option<Duration>,
    /// Most requests that run at once by one of its keys, all cores together.
    pub connections_max: Option<u32>,
    /// Whether models without a price may draw on dollar buckets, for nothing.
    pub unpriced_allowed: bool,
    /// Where it stands in the file.
    pub place: Place,
}

/// When usage is asked for that the client did not ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AskUsage {
    /// Never.
    #[default]
    Never,
    /// Where a quota counts it.
    WhenQuota,
    /// Always.
    Always,
}

impl Provider {
    /// Bounds on time at this provider.
    #[must_use]
    pub fn limits(&self, of_all: Limits) -> Limits {
        Limits {
            connect: self.connect.unwrap_or(of_all.connect),
            first_byte: self.first_byte.unwrap_or(of_all.first_byte),
            idle: self.idle.unwrap_or(of_all.idle),
            total: self.total.or(of_all.total),
            ..of_all
        }
    }

    /// A client's path as it is written at this provider, its prefix before it.
    pub fn path(&self, path: &str) -> Result<String, &'static str> {
        let site = Site {
            prefix: &self.prefix,
            region: self.region.as_deref(),
            project: self.project.as_deref(),
            flags: &self.flags,
        };
        Ok([&self.prefix, &*(self.vendor.path)(path, &site)?].concat())
    }
}

/// Scheme, host and port of a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Whether to speak TLS.
    pub tls: bool,
    /// Host name or IP literal, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Origin {
    /// The `Host` field for it: the port only where it is not the scheme's own.
    #[must_use]
    pub fn authority(&self) -> String {
        let mut text = String::with_capacity(self.host.len() + 8);
        let is_v6 = self.host.contains(':');
        text.extend([if is_v6 { "[" } else { "" }, &self.host, if is_v6 { "]" } else { "" }]);
        if self.port != if self.tls { 443 } else { 80 } {
            text.extend([":", &self.port.to_string()]);
        }
        text
    }
}

/// An egress proxy. `Debug` never shows its credential.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Proxy {
    /// Where it is; spoken to without TLS.
    pub origin: Origin,
    /// Value of `Proxy-Authorization`.
    pub authorization: Option<String>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.origin.authority())
    }
}

/// A credential as a header field. `Debug` never shows the value.
#[derive(Clone, Default)]
pub struct Credential {
    /// Field name.
    pub field: String,
    /// Field value, scheme included.
    pub value: String,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: …", self.field)
    }
}
