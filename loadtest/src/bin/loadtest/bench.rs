//! Processor time of gateways, subject beside subject within one run, on one core; provider and client on the other.
//!
//! The method: each subject forwards the same bytes; its time is read from `/proc` before and after a window in which
//! the client counts what came; subjects take turns and medians are compared, so that a change of the machine's mood
//! strikes all of them. Every byte is compared: a fast wrong answer fails the run.

mod cpu;
mod report;
mod subject;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use loadtest::Knobs;
use loadtest::clock::stamp_ns;

use crate::Outcome;
use crate::rig::{Front, Load, Offer, Rig, Server};
use crate::run::{body, offer};
use cpu::{Used, alive, resident, used};
use report::{print_json, print_table};
use subject::{CA_FILE, Ground, Subject, cores, pin};

pub(crate) const EXAMPLES: &str = "Examples:
  loadtest bench --subjects direct,floor,nginx
  loadtest bench --subjects floor,nginx,weir,weir-epoll --weir target/release/weir --repeats 7 --json
  loadtest bench --workloads small-2k --subjects weir,weir-full --weir target/release/weir
  loadtest bench --workloads lockstep,small --subjects weir,weir-old=/opt/old/weir --weir target/release/weir
  loadtest bench --provider 127.0.0.1:9000 --other envoy=127.0.0.1:10000#4321 --subjects floor,envoy

Workloads:
  paced     1,000 streams, an event each 50 ms
  unpaced   64 streams as fast as they go, each event its own write
  lockstep  64 streams, always 32 events outstanding: nothing can coalesce
  joined    64 streams as fast as they go, the provider joins events into 16 KiB
  gzip      as lockstep, answers gzipped and flushed after each event (stored blocks: what is measured is the
            relay's part and the reading beside it, not the speed of a decoder)
  tls       as lockstep, the provider behind TLS; the floor cannot speak it
  small     1.5 KB request, 0.6 KB answer, 32 kept connections
  small-2k  the same with a request of 2 KB: what weir-full is held against weir by
  large     300 KB request (bodies unlike each other), 2 KB answer, 8 kept connections
  grown     the same with the bodies of one growing session: each is the last one and a little more
  memory    silent open streams after a 300 KB request, once the subject has come to rest: growth of
            anonymous memory for each (of nginx all processes); and all that is resident when idle

×weir is the ratio to subject `weir` of the same run. +p50 and +p99 are the delay of an event beside that of `direct` in the same run.
The configuration weir is given can be replaced (--weir-config FILE, with @LISTEN@ and @PROVIDER@ in it).
The exit code is 1 if a byte was wrong or an exchange failed.";

#[derive(Args)]
pub(crate) struct BenchArgs {
    /// direct, floor, nginx, nginx-buffered, weir, weir-epoll, weir-full (identity by key, 100 grants, two quotas),
    /// NAME=PATH beginning with weir, or a name given by --other
    #[arg(long, value_delimiter = ',', default_value = "direct,floor,nginx,nginx-buffered")]
    subjects: Vec<String>,
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "paced,unpaced,lockstep,joined,gzip,tls,small,large,grown,memory"
    )]
    workloads: Vec<String>,
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// Length of each measured window
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// The binary of subject `weir`
    #[arg(long)]
    weir: Option<PathBuf>,
    /// Its configuration instead of the plain one
    #[arg(long)]
    weir_config: Option<PathBuf>,
    /// NAME=VALUE for its environment
    #[arg(long)]
    weir_env: Vec<String>,
    #[arg(long)]
    nginx: Option<PathBuf>,
    /// A gateway that runs already and forwards to --provider: NAME=HOST:PORT#PID
    #[arg(long = "other", value_parser = other)]
    others: Vec<Other>,
    /// Where the provider listens
    #[arg(long, default_value = "127.0.0.1:0")]
    provider: String,
    /// Streams of `paced`
    #[arg(long, default_value_t = 1000)]
    streams: usize,
    /// Streams of `memory`
    #[arg(long, default_value_t = 500)]
    silent: usize,
    /// Bytes of each event
    #[arg(long, default_value_t = 150)]
    bytes: usize,
    /// Keep the subjects' folder (configuration, logs, data)
    #[arg(long)]
    keep: bool,
    #[arg(long)]
    json: bool,
}

#[derive(Clone)]
struct Other {
    name: String,
    addr: String,
    pid: u32,
}

fn other(text: &str) -> Result<Other, String> {
    let parts = text.split_once('=').and_then(|(name, rest)| Some((name, rest.split_once('#')?)));
    let (name, (addr, pid)) = parts.ok_or("NAME=HOST:PORT#PID is wanted")?;
    let pid = pid.parse().map_err(|_| "the PID is no number")?;
    let addr = addr.strip_prefix("http://").unwrap_or(addr).trim_end_matches('/');
    Ok(Other { name: name.to_owned(), addr: addr.to_owned(), pid })
}

/// What is sent, and what a unit of it is called.
struct Workload {
    name: &'static str,
    unit: &'static str,
    knobs: String,
    slots: usize,
    request_bytes: usize,
    bodies: u64,
    /// Each body is the one before and some more, not unlike it.
    grows: bool,
    lockstep: usize,
    /// The provider is reached through TLS.
    tls: bool,
    /// A second, for those that hold many streams.
    ramp: f64,
}

/// One window of one subject under one workload.
#[derive(Clone, Default)]
struct Sample {
    serving_us: f64,
    whole_us: f64,
    units_per_s: f64,
    /// Client reads for each unit: 1 where nothing coalesced.
    reads: f64,
    delay_p50_us: f64,
    delay_p99_us: f64,
    /// Of `memory`.
    stream_kib: f64,
    idle_mib: f64,
    wrong: u64,
    complaints: Vec<String>,
}

/// All samples of one subject under one workload.
struct Row {
    workload: &'static str,
    unit: &'static str,
    subject: String,
    /// False for `direct`, which has no process.
    measured: bool,
    samples: Vec<Sample>,
}

impl BenchArgs {
    fn workload(&self, name: &str) -> Outcome<Workload> {
        let endless = 1_u64 << 39;
        let stream = |more: &str| format!("blind=1,stamp=1,events={endless},bytes={}{more}", self.bytes);
        let plain = Workload {
            name: "paced",
            unit: "event",
            knobs: stream(",delay_ms=50"),
            slots: self.streams,
            request_bytes: 1_500,
            bodies: 4,
            grows: false,
            lockstep: 0,
            tls: false,
            ramp: 2_000.0,
        };
        Ok(match name {
            "paced" => plain,
            "unpaced" => Workload { name: "unpaced", knobs: stream(""), slots: 64, ..plain },
            "lockstep" => {
                Workload { name: "lockstep", knobs: stream(",manual=1"), slots: 64, lockstep: 32, ..plain }
            }
            "gzip" => {
                Workload { name: "gzip", knobs: stream(",manual=1,gzip=1"), ..self.workload("lockstep")? }
            }
            "tls" => Workload { name: "tls", tls: true, ..self.workload("lockstep")? },
            "joined" => Workload { name: "joined", knobs: stream(",join=16384"), slots: 64, ..plain },
            "small" => Workload {
                name: "small",
                unit: "request",
                knobs: "blind=1,stream=0,bytes=600".to_owned(),
                slots: 32,
                ..plain
            },
            "small-2k" => Workload { name: "small-2k", request_bytes: 2_000, ..self.workload("small")? },
            "large" => Workload {
                name: "large",
                unit: "request",
                knobs: "blind=1,stream=0,bytes=2000".to_owned(),
                slots: 8,
                request_bytes: 300_000,
                bodies: 48,
                ..plain
            },
            "grown" => Workload { name: "grown", grows: true, ..self.workload("large")? },
            "memory" => Workload {
                name: "memory",
                unit: "stream",
                knobs: stream(",manual=1"),
                slots: self.silent,
                request_bytes: 300_000,
                bodies: 48,
                ramp: 500.0,
                ..plain
            },
            _ => return Err(format!("unknown workload {name:?}").into()),
        })
    }
}

pub(crate) fn bench(args: &BenchArgs) -> Outcome<bool> {
    let workloads: Vec<Workload> = args.workloads.iter().map(|w| args.workload(w)).collect::<Outcome<_>>()?;
    let cores = cores()?;
    match cores[..] {
        [own, _, ..] => pin(own)?,
        _ => eprintln!("loadtest: ONE CORE ONLY: subject, provider and client share it"),
    }
    let folder = std::env::temp_dir().join(format!("loadtest-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let server = Server::bind(&args.provider, Knobs::default(), None)?;
    let front = Front::start(server.addr)?;
    std::fs::write(folder.join(CA_FILE), &front.ca)?;
    let ground = Ground {
        provider: server.addr,
        front: front.addr,
        tls: false,
        folder: &folder,
        core: cores.get(1).copied(),
        args,
    };
    let mut rig = Rig::new()?;
    rig.serve(server)?;
    let done = compare(&ground, &mut rig, &workloads);
    if args.keep {
        eprintln!("loadtest: kept in {}", folder.display());
    } else {
        // Left behind in the temporary folder if it cannot be removed.
        _ = std::fs::remove_dir_all(&folder);
    }
    let rows = done?;
    if args.json {
        print_json(args, &rows)
    } else {
        print_table(args, &rows)
    }
    Ok(rows.iter().all(|row| row.samples.iter().all(|s| s.wrong == 0)))
}

fn compare(ground: &Ground, rig: &mut Rig, workloads: &[Workload]) -> Outcome<Vec<Row>> {
    let plain = start(ground)?;
    let mut rows = Vec::new();
    for workload in workloads {
        let ground = &Ground { tls: workload.tls, ..*ground };
        let before_tls = if workload.tls { start(ground)? } else { Vec::new() };
        let subjects = if workload.tls { &before_tls } else { &plain };
        let bodies = workload.bodies();
        let start = rows.len();
        rows.extend(subjects.iter().map(|(_, s)| Row {
            workload: workload.name,
            unit: workload.unit,
            subject: s.name.clone(),
            measured: s.pid.is_some(),
            samples: Vec::new(),
        }));
        for repeat in 0..ground.args.repeats {
            for (i, (name, subject)) in subjects.iter().enumerate() {
                eprint!("\r\x1b[K{} {} {}/{} ", workload.name, subject.name, repeat + 1, ground.args.repeats);
                let sample = if workload.name == "memory" {
                    memory(ground, rig, workload, &bodies, name)?
                } else {
                    measure(ground.args, rig, workload, &bodies, subject)?
                };
                rows[start + i].samples.push(sample);
            }
        }
    }
    eprint!("\r\x1b[K");
    Ok(rows)
}

/// The subjects that can be had; each with the name it was asked for by.
fn start<'a>(ground: &Ground<'a>) -> Outcome<Vec<(&'a str, Subject)>> {
    let mut subjects = Vec::new();
    for name in &ground.args.subjects {
        subjects.extend(Subject::start(name, ground)?.map(|s| (name.as_str(), s)));
    }
    Ok(subjects)
}

/// How much longer each body of a growing session is.
const GROWTH_BYTES: usize = 1_200;

impl Workload {
    fn bodies(&self) -> Vec<Arc<Vec<u8>>> {
        let stream = self.unit != "request";
        let one = |i: u64| match self.grows {
            false => body(self.request_bytes, i + 1, stream),
            true => body(
                self.request_bytes - GROWTH_BYTES * (self.bodies / 2) as usize + GROWTH_BYTES * i as usize,
                1,
                stream,
            ),
        };
        (0..self.bodies).map(|i| Arc::new(one(i))).collect()
    }
}

fn load(workload: &Workload, bodies: &[Arc<Vec<u8>>], subject: &Subject) -> Outcome<Load> {
    let plain = offer(subject.addr, "", false, &workload.knobs, &subject.credential, bodies.to_vec())?;
    Ok(Load::new(Offer { slots: workload.slots, ramp: workload.ramp, lockstep: workload.lockstep, ..plain }))
}

fn seen(rig: &Rig) -> crate::rig::Seen {
    rig.load.as_ref().map(|l| l.seen.clone()).unwrap_or_default()
}

/// Bring the load up to all its streams. A subject that cannot carry them shows in `wrong`.
fn open(rig: &mut Rig, workload: &Workload) -> Outcome<()> {
    rig.run(Duration::from_secs(30), |rig| {
        let seen = seen(rig);
        seen.open == workload.slots || seen.errors > workload.slots as u64
    })?;
    Ok(())
}

fn measure(
    args: &BenchArgs,
    rig: &mut Rig,
    workload: &Workload,
    bodies: &[Arc<Vec<u8>>],
    subject: &Subject,
) -> Outcome<Sample> {
    rig.load = Some(load(workload, bodies, subject)?);
    open(rig, workload)?;
    let warm = Duration::from_millis(500);
    rig.run(warm, |_| false)?;
    if let Some(load) = &mut rig.load {
        load.delays.clear();
    }
    let (before, cpu_before, start) = (seen(rig), subject_used(subject), stamp_ns());
    rig.run(Duration::from_secs_f64(args.seconds), |_| false)?;
    let (after, cpu_after, took_ns) = (seen(rig), subject_used(subject), stamp_ns() - start);
    let delays = rig.load.as_ref().map(|l| l.delays.clone()).unwrap_or_default();
    stop(rig)?;

    let request = workload.unit == "request";
    // What a request costs is also what the account does with it afterwards.
    let whole_after = if request { settled(rig, subject)? } else { cpu_after.whole_ns };
    let units = if request { after.exchanges - before.exchanges } else { after.events - before.events };
    let each = |ns: u64| ns as f64 / 1e3 / units.max(1) as f64;
    let mut sample = Sample {
        serving_us: each(cpu_after.serving_ns - cpu_before.serving_ns),
        whole_us: each(whole_after.saturating_sub(cpu_before.whole_ns)),
        units_per_s: units as f64 / (took_ns as f64 / 1e9),
        reads: (after.reads - before.reads) as f64 / units.max(1) as f64,
        delay_p50_us: delays.quantile(0.5) as f64 / 1e3,
        delay_p99_us: delays.quantile(0.99) as f64 / 1e3,
        wrong: after.errors + after.mismatches,
        complaints: after.complaints.clone(),
        ..Sample::default()
    };
    sample.judge(units, after.open, workload, subject);
    Ok(sample)
}

impl Sample {
    /// No figure without work behind it.
    fn judge(&mut self, units: u64, open: usize, workload: &Workload, subject: &Subject) {
        let mut wrong = |why: String| {
            self.wrong += 1;
            self.complaints.push(why);
        };
        if units == 0 {
            wrong("nothing came".to_owned());
        }
        if open < workload.slots {
            wrong(format!("{open} of {} streams stood", workload.slots));
        }
        if subject.pid.is_some_and(|pid| !alive(pid)) {
            wrong(format!("{} has ended", subject.name));
        }
    }
}

/// A fresh process each time: memory once taken is seldom given back.
fn memory(
    ground: &Ground,
    rig: &mut Rig,
    workload: &Workload,
    bodies: &[Arc<Vec<u8>>],
    name: &str,
) -> Outcome<Sample> {
    let Some(subject) = Subject::start(name, ground)? else { return Ok(Sample::default()) };
    // Idle is what stays when the start is over.
    rig.run(Duration::from_millis(1500), |_| false)?;
    let size = |what: &str| subject.pid.map_or(0, |pid| resident(pid, what));
    let (idle, before) = (size("VmRSS:"), size("RssAnon:"));
    rig.load = Some(load(workload, bodies, &subject)?);
    open(rig, workload)?;
    rig.run(Duration::from_millis(1500), |_| false)?;
    // A gateway that keeps an account is still writing the requests down: what counts is what stays.
    settled(rig, &subject)?;
    let (full, after) = (size("RssAnon:"), seen(rig));
    let mut sample = Sample {
        stream_kib: full.saturating_sub(before) as f64 / 1024.0 / workload.slots as f64,
        idle_mib: idle as f64 / 1048576.0,
        wrong: after.errors + after.mismatches,
        complaints: after.complaints.clone(),
        ..Sample::default()
    };
    sample.judge(after.events, after.open, workload, &subject);
    stop(rig)?;
    Ok(sample)
}

fn subject_used(subject: &Subject) -> Used {
    subject.pid.map(used).unwrap_or_default()
}

/// End the load and let the provider see everyone go.
fn stop(rig: &mut Rig) -> Outcome<()> {
    rig.load = None;
    rig.run(Duration::from_secs(3), |rig| rig.server.as_ref().is_none_or(|s| s.begun == s.ended))?;
    rig.run(Duration::from_millis(50), |_| false)?;
    Ok(())
}

/// The whole process's time once it has come to rest, or after some seconds.
fn settled(rig: &mut Rig, subject: &Subject) -> Outcome<u64> {
    let (mut last, pause) = (subject_used(subject).whole_ns, Duration::from_millis(100));
    for _ in 0..80 {
        rig.run(pause, |_| false)?;
        let now = subject_used(subject).whole_ns;
        if now - last < 1_000_000 {
            return Ok(now);
        }
        last = now;
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn args(text: &str) -> BenchArgs {
        Cli::parse_from(std::iter::once("bench").chain(text.split(' '))).args
    }

    #[test]
    fn every_workload_is_right_without_a_gateway() {
        let args = args("--subjects direct --repeats 1 --seconds 0.1 --streams 50 --silent 20");
        let workloads: Vec<Workload> =
            args.workloads.iter().map(|w| args.workload(w).expect("known")).collect();
        let server = Server::bind("127.0.0.1:0", Knobs::default(), None).expect("loopback");
        let folder = std::env::temp_dir();
        let front = server.addr;
        let ground =
            Ground { provider: server.addr, front, tls: false, folder: &folder, core: None, args: &args };
        let mut rig = Rig::new().expect("epoll");
        rig.serve(server).expect("listens");
        let rows = compare(&ground, &mut rig, &workloads).expect("runs");
        // Nothing stands between to speak TLS.
        assert_eq!(rows.len(), 9);
        for row in rows {
            assert_eq!(
                (row.wrong(), row.samples.len()),
                (0, 1),
                "{}: {:?}",
                row.workload,
                row.samples[0].complaints
            );
            assert!(row.samples[0].units_per_s > 0.0 || row.workload == "memory");
        }
    }

    #[test]
    fn a_growing_session_repeats_what_was_said() {
        let bodies = args("--silent 1").workload("grown").expect("known").bodies();
        let mean = bodies.iter().map(|b| b.len()).sum::<usize>() / bodies.len();
        assert!((299_000..301_000).contains(&mean), "{mean}");
        for pair in bodies.windows(2) {
            let same = pair[0].iter().zip(pair[1].iter()).take_while(|(a, b)| a == b).count();
            // The last message may be cut elsewhere than the one before it was.
            assert!(pair[1].len() > pair[0].len() && same > pair[0].len() - 1_300);
        }
    }

    #[test]
    fn the_yardstick_is_the_cheapest_of_its_name() {
        let row = |subject: &str, us: [f64; 2]| Row {
            workload: "large",
            unit: "request",
            subject: subject.to_owned(),
            measured: true,
            samples: us.map(|serving_us| Sample { serving_us, ..Sample::default() }).to_vec(),
        };
        let rows =
            [row("nginx", [200.0, 220.0]), row("nginx-buffered", [60.0, 50.0]), row("weir", [90.0, 100.0])];
        assert_eq!(rows[2].ratio(&rows, "nginx", |s| s.serving_us), Some(1.75));
        assert_eq!(rows[2].ratio(&rows, "floor", |s| s.serving_us), None);
        assert_eq!(report::median(vec![f64::NAN, f64::INFINITY]), None);
    }

    #[test]
    fn others_are_read() {
        let other = other("envoy=http://127.0.0.1:9/#42").expect("valid");
        assert_eq!((other.name.as_str(), other.addr.as_str(), other.pid), ("envoy", "127.0.0.1:9", 42));
        assert!(super::other("envoy=127.0.0.1:9").is_err());
    }
}
