//! Issuers' published keys: fetched on the control thread, kept in force, rotated.
//!
//! ```text
//!   at the start, and every ten minutes ─▶ fetch ─▶ good: in force for all cores
//!   a token names a key nobody knows ────▶   │  └──▶ bad:  the old ones, for a day at most
//!                                            └─ at most every 30 s for each issuer, whatever tokens claim
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::api::Room;
use super::fetch::{Fetcher, Question};
use crate::base::clock::{self, Moment};
use crate::policy::identity::jwt::KeySets;
use crate::policy::identity::settings::{Network, SourceSettings};

/// How often an issuer is asked without a reason.
const EVERY: Duration = Duration::from_secs(600);
/// How often it is asked at most.
const NOT_BEFORE: Duration = Duration::from_secs(30);
/// As long as it has never answered.
const NOT_BEFORE_THE_FIRST: Duration = Duration::from_secs(2);
/// How long its keys are believed while it does not answer.
const BELIEVED: Duration = Duration::from_secs(24 * 3600);
/// How often it is looked whether one is due.
const LOOK: Duration = Duration::from_secs(5);

/// All issuers of the configuration.
pub(super) struct Issuers {
    room: Arc<Room>,
    tls: Arc<rustls::ClientConfig>,
    by_url: Mutex<HashMap<String, Arc<Mutex<Issuer>>>>,
}

/// One issuer. Locked while it is asked, so that everybody waits for the same answer.
#[derive(Default)]
struct Issuer {
    asked: Option<Moment>,
    answered: Option<Moment>,
}

impl Issuers {
    pub(super) fn new(room: Arc<Room>, tls: Arc<rustls::ClientConfig>) -> Arc<Self> {
        Arc::new(Self { room, tls, by_url: Mutex::default() })
    }

    /// A core has met a key that it does not know.
    pub(super) async fn missing(&self, url: &str) {
        let Some(private) = self.configured(url) else { return };
        let since = clock::now();
        let issuer = self.issuer(url).await;
        let mut issuer = issuer.lock().await;
        let answered_meanwhile = issuer.asked.is_some_and(|asked| asked >= since);
        if !answered_meanwhile && issuer.may_be_asked(since) {
            self.ask(&mut issuer, url, &private).await;
        }
    }

    /// Ask those that are due, for ever.
    pub(super) async fn keep_fresh(self: Arc<Self>) {
        let mut every = tokio::time::interval(LOOK);
        loop {
            every.tick().await;
            for (url, private) in self.all() {
                let issuer = self.issuer(&url).await;
                let mut issuer = issuer.lock().await;
                let now = clock::now();
                if issuer.is_due(now) && issuer.may_be_asked(now) {
                    self.ask(&mut issuer, &url, &private).await;
                }
                if issuer.answered.is_some_and(|answered| now.since(answered) > BELIEVED) {
                    issuer.answered = None;
                    self.put(|sets| sets.forget(&url));
                }
            }
        }
    }

    async fn ask(&self, issuer: &mut Issuer, url: &str, private: &[Network]) {
        let fetcher = Fetcher { tls: self.tls.clone(), networks: private.to_vec() };
        let question = Question { method: "GET", url: url.to_owned(), ..Question::default() };
        let answer = fetcher.ask(&question).await;
        issuer.asked = Some(clock::now());
        let body = answer.and_then(|answer| match answer.status {
            200 => Ok(answer.body),
            // A redirect would lead where nobody has looked.
            status => Err(format!("status {status}")),
        });
        let mut taken = Err(String::new());
        match body {
            Ok(body) => self.put(|sets| taken = sets.put(url, &body)),
            Err(why) => taken = Err(why),
        }
        match taken {
            Ok(_) => issuer.answered = issuer.asked,
            Err(why) => eprintln!("weir: keys of {url}: {why}"),
        }
    }

    fn put(&self, change: impl FnOnce(&mut KeySets)) {
        self.room.facts.in_force.send_modify(|now| change(Arc::make_mut(&mut now.trust.key_sets)));
    }

    async fn issuer(&self, url: &str) -> Arc<Mutex<Issuer>> {
        self.by_url.lock().await.entry(url.to_owned()).or_default().clone()
    }

    /// Only what the configuration names is ever called.
    fn configured(&self, url: &str) -> Option<Vec<Network>> {
        self.all().into_iter().find(|(known, _)| known == url).map(|(_, private)| private)
    }

    fn all(&self) -> Vec<(String, Vec<Network>)> {
        let snapshot = self.room.facts.snapshot();
        let issuers = snapshot.sources.iter().filter_map(|source| match source {
            SourceSettings::Jwt(jwt) => {
                let networks = [&jwt.private_networks[..], &snapshot.private_networks].concat();
                Some((jwt.jwks.value.clone(), networks))
            }
            _ => None,
        });
        issuers.collect()
    }
}

impl Issuer {
    fn may_be_asked(&self, now: Moment) -> bool {
        let pause = if self.answered.is_some() { NOT_BEFORE } else { NOT_BEFORE_THE_FIRST };
        self.asked.is_none_or(|asked| now.since(asked) >= pause)
    }

    fn is_due(&self, now: Moment) -> bool {
        self.answered.is_none_or(|answered| now.since(answered) >= EVERY)
    }
}
