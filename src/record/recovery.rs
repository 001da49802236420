//! What a start does about the end of an earlier run: an index that is behind or ahead, exchanges without an end.

use std::io;

use super::files::{Layout, Segments, explain};
use super::line::Bodies;
use super::record::{CaptureState, Open, Outcome, QuotaNote, Record};
use super::segment::Head;
use super::store::index::Index;
use super::store::log;

/// Open the index and bring it up to the log, making it anew where it tells of a log that is not this one. Returns also
/// how many records it had read that the log has no more: they were acknowledged, so they are lost, whoever lost them.
pub(super) fn open_index(layout: &Layout, log_files: &Segments, head: Head) -> io::Result<(Index, u64)> {
    let mut index = Index::open(layout)?;
    let position = index.position()?;
    let mut missing = 0;
    if position.head.next > head.next || (position.head.next == head.next && position.head.hash != head.hash)
    {
        missing = index.records_from(log_files.end())?;
        drop(index);
        Index::set_aside(layout)?;
        index = Index::open(layout)?;
    }
    let path = layout.index();
    log::catch_up(layout, &mut index, log_files.end())
        .map_err(|e| explain(e, "cannot bring up to date", &path))?;
    Ok((index, missing))
}

/// What was reserved and never settled may have been spent.
fn charged(note: QuotaNote) -> QuotaNote {
    QuotaNote { charged: Some(note.reserved), ..note }
}

/// The record of an exchange that was open when the gateway went.
pub(super) fn lost_record(open: Open, bodies: &Bodies) -> Record {
    let mut record = Record {
        id: open.id,
        outcome: Outcome::GatewayLost,
        who: open.who,
        caller: open.caller,
        dialect: open.dialect,
        method: open.method,
        path: open.path,
        provider: open.provider,
        quotas: open.quotas.into_iter().map(charged).collect(),
        ..Record::default()
    };
    record.estimated = !record.quotas.is_empty();
    record.times.accepted_at_us = open.accepted_at_us;
    record.ask.model = open.model;
    if *bodies != Bodies::default() {
        record.capture = CaptureState::Shed;
    }
    record
}
