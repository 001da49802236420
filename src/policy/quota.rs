//! How much: budgets that requests draw on. Sans-io; all cores reserve on one atomic cell per bucket.
//!
//! ```text
//!            reserve (admission)                       settle (end)
//!   free ────── − predicted ──────▶ running ────── + predicted − true cost ─────▶ free
//!    ▲ refill: rate × time, until balance (free and reserved together) is at capacity
//! ```
//!
//! **How far a bucket can be overspent.** A reservation that does not fit is admitted only where nothing is reserved,
//! so `free` falls below zero by at most one reservation; a settlement takes it lower by what its exchange cost beyond
//! its prediction. A bucket is thus overspent by at most the true cost of one exchange, plus what the exchanges
//! running at that moment cost beyond their predictions; with `reserve: "max"` by one exchange.
//!
//! A core draws through its own [`Till`], which remembers where cells are: no lock, and no line shared with other cores
//! but the cell itself, is touched by a bucket that the core has seen before.
//!
//! Deliberately absent: time (handed in), prices (costs are handed in), machines (leases stand above this).

mod cell;
pub mod lease;
mod name;
pub mod predict;
pub mod settings;
mod standing;
mod till;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::snapshot::{Bucket, Snapshot};
use crate::base::clock::Wall;
pub use cell::{Balance, Cell};
pub use name::{Fill, as_far_as_known, is_by_group, is_of};
use settings::Unit;
pub use standing::Standing;
pub use till::{Drawn, Held, Pass, Refusal, Reservation, Till};

/// Cells kept; past it full and idle ones are forgotten, and if there are none the request is refused.
pub const CELLS_MAX: usize = 1 << 20;

/// What an exchange costs, or is predicted to cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Nanodollars; none: the model has no price.
    pub dollars: Option<i64>,
    /// Tokens in and out.
    pub tokens: i64,
    /// Requests: one, or none where nothing was executed.
    pub requests: i64,
}

impl Cost {
    /// Nothing was executed.
    pub const NOTHING: Cost = Cost { dollars: Some(0), tokens: 0, requests: 0 };

    /// In parts of a unit; an unpriced model costs nothing only where it was let pass as such.
    #[must_use]
    pub fn of(self, unit: Unit) -> i64 {
        match unit {
            Unit::Dollars => self.dollars.unwrap_or(0),
            Unit::Tokens => self.tokens,
            Unit::Requests => self.requests,
        }
        .max(0)
    }
}

/// Why a request is refused: 429.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// A bucket is empty.
    Empty {
        /// Its full name.
        bucket: String,
        /// When it will hold something again, in whole seconds, at least one.
        retry_after: Duration,
    },
    /// A dollar bucket, and a model without a price.
    Unpriced {
        /// The bucket's name.
        bucket: String,
    },
    /// The capability names a bucket that the file does not have.
    Missing {
        /// The name.
        bucket: String,
    },
    /// The store that machines share cannot be reached, and the lease is over.
    StoreGone {
        /// Its full name.
        bucket: String,
    },
    /// There are more buckets than are kept.
    TooMany {
        /// The full name of the one that found no place.
        bucket: String,
    },
}

impl Exceeded {
    /// The bucket that refused.
    #[must_use]
    pub fn bucket(&self) -> &str {
        match self {
            Exceeded::Empty { bucket, .. }
            | Exceeded::Unpriced { bucket }
            | Exceeded::Missing { bucket }
            | Exceeded::StoreGone { bucket }
            | Exceeded::TooMany { bucket } => bucket,
        }
    }

    /// When asking again may help, in whole seconds. What only an operator can mend: in a day.
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        match self {
            Exceeded::Empty { retry_after, .. } => *retry_after,
            Exceeded::Unpriced { .. } | Exceeded::Missing { .. } => cell::NO_REFILL,
            Exceeded::StoreGone { .. } => Duration::from_secs(5),
            Exceeded::TooMany { .. } => Duration::from_secs(60),
        }
    }
}

impl std::fmt::Display for Exceeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bucket = self.bucket();
        match self {
            Exceeded::Empty { retry_after, .. } => {
                write!(
                    f,
                    "quota {bucket} is used up; it holds something again in {} s",
                    retry_after.as_secs()
                )
            }
            Exceeded::Unpriced { .. } => {
                write!(f, "quota {bucket} counts dollars, and this model has no known price")
            }
            Exceeded::Missing { .. } => write!(f, "quota {bucket} is granted but not configured"),
            Exceeded::StoreGone { .. } => {
                write!(
                    f,
                    "quota {bucket} is shared, its store cannot be reached, and what was leased is spent"
                )
            }
            Exceeded::TooMany { .. } => write!(f, "quota {bucket} finds no place: too many are kept already"),
        }
    }
}

/// All balances, shared by the cores.
#[derive(Debug, Default)]
pub struct Budgets {
    cells: RwLock<HashMap<Box<str>, Arc<Cell>>>,
    /// Whether cells hold leases rather than the buckets themselves.
    shared: bool,
}

impl Budgets {
    /// The cell of a bucket, made full where there is none.
    fn cell(
        &self,
        full: &str,
        bucket: &Bucket,
        snapshot: &Snapshot,
        now: Wall,
    ) -> Result<Arc<Cell>, Exceeded> {
        if let Some(cell) = self.known(full) {
            return Ok(cell);
        }
        let mut cells = self.cells.write().unwrap_or_else(PoisonError::into_inner);
        if cells.len() >= CELLS_MAX {
            // A core that still knows a cell would go on with it beside the new one: only what none knows may go.
            cells.retain(|_, cell| Arc::strong_count(cell) > 1 || !is_full(cell, snapshot, now));
        }
        if cells.len() >= CELLS_MAX {
            return Err(Exceeded::TooMany { bucket: full.to_owned() });
        }
        let fresh = || {
            Arc::new(match self.shared {
                true => Cell::leased(full, &bucket.name, now),
                false => Cell::new(full, &bucket.name, bucket.capacity, now),
            })
        };
        Ok(Arc::clone(cells.entry(full.into()).or_insert_with(fresh)))
    }

    fn known(&self, full: &str) -> Option<Arc<Cell>> {
        self.cells.read().unwrap_or_else(PoisonError::into_inner).get(full).cloned()
    }

    /// Put an amount into a bucket by hand, up to its capacity. What it holds then; none where nobody has drawn on it
    /// or the configuration has it no more.
    pub fn refill(&self, full: &str, amount: i64, snapshot: &Snapshot, now: Wall) -> Option<Balance> {
        let cell = self.known(full)?;
        let bucket = snapshot.bucket(cell.template())?;
        cell.credit(amount, bucket, now);
        Some(cell.balance())
    }

    /// Every balance as it stands at `now`, by name.
    #[must_use]
    pub fn balances(&self, snapshot: &Snapshot, now: Wall) -> Vec<Balance> {
        let cells: Vec<_> =
            self.cells.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let look = |cell: &Arc<Cell>| {
            if let Some(bucket) = snapshot.bucket(cell.template()) {
                cell.refill(bucket, now);
            }
            cell.balance()
        };
        let mut balances: Vec<_> = cells.iter().map(look).collect();
        balances.sort_by(|a, b| a.bucket.cmp(&b.bucket));
        balances
    }

    /// How many buckets there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.cells.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// One balance, as it is, for the store of this machine: a lease is nothing to keep.
    #[must_use]
    pub fn balance(&self, full: &str) -> Option<Balance> {
        self.known(full).filter(|cell| !cell.is_leased()).map(|cell| cell.balance())
    }

    /// Take balances from the store, before anybody reserves. What was reserved when they were written and not
    /// settled since is charged: it may have been spent. Names of those that time has filled up: not worth keeping.
    pub fn restore(
        &self,
        balances: impl IntoIterator<Item = Balance>,
        snapshot: &Snapshot,
        now: Wall,
    ) -> Vec<String> {
        let mut cells = self.cells.write().unwrap_or_else(PoisonError::into_inner);
        let mut full = Vec::new();
        for kept in balances {
            let left = kept.balance.saturating_sub(kept.reserved);
            let cell = Cell::new(&kept.bucket, &kept.template, left, kept.refilled);
            // A bucket that is configured no more may be so again tomorrow.
            if snapshot.bucket(&kept.template).is_some_and(|bucket| cell.is_idle_and_full(bucket, now)) {
                full.push(kept.bucket);
            } else if cells.len() < CELLS_MAX {
                cells.insert(kept.bucket.into(), Arc::new(cell));
            }
        }
        full
    }
}

/// Whether forgetting it would change nothing. One whose bucket is configured no more holds nothing for anybody.
fn is_full(cell: &Cell, snapshot: &Snapshot, now: Wall) -> bool {
    snapshot.bucket(cell.template()).is_none_or(|bucket| cell.is_idle_and_full(bucket, now))
}

#[cfg(test)]
mod tests;
