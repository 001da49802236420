//! What the models of the configured providers cost.

use serde::Serialize;

use super::snapshot::{Provider, Snapshot};
use crate::base::clock::Wall;
use crate::base::settings::nearest;
use crate::llm::price::book::{Book, DATA};
use crate::llm::price::shown::{self, PriceRow};

/// Prices, and where they come from.
#[derive(Debug, Serialize)]
pub struct Prices {
    /// Release of the price data.
    pub source: &'static str,
    /// Day it was published.
    pub date: &'static str,
    /// The prices.
    pub prices: Vec<Priced>,
}

/// A price of a model at a provider.
#[derive(Debug, Serialize)]
pub struct Priced {
    /// Provider's id.
    pub provider: String,
    /// Name to ask for.
    pub asked: String,
    /// The price.
    #[serde(flatten)]
    pub price: PriceRow,
}

/// Most prices in one answer: a list may have a thousand models.
const PRICES_MAX: usize = 5_000;

/// Prices of every model that providers name, or that their globs let through out of the list that holds for them.
#[must_use]
pub fn of_all(snapshot: &Snapshot, at: Wall) -> Prices {
    let mut prices = Vec::new();
    for provider in &snapshot.providers {
        for model in names(provider) {
            if prices.len() < PRICES_MAX {
                prices.extend(
                    of_one(snapshot, provider, &model, at).filter(|price| price.price.tier.is_empty()),
                );
            }
        }
    }
    Prices { source: DATA.0, date: DATA.1, prices }
}

/// Prices of one model at whoever serves it; else the nearest name.
pub fn of_model(snapshot: &Snapshot, model: &str, at: Wall) -> Result<Prices, Option<String>> {
    let serves =
        |provider: &&std::sync::Arc<Provider>| provider.models.iter().any(|glob| glob.matches(model));
    let serving = snapshot.providers.iter().filter(serves);
    let prices: Vec<_> = serving.flat_map(|provider| of_one(snapshot, provider, model, at)).collect();
    if prices.is_empty() {
        let known: Vec<String> = snapshot.providers.iter().flat_map(|provider| names(provider)).collect();
        return Err(nearest(model, known.iter().map(String::as_str)).map(str::to_owned));
    }
    Ok(Prices { source: DATA.0, date: DATA.1, prices })
}

fn of_one(snapshot: &Snapshot, provider: &Provider, model: &str, at: Wall) -> impl Iterator<Item = Priced> {
    let rows = shown::of_model(&snapshot.prices, &provider.listing, model, at).unwrap_or_default();
    let (id, asked) = (provider.id.clone(), model.to_owned());
    rows.into_iter().map(move |price| Priced { provider: id.clone(), asked: asked.clone(), price })
}

/// Models that a provider serves, as far as anybody can name them.
fn names(provider: &Provider) -> Vec<String> {
    let mut names: Vec<String> =
        provider.models.iter().filter(|glob| glob.is_exact()).map(|glob| glob.pattern().to_owned()).collect();
    let globs: Vec<_> = provider.models.iter().filter(|glob| !glob.is_exact()).collect();
    let listed = provider.listing.basis.filter(|_| !globs.is_empty()).map(Book::models).unwrap_or_default();
    for (name, _) in listed {
        if globs.iter().any(|glob| glob.matches(name)) && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::llm::price::{CostBasis, Listing};
    use crate::policy::glob::Glob;

    #[test]
    fn providers_models_have_prices_and_unknown_ones_a_near_name() {
        let provider = |id: &str, models: &[&str], basis| {
            Arc::new(Provider {
                id: id.into(),
                models: models.iter().map(|model| Glob::new(model).expect("a glob")).collect(),
                listing: Listing { basis, ..Listing::default() },
                ..Provider::default()
            })
        };
        let snapshot = Snapshot {
            providers: vec![
                provider("claude", &["claude-opus-*"], Some(CostBasis::Anthropic)),
                provider("ours", &["gpt-4o", "llama"], Some(CostBasis::Openai)),
                provider("nobody's", &["**"], None),
            ],
            ..Snapshot::default()
        };
        let now = 1_795_608_000_000_000;
        let all = of_all(&snapshot, now);
        let has = |provider: &str, model: &str| {
            all.prices.iter().any(|price| price.provider == provider && price.asked == model)
        };
        assert!(has("claude", "claude-opus-4-8") && has("ours", "gpt-4o"));
        assert!(!has("claude", "claude-sonnet-5") && !has("ours", "llama"));
        let one = of_model(&snapshot, "gpt-4o", now).expect("a price");
        assert_eq!((one.prices[0].provider.as_str(), one.prices[0].price.input), ("ours", Some(2.5)));
        assert!(one.prices.iter().any(|price| price.price.tier == "priority"));
        assert_eq!(of_model(&snapshot, "gpt-4oo", now).expect_err("no price"), Some("gpt-4o".to_owned()));
    }
}
