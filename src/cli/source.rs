//! Where the commands that read the account get it from, and which part of it they are asked for.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use super::socket::Socket;
use crate::base::clock::{self, Wall};
use crate::record::record::Outcome;
use crate::record::store::{Filter, Reader};

/// Where answers come from. All commands ask through this, so that a running gateway can answer instead.
pub enum Source {
    /// The store's files, read without a gateway.
    Store(Box<Reader>),
    /// The gateway that runs over them.
    Socket(Socket),
}

impl Source {
    /// The gateway that runs over `dir`; without one the store itself.
    pub fn open(dir: &Path) -> io::Result<Source> {
        match Socket::open(dir) {
            Some(socket) => Ok(Source::Socket(socket)),
            None => Ok(Source::Store(Box::new(Reader::open(dir)?))),
        }
    }
}

/// Which data folder.
#[derive(Args, Clone, Debug)]
pub struct DataArgs {
    /// Data folder of the gateway.
    #[arg(long, value_name = "DIR", default_value = "./weir-data")]
    pub data: PathBuf,
}

/// Which exchanges.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Filters")]
pub struct FilterArgs {
    /// From this time on: 90s, 15m, 24h, 7d (ago), 2026-11-21 or 2026-11-21T08:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub since: Option<Wall>,
    /// Before this time, written like --since.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub until: Option<Wall>,
    /// Of this principal (login, tag or key name).
    #[arg(long = "as", value_name = "WHO")]
    pub principal: Option<String>,
    /// Of this agent program (claude-code, codex, …).
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// Of this session.
    #[arg(long, value_name = "ID")]
    pub session: Option<String>,
    /// Answered by this model, or asking for it where none answered.
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Sent to this provider.
    #[arg(long, value_name = "ID")]
    pub provider: Option<String>,
    /// With a call of this tool.
    #[arg(long, value_name = "NAME")]
    pub tool: Option<String>,
    /// That ended so: ok, refused, provider_error, client_gone, truncated, gateway_fault, gateway_lost.
    #[arg(long, value_name = "OUTCOME", value_parser = parse_outcome)]
    pub outcome: Option<Outcome>,
    /// Answered with this HTTP status.
    #[arg(long, value_name = "CODE")]
    pub status: Option<u16>,
}

impl FilterArgs {
    /// The filter as the store takes it.
    #[must_use]
    pub fn filter(&self) -> Filter {
        Filter {
            since: self.since,
            until: self.until,
            principal: self.principal.clone(),
            agent: self.agent.clone(),
            session: self.session.clone(),
            model: self.model.clone(),
            provider: self.provider.clone(),
            outcome: self.outcome,
            tool: self.tool.clone(),
            status: self.status,
        }
    }
}

fn parse_outcome(text: &str) -> Result<Outcome, String> {
    let names = || Outcome::ALL.map(Outcome::name).join(", ");
    let found = Outcome::ALL.into_iter().find(|outcome| outcome.name() == text);
    found.ok_or_else(|| format!("no such outcome; there are {}", names()))
}

fn parse_time(text: &str) -> Result<Wall, String> {
    parse_time_at(text, clock::wall())
}

fn parse_time_at(text: &str, now: Wall) -> Result<Wall, String> {
    if let Some(ago) = parse_ago(text) {
        return Ok(now.saturating_sub(ago));
    }
    let day = text.parse::<jiff::civil::Date>().ok().filter(|_| text.len() == 10);
    let day = day.and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC).ok()).map(|zoned| zoned.timestamp());
    let time = day.map_or_else(|| text.parse::<jiff::Timestamp>(), Ok);
    let time =
        time.map_err(|_| "write a time as 15m, 24h or 7d (ago), 2026-11-21 or 2026-11-21T08:00:00Z")?;
    Ok(Wall::try_from(time.as_microsecond()).unwrap_or(0))
}

/// Microseconds of `15m` and the like.
fn parse_ago(text: &str) -> Option<u64> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(seconds * 1_000_000)
}

/// A store for the tests of all commands: two exchanges of Ann's session, one refused one of Bob's.
#[cfg(test)]
pub(super) mod sample {
    use bytes::Bytes;

    use crate::base::id::ExchangeId;
    use crate::base::ring;
    use crate::llm::reading::ToolUse;
    use crate::record::record::{BodyKind, CapturePart, CaptureState, FaultNote, Note, Outcome, Record};
    use crate::record::writer::{Options, Writer};

    pub(in crate::cli) const AT: u64 = 1_700_000_000_000_000;

    pub(in crate::cli) fn id(n: u64) -> ExchangeId {
        ExchangeId::new(AT, 0, 1, n)
    }

    pub(in crate::cli) fn store() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let (mut producer, consumer) = ring::lanes(64, 64, 1 << 20);
        let options = Options { socket: false, ..Options::default() };
        let mut writer = Writer::open(dir.path(), vec![consumer], options).unwrap();
        for n in 0..3 {
            for (kind, text) in
                [(BodyKind::Request, "{\"ask\":1}"), (BodyKind::Response, "\u{1f}\u{fffd}gzip")]
            {
                let bytes = Bytes::from(text.as_bytes()[..text.len() - n % 2].to_vec());
                let len = bytes.len();
                producer.capture(CapturePart { id: id(n as u64), kind, bytes }, len).unwrap();
            }
            producer.note(Note::Close(Box::new(record(n as u64)))).unwrap();
        }
        writer.finish();
        dir
    }

    fn record(n: u64) -> Record {
        let mut record = Record { id: id(n), capture: CaptureState::Full, ..Record::default() };
        record.times.accepted_at_us = AT + n * 1_000_000;
        record.times.last_byte_us = 1_234_000;
        record.provider = "acme".to_owned();
        record.method = "POST".to_owned();
        record.path = "/v1/messages".to_owned();
        record.ask.model = Some("sonnet".to_owned());
        if n == 2 {
            record.who.principal = "bob".to_owned();
            record.outcome = Outcome::Refused;
            record.status = 403;
            record.fault = Some(FaultNote { kind: "no_grant".to_owned(), ..FaultNote::default() });
            return record;
        }
        record.who.principal = "ann".to_owned();
        record.caller.agent = "claude-code".to_owned();
        record.caller.session = "s-1".to_owned();
        record.outcome = Outcome::Ok;
        record.status = 200;
        record.reading.model = Some("sonnet-4".to_owned());
        record.reading.usage.input_tokens = Some(1_200);
        record.reading.usage.output_tokens = Some(30);
        record.reading.tool_uses = vec![ToolUse {
            name: "Bash".to_owned(),
            arguments: "{\"cmd\":\"ls\"}".to_owned(),
            ..ToolUse::default()
        }];
        record
    }

    /// What a command printed.
    pub(in crate::cli) fn printed(run: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        run(&mut out);
        String::from_utf8(out).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let now = 1_700_000_000_000_000;
        assert_eq!(parse_time_at("15m", now), Ok(now - 900_000_000));
        assert_eq!(parse_time_at("2w", now), Ok(now - 1_209_600_000_000));
        assert_eq!(parse_time_at("2023-11-14", now), Ok(1_699_920_000_000_000));
        assert_eq!(parse_time_at("2023-11-14T22:13:20Z", now), Ok(now));
        assert_eq!(parse_time_at("2023-11-14T23:13:20+01:00", now), Ok(now));
        for wrong in ["", "m", "15", "15y", "yesterday", "99999999999999999w", "é"] {
            assert!(parse_time_at(wrong, now).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_unknown_outcome_lists_those_there_are() {
        assert_eq!(parse_outcome("client_gone"), Ok(Outcome::ClientGone));
        assert!(parse_outcome("fine").unwrap_err().contains("ok, refused, provider_error"));
    }
}
