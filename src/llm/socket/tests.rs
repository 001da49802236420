//! Messages of both sides, told apart by exchange.

use super::*;
use crate::llm::ask::AskFault;

fn asked(socket: &Socket, text: &str) -> Asked {
    match socket.from_client(text.as_bytes()) {
        Ok(Said::Asks(asked)) => *asked,
        other => panic!("{text}: {other:?}"),
    }
}

fn begun(socket: &mut Socket, text: &str) -> Ticket {
    let asked = asked(socket, text);
    socket.begin(&asked).expect("far below the bound")
}

fn passes(socket: &Socket, text: &str) -> Option<Ticket> {
    match socket.from_client(text.as_bytes()) {
        Ok(Said::Passes(of)) => of,
        other => panic!("{text}: {other:?}"),
    }
}

fn heard(socket: &mut Socket, text: &str) -> (Of, Option<Reading>) {
    let heard = socket.from_provider(text.as_bytes());
    (heard.of, heard.ended.map(|reading| *reading))
}

fn event(lane: &str, kind: &str, id: &str, tokens: u64) -> String {
    format!(
        r#"{{"type":"{kind}","stream_id":"{lane}","response":{{"id":"{id}","model":"gpt-5-dated","status":"completed","usage":{{"input_tokens":{tokens},"output_tokens":1}}}}}}"#
    )
}

const CREATE: &str = r#"{"type":"response.create","model":"gpt-5","input":"hi"}"#;

#[test]
fn responses_in_lanes() {
    let mut socket = Socket::new(Dialect::Responses, None);
    let create = |lane: &str| {
        format!(r#"{{"type":"response.create","stream_id":"{lane}","model":"gpt-5","input":"hi"}}"#)
    };
    let first = begun(&mut socket, &create("a"));
    let second = begun(&mut socket, &create("b"));
    assert_eq!(heard(&mut socket, &event("a", "response.created", "r1", 0)).0, Of::Running(first));
    assert_eq!(heard(&mut socket, &event("b", "response.created", "r2", 0)).0, Of::Running(second));
    let delta = r#"{"type":"response.output_text.delta","stream_id":"b","delta":"x"}"#;
    assert_eq!(heard(&mut socket, delta).0, Of::Running(second));
    let (of, reading) = heard(&mut socket, &event("b", "response.completed", "r2", 7));
    assert_eq!((of, reading.unwrap().usage.input_tokens), (Of::Running(second), Some(7)));
    let (of, reading) = heard(&mut socket, &event("a", "response.completed", "r1", 5));
    let reading = reading.unwrap();
    assert_eq!((of, reading.usage.input_tokens), (Of::Running(first), Some(5)));
    assert_eq!(reading.model.as_deref(), Some("gpt-5-dated"));
    // What comes twice is counted once.
    assert_eq!(heard(&mut socket, &event("a", "response.completed", "r1", 5)), (Of::Socket, None));
    assert!(!socket.is_busy());
}

#[test]
fn in_a_lane_first_come_first_served() {
    let mut socket = Socket::new(Dialect::Responses, None);
    let (first, second) = (begun(&mut socket, CREATE), begun(&mut socket, CREATE));
    assert_eq!(heard(&mut socket, &event("", "response.created", "r1", 0)).0, Of::Running(first));
    assert_eq!(heard(&mut socket, r#"{"type":"response.output_text.delta"}"#).0, Of::Running(first));
    assert_eq!(heard(&mut socket, r#"{"type":"codex.rate_limits"}"#).0, Of::Socket);
    assert_eq!(heard(&mut socket, &event("", "response.incomplete", "r1", 3)).0, Of::Running(first));
    assert_eq!(heard(&mut socket, &event("", "response.created", "r2", 0)).0, Of::Running(second));
    let left = socket.end();
    assert_eq!((left.len(), left[0].0, left[0].1.complete), (1, second, false));
}

#[test]
fn errors_end_what_they_are_about() {
    let mut socket = Socket::new(Dialect::Responses, None);
    let fault = r#"{"type":"error","status":429,"error":{"code":"x"}}"#;
    assert_eq!(heard(&mut socket, fault), (Of::Socket, None));
    let first = begun(&mut socket, CREATE);
    heard(&mut socket, &event("", "response.created", "r1", 0));
    let second = begun(&mut socket, CREATE);
    let (of, reading) = heard(&mut socket, fault);
    let reading = reading.unwrap();
    assert_eq!((of, reading.error), (Of::Running(second), Some(serde_json::json!({"code": "x"}))));
    assert!(!reading.complete);
    assert_eq!(heard(&mut socket, fault).0, Of::Running(first));
    assert_eq!(heard(&mut socket, &event("", "response.failed", "r1", 1)), (Of::Socket, None));
}

#[test]
fn what_steers_is_followed_by_a_response_of_its_own() {
    let mut socket = Socket::new(Dialect::Responses, None);
    let steer = r#"{"type":"response.steer","previous_response_id":"r1","input":"left"}"#;
    assert_eq!(socket.from_client(steer.as_bytes()), Err(AskFault::NoModel));
    let first = begun(&mut socket, CREATE);
    heard(&mut socket, &event("", "response.created", "r1", 0));
    let second = begun(&mut socket, steer);
    assert_eq!(
        heard(&mut socket, r#"{"type":"response.steer.accepted","steer":{"id":"s"}}"#).0,
        Of::Running(second)
    );
    assert_eq!(heard(&mut socket, &event("", "response.incomplete", "r1", 3)).0, Of::Running(first));
    assert_eq!(heard(&mut socket, &event("", "response.created", "r2", 0)).0, Of::Running(second));
    assert!(heard(&mut socket, &event("", "response.completed", "r2", 4)).1.unwrap().complete);
    let third = begun(&mut socket, steer);
    let failed = r#"{"type":"response.steer.failed","steer":{},"error":{"code":"y"}}"#;
    let (of, reading) = heard(&mut socket, failed);
    assert_eq!((of, reading.unwrap().error), (Of::Running(third), Some(serde_json::json!({"code": "y"}))));
    // What goes into a response under way belongs to it.
    let fourth = begun(&mut socket, CREATE);
    heard(&mut socket, &event("", "response.created", "r4", 0));
    assert_eq!(passes(&socket, r#"{"type":"response.inject","response_id":"r4","input":[]}"#), Some(fourth));
    assert_eq!(passes(&socket, r#"{"type":"response.processed","response_id":"r4"}"#), None);
}

#[test]
fn what_steers_goes_by_the_response_that_it_steers() {
    let mut socket = Socket::new(Dialect::Responses, None);
    let create = |lane: &str, model: &str| {
        format!(r#"{{"type":"response.create","stream_id":"{lane}","model":"{model}","input":"hi"}}"#)
    };
    let steered = begun(&mut socket, &create("a", "small"));
    heard(&mut socket, &event("a", "response.created", "r1", 0));
    let beside = begun(&mut socket, &create("b", "large"));
    // It says nothing of lanes or models, and several of them are followed by one response.
    let steer = r#"{"type":"response.steer","previous_response_id":"r1","input":"left"}"#;
    let ask = asked(&socket, steer);
    assert_eq!((ask.lane.as_str(), ask.ask.model.as_deref()), ("a", Some("small")));
    let successor = socket.begin(&ask).unwrap();
    let accepted = r#"{"type":"response.steer.accepted","stream_id":"a","steer":{"id":"s1","previous_response_id":"r1"}}"#;
    assert_eq!(heard(&mut socket, accepted).0, Of::Running(successor));
    assert_eq!(passes(&socket, steer), Some(successor));
    let too_many = r#"{"type":"response.steer.failed","stream_id":"a","steer":{"previous_response_id":"r1"},"error":{"code":"too_many_pending_steers"}}"#;
    assert_eq!(heard(&mut socket, too_many), (Of::Running(successor), None));
    assert_eq!(
        asked(&socket, &steer.replace("\"input\"", "\"model\":\"other\",\"input\"")).ask.model.as_deref(),
        Some("other")
    );
    assert_eq!(heard(&mut socket, &event("a", "response.incomplete", "r1", 3)).0, Of::Running(steered));
    assert_eq!(heard(&mut socket, &event("b", "response.created", "r2", 0)).0, Of::Running(beside));
    assert_eq!(heard(&mut socket, &event("a", "response.created", "r3", 0)).0, Of::Running(successor));
    assert_eq!(heard(&mut socket, &event("a", "response.completed", "r3", 4)).0, Of::Running(successor));
}

#[test]
fn an_error_with_a_number_is_of_the_response_under_way() {
    let mut socket = Socket::new(Dialect::Responses, None);
    let first = begun(&mut socket, CREATE);
    heard(&mut socket, &event("", "response.created", "r1", 0));
    begun(&mut socket, CREATE);
    let fault = r#"{"type":"error","sequence_number":4,"error":{"code":"server_error"}}"#;
    assert_eq!(heard(&mut socket, fault).0, Of::Running(first));
}

#[test]
fn claims_and_warm_ups() {
    let socket = Socket::new(Dialect::Responses, None);
    let asked = asked(
        &socket,
        r#"{"type":"response.create","model":"m","generate":false,"client_metadata":{"session_id":"s","n":1}}"#,
    );
    let renamed = asked.renamed(br#"{"type":"response.create","model":"m"}"#, "n").unwrap();
    assert_eq!(renamed, br#"{"type":"response.create","model":"n"}"#);
    assert_eq!((asked.kind, asked.claims.text("session_id")), (Begun::WarmUp, Some("s")));
    assert!(!asked.kind.is_turn());
}

#[test]
fn what_cannot_be_read_is_a_fault() {
    let responses = Socket::new(Dialect::Responses, Some("inherited".into()));
    let duplicate = |key: &str| AskFault::DuplicateKey(key.into());
    for (text, fault) in [
        (&b"hello"[..], AskFault::NotJson { at: 0 }),
        (b"[]", AskFault::NotAnObject),
        (br#"{"type":"response.create"}"#, AskFault::NoModel),
        (br#"{"type":"response.delete","model":"m"}"#, AskFault::UnknownMessage),
        (br#"{"model":"m"}"#, AskFault::UnknownMessage),
        (br#"{"type":"x","type":"response.create"}"#, duplicate("type")),
        (br#"{"type":"response.processed","Type":"response.create"}"#, duplicate("type")),
        (br#"{"type":"response.processed","t\u0079pe":"response.create"}"#, duplicate("type")),
        (br#"{"type":"response.create","model":"a","model":"b"}"#, duplicate("model")),
        (br#"{"type":"response.steer","previous_response_id":"r","Model":"b"}"#, duplicate("model")),
    ] {
        assert_eq!(responses.from_client(text), Err(fault), "{}", String::from_utf8_lossy(text));
    }
    let live = Socket::new(Dialect::Live, None);
    for (text, fault) in [
        (&br#"{"clientContent":{}}"#[..], AskFault::NoModel),
        (br#"{"setup":{}}"#, AskFault::NoModel),
        (br#"{"setup":{"model":"m"},"clientContent":{}}"#, AskFault::UnknownMessage),
        (br#"{"setup":{"model":"m"},"setup":{"model":"n"}}"#, AskFault::UnknownMessage),
        (br#"{"setup":{"model":"m","model":"n"}}"#, duplicate("model")),
    ] {
        assert_eq!(live.from_client(text), Err(fault), "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn a_realtime_session_names_the_model_once() {
    let mut socket = Socket::new(Dialect::Realtime, Some("gpt-realtime".into()));
    let update = r#"{"type":"session.update","event_id":"e1","session":{"instructions":"Be brief.","tools":[{"name":"f"}],
        "audio":{"input":{"transcription":{"model":"whisper-1"}}}}}"#;
    let session = asked(&socket, update);
    assert_eq!(
        (session.ask.model.as_deref(), &session.ask.tools[..]),
        (Some("gpt-realtime"), &["f".to_owned()][..])
    );
    assert_eq!(session.ask.other_models, ["whisper-1"]);
    let first = socket.begin(&session).unwrap();
    let told = |kind: &str, model: &str| format!(r#"{{"type":"{kind}","session":{{"model":"{model}"}}}}"#);
    assert_eq!(heard(&mut socket, &told("session.created", "gpt-realtime")).0, Of::Socket);
    assert!(!socket.from_provider(told("session.created", "gpt-realtime-dated").as_bytes()).model_told);
    assert_eq!(socket.model(), Some("gpt-realtime"));
    let mut unnamed = Socket::new(Dialect::Realtime, None);
    assert!(unnamed.from_provider(told("session.created", "gpt-realtime").as_bytes()).model_told);
    let (of, reading) = heard(&mut socket, &told("session.updated", "gpt-realtime"));
    assert_eq!((of, reading.unwrap().model.as_deref()), (Of::Running(first), Some("gpt-realtime")));
    let second = begun(&mut socket, r#"{"type":"response.create","event_id":"e2"}"#);
    let about = |id: &str| format!(r#"{{"type":"error","error":{{"code":"c","event_id":{id}}}}}"#);
    assert_eq!(heard(&mut socket, &about("\"e9\"")).0, Of::Socket);
    assert_eq!(heard(&mut socket, &about("null")).0, Of::Socket);
    assert_eq!(heard(&mut socket, &about("\"e2\"")).0, Of::Running(second));
}

#[test]
fn what_the_provider_begins_is_an_exchange_too() {
    let mut socket = Socket::new(Dialect::Realtime, Some("gpt-realtime".into()));
    let created = r#"{"type":"response.created","response":{"id":"r1"}}"#;
    let Of::Began(ticket, Begun::Response) = heard(&mut socket, created).0 else { panic!("not begun") };
    let delta = r#"{"type":"response.output_audio.delta","response_id":"r1","delta":"x"}"#;
    assert_eq!(heard(&mut socket, delta).0, Of::Running(ticket));
    let done =
        r#"{"type":"response.done","response":{"id":"r1","usage":{"input_tokens":1,"output_tokens":2}}}"#;
    let (of, reading) = heard(&mut socket, done);
    assert_eq!((of, reading.unwrap().usage.output_tokens), (Of::Running(ticket), Some(2)));
    let written = r#"{"type":"conversation.item.input_audio_transcription.completed","usage":{"type":"tokens","input_tokens":3,"output_tokens":4,"total_tokens":7}}"#;
    let (of, reading) = heard(&mut socket, written);
    assert!(matches!(of, Of::Began(_, Begun::Transcription)));
    assert_eq!(reading.unwrap().usage.input_tokens, Some(3));
    assert!(!socket.is_busy());
}

#[test]
fn what_a_realtime_response_says_of_its_end() {
    let done = |status: &str, details: &str| {
        let usage = r#"{"total_tokens":30,"input_tokens":20,"output_tokens":10,"input_token_details":{"text_tokens":5,"audio_tokens":15,"cached_tokens":8,"cached_tokens_details":{"text_tokens":2,"audio_tokens":6}},"output_token_details":{"text_tokens":3,"audio_tokens":7}}"#;
        format!(
            r#"{{"type":"response.done","response":{{"id":"r","status":"{status}","status_details":{details},"usage":{usage}}}}}"#
        )
    };
    let failed = r#"{"type":"failed","error":{"code":"server_error"}}"#;
    for (status, details, stop, error) in [
        ("completed", "null", "completed", None),
        ("cancelled", r#"{"type":"cancelled","reason":"turn_detected"}"#, "turn_detected", None),
        ("incomplete", r#"{"type":"incomplete","reason":"max_output_tokens"}"#, "max_output_tokens", None),
        ("failed", failed, "failed", Some(serde_json::json!({"code": "server_error"}))),
    ] {
        let mut socket = Socket::new(Dialect::Realtime, Some("gpt-realtime".into()));
        let reading = heard(&mut socket, &done(status, details)).1.unwrap();
        assert_eq!(
            (reading.stop_reason.as_deref(), reading.error, reading.complete),
            (Some(stop), error, true)
        );
        let usage = reading.usage;
        assert_eq!((usage.audio_input_tokens, usage.audio_output_tokens), (Some(15), Some(7)));
        assert_eq!((usage.cache_read_tokens, usage.cache_read_audio_tokens), (Some(8), Some(6)));
    }
}

#[test]
fn speech_is_written_down_by_a_model_of_its_own() {
    let mut socket = Socket::new(Dialect::Realtime, Some("gpt-realtime".into()));
    let told = |model: &str| {
        format!(
            r#"{{"type":"session.created","session":{{"model":"gpt-realtime-dated","audio":{{"input":{{"transcription":{model}}}}}}}}}"#
        )
    };
    heard(&mut socket, &told("null"));
    assert_eq!(socket.model_of(Begun::Transcription), Some("gpt-realtime"));
    heard(&mut socket, &told(r#"{"model":"whisper-1"}"#));
    assert_eq!(socket.model_of(Begun::Transcription), Some("whisper-1"));
    // What is asked for counts, whatever its provider calls it.
    begun(
        &mut socket,
        r#"{"type":"session.update","session":{"input_audio_transcription":{"model":"scribe"}}}"#,
    );
    heard(&mut socket, &told(r#"{"model":"whisper-1"}"#));
    assert_eq!(socket.model_of(Begun::Transcription), Some("scribe"));
    assert_eq!(socket.model_of(Begun::Response), Some("gpt-realtime"));
    let written = r#"{"type":"conversation.item.input_audio_transcription.completed","usage":{"type":"duration","seconds":2.5}}"#;
    let reading = heard(&mut socket, written).1.unwrap();
    assert_eq!((reading.model, reading.usage.audio_seconds), (None, Some(3)));
}

#[test]
fn how_a_live_turn_ends_and_what_it_searched_for() {
    for (model, searches) in [("gemini-3-live", Some(2)), ("gemini-2.5-live", Some(1))] {
        let mut live = Socket::new(Dialect::Live, None);
        begun(&mut live, &format!(r#"{{"setup":{{"model":"models/{model}"}}}}"#));
        heard(&mut live, r#"{"setupComplete":{}}"#);
        let grounded = r#"{"serverContent":{"modelTurn":{"parts":[{"text":"x"}]},"groundingMetadata":{"webSearchQueries":["a","b"]}}}"#;
        let Of::Began(turn, Begun::Turn) = heard(&mut live, grounded).0 else { panic!("not begun") };
        assert_eq!(passes(&live, r#"{"contextUpdate":{"tools":{"tools":[]}}}"#), Some(turn));
        assert_eq!(heard(&mut live, r#"{"serverContent":{"interrupted":true}}"#), (Of::Running(turn), None));
        let end = r#"{"serverContent":{"turnComplete":true},"usageMetadata":{"promptTokenCount":3,"totalTokenCount":3}}"#;
        let reading = heard(&mut live, end).1.unwrap();
        assert_eq!(
            (reading.usage.web_searches, reading.stop_reason.as_deref()),
            (searches, Some("interrupted"))
        );
        // What is said between two turns begins none.
        for idle in [
            r#"{"serverContent":{"waitingForInput":true}}"#,
            r#"{"serverContent":{"interrupted":true}}"#,
            r#"{"serverContent":null,"usageMetadata":null}"#,
            r#"{"goAway":{"timeLeft":"50s"}}"#,
        ] {
            assert_eq!(heard(&mut live, idle), (Of::Socket, None), "{idle}");
        }
        let spoken = r#"{"serverContent":{"inputTranscription":{"text":"no"}}}"#;
        assert!(matches!(heard(&mut live, spoken).0, Of::Began(_, Begun::Turn)));
        let end = r#"{"serverContent":{"turnComplete":true,"turnCompleteReason":"RESPONSE_REJECTED"}}"#;
        let reading = heard(&mut live, end).1.unwrap();
        assert_eq!(
            (reading.usage.web_searches, reading.stop_reason.as_deref()),
            (None, Some("RESPONSE_REJECTED"))
        );
    }
}

#[test]
fn turns_of_a_live_session() {
    let mut live = Socket::new(Dialect::Live, None);
    let setup = r#"{"setup":{"model":"models/gemini-live","generation_config":{"maxOutputTokens":9}}}"#;
    let session = asked(&live, setup);
    assert_eq!((session.ask.model.as_deref(), session.ask.max_tokens), (Some("gemini-live"), Some(9)));
    let renamed = session.renamed(setup.as_bytes(), "other").unwrap();
    assert_eq!(String::from_utf8(renamed).unwrap(), setup.replace("gemini-live", "other"));
    let first = live.begin(&session).unwrap();
    assert_eq!(heard(&mut live, r#"{"setupComplete":{}}"#).0, Of::Running(first));
    let content =
        r#"{"client_content":{"turns":[{"role":"user","parts":[{"text":"hi"}]}],"turnComplete":true}}"#;
    let turn = asked(&live, content);
    assert_eq!(
        (turn.ask.user_message.as_deref(), turn.ask.model.as_deref()),
        (Some("hi"), Some("gemini-live"))
    );
    let second = live.begin(&turn).unwrap();
    let call = r#"{"toolCall":{"functionCalls":[{"name":"f","id":"1","args":{}}]}}"#;
    assert_eq!(heard(&mut live, call).0, Of::Running(second));
    assert_eq!(passes(&live, r#"{"tool_response":{"functionResponses":[]}}"#), Some(second));
    let end = r#"{"serverContent":{"turnComplete":true},"usageMetadata":{"promptTokenCount":3,"responseTokenCount":2,"totalTokenCount":5}}"#;
    let (of, reading) = heard(&mut live, end);
    let reading = reading.unwrap();
    assert_eq!((of, reading.usage.input_tokens, reading.tool_uses.len()), (Of::Running(second), Some(3), 1));
    assert_eq!((reading.complete, reading.model), (true, None));
    // Speech begins a turn without a message that could be seen to.
    assert_eq!(passes(&live, r#"{"realtimeInput":{}}"#), None);
    assert!(matches!(heard(&mut live, end).0, Of::Began(_, Begun::Turn)));
    let counts = r#"{"usageMetadata":{"promptTokenCount":3,"totalTokenCount":3}}"#;
    assert!(matches!(heard(&mut live, counts), (Of::Began(..), Some(_))));
}

#[test]
fn exchanges_at_once_are_bounded() {
    let mut socket = Socket::new(Dialect::Responses, None);
    for _ in 0..RUNNING_MAX {
        begun(&mut socket, CREATE);
    }
    let one_more = asked(&socket, CREATE);
    assert_eq!(socket.begin(&one_more), None);
    assert_eq!(heard(&mut socket, &event("other", "response.created", "r", 0)).0, Of::Socket);
}

#[test]
fn a_model_in_the_address() {
    let read = |query| model_in_query(query);
    assert_eq!(read("model=gpt-realtime&x=1"), Ok(Some("gpt-realtime".into())));
    assert_eq!(read("deployment=a%2Fb"), Ok(Some("a/b".into())));
    assert_eq!(read("intent=transcription"), Ok(None));
    let twice = Err(AskFault::DuplicateKey("model".into()));
    assert_eq!(read("model=a&model=b"), twice);
    assert_eq!(read("model=a&mode%6c=b"), twice);
    assert_eq!(read("model="), Err(AskFault::ModelNotAString));
}
