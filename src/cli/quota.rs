//! `weir quota`: what buckets hold, and refilling one.

use std::io::{self, Write};

use clap::Args;

use super::socket::Socket;
use super::source::DataArgs;
use super::table::{FormArgs, Table, count, short};
use crate::policy::quota::Standing;

/// Quotas: what each bucket holds, what running exchanges have reserved, how it refills.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  weir quota                                    every bucket
  weir quota daily:ada@example.com              one, by its full name; or all of a name as configured: 'daily:<user>'
  weir quota --json                             one object a line, amounts in nanodollars, tokens, requests
  weir quota daily:ada@example.com --refill '$5.00'
  weir quota tokens:ci --refill 1000000         up to its capacity; written to the audit log

The gateway must run, and you must be its user or root.")]
pub struct QuotaArgs {
    /// Full name of a bucket, or its name as configured.
    #[arg(value_name = "BUCKET")]
    pub bucket: Option<String>,
    /// Put this into the bucket: "$5.00", or a number of its unit.
    #[arg(long, value_name = "AMOUNT", requires = "bucket")]
    pub refill: Option<String>,
    #[command(flatten)]
    pub form: FormArgs,
    #[command(flatten)]
    pub data: DataArgs,
}

impl QuotaArgs {
    /// Ask the gateway and print.
    pub fn run(&self, out: &mut dyn Write) -> io::Result<()> {
        let dir = &self.data.data;
        let socket = Socket::open(dir).ok_or_else(|| {
            let text = format!("no gateway answers in {}: start one with `weir serve --data`", dir.display());
            io::Error::new(io::ErrorKind::NotFound, text)
        })?;
        let bucket = self.bucket.as_deref();
        let rows: Vec<Standing> = match (bucket, &self.refill) {
            (Some(bucket), Some(amount)) => vec![socket.refill(bucket, amount)?],
            _ => socket.quotas(bucket)?,
        };
        if rows.is_empty() && !self.form.json {
            return match bucket {
                Some(_) => writeln!(out, "no such quota; `weir quota` lists them"),
                None => writeln!(
                    out,
                    "no quota has been drawn on; they stand under `quotas` in the configuration"
                ),
            };
        }
        self.form.print(&rows, out, table)
    }
}

fn table(rows: &[Standing]) -> Table {
    let mut table = Table::new(&["bucket", ">holds", ">reserved", ">of", "refills", "when empty"]);
    for row in rows {
        table.row([
            short(&row.bucket, 60),
            amount(row.balance, &row.unit),
            amount(row.reserved, &row.unit),
            amount(row.capacity, &row.unit),
            rate(row),
            row.on_exceed.clone(),
        ]);
    }
    table
}

fn rate(row: &Standing) -> String {
    if row.rate == 0 || row.rate_seconds == 0 {
        return "never".into();
    }
    let span = match row.rate_seconds {
        1 => "s",
        60 => "min",
        3_600 => "hour",
        86_400 => "day",
        604_800 => "week",
        2_592_000 => "month",
        _ => return format!("{}/{} s", amount(row.rate, &row.unit), row.rate_seconds),
    };
    format!("{}/{span}", amount(row.rate, &row.unit))
}

/// `$1.25`, `120,000 tokens`.
fn amount(parts: i64, unit: &str) -> String {
    let sign = if parts < 0 { "-" } else { "" };
    let size = parts.unsigned_abs();
    match unit {
        "dollars" => {
            // Rounded to hundredths of a cent: what people compare.
            let rounded = (size + 50_000) / 100_000;
            let (dollars, parts) = (rounded / 10_000, rounded % 10_000);
            let text = format!("{parts:04}");
            let text = text.strip_suffix("00").unwrap_or(&text);
            format!("{sign}${}.{text}", count(dollars))
        }
        unit => format!("{sign}{} {unit}", count(size)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_as_people_write_them() {
        for (parts, unit, text) in [
            (1_250_000_000, "dollars", "$1.25"),
            (-2_000_000, "dollars", "-$0.0020"),
            (0, "dollars", "$0.00"),
            (12_000, "tokens", "12,000 tokens"),
        ] {
            assert_eq!(amount(parts, unit), text);
        }
    }
}
