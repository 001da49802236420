//! Prices as they are shown: a line for each model, tier and step of prompt length, in dollars.

use serde::{Deserialize, Serialize};

use super::book::{Book, DATA, Listing, Names};
use super::card::{Card, Unit};
use super::lists::CostBasis;
use super::{Terms, Unpriced};

/// One price. Dollars for a million tokens, a thousand searches and requests, an hour of sound; null where the list
/// has no rate of its own and no other holds for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PriceRow {
    /// Whose list; `own` for the configuration's own.
    pub list: String,
    /// The list's name of the model.
    pub model: String,
    /// Tier or way of processing; empty for the ordinary one.
    pub tier: String,
    /// Holds for prompts longer than this, in tokens.
    pub above: u64,
    /// Prompt.
    pub input: Option<f64>,
    /// Prompt read from the cache.
    pub cache_read: Option<f64>,
    /// Prompt written to the cache for five minutes.
    pub cache_write: Option<f64>,
    /// Prompt written to the cache for an hour.
    pub cache_write_1h: Option<f64>,
    /// Answer.
    pub output: Option<f64>,
    /// Reasoning.
    pub reasoning: Option<f64>,
    /// Sound in the prompt.
    pub audio_input: Option<f64>,
    /// Sound in the answer.
    pub audio_output: Option<f64>,
    /// Images in the prompt.
    pub image_input: Option<f64>,
    /// Images in the answer.
    pub image_output: Option<f64>,
    /// Web searches.
    pub web_search: Option<f64>,
    /// Searches of stored files.
    pub file_search: Option<f64>,
    /// An hour of sound.
    pub audio_hour: Option<f64>,
    /// Requests.
    pub request: Option<f64>,
    /// Longest prompt and answer together, in tokens, where the list says.
    pub context_window: Option<u64>,
    /// Where the price comes from.
    pub source: String,
    /// Day of the source.
    pub date: String,
}

/// Tiers that lists may have rates for.
const TIERS: [&str; 4] = ["", "batch", "flex", "priority"];

/// Every price of a model under one list, at this moment.
pub fn of_model(book: &Book, listing: &Listing, model: &str, at: u64) -> Result<Vec<PriceRow>, Unpriced> {
    let ordinary = card(book, listing, model, "", at)?;
    let tiers = TIERS.iter().filter_map(|tier| Some((*tier, card(book, listing, model, tier, at).ok()?)));
    let context = window(listing.basis, &ordinary.model);
    // Prices of one's own know no tiers.
    let tiers = tiers.filter(|(tier, _)| tier.is_empty() || ordinary.list != super::book::OWN);
    Ok(tiers.flat_map(|(tier, card)| rows(book, &card, tier, context)).collect())
}

fn card(book: &Book, listing: &Listing, model: &str, tier: &str, at: u64) -> Result<Card, Unpriced> {
    let terms = Terms { service_tier: Some(tier.to_owned()), ..Terms::default() };
    let names = Names { answered: Some(model), asked: None };
    book.card(listing, names, &terms, at)
}

fn window(basis: Option<CostBasis>, model: &str) -> Option<u64> {
    let models = Book::models(basis?);
    models.into_iter().find(|(name, _)| *name == model).and_then(|(_, window)| window)
}

fn rows(book: &Book, card: &Card, tier: &str, context_window: Option<u64>) -> Vec<PriceRow> {
    let (source, date) = if card.list == super::book::OWN {
        ("configuration".to_owned(), book.own_date.clone().unwrap_or_default())
    } else {
        (DATA.0.to_owned(), DATA.1.to_owned())
    };
    let row = |step: &super::Step| {
        let of = |unit: Unit| {
            let rate = step.rates[unit as usize];
            (rate != 0 || card.free).then(|| rate as f64 * unit.quoted_per() as f64 / 1e12)
        };
        PriceRow {
            list: card.list.to_owned(),
            model: card.model.clone(),
            tier: tier.to_owned(),
            above: step.above,
            input: of(Unit::Input),
            cache_read: of(Unit::CacheRead),
            cache_write: of(Unit::CacheWrite),
            cache_write_1h: of(Unit::CacheWriteHour),
            output: of(Unit::Output),
            reasoning: of(Unit::Reasoning),
            audio_input: of(Unit::AudioInput),
            audio_output: of(Unit::AudioOutput),
            image_input: of(Unit::ImageInput),
            image_output: of(Unit::ImageOutput),
            web_search: of(Unit::WebSearch),
            file_search: of(Unit::FileSearch),
            audio_hour: of(Unit::AudioSecond),
            request: of(Unit::Request),
            context_window,
            source: source.clone(),
            date: date.clone(),
        }
    };
    card.steps.iter().map(row).collect()
}
