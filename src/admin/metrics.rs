//! `/metrics`: every counter by its name, in the text form of Prometheus. Never a text that came in a request.

use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

use super::Facts;
use super::leases::Seen;
use crate::base::stats::{BUCKETS_US, Count};

/// The whole page.
pub(super) fn text(facts: &Facts, leases: &Seen) -> String {
    let mut page = Page(String::with_capacity(16 * 1024));
    counts(&mut page, facts);
    own_overhead(&mut page, facts);
    config(&mut page, facts);
    writer(&mut page, facts);
    shared_quotas(&mut page, leases);
    process(&mut page, facts);
    page.0
}

/// Counters are summed over cores; gauges come per core, since a sum hides the core that is full.
fn counts(page: &mut Page, facts: &Facts) {
    for what in Count::ALL {
        let name = format!("weir_{}", what.name());
        if what.name().ends_with("_total") {
            page.one(&name, "counter", what.help(), facts.stats.total(*what));
            continue;
        }
        page.head(&name, "gauge", what.help());
        for (index, core) in facts.stats.cores().iter().enumerate() {
            page.line(&format!("{name}{{core=\"{index}\"}}"), core.read(*what));
        }
    }
}

fn own_overhead(page: &mut Page, facts: &Facts) {
    let (counts, sum_ns) = facts.stats.own_overhead();
    let name = "weir_own_overhead_seconds";
    page.head(
        name,
        "histogram",
        "Time weir itself spent on an exchange, apart from waiting for client and provider.",
    );
    for (bound, count) in BUCKETS_US.iter().zip(counts) {
        page.line(&format!("{name}_bucket{{le=\"{}\"}}", *bound as f64 / 1e6), count);
    }
    let all = counts[BUCKETS_US.len()];
    page.line(&format!("{name}_bucket{{le=\"+Inf\"}}"), all);
    page.line(&format!("{name}_sum"), sum_ns as f64 / 1e9);
    page.line(&format!("{name}_count"), all);
}

fn config(page: &mut Page, facts: &Facts) {
    let view = facts.reloads.view();
    page.one(
        "weir_config_swaps_total",
        "counter",
        "Configurations put in force since the start.",
        view.swaps,
    );
    page.one(
        "weir_config_refused_total",
        "counter",
        "Changes of configuration, keys or certificates that were refused.",
        view.refusals,
    );
    let current = u64::from(view.refused.is_empty());
    page.one("weir_config_current", "gauge", "1 where what is in force is what is written.", current);
}

fn writer(page: &mut Page, facts: &Facts) {
    let health = facts.health.view();
    let counters = [
        ("weir_store_records_lost_total", "Records lost since installation.", health.lost_total),
        ("weir_store_captures_shed_total", "Parts of bodies shed since installation.", health.shed_total),
        (
            "weir_store_tails_cut_total",
            "Torn tails cut at a start, since installation.",
            health.tails_cut_total,
        ),
        ("weir_writer_batches_total", "Batches made durable.", health.batches),
        ("weir_writer_records_total", "Records made durable.", health.records),
        ("weir_writer_raw_bytes_total", "Bytes before compression.", health.bytes_raw),
        ("weir_writer_stored_bytes_total", "Bytes written to segments.", health.bytes_stored),
        ("weir_writer_failures_total", "Attempts to write that failed.", health.failures),
    ];
    for (name, help, value) in counters {
        page.one(name, "counter", help, value);
    }
    let gauges = [
        (
            "weir_writer_open_exchanges",
            "Exchanges opened and not closed, as far as the writer has read.",
            health.open,
        ),
        (
            "weir_writer_index_behind_blocks",
            "Blocks of the log that the index has not seen.",
            health.index_behind,
        ),
        ("weir_writer_failing", "Whether the last attempt to write failed.", u64::from(health.failing)),
    ];
    for (name, help, value) in gauges {
        page.one(name, "gauge", help, value);
    }
    let help = "Age of the oldest note that is taken and not yet durable.";
    page.one("weir_writer_lag_seconds", "gauge", help, health.lag_us as f64 / 1e6);
}

fn shared_quotas(page: &mut Page, leases: &Seen) {
    let answers = leases.answers.load(Relaxed);
    page.one(
        "weir_quota_store_answers_total",
        "counter",
        "Answers of the store that machines share quotas through.",
        answers,
    );
    let failures = leases.failures.load(Relaxed);
    page.one("weir_quota_store_failures_total", "counter", "Times that store could not be asked.", failures);
}

fn process(page: &mut Page, facts: &Facts) {
    page.one("weir_draining", "gauge", "Whether the gateway drains.", u64::from(facts.drain.load(Relaxed)));
    page.one(
        "weir_quota_buckets",
        "gauge",
        "Quota buckets that somebody has drawn on.",
        facts.budgets.count(),
    );
    page.one("weir_cores", "gauge", "Serving cores.", facts.stats.cores().len());
    page.one(
        "weir_start_time_seconds",
        "gauge",
        "When this process began to serve, in seconds since 1970.",
        facts.started_at_us as f64 / 1e6,
    );
    page.head("weir_build_info", "gauge", "Version, and how the cores wait.");
    let version = env!("CARGO_PKG_VERSION");
    page.line(&format!("weir_build_info{{version=\"{version}\",driver=\"{}\"}}", facts.driver), 1);
}

struct Page(String);

impl Page {
    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
        self.head(name, kind, help);
        self.line(name, value);
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{name} {value}");
    }
}
