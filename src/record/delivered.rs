//! Responses that were recorded before: one that is billed once can be delivered twice, since background responses
//! are retrieved and resumed by their id. The first record with its usage counts, later ones say that they are repeats.
//!
//! Remembered are the last [`REMEMBERED_MAX`] of them, across restarts (the index knows the same); one that comes
//! again later than that counts again.

use std::collections::{HashSet, VecDeque};

use xxhash_rust::xxh3::Xxh3;

use super::record::Record;
use crate::llm::dialect::Dialect;

/// Responses remembered: a day of a busy gateway, in less than a megabyte.
pub const REMEMBERED_MAX: usize = 1 << 15;

/// What has been delivered.
#[derive(Debug, Default)]
pub struct Delivered {
    known: HashSet<i64>,
    /// Oldest first.
    order: VecDeque<i64>,
}

impl Delivered {
    /// Those of an earlier run, oldest first.
    #[must_use]
    pub fn of(keys: impl IntoIterator<Item = i64>) -> Delivered {
        let mut delivered = Delivered::default();
        for key in keys {
            delivered.is_new(key);
        }
        delivered
    }

    /// Mark the record if its response was recorded before.
    pub fn judge(&mut self, record: &mut Record) {
        let Some(key) = key(record) else { return };
        record.delivered_again =
            if record.is_whole() { !self.is_new(key) } else { self.known.contains(&key) };
    }

    fn is_new(&mut self, key: i64) -> bool {
        if !self.known.insert(key) {
            return false;
        }
        if self.order.len() == REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(key);
        true
    }
}

/// The response that a record bills, where the API delivers by id: a hash of provider and id.
#[must_use]
pub fn key(record: &Record) -> Option<i64> {
    let reading = &record.reading;
    let by_id = matches!(record.dialect, Some(Dialect::Responses | Dialect::Interactions));
    let by_id = by_id || reading.batch.is_some();
    let id = reading.response_id.as_ref().filter(|_| by_id && !reading.usage.is_unknown())?;
    let mut hash = Xxh3::new();
    hash.update(record.provider.as_bytes());
    hash.update(&[0]);
    hash.update(id.as_bytes());
    Some(hash.digest().cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, output_tokens: Option<u64>) -> Record {
        let mut record =
            Record { provider: "acme".into(), dialect: Some(Dialect::Responses), ..Record::default() };
        record.reading.response_id = Some(id.into());
        record.reading.usage.output_tokens = output_tokens;
        record
    }

    #[test]
    fn the_first_with_usage_counts() {
        let mut delivered = Delivered::default();
        let mut again = |mut record: Record| {
            delivered.judge(&mut record);
            record.delivered_again
        };
        assert!(!again(record("a", None)), "in the background: no usage yet");
        assert!(!again(record("a", Some(7))));
        assert!(again(record("a", Some(7))));
        assert!(!again(record("a", None)), "what bills nothing repeats nothing");
        assert!(
            !again(Record { provider: "other".into(), ..record("a", Some(7)) }),
            "ids are the provider's"
        );
        assert!(!again(Record { dialect: Some(Dialect::Chat), ..record("a", Some(7)) }));
    }

    #[test]
    fn memory_has_a_bound_and_survives() {
        let mut delivered = Delivered::of(0..REMEMBERED_MAX as i64);
        assert!(!delivered.is_new(0));
        assert!(delivered.is_new(-1));
        assert!(delivered.is_new(0), "the oldest was forgotten");
        assert_eq!(delivered.known.len(), REMEMBERED_MAX);
        assert_eq!(delivered.order.len(), REMEMBERED_MAX);
    }
}
