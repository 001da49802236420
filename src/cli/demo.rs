//! `weir demo`: a gateway, a synthetic provider and a small fleet of agents in one process, so that there is something
//! to see in one command. What the store says at the end is held against what the provider served.

use std::io::{self, IsTerminal, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use loadtest::{Fleet, Knobs, Provider, Totals};
use serde::Serialize;

use super::Failure;
use super::stage::{Account, Folder, recorded, served, snapshot_before};
use super::table::{count, duration, short, write_json_line};
use crate::base::clock::{self, Moment};
use crate::record::store::{Filter, Reader};
use crate::server::{Options, Server};

/// The usual port, where it is free.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// How long it runs where nobody watches.
const UNWATCHED: Duration = Duration::from_secs(20);
/// How long it runs for one who watches and never interrupts.
const WATCHED: Duration = Duration::from_secs(7 * 24 * 3600);
const AGENTS_MAX: usize = 256;
/// The pace of a model: a first token, then one event after the other.
const PACE: &str = "first_ms=150,delay_ms=12";
/// Rows of the live view.
const ROWS_SHOWN: u32 = 8;

/// A gateway, a built-in provider and a small fleet of agents, live.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  weir demo                          watch it here, and in a browser at the address it prints
  weir demo --for 20s --json         the totals, for a program
  weir demo --agents 100 --for 1m    more of them
  weir demo --data demo-data         keep the store: weir usage --data demo-data

Without a terminal it ends after 20 s. Exit code 0: every byte was right, and the store agrees with the provider.")]
pub struct DemoArgs {
    /// Address to listen on; without it 127.0.0.1:8080, or a free port where that is taken.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// How long: 20s, 5m, 1h.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_span)]
    pub lasting: Option<Duration>,
    /// Folder of the store; without it a temporary one that is removed at the end.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Agents at work.
    #[arg(long, value_name = "N", default_value_t = 12)]
    pub agents: usize,
    /// The totals as one JSON object.
    #[arg(long)]
    pub json: bool,
}

impl DemoArgs {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let folder = Folder::make(self.data.as_deref())?;
        let provider = Provider::start(Knobs::of(PACE));
        let before = recorded(&folder.path);
        let server = self.start(&provider, &folder.path)?;
        let url = format!("http://{}", server.addresses[0]);
        self.announce(&url, &server);
        let ran = self.live(&provider, &server, &url, &folder.path)?;
        let lost = {
            let health = server.health.clone();
            server.drain();
            health.view().lost_total
        };
        let sums = Sums::of(&ran, &provider, &folder.path, before, lost)?;
        if self.json {
            write_json_line(&sums, out)?
        } else {
            sums.print(out)?
        }
        sums.verdict()
    }

    fn start(&self, provider: &Provider, data: &Path) -> Result<Server, Failure> {
        let options = |listen| Options {
            listen: vec![listen],
            data: data.to_owned(),
            snapshot: Arc::new(snapshot_before(provider.addr)),
            drain_timeout: Duration::from_secs(10),
            ..Options::default()
        };
        if let Some(listen) = self.listen {
            return Ok(Server::start(options(listen))?);
        }
        // Somebody's real gateway may stand on the usual port: the demo steps aside.
        let free = std::net::TcpListener::bind(LISTEN).is_ok();
        let any = SocketAddr::new(LISTEN.ip(), 0);
        Ok(Server::start(options(if free { LISTEN } else { any }))?)
    }

    fn announce(&self, url: &str, server: &Server) {
        eprintln!("dashboard    {url}/ui");
        if let Some(link) = server.admin_link() {
            eprintln!("as admin     {link}  (good once)");
        }
        eprintln!(
            "gateway      {} cores, {}; {} agents before a synthetic provider",
            server.cores,
            server.driver.name(),
            self.agents()
        );
    }

    fn agents(&self) -> usize {
        self.agents.clamp(1, AGENTS_MAX)
    }

    /// The fleet at work, until time is up or somebody interrupts.
    fn live(&self, provider: &Provider, server: &Server, url: &str, data: &Path) -> io::Result<Ran> {
        let watched = io::stderr().is_terminal() && !self.json;
        let mut fleet = Fleet::new(url)?;
        fleet.agents = self.agents();
        fleet.threads = self.agents();
        fleet.lasting = self.lasting.unwrap_or(if watched { WATCHED } else { UNWATCHED });
        fleet.server = provider.knobs();
        let (stop, drain) = (AtomicBool::new(false), server.drain_flag());
        let mut view = View { watched, began: clock::now(), lines: 0, last: clock::now() };
        let mut at_interrupt: Option<Totals> = None;
        let totals = fleet.run(&stop, |totals| {
            if drain.load(Ordering::Relaxed) && at_interrupt.is_none() {
                // From here on connections are refused as they should be: that is no fault of anybody's.
                at_interrupt = Some(totals.clone());
                stop.store(true, Ordering::Relaxed);
            }
            view.show(totals, server, data);
        });
        let errors = at_interrupt.as_ref().map_or(totals.errors, |then| then.errors);
        Ok(Ran { totals, errors, interrupted: at_interrupt.is_some(), took: clock::now().since(view.began) })
    }
}

/// What the agents did.
struct Ran {
    totals: Totals,
    /// Those before an interrupt.
    errors: u64,
    interrupted: bool,
    took: Duration,
}

/// A line or two a second for one who watches.
struct View {
    watched: bool,
    began: Moment,
    last: Moment,
    /// Lines on the screen that the next picture replaces.
    lines: usize,
}

impl View {
    fn show(&mut self, totals: &Totals, server: &Server, data: &Path) {
        let now = clock::now();
        if !self.watched || now.since(self.last) < Duration::from_secs(1) {
            return;
        }
        self.last = now;
        let text = self.picture(totals, server, data);
        // Up to where the last picture began, and clear from there.
        let up = if self.lines > 0 { format!("\x1b[{}A\x1b[J", self.lines) } else { String::new() };
        self.lines = text.lines().count();
        // Without wrapping: a line that took two would put the next picture in the wrong place.
        eprint!("{up}\x1b[?7l{text}\x1b[?7h");
    }

    fn picture(&self, totals: &Totals, server: &Server, data: &Path) -> String {
        let took = clock::now().since(self.began).as_secs().max(1);
        let mut text = format!(
            "\n{took:>4} s   {} turns ({:.1}/s)   {} tool calls   {} tokens out   in flight {}   bytes wrong {}   \
             records lost {}\n\n",
            count(totals.turns),
            totals.turns as f64 / took as f64,
            count(totals.tool_calls),
            count(totals.tokens_out),
            server.in_flight(),
            totals.mismatches,
            server.health.view().lost_total,
        );
        let newest =
            Reader::open(data).and_then(|reader| reader.requests(&Filter::default(), ROWS_SHOWN, None));
        for row in newest.unwrap_or_default() {
            let tokens = |n: Option<u64>| n.map_or("–".into(), count);
            text.push_str(&format!(
                "  {:<14} {:<8} {:<20} in {:>8}  out {:>6}  {:>8}  {}\n",
                short(&row.agent, 14),
                short(&row.session, 8),
                short(row.model.as_deref().unwrap_or(""), 20),
                tokens(row.usage.input_tokens),
                tokens(row.usage.output_tokens),
                duration(row.duration_us),
                short(&row.tools.join(" "), 20),
            ));
        }
        text.push_str("\nCtrl-C ends it\n");
        text
    }
}

/// What the agents counted, what the provider served and what the store kept.
#[derive(Debug, Serialize)]
struct Sums {
    seconds: f64,
    turns: u64,
    side_requests: u64,
    sessions: u64,
    tool_calls: u64,
    events: u64,
    bytes_checked: u64,
    mismatches: u64,
    errors: u64,
    complaints: Vec<String>,
    provider: Account,
    store: Account,
    records_lost: u64,
    agree: bool,
}

impl Sums {
    fn of(ran: &Ran, provider: &Provider, data: &Path, before: Account, lost: u64) -> Result<Sums, Failure> {
        let totals = &ran.totals;
        let (provider, store) = (served(provider), recorded(data).less(&before));
        // An interrupt cuts connections that agents had just made: the provider never saw those exchanges.
        let agree = provider == store || (ran.interrupted && store.exchanges >= provider.exchanges);
        Ok(Sums {
            seconds: (ran.took.as_secs_f64() * 10.0).round() / 10.0,
            turns: totals.turns,
            side_requests: totals.side_requests,
            sessions: totals.sessions,
            tool_calls: totals.tool_calls,
            events: totals.events,
            bytes_checked: totals.response_bytes,
            mismatches: totals.mismatches,
            errors: ran.errors,
            complaints: totals.complaints.clone(),
            agree,
            provider,
            store,
            records_lost: lost,
        })
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let (seen, kept) = (&self.provider, &self.store);
        let mut line = |name: &str, text: String| writeln!(out, "{name:<14} {text}");
        line(
            "turns",
            format!("{} in {} s, {} sessions", count(self.turns), self.seconds, count(self.sessions)),
        )?;
        line("bytes checked", format!("{}, wrong answers {}", count(self.bytes_checked), self.mismatches))?;
        line("exchanges", format!("{} served, {} recorded", count(seen.exchanges), count(kept.exchanges)))?;
        line(
            "tokens in",
            format!("{} served, {} recorded", count(seen.input_tokens), count(kept.input_tokens)),
        )?;
        line("  from cache", pair(seen.cache_read_tokens, kept.cache_read_tokens))?;
        line("tokens out", pair(seen.output_tokens, kept.output_tokens))?;
        line("tool calls", pair(seen.tool_calls, kept.tool_calls))?;
        line("records lost", count(self.records_lost))?;
        self.complaints.iter().try_for_each(|text| line("complaint", text.clone()))
    }

    fn verdict(&self) -> Result<(), Failure> {
        if self.mismatches > 0 || self.errors > 0 {
            return Err(format!("{} wrong answers, {} errors", self.mismatches, self.errors).into());
        }
        if self.records_lost > 0 || !self.agree {
            return Err("the store and the provider do not agree".into());
        }
        Ok(())
    }
}

fn pair(served: u64, recorded: u64) -> String {
    format!("{} served, {} recorded", count(served), count(recorded))
}

fn parse_span(text: &str) -> Result<Duration, String> {
    let wrong = || "write a time as 20s, 5m or 1h".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return Err(wrong()),
    };
    let count: u64 = text.trim_end_matches(unit).parse().map_err(|_| wrong())?;
    count
        .checked_mul(seconds)
        .filter(|n| (1..=WATCHED.as_secs()).contains(n))
        .map(Duration::from_secs)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::store::{Filter, GroupBy, Reader};

    #[test]
    fn spans_are_read_as_people_write_them() {
        assert_eq!(parse_span("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_span("5m"), Ok(Duration::from_secs(300)));
        for wrong in ["", "s", "5", "0s", "5y", "é", "99999999999999999h"] {
            assert!(parse_span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_short_demo_ends_with_books_that_agree() {
        let data = tempfile::tempdir().unwrap();
        let args = DemoArgs {
            listen: Some(SocketAddr::new(LISTEN.ip(), 0)),
            lasting: Some(Duration::from_secs(2)),
            data: Some(data.path().to_owned()),
            agents: 4,
            json: true,
        };
        let mut out = Vec::new();
        args.run(&mut out).unwrap();
        let sums: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert!(sums["store"]["exchanges"].as_u64() > Some(3), "{sums}");
        assert_eq!(sums["store"], sums["provider"]);
        assert_eq!(sums["agree"], true);
        // A folder that was asked for stays, and says what was spent.
        let total = Reader::open(data.path()).unwrap().usage(&Filter::default(), GroupBy::Total).unwrap();
        assert!(total[0].cost.cost_nanodollars > Some(0), "{:?}", total[0].cost);
    }
}
