//! Groq: OpenAI's languages below a folder.

use super::{Authorization, Vendor, as_it_came};
use crate::llm::dialect::paths::Flag;

pub(super) static VENDOR: Vendor = Vendor {
    id: "groq",
    hosts: &["groq.com"],
    origin: "https://api.groq.com/openai",
    keys: &["GROQ_API_KEY"],
    base_url: "GROQ_BASE_URL",
    authorization: Authorization::Bearer,
    flags: &[Flag::OpenaiChat, Flag::OpenaiResponses],
    models: &["openai/gpt-oss-*", "llama-*", "groq/*", "moonshotai/*", "qwen/*"],
    path: as_it_came,
};
