//! Why, and why not, over a whole file.

use weir::config::{Options, load};
use weir::llm::dialect::paths::Flag;
use weir::policy::decide::Wants;
use weir::policy::explain::{Question, explain, somebody};
use weir::policy::identity::Principal;

const FILE: &str = r#"{
  "providers": {
    "anthropic": {"baseurl": "https://api.anthropic.com", "models": ["claude-opus-4", "claude-haiku-4"], "apikey": "k",
      "authorization": "x-api-key", "compatibility": {"anthropic_messages": true}},
    "openai": {"baseurl": "https://api.openai.com", "models": ["gpt-4o"], "apikey": "k"},
  },
  "groups": {"eng": ["alice@example.com"]},
  "grants": [
    {"src": ["group:eng", "bob@example.com"], "app": {"weir": [{"role": "user"}]}},
    {"src": ["group:eng"], "app": {"weir": [{"models": "anthropic/**"}]}},
    {"src": ["bob@example.com"], "app": {"weir": [{"models": "openai/*"}]}},
  ],
}"#;

fn told(who: &str, flag: Flag, model: &str) -> String {
    let files = |_: &str| Err(std::io::Error::from(std::io::ErrorKind::NotFound));
    let loaded = load(FILE, &|_| None, &files, &Options::default()).expect("loads");
    let who = Principal { name: who.into(), source: "key", ..Principal::default() };
    explain(&loaded.snapshot, Some(&who), Wants::new(flag, Some(model)), None).to_string()
}

#[test]
fn the_deciding_rule_with_its_place() {
    let told = told("alice@example.com", Flag::AnthropicMessages, "claude-opus-4");
    assert!(told.starts_with("allowed, at anthropic"), "{told}");
    assert!(told.contains("anthropic/claude-opus-4 is granted  [10:45 grants[1].app.weir[0]]"), "{told}");
}

#[test]
fn a_tool_and_the_budgets_of_an_agent() {
    let text = FILE.replace(
        r#"{"src": ["group:eng"], "app": {"weir": [{"models": "anthropic/**"}]}},"#,
        r#"{"src": ["group:eng"], "app": {"weir": [{"models": "anthropic/**", "quotas": [{"bucket": "daily:<user>:<agent>"}, {"bucket": "all"}],
            "tools": {"allow": ["Read*", "Bash"], "deny": ["Bash*"]}}]}},"#,
    );
    let text = text.replacen(
        '{',
        r#"{"quotas": {"daily:<user>:<agent>": {"capacity": "$1.00", "rate": "$1/day"}, "all": {"capacity": "$9.00", "rate": "$1/day"}},"#,
        1,
    );
    let files = |_: &str| Err(std::io::Error::from(std::io::ErrorKind::NotFound));
    let options = Options { allow_unenforced: true, ..Options::default() };
    let snapshot = load(&text, &|_| None, &files, &options).unwrap_or_else(|why| panic!("{why:?}")).snapshot;
    let told = |name: &str, tool: &str| {
        let question = Question {
            who: somebody(name, &[], false),
            model: Some("claude-opus-4".into()),
            provider: None,
            tool: Some(tool.into()),
            agent: Some("codex".into()),
            discreet: true,
            flag: Some(Flag::AnthropicMessages),
        };
        question.answers(&snapshot)[0].to_string()
    };
    for (tool, said) in [
        ("Bash", "tool Bash is denied (rules for tools are not enforced in this version)  ["),
        ("Read", "tool Read is allowed (rules"),
        ("Write", "tool Write is not among those that are allowed (rules"),
    ] {
        let told = told("alice@example.com", tool);
        assert!(told.contains(said) && told.contains("grants[1].app.weir[0]"), "{told}");
        assert!(
            told.contains("draws on daily:<user>:<agent>, for it daily:alice@example.com:codex"),
            "{told}"
        );
    }
    // Who is refused learns of groups, and of nobody by name.
    let bob = told("bob@example.com", "Bash");
    assert!(bob.contains("it is granted to group:eng  ["), "{bob}");
    let eve = told("eve@example.com", "Bash");
    assert!(
        eve.contains("granted to group:eng, …") && !eve.contains("bob@") && !eve.contains("alice@"),
        "{eve}"
    );
}

#[test]
fn the_nearest_miss_and_what_would_have_to_change() {
    let bob = told("bob@example.com", Flag::AnthropicMessages, "claude-opus-4");
    assert!(bob.starts_with("refused"), "{bob}");
    assert!(bob.contains("it is granted to group:eng  [10:5 grants[1]]"), "{bob}");
    assert!(
        bob.contains(
            "add \"bob@example.com\" to src of the grant at 10:5 grants[1], or become a member of group:eng"
        ),
        "{bob}"
    );
    let eve = told("eve@example.com", Flag::AnthropicMessages, "claude-opus-4");
    assert!(eve.contains("no role granted: 403") && eve.contains("9:5 grants[0]"), "{eve}");
    let typo = told("alice@example.com", Flag::AnthropicMessages, "claude-opsu-4");
    assert!(typo.contains("ask for \"claude-opus-4\""), "{typo}");
    let language = told("alice@example.com", Flag::OpenaiChat, "claude-opus-4");
    assert!(language.contains("anthropic serves it, but has not the flag openai_chat"), "{language}");
}

#[test]
fn the_nearest_miss_comes_first_wherever_it_stands() {
    let others: String = (0..9)
        .map(|n| format!(r#"{{"src": ["team-{n}@elsewhere.org"], "app": {{"weir": [{{"role": "user"}}, {{"models": "**"}}]}}}},"#))
        .collect();
    let meant =
        r#"{"src": ["carol@example.com"], "app": {"weir": [{"role": "user"}, {"models": "openai/*"}]}},"#;
    let text = FILE.replace(r#""grants": ["#, &format!("\"grants\": [\n{others}\n{meant}\n"));
    let files = |_: &str| Err(std::io::Error::from(std::io::ErrorKind::NotFound));
    let snapshot = load(&text, &|_| None, &files, &Options::default()).expect("loads").snapshot;
    let who = Principal { name: "carlo@example.com".into(), source: "key", ..Principal::default() };
    let told = explain(&snapshot, Some(&who), Wants::new(Flag::OpenaiChat, Some("gpt-4o")), None);
    let first = told.to_change.first().expect("something to change");
    assert!(first.contains("grants[9]"), "{first}");
}
