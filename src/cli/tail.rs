//! `weir tail`: exchanges as they end.

use std::io::{self, Write};
use std::time::Duration;

use clap::Args;

use super::source::{DataArgs, FilterArgs, Source};
use super::table::{
    FormArgs, duration, maybe_count, short, time, write_csv_head, write_csv_row, write_json_line,
};
use crate::base::clock;
use crate::record::store::{Filter, RequestRow};

/// How often the store is asked for what is new.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Most rows fetched at once; the rest comes with the next look.
const ROWS_AT_ONCE: u32 = 1000;

/// Exchanges as they end, until interrupted.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  weir tail                               the last 10, then what comes
  weir tail --outcome refused             only what was refused
  weir tail --json | jq .model            for a program
  weir tail --once -n 50                  the last 50 and no more")]
pub struct TailArgs {
    /// How many of the past to begin with.
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 10)]
    pub limit: u32,
    /// Print what is there and end.
    #[arg(long)]
    pub once: bool,
    #[command(flatten)]
    pub filter: FilterArgs,
    #[command(flatten)]
    pub form: FormArgs,
    #[command(flatten)]
    pub data: DataArgs,
}

impl TailArgs {
    /// Print until interrupted, until nobody reads, or once.
    pub fn run(&self, out: &mut dyn Write) -> io::Result<()> {
        let (source, filter) = (Source::open(&self.data.data)?, self.filter.filter());
        let newest = query(&source, &Filter::default(), None, 1)?.pop();
        let mut cursor = newest.map_or(0, |row| row.cursor);
        let past = if self.limit == 0 { Vec::new() } else { query(&source, &filter, None, self.limit)? };
        // What ended between the two looks comes with the first of the next.
        let past: Vec<RequestRow> = past.into_iter().filter(|row| row.cursor <= cursor).collect();
        if self.form.csv {
            write_csv_head(&RequestRow::default(), out)?;
        }
        self.print(&past, out)?;
        if self.once {
            return Ok(());
        }
        loop {
            clock::pause(LOOK_EVERY);
            let rows = query(&source, &filter, Some(cursor), ROWS_AT_ONCE)?;
            cursor = rows.last().map_or(cursor, |row| row.cursor);
            self.print(&rows, out)?;
        }
    }

    fn print(&self, rows: &[RequestRow], out: &mut dyn Write) -> io::Result<()> {
        for row in rows {
            if self.form.json {
                write_json_line(row, out)?;
            } else if self.form.csv {
                write_csv_row(row, out)?;
            } else {
                writeln!(out, "{}", line(row))?;
            }
        }
        out.flush()
    }
}

/// The rows after `after`, oldest first; without it the last `limit`.
pub fn query(
    source: &Source,
    filter: &Filter,
    after: Option<i64>,
    limit: u32,
) -> io::Result<Vec<RequestRow>> {
    match source {
        Source::Store(reader) => reader.tail(filter, after, limit),
        Source::Socket(socket) => socket.tail(filter, after, limit),
    }
}

/// One exchange in one line: columns that a stream can keep without knowing what comes.
fn line(row: &RequestRow) -> String {
    let model = row.model.as_deref().or(row.model_asked.as_deref()).unwrap_or("");
    let text = format!(
        "{}  {}  {:<14} {:>3}  {:<16} {:<12} {:<24} in {:>8} out {:>6} {:>9}  {}",
        time(row.accepted_at_us),
        row.id,
        row.outcome.name(),
        row.status,
        short(&row.principal, 16),
        short(&row.agent, 12),
        short(model, 24),
        maybe_count(row.usage.input_tokens),
        maybe_count(row.usage.output_tokens),
        duration(row.duration_us),
        row.tools.join(" "),
    );
    text.trim_end().chars().map(|c| if c.is_control() { '�' } else { c }).collect()
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
        args: TailArgs,
    }

    fn run(dir: &std::path::Path, words: &[&str]) -> String {
        let data = dir.to_str().unwrap();
        let line = Line::parse_from([&["weir", "--data", data], words].concat());
        printed(|out| line.args.run(out).unwrap())
    }

    #[test]
    fn the_last_oldest_first() {
        let dir = store();
        let lines = run(dir.path(), &["--once", "-n", "2"]);
        let ids: Vec<String> =
            lines.lines().map(|line| line.split_whitespace().nth(2).unwrap().to_owned()).collect();
        assert_eq!(ids, [id(1).to_string(), id(2).to_string()]);
        assert_eq!(run(dir.path(), &["--once", "--as", "ann", "--json"]).lines().count(), 2);
        assert_eq!(run(dir.path(), &["--once", "--csv"]).lines().count(), 4);
        assert_eq!(run(dir.path(), &["--once", "-n", "0"]), "");
    }

    #[test]
    fn a_reader_that_is_gone_ends_it() {
        struct Gone(u32);
        impl Write for Gone {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                self.0 += 1;
                if self.0 > 2 { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
            }
        }
        let dir = store();
        let line = Line::parse_from(["weir", "--data", dir.path().to_str().unwrap()]);
        assert_eq!(line.args.run(&mut Gone(0)).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
