//! Bodies in, asks or faults out; each body whole and at several steps.

use super::*;

fn read(dialect: Dialect, body: &str) -> Result<Ask, AskFault> {
    let body = body.as_bytes();
    let whole = AskReader::new(dialect).finish(body);
    for step in [1, 63, 64, 65] {
        let mut reader = AskReader::new(dialect);
        let advanced =
            (0..body.len()).step_by(step).try_for_each(|end| reader.advance(&body[..end]).map(drop));
        assert_eq!(advanced.and_then(|()| reader.finish(body)), whole, "by {step}");
    }
    whole
}

/// A body whose path names the model.
fn beside_path(dialect: Dialect, body: &str) -> Ask {
    let reader = AskReader::new(dialect).with_model_in_path(Some("m".into()));
    reader.finish(body.as_bytes()).expect("an ask")
}

const MESSAGES: &str = r#"{
    "max_tokens": 32000, "stream": true,
    "system": [{"type":"text","text":"x-anthropic-billing-header: cc_version=2.1"},
               {"type":"text","text":"You are Claude Code, ü"}],
    "metadata": {"user_id": "{\"session_id\":\"s1\"}"},
    "messages": [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": [{"type":"text","text":"no"}, {"type":"tool_use","input":{"text":"x"}}]},
        {"content": [{"type":"text","text":"last \"one\""},
                     {"type":"text","text":"<system-reminder>never mind</system-reminder>"}], "role": "user"},
        {"role": "user", "content": [{"type":"tool_result","content":[{"type":"text","text":"deep"}]}]}
    ],
    "tools": [{"name":"Bash","input_schema":{"type":"object","properties":{"name":{"type":"string"}}}},
              {"type":"advisor_20260301","name":"advisor","model":"claude-opus-4-8"},
              {"type":"web_search_20250305"}],
    "mod\u0065l": "claude-sonnet-5"
}"#;

#[test]
fn a_messages_body() {
    let ask = read(Dialect::Messages, MESSAGES).unwrap();
    assert_eq!(ask.model.as_deref(), Some("claude-sonnet-5"));
    assert_eq!(ask.other_models, ["claude-opus-4-8"]);
    assert_eq!(ask.tools, ["Bash", "advisor", "web_search_20250305"]);
    assert_eq!(ask.user_message.as_deref(), Some("last \"one\""));
    assert_eq!(ask.system_start.as_deref(), Some("You are Claude Code, ü"));
    assert_eq!((ask.messages, ask.max_tokens, ask.stream), (4, Some(32000), true));
    assert_eq!(ask.metadata_user_id.as_deref(), Some(r#"{"session_id":"s1"}"#));
}

#[test]
fn a_chat_body() {
    let ask = read(
        Dialect::Chat,
        r#"{"model":"openai/gpt-5","models":["a/b","c/d"],"stream":true,"stream_options":{"include_usage":true},
        "messages":[{"role":"developer","content":"Be brief."},{"role":"user","content":"hi"}],
        "tools":[{"type":"function","function":{"name":"f"}},{"type":"custom","custom":{"name":"c"}}],
        "functions":[{"name":"old"}],"max_completion_tokens":7,"prompt_cache_key":"k","user":"u"}"#,
    )
    .unwrap();
    assert_eq!(ask.other_models, ["a/b", "c/d"]);
    assert_eq!(ask.tools, ["f", "c", "old"]);
    assert_eq!(ask.system_start.as_deref(), Some("Be brief."));
    assert_eq!(ask.user_message.as_deref(), Some("hi"));
    assert!(ask.include_usage && ask.stream);
    assert_eq!((ask.messages, ask.max_tokens), (2, Some(7)));
    assert_eq!((ask.prompt_cache_key.as_deref(), ask.user.as_deref()), (Some("k"), Some("u")));
}

/// As Codex declares them since its models run tools from code.
#[test]
fn what_was_typed_is_found_in_every_form_of_a_history() {
    for (dialect, body) in [
        (Dialect::Chat, r#"{"model":"m","messages":[{"role":"us\u0065r","content":"typed"}]}"#),
        (Dialect::Invoke, r#"{"message":"typed","chat_history":[{"role":"USER","message":"no"}]}"#),
        (
            Dialect::Interactions,
            r#"{"model":"m","input":[{"type":"text","text":"typed"},{"type":"image","data":"AA"}]}"#,
        ),
        (Dialect::Interactions, r#"{"model":"m","input":[{"text":"typed","type":"text"}]}"#),
        (
            Dialect::Interactions,
            r#"{"model":"m","input":[{"type":"user_input","content":[{"type":"text","text":"typed"}]},{"type":"function_result","result":"no"}]}"#,
        ),
    ] {
        assert_eq!(beside_path(dialect, body).user_message.as_deref(), Some("typed"), "{body}");
    }
}

#[test]
fn tools_that_the_provider_runs_go_by_their_name_where_they_have_one() {
    let body = r#"{"messages":[],"toolConfig":{"tools":[{"toolSpec":{"name":"f"}},{"systemTool":{"name":"nova_grounding"}},{"cachePoint":{"type":"default"}}]}}"#;
    assert_eq!(beside_path(Dialect::Converse, body).tools, ["f", "nova_grounding"]);
}

#[test]
fn tools_in_namespaces_and_in_the_history() {
    let body = r#"{"model":"m","tools":[{"type":"namespace","name":"files","tools":[{"type":"function","name":"read"},
        {"type":"namespace","name":"deep","tools":[{"type":"custom","name":"patch"}]}]},{"type":"web_search"}],
        "input":[{"type":"additional_tools","role":"developer","tools":[{"type":"namespace","name":"functions",
        "tools":[{"type":"custom","name":"exec"},{"type":"image_generation","m\u006fdel":"image-1","Model":"image-2"}]}]},
        {"role":"user","content":"go"}]}"#;
    let ask = read(Dialect::Responses, body).unwrap();
    assert_eq!(ask.tools, ["web_search", "read", "patch", "exec", "image_generation"]);
    assert_eq!(ask.other_models, ["image-1", "image-2"]);
    assert_eq!(ask.user_message.as_deref(), Some("go"));
}

#[test]
fn every_model_that_may_be_run_is_found_however_it_is_named() {
    for (body, expected) in [
        (r#"{"model":"a","models":["b","c"]}"#, "b c"),
        (r#"{"model":"a","fallbacks":["b",{"model":"c"}]}"#, "b c"),
        (r#"{"model":"a","providerOptions":{"gateway":{"models":["b"]}}}"#, "b"),
        (r#"{"model":"a","plugins":[{"id":"auto-router","allowed_models":["b","c"]}]}"#, "b c"),
        (
            r#"{"model":"a","tools":[{"type":"x","m\u006fdel":"b"},{"type":"y","Model":"c","model":"d"}]}"#,
            "b c d",
        ),
    ] {
        assert_eq!(read(Dialect::Chat, body).unwrap().other_models.join(" "), expected, "{body}");
    }
    for twice in [
        r#"{"model":"a","models":[],"m\u006fdels":["b"]}"#,
        r#"{"model":"a","fallbacks":[],"Fallbacks":["b"]}"#,
    ] {
        assert!(matches!(read(Dialect::Chat, twice), Err(AskFault::DuplicateKey(_))), "{twice}");
    }
}

#[test]
fn the_model_is_known_as_soon_as_it_has_passed() {
    let body = format!(r#"{{"a":"{}","model":"m","b":"{}"}}"#, "x".repeat(500), "y".repeat(500));
    let body = body.as_bytes();
    let mut reader = AskReader::new(Dialect::Chat);
    assert_eq!(reader.advance(&body[..500]), Ok(false));
    assert_eq!(reader.model(body), None);
    assert_eq!(reader.advance(&body[..640]), Ok(true));
    assert_eq!(reader.model(body).as_deref(), Some("m"));
}

#[test]
fn bodies_that_could_be_read_in_two_ways_are_refused() {
    let duplicate = |key: &str| Err(AskFault::DuplicateKey(key.into()));
    for (body, fault) in [
        (r#"{"model":"a","model":"b"}"#, duplicate("model")),
        (r#"{"model":"a","m\u006fdel":"b"}"#, duplicate("model")),
        (r#"{"model":"a","Model":"b"}"#, duplicate("model")),
        (r#"{"model":"a","tools":[],"x":1,"tools":[]}"#, duplicate("tools")),
        (r#"{"MODEL":"a"}"#, Err(AskFault::NoModel)),
        (r#"{"messages":[{"model":"a"}]}"#, Err(AskFault::NoModel)),
        (r#"{"model":1}"#, Err(AskFault::ModelNotAString)),
        (r#"{"model":null}"#, Err(AskFault::ModelNotAString)),
        (r#"{"model":""}"#, Err(AskFault::ModelNotAString)),
        (r#"{"model":"\q"}"#, Err(AskFault::ModelNotAString)),
        (r#"["model"]"#, Err(AskFault::NotAnObject)),
        (r#""model""#, Err(AskFault::NotAnObject)),
        (r#"{"model":"a"} {}"#, Err(AskFault::NotJson { at: 14 })),
        (r#"{"model":"a""#, Err(AskFault::NotJson { at: 12 })),
        ("", Err(AskFault::NotJson { at: 0 })),
    ] {
        assert_eq!(read(Dialect::Chat, body), fault, "{body}");
    }
    let deep = format!(r#"{{"model":"a","x":{}"#, "[".repeat(200));
    assert_eq!(read(Dialect::Chat, &deep), Err(AskFault::TooDeep));
    // Twice elsewhere is not ours to judge.
    assert!(read(Dialect::Chat, r#"{"model":"a","x":1,"x":2,"y":{"model":1,"model":2}}"#).is_ok());
}

#[test]
fn text_that_is_not_utf8_is_left_alone_unless_it_is_read() {
    let body = b"{\"x\":\"\xff\",\"model\":\"a\",\"messages\":[{\"role\":\"user\",\"content\":\"\xff\"}]}";
    let ask = AskReader::new(Dialect::Chat).finish(body).unwrap();
    assert_eq!((ask.messages, ask.user_message), (1, None));
    let fault = AskReader::new(Dialect::Chat).finish(b"{\"model\":\"\xff\"}");
    assert_eq!(fault, Err(AskFault::ModelNotAString));
}

#[test]
fn a_fingerprint_outlives_dates_and_later_messages() {
    let of = |date: &str, tail: &str| {
        let body = format!(
            r#"{{"model":"m","messages":[{{"role":"system","content":"Today is {date}."}},
            {{"role":"user","content":"fix it"}}{tail}]}}"#
        );
        read(Dialect::Chat, &body).unwrap().fingerprint
    };
    let later = r#",{"role":"user","content":"more"}"#;
    assert_eq!(of("2026-11-20", ""), of("2026-11-21", later));
}

#[test]
fn a_model_in_the_body_counts_beside_the_one_in_the_path() {
    let others = |dialect: Dialect, body: &str| {
        let reader = AskReader::new(dialect).with_model_in_path(Some("m".into()));
        let ask = reader.finish(body.as_bytes()).expect("readable");
        assert_eq!(ask.model.as_deref(), Some("m"));
        ask.other_models.join(" ")
    };
    assert_eq!(others(Dialect::Chat, r#"{"model":"dear"}"#), "dear");
    assert_eq!(others(Dialect::Chat, r#"{"model":"m"}"#), "");
    assert_eq!(others(Dialect::Gemini, r#"{"model":"models/m","content":{}}"#), "");
    assert_eq!(others(Dialect::Gemini, r#"{"model":"models/dear","content":{}}"#), "models/dear");
    assert_eq!(others(Dialect::Messages, "{}"), "");
}

#[test]
fn every_answer_that_is_wanted_has_the_bound_on_tokens() {
    for (dialect, body, max) in [
        (Dialect::Chat, r#"{"model":"m","max_tokens":10,"n":3}"#, Some(30)),
        (Dialect::Chat, r#"{"model":"m","max_tokens":10}"#, Some(10)),
        (Dialect::Chat, r#"{"model":"m","max_tokens":10,"n":0}"#, Some(10)),
        (Dialect::Chat, r#"{"model":"m","max_tokens":10,"n":-2}"#, Some(10)),
        (Dialect::Chat, r#"{"model":"m","n":1000}"#, None),
        (Dialect::Chat, r#"{"model":"m","max_tokens":18446744073709551615,"n":9}"#, Some(u64::MAX)),
        (Dialect::Completions, r#"{"model":"m","max_tokens":10,"n":2,"best_of":5}"#, Some(50)),
    ] {
        let ask = AskReader::new(dialect).finish(body.as_bytes()).expect("readable");
        assert_eq!(ask.output_max(), max, "{body}");
    }
    let reader = AskReader::new(Dialect::Gemini).with_model_in_path(Some("m".into()));
    let ask =
        reader.finish(br#"{"generationConfig":{"maxOutputTokens":7,"candidateCount":4}}"#).expect("readable");
    assert_eq!(ask.output_max(), Some(28));
    let twice = AskReader::new(Dialect::Chat).finish(br#"{"model":"m","n":1,"N":9}"#);
    assert!(matches!(twice, Err(AskFault::DuplicateKey(_))));
}
