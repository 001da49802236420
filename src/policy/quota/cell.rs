//! One bucket's state: three atomics that all cores share.
//!
//! ```text
//!   balance   what it holds ──── refill and credit raise it, a settlement takes the true cost off
//!   reserved  promised of it ─── an admission raises it, a settlement takes the promise off
//!   free      balance − reserved, never stored: an admission needs it, and refill does not care
//! ```
//!
//! No two are ever changed together, so the order matters: a settlement takes its cost off before its promise. Whoever
//! looks in between sees less than there is, never more.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::clock::Wall;
use crate::policy::snapshot::Bucket;

/// What a bucket holds. What it may hold stands in the snapshot, so that a new snapshot acts at once.
#[derive(Debug)]
#[repr(align(64))]
pub struct Cell {
    /// What it holds. Falls below zero by overshoot alone.
    balance: AtomicI64,
    /// Sum of reservations.
    reserved: AtomicI64,
    /// Up to when refill has been credited.
    refilled: AtomicU64,
    /// Up to when what it holds may be spent, where that is leased from the store that machines share.
    lease_until: AtomicU64,
    /// What the store still held when it was last heard of; [`NEVER_HEARD`] before that.
    in_store: AtomicI64,
    leased: bool,
    /// Full name, and the name as configured.
    name: Box<str>,
    template: Box<str>,
}

/// A balance as kept in the store and shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// Full name of the bucket.
    pub bucket: String,
    /// Its name as configured, templates and all.
    pub template: String,
    /// What it holds, reservations not taken off.
    pub balance: i64,
    /// What is reserved: charged after a crash, since it may have been spent.
    pub reserved: i64,
    /// When it was last refilled.
    pub refilled: Wall,
}

/// No word of the store yet. Below any debt that could be.
const NEVER_HEARD: i64 = i64::MIN;

/// What a bucket without refill says: come back in a day.
pub(super) const NO_REFILL: Duration = Duration::from_secs(86_400);

impl Cell {
    pub(super) fn new(name: &str, template: &str, balance: i64, now: Wall) -> Self {
        Self {
            balance: AtomicI64::new(balance),
            reserved: AtomicI64::new(0),
            refilled: AtomicU64::new(now),
            lease_until: AtomicU64::new(0),
            in_store: AtomicI64::new(NEVER_HEARD),
            leased: false,
            name: name.into(),
            template: template.into(),
        }
    }

    /// One that holds only what is leased: nothing yet.
    pub(super) fn leased(name: &str, template: &str, now: Wall) -> Self {
        Self { leased: true, ..Self::new(name, template, 0, now) }
    }

    /// Whether it holds a lease rather than the bucket itself.
    #[must_use]
    pub fn is_leased(&self) -> bool {
        self.leased
    }

    /// Whether what it holds may be spent at `now`.
    pub(super) fn is_good(&self, now: Wall) -> bool {
        !self.leased || now < self.lease_until.load(Ordering::Acquire)
    }

    /// Take `amount` only if the lease is good and holds it.
    pub(super) fn reserve_from_lease(&self, amount: i64, now: Wall) -> bool {
        self.is_good(now) && self.take(amount, false)
    }

    /// Take `amount` though no lease holds it: once, until the store has taken that debt on, and not where it was empty.
    pub(super) fn reserve_on_credit(&self, amount: i64) -> bool {
        self.free() >= 0 && self.in_store().is_none_or(|held| held > 0) && self.force(amount)
    }

    /// The store has granted so much more, and holds so much still.
    pub(super) fn lease(&self, granted: i64, in_store: i64, until: Wall) {
        self.balance.fetch_add(granted, Ordering::AcqRel);
        self.in_store.store(in_store, Ordering::Release);
        self.lease_until.store(until, Ordering::Release);
    }

    /// What the store held when it was last heard of.
    #[must_use]
    pub fn in_store(&self) -> Option<i64> {
        Some(self.in_store.load(Ordering::Acquire)).filter(|held| *held != NEVER_HEARD)
    }

    /// Take out what is beyond `keep`, to be given back; less than nothing: a debt, which is taken on by the store.
    pub(super) fn take_back(&self, keep: i64) -> i64 {
        let mut back = 0;
        let rest = |balance: i64| {
            let free = balance.saturating_sub(self.reserved.load(Ordering::Acquire));
            back = if free < 0 { free } else { free.saturating_sub(keep).max(0) };
            Some(balance - back)
        };
        let _ = self.balance.fetch_update(Ordering::AcqRel, Ordering::Acquire, rest);
        back
    }

    /// What was taken out to be given back could not be.
    pub(super) fn put_back(&self, back: i64) {
        self.balance.fetch_add(back, Ordering::AcqRel);
    }

    /// Whether nothing is reserved and the lease is over.
    pub(super) fn is_over(&self, now: Wall) -> bool {
        self.leased && self.reserved.load(Ordering::Acquire) == 0 && !self.is_good(now)
    }

    /// Full name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name as configured.
    #[must_use]
    pub fn template(&self) -> &str {
        &self.template
    }

    /// Balance less reservations.
    #[must_use]
    pub fn free(&self) -> i64 {
        let reserved = self.reserved.load(Ordering::Acquire);
        self.balance.load(Ordering::Acquire).saturating_sub(reserved)
    }

    /// Take `amount`, if it fits or if the bucket holds something and nothing else is reserved.
    pub(super) fn reserve(&self, bucket: &Bucket, amount: i64, now: Wall) -> bool {
        self.refill(bucket, now);
        self.take(amount, true)
    }

    fn take(&self, amount: i64, alone_fits: bool) -> bool {
        loop {
            let reserved = self.reserved.load(Ordering::Acquire);
            let balance = self.balance.load(Ordering::Acquire);
            let free = balance.saturating_sub(reserved);
            let alone = reserved == 0;
            if free <= 0 || (free < amount && !(alone && alone_fits)) {
                return false;
            }
            let sum = reserved.saturating_add(amount);
            if self.reserved.compare_exchange(reserved, sum, Ordering::AcqRel, Ordering::Acquire).is_err() {
                continue;
            }
            // The same sum can stand there with other exchanges behind it, whose forerunners have been paid meanwhile.
            if alone || balance <= self.balance.load(Ordering::Acquire) || self.free() >= 0 {
                return true;
            }
            self.reserved.fetch_sub(amount, Ordering::AcqRel);
        }
    }

    /// Take `amount` whatever is there. Always done.
    pub(super) fn force(&self, amount: i64) -> bool {
        self.reserved.fetch_add(amount, Ordering::AcqRel);
        true
    }

    /// Give back what was reserved and take what it cost.
    pub(super) fn settle(&self, reserved: i64, cost: i64) {
        self.balance.fetch_sub(cost, Ordering::AcqRel);
        self.reserved.fetch_sub(reserved, Ordering::AcqRel);
    }

    /// Put an amount in, up to the capacity.
    pub(super) fn credit(&self, amount: i64, bucket: &Bucket, now: Wall) {
        self.refill(bucket, now);
        self.add(amount.max(0), bucket.capacity);
    }

    fn add(&self, amount: i64, capacity: i64) {
        let sum = |balance: i64| Some(balance.saturating_add(amount).min(capacity));
        let _ = self.balance.fetch_update(Ordering::AcqRel, Ordering::Acquire, sum);
    }

    /// Credit what time has brought. Whoever moves the stamp credits; nothing is credited twice.
    pub(super) fn refill(&self, bucket: &Bucket, now: Wall) {
        if self.leased {
            return;
        }
        // A lowered capacity caps what is there.
        if self.balance.load(Ordering::Acquire) > bucket.capacity {
            self.balance.fetch_min(bucket.capacity, Ordering::AcqRel);
        }
        let stamp = self.refilled.load(Ordering::Acquire);
        let Some((amount, until)) = brought(bucket, stamp, now) else { return };
        if self.refilled.compare_exchange(stamp, until, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.add(amount, bucket.capacity);
        }
    }

    /// When it will hold something again, in whole seconds.
    pub(super) fn retry_after(&self, bucket: &Bucket) -> Duration {
        let missing = 1_i64.saturating_sub(self.free()).max(1);
        if bucket.refill <= 0 || bucket.refill_per.is_zero() {
            return NO_REFILL;
        }
        let seconds = i128::from(missing)
            * i128::try_from(bucket.refill_per.as_nanos()).unwrap_or(i128::MAX / 2)
            / (i128::from(bucket.refill) * 1_000_000_000)
            + 1;
        Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX).min(31_536_000))
    }

    /// Whether forgetting it would change nothing.
    pub(super) fn is_idle_and_full(&self, bucket: &Bucket, now: Wall) -> bool {
        if self.leased {
            return self.is_over(now) && self.free() == 0;
        }
        self.refill(bucket, now);
        self.reserved.load(Ordering::Acquire) == 0 && self.free() >= bucket.capacity
    }

    /// As it stands. Of a lease: what this machine and, when it was last heard of, the store hold together.
    #[must_use]
    pub fn balance(&self) -> Balance {
        let in_store = self.in_store().unwrap_or(0);
        Balance {
            bucket: self.name.to_string(),
            template: self.template.to_string(),
            reserved: self.reserved.load(Ordering::Acquire),
            balance: self.balance.load(Ordering::Acquire).saturating_add(in_store),
            refilled: self.refilled.load(Ordering::Acquire),
        }
    }
}

/// What time brings a bucket, and up to when that counts. Whole parts only; the rest of the time is kept for later.
fn brought(bucket: &Bucket, stamp: Wall, now: Wall) -> Option<(i64, Wall)> {
    let per = i128::try_from(bucket.refill_per.as_micros()).ok().filter(|per| *per > 0)?;
    let refill = i128::from(bucket.refill);
    let elapsed = i128::from(now.saturating_sub(stamp));
    let amount = elapsed * refill / per;
    if amount <= 0 {
        return None;
    }
    // Longer than it takes to fill it up: the rest is of no use.
    let capacity = i128::from(bucket.capacity.max(1));
    if amount >= capacity {
        return Some((bucket.capacity, now));
    }
    // Rounded up, so that fractions are lost rather than credited twice.
    let used = (amount * per + refill - 1) / refill;
    let until = stamp.saturating_add(u64::try_from(used).unwrap_or(0)).min(now);
    Some((i64::try_from(amount).unwrap_or(bucket.capacity), until))
}
