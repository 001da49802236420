//! What the provider does with a request: one setting for the server, overridden per request by the header
//! `x-synthetic: events=200,bytes=120,delay_ms=50,fault=reset@10`.

use std::time::Duration;

/// Each knob as it is written in a header or on the command line; `None` leaves the choice to the request's hash.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Knobs {
    /// `seed=N`: content no longer depends on the body's bytes.
    pub seed: Option<u64>,
    /// `events=N`: text events of a stream.
    pub events: Option<u64>,
    /// `bytes=N`: size of one text event on the wire (of the whole body when not streaming).
    pub bytes: Option<usize>,
    /// `delay_ms=N`: between events, on a schedule from the first (no drift when a write is slow).
    pub delay: Duration,
    /// `first_ms=N`: from the head to the first event (to the head when not streaming).
    pub first: Duration,
    /// `tools=N`: calls in the answer whatever the request holds; 0 for none.
    pub tools: Option<u32>,
    /// `thinking=1`: a thought before the text, with its signature or tokens, in dialects that have such.
    pub thinking: bool,
    /// `stream=0|1`: whatever the body says.
    pub stream: Option<bool>,
    /// `blind=1`: the body is not looked into (benchmarks): model `synthetic`, seed 0 unless given, no tools.
    pub blind: bool,
    /// `stamp=1`: each text event begins with `@` and its nineteen-digit send time in ns.
    pub stamp: bool,
    /// `fault=NAME` or `fault=NAME@EVENTS`.
    pub fault: Option<Fault>,
    /// `retry_after=N`: seconds, with fault statuses.
    pub retry_after: Option<u32>,
    /// `join=N`: events gather to N bytes, then go out as one write holding one chunk.
    pub join: usize,
    /// `apart=1`: joined events keep a chunk each.
    pub apart: bool,
    /// `chunk=N`: no chunk holds more payload than this.
    pub chunk: usize,
    /// `split=N`: no write is longer than this.
    pub split: usize,
    /// `split_ms=N`: between such writes.
    pub split_pause: Duration,
    /// `close=1`: the body is delimited by the end of the connection.
    pub close: bool,
    /// `interim=1`: a 103 before the final head.
    pub interim: bool,
    /// `head_ms=N`: before the head.
    pub head: Duration,
    /// `slow_head_ms=N`: the head comes in eight pieces with this between them.
    pub slow_head: Duration,
    /// `manual=1`: text events go out only as the rig is told (a thread per connection holds them for ever).
    pub manual: bool,
    /// `gzip=1`: answers go out gzipped, each event flushed, to clients that accept it.
    pub gzip: bool,
    /// `keep=1`: the truth log keeps request bodies.
    pub keep: bool,
}

/// How an exchange goes wrong. The number is how many events go out before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// RST.
    Reset(u64),
    /// Silence until the peer goes.
    Stall(u64),
    /// The connection ends cleanly before the body does.
    Truncate(u64),
    /// A chunk size that is none.
    BadChunk(u64),
    /// An error event inside the 200, then a proper end.
    Error(u64),
    /// The connection ends before any head.
    Close,
    /// Bytes that are not HTTP.
    Garbage,
    Status(u16),
}

impl Fault {
    pub fn name(&self) -> &'static str {
        match self {
            Fault::Reset(_) => "reset",
            Fault::Stall(_) => "stall",
            Fault::Truncate(_) => "truncate",
            Fault::BadChunk(_) => "badchunk",
            Fault::Error(_) => "error",
            Fault::Close => "close",
            Fault::Garbage => "garbage",
            Fault::Status(_) => "status",
        }
    }

    fn parse(text: &str) -> Result<Fault, String> {
        let (name, after) = text.split_once('@').unwrap_or((text, "3"));
        let after = number(name, after)?;
        Ok(match name {
            "reset" => Fault::Reset(after),
            "stall" => Fault::Stall(after),
            "truncate" => Fault::Truncate(after),
            "badchunk" => Fault::BadChunk(after),
            "error" => Fault::Error(after),
            "close" => Fault::Close,
            "garbage" => Fault::Garbage,
            status => match status.parse() {
                Ok(status @ 400..600) => Fault::Status(status),
                _ => return Err(format!("unknown fault {name:?}")),
            },
        })
    }
}

impl Knobs {
    /// For tests and constants.
    ///
    /// # Panics
    /// If `text` does not parse.
    pub fn of(text: &str) -> Knobs {
        Knobs::default().with(text).expect("knobs")
    }

    /// These knobs with those of `text` (`name=value`, parted by commas) turned.
    pub fn with(mut self, text: &str) -> Result<Knobs, String> {
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, "1"));
            self.turn(name.trim(), value.trim())?;
        }
        Ok(self)
    }

    /// These knobs with those of a request's `x-synthetic`, if it has one. A mistake in it is answered with 400: a test
    /// that misspells a knob must not pass.
    pub fn overridden(&self, header: Option<&str>) -> Knobs {
        let own = header.map_or_else(|| Ok(self.clone()), |text| self.clone().with(text));
        own.unwrap_or_else(|_| Knobs { fault: Some(Fault::Status(400)), ..self.clone() })
    }

    /// As [`Knobs::overridden`], for a request that arrives with these fields.
    pub fn of_request<'a>(&self, field: impl Fn(&str) -> Option<&'a str>) -> Knobs {
        let mut knobs = self.overridden(field("x-synthetic"));
        let codings = field("accept-encoding").unwrap_or("").split(',');
        knobs.gzip &=
            codings.map(|coding| coding.split(';').next().unwrap_or("").trim()).any(|c| c == "gzip");
        knobs
    }

    fn turn(&mut self, name: &str, value: &str) -> Result<(), String> {
        let count = || number(name, value);
        let size = || count().map(|n| n as usize);
        let ms = || count().map(Duration::from_millis);
        match name {
            "seed" => self.seed = Some(count()?),
            "events" => self.events = Some(count()?),
            "bytes" => self.bytes = Some(size()?),
            "delay_ms" => self.delay = ms()?,
            "first_ms" => self.first = ms()?,
            "tools" | "tool" => self.tools = Some(count()?.min(64) as u32),
            "thinking" => self.thinking = count()? > 0,
            "stream" => self.stream = Some(count()? > 0),
            "blind" => self.blind = count()? > 0,
            "stamp" => self.stamp = count()? > 0,
            "fault" => self.fault = if value == "none" { None } else { Some(Fault::parse(value)?) },
            "retry_after" => self.retry_after = Some(count()?.min(86_400) as u32),
            "join" => self.join = size()?,
            "apart" => self.apart = count()? > 0,
            "chunk" => self.chunk = size()?,
            "split" => self.split = size()?,
            "split_ms" => self.split_pause = ms()?,
            "close" => self.close = count()? > 0,
            "interim" => self.interim = count()? > 0,
            "head_ms" => self.head = ms()?,
            "slow_head_ms" => self.slow_head = ms()?,
            "manual" => self.manual = count()? > 0,
            "gzip" => self.gzip = count()? > 0,
            "keep" => self.keep = count()? > 0,
            _ => return Err(format!("unknown knob {name:?}")),
        }
        Ok(())
    }
}

impl std::str::FromStr for Knobs {
    type Err = String;

    fn from_str(text: &str) -> Result<Knobs, String> {
        Knobs::default().with(text)
    }
}

fn number(name: &str, value: &str) -> Result<u64, String> {
    // Bounded so that no sum of knobs overflows a schedule.
    match value.parse::<u64>() {
        Ok(n) if name == "seed" || n <= 1 << 40 => Ok(n),
        _ => Err(format!("{name}: {value:?} is not a number in range")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_over_server() {
        let server = Knobs::of("events=5,delay_ms=50");
        let knobs = server.with("delay_ms=0, fault=reset@10,tool=1").expect("valid");
        assert_eq!((knobs.events, knobs.delay), (Some(5), Duration::ZERO));
        assert_eq!((knobs.fault, knobs.tools), (Some(Fault::Reset(10)), Some(1)));
    }

    #[test]
    fn mistakes_are_told() {
        for bad in ["evnets=1", "events=x", "fault=melt", "fault=700", "delay_ms=99999999999999999"] {
            assert!(bad.parse::<Knobs>().is_err(), "{bad}");
            assert_eq!(Knobs::default().overridden(Some(bad)).fault, Some(Fault::Status(400)));
        }
    }
}
