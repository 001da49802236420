//! `weir check FILE`: what `serve` would say about a file, with an exit code for CI.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::out;
use crate::base::settings::{Problem, Severity};
use crate::config::secret::read_inside;
use crate::config::{Loaded, Options, load};

/// Check a configuration file.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  weir check weir.hujson
  weir check --json weir.hujson | jq '.problems[] | select(.severity == \"error\")'
  weir check --allow-unenforced incumbent.json
  weir check --no-secrets weir.hujson    # in CI, where the secrets are not

Exit code: 0 good (warnings included, unless --strict), 1 refused, 2 unreadable.")]
pub struct CheckArgs {
    /// The file.
    pub file: PathBuf,
    /// One JSON object instead of lines.
    #[arg(long)]
    pub json: bool,
    /// Refuse on warnings too.
    #[arg(long)]
    pub strict: bool,
    /// How the file is loaded.
    #[command(flatten)]
    pub loading: LoadingArgs,
}

/// How a file is loaded: shared by the commands that load one.
#[derive(Args, Clone, Debug, Default)]
pub struct LoadingArgs {
    /// Accept what would restrict and is not enforced in this version.
    #[arg(long)]
    pub allow_unenforced: bool,
    /// The only folder that "$file:" may name.
    #[arg(long, value_name = "DIR")]
    pub secrets_dir: Option<PathBuf>,
    /// Do not look up secrets: for machines that do not have them, such as CI.
    #[arg(long)]
    pub no_secrets: bool,
}

/// Why a file was not loaded.
#[derive(Debug)]
pub enum NotLoaded {
    /// It could not be read.
    Unreadable(String),
    /// It was refused.
    Refused(Vec<Problem>),
}

impl LoadingArgs {
    /// Load a file for what it says of who and where. What is not enforced, and what secrets say, changes neither.
    pub fn look_at(&self, file: &Path) -> Result<Loaded, String> {
        let loading = LoadingArgs { allow_unenforced: true, no_secrets: true, ..self.clone() };
        loading.load(file).map_err(|not| match not {
            NotLoaded::Unreadable(why) => why,
            NotLoaded::Refused(problems) => {
                let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
                format!("{} is refused:\n{}", file.display(), lines.join("\n"))
            }
        })
    }

    /// Load a file with this process's environment.
    pub fn load(&self, file: &Path) -> Result<Loaded, NotLoaded> {
        let unreadable =
            |why: &dyn std::fmt::Display| NotLoaded::Unreadable(format!("{}: {why}", file.display()));
        let bytes = std::fs::read(file).map_err(|error| unreadable(&error))?;
        let text = String::from_utf8(bytes).map_err(|error| unreadable(&error))?;
        let options = Options {
            allow_unenforced: self.allow_unenforced,
            secrets_dir: self.secrets_dir.clone(),
            no_secrets: self.no_secrets,
            ..Options::default()
        };
        let env = |name: &str| std::env::var(name).ok();
        let dir = self.secrets_dir.clone();
        let files = move |path: &str| read_inside(dir.as_deref().unwrap_or(Path::new("/nonexistent")), path);
        // A mark that editors leave at the front is no part of the text.
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        load(text, &env, &files, &options).map_err(NotLoaded::Refused)
    }
}

/// Run the command.
#[must_use]
pub fn run(args: &CheckArgs) -> ExitCode {
    let (problems, accepted) = match args.loading.load(&args.file) {
        Err(NotLoaded::Unreadable(why)) => {
            eprintln!("weir check: {why}");
            return ExitCode::from(2);
        }
        Err(NotLoaded::Refused(problems)) => (problems, false),
        Ok(loaded) => (loaded.warnings, true),
    };
    let accepted = accepted && (problems.is_empty() || !args.strict);
    match args.json {
        true => out::line(as_json(&problems, accepted)),
        false => print_lines(&args.file, &problems, accepted),
    }
    if accepted { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print_lines(file: &Path, problems: &[Problem], accepted: bool) {
    for problem in problems {
        out::line(format_args!("{}:{problem}", file.display()));
    }
    let count = |severity| problems.iter().filter(|problem| problem.severity == severity).count();
    out::line(format_args!(
        "{}: {}: {} errors, {} not enforced, {} not in force, {} warnings",
        file.display(),
        if accepted { "good" } else { "refused" },
        count(Severity::Error),
        count(Severity::Unenforced),
        count(Severity::NotInForce),
        count(Severity::Warning),
    ));
}

fn as_json(problems: &[Problem], accepted: bool) -> serde_json::Value {
    let one = |problem: &Problem| {
        json!({
            "severity": problem.severity,
            "line": problem.place.line,
            "column": problem.place.column,
            "path": &*problem.place.path,
            "what": problem.what,
            "expected": problem.expected,
            "nearest": problem.nearest,
        })
    };
    json!({"accepted": accepted, "problems": problems.iter().map(one).collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"providers": {"a": {"baseurl": "https://a.example.com", "models": ["**"], "apikey": "$env:WEIR_TEST_UNSET"}},
        "grants": [{"src": ["*"], "app": {"weir": [{"role": "user"}, {"models": "**"}]}}]}"#;

    fn code(text: Option<&str>, strict: bool, no_secrets: bool) -> ExitCode {
        let dir = tempfile::tempdir().expect("folder");
        let file = dir.path().join("weir.hujson");
        if let Some(text) = text {
            std::fs::write(&file, text).expect("written");
        }
        let loading = LoadingArgs { no_secrets, ..LoadingArgs::default() };
        run(&CheckArgs { file, json: strict, strict, loading })
    }

    #[test]
    fn the_exit_code_is_for_ci() {
        let older = GOOD.replace("\"grants\": [", "\"flags\": {}, \"grants\": [");
        for (text, strict, no_secrets, expected) in [
            (Some(GOOD), false, true, ExitCode::SUCCESS),
            (Some(GOOD), true, true, ExitCode::SUCCESS),
            (Some(GOOD), false, false, ExitCode::FAILURE),
            (Some(older.as_str()), false, true, ExitCode::SUCCESS),
            (Some(older.as_str()), true, true, ExitCode::FAILURE),
            (Some("{"), false, true, ExitCode::FAILURE),
            (None, false, true, ExitCode::from(2)),
        ] {
            assert_eq!(code(text, strict, no_secrets), expected, "{text:?} {strict} {no_secrets}");
        }
    }
}
