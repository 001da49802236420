//! Who calls, by what each program was seen to send.

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
    ("user-agent: OpenAI/JS 5.0", "You are Qwen Code, an interactive CLI agent", ["qwen-code", "", "", ""]),
    ("user-agent: Cline/3.0.1\nx-task-id: 17", "", ["cline", "3.0.1", "17", "header"]),
    ("user-agent: ai-sdk/openai-compatible/3.0", "You are Cline, a skilled engineer", ["cline", "", "", ""]),
    // On opencode's own provider, and with a ChatGPT login.
    ("user-agent: Cline/3.0.65\nx-opencode-session: s", "", ["cline", "3.0.65", "s", "header"]),
    ("user-agent: x\noriginator: cline\nsession_id: s", "", ["cline", "", "s", "header"]),
    ("user-agent: x\nx-client-type: cline-sdk", "", ["cline", "", "", ""]),
    ("user-agent: claude-cli/0.24.4 (external, cli)", "You are Qwen Code,", ["qwen-code", "", "", ""]),
    ("user-agent: Continue/IDE", "", ["continue", "", "", ""]),
    ("user-agent: OpenAI/JS 5.0\nx-openrouter-title: Continue", "", ["continue", "", "", ""]),
    ("user-agent: pi/0.73.1 (linux; node/v24; x64)", "", ["pi", "0.73.1", "", ""]),
    ("user-agent: OpenAI/JS 6.1\nhttp-referer: https://pi.dev", "", ["pi", "", "", ""]),
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
    ("user-agent: OpenAI/Python 1.3", "Act as an expert software developer.", ["openai-sdk", "1.3", "", ""]),
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

#[test]
fn a_session_within_a_session_names_its_parent() {
    let fields = [("user-agent", "opencode/1.18.33"), ("x-session-id", "c"), ("x-parent-session-id", "p")];
    let caller = with(&fields, &Ask::default());
    assert_eq!((caller.session.as_str(), caller.parent.as_str()), ("c", "p"));
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
