//! Lists and sums: usage, exchanges, sessions, tools. Rows are the store's own, by its names.

use super::{Room, Visit};
use crate::admin::audit::Look;
use crate::admin::reply::{Answer, json};
use crate::record::store::{Filter, GroupBy};

/// Groups in one answer; hours of a year fit.
const GROUPS_MAX: usize = 10_000;

pub(super) async fn usage(room: &Room, visit: &Visit<'_>) -> Answer {
    let mut question = visit.sums(&["by"])?;
    if question.by == GroupBy::Session {
        // One agent's run is no sum over everybody.
        question = visit.question(&["by"])?;
        audit(room, visit, "sessions", &question.filter).await?;
    }
    let rows = room.store.look(move |reader| {
        let mut rows = reader.usage(&question.filter, question.by)?;
        rows.truncate(GROUPS_MAX);
        Ok(rows)
    });
    json(&rows.await?)
}

pub(super) async fn requests(room: &Room, visit: &Visit<'_>) -> Answer {
    let question = visit.question(&["limit", "before", "after", "order"])?;
    audit(room, visit, "requests", &question.filter).await?;
    let rows = room.store.look(move |reader| match question.by_end {
        true => reader.tail(&question.filter, question.after, question.limit),
        false => reader.requests(&question.filter, question.limit, question.before),
    });
    json(&rows.await?)
}

pub(super) async fn sessions(room: &Room, visit: &Visit<'_>) -> Answer {
    let question = visit.question(&["limit"])?;
    audit(room, visit, "sessions", &question.filter).await?;
    json(&room.store.look(move |reader| reader.sessions(&question.filter, question.limit)).await?)
}

pub(super) async fn tools(room: &Room, visit: &Visit<'_>) -> Answer {
    let question = visit.sums(&["limit"])?;
    json(&room.store.look(move |reader| reader.tools(&question.filter, question.limit)).await?)
}

/// Sums over everybody are no look at anyone; lists are.
async fn audit(
    room: &Room,
    visit: &Visit<'_>,
    noun: &'static str,
    filter: &Filter,
) -> Result<(), crate::admin::reply::Problem> {
    room.audit.note(&visit.viewer, Look::List { noun, filter: Box::new(filter.clone()) }).await
}
