//! The whole file as written: top level, and what concerns the installation rather than who may do what.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::hujson;
use super::provider::ProviderSettings;
use super::sections::{
    ConnectorsSettings, DatabaseSettings, ExporterSettings, HookSettings, McpSettings, PolicySettings,
};
use crate::base::settings::{At, Entry, Kind, Place, Reader, SecretText, Setting, Tree};
use crate::llm::price::settings::PricesSettings;
use crate::policy::grant::settings::{GrantSettings, TempGrant};
use crate::policy::identity::settings::{Network, SourceSettings};
use crate::policy::quota::settings::{QuotaSettings, QuotaStoreSettings};
use crate::{choices, settings};

settings! {
    /// The configuration of weir.
    pub struct File {
        /// For editors.
        pub schema_url as "$schema": Option<String> = None,
        /// Listeners, cores, limits.
        pub server: Option<ServerSettings> = None,
        /// Who vouches for clients, in order.
        pub identity: Option<Vec<SourceSettings>> = None,
        /// Vendor endpoints by id.
        pub providers: Vec<(At<String>, ProviderSettings)> = Vec::new(),
        /// Who may do what.
        pub grants: Vec<GrantSettings> = Vec::new(),
        /// The older form of grants.
        pub temp_grants: Option<Vec<TempGrant>> = None,
        /// Buckets by name.
        pub quotas: Vec<(At<String>, QuotaSettings)> = Vec::new(),
        /// Services that are asked or told, by name.
        pub hooks: Vec<(At<String>, HookSettings)> = Vec::new(),
        /// Rego rules.
        pub policies: Vec<PolicySettings> = Vec::new(),
        /// Where records go beside the store.
        pub exporters: Option<ExporterSettings> = None,
        /// What is kept, and how long.
        pub database: Option<DatabaseSettings> = None,
        /// MCP servers (older form).
        pub mcp: Option<McpSettings> = None,
        /// Services that agents reach through weir.
        pub connectors: Option<ConnectorsSettings> = None,
        /// Members of groups, for principals whose source brings none.
        pub groups: Vec<(At<String>, Vec<At<String>>)> = Vec::new(),
        /// Prices of one's own, before the lists that weir knows.
        pub prices: Option<PricesSettings> = None,
        /// Whether a provider without `cost_basis` is priced by the list of the vendor whose host it is at.
        pub auto_cost_basis: bool = true,
        /// Of the incumbent. Read, without effect.
        pub flags: Option<At<Value>> = None,
        /// Of the incumbent's chat page. Read, without effect.
        pub chat_models: Option<At<Value>> = None,
        /// Of the incumbent's chat page. Read, without effect.
        pub skills: Option<At<Value>> = None,
        /// Of the incumbent's chat page. Read, without effect.
        pub enable_chat_ui: Option<At<Value>> = None,
        /// Paths that answer to browsers. Read, without effect.
        pub cors_paths: Option<At<Value>> = None,
        /// Of the incumbent. Read, without effect.
        pub upstream: Option<At<Value>> = None,
    }

    /// Listeners, cores, limits.
    pub struct ServerSettings {
        /// Where clients connect: `"127.0.0.1:8080"`, `"unix:/run/weir.sock"`, or objects.
        pub listen: Vec<Listener> = Vec::new(),
        /// Names clients may call this gateway by, beside its addresses.
        pub names: Vec<At<String>> = Vec::new(),
        /// Serving cores: `"auto"` or a number.
        pub cores: Cores = Cores::Auto,
        /// Whether cores stay on one processor.
        pub pin: Pin = Pin::Auto,
        /// Whether the writer has a processor of its own.
        pub writer: WriterPlace = WriterPlace::Auto,
        /// Where the dashboard and the API listen, if not with the agents.
        pub admin_listen: Vec<Listener> = Vec::new(),
        /// Bounds.
        pub limits: LimitSettings = LimitSettings::none(),
        /// How long running exchanges may take to end at shutdown.
        pub drain_timeout: Duration = Duration::from_secs(60),
        /// Key for secrets at rest, or a reference to it.
        pub secret_key: Option<SecretText> = None,
        /// Private networks that the host names of providers may lead to; an address that stands in a URL needs none.
        pub private_networks: Vec<Network> = Vec::new(),
        /// Store of quotas that several machines share; without it each machine counts for itself.
        pub quota_store: Option<QuotaStoreSettings> = None,
        /// Certificates of providers' authorities beside the public ones, as a PEM file.
        pub ca_file: Option<String> = None,
    }

    /// Bounds; what is absent has its default.
    pub struct LimitSettings {
        /// Bytes of a request head.
        pub head_bytes: Option<Bytes> = None,
        /// Bytes of a request body.
        pub body_bytes: Option<Bytes> = None,
        /// The whole head must arrive within.
        pub head_timeout: Option<Duration> = None,
        /// Longest silence while a body arrives.
        pub body_idle: Option<Duration> = None,
        /// Name look-up, TCP and TLS to a provider together.
        pub connect: Option<Duration> = None,
        /// From the request sent to the first byte of the answer.
        pub first_byte: Option<Duration> = None,
        /// Longest silence between pieces of an answer.
        pub idle: Option<Duration> = None,
        /// The whole exchange, from its head to its last byte. On a WebSocket each exchange, not the socket, which may stay
        /// open for the next one.
        pub total: Option<Duration> = None,
        /// An idle client connection is closed after.
        pub keep_alive: Option<Duration> = None,
        /// Client connections, all cores together.
        pub connections: Option<NonZeroU64> = None,
        /// Exchanges of one principal at once, over all cores; over it 429 with `Retry-After`. A WebSocket counts as one.
        pub per_principal: Option<NonZeroU32> = None,
    }

    /// A certificate and its key, as PEM files.
    pub struct TlsSettings {
        /// The certificate chain.
        pub cert: String,
        /// Its key.
        pub key: String,
        /// Authority of client certificates; with it clients must show one.
        pub client_ca: Option<String> = None,
    }

    /// The long form of a listener.
    pub struct ListenerSettings {
        /// Address, or `unix:PATH`.
        pub address: At<Address>,
        /// TLS towards clients.
        pub tls: Option<TlsSettings> = None,
        /// Sources that vouch on this listener, by kind; all configured ones where absent.
        pub identity: Option<Vec<At<String>>> = None,
        /// Balancers that send the PROXY protocol, version 2; nobody else may.
        pub proxy_protocol: Vec<Network> = Vec::new(),
    }
}

choices! {
    /// Whether cores stay on one processor.
    pub enum Pin {
        /// Where it is right.
        Auto = "auto",
        /// Always.
        On = "on",
        /// Never.
        Off = "off",
    }

    /// Where the writer runs.
    pub enum WriterPlace {
        /// Own processor where there are enough.
        Auto = "auto",
        /// Own processor.
        Own = "own",
        /// Beside the serving cores.
        Shared = "shared",
    }
}

impl LimitSettings {
    fn none() -> Self {
        Self {
            place: Place::default(),
            head_bytes: None,
            body_bytes: None,
            head_timeout: None,
            body_idle: None,
            connect: None,
            first_byte: None,
            idle: None,
            total: None,
            keep_alive: None,
            connections: None,
            per_principal: None,
        }
    }
}

/// Serving cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Cores {
    /// As many as there are processors to use.
    #[default]
    Auto,
    /// This many.
    Count(usize),
}

impl Setting for Cores {
    fn read(tree: &Tree, reader: &mut Reader<'_>) -> Option<Self> {
        let cores = match &tree.kind {
            Kind::Text(text) if text == "auto" => Some(Cores::Auto),
            Kind::Number(digits) => {
                digits.parse().ok().filter(|count| (1..=1024).contains(count)).map(Cores::Count)
            }
            _ => None,
        };
        if cores.is_none() {
            reader.bad_value(tree, "is no number of cores", "expected \"auto\" or a number from 1 to 1024");
        }
        cores
    }

    fn schema(_: &mut BTreeMap<String, Value>) -> Value {
        json!({"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1, "maximum": 1024}]})
    }
}

/// A number of bytes: `1048576`, `"50MiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl Bytes {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let factor: u64 = match text[digits..].trim() {
            "" | "B" => 1,
            "kB" | "KB" => 1_000,
            "KiB" => 1 << 10,
            "MB" => 1_000_000,
            "MiB" => 1 << 20,
            "GB" => 1_000_000_000,
            "GiB" => 1 << 30,
            _ => return None,
        };
        text[..digits].parse::<u64>().ok()?.checked_mul(factor).map(Self)
    }
}

impl Setting for Bytes {
    fn read(tree: &Tree, reader: &mut Reader<'_>) -> Option<Self> {
        let bytes = match &tree.kind {
            Kind::Text(text) | Kind::Number(text) => Bytes::parse(text),
            _ => None,
        };
        // A bound of none would refuse every request.
        let bytes = bytes.filter(|bytes| bytes.0 > 0);
        if bytes.is_none() {
            reader.bad_value(tree, "is no number of bytes", "expected a number, or \"50MiB\"");
        }
        bytes
    }

    fn schema(_: &mut BTreeMap<String, Value>) -> Value {
        json!({"type": ["integer", "string"], "description": "a number of bytes, or \"50MiB\""})
    }
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

impl Address {
    /// `127.0.0.1:8080`, `localhost:8080`, `:8080` (everywhere), `unix:/path`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            return (!path.is_empty()).then(|| Self::Unix(path.into()));
        }
        if text.starts_with('/') {
            return Some(Self::Unix(text.into()));
        }
        let port = |text: &str| text.parse::<u16>().ok();
        if let Some(port) = text.strip_prefix("localhost:").and_then(port) {
            return Some(Self::Tcp((Ipv4Addr::LOCALHOST, port).into()));
        }
        if let Some(port) = text.strip_prefix(':').and_then(port) {
            return Some(Self::Tcp((Ipv4Addr::UNSPECIFIED, port).into()));
        }
        text.parse().ok().map(Self::Tcp)
    }

    /// Whether only this machine can reach it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Address::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Address::Unix(_) => true,
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "{address}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Setting for Address {
    fn read(tree: &Tree, reader: &mut Reader<'_>) -> Option<Self> {
        let text = String::read(tree, reader)?;
        let address = Address::parse(&text);
        if address.is_none() {
            reader.bad_value(
                tree,
                format!("{text:?} is no address"),
                "expected \"127.0.0.1:8080\" or \"unix:/path\"",
            );
        }
        address
    }

    fn schema(_: &mut BTreeMap<String, Value>) -> Value {
        json!({"type": "string", "description": "127.0.0.1:8080, :8080, unix:/path"})
    }
}

/// Where clients connect: an address, or an object.
#[derive(Clone, Debug)]
pub struct Listener(pub ListenerSettings);

impl Listener {
    /// A listener without TLS and with the default sources.
    #[must_use]
    pub fn plain(address: At<Address>) -> Self {
        let place = address.place.clone();
        Self(ListenerSettings { place, address, tls: None, identity: None, proxy_protocol: Vec::new() })
    }
}

impl Setting for Listener {
    fn read(tree: &Tree, reader: &mut Reader<'_>) -> Option<Self> {
        match tree.kind {
            Kind::Map(_) => ListenerSettings::read(tree, reader).map(Self),
            _ => At::<Address>::read(tree, reader).map(Self::plain),
        }
    }

    fn schema(defs: &mut BTreeMap<String, Value>) -> Value {
        let long = ListenerSettings::schema(defs);
        json!({"anyOf": [Address::schema(defs), long]})
    }
}

/// Keys which the incumbent's own tools write as `""` where nothing is chosen: they are as good as absent.
const BLANK_IS_ABSENT: [&str; 6] =
    ["apikey", "auth_mode", "authorization", "cost_basis", "fail_policy", "on_exceed"];

fn leave_out_blanks(tree: &mut Tree) {
    match &mut tree.kind {
        Kind::Map(entries) => {
            let is_blank = |entry: &Entry| {
                BLANK_IS_ABSENT.contains(&entry.key.as_str())
                    && matches!(&entry.value.kind, Kind::Text(text) if text.is_empty())
            };
            entries.retain(|entry| !is_blank(entry));
            entries.iter_mut().for_each(|entry| leave_out_blanks(&mut entry.value));
        }
        Kind::List(items) => items.iter_mut().for_each(leave_out_blanks),
        _ => {}
    }
}

impl File {
    /// Read the text. Everything that is wrong with its form is in the reader's problems.
    #[must_use]
    pub fn read(text: &str) -> (Option<Self>, Reader<'_>) {
        let mut reader = Reader::new(text);
        let mut tree = hujson::parse(text, &mut reader);
        tree.iter_mut().for_each(leave_out_blanks);
        let file = tree.and_then(|tree| <Self as Setting>::read(&tree, &mut reader));
        (file, reader)
    }

    /// The JSON Schema of the file.
    #[must_use]
    pub fn json_schema() -> Value {
        let (own, defs) = Reader::schema_of::<Self>();
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "weir configuration",
            "$ref": own["$ref"],
            "$defs": defs,
        })
    }
}
