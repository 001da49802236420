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

/// First match wins: programs before the kits they are built on, and those before plain SDKs.
const AGENTS: &[Agent] = &[
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
    agent("qwen-code", true, &[Mark::UserAgent("QwenCode/"), Mark::System("You are Qwen Code")]),
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
            Mark::FieldIs("x-title", "Cline"),
            Mark::FieldIs("http-referer", "https://cline.bot"),
            Mark::System("You are Cline"),
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
        &[Mark::UserAgent("pi/"), Mark::System("You are pi"), Mark::SystemHas("operating inside pi,")],
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

const PARENT_FIELDS: &[&str] = &["x-claude-code-parent-agent-id", "x-codex-parent-thread-id"];

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
mod tests {
    use super::*;

    fn with(fields: &[(&str, &str)], ask: &Ask) -> Caller {
        caller(&fields.iter().copied().collect(), ask, "ann", Endpoint::Generate)
    }

    fn told(caller: &Caller) -> (&str, &str, &str, &str) {
        (&caller.agent, &caller.agent_version, &caller.session, &caller.session_by)
    }

    #[test]
    fn claude_code() {
        let ask = Ask { tools: vec!["Bash".into()], ..Ask::default() };
        let fields = [
            ("User-Agent", "claude-cli/2.1.197 (external, cli)"),
            ("X-Claude-Code-Session-Id", "s1"),
            ("x-claude-code-agent-id", "a2"),
            ("x-claude-code-parent-agent-id", "a1"),
        ];
        let caller = with(&fields, &ask);
        assert_eq!(told(&caller), ("claude-code", "2.1.197", "s1", "header"));
        assert_eq!((caller.sub_agent.as_str(), caller.parent.as_str(), caller.turn), ("a2", "a1", true));
        let class = [fields[0], fields[1], ("x-claude-code-request-class", "auxiliary")];
        assert!(!with(&class, &ask).turn);
        assert!(!with(&fields, &Ask::default()).turn, "a request without tools is a side request");
    }

    #[test]
    fn a_session_in_the_metadata_in_both_forms() {
        for user_id in [r#"{"device_id":"d","session_id":"s2"}"#, "user_ab12_account__session_s2"] {
            let ask = Ask { metadata_user_id: Some(user_id.into()), ..Ask::default() };
            let caller = with(&[("user-agent", "claude-cli/2.0.1 (external, sdk-cli)")], &ask);
            assert_eq!(told(&caller), ("claude-code", "2.0.1", "s2", "metadata"), "{user_id}");
        }
    }

    /// Fields as `name: value` lines, beginning of the system prompt, agent, version, session, how it was found.
    const SEEN: &[(&str, &str, [&str; 4])] = &[
        (
            "user-agent: claude-cli/2.1.197 (external, cli)\nx-claude-code-session-id: s1",
            "You are Claude Code",
            ["claude-code", "2.1.197", "s1", "header"],
        ),
        ("anthropic-beta: claude-code-20250219,oauth-2025-04-20", "", ["claude-code", "", "", ""]),
        (
            "user-agent: x",
            "You are a Claude agent, built on Anthropic's Claude Agent SDK.",
            ["claude-code", "", "", ""],
        ),
        (
            "user-agent: opencode/1.18.0 ai-sdk/provider-utils/4\nanthropic-beta: claude-code-20250219\nx-session-id: o",
            "",
            ["opencode", "1.18.0", "o", "header"],
        ),
        ("user-agent: x/1\noriginator: opencode", "", ["opencode", "", "", ""]),
        ("user-agent: opencode_x/1.4 (mac)\noriginator: opencode_x", "", ["opencode", "1.4", "", ""]),
        ("user-agent: codex_work/0.9.1 (mac)\noriginator: codex_work", "", ["codex", "0.9.1", "", ""]),
        ("user-agent: Zed/0.230.0\ncopilot-integration-id: vscode-chat", "", ["zed", "0.230.0", "", ""]),
        ("user-agent: Charm-Crush/0.30\nx-initiator: agent", "", ["crush", "0.30", "", ""]),
        ("user-agent: GithubCopilot/1.300.0\nx-initiator: user", "", ["copilot", "1.300.0", "", ""]),
        ("user-agent: Anthropic/JS 0.80.1\nx-app: cli-bg", "", ["claude-code", "", "", ""]),
        (
            "user-agent: codex_cli_rs/0.169.0 (Linux; x86_64)\nsession-id: s\nthread-id: t",
            "",
            ["codex", "0.169.0", "t", "header"],
        ),
        ("user-agent: x/1\noriginator: Codex Desktop\nconversation_id: c", "", ["codex", "", "c", "header"]),
        (
            "user-agent: Codex Desktop/0.170.1 (Mac)\nx-codex-window-id: t1:3",
            "",
            ["codex", "0.170.1", "t1", "header"],
        ),
        ("user-agent: GeminiCLI/0.61.0/gemini-3 (linux; x64)", "", ["gemini-cli", "0.61.0", "", ""]),
        ("user-agent: CloudCodeVSCode/2.1 (x) proxy_client=geminicli", "", ["gemini-cli", "", "", ""]),
        ("user-agent: QwenCode/0.24.0 (linux; x64)", "", ["qwen-code", "0.24.0", "", ""]),
        (
            "user-agent: OpenAI/JS 5.0",
            "You are Qwen Code, an interactive CLI agent",
            ["qwen-code", "", "", ""],
        ),
        ("user-agent: Cline/3.0.1\nx-task-id: 17", "", ["cline", "3.0.1", "17", "header"]),
        (
            "user-agent: ai-sdk/openai-compatible/3.0",
            "You are Cline, a skilled engineer",
            ["cline", "", "", ""],
        ),
        ("user-agent: Roo-Code/3.1", "", ["roo", "3.1", "", ""]),
        ("user-agent: Kilo-Code/4.2\nx-kilocode-taskid: k", "", ["kilo", "4.2", "k", "header"]),
        ("user-agent: OpenAI/Python 1.3\nx-title: Aider", "", ["aider", "", "", ""]),
        ("user-agent: litellm/1.80.0\nhttp-referer: https://aider.chat", "", ["aider", "", "", ""]),
        (
            "user-agent: GitHubCopilotChat/0.40.0\neditor-version: vscode/1.120\nvscode-sessionid: w",
            "",
            ["copilot", "0.40.0", "w", "header"],
        ),
        ("user-agent: OpenAI/JS 6.1\nx-initiator: user", "", ["copilot", "", "", ""]),
        ("x-cursor-client-version: 2.0", "", ["cursor", "", "", ""]),
        ("user-agent: Zed/0.230.0 (linux; x86_64)", "", ["zed", "0.230.0", "", ""]),
        ("user-agent: mux/0.9\nx-mux-workspace-id: w", "", ["mux", "0.9", "", ""]),
        ("user-agent: Charm Crush/0.21.0 (https://charm.land/crush)", "", ["crush", "0.21.0", "", ""]),
        (
            "user-agent: OpenAI/JS 6.1\nsession_id: p",
            "You are an assistant operating inside pi, a harness",
            ["pi", "", "p", "header"],
        ),
        ("user-agent: Anthropic/Python 0.80.1", "", ["anthropic-sdk", "0.80.1", "", ""]),
        ("user-agent: AsyncAnthropicBedrock/Python 0.80.1", "", ["anthropic-sdk", "0.80.1", "", ""]),
        (
            "user-agent: OpenAI/Python 1.3",
            "Act as an expert software developer.",
            ["openai-sdk", "1.3", "", ""],
        ),
        ("user-agent: ai-sdk/openai-compatible/3.0", "", ["ai-sdk", "3.0", "", ""]),
        ("user-agent: Bun/1.4.0", "", ["", "", "", ""]),
    ];

    #[test]
    fn agents_and_sessions_as_they_were_seen() {
        for (lines, system, expected) in SEEN {
            let fields: Vec<_> = lines.lines().map(|line| line.split_once(": ").unwrap()).collect();
            let system_start = (!system.is_empty()).then(|| (*system).to_owned());
            let caller = with(&fields, &Ask { system_start, ..Ask::default() });
            let (agent, version, session, by) = told(&caller);
            assert_eq!([agent, version, session, by], *expected, "{lines}");
        }
    }

    #[test]
    fn side_agents_of_codex_are_no_turns() {
        let ask = Ask { tools: vec!["shell".into()], ..Ask::default() };
        for (what, turn) in [("review", true), ("collab_spawn", true), ("compact", false)] {
            let fields = [
                ("user-agent", "codex_cli_rs/0.169.0"),
                ("x-openai-subagent", what),
                ("x-codex-parent-thread-id", "p"),
            ];
            let caller = with(&fields, &ask);
            assert_eq!((caller.turn, caller.sub_agent.as_str(), caller.parent.as_str()), (turn, what, "p"));
        }
    }

    /// Programs on a vendor's SDK send its user agent: the system prompt tells them.
    #[test]
    fn agents_by_how_their_prompt_begins() {
        for (start, name) in [
            ("You are an expert coding assistant operating inside pi, a coding agent harness.", "pi"),
            ("You are Cline, a careful and helpful coding agent", "cline"),
            ("You are the GitHub Copilot CLI, a terminal assistant", "copilot"),
            ("You are an expert coding assistant.", "openai-sdk"),
        ] {
            let ask = Ask { system_start: Some(start.into()), ..Ask::default() };
            assert_eq!(with(&[("user-agent", "OpenAI/JS 6.26.0")], &ask).agent, name);
        }
    }

    #[test]
    fn the_last_resorts() {
        let ask = Ask { prompt_cache_key: Some("k".into()), messages: 1, fingerprint: 7, ..Ask::default() };
        assert_eq!(with(&[], &ask).session_by, "cache_key");
        let ask = Ask { prompt_cache_key: None, ..ask };
        let ann = with(&[], &ask);
        assert_eq!(ann.session_by, "fingerprint");
        let bob = caller(&Fields::new(), &ask, "bob", Endpoint::Generate);
        assert_ne!(ann.session, bob.session);
        let counting = caller(&Fields::new(), &ask, "ann", Endpoint::CountTokens);
        assert_eq!((counting.session.as_str(), counting.turn), ("", false));
        assert!(!with(&[("x-stainless-retry-count", "1")], &ask).turn);
    }
}
