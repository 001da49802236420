//! Several machines and one store: what they spend together, whoever dies, whatever is lost.

use super::*;
use crate::policy::quota::{Cost, Drawn, Fill, Pass, Refusal, Reservation, Till};

const SECOND: Wall = 1_000_000;
const LEASE: Wall = 10 * SECOND;
const CAPACITY: i64 = 20_000;
const RATE: i64 = 200;
const COST_MAX: i64 = 400;
const MACHINES: usize = 3;

/// The store, as its script has it.
struct Store {
    balance: Option<i64>,
    at: Wall,
    gone: bool,
}

impl Store {
    fn answer(&mut self, ask: &StoreAsk, now: Wall) -> Option<StoreAnswer> {
        if self.gone {
            return None;
        }
        let mut balance = self.balance.unwrap_or_else(|| {
            self.at = now;
            ask.known.map_or(ask.capacity, |known| known.min(ask.capacity))
        });
        let brought = (now - self.at) as i64 * ask.refill / ask.per_us;
        if brought > 0 {
            self.at = now.min(self.at + ((brought * ask.per_us + ask.refill - 1) / ask.refill) as Wall);
            balance += brought;
        }
        balance = (balance + ask.back).min(ask.capacity);
        let mut granted = 0;
        if balance > 0 && ask.need > 0 {
            granted = if balance >= 2 * ask.want { ask.want } else { ask.need.min(balance) };
        }
        self.balance = Some(balance - granted);
        Some(StoreAnswer { granted, left: balance - granted })
    }
}

/// One machine with one core.
struct Machine {
    budgets: Arc<Budgets>,
    till: Till,
    running: Vec<(i64, Reservation)>,
}

impl Machine {
    fn new() -> Machine {
        let budgets = Arc::new(Budgets::shared());
        Machine { till: Till::over(Arc::clone(&budgets)), budgets, running: Vec::new() }
    }

    fn ask(&self, ask: &StoreAsk, store: &mut Store, now: Wall) -> bool {
        match store.answer(ask, now) {
            Some(answer) => {
                let until = if ask.need > 0 { now + LEASE } else { 0 };
                self.budgets.answered(ask, answer, until);
                true
            }
            None => {
                self.budgets.unanswered(ask);
                false
            }
        }
    }

    fn reserve(
        &mut self,
        amount: i64,
        snapshot: &Snapshot,
        store: &mut Store,
        now: Wall,
    ) -> Result<Reservation, Refusal> {
        let buckets = ["d".into()];
        let cost = Cost { dollars: None, tokens: amount, requests: 1 };
        let drawn = Drawn {
            buckets: &buckets,
            fill: Fill::default(),
            likely: cost,
            most: cost,
            unpriced_allowed: false,
        };
        let wants = match self.till.reserve(snapshot, &drawn, Pass::First, now) {
            Err(Refusal::Lease(wants)) => wants,
            done => return done,
        };
        let mut reached = true;
        for want in &wants {
            if let Ok(Some(ask)) = self.budgets.ask_for(want, snapshot, now) {
                reached &= self.ask(&ask, store, now);
            }
        }
        self.till.reserve(snapshot, &drawn, if reached { Pass::Asked } else { Pass::StoreGone }, now)
    }

    fn give_back(&self, snapshot: &Snapshot, store: &mut Store, now: Wall, everything: bool) {
        for ask in self.budgets.to_give_back(["d"], snapshot, now, everything) {
            self.ask(&ask, store, now);
        }
    }
}

fn snapshot(fail_open: bool) -> Snapshot {
    let bucket = Bucket {
        fail_open,
        refill: RATE,
        refill_per: Duration::from_secs(1),
        capacity: CAPACITY,
        ..crate::policy::quota::tests::bucket("d", CAPACITY, RATE, 1)
    };
    Snapshot { buckets: vec![bucket], ..Snapshot::default() }
}

fn next(random: &mut u64) -> u64 {
    crate::policy::quota::tests::next(random)
}

/// What all machines spent, with machines that die, a store that goes and comes, and one that comes back empty.
fn simulate(seed: u64, snapshot: &Snapshot, lose_data: bool) -> (i64, Wall, i64, i64) {
    let mut random = seed;
    let mut store = Store { balance: None, at: 0, gone: false };
    let mut machines: Vec<_> = (0..MACHINES).map(|_| Machine::new()).collect();
    let (mut spent, mut now, mut deaths, mut wiped) = (0, 0, 0, 0);
    for step in 0..6_000 {
        now += next(&mut random) % (SECOND / 20);
        let machine = &mut machines[(next(&mut random) % MACHINES as u64) as usize];
        match next(&mut random) % 1_000 {
            0 => {
                // What ran may have cost what was expected of it.
                spent += machine.running.iter().map(|(cost, _)| cost).sum::<i64>();
                std::mem::replace(machine, Machine::new())
                    .running
                    .into_iter()
                    .for_each(|(_, held)| std::mem::forget(held));
                deaths += 1;
            }
            1..=3 => store.gone = true,
            4..=20 => store.gone = false,
            21 if lose_data => {
                wiped += store.balance.take().map_or(0, |held| CAPACITY - held);
            }
            22..=60 => machine.give_back(snapshot, &mut store, now, false),
            61..=600 => {
                let predicted = 1 + (next(&mut random) % COST_MAX as u64) as i64;
                if let Ok(held) = machine.reserve(predicted, snapshot, &mut store, now) {
                    machine.running.push(((next(&mut random) % (predicted as u64 + 1)) as i64, held));
                }
            }
            _ => {
                if let Some((cost, held)) = machine.running.pop() {
                    spent += cost;
                    held.settle(Cost { dollars: None, tokens: cost, requests: 1 });
                }
            }
        }
        let slice = CAPACITY / SLICE + COST_MAX;
        // One that died in debt, by an exchange beyond its lease, has told nobody.
        let beyond = MACHINES as i64 * slice + (MACHINES as i64 + deaths) * COST_MAX;
        let bound = CAPACITY + RATE * (now / SECOND + 1) as i64 + beyond;
        assert!(
            lose_data || snapshot.buckets[0].fail_open || spent <= bound,
            "seed {seed}, step {step}: {spent} of {bound}"
        );
    }
    store.gone = false;
    for machine in &mut machines {
        for (cost, held) in machine.running.drain(..) {
            spent += cost;
            held.settle(Cost { dollars: None, tokens: cost, requests: 1 });
        }
        machine.give_back(snapshot, &mut store, now, true);
        let left = machine.budgets.known("d").map(|cell| (cell.free(), cell.balance().reserved));
        assert!(
            left.is_none_or(|left| left == (0, 0)),
            "seed {seed}: {left:?} left on a machine that gave back"
        );
    }
    let held = store.balance.unwrap_or(CAPACITY);
    assert!(wiped >= 0);
    (spent, now, deaths, held)
}

#[test]
fn machines_never_overspend_a_shared_bucket_beyond_the_bound() {
    let mut deaths = 0;
    for seed in 1..30 {
        let (spent, now, died, held) = simulate(seed, &snapshot(false), false);
        deaths += died;
        assert!(spent > CAPACITY, "seed {seed}: {spent} says nothing");
        // Whatever was spent is gone from the store, or was brought by time since; but for what died in debt.
        let brought = RATE * (now / SECOND + 1) as i64 + died * COST_MAX;
        assert!(
            held <= CAPACITY + brought - spent,
            "seed {seed}: {held} left of {CAPACITY} and {brought}, {spent} spent"
        );
    }
    assert!(deaths > 20, "{deaths} deaths say nothing");
}

#[test]
fn what_passed_while_the_store_was_gone_is_charged_when_it_is_back() {
    let snapshot = snapshot(true);
    let mut store = Store { balance: None, at: 0, gone: false };
    let mut machine = Machine::new();
    let first = machine.reserve(100, &snapshot, &mut store, 0).expect("leased");
    store.gone = true;
    let beyond = machine.reserve(5_000, &snapshot, &mut store, SECOND).expect("fail_open");
    first.settle(Cost { tokens: 100, ..Cost::NOTHING });
    beyond.settle(Cost { tokens: 5_000, ..Cost::NOTHING });
    machine.give_back(&snapshot, &mut store, SECOND, false);
    store.gone = false;
    machine.give_back(&snapshot, &mut store, SECOND, true);
    assert_eq!(store.balance, Some(CAPACITY - 5_100 + RATE));
    let closed = self::snapshot(false);
    store.gone = true;
    let refused = machine.reserve(5_000, &closed, &mut store, SECOND).expect_err("fail_closed");
    assert_eq!(refused, Refusal::Exceeded(Exceeded::StoreGone { bucket: "d".into() }));
}

#[test]
fn a_store_that_comes_back_empty_is_not_full_again() {
    let snapshot = snapshot(false);
    let mut store = Store { balance: None, at: 0, gone: false };
    let mut machine = Machine::new();
    let held = machine.reserve(15_000, &snapshot, &mut store, 0).expect("leased");
    held.settle(Cost { tokens: 15_000, ..Cost::NOTHING });
    store.balance = None;
    let more = machine.reserve(4_000, &snapshot, &mut store, 0).expect("what is left");
    more.settle(Cost { tokens: 4_000, ..Cost::NOTHING });
    assert!(store.balance.is_some_and(|held| held <= CAPACITY - 19_000), "{:?}", store.balance);
    for seed in 1..10 {
        simulate(seed, &snapshot, true);
    }
}
