//! Sessions that no exchange names by itself: found from the exchanges before it.
//!
//! ```text
//!   previous_response   an answer's id belongs to its session; who continues it does too
//!   fingerprint         alike beginnings within a window of time are one session, later ones another
//! ```
//!
//! Both by principal: ids are chosen by clients, and nobody joins a session by naming it. What is remembered has a
//! bound; at it the older half is forgotten, and what continued from there begins a session of its own.

use std::collections::HashMap;

use xxhash_rust::xxh3::Xxh3;

use super::record::Record;
use crate::base::clock::Wall;

/// Answers and beginnings remembered, each.
const REMEMBERED_MAX: usize = 1 << 14;
/// Longest silence within a session that is known by its beginning alone.
const SILENCE_US: u64 = 4 * 3_600_000_000;

/// What earlier exchanges tell of later ones.
#[derive(Debug, Default)]
pub(super) struct Threads {
    /// By principal and response id.
    answers: HashMap<u64, Known>,
    /// By principal and fingerprint.
    beginnings: HashMap<u64, Known>,
}

#[derive(Debug)]
struct Known {
    session: String,
    last_at: Wall,
}

impl Threads {
    /// Give a closed exchange the session it continues, and remember it for those that continue it.
    pub(super) fn judge(&mut self, record: &mut Record) {
        let at = record.times.accepted_at_us;
        match record.caller.session_by.as_str() {
            "previous_response" => {
                let key = key(record, &record.caller.session);
                if let Some(known) = self.answers.get(&key) {
                    record.caller.session.clone_from(&known.session);
                }
            }
            "fingerprint" => self.by_beginning(record, at),
            _ => {}
        }
        let Some(answer) = &record.reading.response_id else { return };
        if record.caller.session.is_empty() || record.dialect != Some(crate::llm::dialect::Dialect::Responses)
        {
            return;
        }
        let known = Known { session: record.caller.session.clone(), last_at: at };
        remember(&mut self.answers, key(record, answer), known);
    }

    fn by_beginning(&mut self, record: &mut Record, at: Wall) {
        let key = key(record, &record.caller.session);
        let known =
            self.beginnings.get_mut(&key).filter(|known| at < known.last_at.saturating_add(SILENCE_US));
        if let Some(known) = known {
            known.last_at = known.last_at.max(at);
            record.caller.session.clone_from(&known.session);
            return;
        }
        let session = format!("{}-{:x}", record.caller.session, at / 1_000_000);
        record.caller.session.clone_from(&session);
        remember(&mut self.beginnings, key, Known { session, last_at: at });
    }
}

fn remember(known: &mut HashMap<u64, Known>, key: u64, new: Known) {
    if known.len() >= REMEMBERED_MAX && !known.contains_key(&key) {
        let mut times: Vec<Wall> = known.values().map(|known| known.last_at).collect();
        times.sort_unstable();
        let half = times[times.len() / 2];
        known.retain(|_, known| known.last_at > half);
    }
    known.insert(key, new);
}

fn key(record: &Record, id: &str) -> u64 {
    let mut hash = Xxh3::new();
    for part in [&record.who.principal, &record.who.source] {
        hash.update(part.as_bytes());
        hash.update(&[0]);
    }
    hash.update(id.as_bytes());
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::dialect::Dialect;

    fn exchange(who: &str, by: &str, session: &str, answer: &str, at: Wall) -> Record {
        let mut record = Record { dialect: Some(Dialect::Responses), ..Record::default() };
        record.who.principal = who.into();
        record.caller.session = session.into();
        record.caller.session_by = by.into();
        record.reading.response_id = Some(answer.into());
        record.times.accepted_at_us = at;
        record
    }

    fn judged(threads: &mut Threads, mut record: Record) -> String {
        threads.judge(&mut record);
        record.caller.session
    }

    #[test]
    fn a_chain_of_answers_is_one_session_of_one_principal() {
        let mut threads = Threads::default();
        assert_eq!(judged(&mut threads, exchange("ann", "cache_key", "k", "r1", 1)), "k");
        assert_eq!(judged(&mut threads, exchange("ann", "previous_response", "r1", "r2", 2)), "k");
        assert_eq!(judged(&mut threads, exchange("ann", "previous_response", "r2", "r3", 3)), "k");
        assert_eq!(judged(&mut threads, exchange("bob", "previous_response", "r2", "r4", 4)), "r2");
        assert_eq!(
            judged(&mut threads, exchange("ann", "previous_response", "r0", "r5", 5)),
            "r0",
            "unknown"
        );
    }

    #[test]
    fn alike_beginnings_are_one_session_for_a_while() {
        let mut threads = Threads::default();
        let mut at = |at: Wall| judged(&mut threads, exchange("ann", "fingerprint", "f00", "", at));
        let first = at(1_000_000);
        assert_eq!(first, "f00-1");
        assert_eq!(at(SILENCE_US), first);
        assert_eq!(at(2 * SILENCE_US - 1), first, "each exchange keeps it going");
        assert_ne!(at(4 * SILENCE_US), first);
    }

    #[test]
    fn memory_has_a_bound() {
        let mut threads = Threads::default();
        for n in 0..REMEMBERED_MAX as u64 + 10 {
            judged(&mut threads, exchange("ann", "fingerprint", &format!("f{n}"), &format!("r{n}"), n));
        }
        assert!(threads.answers.len() <= REMEMBERED_MAX && threads.beginnings.len() <= REMEMBERED_MAX);
    }
}
