//! The record of one exchange: a value, closed once, by name, at the end of `proxy/exchange.rs`.
//!
//! Its JSON form uses the names of the fixtures' manifest for what both have. What travels from a core to the
//! writer is a [`Note`] on the record lane or a [`CapturePart`] on the capture lane.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::base::clock::Wall;
use crate::base::fields::Fields;
use crate::base::id::ExchangeId;
pub use crate::llm::agent::Caller;
use crate::llm::ask::Ask;
use crate::llm::dialect::Dialect;
use crate::llm::estimate::Estimate;
use crate::llm::reading::Reading;

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The provider answered and the client got all of it.
    Ok,
    /// A rule or the form of the request refused it; the provider was not called.
    Refused,
    /// The provider answered with an error status, or an error inside its stream.
    ProviderError,
    /// The client left before the end.
    ClientGone,
    /// The response ended before its end.
    Truncated,
    /// Something of ours or between us and the provider went wrong.
    #[default]
    GatewayFault,
    /// The gateway was gone before the exchange was closed (found after a crash).
    GatewayLost,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Outcome; 7] = [
        Outcome::Ok,
        Outcome::Refused,
        Outcome::ProviderError,
        Outcome::ClientGone,
        Outcome::Truncated,
        Outcome::GatewayFault,
        Outcome::GatewayLost,
    ];

    /// Name in JSON, tables and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Refused => "refused",
            Outcome::ProviderError => "provider_error",
            Outcome::ClientGone => "client_gone",
            Outcome::Truncated => "truncated",
            Outcome::GatewayFault => "gateway_fault",
            Outcome::GatewayLost => "gateway_lost",
        }
    }
}

/// Who asked, and which source vouched for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Who {
    /// Login, tag list or key name; empty when nobody could be told.
    pub principal: String,
    /// Identity source (`peer`, `key`, `jwt`, …).
    pub source: String,
    /// How strong its word is: `connection`, `signed`, `secret`, `asserted`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub strength: String,
    /// Whom the principal acts for, where a trusted front says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<String>,
    /// Groups that the source brought.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// The machine, where the source knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Address of the client's connection.
    pub peer: String,
}

/// When things happened: `accepted` on the calendar, all else microseconds after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Times {
    /// Head complete, microseconds since the Unix epoch.
    pub accepted_at_us: Wall,
    /// Admitted by policy.
    pub admitted_us: Option<u64>,
    /// Upstream connection in hand.
    pub connected_us: Option<u64>,
    /// First byte of the final response head.
    pub first_byte_us: Option<u64>,
    /// Last byte delivered, or the moment of the end.
    pub last_byte_us: u64,
    /// Time spent waiting for the client to take bytes.
    pub blocked_us: u64,
    /// Time weir itself spent.
    pub own_us: u64,
}

/// One attempt at a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attempt {
    /// Provider id.
    pub provider: String,
    /// Which of its keys, where it has several.
    #[serde(skip_serializing_if = "is_first")]
    pub key: usize,
    /// Status it answered with, if it did.
    pub status: Option<u16>,
    /// What went wrong, if it did.
    pub fault: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde calls")]
fn is_first(key: &usize) -> bool {
    *key == 0
}

/// Why an exchange did not go well, in the record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FaultNote {
    /// Whose fault: `client`, `provider`, `gateway`, `rule`.
    pub side: String,
    /// Kind, a fixed word per cause (`head_too_large`, `upstream_connect`, …).
    pub kind: String,
    /// Cause, for the log; may name addresses, never a credential.
    pub cause: String,
}

/// What one bucket had to say to an exchange. Amounts are in the smallest parts of its unit: nanodollars, tokens, requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct QuotaNote {
    /// Full name of the bucket.
    pub bucket: String,
    /// What it counts: `dollars`, `tokens`, `requests`.
    pub unit: Cow<'static, str>,
    /// What was reserved at admission.
    pub reserved: i64,
    /// What was charged at the end; absent where it never came to that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub charged: Option<i64>,
    /// What it did.
    pub result: QuotaResult,
}

/// What a bucket did to an exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuotaResult {
    /// It let the exchange pass.
    #[default]
    Held,
    /// It was empty, and only warns.
    Warned,
    /// It was empty, and refused.
    Refused,
    /// The stream overran it, and was ended.
    Ended,
}

/// Byte counts of the bodies, content coding included, transfer coding excluded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bytes4 {
    /// Request body received from the client.
    pub request_received: u64,
    /// Request body accepted by the provider's socket.
    pub request_sent: u64,
    /// Response body received from the provider.
    pub response_received: u64,
    /// Response body accepted by the client's socket.
    pub response_sent: u64,
}

/// What of the bodies was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum CaptureState {
    /// All bytes that passed.
    Full,
    /// Some or all of it was dropped because a ring or a budget was full.
    Shed,
    /// Nothing was to be kept.
    #[default]
    None,
}

/// Provider-side objects and their owner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MadeObjects {
    /// Kind and name of the principal.
    pub owner: String,
    /// Ids at the provider.
    pub ids: Vec<String>,
}

impl MadeObjects {
    /// Whether nothing was made.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

/// One exchange, closed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Identifier, also in the response's `x-weir-id`.
    pub id: ExchangeId,
    /// How it ended.
    pub outcome: Outcome,
    /// When.
    pub times: Times,
    /// Who.
    pub who: Who,
    /// Which agent and session.
    pub caller: Caller,
    /// API language, where the path has one.
    pub dialect: Option<Dialect>,
    /// Request method.
    pub method: String,
    /// Path and query, credentials removed.
    pub path: String,
    /// `traceparent` as the client sent it and the provider got it (W3C Trace Context); empty where there was none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub trace: String,
    /// Status the client got; 0 when it got none.
    pub status: u16,
    /// Provider the answer came from.
    pub provider: String,
    /// All attempts, in order.
    pub attempts: Vec<Attempt>,
    /// What the request asked for.
    pub ask: Ask,
    /// What the response said.
    #[serde(flatten)]
    pub reading: Reading,
    /// What was probably used where the provider did not say, or not to the end: beside its numbers, never in their
    /// place. Absent where they are whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimated_usage: Option<Estimate>,
    /// Whether this response was recorded before, under another exchange: it is billed once, and counts as nothing here.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub delivered_again: bool,
    /// Rules that changed what was sent, where any did (`model`, …).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub altered: Vec<String>,
    /// What quotas had to say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub quotas: Vec<QuotaNote>,
    /// Whether what was charged is an estimate: the provider did not say, or not to the end, what it used.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
    /// Objects that this exchange has made at the provider, and whose they are.
    #[serde(skip_serializing_if = "MadeObjects::is_empty")]
    pub made: MadeObjects,
    /// What went wrong, if anything did.
    pub fault: Option<FaultNote>,
    /// Body sizes.
    pub bytes: Bytes4,
    /// XXH3-64 of the request body as received, hexadecimal; empty when there was none.
    pub request_hash: String,
    /// XXH3-64 of the response body as accepted by the client's socket, hexadecimal.
    pub response_hash: String,
    /// Request fields, credentials and cookies redacted.
    pub request_headers: Fields,
    /// Response fields, cookies redacted.
    pub response_headers: Fields,
    /// What of the bodies was kept.
    pub capture: CaptureState,
    /// Core that served it.
    pub core: u16,
    /// The upgrade whose WebSocket carried it. Bodies are its messages then, inflated, each with a line feed behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<ExchangeId>,
}

impl Record {
    /// Whether all that is billed under its response's id was delivered. What a batch has written may be fetched in
    /// parts: a part is billed as far as it goes, and the whole once more, rather than nobody for what was left out.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let whole = self.status == 200 && self.outcome == Outcome::Ok && self.reading.complete;
        self.reading.batch.is_none() || whole
    }
}

/// The small entry at admission: makes a crash visible, and is the live view until the close.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Open {
    /// Identifier.
    pub id: ExchangeId,
    /// Head complete, microseconds since the Unix epoch.
    pub accepted_at_us: Wall,
    /// Who.
    pub who: Who,
    /// Which agent and session.
    pub caller: Caller,
    /// API language.
    pub dialect: Option<Dialect>,
    /// Request method.
    pub method: String,
    /// Path and query, credentials removed.
    pub path: String,
    /// Model asked for.
    pub model: Option<String>,
    /// Provider chosen first.
    pub provider: String,
    /// What is reserved: charged if the end is never seen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub quotas: Vec<QuotaNote>,
}

/// What goes over the record lane of a core's ring.
#[derive(Clone, Debug)]
pub enum Note {
    /// An exchange was admitted.
    Open(Box<Open>),
    /// An exchange ended.
    Close(Box<Record>),
}

/// Which body a capture is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyKind {
    /// The request body as received.
    Request,
    /// The response body as delivered, content coding included.
    Response,
}

/// A piece of a body, on the capture lane. Parts of one body come in order; a body is complete when the record closes.
///
/// A core that had to shed a part sends no later part of that body, and says [`CaptureState::Shed`] in the record: what
/// is kept of a body is always its beginning, never a body with a hole.
#[derive(Clone, Debug)]
pub struct CapturePart {
    /// Exchange it belongs to.
    pub id: ExchangeId,
    /// Which body.
    pub kind: BodyKind,
    /// The bytes. Shared, not copied, from 16 KiB up.
    pub bytes: Bytes,
}
