//! Prices against published lists, and what has none.

use super::book::Names;
use super::settings::{Dollars, PriceSettings};
use super::*;
use crate::llm::usage::Usage;

/// 25 November 2026, noon, UTC.
const NOW: u64 = 1_795_608_000_000_000;

fn listing(basis: CostBasis) -> Listing {
    Listing { basis: Some(basis), ..Listing::default() }
}

fn answered(model: &str) -> Names<'_> {
    Names { answered: Some(model), asked: None }
}

fn tokens(input: u64, output: u64) -> Usage {
    Usage { input_tokens: Some(input), output_tokens: Some(output), ..Usage::default() }
}

fn cost(basis: CostBasis, model: &str, terms: &Terms, usage: &Usage) -> Result<Nanodollars, Unpriced> {
    Book::default().card(&listing(basis), answered(model), terms, NOW)?.cost(&Counts::of(usage))
}

fn plain(basis: CostBasis, model: &str) -> Option<Nanodollars> {
    cost(basis, model, &Terms::default(), &tokens(1_000_000, 0)).ok()
}

/// Dollars for a million tokens of prompt, as published by the vendors.
#[test]
fn names_of_all_kinds_find_their_price() {
    for (basis, model, dollars) in [
        (CostBasis::Anthropic, "claude-opus-4-8", 5.0),
        (CostBasis::Anthropic, "claude-3-5-haiku-20241022", 0.8),
        (CostBasis::Openai, "gpt-4o-2024-08-06", 2.5),
        (CostBasis::Openai, "gpt-4o-2024-05-13", 5.0),
        (CostBasis::Openai, "gpt-5-codex", 1.25),
        (CostBasis::Openai, "text-embedding-3-small", 0.02),
        (CostBasis::Vertex, "claude-opus-4-8@20260501", 5.0),
        (CostBasis::Vertex, "publishers/google/models/gemini-2.5-flash", 0.3),
        (CostBasis::Google, "models/gemini-2.5-flash", 0.3),
        (CostBasis::Bedrock, "global.anthropic.claude-sonnet-4-5-20250929-v1:0", 3.0),
        (CostBasis::Bedrock, "us.anthropic.claude-sonnet-4-5-20250929-v1:0", 3.3),
        (
            CostBasis::Bedrock,
            "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
            3.3,
        ),
        (CostBasis::BedrockEu, "anthropic.claude-sonnet-4-5-20250929-v1:0", 3.3),
        (CostBasis::Azure, "gpt-4o-2024-08-06", 2.5),
        (CostBasis::AzureEu, "gpt-4o-2024-08-06", 2.75),
        (CostBasis::Vercel, "anthropic/claude-opus-4.8", 5.0),
        (CostBasis::Xai, "grok-4-0709", 3.0),
    ] {
        assert_eq!(plain(basis, model), Some((dollars * 1e9) as i64), "{} {model}", basis.name());
    }
}

#[test]
fn what_has_no_price_costs_an_unknown_amount() {
    let usage = tokens(10, 10);
    let none = Terms::default();
    let unknown = cost(CostBasis::Openai, "ours-7b", &none, &usage);
    assert_eq!(unknown, Err(Unpriced::NoModel { list: "openai", model: "ours-7b".into() }));
    let nobody = Book::default().card(&Listing::default(), answered("gpt-4o"), &none, NOW);
    assert_eq!(nobody, Err(Unpriced::NoList));
    assert_eq!(cost(CostBasis::Openai, "gpt-4o", &none, &Usage::default()), Err(Unpriced::NoUsage));
    let half = Usage { output_tokens: None, ..usage };
    assert_eq!(cost(CostBasis::Openai, "gpt-4o", &none, &half), Err(Unpriced::NoUsage));
    let bought = Terms { service_tier: Some("provisioned_throughput".into()), ..Terms::default() };
    assert!(matches!(
        cost(CostBasis::Vertex, "gemini-2.5-pro", &bought, &usage),
        Err(Unpriced::NoTerms { .. })
    ));
    let no_such_tier = Terms { service_tier: Some("flex".into()), ..Terms::default() };
    assert!(matches!(
        cost(CostBasis::Openai, "gpt-4o", &no_such_tier, &usage),
        Err(Unpriced::NoTerms { .. })
    ));
    let searched = Usage { web_searches: Some(1), ..usage };
    assert_eq!(
        cost(CostBasis::Bedrock, "amazon.nova-pro-v1:0", &none, &searched),
        Err(Unpriced::NoRate(Unit::WebSearch))
    );
}

#[test]
fn free_is_known_to_be_free() {
    let usage = tokens(1_000, 1_000);
    assert_eq!(cost(CostBasis::Openrouter, "openai/gpt-oss-20b:free", &Terms::default(), &usage), Ok(0));
}

#[test]
fn every_kind_has_its_rate() {
    // Opus 4.8: 5 in, 0.50 cached, 6.25 and 10 written, 25 out; ten dollars for a thousand searches.
    let usage = Usage {
        input_tokens: Some(1_000 + 2_000 + 3_000 + 4_000),
        uncached_input_tokens: Some(1_000),
        cache_read_tokens: Some(2_000),
        cache_write_tokens: Some(7_000),
        cache_write_5m_tokens: Some(3_000),
        cache_write_1h_tokens: Some(4_000),
        output_tokens: Some(500),
        reasoning_tokens: Some(100),
        web_searches: Some(3),
        ..Usage::default()
    };
    let expected =
        1_000 * 5_000 + 2_000 * 500 + 3_000 * 6_250 + 4_000 * 10_000 + 500 * 25_000 + 3 * 10_000_000;
    assert_eq!(cost(CostBasis::Anthropic, "claude-opus-4-8", &Terms::default(), &usage), Ok(expected));
}

#[test]
fn long_prompts_cost_more_where_the_list_says_so() {
    let card = Book::default()
        .card(&listing(CostBasis::Google), answered("gemini-2.5-pro"), &Terms::default(), NOW)
        .expect("a price");
    let steps: Vec<_> =
        card.steps.iter().map(|step| (step.above, step.rates[Unit::Input as usize])).collect();
    assert_eq!(steps, [(0, 1_250_000), (200_000, 2_500_000)]);
    assert_eq!(card.cost(&Counts::of(&tokens(200_000, 0))), Ok(250_000_000));
    assert_eq!(card.cost(&Counts::of(&tokens(200_001, 0))), Ok(500_002_500));
}

#[test]
fn tiers_speed_and_place_change_the_price() {
    let said = |tier: Option<&str>, speed: Option<&str>, geo: Option<&str>| Terms {
        service_tier: tier.map(str::to_owned),
        speed: speed.map(str::to_owned),
        inference_geo: geo.map(str::to_owned),
        region: None,
    };
    for (basis, model, terms, dollars) in [
        (CostBasis::Openai, "gpt-5", said(Some("default"), None, None), 1.25),
        (CostBasis::Openai, "gpt-5", said(Some("flex"), None, None), 0.625),
        (CostBasis::Openai, "gpt-5", said(Some("priority"), None, None), 2.5),
        (CostBasis::Anthropic, "claude-opus-4-8", said(Some("standard"), Some("standard"), None), 5.0),
        (CostBasis::Anthropic, "claude-opus-4-8", said(Some("batch"), None, None), 2.5),
        (CostBasis::Anthropic, "claude-opus-4-8", said(None, Some("fast"), None), 10.0),
        (CostBasis::Anthropic, "claude-opus-4-6", said(None, Some("fast"), Some("us")), 33.0),
        (CostBasis::Anthropic, "claude-opus-4-8", said(None, None, Some("not_available")), 5.0),
    ] {
        let money = cost(basis, model, &terms, &tokens(1_000_000, 0));
        assert_eq!(money, Ok((dollars * 1e9) as i64), "{model} {terms:?}");
    }
    let frankfurt = Terms { region: Some("europe-west3".into()), ..Terms::default() };
    let claude = cost(CostBasis::Vertex, "claude-opus-4-8", &frankfurt, &tokens(1_000_000, 0));
    assert_eq!(claude, Ok(5_500_000_000));
    let old = cost(CostBasis::Vertex, "claude-3-5-haiku@20241022", &frankfurt, &tokens(1_000_000, 0));
    assert_eq!(old, Ok(800_000_000));
}

#[test]
fn the_price_is_that_of_the_day() {
    // Sonnet 4.6 had a long-context surcharge until 13 March 2026.
    let at = |at: u64| {
        let card = Book::default().card(
            &listing(CostBasis::Anthropic),
            answered("claude-sonnet-4-6"),
            &Terms::default(),
            at,
        );
        card.expect("a price").cost(&Counts::of(&tokens(300_000, 0)))
    };
    let march_12 = 1_773_273_600_000_000;
    assert_eq!(at(march_12), Ok(1_800_000_000));
    assert_eq!(at(NOW), Ok(900_000_000));
}

#[test]
fn a_map_goes_before_the_list_and_its_first_match_holds() {
    let mapped = |pattern: &str, priced_as: Option<&str>, adjustment: f64| Mapped {
        matching: go_match::Pattern::new(pattern).expect("a pattern"),
        priced_as: priced_as.map(str::to_owned),
        adjustment,
    };
    let listing = Listing {
        basis: Some(CostBasis::Openai),
        map: vec![
            mapped("ours-[a-m]*", Some("gpt-4o"), 0.5),
            mapped("ours-*", Some("gpt-4o"), 2.0),
            mapped("gpt-4o", None, 0.0),
        ],
        region: None,
    };
    let cost = |model: &str| {
        let card = Book::default().card(&listing, answered(model), &Terms::default(), NOW);
        card.and_then(|card| card.cost(&Counts::of(&tokens(1_000_000, 0))))
    };
    assert_eq!(cost("ours-large"), Ok(1_250_000_000));
    assert_eq!(cost("ours-small"), Ok(5_000_000_000));
    assert_eq!(cost("gpt-4o"), Ok(0), "a factor of nothing is free, and known to be");
    assert_eq!(cost("gpt-4o-mini"), Ok(150_000_000));
}

#[test]
fn prices_of_ones_own_go_before_all() {
    let written = PriceSettings {
        place: crate::base::settings::Place::default(),
        matching: go_match::Pattern::new("ours-*").expect("a pattern"),
        basis: None,
        input: Dollars(2.0),
        output: Dollars(8.0),
        cache_read: Some(Dollars(0.2)),
        cache_write: None,
        cache_write_1h: None,
        reasoning: None,
        audio_input: None,
        audio_output: None,
        image_input: None,
        image_output: None,
        web_search: None,
        file_search: None,
        audio_hour: None,
        request: None,
        long_above: Some(100_000),
        long_input: Some(2.0),
        long_output: None,
    };
    let mut book = Book::default();
    book.own(&[written]);
    let cost = |usage: &Usage| {
        let card = book.card(&Listing::default(), answered("ours-7b"), &Terms::default(), NOW);
        card.and_then(|card| card.cost(&Counts::of(usage)))
    };
    let cached = Usage { cache_read_tokens: Some(50_000), reasoning_tokens: Some(10), ..tokens(60_000, 100) };
    assert_eq!(cost(&cached), Ok(10_000 * 2_000 + 50_000 * 200 + 100 * 8_000));
    assert_eq!(cost(&tokens(200_000, 100)), Ok(200_000 * 4_000 + 100 * 8_000));
    let searched = Usage { web_searches: Some(1), ..tokens(1, 1) };
    assert_eq!(cost(&searched), Err(Unpriced::NoRate(Unit::WebSearch)));
}

#[test]
fn more_cached_than_prompted_is_no_negative_money() {
    let usage = Usage { cache_read_tokens: Some(387), ..tokens(293, 1) };
    let counts = Counts::of(&usage);
    assert_eq!((counts.of[Unit::Input as usize], counts.of[Unit::CacheRead as usize]), (0, 387));
    assert!(cost(CostBasis::Xai, "grok-4", &Terms::default(), &usage).is_ok_and(|money| money > 0));
}

#[test]
fn absurd_counts_saturate() {
    let all = Usage {
        cache_read_tokens: Some(u64::MAX),
        cache_write_tokens: Some(u64::MAX),
        web_searches: Some(u64::MAX),
        ..tokens(u64::MAX, u64::MAX)
    };
    assert_eq!(cost(CostBasis::Anthropic, "claude-opus-4-8", &Terms::default(), &all), Ok(i64::MAX));
}

#[test]
fn money_reads_well() {
    for (amount, text) in [
        (0, "$0.00"),
        (12_345_678_901, "$12.35"),
        (9_999_999, "$0.010000"),
        (1_234_567, "$0.001235"),
        (42, "$0.000000042"),
        (-2_500_000_000, "-$2.50"),
    ] {
        assert_eq!(dollars(amount), text);
    }
}

#[test]
fn the_data_is_that_of_the_lock_file() {
    let lock = include_str!("../../../Cargo.lock");
    let (name, version) = book::DATA.0.split_once(' ').expect("name and version");
    let entry = format!("name = \"{name}\"\nversion = \"{version}\"");
    assert!(lock.contains(&entry), "raise DATA, and its date, with the crate");
}
