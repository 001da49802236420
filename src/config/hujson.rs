//! HuJSON (JSON with comments and trailing commas) into a [`Tree`] with positions. The only place that names the
//! parser, whose further leniencies (single quotes, hex, missing commas) are all off: they are not HuJSON.

use std::collections::HashSet;

use jsonc_parser::ast::Value;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use crate::base::settings::{Entry, Kind, Problem, Reader, Tree};

/// A file larger than this is refused unread.
pub const TEXT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Longest key.
pub const KEY_BYTES_MAX: usize = 256;

/// The tree, with syntax errors and duplicate keys noted.
pub fn parse(text: &str, reader: &mut Reader<'_>) -> Option<Tree> {
    if text.len() > TEXT_BYTES_MAX {
        reader.problems.push(
            Problem::error(&reader.place(0), format!("the file has {} bytes", text.len()))
                .expected(format!("expected at most {TEXT_BYTES_MAX}")),
        );
        return None;
    }
    let value = match parse_to_ast(text, &CollectOptions::default(), &hujson()) {
        Ok(parsed) => parsed.value,
        Err(error) => {
            let place = reader.place(error.range().start);
            reader.problems.push(Problem::error(&place, error.kind().to_string()));
            return None;
        }
    };
    let Some(value) = value else {
        let problem = Problem::error(&reader.place(0), "the file is empty").expected("expected an object");
        reader.problems.push(problem);
        return None;
    };
    Some(tree(value, reader))
}

fn hujson() -> ParseOptions {
    ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    }
}

/// The parser bounds the depth, so this recursion is bounded too.
fn tree(value: Value<'_>, reader: &mut Reader<'_>) -> Tree {
    match value {
        Value::NullKeyword(null) => Tree { at: null.range.start, kind: Kind::Null },
        Value::BooleanLit(bool) => Tree { at: bool.range.start, kind: Kind::Bool(bool.value) },
        Value::NumberLit(number) => {
            Tree { at: number.range.start, kind: Kind::Number(number.value.to_owned()) }
        }
        Value::StringLit(text) => Tree { at: text.range.start, kind: Kind::Text(text.value.into_owned()) },
        Value::Array(array) => {
            let items = array.elements.into_iter().enumerate();
            let items = items.map(|(i, item)| reader.under_index(i, |reader| tree(item, reader))).collect();
            Tree { at: array.range.start, kind: Kind::List(items) }
        }
        Value::Object(object) => Tree { at: object.range.start, kind: Kind::Map(entries(object, reader)) },
    }
}

fn entries(object: jsonc_parser::ast::Object<'_>, reader: &mut Reader<'_>) -> Vec<Entry> {
    let mut seen = HashSet::new();
    let mut entries = Vec::with_capacity(object.properties.len());
    for property in object.properties {
        let at = property.range.start;
        let key = property.name.into_string();
        if key.len() > KEY_BYTES_MAX {
            // Not read further: every place below it would carry the key in its path.
            let problem = Problem::error(&reader.place(at), format!("a key of {} bytes", key.len()));
            reader.problems.push(problem.expected(format!("expected at most {KEY_BYTES_MAX}")));
            continue;
        }
        let value = reader.under(&key, |reader| {
            if !seen.insert(key.clone()) {
                let problem = Problem::error(&reader.place(at), "duplicate key");
                reader
                    .problems
                    .push(problem.expected("keep one of them: which one would win is not obvious"));
            }
            tree(property.value, reader)
        });
        entries.push(Entry { at, key, value });
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let mut reader = Reader::new(text);
        let _ = parse(text, &mut reader);
        reader.problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn comments_and_trailing_commas_are_welcome() {
        assert_eq!(problems("// a\n{ /* b */ \"a\": [1, 2,], }\n"), Vec::<String>::new());
    }

    #[test]
    fn everything_else_beyond_json_is_refused_with_its_place() {
        for text in [
            "{'a': 1}",
            "{a: 1}",
            "{\"a\": 0x1}",
            "{\"a\": 1 \"b\": 2}",
            "{\"a\": +1}",
            "{\"a\": NaN}",
            "",
            "{",
            "{} {}",
        ] {
            assert_eq!(problems(text).len(), 1, "{text}: {:?}", problems(text));
        }
        assert!(
            problems("{\n  \"a\": tru\n}")[0].starts_with("2:8: error"),
            "{:?}",
            problems("{\n  \"a\": tru\n}")
        );
    }

    #[test]
    fn a_key_written_twice_is_an_error_escaped_too() {
        let found = problems("{\"a\": {\"b\": 1,\n \"\\u0062\": 2}}");
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("2:2: error: a.b: duplicate key"), "{found:?}");
    }

    #[test]
    fn depth_is_bounded() {
        assert_eq!(problems(&"[".repeat(100_000)).len(), 1);
    }
}
