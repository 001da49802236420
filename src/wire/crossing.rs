//! Crossing 5: what a core asks of the control thread. Bounded request, bounded response, never on a stream's hot path.

use std::net::SocketAddr;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::head::{Fields, RequestHead};

/// A question to the control thread.
pub enum Ask {
    /// A page of the API or the dashboard.
    Page(Box<PageRequest>, oneshot::Sender<PageResponse>),
    /// Addresses of a host name.
    Resolve(String, u16, oneshot::Sender<Result<Vec<SocketAddr>, String>>),
}

/// The core's end; bounded, so that a slow control thread is felt as a refusal and not as memory.
pub type Asks = mpsc::Sender<Ask>;

/// A request for a page, and who makes it.
pub struct PageRequest {
    /// Head as received.
    pub head: RequestHead,
    /// Whole body.
    pub body: Bytes,
    /// Name of the principal, empty when nobody vouched.
    pub principal: String,
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
