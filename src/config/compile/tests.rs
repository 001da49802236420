//! Files in, snapshots or problems out.

use super::*;
use crate::llm::price::CostBasis;

fn load_text(text: &str) -> Result<Loaded, Vec<Problem>> {
    load_with(text, &Options::default())
}

fn load_with(text: &str, options: &Options) -> Result<Loaded, Vec<Problem>> {
    let env = |name: &str| (name == "KEY").then(|| "sk-secret".to_owned());
    let files = |_: &str| Err(io::Error::from(io::ErrorKind::NotFound));
    load(text, &env, &files, options)
}

fn problems(text: &str) -> Vec<String> {
    match load_text(text) {
        Ok(loaded) => loaded.warnings.iter().map(ToString::to_string).collect(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

const LOAD_TEST: &str = r#"{ "server": {"listen": ["127.0.0.1:8123"], "cores": 1},
 "providers": {"synthetic": {"baseurl": "http://127.0.0.1:8099", "models": ["**"], "apikey": "x",
   "compatibility": {"anthropic_messages": true, "openai_chat": true}}},
 "grants": [{"src":["*"],"app":{"weir":[{"role":"user"},{"models":"**"}]}}] }"#;

#[test]
fn the_file_of_the_load_test() {
    let loaded = load_text(LOAD_TEST).expect("loads");
    assert_eq!(loaded.warnings, Vec::new());
    assert_eq!(loaded.install.cores, Cores::Count(1));
    assert_eq!(loaded.install.listen[0].address, Address::parse("127.0.0.1:8123").expect("address"));
    let provider = &loaded.snapshot.providers[0];
    assert_eq!((provider.id.as_str(), provider.origin.port, provider.flags.len()), ("synthetic", 8099, 2));
    assert_eq!(provider.credential.as_ref().map(|c| c.value.as_str()), Some("Bearer x"));
}

#[test]
fn what_would_shut_everybody_out_or_let_anybody_in_is_no_setting() {
    let found = problems(
        r#"{
  "server": {
    "names": ["ai.example.com", "http://ai"],
    "limits": {"head_bytes": 0, "body_bytes": "0", "connections": 0, "per_principal": 0},
  },
  "identity": [{"source": "jwt", "issuer": "", "audience": [""], "jwks": "https://id.example.com/keys"}],
  "providers": {"a": {"baseurl": "https://api.example.com", "models": ["m"], "apikey": "x", "max_connections": 0}},
}"#,
    );
    let expected = [
        "3:33: error: server.names[1]: \"http://ai\" is no host name",
        "4:30: error: server.limits.head_bytes: is no number of bytes",
        "4:47: error: server.limits.body_bytes: is no number of bytes",
        "4:67: error: server.limits.connections: is 0; expected a number from 1",
        "4:87: error: server.limits.per_principal: is 0; expected a number from 1",
        "6:44: error: identity[0].issuer: is empty",
        "6:61: error: identity[0].audience[0]: is empty",
        "7:112: error: providers.a.max_connections: is 0; expected a number from 1",
    ];
    for line in expected {
        assert!(found.iter().any(|found| found.starts_with(line)), "{line}\n{found:#?}");
    }
}

#[test]
fn all_problems_at_once_each_with_its_place() {
    let found = problems(
        r#"{
  "servr": {},
  "server": {"listen": ["nowhere"], "cores": 0, "pin": "sometimes"},
  "providers": {
    "a": {"baseurl": "https://api.example.com/v1", "modls": [], "apikey": "$env:NONE"},
    "b/c": {"baseurl": "ftp://x", "models": ["***"], "authorization": "barer", "compatibility": {"opena_chat": true}},
  },
  "grants": [
    {"src": ["*"], "app": {"weir": [{"role": "usr"}, {"models": "open/**"}, {"quotas": [{"bucket": "daily"}]}]}},
    {"src": ["group:eng", "(somewhere)"]},
  ],
  "quotas": {"daily:<usr>": {"capacity": "ten"}},
}"#,
    );
    let expected = [
        "2:3: error: servr: unknown key; did you mean \"server\"?",
        "3:25: error: server.listen[0]: \"nowhere\" is no address",
        "3:46: error: server.cores: is no number of cores",
        "3:56: error: server.pin: is \"sometimes\"; expected one of auto, on, off",
        "5:10: error: providers.a: \"models\" is missing",
        "5:52: error: providers.a.modls: unknown key; did you mean \"models\"?",
        "6:24: error: providers[\"b/c\"].baseurl: has a scheme other than http and https",
        "6:46: error: providers[\"b/c\"].models[0]: \"***\" is no pattern",
        "6:71: error: providers[\"b/c\"].authorization: is \"barer\"",
        "6:98: error: providers[\"b/c\"].compatibility.opena_chat: unknown flag; did you mean \"openai_chat\"?",
        "9:46: error: grants[0].app.weir[0].role: is \"usr\"",
        "9:65: error: grants[0].app.weir[1].models: \"open/**\" is at no provider",
        "9:100: error: grants[0].app.weir[2].quotas[0].bucket: no bucket \"daily\" in \"quotas\"",
        "10:14: error: grants[1].src[0]: no group \"eng\"",
        "10:27: error: grants[1].src[1]: \"(somewhere)\" is nobody",
        "12:42: error: quotas[\"daily:<usr>\"].capacity: is not an amount",
    ];
    for line in expected {
        assert!(found.iter().any(|problem| problem.starts_with(line)), "missing: {line}\nfound: {found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn the_commonest_mistake_is_a_warning() {
    let found = problems(&LOAD_TEST.replace("http://127.0.0.1:8099", "http://127.0.0.1:8099/v1"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("warning: providers.synthetic.baseurl: ends in /v1"), "{found:?}");
}

#[test]
fn a_secret_is_in_no_problem_and_no_debug() {
    let text = LOAD_TEST.replace("\"x\"", "\"$env:KEY\"");
    let loaded = load_text(&text).expect("loads");
    assert!(!format!("{loaded:?}").contains("sk-secret"));
    let (file, _) = File::read(&LOAD_TEST.replace("\"x\"", "\"sk-written\""));
    assert!(!format!("{file:?}").contains("sk-written"));
    let wrong = problems(&LOAD_TEST.replace("\"x\"", "\"sk\\nwritten\""));
    assert!(wrong[0].contains("control characters") && !wrong[0].contains("written"), "{wrong:?}");
}

#[test]
fn what_restricts_and_is_not_enforced_refuses_the_file_unless_allowed() {
    let text = LOAD_TEST.replacen('{', "{\"hooks\": {\"h\": {\"url\": \"https://hooks.example.com\"}},", 1);
    let refused = load_text(&text).expect_err("not enforced");
    assert_eq!(refused[0].severity, Severity::Unenforced);
    let allowed =
        load_with(&text, &Options { allow_unenforced: true, ..Options::default() }).expect("allowed");
    assert_eq!(allowed.warnings.len(), 1);
}

#[test]
fn the_command_line_wins_over_the_files_listeners() {
    let options = Options { listen: vec!["127.0.0.1:1".parse().expect("address")], ..Options::default() };
    let loaded = load_with(LOAD_TEST, &options).expect("loads");
    assert_eq!(loaded.install.listen.len(), 1);
    assert_eq!(loaded.install.listen[0].address, Address::parse("127.0.0.1:1").expect("address"));
}

#[test]
fn peer_takes_no_other_source_beside_it() {
    let with =
        |identity: &str| problems(&LOAD_TEST.replacen('{', &format!("{{\"identity\": {identity},"), 1));
    let found = with("[{\"source\": \"peer\"}, {\"source\": \"key\"}]");
    assert!(found.iter().any(|p| p.contains("a listener of its own")), "{found:?}");
    let found = with(
        "[{\"source\": \"jwt\", \"issuer\": \"https://token.actions.githubusercontent.com\", \"audience\": \"weir\", \"jwks\": \"https://x/jwks\"}]",
    );
    assert!(found.iter().any(|p| p.contains("issues tokens to everybody")), "{found:?}");
    let found = with("[{\"source\": \"headers\", \"trusted\": [\"0.0.0.0/0\"]}]");
    assert!(found.iter().any(|p| p.contains("anyone could claim to be anyone")), "{found:?}");
}

#[test]
fn older_grants_are_read_and_shown_in_their_newer_form() {
    let text = r#"{"providers": {"openai": {"baseurl": "https://api.openai.com", "models": ["**"], "apikey": "x"}},
        "temp_grants": [{"src": ["*"], "grants": [{"role": "user"}, {"providers": [{"provider": "openai", "model": "*"}]}]}]}"#;
    let loaded = load_text(text).expect("loads");
    assert!(loaded.snapshot.grants[0].gives[1].covers("openai", "gpt-4o"));
    assert!(
        loaded.warnings[0]
            .to_string()
            .contains(r#"{"src": ["*"], "app": {"weir": [{"role": "user"}, {"models": "openai/**"}]}}"#)
    );
}

#[test]
fn the_schema_names_every_key_and_refers_to_nothing_missing() {
    let schema = File::json_schema().to_string();
    for key in
        ["baseurl", "temp_grants", "head_timeout", "Access-Control-Allow-Origin", "\"as\"", "on_exceed"]
    {
        assert!(schema.contains(key), "{key}");
    }
    let value = File::json_schema();
    for part in schema.split("#/$defs/").skip(1) {
        let name = part.split('"').next().unwrap_or_default();
        assert!(value["$defs"][name].is_object(), "{name}");
    }
}

#[test]
fn garbage_never_panics() {
    let mut seed = 7_u64;
    for _ in 0..3_000 {
        let mut text = LOAD_TEST.as_bytes().to_vec();
        for _ in 0..4 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (seed >> 33) as usize % text.len();
            text[at] = b"{}[]\":,x0\\/*\xc3"[(seed >> 20) as usize % 13];
        }
        let _ = load_text(&String::from_utf8_lossy(&text));
    }
}

#[test]
fn whose_prices_hold() {
    let text = r#"{"providers": {
      "a": {"baseurl": "https://api.anthropic.com", "models": ["**"], "apikey": "k", "authorization": "x-api-key"},
      "b": {"baseurl": "https://gateway.example.com", "models": ["**"], "apikey": "k", "region": "eu",
            "cost_basis": "bedrock-eu",
            "model_cost_map": [{"match": "ours-[a-c]*", "as": "claude-sonnet-4-5", "adjustment": 0.5}, {"match": "*"}]},
      "c": {"baseurl": "https://gateway.example.com", "models": ["**"], "apikey": "k"},
    }}"#;
    let provider = |text: &str, id: &str| {
        let loaded = load_text(text).unwrap_or_else(|problems| panic!("{problems:?}"));
        let found = loaded.snapshot.providers.iter().find(|provider| provider.id == id).cloned();
        found.expect("a provider").listing.clone()
    };
    assert_eq!(provider(text, "a").basis, Some(CostBasis::Anthropic));
    let b = provider(text, "b");
    assert_eq!((b.basis, b.region.as_deref()), (Some(CostBasis::BedrockEu), Some("eu")));
    assert_eq!((b.map[0].priced_as.as_deref(), b.map[0].adjustment), (Some("claude-sonnet-4-5"), 0.5));
    assert!(b.map[0].matching.matches("ours-b1") && !b.map[0].matching.matches("ours-d1"));
    assert_eq!((b.map[1].priced_as.as_deref(), b.map[1].adjustment), (None, 1.0));
    assert_eq!(provider(text, "c").basis, None);
    let off = text.replacen('{', r#"{"auto_cost_basis": false, "#, 1);
    assert_eq!(provider(&off, "a").basis, None);
    assert_eq!(provider(&off, "b").basis, Some(CostBasis::BedrockEu));
}

#[test]
fn what_is_wrong_with_prices_is_said() {
    let found = problems(
        r#"{"prices": {"file": "none.json", "models": [{"match": "[", "input": -1, "output": 1, "long_abov": 1}]},
 "providers": {"a": {"baseurl": "https://x.example.com", "models": ["**"], "apikey": "k", "cost_basis": "antropic",
   "model_cost_map": [{"match": "a[", "adjustment": -1}]}}}"#,
    );
    for expected in [
        "prices.models[0].match: \"[\" is no pattern",
        "prices.models[0].input: is no price",
        "prices.models[0].long_abov: unknown key",
        "did you mean \"anthropic\"?",
        "model_cost_map[0].match: \"a[\" is no pattern",
    ] {
        assert!(found.iter().any(|problem| problem.contains(expected)), "{expected}: {found:#?}");
    }
    let found = problems(
        r#"{"prices": {"file": "none.json"}, "providers": {"a": {"baseurl": "https://x.example.com", "models": ["**"],
   "apikey": "k", "model_cost_map": [{"match": "a", "adjustment": -1}]}}}"#,
    );
    for expected in ["prices.file: none.json cannot be read", "adjustment: is no factor on a price"] {
        assert!(found.iter().any(|problem| problem.contains(expected)), "{expected}: {found:#?}");
    }
}

#[test]
fn prices_come_from_a_file_too() {
    let files = |path: &str| match path {
        "prices.hujson" => {
            Ok(br#"{"date": "2026-11-01", "models": [{"match": "ours", "input": 1, "output": 2},]}"#.to_vec())
        }
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    let text =
        r#"{"prices": {"file": "prices.hujson", "models": [{"match": "mine", "input": 3, "output": 4}]}}"#;
    let loaded = load(text, &|_| None, &files, &Options::default()).expect("loads");
    let book = &loaded.snapshot.prices;
    assert_eq!((book.own_count(), book.own_date.as_deref()), (2, Some("2026-11-01")));
}

#[test]
fn keys_bring_groups_and_loopback_brings_no_more_than_a_user() {
    let file = |identity: &str, src: &str, role: &str| {
        problems(&LOAD_TEST.replace("\"*\"", src).replace("\"role\":\"user\"", role).replacen(
            "\"providers\"",
            &format!("{identity} \"providers\""),
            1,
        ))
    };
    let keys = r#""identity": [{"source": "key"}],"#;
    let said = file(keys, "\"group:eng\"", "\"role\":\"user\"").join("\n");
    assert!(said.contains("warning") && said.contains("weir key create NAME --group eng"), "{said}");
    let said = file("", "\"group:eng\"", "\"role\":\"user\"").join("\n");
    assert!(said.contains("error") && said.contains("no identity source brings groups"), "{said}");
    let said = file("", "\"(loopback)\"", "\"role\":\"admin\"").join("\n");
    assert!(said.contains("warning") && said.contains("where it counts as user"), "{said}");
}

#[test]
fn what_a_grant_cannot_give_yet_is_said() {
    for (capability, said) in [
        (r#""view": ["all"]"#, "auditor and admin all"),
        (r#""mcp_tools": "**""#, "MCP is not built yet"),
        (r#""connectors": ["x"]"#, "connectors are not built yet"),
        (r#""set_cors": true"#, "browsers from elsewhere"),
        (r#""filterable_headers": ["x-team"]"#, "header filters"),
        (r#""skills": []"#, "weir has no chat page"),
    ] {
        let found =
            problems(&LOAD_TEST.replace("\"role\":\"user\"", &format!("\"role\":\"user\", {capability}")));
        assert_eq!(found.len(), 1, "{capability}: {found:?}");
        let told = found[0].contains("not in force") || found[0].contains("read without effect");
        assert!(told && found[0].contains(said), "{found:?}");
    }
}
