//! How a bucket stands, for people: API, command, dashboard.

use serde::{Deserialize, Serialize};

use super::Balance;
use crate::base::clock::Wall;
use crate::policy::snapshot::Bucket;

/// A bucket as it stands. Amounts are in the smallest parts of its unit: nanodollars, tokens, requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Standing {
    /// Full name; where nobody has drawn on it yet, the name as configured.
    pub bucket: String,
    /// Name as configured.
    pub template: String,
    /// `dollars`, `tokens`, `requests`.
    pub unit: String,
    /// What it holds, reservations not taken off.
    pub balance: i64,
    /// What running exchanges hold of it.
    pub reserved: i64,
    /// Most it may hold.
    pub capacity: i64,
    /// Refill: this much …
    pub rate: i64,
    /// … in so many seconds; 0: never.
    pub rate_seconds: u64,
    /// What happens when it is empty.
    pub on_exceed: String,
    /// When it was last refilled; none where nobody has drawn on it yet.
    pub refilled_at_us: Option<Wall>,
}

impl Standing {
    /// A balance under the bucket's terms.
    #[must_use]
    pub fn of(balance: &Balance, bucket: &Bucket) -> Self {
        Self {
            bucket: balance.bucket.clone(),
            balance: balance.balance,
            reserved: balance.reserved,
            refilled_at_us: Some(balance.refilled),
            ..Self::untouched(bucket)
        }
    }

    /// A bucket that nobody has drawn on.
    #[must_use]
    pub fn untouched(bucket: &Bucket) -> Self {
        Self {
            bucket: bucket.name.to_string(),
            template: bucket.name.to_string(),
            unit: bucket.unit.name().to_owned(),
            balance: bucket.capacity,
            reserved: 0,
            capacity: bucket.capacity,
            rate: bucket.refill,
            rate_seconds: bucket.refill_per.as_secs(),
            on_exceed: bucket.on_exceed.name().to_owned(),
            refilled_at_us: None,
        }
    }
}
