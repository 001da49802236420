//! `weir prices`: what models cost, by whose list, of which day.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use super::table::{FormArgs, Table, count, short};
use crate::base::clock;
use crate::base::settings::nearest;
use crate::llm::price::book::DATA;
use crate::llm::price::shown::{self, PriceRow};
use crate::llm::price::{Book, CostBasis, Listing, Tariff};
use crate::record::prices;

/// What models cost, by whose list, of which day.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  weir prices                             the lists of the gateway's providers (of Anthropic, OpenAI, Google without one)
  weir prices claude-opus-5-5             everybody's price of it, with tiers and steps of prompt length
  weir prices us.anthropic.claude-sonnet-4-5-20250929-v1:0
  weir prices --list openrouter --json    a whole list, for a program

Dollars for a million tokens, a thousand searches, an hour of sound. Prices come from the crate genai-prices, part of
this binary; `prices` in the configuration goes before it, `cost_basis` and `model_cost_map` of a provider say which
list and which name hold for its models. Costs of what is stored follow these prices, also those of the past.")]
pub struct PricesArgs {
    /// Model, by any of its names; every model where none is given.
    pub model: Option<String>,
    /// Only of this list: anthropic, openai, google, vertex, bedrock, azure, openrouter, …
    #[arg(long, value_name = "NAME", value_parser = parse_list)]
    pub list: Option<CostBasis>,
    #[command(flatten)]
    pub form: FormArgs,
    /// Data folder of the gateway whose providers and own prices count.
    #[arg(long, value_name = "DIR", default_value = "./weir-data")]
    pub data: PathBuf,
}

fn parse_list(text: &str) -> Result<CostBasis, String> {
    let names = || CostBasis::ALL.iter().map(|list| list.name());
    CostBasis::from_name(text).ok_or_else(|| match nearest(text, names()) {
        Some(near) => format!("no such list; did you mean {near}?"),
        None => format!("no such list; there are {}", names().collect::<Vec<_>>().join(", ")),
    })
}

impl PricesArgs {
    /// Look them up and print.
    pub fn run(&self, out: &mut dyn Write) -> io::Result<()> {
        let tariff = prices::read(&self.data)?;
        let rows = match &self.model {
            Some(model) => of_model(&tariff, model, self.list)?,
            None => of_lists(&tariff, self.list),
        };
        self.form.print(&rows, out, table)?;
        if !self.form.json && !self.form.csv {
            writeln!(
                out,
                "\n{}, published {}; dollars for a million tokens, a thousand searches",
                DATA.0, DATA.1
            )?;
        }
        Ok(())
    }
}

/// Lists that are looked into where nothing says which: those of the gateway's providers.
fn lists(tariff: &Tariff) -> Vec<CostBasis> {
    let mut lists: Vec<_> = tariff.providers.values().filter_map(|priced| priced.listing.basis).collect();
    lists.sort_unstable();
    lists.dedup();
    if lists.is_empty() { vec![CostBasis::Anthropic, CostBasis::Openai, CostBasis::Google] } else { lists }
}

/// A model's prices: under one list, or under every list that has it.
pub fn of_model(tariff: &Tariff, model: &str, list: Option<CostBasis>) -> io::Result<Vec<PriceRow>> {
    let searched = list.map_or_else(|| CostBasis::ALL.to_vec(), |list| vec![list]);
    let mut rows: Vec<PriceRow> = Vec::new();
    for basis in &searched {
        let listing = Listing { basis: Some(*basis), ..Listing::default() };
        for row in shown::of_model(&tariff.book, &listing, model, clock::wall()).unwrap_or_default() {
            // One's own price holds whatever the list.
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
    }
    if rows.is_empty() { Err(unknown(model, &searched)) } else { Ok(rows) }
}

fn unknown(model: &str, searched: &[CostBasis]) -> io::Error {
    let names = searched.iter().flat_map(|list| Book::models(*list)).map(|(name, _)| name);
    let near = nearest(model, names).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
    let text = format!("no price for {model}: its cost is unknown, and shown as such{near}");
    io::Error::new(io::ErrorKind::NotFound, text)
}

/// Every model of the lists, at its ordinary tier.
fn of_lists(tariff: &Tariff, list: Option<CostBasis>) -> Vec<PriceRow> {
    let lists = list.map_or_else(|| lists(tariff), |list| vec![list]);
    let mut rows = Vec::new();
    for basis in lists {
        let listing = Listing { basis: Some(basis), ..Listing::default() };
        for (model, _) in Book::models(basis) {
            let of_model = shown::of_model(&tariff.book, &listing, model, clock::wall()).unwrap_or_default();
            rows.extend(of_model.into_iter().filter(|row| row.tier.is_empty()));
        }
    }
    rows.dedup();
    rows
}

fn table(rows: &[PriceRow]) -> Table {
    let mut table = Table::new(&[
        "list",
        "model",
        "tier",
        ">prompts over",
        ">input",
        ">cache read",
        ">cache write",
        ">write 1h",
        ">output",
        ">web search",
        "from",
    ]);
    for row in rows {
        table.row([
            row.list.clone(),
            short(&row.model, 52),
            row.tier.clone(),
            if row.above == 0 { String::new() } else { count(row.above) },
            price(row.input.or(row.audio_hour)),
            price(row.cache_read),
            price(row.cache_write),
            price(row.cache_write_1h),
            price(row.output),
            price(row.web_search),
            format!("{} {}", row.source, row.date),
        ]);
    }
    table
}

/// As many digits as the price has, at least cents.
fn price(dollars: Option<f64>) -> String {
    let Some(dollars) = dollars else { return "–".to_owned() };
    let text = format!("{dollars:.6}");
    let shorter = text.trim_end_matches('0');
    let digits = shorter.split_once('.').map_or(0, |(_, digits)| digits.len());
    if digits < 2 { format!("{dollars:.2}") } else { shorter.to_owned() }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::source::sample::printed;
    use super::*;

    /// The command line as clap reads it.
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: PricesArgs,
    }

    fn run(words: &[&str], out: &mut dyn Write) -> io::Result<()> {
        Line::parse_from([&["weir", "--data", "/nowhere"], words].concat()).args.run(out)
    }

    #[test]
    fn a_model_has_its_lists_tiers_and_date() {
        let text = printed(|out| run(&["gpt-5-2025-08-07"], out).unwrap());
        let line = |list: &str, tier: &str| {
            let mut lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            lines.find(|words| words.starts_with(&[list, "gpt-5"]) && (tier.is_empty() || words[2] == tier))
        };
        assert_eq!(line("openai", "").unwrap()[2..4], ["1.25", "0.125"]);
        assert_eq!(line("openai", "flex").unwrap()[3], "0.625");
        assert!(line("azure", "").is_some(), "{text}");
        assert!(text.contains("genai-prices 0.2.1") && text.contains(DATA.1), "{text}");
        let json = printed(|out| run(&["gemini-2.5-pro", "--list", "google", "--json"], out).unwrap());
        let rows: Vec<PriceRow> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let long = rows.iter().find(|row| row.above == 200_000 && row.tier.is_empty()).unwrap();
        assert_eq!((long.input, long.output), (Some(2.5), Some(15.0)));
    }

    #[test]
    fn an_unknown_model_has_near_ones() {
        let said = run(&["claude-opus-4-9"], &mut Vec::new()).unwrap_err().to_string();
        assert!(
            said.contains("its cost is unknown") && said.contains("did you mean claude-opus-4-"),
            "{said}"
        );
    }

    #[test]
    fn prices_read_as_people_write_them() {
        for (dollars, text) in [(Some(3.0), "3.00"), (Some(0.125), "0.125"), (Some(0.0), "0.00"), (None, "–")]
        {
            assert_eq!(price(dollars), text);
        }
    }
}
