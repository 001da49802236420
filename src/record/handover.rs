//! Batches from another process, over a unix socket: a gateway that drains hands its last records to its successor.
//!
//! ```text
//!  peer ── u32 length ── item item item … ──▶ writer          item = u8 tag · u32 length · bytes
//!  peer ◀────────── u64 sequence ──────────── writer          1 open (JSON) · 2 close (JSON) · 3 part (id, kind, bytes)
//! ```
//!
//! The answer comes when the batch is durable. A peer that says anything else is cut off, and nothing of it is taken.
//! Numbers are little endian.

use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::files::explain;
use super::record::{BodyKind, CapturePart, Note};
use crate::base::id::ExchangeId;

/// Most bytes of one batch.
pub const BATCH_BYTES_MAX: usize = 64 << 20;

const OPEN: u8 = 1;
const CLOSE: u8 = 2;
const PART: u8 = 3;

/// How long a peer may be silent in the middle of a batch, and how long a stop may take to be noticed.
const PATIENCE: Duration = Duration::from_secs(10);
const STOP_WITHIN: Duration = Duration::from_millis(200);

/// Where the answer goes.
pub(super) type Ack = crossbeam_channel::Sender<u64>;

/// A batch as it was handed in.
pub(super) struct Handed {
    pub(super) notes: Vec<Note>,
    pub(super) parts: Vec<CapturePart>,
    pub(super) ack: Ack,
}

/// The writer's end: batches wait here for its next turn.
pub(super) struct Door {
    handed: crossbeam_channel::Receiver<Handed>,
    stop: Arc<AtomicBool>,
    path: PathBuf,
}

impl Door {
    pub(super) fn take(&self) -> Option<Handed> {
        self.handed.try_recv().ok()
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Ours to remove: the store's lock is still held.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Hand a batch to the writer behind the socket at `path` and wait until it is durable.
/// Returns the sequence of the log's next block.
pub fn send(path: &Path, notes: &[Note], parts: &[CapturePart]) -> io::Result<u64> {
    let batch = encode(notes, parts)?;
    let mut stream = UnixStream::connect(path).map_err(|e| explain(e, "no writer listens at", path))?;
    stream.write_all(&u32_of(batch.len())?)?;
    stream.write_all(&batch)?;
    let mut answer = [0u8; 8];
    stream.read_exact(&mut answer).map_err(|e| explain(e, "the batch was refused at", path))?;
    Ok(u64::from_le_bytes(answer))
}

/// Listen at `path`, for this user only, on a thread of its own.
pub(super) fn listen(path: &Path) -> io::Result<Door> {
    // What is there is a leftover: whoever listened held the store's lock, which is ours now.
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(explain(e, "cannot replace", path)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(|e| explain(e, "cannot listen at", path))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    // So that the thread looks at `stop` now and then instead of sleeping in accept for ever.
    rustix::net::sockopt::set_socket_timeout(
        &listener,
        rustix::net::sockopt::Timeout::Recv,
        Some(STOP_WITHIN),
    )?;
    let (send, handed) = crossbeam_channel::bounded(1);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    std::thread::Builder::new()
        .name("weir-handover".to_owned())
        .spawn(move || accept(&listener, &send, &stopped))?;
    Ok(Door { handed, stop, path: path.to_owned() })
}

/// One peer at a time: there is one predecessor.
fn accept(listener: &UnixListener, to: &crossbeam_channel::Sender<Handed>, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        match listener.accept() {
            // What a peer does wrong ends its connection and nothing else.
            Ok((stream, _)) => drop(serve(stream, to, stop)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => crate::base::clock::pause(STOP_WITHIN),
        }
    }
}

fn serve(
    mut stream: UnixStream,
    to: &crossbeam_channel::Sender<Handed>,
    stop: &AtomicBool,
) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    loop {
        let mut len = [0u8; 4];
        stream.read_exact(&mut len)?;
        let len = u32::from_le_bytes(len) as usize;
        if len > BATCH_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut batch = Vec::new();
        // Grows with what comes, not with what is claimed.
        (&mut stream).take(len as u64).read_to_end(&mut batch)?;
        if batch.len() < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (notes, parts) = decode(&batch)?;
        let (ack, durable) = crossbeam_channel::bounded(1);
        to.send(Handed { notes, parts, ack }).map_err(|_| io::ErrorKind::BrokenPipe)?;
        let sequence = wait_for(&durable, stop)?;
        stream.write_all(&sequence.to_le_bytes())?;
    }
}

/// A batch that was lost drops its ack; a writer that stops still finishes what it has taken.
fn wait_for(durable: &crossbeam_channel::Receiver<u64>, stop: &AtomicBool) -> io::Result<u64> {
    use crossbeam_channel::RecvTimeoutError::{Disconnected, Timeout};
    loop {
        match durable.recv_timeout(STOP_WITHIN) {
            Ok(sequence) => return Ok(sequence),
            Err(Timeout) if !stop.load(Ordering::Acquire) => {}
            Err(Timeout | Disconnected) => return Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

fn encode(notes: &[Note], parts: &[CapturePart]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut item = |tag: u8, pieces: &[&[u8]]| -> io::Result<()> {
        out.push(tag);
        out.extend_from_slice(&u32_of(pieces.iter().map(|piece| piece.len()).sum())?);
        pieces.iter().for_each(|piece| out.extend_from_slice(piece));
        Ok(())
    };
    for part in parts {
        let kind = match part.kind {
            BodyKind::Request => 0u8,
            BodyKind::Response => 1,
        };
        item(PART, &[&part.id.0.to_le_bytes(), &[kind], &part.bytes])?;
    }
    for note in notes {
        match note {
            Note::Open(open) => item(OPEN, &[&serde_json::to_vec(open)?])?,
            Note::Close(record) => item(CLOSE, &[&serde_json::to_vec(record)?])?,
        }
    }
    if out.len() > BATCH_BYTES_MAX {
        let text = format!(
            "a batch of {} bytes is over the bound of {BATCH_BYTES_MAX}: send it in pieces",
            out.len()
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(out)
}

fn decode(mut batch: &[u8]) -> io::Result<(Vec<Note>, Vec<CapturePart>)> {
    let bad = || io::Error::from(io::ErrorKind::InvalidData);
    let (mut notes, mut parts) = (Vec::new(), Vec::new());
    while let Some((head, rest)) = batch.split_first_chunk::<5>() {
        let len = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let (item, rest) = rest.split_at_checked(len).ok_or_else(bad)?;
        batch = rest;
        match head[0] {
            OPEN => notes.push(Note::Open(serde_json::from_slice(item)?)),
            CLOSE => notes.push(Note::Close(serde_json::from_slice(item)?)),
            PART => parts.push(decode_part(item).ok_or_else(bad)?),
            _ => return Err(bad()),
        }
    }
    if batch.is_empty() { Ok((notes, parts)) } else { Err(bad()) }
}

fn decode_part(item: &[u8]) -> Option<CapturePart> {
    let (id, rest) = item.split_first_chunk::<16>()?;
    let (kind, bytes) = rest.split_first()?;
    let kind = match kind {
        0 => BodyKind::Request,
        1 => BodyKind::Response,
        _ => return None,
    };
    Some(CapturePart { id: ExchangeId(u128::from_le_bytes(*id)), kind, bytes: Bytes::copy_from_slice(bytes) })
}

fn u32_of(len: usize) -> io::Result<[u8; 4]> {
    u32::try_from(len).map(u32::to_le_bytes).map_err(|_| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::record::{Open, Record};

    #[test]
    fn a_batch_survives_the_wire_and_no_cut_of_it_panics() {
        let notes = [
            Note::Open(Box::new(Open { id: ExchangeId(1), method: "POST".to_owned(), ..Open::default() })),
            Note::Close(Box::new(Record { id: ExchangeId(2), status: 200, ..Record::default() })),
        ];
        let parts =
            [CapturePart { id: ExchangeId(2), kind: BodyKind::Response, bytes: Bytes::from_static(b"body") }];
        let batch = encode(&notes, &parts).unwrap();
        let (back, back_parts) = decode(&batch).unwrap();
        assert!(
            matches!(&back[..], [Note::Open(open), Note::Close(record)] if open.id.0 == 1 && record.status == 200)
        );
        assert_eq!((back_parts[0].id, &back_parts[0].bytes[..]), (ExchangeId(2), &b"body"[..]));
        for cut in 0..batch.len() {
            let _ = decode(&batch[..cut]);
        }
        assert!(decode(b"\x09\0\0\0\0").is_err());
        assert!(decode(b"\x03\xff\xff\xff\xff").is_err());
    }
}
