//! Prices of one's own, as written: negotiated ones, models that no list has, corrections.

use super::go_match::Pattern;
use super::lists::CostBasis;
use crate::base::settings::At;
use crate::settings;

settings! {
    /// Prices of one's own, which go before the lists that weir knows.
    pub struct PricesSettings {
        /// A file with the same keys, relative to this one; what stands here goes before what stands there.
        pub file: Option<At<String>> = None,
        /// Day of these prices, for showing.
        pub date: Option<String> = None,
        /// The prices; the first that fits holds.
        pub models: Vec<PriceSettings> = Vec::new(),
    }

    /// The price of a model, in US dollars: per million tokens, per thousand searches and requests, per hour of sound.
    pub struct PriceSettings {
        /// Models it holds for, as the provider calls them.
        pub matching as "match": Pattern,
        /// Only under this price list; everywhere where absent.
        pub basis: Option<CostBasis> = None,
        /// Prompt.
        pub input: Dollars,
        /// Answer.
        pub output: Dollars,
        /// Prompt read from the cache; as `input` where absent.
        pub cache_read: Option<Dollars> = None,
        /// Prompt written to the cache for five minutes; as `input` where absent.
        pub cache_write: Option<Dollars> = None,
        /// Prompt written to the cache for an hour; as `cache_write` where absent.
        pub cache_write_1h: Option<Dollars> = None,
        /// Reasoning; as `output` where absent.
        pub reasoning: Option<Dollars> = None,
        /// Sound in the prompt; as `input` where absent.
        pub audio_input: Option<Dollars> = None,
        /// Sound in the answer; as `output` where absent.
        pub audio_output: Option<Dollars> = None,
        /// Images in the prompt; as `input` where absent.
        pub image_input: Option<Dollars> = None,
        /// Images in the answer; as `output` where absent.
        pub image_output: Option<Dollars> = None,
        /// Web searches by the provider.
        pub web_search: Option<Dollars> = None,
        /// Searches of stored files by the provider.
        pub file_search: Option<Dollars> = None,
        /// Sound by the hour.
        pub audio_hour: Option<Dollars> = None,
        /// Requests.
        pub request: Option<Dollars> = None,
        /// Prompts longer than this many tokens …
        pub long_above: Option<u64> = None,
        /// … cost this many times the prices of a prompt …
        pub long_input: Option<f64> = None,
        /// … and this many times those of an answer.
        pub long_output: Option<f64> = None,
    }
}

/// An amount of money as a number: `3`, `0.25`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dollars(pub f64);

impl crate::base::settings::Setting for Dollars {
    fn read(
        tree: &crate::base::settings::Tree,
        reader: &mut crate::base::settings::Reader<'_>,
    ) -> Option<Self> {
        let amount = f64::read(tree, reader)?;
        if !(0.0..=1e9).contains(&amount) {
            reader.bad_value(tree, "is no price", "expected US dollars, not negative, such as 0.25");
            return None;
        }
        Some(Dollars(amount))
    }

    fn schema(_: &mut std::collections::BTreeMap<String, serde_json::Value>) -> serde_json::Value {
        serde_json::json!({"type": "number", "minimum": 0})
    }
}
