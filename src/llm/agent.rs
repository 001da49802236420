//! Which program is calling and which session it is: a table of what agents send, not code per agent.
//!
//! Ids are chosen by clients: they group records and authorise nothing. Names of headers change with releases; a new
//! one is a new row.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::ask::Ask;
use super::dialect::Endpoint;
use crate::base::id::hexadecimal;
use crate::wire::head::Fields;
use crate::wire::json::Raw;

/// Which program called, and which of its sessions the exchange belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Caller {
    /// Agent program, as in the table of `llm/agent.rs` (`claude-code`, `codex`, …); empty when unknown.
    pub agent: String,
    /// Its version, as it said it.
    pub agent_version: String,
    /// Session id as the client gave it, or derived; empty when there is none.
    pub session: String,
    /// How the session was found (`header`, `metadata`, `cache_key`, `fingerprint`, …).
    pub session_by: String,
    /// Sub-agent id, where the client names one.
    pub sub_agent: String,
    /// Parent session or agent, where the client names one.
    pub parent: String,
    /// Whether the exchange is a turn of the conversation (side requests, probes and counting calls are not).
    pub turn: bool,
}

/// Who calls, from the request's head and what its body asks for.
#[must_use]
pub fn caller(fields: &Fields, ask: &Ask, principal: &str, endpoint: Endpoint) -> Caller {
    let agent = INDEX.first(fields, ask).map(|nth| &AGENTS[nth]);
    let (session, session_by) = session(fields, ask, principal, endpoint);
    Caller {
        agent: agent.map_or("", |agent| agent.name).into(),
        agent_version: agent.and_then(|agent| agent.version(fields)).unwrap_or_default(),
        session,
        session_by: session_by.into(),
        sub_agent: first_field(fields, SUB_AGENT_FIELDS),
        parent: first_field(fields, PARENT_FIELDS),
        turn: is_turn(fields, ask, endpoint, agent),
    }
}

/// An agent program and how it is told.
struct Agent {
    name: &'static str,
    marks: &'static [Mark],
    /// Its turns always declare tools: a request without any is a side request (a title, a routing question).
    always_tools: bool,
}

enum Mark {
    /// The user agent begins so; what follows is the version.
    UserAgent(&'static str),
    /// The user agent contains this.
    UserAgentHas(&'static str),
    /// A field is there.
    Field(&'static str),
    /// A field begins so.
    FieldIs(&'static str, &'static str),
    /// A field contains this.
    FieldHas(&'static str, &'static str),
    /// The system prompt begins so.
    System(&'static str),
    /// The beginning of the system prompt contains this.
    SystemHas(&'static str),
}

/// The marks of [`AGENTS`] by what they look at, with the number of their agent: most of the table need not be looked
/// through, since no program says what begins with another letter, or has such a field, or a system prompt.
struct Index {
    /// By the first letter of the user agent.
    user_agents: [Vec<(usize, &'static Mark)>; 32],
    anywhere: Vec<(usize, &'static Mark)>,
    fields: Vec<(usize, &'static Mark)>,
    systems: Vec<(usize, &'static Mark)>,
}

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let mut index = Index {
        user_agents: Default::default(),
        anywhere: Vec::new(),
        fields: Vec::new(),
        systems: Vec::new(),
    };
    for (nth, agent) in AGENTS.iter().enumerate() {
        for mark in agent.marks {
            let marks = match mark {
                Mark::UserAgent(start) => &mut index.user_agents[letter(start)],
                Mark::UserAgentHas(_) => &mut index.anywhere,
                Mark::Field(_) | Mark::FieldIs(..) | Mark::FieldHas(..) => &mut index.fields,
                Mark::System(_) | Mark::SystemHas(_) => &mut index.systems,
            };
            marks.push((nth, mark));
        }
    }
    index
});

/// Letters in any case are told apart by their lower five bits.
fn letter(text: &str) -> usize {
    usize::from(text.as_bytes().first().copied().unwrap_or_default() & 31)
}

impl Index {
    /// Number of the first agent in the table that has a mark here.
    fn first(&self, fields: &Fields, ask: &Ask) -> Option<usize> {
        let user_agent = fields.text("user-agent").unwrap_or_default();
        let systems = if ask.system_start.is_some() { &self.systems[..] } else { &[] };
        [&self.user_agents[letter(user_agent)], &self.anywhere, &self.fields, systems]
            .into_iter()
            .filter_map(|marks| marks.iter().find(|(_, mark)| mark.fits(user_agent, fields, ask)))
            .map(|(nth, _)| *nth)
            .min()
    }
}

impl Mark {
    fn fits(&self, user_agent: &str, fields: &Fields, ask: &Ask) -> bool {
        match self {
            Mark::UserAgent(start) => starts_with(user_agent, start),
            Mark::UserAgentHas(part) => user_agent.contains(part),
            Mark::Field(name) => fields.get(name).is_some(),
            Mark::FieldIs(name, start) => fields.text(name).is_some_and(|value| starts_with(value, start)),
            Mark::FieldHas(name, part) => fields.text(name).is_some_and(|value| value.contains(part)),
            Mark::SystemHas(part) => ask.system_start.as_deref().is_some_and(|system| system.contains(part)),
            Mark::System(start) => {
                ask.system_start.as_deref().is_some_and(|system| system.starts_with(start))
            }
        }
    }
}

impl Agent {
    /// The first word after the name that begins with a digit: `claude-cli/2.1.197 (external, cli)`, `OpenAI/Python 1.3`.
    fn version(&self, fields: &Fields) -> Option<String> {
        let user_agent = fields.text("user-agent")?;
        let start = self.marks.iter().find_map(|mark| match mark {
            Mark::UserAgent(start) if starts_with(user_agent, start) => Some(start.len()),
            // Programs with Codex inside them put their own name into both.
            Mark::FieldIs("originator", start) => {
                let name = fields.text("originator").filter(|name| starts_with(name, start))?;
                starts_with(user_agent, name).then_some(name.len())
            }
            _ => None,
        })?;
        let mut words = user_agent.get(start..)?.split([' ', '/', '(', ')', ';']);
        words.find(|word| word.starts_with(|c: char| c.is_ascii_digit())).map(String::from)
    }
}

fn starts_with(text: &str, start: &str) -> bool {
    text.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start))
}

const fn agent(name: &'static str, always_tools: bool, marks: &'static [Mark]) -> Agent {
    Agent { name, marks, always_tools }
}

/// First match wins: programs before the kits they are built on, and those before plain SDKs. At the head are those that
/// borrow another's fields: Cline opencode's session on its provider, Qwen Code the user agent of Claude Code.
const AGENTS: &[Agent] = &[
    agent(
        "kilo",
        false,
        &[
            Mark::UserAgent("Kilo-Code/"),
            Mark::Field("x-kilocode-taskid"),
            Mark::FieldIs("x-title", "Kilo"),
            Mark::FieldIs("http-referer", "https://kilocode.ai"),
            Mark::System("You are Kilo"),
        ],
    ),
    agent(
        "cline",
        false,
        &[
            Mark::UserAgent("Cline/"),
            Mark::FieldIs("originator", "cline"),
            Mark::FieldIs("x-client-type", "cline"),
            Mark::FieldIs("x-title", "Cline"),
            Mark::FieldIs("http-referer", "https://cline.bot"),
            Mark::System("You are Cline"),
        ],
    ),
    agent("qwen-code", true, &[Mark::UserAgent("QwenCode/"), Mark::System("You are Qwen Code")]),
    agent(
        "opencode",
        true,
        &[
            Mark::UserAgent("opencode/"),
            Mark::FieldIs("originator", "opencode"),
            Mark::Field("x-opencode-session"),
            Mark::System("You are opencode"),
            Mark::System("You are OpenCode"),
        ],
    ),
    agent(
        "claude-code",
        true,
        &[
            Mark::UserAgent("claude-cli/"),
            Mark::Field("x-claude-code-session-id"),
            Mark::System("You are Claude Code"),
            Mark::SystemHas("Claude Agent SDK"),
            Mark::FieldHas("anthropic-beta", "claude-code-"),
            Mark::FieldIs("x-app", "cli"),
        ],
    ),
    agent(
        "roo",
        false,
        &[
            Mark::UserAgent("Roo-Code/"),
            Mark::UserAgent("RooCode/"),
            Mark::FieldIs("originator", "roo-code"),
            Mark::FieldIs("x-title", "Roo"),
            Mark::System("You are Roo,"),
        ],
    ),
    agent(
        "codex",
        true,
        &[
            Mark::UserAgent("codex_cli_rs/"),
            Mark::UserAgent("codex-tui/"),
            Mark::UserAgent("codex_exec/"),
            Mark::UserAgent("codex_vscode/"),
            Mark::UserAgent("codex_sdk_ts/"),
            Mark::UserAgent("Codex Desktop/"),
            Mark::FieldIs("originator", "codex"),
            Mark::Field("x-codex-turn-metadata"),
            Mark::System("You are Codex"),
            Mark::System("You are a coding agent running in the Codex CLI"),
        ],
    ),
    agent(
        "gemini-cli",
        true,
        &[
            Mark::UserAgent("GeminiCLI/"),
            Mark::UserAgent("GeminiCLI-"),
            Mark::UserAgentHas("proxy_client=geminicli"),
            Mark::System("You are Gemini CLI"),
        ],
    ),
    agent(
        "aider",
        false,
        &[
            Mark::UserAgent("aider/"),
            Mark::FieldIs("x-title", "Aider"),
            Mark::FieldIs("http-referer", "https://aider.chat"),
        ],
    ),
    agent(
        "continue",
        false,
        &[
            Mark::UserAgent("Continue/"),
            Mark::FieldIs("x-openrouter-title", "Continue"),
            Mark::FieldIs("http-referer", "https://www.continue.dev"),
            Mark::System("You are an agent in the Continue CLI"),
        ],
    ),
    agent("cursor", false, &[Mark::Field("x-cursor-client-version"), Mark::SystemHas("operate in Cursor")]),
    agent("zed", false, &[Mark::UserAgent("zed/")]),
    agent("mux", false, &[Mark::UserAgent("mux/"), Mark::Field("x-mux-workspace-id")]),
    agent(
        "crush",
        false,
        &[Mark::UserAgent("Charm Crush/"), Mark::UserAgent("Charm-Crush/"), Mark::System("You are Crush")],
    ),
    agent("fantasy", false, &[Mark::UserAgent("Charm-Fantasy/")]),
    agent(
        "pi",
        false,
        &[
            Mark::UserAgent("pi/"),
            Mark::UserAgent("pi-coding-agent"),
            Mark::FieldIs("http-referer", "https://pi.dev"),
            Mark::System("You are pi"),
            Mark::SystemHas("operating inside pi,"),
        ],
    ),
    // Behind those that go through it with a person's Copilot login, and send its fields.
    agent(
        "copilot",
        false,
        &[
            Mark::UserAgent("GitHubCopilotChat/"),
            Mark::UserAgent("GithubCopilot/"),
            Mark::UserAgent("copilot/"),
            Mark::Field("copilot-integration-id"),
            Mark::Field("x-initiator"),
            Mark::Field("x-interaction-type"),
            Mark::System("You are the GitHub Copilot"),
        ],
    ),
    agent(
        "anthropic-sdk",
        false,
        &[
            Mark::UserAgent("Anthropic/"),
            Mark::UserAgent("AsyncAnthropic/"),
            Mark::UserAgent("AnthropicBedrock/"),
            Mark::UserAgent("AsyncAnthropicBedrock/"),
            Mark::UserAgent("AnthropicVertex/"),
            Mark::UserAgent("AsyncAnthropicVertex/"),
        ],
    ),
    agent(
        "openai-sdk",
        false,
        &[
            Mark::UserAgent("OpenAI/"),
            Mark::UserAgent("AsyncOpenAI/"),
            Mark::UserAgent("AzureOpenAI/"),
            Mark::UserAgent("AsyncAzureOpenAI/"),
        ],
    ),
    agent("google-genai", false, &[Mark::UserAgent("google-genai-sdk/")]),
    agent("ai-sdk", false, &[Mark::UserAgent("ai-sdk/"), Mark::UserAgentHas(" ai-sdk/")]),
    agent("litellm", false, &[Mark::UserAgent("litellm/")]),
    agent("boto3", false, &[Mark::UserAgent("Boto3/")]),
    agent("aws-sdk", false, &[Mark::UserAgent("aws-sdk-")]),
    agent("ollama", false, &[Mark::UserAgent("ollama-python/"), Mark::UserAgent("ollama/")]),
    agent("curl", false, &[Mark::UserAgent("curl/")]),
];

/// Fields that hold a session's id, most specific first.
const SESSION_FIELDS: &[&str] = &[
    "x-claude-code-session-id",
    // Codex, new to old. A thread is the conversation; its session may hold several.
    "thread-id",
    "session-id",
    "session_id",
    "conversation_id",
    "x-opencode-session",
    "x-session-id",
    "x-session-affinity",
    // Cline, Kilo.
    "x-task-id",
    "x-kilocode-taskid",
    // Copilot: the command line, then the window of the editor.
    "x-client-session-id",
    "vscode-sessionid",
];

const SUB_AGENT_FIELDS: &[&str] = &["x-claude-code-agent-id", "x-openai-subagent"];

/// Codex: what its side agents are for, where that is not the conversation.
const CODEX_SIDE: &[&str] = &["compact", "memory_consolidation"];

const PARENT_FIELDS: &[&str] =
    &["x-claude-code-parent-agent-id", "x-codex-parent-thread-id", "x-parent-session-id"];

/// Longest id that is kept.
const ID_BYTES_MAX: usize = 256;

fn first_field(fields: &Fields, names: &[&str]) -> String {
    let value = names.iter().find_map(|name| fields.text(name).filter(|value| is_id(value)));
    value.unwrap_or_default().into()
}

fn is_id(value: &str) -> bool {
    !value.is_empty() && value.len() <= ID_BYTES_MAX
}

/// The session's id and what it was found by.
fn session(fields: &Fields, ask: &Ask, principal: &str, endpoint: Endpoint) -> (String, &'static str) {
    let by_field = first_field(fields, SESSION_FIELDS);
    if !by_field.is_empty() {
        return (by_field, "header");
    }
    // A window's name begins with its thread's.
    let window = fields.text("x-codex-window-id").and_then(|window| window.rsplit_once(':'));
    if let Some((thread, _)) = window.filter(|(thread, _)| is_id(thread)) {
        return (thread.into(), "header");
    }
    let in_body = [
        (ask.metadata_user_id.as_deref().and_then(session_in_user_id), "metadata"),
        (ask.session_id.clone(), "body"),
        (ask.prompt_cache_key.clone(), "cache_key"),
        (ask.previous_response_id.clone(), "previous_response"),
    ];
    for (id, by) in in_body {
        if let Some(id) = id.filter(|id| is_id(id)) {
            return (id, by);
        }
    }
    if !endpoint.is_turn() || ask.messages == 0 {
        return (String::new(), "");
    }
    // Two people who begin alike are two sessions.
    let scoped = xxh3_64(principal.as_bytes()) ^ ask.fingerprint;
    (["f", &hexadecimal(scoped)].concat(), "fingerprint")
}

/// Claude Code's `metadata.user_id`: a JSON text in newer versions, `user_…_account_…_session_…` in older ones.
fn session_in_user_id(user_id: &str) -> Option<String> {
    if let Some(object) = Raw::whole(user_id.as_bytes()).filter(|raw| raw.is_object()) {
        return object.at("session_id")?.string();
    }
    user_id.split_once("_session_").map(|(_, session)| session.into())
}

fn is_turn(fields: &Fields, ask: &Ask, endpoint: Endpoint, agent: Option<&Agent>) -> bool {
    if !endpoint.is_turn() || is_retry(fields) {
        return false;
    }
    if let Some(class) = fields.text("x-claude-code-request-class") {
        return matches!(class, "main" | "subagent" | "workflow");
    }
    if fields.text("x-openai-subagent").is_some_and(|what| CODEX_SIDE.contains(&what)) {
        return false;
    }
    !(agent.is_some_and(|agent| agent.always_tools) && ask.tools.is_empty())
}

fn is_retry(fields: &Fields) -> bool {
    fields.text("x-stainless-retry-count").and_then(|n| n.parse::<u32>().ok()).is_some_and(|n| n > 0)
}

#[cfg(test)]
mod tests;
