//! `weir requests`: exchanges, newest first.

use std::io::{self, Write};

use clap::Args;

use super::source::{DataArgs, FilterArgs, Source};
use super::table::{FormArgs, Table, duration, maybe_count, short, time};
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
            short(&row.tools.join(" "), 32),
        ]);
    }
    table
}

fn outcome(row: &RequestRow) -> String {
    match &row.fault {
        Some(fault) => format!("{} ({})", row.outcome.name(), short(fault, 32)),
        None => row.outcome.name().to_owned(),
    }
}
