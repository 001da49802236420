//! The only reader of time; everyone else is handed `now`.
//!
//! Two clocks, never mixed: [`Moment`] is monotonic (durations, deadlines), [`Wall`] is the calendar (records).

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A monotonic instant, in nanoseconds since this process first asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// Time from `earlier` to this moment, zero if `earlier` is later (clocks of two cores may differ by a tick).
    #[must_use]
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This moment, `after` later.
    #[must_use]
    pub fn plus(self, after: Duration) -> Moment {
        Moment(self.0.saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Microseconds since the Unix epoch, UTC.
pub type Wall = u64;

/// The monotonic clock, now.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this file is the one reader of time")]
pub fn now() -> Moment {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = *START.get_or_init(Instant::now);
    // Instant never runs backwards, and 2^64 ns are 584 years.
    Moment(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

/// The calendar, now. A clock before 1970 reads as 0 rather than as a panic.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this file is the one reader of time")]
pub fn wall() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Block this thread. Only for threads that serve nobody (writer, demo agents), never on a core.
#[expect(clippy::disallowed_methods, reason = "the one named place where a thread may sleep")]
pub fn pause(for_how_long: Duration) {
    std::thread::sleep(for_how_long);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_order_and_never_underflow() {
        let a = now();
        let b = now();
        assert!(b >= a);
        assert_eq!(a.since(a.plus(Duration::from_secs(1))), Duration::ZERO);
        assert_eq!(a.plus(Duration::from_millis(3)).since(a), Duration::from_millis(3));
    }
}
