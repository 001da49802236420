//! Live tail: records as they become durable, as server-sent events. `id` is the cursor, so a reader that reconnects
//! goes on where it was.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, TryRecvError};
use tokio::sync::mpsc;

use super::{Room, Visit};
use crate::admin::audit::Look;
use crate::admin::reply::{Answer, Problem, fields};
use crate::record::store::{Filter, RequestRow};
use crate::wire::crossing::{PageBody, PageResponse};

/// Rows a slow reader may be behind before it misses some, and is told.
const ROWS_BEHIND_MAX: usize = 4096;
/// Rows from the store when a reader comes back.
const ROWS_MISSED_MAX: u32 = 1000;
/// Pieces on their way to a reader.
const PIECES_MAX: usize = 16;
/// How often the rows are looked for, and how often silence is broken.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const QUIET_LOOKS: u32 = 100;

pub(super) async fn page(room: &Room, visit: &Visit<'_>) -> Answer {
    let question = visit.question(&["after"])?;
    let place =
        room.tails.clone().try_acquire_owned().map_err(|_| Problem::new(503, "too many live tails"))?;
    room.audit
        .note(&visit.viewer, Look::List { noun: "tail", filter: Box::new(question.filter.clone()) })
        .await?;
    // Subscribed before the store is asked: a row is seen twice rather than never, and told once.
    let rows = room.facts.tail.subscribe(ROWS_BEHIND_MAX);
    let last_seen =
        visit.fields.text("last-event-id").and_then(|id| id.trim().parse().ok()).or(question.after);
    let filter = question.filter.clone();
    let missed = match last_seen {
        Some(after) => {
            room.store.look(move |reader| reader.tail(&filter, Some(after), ROWS_MISSED_MAX)).await?
        }
        None => Vec::new(),
    };
    let (to, pieces) = mpsc::channel(PIECES_MAX);
    let drain = room.facts.drain.clone();
    let mut tail = Tail { filter: question.filter, rows, cursor: last_seen.unwrap_or(0) };
    tokio::spawn(async move {
        let _place = place;
        let mut first = String::from("retry: 1000\n: live\n\n");
        missed.iter().for_each(|row| tail.tell(row, &mut first));
        if to.send(first.into()).await.is_err() {
            return;
        }
        let mut quiet = 0;
        // The reader leaves, the writer goes, or the gateway drains: a tail holds up none of them.
        while !to.is_closed() && !drain.load(Ordering::Relaxed) {
            tokio::time::sleep(LOOK_EVERY).await;
            let Some(mut piece) = tail.look() else { return };
            quiet = if piece.is_empty() { quiet + 1 } else { 0 };
            if quiet == QUIET_LOOKS {
                piece.push_str(": quiet\n\n");
                quiet = 0;
            }
            if !piece.is_empty() && to.send(Bytes::from(piece)).await.is_err() {
                return;
            }
        }
    });
    Ok(PageResponse { status: 200, fields: fields("text/event-stream"), body: PageBody::Live(pieces) })
}

struct Tail {
    filter: Filter,
    rows: Receiver<Arc<RequestRow>>,
    /// Last row told.
    cursor: i64,
}

impl Tail {
    /// What has come since the last look; `None` when nothing will come any more.
    fn look(&mut self) -> Option<String> {
        let mut piece = String::new();
        for _ in 0..ROWS_BEHIND_MAX {
            match self.rows.try_recv() {
                Ok(row) => self.tell(&row, &mut piece),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) if piece.is_empty() => return None,
                Err(TryRecvError::Disconnected) => break,
            }
        }
        Some(piece)
    }

    fn tell(&mut self, row: &RequestRow, piece: &mut String) {
        if row.cursor <= self.cursor {
            return;
        }
        self.cursor = row.cursor;
        if !fits(&self.filter, row) {
            return;
        }
        if let Ok(json) = serde_json::to_string(row) {
            piece.push_str(&format!("id: {}\ndata: {json}\n\n", row.cursor));
        }
    }
}

/// The store's filter, on one row.
fn fits(filter: &Filter, row: &RequestRow) -> bool {
    let same = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is);
    let model = row.model.as_deref().or(row.model_asked.as_deref()).unwrap_or_default();
    filter.since.is_none_or(|since| row.accepted_at_us >= since)
        && filter.until.is_none_or(|until| row.accepted_at_us < until)
        && same(&filter.principal, &row.principal)
        && same(&filter.agent, &row.agent)
        && same(&filter.session, &row.session)
        && same(&filter.provider, &row.provider)
        && same(&filter.model, model)
        && filter.outcome.is_none_or(|outcome| outcome == row.outcome)
        && filter.status.is_none_or(|status| status == row.status)
        && filter.tool.as_ref().is_none_or(|tool| row.tools.contains(tool))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cursor: i64, principal: &str) -> Arc<RequestRow> {
        let model_asked = Some("m".to_owned());
        Arc::new(RequestRow { cursor, principal: principal.into(), model_asked, ..RequestRow::default() })
    }

    #[test]
    fn rows_are_told_once_in_order_and_only_to_those_who_may_see_them() {
        let (to, rows) = crossbeam_channel::bounded(8);
        let filter = Filter { principal: Some("ada".into()), model: Some("m".into()), ..Filter::default() };
        let mut tail = Tail { filter, rows, cursor: 4 };
        for sent in [row(4, "ada"), row(5, "bob"), row(6, "ada")] {
            to.send(sent).unwrap();
        }
        let piece = tail.look().unwrap();
        assert!(piece.starts_with("id: 6\ndata: {") && piece.ends_with("}\n\n"), "{piece}");
        assert_eq!(piece.matches("id: ").count(), 1);
        assert_eq!(tail.look().as_deref(), Some(""));
        drop(to);
        assert_eq!(tail.look(), None);
    }
}
