//! Floor 6: start cores, writer and control thread; drain in order.
//!
//! ```text
//!   start   bind → store lock → writer → control → cores        (nothing listens before the store can record)
//!   drain   stop accepting → cores finish to the deadline → writer takes what is left → control
//! ```

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::admin;
use crate::base::clock;
use crate::base::memory;
use crate::base::ring::lanes;
use crate::base::stats::{Count, Stats};
use crate::config::compile::{Install, Listen};
use crate::config::file::Address;
use crate::config::keys;
use crate::config::reload::{self, Reloader, Source};
use crate::config::urls::urls;
use crate::llm::price::Book;
use crate::policy::identity::Trust;
use crate::policy::quota::lease::QuotaStore;
use crate::policy::quota::settings::Unit;
use crate::policy::quota::{Balance, Budgets};
use crate::policy::snapshot::{InForce, Serves, Snapshot};
use crate::proxy::core::{self, Setup};
use crate::proxy::crowd::Crowd;
use crate::proxy::io::{self as face, Driver};
use crate::proxy::tls::client_config;
use crate::record::balances::{BalanceRow, Commands};
use crate::record::writer::{self, Writer};

/// Connections the kernel holds for a listener before its core takes them.
const BACKLOG: i32 = 4096;
/// Notes a ring holds: each exchange in flight takes one, and reserves one for its close.
const RING_NOTES: usize = 64 * 1024;
/// Pieces of bodies a ring holds, and their bytes in sum.
const RING_PARTS: usize = 32 * 1024;
const RING_PART_BYTES: usize = 256 * 1024 * 1024;
/// Questions to the control thread under way at once.
const ASKS_MAX: usize = 1024;
/// Connections on their way to another core.
const INBOX_MAX: usize = 256;

/// Whether serving threads stay on one processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Pin {
    /// Pin from four processors up, never under a CPU quota.
    #[default]
    Auto,
    /// Pin.
    On,
    /// Leave it to the scheduler.
    Off,
}

/// What to serve, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Addresses to listen on for this machine's own users; port 0 takes a free one.
    pub listen: Vec<SocketAddr>,
    /// Listeners beside those, as configured.
    pub listeners: Vec<Listen>,
    /// Folder of the store.
    pub data: PathBuf,
    /// Serving cores; as many as there are processors (one less from four up) when not given.
    pub cores: Option<usize>,
    /// Pinning.
    pub pin: Pin,
    /// Use epoll even where a ring is granted.
    pub force_epoll: bool,
    /// PEM file with authorities beside the public ones.
    pub ca_file: Option<PathBuf>,
    /// Store of quotas that machines share.
    pub quota_store: Option<QuotaStore>,
    /// Configuration.
    pub snapshot: Arc<Snapshot>,
    /// Where it came from, to be looked at again, and what of it was decided at the start.
    pub source: Source,
    /// See `source`.
    pub install: Option<Install>,
    /// How long running streams may take to finish once draining.
    pub drain_timeout: Duration,
    /// Tests only: a request for this path panics inside the exchange.
    pub panic_path: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 8080))],
            listeners: Vec::new(),
            data: PathBuf::from("weir-data"),
            cores: None,
            pin: Pin::Auto,
            force_epoll: false,
            ca_file: None,
            quota_store: None,
            snapshot: Arc::default(),
            source: Source::default(),
            install: None,
            drain_timeout: Duration::from_secs(30),
            panic_path: None,
        }
    }
}

/// Why the gateway did not start: what, where, and what to do.
#[derive(Debug)]
pub struct StartFault(String);

impl fmt::Display for StartFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartFault {}

/// Commands price what they read by the file beside the store. A core that needs a price is not to wait for the data,
/// so it is read now, where a bucket counts money.
fn put_prices_in_force(options: &Options) {
    if let Err(why) = crate::record::prices::write(&options.data, options.snapshot.tariff()) {
        eprintln!("weir: what was stored is priced by earlier price lists: {why}");
    }
    let counts_money = options.snapshot.buckets.iter().any(|bucket| bucket.unit == Unit::Dollars);
    if counts_money {
        // Nobody waits for it: whoever is first in need of a price does.
        let _ = std::thread::Builder::new().name("weir-prices".into()).spawn(Book::warm);
    }
}

/// A running gateway.
pub struct Server {
    /// Addresses it listens on, ports filled in.
    pub addresses: Vec<SocketAddr>,
    /// The same and those of unix sockets, as a client writes them.
    pub urls: Vec<String>,
    /// The first that has pages.
    pub pages: Option<String>,
    /// How its cores wait.
    pub driver: Driver,
    /// Number of serving cores.
    pub cores: usize,
    /// Live counters.
    pub stats: Stats,
    /// How the writer is doing.
    pub health: Arc<crate::record::health::WriterHealth>,
    drain: Arc<AtomicBool>,
    drain_timeout: Duration,
    serving: Vec<JoinHandle<io::Result<()>>>,
    stop_writer: Arc<AtomicBool>,
    writing: JoinHandle<()>,
    control: admin::Control,
}

impl Server {
    /// Start everything, or say why not.
    pub fn start(options: Options) -> Result<Server, StartFault> {
        raise_descriptor_limit();
        let processors = Processors::find();
        let cores = options.cores.unwrap_or_else(|| processors.serving()).max(1);
        let own = options.listen.iter().copied().map(Listen::of_the_peer);
        let listen: Vec<Listen> = own.chain(options.listeners.iter().cloned()).collect();
        let mut listeners = bind_all(&listen, cores)?;
        let addresses: Vec<_> = listeners[0].iter().filter_map(|bound| bound.local_addr().ok()).collect();
        let urls = urls(&listen, &addresses, &options.snapshot.host_names);
        let has_pages =
            |(listen, url): &(&Listen, &String)| listen.serves != Serves::Models && url.starts_with("http");
        let pages = listen.iter().zip(&urls).find(has_pages).map(|(_, url)| url.clone());
        // Before anything is read: what changes from here on, however long the store takes to open, is read again.
        let reloader =
            Reloader::new(options.source.clone(), options.install.clone(), &options.data, listen.clone());
        let (in_force, in_force_at_cores) = watch::channel(in_force(&options, &listen)?);
        let tls = towards_providers(options.ca_file.as_deref())?;
        let driver = Driver::probe(options.force_epoll);
        let budgets =
            Arc::new(if options.quota_store.is_some() { Budgets::shared() } else { Budgets::default() });
        let stats = Stats::new(cores);
        let (producers, consumers): (Vec<_>, Vec<_>) =
            (0..cores).map(|_| lanes(RING_NOTES, RING_PARTS, RING_PART_BYTES)).unzip();
        let stop_writer = Arc::new(AtomicBool::new(false));
        let recording = start_writer(&options, consumers, stop_writer.clone(), &processors, &budgets)?;
        put_prices_in_force(&options);
        let drain = Arc::new(AtomicBool::new(false));
        let (asks, questions) = mpsc::channel(ASKS_MAX);
        let facts = admin::Facts {
            data: options.data.clone(),
            urls: urls.clone(),
            pages: pages.clone(),
            stats: stats.clone(),
            health: recording.health.clone(),
            budgets: budgets.clone(),
            commands: recording.commands,
            tail: recording.tail,
            driver: driver.name(),
            started_at_us: clock::wall(),
            in_force,
            tls: tls.clone(),
            source: options.source.clone(),
            reloads: Arc::default(),
            drain: drain.clone(),
        };
        let control = admin::Control::start(questions, facts, options.quota_store.clone(), reloader)
            .map_err(|why| StartFault(format!("the control thread cannot start: {why}")))?;
        let (inboxes, received): (Vec<_>, Vec<_>) = (0..cores).map(|_| mpsc::channel(INBOX_MAX)).unzip();
        let boot = boot_number();
        let (mut serving, crowd) = (Vec::new(), Arc::new(Crowd::default()));
        for (index, (ring, inbox)) in producers.into_iter().zip(received).enumerate() {
            let setup = Setup {
                index: index as u16,
                boot,
                driver,
                pin: processors.pin(options.pin, index, cores),
                listeners: std::mem::take(&mut listeners[index]),
                in_force: in_force_at_cores.clone(),
                stats: stats.clone(),
                budgets: budgets.clone(),
                crowd: crowd.clone(),
                ring,
                tls: tls.clone(),
                asks: asks.clone(),
                inbox,
                inboxes: inboxes.clone(),
                drain: drain.clone(),
                drain_timeout: options.drain_timeout,
                panic_path: options.panic_path.clone(),
            };
            let thread = std::thread::Builder::new().name(format!("weir-core-{index}"));
            let spawned = thread.spawn(move || core::serve(setup));
            serving.push(spawned.map_err(|why| StartFault(format!("core {index}: {why}")))?);
        }
        let drain_timeout = options.drain_timeout;
        memory::release();
        Ok(Server {
            addresses,
            urls,
            pages,
            driver,
            cores,
            stats,
            health: recording.health,
            drain,
            drain_timeout,
            serving,
            stop_writer,
            writing: recording.thread,
            control,
        })
    }

    /// The page that makes its first visitor admin. Good once; whoever sees this text may be that visitor.
    #[must_use]
    pub fn admin_link(&self) -> Option<String> {
        let url = self.pages.as_ref()?;
        Some(format!("{url}{}", self.control.first_link()))
    }

    /// The flag that makes it drain; for signals.
    #[must_use]
    pub fn drain_flag(&self) -> Arc<AtomicBool> {
        self.drain.clone()
    }

    /// Finish what runs, accept nothing more; returns when everything recorded is durable.
    pub fn drain(self) {
        self.drain.store(true, Ordering::Relaxed);
        let until = clock::now().plus(self.drain_timeout);
        while clock::now() < until && !self.serving.iter().all(JoinHandle::is_finished) {
            clock::pause(Duration::from_millis(5));
        }
        // A core that has not finished by now is left behind with its streams; the process is about to end.
        for core in self.serving.into_iter().filter(JoinHandle::is_finished) {
            let _ = core.join();
        }
        self.stop_writer.store(true, Ordering::Relaxed);
        let _ = self.writing.join();
        self.control.stop();
    }

    /// Exchanges in flight now.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.stats.total(Count::ExchangesOpen)
    }
}

/// As many descriptors as the system allows: each exchange takes two, and the usual soft limit of 1024 is for programs
/// that call `select`. Refused, the limit stays as it is, and connections above it wait in the kernel.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// One socket per address and core, so that each core accepts from its own queue; of a unix socket all share the one.
fn bind_all(listen: &[Listen], cores: usize) -> Result<Vec<Vec<std::net::TcpListener>>, StartFault> {
    let mut per_core: Vec<Vec<_>> = (0..cores).map(|_| Vec::new()).collect();
    for Listen { address, .. } in listen {
        let cannot = |why: io::Error| cannot_listen(address, &why);
        match address {
            Address::Tcp(wanted) => {
                let claimed = face::claim(*wanted).map_err(cannot)?;
                for listeners in &mut per_core {
                    listeners.push(face::bind(claimed, BACKLOG).map_err(cannot)?);
                }
            }
            Address::Unix(path) => {
                let bound = face::bind_unix(path).map_err(cannot)?;
                for listeners in &mut per_core {
                    listeners.push(bound.try_clone().map_err(cannot)?);
                }
            }
        }
    }
    Ok(per_core)
}

/// What is in force at the start.
fn in_force(options: &Options, listen: &[Listen]) -> Result<InForce, StartFault> {
    let mut snapshot = options.snapshot.clone();
    Arc::make_mut(&mut snapshot).listeners = listen.iter().map(Listen::rules).collect();
    let keys = keys::ring(&options.data)
        .map_err(|why| StartFault(format!("{}: {why}", options.data.join(keys::FILE_NAME).display())))?;
    let trust = Trust { keys: Arc::new(keys), ..Trust::default() };
    let files: Vec<_> = listen.iter().map(|listen| listen.tls.clone()).collect();
    let tls = reload::tls_of(&files).map_err(StartFault)?;
    Ok(InForce { snapshot, trust, tls })
}

fn cannot_listen(address: &Address, why: &io::Error) -> StartFault {
    let hint = match why.kind() {
        io::ErrorKind::AddrInUse => "; another program listens there: stop it or choose another --listen",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need a privilege: choose another --listen",
        io::ErrorKind::NotFound => "; the folder of the socket is not there",
        io::ErrorKind::AddrNotAvailable => "; the address is none of this machine's",
        _ => "",
    };
    StartFault(format!("cannot listen on {address}: {why}{hint}"))
}

fn towards_providers(ca_file: Option<&Path>) -> Result<Arc<rustls::ClientConfig>, StartFault> {
    let at = |path: &Path, why: &dyn fmt::Display| StartFault(format!("ca_file {}: {why}", path.display()));
    let extra = ca_file.map(|path| std::fs::read(path).map_err(|why| at(path, &why))).transpose()?;
    client_config(extra.as_deref(), &[b"http/1.1"])
        .map_err(|why| at(ca_file.unwrap_or(Path::new("(none)")), &why))
}

/// The recording side, running.
struct Recording {
    thread: JoinHandle<()>,
    health: Arc<crate::record::health::WriterHealth>,
    tail: writer::TailDoor,
    commands: Commands,
}

fn start_writer(
    options: &Options,
    consumers: Vec<writer::Consumer>,
    stop: Arc<AtomicBool>,
    processors: &Processors,
    budgets: &Arc<Budgets>,
) -> Result<Recording, StartFault> {
    let mut writer = Writer::open(&options.data, consumers, writer::Options::default())
        .map_err(|why| StartFault(format!("cannot open the store in {}: {why}", options.data.display())))?;
    restore(budgets, &mut writer, &options.snapshot)
        .map_err(|why| StartFault(format!("cannot read the balances of quotas: {why}")))?;
    let (health, tail, commands) = (writer.health(), writer.tail(), writer.commands());
    // Few processors: the writer shares one with a serving core and gives way to it, but not so far that new exchanges
    // would have to wait for it where there is time for both.
    let nice = processors.allowed.len() < 4;
    let run = move || {
        if nice {
            let _ = rustix::process::nice(5);
        }
        writer.run(&stop);
    };
    let thread = std::thread::Builder::new().name("weir-writer".into()).spawn(run);
    let thread = thread.map_err(|why| StartFault(format!("writer: {why}")))?;
    Ok(Recording { thread, health, tail, commands })
}

/// Balances as the last run left them, and from now on kept by the writer.
fn restore(budgets: &Arc<Budgets>, writer: &mut Writer, snapshot: &Snapshot) -> io::Result<()> {
    // A lease of an earlier run is spent: what is left of it cannot be told from what is not.
    let kept = if budgets.is_shared() { Vec::new() } else { writer.balances()? };
    let kept = kept.into_iter().map(|row| Balance {
        bucket: row.bucket,
        template: row.template,
        balance: row.balance,
        reserved: row.reserved,
        refilled: row.refilled,
    });
    let full = budgets.restore(kept, snapshot, clock::wall());
    let budgets = Arc::clone(budgets);
    let look = move |bucket: &str| {
        budgets.balance(bucket).map(|now| BalanceRow {
            bucket: now.bucket,
            template: now.template,
            balance: now.balance,
            reserved: now.reserved,
            refilled: now.refilled,
        })
    };
    writer.keep_balances(Box::new(look), full);
    Ok(())
}

/// A number that differs between boots of this store: ids stay unique without a file.
fn boot_number() -> u32 {
    let entropy = clock::wall() ^ (u64::from(std::process::id()) << 40);
    xxhash_rust::xxh3::xxh3_64(&entropy.to_ne_bytes()) as u32
}

/// Processors this process may run on.
struct Processors {
    allowed: Vec<usize>,
    /// Fewer by quota than by mask: pinned threads of several containers would pile up.
    quota: bool,
}

impl Processors {
    fn find() -> Self {
        let mask = rustix::thread::sched_getaffinity(None).ok();
        let allowed: Vec<usize> = mask.map_or_else(
            || vec![0],
            |mask| (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| mask.is_set(*cpu)).collect(),
        );
        let usable = std::thread::available_parallelism().map_or(1, usize::from);
        Self { quota: usable < allowed.len(), allowed }
    }

    fn usable(&self) -> usize {
        std::thread::available_parallelism().map_or(1, usize::from).min(self.allowed.len().max(1))
    }

    /// From four processors up one is left to writer and control thread.
    fn serving(&self) -> usize {
        match self.usable() {
            n @ 0..4 => n.max(1),
            n => n - 1,
        }
    }

    fn pin(&self, pin: Pin, index: usize, cores: usize) -> Option<usize> {
        let wanted = match pin {
            Pin::On => true,
            Pin::Off => false,
            Pin::Auto => !self.quota && self.allowed.len() >= 4 && cores <= self.allowed.len(),
        };
        self.allowed.get(index).copied().filter(|_| wanted)
    }
}
