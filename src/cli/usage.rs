//! `weir usage`: tokens and exchanges, added up.

use std::io::{self, Write};

use clap::{Args, ValueEnum};

use super::source::{DataArgs, FilterArgs, Source};
use super::table::{FormArgs, Table, count, maybe_count, short, spent};
use crate::record::store::{Filter, GroupBy, UsageRow};

/// Usage by model, agent, person, tool, session, outcome or time.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  weir usage                               one line: everything
  weir usage --by model --since 24h        tokens by model, last day
  weir usage --by tool --as ann@corp.com   which tools Ann's agents call
  weir usage --by day --csv > usage.csv    for a spreadsheet

A dash is a count that no provider reported; it is not a zero. Cost is by the price lists of today (weir prices);
a plus after it says that some of these exchanges have no known price, a question mark that none has, a wave that
tokens were estimated where a provider reported none.")]
pub struct UsageArgs {
    /// What to add up by.
    #[arg(long, value_enum, default_value_t = By::Total)]
    pub by: By,
    #[command(flatten)]
    pub filter: FilterArgs,
    #[command(flatten)]
    pub form: FormArgs,
    #[command(flatten)]
    pub data: DataArgs,
}

/// [`GroupBy`] as an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    Total,
    Model,
    Agent,
    Principal,
    Provider,
    Tool,
    Session,
    Outcome,
    Hour,
    Day,
}

impl UsageArgs {
    /// Ask the store and print.
    pub fn run(&self, out: &mut dyn Write) -> io::Result<()> {
        let rows = query(&Source::open(&self.data.data)?, &self.filter.filter(), self.by.into())?;
        self.form.print(&rows, out, table)
    }
}

/// The rows.
pub fn query(source: &Source, filter: &Filter, by: GroupBy) -> io::Result<Vec<UsageRow>> {
    match source {
        Source::Store(reader) => reader.usage(filter, by),
        Source::Socket(socket) => socket.usage(filter, by),
    }
}

fn table(rows: &[UsageRow]) -> Table {
    let mut table = Table::new(&[
        "group",
        ">requests",
        ">ok",
        ">refused",
        ">failed",
        ">input",
        ">cache read",
        ">cache write",
        ">output",
        ">reasoning",
        ">cost",
        ">tools",
        ">no usage",
    ]);
    for row in rows {
        table.row([
            short(&row.key, 48),
            count(row.exchanges),
            count(row.ok),
            count(row.refused),
            count(row.failed),
            maybe_count(row.usage.input_tokens),
            maybe_count(row.usage.cache_read_tokens),
            maybe_count(row.usage.cache_write_tokens),
            maybe_count(row.usage.output_tokens),
            maybe_count(row.usage.reasoning_tokens),
            spent(&row.cost),
            count(row.tool_calls),
            count(row.usage_unknown),
        ]);
    }
    table
}

impl From<By> for GroupBy {
    fn from(by: By) -> GroupBy {
        match by {
            By::Total => GroupBy::Total,
            By::Model => GroupBy::Model,
            By::Agent => GroupBy::Agent,
            By::Principal => GroupBy::Principal,
            By::Provider => GroupBy::Provider,
            By::Tool => GroupBy::Tool,
            By::Session => GroupBy::Session,
            By::Outcome => GroupBy::Outcome,
            By::Hour => GroupBy::Hour,
            By::Day => GroupBy::Day,
        }
    }
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
        args: UsageArgs,
    }

    fn run(dir: &std::path::Path, words: &[&str]) -> String {
        let data = dir.to_str().unwrap();
        let line = Line::parse_from([&["weir", "--data", data], words].concat());
        printed(|out| line.args.run(out).unwrap())
    }

    #[test]
    fn usage_in_its_forms() {
        let dir = store();
        let table = run(dir.path(), &["--by", "principal"]);
        let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["ann", "2", "2", "0", "0", "2,400", "–", "–", "60", "–", "?", "2", "0"]);
        assert_eq!(lines[2], ["bob", "1", "0", "1", "0", "–", "–", "–", "–", "–", "–", "0", "0"]);
        let json = run(dir.path(), &["--by", "hour", "--json"]);
        assert!(
            json.starts_with(r#"{"key":"2023-11-14T22:00:00Z","exchanges":3,"ok":2,"refused":1,"#),
            "{json}"
        );
        let csv = run(dir.path(), &["--as", "bob", "--csv"]);
        assert!(csv.lines().nth(1).unwrap().starts_with(",1,0,1,0,"), "{csv}");
        assert_eq!(run(dir.path(), &["--as", "nobody", "--json"]), "");
    }
}
