//! The time put into stamped events. With `bin`: CLOCK_MONOTONIC, comparable between processes of one machine.
//! Without: since first use in this process, comparable only within it.

/// Nanoseconds now. Always fits the nineteen digits of a stamp.
#[cfg(feature = "bin")]
pub fn stamp_ns() -> u64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// Nanoseconds now. Always fits the nineteen digits of a stamp.
#[cfg(not(feature = "bin"))]
pub fn stamp_ns() -> u64 {
    use std::sync::OnceLock;
    use std::time::Instant;
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    EPOCH.get_or_init(Instant::now).elapsed().as_nanos() as u64
}
