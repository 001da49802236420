//! Commands, one file each.

pub mod check;
pub mod demo;
pub mod doctor;
pub mod explain;
pub mod key;
pub mod link;
mod out;
pub mod prices;
pub mod quota;
pub mod requests;
pub mod schema;
mod serve;
pub mod sessions;
pub mod setup;
pub mod show;
pub mod socket;
pub mod source;
mod stage;
pub mod table;
pub mod tail;
pub mod tools;
pub mod usage;
pub mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A gateway between AI agents and model providers: forwards every stream untouched, knows who is asking, counts what
/// passes, keeps an account that can be trusted.
#[derive(Parser)]
#[command(name = "weir", version, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  weir demo                         watch it work: a built-in provider and a small fleet of agents, no keys needed
  weir serve                        gateway on 127.0.0.1:8080, providers from ANTHROPIC_API_KEY, OPENAI_API_KEY
  weir setup claude-code --write    point Claude Code at it
  weir tail                         exchanges as they end
  weir usage --by model --since 24h tokens and money by model
  weir prices claude-opus-5-5       what it costs, by whose list
  weir doctor                       prove that streams, headers, tool calls and counts survive
";

#[derive(Subcommand)]
enum Command {
    /// Run the gateway
    Serve(serve::Serve),
    /// A gateway, a built-in provider and a small fleet of agents, to watch
    Demo(demo::DemoArgs),
    /// Point a client program (Claude Code, Codex, Gemini CLI, opencode) at the gateway
    Setup(setup::SetupArgs),
    /// Does streaming arrive unbuffered, do headers and tool arguments survive, do counts match
    Doctor(doctor::DoctorArgs),
    /// Another one-time link to the dashboard as admin
    Link(link::LinkArgs),
    /// Check a configuration file: every warning and error with its place
    Check(check::CheckArgs),
    /// Say which rule allows or refuses a request, and why
    Explain(explain::ExplainArgs),
    /// Totals: exchanges, tokens, tools, by model, agent, person, …
    Usage(usage::UsageArgs),
    /// What models cost, by which list, of which day
    Prices(prices::PricesArgs),
    /// The last exchanges
    Requests(requests::RequestsArgs),
    /// One exchange: its record and bodies
    Show(show::ShowArgs),
    /// Exchanges as they are recorded
    Tail(tail::TailArgs),
    /// Agent sessions
    Sessions(sessions::SessionsArgs),
    /// Tool calls
    Tools(tools::ToolsArgs),
    /// Quotas: what buckets hold; refill one
    Quota(quota::QuotaArgs),
    /// Walk the store: checksums, sequence gaps, torn tails
    Verify(verify::VerifyArgs),
    /// Mint, list and revoke keys of this gateway
    Key(key::KeyArgs),
    /// Print the JSON Schema of the configuration file
    Schema(schema::SchemaArgs),
}

/// Parse arguments and run the command.
#[must_use]
pub fn run() -> ExitCode {
    let mut out = std::io::stdout().lock();
    let told = match Cli::parse().command {
        Command::Usage(args) => listed(args.run(&mut out)),
        Command::Prices(args) => listed(args.run(&mut out)),
        Command::Requests(args) => listed(args.run(&mut out)),
        Command::Show(args) => listed(args.run(&mut out)),
        Command::Tail(args) => listed(args.run(&mut out)),
        Command::Sessions(args) => listed(args.run(&mut out)),
        Command::Quota(args) => args.run(&mut out).map_err(Failure::from),
        Command::Tools(args) => listed(args.run(&mut out)),
        Command::Verify(args) => match args.run(&mut out) {
            Ok(false) => return ExitCode::FAILURE,
            told => told.map(drop).map_err(Failure::from),
        },
        Command::Setup(args) => args.run(&mut out),
        Command::Link(args) => args.run(&mut out).map_err(Failure::from),
        Command::Doctor(args) => match args.run(&mut out) {
            Ok(false) => return ExitCode::FAILURE,
            told => told.map(drop),
        },
        Command::Demo(args) => args.run(&mut out),
        Command::Serve(serve) => serve.run(),
        Command::Check(args) => return check::run(&args),
        Command::Explain(args) => return explain::run(&args),
        Command::Key(args) => return key::run(&args),
        Command::Schema(args) => return schema::run(&args),
    };
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("weir: {why}");
            ExitCode::FAILURE
        }
    }
}

/// A list that its reader left, as `head` does, is no failure; what says by its exit code how things stand never passes here.
fn listed(told: std::io::Result<()>) -> Result<(), Failure> {
    match told {
        Err(why) if why.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        told => told.map_err(Failure::from),
    }
}

/// Why a command failed, for a person.
type Failure = Box<dyn std::error::Error>;

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::listed;

    #[test]
    fn a_list_may_be_left_and_fails_otherwise() {
        assert!(listed(Ok(())).is_ok());
        assert!(listed(Err(ErrorKind::BrokenPipe.into())).is_ok());
        assert_eq!(listed(Err(Error::other("no store"))).unwrap_err().to_string(), "no store");
    }
}
