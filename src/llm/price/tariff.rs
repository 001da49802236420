//! All that is needed to price what is stored: lists by provider, prices of one's own. Kept beside the store, so that
//! it can be priced without the configuration, and what went to a provider that is configured no longer still can.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::book::{Book, Cards, Listing, Names};
use super::card::Counts;
use super::rate::{self, Rate};
use super::{Card, Nanodollars, Unpriced};
use crate::llm::usage::Usage;

/// Lists by provider, prices of one's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tariff {
    /// How each provider's models are priced, by its id.
    pub providers: BTreeMap<String, Priced>,
    /// Prices of one's own.
    pub book: Arc<Book>,
}

/// How one provider's models are priced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Priced {
    /// Whose list, and the map before it.
    #[serde(flatten)]
    pub listing: Listing,
    /// Names of ours → its own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub aliases: BTreeMap<String, String>,
}

impl Tariff {
    /// This one, with what an earlier one knew of providers that are gone.
    #[must_use]
    pub fn after(mut self, earlier: Tariff) -> Tariff {
        for (id, priced) in earlier.providers {
            self.providers.entry(id).or_insert(priced);
        }
        self
    }
}

/// Prices what is stored. For one thread.
#[derive(Debug, Default)]
pub struct Pricer {
    tariff: Tariff,
    cards: RefCell<Cards>,
}

/// One line of sums, all priced alike, or one exchange.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Provider's id.
    pub provider: &'a str,
    /// Model that answered, or was asked for where none did.
    pub model: &'a str,
    /// See [`rate`].
    pub rate: &'a str,
    /// When, in microseconds since the Unix epoch.
    pub at: u64,
}

impl Pricer {
    /// Over this tariff.
    #[must_use]
    pub fn of(tariff: Tariff) -> Pricer {
        let cards = RefCell::new(Cards::of(Arc::clone(&tariff.book)));
        Pricer { tariff, cards }
    }

    /// What the line cost, over this many requests.
    pub fn cost(&self, line: Line<'_>, usage: &Usage, requests: u64) -> Result<Nanodollars, Unpriced> {
        if line.rate == rate::NOTHING {
            return Ok(0);
        }
        let rate = Rate::read(line.rate).ok_or(Unpriced::NoUsage)?;
        let mut counts = Counts::of(usage);
        counts.of[super::Unit::Request as usize] = requests;
        // Sums of many prompts say nothing of their lengths; the rate does. For one prompt both say the same step.
        counts.prompt = if rate.above > 0 { rate.above + 1 } else { counts.prompt.min(1) };
        self.card_at(line, &rate)?.cost(&counts)
    }

    /// Whether a line is priced alike at two moments.
    pub fn same_price(&self, line: Line<'_>, until: u64) -> bool {
        let Some(rate) = Rate::read(line.rate) else { return true };
        let at = |at: u64| self.card_at(Line { at, ..line }, &rate);
        // Prices that change and change back within a month are not seen here.
        const MONTH_US: u64 = 30 * 48 * rate::HALF_HOUR_US;
        let first = at(line.at);
        let months = (line.at..until).step_by(usize::try_from(MONTH_US).unwrap_or(usize::MAX)).skip(1);
        months.chain([until]).all(|moment| at(moment) == first)
    }

    fn card_at(&self, line: Line<'_>, rate: &Rate) -> Result<Arc<Card>, Unpriced> {
        let Some(priced) = self.tariff.providers.get(line.provider) else { return Err(Unpriced::NoList) };
        let asked = rate.asked.as_deref().map(|asked| {
            // What was sent is the provider's own name: behind an alias, or without the provider's id before it.
            let plain =
                asked.strip_prefix(line.provider).and_then(|rest| rest.strip_prefix('/')).unwrap_or(asked);
            priced.aliases.get(plain).map_or(plain, String::as_str)
        });
        let names = Names { answered: Some(line.model), asked };
        self.cards.borrow_mut().card(line.provider, &priced.listing, names, &rate.terms, rate.moment(line.at))
    }
}
