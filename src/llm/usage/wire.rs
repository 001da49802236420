//! A provider's own usage object: kept as it was written, and read without a tree.
//!
//! Every exchange has one and hardly anybody looks at it, so that it is copied once, as text, on the serving core.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::wire::json::Raw;

/// A usage object as it was written.
#[derive(Clone, Debug)]
pub struct WireUsage(Box<str>);

impl WireUsage {
    /// The object, if it is one.
    pub(crate) fn of(object: Raw<'_>) -> Option<Self> {
        let text = std::str::from_utf8(object.bytes()).ok().filter(|_| object.is_object())?;
        Some(WireUsage(text.into()))
    }

    /// One that was put together here.
    pub(crate) fn made(object: &Value) -> Self {
        WireUsage(object.to_string().into())
    }

    /// Its values; `null` if it does not hold to the grammar.
    #[must_use]
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.0).unwrap_or_default()
    }

    pub(crate) fn raw(&self) -> Option<Raw<'_>> {
        Raw::whole(self.0.as_bytes())
    }
}

/// By what they say, however they are spaced.
impl PartialEq for WireUsage {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || self.value() == other.value()
    }
}

impl Serialize for WireUsage {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match serde_json::from_str::<&RawValue>(&self.0) {
            Ok(text) => text.serialize(to),
            Err(_) => to.serialize_none(),
        }
    }
}

impl<'de> Deserialize<'de> for WireUsage {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // A part of a flattened structure has no text of its own.
        Value::deserialize(from).map(|value| WireUsage::made(&value))
    }
}

/// The members of a usage object and of the objects in it, found in one pass.
pub(crate) struct UsageMembers<'a>(Vec<Member<'a>>);

struct Member<'a> {
    /// The object that it stands in; empty at the top.
    inside: &'a [u8],
    name: &'a [u8],
    value: Raw<'a>,
}

impl Member<'_> {
    fn is_at(&self, path: &[u8]) -> bool {
        match self.inside.len() {
            0 => self.name == path,
            outer => {
                path.len() == outer + 1 + self.name.len()
                    && path[outer] == b'.'
                    && path.starts_with(self.inside)
                    && path.ends_with(self.name)
            }
        }
    }
}

/// Room for what providers send, so that one allocation does.
const MEMBERS: usize = 24;

impl<'a> UsageMembers<'a> {
    pub(crate) fn of(usage: Raw<'a>) -> Self {
        let mut found = Vec::with_capacity(MEMBERS);
        for (key, value) in usage.members() {
            let name = key.name();
            found.push(Member { inside: b"", name, value });
            found.extend(value.members().map(|(key, value)| Member {
                inside: name,
                name: key.name(),
                value,
            }));
        }
        UsageMembers(found)
    }

    /// The value at a path of one name or two, parted by a dot. Of a name that comes twice the last counts.
    pub(crate) fn at(&self, path: &str) -> Option<Raw<'a>> {
        let is = |member: &&Member<'_>| member.is_at(path.as_bytes()) && !member.value.is_null();
        self.0.iter().rev().find(is).map(|member| member.value)
    }

    /// A count at a path; `null`, absent or not a number is unknown.
    pub(crate) fn count(&self, path: &str) -> Option<u64> {
        self.at(path).and_then(Raw::count)
    }

    /// The first of several places that has a count.
    pub(crate) fn count_in(&self, paths: &[&str]) -> Option<u64> {
        paths.iter().find_map(|path| self.count(path))
    }

    /// A text at a path.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        self.at(path).and_then(Raw::string)
    }

    /// A number at a path.
    pub(crate) fn number(&self, path: &str) -> Option<f64> {
        self.at(path).and_then(Raw::number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN: &str =
        r#"{"in": 3, "details": {"cached": 2.0, "none": null}, "tier": "flex", "cost": 0.25, "in": 4}"#;

    fn usage(text: &str) -> Option<WireUsage> {
        WireUsage::of(Raw::whole(text.as_bytes()).unwrap())
    }

    #[test]
    fn members_are_found_by_their_path() {
        let usage = usage(WRITTEN).unwrap();
        let counts = UsageMembers::of(usage.raw().unwrap());
        assert_eq!((counts.count("in"), counts.count("details.cached")), (Some(4), Some(2)));
        assert_eq!(counts.count_in(&["cached", "details.none", "details.cached"]), Some(2));
        assert_eq!((counts.text("tier").as_deref(), counts.number("cost")), (Some("flex"), Some(0.25)));
        assert!(counts.at("details.none").is_none() && counts.at("cached").is_none());
    }

    #[test]
    fn it_is_written_as_it_came_and_reads_back_the_same() {
        #[derive(Serialize, Deserialize)]
        struct Holds {
            #[serde(flatten)]
            inner: Inner,
        }
        #[derive(Serialize, Deserialize)]
        struct Inner {
            usage: Option<WireUsage>,
        }
        let holds = Holds { inner: Inner { usage: usage(WRITTEN) } };
        let text = serde_json::to_string(&holds).unwrap();
        assert_eq!(text, format!("{{\"usage\":{WRITTEN}}}"));
        let back: Holds = serde_json::from_str(&text).unwrap();
        assert_eq!(back.inner.usage, holds.inner.usage);
        assert_eq!(usage("[1]"), None);
        let loose = usage(r#"{"in": 01}"#).unwrap();
        assert_eq!(serde_json::to_string(&loose).unwrap(), "null", "a line of the log stays JSON");
    }
}
