//! What reading a request body costs: one forward scan over the messages of a coding agent, with its escapes.
//!
//! `cargo bench --bench ask`

use std::fmt::Write;

use weir::llm::ask::AskReader;
use weir::llm::dialect::Dialect;

mod stopwatch;

/// A body as a coding agent sends it late in a session: many turns, file contents full of escapes, long tool
/// descriptions, and the model after all that.
fn agent_body(bytes: usize) -> String {
    let line = "    let value = map.get(\\\"key\\\").copied(); // \\u00fcber\\n\\t\\tif value.is_none() { return Err(\\\"x\\\".into()); }\\n";
    let mut body = String::from(
        "{\"max_tokens\":32000,\"system\":[{\"type\":\"text\",\"text\":\"You are an agent.\"}],\"messages\":[",
    );
    let mut turn = 0;
    while body.len() < bytes * 9 / 10 {
        let content = line.repeat(3 + turn % 17);
        write!(
            body,
            "{{\"role\":\"user\",\"content\":[{{\"type\":\"tool_result\",\"tool_use_id\":\"toolu_{turn}\",\"content\":[{{\"type\":\"text\",\"text\":\"{content}\"}}]}}]}},\
             {{\"role\":\"assistant\",\"content\":[{{\"type\":\"text\",\"text\":\"Looking on.\"}},{{\"type\":\"tool_use\",\"id\":\"toolu_{turn}\",\"name\":\"Read\",\"input\":{{\"path\":\"/a/b{turn}.rs\",\"limit\":{turn}}}}}]}},"
        )
        .expect("a string takes all");
        turn += 1;
    }
    body.push_str("{\"role\":\"user\",\"content\":\"now fix it\"}],\"tools\":[");
    let text = "Does a thing.\\n- with care\\n- and \\\"quotes\\\"\\n".repeat(12);
    for tool in 0..20 {
        let comma = if tool > 0 { "," } else { "" };
        write!(
            body,
            "{comma}{{\"name\":\"tool{tool}\",\"description\":\"{text}\",\"input_schema\":{{\"type\":\"object\",\"properties\":{{\"path\":{{\"type\":\"string\",\"description\":\"Where\"}}}},\"required\":[\"path\"]}}}}"
        )
        .expect("a string takes all");
    }
    body.push_str("],\"stream\":true,\"model\":\"claude-sonnet-5\"}");
    body
}

fn read(body: &[u8], step: usize) -> weir::llm::ask::Ask {
    let mut reader = AskReader::new(Dialect::Messages);
    let mut end = 0;
    while end < body.len() {
        end = (end + step).min(body.len());
        reader.advance(&body[..end]).expect("a good body");
    }
    reader.finish(body).expect("a good body")
}

fn main() {
    for size in [2 << 10, 77 << 10, 300 << 10, 1 << 20] {
        let body = agent_body(size).into_bytes();
        let ask = read(&body, usize::MAX >> 1);
        assert_eq!(ask.model.as_deref(), Some("claude-sonnet-5"), "the answer");
        assert_eq!((ask.tools.len(), ask.user_message.as_deref()), (20, Some("now fix it")), "the answer");
        let calls = u32::try_from((20 << 20) / body.len()).expect("small").max(4);
        for (case, step) in [("whole", usize::MAX >> 1), ("by-16k", 16 << 10)] {
            let ns = stopwatch::spend_ns(calls, || read(&body, step));
            stopwatch::tell(&format!("ask/messages-{case}/{}", body.len()), ns, 1, "body", body.len());
        }
        let mut scratch = Vec::new();
        let ns = stopwatch::spend_ns(calls, || {
            scratch.clear();
            scratch.extend_from_slice(&body);
            simd_json::to_tape(&mut scratch).expect("JSON").0.len()
        });
        stopwatch::tell(&format!("ask/simd-json-tape/{}", body.len()), ns, 1, "body", body.len());
    }
}
