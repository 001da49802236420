//! Ollama: its own language and OpenAI's. It takes no key; the variable that says where it is brings it in.

use super::{Authorization, Vendor, as_it_came};
use crate::llm::dialect::paths::Flag;

pub(super) static VENDOR: Vendor = Vendor {
    id: "ollama",
    hosts: &[],
    origin: "http://{OLLAMA_HOST}",
    keys: &[],
    base_url: "OLLAMA_BASE_URL",
    authorization: Authorization::Bearer,
    flags: &[Flag::OllamaNative, Flag::OpenaiChat],
    models: &["**"],
    path: as_it_came,
};
