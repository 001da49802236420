//! Whose provider-side objects are whose: what was bound since the start, to a bound, and the store behind it.

use std::collections::{HashMap, VecDeque};

use tokio::sync::Mutex;

use super::store::Store;
use crate::wire::crossing::Bound;

/// Objects kept in memory. The oldest go first: by then they stand in the store.
const KEPT_MAX: usize = 200_000;

/// The register.
#[derive(Default)]
pub(super) struct Objects(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    by_id: HashMap<String, Bound>,
    in_order: VecDeque<String>,
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
            kept.in_order.push_back(bound.id.clone());
            kept.by_id.insert(bound.id.clone(), bound);
        }
    }

    /// Whose it is; nobody's where the store cannot be read.
    pub(super) async fn owner(&self, store: &Store, id: String) -> Option<Bound> {
        if let Some(bound) = self.0.lock().await.by_id.get(&id) {
            return Some(bound.clone());
        }
        let found = store.look(move |reader| {
            Ok(reader.object(&id)?.map(|(owner, provider)| Bound { id, owner, provider }))
        });
        found.await.ok().flatten()
    }
}
