//! `weir explain`: which rule allows or refuses, and why.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::check::LoadingArgs;
use super::out;
use super::socket::Socket;
use super::source::DataArgs;
use crate::config::{Loaded, Options, embedded};
use crate::llm::dialect::paths::Flag;
use crate::policy::explain::{Explanation, Question, somebody};

/// Say why somebody may, or may not, use a model.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  weir explain --config weir.hujson --as alice@example.com --model claude-opus-4
  weir explain --config weir.hujson --as tag:ci --group eng --model gpt-4o --provider azure
  weir explain --config weir.hujson --as key:nightly --model gpt-4o --json
  weir explain --config weir.hujson --as alice@example.com --model gpt-4o --tool Bash --agent codex
  weir explain --as \"$USER\" --model claude-opus-4    # without a file: by what is in force in the gateway that
                                                    # runs over --data; without one, by the embedded default

A running gateway notes the question in its audit log.

Exit code: 0 allowed, 1 refused, 2 the file is refused or unreadable, or the gateway gives no answer.")]
pub struct ExplainArgs {
    /// Who: a login, tag:x (or several, with commas), key:x, a spiffe:// id.
    #[arg(long = "as", value_name = "WHO")]
    pub who: String,
    /// A group its identity source brings; repeat for several.
    #[arg(long, value_name = "GROUP")]
    pub group: Vec<String>,
    /// It connects from this machine.
    #[arg(long)]
    pub loopback: bool,
    /// The model asked for.
    #[arg(long)]
    pub model: Option<String>,
    /// The provider meant, as in PROVIDER/MODEL.
    #[arg(long, requires = "model")]
    pub provider: Option<String>,
    /// A tool that the model may want to call: which rule lets it.
    #[arg(long)]
    pub tool: Option<String>,
    /// The program that asks: which budgets its requests draw on.
    #[arg(long)]
    pub agent: Option<String>,
    /// Compatibility flag that opens the endpoint; every one that a provider has where absent.
    #[arg(long, value_parser = PossibleValuesParser::new(Flag::ALL.iter().map(|flag| flag.name())))]
    pub flag: Option<String>,
    /// The configuration; without it, what is in force in the running gateway, or the embedded default.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the running gateway is found.
    #[command(flatten)]
    pub data: DataArgs,
    /// One JSON object a flag instead of words.
    #[arg(long)]
    pub json: bool,
    /// How the file is loaded.
    #[command(flatten)]
    pub loading: LoadingArgs,
}

/// Run the command.
#[must_use]
pub fn run(args: &ExplainArgs) -> ExitCode {
    let answers = match answers(args) {
        Ok(answers) => answers,
        Err(why) => {
            eprintln!("weir explain: {why}");
            return ExitCode::from(2);
        }
    };
    for answer in &answers {
        match args.json {
            true => out::line(serde_json::json!(answer)),
            false => out::line(format_args!("{}: {}", answer.flag, answer.to_string().trim_end())),
        }
    }
    let allowed = answers.iter().any(|answer| answer.allowed);
    if allowed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// From the file that is named; else from the gateway that runs; else from the embedded default.
pub fn answers(args: &ExplainArgs) -> Result<Vec<Explanation>, String> {
    let question = Question {
        who: somebody(&args.who, &args.group, args.loopback),
        model: args.model.clone(),
        provider: args.provider.clone(),
        tool: args.tool.clone(),
        agent: args.agent.clone(),
        discreet: false,
        flag: args.flag.as_deref().and_then(Flag::from_name),
    };
    if args.config.is_none()
        && let Some(gateway) = Socket::open(&args.data.data)
    {
        return gateway.explain(&args.who, &question).map_err(|why| why.to_string());
    }
    Ok(question.answers(&load(args)?.snapshot))
}

fn load(args: &ExplainArgs) -> Result<Loaded, String> {
    match &args.config {
        Some(file) => args.loading.look_at(file),
        None => Ok(embedded(&|name| std::env::var(name).ok(), &Options::default())),
    }
}
