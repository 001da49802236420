//! How much: budgets that requests draw on. Sans-io; all cores reserve on one atomic cell per bucket.
//!
//! ```text
//!            reserve (admission)                       settle (end)
//!   free ────── − predicted ──────▶ running ────── + predicted − true cost ─────▶ free
//!    ▲ refill: rate × time, never past capacity − reserved
//! ```
//!
//! **How far a bucket can be overspent.** A reservation that does not fit is admitted only where nothing is reserved,
//! so `free` falls below zero by at most one reservation; a settlement takes it lower by what its exchange cost beyond
//! its prediction. A bucket is thus overspent by at most the true cost of one exchange, plus what the exchanges
//! running at that moment cost beyond their predictions; with `reserve: "max"` by one exchange.
//!
//! Deliberately absent: time (handed in), prices (costs are handed in), machines (leases stand above this).

mod cell;
pub mod predict;
pub mod settings;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::snapshot::Bucket;
use crate::base::clock::Wall;
pub use cell::Cell;
use settings::{OnExceed, Unit};

/// Cells kept; past it full and idle ones are forgotten, and if there are none the request is refused.
pub const CELLS_MAX: usize = 1 << 20;

/// What fills the templates of bucket names.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fill<'a> {
    /// `<user>`: the principal.
    pub user: &'a str,
    /// `<node>`
    pub node: Option<&'a str>,
    /// `<group>`: every group has its own bucket, and all of them count.
    pub groups: &'a [&'a str],
    /// `<agent>`: a claim of the client.
    pub agent: Option<&'a str>,
    /// `<session>`: a claim of the client.
    pub session: Option<&'a str>,
    /// `<model>`
    pub model: Option<&'a str>,
}

/// What an exchange costs, or is predicted to cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Nanodollars; none: the model has no price.
    pub dollars: Option<i64>,
    /// Tokens in and out.
    pub tokens: i64,
}

impl Cost {
    /// In parts of a unit; an unpriced model costs nothing only where it was let pass as such.
    fn of(self, unit: Unit) -> i64 {
        match unit {
            Unit::Dollars => self.dollars.unwrap_or(0),
            Unit::Tokens => self.tokens,
            Unit::Requests => 1,
        }
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
        /// The bucket's full name.
        bucket: String,
    },
    /// The capability names a bucket that the file does not have.
    Missing {
        /// The name.
        bucket: String,
    },
    /// There are more buckets than are kept.
    TooMany,
}

/// All balances, shared by the cores.
#[derive(Debug, Default)]
pub struct Budgets {
    cells: RwLock<HashMap<Box<str>, Arc<Cell>>>,
}

/// What is held for a running exchange. Settle it, whatever happens: dropping it settles at what was reserved.
#[derive(Debug)]
#[must_use = "settle it with the true cost"]
pub struct Reservation {
    parts: Vec<Part>,
    /// Full names of empty buckets that only warn.
    pub warned: Vec<String>,
}

#[derive(Debug)]
struct Part {
    name: Box<str>,
    cell: Arc<Cell>,
    amount: i64,
    capacity: i64,
    unit: Unit,
    ends_streams: bool,
}

/// A balance as kept in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// Full name of the bucket.
    pub bucket: String,
    /// What it holds, reservations not taken off.
    pub balance: i64,
    /// What is reserved: charged after a crash, since it may have been spent.
    pub reserved: i64,
    /// When it was last refilled.
    pub refilled: Wall,
}

impl Budgets {
    /// Reserve on every bucket that `names` lists, or on none. `cost` is the prediction.
    pub fn reserve(
        &self,
        buckets: &[Bucket],
        names: &[Arc<str>],
        fill: &Fill<'_>,
        cost: Cost,
        unpriced_allowed: bool,
        now: Wall,
    ) -> Result<Reservation, Exceeded> {
        let mut held = Reservation { parts: Vec::new(), warned: Vec::new() };
        for name in names {
            let bucket = find(buckets, name)?;
            if bucket.unit == Unit::Dollars && cost.dollars.is_none() && !unpriced_allowed {
                held.release();
                return Err(Exceeded::Unpriced { bucket: name.to_string() });
            }
            for full in names_of(name, fill) {
                if let Err(why) = self.reserve_one(buckets, bucket, &full, fill, cost, now, &mut held) {
                    held.release();
                    return Err(why);
                }
            }
        }
        Ok(held)
    }

    #[expect(clippy::too_many_arguments, reason = "one step of `reserve`, with all it has at hand")]
    fn reserve_one(
        &self,
        buckets: &[Bucket],
        bucket: &Bucket,
        full: &str,
        fill: &Fill<'_>,
        cost: Cost,
        now: Wall,
        held: &mut Reservation,
    ) -> Result<(), Exceeded> {
        let cell = self.cell(full, bucket, now)?;
        let amount = cost.of(bucket.unit).max(0);
        if cell.reserve(bucket, amount, now) {
            held.take(bucket, full, cell, amount);
            return Ok(());
        }
        for lender in &bucket.overdraft {
            let lending = find(buckets, lender)?;
            for full in names_of(lender, fill) {
                let cell = self.cell(&full, lending, now)?;
                if cell.reserve(lending, amount, now) {
                    held.take(lending, &full, cell, amount);
                    return Ok(());
                }
            }
        }
        if bucket.on_exceed == OnExceed::Warn {
            cell.force(amount);
            held.take(bucket, full, cell, amount);
            held.warned.push(full.to_owned());
            return Ok(());
        }
        Err(Exceeded::Empty { bucket: full.to_owned(), retry_after: cell.retry_after(bucket) })
    }

    /// The cell of a bucket, made full where there is none.
    fn cell(&self, full: &str, bucket: &Bucket, now: Wall) -> Result<Arc<Cell>, Exceeded> {
        if let Some(cell) = self.known(full) {
            return Ok(cell);
        }
        let mut cells = self.cells.write().unwrap_or_else(PoisonError::into_inner);
        if cells.len() >= CELLS_MAX {
            cells.retain(|_, cell| !cell.is_idle_at(bucket.capacity));
        }
        if cells.len() >= CELLS_MAX {
            return Err(Exceeded::TooMany);
        }
        let fresh = || Arc::new(Cell::holding(bucket.capacity, now));
        Ok(Arc::clone(cells.entry(full.into()).or_insert_with(fresh)))
    }

    fn known(&self, full: &str) -> Option<Arc<Cell>> {
        self.cells.read().unwrap_or_else(PoisonError::into_inner).get(full).cloned()
    }

    /// Put an amount into a bucket by hand, up to its capacity. False where nobody has drawn on it.
    pub fn refill(&self, full: &str, amount: i64, capacity: i64) -> bool {
        let cell = self.known(full);
        cell.map(|cell| cell.credit(amount, capacity)).is_some()
    }

    /// Every balance, for the store and for showing.
    #[must_use]
    pub fn balances(&self) -> Vec<Balance> {
        let cells = self.cells.read().unwrap_or_else(PoisonError::into_inner);
        cells.iter().map(|(name, cell)| cell.balance(name)).collect()
    }

    /// Take balances from the store, before anybody reserves. What was reserved when they were written and not
    /// settled since is charged: it may have been spent.
    pub fn restore(&self, balances: impl IntoIterator<Item = Balance>) {
        let mut cells = self.cells.write().unwrap_or_else(PoisonError::into_inner);
        for kept in balances {
            let left = kept.balance.saturating_sub(kept.reserved);
            cells.insert(kept.bucket.into(), Arc::new(Cell::holding(left, kept.refilled)));
        }
    }
}

fn find<'b>(buckets: &'b [Bucket], name: &str) -> Result<&'b Bucket, Exceeded> {
    let bucket = buckets.iter().find(|bucket| &*bucket.name == name);
    bucket.ok_or_else(|| Exceeded::Missing { bucket: name.to_owned() })
}

impl Reservation {
    fn take(&mut self, bucket: &Bucket, full: &str, cell: Arc<Cell>, amount: i64) {
        self.parts.push(Part {
            name: full.into(),
            cell,
            amount,
            capacity: bucket.capacity,
            unit: bucket.unit,
            ends_streams: bucket.on_exceed == OnExceed::EndStream,
        });
    }

    /// The exchange has ended and cost this much.
    pub fn settle(mut self, cost: Cost) {
        for part in self.parts.drain(..) {
            part.cell.settle(part.amount, cost.of(part.unit).max(0), part.capacity);
        }
    }

    /// Nothing was executed: give everything back.
    pub fn release(&mut self) {
        for part in self.parts.drain(..) {
            part.cell.settle(part.amount, 0, part.capacity);
        }
    }

    /// The bucket that a running stream has overrun, where its rule is to end the stream. `so_far` is what it has
    /// cost up to now.
    #[must_use]
    pub fn overrun(&self, so_far: Cost) -> Option<&str> {
        let overrun = |part: &&Part| {
            let beyond = so_far.of(part.unit).saturating_sub(part.amount);
            part.ends_streams && beyond > 0 && part.cell.free() < beyond
        };
        self.parts.iter().find(overrun).map(|part| &*part.name)
    }

    /// Full names of the buckets it holds on, with what is held.
    pub fn held(&self) -> impl Iterator<Item = (&str, i64)> {
        self.parts.iter().map(|part| (&*part.name, part.amount))
    }
}

impl Drop for Reservation {
    /// Forgotten is charged as predicted, never free.
    fn drop(&mut self) {
        for part in self.parts.drain(..) {
            part.cell.settle(part.amount, part.amount, part.capacity);
        }
    }
}

/// The full names of a bucket: one, or with `<group>` one a group. What is not known stands as `-`, which all
/// who lack it share.
fn names_of(name: &str, fill: &Fill<'_>) -> Vec<String> {
    let plain = name
        .replace("<user>", &part(Some(fill.user)))
        .replace("<node>", &part(fill.node))
        .replace("<agent>", &part(fill.agent))
        .replace("<session>", &part(fill.session))
        .replace("<model>", &part(fill.model));
    if !plain.contains("<group>") {
        return vec![plain];
    }
    match fill.groups {
        [] => vec![plain.replace("<group>", "-")],
        groups => groups.iter().map(|group| plain.replace("<group>", &part(Some(group)))).collect(),
    }
}

/// Longest part that fills a template.
const PART_BYTES_MAX: usize = 128;

/// A name that cannot be taken for a template or for another name, and has a bound.
fn part(text: Option<&str>) -> String {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return "-".into() };
    let plain = |c: char| if c.is_control() || "<>".contains(c) { '_' } else { c };
    let shortened: String = text.chars().take(PART_BYTES_MAX).map(plain).collect();
    if shortened == text {
        shortened
    } else {
        format!("{shortened}~{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
    }
}

#[cfg(test)]
mod tests;
