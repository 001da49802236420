//! New exchanges wait while the writer is behind: a machine without a processor to spare serves a little later rather
//! than to lose records.
//!
//! ```text
//!   notes on the ring   0 ───────────── WAITING_MAX ────────────────────── full
//!   a new exchange      passes          waits until it falls, in order     what finds no slot is lost, and counted
//! ```
//!
//! What runs is never held up. A writer that takes nothing at all, since its disk is gone, is not waited for: serving
//! goes on then, and the ring is what remains.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use super::core::Core;
use super::io::sleep;
use crate::base::clock::{self, Moment};

/// Notes that may wait for the writer before new exchanges do; half as many exchanges. So few that their memory is used
/// again while it is warm, so many that a slow sync of the disk is not felt.
const WAITING_MAX: usize = 4096;
/// How often it is looked whether the writer has caught up.
const LOOK: Duration = Duration::from_millis(1);
/// A writer that takes nothing for so long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(1);
/// How often it is looked whether it still is.
const LOOK_WHEN_STUCK: Duration = Duration::from_millis(250);

/// The exchanges of one core that wait for its writer.
#[derive(Default)]
pub(super) struct Backlog {
    /// Somebody waits.
    begun: Notify,
    /// Opened for one after another.
    gate: Notify,
    waiting: Cell<usize>,
    stuck: Cell<bool>,
}

impl Core {
    /// Whether a new exchange is to wait: also where the writer has caught up, but others have waited longer.
    pub(super) fn must_wait(&self) -> bool {
        !self.lets_all_pass() && (self.backlog.waiting.get() > 0 || self.ring().is_behind(WAITING_MAX))
    }

    fn lets_all_pass(&self) -> bool {
        self.backlog.stuck.get() || self.is_draining()
    }

    /// Wait for one's turn.
    pub(super) async fn caught_up(&self) {
        let backlog = &self.backlog;
        backlog.waiting.set(backlog.waiting.get() + 1);
        backlog.begun.notify_one();
        backlog.gate.notified().await;
        backlog.waiting.set(backlog.waiting.get() - 1);
    }

    /// As many as there is room for.
    fn let_through(&self) {
        let passing = match () {
            () if self.lets_all_pass() => usize::MAX,
            () if self.ring().is_behind(WAITING_MAX) => 0,
            // Each will put two.
            () => (WAITING_MAX - self.ring().notes_waiting()) / 2 + 1,
        };
        (0..passing.min(self.backlog.waiting.get())).for_each(|_| self.backlog.gate.notify_one());
    }
}

/// Let exchanges through as the writer catches up, for as long as the core lives.
pub(super) async fn keep_pace(core: Rc<Core>) {
    loop {
        core.backlog.begun.notified().await;
        let mut progress = Progress { taken: core.ring().notes_taken(), since: clock::now() };
        while core.backlog.waiting.get() > 0 || core.backlog.stuck.get() {
            sleep(if core.backlog.stuck.get() { LOOK_WHEN_STUCK } else { LOOK }).await;
            core.backlog.stuck.set(progress.is_stuck(core.ring().notes_taken(), clock::now()));
            core.let_through();
        }
    }
}

/// How many notes the writer had taken when it last took one.
struct Progress {
    taken: u64,
    since: Moment,
}

impl Progress {
    fn is_stuck(&mut self, taken: u64, now: Moment) -> bool {
        if taken != self.taken {
            *self = Progress { taken, since: now };
        }
        now.since(self.since) >= STUCK_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_is_stuck_only_while_it_takes_nothing() {
        let at = |ms: u64| Moment::default().plus(Duration::from_millis(ms));
        let mut progress = Progress { taken: 7, since: at(0) };
        assert!(!progress.is_stuck(7, at(999)));
        assert!(progress.is_stuck(7, at(1_000)));
        assert!(!progress.is_stuck(8, at(1_100)));
        assert!(!progress.is_stuck(8, at(2_000)) && progress.is_stuck(8, at(2_100)));
    }
}
