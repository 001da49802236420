//! Crossing 2: every counter and histogram by enum name, written per core, read by anybody without a lock.
//!
//! A core is the only writer of its own block, so a count is a plain load and store: no locked instruction
//! and no shared cache line on the hot path. Readers add the blocks up and may be a few events behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

macro_rules! counters {
    ($( $name:ident, $text:literal, $help:literal; )*) => {
        /// What is counted. The text is the metric's name after `weir_`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Count { $( #[doc = $help] $name, )* }

        impl Count {
            /// Every counter, in the order of the page.
            pub const ALL: &'static [Count] = &[ $( Count::$name, )* ];

            /// Metric name after `weir_`; a name without `_total` is a gauge.
            #[must_use]
            pub fn name(self) -> &'static str { match self { $( Count::$name => $text, )* } }

            /// One line of help.
            #[must_use]
            pub fn help(self) -> &'static str { match self { $( Count::$name => $help, )* } }
        }
    };
}

counters! {
    ConnectionsOpen, "connections_open", "Client connections open now.";
    ConnectionsAccepted, "connections_accepted_total", "Client connections accepted.";
    ConnectionsHandedOff, "connections_handed_off_total", "Fresh connections passed to a less loaded core.";
    ConnectionsRefused, "connections_refused_total", "Connections closed at accept because a bound was reached.";
    ExchangesOpen, "exchanges_open", "Exchanges in flight now.";
    ExchangesOk, "exchanges_ok_total", "Exchanges that ended well.";
    ExchangesRefused, "exchanges_refused_total", "Exchanges refused by a rule or for their form.";
    ExchangesProviderError, "exchanges_provider_error_total", "Exchanges the provider answered with an error.";
    ExchangesClientGone, "exchanges_client_gone_total", "Exchanges whose client left before the end.";
    ExchangesTruncated, "exchanges_truncated_total", "Exchanges whose response ended before its terminal marker.";
    ExchangesGatewayFault, "exchanges_gateway_fault_total", "Exchanges that failed through a fault of the gateway.";
    BytesFromClients, "bytes_from_clients_total", "Request body bytes received.";
    BytesToClients, "bytes_to_clients_total", "Response body bytes delivered.";
    UpstreamConnects, "upstream_connects_total", "Connections made to providers.";
    UpstreamReused, "upstream_reused_total", "Pooled provider connections used again.";
    UpstreamStale, "upstream_stale_total", "Pooled provider connections found dead.";
    UpstreamRetries, "upstream_retries_total", "Attempts beyond the first.";
    IdentityLookups, "identity_lookups_total", "Questions about a client's identity that the control thread was asked.";
    InputTokens, "tokens_input_total", "Prompt tokens as reported by providers, cache included.";
    OutputTokens, "tokens_output_total", "Generated tokens as reported by providers.";
    CacheReadTokens, "tokens_cache_read_total", "Prompt tokens read from a provider's cache.";
    CacheWriteTokens, "tokens_cache_write_total", "Prompt tokens written to a provider's cache.";
    ReasoningTokens, "tokens_reasoning_total", "Reasoning tokens, part of the output.";
    ToolCalls, "tool_calls_total", "Tool calls seen in responses.";
    UsageUnknown, "usage_unknown_total", "Successful exchanges whose provider reported no usage.";
    MeterGaveUp, "meter_gave_up_total", "Exchanges whose body could not be read for metering; the bytes passed all the same.";
    RecordsQueued, "records_queued_total", "Records put on the ring.";
    RecordsLost, "records_lost_total", "Records lost because the ring was full.";
    CapturesShed, "captures_shed_total", "Body captures dropped because ring or budget was full.";
    RingRecords, "ring_records", "Records waiting in this core's ring.";
    RingCaptureBytes, "ring_capture_bytes", "Captured bytes waiting for the writer.";
    QuotaRefused, "quota_refused_total", "Exchanges refused because a quota was used up.";
    QuotaWarned, "quota_warned_total", "Exchanges that drew on an empty quota that only warns.";
    QuotaEnded, "quota_ended_total", "Streams ended because they overran a quota.";
    QuotaEstimated, "quota_estimated_total", "Exchanges charged by an estimate: the provider did not say what they used.";
    Panics, "panics_total", "Exchanges ended by a caught panic.";
}

/// Upper bounds of the histogram's buckets, in microseconds; the last bucket is open.
pub const BUCKETS_US: [u64; 14] =
    [5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 50_000, 250_000, 1_000_000];

/// A histogram of durations with fixed buckets ([`BUCKETS_US`]).
#[derive(Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS_US.len() + 1],
    sum_ns: AtomicU64,
}

impl Histogram {
    /// Note one duration. Single writer.
    pub fn note(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let slot = BUCKETS_US.iter().position(|bound| us <= *bound).unwrap_or(BUCKETS_US.len());
        bump(&self.buckets[slot], 1);
        bump(&self.sum_ns, u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }
}

/// One core's counters. Aligned so that two cores never share a line.
#[repr(align(128))]
pub struct CoreStats {
    counts: [AtomicU64; Count::ALL.len()],
    /// Time weir itself spent on an exchange, apart from waiting for client and provider.
    pub own: Histogram,
}

impl Default for CoreStats {
    fn default() -> Self {
        Self { counts: std::array::from_fn(|_| AtomicU64::new(0)), own: Histogram::default() }
    }
}

impl CoreStats {
    /// Add to a counter. Single writer: the core that owns this block.
    pub fn add(&self, what: Count, by: u64) {
        bump(&self.counts[what as usize], by);
    }

    /// Take from a gauge, stopping at zero.
    pub fn sub(&self, what: Count, by: u64) {
        let cell = &self.counts[what as usize];
        cell.store(cell.load(Relaxed).saturating_sub(by), Relaxed);
    }

    /// Set a gauge.
    pub fn set(&self, what: Count, to: u64) {
        self.counts[what as usize].store(to, Relaxed);
    }

    /// Read a counter, from any thread.
    #[must_use]
    pub fn read(&self, what: Count) -> u64 {
        self.counts[what as usize].load(Relaxed)
    }
}

/// Load and store, not a locked add: each cell has one writer.
fn bump(cell: &AtomicU64, by: u64) {
    cell.store(cell.load(Relaxed).wrapping_add(by), Relaxed);
}

/// All cores' blocks, and facts about the process that never change after start.
#[derive(Clone)]
pub struct Stats {
    cores: Arc<[Arc<CoreStats>]>,
}

impl Stats {
    /// Blocks for `cores` serving cores.
    #[must_use]
    pub fn new(cores: usize) -> Self {
        Self { cores: (0..cores.max(1)).map(|_| Arc::default()).collect() }
    }

    /// The block that core `index` alone writes.
    #[must_use]
    pub fn core(&self, index: usize) -> Arc<CoreStats> {
        self.cores[index].clone()
    }

    /// Every core's block, by index.
    #[must_use]
    pub fn cores(&self) -> &[Arc<CoreStats>] {
        &self.cores
    }

    /// The sum over cores.
    #[must_use]
    pub fn total(&self, what: Count) -> u64 {
        self.cores.iter().map(|core| core.read(what)).sum()
    }

    /// Histogram of own overhead over all cores: cumulative counts by [`BUCKETS_US`] (last: all), and the sum in ns.
    #[must_use]
    pub fn own_overhead(&self) -> ([u64; BUCKETS_US.len() + 1], u64) {
        let mut counts = [0u64; BUCKETS_US.len() + 1];
        let mut sum_ns = 0u64;
        for core in self.cores.iter() {
            for (slot, bucket) in counts.iter_mut().zip(&core.own.buckets) {
                *slot += bucket.load(Relaxed);
            }
            sum_ns = sum_ns.saturating_add(core.own.sum_ns.load(Relaxed));
        }
        for i in 1..counts.len() {
            counts[i] += counts[i - 1];
        }
        (counts, sum_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_add_up_and_gauges_stop_at_zero() {
        let stats = Stats::new(2);
        stats.core(0).add(Count::ExchangesOk, 2);
        stats.core(1).add(Count::ExchangesOk, 3);
        stats.core(1).sub(Count::ExchangesOpen, 1);
        assert_eq!(stats.total(Count::ExchangesOk), 5);
        assert_eq!(stats.total(Count::ExchangesOpen), 0);
        stats.core(0).own.note(Duration::from_micros(7));
        stats.core(1).own.note(Duration::from_secs(9));
        let (cumulative, sum_ns) = stats.own_overhead();
        assert_eq!((cumulative[0], cumulative[1], cumulative[BUCKETS_US.len()]), (0, 1, 2));
        assert_eq!(sum_ns, 9_000_007_000);
    }
}
