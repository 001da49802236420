//! Where the next attempt goes: over the keys of a provider, and past those that are known to fail.
//!
//! ```text
//!   session's last good key, if it is fit ─▶ that one            its prompt cache is there
//!   else the fit one with the fewest running
//!   else (all cooling, all failing)       ─▶ the one that is fit soonest: the client hears the provider, not us
//!   all full (max_connections)            ─▶ 503 with Retry-After
//! ```
//!
//! A key cools after 429, for as long as the provider says; it fails after several faults of its way in a row (name,
//! connection, TLS, no answer), and is left alone for a breath. Faults of the client or of our own count for nothing.
//! Kept per core: each learns for itself. What cores count together is how many run at a key, where that is bounded.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use foldhash::HashMap;

use super::crowd::{Crowd, Doorway, Part, Scarce};
use super::fault::{Fault, Kind, Side};
use crate::base::clock::{self, Moment};
use crate::policy::snapshot::Provider;

/// Faults of a way in a row after which it is left alone, and for how long.
const FAULTS_MAX: u32 = 5;
const LEFT_ALONE: Duration = Duration::from_secs(10);
/// How long a key cools where the provider does not say, and at most.
const COOLING: Duration = Duration::from_secs(5);
const COOLING_MAX: Duration = Duration::from_secs(300);
/// Sessions whose key is remembered; past it all are forgotten.
const SESSIONS_MAX: usize = 16 * 1024;
/// Further attempts that may be saved up, and what an exchange adds: one in five exchanges may be tried again.
const RETRIES_MAX: f32 = 20.0;
const RETRIES_PER_EXCHANGE: f32 = 0.2;

/// A core's knowledge of keys.
pub(super) struct Spread {
    counts: Doorway,
    keys: RefCell<HashMap<Key, Rc<Fitness>>>,
    /// By provider and session: the key of its last good turn.
    sessions: RefCell<HashMap<(u64, u64), usize>>,
    retries: Cell<f32>,
}

/// Hash of the provider's id, and which of its keys.
type Key = (u64, usize);

#[derive(Default)]
struct Fitness {
    /// Of this core.
    running: Cell<u32>,
    faults: Cell<u32>,
    unfit_until: Cell<Moment>,
}

/// A key in use: counted as running until it is dropped.
pub(super) struct Turn {
    /// The provider as it is reached by this key.
    pub(super) provider: Arc<Provider>,
    /// Which of its keys.
    pub(super) nth: usize,
    session: u64,
    fitness: Rc<Fitness>,
    /// Where there is a bound. Boxed: it is rare, and every connection has room for a turn.
    _part: Option<Box<Part>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.fitness.running.set(self.fitness.running.get() - 1);
    }
}

/// Who asks, and in which session: numbers for look-ups, 0 for none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asking {
    pub(super) who: u64,
    pub(super) session: u64,
}

impl Spread {
    /// A core's, which counts with others what is bounded.
    pub(super) fn counting_in(crowd: Arc<Crowd>) -> Self {
        Self {
            counts: Doorway::into(crowd),
            keys: RefCell::default(),
            sessions: RefCell::default(),
            retries: Cell::new(RETRIES_MAX),
        }
    }

    /// The key for an attempt; `tried` are those that have failed this exchange already.
    pub(super) fn turn(
        &self,
        provider: &Arc<Provider>,
        asking: Asking,
        tried: &[usize],
    ) -> Result<Turn, Fault> {
        let id = hash(&provider.id);
        let nth = match provider.keys.len() {
            0 => Some(0).filter(|nth| tried.is_empty() && self.has_room(provider, id, *nth, asking)),
            count => self.choose(provider, id, count, asking, tried),
        };
        let full = || Fault::because(Kind::Full, "max_connections");
        let nth = nth.ok_or_else(full)?;
        let part = match self.scarce(provider, id, nth, asking) {
            Some(scarce) => Some(Box::new(scarce.enter().ok_or_else(full)?)),
            None => None,
        };
        let fitness = self.fitness(id, nth);
        fitness.running.set(fitness.running.get() + 1);
        let provider = provider.keys.get(nth).unwrap_or(provider).clone();
        Ok(Turn { provider, nth, session: asking.session, fitness, _part: part })
    }

    fn scarce(&self, provider: &Provider, id: u64, nth: usize, asking: Asking) -> Option<Scarce> {
        provider.connections_max.map(|most| self.counts.scarce(id, nth, asking.who, most))
    }

    fn has_room(&self, provider: &Provider, id: u64, nth: usize, asking: Asking) -> bool {
        self.scarce(provider, id, nth, asking).is_none_or(|scarce| scarce.has_room())
    }

    fn choose(
        &self,
        provider: &Provider,
        id: u64,
        count: usize,
        asking: Asking,
        tried: &[usize],
    ) -> Option<usize> {
        let now = clock::now();
        let fits: Vec<Rc<Fitness>> = (0..count).map(|nth| self.fitness(id, nth)).collect();
        let room = |nth: &usize| self.has_room(provider, id, *nth, asking);
        let open: Vec<usize> = (0..count).filter(|nth| !tried.contains(nth)).filter(room).collect();
        let fit = |nth: &&usize| fits[**nth].unfit_until.get() <= now;
        let last = self.sessions.borrow().get(&(id, asking.session)).copied();
        last.filter(|nth| open.contains(nth) && fit(&nth))
            .or_else(|| open.iter().filter(fit).min_by_key(|nth| fits[**nth].running.get()).copied())
            .or_else(|| open.iter().min_by_key(|nth| fits[**nth].unfit_until.get()).copied())
    }

    /// Whether a provider is known to fail, so that others come first.
    pub(super) fn is_unfit(&self, provider: &Provider) -> bool {
        let now = clock::now();
        let id = hash(&provider.id);
        (0..provider.keys.len().max(1)).all(|nth| self.fitness(id, nth).unfit_until.get() > now)
    }

    /// It answered: anything but a refusal for load shows that the way is good.
    pub(super) fn answered(&self, turn: &Turn, status: u16, retry_after: Option<Duration>) {
        let session = turn.session;
        turn.fitness.faults.set(0);
        if status == 429 {
            let rest = retry_after.unwrap_or(COOLING).min(COOLING_MAX);
            turn.fitness.unfit_until.set(clock::now().plus(rest));
        } else if status < 400 && session != 0 {
            let mut sessions = self.sessions.borrow_mut();
            if sessions.len() >= SESSIONS_MAX {
                sessions.clear();
            }
            sessions.insert((hash(&turn.provider.id), session), turn.nth);
        }
    }

    /// It did not: counted where it was the provider's fault, or its way's.
    pub(super) fn failed(&self, turn: &Turn, fault: &Fault) {
        if fault.side() != Side::Provider {
            return;
        }
        let faults = turn.fitness.faults.get() + 1;
        turn.fitness.faults.set(faults);
        if faults >= FAULTS_MAX {
            turn.fitness.unfit_until.set(clock::now().plus(LEFT_ALONE));
        }
    }

    /// An exchange begins: a part of a further attempt is saved.
    pub(super) fn begins(&self) {
        self.retries.set((self.retries.get() + RETRIES_PER_EXCHANGE).min(RETRIES_MAX));
    }

    /// Whether one more attempt is within the budget; it is taken from it.
    pub(super) fn may_retry(&self) -> bool {
        let left = self.retries.get();
        if left < 1.0 {
            return false;
        }
        self.retries.set(left - 1.0);
        true
    }

    fn fitness(&self, id: u64, nth: usize) -> Rc<Fitness> {
        self.keys.borrow_mut().entry((id, nth)).or_default().clone()
    }
}

fn hash(text: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(keys: usize, most: Option<u32>) -> Arc<Provider> {
        let one =
            |nth: usize| Provider { id: "p".into(), region: Some(format!("r{nth}")), ..Provider::default() };
        let keys = (0..keys).map(|nth| Arc::new(one(nth))).collect();
        Arc::new(Provider { id: "p".into(), keys, connections_max: most, ..Provider::default() })
    }

    fn alone() -> Spread {
        Spread::counting_in(Arc::default())
    }

    fn of(session: u64) -> Asking {
        Asking { who: 1, session }
    }

    #[test]
    fn what_is_scarce_is_shared_equally() {
        let (spread, provider) = (alone(), provider(0, Some(8)));
        let turn = |who: u64| spread.turn(&provider, Asking { who, session: 0 }, &[]);
        let mut greedy: Vec<Turn> = std::iter::from_fn(|| turn(1).ok()).collect();
        assert_eq!(greedy.len(), 8, "alone, one may have all");
        assert!(turn(2).is_err());
        greedy.truncate(6);
        let late = turn(2).expect("the second is let in");
        assert!(turn(1).is_err(), "who has more than a part waits");
        drop((greedy, late));
        assert!(turn(1).is_ok());
    }

    #[test]
    fn a_bound_is_the_gateways_and_not_a_cores() {
        let crowd = Arc::new(Crowd::default());
        let cores = [(); 2].map(|()| Spread::counting_in(crowd.clone()));
        let provider = provider(2, Some(4));
        let turn = |core: usize, who: u64| cores[core].turn(&provider, Asking { who, session: 0 }, &[]);
        let mut taken: Vec<Turn> = (0..8).map(|nth| turn(nth % 2, 1).expect("one of eight")).collect();
        assert!(turn(0, 1).is_err() && turn(1, 2).is_err());
        taken.truncate(6);
        let late = turn(1, 2).expect("for whoever has none");
        assert!(turn(0, 1).is_err(), "what one has on all cores counts");
        drop((taken, late));
        assert!((0..8).map(|_| turn(0, 1)).collect::<Vec<_>>().iter().all(Result::is_ok));
    }

    #[test]
    fn the_least_loaded_is_taken_and_a_session_stays_where_it_was_good() {
        let (spread, provider) = (alone(), provider(3, None));
        let turns: Vec<Turn> =
            [0, 0, 7].map(|session| spread.turn(&provider, of(session), &[]).expect("a key")).into();
        assert_eq!(turns.iter().map(|turn| turn.nth).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(turns[1].provider.region.as_deref(), Some("r1"));
        spread.answered(&turns[2], 200, None);
        assert_eq!(spread.turn(&provider, of(7), &[]).expect("a key").nth, 2);
        assert_eq!(spread.turn(&provider, of(7), &[2]).expect("a key").nth, 0);
        drop(turns);
        assert_eq!(spread.turn(&provider, of(0), &[]).expect("a key").nth, 0);
    }

    #[test]
    fn a_key_cools_and_when_all_do_the_first_to_be_fit_is_asked() {
        let (spread, provider) = (alone(), provider(2, None));
        let turn = spread.turn(&provider, of(7), &[]).expect("a key");
        spread.answered(&turn, 200, None);
        spread.answered(&turn, 429, Some(Duration::from_secs(100)));
        drop(turn);
        let other = spread.turn(&provider, of(7), &[]).expect("a key");
        assert_eq!(other.nth, 1);
        spread.answered(&other, 429, Some(Duration::from_secs(1)));
        assert!(spread.is_unfit(&provider));
        assert_eq!(spread.turn(&provider, of(7), &[]).expect("a key").nth, 1);
    }

    #[test]
    fn only_faults_of_the_way_count_and_a_full_provider_says_so() {
        let (spread, single) = (alone(), provider(0, Some(1)));
        let turn = spread.turn(&single, of(0), &[]).expect("a key");
        assert_eq!(spread.turn(&single, of(0), &[]).err().map(|fault| fault.kind), Some(Kind::Full));
        (0..9).for_each(|_| spread.failed(&turn, &Fault::new(Kind::ClientGone)));
        assert!(!spread.is_unfit(&single));
        (0..5).for_each(|_| spread.failed(&turn, &Fault::new(Kind::Connect)));
        assert!(spread.is_unfit(&single));
        spread.answered(&turn, 500, None);
        drop(turn);
        assert_eq!(spread.turn(&single, of(0), &[]).expect("left alone only where another will do").nth, 0);
    }

    #[test]
    fn further_attempts_are_a_share_of_the_exchanges() {
        let spread = alone();
        assert_eq!((0..100).filter(|_| spread.may_retry()).count(), 20);
        (0..11).for_each(|_| spread.begins());
        assert!(spread.may_retry() && spread.may_retry() && !spread.may_retry());
    }
}
