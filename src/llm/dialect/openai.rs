//! OpenAI's smaller endpoints: legacy completions, embeddings, images, audio, moderations. Their bodies are Chat's with
//! parts missing, so that its reader does; what differs is how streams end and what absent counts mean.

use super::{Dialect, Effect, chat, counted, with_uncached};
use crate::llm::meter::Reading;
use crate::llm::usage::{UsageMembers, WireUsage};
use crate::wire::json::Raw;

/// Reads one response.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) chat: chat::Reader,
    dialect: Dialect,
}

/// Images, transcripts (Mistral's last) and speech end with an event of their own (`image_generation.completed`).
const LAST_EVENTS: &[&str] =
    &[".completed", "transcript.text.done", "transcription.done", "speech.audio.done"];

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
        if self.dialect == Dialect::Embeddings {
            complete_embeddings(&mut reading);
        }
        reading
    }
}

/// An embedding generates nothing, which is known, not unknown; so that where only a total is sent (Voyage), that is the
/// prompt.
fn complete_embeddings(reading: &mut Reading) {
    let Some(usage) = reading.wire_usage.as_ref().and_then(WireUsage::raw) else { return };
    if reading.usage.is_unknown()
        && let Some(total) = UsageMembers::of(usage).count("total_tokens")
    {
        reading.usage = with_uncached(counted(total));
    }
    reading.usage.output_tokens.get_or_insert(0);
}
