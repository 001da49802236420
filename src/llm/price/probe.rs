//! A [`Card`] read off the price data of `genai-prices`.
//!
//! The crate is the maintained source (MIT, of Pydantic; its data comes with each release) and answers what a request
//! costs, not what its rates are. Since a bill is linear within one step of prompt length, asking for one kind of token
//! at a time gives the rates, and halving gives the lengths at which they change. This costs some tens of questions of
//! a few microseconds, once for each model, day and terms: see [`Cards`](super::Cards).

use std::time::{Duration, UNIX_EPOCH};

use genai_prices::{Calculator, ErrorKind, PriceRequest, Usage, UsageKey};

use super::Unpriced;
use super::card::{Card, Rates, Step, Unit};
use super::lists::Question;

/// Longest prompt that is asked about; no model takes longer ones.
const PROMPT_MAX: u64 = 1 << 24;
/// Seconds of sound that are asked about: an hour, above every least bill.
const SECONDS: f64 = 3_600.0;
/// Searches that are asked about.
const SEARCHES: f64 = 1_000.0;
/// Picodollars in a dollar.
const PICODOLLARS: f64 = 1e12;

/// The data of the crate. The first caller waits some fifty milliseconds for it to be read, and it holds some
/// seventeen megabytes from then on: whoever serves calls [`warm`] on another thread first.
fn data() -> &'static Calculator {
    Calculator::bundled()
}

/// Have the price data read.
pub(super) fn warm() {
    let _ = data();
}

/// Ask one question of the data.
struct Probe<'a> {
    question: &'a Question<'a>,
    at: u64,
}

/// The card for a question, or why there is none.
pub(super) fn card(question: &Question<'_>, at: u64) -> Result<Card, Unpriced> {
    let probe = Probe { question, at };
    let model = probe.model()?;
    if question.context.is_some() && !probe.terms_are_priced() {
        return Err(Unpriced::NoTerms { said: question.said.clone() });
    }
    let steps = probe.steps();
    let free = steps.iter().all(|step| step.rates.iter().all(|rate| *rate == 0));
    if free && !model.ends_with(":free") {
        // Priced by something that no wire shows (characters, pages), or not at all: not the same as free.
        return Err(Unpriced::NoModel { list: question.list, model });
    }
    Ok(Card { list: question.list, model, free, steps })
}

impl Probe<'_> {
    /// The list's own name of the model.
    fn model(&self) -> Result<String, Unpriced> {
        match self.ask(&Usage::new(), false) {
            Ok((_, model)) => Ok(model),
            Err(kind) => {
                debug_assert!(
                    matches!(kind, ErrorKind::ModelNotFound | ErrorKind::ProviderNotFound),
                    "{kind:?}"
                );
                Err(Unpriced::NoModel { list: self.question.list, model: self.question.model.to_owned() })
            }
        }
    }

    fn ask(&self, usage: &Usage, with_context: bool) -> Result<(f64, String), ErrorKind> {
        let mut request = PriceRequest::new(self.question.model, usage)
            .with_provider_id(self.question.provider)
            .with_timestamp(UNIX_EPOCH + Duration::from_micros(self.at));
        if let Some((key, value)) = self.question.context.filter(|_| with_context) {
            request = request.with_price_context(key, value);
        }
        data()
            .calculate(&request)
            .map(|price| (price.total_price, price.model_id))
            .map_err(|error| error.kind())
    }

    fn dollars(&self, usage: &Usage) -> f64 {
        self.ask(usage, true).map_or(0.0, |(dollars, _)| dollars)
    }

    /// The data answers with standard rates where it has none for a tier, and no published tier costs the same.
    fn terms_are_priced(&self) -> bool {
        let usage = prompt_and_answer(1_000_000.0);
        self.ask(&usage, false).ok().map(|(dollars, _)| dollars)
            != self.ask(&usage, true).ok().map(|(dollars, _)| dollars)
    }

    fn steps(&self) -> Vec<Step> {
        let mut steps = vec![Step { above: 0, rates: self.rates(1) }];
        let mut at = 1;
        // A list has one or two steps; the bound is for data that is out of its mind.
        while self.token_rate(at) != self.token_rate(PROMPT_MAX) && steps.len() < 8 {
            let (mut same, mut other) = (at, PROMPT_MAX);
            while other - same > 1 {
                let middle = same + (other - same) / 2;
                if self.token_rate(middle) == self.token_rate(at) { same = middle } else { other = middle }
            }
            steps.push(Step { above: same, rates: self.rates(other) });
            at = other;
        }
        steps
    }

    /// What a token of prompt and a token of answer cost together at this length, in picodollars.
    fn token_rate(&self, prompt: u64) -> i64 {
        let free_of_tokens = self.dollars(&Usage::new());
        rate(self.dollars(&prompt_and_answer(prompt as f64)) - free_of_tokens, prompt as f64)
    }

    fn rates(&self, prompt: u64) -> Rates {
        let request = self.dollars(&Usage::new());
        let of = |counts: &[(UsageKey, f64)], per: f64| {
            rate(self.dollars(&counts.iter().cloned().collect()) - request, per)
        };
        let prompt = prompt as f64;
        let input = (UsageKey::INPUT_TOKENS, prompt);
        let beside = |base: &[UsageKey], kinds: &[UsageKey]| {
            let all = std::iter::once(&input.0).chain(base).chain(kinds);
            let counts: Vec<_> = all.map(|kind| (kind.clone(), prompt)).collect();
            of(&counts, prompt)
        };
        // All of the prompt is of the kind asked about, or all of the answer beside a plain prompt.
        let of_input = |kinds: &[UsageKey]| beside(&[], kinds);
        let of_output = |kinds: &[UsageKey]| beside(&[UsageKey::OUTPUT_TOKENS], kinds) - of_input(&[]);
        let mut rates: Rates = [0; Unit::COUNT];
        for unit in Unit::ALL {
            rates[unit as usize] = match unit {
                Unit::Input => of_input(&[]),
                Unit::CacheRead => of_input(&[UsageKey::CACHE_READ_TOKENS]),
                Unit::CacheWrite => of_input(&[UsageKey::CACHE_WRITE_TOKENS]),
                Unit::CacheWriteHour => {
                    of_input(&[UsageKey::CACHE_WRITE_TOKENS, UsageKey::CACHE_WRITE_1H_TOKENS])
                }
                Unit::AudioInput => of_input(&[UsageKey::INPUT_AUDIO_TOKENS]),
                Unit::AudioCacheRead => of_input(&[
                    UsageKey::INPUT_AUDIO_TOKENS,
                    UsageKey::CACHE_READ_TOKENS,
                    UsageKey::CACHE_AUDIO_READ_TOKENS,
                ]),
                Unit::ImageInput => of_input(&[UsageKey::INPUT_IMAGE_TOKENS]),
                Unit::Output => of_output(&[]),
                Unit::Reasoning => of_output(&[UsageKey::OUTPUT_REASONING_TOKENS]),
                Unit::AudioOutput => of_output(&[UsageKey::OUTPUT_AUDIO_TOKENS]),
                Unit::ImageOutput => of_output(&[UsageKey::OUTPUT_IMAGE_TOKENS]),
                Unit::WebSearch => of(&[(UsageKey::WEB_SEARCHES, SEARCHES)], SEARCHES),
                Unit::FileSearch => of(&[(UsageKey::STORAGE_SEARCHES, SEARCHES)], SEARCHES),
                Unit::AudioSecond => {
                    let sound = [UsageKey::AUDIO_SECONDS, UsageKey::INPUT_AUDIO_SECONDS];
                    of(&sound.map(|kind| (kind, SECONDS)), SECONDS)
                }
                Unit::Request => rate(request, 1.0),
            };
        }
        rates
    }
}

fn prompt_and_answer(tokens: f64) -> Usage {
    Usage::from([(UsageKey::INPUT_TOKENS, tokens), (UsageKey::OUTPUT_TOKENS, tokens)])
}

fn rate(dollars: f64, per: f64) -> i64 {
    (dollars * PICODOLLARS / per).round() as i64
}

/// Names of the models in a provider's list, with their context windows.
pub(super) fn models(provider: &str) -> Vec<(&'static str, Option<u64>)> {
    let provider = data().find_provider(Some(provider), None).ok().flatten();
    let models = provider.into_iter().flat_map(|provider| provider.models());
    models.map(|model| (model.id(), model.context_window())).collect()
}
