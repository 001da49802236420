//! The dashboard's files, in the binary: plain HTML, CSS and JavaScript, no build, no network.

use super::reply::{Answer, Problem, whole};

/// One of the files.
pub(super) fn file(name: &str) -> Answer {
    let (_, content_type, content) = FILES
        .iter()
        .find(|(known, ..)| *known == name)
        .ok_or_else(|| Problem::not_found("file of the dashboard"))?;
    Ok(whole(200, content_type, *content))
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

const FILES: &[(&str, &str, &str)] = &[
    ("index.html", HTML, include_str!("index.html")),
    ("style.css", CSS, include_str!("style.css")),
    ("app.js", SCRIPT, include_str!("app.js")),
    ("show.js", SCRIPT, include_str!("show.js")),
    ("talk.js", SCRIPT, include_str!("talk.js")),
    ("quotas.js", SCRIPT, include_str!("quotas.js")),
    ("build.js", SCRIPT, include_str!("build.js")),
    ("icon.svg", "image/svg+xml", include_str!("icon.svg")),
];
