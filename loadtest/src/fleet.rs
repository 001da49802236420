//! A small fleet of agents that behave like real ones: growing histories, tool calls answered with results, pauses to
//! think, titles asked on the side, the headers of the programs they imitate. Every byte they receive is checked.
//!
//! `weir demo` runs one against the embedded provider; the agents need nothing but a base URL.

mod agent;
mod speech;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::knobs::Knobs;
use agent::Agent;

/// What to run. Change the fields wanted after [`Fleet::new`].
#[derive(Debug, Clone)]
pub struct Fleet {
    pub addr: SocketAddr,
    /// Before the API's own path, for instance `/anthropic`; usually empty.
    pub prefix: String,
    pub agents: usize,
    /// Turns in flight at once; agents are shared out among the threads.
    pub threads: usize,
    pub lasting: Duration,
    /// Mean pause before a user's next message.
    pub thinking: Duration,
    pub seed: u64,
    /// Sent as the vendor's credential; the gateway replaces it.
    pub credential: String,
    /// The provider's own knobs, to know what it answers.
    pub server: Knobs,
    /// `x-synthetic` sent with each request, if not empty.
    pub synthetic: String,
    /// One turn in that many is left midway; 0 for never.
    pub leave_one_in: u64,
    /// A session begins anew once its next body is larger.
    pub history_bytes_max: usize,
}

/// What came of it. Token counts are those of the answers that arrived whole, as the dialect counts them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Totals {
    /// Requests that carry a conversation on, side requests, and sessions begun.
    pub turns: u64,
    pub side_requests: u64,
    pub sessions: u64,
    pub tool_calls: u64,
    pub events: u64,
    pub request_bytes: u64,
    pub response_bytes: u64,
    pub tokens_in: u64,
    pub tokens_cache_read: u64,
    pub tokens_cache_write: u64,
    pub tokens_out: u64,
    /// Exchanges left on purpose.
    pub left: u64,
    /// Answers with another status than the provider's, broken or cut ones, failed connections.
    pub errors: u64,
    /// Answers in which a byte was wrong.
    pub mismatches: u64,
    /// The first few errors and mismatches, in words.
    pub complaints: Vec<String>,
    /// Turns by the agent's name.
    pub by_agent: BTreeMap<&'static str, u64>,
    /// Response heads: the sum of waits, for a mean over `turns + side_requests`.
    pub head_wait: Duration,
}

const COMPLAINTS_MAX: usize = 8;

impl Fleet {
    /// `base` is `host:port`, with or without `http://` and a path prefix.
    pub fn new(base: &str) -> io::Result<Fleet> {
        let rest = base.strip_prefix("http://").unwrap_or(base);
        let (host, prefix) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let addr = host.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
        Ok(Fleet {
            addr,
            prefix: prefix.trim_end_matches('/').to_owned(),
            agents: 6,
            threads: 6,
            lasting: Duration::from_secs(20),
            thinking: Duration::from_millis(800),
            seed: 1,
            credential: "synthetic".to_owned(),
            server: Knobs::default(),
            synthetic: String::new(),
            leave_one_in: 0,
            history_bytes_max: 200_000,
        })
    }

    /// Run to the end of `lasting`, or until `stop` is set. `progress` is called about twice a second, from the
    /// caller's thread. A turn under way at the end is finished (each read is bounded by the client's time limit).
    pub fn run(&self, stop: &AtomicBool, mut progress: impl FnMut(&Totals)) -> Totals {
        let totals = Mutex::new(Totals::default());
        let read = || totals.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let end = Instant::now() + self.lasting;
        let over = || stop.load(Ordering::Relaxed) || Instant::now() >= end;
        let threads = self.threads.clamp(1, self.agents.max(1));
        thread::scope(|scope| {
            let running: Vec<_> = (0..threads)
                .map(|thread| {
                    let agents =
                        (thread..self.agents).step_by(threads).map(|n| Agent::new(self, n)).collect();
                    scope.spawn(|| live(agents, &totals, &over))
                })
                .collect();
            while !running.iter().all(|t| t.is_finished()) {
                nap(Duration::from_millis(500), &|| running.iter().all(|t| t.is_finished()));
                progress(&read());
            }
        });
        read()
    }
}

/// Serve some agents in the order in which they are due.
fn live(mut agents: Vec<Agent>, totals: &Mutex<Totals>, over: &dyn Fn() -> bool) {
    while let Some(agent) = agents.iter_mut().min_by_key(|a| a.due()) {
        nap(agent.due().saturating_duration_since(Instant::now()), over);
        if over() {
            return;
        }
        let turn = agent.turn();
        totals.lock().unwrap_or_else(PoisonError::into_inner).add(turn);
    }
}

/// Sleep in short steps, so that an end is noticed.
fn nap(wait: Duration, over: &dyn Fn() -> bool) {
    let due = Instant::now() + wait;
    while !over() {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::sleep(left.min(Duration::from_millis(20)));
    }
}

impl Totals {
    fn add(&mut self, turn: Totals) {
        self.turns += turn.turns;
        self.side_requests += turn.side_requests;
        self.sessions += turn.sessions;
        self.tool_calls += turn.tool_calls;
        self.events += turn.events;
        self.request_bytes += turn.request_bytes;
        self.response_bytes += turn.response_bytes;
        self.tokens_in += turn.tokens_in;
        self.tokens_cache_read += turn.tokens_cache_read;
        self.tokens_cache_write += turn.tokens_cache_write;
        self.tokens_out += turn.tokens_out;
        self.left += turn.left;
        self.errors += turn.errors;
        self.mismatches += turn.mismatches;
        let room = COMPLAINTS_MAX.saturating_sub(self.complaints.len());
        self.complaints.extend(turn.complaints.into_iter().take(room));
        for (name, turns) in turn.by_agent {
            *self.by_agent.entry(name).or_default() += turns;
        }
        self.head_wait += turn.head_wait;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{End, Provider};

    #[test]
    fn a_fleet_and_the_truth_agree() {
        let provider = Provider::start(Knobs::of("events=12"));
        let mut fleet = Fleet::new(&provider.url()).expect("a base URL");
        (fleet.lasting, fleet.thinking) = (Duration::from_millis(400), Duration::from_millis(5));
        (fleet.server, fleet.history_bytes_max, fleet.leave_one_in) = (provider.knobs(), 40_000, 5);
        let mut calls = 0;
        let totals = fleet.run(&AtomicBool::new(false), |_| calls += 1);
        assert_eq!((totals.errors, totals.mismatches), (0, 0), "{totals:?}");
        assert!(calls > 0 && totals.turns > 20 && totals.tool_calls > 5 && totals.left > 0, "{totals:?}");
        assert!(totals.sessions as usize >= fleet.agents && totals.by_agent.len() > 3, "{totals:?}");

        let served = provider.wait((totals.turns + totals.side_requests) as usize, Duration::from_secs(5));
        assert_eq!(served.len() as u64, totals.turns + totals.side_requests);
        let out: u64 = served.iter().filter(|s| s.end == End::Complete).map(|s| s.claim.tokens_out).sum();
        // Those left midway may have been written whole before the provider noticed.
        assert!(out >= totals.tokens_out);
        assert!(served.iter().any(|s| s.claim.tokens_cache_read > 1000), "histories grow");
        assert!(served.iter().any(|s| s.header("x-claude-code-session-id").is_some()));
    }

    #[test]
    fn a_gateway_that_is_not_there_is_an_error_not_a_hang() {
        let mut fleet = Fleet::new("127.0.0.1:1").expect("a base URL");
        (fleet.agents, fleet.lasting, fleet.thinking) =
            (2, Duration::from_millis(100), Duration::from_millis(1));
        let totals = fleet.run(&AtomicBool::new(false), |_| ());
        assert!(totals.errors > 0 && !totals.complaints.is_empty());
    }
}
