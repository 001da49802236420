//! The store that machines share quotas through: Valkey or Redis, asked by one task of the control thread.
//!
//! Each question is one script, so that nothing of another machine comes between its look and its change. While the
//! store does not answer, questions are answered at once that it does not, and it is tried again every second.
//!
//! Deliberately absent: what the answers mean; that is [`crate::policy::quota::lease`].

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tokio::sync::{mpsc, oneshot};

use crate::base::clock::{self, Moment};
use crate::policy::quota::Budgets;
use crate::policy::quota::lease::{QuotaStore, StoreAnswer, StoreAsk, Want};
use crate::policy::snapshot::Snapshot;

/// Questions that may wait.
const ASKS_MAX: usize = 4_096;
/// How long the store may take, to be reached and to answer.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often idle leases and debts are looked for, and a store that is gone is tried.
const TICK: Duration = Duration::from_secs(1);
/// How long a machine that ends tries to give its leases back.
const LAST_TRY: Duration = Duration::from_secs(2);

/// What a core or a page wants of the store.
pub(super) enum LeaseAsk {
    /// Leases, so that an exchange fits.
    Wants(Vec<Want>, oneshot::Sender<bool>),
    /// An amount put into a bucket by hand.
    Refill(StoreAsk, oneshot::Sender<bool>),
    /// The end: give everything back.
    End(oneshot::Sender<()>),
}

/// The way to the task.
#[derive(Clone)]
pub(super) struct Leases {
    asks: Option<mpsc::Sender<LeaseAsk>>,
    seen: Arc<Seen>,
}

/// For metrics.
#[derive(Default)]
pub(super) struct Seen {
    /// Answers of the store.
    pub(super) answers: AtomicU64,
    /// Questions that it did not answer.
    pub(super) failures: AtomicU64,
}

impl Leases {
    /// Start the task, where there is a store. Within the control thread's runtime.
    pub(super) fn start(
        store: Option<QuotaStore>,
        budgets: Arc<Budgets>,
        snapshot: impl Fn() -> Arc<Snapshot> + Send + 'static,
    ) -> Leases {
        let seen = Arc::new(Seen::default());
        let asks = store.map(|store| {
            let (asks, asked) = mpsc::channel(ASKS_MAX);
            let task = Task {
                store,
                budgets,
                snapshot: Box::new(snapshot),
                seen: seen.clone(),
                connection: None,
                gone_until: None,
                leased: HashSet::new(),
            };
            tokio::spawn(task.run(asked));
            asks
        });
        Leases { asks, seen }
    }

    pub(super) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Leases for an exchange; a full line is a store that does not answer.
    pub(super) fn want(&self, wants: Vec<(String, String, i64)>, reply: oneshot::Sender<bool>) {
        let Some(asks) = &self.asks else { return };
        let want = |(bucket, template, amount)| Want { bucket, template, amount };
        // Dropped, the reply says no.
        let _ = asks.try_send(LeaseAsk::Wants(wants.into_iter().map(want).collect(), reply));
    }

    /// Put an amount in by hand; whether the store has it.
    pub(super) async fn refill(&self, ask: StoreAsk) -> bool {
        let Some(asks) = &self.asks else { return false };
        let (reply, answer) = oneshot::channel();
        asks.send(LeaseAsk::Refill(ask, reply)).await.is_ok() && answer.await.unwrap_or(false)
    }

    /// Give everything back, once no core draws any more.
    pub(super) async fn end(&self) {
        let Some(asks) = &self.asks else { return };
        let (reply, done) = oneshot::channel();
        if asks.send(LeaseAsk::End(reply)).await.is_ok() {
            let _ = tokio::time::timeout(LAST_TRY, done).await;
        }
    }
}

struct Task {
    store: QuotaStore,
    budgets: Arc<Budgets>,
    snapshot: Box<dyn Fn() -> Arc<Snapshot> + Send>,
    seen: Arc<Seen>,
    connection: Option<MultiplexedConnection>,
    gone_until: Option<Moment>,
    /// Full names of buckets that something is leased of, or owed to.
    leased: HashSet<String>,
}

impl Task {
    async fn run(mut self, mut asked: mpsc::Receiver<LeaseAsk>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                ask = asked.recv() => match ask {
                    None => return,
                    Some(LeaseAsk::Wants(wants, reply)) => drop(reply.send(self.lease_all(&wants).await)),
                    Some(LeaseAsk::Refill(ask, reply)) => drop(reply.send(self.ask(&ask).await)),
                    Some(LeaseAsk::End(done)) => {
                        self.give_back(true).await;
                        let _ = done.send(());
                        return;
                    }
                },
                _ = tick.tick() => self.give_back(false).await,
            }
        }
    }

    /// Lease what an exchange needs. False as soon as the store does not answer.
    async fn lease_all(&mut self, wants: &[Want]) -> bool {
        for want in wants {
            match self.budgets.ask_for(want, &(self.snapshot)(), clock::wall()) {
                // What cannot be leased is refused by the core, for its own reason.
                Err(_) | Ok(None) => {}
                Ok(Some(ask)) => {
                    self.leased.insert(want.bucket.clone());
                    if !self.ask(&ask).await {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Idle leases and debts; at the end everything.
    async fn give_back(&mut self, everything: bool) {
        let names = self.leased.iter().map(String::as_str);
        let asks = self.budgets.to_give_back(names, &(self.snapshot)(), clock::wall(), everything);
        for ask in asks {
            self.ask(&ask).await;
        }
        // What is over and given back is forgotten; an exchange that comes leases anew.
        let now = clock::wall();
        self.leased.retain(|bucket| self.budgets.is_leased(bucket, now));
    }

    /// One question. Whether it was answered; if not, nothing is as if it had been asked.
    async fn ask(&mut self, ask: &StoreAsk) -> bool {
        let now = clock::now();
        let answered = match self.gone_until {
            Some(until) if now < until => None,
            _ => self.try_ask(ask).await,
        };
        let Some(answer) = answered else {
            self.budgets.unanswered(ask);
            if self.gone_until.is_none_or(|until| now >= until) {
                self.seen.failures.fetch_add(1, Ordering::Relaxed);
                self.gone_until = Some(clock::now().plus(TICK));
                self.connection = None;
            }
            return false;
        };
        self.gone_until = None;
        self.seen.answers.fetch_add(1, Ordering::Relaxed);
        let lasts = u64::try_from(self.store.lease.as_micros()).unwrap_or(u64::MAX);
        // Giving back is no lease: what has ended stays so.
        let until = if ask.need > 0 { clock::wall().saturating_add(lasts) } else { 0 };
        self.budgets.answered(ask, answer, until);
        true
    }

    async fn try_ask(&mut self, ask: &StoreAsk) -> Option<StoreAnswer> {
        let key = format!("{}:quota:{}", self.store.prefix, ask.bucket);
        let known = ask.known.map_or_else(|| "none".to_owned(), |known| known.to_string());
        let mut command = redis::cmd("EVAL");
        command.arg(SCRIPT).arg(1).arg(key);
        command
            .arg(ask.capacity)
            .arg(ask.refill)
            .arg(ask.per_us)
            .arg(ask.back)
            .arg(ask.need)
            .arg(ask.want)
            .arg(known);
        let connection = self.connected().await?;
        let told: (String, String) = command.query_async(connection).await.ok()?;
        Some(StoreAnswer { granted: told.0.parse().ok()?, left: told.1.parse().ok()? })
    }

    async fn connected(&mut self) -> Option<&mut MultiplexedConnection> {
        if self.connection.is_none() {
            let client = redis::Client::open(self.store.url.as_str()).ok()?;
            let config = redis::AsyncConnectionConfig::new()
                .set_connection_timeout(Some(PATIENCE))
                .set_response_timeout(Some(PATIENCE));
            self.connection = client.get_multiplexed_async_connection_with_config(&config).await.ok();
        }
        self.connection.as_mut()
    }
}

/// Refill by the store's own clock, take what is given back, grant. Numbers are written out, since a script's numbers are
/// doubles and would be printed with an exponent: exact up to 2^53, nine million dollars in nanodollars.
const SCRIPT: &str = r#"
local capacity, refill, per = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local back, need, want = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local kept = redis.call('HMGET', KEYS[1], 'balance', 'at')
local balance, at = tonumber(kept[1]), tonumber(kept[2])
if not balance then
  -- Never seen, or lost: no more than was last heard of.
  balance, at = math.min(capacity, tonumber(ARGV[7]) or capacity), now
end
if refill > 0 and per > 0 and now > at then
  local brought = math.floor((now - at) * refill / per)
  if brought > 0 then
    at = math.min(now, at + math.ceil(brought * per / refill))
    balance = balance + brought
  end
end
balance = math.min(capacity, balance + back)
local granted = 0
if balance > 0 and need > 0 then
  granted = math.min(need, balance)
  if balance >= 2 * want then granted = want end
end
balance = balance - granted
redis.call('HSET', KEYS[1], 'balance', string.format('%.0f', balance), 'at', string.format('%.0f', at))
if refill > 0 and per > 0 then
  -- By then it is full, and as good as never seen; a day more for clocks.
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil((capacity - balance) * per / refill / 1000) + 86400000))
else
  redis.call('PERSIST', KEYS[1])
end
return { string.format('%.0f', granted), string.format('%.0f', balance) }
"#;
