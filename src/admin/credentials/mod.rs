//! Credentials that are made: kept here for all cores, made by one task at a time, and anew before they end.
//!
//! ```text
//!   core ──Ask::Credential──▶ kept and good for a while? ── yes ──▶ that one
//!                               │ no: whoever comes while it is made waits for the same answer
//!                               ▼
//!                             google, aws ──▶ kept to its end, or, where it failed, for a breath
//! ```

mod aws;
mod google;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::fetch::Fetcher;
use crate::base::clock::{self, Moment};
use crate::policy::identity::settings::Network;
use crate::wire::credential::{Lasting, Made, Source, Unmade};

/// Made anew when it has less than this left; cores are told to come back by then.
pub(super) const MARGIN: Duration = Duration::from_secs(300);
/// A failure is remembered for so long, so that a storm of requests is one question.
const FAILURE_KEPT: Duration = Duration::from_secs(2);
/// One that was refused is made anew, but not more often than this.
const REMADE_AFTER: Duration = Duration::from_secs(10);

/// What is kept of one source: the lock is held while it is made.
type Slot = Arc<Mutex<Kept>>;

#[derive(Default)]
struct Kept {
    last: Option<(Moment, Result<Lasting, Unmade>)>,
}

/// The maker.
pub(super) struct Maker {
    tls: Arc<rustls::ClientConfig>,
    slots: Mutex<HashMap<Source, Slot>>,
}

impl Maker {
    pub(super) fn new(tls: Arc<rustls::ClientConfig>) -> Self {
        Self { tls, slots: Mutex::default() }
    }

    /// The credential, kept or made. `refused` is one that the provider did not take; `networks` are the private ones
    /// that the file in force names.
    pub(super) async fn obtain(
        &self,
        source: &Source,
        refused: Option<&Made>,
        networks: &[Network],
    ) -> Result<Lasting, Unmade> {
        let slot = self.slots.lock().await.entry(source.clone()).or_default().clone();
        let mut kept = slot.lock().await;
        if let Some(answer) = kept.good(refused) {
            return answer;
        }
        let fetcher = Fetcher { tls: self.tls.clone(), networks: networks.to_vec() };
        let made = match source {
            Source::GoogleKeyFile(path) => google::by_key_file(&fetcher, path).await,
            Source::GoogleMetadata => google::by_metadata(&fetcher).await,
            Source::AwsChain => aws::make(&fetcher, None).await,
            Source::AwsProfile(name) => aws::make(&fetcher, Some(name)).await,
        };
        let answer = kept.or_the_old_one(made);
        kept.last = Some((clock::now(), answer.clone()));
        answer
    }
}

impl Kept {
    /// What need not be made.
    fn good(&self, refused: Option<&Made>) -> Option<Result<Lasting, Unmade>> {
        let (at, answer) = self.last.as_ref()?;
        let age = clock::now().since(*at);
        let good = match answer {
            Err(_) => age < FAILURE_KEPT,
            Ok(lasting) if refused.is_some_and(|refused| *refused == lasting.made) => age < REMADE_AFTER,
            Ok(lasting) => left(lasting) > MARGIN || age < FAILURE_KEPT,
        };
        good.then(|| answer.clone())
    }

    /// While its maker is away, one that still holds is better than none.
    fn or_the_old_one(&self, made: Result<Lasting, Unmade>) -> Result<Lasting, Unmade> {
        match (&made, &self.last) {
            (Err(_), Some((_, Ok(old)))) if left(old) > Duration::ZERO => Ok(old.clone()),
            _ => made,
        }
    }
}

fn left(lasting: &Lasting) -> Duration {
    Duration::from_micros(lasting.until.saturating_sub(clock::wall()))
}
