//! Questions to the tailnet's daemon: each asked once however many cores wait for the answer, a few at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex, Semaphore, oneshot};

use super::fetch::Fetcher;
use crate::policy::identity::tailnet::HOST;

/// Questions under way at once.
const AT_ONCE_MAX: usize = 32;
/// The daemon is on this machine: one that takes longer is ill.
const PATIENCE: Duration = Duration::from_secs(3);

type Answer = Result<(u16, Bytes), &'static str>;
type Waiting = HashMap<(String, String), Vec<oneshot::Sender<Answer>>>;

/// Who waits for which answer.
pub(super) struct Daemon {
    waiting: Mutex<Waiting>,
    at_once: Semaphore,
}

impl Default for Daemon {
    fn default() -> Self {
        Self { waiting: Mutex::default(), at_once: Semaphore::new(AT_ONCE_MAX) }
    }
}

impl Daemon {
    /// Ask, or wait with those who have asked already.
    pub(super) async fn ask(self: Arc<Self>, socket: String, path: String, reply: oneshot::Sender<Answer>) {
        let question = (socket, path);
        {
            let mut waiting = self.waiting.lock().await;
            let others = waiting.entry(question.clone()).or_default();
            others.push(reply);
            if others.len() > 1 {
                return;
            }
        }
        let answer = self.answer(&question.0, &question.1).await;
        let waiting = self.waiting.lock().await.remove(&question);
        for reply in waiting.into_iter().flatten() {
            // Whoever has gone meanwhile needs none.
            let _ = reply.send(answer.clone());
        }
    }

    async fn answer(&self, socket: &str, path: &str) -> Answer {
        let Ok(_place) = self.at_once.acquire().await else { return Err("the control thread is ending") };
        match tokio::time::timeout(PATIENCE, Fetcher::ask_unix(socket, HOST, path)).await {
            Err(_) => Err("the tailnet daemon did not answer in time"),
            Ok(Err(_)) => Err("the tailnet daemon cannot be reached"),
            Ok(Ok(answer)) => Ok((answer.status, Bytes::from(answer.body))),
        }
    }
}
