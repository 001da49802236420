//! `weir sessions`: agent runs, most recently used first.

use std::io::{self, Write};

use clap::Args;

use super::source::{DataArgs, FilterArgs, Source};
use super::table::{FormArgs, Table, count, duration, maybe_count, short, spent, time};
use crate::record::store::{Filter, SessionRow};

/// Sessions (agent runs), most recently used first.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  weir sessions                        the last 20
  weir sessions --agent codex -n 100   of one agent program
  weir sessions --tool Bash --csv      those that ran a shell")]
pub struct SessionsArgs {
    /// How many.
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20)]
    pub limit: u32,
    #[command(flatten)]
    pub filter: FilterArgs,
    #[command(flatten)]
    pub form: FormArgs,
    #[command(flatten)]
    pub data: DataArgs,
}

impl SessionsArgs {
    /// Ask the store and print.
    pub fn run(&self, out: &mut dyn Write) -> io::Result<()> {
        let rows = query(&Source::open(&self.data.data)?, &self.filter.filter(), self.limit)?;
        self.form.print(&rows, out, table)
    }
}

/// The rows.
pub fn query(source: &Source, filter: &Filter, limit: u32) -> io::Result<Vec<SessionRow>> {
    match source {
        Source::Store(reader) => reader.sessions(filter, limit),
        Source::Socket(socket) => socket.sessions(filter, limit),
    }
}

fn table(rows: &[SessionRow]) -> Table {
    let mut table = Table::new(&[
        "session",
        "who",
        "agent",
        "model",
        "last used (UTC)",
        ">lasted",
        ">requests",
        ">turns",
        ">failed",
        ">tools",
        ">input",
        ">cache read",
        ">output",
        ">cost",
    ]);
    for row in rows {
        table.row([
            short(&row.session, 40),
            short(&row.principal, 24),
            short(&row.agent, 16),
            short(row.model.as_deref().unwrap_or(""), 32),
            time(row.last_at_us),
            duration(row.last_at_us.saturating_sub(row.first_at_us)),
            count(row.exchanges),
            count(row.turns),
            count(row.failed),
            count(row.tool_calls),
            maybe_count(row.usage.input_tokens),
            maybe_count(row.usage.cache_read_tokens),
            maybe_count(row.usage.output_tokens),
            spent(&row.cost),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::source::sample::{printed, store};
    use super::*;

    /// The command line as clap reads it.
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: SessionsArgs,
    }

    fn run(dir: &std::path::Path, words: &[&str]) -> String {
        let data = dir.to_str().unwrap();
        let line = Line::parse_from([&["weir", "--data", data], words].concat());
        printed(|out| line.args.run(out).unwrap())
    }

    #[test]
    fn sessions_with_their_sums() {
        let dir = store();
        let json = run(dir.path(), &["--json"]);
        let row: SessionRow = serde_json::from_str(&json).unwrap();
        assert_eq!((row.session.as_str(), row.exchanges, row.usage.input_tokens), ("s-1", 2, Some(2_400)));
        assert!(run(dir.path(), &[]).lines().nth(1).unwrap().starts_with("s-1"));
        assert_eq!(run(dir.path(), &["--as", "bob", "--json"]), "");
    }
}
