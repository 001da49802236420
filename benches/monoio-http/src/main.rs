//! Why weir has an HTTP/1.1 codec of its own: monoio-http 0.3.12 put to the test, one fault at a time.
//!
//! ```sh
//! cargo run --release --manifest-path benches/monoio-http/Cargo.toml            # a table
//! cargo run --release --manifest-path benches/monoio-http/Cargo.toml -- --json  # one object a line
//! ```
//!
//! Each row runs in a child process with a bound on time and memory, because some of them panic, spin or eat what
//! they are sent. What is printed under *seen* was seen in this run; nothing is printed from memory. The exit code
//! says whether every row was run, not how it went: a version that mends a row turns its verdict to `not seen`.

mod rows;
mod stage;

use std::io::Read;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rows::{ROWS, Row};
use serde_json::{Value, json};
use stage::Seen;

const ROW_LIMIT: Duration = Duration::from_secs(8);
const RUN_LIMIT: Duration = Duration::from_secs(55);
const ROW_BYTES_MAX: u64 = 1 << 30;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => run_all(false),
        ["--json"] => run_all(true),
        ["--row", name] => run_one(name),
        _ => {
            eprintln!("usage: monoio-http-proof [--json]");
            ExitCode::from(2)
        }
    }
}

/// The child: one row, its observation as one line of JSON.
fn run_one(name: &str) -> ExitCode {
    let Some(row) = ROWS.iter().find(|row| row.name == name) else { return ExitCode::from(2) };
    let limit = rustix::process::Rlimit { current: Some(ROW_BYTES_MAX), maximum: Some(ROW_BYTES_MAX) };
    if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::As, limit) {
        eprintln!("no bound on memory, so not run: {error}");
        return ExitCode::from(2);
    }
    let seen = (row.run)();
    println!("{}", json!({ "seen": seen.what, "fault": seen.fault }));
    // Not a return: a row may leave a thread behind that spins for ever, and that is its point.
    std::process::exit(0)
}

fn run_all(as_json: bool) -> ExitCode {
    let started = Instant::now();
    if !as_json {
        line(["row", "input", "what must happen", "what monoio-http 0.3.12 was seen to do", "verdict"]);
    }
    let (mut faults, mut unrun) = (0, 0);
    for row in ROWS {
        let outcome = match RUN_LIMIT.checked_sub(started.elapsed()) {
            Some(left) => observe(row, left.min(ROW_LIMIT)),
            None => Err("the time for the whole run was used up".to_owned()),
        };
        let (seen, verdict) = match outcome {
            Ok(seen) if seen.fault => (seen.what, "fault seen"),
            Ok(seen) => (seen.what, "not seen"),
            Err(why) => (why, "NOT RUN"),
        };
        faults += usize::from(verdict == "fault seen");
        unrun += usize::from(verdict == "NOT RUN");
        if as_json {
            println!(
                "{}",
                json!({ "row": row.number, "name": row.name, "input": row.input, "must": row.must, "seen": seen,
                        "verdict": verdict })
            );
        } else {
            line([row.number, row.input, row.must, &seen, verdict]);
        }
    }
    let closing = format!(
        "{} rows in {:.0} s: {faults} with a fault seen, {} without, {unrun} not run",
        ROWS.len(),
        started.elapsed().as_secs_f64(),
        ROWS.len() - faults - unrun,
    );
    if as_json {
        eprintln!("{closing}");
    } else {
        println!("{closing}");
    }
    ExitCode::from(u8::from(unrun > 0))
}

/// Runs a row in a child. A panic, a signal or a hang is an observation too: no input may do that to a server.
fn observe(row: &Row, limit: Duration) -> Result<Seen, String> {
    let mut child = std::env::current_exe()
        .and_then(|exe| {
            Command::new(exe)
                .args(["--row", row.name])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
        })
        .map_err(|error| format!("could not be started: {error}"))?;
    let Some(status) = wait(&mut child, limit).map_err(|error| format!("could not be awaited: {error}"))?
    else {
        return Ok(Seen { what: format!("no end within {} s", limit.as_secs()), fault: true });
    };
    match (status.success(), status.code()) {
        (true, _) => reported(&text(child.stdout.take())).ok_or_else(|| "reported nothing".to_owned()),
        (_, Some(2)) => Err(text(child.stderr.take())),
        _ => Ok(Seen {
            what: format!("the process died ({status}): {}", panic_of(&text(child.stderr.take()))),
            fault: true,
        }),
    }
}

fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<std::process::ExitStatus>> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if started.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn reported(line: &str) -> Option<Seen> {
    let value: Value = serde_json::from_str(line).ok()?;
    Some(Seen { what: value["seen"].as_str()?.to_owned(), fault: value["fault"].as_bool()? })
}

fn text(pipe: Option<impl Read>) -> String {
    let mut text = String::new();
    if let Some(pipe) = pipe {
        // What a child has printed by its end fits the pipe; the bound is for the one that does not end.
        let _ = pipe.take(1 << 16).read_to_string(&mut text);
    }
    text
}

/// The place and the words of a panic, without the folders of the machine it happened on.
fn panic_of(stderr: &str) -> String {
    let mut lines = stderr.lines().skip_while(|line| !line.contains("panicked at "));
    let place = lines.next().unwrap_or("no message");
    let place = place.find("monoio-http-").map_or(place, |at| &place[at..]);
    let words = lines.next().unwrap_or_default();
    format!("{} {words}", place.trim_end_matches(':')).trim().to_owned()
}

/// Five columns, wrapped: the observations are sentences, and a terminal is not wide.
const WIDTHS: [usize; 5] = [3, 30, 38, 46, 10];

fn line(cells: [&str; 5]) {
    let wrapped: Vec<Vec<String>> = cells.iter().zip(WIDTHS).map(|(cell, width)| wrap(cell, width)).collect();
    for at in 0..wrapped.iter().map(Vec::len).max().unwrap_or(0) {
        let mut out = String::new();
        for (lines, width) in wrapped.iter().zip(WIDTHS) {
            let cell = lines.get(at).map_or("", String::as_str);
            out += &format!("{cell:width$}  ");
        }
        println!("{}", out.trim_end());
    }
    println!("{}", "-".repeat(WIDTHS.iter().sum::<usize>() + 8));
}

fn wrap(cell: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in cell.split(' ') {
        let last = lines.last_mut().expect("starts with one line");
        if !last.is_empty() && last.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}
