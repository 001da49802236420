//! A running gateway asked over its control socket, so that it, and not this process, judges and audits the look.
//!
//! HTTP/1.0 on purpose: an answer ends where the connection ends, so there is no framing to read.

use std::cell::RefCell;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::base::clock::{self, Moment};
use crate::policy::explain::{Explanation, Question};
use crate::policy::quota::Standing;
use crate::record::record::Record;
use crate::record::store::{
    Filter, GroupBy, Overview, RequestRow, SessionRow, Shown, ToolRow, UsageRow, Worth,
};

/// Name of the socket in the data folder.
const SOCKET_NAME: &str = "control.sock";
/// The longest answer waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a look at the live tail takes.
const TAIL_LOOK: Duration = Duration::from_millis(200);
/// Rows the gateway gives at once.
const ROWS_AT_ONCE: u32 = 1000;

/// The control socket of a running gateway.
pub struct Socket {
    path: PathBuf,
    /// The live tail, once one has been asked for.
    tail: RefCell<Option<BufReader<UnixStream>>>,
}

impl Socket {
    /// The gateway that runs over `dir`, if one answers.
    #[must_use]
    pub fn open(dir: &Path) -> Option<Socket> {
        let path = dir.join(SOCKET_NAME);
        UnixStream::connect(&path).ok()?;
        Some(Socket { path, tail: RefCell::default() })
    }

    /// Usage, added up.
    pub fn usage(&self, filter: &Filter, by: GroupBy) -> io::Result<Vec<UsageRow>> {
        let by = serde_json::to_value(by)?;
        self.json(&target("/api/usage", filter, &[("by", by.as_str().unwrap_or("total").to_owned())]))
    }

    /// Exchanges, newest first.
    pub fn requests(&self, filter: &Filter, limit: u32, before: Option<i64>) -> io::Result<Vec<RequestRow>> {
        let mut rows: Vec<RequestRow> = Vec::new();
        let mut before = before;
        // One answer has a bound; a person may ask for more.
        while rows.len() < limit as usize {
            let want = (limit - rows.len() as u32).min(ROWS_AT_ONCE);
            let mut more = vec![("limit", want.to_string())];
            more.extend(before.map(|cursor| ("before", cursor.to_string())));
            let got: Vec<RequestRow> = self.json(&target("/api/requests", filter, &more))?;
            let all = got.len() < want as usize;
            before = got.last().map(|row| row.cursor);
            rows.extend(got);
            if all {
                break;
            }
        }
        Ok(rows)
    }

    /// The last `limit` exchanges by the order of their end, or those that ended after `after`.
    pub fn tail(&self, filter: &Filter, after: Option<i64>, limit: u32) -> io::Result<Vec<RequestRow>> {
        let Some(after) = after else {
            let more = [("order", "closed".to_owned()), ("limit", limit.min(ROWS_AT_ONCE).to_string())];
            return self.json(&target("/api/requests", filter, &more));
        };
        let mut tail = self.tail.borrow_mut();
        if tail.is_none() {
            let mut stream =
                self.send("GET", &target("/api/tail", filter, &[("after", after.to_string())]))?;
            let (status, _) = head(&mut stream)?;
            if status != 200 {
                let mut body = Vec::new();
                stream.read_to_end(&mut body)?;
                return Err(problem(status, &body));
            }
            *tail = Some(stream);
        }
        let Some(lines) = tail.as_mut() else { return Ok(Vec::new()) };
        events(lines, clock::now().plus(TAIL_LOOK), limit)
    }

    /// Sessions.
    pub fn sessions(&self, filter: &Filter, limit: u32) -> io::Result<Vec<SessionRow>> {
        self.json(&target("/api/sessions", filter, &[("limit", limit.to_string())]))
    }

    /// Tools.
    pub fn tools(&self, filter: &Filter, limit: u32) -> io::Result<Vec<ToolRow>> {
        self.json(&target("/api/tools", filter, &[("limit", limit.to_string())]))
    }

    /// One exchange with its bodies.
    pub fn show(&self, id: &str) -> io::Result<Option<Shown>> {
        let path = format!("/api/requests/{}", encoded(id));
        let Some(record) = self.maybe(&path)? else { return Ok(None) };
        let worth: Worth = serde_json::from_slice(&record)?;
        let record: Record = serde_json::from_slice(&record)?;
        let request_body = self.maybe(&format!("{path}/bodies/request"))?;
        let response_body = self.maybe(&format!("{path}/bodies/response"))?;
        Ok(Some(Shown { record, worth, request_body, response_body }))
    }

    /// A new one-time link to the dashboard as admin.
    pub fn link(&self) -> io::Result<String> {
        let made: serde_json::Value = serde_json::from_slice(&self.whole("POST", "/api/link")?.1)?;
        let url = made["url"].as_str().ok_or_else(|| io::Error::other("the gateway gave no link"))?;
        Ok(url.to_owned())
    }

    /// Quotas as they stand: all, or those of one name.
    pub fn quotas(&self, bucket: Option<&str>) -> io::Result<Vec<Standing>> {
        match bucket {
            Some(bucket) => self.json(&format!("/api/quotas?bucket={}", encoded(bucket))),
            None => self.json("/api/quotas"),
        }
    }

    /// Put an amount into a bucket.
    pub fn refill(&self, bucket: &str, amount: &str) -> io::Result<Standing> {
        let asked = serde_json::json!({ "bucket": bucket, "amount": amount }).to_string();
        let (status, body) = self.whole_with("POST", "/api/quotas/refill", &asked)?;
        if status != 200 {
            return Err(problem(status, &body));
        }
        Ok(serde_json::from_slice(&body)?)
    }

    /// Why somebody may, or may not.
    pub fn explain(&self, who: &str, question: &Question) -> io::Result<Vec<Explanation>> {
        let mut pairs = vec![("as", who.to_owned())];
        pairs.extend(question.who.groups.iter().map(|group| ("group", group.clone())));
        pairs.extend(question.who.loopback.then(|| ("loopback", "1".to_owned())));
        pairs.extend(question.model.iter().map(|model| ("model", model.clone())));
        pairs.extend(question.provider.iter().map(|id| ("provider", id.clone())));
        pairs.extend(question.tool.iter().map(|tool| ("tool", tool.clone())));
        pairs.extend(question.agent.iter().map(|agent| ("agent", agent.clone())));
        pairs.extend(question.flag.iter().map(|flag| ("flag", flag.name().to_owned())));
        self.json(&target("/api/explain", &Filter::default(), &pairs))
    }

    /// Where agents reach the gateway, as they write it: listeners that have models first.
    pub fn urls(&self) -> io::Result<Vec<String>> {
        let health: serde_json::Value = self.json("/api/health")?;
        Ok(serde_json::from_value(health["urls"].clone())?)
    }

    /// Totals.
    pub fn overview(&self) -> io::Result<Overview> {
        let mut front: serde_json::Value = self.json("/api/overview")?;
        Ok(serde_json::from_value(front["totals"].take())?)
    }

    fn json<T: DeserializeOwned>(&self, target: &str) -> io::Result<T> {
        let (status, body) = self.whole("GET", target)?;
        if status != 200 {
            return Err(problem(status, &body));
        }
        Ok(serde_json::from_slice(&body)?)
    }

    /// The body, or nothing where the gateway says there is none.
    fn maybe(&self, target: &str) -> io::Result<Option<Vec<u8>>> {
        match self.whole("GET", target)? {
            (200, body) => Ok(Some(body)),
            (404, _) => Ok(None),
            (status, body) => Err(problem(status, &body)),
        }
    }

    fn whole(&self, method: &str, target: &str) -> io::Result<(u16, Vec<u8>)> {
        self.whole_with(method, target, "")
    }

    fn whole_with(&self, method: &str, target: &str, content: &str) -> io::Result<(u16, Vec<u8>)> {
        let mut stream = self.send_with(method, target, content)?;
        let (status, length) = head(&mut stream)?;
        let mut body = Vec::new();
        stream.read_to_end(&mut body)?;
        match length {
            Some(length) if body.len() < length => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok((status, body)),
        }
    }

    fn send(&self, method: &str, target: &str) -> io::Result<BufReader<UnixStream>> {
        self.send_with(method, target, "")
    }

    fn send_with(&self, method: &str, target: &str, content: &str) -> io::Result<BufReader<UnixStream>> {
        let mut stream = UnixStream::connect(&self.path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let length = content.len();
        write!(
            stream,
            "{method} {target} HTTP/1.0\r\nhost: weir\r\ncontent-length: {length}\r\n\r\n{content}"
        )?;
        Ok(BufReader::new(stream))
    }
}

/// Status, and length where it is said.
fn head(stream: &mut impl BufRead) -> io::Result<(u16, Option<usize>)> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| io::Error::other("the control socket does not speak HTTP"))?;
    let mut length = None;
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 || line.trim_end().is_empty() {
            return Ok((status, length));
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok();
        }
    }
}

/// Rows of the live tail that come before `until`.
fn events(lines: &mut BufReader<UnixStream>, until: Moment, limit: u32) -> io::Result<Vec<RequestRow>> {
    let mut rows = Vec::new();
    while rows.len() < limit as usize {
        let left = until.since(clock::now());
        if left.is_zero() {
            break;
        }
        // A line is read whole or not at all: what `fill_buf` has given stays there until it is taken.
        lines.get_ref().set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match lines.fill_buf() {
            Ok([]) => return Err(io::Error::other("the gateway has ended")),
            Ok(_) => {}
            Err(why) if matches!(why.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => break,
            Err(why) => return Err(why),
        }
        // A piece that has begun comes to its end: pieces are written whole.
        lines.get_ref().set_read_timeout(Some(PATIENCE))?;
        let mut line = String::new();
        lines.read_line(&mut line)?;
        if let Some(data) = line.strip_prefix("data: ") {
            rows.push(serde_json::from_str(data.trim_end())?);
        }
    }
    Ok(rows)
}

/// The gateway's own words for why not.
fn problem(status: u16, body: &[u8]) -> io::Error {
    let said: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let words = |key: &str| said[key].as_str().map(str::to_owned);
    let text = [words("title"), words("detail")].into_iter().flatten().collect::<Vec<_>>().join(": ");
    io::Error::other(format!("the gateway answers {status}: {text}"))
}

/// Path and query.
fn target(path: &str, filter: &Filter, more: &[(&str, String)]) -> String {
    let number = |n: Option<u64>| n.map(|n| n.to_string());
    let filters = [
        ("since", number(filter.since)),
        ("until", number(filter.until)),
        ("principal", filter.principal.clone()),
        ("agent", filter.agent.clone()),
        ("session", filter.session.clone()),
        ("model", filter.model.clone()),
        ("provider", filter.provider.clone()),
        ("tool", filter.tool.clone()),
        ("outcome", filter.outcome.map(|outcome| outcome.name().to_owned())),
        ("status", filter.status.map(|status| status.to_string())),
    ];
    let filters = filters.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let pairs: Vec<String> = filters
        .chain(more.iter().cloned())
        .map(|(name, value)| format!("{name}={}", encoded(&value)))
        .collect();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
}

fn encoded(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(byte.into()),
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_becomes_a_query() {
        let filter = Filter { model: Some("a b/c&d".into()), since: Some(5), ..Filter::default() };
        let made = target("/api/requests", &filter, &[("limit", "3".into())]);
        assert_eq!(made, "/api/requests?since=5&model=a%20b%2Fc%26d&limit=3");
        assert_eq!(target("/api/tools", &Filter::default(), &[]), "/api/tools");
    }
}
