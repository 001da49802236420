//! What a request will probably cost: recent output of requests like it, so that a large `max_tokens` does not
//! refuse what would have been cheap.

/// How many outputs are remembered.
const REMEMBERED: usize = 64;
/// Output tokens taken for a model that nothing is known of yet.
pub const UNKNOWN_OUTPUT_TOKENS: u64 = 1_024;

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
        let mut sorted = self.tokens[..kept].to_vec();
        sorted.sort_unstable();
        let nine_of_ten = sorted.get((kept * 9).div_ceil(10).saturating_sub(1));
        let predicted = nine_of_ten.map_or(UNKNOWN_OUTPUT_TOKENS, |tokens| u64::from(*tokens));
        max_tokens.map_or(predicted, |max| predicted.min(max))
    }
}

/// Input cost at the session's share of cached input: `uncached` and `cached` are prices a token, in nanodollars.
#[must_use]
pub fn input_cost(tokens: u64, cached_share: f64, uncached: i64, cached: i64) -> i64 {
    let share = if cached_share.is_finite() { cached_share.clamp(0.0, 1.0) } else { 0.0 };
    let tokens = tokens as f64;
    (tokens * share * cached as f64 + tokens * (1.0 - share) * uncached as f64).ceil() as i64
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
    fn cached_input_is_cheaper() {
        assert_eq!(input_cost(1_000, 0.0, 3_000, 300), 3_000_000);
        assert_eq!(input_cost(1_000, 1.0, 3_000, 300), 300_000);
        assert_eq!(input_cost(1_000, f64::NAN, 3_000, 300), 3_000_000);
    }
}
