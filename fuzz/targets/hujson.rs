//! HuJSON: what is JSON to everybody is the same to us; the places of what is wrong lie inside the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use weir::base::settings::{Reader, plain};
use weir::config::hujson;

/// Numbers keep the digits as written; elsewhere they are what their reader makes of them.
fn without_numbers(value: Value) -> Value {
    match value {
        Value::Number(_) => Value::from(0),
        Value::Array(items) => items.into_iter().map(without_numbers).collect(),
        Value::Object(entries) => entries.into_iter().map(|(key, value)| (key, without_numbers(value))).collect(),
        other => other,
    }
}

fuzz_target!(|text: &str| {
    let mut reader = Reader::new(text);
    let tree = hujson::parse(text, &mut reader);
    assert!(tree.is_some() || reader.failed(), "refused without a word");
    let lines = text.split('\n').count();
    for problem in &reader.problems {
        let (line, column) = (problem.place.line as usize, problem.place.column as usize);
        assert!((1..=lines).contains(&line), "line {line} of {lines}");
        let written = text.split('\n').nth(line - 1).unwrap_or_default();
        assert!((1..=written.chars().count() + 2).contains(&column), "column {column} of {written:?}");
    }
    // Duplicate keys, long keys and great depth are refused here and not there.
    let (Some(tree), Ok(value), false) = (tree, serde_json::from_str(text), reader.failed()) else { return };
    assert_eq!(without_numbers(plain(&tree)), without_numbers(value));
});
