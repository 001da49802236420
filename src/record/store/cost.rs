//! Money for rows: derived when they are read, by the price lists of now.
//!
//! Rows of sums are cut finer than what was asked for, by all that decides a price, priced, and added up again. Where a
//! price changed within the time asked about, that part is cut by day as well.

use std::collections::HashMap;

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::billing::{model_of, rate_of, runs_of};
use super::query::{self, Of, key_of, key_text, usage_at};
use super::rows::Cost;
use super::schema::{DAY_US, RUN, TOKENS};
use super::{Filter, GroupBy, RequestRow, SessionRow, UsageRow};
use crate::llm::price::rate::{self, Rate};
use crate::llm::price::tariff::Line;
use crate::llm::price::{Pricer, Unpriced};
use crate::llm::usage::Usage;
use crate::record::record::Record;

/// Sums that are priced alike.
struct Part {
    key: String,
    provider: String,
    model: String,
    rate: String,
    first_at: u64,
    last_at: u64,
    exchanges: u64,
    usage: Usage,
}

impl Part {
    fn line(&self) -> Line<'_> {
        let rate = self.rate.strip_prefix(RUN).unwrap_or(&self.rate);
        Line { provider: &self.provider, model: &self.model, rate, at: self.first_at }
    }

    fn add_to(&self, cost: &mut Cost, prices: &Pricer) {
        match prices.cost(self.line(), &self.usage, self.exchanges) {
            // Refused and failed ones cost nothing, but where nothing else happened that is no sum of money.
            Ok(0) if self.rate == rate::NOTHING => {}
            Ok(money) => {
                add(cost, money);
                let estimated = Rate::read(self.line().rate).is_some_and(|rate| rate.estimated);
                cost.cost_estimated += if estimated { self.exchanges } else { 0 };
            }
            // The first run bears its exchange; a later one of unknown cost makes that of one exchange unknown too.
            Err(_) => cost.cost_unknown += self.exchanges.max(1),
        }
    }
}

fn add(cost: &mut Cost, money: i64) {
    cost.cost_nanodollars = Some(cost.cost_nanodollars.unwrap_or(0).saturating_add(money));
}

pub(super) fn of_usage(
    db: &Connection,
    prices: &Pricer,
    filter: &Filter,
    group_by: GroupBy,
    rows: &mut [UsageRow],
) -> rusqlite::Result<()> {
    let place: HashMap<String, usize> =
        rows.iter().enumerate().map(|(at, row)| (row.key.clone(), at)).collect();
    let mut add = |part: &Part| {
        if let Some(row) = place.get(&part.key) {
            part.add_to(&mut rows[*row].cost, prices);
        }
    };
    let mut cut_finer = Vec::new();
    for part in parts(db, filter, group_by, None)? {
        if prices.same_price(part.line(), part.last_at) {
            add(&part);
        } else {
            cut_finer.push((part.provider, part.model, part.rate));
        }
    }
    cut_finer.sort();
    cut_finer.dedup();
    for (provider, model, rate) in cut_finer {
        // Parts of it that were priced alike have been added already.
        let days = parts(db, filter, group_by, Some([&provider, &model, &rate]))?;
        let mut of_key: HashMap<&str, (u64, u64)> = HashMap::new();
        for day in &days {
            let (first, last) = of_key.entry(&day.key).or_insert((u64::MAX, 0));
            (*first, *last) = ((*first).min(day.first_at), (*last).max(day.last_at));
        }
        for day in &days {
            let (first, last) = of_key[day.key.as_str()];
            if !prices.same_price(Line { at: first, ..day.line() }, last) {
                add(day);
            }
        }
    }
    Ok(())
}

/// The sums behind an answer, cut by what decides a price; those of one price by day too.
fn parts(
    db: &Connection,
    filter: &Filter,
    group_by: GroupBy,
    by_day: Option<[&String; 3]>,
) -> rusqlite::Result<Vec<Part>> {
    let (from, mut values) = query::source(filter, group_by, Of::Billed);
    let key = key_of(group_by);
    let tokens = TOKENS.map(|name| format!("sum({name})")).join(", ");
    let (only, day) = match by_day {
        Some(one) => {
            values.extend(one.map(|text| Value::from(text.clone())));
            ("WHERE provider = ? AND priced = ? AND rate = ?", format!(", at / {DAY_US}"))
        }
        None => ("", String::new()),
    };
    let sql = format!(
        "SELECT {key}, provider, priced, rate, min(at), max(at), sum(exchanges), {tokens}
         FROM ({from}) {only} GROUP BY 1, 2, 3, 4{day}"
    );
    let mut all = db.prepare(&sql)?;
    let rows = all.query_map(params_from_iter(values), |row| {
        Ok(Part {
            key: key_text(row.get(0)?, group_by),
            provider: row.get(1)?,
            model: row.get(2)?,
            rate: row.get(3)?,
            first_at: query::number(row, 4)?,
            last_at: query::number(row, 5)?,
            exchanges: query::number(row, 6)?,
            usage: usage_at(row, 7)?,
        })
    })?;
    rows.collect()
}

pub(super) fn of_requests(db: &Connection, prices: &Pricer, rows: &mut [RequestRow]) -> rusqlite::Result<()> {
    for row in rows {
        row.worth = of_request(db, prices, row)?.into();
    }
    Ok(())
}

/// What one exchange cost, from its record.
pub(super) fn of_record(prices: &Pricer, record: &Record) -> Result<i64, Unpriced> {
    let rate = rate_of(record);
    let line =
        |model, rate| Line { provider: &record.provider, model, rate, at: record.times.accepted_at_us };
    if rate != rate::BY_RUNS {
        return prices.cost(line(model_of(record), &rate), &record.reading.usage, 1);
    }
    let mut sum: i64 = 0;
    for (place, run) in runs_of(record).iter().enumerate() {
        let requests = u64::from(place == 0);
        sum = sum.saturating_add(prices.cost(line(&run.model, &run.rate), &run.usage, requests)?);
    }
    Ok(sum)
}

fn of_request(db: &Connection, prices: &Pricer, row: &RequestRow) -> rusqlite::Result<Result<i64, Unpriced>> {
    if row.rate != rate::BY_RUNS {
        let line = Line {
            provider: &row.provider,
            model: row.model_or_asked(),
            rate: &row.rate,
            at: row.accepted_at_us,
        };
        return Ok(prices.cost(line, &row.usage, 1));
    }
    let sql =
        format!("SELECT model, rate, {} FROM runs WHERE exchange = ? ORDER BY place", TOKENS.join(", "));
    let mut all = db.prepare_cached(&sql)?;
    let runs = all.query_map([row.cursor], |run| Ok((run.get(0)?, run.get(1)?, usage_at(run, 2)?)))?;
    let mut sum: i64 = 0;
    for (place, run) in runs.enumerate() {
        let (model, rate, usage): (String, String, Usage) = run?;
        let line = Line { provider: &row.provider, model: &model, rate: &rate, at: row.accepted_at_us };
        match prices.cost(line, &usage, u64::from(place == 0)) {
            Ok(cost) => sum = sum.saturating_add(cost),
            Err(why) => return Ok(Err(why)),
        }
    }
    Ok(Ok(sum))
}

/// Sessions keep no sums by model: theirs are taken from their exchanges.
pub(super) fn of_sessions(db: &Connection, prices: &Pricer, rows: &mut [SessionRow]) -> rusqlite::Result<()> {
    for row in rows {
        let filter = Filter {
            principal: Some(row.principal.clone()),
            session: Some(row.session.clone()),
            ..Filter::default()
        };
        let mut total = [UsageRow::default()];
        of_usage(db, prices, &filter, GroupBy::Total, &mut total)?;
        row.cost = total[0].cost;
        let sql = "SELECT sum(reported_cost) FROM exchanges WHERE session = ?1 AND session <> '' AND principal = ?2";
        let mut one = db.prepare_cached(sql)?;
        row.cost.reported_cost_nanodollars =
            one.query_row([&row.session, &row.principal], |row| row.get(0))?;
    }
    Ok(())
}
