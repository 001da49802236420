//! `weir requests`: exchanges, newest first.

use std::io::{self, Write};

use clap::Args;

use super::source::{DataArgs, FilterArgs, Source};
use super::table::{FormArgs, Table, duration, maybe_count, short, time};
use crate::llm::price::dollars;
use crate::record::store::{Filter, RequestRow};

/// Exchanges, newest first.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  weir requests                                   the last 20
  weir requests --outcome provider_error -n 100   what providers refused
  weir requests --session 5f3c --json             one session, for a program
  weir requests --tool Bash --since 1h            who ran a shell

`weir show ID` has the rest of an exchange.")]
pub struct RequestsArgs {
    /// How many.
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20)]
    pub limit: u32,
    /// Older than the row with this cursor (a field of --json): the next page.
    #[arg(long, value_name = "CURSOR")]
    pub before: Option<i64>,
    #[command(flatten)]
    pub filter: FilterArgs,
    #[command(flatten)]
    pub form: FormArgs,
    #[command(flatten)]
    pub data: DataArgs,
}

impl RequestsArgs {
    /// Ask the store and print.
    pub fn run(&self, out: &mut dyn Write) -> io::Result<()> {
        let source = Source::open(&self.data.data)?;
        let rows = query(&source, &self.filter.filter(), self.limit, self.before)?;
        self.form.print(&rows, out, table)
    }
}

/// The rows.
pub fn query(
    source: &Source,
    filter: &Filter,
    limit: u32,
    before: Option<i64>,
) -> io::Result<Vec<RequestRow>> {
    match source {
        Source::Store(reader) => reader.requests(filter, limit, before),
        Source::Socket(socket) => socket.requests(filter, limit, before),
    }
}

pub(super) fn table(rows: &[RequestRow]) -> Table {
    let mut table = Table::new(&[
        "id",
        "accepted (UTC)",
        ">took",
        "who",
        "agent",
        "session",
        "model",
        "provider",
        ">status",
        "outcome",
        ">input",
        ">output",
        ">cost",
        "tools",
    ]);
    for row in rows {
        let model = row.model.as_deref().or(row.model_asked.as_deref()).unwrap_or("");
        table.row([
            row.id.clone(),
            time(row.accepted_at_us),
            duration(row.duration_us),
            short(&row.principal, 24),
            short(&row.agent, 16),
            short(&row.session, 12),
            short(model, 32),
            short(&row.provider, 16),
            row.status.to_string(),
            outcome(row),
            maybe_count(row.usage.input_tokens),
            maybe_count(row.usage.output_tokens),
            cost(row),
            short(&row.tools.join(" "), 32),
        ]);
    }
    table
}

/// A question mark is a cost that nobody knows; it is not a zero.
fn cost(row: &RequestRow) -> String {
    row.worth.cost_nanodollars.map_or_else(|| "?".to_owned(), dollars)
}

fn outcome(row: &RequestRow) -> String {
    match &row.fault {
        Some(fault) => format!("{} ({})", row.outcome.name(), short(fault, 32)),
        None => row.outcome.name().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::source::sample::{id, printed, store};
    use super::*;

    /// The command line as clap reads it.
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: RequestsArgs,
    }

    fn run(dir: &std::path::Path, words: &[&str]) -> String {
        let data = dir.to_str().unwrap();
        let line = Line::parse_from([&["weir", "--data", data], words].concat());
        printed(|out| line.args.run(out).unwrap())
    }

    #[test]
    fn requests_newest_first_and_filtered() {
        let dir = store();
        let table = run(dir.path(), &[]);
        let ids: Vec<&str> =
            table.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(ids, [2, 1, 0].map(|n| id(n).to_string()));
        assert!(table.contains("refused (no_grant)") && table.contains("2023-11-14 22:13:21"), "{table}");
        let json = run(dir.path(), &["--tool", "Bash", "-n", "1", "--json"]);
        let row: RequestRow = serde_json::from_str(&json).unwrap();
        assert_eq!(
            (row.id, row.model.as_deref(), row.tools),
            (id(1).to_string(), Some("sonnet-4"), vec!["Bash".into()])
        );
        let next = run(dir.path(), &["--tool", "Bash", "--before", &row.cursor.to_string(), "--json"]);
        assert_eq!(serde_json::from_str::<RequestRow>(&next).unwrap().id, id(0).to_string());
        assert_eq!(run(dir.path(), &["--outcome", "truncated", "--json"]), "");
    }
}
