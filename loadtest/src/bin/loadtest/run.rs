//! Paced streams through a gateway: what arrives, whether it is right, and how late.

use std::fmt::Write;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use loadtest::clock::stamp_ns;
use loadtest::http::mix;
use loadtest::{Answer, Knobs};

use crate::Outcome;
use crate::rig::{Load, Offer, Rig, Server};

pub(crate) const EXAMPLES: &str = "Examples:
  loadtest run --url http://127.0.0.1:4141 --streams 1000 --delay-ms 50 --seconds 30
  loadtest run --url http://127.0.0.1:4141 --streams 2000 --leave-percent 33 --events 200 --seconds 60 --json
  loadtest run --provider 127.0.0.1:9000 --url http://127.0.0.1:4141 --streams 500

With --provider the provider runs on the same thread, at that address, for the gateway to forward to; otherwise one
must be running behind the gateway. The exit code is 1 if a byte was wrong or an exchange failed.";

#[derive(Args)]
pub(crate) struct RunArgs {
    /// The gateway under test
    #[arg(long)]
    url: String,
    /// Also be the provider, here
    #[arg(long)]
    provider: Option<String>,
    /// Where the provider writes what it really served (with --provider)
    #[arg(long, requires = "provider")]
    truth: Option<std::path::PathBuf>,
    /// Streams at once
    #[arg(long, default_value_t = 1000)]
    streams: usize,
    /// Events of each exchange; when one ends the next begins on the same connection
    #[arg(long, default_value_t = 200)]
    events: u64,
    /// Bytes of each event
    #[arg(long, default_value_t = 200)]
    bytes: usize,
    /// Between the events of a stream, in ms
    #[arg(long, default_value_t = 50)]
    delay_ms: u64,
    /// How long to go on beginning exchanges; those under way are then finished
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Connections opened a second at the start
    #[arg(long, default_value_t = 500.0)]
    ramp: f64,
    /// Of a hundred exchanges, how many are left midway
    #[arg(long, default_value_t = 0)]
    leave_percent: u64,
    /// Size of each request's body
    #[arg(long, default_value_t = 2000)]
    request_bytes: usize,
    /// messages or chat
    #[arg(long, default_value = "messages", value_parser = ["messages", "chat"])]
    dialect: String,
    /// Sent as the vendor's credential
    #[arg(long, default_value = "synthetic")]
    credential: String,
    /// Further knobs for each request
    #[arg(long, default_value = "")]
    knobs: String,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// One JSON object instead of words
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &RunArgs) -> Outcome<bool> {
    let (addr, prefix) = target(&args.url)?;
    let knobs = format!(
        "blind=1,stamp=1,events={},bytes={},delay_ms={}{}{}",
        args.events,
        args.bytes,
        args.delay_ms,
        if args.knobs.is_empty() { "" } else { "," },
        args.knobs
    );
    let chat = args.dialect == "chat";
    let bodies = (0..16).map(|i| Arc::new(body(args.request_bytes, mix(args.seed + i), true))).collect();
    let mut offer = offer(addr, &prefix, chat, &knobs, &args.credential, bodies)?;
    offer.slots = args.streams;
    offer.ramp = args.ramp.max(1.0);
    (offer.leave_percent, offer.leave_within) = (args.leave_percent.min(100), args.events);
    offer.seed = args.seed;

    let mut rig = Rig::new()?;
    if let Some(listen) = &args.provider {
        let truth = args.truth.as_ref().map(std::fs::File::create).transpose()?;
        rig.serve(Server::bind(listen, Knobs::default(), truth)?)?;
    }
    rig.load = Some(Load::new(offer));
    let start = stamp_ns();
    let mut said = start;
    let mut progress = |rig: &mut Rig| {
        if let (false, Some(load), true) = (args.json, &rig.load, stamp_ns() - said > 1_000_000_000) {
            said = stamp_ns();
            let seen = &load.seen;
            eprint!(
                "\r{} open, {} events, {} exchanges, {} errors ",
                seen.open, seen.events, seen.exchanges, seen.errors
            );
        }
    };
    rig.run(Duration::from_secs(args.seconds), |rig| {
        progress(rig);
        false
    })?;
    if let Some(load) = &mut rig.load {
        load.draining = true;
    }
    let rest = Duration::from_millis(args.delay_ms * (args.events + 50)) + Duration::from_secs(10);
    rig.run(rest, |rig| {
        progress(rig);
        rig.load.as_ref().is_none_or(|load| load.busy() == 0)
    })?;
    let took = (stamp_ns() - start) as f64 / 1e9;
    finish(args, rig, took)
}

fn finish(args: &RunArgs, mut rig: Rig, took: f64) -> Outcome<bool> {
    let Some(load) = rig.load.take() else { return Ok(false) };
    let (seen, unfinished, delays) = (load.seen.clone(), load.busy(), load.delays.clone());
    drop(load);
    // Those who left are to be noticed by the provider behind the gateway, too.
    rig.run(Duration::from_secs(5), |rig| rig.server.as_ref().is_none_or(|s| s.begun == s.ended))?;
    let ms = |part: f64| delays.quantile(part) as f64 / 1e6;
    let good = seen.errors == 0 && seen.mismatches == 0 && unfinished == 0;
    let served = rig.server.as_ref().map_or_else(String::new, |server| {
        format!(
            ",\"provider\":{{\"begun\":{},\"ended\":{},\"left_by_peer\":{},\"events\":{},\"open\":{}}}",
            server.begun, server.ended, server.gone, server.events, server.open
        )
    });
    let complaints: Vec<String> = seen.complaints.iter().map(|c| loadtest::json::quote(c)).collect();
    let report = format!(
        "{{\"good\":{good},\"seconds\":{took:.3},\"streams\":{},\"exchanges\":{},\"left\":{},\"events\":{},\
         \"body_bytes\":{},\"reads\":{},\"errors\":{},\"mismatches\":{},\"unfinished\":{unfinished},\
         \"delay_ms\":{{\"p50\":{:.3},\"p90\":{:.3},\"p99\":{:.3},\"p999\":{:.3},\"max\":{:.3}}}{served},\
         \"complaints\":[{}]}}",
        args.streams,
        seen.exchanges,
        seen.left,
        seen.events,
        seen.body_bytes,
        seen.reads,
        seen.errors,
        seen.mismatches,
        ms(0.5),
        ms(0.9),
        ms(0.99),
        ms(0.999),
        delays.max() as f64 / 1e6,
        complaints.join(",")
    );
    if args.json {
        println!("{report}");
        return Ok(good);
    }
    eprintln!();
    println!(
        "{} exchanges whole, {} left midway, {unfinished} unfinished, {} errors, {} wrong, in {took:.1} s",
        seen.exchanges, seen.left, seen.errors, seen.mismatches
    );
    println!("{} events, {} bytes, each compared", seen.events, seen.body_bytes);
    println!("send to arrival: p50 {:.3} ms, p99 {:.3} ms, p99.9 {:.3} ms", ms(0.5), ms(0.99), ms(0.999));
    if let Some(server) = &rig.server {
        println!(
            "provider: {} begun, {} ended, {} left by the peer",
            server.begun, server.ended, server.gone
        );
    }
    seen.complaints.iter().for_each(|c| println!("  {c}"));
    Ok(good)
}

/// Address and path prefix of a base URL.
fn target(url: &str) -> Outcome<(std::net::SocketAddr, String)> {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (host, prefix) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let addr = host.to_socket_addrs()?.next().ok_or("the host has no address")?;
    Ok((addr, prefix.trim_end_matches('/').to_owned()))
}

/// The offer every run and benchmark begins from: one slot, repeating, nobody leaves.
pub(crate) fn offer(
    addr: std::net::SocketAddr,
    prefix: &str,
    chat: bool,
    knobs: &str,
    credential: &str,
    bodies: Vec<Arc<Vec<u8>>>,
) -> Outcome<Offer> {
    let path = if chat { "/v1/chat/completions" } else { "/v1/messages" };
    let parsed = knobs.parse::<Knobs>()?;
    let accept = if parsed.gzip { "accept-encoding: gzip\r\n" } else { "" };
    let answer = Answer::new("POST", path, &bodies[0], &parsed);
    let credential = match chat {
        true => format!("authorization: Bearer {credential}"),
        false => format!("x-api-key: {credential}\r\nanthropic-version: 2023-06-01"),
    };
    Ok(Offer {
        addr,
        head: format!(
            "POST {prefix}{path} HTTP/1.1\r\nhost: {addr}\r\nuser-agent: loadtest\r\ncontent-type: application/json\r\n\
             accept: */*\r\n{accept}{credential}\r\nx-synthetic: {knobs}\r\n"
        ),
        bodies,
        answer: Arc::new(answer),
        slots: 1,
        ramp: 1e9,
        repeat: true,
        leave_percent: 0,
        leave_within: 1,
        lockstep: 0,
        seed: 1,
    })
}

/// A conversation of exactly that many bytes (if they suffice for its frame), like no other of another seed.
pub(crate) fn body(bytes: usize, seed: u64, stream: bool) -> Vec<u8> {
    let mut text =
        format!("{{\"model\":\"synthetic-large\",\"max_tokens\":32000,\"stream\":{stream},\"messages\":[");
    let end = "\"}]}";
    let mut n = 0;
    loop {
        let role = if n % 2 == 0 { "user" } else { "assistant" };
        // Writing into a String cannot fail.
        _ = write!(text, "{{\"role\":\"{role}\",\"content\":\"");
        let room = bytes.saturating_sub(text.len() + end.len());
        let last = room < 4000;
        for i in 0..(if last { room } else { 3000 }) / 8 {
            _ = write!(text, "{:07x} ", mix(seed ^ (n << 20) ^ i as u64) & 0xfff_ffff);
        }
        if last {
            text.extend(std::iter::repeat_n('.', bytes.saturating_sub(text.len() + end.len())));
            text.push_str(end);
            return text.into_bytes();
        }
        text.push_str("\"},");
        n += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_have_their_size_and_are_json() {
        for bytes in [200, 1_500, 300_000] {
            let body = body(bytes, 5, true);
            assert_eq!(body.len(), bytes);
            let value = loadtest::json::Value::parse(&body).expect("JSON");
            // An odd number of messages: the last one is the user's.
            assert!(!value.field("messages").expect("messages").items().is_empty());
        }
        assert_ne!(body(2_000, 1, true), body(2_000, 2, true));
    }

    #[test]
    fn urls() {
        assert_eq!(target("http://127.0.0.1:80/x/").expect("valid").1, "/x");
        assert!(target("nothing").is_err());
    }
}
