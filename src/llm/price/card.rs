//! What one model costs on one day under one set of terms: a rate for each kind of thing that is charged for.

use serde::{Deserialize, Serialize};

use super::{Nanodollars, Unpriced};
use crate::llm::usage::Usage;

/// A kind of thing that is charged for. Kinds do not overlap: an exchange's counts add up to its bill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Unit {
    /// Prompt tokens that are none of the kinds below.
    Input,
    /// Prompt tokens read from the cache.
    CacheRead,
    /// Prompt tokens written to the cache for five minutes, or for a time the wire does not say.
    CacheWrite,
    /// Prompt tokens written to the cache for an hour.
    CacheWriteHour,
    /// Audio tokens of the prompt.
    AudioInput,
    /// Audio tokens of the prompt, read from the cache.
    AudioCacheRead,
    /// Image tokens of the prompt.
    ImageInput,
    /// Generated tokens that are none of the kinds below.
    Output,
    /// Reasoning tokens.
    Reasoning,
    /// Audio tokens generated.
    AudioOutput,
    /// Image tokens generated.
    ImageOutput,
    /// Web searches by the provider.
    WebSearch,
    /// Searches of stored files by the provider.
    FileSearch,
    /// Seconds of sound.
    AudioSecond,
    /// Requests.
    Request,
}

impl Unit {
    /// How many there are.
    pub const COUNT: usize = 15;

    /// All of them, in the order of [`Rates`].
    pub const ALL: [Unit; Unit::COUNT] = [
        Unit::Input,
        Unit::CacheRead,
        Unit::CacheWrite,
        Unit::CacheWriteHour,
        Unit::AudioInput,
        Unit::AudioCacheRead,
        Unit::ImageInput,
        Unit::Output,
        Unit::Reasoning,
        Unit::AudioOutput,
        Unit::ImageOutput,
        Unit::WebSearch,
        Unit::FileSearch,
        Unit::AudioSecond,
        Unit::Request,
    ];

    /// Name in JSON and in price files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Unit::Input => "input",
            Unit::CacheRead => "cache_read",
            Unit::CacheWrite => "cache_write",
            Unit::CacheWriteHour => "cache_write_1h",
            Unit::AudioInput => "audio_input",
            Unit::AudioCacheRead => "audio_cache_read",
            Unit::ImageInput => "image_input",
            Unit::Output => "output",
            Unit::Reasoning => "reasoning",
            Unit::AudioOutput => "audio_output",
            Unit::ImageOutput => "image_output",
            Unit::WebSearch => "web_search",
            Unit::FileSearch => "file_search",
            Unit::AudioSecond => "audio_second",
            Unit::Request => "request",
        }
    }

    /// Of what its price is quoted: a million tokens, a thousand searches or requests, an hour of sound.
    #[must_use]
    pub fn quoted_per(self) -> u64 {
        match self {
            Unit::WebSearch | Unit::FileSearch | Unit::Request => 1_000,
            Unit::AudioSecond => 3_600,
            _ => 1_000_000,
        }
    }

    /// The kind whose rate holds where a list has none of its own: a provider that does not price cache reads apart
    /// charges them as input.
    #[must_use]
    pub fn priced_as(self) -> Option<Unit> {
        match self {
            Unit::CacheRead | Unit::CacheWrite | Unit::AudioInput | Unit::ImageInput => Some(Unit::Input),
            Unit::CacheWriteHour => Some(Unit::CacheWrite),
            Unit::AudioCacheRead => Some(Unit::CacheRead),
            Unit::Reasoning | Unit::AudioOutput | Unit::ImageOutput => Some(Unit::Output),
            _ => None,
        }
    }
}

/// Rates in picodollars (10⁻¹² dollars) for one of each [`Unit`]; 0 where the list has none.
pub type Rates = [i64; Unit::COUNT];

/// Rates from a prompt length on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// They hold for prompts longer than this, in tokens.
    pub above: u64,
    /// The rates.
    pub rates: Rates,
}

/// What one model costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// Whose list.
    pub list: &'static str,
    /// The list's name of the model.
    pub model: String,
    /// Whether the list says that it costs nothing.
    pub free: bool,
    /// By ascending prompt length; the first is above 0 and always there.
    pub steps: Vec<Step>,
}

/// How many of each [`Unit`] an exchange used, and what the wire left open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// By unit.
    pub of: [u64; Unit::COUNT],
    /// Whether the wire said how long the prompt was.
    pub input_known: bool,
    /// Whether the wire said how much was generated.
    pub output_known: bool,
    /// Length of the prompt, which picks the step: cache reads and writes count.
    pub prompt: u64,
}

impl Counts {
    /// The counts of one response.
    #[must_use]
    pub fn of(usage: &Usage) -> Counts {
        let count = |value: Option<u64>| value.unwrap_or(0);
        let write_hour = count(usage.cache_write_1h_tokens);
        let written = usage.cache_write_tokens;
        let write = count(written.or(usage.cache_write_5m_tokens)).max(write_hour);
        let read = count(usage.cache_read_tokens);
        let prompt = count(usage.input_tokens);
        // Providers do report more cached tokens than prompt tokens.
        let fresh =
            usage.uncached_input_tokens.unwrap_or_else(|| prompt.saturating_sub(read).saturating_sub(write));
        let audio_read = count(usage.cache_read_audio_tokens).min(read);
        let audio = count(usage.audio_input_tokens).saturating_sub(audio_read).min(fresh);
        let image = count(usage.image_input_tokens).min(fresh - audio);
        let answered = count(usage.output_tokens);
        let reasoning = count(usage.reasoning_tokens);
        // Reasoning is a part of what was generated, but where it is longer than all of it (Gemini behind Vercel).
        let output = if reasoning > answered { answered.saturating_add(reasoning) } else { answered };
        let audio_out = count(usage.audio_output_tokens).min(output - reasoning);
        let image_out = count(usage.image_output_tokens).min(output - reasoning - audio_out);
        let of = [
            fresh - audio - image,
            read - audio_read,
            write - write_hour,
            write_hour,
            audio,
            audio_read,
            image,
            output - reasoning - audio_out - image_out,
            reasoning,
            audio_out,
            image_out,
            count(usage.web_searches),
            count(usage.file_searches),
            count(usage.audio_seconds),
            1,
        ];
        Counts {
            of,
            input_known: usage.input_tokens.is_some(),
            output_known: usage.output_tokens.is_some(),
            prompt,
        }
    }
}

impl Card {
    /// The rates for a prompt of this length.
    #[must_use]
    pub fn rates(&self, prompt: u64) -> &Rates {
        let fits = |step: &&Step| step.above == 0 || prompt > step.above;
        &self.steps.iter().rev().find(fits).unwrap_or(&self.steps[0]).rates
    }

    /// The money, or what is missing for it.
    pub fn cost(&self, counts: &Counts) -> Result<Nanodollars, Unpriced> {
        let rates = self.rates(counts.prompt);
        // A list without a rate for output is one of models that generate nothing.
        let silent = |known: bool, unit: Unit| !known && rates[unit as usize] != 0;
        if silent(counts.input_known, Unit::Input) || silent(counts.output_known, Unit::Output) {
            return Err(Unpriced::NoUsage);
        }
        let by_sound = rates[Unit::AudioSecond as usize] != 0 && counts.of[Unit::AudioSecond as usize] != 0;
        if !counts.input_known && !counts.output_known && !by_sound {
            return Err(Unpriced::NoUsage);
        }
        let mut picodollars: i128 = 0;
        for unit in Unit::ALL {
            let (count, rate) = (counts.of[unit as usize], rates[unit as usize]);
            if count > 0 && rate == 0 && !self.may_lack(unit, by_sound) {
                return Err(Unpriced::NoRate(unit));
            }
            picodollars = picodollars.saturating_add(i128::from(count).saturating_mul(i128::from(rate)));
        }
        Ok(to_nanodollars(picodollars))
    }

    /// Requests are seldom priced; seconds of sound only where tokens are not, and the other way round.
    fn may_lack(&self, unit: Unit, by_sound: bool) -> bool {
        self.free || by_sound || matches!(unit, Unit::Request | Unit::AudioSecond)
    }

    /// The same, all rates times a factor.
    #[must_use]
    pub fn times(mut self, factor: f64) -> Card {
        if factor != 1.0 {
            for rate in self.steps.iter_mut().flat_map(|step| &mut step.rates) {
                *rate = (*rate as f64 * factor).round() as i64;
            }
            self.free |= factor == 0.0;
        }
        self
    }
}

/// To the nearest; what no i64 can hold stands at its end.
fn to_nanodollars(picodollars: i128) -> Nanodollars {
    // Dividing what fits into 64 bits costs a tenth.
    if let Ok(small) = i64::try_from(picodollars + 500) {
        return small.div_euclid(1_000);
    }
    let rounded = (picodollars + 500).div_euclid(1_000);
    i64::try_from(rounded).unwrap_or(if rounded < 0 { i64::MIN } else { i64::MAX })
}
