//! Whose provider-side objects are whose: what was bound since the start, to a bound, and the store behind it. Ids that
//! nobody's were are remembered for a while, so that whoever guesses at them asks the store once for each.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::sync::Mutex;

use super::store::Store;
use crate::base::clock::{self, Moment};
use crate::wire::crossing::Bound;

/// Objects kept in memory. The oldest go first: by then they stand in the store.
const KEPT_MAX: usize = 200_000;

/// Ids known to be nobody's, and for how long: another process may fill the store.
const UNKNOWN_MAX: usize = 20_000;
const UNKNOWN_KEPT: Duration = Duration::from_secs(60);

/// The register.
#[derive(Default)]
pub(super) struct Objects(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    by_id: HashMap<String, Bound>,
    in_order: VecDeque<String>,
    /// Ids that are nobody's, with the moment that this was found.
    unknown: HashMap<String, Moment>,
}

impl Objects {
    /// Bind: who was first stays.
    pub(super) async fn bind(&self, objects: Vec<Bound>) {
        let mut kept = self.0.lock().await;
        for bound in objects {
            if kept.by_id.contains_key(&bound.id) {
                continue;
            }
            if kept.in_order.len() >= KEPT_MAX
                && let Some(oldest) = kept.in_order.pop_front()
            {
                kept.by_id.remove(&oldest);
            }
            kept.unknown.remove(&bound.id);
            kept.in_order.push_back(bound.id.clone());
            kept.by_id.insert(bound.id.clone(), bound);
        }
    }

    /// Whose it is; nobody's where the store cannot be read.
    pub(super) async fn owner(&self, store: &Store, id: String) -> Option<Bound> {
        {
            let kept = self.0.lock().await;
            if let Some(bound) = kept.by_id.get(&id) {
                return Some(bound.clone());
            }
            if kept.is_nobodys(&id, clock::now()) {
                return None;
            }
        }
        let asked = id.clone();
        let found = store.look(move |reader| {
            Ok(reader.object(&asked)?.map(|(owner, provider)| Bound { id: asked, owner, provider }))
        });
        match found.await {
            Ok(Some(bound)) => Some(bound),
            // It may have been bound meanwhile.
            Ok(None) => self.0.lock().await.nobodys(id, clock::now()),
            Err(_) => None,
        }
    }
}

impl Kept {
    fn is_nobodys(&self, id: &str, now: Moment) -> bool {
        self.unknown.get(id).is_some_and(|at| now.since(*at) < UNKNOWN_KEPT)
    }

    /// The store has no such object; what was bound since it was asked counts.
    fn nobodys(&mut self, id: String, now: Moment) -> Option<Bound> {
        if let Some(bound) = self.by_id.get(&id) {
            return Some(bound.clone());
        }
        if self.unknown.len() >= UNKNOWN_MAX {
            self.unknown.retain(|_, at| now.since(*at) < UNKNOWN_KEPT);
        }
        // Whoever guesses so fast asks the store each time; the others' objects are found as before.
        if self.unknown.len() < UNKNOWN_MAX {
            self.unknown.insert(id, now);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nobodys_is_remembered_for_a_while_up_to_a_bound_and_until_it_is_somebodys() {
        let (mut kept, now) = (Kept::default(), clock::now());
        assert!(!kept.is_nobodys("a", now));
        assert_eq!(kept.nobodys("a".into(), now), None);
        assert!(kept.is_nobodys("a", now.plus(UNKNOWN_KEPT / 2)));
        assert!(!kept.is_nobodys("a", now.plus(UNKNOWN_KEPT)));
        for n in 0..UNKNOWN_MAX + 10 {
            kept.nobodys(n.to_string(), now);
        }
        assert_eq!(kept.unknown.len(), UNKNOWN_MAX);
        kept.nobodys("late".into(), now.plus(UNKNOWN_KEPT));
        assert_eq!(kept.unknown.len(), 1, "the old ones are forgotten first");
        let objects = Objects(Mutex::new(kept));
        let bound = |id: &str| Bound { id: id.into(), owner: "me".into(), provider: "p".into() };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(objects.bind(vec![bound("late")]));
        let mut kept = objects.0.into_inner();
        assert!(!kept.is_nobodys("late", now.plus(UNKNOWN_KEPT)));
        assert_eq!(kept.nobodys("late".into(), now), Some(bound("late")), "bound while the store was asked");
    }
}
