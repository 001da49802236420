//! One core: its listeners, its connections, its ring, its memory. Nothing here is shared with another core but
//! counters and an inbox.

use std::cell::{Cell, Ref, RefCell, RefMut};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use foldhash::HashMap;
use tokio::sync::{mpsc, watch};

use super::backlog::{Backlog, keep_pace};
use super::budget::{Batches, Prices};
use super::conn;
use super::credentials::Credentials;
use super::crowd::{Crowd, Doorway};
use super::io::{Driver, Listener, Socket, run, sleep, spawn};
use super::lookup::Memory;
use super::names::Names;
use super::objects::Objects;
use super::peer::Diag;
use super::running::Running;
use super::spread::Spread;
use super::upstream::Pool;
use crate::base::buf::Spare;
use crate::base::clock;
use crate::base::id::ExchangeId;
use crate::base::memory;
use crate::base::ring::{Producer, Reservation, Room};
use crate::base::stats::{CoreStats, Count, Stats};
use crate::policy::decide::{Verdict, Wants};
use crate::policy::identity::{Principal, Trust, jwt};
use crate::policy::quota::{Budgets, Till};
use crate::policy::rights::{KnownRights, Rights};
use crate::policy::snapshot::{InForce, Limits, Serves, Snapshot};
use crate::record::record::{CapturePart, Note};
use crate::wire::crossing::Asks;

/// The block that one read can take. One per core, since a block is done with before the next await.
pub(super) const SCRATCH_BYTES: usize = 64 * 1024;
/// Request bodies held at once per core, in bytes: past it 503 with Retry-After.
const HELD_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// How often a core looks after its pool and its drain flag.
const TICK: Duration = Duration::from_millis(250);
/// Logins remembered by uid.
const LOGINS_MAX: usize = 1024;

/// What a core is given at its start.
pub struct Setup {
    /// Its number.
    pub index: u16,
    /// Random per boot, part of every id.
    pub boot: u32,
    /// How it waits.
    pub driver: Driver,
    /// Processor to stay on.
    pub pin: Option<usize>,
    /// Its sockets, bound, in the order of the snapshot's listeners.
    pub listeners: Vec<std::net::TcpListener>,
    /// What is in force, now and later.
    pub in_force: watch::Receiver<InForce>,
    /// All cores' counters; its own block is at its index.
    pub stats: Stats,
    /// Balances, shared by all cores.
    pub budgets: Arc<Budgets>,
    /// Exchanges under way by principal, counted by all cores together.
    pub crowd: Arc<Crowd>,
    /// Its ring to the writer.
    pub ring: Producer<Note, CapturePart>,
    /// TLS towards providers.
    pub tls: Arc<rustls::ClientConfig>,
    /// Line to the control thread.
    pub asks: Asks,
    /// Fresh connections from other cores.
    pub inbox: mpsc::Receiver<Handed>,
    /// Inboxes of all cores, by index.
    pub inboxes: Vec<mpsc::Sender<Handed>>,
    /// Set once: finish what runs, accept nothing more.
    pub drain: Arc<AtomicBool>,
    /// How long it may finish what runs once it drains.
    pub drain_timeout: Duration,
    /// Tests only: a request for this path panics inside the exchange.
    pub panic_path: Option<String>,
}

/// A fresh connection on its way to a less loaded core.
pub struct Handed {
    connection: OwnedFd,
    from: From,
}

/// Where a fresh connection comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct From {
    /// Number of the listener.
    pub(super) listener: usize,
    /// Address of the other end.
    pub(super) peer: Option<SocketAddr>,
}

/// A serving core, as its tasks see it.
pub struct Core {
    pub(super) index: u16,
    pub(super) stats: Arc<CoreStats>,
    pub(super) asks: Asks,
    pub(super) tls: Arc<rustls::ClientConfig>,
    pub(super) pool: Pool,
    pub(super) names: Names,
    pub(super) credentials: Credentials,
    pub(super) objects: Objects,
    pub(super) spread: Spread,
    pub(super) doorway: Doorway,
    pub(super) backlog: Backlog,
    pub(super) held: Rc<Cell<usize>>,
    pub(super) panic_path: Option<String>,
    pub(super) till: RefCell<Till>,
    pub(super) drain_timeout: Duration,
    pub(super) prices: RefCell<Prices>,
    /// Batches that were charged.
    pub(super) batches: RefCell<Batches>,
    boot: u32,
    count: Cell<u64>,
    all: Stats,
    snapshot: RefCell<Arc<Snapshot>>,
    trust: RefCell<Trust>,
    listener_tls: RefCell<Arc<Vec<Option<Arc<rustls::ServerConfig>>>>>,
    in_force: RefCell<watch::Receiver<InForce>>,
    seen: jwt::Seen,
    pub(super) memory: Memory,
    pub(super) running: Running,
    rights: RefCell<KnownRights>,
    ring: RefCell<Producer<Note, CapturePart>>,
    scratch: RefCell<Scratch>,
    spare: RefCell<Spare>,
    /// Exchanges at the last tick, and whether memory was freed since it was last given back.
    ticked_at: Cell<u64>,
    freed: Cell<bool>,
    diag: Option<Diag>,
    logins: RefCell<HashMap<u32, Option<String>>>,
    inboxes: Vec<mpsc::Sender<Handed>>,
    drain: Arc<AtomicBool>,
    /// Connections between requests, by number: woken when the core drains.
    idle: RefCell<HashMap<u64, Waker>>,
    connections: Cell<u64>,
}

/// A core's reading buffer and the ranges a framing scan found in it.
pub(super) struct Scratch {
    pub(super) block: Box<[u8]>,
    pub(super) ranges: Vec<Range<usize>>,
}

/// Run a core on this thread until it has drained.
pub fn serve(setup: Setup) -> std::io::Result<()> {
    if let Some(processor) = setup.pin {
        let mut set = rustix::thread::CpuSet::new();
        set.set(processor);
        // Failing to pin costs a little speed and nothing else.
        let _ = rustix::thread::sched_setaffinity(None, &set);
    }
    run(setup.driver, serve_until_drained(setup))?
}

async fn serve_until_drained(mut setup: Setup) -> std::io::Result<()> {
    let listeners = std::mem::take(&mut setup.listeners);
    let (_, empty) = mpsc::channel(1);
    let inbox = std::mem::replace(&mut setup.inbox, empty);
    let core = Rc::new(Core::new(setup));
    for (number, bound) in listeners.into_iter().enumerate() {
        spawn(accept(core.clone(), number, Listener::new(bound)?));
    }
    spawn(take_handed(core.clone(), inbox));
    spawn(keep_pace(core.clone()));
    loop {
        sleep(TICK).await;
        core.tick();
        if core.is_draining() && core.stats.read(Count::ConnectionsOpen) == 0 {
            return Ok(());
        }
    }
}

async fn accept(core: Rc<Core>, listening: usize, listener: Listener) {
    let number = core.next_connection();
    loop {
        let mut accepting = pin!(listener.accept());
        let next = poll_fn(|cx| match core.poll_draining(number, cx) {
            true => Poll::Ready(None),
            false => accepting.as_mut().poll(cx).map(Some),
        });
        match next.await {
            // Dropping the listener is what tells clients to go elsewhere.
            None => return,
            Some(Ok((socket, peer))) => core.clone().welcome(socket, From { listener: listening, peer }),
            // Out of descriptors, most likely: let some close before asking again.
            Some(Err(_)) => sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn take_handed(core: Rc<Core>, mut inbox: mpsc::Receiver<Handed>) {
    while let Some(Handed { connection, from }) = inbox.recv().await {
        if let Ok(socket) = Socket::adopt(connection) {
            core.clone().keep(socket, from);
        }
    }
}

impl Core {
    fn new(mut setup: Setup) -> Self {
        let now = setup.in_force.borrow_and_update().clone();
        Self {
            index: setup.index,
            stats: setup.stats.core(usize::from(setup.index)),
            asks: setup.asks,
            tls: setup.tls,
            pool: Pool::default(),
            names: Names::default(),
            credentials: Credentials::default(),
            objects: Objects::default(),
            spread: Spread::counting_in(setup.crowd.clone()),
            doorway: Doorway::into(setup.crowd),
            backlog: Backlog::default(),
            held: Rc::new(Cell::new(HELD_BYTES_MAX)),
            panic_path: setup.panic_path,
            till: RefCell::new(Till::over(setup.budgets)),
            drain_timeout: setup.drain_timeout,
            prices: RefCell::default(),
            batches: RefCell::default(),
            boot: setup.boot,
            count: Cell::new(0),
            all: setup.stats,
            snapshot: RefCell::new(now.snapshot),
            trust: RefCell::new(now.trust),
            listener_tls: RefCell::new(now.tls),
            in_force: RefCell::new(setup.in_force),
            seen: jwt::Seen::default(),
            memory: Memory::default(),
            running: Running::default(),
            rights: RefCell::default(),
            ring: RefCell::new(setup.ring),
            scratch: RefCell::new(Scratch {
                block: vec![0; SCRATCH_BYTES].into_boxed_slice(),
                ranges: Vec::with_capacity(64),
            }),
            spare: RefCell::default(),
            ticked_at: Cell::new(0),
            // Its own start left something to give back.
            freed: Cell::new(true),
            diag: Diag::new().ok(),
            logins: RefCell::default(),
            inboxes: setup.inboxes,
            drain: setup.drain,
            idle: RefCell::default(),
            connections: Cell::new(0),
        }
    }

    /// A fresh connection: kept, handed to a less loaded core, or closed at the bound.
    fn welcome(self: Rc<Self>, socket: Socket, from: From) {
        self.stats.add(Count::ConnectionsAccepted, 1);
        if let Some(inbox) = self.less_loaded().cloned() {
            match (socket.release(), inbox.try_reserve()) {
                (Ok(connection), Ok(place)) => {
                    self.stats.add(Count::ConnectionsHandedOff, 1);
                    return place.send(Handed { connection, from });
                }
                (Ok(connection), Err(_)) => {
                    if let Ok(socket) = Socket::adopt(connection) {
                        self.keep(socket, from);
                    }
                    return;
                }
                (Err(_), _) => return,
            }
        }
        self.keep(socket, from);
    }

    fn keep(self: Rc<Self>, socket: Socket, from: From) {
        let open: u64 = self.all.cores().iter().map(|core| core.read(Count::ConnectionsOpen)).sum();
        if open >= self.limits().connections_max {
            self.stats.add(Count::ConnectionsRefused, 1);
            return;
        }
        self.stats.add(Count::ConnectionsOpen, 1);
        spawn(async move {
            let number = self.next_connection();
            conn::serve(self.clone(), socket, from, number).await;
            self.forget_connection(number);
            self.stats.sub(Count::ConnectionsOpen, 1);
        });
    }

    /// The least loaded core, if this one carries more than 1.3 times the mean. The kernel spreads connections by hash,
    /// and the clients of model APIs are few and stay long, so some cores would idle.
    fn less_loaded(&self) -> Option<&mpsc::Sender<Handed>> {
        if self.inboxes.len() < 2 {
            return None;
        }
        let loads: Vec<u64> = self.all.cores().iter().map(|core| core.read(Count::ConnectionsOpen)).collect();
        let own = loads[usize::from(self.index)];
        let (least, load) = loads.iter().enumerate().min_by_key(|(_, load)| **load)?;
        let total: u64 = loads.iter().sum();
        let over = own * 10 * loads.len() as u64 > total * 13 && own > load + 1;
        if over { self.inboxes.get(least) } else { None }
    }

    fn tick(&self) {
        self.adopt();
        self.pool.sweep(clock::now());
        self.take_used();
        self.free_spent();
        self.release_when_quiet();
        let ring = self.ring.borrow();
        self.stats.set(Count::RingRecords, ring.notes_waiting() as u64);
        self.stats.set(Count::RingCaptureBytes, ring.part_bytes_in_flight() as u64);
        if self.is_draining() {
            self.idle.borrow_mut().drain().for_each(|(_, waker)| waker.wake());
        }
    }

    /// A tick without a new exchange: what has come home meanwhile is freed, and its memory goes back to the system.
    fn release_when_quiet(&self) {
        if self.ticked_at.replace(self.count.get()) != self.count.get() {
            return;
        }
        let mut ring = self.ring.borrow_mut();
        while let Some(note) = ring.spent() {
            drop(note);
            self.freed.set(true);
        }
        if self.freed.replace(false) {
            self.spare.borrow_mut().free();
            memory::release();
        }
    }

    pub(super) fn next_id(&self) -> ExchangeId {
        let count = self.count.get();
        self.count.set(count + 1);
        ExchangeId::new(clock::wall(), self.index, self.boot, count)
    }

    /// Take what has come into force since the last look; where nothing has, that look is one load.
    pub(super) fn adopt(&self) {
        let mut in_force = self.in_force.borrow_mut();
        if !in_force.has_changed().unwrap_or(false) {
            return;
        }
        let now = in_force.borrow_and_update().clone();
        // What is remembered was judged by what is no longer in force; rights look after themselves.
        self.seen.forget();
        if !Arc::ptr_eq(&self.snapshot.borrow(), &now.snapshot) {
            self.memory.forget();
        }
        self.running.cut(&now.trust.keys);
        *self.snapshot.borrow_mut() = now.snapshot;
        *self.trust.borrow_mut() = now.trust;
        *self.listener_tls.borrow_mut() = now.tls;
    }

    /// The TLS of a listener, for handshakes that begin now.
    pub(super) fn tls_at(&self, listener: usize) -> Option<Arc<rustls::ServerConfig>> {
        self.listener_tls.borrow().get(listener).cloned().flatten()
    }

    /// Whether a listener's TLS is still this one.
    pub(super) fn is_tls_at(&self, listener: usize, tls: Option<&Arc<rustls::ServerConfig>>) -> bool {
        let all = self.listener_tls.borrow();
        match (all.get(listener).and_then(Option::as_ref), tls) {
            (Some(now), Some(then)) => Arc::ptr_eq(now, then),
            (now, then) => now.is_none() && then.is_none(),
        }
    }

    /// Whether an address is a balancer of this listener, which says for whom it speaks.
    pub(super) fn is_balancer(&self, listener: usize, address: std::net::IpAddr) -> bool {
        let snapshot = self.snapshot.borrow();
        let networks = snapshot.listeners.get(listener).map_or(&[][..], |listener| &listener.proxy_protocol);
        networks.iter().any(|network| network.contains(address))
    }

    /// Look at what identity is judged by.
    pub(super) fn with_trust<T>(&self, look: impl FnOnce(&Snapshot, &Trust, &jwt::Seen) -> T) -> T {
        look(&self.snapshot.borrow(), &self.trust.borrow(), &self.seen)
    }

    /// Whether on this listener the connection alone says who is there.
    pub(super) fn is_of_the_peer(&self, listener: usize) -> bool {
        self.snapshot.borrow().listeners.get(listener).is_some_and(|listener| listener.is_of_the_peer())
    }

    /// Whether this listener has pages, or models.
    pub(super) fn serves(&self, listener: usize, page: bool) -> bool {
        match self.snapshot.borrow().listeners.get(listener).map(|listener| listener.serves) {
            None | Some(Serves::Everything) => true,
            Some(Serves::Models) => !page,
            Some(Serves::Pages) => page,
        }
    }

    /// Configuration in force now; an exchange keeps the one it began with.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.borrow().clone()
    }

    /// May `principal` have what it wants, under the configuration in force now?
    pub(super) fn decide(&self, principal: Option<&Principal>, wants: Wants<'_>) -> Verdict {
        self.rights.borrow_mut().decide(&self.snapshot.borrow(), principal, wants)
    }

    /// Look at what a principal may do, under the configuration in force now.
    pub(super) fn with_rights<T>(
        &self,
        principal: &Principal,
        look: impl FnOnce(&Snapshot, &Rights) -> T,
    ) -> T {
        let snapshot = self.snapshot();
        let mut known = self.rights.borrow_mut();
        known.learn(&snapshot, principal);
        match known.rights(principal) {
            Some(rights) => look(&snapshot, rights),
            None => look(&snapshot, &Rights::default()),
        }
    }

    pub(super) fn limits(&self) -> Limits {
        self.snapshot.borrow().limits
    }

    pub(super) fn ring(&self) -> Ref<'_, Producer<Note, CapturePart>> {
        self.ring.borrow()
    }

    pub(super) fn scratch(&self) -> RefMut<'_, Scratch> {
        self.scratch.borrow_mut()
    }

    /// An empty buffer for a body of at least `bytes`.
    pub(super) fn buffer(&self, bytes: usize) -> Vec<u8> {
        self.take_used();
        self.spare.borrow_mut().take(bytes)
    }

    /// Notes that the writer is done with are freed where they were allocated, a few at a time.
    fn free_spent(&self) {
        let mut ring = self.ring.borrow_mut();
        // Each exchange puts two and frees up to four, so that none pile up.
        (0..4).map_while(|_| ring.spent()).for_each(drop);
    }

    /// Buffers that the writer is done with come home.
    fn take_used(&self) {
        let (mut ring, mut spare) = (self.ring.borrow_mut(), self.spare.borrow_mut());
        while let Some(part) = ring.used() {
            self.freed.set(true);
            // Only the last holder of the bytes gets the buffer itself; anything else is dropped here.
            if let Ok(bytes) = part.bytes.try_into_mut() {
                spare.give(Vec::from(bytes));
            }
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.drain.load(Ordering::Relaxed)
    }

    /// Whether the core drains; if not, the connection `number`, which waits between requests, is woken when it does.
    pub(super) fn poll_draining(&self, number: u64, cx: &Context<'_>) -> bool {
        if self.is_draining() {
            return true;
        }
        let mut idle = self.idle.borrow_mut();
        if !idle.get(&number).is_some_and(|waker| waker.will_wake(cx.waker())) {
            idle.insert(number, cx.waker().clone());
        }
        false
    }

    /// A number for a new connection of this core.
    pub(super) fn next_connection(&self) -> u64 {
        self.connections.set(self.connections.get() + 1);
        self.connections.get()
    }

    /// A connection has ended.
    pub(super) fn forget_connection(&self, number: u64) {
        self.idle.borrow_mut().remove(&number);
        self.running.leave(number);
    }

    pub(super) fn uid(&self, peer: SocketAddr, local: SocketAddr) -> Option<u32> {
        self.diag.as_ref()?.uid(peer, local)
    }

    /// Login of a uid, remembered: the look-up may read files.
    pub(super) fn login(&self, uid: u32) -> Option<String> {
        let mut logins = self.logins.borrow_mut();
        if logins.len() >= LOGINS_MAX {
            logins.clear();
        }
        let look_up = || uzers::get_user_by_uid(uid).map(|user| user.name().to_string_lossy().into_owned());
        logins.entry(uid).or_insert_with(look_up).clone()
    }

    /// Reserve room for an exchange's close; without room it goes on unreserved.
    pub(super) fn reserve(&self) -> Option<Reservation> {
        self.free_spent();
        self.ring.borrow_mut().reserve(Room::default()).ok()
    }

    /// Put an open note on the ring, where there is room that nobody reserved.
    pub(super) fn note_open(&self, open: Note) {
        self.stats.add(Count::RecordsQueued, 1);
        // Lost, it costs the sight of an exchange under way, and not its record.
        let _ = self.ring.borrow_mut().note(open);
    }

    pub(super) fn note_close(&self, close: Note, reservation: Option<Reservation>) {
        self.stats.add(Count::RecordsQueued, 1);
        if self.ring.borrow_mut().close(close, reservation).is_err() {
            self.stats.add(Count::RecordsLost, 1);
        }
    }

    /// Offer a piece of a body to the writer; false when it had to be dropped.
    pub(super) fn capture(&self, part: CapturePart) -> bool {
        let bytes = part.bytes.len();
        let kept = self.ring.borrow_mut().capture(part, bytes).is_ok();
        if !kept {
            self.stats.add(Count::CapturesShed, 1);
        }
        kept
    }
}
