//! OpenAI's smaller endpoints: legacy completions, embeddings, images, audio, moderations. Their bodies are Chat's with
//! parts missing, so that its reader does; what differs is how streams end and what absent counts mean.

use super::{Dialect, Effect, chat, counted, with_uncached};
use crate::llm::reading::{BilledRun, Reading};
use crate::llm::usage::{Usage, UsageMembers, WireUsage};
use crate::wire::json::Raw;

/// Reads one response.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) chat: chat::Reader,
    dialect: Dialect,
    /// What a model took that has drawn by writing (SVG), beside the one that paints. Boxed: it is rare.
    written: Option<Box<BilledRun>>,
    /// Length of the sound, where a body tells it and no usage: those that are billed by it say no more.
    seconds: Option<f64>,
}

/// Images, transcripts (Mistral's last) and speech end with an event of their own (`image_generation.completed`).
const LAST_EVENTS: &[&str] =
    &[".completed", "transcript.text.done", "transcription.done", "speech.audio.done"];

impl Reader {
    pub(crate) fn new(dialect: Dialect) -> Self {
        Reader { chat: chat::Reader::default(), dialect, written: None, seconds: None }
    }

    pub(crate) fn event(&mut self, name: &[u8], data: &[u8]) -> Effect {
        let effect = self.chat.event(name, data);
        let event = Raw::whole(data);
        let kind = event.and_then(|event| event.at("type")?.string());
        let is_last = |kind: &str| LAST_EVENTS.iter().any(|last| kind.ends_with(last));
        if kind.is_some_and(|kind| is_last(&kind)) {
            event.into_iter().for_each(|event| self.beside(event));
            self.chat.draft.complete = true;
            return Effect::Read;
        }
        effect
    }

    pub(crate) fn body(&mut self, body: Raw<'_>) {
        self.chat.body(body);
        self.beside(body);
    }

    pub(crate) fn finish(self) -> Reading {
        let mut reading = self.chat.finish();
        if self.dialect == Dialect::Embeddings {
            complete_embeddings(&mut reading);
        }
        if let Some(written) = self.written {
            let painted = BilledRun { usage: reading.usage, ..BilledRun::default() };
            reading.billed_runs = vec![painted, *written];
        }
        if let Some(seconds) = self.seconds.filter(|_| reading.wire_usage.is_none()) {
            reading.usage = Usage { audio_seconds: chat::whole_seconds(seconds), ..Usage::default() };
        }
        reading
    }

    /// What stands beside the usage.
    fn beside(&mut self, object: Raw<'_>) {
        match self.dialect {
            Dialect::Images => self.written = object.at("svg_usage").map(written).or(self.written.take()),
            Dialect::Audio => self.seconds = object.at("duration").and_then(Raw::number).or(self.seconds),
            _ => {}
        }
    }
}

fn written(usage: Raw<'_>) -> Box<BilledRun> {
    let usage = UsageMembers::of(usage);
    Box::new(BilledRun { model: usage.text("model"), usage: chat::normal(&usage), prompt: None })
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
