//! Vectors of texts, as OpenAI, Gemini and Ollama answer them. The numbers are the request's own and mean nothing.

use super::api::Dialect;
use super::{Answer, Asked, Claim, json};
use crate::digest::base64;
use crate::http::mix;
use crate::json::quote;

pub(super) fn answer(asked: &Asked) -> Answer {
    let claim = Claim { tokens_out: 0, tokens_cache_read: 0, tools: Vec::new(), ..asked.claim(0, "") };
    let (count, model) = (claim.tokens_in, quote(&claim.model));
    let vectors: Vec<String> = (0..asked.inputs).map(|i| vector(asked, i as u64)).collect();
    let (text, usage_sent) = match asked.dialect {
        Dialect::GeminiEmbed => {
            let values: Vec<String> = vectors.iter().map(|v| format!("{{\"values\":{v}}}")).collect();
            let all = values.join(",");
            (
                if asked.single {
                    format!("{{\"embedding\":{all}}}")
                } else {
                    format!("{{\"embeddings\":[{all}]}}")
                },
                false,
            )
        }
        Dialect::OllamaEmbed => (
            format!(
                "{{\"model\":{model},\"embeddings\":[{}],\"total_duration\":14143917,\"load_duration\":1019500,\
                 \"prompt_eval_count\":{count}}}",
                vectors.join(",")
            ),
            true,
        ),
        _ => {
            let one = |(i, v)| format!("{{\"object\":\"embedding\",\"index\":{i},\"embedding\":{v}}}");
            let data: Vec<String> = vectors.iter().enumerate().map(one).collect();
            let text = format!(
                "{{\"object\":\"list\",\"data\":[{}],\"model\":{model},\"usage\":{{\"prompt_tokens\":{count},\
                 \"total_tokens\":{count}}}}}",
                data.join(",")
            );
            (text, true)
        }
    };
    let mut answer = json(200, text);
    answer.claim = Claim { usage_sent, stream: false, ..claim };
    answer
}

fn vector(asked: &Asked, input: u64) -> String {
    let number = |i: usize| (mix(asked.seed ^ input << 20 ^ i as u64) % 2_000_001) as f32 / 1e6 - 1.0;
    let numbers = (0..asked.dimensions).map(number);
    if asked.base64 {
        let bytes: Vec<u8> = numbers.flat_map(f32::to_le_bytes).collect();
        let mut text = vec![b'"'];
        base64(&bytes, &mut text);
        text.push(b'"');
        return String::from_utf8_lossy(&text).into_owned();
    }
    format!("[{}]", numbers.map(|n| n.to_string()).collect::<Vec<_>>().join(","))
}
