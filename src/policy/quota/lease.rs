//! Quotas across machines: the bucket is in a store that all share, and each machine spends leases on it.
//!
//! ```text
//!            ask: need, and a slice of the capacity more            reserve, settle: as ever, on the lease
//!   store ────────────────────────────────────────────▶ cell ────────────────────────────────────────────▶ exchanges
//!     ▲  refilled there alone                            │
//!     └──── idle for as long as a lease lasts, or a debt ┘
//! ```
//!
//! **How far a shared bucket can be overspent.** What is leased is gone from the store, so no two machines spend the same.
//! Each machine overspends its lease as a single one does its bucket: by the true cost of one exchange, and by what its
//! running exchanges cost beyond their predictions; that debt is handed to the store within a second. A machine that dies
//! takes its lease with it: at most a [`SLICE`]th of the capacity, or what one exchange needed, counts as spent; a debt
//! of its last second, of the same bound, is forgotten. While the
//! store cannot be reached a machine spends its lease and no more, unless the bucket is `fail_open`. A store that comes
//! back empty is filled up to what the machine that asks first had last heard of it.
//!
//! Deliberately absent: sockets and the store's language. What is asked is handed out, what was answered handed in.

use std::sync::Arc;
use std::time::Duration;

use super::cell::Cell;
use super::{Budgets, Exceeded};
use crate::base::clock::Wall;
use crate::policy::snapshot::{Bucket, Snapshot};

/// A machine leases this part of the capacity beyond what it needs, as long as the store has plenty.
pub const SLICE: i64 = 32;

/// The store that machines share.
#[derive(Clone, PartialEq, Eq)]
pub struct QuotaStore {
    /// Where it is, credential included.
    pub url: String,
    /// What its keys begin with.
    pub prefix: String,
    /// How long a lease lasts.
    pub lease: Duration,
}

impl std::fmt::Debug for QuotaStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuotaStore")
            .field("prefix", &self.prefix)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

/// An exchange needs more than is leased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// Full name of the bucket.
    pub bucket: String,
    /// Its name as configured.
    pub template: String,
    /// What the exchange is expected to cost, in parts of its unit.
    pub amount: i64,
}

/// What the store is asked about one bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreAsk {
    /// Full name.
    pub bucket: String,
    /// Given back; below zero: a debt.
    pub back: i64,
    /// What is needed at least; 0: nothing.
    pub need: i64,
    /// What is wanted where there is plenty.
    pub want: i64,
    /// What the store held when it was last heard of.
    pub known: Option<i64>,
    /// The bucket's terms.
    pub capacity: i64,
    /// Refill: this much …
    pub refill: i64,
    /// … in so many microseconds.
    pub per_us: i64,
}

/// What it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreAnswer {
    /// Leased to this machine.
    pub granted: i64,
    /// What is left.
    pub left: i64,
}

impl StoreAsk {
    fn about(cell: &Cell, bucket: &Bucket) -> StoreAsk {
        StoreAsk {
            bucket: cell.name().to_owned(),
            back: 0,
            need: 0,
            want: 0,
            known: cell.in_store(),
            capacity: bucket.capacity,
            refill: bucket.refill,
            per_us: i64::try_from(bucket.refill_per.as_micros()).unwrap_or(i64::MAX),
        }
    }

    /// An amount put in by hand.
    #[must_use]
    pub fn refill(cell: &Cell, bucket: &Bucket, amount: i64) -> StoreAsk {
        StoreAsk { back: amount, ..StoreAsk::about(cell, bucket) }
    }
}

impl Budgets {
    /// Budgets that are leased from a store.
    #[must_use]
    pub fn shared() -> Self {
        Self { shared: true, ..Self::default() }
    }

    /// Whether buckets are leased from a store.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    /// A bucket's cell by its full name, and its terms.
    #[must_use]
    pub fn find<'s>(&self, full: &str, snapshot: &'s Snapshot) -> Option<(Arc<Cell>, &'s Bucket)> {
        let cell = self.known(full)?;
        let bucket = snapshot.bucket(cell.template())?;
        Some((cell, bucket))
    }

    /// What to ask the store so that an exchange fits; none where it fits by now.
    pub fn ask_for(&self, want: &Want, snapshot: &Snapshot, now: Wall) -> Result<Option<StoreAsk>, Exceeded> {
        let missing = || Exceeded::Missing { bucket: want.template.clone() };
        let bucket = snapshot.bucket(&want.template).ok_or_else(missing)?;
        let cell = self.cell(&want.bucket, bucket, snapshot, now)?;
        let free = cell.free();
        if cell.is_good(now) && free > 0 && free >= want.amount {
            return Ok(None);
        }
        let back = if free < 0 { cell.take_back(i64::MAX) } else { 0 };
        let need = want.amount.max(1).saturating_sub(free.max(0));
        let slice = bucket.capacity / SLICE;
        Ok(Some(StoreAsk { back, need, want: need.saturating_add(slice), ..StoreAsk::about(&cell, bucket) }))
    }

    /// The store has answered; the lease lasts until then.
    pub fn answered(&self, ask: &StoreAsk, answer: StoreAnswer, until: Wall) {
        if let Some(cell) = self.known(&ask.bucket) {
            cell.lease(answer.granted, answer.left, until);
        }
    }

    /// The store could not be asked.
    pub fn unanswered(&self, ask: &StoreAsk) {
        if let Some(cell) = self.known(&ask.bucket) {
            cell.put_back(ask.back);
        }
    }

    /// Whether anything of a bucket is leased, running or owed.
    #[must_use]
    pub fn is_leased(&self, full: &str, now: Wall) -> bool {
        self.known(full).is_some_and(|cell| !cell.is_over(now) || cell.free() != 0)
    }

    /// What to give back, of these buckets: leases that are over with nothing running on them, and every debt. With
    /// `everything` every lease.
    pub fn to_give_back<'n>(
        &self,
        names: impl IntoIterator<Item = &'n str>,
        snapshot: &Snapshot,
        now: Wall,
        everything: bool,
    ) -> Vec<StoreAsk> {
        let give = |name: &str| {
            let (cell, bucket) = self.find(name, snapshot)?;
            let keep = if everything || cell.is_over(now) { 0 } else { i64::MAX };
            let back = cell.take_back(keep);
            (back != 0).then(|| StoreAsk { back, ..StoreAsk::about(&cell, bucket) })
        };
        names.into_iter().filter_map(give).collect()
    }
}

#[cfg(test)]
mod tests;
