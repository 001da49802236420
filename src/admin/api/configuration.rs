//! The configuration file: shown with its secrets kept back, checked, saved.
//!
//! ```text
//!   saved text ─ marks become secrets again ─ compiled ─ may this saver change that? ─ audit line ─ renamed into place
//!                         └─ 422               └─ 422      └─ 403                       └─ 503
//! ```
//!
//! In force it comes the way every changed file does: whoever watches sees it within a second.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::{Room, Visit};
use crate::admin::audit::Look;
use crate::admin::reply::{Answer, Problem, json as as_json, whole};
use crate::base::settings;
use crate::config::masked::{masked, restored};
use crate::config::reload::Source;
use crate::config::save::refusals;
use crate::policy::identity::Principal;

/// Longest text.
const TEXT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The file, with a tag for [`write`].
pub(super) async fn read(room: &Room, visit: &Visit<'_>) -> Answer {
    admins_only(visit)?;
    room.audit.note(&visit.viewer, Look::Config { action: "read", tag: String::new() }).await?;
    let text = stored(&room.facts.source)?;
    let shown = masked(&text).ok_or_else(|| {
        Problem::new(409, "the file cannot be read just now").detail("see GET /api/health for why")
    })?;
    let mut page = whole(200, "application/json", shown);
    page.fields.push(b"etag", tag(&text).as_bytes());
    Ok(page)
}

/// What would be said of this text.
pub(super) async fn validate(room: &Room, visit: &Visit<'_>) -> Answer {
    admins_only(visit)?;
    let (source, text) = (room.facts.source.clone(), sent(visit)?);
    room.audit.note(&visit.viewer, Look::Config { action: "validate", tag: String::new() }).await?;
    let looked = tokio::task::spawn_blocking(move || {
        let text = restored(&text, &stored(&source).unwrap_or_default())?;
        source.compile(&text).map(|loaded| loaded.warnings)
    });
    let told = looked.await.map_err(|_| Problem::new(500, "the text could not be looked at"))?;
    let (accepted, problems) = told.map_or_else(|problems| (false, problems), |warnings| (true, warnings));
    as_json(&json!({"accepted": accepted, "problems": listed(&problems)}))
}

/// Put this text into the file's place.
pub(super) async fn write(room: &Room, visit: &Visit<'_>) -> Answer {
    admins_only(visit)?;
    let (source, text, saver) = (room.facts.source.clone(), sent(visit)?, visit.asker.clone());
    let wanted = visit.fields.text("if-match").map(str::to_owned);
    let looked = tokio::task::spawn_blocking(move || judged(&source, &text, wanted.as_deref(), &saver)).await;
    let save = looked.map_err(|_| Problem::new(500, "the text could not be looked at"))?;
    let save = match save? {
        Judged::Good(save) => save,
        Judged::Bad(status, problems) => return Ok(refused(status, &problems)),
    };
    let new_tag = tag(&save.text);
    room.audit.note(&visit.viewer, Look::Config { action: "write", tag: new_tag.clone() }).await?;
    let path = room.facts.source.file.clone().ok_or_else(no_file)?;
    let warnings = listed(&save.warnings);
    let written = tokio::task::spawn_blocking(move || replace(&path, &save.text)).await;
    written.map_err(io::Error::other).flatten().map_err(|why| {
        Problem::new(409, "config_locked").detail(format!("the file cannot be written here: {why}"))
    })?;
    let mut page = as_json(&json!({"saved": true, "in_force_within_seconds": 1, "problems": warnings}))?;
    page.fields.push(b"etag", new_tag.as_bytes());
    Ok(page)
}

fn admins_only(visit: &Visit<'_>) -> Result<(), Problem> {
    let admin = visit.viewer.is_admin();
    admin.then_some(()).ok_or_else(|| Problem::new(403, "the configuration is for admins"))
}

fn no_file() -> Problem {
    Problem::new(409, "there is no file")
        .detail("the gateway runs by the embedded default: start it with --config")
}

fn stored(source: &Source) -> Result<String, Problem> {
    let path = source.file.as_ref().ok_or_else(no_file)?;
    fs::read_to_string(path)
        .map_err(|why| Problem::new(409, "the file cannot be read").detail(why.to_string()))
}

fn sent(visit: &Visit<'_>) -> Result<String, Problem> {
    if visit.body.len() > TEXT_BYTES_MAX {
        return Err(Problem::new(413, format!("a configuration has at most {TEXT_BYTES_MAX} bytes")));
    }
    String::from_utf8(visit.body.to_vec()).map_err(|_| Problem::new(422, "the text is not UTF-8"))
}

/// What a state of the file is called.
fn tag(text: &str) -> String {
    format!("\"{:016x}\"", xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
}

/// What may be saved.
struct Save {
    text: String,
    warnings: Vec<settings::Problem>,
}

enum Judged {
    Good(Save),
    Bad(u16, Vec<settings::Problem>),
}

fn judged(source: &Source, text: &str, wanted: Option<&str>, saver: &Principal) -> Result<Judged, Problem> {
    let old = stored(source)?;
    if wanted.is_some_and(|wanted| wanted != "*" && wanted != tag(&old)) {
        return Err(Problem::new(412, "the file has changed since it was read").detail("read it again"));
    }
    let text = match restored(text, &old) {
        Ok(text) => text,
        Err(problems) => return Ok(Judged::Bad(422, problems)),
    };
    let new = match source.compile(&text) {
        Ok(new) => new,
        Err(problems) => return Ok(Judged::Bad(422, problems)),
    };
    // By what a bad file says nobody has been admin yet.
    let before = source.compile(&old).unwrap_or_default();
    let refusals = refusals((&old, &before.snapshot), (&text, &new.snapshot), saver);
    match refusals.is_empty() {
        true => Ok(Judged::Good(Save { text, warnings: new.warnings })),
        false => Ok(Judged::Bad(403, refusals)),
    }
}

fn refused(status: u16, problems: &[settings::Problem]) -> crate::wire::crossing::PageResponse {
    let title =
        if status == 403 { "this may not be saved through the API" } else { "this is no good configuration" };
    let body = json!({"type": "about:blank", "title": title, "status": status, "problems": listed(problems)});
    whole(status, "application/problem+json", format!("{body}\n"))
}

fn listed(problems: &[settings::Problem]) -> Vec<Value> {
    let one = |problem: &settings::Problem| {
        json!({"severity": problem.severity, "line": problem.place.line, "column": problem.place.column,
               "path": &*problem.place.path, "what": problem.what, "expected": problem.expected,
               "nearest": problem.nearest})
    };
    problems.iter().map(one).collect()
}

/// Written beside, synced, renamed; links are followed, so that a link stays one.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let path = path.canonicalize()?;
    let beside = path.with_extension("saved");
    let mut file = File::create(&beside)?;
    file.set_permissions(fs::metadata(&path)?.permissions())?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, &path)
}
