//! The tailnet's daemon, played by a stand-in that answers as its documented API does, and also badly.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, RwLock};

use loadtest::{Knobs, Request};
use weir::base::clock;

use super::{ASK, ask, refused};
use crate::gate::Gate;

const ALICE: &str = r#"{"Node":{"ID":7,"StableID":"n7","ComputedName":"alices-laptop","Tags":null},
    "UserProfile":{"LoginName":"alice@example.com","DisplayName":"Alice","Groups":["group:eng"]},
    "CapMap":{"tailscale.com/cap/aperture":[{"role":"user"},{"models":"synthetic/**"}]}}"#;
const RUNNER: &str = r#"{"Node":{"ComputedName":"runner","Tags":["tag:k8s","tag:ci"]},
    "UserProfile":{"LoginName":"tagged-devices"},"CapMap":{"tailscale.com/cap/aperture":[{"role":"user"},{"models":"**"}]}}"#;

/// How the stand-in answers.
#[derive(Clone)]
enum Mood {
    Says(u16, &'static str),
    Garbage,
    Hangs,
}

struct Daemon {
    mood: Arc<RwLock<Mood>>,
    heard: Arc<RwLock<Vec<String>>>,
}

impl Daemon {
    fn start(socket: &Path, mood: Mood) -> Daemon {
        let listener = UnixListener::bind(socket).expect("a socket");
        let (mood, heard) = (Arc::new(RwLock::new(mood)), Arc::new(RwLock::new(Vec::new())));
        let daemon = Daemon { mood: mood.clone(), heard: heard.clone() };
        std::thread::spawn(move || {
            let mut hanging = Vec::new();
            for mut stream in listener.incoming().flatten() {
                let mut block = [0; 4096];
                let Ok(n) = stream.read(&mut block) else { continue };
                heard.write().expect("a list").push(String::from_utf8_lossy(&block[..n]).into_owned());
                let mood = mood.read().expect("a mood").clone();
                if matches!(mood, Mood::Hangs) {
                    hanging.push(stream);
                    continue;
                }
                answer(&mut stream, &mood);
            }
        });
        daemon
    }

    fn is_now(&self, mood: Mood) {
        *self.mood.write().expect("a mood") = mood;
    }

    fn asked(&self) -> usize {
        self.heard.read().expect("a list").len()
    }
}

fn answer(stream: &mut UnixStream, mood: &Mood) {
    let text = match mood {
        Mood::Says(status, body) => {
            format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
        }
        _ => "\u{16}\u{3}\u{1}not HTTP at all\r\n\r\n".to_owned(),
    };
    let _ = stream.write_all(text.as_bytes());
}

/// No grant in the file: what they may do comes with the daemon's answer.
fn gate(mood: Mood) -> (Gate, Daemon) {
    let text = r#"{"server": {"listen": ["127.0.0.1:0"]},
      "identity": [{"source": "tailnet", "socket": "$data/tailscaled.sock"},
                   {"source": "headers", "trusted": ["127.0.0.1"], "user": "x-auth-email"}],
      "providers": {"synthetic": {"baseurl": "$provider", "apikey": "held", "authorization": "x-api-key",
        "models": ["**"], "compatibility": {"anthropic_messages": true}}}}"#;
    let mut daemon = None;
    let gate = Gate::of_file(Knobs { keep: true, ..Knobs::default() }, text, |data| {
        daemon = Some(Daemon::start(&data.join("tailscaled.sock"), mood));
    });
    (gate, daemon.expect("it was started"))
}

#[test]
fn a_person_and_a_device_with_the_grants_of_their_own_tailnet() {
    let (gate, daemon) = gate(Mood::Says(200, ALICE));
    let mut client = gate.client();
    for _ in 0..3 {
        let reply = client.send(&Request::messages(ASK)).expect("an answer");
        assert_eq!(reply.status, 200, "{}", reply.text());
        let record = gate.record(&reply);
        assert_eq!(record["who"]["principal"], "alice@example.com", "{record}");
        assert_eq!(record["who"]["node"], "alices-laptop");
        assert_eq!(record["who"]["strength"], "connection");
        assert_eq!(record["who"]["groups"], serde_json::json!(["eng"]));
    }
    assert_eq!(daemon.asked(), 1, "once for a connection, as long as the answer holds");
    let heard = daemon.heard.read().expect("a list")[0].clone();
    assert!(heard.starts_with("GET /localapi/v0/whois?addr=127.0.0.1%3A"), "{heard}");
    assert!(heard.contains("host: local-tailscaled.sock\r\n"), "{heard}");
    assert!(!heard.to_ascii_lowercase().contains("origin") && !heard.contains("referer"), "{heard}");
    daemon.is_now(Mood::Says(200, RUNNER));
    let record = gate.record(&ask(&gate, &[]));
    assert_eq!(record["who"]["principal"], "tag:ci,tag:k8s", "never the pseudo user: {record}");
}

#[test]
fn whatever_goes_wrong_with_the_daemon_is_a_refusal() {
    let (gate, daemon) = gate(Mood::Says(403, "denied"));
    let weaker = [("x-auth-email", "alice@example.com")];
    refused(&gate, &weaker, "bad_identity", "tailnet: the tailnet daemon does not let this process ask");
    for (mood, cause) in [
        (Mood::Says(500, ""), "answered with an error"),
        (Mood::Says(200, "{}"), "named nobody"),
        (Mood::Says(200, "<html>"), "cannot be read"),
        (Mood::Garbage, "cannot be reached"),
        (Mood::Hangs, "did not answer in time"),
    ] {
        daemon.is_now(mood);
        refused(&gate, &weaker, "bad_identity", cause);
    }
    std::fs::remove_file(gate.data.path().join("tailscaled.sock")).expect("removed");
    refused(&gate, &weaker, "bad_identity", "cannot be reached");
}

#[test]
fn a_stranger_is_for_the_next_source_to_know() {
    let (gate, daemon) = gate(Mood::Says(404, "no match for IP:port"));
    refused(&gate, &[], "no_identity", "");
    let reply = ask(&gate, &[("x-auth-email", "bob@example.com")]);
    // Known by the front, and without a grant: 403, which tells how to find out why.
    assert_eq!(reply.status, 403, "{}", reply.text());
    assert!(reply.text().contains("no role granted"), "{}", reply.text());
    assert_eq!(gate.record(&reply)["who"]["principal"], "bob@example.com");
    assert_eq!(daemon.asked(), 2);
}

#[test]
fn many_at_once_ask_each_connection_once() {
    let (gate, daemon) = gate(Mood::Says(200, ALICE));
    let began = clock::now();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| assert_eq!(ask(&gate, &[]).status, 200));
        }
    });
    assert_eq!(daemon.asked(), 16, "on loopback each connection may be somebody else's ({began:?})");
}
