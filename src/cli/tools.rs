//! `weir tools`: what agents called, most called first.

use std::io::{self, Write};

use clap::Args;

use super::source::{DataArgs, FilterArgs, Source};
use super::table::{FormArgs, Table, count, short, time};
use crate::record::store::{Filter, ToolRow};

/// Tools that models asked for, most called first.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  weir tools --since 7d                  last week
  weir tools --as ann@corp.com --csv     one person's
  weir requests --tool Bash              the exchanges with a call of one tool")]
pub struct ToolsArgs {
    /// How many.
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 50)]
    pub limit: u32,
    #[command(flatten)]
    pub filter: FilterArgs,
    #[command(flatten)]
    pub form: FormArgs,
    #[command(flatten)]
    pub data: DataArgs,
}

impl ToolsArgs {
    /// Ask the store and print.
    pub fn run(&self, out: &mut dyn Write) -> io::Result<()> {
        let rows = query(&Source::open(&self.data.data)?, &self.filter.filter(), self.limit)?;
        self.form.print(&rows, out, table)
    }
}

/// The rows.
pub fn query(source: &Source, filter: &Filter, limit: u32) -> io::Result<Vec<ToolRow>> {
    match source {
        Source::Store(reader) => reader.tools(filter, limit),
        Source::Socket(socket) => socket.tools(filter, limit),
    }
}

fn table(rows: &[ToolRow]) -> Table {
    let mut table =
        Table::new(&["tool", "kind", ">calls", ">requests", ">sessions", ">people", "last called (UTC)"]);
    for row in rows {
        table.row([
            short(&row.name, 48),
            short(&row.kind, 24),
            count(row.calls),
            count(row.exchanges),
            count(row.sessions),
            count(row.principals),
            time(row.last_at_us),
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
        args: ToolsArgs,
    }

    fn run(dir: &std::path::Path, words: &[&str]) -> String {
        let data = dir.to_str().unwrap();
        let line = Line::parse_from([&["weir", "--data", data], words].concat());
        printed(|out| line.args.run(out).unwrap())
    }

    #[test]
    fn tools_with_their_calls() {
        let dir = store();
        let row: ToolRow = serde_json::from_str(&run(dir.path(), &["--json"])).unwrap();
        assert_eq!((row.name.as_str(), row.calls, row.sessions, row.principals), ("Bash", 2, 1, 1));
        assert!(run(dir.path(), &[]).lines().nth(1).unwrap().starts_with("Bash"));
    }
}
