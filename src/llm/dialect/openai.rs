//! OpenAI's smaller endpoints: legacy completions, embeddings, images, audio, moderations. Their bodies are Chat's with
//! parts missing, so that its reader does; what differs is how streams end and what absent counts mean.

use super::{Dialect, Effect, chat};
use crate::llm::meter::Reading;
use crate::wire::json::Raw;

/// Reads one response.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) chat: chat::Reader,
    dialect: Dialect,
}

impl Reader {
    pub(crate) fn new(dialect: Dialect) -> Self {
        Reader { chat: chat::Reader::default(), dialect }
    }

    pub(crate) fn event(&mut self, name: &[u8], data: &[u8]) -> Effect {
        let effect = self.chat.event(name, data);
        // Images and transcripts end with an event of their own: `image_generation.completed`, `transcript.text.done`.
        let kind = Raw::whole(data).and_then(|event| event.at("type")?.string());
        if kind.is_some_and(|kind| kind.ends_with(".completed") || kind == "transcript.text.done") {
            self.chat.draft.complete = true;
            return Effect::Read;
        }
        effect
    }

    pub(crate) fn body(&mut self, body: Raw<'_>) {
        self.chat.body(body);
    }

    pub(crate) fn finish(self) -> Reading {
        let mut reading = self.chat.finish();
        // An embedding generates nothing, which is known, not unknown.
        if self.dialect == Dialect::Embeddings && reading.wire_usage.is_some() {
            reading.usage.output_tokens.get_or_insert(0);
        }
        reading
    }
}
