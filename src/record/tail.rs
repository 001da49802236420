//! The live tail: records as they become durable, to whoever watches. Nobody who watches can delay the writer.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TrySendError};

use super::store::RequestRow;

/// Most subscriptions that may wait to be seen.
const WAITING_MAX: usize = 64;

/// The writer's end.
pub(super) struct Tail {
    door: Sender<Sender<Arc<RequestRow>>>,
    wanted: Receiver<Sender<Arc<RequestRow>>>,
    subscribers: Vec<Sender<Arc<RequestRow>>>,
}

impl Tail {
    pub(super) fn new() -> Tail {
        let (door, wanted) = crossbeam_channel::bounded(WAITING_MAX);
        Tail { door, wanted, subscribers: Vec::new() }
    }

    pub(super) fn door(&self) -> TailDoor {
        TailDoor { door: self.door.clone() }
    }

    pub(super) fn publish(&mut self, rows: impl Iterator<Item = RequestRow>) {
        self.subscribers.extend(self.wanted.try_iter());
        if self.subscribers.is_empty() {
            return;
        }
        let rows: Vec<Arc<RequestRow>> = rows.map(Arc::new).collect();
        self.subscribers.retain(|subscriber| {
            // One that is full misses rows; one that is gone is forgotten.
            rows.iter()
                .all(|row| !matches!(subscriber.try_send(row.clone()), Err(TrySendError::Disconnected(_))))
        });
    }
}

/// Where the live tail is subscribed to. Clones freely; subscribing never blocks the writer.
#[derive(Clone)]
pub struct TailDoor {
    door: Sender<Sender<Arc<RequestRow>>>,
}

impl TailDoor {
    /// Rows as they become durable. A subscriber that falls `rows_max` behind misses rows rather than delaying anyone.
    #[must_use]
    pub fn subscribe(&self, rows_max: usize) -> Receiver<Arc<RequestRow>> {
        let (send, receive) = crossbeam_channel::bounded(rows_max.max(1));
        // A full door or a writer that is gone leaves a receiver that is disconnected: the caller sees it at once.
        let _ = self.door.try_send(send);
        receive
    }
}
