//! Usage × price list → money. Pure: the same counts, model, terms and list give the same money, whoever asks.
//!
//! ```text
//!   record ─▶ Counts, Terms ─┐
//!   provider ─▶ Listing ─────┼─▶ Book::card ─▶ Card ─▶ cost ─▶ nanodollars, or why not
//!   model names ─────────────┘   whose list, which entry      prompt length picks the step
//! ```
//!
//! Money is derived when somebody asks, from what the record keeps; it is nowhere stored, so a corrected price
//! corrects the past. What has no price costs an unknown amount, which is said and never written as 0.
//!
//! Deliberately absent: a clock (the moment of the exchange is handed in), files, currency other than US dollars.

pub mod book;
mod card;
pub mod go_match;
pub mod lists;
mod probe;
pub mod rate;
pub mod settings;
pub mod shown;
pub mod tariff;

pub use book::{Book, Cards, Listing, Mapped, Names};
pub use card::{Card, Counts, Rates, Step, Unit};
pub use lists::CostBasis;
pub use tariff::{Pricer, Tariff};

use serde::{Deserialize, Serialize};

/// Money, in billionths of a US dollar.
pub type Nanodollars = i64;

/// What a price depends on beside the model, the counts and the day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Terms {
    /// Service tier as the response said it (`standard`, `flex`, `priority`, `batch`, Vertex' `trafficType`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<String>,
    /// Anthropic `usage.speed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed: Option<String>,
    /// Anthropic `usage.inference_geo`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inference_geo: Option<String>,
    /// Region of the endpoint that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

/// Why an exchange has no price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unpriced {
    /// The provider has no price list: its address is not a known one and `cost_basis` is not set.
    NoList,
    /// The list does not have the model.
    NoModel {
        /// Whose list.
        list: &'static str,
        /// The name looked for.
        model: String,
    },
    /// The list has the model, but no rate for this service tier, speed or place.
    NoTerms {
        /// What the response said.
        said: String,
    },
    /// The list has the model, but no rate for something that was counted.
    NoRate(Unit),
    /// The wire did not say how much was used.
    NoUsage,
}

impl std::fmt::Display for Unpriced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unpriced::NoList => f.write_str("no price list for this provider (set its cost_basis)"),
            Unpriced::NoModel { list, model } => write!(f, "no price for {model} in the list of {list}"),
            Unpriced::NoTerms { said } => write!(f, "no price for {said}"),
            Unpriced::NoRate(unit) => write!(f, "no price for {}", unit.name()),
            Unpriced::NoUsage => f.write_str("the provider reported no usage"),
        }
    }
}

/// Dollars for people: cents where there are any, more digits where the amount is small.
#[must_use]
pub fn dollars(amount: Nanodollars) -> String {
    let (sign, amount) = (if amount < 0 { "-" } else { "" }, amount.unsigned_abs());
    let digits = match amount {
        0 | 10_000_000.. => 2,
        10_000.. => 6,
        _ => 9,
    };
    let step = 10_u64.pow(9 - digits);
    let rounded = amount.saturating_add(step / 2) / step;
    let unit = 10_u64.pow(digits);
    format!("{sign}${}.{:0width$}", rounded / unit, rounded % unit, width = digits as usize)
}

#[cfg(test)]
mod tests;
