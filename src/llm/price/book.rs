//! All price lists together: those of the price data, and before them prices of one's own.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::HashMap;
use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use super::card::{Card, Counts, Rates, Step, Unit};
use super::go_match::Pattern;
use super::lists::{self, CostBasis};
use super::probe;
use super::rate::HALF_HOUR_US;
use super::settings::{Dollars, PriceSettings};
use super::{Nanodollars, Terms, Unpriced};

/// The data's release and the day it was published. Raised with the crate: a test holds it against the lock file.
pub const DATA: (&str, &str) = ("genai-prices 0.2.1", "2026-10-30");

/// The list of one's own prices.
pub const OWN: &str = "own";

/// How a provider's models are priced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Listing {
    /// Whose list; none: nobody's, and all costs are unknown.
    pub basis: Option<CostBasis>,
    /// Models that are priced as others, in order.
    pub map: Vec<Mapped>,
    /// Region of the provider, where the exchange does not say one.
    pub region: Option<String>,
}

/// An entry of `model_cost_map`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mapped {
    /// Models it holds for.
    #[serde(rename = "match")]
    pub matching: Pattern,
    /// Model whose price is taken; their own where absent.
    #[serde(rename = "as")]
    pub priced_as: Option<String>,
    /// Factor on the price.
    pub adjustment: f64,
}

/// Prices of one's own, compiled.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Book {
    own: Vec<Own>,
    /// Day of one's own prices, as written.
    pub own_date: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Own {
    matching: Pattern,
    basis: Option<CostBasis>,
    steps: Vec<Step>,
}

/// Names a model may be listed under, best first: answered, asked (the other way round where one bills by the other).
#[derive(Clone, Copy, Debug, Default, Hash)]
pub struct Names<'a> {
    /// As answered.
    pub answered: Option<&'a str>,
    /// As asked for, after aliases.
    pub asked: Option<&'a str>,
}

impl Book {
    /// Prices of one's own; the first that fits holds.
    pub fn own(&mut self, prices: &[PriceSettings]) {
        self.own.extend(prices.iter().map(Own::of));
    }

    /// How many prices of one's own there are.
    #[must_use]
    pub fn own_count(&self) -> usize {
        self.own.len()
    }

    /// Have the price data read, on a thread that serves nobody: it takes some fifty milliseconds.
    pub fn warm() {
        probe::warm();
    }

    /// What a model costs. Not quick: see [`Cards`].
    pub fn card(
        &self,
        listing: &Listing,
        names: Names<'_>,
        terms: &Terms,
        at: u64,
    ) -> Result<Card, Unpriced> {
        let by_asked = listing.basis.is_some_and(CostBasis::bills_by_name_asked);
        let names = if by_asked { [names.asked, names.answered] } else { [names.answered, names.asked] };
        let mut why = Unpriced::NoUsage;
        for name in names.into_iter().flatten().filter(|name| !name.is_empty()) {
            match self.card_of(listing, name, terms, at) {
                Err(unpriced @ Unpriced::NoModel { .. }) => why = unpriced,
                other => return other,
            }
        }
        Err(why)
    }

    fn card_of(&self, listing: &Listing, name: &str, terms: &Terms, at: u64) -> Result<Card, Unpriced> {
        let mapped = listing.map.iter().find(|mapped| mapped.matching.matches(name));
        let model = mapped.and_then(|mapped| mapped.priced_as.as_deref()).unwrap_or(name);
        let adjustment = mapped.map_or(1.0, |mapped| mapped.adjustment);
        let own = self.own.iter().find(|own| own.holds(listing.basis, model));
        if let Some(own) = own {
            return Ok(own.card(model).times(adjustment));
        }
        let basis = listing.basis.ok_or(Unpriced::NoList)?;
        let region = terms.region.as_ref().or(listing.region.as_ref());
        let terms = Terms { region: region.cloned(), ..terms.clone() };
        let mut scratch = String::new();
        let question = lists::question(basis, model, &terms, &mut scratch)?;
        Ok(probe::card(&question, at)?.with_tokens_times(question.factor).times(adjustment))
    }

    /// Prices of one's own as the patterns they hold for, with the list they are under.
    pub fn own_patterns(&self) -> impl Iterator<Item = (&str, Option<CostBasis>)> {
        self.own.iter().map(|own| (own.matching.pattern(), own.basis))
    }

    /// Names of the models that a list has, for `weir prices` and for nearest names, with their context windows.
    #[must_use]
    pub fn models(basis: CostBasis) -> Vec<(&'static str, Option<u64>)> {
        probe::models(basis.provider())
    }
}

impl Card {
    /// Speed and place change what tokens cost, not what searches do.
    fn with_tokens_times(mut self, factor: f64) -> Card {
        for rates in self.steps.iter_mut().map(|step| &mut step.rates) {
            for unit in Unit::ALL.into_iter().filter(|unit| unit.quoted_per() == 1_000_000) {
                rates[unit as usize] = (rates[unit as usize] as f64 * factor).round() as i64;
            }
        }
        self
    }
}

impl Own {
    fn of(written: &PriceSettings) -> Own {
        let base = rates(written, 1.0, 1.0);
        let mut steps = vec![Step { above: 0, rates: base }];
        if let Some(above) = written.long_above.filter(|above| *above > 0) {
            let factor = |factor: Option<f64>| factor.unwrap_or(1.0);
            steps.push(Step {
                above,
                rates: rates(written, factor(written.long_input), factor(written.long_output)),
            });
        }
        Own { matching: written.matching.clone(), basis: written.basis, steps }
    }

    fn holds(&self, basis: Option<CostBasis>, model: &str) -> bool {
        (self.basis.is_none() || self.basis == basis) && self.matching.matches(model)
    }

    fn card(&self, model: &str) -> Card {
        // Somebody wrote the zeros: they are meant.
        let free = self.steps.iter().all(|step| step.rates[Unit::Input as usize] == 0);
        Card { list: OWN, model: model.to_owned(), free, steps: self.steps.clone() }
    }
}

/// As written, with what is absent priced as what stands above it.
fn rates(written: &PriceSettings, input: f64, output: f64) -> Rates {
    let mut rates: Rates = [0; Unit::COUNT];
    for unit in Unit::ALL {
        let (own, factor) = match unit {
            Unit::Input => (Some(written.input), input),
            Unit::CacheRead => (written.cache_read, input),
            Unit::CacheWrite => (written.cache_write, input),
            Unit::CacheWriteHour => (written.cache_write_1h, input),
            Unit::AudioInput => (written.audio_input, input),
            Unit::AudioCacheRead => (None, input),
            Unit::ImageInput => (written.image_input, input),
            Unit::Output => (Some(written.output), output),
            Unit::Reasoning => (written.reasoning, output),
            Unit::AudioOutput => (written.audio_output, output),
            Unit::ImageOutput => (written.image_output, output),
            Unit::WebSearch => (written.web_search, 1.0),
            Unit::FileSearch => (written.file_search, 1.0),
            Unit::AudioSecond => (written.audio_hour, 1.0),
            Unit::Request => (written.request, 1.0),
        };
        let own =
            own.map(|Dollars(dollars)| (dollars * factor * 1e12 / unit.quoted_per() as f64).round() as i64);
        // Kinds stand in the order in which they are priced as one another.
        rates[unit as usize] =
            own.or_else(|| unit.priced_as().map(|other| rates[other as usize])).unwrap_or(0);
    }
    rates
}

/// Cards kept: each core and each reader has its own. At the bound all are forgotten and made again.
const CARDS_MAX: usize = 1_024;

/// Cards that were asked for, so that a price is a look-up. Owned by whoever asks; nothing is shared.
#[derive(Debug, Default)]
pub struct Cards {
    book: Arc<Book>,
    /// By a hash of what was asked, so that a look-up copies no name.
    kept: HashMap<u64, Kept>,
    hasher: RandomState,
}

/// A card, and what it was asked for by: two questions may have one hash.
#[derive(Debug)]
struct Kept {
    id: Box<str>,
    answered: Option<Box<str>>,
    asked: Option<Box<str>>,
    terms: Terms,
    half_hour: u64,
    card: Result<Arc<Card>, Unpriced>,
}

impl Kept {
    fn is_of(&self, id: &str, names: Names<'_>, terms: &Terms, half_hour: u64) -> bool {
        *self.id == *id
            && self.answered.as_deref() == names.answered
            && self.asked.as_deref() == names.asked
            && self.terms == *terms
            && self.half_hour == half_hour
    }
}

impl Cards {
    /// Cards of this book.
    #[must_use]
    pub fn of(book: Arc<Book>) -> Cards {
        Cards { book, ..Cards::default() }
    }

    /// What a model costs at a provider. `id` names the provider within the book's configuration.
    pub fn card(
        &mut self,
        id: &str,
        listing: &Listing,
        names: Names<'_>,
        terms: &Terms,
        at: u64,
    ) -> Result<Arc<Card>, Unpriced> {
        // Prices change with the day, and a few with the half hour.
        let half_hour = at / HALF_HOUR_US;
        let key = self.hasher.hash_one((id, names, terms, half_hour));
        if let Some(kept) = self.kept.get(&key).filter(|kept| kept.is_of(id, names, terms, half_hour)) {
            return kept.card.clone();
        }
        if self.kept.len() >= CARDS_MAX {
            self.kept.clear();
        }
        let card = self.book.card(listing, names, terms, at).map(Arc::new);
        let kept = Kept {
            id: id.into(),
            answered: names.answered.map(Into::into),
            asked: names.asked.map(Into::into),
            terms: terms.clone(),
            half_hour,
            card: card.clone(),
        };
        self.kept.insert(key, kept);
        card
    }

    /// The money for these counts.
    pub fn cost(
        &mut self,
        id: &str,
        listing: &Listing,
        names: Names<'_>,
        terms: &Terms,
        at: u64,
        counts: &Counts,
    ) -> Result<Nanodollars, Unpriced> {
        self.card(id, listing, names, terms, at)?.cost(counts)
    }
}
