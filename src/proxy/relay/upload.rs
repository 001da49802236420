//! The first phase: the request goes up, head and body by its length or in chunks of ours.

use std::borrow::Cow;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::task::{Context, Poll};

use super::waiting::Event;
use super::{Broken, Relay, gone, write_chunk};
use crate::policy::decide::Hop;
use crate::policy::snapshot::Provider;
use crate::proxy::credentials::signs;
use crate::proxy::fault::{Fault, Kind};
use crate::proxy::heads::{self, Outbound, Upload};
use crate::proxy::request::Body;
use crate::wire::h1::Framing;

/// Bodies up to this go out in one piece with their head: cheaper than a gathering write.
const JOINED_BODY_BYTES: usize = 16 * 1024;

const WHILE_CONNECTING: &str = "before its request was sent";
const WHILE_SENDING: &str = "while its request was being sent";

impl Relay<'_, '_> {
    /// Send head and body; ends early when the provider answers early.
    pub(super) async fn upload(&mut self, provider: &Provider, hop: Option<&Hop>) -> Result<(), Broken> {
        let form = self.form();
        let mut head = Vec::with_capacity(2048);
        // What has to be told apart as it passes is asked for without a content coding.
        let plain = self.sending.account.asks_plain() || self.sending.asked_usage;
        let added = added_fields(hop, plain);
        let body = if signs(provider) { self.sending.body.sendable() } else { &[] };
        let outbound = Outbound {
            request: self.sending.request,
            target: &self.sending.target,
            provider,
            added: &added,
            upload: form,
            shown: &self.sending.shown,
            body,
            plain: self.sending.body.is_renamed(),
        };
        heads::write_request(&mut head, &outbound);
        let mut out = Outgoing::new(form, head);
        out.join_small(self.sending.body);
        if poll_fn(|cx| Poll::Ready(self.has_left(cx))).await {
            return Err(gone(WHILE_CONNECTING).into());
        }
        loop {
            out.fill(self.sending.body);
            let pushed = self.push(&mut out);
            self.sending.account.request_sent(out.body_sent);
            let blocked = match pushed {
                Ok(()) if out.is_done(self.sending.body) => {
                    self.uploaded = true;
                    return Ok(());
                }
                Ok(()) => false,
                Err(why) if why.kind() == ErrorKind::WouldBlock => true,
                // A provider may answer and close before it has read everything; what it said decides, not the write.
                Err(_) => return Ok(()),
            };
            self.conn.limit.set_after(self.core.limits().body_idle);
            match self.wait_upload(blocked).await {
                Event::Writable => {}
                Event::FromClient if self.sending.body.is_done() => return Err(gone(WHILE_SENDING).into()),
                Event::FromClient => self.more_body().await?,
                Event::FromProvider => return Ok(()),
                Event::Late if blocked => return Err(Fault::new(Kind::FirstByteTimeout).into()),
                Event::Late => return Err(Fault::new(Kind::BodyTimeout).into()),
            }
        }
    }

    /// Whether the client of a complete request has left, as far as is known now.
    fn has_left(&mut self, cx: &mut Context<'_>) -> bool {
        self.sending.body.is_done() && self.conn.poll_gone(self.core, cx).is_ready()
    }

    fn form(&self) -> Upload {
        let length = self.sending.body.renamed_length().or(self.sending.request.length);
        match (length, &self.sending.request.framing) {
            (Some(length), _) => Upload::Length(length),
            (None, Framing::Chunked(_)) if self.sending.body.is_done() => {
                Upload::Length(self.sending.body.bytes.len() as u64)
            }
            (None, Framing::Chunked(_)) => Upload::Chunked,
            (None, _) => Upload::None,
        }
    }

    /// Send what can be sent; `WouldBlock` when the provider takes no more for now.
    fn push(&mut self, out: &mut Outgoing) -> io::Result<()> {
        loop {
            let (first, second) = out.pending(self.sending.body);
            if first.is_empty() && second.is_empty() {
                return Ok(());
            }
            let n = self.lease.transport.try_write(first, second)?;
            out.advance(n);
        }
    }

    /// Take more of the request; at its end the reader judges the whole, before the last byte is let go.
    async fn more_body(&mut self) -> Result<(), Fault> {
        if !self.sending.body.take(self.core, self.conn)? {
            return Ok(());
        }
        if self.sending.body.is_done() {
            self.sending.judge_whole(self.core, self.conn).await?;
        } else if let Some(reader) = &mut self.sending.asked.reader {
            reader.advance(&self.sending.body.bytes)?;
        }
        Ok(())
    }
}

/// Fields that the request gains on its way: those of grants, and where the answer must be readable, no coding.
fn added_fields(hop: Option<&Hop>, plain: bool) -> Cow<'_, [(String, String)]> {
    let added = hop.map_or(&[][..], |hop| &hop.add_headers);
    if !plain {
        return Cow::Borrowed(added);
    }
    let no_coding = ("accept-encoding".to_owned(), "identity".to_owned());
    Cow::Owned(added.iter().cloned().chain([no_coding]).collect())
}

/// The request on its way out: head, then body by length or in our own chunks.
struct Outgoing {
    form: Upload,
    /// Head, and with [`Upload::Chunked`] everything framed so far.
    framed: Vec<u8>,
    framed_sent: usize,
    /// Body bytes sent, or framed in chunks.
    body_sent: usize,
    ended: bool,
}

impl Outgoing {
    fn new(form: Upload, head: Vec<u8>) -> Self {
        Self { form, framed: head, framed_sent: 0, body_sent: 0, ended: false }
    }

    /// A small complete body goes behind its head, in the same piece.
    fn join_small(&mut self, body: &Body) {
        if matches!(self.form, Upload::Length(_))
            && body.is_done()
            && body.sendable().len() <= JOINED_BODY_BYTES
        {
            self.framed.extend_from_slice(body.sendable());
            self.body_sent = body.sendable().len();
        }
    }

    /// Frame what has newly come, where we frame.
    fn fill(&mut self, body: &Body) {
        if self.form != Upload::Chunked || self.ended {
            return;
        }
        if self.framed_sent == self.framed.len() {
            self.framed.clear();
            self.framed_sent = 0;
        }
        let fresh = &body.sendable()[self.body_sent..];
        write_chunk(&mut self.framed, fresh);
        self.body_sent += fresh.len();
        if body.is_done() {
            self.framed.extend_from_slice(b"0\r\n\r\n");
            self.ended = true;
        }
    }

    fn pending<'b>(&'b self, body: &'b Body) -> (&'b [u8], &'b [u8]) {
        let framed = &self.framed[self.framed_sent..];
        match self.form {
            Upload::Length(_) => (framed, &body.sendable()[self.body_sent..]),
            Upload::None | Upload::Chunked => (framed, &[]),
        }
    }

    fn advance(&mut self, n: usize) {
        let of_framed = n.min(self.framed.len() - self.framed_sent);
        self.framed_sent += of_framed;
        self.body_sent += n - of_framed;
    }

    fn is_done(&self, body: &Body) -> bool {
        let (framed, rest) = self.pending(body);
        framed.is_empty() && rest.is_empty() && body.is_done() && (self.form != Upload::Chunked || self.ended)
    }
}
