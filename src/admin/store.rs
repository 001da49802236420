//! Looks into the store: on other threads, a few at a time, never on the control loop.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use super::reply::Problem;
use crate::record::store::Reader;

/// Looks under way at once, and those that may wait for a turn.
const LOOKS_MAX: usize = 3;
const WAITING_MAX: usize = 64;

/// The way to the store.
pub(super) struct Store {
    data: PathBuf,
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Store {
    pub(super) fn new(data: PathBuf) -> Self {
        Store { data, turns: Arc::new(Semaphore::new(LOOKS_MAX)), waiting: AtomicUsize::new(0) }
    }

    /// Look into the store. Opened for each look: an index that was made anew is seen at once, and no reader holds on
    /// to a snapshot of it.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        how: impl FnOnce(&Reader) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Problem> {
        let turn = self.turn().await?;
        let data = self.data.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            how(&Reader::open(&data)?)
        });
        match looked.await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(why)) => Err(Problem::new(503, "the store cannot be read").detail(why.to_string())),
            Err(_) => Err(Problem::new(500, "a look into the store failed")),
        }
    }

    async fn turn(&self) -> Result<tokio::sync::OwnedSemaphorePermit, Problem> {
        let busy = || Problem::new(503, "too many questions at once").detail("ask again in a moment");
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(busy());
        }
        let turn = self.turns.clone().acquire_owned().await;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        turn.map_err(|_| busy())
    }
}
