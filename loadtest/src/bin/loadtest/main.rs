//! `loadtest`: a synthetic provider, a relay that is the floor, a client of thousands of checked streams, and the
//! comparison of gateways by the processor time they take.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a load generator shares nothing with weir's clock: it sleeps, reads time and drives sockets itself"
)]

mod bench;
mod relay;
mod rig;
mod run;

use std::net::ToSocketAddrs;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use loadtest::Knobs;

use rig::{Rig, Server};

#[derive(Parser)]
#[command(name = "loadtest", version, about, long_about = None, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A synthetic provider: the dialects of Anthropic, OpenAI, Google, AWS and Ollama, thousands of paced streams on one core
    #[command(after_help = PROVIDER_EXAMPLES)]
    Provider(ProviderArgs),
    /// The floor: a TCP relay on one thread, one recv and one send for each piece, nothing parsed
    #[command(after_help = "Example:\n  loadtest relay --listen 127.0.0.1:9001 --to 127.0.0.1:9000")]
    Relay(RelayArgs),
    /// Many paced streams through a gateway, every byte checked, added delay measured
    #[command(after_help = run::EXAMPLES)]
    Run(run::RunArgs),
    /// A fleet of agents with growing histories and tool calls
    #[command(after_help = "Example:\n  loadtest fleet --url http://127.0.0.1:4141 --agents 12 --seconds 60")]
    Fleet(FleetArgs),
    /// Processor time of gateways for each event and request, as ratios within one run
    #[command(after_help = bench::EXAMPLES)]
    Bench(bench::BenchArgs),
}

const EXAMPLES: &str = "Examples:
  loadtest provider --listen 127.0.0.1:9000 --knobs events=50,delay_ms=20
  loadtest run --url http://127.0.0.1:4141 --streams 2000 --seconds 60 --leave-percent 33
  loadtest bench --subjects direct,floor,nginx,weir --weir target/release/weir";

const PROVIDER_EXAMPLES: &str = "Examples:
  loadtest provider --listen 127.0.0.1:9000 --truth truth.ndjson
  loadtest provider --knobs events=200,bytes=150,delay_ms=50,first_ms=100
  curl -N 127.0.0.1:9000/v1/messages -H 'x-synthetic: events=5,fault=truncate@3' \\
    -d '{\"model\":\"m\",\"stream\":true,\"messages\":[]}'

Knobs (also per request, in the header x-synthetic): seed, events, bytes, delay_ms, first_ms, tools, thinking, stream,
blind, stamp, retry_after, join, apart, chunk, split, split_ms, close, interim, head_ms, slow_head_ms, gzip,
fault=reset@N|stall@N|truncate@N|badchunk@N|error@N|close|garbage|429|500|529|...

Paths: /v1/messages, /v1/chat/completions, /v1/responses (and by id, input_tokens, compact), /v1/completions,
/v1/embeddings, /v1/moderations, /v1/models; …/models/M:generateContent and its kin, also under Vertex, where Claude is
rawPredict; /model/M/converse and invoke with their streams, signed (AKIAIOSFODNN7EXAMPLE of AWS's documentation) or
with a bearer key; /api/chat, /api/generate, /api/embed, /api/tags; a Google token endpoint at …/token";

#[derive(Args)]
struct ProviderArgs {
    /// Address to listen on; port 0 takes a free one and says which
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: String,
    /// Knobs for every request, parted by commas
    #[arg(long, default_value = "", value_parser = knobs)]
    knobs: Knobs,
    /// Write what was really served here, a JSON object a line
    #[arg(long)]
    truth: Option<std::path::PathBuf>,
    /// End after this many seconds
    #[arg(long)]
    seconds: Option<u64>,
}

#[derive(Args)]
struct RelayArgs {
    #[arg(long, default_value = "127.0.0.1:9001")]
    listen: String,
    #[arg(long)]
    to: String,
}

#[derive(Args)]
struct FleetArgs {
    /// The gateway, or the provider itself
    #[arg(long)]
    url: String,
    #[arg(long, default_value_t = 6)]
    agents: usize,
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Mean pause before a user's next message, in ms
    #[arg(long, default_value_t = 800)]
    thinking: u64,
    /// One turn in that many is left midway
    #[arg(long, default_value_t = 0)]
    leave_one_in: u64,
    /// Sent as the vendor's credential
    #[arg(long, default_value = "synthetic")]
    credential: String,
    /// The knobs the provider was started with, to know what it answers
    #[arg(long, default_value = "", value_parser = knobs)]
    knobs: Knobs,
}

fn knobs(text: &str) -> Result<Knobs, String> {
    text.parse()
}

fn main() -> ExitCode {
    rig::raise_descriptor_limit();
    let done = match Cli::parse().command {
        Command::Provider(args) => provider(args).map(|()| true),
        Command::Relay(args) => relay(&args).map(|()| true),
        Command::Run(args) => run::run(&args),
        Command::Fleet(args) => fleet(&args),
        Command::Bench(args) => bench::bench(&args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("loadtest: {error}");
            ExitCode::from(2)
        }
    }
}

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn provider(args: ProviderArgs) -> Outcome<()> {
    let truth = args.truth.map(std::fs::File::create).transpose()?;
    let server = Server::bind(&args.listen, args.knobs, truth)?;
    println!("provider on http://{}", server.addr);
    let mut rig = Rig::new()?;
    rig.serve(server)?;
    let end = args.seconds.map(Duration::from_secs);
    let (mut now, second) = (Duration::ZERO, Duration::from_secs(1));
    while end.is_none_or(|end| now < end) {
        rig.run(second, |_| false)?;
        now += second;
    }
    if let Some(server) = &rig.server {
        println!("{} requests begun, {} ended, {} left by the peer", server.begun, server.ended, server.gone);
    }
    Ok(())
}

fn relay(args: &RelayArgs) -> Outcome<()> {
    let to = args.to.to_socket_addrs()?.next().ok_or("no address to relay to")?;
    let relay = relay::Relay::bind(&args.listen, to)?;
    println!("relay on {} to {to}", relay.addr()?);
    Ok(relay.run()?)
}

fn fleet(args: &FleetArgs) -> Outcome<bool> {
    let mut fleet = loadtest::Fleet::new(&args.url)?;
    (fleet.agents, fleet.threads) = (args.agents, args.agents.min(256));
    (fleet.lasting, fleet.thinking) =
        (Duration::from_secs(args.seconds), Duration::from_millis(args.thinking));
    (fleet.leave_one_in, fleet.credential) = (args.leave_one_in, args.credential.clone());
    fleet.server = args.knobs.clone();
    let totals = fleet.run(&std::sync::atomic::AtomicBool::new(false), |t| {
        eprint!(
            "\r{} turns, {} tool calls, {} tokens out, {} errors ",
            t.turns, t.tool_calls, t.tokens_out, t.errors
        );
    });
    eprintln!();
    println!("{totals:#?}");
    Ok(totals.errors == 0 && totals.mismatches == 0)
}
