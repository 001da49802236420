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

/// Images, transcripts and speech end with an event of their own (`image_generation.completed`).
const LAST_EVENTS: &[&str] = &[".completed", "transcript.text.done", "speech.audio.done"];

impl Reader {
    pub(crate) fn new(dialect: Dialect) -> Self {
        Reader { chat: chat::Reader::default(), dialect }
    }

    pub(crate) fn event(&mut self, name: &[u8], data: &[u8]) -> Effect {
        let effect = self.chat.event(name, data);
        let kind = Raw::whole(data).and_then(|event| event.at("type")?.string());
        let is_last = |kind: &str| LAST_EVENTS.iter().any(|last| kind.ends_with(last));
        if kind.is_some_and(|kind| is_last(&kind)) {
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
