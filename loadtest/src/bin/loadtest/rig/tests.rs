//! The rig against itself: every byte it serves is the byte it expects.

use std::sync::Arc;

use super::*;
use loadtest::{Client, Ended, Knobs, Provider, Request};

fn offer(addr: SocketAddr, knobs: &str, slots: usize) -> Offer {
    let body = Arc::new(b"{}".to_vec());
    let answer = loadtest::Answer::new("POST", "/v1/messages", &body, &Knobs::of(knobs));
    Offer {
        addr,
        head: format!("POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-synthetic: {knobs}\r\n"),
        bodies: vec![body],
        answer: Arc::new(answer),
        slots,
        ramp: 1e6,
        repeat: true,
        leave_percent: 0,
        leave_within: 1,
        lockstep: 0,
        seed: 1,
    }
}

fn rig() -> (Rig, SocketAddr) {
    let server = Server::bind("127.0.0.1:0", Knobs::default(), None).expect("loopback");
    let (mut rig, addr) = (Rig::new().expect("epoll"), server.addr);
    rig.serve(server).expect("listens");
    (rig, addr)
}

#[test]
fn both_sides_on_one_loop() {
    let (mut rig, addr) = rig();
    rig.load = Some(Load::new(offer(addr, "blind=1,stamp=1,events=20,delay_ms=2,bytes=300", 200)));
    rig.run(Duration::from_secs(10), |rig| rig.load.as_ref().expect("load").seen.exchanges >= 600)
        .expect("runs");
    let load = rig.load.take().expect("load");
    assert_eq!((load.seen.errors, load.seen.mismatches), (0, 0), "{:?}", load.seen.complaints);
    assert!(load.seen.exchanges >= 600 && load.seen.open == 200);
    assert!(load.delays.quantile(0.5) > 0);
}

#[test]
fn those_who_leave_are_noticed() {
    let (mut rig, addr) = rig();
    let knobs = "blind=1,events=50,delay_ms=1";
    rig.load = Some(Load::new(Offer { leave_percent: 50, leave_within: 40, ..offer(addr, knobs, 50) }));
    rig.run(Duration::from_secs(10), |rig| rig.load.as_ref().expect("load").seen.exchanges >= 100)
        .expect("runs");
    let load = rig.load.take().expect("load");
    assert_eq!((load.seen.errors, load.seen.mismatches), (0, 0), "{:?}", load.seen.complaints);
    let left = load.seen.left;
    drop(load);
    rig.run(Duration::from_secs(5), |rig| rig.server.as_ref().expect("server").open == 0).expect("runs");
    let server = rig.server.expect("server");
    assert_eq!((server.open, server.begun), (0, server.ended));
    assert!(left > 20 && server.gone >= left, "{left} left, {} noticed", server.gone);
}

#[test]
fn lockstep_keeps_its_number() {
    let (mut rig, addr) = rig();
    let knobs = "blind=1,manual=1,stamp=1,events=1000000";
    rig.load = Some(Load::new(Offer { lockstep: 4, ..offer(addr, knobs, 8) }));
    rig.run(Duration::from_secs(10), |rig| rig.load.as_ref().expect("load").seen.events >= 5_000)
        .expect("runs");
    let seen = rig.load.as_ref().expect("load").seen.clone();
    assert_eq!((seen.errors, seen.mismatches), (0, 0), "{:?}", seen.complaints);
    // Nothing can coalesce: at most one event a stream is ever under way, so each comes by itself.
    assert!(seen.events >= 5_000 && seen.reads as f64 > seen.events as f64 * 0.95, "{} reads", seen.reads);
}

#[test]
fn the_loop_serves_what_the_threads_serve() {
    let threads = Provider::start(Knobs::default());
    let (mut rig, addr) = rig();
    let body = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let client = std::thread::spawn(move || {
        ["", "stream=0", "tools=2", "split=9", "fault=429", "fault=reset@4,delay_ms=4"].map(|knobs| {
            let request = Request::messages(body).synthetic(knobs);
            let ours = Client::new(addr).check(&request, Knobs::default()).expect("an exchange");
            let theirs = Client::new(threads.addr).check(&request, Knobs::default()).expect("an exchange");
            assert_eq!(ours.mismatch, None, "{knobs}");
            assert_eq!((&ours.reply.ended, ours.events), (&theirs.reply.ended, theirs.events), "{knobs}");
            assert_eq!(ours.reply.headers.len(), theirs.reply.headers.len());
            ours.reply.ended
        })
    });
    rig.run(Duration::from_secs(10), |_| client.is_finished()).expect("runs");
    let ends = client.join().expect("no panic");
    assert_eq!(ends[5], Ended::Reset);
    assert!(ends[..5].iter().all(|e| *e == Ended::Complete));
}
