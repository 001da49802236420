//! How many exchanges of each principal run, so that one who sends without end leaves room for others.
//!
//! ```text
//!   Crowd    one atomic cell per principal, shared by the cores: the bound is the gateway's, however many cores it has
//!   Doorway  one core's way there: it remembers where cells are, so that a lock is met once per principal and core
//!   Place    an exchange under way; dropping it leaves
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

/// Principals a core remembers; past it those of whom it runs nothing are forgotten.
const KNOWN_MAX: usize = 16 * 1024;
/// Cells from which on the crowd looks for some that nobody knows.
const SWEPT_FROM: usize = 4 * KNOWN_MAX;

/// Exchanges under way by principal, of all cores.
#[derive(Debug, Default)]
pub struct Crowd(RwLock<Cells>);

#[derive(Debug, Default)]
struct Cells {
    by_principal: HashMap<u64, Arc<Cell>>,
    /// How many there are when it is next looked for some to forget.
    swept_at: usize,
}

/// How many run. A line of its own: principals are counted by different cores.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Cell(AtomicU32);

impl Crowd {
    fn cell(&self, who: u64) -> Arc<Cell> {
        let mut cells = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if cells.by_principal.len() >= cells.swept_at.max(SWEPT_FROM) {
            cells.by_principal.retain(|_, cell| Arc::strong_count(cell) > 1);
            // Where most are known, a sweep for each newcomer would find nothing.
            cells.swept_at = cells.by_principal.len() * 2;
        }
        Arc::clone(cells.by_principal.entry(who).or_default())
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
        let one_more = |running: u32| (running < most).then(|| running + 1);
        // The count alone is what cores agree on; nothing else is published by it.
        match known.0.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more) {
            Ok(_) => Ok(Place(known)),
            Err(_) => {
                Err(Fault::because(Kind::Crowded, format!("{most} at once, server.limits.per_principal")))
            }
        }
    }

    fn known(&self, who: u64) -> Rc<Known> {
        let mut all = self.known.borrow_mut();
        if let Some(known) = all.get(&who) {
            return Rc::clone(known);
        }
        if all.len() >= KNOWN_MAX {
            all.retain(|_, known| Rc::strong_count(known) > 1);
        }
        Rc::clone(all.entry(who).or_insert_with(|| Rc::new(Known(self.crowd.cell(who)))))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.0.fetch_sub(1, Ordering::Relaxed);
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
        assert!(crowd.0.read().expect("cells").by_principal.len() <= SWEPT_FROM);
        assert!(other.enter(Some(&named("ada")), 1).is_err(), "another core still sees it run");
        drop(held);
        assert!(other.enter(Some(&named("ada")), 1).is_ok());
    }
}
