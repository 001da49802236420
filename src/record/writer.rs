//! The loop: take from all rings → batch → segments → index → live tail.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::health::WriterHealth;
use super::record::{CapturePart, Note};
use super::store::RequestRow;
use crate::base::clock::Moment;
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
    /// … or when its first note is this old.
    pub batch_age: Duration,
    /// zstd level.
    pub level: i32,
    /// A log segment is closed at this size.
    pub log_segment_bytes: u64,
    /// A content segment is closed at this size.
    pub content_segment_bytes: u64,
    /// Longest body kept; the rest of it is shed and the record says so.
    pub body_bytes_max: u64,
    /// Small pieces of unfinished bodies held in memory, in sum; over it they are written out as they stand.
    pub pending_bytes_max: usize,
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
            batch_age: Duration::from_millis(200),
            level: 3,
            log_segment_bytes: 64 << 20,
            content_segment_bytes: 256 << 20,
            body_bytes_max: 64 << 20,
            pending_bytes_max: 64 << 20,
            retry_for: Duration::from_secs(30),
            poll: (Duration::from_millis(1), Duration::from_millis(5)),
            socket: true,
        }
    }
}

/// The recording side of the gateway. Owned by one thread.
pub struct Writer {
    health: Arc<WriterHealth>,
    tail: TailDoor,
}

impl Writer {
    /// Lock the store in `dir`, repair what a crash left, and be ready to take.
    pub fn open(_dir: &Path, _consumers: Vec<Consumer>, _options: Options) -> io::Result<Writer> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// How it is doing, for others.
    #[must_use]
    pub fn health(&self) -> Arc<WriterHealth> {
        self.health.clone()
    }

    /// Where to subscribe to records as they become durable.
    #[must_use]
    pub fn tail(&self) -> TailDoor {
        self.tail.clone()
    }

    /// Run until `stop`, then take and write what is left.
    pub fn run(self, _stop: &AtomicBool) {}

    /// One look at the rings: take, and close the batch if it is due. Returns whether there was anything to do.
    pub fn turn(&mut self, _now: Moment) -> bool {
        false
    }
}

/// Where the live tail is subscribed to. Clones freely; subscribing never blocks the writer.
#[derive(Clone)]
pub struct TailDoor {
    door: crossbeam_channel::Sender<crossbeam_channel::Sender<Arc<RequestRow>>>,
}

impl TailDoor {
    /// Rows as they become durable. A subscriber that falls `rows_max` behind misses rows rather than delaying anyone.
    #[must_use]
    pub fn subscribe(&self, rows_max: usize) -> crossbeam_channel::Receiver<Arc<RequestRow>> {
        let (send, receive) = crossbeam_channel::bounded(rows_max.max(1));
        // A full door or a writer that is gone leaves a receiver that is disconnected: the caller sees it at once.
        let _ = self.door.try_send(send);
        receive
    }
}
