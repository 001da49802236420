//! What wakes a relay: the provider, the client's farewell, a cut of its key, the time limit.
//!
//! ```text
//!   event ──▶ handled ──▶ others armed and undisturbed? ──yes──▶ provider only ──woken──▶ provider has nothing? ─▶ others
//!                                  │                                                               │
//!                                  └──no: the others first, then the provider                      └─▶ next event
//! ```
//!
//! Between the events of a stream the others stay armed with this task's waker, so that an event need not touch them:
//! they lie in memory that a thousand streams keep cold. One of them that comes in the same turn as an event has its
//! wake-up spent on it, and would be asked for no more; and a provider that never pauses would drown them. So they are
//! polled first whenever one of them has come since.

use std::future::poll_fn;
use std::task::{Context, Poll};

use super::{Relay, gone};
use crate::proxy::fault::{Fault, Kind};

/// What has come.
pub(super) enum Event {
    /// The provider takes more.
    Writable,
    /// The client sent more of its request, or has left once that was whole.
    FromClient,
    /// The provider sent something, or has ended.
    FromProvider,
    /// The time is over, or the key was taken back: whoever asks tells the two apart by the key.
    Late,
}

impl Relay<'_, '_> {
    /// Wait while the request goes up.
    pub(super) async fn wait_upload(&mut self, blocked: bool) -> Event {
        poll_fn(|cx| {
            if self.conn.poll_cut(cx) {
                return Poll::Ready(Event::Late);
            }
            if blocked && self.lease.transport.poll_writable(cx).is_ready() {
                return Poll::Ready(Event::Writable);
            }
            let from_client = match self.sending.body.is_done() {
                true => self.conn.poll_gone(self.core, cx),
                false => self.conn.socket.poll_readable(cx),
            };
            if from_client.is_ready() {
                return Poll::Ready(Event::FromClient);
            }
            if self.lease.transport.poll_readable(cx).is_ready() {
                return Poll::Ready(Event::FromProvider);
            }
            self.conn.limit.poll(cx).map(|()| Event::Late)
        })
        .await
    }

    /// Wait for more of an answer that has begun.
    pub(super) async fn wait_more(&mut self) -> Result<(), Fault> {
        match self.wait_response().await {
            Event::FromProvider => Ok(()),
            Event::FromClient => Err(gone("while its answer was under way")),
            Event::Writable | Event::Late => Err(Fault::new(Kind::IdleTimeout)),
        }
    }

    /// Wait for the answer.
    pub(super) async fn wait_response(&mut self) -> Event {
        let mut armed = std::mem::take(&mut self.others_armed) && self.conn.is_undisturbed();
        let mut woken = false;
        poll_fn(|cx| {
            let from_provider = self.lease.transport.poll_readable(cx).is_ready();
            if !armed || (woken && !from_provider) {
                if let Poll::Ready(event) = self.poll_others(cx) {
                    return Poll::Ready(event);
                }
                armed = true;
            }
            woken = true;
            if from_provider { Poll::Ready(Event::FromProvider) } else { Poll::Pending }
        })
        .await
    }

    fn poll_others(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if self.conn.poll_cut(cx) {
            return Poll::Ready(Event::Late);
        }
        if !self.gone && self.poll_gone(cx).is_ready() {
            return Poll::Ready(Event::FromClient);
        }
        self.conn.limit.poll(cx).map(|()| Event::Late)
    }

    /// Ready once the client has left. Of an upload that is not resumed after an early answer nothing more is read, so that
    /// only the end of the connection tells.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.sending.body.is_done() {
            true => self.conn.poll_gone(self.core, cx),
            false => self.conn.socket.socket().poll_ended(cx),
        }
    }
}
