//! Crossing 5: what a core asks of the control thread. Bounded request, bounded response, never on a stream's hot path.

use std::net::SocketAddr;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::credential::{Lasting, Made, Source, Unmade};
use super::head::{Fields, RequestHead};

/// A question to the control thread.
pub enum Ask {
    /// A page of the API or the dashboard.
    Page(Box<PageRequest>, oneshot::Sender<PageResponse>),
    /// Leases on shared budgets: full name, name as configured and amount of each. Whether the store answered.
    Lease(Vec<(String, String, i64)>, oneshot::Sender<bool>),
    /// Addresses of a host name.
    Resolve(String, u16, oneshot::Sender<Result<Vec<SocketAddr>, String>>),
    /// What models cost, each by its provider's id and own name.
    Prices(Vec<(String, String)>, oneshot::Sender<Vec<Priced>>),
    /// These objects have just been made; answered once they are bound.
    Bind(Vec<Bound>, oneshot::Sender<()>),
    /// Whose is the object of that id?
    Owner(String, oneshot::Sender<Option<Bound>>),
    /// A credential, made or kept; and the last one, where a provider has refused it.
    Credential(Source, Option<Made>, oneshot::Sender<Result<Lasting, Unmade>>),
    /// What an issuer of tokens publishes at this address; answered once it is in force, or cannot be had now.
    KeySet(String, oneshot::Sender<()>),
    /// What a tailnet's daemon says.
    Whois {
        /// Its unix socket.
        socket: String,
        /// Path and query.
        path: String,
        /// Status and body, or why there is none.
        reply: oneshot::Sender<Result<(u16, Bytes), &'static str>>,
    },
}

/// What is known of a model's price.
#[derive(Clone, Debug, Default)]
pub struct Priced {
    /// Longest prompt and answer together, in tokens.
    pub context_window: Option<u64>,
    /// Prices, as lists of models show them.
    pub pricing: Option<serde_json::Value>,
}

/// A provider-side object and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Its id at the provider.
    pub id: String,
    /// Kind and name of the principal that made it.
    pub owner: String,
    /// Provider that has it.
    pub provider: String,
}

/// The core's end; bounded, so that a slow control thread is felt as a refusal and not as memory.
pub type Asks = mpsc::Sender<Ask>;

/// Somebody, for whoever knows how to look at it.
pub type Asker = std::sync::Arc<dyn std::any::Any + Send + Sync>;

/// A request for a page, and who makes it.
pub struct PageRequest {
    /// Head as received.
    pub head: RequestHead,
    /// Whole body.
    pub body: Bytes,
    /// Whether it came over TLS; none over the control socket.
    pub tls: Option<bool>,
    /// Who asks: a `policy::identity::Principal`, which this floor knows nothing of; none when nobody vouched.
    pub principal: Option<Asker>,
}

/// The page.
pub struct PageResponse {
    /// Status code.
    pub status: u16,
    /// Fields, without framing and connection fields.
    pub fields: Fields,
    /// Content.
    pub body: PageBody,
}

/// Content of a page.
pub enum PageBody {
    /// All of it.
    Whole(Bytes),
    /// Pieces as they come (live tail); the page ends when the sender is dropped.
    Live(mpsc::Receiver<Bytes>),
}
