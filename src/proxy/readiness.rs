//! Which sockets of a core can be read or written now: one epoll per core, edge-triggered, each socket entered once.
//!
//! ```text
//!   kernel ── edge ──▶ epoll ── the runtime wakes us once ──▶ take: flags set, waiting tasks woken
//!                                                                │
//!   task ── poll_readable: flag up? go on : leave a waker ◀──────┘
//!    └── try_read found nothing, or took less than it had room for: flag down
//! ```
//!
//! A stream's socket becomes readable once per event. Entered once, it costs the kernel a list entry each time; waited for
//! anew, by a poll operation of the ring, it costs an operation: measured a tenth of all that an event costs.
//!
//! The rule that keeps edges from being lost: a flag goes down only where the kernel has just said that there is
//! nothing more, and an end of the connection keeps it up for good, since no further edge would tell of it.
//!
//! Nobody may keep the core to itself: a socket that has given [`READS_A_TURN`] times since events were last taken is not
//! readable again before the next time, however much it has (`poll_turn`). Otherwise one provider and client that never pause
//! would hold up every other stream, and the timers.
//!
//! Deliberately absent: the runtime (it waits for [`Ready::descriptor`] and calls [`Ready::take`]), and other threads.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};

/// Events taken from the kernel in one call.
const EVENTS_AT_ONCE: usize = 256;
/// Reads that a socket gives between two looks at the others, and what one of them may bring: 1 MiB of full blocks.
pub(super) const READS_A_TURN: u32 = 16;
const BLOCK_BYTES: usize = 64 * 1024;
/// The number of our own descriptor among the watched; no place has it.
const BELL: u64 = u64::MAX;

/// The sockets of a core.
pub(super) struct Ready {
    epoll: OwnedFd,
    places: RefCell<Places>,
    events: RefCell<Vec<Event>>,
    /// Times that events were taken, of which only the last few are ever compared.
    turn: Cell<u32>,
    /// Sockets that wait for the next turn. Rung for them, the bell makes the epoll readable, so that one comes.
    held: RefCell<Vec<Rc<Flags>>>,
    bell: OwnedFd,
}

/// Watched descriptors by the number that the kernel hands back for them.
#[derive(Default)]
struct Places {
    places: Vec<Place>,
    free: Vec<u32>,
}

/// A place is used again; its round tells an event of the present user from a late one of a former.
#[derive(Default)]
struct Place {
    round: u32,
    watched: Option<Rc<Flags>>,
}

impl Ready {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        // Edge-triggered: each ringing tells, and nobody has to read.
        epoll::add(&epoll, &bell, EventData::new_u64(BELL), EventFlags::IN | EventFlags::ET)?;
        let mut events = Vec::with_capacity(EVENTS_AT_ONCE);
        // Where the kernel or a seccomp profile refuses the call, it is told now: later a core would ask for ever.
        epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), Some(&Timespec::default()))?;
        Ok(Self {
            epoll,
            places: RefCell::default(),
            events: RefCell::new(events),
            turn: Cell::default(),
            held: RefCell::default(),
            bell,
        })
    }

    /// What becomes readable when there is something to [`Ready::take`].
    pub(super) fn descriptor(&self) -> io::Result<OwnedFd> {
        self.epoll.try_clone()
    }

    /// Enter a descriptor. Nothing is known of it until its first edge, but that it may be written if `writable`.
    pub(super) fn watch(self: &Rc<Self>, what: BorrowedFd<'_>, writable: bool) -> io::Result<Watched> {
        let flags = Rc::new(Flags::default());
        flags.writable.set(writable);
        let number = self.places.borrow_mut().enter(flags.clone());
        let watched = Watched { ready: self.clone(), flags, number };
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, what, EventData::new_u64(number), interest)?;
        Ok(watched)
    }

    /// Note what has become ready, and wake who waits for it.
    pub(super) fn take(&self) {
        self.turn.set(self.turn.get().wrapping_add(1));
        self.held.borrow_mut().drain(..).for_each(|flags| wake(&flags.reader));
        let mut events = self.events.borrow_mut();
        loop {
            events.clear();
            // Interrupted: the descriptor is still readable, so the runtime calls again.
            let spare = rustix::buffer::spare_capacity(&mut *events);
            if epoll::wait(&self.epoll, spare, Some(&Timespec::default())).is_err() {
                return;
            }
            for event in events.iter() {
                if let Some(flags) = self.places.borrow().at(event.data.u64()) {
                    flags.note(event.flags);
                }
            }
            if events.len() < events.capacity() {
                return;
            }
        }
    }

    /// Once events have been taken again.
    pub(super) async fn next_turn(&self) {
        let (turn, flags) = (self.turn.get(), Rc::new(Flags::default()));
        self.hold(flags.clone());
        poll_fn(|cx| match self.turn.get() == turn {
            true => wait(&flags.reader, cx),
            false => Poll::Ready(()),
        })
        .await;
    }

    fn hold(&self, flags: Rc<Flags>) {
        let mut held = self.held.borrow_mut();
        if held.is_empty() {
            // It counts to 2^64 before it refuses.
            let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
        }
        held.push(flags);
    }
}

impl Places {
    fn enter(&mut self, flags: Rc<Flags>) -> u64 {
        let at = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            (self.places.len() - 1) as u32
        });
        let place = &mut self.places[at as usize];
        place.watched = Some(flags);
        u64::from(place.round) << 32 | u64::from(at)
    }

    fn at(&self, number: u64) -> Option<&Rc<Flags>> {
        let place = self.places.get(number as u32 as usize)?;
        place.watched.as_ref().filter(|_| u64::from(place.round) == number >> 32)
    }

    fn leave(&mut self, number: u64) {
        let at = number as u32;
        if let Some(place) = self.places.get_mut(at as usize) {
            place.round = place.round.wrapping_add(1);
            place.watched = None;
            self.free.push(at);
        }
    }
}

/// What is known of a descriptor, and who waits for it.
#[derive(Default)]
struct Flags {
    readable: Cell<bool>,
    writable: Cell<bool>,
    /// The other end has ended: readable for good.
    ended: Cell<bool>,
    /// The turn in which it was last read, and how often.
    turn: Cell<u32>,
    reads: Cell<u32>,
    reader: RefCell<Option<Waker>>,
    writer: RefCell<Option<Waker>>,
}

impl Flags {
    fn note(&self, what: EventFlags) {
        let broken = what.intersects(EventFlags::HUP | EventFlags::ERR);
        if broken || what.contains(EventFlags::RDHUP) {
            self.ended.set(true);
        }
        if broken || what.intersects(EventFlags::IN | EventFlags::RDHUP) {
            self.readable.set(true);
            wake(&self.reader);
        }
        if broken || what.contains(EventFlags::OUT) {
            self.writable.set(true);
            wake(&self.writer);
        }
    }
}

fn wake(waiting: &RefCell<Option<Waker>>) {
    if let Some(waker) = waiting.borrow_mut().take() {
        waker.wake();
    }
}

/// A descriptor's entry; it leaves when this is dropped. The kernel forgets it with the descriptor itself.
pub(super) struct Watched {
    ready: Rc<Ready>,
    flags: Rc<Flags>,
    number: u64,
}

impl Watched {
    /// Ready when a read may find bytes, the end, or an error. One task at a time waits for each direction.
    pub(super) fn poll_readable(&self, cx: &Context<'_>) -> Poll<()> {
        match self.flags.readable.get() {
            true => self.poll_turn(cx),
            false => wait(&self.flags.reader, cx),
        }
    }

    /// Ready unless it has been read so often this turn that it is the others'.
    pub(super) fn poll_turn(&self, cx: &Context<'_>) -> Poll<()> {
        let flags = &self.flags;
        if flags.reads.get() < READS_A_TURN || flags.turn.get() != self.ready.turn.get() {
            return Poll::Ready(());
        }
        if flags.reads.get() == READS_A_TURN {
            // Once a turn, however often it is asked.
            flags.reads.set(READS_A_TURN + 1);
            self.ready.hold(flags.clone());
        }
        wait(&flags.reader, cx)
    }

    /// Ready once the other end has ended, whatever of it is still to be read. In the place of [`Watched::poll_readable`].
    pub(super) fn poll_ended(&self, cx: &Context<'_>) -> Poll<()> {
        match self.has_ended() {
            true => Poll::Ready(()),
            false => wait(&self.flags.reader, cx),
        }
    }

    /// Whether the other end has ended, as far as was taken.
    pub(super) fn has_ended(&self) -> bool {
        self.flags.ended.get()
    }

    /// The number of the turn: what comes within it is not seen before the next one.
    pub(super) fn turn(&self) -> u32 {
        self.ready.turn.get()
    }

    /// A read gave so many bytes, or would have given some. A long one counts for as many as would have been of blocks.
    pub(super) fn was_read(&self, bytes: usize) {
        let turn = self.ready.turn.get();
        let before = if self.flags.turn.replace(turn) == turn { self.flags.reads.get() } else { 0 };
        let reads = bytes.div_ceil(BLOCK_BYTES).max(1) as u32;
        // Who reads on without asking is not held twice.
        self.flags.reads.set(READS_A_TURN.min(before.saturating_add(reads)).max(before));
    }

    /// Ready when a write may take bytes.
    pub(super) fn poll_writable(&self, cx: &Context<'_>) -> Poll<()> {
        match self.flags.writable.get() {
            true => Poll::Ready(()),
            false => wait(&self.flags.writer, cx),
        }
    }

    /// Whether nothing has come, as far as was taken.
    pub(super) fn is_quiet(&self) -> bool {
        !self.flags.readable.get()
    }

    /// A read took all there was.
    pub(super) fn drained(&self) {
        self.flags.readable.set(self.flags.ended.get());
    }

    /// A write filled the socket.
    pub(super) fn filled(&self) {
        self.flags.writable.set(false);
    }

    /// Forget it now: a duplicate of the descriptor lives on elsewhere, and its events are not ours.
    pub(super) fn forget(self, what: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.ready.epoll, what)?)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.ready.places.borrow_mut().leave(self.number);
    }
}

fn wait(waiting: &RefCell<Option<Waker>>, cx: &Context<'_>) -> Poll<()> {
    let mut waiting = waiting.borrow_mut();
    if !waiting.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
        *waiting = Some(cx.waker().clone());
    }
    Poll::Pending
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn context() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    fn watched() -> (Rc<Ready>, Watched, UnixStream, UnixStream) {
        let ready = Rc::new(Ready::new().unwrap());
        let (ours, theirs) = UnixStream::pair().unwrap();
        let watched = ready.watch(ours.as_fd(), true).unwrap();
        ready.take();
        (ready, watched, ours, theirs)
    }

    #[test]
    fn an_edge_raises_the_flag_and_only_a_drained_socket_lowers_it() {
        let (ready, watched, mut ours, mut theirs) = watched();
        assert!(watched.is_quiet() && watched.poll_writable(&context()).is_ready());
        theirs.write_all(b"ab").unwrap();
        ready.take();
        assert!(watched.poll_readable(&context()).is_ready());
        ours.read_exact(&mut [0; 1]).unwrap();
        ready.take();
        assert!(watched.poll_readable(&context()).is_ready(), "a byte is left, and no edge tells of it");
        ours.read_exact(&mut [0; 1]).unwrap();
        watched.drained();
        assert!(watched.poll_readable(&context()).is_pending());
        theirs.write_all(b"c").unwrap();
        ready.take();
        assert!(watched.poll_readable(&context()).is_ready());
    }

    #[test]
    fn an_end_stays_readable() {
        let (ready, watched, _ours, theirs) = watched();
        drop(theirs);
        ready.take();
        watched.drained();
        assert!(watched.poll_readable(&context()).is_ready());
    }

    #[test]
    fn a_place_used_again_hears_nothing_of_its_former_user() {
        let (ready, watched, ours, mut theirs) = watched();
        theirs.write_all(b"late").unwrap();
        let number = watched.number;
        drop(watched);
        let (other, _its_other) = UnixStream::pair().unwrap();
        let next = ready.watch(other.as_fd(), true).unwrap();
        assert_eq!(next.number as u32, number as u32);
        ready.take();
        assert!(next.is_quiet());
        drop(ours);
    }

    #[test]
    fn more_events_than_one_call_takes_are_all_noted() {
        let ready = Rc::new(Ready::new().unwrap());
        let pairs: Vec<_> = (0..EVENTS_AT_ONCE + 20).map(|_| UnixStream::pair().unwrap()).collect();
        let all: Vec<_> = pairs.iter().map(|(ours, _)| ready.watch(ours.as_fd(), true).unwrap()).collect();
        pairs.iter().for_each(|(_, theirs)| (&*theirs).write_all(b"x").unwrap());
        ready.take();
        assert!(all.iter().all(|watched| !watched.is_quiet()));
    }

    #[test]
    fn who_never_pauses_waits_for_the_next_turn_and_is_woken_for_it() {
        let (ready, watched, _ours, mut theirs) = watched();
        theirs.write_all(b"without end").unwrap();
        ready.take();
        for _ in 0..READS_A_TURN {
            assert!(watched.poll_readable(&context()).is_ready());
            watched.was_read(1);
        }
        let woken = Arc::new(Rang(AtomicBool::new(false)));
        let waker = Waker::from(woken.clone());
        assert!(watched.poll_readable(&Context::from_waker(&waker)).is_pending());
        assert!(watched.poll_readable(&Context::from_waker(&waker)).is_pending(), "held once");
        assert_eq!(ready.held.borrow().len(), 1);
        let mut seen = [rustix::event::PollFd::new(&ready.epoll, rustix::event::PollFlags::IN)];
        assert_eq!(
            rustix::event::poll(&mut seen, Some(&Timespec::default())).unwrap(),
            1,
            "no turn would come"
        );
        ready.take();
        assert!(woken.0.load(Ordering::Relaxed) && ready.held.borrow().is_empty());
        assert!(watched.poll_readable(&context()).is_ready(), "nothing was lost");
    }

    #[test]
    fn a_long_read_counts_for_the_blocks_in_it() {
        let (ready, watched, _ours, mut theirs) = watched();
        theirs.write_all(b"x").unwrap();
        ready.take();
        watched.was_read(2 << 20);
        assert!(watched.poll_readable(&context()).is_pending());
        ready.take();
        (0..READS_A_TURN - 1).for_each(|_| watched.was_read(BLOCK_BYTES));
        assert!(watched.poll_readable(&context()).is_ready());
    }

    struct Rang(AtomicBool);

    impl std::task::Wake for Rang {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}
