//! Crossing 3: two lock-free lanes per core, with counted loss.
//!
//! ```text
//!  core ──note──▶  small, precious   (an exchange opened, an exchange closed)  ──▶ writer
//!       ──part──▶  big, droppable    (pieces of bodies, under a byte budget)   ──▶
//! ```
//!
//! Invariants of absence: no locks, no system call, no wake-up (the consumer polls, with a pause it chooses), no
//! knowledge of what a note or a part is. A producer never waits: what does not fit is handed to a counter.
//!
//! The rule that makes loss rare and orderly: **free note slots ≥ reserved note slots, always**. An open takes two
//! slots or none, one for itself and one reserved for its close, so a flood of opens can never cost a close its place;
//! an open that finds the lane nearly full is dropped and counted apart, since its close may still be recorded.
//! Anything unreserved only takes slots that nobody reserved. `strict` refuses the exchange when
//! [`Producer::open`] says [`Full`]; `shed` goes on without a reservation and takes what room there is at the close.
//!
//! Captures are shed first, whatever happens: they have their own lane and budget, and never touch the notes' slots.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::{AtomicU64, Ordering};

/// Both ends of a core's two lanes.
///
/// `notes_max` should be at least twice the exchanges a core may hold at once (each has a slot reserved for its close),
/// `part_bytes_max` bounds the captured bytes that are between the core and the store.
#[must_use]
pub fn lanes<N, C>(
    notes_max: usize,
    parts_max: usize,
    part_bytes_max: usize,
) -> (Producer<N, C>, Consumer<N, C>) {
    let (notes_in, notes_out) = rtrb::RingBuffer::new(notes_max.max(2));
    let (parts_in, parts_out) = rtrb::RingBuffer::new(parts_max.max(1));
    let (used_in, used_out) = rtrb::RingBuffer::new(USED_MAX);
    let (spent_in, spent_out) = rtrb::RingBuffer::new(SPENT_MAX);
    let shared = Arc::new(Shared::default());
    let producer = Producer {
        notes: notes_in,
        parts: parts_in,
        used: used_out,
        spent: spent_out,
        notes_put: 0,
        part_bytes_max,
        shared: shared.clone(),
    };
    let consumer = Consumer {
        notes: notes_out,
        parts: parts_out,
        used: used_in,
        spent: spent_in,
        shared,
        seen: Losses::default(),
    };
    (producer, consumer)
}

/// Parts on their way back to the core at once; past it they are dropped where they are.
const USED_MAX: usize = 1024;
/// Likewise notes: two for each exchange of a batch, or what there is room for.
const SPENT_MAX: usize = 16 * 1024;

/// The core's end.
pub struct Producer<N, C> {
    notes: rtrb::Producer<N>,
    parts: rtrb::Producer<(C, usize)>,
    used: rtrb::Consumer<C>,
    spent: rtrb::Consumer<N>,
    notes_put: u64,
    part_bytes_max: usize,
    shared: Arc<Shared>,
}

impl<N, C> Producer<N, C> {
    /// Admission: put the open note and reserve what the close will need, or neither.
    pub fn open(&mut self, note: N, room: Room) -> Result<Reservation, Full> {
        let reservation =
            self.reserve_beside(room, 1).inspect_err(|_| bump(&self.shared.core.opens_dropped, 1))?;
        let pushed = self.push_note(note);
        debug_assert!(pushed.is_ok(), "a slot beyond the reserved ones was just seen free");
        Ok(reservation)
    }

    /// Reserve a note slot and capture room, so that the close can not fail.
    pub fn reserve(&mut self, room: Room) -> Result<Reservation, Full> {
        self.reserve_beside(room, 0)
    }

    /// Put a note without a reservation: only where a slot is free that nobody reserved.
    pub fn note(&mut self, note: N) -> Result<(), Lost> {
        if self.notes.slots() <= self.shared.core.held_notes.load(Ordering::Relaxed) {
            bump(&self.shared.core.lost, 1);
            return Err(Lost);
        }
        self.push_note(note)
    }

    fn push_note(&mut self, note: N) -> Result<(), Lost> {
        self.notes.push(note).map_err(|_| Lost)?;
        self.notes_put += 1;
        Ok(())
    }

    /// Put the note of an exchange that ended. With a reservation this always succeeds.
    pub fn close(&mut self, note: N, reservation: Option<Reservation>) -> Result<(), Lost> {
        // Dropping the reservation first frees exactly the slot that the note then takes.
        drop(reservation);
        self.note(note)
    }

    /// Put a part of a body, if the lane and its byte budget have room that nobody reserved.
    pub fn capture(&mut self, part: C, bytes: usize) -> Result<(), Shed> {
        if self.spare_parts() == 0 || self.spare_bytes() < bytes {
            bump(&self.shared.core.shed, 1);
            return Err(Shed);
        }
        self.push_part(part, bytes)
    }

    /// Put a part of a body out of reserved room, or out of common room once the reserved is used up.
    pub fn capture_reserved(&mut self, from: &mut Reservation, part: C, bytes: usize) -> Result<(), Shed> {
        if from.room.parts == 0 || from.room.bytes < bytes {
            return self.capture(part, bytes);
        }
        from.shrink(bytes);
        self.push_part(part, bytes)
    }

    /// A part that the writer is done with: its buffer is used again, or freed where it was allocated. Freed by another
    /// thread, memory stays with the allocator until the first thread happens to allocate again.
    pub fn used(&mut self) -> Option<C> {
        self.used.pop().ok()
    }

    /// A note that the writer is done with, to be freed where it was allocated.
    pub fn spent(&mut self) -> Option<N> {
        self.spent.pop().ok()
    }

    /// Captured bytes between here and the store.
    #[must_use]
    pub fn part_bytes_in_flight(&self) -> usize {
        self.shared.part_bytes_in_flight()
    }

    /// Notes waiting for the consumer.
    #[must_use]
    pub fn notes_waiting(&self) -> usize {
        self.notes.buffer().capacity() - self.notes.slots()
    }

    /// Notes that the consumer has taken so far.
    #[must_use]
    pub fn notes_taken(&self) -> u64 {
        self.notes_put - self.notes_waiting() as u64
    }

    /// Whether more than so many notes wait for the consumer, or half of what may be captured.
    #[must_use]
    pub fn is_behind(&self, notes_max: usize) -> bool {
        self.notes_waiting() > notes_max
            || self.part_bytes_in_flight() > self.part_bytes_max / 2
            || self.parts.slots() < self.parts.buffer().capacity() / 2
    }

    /// Whether the consumer is gone (its thread ended): nothing put here will be stored.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.notes.is_abandoned()
    }

    fn reserve_beside(&mut self, room: Room, also_notes: usize) -> Result<Reservation, Full> {
        let core = &self.shared.core;
        let spare_notes = self.notes.slots().saturating_sub(core.held_notes.load(Ordering::Relaxed));
        if spare_notes < 1 + also_notes || self.spare_parts() < room.parts || self.spare_bytes() < room.bytes
        {
            return Err(Full);
        }
        core.held_notes.fetch_add(1, Ordering::Relaxed);
        core.held_parts.fetch_add(room.parts, Ordering::Relaxed);
        core.held_bytes.fetch_add(room.bytes, Ordering::Relaxed);
        Ok(Reservation { shared: self.shared.clone(), room })
    }

    fn push_part(&mut self, part: C, bytes: usize) -> Result<(), Shed> {
        self.parts.push((part, bytes)).map_err(|_| Shed)?;
        bump(&self.shared.core.part_bytes_put, bytes as u64);
        Ok(())
    }

    fn spare_parts(&self) -> usize {
        self.parts.slots().saturating_sub(self.shared.core.held_parts.load(Ordering::Relaxed))
    }

    fn spare_bytes(&self) -> usize {
        let used = self.shared.part_bytes_in_flight() + self.shared.core.held_bytes.load(Ordering::Relaxed);
        self.part_bytes_max.saturating_sub(used)
    }
}

/// The writer's end.
pub struct Consumer<N, C> {
    notes: rtrb::Consumer<N>,
    parts: rtrb::Consumer<(C, usize)>,
    used: rtrb::Producer<C>,
    spent: rtrb::Producer<N>,
    shared: Arc<Shared>,
    seen: Losses,
}

impl<N, C> Consumer<N, C> {
    /// Take at most `notes_max` notes, and then every part that was put before them.
    ///
    /// The order matters: a core puts the last part of a body before the note that closes its exchange, so whoever
    /// reads the notes first and the parts second holds all parts of every close in hand.
    /// Bytes stay in the core's budget until [`Consumer::give_back`].
    pub fn take(&mut self, notes_max: usize, notes: &mut Vec<N>, parts: &mut Vec<(C, usize)>) {
        let wanted = self.notes.slots().min(notes_max);
        if let Ok(chunk) = self.notes.read_chunk(wanted) {
            notes.extend(chunk);
        }
        let wanted = self.parts.slots();
        if let Ok(chunk) = self.parts.read_chunk(wanted) {
            parts.extend(chunk);
        }
    }

    /// Send a part back to its core, which allocated it.
    pub fn hand_back(&mut self, part: C) {
        // A core that does not look for a while: then it is freed here.
        drop(self.used.push(part));
    }

    /// Send a note back to its core, which allocated it.
    pub fn hand_back_note(&mut self, note: N) {
        drop(self.spent.push(note));
    }

    /// Return bytes to the core's capture budget once nothing holds them any more.
    pub fn give_back(&self, bytes: usize) {
        bump(&self.shared.writer.part_bytes_done, bytes as u64);
    }

    /// What the core had to drop since this was last asked.
    pub fn losses(&mut self) -> Losses {
        let core = &self.shared.core;
        let now = Losses {
            notes: core.lost.load(Ordering::Relaxed),
            parts: core.shed.load(Ordering::Relaxed),
            opens: core.opens_dropped.load(Ordering::Relaxed),
        };
        let before = std::mem::replace(&mut self.seen, now);
        Losses {
            notes: now.notes - before.notes,
            parts: now.parts - before.parts,
            opens: now.opens - before.opens,
        }
    }

    /// Whether anything waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.notes.is_empty() && self.parts.is_empty()
    }

    /// Whether the core is gone and everything it put has been taken.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        // In this order: a last note put between the two looks must be seen by the second.
        self.notes.is_abandoned() && self.is_empty()
    }
}

/// Capture room to reserve: a number of parts and their bytes in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Parts.
    pub parts: usize,
    /// Bytes over all parts.
    pub bytes: usize,
}

/// A note slot, and capture room, that only its holder can use. Dropped unused, it returns both.
///
/// Returning in `drop` is deliberate: an exchange that panics must not shrink the lane for good.
#[must_use = "dropping a reservation gives its slot away"]
pub struct Reservation {
    shared: Arc<Shared>,
    room: Room,
}

impl Reservation {
    /// Capture room not yet used.
    #[must_use]
    pub fn room(&self) -> Room {
        self.room
    }

    fn shrink(&mut self, bytes: usize) {
        self.room.parts -= 1;
        self.room.bytes -= bytes;
        self.shared.core.held_parts.fetch_sub(1, Ordering::Relaxed);
        self.shared.core.held_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shared.core.held_notes.fetch_sub(1, Ordering::Relaxed);
        self.shared.core.held_parts.fetch_sub(self.room.parts, Ordering::Relaxed);
        self.shared.core.held_bytes.fetch_sub(self.room.bytes, Ordering::Relaxed);
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reservation").field(&self.room).finish()
    }
}

/// A note found no slot and is gone; it has been counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

/// A part found no slot or no budget and is gone; it has been counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shed;

/// There is no room to reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// What a core had to drop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Notes: each a record that will never be stored.
    pub notes: u64,
    /// Parts of bodies.
    pub parts: u64,
    /// Open notes: the exchange was not visible while it ran, its record may still have come.
    pub opens: u64,
}

impl Losses {
    /// Whether nothing was dropped.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Losses::default()
    }
}

impl std::ops::AddAssign for Losses {
    fn add_assign(&mut self, more: Losses) {
        self.notes += more.notes;
        self.parts += more.parts;
        self.opens += more.opens;
    }
}

/// What both ends see beside the lanes: one line written by the core, one by the writer.
#[derive(Default)]
struct Shared {
    core: CoreLine,
    writer: WriterLine,
}

impl Shared {
    fn part_bytes_in_flight(&self) -> usize {
        let put = self.core.part_bytes_put.load(Ordering::Relaxed);
        let done = self.writer.part_bytes_done.load(Ordering::Relaxed);
        usize::try_from(put.saturating_sub(done)).unwrap_or(usize::MAX)
    }
}

#[derive(Default)]
#[repr(align(128))]
struct CoreLine {
    part_bytes_put: AtomicU64,
    lost: AtomicU64,
    shed: AtomicU64,
    opens_dropped: AtomicU64,
    // Locked adds: a reservation may be dropped wherever its exchange unwinds.
    held_notes: AtomicUsize,
    held_parts: AtomicUsize,
    held_bytes: AtomicUsize,
}

#[derive(Default)]
#[repr(align(128))]
struct WriterLine {
    part_bytes_done: AtomicU64,
}

/// Load and store, not a locked add: each of these cells has one writer, which `&mut` or the thread ensures.
fn bump(cell: &AtomicU64, by: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_ROOM: Room = Room { parts: 0, bytes: 0 };

    fn taken<N, C>(consumer: &mut Consumer<N, C>) -> (Vec<N>, Vec<(C, usize)>) {
        let (mut notes, mut parts) = (Vec::new(), Vec::new());
        consumer.take(usize::MAX, &mut notes, &mut parts);
        (notes, parts)
    }

    #[test]
    fn what_is_put_is_taken_in_order() {
        let (mut producer, mut consumer) = lanes::<u32, &str>(8, 8, 100);
        let held = producer.open(1, NO_ROOM).unwrap();
        producer.capture("a", 10).unwrap();
        producer.capture("b", 20).unwrap();
        producer.close(2, Some(held)).unwrap();
        assert_eq!(producer.part_bytes_in_flight(), 30);
        assert_eq!(taken(&mut consumer), (vec![1, 2], vec![("a", 10), ("b", 20)]));
        assert_eq!(producer.part_bytes_in_flight(), 30, "taken is not written");
        consumer.give_back(30);
        assert_eq!(producer.part_bytes_in_flight(), 0);
        assert!(consumer.losses().is_none());
    }

    #[test]
    fn opens_never_take_the_slots_of_closes() {
        let (mut producer, mut consumer) = lanes::<u32, ()>(8, 1, 0);
        let mut held = Vec::new();
        while let Ok(reservation) = producer.open(0, NO_ROOM) {
            held.push(reservation);
        }
        assert_eq!(held.len(), 4, "half the lane for opens, half for their closes");
        assert_eq!(producer.note(9), Err(Lost), "an unreserved note may not take a reserved slot");
        for reservation in held {
            producer.close(1, Some(reservation)).unwrap();
        }
        assert_eq!(taken(&mut consumer).0, [0, 0, 0, 0, 1, 1, 1, 1]);
        assert_eq!(consumer.losses(), Losses { notes: 1, parts: 0, opens: 1 });
        assert!(consumer.losses().is_none(), "told once");
    }

    #[test]
    fn captures_are_shed_by_slots_and_by_bytes_while_notes_pass() {
        let (mut producer, mut consumer) = lanes::<u32, u8>(4, 2, 100);
        assert_eq!(producer.capture(0, 101), Err(Shed));
        producer.capture(1, 60).unwrap();
        assert_eq!(producer.capture(2, 60), Err(Shed), "over the byte budget");
        producer.capture(3, 40).unwrap();
        assert_eq!(producer.capture(4, 0), Err(Shed), "no slot");
        producer.note(7).unwrap();
        assert_eq!(taken(&mut consumer), (vec![7], vec![(1, 60), (3, 40)]));
        assert_eq!(consumer.losses().parts, 3);
        assert_eq!(producer.capture(5, 1), Err(Shed), "the bytes are still on their way");
        consumer.give_back(100);
        producer.capture(5, 1).unwrap();
    }

    #[test]
    fn reserved_capture_room_cannot_be_taken_by_others() {
        let (mut producer, _consumer) = lanes::<u32, u8>(8, 4, 100);
        let mut held = producer.open(0, Room { parts: 3, bytes: 80 }).unwrap();
        assert_eq!(producer.capture(1, 30), Err(Shed));
        producer.capture(1, 20).unwrap();
        assert_eq!(producer.capture(1, 0), Err(Shed), "the other slots are reserved");
        producer.capture_reserved(&mut held, 2, 50).unwrap();
        producer.capture_reserved(&mut held, 3, 30).unwrap();
        assert_eq!(held.room(), Room { parts: 1, bytes: 0 });
        assert_eq!(producer.reserve(Room { parts: 0, bytes: 1 }).err(), Some(Full));
        drop(held);
    }

    #[test]
    fn a_dropped_reservation_returns_its_slot() {
        let (mut producer, _consumer) = lanes::<u32, u8>(2, 1, 10);
        let held = producer.reserve(Room { parts: 1, bytes: 10 }).unwrap();
        let other = producer.reserve(NO_ROOM).unwrap();
        assert_eq!(producer.note(1), Err(Lost));
        drop((held, other));
        producer.note(1).unwrap();
        producer.note(2).unwrap();
        producer.capture(1, 10).unwrap();
    }

    #[test]
    fn a_close_in_hand_means_its_parts_are_in_hand() {
        const EXCHANGES: u64 = if cfg!(miri) { 200 } else { 100_000 };
        let (mut producer, mut consumer) = lanes::<u64, u64>(64, 64, usize::MAX >> 1);
        let core = std::thread::spawn(move || {
            for id in 0..EXCHANGES {
                while producer.parts.slots() == 0 || producer.notes.slots() == 0 {
                    std::hint::spin_loop();
                }
                producer.capture(id, 1).unwrap();
                producer.note(id).unwrap();
            }
        });
        let (mut notes, mut parts, mut closed, mut seen) = (Vec::new(), Vec::new(), 0, 0);
        while closed < EXCHANGES {
            consumer.take(16, &mut notes, &mut parts);
            seen += parts.drain(..).count() as u64;
            for id in notes.drain(..) {
                assert_eq!(id, closed);
                closed += 1;
                assert!(seen >= closed, "part {id} came after its close");
            }
            std::thread::yield_now();
        }
        core.join().unwrap();
        assert!(consumer.is_finished());
    }
}
