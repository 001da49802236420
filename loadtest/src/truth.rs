//! What the provider really served, one entry per request: the other side of every account.

use std::collections::VecDeque;

use crate::answer::Claim;
use crate::json::quote;

/// Entries kept; older ones leave first and are counted.
pub const ENTRIES_MAX: usize = 200_000;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum End {
    /// Every byte was written.
    Complete,
    /// The provider broke it off, as told. The name is the fault's.
    Fault(&'static str),
    /// The peer went before the end.
    ClientGone,
    /// The provider was stopped before the end.
    Stopped,
}

impl End {
    pub fn name(&self) -> &'static str {
        match self {
            End::Complete => "complete",
            End::Fault(name) => name,
            End::ClientGone => "client_gone",
            End::Stopped => "stopped",
        }
    }
}

/// One request as it was received and what was answered.
#[derive(Debug, Clone)]
pub struct Served {
    /// From one; also in the response header `x-synthetic-number`.
    pub number: u64,
    /// Which connection, from one: equal numbers mean a reused connection.
    pub connection: u64,
    pub method: String,
    pub target: String,
    /// As received, names in lower case.
    pub headers: Vec<(String, String)>,
    pub request_bytes: u64,
    pub request_hash: u64,
    /// Empty unless `keep=1`.
    pub request_body: Vec<u8>,
    pub status: u16,
    pub claim: Claim,
    /// Body bytes written, framing not counted.
    pub body_bytes: u64,
    pub events: u64,
    pub end: End,
}

impl Served {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// How the request was authorised, by the look of it: a signature that did not hold was answered 403.
    pub fn credential(&self) -> &'static str {
        match self.header("authorization").and_then(|value| value.split_once(' ')) {
            Some(("AWS4-HMAC-SHA256", _)) => "sigv4",
            Some(_) => "bearer",
            None if self.header("x-api-key").is_some() => "x-api-key",
            None if self.header("x-goog-api-key").is_some() => "x-goog-api-key",
            None => "none",
        }
    }

    /// One line of NDJSON, without the line end.
    pub fn json(&self) -> String {
        let text = |name: &str| self.header(name).map_or("null".to_owned(), quote);
        let claim = &self.claim;
        let tools: Vec<String> = claim
            .tools
            .iter()
            .map(|t| {
                format!(
                    "{{\"id\":{},\"name\":{},\"arguments\":{}}}",
                    quote(&t.id),
                    quote(&t.name),
                    quote(&t.arguments)
                )
            })
            .collect();
        format!(
            "{{\"number\":{},\"connection\":{},\"synthetic_id\":{},\"weir_id\":{},\"method\":{},\"target\":{},\
             \"request_bytes\":{},\"request_hash\":\"{:016x}\",\"status\":{},\"dialect\":{},\"response_id\":{},\
             \"model\":{},\"stream\":{},\"usage_sent\":{},\"tokens_in\":{},\"tokens_cache_read\":{},\
             \"tokens_cache_write\":{},\"tokens_out\":{},\"tokens_reasoning\":{},\"input_total\":{},\
             \"output_total\":{},\"credential\":\"{}\",\"stop\":{},\"tools\":[{}],\"body_bytes\":{},\"events\":{},\
             \"end\":{}}}",
            self.number,
            self.connection,
            text("x-synthetic-id"),
            text("x-weir-id"),
            quote(&self.method),
            quote(&self.target),
            self.request_bytes,
            self.request_hash,
            self.status,
            quote(claim.dialect),
            quote(&claim.id),
            quote(&claim.model),
            claim.stream,
            claim.usage_sent,
            claim.tokens_in,
            claim.tokens_cache_read,
            claim.tokens_cache_write,
            claim.tokens_out,
            claim.tokens_reasoning,
            claim.input_total(),
            claim.output_total(),
            self.credential(),
            quote(claim.stop),
            tools.join(","),
            self.body_bytes,
            self.events,
            quote(self.end.name())
        )
    }
}

/// The log itself, bounded.
#[derive(Debug, Default)]
pub struct Truth {
    pub entries: VecDeque<Served>,
    /// Entries that had to leave.
    pub dropped: u64,
    /// Requests whose serving has begun, and those that have ended.
    pub begun: u64,
    pub ended: u64,
}

impl Truth {
    pub fn begin(&mut self) -> u64 {
        self.begun += 1;
        self.begun
    }

    pub fn end(&mut self, served: Served) {
        self.ended += 1;
        if self.entries.len() == ENTRIES_MAX {
            self.entries.pop_front();
            self.dropped += 1;
        }
        self.entries.push_back(served);
    }
}
