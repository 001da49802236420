//! Answers: pages, JSON, and problems (RFC 9457).

use bytes::Bytes;
use serde::Serialize;
use serde_json::json;

use crate::wire::crossing::{PageBody, PageResponse};
use crate::wire::head::Fields;

/// What an endpoint gives.
pub(super) type Answer = Result<PageResponse, Problem>;

/// Why there is no page, for the caller. Causes that only an operator may know stay out of it.
#[derive(Debug)]
pub(super) struct Problem {
    status: u16,
    title: String,
    detail: Option<String>,
}

impl Problem {
    pub(super) fn new(status: u16, title: impl Into<String>) -> Self {
        Problem { status, title: title.into(), detail: None }
    }

    pub(super) fn detail(self, detail: impl Into<String>) -> Self {
        Problem { detail: Some(detail.into()), ..self }
    }

    pub(super) fn not_found(what: &str) -> Self {
        Problem::new(404, format!("no such {what}"))
    }

    pub(super) fn page(&self) -> PageResponse {
        let Problem { status, title, detail } = self;
        let mut body = json!({"type": "about:blank", "title": title, "status": status});
        if let Some(detail) = detail {
            body["detail"] = json!(detail);
        }
        whole(*status, "application/problem+json", format!("{body}\n"))
    }
}

/// A page that is there.
pub(super) fn whole(status: u16, content_type: &str, content: impl Into<Bytes>) -> PageResponse {
    PageResponse { status, fields: fields(content_type), body: PageBody::Whole(content.into()) }
}

/// A value as JSON.
pub(super) fn json(value: &impl Serialize) -> Answer {
    let mut text = serde_json::to_vec(value).map_err(|why| Problem::new(500, why.to_string()))?;
    text.push(b'\n');
    Ok(whole(200, "application/json", text))
}

pub(super) fn redirect(to: &str) -> PageResponse {
    let mut page = whole(303, "text/plain; charset=utf-8", format!("see {to}\n"));
    page.fields.push(b"location", to.as_bytes());
    page
}

/// Fields of every page. Nothing of it is for caches, frames or guesses at its type.
pub(super) fn fields(content_type: &str) -> Fields {
    [
        ("content-type", content_type),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        (
            "content-security-policy",
            "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'",
        ),
    ]
    .into_iter()
    .collect()
}
