//! One core's way to the budgets: it remembers where cells are, and hands out reservations on them.

use std::collections::HashMap;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use super::cell::Cell;
use super::name::{self, Fill};
use super::predict::Seen;
use super::settings::{OnExceed, Unit};
use super::{Budgets, Cost, Exceeded};
use crate::base::clock::Wall;
use crate::policy::snapshot::{Bucket, Snapshot};

/// Cells a core remembers; past it those that nothing is reserved on by it are forgotten and found again.
const KNOWN_MAX: usize = 64 * 1024;

/// One core's till.
#[derive(Debug, Default)]
pub struct Till {
    budgets: Arc<Budgets>,
    known: HashMap<Box<str>, Rc<Known>>,
    full: String,
    /// What requests have cost lately, for predictions.
    pub seen: Seen,
}

/// A cell as this core knows it, counted by this core alone: an exchange never touches the count that all cores share.
#[derive(Debug)]
struct Known(Arc<Cell>);

impl Deref for Known {
    type Target = Cell;

    fn deref(&self) -> &Cell {
        &self.0
    }
}

/// What an exchange wants to draw.
#[derive(Clone, Copy, Debug)]
pub struct Drawn<'a> {
    /// Names of its buckets as configured.
    pub buckets: &'a [Arc<str>],
    /// What fills them.
    pub fill: Fill<'a>,
    /// What such exchanges cost lately.
    pub likely: Cost,
    /// All that it may cost, for buckets that reserve so.
    pub most: Cost,
    /// Whether a model without a price may draw on dollars for nothing.
    pub unpriced_allowed: bool,
}

/// What is held for a running exchange. Settle it, whatever happens: dropping it settles at what was reserved.
#[derive(Debug, Default)]
#[must_use = "settle it with the true cost"]
pub struct Reservation {
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    cell: Rc<Known>,
    amount: i64,
    unit: Unit,
    ends_streams: bool,
    warned: bool,
}

/// What is held on one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held<'a> {
    /// Full name.
    pub bucket: &'a str,
    /// What it counts.
    pub unit: Unit,
    /// How much, in parts of the unit.
    pub amount: i64,
    /// Whether it was empty, and only warns.
    pub warned: bool,
}

impl Till {
    /// A till over the budgets that all cores share.
    #[must_use]
    pub fn over(budgets: Arc<Budgets>) -> Self {
        Self { budgets, ..Self::default() }
    }

    /// Reserve on every bucket that an exchange draws on, or on none.
    pub fn reserve(
        &mut self,
        snapshot: &Snapshot,
        drawn: &Drawn<'_>,
        now: Wall,
    ) -> Result<Reservation, Exceeded> {
        let mut held = Reservation { parts: Vec::with_capacity(drawn.buckets.len()) };
        for template in drawn.buckets {
            if let Err(why) = self.reserve_all(snapshot, template, drawn, now, &mut held) {
                held.settle(Cost::NOTHING);
                return Err(why);
            }
        }
        Ok(held)
    }

    /// Every bucket that one name stands for.
    fn reserve_all(
        &mut self,
        snapshot: &Snapshot,
        template: &str,
        drawn: &Drawn<'_>,
        now: Wall,
        held: &mut Reservation,
    ) -> Result<(), Exceeded> {
        let bucket = find(snapshot, template)?;
        let priced = drawn.likely.dollars.is_some() && drawn.most.dollars.is_some();
        if bucket.unit == Unit::Dollars && !priced && !drawn.unpriced_allowed {
            return Err(Exceeded::Unpriced { bucket: template.to_owned() });
        }
        let cost = if bucket.reserve_max { drawn.most } else { drawn.likely };
        let amount = cost.of(bucket.unit);
        for nth in 0..name::count(template, &drawn.fill) {
            let cell = self.cell(snapshot, bucket, &drawn.fill, nth, now)?;
            if cell.reserve(bucket, amount, now) {
                held.take(bucket, cell, amount);
            } else if !self.borrow(snapshot, bucket, amount, drawn, now, held)? {
                held.exceed(bucket, cell, amount)?;
            }
        }
        Ok(())
    }

    /// Reserve on the first of the lenders that has it.
    fn borrow(
        &mut self,
        snapshot: &Snapshot,
        bucket: &Bucket,
        amount: i64,
        drawn: &Drawn<'_>,
        now: Wall,
        held: &mut Reservation,
    ) -> Result<bool, Exceeded> {
        for template in &bucket.overdraft {
            let lender = find(snapshot, template)?;
            for nth in 0..name::count(template, &drawn.fill) {
                let cell = self.cell(snapshot, lender, &drawn.fill, nth, now)?;
                if cell.reserve(lender, amount, now) {
                    held.take(lender, cell, amount);
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The cell of a bucket, from memory where it has been used before.
    fn cell(
        &mut self,
        snapshot: &Snapshot,
        bucket: &Bucket,
        fill: &Fill<'_>,
        nth: usize,
        now: Wall,
    ) -> Result<Rc<Known>, Exceeded> {
        name::write(&mut self.full, &bucket.name, fill, nth);
        if let Some(cell) = self.known.get(self.full.as_str()) {
            return Ok(Rc::clone(cell));
        }
        if self.known.len() >= KNOWN_MAX {
            self.known.retain(|_, cell| Rc::strong_count(cell) > 1);
        }
        let cell = Rc::new(Known(self.budgets.cell(&self.full, bucket, snapshot, now)?));
        self.known.insert(self.full.as_str().into(), Rc::clone(&cell));
        Ok(cell)
    }
}

fn find<'s>(snapshot: &'s Snapshot, name: &str) -> Result<&'s Bucket, Exceeded> {
    snapshot.bucket(name).ok_or_else(|| Exceeded::Missing { bucket: name.to_owned() })
}

impl Reservation {
    fn take(&mut self, bucket: &Bucket, cell: Rc<Known>, amount: i64) {
        self.parts.push(Part {
            cell,
            amount,
            unit: bucket.unit,
            ends_streams: bucket.on_exceed == OnExceed::EndStream,
            warned: false,
        });
    }

    /// The bucket is empty: what it says to that.
    fn exceed(&mut self, bucket: &Bucket, cell: Rc<Known>, amount: i64) -> Result<(), Exceeded> {
        if bucket.on_exceed != OnExceed::Warn {
            let retry_after = cell.retry_after(bucket);
            return Err(Exceeded::Empty { bucket: cell.name().to_owned(), retry_after });
        }
        cell.force(amount);
        self.take(bucket, cell, amount);
        self.parts.iter_mut().rev().take(1).for_each(|part| part.warned = true);
        Ok(())
    }

    /// The exchange has ended and cost this much; with [`Cost::NOTHING`] everything is given back.
    pub fn settle(mut self, cost: Cost) {
        for part in self.parts.drain(..) {
            part.cell.settle(part.amount, cost.of(part.unit));
        }
    }

    /// Whether a running stream may have to be ended.
    #[must_use]
    pub fn ends_streams(&self) -> bool {
        self.parts.iter().any(|part| part.ends_streams)
    }

    /// The bucket that a running stream has overrun, where its rule is to end the stream. `so_far` is what it has
    /// cost up to now.
    #[must_use]
    pub fn overrun(&self, so_far: Cost) -> Option<&str> {
        let overrun = |part: &&Part| {
            let beyond = so_far.of(part.unit).saturating_sub(part.amount);
            part.ends_streams && beyond > 0 && part.cell.free() < beyond
        };
        self.parts.iter().find(overrun).map(|part| part.cell.name())
    }

    /// What is held, bucket by bucket.
    pub fn held(&self) -> impl Iterator<Item = Held<'_>> {
        self.parts.iter().map(|part| Held {
            bucket: part.cell.name(),
            unit: part.unit,
            amount: part.amount,
            warned: part.warned,
        })
    }
}

impl Drop for Reservation {
    /// Forgotten is charged as predicted, never free.
    fn drop(&mut self) {
        for part in self.parts.drain(..) {
            part.cell.settle(part.amount, part.amount);
        }
    }
}
