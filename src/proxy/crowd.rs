//! How many exchanges of each principal run on this core, so that one who sends without end leaves room for others.
//!
//! Kept only where the configuration sets a bound, and per core: each counts for itself, so nothing is shared.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use xxhash_rust::xxh3::xxh3_64;

use super::fault::{Fault, Kind};
use super::objects;
use crate::policy::identity::Principal;

/// Exchanges under way, by principal.
#[derive(Clone, Default)]
pub(super) struct Crowd(Rc<RefCell<HashMap<u64, u32>>>);

/// An exchange that counts until it is dropped.
pub(super) struct Place {
    crowd: Crowd,
    who: u64,
}

impl Crowd {
    /// One more exchange of this principal; a fault where as many run as may.
    pub(super) fn enter(&self, principal: Option<&Principal>, most: u32) -> Result<Place, Fault> {
        let who = principal.map_or(0, |principal| xxh3_64(objects::owner(principal).as_bytes()));
        let mut running = self.0.borrow_mut();
        let mine = running.entry(who).or_default();
        if *mine >= most {
            return Err(Fault::because(
                Kind::Crowded,
                format!("{most} at once, server.limits.per_principal"),
            ));
        }
        *mine += 1;
        Ok(Place { crowd: self.clone(), who })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut running = self.crowd.0.borrow_mut();
        if let Some(mine) = running.get_mut(&self.who) {
            *mine -= 1;
            if *mine == 0 {
                running.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_as_many_as_may_and_gives_them_back() {
        let (crowd, ada) = (Crowd::default(), Principal { name: "ada".into(), ..Principal::default() });
        let bob = Principal { name: "bob".into(), ..Principal::default() };
        let enter = |who: &Principal| crowd.enter(Some(who), 2);
        let held = [enter(&ada).expect("one"), enter(&ada).expect("two")];
        assert_eq!(enter(&ada).err().map(|fault| fault.kind), Some(Kind::Crowded));
        assert!(enter(&bob).is_ok(), "others have their own");
        drop(held);
        assert!(enter(&ada).is_ok());
        assert!(crowd.0.borrow().is_empty(), "nobody is remembered who runs nothing");
    }
}
