//! Tokens that nobody counted for us, from what passed: for streams without usage, or cut before it came.
//!
//! An estimate stands beside the provider's numbers and is marked; it never replaces one, and is never below one.

use serde::{Deserialize, Serialize};

use super::usage::Usage;

/// Bytes of text to a token, and of an event around its text: coarse, and the same for all models.
const BYTES_PER_TOKEN: u64 = 4;
const EVENT_BYTES: u64 = 150;

/// What passed of an exchange.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passed {
    /// Request body, in bytes.
    pub request_bytes: u64,
    /// Response body, in bytes, without content coding where it has one.
    pub response_bytes: u64,
    /// Events of the response, where it was a stream.
    pub events: u64,
}

/// Estimated tokens of an exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Estimate {
    /// Of the prompt.
    pub input_tokens: u64,
    /// Of the answer.
    pub output_tokens: u64,
}

impl Estimate {
    /// What it probably was. An event carries a token at least.
    #[must_use]
    pub fn of(passed: Passed) -> Estimate {
        let around = passed.events.max(1).saturating_mul(EVENT_BYTES);
        let text = passed.response_bytes.saturating_sub(around) / BYTES_PER_TOKEN;
        Estimate {
            input_tokens: passed.request_bytes / BYTES_PER_TOKEN,
            output_tokens: text.max(passed.events),
        }
    }

    /// What the wire said, completed.
    #[must_use]
    pub fn complete(self, said: &Usage) -> Usage {
        let input = said.input_tokens.unwrap_or(self.input_tokens);
        Usage {
            input_tokens: Some(input),
            uncached_input_tokens: said.uncached_input_tokens.or(Some(input)),
            output_tokens: Some(said.output_tokens.unwrap_or(0).max(self.output_tokens)),
            ..*said
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_below_what_the_wire_said() {
        let estimate = Estimate::of(Passed { request_bytes: 400, response_bytes: 7_000, events: 40 });
        assert_eq!(estimate, Estimate { input_tokens: 100, output_tokens: 250 });
        let said = Usage { input_tokens: Some(900), output_tokens: Some(1), ..Usage::default() };
        let usage = estimate.complete(&said);
        assert_eq!((usage.input_tokens, usage.output_tokens), (Some(900), Some(250)));
        let usage = estimate.complete(&Usage { output_tokens: Some(500), ..said });
        assert_eq!(usage.output_tokens, Some(500));
        let unsaid = estimate.complete(&Usage::default());
        assert_eq!((unsaid.input_tokens, unsaid.uncached_input_tokens), (Some(100), Some(100)));
        let few = Estimate::of(Passed { request_bytes: 0, response_bytes: 90, events: 7 });
        assert_eq!(few.output_tokens, 7);
    }
}
