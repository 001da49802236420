//! `weir explain`: which rule allows or refuses, and why.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::json;

use super::check::{LoadingArgs, NotLoaded};
use super::out;
use crate::config::{Loaded, Options, embedded};
use crate::llm::dialect::paths::Flag;
use crate::policy::decide::{Verdict, Wants};
use crate::policy::explain::{Explanation, Step, explain};
use crate::policy::identity::{Kind, Principal};
use crate::policy::snapshot::Snapshot;

/// Say why somebody may, or may not, use a model.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  weir explain --config weir.hujson --as alice@example.com --model claude-opus-4
  weir explain --config weir.hujson --as tag:ci --group eng --model gpt-4o --provider azure
  weir explain --config weir.hujson --as key:nightly --model gpt-4o --json
  weir explain --as \"$USER\" --model claude-opus-4    # without a file: the embedded default

Exit code: 0 allowed, 1 refused, 2 the file is refused or unreadable.")]
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
    /// Compatibility flag that opens the endpoint; every one that a provider has where absent.
    #[arg(long, value_parser = PossibleValuesParser::new(Flag::ALL.iter().map(|flag| flag.name())))]
    pub flag: Option<String>,
    /// The configuration; without it, the embedded default.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
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
    let loaded = match load(args) {
        Ok(loaded) => loaded,
        Err(why) => {
            eprintln!("weir explain: {why}");
            return ExitCode::from(2);
        }
    };
    let principal = principal(args);
    let mut allowed = false;
    for flag in flags(args, &loaded.snapshot) {
        let wants = Wants::new(flag, args.model.as_deref());
        let explanation = explain(&loaded.snapshot, Some(&principal), wants, args.provider.as_deref());
        allowed |= matches!(explanation.verdict, Verdict::Allow(_));
        match args.json {
            true => out::line(as_json(flag, &explanation)),
            false => out::line(format_args!("{}: {}", flag.name(), explanation.to_string().trim_end())),
        }
    }
    if allowed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn load(args: &ExplainArgs) -> Result<Loaded, String> {
    let Some(file) = &args.config else {
        return Ok(embedded(&|name| std::env::var(name).ok(), &Options::default()));
    };
    // What is not enforced, and what secrets say, does not change who may do what.
    let loading = LoadingArgs { allow_unenforced: true, no_secrets: true, ..args.loading.clone() };
    loading.load(file).map_err(|not| match not {
        NotLoaded::Unreadable(why) => why,
        NotLoaded::Refused(problems) => {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            format!("{} is refused:\n{}", file.display(), lines.join("\n"))
        }
    })
}

/// The principal that the arguments describe.
#[must_use]
pub fn principal(args: &ExplainArgs) -> Principal {
    let who = args.who.as_str();
    let (kind, name) = match who.strip_prefix("key:") {
        Some(name) => (Kind::Key, name.to_owned()),
        None if who.starts_with("tag:") => (Kind::Device, joined(who)),
        None if who.starts_with("spiffe://") => (Kind::Workload, who.to_owned()),
        None => (Kind::User, who.to_owned()),
    };
    let tags = if kind == Kind::Device { name.split(',').map(str::to_owned).collect() } else { Vec::new() };
    // Without a file there is one listener, on this machine, and the kernel vouches.
    let loopback = args.loopback || args.config.is_none();
    let plain = |group: &String| group.strip_prefix("group:").unwrap_or(group).to_owned();
    Principal {
        name,
        kind,
        tags,
        groups: args.group.iter().map(plain).collect(),
        loopback,
        source: if loopback { "peer" } else { "explain" },
        ..Principal::default()
    }
}

/// Tags sorted and joined, as a device's name is.
fn joined(tags: &str) -> String {
    let mut tags: Vec<&str> = tags.split(',').map(str::trim).collect();
    tags.sort_unstable();
    tags.join(",")
}

fn flags(args: &ExplainArgs, snapshot: &Snapshot) -> Vec<Flag> {
    if let Some(flag) = args.flag.as_deref().and_then(Flag::from_name) {
        return vec![flag];
    }
    let mut open: Vec<Flag> =
        snapshot.providers.iter().flat_map(|provider| &provider.flags).copied().collect();
    open.sort_unstable();
    open.dedup();
    if open.is_empty() { vec![Flag::OpenaiChat] } else { open }
}

fn as_json(flag: Flag, explanation: &Explanation) -> serde_json::Value {
    let (allowed, why, providers) = match &explanation.verdict {
        Verdict::Allow(plan) => (true, None, plan.providers.iter().map(|p| p.id.as_str()).collect()),
        Verdict::Deny(why) => (false, Some(why.words()), Vec::new()),
    };
    let step = |step: &Step| {
        let place = step.place.as_ref();
        json!({
            "text": step.text,
            "line": place.map(|place| place.line),
            "column": place.map(|place| place.column),
            "path": place.map(|place| &*place.path),
        })
    };
    json!({
        "flag": flag.name(),
        "allowed": allowed,
        "why": why,
        "providers": providers,
        "steps": explanation.steps.iter().map(step).collect::<Vec<_>>(),
        "to_change": explanation.to_change,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ExplainArgs,
    }

    #[test]
    fn who_is_meant() {
        let who = |text: &str| principal(&Line::try_parse_from(["explain", "--as", text]).expect(text).args);
        assert_eq!(who("key:nightly").kind, Kind::Key);
        assert_eq!(who("tag:b,tag:a").name, "tag:a,tag:b");
        assert_eq!(who("alice@example.com").kind, Kind::User);
        assert_eq!(who("spiffe://x/y").kind, Kind::Workload);
    }
}
