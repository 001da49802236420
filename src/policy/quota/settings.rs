//! Quotas as written: `quotas.<bucket>`, and how amounts and rates are spelled.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::base::settings::{At, Kind, Reader, SecretText, Setting, Tree};
use crate::{choices, settings};

choices! {
    /// What a bucket counts.
    pub enum Unit {
        /// Money, in US dollars.
        Dollars = "dollars",
        /// Tokens, input and output.
        Tokens = "tokens",
        /// Requests.
        Requests = "requests",
    }

    /// What happens when a bucket is empty.
    pub enum OnExceed {
        /// New requests are refused with 429.
        Reject = "reject",
        /// They pass and are marked.
        Warn = "warn",
        /// As `reject`; a running stream that overruns is ended with a reason.
        EndStream = "end_stream",
    }

    /// What happens while the shared store of quotas cannot be reached and the lease is over.
    pub enum FailPolicy {
        /// Requests are refused.
        FailClosed = "fail_closed",
        /// Requests pass, and are charged when the store is back.
        FailOpen = "fail_open",
    }

    /// How much is reserved at admission.
    pub enum Reserve {
        /// What requests like this one have cost lately.
        Predicted = "predicted",
        /// All that the request may cost.
        Max = "max",
    }
}

settings! {
    /// A bucket. Its name may hold templates: `<user>` `<node>` `<group>` `<agent>` `<session>` `<model>`.
    pub struct QuotaSettings {
        /// Most it may hold; also what it begins with: `"$10.00"`, or a number of the unit.
        pub capacity: Amount,
        /// How fast it refills: `"$5.00/day"`; units min hour day week month (30 days).
        pub rate: Option<Rate> = None,
        /// What happens when it is empty.
        pub on_exceed: OnExceed = OnExceed::Reject,
        /// What it counts.
        pub unit: Unit = Unit::Dollars,
        /// Buckets to borrow from, in order, when this one is empty.
        pub overdraft: Vec<At<String>> = Vec::new(),
        /// How much is reserved at admission.
        pub reserve: Reserve = Reserve::Predicted,
        /// With `server.quota_store`: what happens while it cannot be reached and this machine's lease is over.
        pub fail_policy: FailPolicy = FailPolicy::FailClosed,
    }

    /// Quotas shared by several machines, in Valkey or Redis.
    pub struct QuotaStoreSettings {
        /// `redis://[user:password@]host:port[/db]`, `rediss://` for TLS, or a reference to it.
        pub url: SecretText,
        /// What the store's keys begin with; installations that share a store need different ones.
        pub prefix: String = "weir".to_owned(),
        /// How long a machine may spend what it has leased without hearing from the store; idle leases are given back
        /// after as long.
        pub lease: Duration = Duration::from_secs(10),
    }
}

/// An amount in the smallest parts of its unit: nanodollars, tokens or requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount {
    /// The amount.
    pub value: i64,
    /// Whether it was written with a dollar sign.
    pub dollars: bool,
}

/// An amount per span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How much.
    pub amount: Amount,
    /// In how long.
    pub per: Duration,
}

/// Nanodollars in a dollar.
pub const NANODOLLARS: i64 = 1_000_000_000;

/// Names of spans, with seconds. A month has 30 days.
const SPANS: [(&str, u64); 7] = [
    ("sec", 1),
    ("min", 60),
    ("minute", 60),
    ("hour", 3_600),
    ("day", 86_400),
    ("week", 604_800),
    ("month", 2_592_000),
];

impl Amount {
    /// `$10.00`, `$0.5`, `1000`, `1_000`; a bare number may have a fraction only in dollars.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        match text.strip_prefix('$') {
            Some(money) => Some(Self { value: nanodollars(money)?, dollars: true }),
            None => Some(Self { value: whole(text)?, dollars: false }),
        }
    }

    /// The amount in parts of `unit`; bare numbers under a dollar bucket are dollars.
    pub fn of(self, unit: Unit) -> Result<i64, &'static str> {
        match (unit, self.dollars) {
            (Unit::Dollars, true) | (Unit::Tokens | Unit::Requests, false) => Ok(self.value),
            (Unit::Dollars, false) => {
                self.value.checked_mul(NANODOLLARS).ok_or("is more than weir can count")
            }
            (_, true) => Err("is money, and the bucket's unit is not"),
        }
    }
}

fn nanodollars(money: &str) -> Option<i64> {
    let (units, fraction) = money.trim().split_once('.').unwrap_or((money.trim(), "0"));
    if fraction.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let parts: i64 = format!("{fraction:0<9}").parse().ok()?;
    whole(units)?.checked_mul(NANODOLLARS)?.checked_add(parts)
}

/// Digits, with `_` or `,` between them as people write thousands. Never negative.
fn whole(text: &str) -> Option<i64> {
    let digits: String = text.chars().filter(|c| !matches!(c, '_' | ',')).collect();
    let plain = !digits.is_empty() && text.starts_with(|c: char| c.is_ascii_digit());
    (plain && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

impl Rate {
    /// `$5.00/day`, `1000/min`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (amount, span) = text.split_once('/')?;
        let amount = Amount::parse(amount)?;
        let span = span.trim();
        let seconds = SPANS.iter().find(|(name, _)| *name == span)?.1;
        Some(Self { amount, per: Duration::from_secs(seconds) })
    }
}

impl Setting for Amount {
    fn read(tree: &Tree, reader: &mut Reader<'_>) -> Option<Self> {
        let amount = match &tree.kind {
            Kind::Text(text) => Amount::parse(text),
            Kind::Number(digits) => Amount::parse(digits),
            _ => None,
        };
        if amount.is_none() {
            reader.bad_value(tree, "is not an amount", "expected \"$10.00\" or a whole number, not negative");
        }
        amount
    }

    fn schema(_: &mut BTreeMap<String, Value>) -> Value {
        json!({"type": ["string", "integer"], "description": "\"$10.00\", or a whole number"})
    }
}

impl Setting for Rate {
    fn read(tree: &Tree, reader: &mut Reader<'_>) -> Option<Self> {
        let rate = match &tree.kind {
            Kind::Text(text) => Rate::parse(text),
            _ => None,
        };
        if rate.is_none() {
            reader.bad_value(
                tree,
                "is not a rate",
                "expected \"$5.00/day\": units min, hour, day, week, month",
            );
        }
        rate
    }

    fn schema(_: &mut BTreeMap<String, Value>) -> Value {
        json!({"type": "string", "description": "\"$5.00/day\": units min hour day week month"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_and_rates() {
        for (text, value) in [
            ("$10.00", 10 * NANODOLLARS),
            ("$0.5", NANODOLLARS / 2),
            ("$1,000", 1_000 * NANODOLLARS),
            ("$0.000000001", 1),
        ] {
            assert_eq!(Amount::parse(text), Some(Amount { value, dollars: true }), "{text}");
        }
        assert_eq!(Amount::parse("1_000_000"), Some(Amount { value: 1_000_000, dollars: false }));
        for text in [
            "",
            "$",
            "-$5",
            "$-5",
            "$1.0000000001",
            "1.5",
            "ten",
            "$99999999999999999999",
            "$1.-5",
            ",1",
            "$1.+5",
        ] {
            assert_eq!(Amount::parse(text), None, "{text}");
        }
        let rate = Rate::parse("$5.00/day").expect("a rate");
        assert_eq!((rate.amount.value, rate.per.as_secs()), (5 * NANODOLLARS, 86_400));
        assert_eq!(Rate::parse("100/month").map(|rate| rate.per.as_secs()), Some(2_592_000));
        for text in ["5", "$5/", "$5/fortnight", "/day"] {
            assert_eq!(Rate::parse(text), None, "{text}");
        }
    }
}
