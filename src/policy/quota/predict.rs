//! What a request will probably cost: recent output of requests like it, so that a large `max_tokens` does not
//! refuse what would have been cheap; its session's last turn, which says what a byte of it is worth and how much of it
//! the provider has in its cache.

use foldhash::HashMap;

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

/// A prediction.
#[derive(Clone, Copy, Debug)]
pub struct Predicted {
    /// Input, estimated from the size of the body.
    pub input_tokens: u64,
    /// What requests like this one used lately.
    pub likely: Usage,
    /// All that it may use: nothing cached, and all the output that it allows.
    pub most: Usage,
}

impl Seen {
    /// The usage that a request will probably have, and the most that it may have.
    #[must_use]
    pub fn predicted(&self, asked: &Asked<'_>) -> Predicted {
        let input = self.input_tokens(asked);
        let output = match self.models.get(asked.model) {
            Some(recent) => recent.output_tokens(asked.max_tokens),
            None => UNKNOWN_OUTPUT_TOKENS.min(asked.max_tokens.unwrap_or(u64::MAX)),
        };
        // What grew since the last turn is new to the cache.
        let cached = self.turn(asked).map_or(0, |turn| turn.cached_tokens.min(input));
        Predicted {
            input_tokens: input,
            likely: usage(input, cached, output),
            most: usage(input, 0, asked.max_tokens.unwrap_or(UNBOUNDED_OUTPUT_TOKENS)),
        }
    }

    fn turn(&self, asked: &Asked<'_>) -> Option<&Turn> {
        if asked.session == 0 { None } else { self.sessions.get(&asked.session) }
    }

    /// Input, estimated from the size of the body.
    fn input_tokens(&self, asked: &Asked<'_>) -> u64 {
        match self.turn(asked) {
            // What is too long for the product is too long for any model.
            Some(turn) => asked.body_bytes.saturating_mul(turn.input_tokens).div_ceil(turn.body_bytes),
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

/// Recent outputs of one model, as one core has seen them: in the order in which they came, and by length.
#[derive(Clone, Debug)]
pub struct Recent {
    tokens: [u32; REMEMBERED],
    by_length: [u32; REMEMBERED],
    seen: usize,
}

impl Default for Recent {
    fn default() -> Self {
        Self { tokens: [0; REMEMBERED], by_length: [0; REMEMBERED], seen: 0 }
    }
}

impl Recent {
    /// An exchange has ended with so many output tokens.
    pub fn note(&mut self, output_tokens: u64) {
        let tokens = u32::try_from(output_tokens).unwrap_or(u32::MAX);
        let oldest = std::mem::replace(&mut self.tokens[self.seen % REMEMBERED], tokens);
        let mut kept = self.seen.min(REMEMBERED);
        if kept == REMEMBERED {
            let place = self.by_length.partition_point(|length| *length < oldest);
            self.by_length.copy_within(place + 1.., place);
            kept -= 1;
        }
        let place = self.by_length[..kept].partition_point(|length| *length < tokens);
        self.by_length.copy_within(place..kept, place + 1);
        self.by_length[place] = tokens;
        self.seen = self.seen.wrapping_add(1);
    }

    /// Nine of ten recent outputs were not longer than this; at most what the request allows.
    #[must_use]
    pub fn output_tokens(&self, max_tokens: Option<u64>) -> u64 {
        let kept = self.seen.min(REMEMBERED);
        let place = (kept * 9).div_ceil(10).saturating_sub(1);
        let predicted = if kept == 0 { UNKNOWN_OUTPUT_TOKENS } else { u64::from(self.by_length[place]) };
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
    fn lengths_stay_in_order_whatever_comes_and_goes() {
        let mut recent = Recent::default();
        let mut all = Vec::new();
        for n in 0..500_u64 {
            let tokens = (n * 7_919) % 50;
            recent.note(tokens);
            all.push(tokens);
            let last = &mut all[all.len().saturating_sub(REMEMBERED)..].to_vec();
            last.sort_unstable();
            let kept: Vec<u64> = recent.by_length[..last.len()].iter().map(|n| u64::from(*n)).collect();
            assert_eq!(kept, *last, "after {n}");
        }
    }

    #[test]
    fn a_session_says_what_its_bytes_are_worth_and_what_is_cached() {
        let mut seen = Seen::default();
        let first = Asked { model: "m", session: 7, body_bytes: 4_000, max_tokens: Some(32_000) };
        assert_eq!(seen.predicted(&first).likely.input_tokens, Some(1_000));
        let told = Usage {
            input_tokens: Some(800),
            cache_write_tokens: Some(700),
            output_tokens: Some(50),
            ..Usage::default()
        };
        seen.note(&first, &told);
        let next = Asked { body_bytes: 5_000, ..first };
        let Predicted { likely, most, .. } = seen.predicted(&next);
        assert_eq!((likely.input_tokens, likely.cache_read_tokens), (Some(1_000), Some(700)));
        assert_eq!((likely.uncached_input_tokens, likely.output_tokens), (Some(300), Some(50)));
        assert_eq!((most.uncached_input_tokens, most.output_tokens), (Some(1_000), Some(32_000)));
        let stranger = Asked { session: 0, ..next };
        assert_eq!(seen.predicted(&stranger).likely.cache_read_tokens, Some(0));
    }
}
