//! What decides a price beside the model, as a short text: by it the store keeps sums apart that are priced apart.
//!
//! ```text
//!   ""                      the model's ordinary price
//!   {"tier":"flex",…}       ordinary but for these
//!   -                       nothing was billed: refused, failed, only counted, delivered a second time
//!   ?                       billed, and nobody said for how much
//!   *                       billed by its runs, which stand apart
//! ```
//!
//! It is made when a record is stored, from what the wire said, and knows no prices: only where lists have steps.

use memchr::memmem;
use serde::{Deserialize, Serialize};

use super::Terms;

/// Nothing was billed.
pub const NOTHING: &str = "-";
/// Billed, and nobody said for how much.
pub const UNKNOWN: &str = "?";
/// Billed by its runs.
pub const BY_RUNS: &str = "*";

/// Longest text of the wire that is kept; a longer one is no tier or region that anybody sells.
const TEXT_BYTES_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 256;
/// Microseconds in half an hour.
pub const HALF_HOUR_US: u64 = 1_800_000_000;

/// See the module's head.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rate {
    /// Model asked for, where the answer's name does not begin with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
    /// Tier, speed, place, where they are not the ordinary ones.
    #[serde(flatten)]
    pub terms: Terms,
    /// Prompts longer than this, where a list of the family has a step there.
    #[serde(skip_serializing_if = "is_zero")]
    pub above: u64,
    /// Whether what was counted is an estimate.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
    /// Half hour of the day, UTC, where the family has cheaper hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_hour: Option<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Prompt lengths at which a list of this family has a step; families by a part of their names. The data of
/// genai-prices has no others (but for OpenRouter's, whose answers say what they cost).
const STEPS: &[(&str, &[u64])] = &[
    ("claude", &[100_000, 200_000]),
    ("gpt", &[272_000]),
    ("gemini", &[128_000, 200_000]),
    ("grok", &[128_000, 199_999, 200_000]),
    ("qwen", &[32_000, 128_000, 256_000]),
    ("minimax", &[512_000]),
    ("nova", &[100_000, 272_000]),
];
/// No list has a step below this.
const STEP_MIN: u64 = 32_000;
/// Families with cheaper hours.
const BY_HOUR: &str = "deepseek";

impl Rate {
    /// What decides the price of a response: `model` answered, `asked` was asked for, `prompt` tokens long, at this
    /// moment, under these terms.
    #[must_use]
    pub fn of(model: &str, asked: Option<&str>, prompt: u64, terms: &Terms, at: u64) -> Rate {
        let above = step_of(model, prompt);
        let by_hour = has(model, BY_HOUR);
        Rate {
            asked: asked.filter(|asked| !model.starts_with(asked)).map(|asked| cut(asked, NAME_BYTES_MAX)),
            terms: Terms {
                service_tier: said(&terms.service_tier, ORDINARY_TIERS),
                speed: said(&terms.speed, &["standard"]),
                inference_geo: said(&terms.inference_geo, &["global", "not_available"]),
                region: said(&terms.region, &["global"]),
            },
            above,
            estimated: false,
            half_hour: by_hour.then_some(at / HALF_HOUR_US % 48),
        }
    }

    /// As the store keeps it.
    #[must_use]
    pub fn text(&self) -> String {
        if *self == Rate::default() { String::new() } else { serde_json::to_string(self).unwrap_or_default() }
    }

    /// From what the store keeps; none where it is no ordinary rate.
    #[must_use]
    pub fn read(text: &str) -> Option<Rate> {
        if text.is_empty() { Some(Rate::default()) } else { serde_json::from_str(text).ok() }
    }

    /// The moment that decides, for an exchange of this day or hour.
    #[must_use]
    pub fn moment(&self, at: u64) -> u64 {
        const DAY_US: u64 = 48 * HALF_HOUR_US;
        self.half_hour.map_or(at, |half| at / DAY_US * DAY_US + half * HALF_HOUR_US)
    }
}

/// The last length that a prompt of this model has passed at which a list of its family has a step; 0 below all.
#[must_use]
pub fn step_of(model: &str, prompt: u64) -> u64 {
    if prompt <= STEP_MIN {
        return 0;
    }
    let steps = STEPS.iter().find(|(family, _)| has(model, family)).map_or(&[][..], |(_, steps)| *steps);
    steps.iter().rev().find(|step| prompt > **step).copied().unwrap_or(0)
}

/// Whether a name has this part, in any case.
fn has(name: &str, part: &str) -> bool {
    name.as_bytes().windows(part.len()).any(|window| window.eq_ignore_ascii_case(part.as_bytes()))
}

/// Terms of an exchange: those that the response said, and the region that a path names (Vertex).
#[must_use]
pub fn terms_at(said: &Terms, path: &str) -> Terms {
    const BEFORE: &str = "/locations/";
    let found = memmem::find(path.as_bytes(), BEFORE.as_bytes());
    let by_path = found.and_then(|at| path[at + BEFORE.len()..].split('/').next());
    // A placeholder is led to the provider's own region.
    let by_path = by_path.filter(|region| !region.starts_with('_'));
    Terms { region: said.region.clone().or_else(|| by_path.map(str::to_owned)), ..said.clone() }
}

/// Tiers at which the ordinary price holds.
pub const ORDINARY_TIERS: &[&str] = &[
    "auto",
    "default",
    "standard",
    "standard_only",
    "on_demand",
    "not_available",
    // Vertex' `trafficType`, which is a number where the client asks for numbers.
    "traffic_type_unspecified",
    "0",
    "1",
];

/// What was said, where it is out of the ordinary.
fn said(text: &Option<String>, ordinary: &[&str]) -> Option<String> {
    let text = text.as_deref().filter(|text| !text.is_empty())?;
    let plain = ordinary.iter().any(|name| text.eq_ignore_ascii_case(name));
    (!plain).then(|| cut(text, TEXT_BYTES_MAX))
}

fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max && text.bytes().all(|b| (b' '..0x7F).contains(&b)) {
        return text.to_owned();
    }
    text.chars()
        .filter(|c| !c.is_control())
        .scan(0, |len, c| {
            *len += c.len_utf8();
            (*len <= bytes_max).then_some(c)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ordinary_is_empty_and_the_rest_comes_back() {
        let ordinary = Terms {
            service_tier: Some("standard".into()),
            speed: Some("standard".into()),
            inference_geo: Some("not_available".into()),
            region: None,
        };
        let plain = Rate::of("claude-sonnet-5-20260701", Some("claude-sonnet-5"), 90_000, &ordinary, 0);
        assert_eq!(plain.text(), "");
        assert_eq!(Rate::read(""), Some(plain));
        let terms = Terms { service_tier: Some("flex".into()), ..Terms::default() };
        let at = 5 * 48 * HALF_HOUR_US + 33 * HALF_HOUR_US + 7;
        let rate = Rate::of("deepseek-v4-pro", Some("ours"), 300_000, &terms, at);
        assert_eq!(rate.text(), r#"{"asked":"ours","service_tier":"flex","half_hour":33}"#);
        assert_eq!(Rate::read(&rate.text()), Some(rate.clone()));
        assert_eq!(rate.moment(5 * 48 * HALF_HOUR_US), at - 7);
        assert_eq!(
            Rate::of("gemini-2.5-pro", None, 200_001, &Terms::default(), 0).text(),
            r#"{"above":200000}"#
        );
        for special in [NOTHING, UNKNOWN, BY_RUNS] {
            assert_eq!(Rate::read(special), None);
        }
    }

    #[test]
    fn no_step_lies_below_the_least() {
        assert_eq!(STEPS.iter().flat_map(|(_, steps)| *steps).min(), Some(&STEP_MIN));
        assert_eq!((step_of("Qwen3-Max", 32_000), step_of("Qwen3-Max", 32_001)), (0, 32_000));
    }

    #[test]
    fn what_the_wire_says_has_a_bound() {
        let terms = Terms { service_tier: Some("x".repeat(1_000)), ..Terms::default() };
        let rate = Rate::of("m", Some(&"é".repeat(1_000)), 0, &terms, 0);
        assert_eq!(
            (rate.asked.map(|text| text.len()), rate.terms.service_tier.map(|text| text.len())),
            (Some(256), Some(64))
        );
    }
}
