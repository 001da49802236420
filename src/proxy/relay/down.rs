//! The response on its way to the client: its framing, what the client has not taken yet, and how it ends.

use std::ops::Range;

use super::{Relay, SLOW_BLOCK_BYTES, write_chunk};
use crate::llm::ask_usage::Hider;
use crate::proxy::core::SCRATCH_BYTES;
use crate::proxy::heads::{Shape, Towards};
use crate::wire::h1::{Framing, Response};
use crate::wire::head::Version;

/// The response on its way down.
pub(in crate::proxy) struct Down {
    pub(super) framing: Framing,
    pub(super) towards: Towards,
    pub(super) reusable: bool,
    pub(super) done: bool,
    pub(super) left_over: bool,
    /// Bytes that the client has not taken yet, and the content among them.
    pub(super) unsent: Vec<u8>,
    pub(super) undelivered: Vec<u8>,
    pub(super) block_bytes_max: usize,
    /// Keeps the usage chunk from a client that did not ask for it, and what of the last block it let through.
    pub(super) hider: Option<Box<Hider>>,
    pub(super) shown: Vec<u8>,
}

impl Down {
    pub(super) fn new(relay: &Relay<'_, '_>, response: &Response) -> Self {
        let version = relay.sending.request.head.version;
        let hides = relay.sending.asked_usage && is_plain_event_stream(response);
        let shape = match (&response.framing, version) {
            // What is taken out makes other chunks of the rest.
            (_, Version::Http11) if hides => Shape::Wrapped,
            (_, Version::Http10) if hides => Shape::Unwrapped,
            (Framing::UntilClose, Version::Http11) => Shape::Wrapped,
            // What may be ended early cannot keep the provider's framing.
            (_, Version::Http11) if relay.sending.account.may_end() => Shape::Wrapped,
            (_, Version::Http10) if relay.sending.account.may_end() => Shape::Unwrapped,
            (Framing::UntilClose | Framing::Chunked(_), Version::Http10) => Shape::Unwrapped,
            _ => Shape::Verbatim,
        };
        let chunked = shape == Shape::Wrapped
            || shape == Shape::Verbatim && matches!(response.framing, Framing::Chunked(_));
        let keep_alive = relay.sending.request.keep_alive
            && relay.sending.body.is_done()
            && shape != Shape::Unwrapped
            && !relay.core.is_draining();
        Self {
            framing: response.framing.clone(),
            towards: Towards { id: relay.sending.account.id(), version, shape, chunked, keep_alive },
            reusable: response.reusable,
            done: false,
            left_over: false,
            unsent: Vec::new(),
            undelivered: Vec::new(),
            block_bytes_max: SCRATCH_BYTES,
            hider: hides.then(|| Box::new(Hider::new())),
            shown: Vec::new(),
        }
    }

    /// Write a block in the client's framing.
    pub(super) fn shape(&mut self, block: &[u8], used: usize, data: &[Range<usize>], out: &mut Vec<u8>) {
        if self.hider.is_some() {
            return self.shape_hiding(block, data, out);
        }
        match self.towards.shape {
            Shape::Verbatim => out.extend_from_slice(&block[..used]),
            Shape::Wrapped => data.iter().for_each(|range| write_chunk(out, &block[range.clone()])),
            Shape::Unwrapped => data.iter().for_each(|range| out.extend_from_slice(&block[range.clone()])),
        }
    }

    /// The same, without the usage chunk; what is held at the end of the content is no whole event, and passes.
    pub(super) fn shape_hiding(&mut self, block: &[u8], data: &[Range<usize>], out: &mut Vec<u8>) {
        let Some(hider) = &mut self.hider else { return };
        data.iter().for_each(|range| hider.pass(&block[range.clone()], &mut self.shown));
        if self.done {
            hider.finish(&mut self.shown);
        }
        match self.towards.shape {
            Shape::Wrapped => write_chunk(out, &self.shown),
            Shape::Verbatim | Shape::Unwrapped => out.extend_from_slice(&self.shown),
        }
    }

    /// End the response where its content ends, or with a terminal of ours where it is ended early.
    pub(super) fn end(&mut self, terminal: Option<&[u8]>, out: &mut Vec<u8>) {
        if let Some(terminal) = terminal {
            match self.towards.shape {
                Shape::Wrapped => write_chunk(out, terminal),
                Shape::Verbatim | Shape::Unwrapped => out.extend_from_slice(terminal),
            }
            // What is still to come of the provider's is nobody's: its connection is dropped, which cancels it.
            self.reusable &= self.done;
            self.done = true;
        }
        // A body that ends with its connection ends in `end_of_connection`.
        if self.done && self.towards.shape == Shape::Wrapped {
            out.extend_from_slice(b"0\r\n\r\n");
        }
    }

    pub(super) fn keep_unsent(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
        self.block_bytes_max = self.block_bytes_max.min(SLOW_BLOCK_BYTES);
    }
}

/// Whether events can be told apart in what passes.
fn is_plain_event_stream(response: &Response) -> bool {
    let fields = &response.head.fields;
    let events = fields.text("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"));
    let plain = fields.text("content-encoding").is_none_or(|coding| coding.eq_ignore_ascii_case("identity"));
    events && plain
}
