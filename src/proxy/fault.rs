//! Why an exchange did not go well: whose fault, whether another attempt may help, and the cause.

use std::fmt;

use crate::llm::ask::AskFault;
use crate::policy::decide::Denial;
use crate::policy::quota::Exceeded;
use crate::wire::h1::{FramingFault, HeadFault};
use crate::wire::ws::WsFault;

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client's request, or the client went away.
    Client,
    /// A rule of this gateway's configuration.
    Rule,
    /// The provider, or the way to it.
    Provider,
    /// This gateway.
    Gateway,
}

impl Side {
    /// Name in the record.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Side::Client => "client",
            Side::Rule => "rule",
            Side::Provider => "provider",
            Side::Gateway => "gateway",
        }
    }
}

/// What went wrong. The text of a variant is for the caller and never holds an address or a credential; the cause in
/// [`Fault`] is for the log.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// The request head breaks HTTP/1.1.
    Head(HeadFault),
    /// The request body's framing broke.
    Framing(FramingFault),
    /// The head did not arrive in time.
    HeadTimeout,
    /// TLS with the client did not come to be.
    Handshake,
    /// A listed balancer did not send the header that says for whom it speaks.
    Balancer,
    /// The body paused for too long.
    BodyTimeout,
    /// The body is over the bound (bytes).
    BodyTooLarge(u64),
    /// `Host` is none of this gateway's names.
    WrongHost,
    /// A browser's cross-origin request.
    Origin,
    /// A front's field on a listener that believes only the peer.
    Front,
    /// The connection asks to leave HTTP/1.1.
    Upgrade,
    /// The endpoint is a WebSocket and the request asks for none, or for another version.
    WantsSocket,
    /// The opening handshake of a WebSocket breaks its rules. The text says which.
    Opening(&'static str),
    /// Frames from the client that cannot be read.
    Frames(WsFault),
    /// A message that cannot be read, on a socket.
    Message(AskFault),
    /// No such endpoint.
    UnknownPath,
    /// The endpoint exists under another method.
    Method,
    /// The body cannot be read.
    Body(AskFault),
    /// The body's content coding cannot be undone.
    Coding,
    /// What the client showed as its identity is not accepted, or could not be judged.
    BadIdentity,
    /// Its key was taken back while it ran.
    Revoked,
    /// A page that is not for whoever asked, answered so by the control plane.
    Page(u16),
    /// As many exchanges of the principal run as may.
    Crowded,
    /// The exchange lasted longer than any may.
    TotalTimeout,
    /// Policy said no.
    Denied(Denial),
    /// A quota of the caller is used up.
    Exceeded(Box<Exceeded>),
    /// The provider's configuration lacks what this request needs there.
    Misconfigured(&'static str),
    /// Our credential for the provider could not be had.
    Credential {
        /// What is configured is wrong; else whoever makes it is away.
        configured_wrong: bool,
    },
    /// The provider does not take our credential, however often it is renewed.
    Unauthorized,
    /// An object that is not there, or not the caller's.
    NoObject,
    /// Every address of the provider's name is one that is not connected to.
    ClosedAddress,
    /// The egress proxy did not open a way.
    Proxy,
    /// As many requests run at the provider as may.
    Full,
    /// The provider refuses for load, and another may be asked.
    Overloaded(u16),
    /// A budget of this core is used up.
    Busy,
    /// The gateway finishes and takes nothing new; what runs was cut at the time limit.
    Draining,
    /// The provider's name has no address.
    Resolve,
    /// No connection to the provider.
    Connect,
    /// No trusted connection to the provider.
    Tls,
    /// The provider closed without an answer.
    NoAnswer,
    /// The provider's answer breaks HTTP/1.1.
    BadAnswer,
    /// No byte of an answer in time.
    FirstByteTimeout,
    /// Silence within a response.
    IdleTimeout,
    /// The response ended before its end.
    Truncated,
    /// The client went away.
    ClientGone,
    /// The client stopped taking bytes.
    ClientStalled,
    /// A bug: the exchange panicked.
    Panic,
}

/// Whether another attempt may help before the first response byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Nothing was executed; the next provider may be asked.
    Safe,
    /// It may have been executed; asked again only where the provider's settings say so.
    Unsafe,
    /// It may have been executed, or another attempt would fail alike.
    No,
}

/// A fault with its cause.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// What went wrong.
    pub kind: Kind,
    /// Cause, for record and log.
    pub cause: String,
}

impl Fault {
    /// A fault whose kind says all.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self { kind, cause: String::new() }
    }

    /// A fault with a cause for the log.
    #[must_use]
    pub fn because(kind: Kind, cause: impl fmt::Display) -> Self {
        Self { kind, cause: cause.to_string() }
    }

    /// Whose fault.
    #[must_use]
    pub fn side(&self) -> Side {
        match self.kind {
            Kind::Head(_)
            | Kind::Framing(_)
            | Kind::HeadTimeout
            | Kind::Handshake
            | Kind::Balancer
            | Kind::BodyTimeout
            | Kind::Body(_)
            | Kind::Coding => Side::Client,
            Kind::ClientGone | Kind::ClientStalled | Kind::Method | Kind::UnknownPath | Kind::Upgrade => {
                Side::Client
            }
            Kind::BodyTooLarge(_) | Kind::WrongHost | Kind::Origin | Kind::Front => Side::Rule,
            Kind::BadIdentity | Kind::Revoked | Kind::Page(_) | Kind::Crowded | Kind::TotalTimeout => {
                Side::Rule
            }
            Kind::WantsSocket | Kind::Opening(_) | Kind::Frames(_) | Kind::Message(_) => Side::Client,
            Kind::Denied(_) | Kind::Exceeded(_) | Kind::NoObject | Kind::ClosedAddress | Kind::Full => {
                Side::Rule
            }
            Kind::Proxy | Kind::Overloaded(_) => Side::Provider,
            Kind::Misconfigured(_) | Kind::Unauthorized | Kind::Credential { configured_wrong: true } => {
                Side::Rule
            }
            Kind::Credential { configured_wrong: false } => Side::Provider,
            Kind::Resolve | Kind::Connect | Kind::Tls | Kind::NoAnswer | Kind::BadAnswer => Side::Provider,
            Kind::FirstByteTimeout | Kind::IdleTimeout | Kind::Truncated => Side::Provider,
            Kind::Busy | Kind::Draining | Kind::Panic => Side::Gateway,
        }
    }

    /// Whether somebody took too long.
    #[must_use]
    pub fn is_of_time(&self) -> bool {
        matches!(
            self.kind,
            Kind::BodyTimeout
                | Kind::Connect
                | Kind::FirstByteTimeout
                | Kind::IdleTimeout
                | Kind::ClientStalled
        )
    }

    /// Whether another attempt may help.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self.kind {
            Kind::Resolve | Kind::Connect | Kind::Tls | Kind::Misconfigured(_) => Retry::Safe,
            Kind::Credential { .. } | Kind::Unauthorized => Retry::Safe,
            Kind::ClosedAddress | Kind::Proxy | Kind::Full | Kind::Overloaded(_) => Retry::Safe,
            Kind::NoAnswer | Kind::FirstByteTimeout => Retry::Unsafe,
            _ => Retry::No,
        }
    }

    /// The fixed word for record, metrics and error bodies.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match &self.kind {
            Kind::Head(HeadFault::TooLarge | HeadFault::TooManyFields) => "head_too_large",
            Kind::Head(_) => "malformed_head",
            Kind::Framing(_) => "malformed_framing",
            Kind::HeadTimeout => "head_timeout",
            Kind::Handshake => "tls_handshake",
            Kind::Balancer => "proxy_header",
            Kind::BodyTimeout => "body_timeout",
            Kind::BodyTooLarge(_) => "body_too_large",
            Kind::WrongHost => "wrong_host",
            Kind::Origin => "cross_origin",
            Kind::Front => "forwarded_fields",
            Kind::Upgrade => "upgrade_refused",
            Kind::WantsSocket => "websocket_required",
            Kind::Opening(_) => "malformed_handshake",
            Kind::Frames(WsFault::TooLong) => "message_too_large",
            Kind::Frames(_) => "malformed_frames",
            Kind::Message(_) => "unreadable_message",
            Kind::UnknownPath => "unknown_path",
            Kind::Method => "method_not_allowed",
            Kind::Body(_) | Kind::Coding => "unreadable_body",
            Kind::BadIdentity => "bad_identity",
            Kind::Revoked => "revoked",
            Kind::Page(_) => "page_refused",
            Kind::Crowded => "principal_full",
            Kind::TotalTimeout => "total_timeout",
            Kind::Denied(Denial::NoIdentity) => "no_identity",
            Kind::Denied(Denial::NoRole) => "no_role",
            Kind::Denied(Denial::NoModel) => "no_model",
            Kind::Denied(Denial::NoProvider) => "no_provider",
            Kind::Exceeded(_) => "quota_exceeded",
            Kind::Misconfigured(_) => "provider_misconfigured",
            Kind::Credential { configured_wrong: true } => "credential_wrong",
            Kind::Credential { configured_wrong: false } => "credential_unavailable",
            Kind::Unauthorized => "credential_refused",
            Kind::NoObject => "no_object",
            Kind::ClosedAddress => "closed_address",
            Kind::Proxy => "egress_proxy",
            Kind::Full => "provider_full",
            Kind::Overloaded(_) => "provider_overloaded",
            Kind::Busy => "gateway_busy",
            Kind::Draining => "gateway_draining",
            Kind::Resolve => "upstream_resolve",
            Kind::Connect => "upstream_connect",
            Kind::Tls => "upstream_tls",
            Kind::NoAnswer => "upstream_closed",
            Kind::BadAnswer => "upstream_malformed",
            Kind::FirstByteTimeout => "upstream_first_byte_timeout",
            Kind::IdleTimeout => "upstream_idle_timeout",
            Kind::Truncated => "upstream_truncated",
            Kind::ClientGone => "client_gone",
            Kind::ClientStalled => "client_stalled",
            Kind::Panic => "internal_error",
        }
    }
}

impl fmt::Display for Fault {
    /// The message for the caller.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Head(why) => write!(f, "malformed request: {why}"),
            Kind::Framing(why) => write!(f, "malformed request body: {why}"),
            Kind::HeadTimeout => f.write_str("the request head did not arrive in time"),
            Kind::Handshake => f.write_str("no TLS connection with the client"),
            Kind::Balancer => f.write_str("the balancer did not say for whom it speaks"),
            Kind::BodyTimeout => f.write_str("the request body did not arrive in time"),
            Kind::BodyTooLarge(max) => write!(f, "the request body is over the limit of {max} bytes"),
            Kind::WrongHost => {
                f.write_str("the Host field names none of this gateway's names; see server.host_names")
            }
            Kind::Origin => {
                f.write_str("cross-origin requests are refused: no CORS grant allows this Origin")
            }
            Kind::Front => f.write_str(
                "this listener knows its clients by their connection, but the request came through a proxy \
                 (Forwarded, X-Forwarded-*, Via, Cf-* or Tailscale-* is set); connect directly",
            ),
            Kind::Upgrade => {
                f.write_str("protocol upgrades are not supported on this endpoint; use plain HTTP")
            }
            Kind::WantsSocket => f.write_str("this endpoint is a WebSocket (version 13)"),
            Kind::Opening(rule) => write!(f, "malformed WebSocket handshake: {rule}"),
            Kind::Frames(why) => write!(f, "the frames cannot be read: {}", why.reason()),
            Kind::Message(why) => write!(f, "a message cannot be read: {why}"),
            Kind::UnknownPath => f.write_str("no such endpoint on this gateway"),
            Kind::Method => f.write_str("this endpoint takes another method"),
            Kind::Body(why) => write!(f, "the request body cannot be read: {why}"),
            Kind::Coding => f.write_str("the request body's content-encoding cannot be read"),
            // Whoever shows something bad learns no more than whoever shows nothing.
            Kind::BadIdentity | Kind::Denied(Denial::NoIdentity) => {
                f.write_str("nobody vouched for this client: no identity source knows it")
            }
            Kind::Revoked => f.write_str("the key of this request was revoked"),
            Kind::Page(status) => write!(f, "the page was answered {status}"),
            Kind::Crowded => {
                f.write_str("as many of your requests as are allowed run at once; try again shortly")
            }
            Kind::TotalTimeout => f.write_str("the exchange took longer than is allowed"),
            // The rule is named here too: whoever is refused must be able to ask for the right thing.
            Kind::Denied(Denial::NoRole) if !self.cause.is_empty() => f.write_str(&self.cause),
            Kind::Denied(Denial::NoRole) => f.write_str("no role granted; `weir explain` says why"),
            Kind::Denied(Denial::NoModel) => {
                f.write_str("the model does not exist or you do not have access to it")
            }
            Kind::Denied(Denial::NoProvider) => f.write_str(
                "no configured provider speaks this API; set its key in the environment or the file",
            ),
            Kind::Exceeded(why) => fmt::Display::fmt(why, f),
            Kind::Misconfigured(why) => {
                write!(f, "the gateway's configuration does not allow this request: {why}")
            }
            Kind::Credential { configured_wrong: true } => f.write_str(
                "the gateway's own credential for this provider is wrong; its operator finds why in the record",
            ),
            Kind::Credential { configured_wrong: false } => {
                f.write_str("the gateway's credential for this provider could not be renewed; try again shortly")
            }
            Kind::Unauthorized => f.write_str("the provider does not take the gateway's own credential"),
            Kind::NoObject => f.write_str("the request names an object that does not exist or is not yours"),
            Kind::ClosedAddress => f.write_str(
                "the provider's name leads to an address that the gateway does not connect to; its operator finds which in the record",
            ),
            Kind::Proxy => f.write_str("no way to the provider through the egress proxy"),
            Kind::Full => f.write_str("as many requests as are allowed run at this provider; try again shortly"),
            Kind::Overloaded(_) => f.write_str("the provider is overloaded; try again shortly"),
            Kind::Busy => f.write_str("the gateway is at a bound of its own (memory, connections); try again shortly"),
            Kind::Draining => f.write_str("the gateway is shutting down; connect again"),
            Kind::Resolve => f.write_str("the provider's name could not be resolved"),
            Kind::Connect => f.write_str("no connection to the provider"),
            Kind::Tls => f.write_str("no trusted connection to the provider (TLS)"),
            Kind::NoAnswer => f.write_str("the provider closed the connection without an answer"),
            Kind::BadAnswer => f.write_str("the provider's answer is not valid HTTP/1.1"),
            Kind::FirstByteTimeout => f.write_str("the provider did not answer in time"),
            Kind::IdleTimeout => f.write_str("the provider went silent"),
            Kind::Truncated => f.write_str("the provider's answer ended early"),
            Kind::ClientGone => f.write_str("the client went away"),
            Kind::ClientStalled => f.write_str("the client stopped taking bytes"),
            Kind::Panic => f.write_str("internal error of the gateway; the exchange was recorded"),
        }
    }
}

impl std::error::Error for Fault {}

impl From<HeadFault> for Fault {
    fn from(why: HeadFault) -> Self {
        Fault::new(Kind::Head(why))
    }
}

impl From<FramingFault> for Fault {
    fn from(why: FramingFault) -> Self {
        Fault::new(Kind::Framing(why))
    }
}

impl From<AskFault> for Fault {
    fn from(why: AskFault) -> Self {
        Fault::new(Kind::Body(why))
    }
}

impl From<Denial> for Fault {
    fn from(why: Denial) -> Self {
        Fault::new(Kind::Denied(why))
    }
}
