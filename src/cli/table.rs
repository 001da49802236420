//! How rows are printed: as a table for people, as JSON (one object a line) or CSV for programs.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};

use clap::Args;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::base::clock::Wall;
use crate::llm::price::dollars;
use crate::record::store::Cost;

/// The form of the output.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Output")]
pub struct FormArgs {
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
    /// Comma-separated values with a head line.
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
}

impl FormArgs {
    /// Print rows: as JSON or CSV with every field, or as a table with the columns that `table` makes.
    pub fn print<T: Serialize>(
        self,
        rows: &[T],
        out: &mut dyn Write,
        table: impl Fn(&[T]) -> Table,
    ) -> io::Result<()> {
        if self.json {
            rows.iter().try_for_each(|row| write_json_line(row, out))
        } else if self.csv {
            rows.first().map_or(Ok(()), |row| write_csv_head(row, out))?;
            rows.iter().try_for_each(|row| write_csv_row(row, out))
        } else {
            out.write_all(table(rows).to_string().as_bytes())
        }
    }
}

/// A table: heads, and cells that have been made into text. A head that begins with `>` is of numbers.
pub struct Table {
    heads: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(heads: &'static [&'static str]) -> Table {
        Table { heads, rows: Vec::new() }
    }

    /// Add a row with a cell for each head.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().map(|cell| printable(&cell)).collect();
        debug_assert_eq!(cells.len(), self.heads.len());
        self.rows.push(cells);
    }

    fn widths(&self) -> Vec<usize> {
        let head_width = |head: &&str| head.trim_start_matches('>').chars().count();
        let mut widths: Vec<usize> = self.heads.iter().map(head_width).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        widths
    }

    fn write_line<'a>(
        &self,
        f: &mut fmt::Formatter,
        widths: &[usize],
        cells: impl Iterator<Item = &'a str>,
    ) -> fmt::Result {
        let mut line = String::new();
        for ((cell, width), head) in cells.zip(widths).zip(self.heads) {
            if !line.is_empty() {
                line.push_str("  ");
            }
            let pad = " ".repeat(width - cell.chars().count());
            let (before, after) = if head.starts_with('>') { (pad.as_str(), "") } else { ("", pad.as_str()) };
            line.extend([before, cell, after]);
        }
        writeln!(f, "{}", line.trim_end())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        self.write_line(f, &widths, self.heads.iter().map(|head| head.trim_start_matches('>')))?;
        self.rows.iter().try_for_each(|row| self.write_line(f, &widths, row.iter().map(String::as_str)))
    }
}

/// A count with its thousands apart.
#[must_use]
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count that may be unknown: a dash is not a zero.
#[must_use]
pub fn maybe_count(n: Option<u64>) -> String {
    n.map_or_else(|| "–".to_owned(), count)
}

/// What some exchanges cost: a plus says that more was spent than is known, a wave that some of it is an estimate.
#[must_use]
pub fn spent(cost: &Cost) -> String {
    let wave = if cost.cost_estimated > 0 { "~" } else { "" };
    match (cost.cost_nanodollars, cost.cost_unknown) {
        (Some(known), 0) => format!("{wave}{}", dollars(known)),
        (Some(known), _) => format!("{wave}{}+", dollars(known)),
        (None, 0) => "–".to_owned(),
        (None, _) => "?".to_owned(),
    }
}

/// A time to the second, UTC.
#[must_use]
pub fn time(at_us: Wall) -> String {
    let at = i64::try_from(at_us).ok().and_then(|us| jiff::Timestamp::from_microsecond(us).ok());
    at.unwrap_or_default().strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A duration with a unit that suits it.
#[must_use]
pub fn duration(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{} ms", us / 1_000),
        1_000_000..60_000_000 => format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
        _ => format!("{} m {} s", us / 60_000_000, us / 1_000_000 % 60),
    }
}

/// A text for a cell: cut to `max` characters, a dash where there is none.
#[must_use]
pub fn short(text: &str, max: usize) -> String {
    if text.is_empty() {
        return "–".to_owned();
    }
    match text.char_indices().nth(max) {
        None => text.to_owned(),
        Some(_) => text.chars().take(max.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// One object on a line of its own.
pub fn write_json_line<T: Serialize>(row: &T, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, row)?;
    out.write_all(b"\n")
}

/// What clients and providers call things goes to a terminal: control characters must not act there.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '�' } else { c }).collect()
}

/// The head line of CSV: the names of a row's fields.
pub fn write_csv_head<T: Serialize>(row: &T, out: &mut dyn Write) -> io::Result<()> {
    let Pairs(pairs) = serde_json::from_slice(&serde_json::to_vec(row)?)?;
    write_csv_line(pairs.iter().map(|(name, _)| Cow::from(name.as_str())), out)
}

/// A row of CSV.
pub fn write_csv_row<T: Serialize>(row: &T, out: &mut dyn Write) -> io::Result<()> {
    let Pairs(pairs) = serde_json::from_slice(&serde_json::to_vec(row)?)?;
    write_csv_line(pairs.iter().map(|(_, value)| csv_text(value)), out)
}

fn write_csv_line<'a>(cells: impl Iterator<Item = Cow<'a, str>>, out: &mut dyn Write) -> io::Result<()> {
    let line: Vec<String> = cells.map(|cell| csv_cell(&cell)).collect();
    out.write_all(line.join(",").as_bytes())?;
    out.write_all(b"\r\n")
}

fn csv_text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Null => "".into(),
        Value::String(text) => guard_formula(text),
        Value::Array(items) => items.iter().map(csv_text).collect::<Vec<_>>().join(" ").into(),
        other => other.to_string().into(),
    }
}

/// A name that a spreadsheet would run as a formula is shown as text: names come from clients.
fn guard_formula(text: &str) -> Cow<'_, str> {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}").into() } else { text.into() }
}

fn csv_cell(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// An object's fields in the order in which they were written.
struct Pairs(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        from.deserialize_map(Fields)
    }
}

/// Bytes for JSON: text where they are text, else null, beside which a length tells that there was something.
pub(super) fn text_or_null<S: Serializer>(bytes: &Option<Vec<u8>>, to: S) -> Result<S::Ok, S::Error> {
    bytes.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok()).serialize(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Row {
        name: &'static str,
        tokens: Option<u64>,
        tools: Vec<&'static str>,
    }

    const ROWS: [Row; 2] = [
        Row { name: "plain", tokens: Some(1234), tools: Vec::new() },
        Row { name: "=cmd, \"quoted\"", tokens: None, tools: Vec::new() },
    ];

    fn printed(form: FormArgs) -> String {
        let mut out = Vec::new();
        let table = |rows: &[Row]| {
            let mut table = Table::new(&["name", ">tokens"]);
            rows.iter().for_each(|row| table.row([short(row.name, 8), maybe_count(row.tokens)]));
            table
        };
        form.print(&ROWS, &mut out, table).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn one_list_in_three_forms() {
        assert_eq!(printed(FormArgs::default()), "name      tokens\nplain      1,234\n=cmd, \"…       –\n");
        assert_eq!(
            printed(FormArgs { json: true, csv: false }),
            "{\"name\":\"plain\",\"tokens\":1234,\"tools\":[]}\n{\"name\":\"=cmd, \\\"quoted\\\"\",\"tokens\":null,\"tools\":[]}\n"
        );
        let csv = printed(FormArgs { json: false, csv: true });
        assert_eq!(csv, "name,tokens,tools\r\nplain,1234,\r\n\"'=cmd, \"\"quoted\"\"\",,\r\n");
    }

    #[test]
    fn figures_are_written_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([7, 1_500, 2_345_678, 95_000_000].map(duration), ["7 µs", "1 ms", "2.3 s", "1 m 35 s"]);
        assert_eq!(time(1_700_000_000_000_000), "2023-11-14 22:13:20");
        assert_eq!([short("", 5), short("sechs!", 6), short("größer", 4)], ["–", "sechs!", "grö…"]);
    }

    #[test]
    fn nothing_that_comes_from_a_client_acts_on_the_terminal() {
        let mut table = Table::new(&["name"]);
        table.row(["\u{1b}[2Jgone\n".to_owned()]);
        assert_eq!(table.to_string(), "name\n�[2Jgone�\n");
    }
}
