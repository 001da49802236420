//! What of a record is billed, and by which rate: decided once, when it is stored, from what the wire said.
//!
//! Deliberately absent: prices. What is stored here can be priced again tomorrow.

use memchr::memmem;

use crate::llm::dialect::paths::{self, Endpoint};
use crate::llm::price::rate::{self, Rate};
use crate::llm::reading::BilledRun;
use crate::llm::usage::Usage;
use crate::record::record::{Outcome, Record};

/// A sampling run as it is stored.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) model: String,
    pub(super) rate: String,
    pub(super) usage: Usage,
}

/// The counts that go into sums: none where they were counted before.
pub(super) fn counted(record: &Record) -> Usage {
    if record.delivered_again { Usage::default() } else { record.reading.usage }
}

/// How the record's exchange is priced.
pub(super) fn rate_of(record: &Record) -> String {
    let reading = &record.reading;
    if record.delivered_again || is_free(record) {
        return rate::NOTHING.to_owned();
    }
    if !reading.billed_runs.is_empty() || record.estimated_usage.is_some() {
        return rate::BY_RUNS.to_owned();
    }
    let usage = &reading.usage;
    let known =
        usage.input_tokens.is_some() && usage.output_tokens.is_some() || usage.audio_seconds.is_some();
    match () {
        () if known => rate_at(record, model_of(record), usage.input_tokens).text(),
        () if may_be_billed(record) => rate::UNKNOWN.to_owned(),
        () => rate::NOTHING.to_owned(),
    }
}

/// Where that is by runs: what is billed in its place; what was estimated is one. What providers ran beside them, searches, is billed with the first.
pub(super) fn runs_of(record: &Record) -> Vec<Run> {
    let searches = record.reading.usage.web_searches;
    let of_batch = record.reading.batch.is_some();
    let run = |(place, run): (usize, &BilledRun)| {
        let model = run.model.as_deref().unwrap_or(model_of(record));
        // Runs of a batch have their own; those of one answer share its searches.
        let web_searches = run.usage.web_searches.or(searches.filter(|_| place == 0 && !of_batch));
        let rate = rate_at(record, model, run.prompt.or(run.usage.input_tokens)).text();
        Run { model: model.to_owned(), rate, usage: Usage { web_searches, ..run.usage } }
    };
    let runs = record.reading.billed_runs.iter().enumerate().map(run).collect();
    match record.estimated_usage {
        None => runs,
        Some(estimate) => {
            let usage = estimate.complete(&record.reading.usage);
            let rate = Rate { estimated: true, ..rate_at(record, model_of(record), usage.input_tokens) };
            vec![Run { model: model_of(record).to_owned(), rate: rate.text(), usage }]
        }
    }
}

/// The model that answered, or was asked for where none did.
pub(super) fn model_of(record: &Record) -> &str {
    record.reading.model.as_deref().or(record.ask.model.as_deref()).unwrap_or("")
}

fn rate_at(record: &Record, model: &str, prompt: Option<u64>) -> Rate {
    let terms = rate::terms_at(&record.reading.terms, &record.path);
    let asked = record.ask.model.as_deref();
    Rate::of(model, asked, prompt.unwrap_or(0), &terms, record.times.accepted_at_us)
}

/// Counting tokens costs nothing; nor does what is put down for later, a file or a batch, whose answers are billed when
/// they are read.
fn is_free(record: &Record) -> bool {
    let path = record.path.split('?').next().unwrap_or_default();
    // The table of paths is long, and this is asked of every record.
    if !FREE.iter().any(|part| memmem::find(path.as_bytes(), part.as_bytes()).is_some()) {
        return false;
    }
    let endpoint = paths::endpoint(&record.method, path).map(|route| route.endpoint);
    matches!(endpoint, Some(Endpoint::CountTokens | Endpoint::Make | Endpoint::Object))
}

/// Parts of the paths of what costs nothing.
const FREE: &[&str] = &["count", "input_tokens", "batches", "files", "conversations", "vector_stores"];

/// Whether a provider that reported no usage may have billed some: it answered, or began to.
fn may_be_billed(record: &Record) -> bool {
    let answered = (200..300).contains(&record.status) && !record.provider.is_empty();
    let free = matches!(record.dialect, None | Some(crate::llm::dialect::Dialect::Moderations));
    match record.outcome {
        Outcome::Ok | Outcome::Truncated | Outcome::ClientGone => {
            answered && !free && record.method == "POST"
        }
        Outcome::GatewayLost => !free,
        Outcome::Refused | Outcome::ProviderError | Outcome::GatewayFault => false,
    }
}
