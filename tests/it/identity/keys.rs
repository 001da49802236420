//! Keys minted by weir: in every field, revoked with something weaker behind them, and cut.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use loadtest::{Ended, Knobs, Request};
use weir::config::keys;
use weir::policy::identity::key::{KeyRow, Minted, mint};

use super::{ASK, ask, file, refused};
use crate::gate::{Gate, wait_for};

const SOURCES: &str =
    r#"[{"source": "key"}, {"source": "headers", "trusted": ["127.0.0.1"], "user": "x-auth-email"}]"#;

fn minted(name: &str) -> Minted {
    mint(name, 1, None, vec!["bots".into()]).expect("minted")
}

fn write(data: &Path, rows: &[KeyRow]) {
    keys::write(data, rows).expect("written");
}

fn gate_with(rows: &[KeyRow]) -> Gate {
    Gate::of_file(Knobs { keep: true, ..Knobs::default() }, &file(r#"["127.0.0.1:0"]"#, SOURCES), |data| {
        write(data, rows);
    })
}

#[test]
fn a_key_opens_in_every_field_and_goes_nowhere_else() {
    let minted = minted("ci");
    let gate = gate_with(std::slice::from_ref(&minted.row));
    let bearer = format!("Bearer {}", minted.key);
    for (field, value) in [
        ("authorization", bearer.as_str()),
        ("X-Api-Key", &minted.key),
        ("x-goog-api-key", &minted.key),
        ("Api-Key", &minted.key),
    ] {
        let reply = ask(&gate, &[(field, value), ("x-auth-email", "boss@example.com"), ("cookie", "a=b")]);
        assert_eq!(reply.status, 200, "{field}: {}", reply.text());
        let record = gate.record(&reply);
        assert_eq!(record["who"]["principal"], "key:ci", "{record}");
        assert_eq!(record["who"]["source"], "key");
        assert_eq!(record["who"]["strength"], "secret");
        assert_eq!(record["who"]["groups"], serde_json::json!(["bots"]));
        assert!(!record.to_string().contains(&minted.key), "{record}");
        assert!(!record.to_string().contains("boss@example.com"), "{record}");
        let served = gate.provider.truth().pop().expect("it went up");
        assert_eq!(served.header("x-api-key"), Some("held-by-the-gateway"));
        for gone in ["authorization", "api-key", "x-goog-api-key", "x-auth-email", "cookie"] {
            assert_eq!(served.header(gone), None, "{gone}");
        }
    }
}

#[test]
fn a_bad_key_ends_the_search_whatever_stands_behind_it() {
    let (good, bad, old) = (minted("ci"), minted("ci"), minted("old"));
    let expired = KeyRow { expires: Some(2), ..old.row };
    let gate = gate_with(&[good.row.clone(), KeyRow { revoked: Some(2), ..bad.row }, expired]);
    let weaker = ("x-auth-email", "alice@example.com");
    assert_eq!(ask(&gate, &[weaker]).status, 200, "alone it is believed");
    refused(&gate, &[("x-api-key", &bad.key), weaker], "bad_identity", "key: a revoked key");
    refused(&gate, &[("x-api-key", &old.key), weaker], "bad_identity", "key: an expired key");
    refused(&gate, &[("authorization", "Bearer weir_guessed_by_somebody"), weaker], "bad_identity", "no key");
    let other_secret = format!("{}{}", &good.key[..14], &bad.key[14..]);
    refused(&gate, &[("x-api-key", &other_secret), weaker], "bad_identity", "an unknown key");
    refused(&gate, &[("x-api-key", &good.key), ("api-key", &bad.key)], "bad_identity", "two different keys");
    refused(&gate, &[("authorization", "Bearer sk-somebody-elses")], "no_identity", "");
    refused(&gate, &[], "no_identity", "");
}

#[test]
fn a_key_in_the_query_is_no_evidence_however_it_is_written() {
    let minted = minted("ci");
    let gate = gate_with(std::slice::from_ref(&minted.row));
    let spelled = minted.key.replacen("weir_", "%77eir%5f", 1);
    for query in
        [format!("key={}", minted.key), format!("key={spelled}"), format!("a=b;api_key={}", minted.key)]
    {
        let mut request = Request::messages(ASK);
        request.target = format!("{}?{query}", request.target);
        request.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("x-api-key"));
        for request in [request.clone(), request.header("x-auth-email", "alice@example.com")] {
            let reply = gate.client().send(&request).expect("an answer");
            assert_eq!(reply.status, 401, "{query}: {}", reply.text());
            let record = gate.record(&reply);
            assert_eq!(record["fault"]["kind"], "bad_identity");
            assert!(!record.to_string().contains(&minted.key[8..]), "{record}");
        }
    }
    assert_eq!(gate.provider.requests().0, 0);
}

#[test]
fn a_revoked_key_opens_nothing_more_and_a_cut_one_ends_what_runs() {
    let (kept, cut) = (minted("kept"), minted("cut"));
    let gate = gate_with(&[kept.row.clone(), cut.row.clone()]);
    std::thread::scope(|scope| {
        let stream = |key: &str, knobs: &str| {
            let request = Request::messages(ASK).header("x-api-key", key).synthetic(knobs);
            let mut client = gate.client().timeout(Duration::from_secs(20));
            scope.spawn(move || client.send(&request).expect("an answer"))
        };
        // What is to be cut lasts until it is, however late this machine reads the keys again.
        let goes_on = stream(&kept.key, "events=60,delay_ms=50");
        let ends = stream(&cut.key, "events=1000000,delay_ms=50");
        wait_for("both streams", || (gate.provider.requests().0 == 2).then_some(()));
        write(
            gate.data.path(),
            &[
                KeyRow { revoked: Some(2), ..kept.row.clone() },
                KeyRow { revoked: Some(2), cut: true, ..cut.row.clone() },
            ],
        );
        let ended = ends.join().expect("a reply");
        assert_eq!((ended.status, ended.ended), (200, Ended::Truncated));
        let went_on = goes_on.join().expect("a reply");
        assert_eq!((went_on.status, went_on.ended), (200, Ended::Complete), "revoked, not cut");
    });
    refused(&gate, &[("x-api-key", &kept.key)], "bad_identity", "a revoked key");
    let rows = wait_for("the cut stream's row", || {
        let (_, body) = gate.control("/api/requests?principal=key:cut");
        let rows: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        rows[0]["outcome"].is_string().then_some(rows)
    });
    assert_eq!(rows[0]["outcome"], "refused", "{rows}");
}

/// The call comes while events wait to be read, for some of so many, and while others never pause: none may drown it.
#[test]
fn a_cut_reaches_every_stream_however_busy_it_is() {
    let cut = minted("cut");
    let gate = gate_with(std::slice::from_ref(&cut.row));
    std::thread::scope(|scope| {
        let streams: Vec<_> = (0..40)
            .map(|nth| {
                let knobs = if nth < 38 { "events=10000,delay_ms=2" } else { "events=10000000" };
                let request = Request::messages(ASK).header("x-api-key", &cut.key).synthetic(knobs);
                let mut client = gate.client().timeout(Duration::from_secs(20));
                scope.spawn(move || client.send(&request).expect("an answer"))
            })
            .collect();
        wait_for("all streams", || (gate.provider.requests().0 == 40).then_some(()));
        write(gate.data.path(), &[KeyRow { revoked: Some(2), cut: true, ..cut.row.clone() }]);
        for stream in streams {
            let ended = stream.join().expect("a reply");
            assert_eq!((ended.status, ended.ended), (200, Ended::Truncated));
        }
    });
}

/// Who does not read gets nothing more anyway, but its provider must be let go of.
#[test]
fn a_cut_reaches_a_stream_that_its_client_does_not_read_and_a_request_that_is_still_coming() {
    let cut = minted("cut");
    let gate = gate_with(std::slice::from_ref(&cut.row));
    let begin = |length: usize, body: &str, knobs: &str| {
        let mut stream = TcpStream::connect(gate.addr).expect("it accepts");
        let head = "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
        let key = &cut.key;
        write!(
            stream,
            "{head}x-synthetic: {knobs}\r\nx-api-key: {key}\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .expect("sent");
        stream
    };
    let body =
        r#"{"model":"synthetic-1","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"x"}]}"#;
    let deaf = begin(body.len(), body, "events=1000000,bytes=1000");
    let coming = begin(body.len() + 9, body, "");
    wait_for("both", || (gate.server.as_ref().expect("runs").in_flight() == 2).then_some(()));
    wait_for("the stream", || (gate.provider.requests().0 == 1).then_some(()));
    write(gate.data.path(), &[KeyRow { revoked: Some(2), cut: true, ..cut.row.clone() }]);
    wait_for("their ends", || (gate.server.as_ref().expect("runs").in_flight() == 0).then_some(()));
    let rows = wait_for("their rows", || {
        let (_, body) = gate.control("/api/requests?principal=key:cut");
        let rows: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let ended = rows.as_array().expect("rows").iter().filter(|row| row["outcome"].is_string()).count();
        (ended == 2).then_some(rows)
    });
    assert_eq!((&rows[0]["outcome"], &rows[1]["outcome"]), (&"refused".into(), &"refused".into()), "{rows}");
    drop((deaf, coming));
}
