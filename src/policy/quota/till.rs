//! One core's way to the budgets: it remembers where cells are, and hands out reservations on them.

use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use foldhash::HashMap;

use super::cell::Cell;
use super::lease::Want;
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

/// Which try it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// The first: what a lease does not hold is asked for.
    First,
    /// The store was asked.
    Asked,
    /// The store could not be asked.
    StoreGone,
    /// There is no time to ask: where nothing is owed, one may pass on credit.
    OnCredit,
}

/// Why there is no reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A bucket says no.
    Exceeded(Exceeded),
    /// Ask the store for these, and try again.
    Lease(Vec<Want>),
}

impl From<Exceeded> for Refusal {
    fn from(why: Exceeded) -> Self {
        Refusal::Exceeded(why)
    }
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
        pass: Pass,
        now: Wall,
    ) -> Result<Reservation, Refusal> {
        let parts = Vec::with_capacity(drawn.buckets.len());
        let mut taking =
            Taking { snapshot, drawn, pass, now, held: Reservation { parts }, wants: Vec::new() };
        let done = drawn.buckets.iter().try_for_each(|template| self.reserve_all(&mut taking, template));
        let refusal = match done {
            Err(why) => Refusal::Exceeded(why),
            Ok(()) if taking.wants.is_empty() => return Ok(taking.held),
            Ok(()) => Refusal::Lease(taking.wants),
        };
        taking.held.settle(Cost::NOTHING);
        Err(refusal)
    }

    /// Every bucket that one name stands for.
    fn reserve_all(&mut self, taking: &mut Taking<'_>, template: &str) -> Result<(), Exceeded> {
        let drawn = taking.drawn;
        let bucket = find(taking.snapshot, template)?;
        let priced = drawn.likely.dollars.is_some() && drawn.most.dollars.is_some();
        if bucket.unit == Unit::Dollars && !priced && !drawn.unpriced_allowed {
            return Err(Exceeded::Unpriced { bucket: template.to_owned() });
        }
        let cost = if bucket.reserve_max { drawn.most } else { drawn.likely };
        let amount = cost.of(bucket.unit);
        for nth in 0..name::count(template, &drawn.fill) {
            let cell = self.cell(taking, bucket, nth)?;
            if !taking.take(bucket, &cell, amount) && !self.borrow(taking, bucket, amount)? {
                taking.exceed(bucket, cell, amount)?;
            }
        }
        Ok(())
    }

    /// Reserve on the first of the lenders that has it.
    fn borrow(&mut self, taking: &mut Taking<'_>, bucket: &Bucket, amount: i64) -> Result<bool, Exceeded> {
        for template in &bucket.overdraft {
            let lender = find(taking.snapshot, template)?;
            for nth in 0..name::count(template, &taking.drawn.fill) {
                let cell = self.cell(taking, lender, nth)?;
                if taking.take(lender, &cell, amount) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The cell of a bucket, from memory where it has been used before.
    fn cell(&mut self, taking: &Taking<'_>, bucket: &Bucket, nth: usize) -> Result<Rc<Known>, Exceeded> {
        name::write(&mut self.full, &bucket.name, &taking.drawn.fill, nth);
        if let Some(cell) = self.known.get(self.full.as_str()) {
            return Ok(Rc::clone(cell));
        }
        if self.known.len() >= KNOWN_MAX {
            self.known.retain(|_, cell| Rc::strong_count(cell) > 1);
        }
        let cell = Rc::new(Known(self.budgets.cell(&self.full, bucket, taking.snapshot, taking.now)?));
        self.known.insert(self.full.as_str().into(), Rc::clone(&cell));
        Ok(cell)
    }
}

/// A reservation in the making.
struct Taking<'a> {
    snapshot: &'a Snapshot,
    drawn: &'a Drawn<'a>,
    pass: Pass,
    now: Wall,
    held: Reservation,
    /// What has to be leased first.
    wants: Vec<Want>,
}

impl Taking<'_> {
    /// Take the amount, if it may be had now.
    fn take(&mut self, bucket: &Bucket, cell: &Rc<Known>, amount: i64) -> bool {
        let taken = match self.pass {
            _ if !cell.is_leased() => cell.reserve(bucket, amount, self.now),
            Pass::First => {
                let taken = cell.reserve_from_lease(amount, self.now);
                if !taken {
                    let (bucket, template) = (cell.name().to_owned(), cell.template().to_owned());
                    self.wants.push(Want { bucket, template, amount });
                }
                taken
            }
            Pass::Asked => cell.is_good(self.now) && cell.reserve(bucket, amount, self.now),
            Pass::OnCredit => cell.reserve_from_lease(amount, self.now) || cell.reserve_on_credit(amount),
            Pass::StoreGone => {
                cell.reserve_from_lease(amount, self.now) || (bucket.fail_open && cell.force(amount))
            }
        };
        if taken {
            self.held.take(bucket, Rc::clone(cell), amount);
        }
        taken
    }

    /// The bucket has not got it: what it says to that.
    fn exceed(&mut self, bucket: &Bucket, cell: Rc<Known>, amount: i64) -> Result<(), Exceeded> {
        // The store has not been asked yet: nothing is said.
        if !self.wants.is_empty() {
            return Ok(());
        }
        if bucket.on_exceed == OnExceed::Warn {
            cell.force(amount);
            self.held.take(bucket, cell, amount);
            self.held.parts.iter_mut().rev().take(1).for_each(|part| part.warned = true);
            return Ok(());
        }
        let (name, retry_after) = (cell.name().to_owned(), cell.retry_after(bucket));
        Err(match self.pass {
            Pass::StoreGone if cell.is_leased() => Exceeded::StoreGone { bucket: name },
            _ => Exceeded::Empty { bucket: name, retry_after },
        })
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
