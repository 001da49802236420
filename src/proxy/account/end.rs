//! How an exchange ends: what it was, what it probably used where nobody said, and its one record.

use std::time::Duration;

use super::{Account, hexadecimal};

use crate::base::stats::Count;
use crate::llm::dialect::paths::Endpoint;
use crate::llm::estimate::{self, Estimate};
use crate::llm::meter;
use crate::llm::usage::Usage;
use crate::policy::identity;
use crate::proxy::budget::Passed;
use crate::proxy::core::Core;
use crate::proxy::fault::{Fault, Kind, Side};
use crate::proxy::{heads, reply};
use crate::record::record::{BodyKind, FaultNote, Note, Outcome, QuotaNote, QuotaResult};
use crate::wire::h1::Request;

impl Account {
    /// What went wrong.
    pub(in crate::proxy) fn failed(&mut self, fault: &Fault) {
        // A provider's status that has not gone out is not what the client will see.
        if self.record.status == 0 || !self.head_sent {
            self.record.status = reply::status(fault);
        }
        self.record.outcome = outcome_of(fault);
        if let Kind::Exceeded(why) = &fault.kind {
            let result = QuotaResult::Refused;
            self.record.quotas.push(QuotaNote {
                bucket: why.bucket().to_owned(),
                result,
                ..QuotaNote::default()
            });
        }
        self.record.fault = Some(FaultNote {
            side: fault.side().name().to_owned(),
            kind: fault.word().to_owned(),
            cause: if fault.cause.is_empty() { fault.to_string() } else { fault.cause.clone() },
        });
    }

    /// The end, whatever happened: one record.
    pub(in crate::proxy) fn close(mut self, core: &Core, request: Option<&mut Request>) {
        if let Some(request) = request {
            self.record.request_headers = std::mem::take(&mut request.head.fields);
            // What vouched is gone from it already; of a request that was refused all that could have is taken out.
            core.with_trust(|snapshot, _, _| {
                let withheld = |name: &[u8]| identity::is_withheld(name, &snapshot.sources);
                self.record
                    .request_headers
                    .redact(|name, value| heads::is_secret(name, value) || withheld(name));
            });
        }
        let events = self.meter.as_ref().map_or(self.messages, |meter| meter.events());
        if let Some(meter) = self.meter.take() {
            self.record.reading = meter.finish();
            if self.route.as_ref().is_some_and(|route| {
                matches!(route.endpoint, Endpoint::Make | Endpoint::Object | Endpoint::Direct)
            }) {
                // What a batch or a file tells of its past was billed elsewhere.
                self.record.reading.usage = Usage::default();
            }
            if self.record.reading.batch.is_some() {
                // By it a second reading is known as one.
                self.record.reading.response_id = self.route.as_ref().and_then(|route| route.object.clone());
            }
        }
        for container in std::mem::take(&mut self.record.reading.containers) {
            self.bind(container).into_iter().for_each(|bound| core.objects.made(core, bound));
        }
        if let Some(hash) = self.hash_in.take() {
            self.record.request_hash = hexadecimal(hash.digest());
        }
        if self.record.bytes.response_sent > 0 {
            self.record.response_hash = self.response_hash().map(hexadecimal).unwrap_or_default();
        }
        let last = std::mem::take(&mut self.part);
        if !last.is_empty() {
            self.keep(core, BodyKind::Response, last);
        }
        if self.record.fault.is_none() {
            self.record.outcome = self.outcome();
            self.record.fault = self.misspoken();
        }
        self.record.estimated_usage = self.estimate(events);
        self.record.times.last_byte_us = self.elapsed_us();
        if let Some(held) = self.held.take() {
            let passed = Passed { events, bytes: self.record.bytes.response_received };
            held.settle(core, passed, &mut self.record);
        }
        self.count(core);
        core.note_close(Note::Close(self.record), self.reservation);
    }

    /// What was probably used where the provider answered and did not say, or not to the end.
    fn estimate(&self, events: u64) -> Option<Estimate> {
        let record = &self.record;
        let reading = &record.reading;
        let generates = self.route.as_ref().is_some_and(|route| route.endpoint == Endpoint::Generate);
        let answered = record.attempts.iter().filter_map(|attempt| attempt.status).any(|status| status < 300);
        let runs_on = matches!(reading.stop_reason.as_deref(), Some("queued" | "in_progress"));
        let ended = !reading.stream || reading.complete || reading.stop_reason.is_some();
        let usage = &reading.usage;
        let whole = usage.input_tokens.is_some() && usage.output_tokens.is_some() && ended;
        let no_answer = matches!(reading.not_metered.as_deref(), Some(meter::NO_ANSWER | meter::EMPTY));
        if !generates || !answered || runs_on || whole || reading.error.is_some() || no_answer {
            return None;
        }
        let bytes = &record.bytes;
        (bytes.response_received > 0).then(|| {
            Estimate::of(estimate::Passed {
                request_bytes: bytes.request_received,
                response_bytes: bytes.response_received,
                events,
            })
        })
    }

    fn outcome(&self) -> Outcome {
        let reading = &self.record.reading;
        let no_answer = matches!(reading.not_metered.as_deref(), Some(meter::NO_ANSWER | meter::EMPTY));
        if self.record.status >= 400 || reading.error.is_some() || no_answer {
            return Outcome::ProviderError;
        }
        // Several vendors end a good stream without a marker; a stop reason is then the sign that it was whole.
        let good = reading.stream && reading.stop_reason.is_some();
        let cut = !reading.complete && !good && reading.not_metered.is_none();
        if cut { Outcome::Truncated } else { Outcome::Ok }
    }

    /// The provider's fault where its answer is none of the API that was called. The client has got it all the same; it
    /// is no error, since in another language it may be a good answer, and may be billed.
    fn misspoken(&self) -> Option<FaultNote> {
        let why = self.record.reading.not_metered.as_deref()?;
        let kind = match why {
            meter::FOREIGN => "foreign_answer",
            meter::NO_ANSWER => "no_answer",
            meter::EMPTY => "empty_answer",
            _ => return None,
        };
        Some(FaultNote {
            side: Side::Provider.name().to_owned(),
            kind: kind.to_owned(),
            cause: format!("what the provider answered is {why}"),
        })
    }

    fn count(&self, core: &Core) {
        let (stats, record) = (&core.stats, &self.record);
        stats.sub(Count::ExchangesOpen, 1);
        stats.add(
            match record.outcome {
                Outcome::Ok => Count::ExchangesOk,
                Outcome::Refused => Count::ExchangesRefused,
                Outcome::ProviderError => Count::ExchangesProviderError,
                Outcome::ClientGone => Count::ExchangesClientGone,
                Outcome::Truncated => Count::ExchangesTruncated,
                Outcome::GatewayFault | Outcome::GatewayLost => Count::ExchangesGatewayFault,
            },
            1,
        );
        stats.add(Count::BytesToClients, record.bytes.response_sent);
        stats.add(Count::ToolCalls, record.reading.tool_uses.len() as u64);
        let usage = &record.reading.usage;
        for (count, tokens) in [
            (Count::InputTokens, usage.input_tokens),
            (Count::OutputTokens, usage.output_tokens),
            (Count::CacheReadTokens, usage.cache_read_tokens),
            (Count::CacheWriteTokens, usage.cache_write_tokens),
            (Count::ReasoningTokens, usage.reasoning_tokens),
        ] {
            stats.add(count, tokens.unwrap_or(0));
        }
        let generates = self.route.as_ref().is_none_or(|route| route.endpoint != Endpoint::Socket);
        if record.outcome == Outcome::Ok && usage.is_unknown() && generates {
            stats.add(Count::UsageUnknown, 1);
        }
        if record.reading.not_metered.is_some() {
            stats.add(Count::MeterGaveUp, 1);
        }
        for note in &record.quotas {
            match note.result {
                QuotaResult::Held => {}
                QuotaResult::Warned => stats.add(Count::QuotaWarned, 1),
                QuotaResult::Refused => stats.add(Count::QuotaRefused, 1),
                QuotaResult::Ended => stats.add(Count::QuotaEnded, 1),
            }
        }
        if record.estimated {
            stats.add(Count::QuotaEstimated, 1);
        }
        if record.times.own_us > 0 {
            stats.own.note(Duration::from_micros(record.times.own_us));
        }
    }
}

fn outcome_of(fault: &Fault) -> Outcome {
    match (&fault.kind, fault.side()) {
        (Kind::ClientGone | Kind::ClientStalled, _) => Outcome::ClientGone,
        (Kind::Truncated | Kind::IdleTimeout, _) => Outcome::Truncated,
        (_, Side::Provider) => Outcome::ProviderError,
        (Kind::Busy, _) | (_, Side::Client | Side::Rule) => Outcome::Refused,
        _ => Outcome::GatewayFault,
    }
}
