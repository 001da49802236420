//! One exchange: its record, its bodies.

use serde::Serialize;

use super::{Room, Visit};
use crate::admin::audit::Look;
use crate::admin::reply::{Answer, Problem, json, whole};
use crate::base::id::ExchangeId;
use crate::record::record::{BodyKind, Record};
use crate::record::store::{Shown, Worth};
use crate::wire::decode::Decoder;

/// Most of a body that is shown decoded; the rest is cut off and the page says so.
const DECODED_BYTES_MAX: usize = 64 << 20;

/// A record, and what is derived from it when it is looked at.
#[derive(Serialize)]
struct Page {
    #[serde(flatten)]
    record: Record,
    #[serde(flatten)]
    worth: Worth,
}

pub(super) async fn record(room: &Room, visit: &Visit<'_>, id: &str) -> Answer {
    visit.question(&[])?;
    let Shown { record, worth, .. } = shown(room, visit, id, "record").await?;
    json(&Page { record, worth })
}

pub(super) async fn body(room: &Room, visit: &Visit<'_>, id: &str, kind: BodyKind) -> Answer {
    let decode = visit.question(&["decoded"])?.decoded;
    let (part, name) = match kind {
        BodyKind::Request => ("request", "request body"),
        BodyKind::Response => ("response", "response body"),
    };
    let shown = shown(room, visit, id, part).await?;
    let (kept, fields) = match kind {
        BodyKind::Request => (shown.request_body, &shown.record.request_headers),
        BodyKind::Response => (shown.response_body, &shown.record.response_headers),
    };
    let kept = kept.ok_or_else(|| Problem::not_found(name).detail(not_kept(&shown.record)))?;
    let codings: Vec<&str> =
        fields.all("content-encoding").filter_map(|coding| std::str::from_utf8(coding).ok()).collect();
    let (content, cut) = if decode { decoded(kept, &codings)? } else { (kept, false) };
    // Never the type that was sent along: a recorded page must not run in the dashboard's origin.
    let text = std::str::from_utf8(&content).is_ok();
    let content_type = if text { "text/plain; charset=utf-8" } else { "application/octet-stream" };
    let mut page = whole(200, content_type, content);
    if !decode && !codings.is_empty() {
        page.fields.push(b"x-weir-content-encoding", codings.join(", ").as_bytes());
    }
    if cut {
        page.fields.push(b"x-weir-cut", b"1");
    }
    Ok(page)
}

/// The exchange, once it is clear that this viewer may see it and the look is written down.
async fn shown(room: &Room, visit: &Visit<'_>, id: &str, part: &'static str) -> Result<Shown, Problem> {
    let none = || Problem::not_found("exchange");
    let id = id.parse::<ExchangeId>().map_err(|why| none().detail(why.to_string()))?.to_string();
    let wanted = id.clone();
    let shown = room.store.look(move |reader| reader.show(&wanted)).await?.ok_or_else(none)?;
    let principal = &shown.record.who.principal;
    if !visit.viewer.may_see(principal) {
        // As if there were none: whether others' ids exist is theirs to know.
        return Err(none());
    }
    room.audit.note(&visit.viewer, Look::Exchange { id, principal: principal.clone(), part }).await?;
    Ok(shown)
}

fn not_kept(record: &Record) -> String {
    format!(
        "capture is `{}`",
        serde_json::to_value(record.capture).unwrap_or_default().as_str().unwrap_or("")
    )
}

/// Without its content coding; `true` when it was cut off.
fn decoded(coded: Vec<u8>, codings: &[&str]) -> Result<(Vec<u8>, bool), Problem> {
    let cannot = |why: crate::wire::decode::DecodeFault| Problem::new(422, why.reason());
    let decoder = Decoder::new(codings.iter().map(|coding| coding.as_bytes())).map_err(cannot)?;
    let Some(mut decoder) = decoder else { return Ok((coded, false)) };
    let (mut plain, mut cut) = (Vec::new(), false);
    let fed = decoder.feed(&coded, &mut |piece| {
        let room = DECODED_BYTES_MAX - plain.len();
        cut |= piece.len() > room;
        plain.extend_from_slice(&piece[..piece.len().min(room)]);
    });
    // A stream that was cut short decodes up to where it was cut.
    match fed {
        Err(why) if plain.is_empty() => Err(cannot(why)),
        fed => Ok((plain, cut || fed.is_err())),
    }
}
