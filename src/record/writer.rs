//! The loop: take from all rings → batch → segments → index → live tail.
//!
//! ```text
//!             ┌───────────┐ due: enough gathered, or old enough     ┌──────────────┐
//!  rings ────▶│ gathering │────────────────────────────────────────▶│ content      │──▶ sync
//!             └───────────┘                                         │   try again, then shed the bodies and mark it
//!                   ▲                                               └──────┬───────┘
//!                   │                                               ┌──────▼───────┐
//!                   │                                               │ log          │──▶ sync: the batch is durable
//!                   │                                               │   try again, then count its records as lost
//!                   │                                               └──────┬───────┘
//!                   └──────────── index, live tail, room given back ◀──────┘
//! ```
//!
//! While a batch cannot be written nothing more is taken: the rings are the backlog, and they are bounded. They fill,
//! captures are shed, then records are lost and counted, and serving goes on. An index that fails costs nothing but
//! lag: it catches up from the log.
//!
//! Invariants of absence: never panics on what it is given, never touches a serving core, holds no lock.

mod gather;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::balances::{BalanceRow, Balances, Commands, Look};
use super::batch::Batch;
use super::blocks::Blocks;
use super::delivered::Delivered;
use super::files::{Layout, Segments, head_of};
use super::handover;
use super::health::{Place, WriterHealth};
use super::join::Joins;
use super::line::Loss;
use super::record::{CapturePart, Note};
use super::recovery::{lost_record, open_index};
use super::segment::{Encoder, Kind, Survey};
use super::store::index::{Index, Position};
use super::store::log;
use super::tail::Tail;
pub use super::tail::TailDoor;
use super::threads::Threads;
use crate::base::clock::{self, Moment};
use crate::base::memory;
use crate::base::ring;

/// A core's end of the lanes.
pub type Producer = ring::Producer<Note, CapturePart>;
/// The writer's end of a core's lanes.
pub type Consumer = ring::Consumer<Note, CapturePart>;

/// How the writer batches, compresses and gives up.
#[derive(Clone, Debug)]
pub struct Options {
    /// A batch closes when this much has been gathered, …
    pub batch_bytes: usize,
    /// … or when its first note is this old: ten times what the last batch took to write, within these bounds.
    pub batch_age: (Duration, Duration),
    /// zstd level.
    pub level: i32,
    /// A log segment is closed at this size.
    pub log_segment_bytes: u64,
    /// A content segment is closed at this size.
    pub content_segment_bytes: u64,
    /// Longest body kept; the rest of it is shed and the record says so.
    pub body_bytes_max: u64,
    /// Small pieces of unfinished bodies held in memory, in sum; over it they are written out as they stand.
    pub gathered_bytes_max: usize,
    /// How long content that cannot be written is tried again before the records go without it.
    pub retry_content_for: Duration,
    /// How long a batch that cannot be written is tried again before its records are counted as lost.
    pub retry_for: Duration,
    /// Shortest and longest pause between two looks at the rings.
    pub poll: (Duration, Duration),
    /// Whether to take batches from other processes at `writer.sock`.
    pub socket: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            batch_bytes: 4 << 20,
            batch_age: (Duration::from_millis(100), Duration::from_secs(1)),
            level: 3,
            log_segment_bytes: 64 << 20,
            content_segment_bytes: 128 << 20,
            body_bytes_max: 64 << 20,
            gathered_bytes_max: 64 << 20,
            retry_content_for: Duration::from_secs(2),
            retry_for: Duration::from_secs(30),
            poll: (Duration::from_millis(1), Duration::from_millis(5)),
            socket: true,
        }
    }
}

/// Raw bytes of a block of the log: small, since a single record is read by unpacking its block.
const LOG_BLOCK_BYTES: usize = 512 << 10;
/// Raw bytes of a block of content.
const CONTENT_BLOCK_BYTES: usize = 1 << 20;
/// Most notes taken from one ring before the next ring's turn.
const NOTES_AT_ONCE: usize = 4096;
/// Pause between two attempts at something that failed.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// A writer with nothing to do for this long gives memory back.
const QUIET_AFTER: Duration = Duration::from_millis(250);
/// Quiet for this long, it lets go of the program's pages, too.
const QUIET_LONG: Duration = Duration::from_secs(10);
/// How long a stopping writer tries to save what is left.
const LAST_TRY_FOR: Duration = Duration::from_secs(5);

/// The recording side of the gateway. Owned by one thread.
pub struct Writer {
    options: Options,
    layout: Layout,
    consumers: Vec<Consumer>,
    first_consumer: usize,
    notes: Vec<Note>,
    parts: Vec<(CapturePart, usize)>,
    handed: Option<handover::Door>,
    joins: Joins,
    delivered: Delivered,
    threads: Threads,
    batch: Batch,
    stage: Stage,
    content: Blocks,
    content_files: Segments,
    log: Blocks,
    log_files: Segments,
    balances: Balances,
    index: Index,
    index_retry_at: Option<Moment>,
    commit_began: Moment,
    commit_took: Duration,
    /// Losses that the log tells of, since installation.
    told: Loss,
    /// Losses learned of while a batch was stuck: the next one tells of them.
    untold: Loss,
    health: Arc<WriterHealth>,
    tail: Tail,
    has_rested: bool,
    // Held for its lock: last, so that everything else is closed before the store is free.
    _lock: std::fs::File,
}

/// A time without anything to do.
struct Quiet {
    since: Moment,
    rested: bool,
    let_go: bool,
}

/// Where the batch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Gathering,
    /// Closed; its content is to be written. When that began, and when to try next.
    Content {
        since: Moment,
        next: Moment,
    },
    /// Its lines are to be written.
    Log {
        since: Moment,
        next: Moment,
    },
}

impl Writer {
    /// Lock the store in `dir`, mend what a crash left, and be ready to take.
    pub fn open(dir: &Path, consumers: Vec<Consumer>, options: Options) -> io::Result<Writer> {
        let layout = Layout::of(dir);
        layout.create()?;
        let lock = layout.take_lock()?;
        let (content_files, content_seen) =
            Segments::open(&layout, Kind::Content, options.content_segment_bytes)?;
        let (log_files, log_seen) = Segments::open(&layout, Kind::Log, options.log_segment_bytes)?;
        let (index, missing) = open_index(&layout, &log_files, head_of(&log_seen))?;
        let boot = random();
        let blocks = |kind, seen: &Survey, block_bytes| {
            Ok::<_, io::Error>(Blocks::new(
                Encoder::new(kind, boot, head_of(seen), options.level)?,
                block_bytes,
            ))
        };
        let mut writer = Writer {
            content: blocks(Kind::Content, &content_seen, CONTENT_BLOCK_BYTES)?,
            log: blocks(Kind::Log, &log_seen, LOG_BLOCK_BYTES)?,
            delivered: Delivered::of(index.delivered()?),
            threads: Threads::default(),
            joins: Joins::new(options.gathered_bytes_max, options.body_bytes_max)?,
            handed: options.socket.then(|| listen(&layout)).transpose()?.flatten(),
            batch: Batch::new(consumers.len()),
            first_consumer: 0,
            notes: Vec::new(),
            parts: Vec::new(),
            stage: Stage::Gathering,
            index_retry_at: None,
            commit_began: Moment::default(),
            commit_took: Duration::ZERO,
            told: Loss::default(),
            untold: Loss::default(),
            health: Arc::default(),
            balances: Balances::open(&layout)?,
            options,
            layout,
            consumers,
            content_files,
            log_files,
            index,
            tail: Tail::new(),
            has_rested: false,
            _lock: lock,
        };
        let durable = writer.index.durable()?;
        writer.told.records = durable.records_lost;
        writer.told.parts = durable.captures_shed;
        writer.told.tails_cut = durable.tails_cut;
        writer.begin_batch();
        writer.account_for_crash(&log_seen, &content_seen, missing)?;
        writer.show(clock::now());
        Ok(writer)
    }

    /// How it is doing, for others.
    #[must_use]
    pub fn health(&self) -> Arc<WriterHealth> {
        self.health.clone()
    }

    /// Where to subscribe to records as they become durable.
    #[must_use]
    pub fn tail(&self) -> TailDoor {
        self.tail.door()
    }

    /// Balances of quotas, as the last run left them.
    pub fn balances(&self) -> io::Result<Vec<BalanceRow>> {
        self.balances.rows()
    }

    /// Keep balances from now on: how a bucket stands, and names of those whose rows may go.
    pub fn keep_balances(&mut self, look: Look, gone: impl IntoIterator<Item = String>) {
        self.balances.keep(look, gone);
    }

    /// Where to ask that a balance be made durable.
    #[must_use]
    pub fn commands(&self) -> Commands {
        self.balances.door()
    }

    /// Run until `stop`, then take and write what is left.
    pub fn run(mut self, stop: &AtomicBool) {
        let (shortest, longest) = self.options.poll;
        let mut pause = shortest;
        // Opening the store was work, too.
        let mut quiet = Quiet { since: clock::now(), rested: false, let_go: false };
        while !stop.load(Ordering::Acquire) {
            let now = clock::now();
            let worked = self.turn(now);
            if worked {
                quiet = Quiet { since: now, rested: false, let_go: false };
            } else {
                self.rest_if(&mut quiet, now);
            }
            pause = if worked { shortest } else { (pause * 2).min(longest) };
            std::thread::park_timeout(pause);
        }
        self.finish();
    }

    /// Give memory back once for each time of quiet; and of the program what only the start needed, or the last flood.
    fn rest_if(&mut self, quiet: &mut Quiet, now: Moment) {
        let lasts = now.since(quiet.since);
        if lasts > QUIET_AFTER && !std::mem::replace(&mut quiet.rested, true) {
            self.rest();
            if !std::mem::replace(&mut self.has_rested, true) {
                memory::let_go_of_program();
            }
        }
        if lasts > QUIET_LONG && !std::mem::replace(&mut quiet.let_go, true) {
            memory::let_go_of_program();
        }
    }

    /// What a flood of bodies took is given back once it is over: buffers, compression contexts, pages of the index.
    fn rest(&mut self) {
        self.content.rest();
        self.log.rest();
        self.batch.rest();
        self.joins.rest();
        self.index.rest();
        (self.notes, self.parts) = (Vec::new(), Vec::new());
        memory::release();
    }

    /// One look at the rings: take, and write the batch if it is due. Returns whether there was anything to do.
    pub fn turn(&mut self, now: Moment) -> bool {
        let mut worked = false;
        if self.stage == Stage::Gathering {
            worked = self.gather(now);
            if self.is_due(now) {
                self.close_batch(now);
            }
        } else {
            self.consumers.iter_mut().for_each(|consumer| self.untold.add(consumer.losses()));
        }
        worked |= self.write(now);
        if self.balances.is_urgent(now) {
            self.write_balances(now);
        }
        self.mend_index(now);
        self.joins.forget_old(now);
        self.show(now);
        worked
    }

    /// Take and write everything there is, trying for a while if it cannot be written. For a clean end, and for tests.
    pub fn finish(&mut self) {
        let give_up_at = clock::now().plus(LAST_TRY_FOR);
        loop {
            let now = clock::now();
            if self.stage == Stage::Gathering {
                let took = self.gather(now);
                if !took && self.batch.is_empty() {
                    break;
                }
                self.close_batch(now);
            }
            self.write(now);
            if self.stage != Stage::Gathering {
                if now >= give_up_at {
                    self.give_up(now);
                    continue;
                }
                clock::pause(Duration::from_millis(20));
            }
        }
        let now = clock::now();
        self.write_balances(now);
        // The last try waits for nothing: whoever reads the store next would miss what it lacks until the next start.
        self.index_retry_at = self.index_retry_at.map(|_| now);
        self.mend_index(now);
        self.show(now);
    }

    fn close_batch(&mut self, now: Moment) {
        self.commit_began = clock::now();
        self.write_balances(now);
        self.stage = Stage::Content { since: now, next: now };
    }

    // Writing.

    /// Bring a closed batch as far as the disk lets us. Returns whether anything was tried.
    fn write(&mut self, now: Moment) -> bool {
        let mut tried = false;
        if let Stage::Content { since, next } = self.stage
            && now >= next
        {
            tried = true;
            self.stage = match self.write_content() {
                Ok(()) => Stage::Log { since: now, next: now },
                Err(e) if now.since(since) < self.options.retry_content_for => {
                    self.note_failure(Place::Content, &e);
                    Stage::Content { since, next: now.plus(RETRY_PAUSE) }
                }
                Err(e) => {
                    self.note_failure(Place::Content, &e);
                    self.shed_content();
                    Stage::Log { since: now, next: now }
                }
            };
        }
        if let Stage::Log { since, next } = self.stage
            && now >= next
        {
            tried = true;
            match self.write_log() {
                Ok(()) => self.settle_batch(now),
                Err(e) if now.since(since) < self.options.retry_for => {
                    self.note_failure(Place::Log, &e);
                    self.stage = Stage::Log { since, next: now.plus(RETRY_PAUSE) };
                }
                Err(e) => {
                    self.note_failure(Place::Log, &e);
                    self.lose_batch(now);
                }
            }
        }
        tried
    }

    fn write_content(&mut self) -> io::Result<()> {
        self.content.seal()?;
        if self.content.bytes().is_empty() {
            return Ok(());
        }
        self.content_files.append(self.content.bytes())
    }

    /// Content cannot be written: the records go without it, and say so.
    fn shed_content(&mut self) {
        let base = self.content.base();
        let parts = self.joins.shed_from(base);
        self.batch.shed_parts(parts);
        self.batch.shed_from(base);
        self.content.abandon();
    }

    fn write_log(&mut self) -> io::Result<()> {
        if self.log.raw_total() == 0 {
            // Half-made lines must not be made twice.
            self.make_lines().inspect_err(|_| self.log.abandon())?;
        }
        if self.log.bytes().is_empty() {
            return Ok(());
        }
        self.log_files.append(self.log.bytes())
    }

    fn make_lines(&mut self) -> io::Result<()> {
        self.batch.write_lines(&mut self.joins, &mut self.log)?;
        self.log.seal()
    }

    /// The batch is durable: index it, tell whoever watches, give room back.
    fn settle_batch(&mut self, now: Moment) {
        self.batch.acknowledge(self.log.head().next);
        if !self.log.bytes().is_empty() {
            self.count_batch();
            self.index_batch(now);
        }
        self.told.merge(self.batch.losses());
        self.health.failing.store(self.index_retry_at.is_some(), Relaxed);
        self.end_batch(now);
        self.commit_took = clock::now().since(self.commit_began);
    }

    fn index_batch(&mut self, now: Moment) {
        if self.index_retry_at.is_some() {
            // It is behind already, and will read this batch from the log with the rest.
            return;
        }
        let position = Position { at: self.log_files.end(), head: self.log.head() };
        match self.index.apply(&self.batch.items(), position) {
            Ok(cursors) => self.tail.publish(self.batch.take_rows(cursors)),
            Err(e) => self.index_failed(&e, now),
        }
    }

    /// The batch could not be written in the time it had: its records are lost, and counted.
    fn lose_batch(&mut self, now: Moment) {
        self.log.abandon();
        self.untold.merge(self.batch.all_lost());
        self.end_batch(now);
    }

    fn give_up(&mut self, now: Moment) {
        if matches!(self.stage, Stage::Content { .. }) {
            self.shed_content();
        }
        match self.write_log() {
            Ok(()) => self.settle_batch(now),
            Err(e) => {
                self.note_failure(Place::Log, &e);
                self.lose_batch(now);
                // Nobody will come back for it: what could not be told in the log stands in the live count alone.
                self.clear_batch();
            }
        }
    }

    fn end_batch(&mut self, now: Moment) {
        for (consumer, bytes) in self.consumers.iter().zip(self.batch.room_held()) {
            consumer.give_back(*bytes);
        }
        self.begin_batch();
        let untold = std::mem::take(&mut self.untold);
        if !untold.is_none() {
            self.batch.carry(untold);
            self.batch.touch(now);
        }
    }

    fn begin_batch(&mut self) {
        self.clear_batch();
        self.content.begin(self.content_files.place());
        self.log.begin(self.log_files.place());
        self.stage = Stage::Gathering;
    }

    fn clear_batch(&mut self) {
        let consumers = &mut self.consumers;
        self.batch.clear(|open| {
            if let Some(consumer) = consumers.get_mut(usize::from(open.id.core())) {
                consumer.hand_back_note(Note::Open(open));
            }
        });
    }

    // Balances.

    fn write_balances(&mut self, now: Moment) {
        if let Err(e) = self.balances.write(now) {
            self.note_failure(Place::Balances, &e);
        }
    }

    // The index.

    fn index_failed(&mut self, error: &io::Error, now: Moment) {
        self.note_failure(Place::Index, error);
        self.index_retry_at = Some(now.plus(RETRY_PAUSE));
    }

    /// An index that failed catches up from the log.
    fn mend_index(&mut self, now: Moment) {
        if self.index_retry_at.is_none_or(|at| now < at) {
            return;
        }
        match log::catch_up(&self.layout, &mut self.index, self.log_files.end()) {
            Ok(_) => {
                self.index_retry_at = None;
                self.health.failing.store(self.stage != Stage::Gathering, Relaxed);
            }
            Err(e) => self.index_failed(&e, now),
        }
    }

    // Starting.

    /// What an earlier run left unfinished: torn tails are counted, exchanges without an end get their record.
    fn account_for_crash(
        &mut self,
        log_seen: &Survey,
        content_seen: &Survey,
        missing: u64,
    ) -> io::Result<()> {
        let now = clock::now();
        let tails_cut = u64::from(log_seen.torn_bytes > 0) + u64::from(content_seen.torn_bytes > 0);
        let loss = Loss { tails_cut, records: missing, ..Loss::default() };
        if !loss.is_none() {
            self.batch.carry(loss);
            self.batch.touch(now);
        }
        for (open, bodies) in self.index.left_open()? {
            self.batch.touch(now);
            self.batch.close(&mut lost_record(open, &bodies), &bodies);
        }
        if !self.batch.is_empty() {
            // A disk that is still full must not keep the gateway from serving: the loop tries again.
            self.close_batch(now);
            self.write(now);
        }
        Ok(())
    }

    // Health.

    fn count_batch(&self) {
        let health = &self.health;
        health.batches.fetch_add(1, Relaxed);
        health.records.fetch_add(self.batch.records(), Relaxed);
        health.bytes_raw.fetch_add(self.content.raw_total() + self.log.raw_total(), Relaxed);
        let stored = self.content.bytes().len() + self.log.bytes().len();
        health.bytes_stored.fetch_add(stored as u64, Relaxed);
    }

    fn show(&self, now: Moment) {
        let mut loss = self.told;
        loss.merge(self.batch.losses());
        loss.merge(self.untold);
        let lag = self.batch.since().map_or(Duration::ZERO, |since| now.since(since));
        let health = &self.health;
        health.lost_total.store(loss.records, Relaxed);
        health.shed_total.store(loss.parts, Relaxed);
        health.tails_cut_total.store(loss.tails_cut, Relaxed);
        health.lag_us.store(u64::try_from(lag.as_micros()).unwrap_or(u64::MAX), Relaxed);
        health.open.store(self.joins.opened() as u64, Relaxed);
        health.index_behind.store(u64::from(self.index_retry_at.is_some()), Relaxed);
    }

    fn note_failure(&self, place: Place, error: &io::Error) {
        self.health.note_failure(place, error);
    }
}

/// Listen for batches from other processes. A path too long for a socket is no reason not to serve.
fn listen(layout: &Layout) -> io::Result<Option<handover::Door>> {
    match handover::listen(&layout.socket()) {
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => Ok(None),
        door => door.map(Some),
    }
}

/// Different in every run; need not be secret.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests;
