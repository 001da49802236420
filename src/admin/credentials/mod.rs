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
use crate::base::clock::{self, Moment, Wall};
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
        if let Some(answer) = kept.good(refused, clock::now(), clock::wall()) {
            return answer;
        }
        let fetcher = Fetcher { tls: self.tls.clone(), networks: networks.to_vec() };
        let made = match source {
            Source::GoogleKeyFile(path) => google::by_key_file(&fetcher, path).await,
            Source::GoogleMetadata => google::by_metadata(&fetcher).await,
            Source::AwsChain => aws::make(&fetcher, None).await,
            Source::AwsProfile(name) => aws::make(&fetcher, Some(name)).await,
        };
        let answer = kept.or_the_old_one(made, clock::wall());
        kept.last = Some((clock::now(), answer.clone()));
        answer
    }
}

impl Kept {
    /// What need not be made.
    fn good(&self, refused: Option<&Made>, now: Moment, wall: Wall) -> Option<Result<Lasting, Unmade>> {
        let (at, answer) = self.last.as_ref()?;
        let age = now.since(*at);
        let good = match answer {
            Err(_) => age < FAILURE_KEPT,
            Ok(lasting) if refused.is_some_and(|refused| *refused == lasting.made) => age < REMADE_AFTER,
            Ok(lasting) => left(lasting, wall) > MARGIN || age < FAILURE_KEPT,
        };
        good.then(|| answer.clone())
    }

    /// While its maker is away, one that still holds is better than none.
    fn or_the_old_one(&self, made: Result<Lasting, Unmade>, wall: Wall) -> Result<Lasting, Unmade> {
        match (&made, &self.last) {
            (Err(_), Some((_, Ok(old)))) if left(old, wall) > Duration::ZERO => Ok(old.clone()),
            _ => made,
        }
    }
}

fn left(lasting: &Lasting, wall: Wall) -> Duration {
    Duration::from_micros(lasting.until.saturating_sub(wall))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: Wall = 1_000_000_000_000;

    /// A token that ends so many seconds after it was made.
    fn token(name: &str, seconds: u64) -> Result<Lasting, Unmade> {
        Ok(Lasting { made: Made::Bearer(name.into()), until: WALL + seconds * 1_000_000 })
    }

    fn failure() -> Result<Lasting, Unmade> {
        Err(Unmade { configured_wrong: false, why: "away".into() })
    }

    /// Whether what was made is still given out so many seconds later.
    fn is_kept(made: Result<Lasting, Unmade>, refused: Option<&str>, later: u64) -> bool {
        let at = clock::now();
        let kept = Kept { last: Some((at, made)) };
        let refused = refused.map(|name| Made::Bearer(name.into()));
        let now = at.plus(Duration::from_secs(later));
        kept.good(refused.as_ref(), now, WALL + later * 1_000_000).is_some()
    }

    #[test]
    fn a_token_is_made_anew_before_it_ends_and_a_storm_asks_once() {
        let margin = MARGIN.as_secs();
        for (what, made, refused, later, kept) in [
            ("just made", token("a", 3600), None, 0, true),
            ("a while before its end", token("a", 3600), None, 3600 - margin - 1, true),
            ("soon at its end", token("a", 3600), None, 3600 - margin, false),
            ("at its end", token("a", 3600), None, 3600, false),
            ("short from the start", token("a", 60), None, 1, true),
            ("short, and a breath later", token("a", 60), None, 2, false),
            ("refused, and new", token("a", 3600), Some("a"), 5, true),
            ("refused, and not so new", token("a", 3600), Some("a"), 10, false),
            ("an older one was refused", token("b", 3600), Some("a"), 20, true),
            ("a failure just now", failure(), None, 1, true),
            ("a failure a while ago", failure(), None, 2, false),
        ] {
            assert_eq!(is_kept(made, refused, later), kept, "{what}");
        }
    }

    #[test]
    fn one_that_still_holds_is_better_than_none_and_an_expired_one_is_not() {
        let kept = Kept { last: Some((clock::now(), token("old", 100))) };
        let bearer = |made: Result<Lasting, Unmade>| made.map(|lasting| lasting.made);
        let old = Ok(Made::Bearer("old".into()));
        assert_eq!(bearer(kept.or_the_old_one(failure(), WALL + 99_000_000)), old);
        assert!(kept.or_the_old_one(failure(), WALL + 100_000_000).is_err());
        assert_eq!(bearer(kept.or_the_old_one(token("new", 200), WALL)), Ok(Made::Bearer("new".into())));
        assert!(Kept::default().or_the_old_one(failure(), WALL).is_err());
    }
}
