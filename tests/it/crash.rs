//! When things go wrong around the program: killed in the middle, told to end, a data folder that cannot be used.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use loadtest::{Client, Ended, Knobs, Provider, Request};
use weir::base::clock::{self, Moment};
use weir::record::record::Outcome;
use weir::record::store::{Filter, GroupBy, Reader};

use crate::process::{PATIENCE, Weir, weir};

const ASK: &str =
    r#"{"model":"m","max_tokens":64,"stream":true,"messages":[{"role":"user","content":"hello"}]}"#;
/// A batch is closed after a second at most; the rest is for a disk that is slow to sync.
const UNSYNCED: Duration = Duration::from_secs(2);

fn before(provider: &Provider, folder: &Path, data: &Path) -> Weir {
    let started = Weir::start(provider, data, &folder.join("weir.hujson"));
    started.unwrap_or_else(|(status, said)| panic!("did not start ({status}): {said}"))
}

/// Exchanges until something ends them: id and moment of each that came whole.
fn traffic(mut client: Client, stop: &AtomicBool) -> Vec<(String, Moment)> {
    let mut whole = Vec::new();
    while !stop.load(Relaxed) {
        let reply = client.send(&Request::messages(ASK).synthetic("events=5,delay_ms=4"));
        let Ok(reply) = reply else { break };
        if reply.ended != Ended::Complete {
            break;
        }
        whole.push((reply.header("x-weir-id").expect("an id").to_owned(), clock::now()));
    }
    whole
}

#[test]
fn killed_in_the_middle_it_loses_no_more_than_the_last_moment() {
    let provider = Provider::start(Knobs::default());
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let gateway = before(&provider, folder.path(), &data);
    let stop = AtomicBool::new(false);
    let (whole, cut, killed_at) = std::thread::scope(|scope| {
        let busy: Vec<_> = (0..4)
            .map(|_| {
                let client = gateway.client();
                scope.spawn(|| traffic(client, &stop))
            })
            .collect();
        let long = Request::messages(ASK).synthetic("events=3000,delay_ms=20");
        let open: Vec<_> = (0..2)
            .map(|_| {
                let (mut client, long) = (gateway.client(), long.clone());
                scope.spawn(move || client.send(&long).expect("a head"))
            })
            .collect();
        clock::pause(UNSYNCED + Duration::from_secs(1));
        let killed_at = clock::now();
        gateway.kill();
        let whole: Vec<_> = busy.into_iter().flat_map(|thread| thread.join().expect("a client")).collect();
        let cut: Vec<_> = open.into_iter().map(|thread| thread.join().expect("a client")).collect();
        (whole, cut, killed_at)
    });
    assert!(cut.iter().all(|reply| reply.ended != Ended::Complete), "a cut stream never ends cleanly");
    assert!(whole.len() > 50, "{} exchanges before the end", whole.len());
    assert_verified(&data);

    let gateway = before(&provider, folder.path(), &data);
    let checked = gateway.client().check(&Request::messages(ASK), provider.knobs()).expect("an exchange");
    assert!(checked.perfect(), "{checked:?}");
    let ids: Vec<_> = cut.iter().map(|reply| reply.header("x-weir-id").expect("an id").to_owned()).collect();
    check_after_crash(&data, &whole, &ids, killed_at);
    gateway.ask_to_drain();
    assert!(gateway.end().0.success());
    assert_verified(&data);
}

/// Everything older than the unsynced batch is there; what was open is said to be lost; nothing is there twice.
fn check_after_crash(data: &Path, whole: &[(String, Moment)], open: &[String], killed_at: Moment) {
    let outcomes = outcomes_of(data);
    for id in open {
        assert_eq!(outcomes.get(id), Some(&Outcome::GatewayLost), "{id} was open for seconds");
    }
    let mut missing = 0;
    for (id, ended) in whole {
        match outcomes.get(id) {
            Some(Outcome::Ok) => {}
            // Its close was in the batch that was not synced.
            late => {
                let age = killed_at.since(*ended);
                assert!(age < UNSYNCED, "{id} ended {age:?} before the crash and is {late:?}");
                missing += 1;
            }
        }
    }
    let reader = Reader::open(data).expect("a store");
    assert_eq!(reader.in_flight(10).expect("a list"), [], "nothing is in flight after a crash");
    let lost = outcomes.values().filter(|outcome| **outcome == Outcome::GatewayLost).count();
    println!(
        "killed: {} whole, {missing} of them in the unsynced batch, {lost} said to be lost",
        whole.len()
    );
    assert!(lost <= open.len() + 4, "at most what the clients had open");
}

/// Every record, by id; an id that comes twice is a fault.
fn outcomes_of(data: &Path) -> HashMap<String, Outcome> {
    let reader = Reader::open(data).expect("a store");
    let rows = reader.requests(&Filter::default(), 100_000, None).expect("a list");
    let count = rows.len();
    let outcomes: HashMap<_, _> = rows.into_iter().map(|row| (row.id, row.outcome)).collect();
    assert_eq!(outcomes.len(), count, "one record for each exchange");
    outcomes
}

fn assert_verified(data: &Path) {
    let told = weir(&["verify", data.to_str().expect("UTF-8")]).output().expect("it runs");
    let text = String::from_utf8_lossy(&told.stdout);
    assert!(told.status.success() && text.trim_end().ends_with("whole"), "{text}");
}

#[test]
fn told_to_end_it_finishes_what_runs_and_records_it() {
    let provider = Provider::start(Knobs::default());
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let gateway = before(&provider, folder.path(), &data);
    let (mut client, addr) = (gateway.client(), gateway.addr);
    let running = std::thread::spawn({
        let knobs = provider.knobs();
        move || client.check(&Request::messages(ASK).synthetic("events=100,delay_ms=20"), knobs)
    });
    let until = clock::now().plus(PATIENCE);
    while provider.requests().0 == 0 {
        assert!(clock::now() < until, "the stream does not begin");
        clock::pause(Duration::from_millis(5));
    }
    gateway.ask_to_drain();
    let (status, said) = gateway.end();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("draining, 1 exchanges in flight"), "{said}");
    let checked = running.join().expect("a client").expect("a reply");
    assert!(checked.perfect(), "the stream was cut: {checked:?}");
    // The kernel takes a ring down some milliseconds after its process, and its listener with it.
    let until = clock::now().plus(PATIENCE);
    while std::net::TcpStream::connect(addr).is_ok() {
        assert!(clock::now() < until, "somebody still listens");
        clock::pause(Duration::from_millis(10));
    }
    let outcomes = outcomes_of(&data);
    assert_eq!(outcomes.values().collect::<Vec<_>>(), [&Outcome::Ok]);
    assert_verified(&data);
}

#[test]
fn a_data_folder_that_cannot_be_used_is_said_at_once() {
    let provider = Provider::start(Knobs::default());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "not a folder").expect("a file");
    refuses(&provider, folder.path(), &file, &["cannot", "file"]);
    let data = folder.path().join("taken");
    let first = before(&provider, folder.path(), &data);
    refuses(&provider, folder.path(), &data, &["another gateway writes to", "taken"]);
    drop(first);
    let Some(disk) = Disk::mount(folder.path(), "read-only", "ro,size=1m") else { return };
    refuses(&provider, folder.path(), &disk.path, &["cannot", "read-only", "Read-only file system"]);
}

fn refuses(provider: &Provider, folder: &Path, data: &Path, words: &[&str]) {
    let started = Weir::start(provider, data, &folder.join("refused.hujson"));
    let Err((status, said)) = started else { panic!("started over {}", data.display()) };
    assert_eq!(status.code(), Some(1), "{said}");
    for word in words {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
}

#[test]
fn a_full_disk_stops_no_stream_and_loses_no_record_that_can_wait() {
    let provider = Provider::start(Knobs::default());
    let folder = tempfile::tempdir().expect("a folder");
    let Some(disk) = Disk::mount(folder.path(), "disk", "size=8m") else { return };
    let mut gateway = before(&provider, folder.path(), &disk.path);
    let mut client = gateway.client();
    let mut exchanges = |count: usize| {
        for _ in 0..count {
            let checked = client.check(&Request::messages(ASK), provider.knobs()).expect("an exchange");
            assert!(checked.perfect(), "{checked:?}");
        }
    };
    exchanges(20);
    let ballast = disk.fill();
    exchanges(200);
    assert!(gateway.is_alive());
    std::fs::remove_file(ballast).expect("the ballast");
    exchanges(20);
    gateway.ask_to_drain();
    let (status, said) = gateway.end();
    assert!(status.success(), "{said}");
    let reader = Reader::open(&disk.path).expect("a store");
    let rows = reader.usage(&Filter::default(), GroupBy::Total).expect("sums");
    let lost = reader.overview(&Filter::default()).expect("an overview").records_lost;
    assert_eq!((rows[0].exchanges, rows[0].ok, lost), (240, 240, 0));
    assert_verified(&disk.path);
}

/// A small disk of its own, in memory. Only root can have one.
struct Disk {
    path: std::path::PathBuf,
}

impl Disk {
    fn mount(folder: &Path, name: &str, options: &str) -> Option<Disk> {
        let path = folder.join(name);
        std::fs::create_dir(&path).expect("a folder");
        let mount = ["-t", "tmpfs", "-o", options, "tmpfs"];
        let mounted = Command::new("mount").args(mount).arg(&path).output();
        if mounted.is_ok_and(|mounted| mounted.status.success()) {
            return Some(Disk { path });
        }
        eprintln!("\n*** SKIPPED: a {name} needs the right to mount a tmpfs (root) ***\n");
        None
    }

    /// Take all the room there is left.
    fn fill(&self) -> std::path::PathBuf {
        let ballast = self.path.join("ballast");
        let full = std::fs::write(&ballast, vec![1; 64 << 20]).expect_err("a disk that is smaller");
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
        ballast
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that still has a file open there does not keep the folder from going.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

#[test]
fn the_demo_ends_by_itself_with_books_that_agree() {
    let told = weir(&["demo", "--listen", "127.0.0.1:0", "--for", "3s", "--json"]).output().expect("it runs");
    let text = String::from_utf8_lossy(&told.stdout);
    assert!(told.status.success(), "{text}{}", String::from_utf8_lossy(&told.stderr));
    let sums: serde_json::Value = serde_json::from_str(text.trim()).expect("one JSON object");
    assert_eq!((&sums["agree"], &sums["records_lost"]), (&true.into(), &0.into()), "{sums}");
    assert!(sums["provider"]["exchanges"].as_u64() > Some(10), "{sums}");
    assert_eq!(sums["store"], sums["provider"]);
}
