//! What a query string asks: filters, limits, times. An unknown or broken parameter is an error, never ignored: a
//! mistyped filter must not answer with everything.

use crate::base::clock::Wall;
use crate::record::record::Outcome;
use crate::record::store::{Filter, GroupBy};

use super::reply::Problem;

/// Longest value of a parameter.
const VALUE_BYTES_MAX: usize = 512;
/// Rows of a list.
const ROWS_DEFAULT: u32 = 100;
const ROWS_MAX: u32 = 1000;

/// A query string, read.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Question {
    pub(super) filter: Filter,
    pub(super) by: GroupBy,
    pub(super) limit: u32,
    /// Cursor: older than this row.
    pub(super) before: Option<i64>,
    /// Cursor: closed after this row.
    pub(super) after: Option<i64>,
    /// Whether rows come in the order of their end, oldest first.
    pub(super) by_end: bool,
    /// Whether a body is wanted without its content coding.
    pub(super) decoded: bool,
}

impl Question {
    /// Read `query`; `allowed` names the parameters that the endpoint knows besides the filters.
    pub(super) fn read(query: Option<&str>, now: Wall, allowed: &[&str]) -> Result<Question, Problem> {
        let mut question = Question { limit: ROWS_DEFAULT, ..Question::default() };
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value).filter(|value| value.len() <= VALUE_BYTES_MAX);
            let value = value.ok_or_else(|| bad(name, "is too long or not UTF-8"))?;
            question.take(name, value, now, allowed)?;
        }
        Ok(question)
    }

    fn take(&mut self, name: &str, value: String, now: Wall, allowed: &[&str]) -> Result<(), Problem> {
        if !FILTERS.contains(&name) && !allowed.contains(&name) {
            let known: Vec<_> = allowed.iter().chain(FILTERS).copied().collect();
            return Err(bad(name, &format!("is not known here; known: {}", known.join(", "))));
        }
        let filter = &mut self.filter;
        match name {
            "since" => filter.since = Some(time(&value, now).ok_or_else(|| bad(name, TIME_FORM))?),
            "until" => filter.until = Some(time(&value, now).ok_or_else(|| bad(name, TIME_FORM))?),
            "principal" => filter.principal = Some(value),
            "agent" => filter.agent = Some(value),
            "session" => filter.session = Some(value),
            "model" => filter.model = Some(value),
            "provider" => filter.provider = Some(value),
            "tool" => filter.tool = Some(value),
            "status" => filter.status = Some(number(name, &value)?),
            "outcome" => filter.outcome = Some(outcome(&value)?),
            "by" => self.by = group_by(&value)?,
            "limit" => self.limit = number::<u32>(name, &value)?.clamp(1, ROWS_MAX),
            "before" => self.before = Some(number(name, &value)?),
            "after" => self.after = Some(number(name, &value)?),
            "order" => self.by_end = order(&value)?,
            "decoded" => self.decoded = matches!(value.as_str(), "" | "1" | "true"),
            _ => return Err(bad(name, "is not known here")),
        }
        Ok(())
    }
}

const FILTERS: &[&str] =
    &["since", "until", "principal", "agent", "session", "model", "provider", "tool", "status", "outcome"];
const TIME_FORM: &str = "is no time: RFC 3339, microseconds since 1970, or an age such as 30m, 24h, 7d";

fn bad(name: &str, why: &str) -> Problem {
    let name: String = name.chars().filter(|c| !c.is_control()).take(40).collect();
    Problem::new(400, format!("parameter `{name}` {why}"))
}

fn number<N: std::str::FromStr>(name: &str, value: &str) -> Result<N, Problem> {
    value.parse().map_err(|_| bad(name, "is no number in range"))
}

fn order(value: &str) -> Result<bool, Problem> {
    match value {
        "accepted" => Ok(false),
        "closed" => Ok(true),
        _ => Err(bad("order", "is accepted (newest first) or closed (oldest first)")),
    }
}

fn outcome(value: &str) -> Result<Outcome, Problem> {
    let named = Outcome::ALL.into_iter().find(|outcome| outcome.name() == value);
    named.ok_or_else(|| bad("outcome", &format!("is one of {}", Outcome::ALL.map(Outcome::name).join(", "))))
}

fn group_by(value: &str) -> Result<GroupBy, Problem> {
    let text = serde_json::Value::from(value);
    serde_json::from_value(text).map_err(|_| {
        bad("by", "is one of total, model, agent, principal, provider, tool, session, outcome, hour, day")
    })
}

/// A moment: RFC 3339, microseconds, or an age.
fn time(text: &str, now: Wall) -> Option<Wall> {
    if let Ok(us) = text.parse() {
        return Some(us);
    }
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return u64::try_from(at.as_microsecond()).ok();
    }
    let unit = text.chars().last()?;
    let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return None,
    };
    Some(now.saturating_sub(count.checked_mul(seconds * 1_000_000)?))
}

/// `%41` and `+` undone.
pub(super) fn decoded(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => hex(rest.next()?)? << 4 | hex(rest.next()?)?,
            plain => plain,
        });
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Wall = 1_800_000_000_000_000;

    #[test]
    fn filters_times_and_limits_are_read() {
        let read = |query| Question::read(Some(query), NOW, &["by", "limit"]).unwrap();
        let question =
            read("by=model&agent=claude%2Dcode&model=a+b&since=1h&until=2027-01-15T08%3A00%3A00Z&limit=9");
        assert_eq!(question.by, GroupBy::Model);
        assert_eq!(question.filter.agent.as_deref(), Some("claude-code"));
        assert_eq!(question.filter.model.as_deref(), Some("a b"));
        assert_eq!(question.filter.since, Some(NOW - 3_600_000_000));
        assert_eq!(question.filter.until, Some(NOW));
        assert_eq!(question.limit, 9);
        assert_eq!(read("limit=99999999").limit, ROWS_MAX);
        assert_eq!(read("").limit, ROWS_DEFAULT);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for query in
            ["agnet=x", "since=yesterday", "outcome=fine", "status=x", "by=moon", "agent=%f", "before=1"]
        {
            assert!(Question::read(Some(query), NOW, &["by"]).is_err(), "{query}");
        }
        assert!(Question::read(Some(&format!("agent={}", "x".repeat(600))), NOW, &[]).is_err());
    }
}
