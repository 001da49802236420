//! In whose language to refuse what leads to no endpoint: a client reads an error only in its own.
//!
//! Deliberately absent: any right. What stands here opens nothing; the closed table of [`super::paths`] does.

use super::{Dialect, paths};
use crate::wire::head::Fields;

/// The language that a client probably speaks who asks for this path; none for pages and whatever else.
#[must_use]
pub fn spoken(path: &str, fields: &Fields) -> Option<Dialect> {
    let within = || WITHIN.iter().find(|(part, _)| path.contains(part)).map(|row| row.1);
    let nearby = || NEARBY.iter().find(|(start, _)| path.starts_with(start)).map(|row| row.1);
    let dialect = paths::dialect_of(path).or_else(within).or_else(nearby);
    // The two whose APIs have paths in common; Anthropic's clients always name their version.
    let shared = matches!(dialect, Some(Dialect::Chat | Dialect::Responses)) && path.starts_with("/v1/");
    match shared && fields.get("anthropic-version").is_some() {
        true => Some(Dialect::Messages),
        false => dialect,
    }
}

/// Vertex's publishers.
const WITHIN: &[(&str, Dialect)] = &[
    ("/publishers/anthropic/", Dialect::Messages),
    ("/publishers/mistralai/", Dialect::Chat),
    ("/publishers/ai21/", Dialect::Chat),
    ("/endpoints/openapi/", Dialect::Chat),
];

/// How the paths of each API begin; the first that fits counts.
const NEARBY: &[(&str, Dialect)] = &[
    ("/v1/messages", Dialect::Messages),
    ("/v1/complete/", Dialect::Messages),
    ("/anthropic/", Dialect::Messages),
    ("/v1beta/openai/", Dialect::Chat),
    ("/v1beta/", Dialect::Gemini),
    ("/v1alpha/", Dialect::Gemini),
    ("/v1beta1/", Dialect::Gemini),
    ("/v1/projects/", Dialect::Gemini),
    ("/v1/publishers/", Dialect::Gemini),
    ("/upload/v1beta/", Dialect::Gemini),
    ("/v1internal", Dialect::CodeAssist),
    ("/model/", Dialect::Converse),
    ("/bedrock/", Dialect::Converse),
    ("/guardrail/", Dialect::Converse),
    ("/v1/responses", Dialect::Responses),
    ("/v1/", Dialect::Chat),
    ("/openai/", Dialect::Chat),
    ("/chat/", Dialect::Chat),
    ("/responses", Dialect::Responses),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leads_nowhere_is_in_the_language_of_its_neighbours() {
        let none = Fields::new();
        for (path, dialect) in [
            ("/v1/messages/nothing", Some(Dialect::Messages)),
            ("/v1/chat/completions", Some(Dialect::Chat)),
            ("/v1/nothing", Some(Dialect::Chat)),
            ("/v1beta/models/m:nothing", Some(Dialect::Gemini)),
            ("/model/m/nothing", Some(Dialect::Converse)),
            ("/api/chat", Some(Dialect::Ollama)),
            ("/v1internal:nothing", Some(Dialect::CodeAssist)),
            ("/nothing", None),
            ("/", None),
            ("*", None),
            ("", None),
        ] {
            assert_eq!(spoken(path, &none), dialect, "{path}");
        }
        let version: Fields = [("anthropic-version", "2023-06-01")].into_iter().collect();
        assert_eq!(spoken("/v1/skills", &version), Some(Dialect::Messages));
        assert_eq!(spoken("/v1/models/m", &version), Some(Dialect::Messages));
        assert_eq!(spoken("/v1beta/models", &version), Some(Dialect::Gemini));
    }
}
