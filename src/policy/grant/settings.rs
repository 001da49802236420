//! Grants as written: `grants[]`, and the older `temp_grants[]`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::base::settings::{At, Kind, Reader, Setting, Tree};
use crate::policy::glob::Glob;
use crate::{choices, settings};

/// Names under which weir's own capabilities stand in `app`.
pub const CAPABILITY_KEYS: [&str; 2] = ["weir", "tailscale.com/cap/aperture"];

choices! {
    /// What a principal may do beside calling models. Any role lets models through that a `models` grant names.
    pub enum Role {
        /// Calls models, sees own usage.
        User = "user",
        /// Sees totals of everybody, changes nothing.
        Operator = "operator",
        /// Reads everybody's logs (each look is recorded), changes nothing.
        Auditor = "auditor",
        /// Everything, the configuration too.
        Admin = "admin",
    }
}

choices! {
    /// When a hook is asked.
    pub enum HookEvent {
        /// Before the provider is called; may change or refuse the request.
        PreRequest = "pre_request",
        /// After completion, always.
        EntireRequest = "entire_request",
        /// After completion, where tools were called.
        ToolCallEntireRequest = "tool_call_entire_request",
        /// Before a tool call is released to the client.
        ToolCall = "tool_call",
    }

    /// What a hook is sent.
    pub enum HookField {
        /// Tool calls.
        Tools = "tools",
        /// The request as sent.
        RequestBody = "request_body",
        /// The response, put together.
        ResponseBody = "response_body",
        /// The response as it came.
        RawResponses = "raw_responses",
        /// The last user message.
        UserMessage = "user_message",
        /// The grants that match.
        Grants = "grants",
        /// Estimated cost.
        EstimatedCost = "estimated_cost",
        /// State of the quotas that match.
        Quotas = "quotas",
    }
}

settings! {
    /// Who may do what. The union of all that match; nothing takes away.
    pub struct GrantSettings {
        /// Who: `*`, a login, `group:x`, `tag:x`, `key:x`, `(loopback)`, a `spiffe://` glob.
        pub src: Vec<At<String>>,
        /// Capabilities by name; weir's own stand under `weir` (or `tailscale.com/cap/aperture`).
        pub app: App = App::default(),
        /// Of tailnet policy files: which device. Read, without effect: the device is this gateway.
        pub dst: Option<Value> = None,
        /// Of tailnet policy files: which ports. Read, without effect.
        pub ip: Option<Value> = None,
    }

    /// One capability. Without `models` it floats over all of them.
    pub struct Capability {
        /// The role it gives.
        pub role: Option<Role> = None,
        /// Globs over `provider/model`: `*` one segment, `**` any.
        pub models: Option<Globs> = None,
        /// Buckets that requests under this capability draw on.
        pub quotas: Vec<QuotaUse> = Vec::new(),
        /// Hooks that are asked or told.
        pub send_hooks: Vec<SendHook> = Vec::new(),
        /// Fields added to the request towards the provider.
        pub add_headers: Vec<HeaderLine> = Vec::new(),
        /// Connectors that may be used.
        pub connectors: Option<Value> = None,
        /// MCP tools that may be listed and called.
        pub mcp_tools: Option<Globs> = None,
        /// MCP resources that may be listed and read.
        pub mcp_resources: Option<Globs> = None,
        /// MCP resource templates that may be listed and used.
        pub mcp_templates: Option<Globs> = None,
        /// Tool calls a model may make.
        pub tools: Option<ToolRules> = None,
        /// Header fields whose values may be filtered by.
        pub filterable_headers: Option<Value> = None,
        /// Paths outside the closed table that may be read (GET), such as lists of files: globs over `provider/path`
        /// (`openai/v1/files`), or over the path at every provider (`/v1/files`).
        pub direct_paths: Option<Globs> = None,
        /// May read `/metrics`.
        pub read_metrics: bool = false,
        /// May read prices.
        pub read_pricing: bool = false,
        /// May set CORS fields.
        pub set_cors: bool = false,
        /// Paths that answer to browsers.
        pub cors_paths: Option<Globs> = None,
        /// CORS: origins.
        pub allow_origin as "Access-Control-Allow-Origin": Option<Value> = None,
        /// CORS: methods.
        pub allow_methods as "Access-Control-Allow-Methods": Option<Value> = None,
        /// CORS: header fields.
        pub allow_headers as "Access-Control-Allow-Headers": Option<Value> = None,
        /// Of the incumbent's chat page. Read, without effect.
        pub enable_chat_ui: Option<Value> = None,
        /// Of the incumbent's chat page. Read, without effect.
        pub skills: Option<Value> = None,
        /// Whose logs may be seen: `own`, `group:x`, `all`.
        pub view: Vec<At<String>> = Vec::new(),
    }

    /// A bucket to draw on.
    pub struct QuotaUse {
        /// Name of the bucket in `quotas`, templates as written there.
        pub bucket: At<String>,
    }

    /// A hook to ask or tell.
    pub struct SendHook {
        /// Its name in `hooks`.
        pub name: At<String>,
        /// When.
        pub events: Vec<HookEvent>,
        /// What it is sent.
        pub send: Vec<HookField> = Vec::new(),
    }

    /// Which tool calls pass.
    pub struct ToolRules {
        /// Globs of tool names that pass; everything where absent.
        pub allow: Option<Globs> = None,
        /// Globs of tool names that never pass.
        pub deny: Option<Globs> = None,
    }
}

/// The `app` object.
#[derive(Clone, Debug, Default)]
pub struct App {
    /// weir's own capabilities.
    pub own: Vec<Capability>,
    /// Capabilities of others, kept for hooks.
    pub others: Vec<(String, Value)>,
}

impl Setting for App {
    fn read(tree: &Tree, reader: &mut Reader<'_>) -> Option<Self> {
        let Kind::Map(entries) = &tree.kind else {
            reader.wrong_type(tree, "an object of capabilities");
            return None;
        };
        let mut app = App::default();
        for entry in entries {
            reader.under(&entry.key, |reader| {
                if CAPABILITY_KEYS.contains(&entry.key.as_str()) {
                    app.own.extend(Vec::<Capability>::read(&entry.value, reader).unwrap_or_default());
                } else if let Some(value) = Value::read(&entry.value, reader) {
                    app.others.push((entry.key.clone(), value));
                }
            });
        }
        Some(app)
    }

    fn schema(defs: &mut BTreeMap<String, Value>) -> Value {
        let own = Vec::<Capability>::schema(defs);
        let properties: serde_json::Map<_, _> =
            CAPABILITY_KEYS.iter().map(|key| ((*key).to_owned(), own.clone())).collect();
        json!({"type": "object", "properties": properties})
    }
}

/// One glob or several.
#[derive(Clone, Debug, Default)]
pub struct Globs(pub Vec<At<Glob>>);

impl Setting for Globs {
    fn read(tree: &Tree, reader: &mut Reader<'_>) -> Option<Self> {
        match tree.kind {
            Kind::List(_) => Vec::read(tree, reader).map(Self),
            _ => At::<Glob>::read(tree, reader).map(|glob| Self(vec![glob])),
        }
    }

    fn schema(defs: &mut BTreeMap<String, Value>) -> Value {
        let one = Glob::schema(defs);
        json!({"anyOf": [one, {"type": "array", "items": one}]})
    }
}

/// A header field: `"Name: value"` or `{"name": …, "value": …}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderLine {
    /// Field name, an HTTP token.
    pub name: String,
    /// Field value: visible characters, spaces and tabs.
    pub value: String,
}

impl Setting for HeaderLine {
    fn read(tree: &Tree, reader: &mut Reader<'_>) -> Option<Self> {
        let line = match &tree.kind {
            Kind::Text(text) => {
                text.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            }
            Kind::Map(_) => HeaderPair::read(tree, reader).map(|pair| (pair.name, pair.value)),
            _ => None,
        };
        let Some((name, value)) = line else {
            reader.wrong_type(tree, "\"Name: value\" or {\"name\": …, \"value\": …}");
            return None;
        };
        if let Some(why) = header_fault(&name, &value) {
            reader.bad_value(tree, format!("{why} in field {name:?}"), "expected a header field");
            return None;
        }
        Some(Self { name, value })
    }

    fn schema(defs: &mut BTreeMap<String, Value>) -> Value {
        let pair = HeaderPair::schema(defs);
        json!({"anyOf": [{"type": "string"}, pair]})
    }
}

settings! {
    /// A header field.
    pub struct HeaderPair {
        /// Its name.
        pub name: String,
        /// Its value.
        pub value: String,
    }
}

/// Fields that frame the message or say who asks: configuration may not set them.
const NOT_TO_BE_ADDED: [&str; 9] = [
    "content-length",
    "transfer-encoding",
    "connection",
    "host",
    "upgrade",
    "te",
    "trailer",
    "keep-alive",
    "x-weir-id",
];

/// Why a field could not be sent as it stands.
fn header_fault(name: &str, value: &str) -> Option<&'static str> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(token) {
        return Some("a name that is no token");
    }
    if NOT_TO_BE_ADDED.contains(&name.to_ascii_lowercase().as_str()) {
        return Some("a field that only weir sets");
    }
    value.chars().any(|c| c.is_control() && c != '\t').then_some("a control character")
}

settings! {
    /// The older form of a grant.
    pub struct TempGrant {
        /// Who.
        pub src: Vec<At<String>>,
        /// What.
        pub grants: Vec<TempCapability> = Vec::new(),
    }

    /// One capability of the older form.
    pub struct TempCapability {
        /// The role it gives.
        pub role: Option<Role> = None,
        /// Models by provider.
        pub providers: Vec<TempModels> = Vec::new(),
        /// A hook to ask or tell.
        pub hook: Option<TempHook> = None,
        /// Buckets to draw on.
        pub quotas: Vec<QuotaUse> = Vec::new(),
    }

    /// Models of a provider.
    pub struct TempModels {
        /// Id of the provider, or `*`.
        pub provider: At<String>,
        /// Model name, or `*`.
        pub model: At<String> = At { value: "*".into(), place: crate::base::settings::Place::default() },
    }

    /// A hook of the older form.
    pub struct TempHook {
        /// When it applies.
        pub matching as "match": Option<TempMatch> = None,
        /// Its name in `hooks`.
        pub hook: At<String>,
        /// What it is sent.
        pub fields: Vec<HookField> = Vec::new(),
    }

    /// When a hook of the older form applies.
    pub struct TempMatch {
        /// Providers it applies to; all where absent.
        pub providers: Vec<String> = Vec::new(),
        /// Models it applies to; all where absent.
        pub models: Vec<String> = Vec::new(),
        /// Events; `entire_request` where absent.
        pub events: Vec<HookEvent> = Vec::new(),
    }
}
