//! What models cost, for lists of them: looked up on a thread that may take its time, and kept for half an hour.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use crate::base::clock;
use crate::llm::price::{Book, Card, Cards, Names, Terms, Unit};
use crate::policy::snapshot::Snapshot;
use crate::wire::crossing::Priced;

/// Price cards that were asked for, of the book in force when they were.
#[derive(Clone, Default)]
pub(super) struct Pricing(Arc<Mutex<(Arc<Book>, Cards)>>);

impl Pricing {
    /// For each provider's id and its own name of a model; what is not known is absent.
    pub(super) async fn look_up(
        &self,
        snapshot: Arc<Snapshot>,
        models: Vec<(String, String)>,
    ) -> Vec<Priced> {
        let cards = self.0.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let mut kept = cards.blocking_lock();
            let (book, cards) = &mut *kept;
            if !Arc::ptr_eq(book, &snapshot.prices) {
                (*book, *cards) = (snapshot.prices.clone(), Cards::of(snapshot.prices.clone()));
            }
            models.iter().map(|(provider, model)| priced(cards, &snapshot, provider, model)).collect()
        });
        looked.await.unwrap_or_default()
    }
}

fn priced(cards: &mut Cards, snapshot: &Snapshot, id: &str, model: &str) -> Priced {
    let Some(provider) = snapshot.providers.iter().find(|provider| provider.id == id) else {
        return Priced::default();
    };
    let names = Names { answered: None, asked: Some(model) };
    let card = cards.card(id, &provider.listing, names, &Terms::default(), clock::wall()).ok();
    let listed = provider.listing.basis.map(Book::models).unwrap_or_default();
    let own_name = card.as_ref().map_or(model, |card| card.model.as_str());
    let known = listed.iter().find(|(name, _)| *name == own_name);
    Priced { context_window: known.and_then(|(_, window)| *window), pricing: card.as_deref().map(written) }
}

/// Dollars for a million tokens, by kind; what a list has no rate for is absent.
fn written(card: &Card) -> Value {
    let rates = card.rates(0);
    let per_million = Unit::ALL.into_iter().filter(|unit| unit.quoted_per() == 1_000_000);
    let rates: Map<String, Value> = per_million
        .map(|unit| (unit, rates[unit as usize]))
        .filter(|(_, rate)| *rate > 0 || card.free)
        .map(|(unit, rate)| (unit.name().to_owned(), json!(rate as f64 / 1_000_000.0)))
        .collect();
    json!({ "currency": "USD", "per_million_tokens": rates, "list": card.list })
}
