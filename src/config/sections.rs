//! Sections that stand at the top of the file and whose owners are not built yet or small: hooks, policies,
//! exporters, database, MCP, connectors. Each moves next to its code when that code comes.

use std::time::Duration;

use serde_json::Value;

use super::provider::{Authorization, BaseUrl};
use crate::base::settings::{At, SecretText};
use crate::policy::identity::settings::{HeaderName, OneOrMore};
use crate::{choices, settings};

choices! {
    /// What happens when a hook does not answer.
    pub enum FailPolicy {
        /// The request passes.
        Open = "fail_open",
        /// The request is refused.
        Closed = "fail_closed",
    }

    /// The protocol a hook speaks.
    pub enum HookKind {
        /// POST with a JSON body.
        Webhook = "webhook",
        /// A Cerbos decision point.
        Cerbos = "cerbos",
        /// Told after the fact, never waited for.
        HttpAsync = "http-async",
    }

    /// Whether a policy's verdict counts.
    pub enum PolicyMode {
        /// Recorded, not acted upon.
        Observe = "observe",
        /// Acted upon.
        Enforce = "enforce",
    }

    /// What an error of a policy means.
    pub enum OnError {
        /// Refused.
        Closed = "closed",
        /// Passed.
        Open = "open",
    }

    /// How exchanges are written for a store.
    pub enum ExportFormat {
        /// A sequence of CBOR items, compressed.
        Cbor = "cbor",
        /// Lines of JSON.
        Ndjson = "ndjson",
        /// Parquet.
        Parquet = "parquet",
    }

    /// What is kept of bodies.
    pub enum Capture {
        /// Everything.
        Full = "full",
        /// Counts and names only.
        Metadata = "metadata",
    }

    /// What happens when the ring towards the writer is full.
    pub enum OnFull {
        /// Captures are shed first, then records are lost and counted.
        Shed = "shed",
        /// The exchange is refused before it begins.
        Strict = "strict",
    }

    /// What a connector speaks.
    pub enum ConnectorProtocol {
        /// Model Context Protocol.
        Mcp = "mcp",
        /// Plain HTTP with an injected credential.
        Http = "http",
    }
}

settings! {
    /// A service that is asked or told about exchanges.
    pub struct HookSettings {
        /// Where.
        pub url: At<BaseUrl>,
        /// Its credential, or a reference to it.
        pub apikey: Option<SecretText> = None,
        /// Which field carries the credential.
        pub authorization: Authorization = Authorization::Bearer,
        /// How long it is waited for.
        pub timeout: Duration = Duration::from_secs(5),
        /// What happens when it does not answer.
        pub fail_policy: FailPolicy = FailPolicy::Open,
        /// Higher is asked first.
        pub preference: i64 = 0,
        /// Takes it out.
        pub disabled: bool = false,
        /// The protocol it speaks.
        pub kind: HookKind = HookKind::Webhook,
    }

    /// Rules for tool calls and requests, in Rego.
    pub struct PolicySettings {
        /// Files, evaluated together.
        pub files: OneOrMore,
        /// The rule asked for.
        pub query: String = "data.weir.allow".into(),
        /// Whether the verdict counts.
        pub mode: PolicyMode = PolicyMode::Enforce,
        /// What an error means.
        pub on_error: OnError = OnError::Closed,
    }

    /// Where records go beside the store.
    pub struct ExporterSettings {
        /// An S3-compatible store.
        pub s3: Option<S3Settings> = None,
        /// OpenTelemetry.
        pub otlp: Option<OtlpSettings> = None,
        /// ClickHouse over HTTP.
        pub clickhouse: Option<ClickhouseSettings> = None,
        /// A SIEM.
        pub webhook: Option<WebhookSettings> = None,
        /// A file.
        pub file: Option<FileSettings> = None,
    }

    /// An S3-compatible store.
    pub struct S3Settings {
        /// Bucket.
        pub bucket_name: String,
        /// Region.
        pub region: Option<String> = None,
        /// Endpoint, where it is not Amazon's.
        pub endpoint: Option<At<BaseUrl>> = None,
        /// Prefix of object names.
        pub prefix: Option<String> = None,
        /// Access key.
        pub access_key_id: Option<SecretText> = None,
        /// Its secret, or a reference to it.
        pub access_secret: Option<SecretText> = None,
        /// Seconds between objects.
        pub every: Option<u64> = None,
        /// Records per object.
        pub limit: Option<u64> = None,
        /// How records are written.
        pub format: ExportFormat = ExportFormat::Cbor,
    }

    /// OpenTelemetry.
    pub struct OtlpSettings {
        /// Where.
        pub endpoint: At<BaseUrl>,
        /// Fields added to each request.
        pub headers: Vec<(At<String>, SecretText)> = Vec::new(),
    }

    /// ClickHouse over HTTP.
    pub struct ClickhouseSettings {
        /// Where.
        pub url: At<BaseUrl>,
        /// Database.
        pub database: String = "default".into(),
        /// Table.
        pub table: String = "weir".into(),
        /// User.
        pub user: Option<String> = None,
        /// Password, or a reference to it.
        pub password: Option<SecretText> = None,
    }

    /// A SIEM.
    pub struct WebhookSettings {
        /// Where.
        pub url: At<BaseUrl>,
        /// Its credential, or a reference to it.
        pub apikey: Option<SecretText> = None,
        /// Which field carries the credential.
        pub authorization: Authorization = Authorization::Bearer,
    }

    /// A file.
    pub struct FileSettings {
        /// Its path.
        pub path: String,
    }

    /// What is kept, and how long.
    pub struct DatabaseSettings {
        /// How long bodies are kept.
        pub retention: Option<RetentionSettings> = None,
        /// Header fields that can be filtered by.
        pub headers: Option<HeaderIndexSettings> = None,
        /// What is kept of bodies.
        pub capture: Option<At<Capture>> = None,
        /// What happens when the ring towards the writer is full.
        pub on_full: Option<At<OnFull>> = None,
    }

    /// How long bodies are kept.
    pub struct RetentionSettings {
        /// How long; `"0"` never reaches a disk.
        pub duration: Option<Duration> = None,
        /// Keep until exported.
        pub require_export: bool = false,
        /// What is purged.
        pub purge: Vec<String> = Vec::new(),
    }

    /// Header fields that can be filtered by.
    pub struct HeaderIndexSettings {
        /// The fields.
        pub filterable: Vec<FilterableSettings> = Vec::new(),
    }

    /// A header field that can be filtered by.
    pub struct FilterableSettings {
        /// Its name.
        pub name: HeaderName,
        /// Show that it was there, not what it said.
        pub redact_values: bool = false,
    }

    /// MCP servers (older form; see `connectors`).
    pub struct McpSettings {
        /// Servers by name.
        pub servers: Vec<(At<String>, McpServerSettings)> = Vec::new(),
        /// Whether servers may register themselves.
        pub allow_registration: bool = false,
    }

    /// An MCP server.
    pub struct McpServerSettings {
        /// Where.
        pub url: At<BaseUrl>,
        /// Takes it out.
        pub disabled: bool = false,
    }

    /// Services that agents reach through weir with credentials they do not hold.
    pub struct ConnectorsSettings {
        /// Services by name.
        pub servers: Vec<(At<String>, ConnectorSettings)> = Vec::new(),
    }

    /// A service.
    pub struct ConnectorSettings {
        /// Where.
        pub url: At<BaseUrl>,
        /// What it speaks.
        pub protocol: ConnectorProtocol = ConnectorProtocol::Mcp,
        /// Name for people.
        pub name: Option<String> = None,
        /// For people.
        pub description: Option<String> = None,
        /// For people. Read, without effect.
        pub labels: Option<Value> = None,
        /// Its credential: kind and parts.
        pub auth: Option<Value> = None,
        /// Takes it out.
        pub disabled: bool = false,
    }
}
