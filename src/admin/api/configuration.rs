//! The configuration file: shown with its secrets kept back, checked, saved.
//!
//! ```text
//!   saved text ─ marks become secrets again ─ compiled ─ may this saver change that? ─ audit line ─ renamed into place
//!                         └─ 422               └─ 422      └─ 403                       └─ 503
//! ```
//!
//! Saves come one after another, so that of two people with the same `If-Match` one gets 412. Without the field the text
//! is taken whatever stands there: that is for a pipeline whose own repository is the truth.
//!
//! Bodies are the text itself, or the incumbent's `{"config": TEXT}`, which is answered to whoever sends it or accepts JSON.
//!
//! In force it comes the way every changed file does: whoever watches sees it within a second.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Room, Visit};
use crate::admin::audit::Look;
use crate::admin::reply::{Answer, Problem, json as as_json, whole};
use crate::base::settings;
use crate::config::masked::{masked, restored};
use crate::config::reload::Source;
use crate::config::save::refusals;
use crate::policy::identity::Principal;
use crate::wire::head::Fields;

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
    let wrapped = visit.fields.all("accept").any(|accepted| names(accepted, b"application/json"));
    let mut page =
        if wrapped { as_json(&json!({"config": shown}))? } else { whole(200, "application/json", shown) };
    page.fields.push(b"etag", tag(&text).as_bytes());
    Ok(page)
}

/// What would be said of this text.
pub(super) async fn validate(room: &Room, visit: &Visit<'_>) -> Answer {
    admins_only(visit)?;
    let (source, Sent { text, .. }) = (room.facts.source.clone(), sent(visit)?);
    room.audit.note(&visit.viewer, Look::Config { action: "validate", tag: String::new() }).await?;
    let looked = tokio::task::spawn_blocking(move || {
        let text = restored(&text, &stored(&source).unwrap_or_default())?;
        source.compile(&text).map(|loaded| loaded.warnings)
    });
    let told = looked.await.map_err(|_| Problem::new(500, "the text could not be looked at"))?;
    let (accepted, problems) = told.map_or_else(|problems| (false, problems), |warnings| (true, warnings));
    let errors: Vec<String> = match accepted {
        true => Vec::new(),
        false => problems.iter().map(ToString::to_string).collect(),
    };
    // The last two are what the incumbent's clients read.
    as_json(
        &json!({"accepted": accepted, "problems": listed(&problems), "valid": accepted, "errors": errors}),
    )
}

/// Put this text into the file's place.
pub(super) async fn write(room: &Room, visit: &Visit<'_>) -> Answer {
    admins_only(visit)?;
    let (source, sent, saver) = (room.facts.source.clone(), sent(visit)?, visit.asker.clone());
    let wanted = Wanted::read(visit.fields);
    let _alone = room.saving.lock().await;
    let text = sent.text;
    let looked = tokio::task::spawn_blocking(move || judged(&source, &text, &wanted, &saver)).await;
    let save = looked.map_err(|_| Problem::new(500, "the text could not be looked at"))?;
    let save = match save? {
        Judged::Good(save) => save,
        Judged::Bad(status, problems) => return Ok(refused(status, &problems)),
    };
    let new_tag = tag(&save.text);
    room.audit.note(&visit.viewer, Look::Config { action: "write", tag: new_tag.clone() }).await?;
    let path = room.facts.source.file.clone().ok_or_else(no_file)?;
    let mut told = json!({"saved": true, "in_force_within_seconds": 1, "problems": listed(&save.warnings)});
    if sent.wrapped {
        told["config"] = masked(&save.text).unwrap_or_default().into();
    }
    let written = tokio::task::spawn_blocking(move || save.replace(&path)).await;
    written.map_err(|why| Problem::new(500, why.to_string()))??;
    let mut page = as_json(&told)?;
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

/// What was sent.
struct Sent {
    text: String,
    /// Within the incumbent's JSON.
    wrapped: bool,
}

/// No configuration has a key `config`, so the two forms cannot be taken for each other.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped {
    config: String,
    /// The incumbent's older name for the tag.
    #[serde(default, rename = "hash")]
    _hash: Option<String>,
}

fn sent(visit: &Visit<'_>) -> Result<Sent, Problem> {
    let text = match serde_json::from_slice::<Wrapped>(visit.body) {
        Ok(wrapped) => Sent { text: wrapped.config, wrapped: true },
        Err(_) => {
            let text = String::from_utf8(visit.body.to_vec());
            Sent { text: text.map_err(|_| Problem::new(422, "the text is not UTF-8"))?, wrapped: false }
        }
    };
    if text.text.len() > TEXT_BYTES_MAX {
        return Err(Problem::new(413, format!("a configuration has at most {TEXT_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// Whether a list of media types names this one.
fn names(accepted: &[u8], media_type: &[u8]) -> bool {
    accepted.windows(media_type.len()).any(|part| part.eq_ignore_ascii_case(media_type))
}

/// What the saver wants to replace (RFC 9110 13.1.1).
enum Wanted {
    /// Whatever stands there.
    Anything,
    /// One of these states. A weak tag matches nothing: comparison is strong.
    These(Vec<String>),
}

impl Wanted {
    fn read(fields: &Fields) -> Self {
        let all: Vec<String> =
            fields.all("if-match").map(|one| String::from_utf8_lossy(one).into_owned()).collect();
        let tags: Vec<String> =
            all.iter().flat_map(|one| one.split(',')).map(|tag| tag.trim().to_owned()).collect();
        if tags.is_empty() || tags == ["*"] { Wanted::Anything } else { Wanted::These(tags) }
    }

    fn is(&self, text: &str) -> bool {
        match self {
            Wanted::Anything => true,
            Wanted::These(tags) => tags.contains(&tag(text)),
        }
    }
}

fn changed() -> Problem {
    Problem::new(412, "the file has changed since it was read").detail("read it again")
}

/// What a state of the file is called.
fn tag(text: &str) -> String {
    format!("\"{:016x}\"", xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
}

/// What may be saved.
struct Save {
    /// What it was judged against.
    old: String,
    text: String,
    warnings: Vec<settings::Problem>,
}

enum Judged {
    Good(Save),
    Bad(u16, Vec<settings::Problem>),
}

fn judged(source: &Source, text: &str, wanted: &Wanted, saver: &Principal) -> Result<Judged, Problem> {
    let old = stored(source)?;
    if !wanted.is(&old) {
        return Err(changed());
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
        true => Ok(Judged::Good(Save { old, text, warnings: new.warnings })),
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

impl Save {
    /// Into the file's place, unless somebody with an editor was there meanwhile: what was judged is what is replaced.
    fn replace(&self, path: &Path) -> Result<(), Problem> {
        let locked = |why: io::Error| {
            Problem::new(409, "config_locked").detail(format!("the file cannot be written here: {why}"))
        };
        let path = path.canonicalize().map_err(locked)?;
        if fs::read_to_string(&path).map_err(locked)? != self.old {
            return Err(changed());
        }
        replace(&path, &self.text).map_err(locked)
    }
}

/// Written beside, synced, renamed; links were followed, so that a link stays one.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".saved");
    let mut file = File::create(&beside)?;
    file.set_permissions(fs::metadata(path)?.permissions())?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)
}
