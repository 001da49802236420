//! What a request will probably cost: recent output of requests like it, so that a large `max_tokens` does not
//! refuse what would have been cheap; its session's last turn, which says what a byte of it is worth and how much of it
//! the provider has in its cache.

use std::collections::HashMap;

use crate::llm::usage::Usage;

/// How many outputs are remembered.
const REMEMBERED: usize = 64;
/// Output tokens taken for a model that nothing is known of yet.
pub const UNKNOWN_OUTPUT_TOKENS: u64 = 1_024;
/// Output tokens taken as the most where the request sets no bound.
pub const UNBOUNDED_OUTPUT_TOKENS: u64 = 64_000;
/// Bytes of a request body to a token, where nothing is known of its session yet.
const BYTES_PER_TOKEN: u64 = 4;
/// Models and sessions remembered per core; past it they are forgotten and learnt again.
const MODELS_MAX: usize = 1_024;
const SESSIONS_MAX: usize = 16 * 1_024;

/// What one core has seen of models and sessions.
#[derive(Debug, Default)]
pub struct Seen {
    models: HashMap<Box<str>, Recent>,
    sessions: HashMap<u64, Turn>,
}

/// What the last turn of a session was.
#[derive(Clone, Copy, Debug)]
struct Turn {
    body_bytes: u64,
    input_tokens: u64,
    cached_tokens: u64,
}

/// What decides a prediction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// Model as sent.
    pub model: &'a str,
    /// Hash of principal and session; zero: none.
    pub session: u64,
    /// Bytes of the request body.
    pub body_bytes: u64,
    /// Bound on output that the request sets.
    pub max_tokens: Option<u64>,
}

impl Seen {
    /// The usage that requests like this one had lately.
    #[must_use]
    pub fn likely(&self, asked: &Asked<'_>) -> Usage {
        let recent = self.models.get(asked.model);
        let output = match recent {
            Some(recent) => recent.output_tokens(asked.max_tokens),
            None => UNKNOWN_OUTPUT_TOKENS.min(asked.max_tokens.unwrap_or(u64::MAX)),
        };
        let input = self.input_tokens(asked);
        let turn = self.sessions.get(&asked.session).filter(|_| asked.session != 0);
        // What grew since the last turn is new to the cache.
        let cached = turn.map_or(0, |turn| turn.cached_tokens.min(input));
        usage(input, cached, output)
    }

    /// All that a request may use: nothing cached, and all the output that it allows.
    #[must_use]
    pub fn most(&self, asked: &Asked<'_>) -> Usage {
        usage(self.input_tokens(asked), 0, asked.max_tokens.unwrap_or(UNBOUNDED_OUTPUT_TOKENS))
    }

    /// Input, estimated from the size of the body.
    #[must_use]
    pub fn input_tokens(&self, asked: &Asked<'_>) -> u64 {
        let turn = self.sessions.get(&asked.session).filter(|_| asked.session != 0);
        match turn {
            Some(turn) => {
                let tokens = u128::from(asked.body_bytes) * u128::from(turn.input_tokens);
                u64::try_from(tokens.div_ceil(u128::from(turn.body_bytes))).unwrap_or(u64::MAX)
            }
            None => asked.body_bytes.div_ceil(BYTES_PER_TOKEN),
        }
    }

    /// An exchange has ended and the provider said what it used.
    pub fn note(&mut self, asked: &Asked<'_>, usage: &Usage) {
        if let Some(output) = usage.output_tokens {
            if self.models.len() >= MODELS_MAX && !self.models.contains_key(asked.model) {
                self.models.clear();
            }
            match self.models.get_mut(asked.model) {
                Some(recent) => recent.note(output),
                None => self.models.entry(asked.model.into()).or_default().note(output),
            }
        }
        let Some(input_tokens) = usage.input_tokens.filter(|tokens| *tokens > 0) else { return };
        if asked.session == 0 || asked.body_bytes == 0 {
            return;
        }
        if self.sessions.len() >= SESSIONS_MAX {
            self.sessions.clear();
        }
        let read = usage.cache_read_tokens.unwrap_or(0);
        let cached_tokens = read.saturating_add(usage.cache_write_tokens.unwrap_or(0));
        let turn = Turn { body_bytes: asked.body_bytes, input_tokens, cached_tokens };
        self.sessions.insert(asked.session, turn);
    }
}

fn usage(input: u64, cached: u64, output: u64) -> Usage {
    Usage {
        input_tokens: Some(input),
        uncached_input_tokens: Some(input - cached.min(input)),
        cache_read_tokens: Some(cached.min(input)),
        cache_write_tokens: Some(0),
        output_tokens: Some(output),
        ..Usage::default()
    }
}

/// Recent outputs of one model, as one core has seen them.
#[derive(Clone, Debug)]
pub struct Recent {
    tokens: [u32; REMEMBERED],
    seen: usize,
}

impl Default for Recent {
    fn default() -> Self {
        Self { tokens: [0; REMEMBERED], seen: 0 }
    }
}

impl Recent {
    /// An exchange has ended with so many output tokens.
    pub fn note(&mut self, output_tokens: u64) {
        self.tokens[self.seen % REMEMBERED] = u32::try_from(output_tokens).unwrap_or(u32::MAX);
        self.seen = self.seen.wrapping_add(1);
    }

    /// Nine of ten recent outputs were not longer than this; at most what the request allows.
    #[must_use]
    pub fn output_tokens(&self, max_tokens: Option<u64>) -> u64 {
        let kept = self.seen.min(REMEMBERED);
        let mut tokens = self.tokens;
        let tokens = &mut tokens[..kept];
        let place = (kept * 9).div_ceil(10).saturating_sub(1);
        let predicted = match tokens.is_empty() {
            true => UNKNOWN_OUTPUT_TOKENS,
            false => u64::from(*tokens.select_nth_unstable(place).1),
        };
        predicted.min(max_tokens.unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prediction_follows_what_was_seen_and_never_exceeds_what_is_allowed() {
        let mut recent = Recent::default();
        assert_eq!(recent.output_tokens(None), UNKNOWN_OUTPUT_TOKENS);
        assert_eq!(recent.output_tokens(Some(16)), 16);
        for tokens in 1..=100 {
            recent.note(tokens);
        }
        // The last 64 are 37 to 100; the 58th of them is 94.
        assert_eq!(recent.output_tokens(Some(64_000)), 94);
        assert_eq!(recent.output_tokens(Some(50)), 50);
    }

    #[test]
    fn a_session_says_what_its_bytes_are_worth_and_what_is_cached() {
        let mut seen = Seen::default();
        let first = Asked { model: "m", session: 7, body_bytes: 4_000, max_tokens: Some(32_000) };
        assert_eq!(seen.likely(&first).input_tokens, Some(1_000));
        let told = Usage {
            input_tokens: Some(800),
            cache_write_tokens: Some(700),
            output_tokens: Some(50),
            ..Usage::default()
        };
        seen.note(&first, &told);
        let next = Asked { body_bytes: 5_000, ..first };
        let likely = seen.likely(&next);
        assert_eq!((likely.input_tokens, likely.cache_read_tokens), (Some(1_000), Some(700)));
        assert_eq!((likely.uncached_input_tokens, likely.output_tokens), (Some(300), Some(50)));
        let most = seen.most(&next);
        assert_eq!((most.uncached_input_tokens, most.output_tokens), (Some(1_000), Some(32_000)));
        let stranger = Asked { session: 0, ..next };
        assert_eq!(seen.likely(&stranger).cache_read_tokens, Some(0));
    }
}
