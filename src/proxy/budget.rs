//! What an exchange draws on its budgets: reserved before a provider is called, settled when the exchange closes,
//! however it ends.
//!
//! ```text
//!   reserve ── likely cost: size of the body, its session's last turn, recent outputs of the model
//!      │
//!      ├─ nothing executed: refused, no connection, an error without usage ──▶ settled at nothing
//!      ├─ the provider said what it used, to the end                       ──▶ settled at that
//!      └─ it did not, or was cut off ──▶ what it said, and at least what was seen on the wire; marked `estimated`
//! ```
//!
//! Frames of a WebSocket are exchanges of their own: whoever has a [`Record`] can reserve and settle here.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use tokio::sync::oneshot;
use xxhash_rust::xxh3::Xxh3;

use super::core::Core;
use super::fault::{Fault, Kind};
use crate::base::clock::{self, Wall};
use crate::llm::agent::Caller;
use crate::llm::ask;
use crate::llm::dialect::Endpoint;
use crate::llm::ending::Ending;
use crate::llm::price::book::Names;
use crate::llm::price::rate::{self, Rate};
use crate::llm::price::{Book, Card, Cards, Counts, Terms};
use crate::llm::reading::BilledRun;
use crate::llm::usage::Usage;
use crate::policy::decide::Hop;
use crate::policy::grant::groups_of;
use crate::policy::identity::Principal;
use crate::policy::quota::lease::Want;
use crate::policy::quota::predict::Asked;
use crate::policy::quota::{self, Cost, Drawn, Fill, Pass, Refusal, Reservation};
use crate::policy::snapshot::{Provider, Snapshot};
use crate::record::record::{Outcome, QuotaNote, QuotaResult, Record};
use crate::wire::crossing::Ask;

/// What an exchange is, as far as its cost and its buckets go.
pub(super) struct Draw<'a> {
    pub(super) principal: Option<&'a Principal>,
    pub(super) caller: &'a Caller,
    pub(super) ask: &'a ask::Ask,
    pub(super) endpoint: Endpoint,
    pub(super) provider: &'a Arc<Provider>,
    pub(super) hop: &'a Hop,
    pub(super) body_bytes: u64,
}

/// What is held for a running exchange.
pub(super) struct Held {
    reservation: Reservation,
    provider: Arc<Provider>,
    /// The prices it is charged by are those it was admitted by.
    snapshot: Arc<Snapshot>,
    /// Model as sent.
    model: String,
    session: u64,
    body_bytes: u64,
    max_tokens: Option<u64>,
    /// Input as it was estimated; none where the endpoint costs no tokens.
    input_tokens: Option<u64>,
    /// The bucket that a stream overran, and was ended for.
    ended_by: Option<String>,
}

/// What is known of a running answer.
#[derive(Clone, Copy)]
pub(super) struct Passed {
    /// Events of its stream.
    pub(super) events: u64,
    /// Bytes of its body.
    pub(super) bytes: u64,
}

/// Hold what the exchange will probably cost, on each of its buckets; a fault that names the bucket which refuses. Only
/// a bucket that machines share, and only where its lease does not hold it, is waited for.
pub(super) async fn reserve(core: &Core, draw: &Draw<'_>) -> Result<Held, Fault> {
    let wants = match try_reserve(core, draw, Pass::First) {
        Err(Refusal::Lease(wants)) => wants,
        done => return done.map_err(fault),
    };
    let asked = match ask(core, wants) {
        Some(answer) => answer.await.unwrap_or(false),
        None => false,
    };
    try_reserve(core, draw, if asked { Pass::Asked } else { Pass::StoreGone }).map_err(fault)
}

/// The same for a message between others on a socket, which cannot wait: where a lease does not hold it, one exchange may
/// run on credit while the store is asked.
pub(super) fn reserve_now(core: &Core, draw: &Draw<'_>) -> Result<Held, Fault> {
    let wants = match try_reserve(core, draw, Pass::First) {
        Err(Refusal::Lease(wants)) => wants,
        done => return done.map_err(fault),
    };
    let held = try_reserve(core, draw, Pass::OnCredit).map_err(fault);
    ask(core, wants);
    held
}

/// Ask the store for leases; the answer is whether it was reached. A full line is a store that was not.
fn ask(core: &Core, wants: Vec<Want>) -> Option<oneshot::Receiver<bool>> {
    let (reply, answer) = oneshot::channel();
    let wants = wants.into_iter().map(|want| (want.bucket, want.template, want.amount)).collect();
    core.asks.try_send(Ask::Lease(wants, reply)).is_ok().then_some(answer)
}

fn fault(why: Refusal) -> Fault {
    match why {
        Refusal::Exceeded(why) => Fault::new(Kind::Exceeded(Box::new(why))),
        Refusal::Lease(_) => Fault::because(Kind::Busy, "leases were asked for twice"),
    }
}

fn try_reserve(core: &Core, draw: &Draw<'_>, pass: Pass) -> Result<Held, Refusal> {
    let snapshot = core.snapshot();
    let mut till = core.till.borrow_mut();
    let asked = asked(draw);
    let billed = costs_tokens(draw.endpoint);
    let predicted = till.seen.predicted(&asked);
    let (likely, most) = match billed {
        true => {
            // One look-up for both.
            let listed = Listed::plainly(names(asked.model, None));
            let card = core.prices.borrow_mut().card(&snapshot.prices, draw.provider, listed);
            let dollars = |usage: &Usage| card.as_ref().and_then(|card| card.cost(&Counts::of(usage)).ok());
            let cost =
                |usage: &Usage| Cost { dollars: dollars(usage), tokens: tokens_of(usage), requests: 1 };
            (cost(&predicted.likely), cost(&predicted.most))
        }
        false => (later(core, &snapshot, draw), FREE),
    };
    let (user, groups) =
        (draw.principal.map_or_else(Default::default, Principal::called), groups(&snapshot, draw));
    let drawn = Drawn {
        buckets: &draw.hop.buckets,
        fill: fill(draw, &asked, &user, &groups),
        likely,
        most,
        unpriced_allowed: draw.provider.unpriced_allowed,
    };
    let reservation = till.reserve(&snapshot, &drawn, pass, clock::wall())?;
    Ok(Held {
        reservation,
        provider: Arc::clone(draw.provider),
        snapshot: Arc::clone(&snapshot),
        model: asked.model.to_owned(),
        session: asked.session,
        body_bytes: asked.body_bytes,
        max_tokens: asked.max_tokens,
        input_tokens: billed.then_some(predicted.input_tokens),
        ended_by: None,
    })
}

impl Held {
    /// The exchange is about to be closed: charge what it cost, and write down what was charged.
    pub(super) fn settle(self, core: &Core, passed: Passed, record: &mut Record) {
        let (cost, estimated) = self.true_cost(core, passed, record);
        record.estimated |= estimated;
        record.quotas.extend(self.reservation.held().map(|held| {
            let ended = self.ended_by.as_deref() == Some(held.bucket);
            let (charged, note) = (Some(cost.of(held.unit)), note(held));
            QuotaNote { charged, result: if ended { QuotaResult::Ended } else { note.result }, ..note }
        }));
        self.reservation.settle(cost);
    }

    /// Whether a bucket wants a stream that overruns it ended.
    pub(super) fn may_end(&self) -> bool {
        self.reservation.ends_streams()
    }

    /// Content in `ranges` of `block` is on its way to the client. Where it overruns a bucket that wants it ended, the
    /// ranges are cut behind the event that did; returned are the bucket and what ends the stream.
    pub(super) fn end_if_overrun(
        &mut self,
        core: &Core,
        ending: &mut Ending,
        block: &[u8],
        ranges: &mut Vec<Range<usize>>,
    ) -> Option<(String, Vec<u8>)> {
        for nth in 0..ranges.len() {
            let range = ranges[nth].clone();
            let over = |bytes, events| self.overrun(core, Passed { events, bytes }).is_some();
            let Some(end) = ending.pass(&block[range.clone()], over) else { continue };
            ranges.truncate(nth + 1);
            ranges[nth].end = range.start + end;
            let (bytes, events) = ending.passed();
            let passed = Passed { events, bytes };
            let bucket = self.overrun(core, passed)?.to_owned();
            let tokens = (self.input_tokens.unwrap_or(0), output_seen(true, passed));
            let terminal = ending.terminal(&bucket, tokens);
            self.ended_by = Some(bucket.clone());
            return Some((bucket, terminal));
        }
        None
    }

    /// The bucket that a stream has overrun by what has passed of it.
    fn overrun(&self, core: &Core, passed: Passed) -> Option<&str> {
        let usage = at_least(&Usage::default(), self.input_tokens?, output_seen(true, passed));
        self.reservation.overrun(self.cost(core, &usage))
    }

    /// Nothing was executed: everything is given back.
    pub(super) fn release(self) {
        self.reservation.settle(Cost::NOTHING);
    }

    /// What is held, as the record has it.
    pub(super) fn notes(&self) -> Vec<QuotaNote> {
        self.reservation.held().map(note).collect()
    }

    fn true_cost(&self, core: &Core, passed: Passed, record: &Record) -> (Cost, bool) {
        let reading = &record.reading;
        let unsaid = reading.usage.is_unknown();
        let nothing_ran = record.bytes.request_sent == 0 && record.times.first_byte_us.is_none();
        if nothing_ran || record.outcome == Outcome::Refused {
            return (Cost::NOTHING, false);
        }
        if unsaid && record.outcome == Outcome::ProviderError {
            return (Cost::NOTHING, false);
        }
        if reading.batch.is_some() {
            let charged = core.batches.borrow_mut().charges(record);
            return (if charged { self.said_cost(core, record) } else { FREE }, false);
        }
        let Some(input_tokens) = self.input_tokens else { return (FREE, false) };
        let whole = reading.complete && reading.usage.output_tokens.is_some();
        if whole {
            core.till.borrow_mut().seen.note(&self.asked(), &reading.usage);
            return (self.said_cost(core, record), false);
        }
        let usage = at_least(&reading.usage, input_tokens, output_seen(reading.stream, passed));
        (self.run_cost(core, record, &BilledRun { usage, ..BilledRun::default() }), true)
    }

    /// What the provider said, priced as the store prices it: each sampling run at its own model, all of them under the
    /// terms of the response.
    fn said_cost(&self, core: &Core, record: &Record) -> Cost {
        let reading = &record.reading;
        if reading.billed_runs.is_empty() {
            let run = BilledRun { usage: reading.usage, ..BilledRun::default() };
            return self.run_cost(core, record, &run);
        }
        let mut sum = FREE;
        for (place, run) in reading.billed_runs.iter().enumerate() {
            // Searches of one answer stand beside its runs.
            let searches = reading.usage.web_searches.filter(|_| place == 0 && reading.batch.is_none());
            let usage = Usage { web_searches: run.usage.web_searches.or(searches), ..run.usage };
            let cost = self.run_cost(core, record, &BilledRun { usage, ..run.clone() });
            sum.tokens = sum.tokens.saturating_add(cost.tokens);
            sum.dollars = sum.dollars.and_then(|sum| Some(sum.saturating_add(cost.dollars?)));
        }
        sum
    }

    fn run_cost(&self, core: &Core, record: &Record, run: &BilledRun) -> Cost {
        let answered = run.model.as_deref().or(record.reading.model.as_deref());
        let prompt = run.prompt.or(run.usage.input_tokens).unwrap_or(0);
        let terms = rate::terms_at(&record.reading.terms, &record.path);
        let at = record.times.accepted_at_us;
        let rate = Rate::of(answered.unwrap_or(&self.model), None, prompt, &terms, at);
        let listed = Listed { names: names(&self.model, answered), terms: &rate.terms, at: rate.moment(at) };
        cost(core, &self.snapshot, &self.provider, listed, &run.usage, prompt)
    }

    /// Before anything was said.
    fn cost(&self, core: &Core, usage: &Usage) -> Cost {
        let listed = Listed::plainly(names(&self.model, None));
        cost(core, &self.snapshot, &self.provider, listed, usage, usage.input_tokens.unwrap_or(0))
    }

    fn asked(&self) -> Asked<'_> {
        Asked {
            model: &self.model,
            session: self.session,
            body_bytes: self.body_bytes,
            max_tokens: self.max_tokens,
        }
    }
}

fn note(held: quota::Held<'_>) -> QuotaNote {
    QuotaNote {
        bucket: held.bucket.to_owned(),
        unit: held.unit.name().into(),
        reserved: held.amount,
        charged: None,
        result: if held.warned { QuotaResult::Warned } else { QuotaResult::Held },
    }
}

/// A request that costs no tokens.
const FREE: Cost = Cost { dollars: Some(0), tokens: 0, requests: 1 };

/// What costs nothing now. Of a batch the price must be known all the same: it is charged when its results are read.
fn later(core: &Core, snapshot: &Snapshot, draw: &Draw<'_>) -> Cost {
    let one = Usage { input_tokens: Some(1), output_tokens: Some(1), ..Usage::default() };
    let priced = |model: &String| {
        let listed = Listed::plainly(names(model, None));
        cost(core, snapshot, draw.provider, listed, &one, 1).dollars.is_some()
    };
    let makes = draw.endpoint == Endpoint::Make;
    let unpriced = makes && !draw.ask.model.iter().chain(&draw.ask.other_models).all(priced);
    Cost { dollars: if unpriced { None } else { FREE.dollars }, ..FREE }
}

/// Whether tokens are billed there. A batch is charged when its results are read, since only they say what it took.
fn costs_tokens(endpoint: Endpoint) -> bool {
    use Endpoint::{CountTokens, Direct, Make, Models, Object, Results, Retrieve, Socket};
    !matches!(endpoint, CountTokens | Direct | Make | Models | Object | Results | Retrieve | Socket)
}

/// What picks a price.
#[derive(Clone, Copy)]
struct Listed<'a> {
    names: Names<'a>,
    terms: &'a Terms,
    at: Wall,
}

/// The ordinary terms.
const ORDINARY: &Terms = &Terms { service_tier: None, speed: None, inference_geo: None, region: None };

impl<'a> Listed<'a> {
    /// Under the ordinary terms, now.
    fn plainly(names: Names<'a>) -> Self {
        Listed { names, terms: ORDINARY, at: clock::wall() }
    }
}

/// What a usage costs; `prompt` tokens pick the step of the list.
fn cost(
    core: &Core,
    snapshot: &Snapshot,
    provider: &Provider,
    listed: Listed<'_>,
    usage: &Usage,
    prompt: u64,
) -> Cost {
    let counts = Counts { prompt, ..Counts::of(usage) };
    let mut prices = core.prices.borrow_mut();
    let mut price = |listed: Listed<'_>| prices.card(&snapshot.prices, provider, listed)?.cost(&counts).ok();
    let dollars = price(listed).or_else(|| {
        // Terms that no list prices would make a request free of charge: the ordinary ones hold then.
        if listed.terms == ORDINARY { None } else { price(Listed { terms: ORDINARY, ..listed }) }
    });
    Cost { dollars, tokens: tokens_of(usage), requests: 1 }
}

fn tokens_of(usage: &Usage) -> i64 {
    signed(usage.input_tokens.unwrap_or(0).saturating_add(usage.output_tokens.unwrap_or(0)))
}

/// Batches whose results were charged on this core. Another core, or the next start, charges one that is read again
/// once more; what the store sums up counts it once.
#[derive(Default)]
pub(super) struct Batches {
    charged: HashSet<u64>,
}

/// Batches remembered; at the bound all are forgotten.
const BATCHES_MAX: usize = 4096;

impl Batches {
    /// Whether these results are to be charged: always, until they were once delivered whole.
    fn charges(&mut self, record: &Record) -> bool {
        let mut hash = Xxh3::new();
        hash.update(record.provider.as_bytes());
        hash.update(&[0]);
        hash.update(record.reading.response_id.as_deref().unwrap_or_default().as_bytes());
        let key = hash.digest();
        if self.charged.contains(&key) {
            return false;
        }
        if record.is_whole() {
            if self.charged.len() >= BATCHES_MAX {
                self.charged.clear();
            }
            self.charged.insert(key);
        }
        true
    }
}

fn names<'a>(asked: &'a str, answered: Option<&'a str>) -> Names<'a> {
    Names { answered, asked: Some(asked) }
}

/// One core's price cards, of the book that was asked last: another one comes with another snapshot only.
#[derive(Default)]
pub(super) struct Prices {
    book: Arc<Book>,
    cards: Cards,
}

impl Prices {
    /// None where there is no price.
    fn card(&mut self, book: &Arc<Book>, provider: &Provider, listed: Listed<'_>) -> Option<Arc<Card>> {
        if !Arc::ptr_eq(&self.book, book) {
            *self = Prices { book: Arc::clone(book), cards: Cards::of(Arc::clone(book)) };
        }
        let Listed { names, terms, at } = listed;
        self.cards.card(&provider.id, &provider.listing, names, terms, at).ok()
    }
}

/// What the wire said, completed by what was estimated and seen: never below either.
fn at_least(said: &Usage, input_tokens: u64, output_tokens: u64) -> Usage {
    let input = said.input_tokens.unwrap_or(input_tokens);
    Usage {
        input_tokens: Some(input),
        uncached_input_tokens: said.uncached_input_tokens.or(Some(input)),
        output_tokens: Some(said.output_tokens.unwrap_or(0).max(output_tokens)),
        ..*said
    }
}

/// Bytes of an event around its text, and bytes of text to a token: estimates, for streams that were cut off.
const EVENT_BYTES: u64 = 150;
const BYTES_PER_TOKEN: u64 = 4;

/// Output tokens that have come, as far as can be told from outside: an event carries one at least.
fn output_seen(stream: bool, passed: Passed) -> u64 {
    let around = if stream { passed.events.saturating_mul(EVENT_BYTES) } else { EVENT_BYTES };
    passed.events.max(passed.bytes.saturating_sub(around) / BYTES_PER_TOKEN)
}

fn asked<'a>(draw: &Draw<'a>) -> Asked<'a> {
    Asked {
        model: draw.hop.model.as_deref().or(draw.ask.model.as_deref()).unwrap_or_default(),
        session: session(draw),
        body_bytes: draw.body_bytes,
        max_tokens: draw.ask.output_max(),
    }
}

/// Sessions are scoped by their principal: an id that another claims too is another session.
fn session(draw: &Draw<'_>) -> u64 {
    if draw.caller.session.is_empty() {
        return 0;
    }
    let mut hash = Xxh3::new();
    hash.update(draw.principal.map_or("", |principal| &principal.name).as_bytes());
    hash.update(&[0]);
    hash.update(draw.caller.session.as_bytes());
    hash.digest().max(1)
}

/// Groups are looked up only where a bucket is named after them.
fn groups<'a>(snapshot: &'a Snapshot, draw: &Draw<'a>) -> Vec<&'a str> {
    let by_group = |name: &Arc<str>| {
        let lends =
            |bucket: &crate::policy::snapshot::Bucket| bucket.overdraft.iter().any(|n| quota::is_by_group(n));
        quota::is_by_group(name) || snapshot.bucket(name).is_some_and(lends)
    };
    match draw.principal {
        Some(principal) if draw.hop.buckets.iter().any(by_group) => groups_of(principal, &snapshot.groups),
        _ => Vec::new(),
    }
}

fn fill<'a>(draw: &Draw<'a>, asked: &Asked<'a>, user: &'a str, groups: &'a [&'a str]) -> Fill<'a> {
    let said = |text: &'a str| Some(text).filter(|text| !text.is_empty());
    Fill {
        user,
        node: draw.principal.and_then(|principal| principal.node.as_deref()),
        groups,
        agent: said(&draw.caller.agent),
        session: said(&draw.caller.session),
        model: said(asked.model),
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_is_never_below_what_the_wire_said() {
        let said = Usage { input_tokens: Some(900), output_tokens: Some(1), ..Usage::default() };
        let usage = at_least(&said, 100, output_seen(true, Passed { events: 40, bytes: 7_000 }));
        assert_eq!((usage.input_tokens, usage.output_tokens), (Some(900), Some(250)));
        let usage = at_least(&Usage { output_tokens: Some(500), ..said }, 100, 40);
        assert_eq!(usage.output_tokens, Some(500));
        let unsaid = at_least(&Usage::default(), 100, 7);
        assert_eq!((unsaid.input_tokens, unsaid.uncached_input_tokens), (Some(100), Some(100)));
    }
}
