//! How many exchanges run, of each principal and at each key of a provider, so that one who sends without end leaves room
//! for others.
//!
//! ```text
//!   Crowd    one atomic cell per count, shared by the cores: a bound is the gateway's, however many cores it has
//!   Doorway  one core's way there: it remembers where cells are, so that a lock is met once per cell and core
//!   Place    an exchange under way; dropping it leaves
//!   Scarce   three cells of a key: all that runs, what one principal has of it, how many have some
//! ```
//!
//! Kept only where the configuration sets a bound. Bound in sum: each core remembers so many cells, and the crowd
//! forgets those that no core knows any more. A socket has one place for as long as it lasts, whatever runs on it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use foldhash::HashMap;
use xxhash_rust::xxh3::xxh3_64;

use super::fault::{Fault, Kind};
use super::objects;
use crate::policy::identity::Principal;

/// Cells a core remembers; past it those of which it runs nothing are forgotten.
const KNOWN_MAX: usize = 16 * 1024;
/// Cells from which on the crowd looks for some that nobody knows.
const SWEPT_FROM: usize = 4 * KNOWN_MAX;

/// Exchanges under way, of all cores.
#[derive(Debug, Default)]
pub struct Crowd(RwLock<Cells>);

#[derive(Debug, Default)]
struct Cells {
    by_what: HashMap<u64, Arc<Cell>>,
    /// How many there are when it is next looked for some to forget.
    swept_at: usize,
}

/// How many run. A line of its own: neighbours are counted by different cores.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Cell(AtomicU32);

impl Crowd {
    fn cell(&self, what: u64) -> Arc<Cell> {
        let mut cells = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if cells.by_what.len() >= cells.swept_at.max(SWEPT_FROM) {
            cells.by_what.retain(|_, cell| Arc::strong_count(cell) > 1);
            // Where most are known, a sweep for each newcomer would find nothing.
            cells.swept_at = cells.by_what.len() * 2;
        }
        Arc::clone(cells.by_what.entry(what).or_default())
    }
}

/// One core's way into the crowd.
pub(super) struct Doorway {
    crowd: Arc<Crowd>,
    known: RefCell<HashMap<u64, Rc<Known>>>,
}

/// A cell as this core knows it, counted by this core alone.
struct Known(Arc<Cell>);

/// An exchange that counts until it is dropped.
pub(super) struct Place(Rc<Known>);

impl Doorway {
    pub(super) fn into(crowd: Arc<Crowd>) -> Self {
        Self { crowd, known: RefCell::default() }
    }

    /// One more exchange of this principal; a fault where as many run as may.
    pub(super) fn enter(&self, principal: Option<&Principal>, most: u32) -> Result<Place, Fault> {
        let who = principal.map_or(0, |principal| xxh3_64(objects::owner(principal).as_bytes()));
        let known = self.known(who);
        let full = || Fault::because(Kind::Crowded, format!("{most} at once, server.limits.per_principal"));
        if known.enters(most) { Ok(Place(known)) } else { Err(full()) }
    }

    /// What there is of a key, to one who wants a part of it.
    pub(super) fn scarce(&self, provider: u64, key: usize, who: u64, most: u32) -> Scarce {
        let of = |what: u64, who: u64| {
            let parts = [provider, key as u64, what, who].map(u64::to_ne_bytes);
            self.known(xxh3_64(&parts.concat()))
        };
        Scarce { most, all: of(0, 0), principals: of(1, 0), mine: of(2, who) }
    }

    fn known(&self, what: u64) -> Rc<Known> {
        let mut all = self.known.borrow_mut();
        if let Some(known) = all.get(&what) {
            return Rc::clone(known);
        }
        if all.len() >= KNOWN_MAX {
            all.retain(|_, known| Rc::strong_count(known) > 1);
        }
        Rc::clone(all.entry(what).or_insert_with(|| Rc::new(Known(self.crowd.cell(what)))))
    }
}

/// The count alone is what cores agree on; nothing else is published by it.
impl Known {
    fn enters(&self, most: u32) -> bool {
        let one_more = |running: u32| (running < most).then(|| running + 1);
        self.0.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    /// One more; how many there were.
    fn begins(&self) -> u32 {
        self.0.0.fetch_add(1, Ordering::Relaxed)
    }

    /// One less; how many there were.
    fn ends(&self) -> u32 {
        self.0.0.fetch_sub(1, Ordering::Relaxed)
    }

    fn count(&self) -> u32 {
        // Of two cores one may take away for a moment what the other has yet to add.
        (self.0.0.load(Ordering::Relaxed) as i32).max(0) as u32
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.ends();
    }
}

/// What is bounded and shared by principals.
pub(super) struct Scarce {
    most: u32,
    all: Rc<Known>,
    principals: Rc<Known>,
    mine: Rc<Known>,
}

impl Scarce {
    /// Whether one more may run. From three quarters of the bound on, nobody gets more than an equal part of it.
    pub(super) fn has_room(&self) -> bool {
        let (most, running, mine) = (self.most, self.all.count(), self.mine.count());
        let principals = self.principals.count() + u32::from(mine == 0);
        running < most && (running < most - most / 4 || mine < (most / principals.max(1)).max(1))
    }

    /// One more, unless another core was faster.
    pub(super) fn enter(self) -> Option<Part> {
        if !self.all.enters(self.most) {
            return None;
        }
        if self.mine.begins() == 0 {
            self.principals.begins();
        }
        Some(Part(self))
    }
}

/// A part of what is scarce, until it is dropped.
pub(super) struct Part(Scarce);

impl Drop for Part {
    fn drop(&mut self) {
        let Scarce { all, principals, mine, .. } = &self.0;
        if mine.ends() == 1 {
            principals.ends();
        }
        all.ends();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Principal {
        Principal { name: name.into(), ..Principal::default() }
    }

    #[test]
    fn each_has_as_many_as_may_over_all_cores_and_gives_them_back() {
        let crowd = Arc::new(Crowd::default());
        let cores = [Doorway::into(crowd.clone()), Doorway::into(crowd)];
        let (ada, bob) = (named("ada"), named("bob"));
        let held = [&cores[0], &cores[1]].map(|core| core.enter(Some(&ada), 2).expect("room"));
        for core in &cores {
            assert_eq!(core.enter(Some(&ada), 2).err().map(|fault| fault.kind), Some(Kind::Crowded));
            assert!(core.enter(Some(&bob), 2).is_ok(), "others have their own");
        }
        drop(held);
        assert!(cores[1].enter(Some(&ada), 2).is_ok());
    }

    #[test]
    fn who_runs_nothing_is_forgotten_and_who_runs_something_never() {
        let crowd = Arc::new(Crowd::default());
        let (core, other) = (Doorway::into(crowd.clone()), Doorway::into(crowd.clone()));
        let held = core.enter(Some(&named("ada")), 1).expect("room");
        for nth in 0..SWEPT_FROM + KNOWN_MAX + 2 {
            drop(core.enter(Some(&named(&nth.to_string())), 1));
        }
        assert!(core.known.borrow().len() <= KNOWN_MAX + 1);
        assert!(crowd.0.read().expect("cells").by_what.len() <= SWEPT_FROM);
        assert!(other.enter(Some(&named("ada")), 1).is_err(), "another core still sees it run");
        drop(held);
        assert!(other.enter(Some(&named("ada")), 1).is_ok());
    }
}
