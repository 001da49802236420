//! A connection, plain or with TLS over it. One face for both, driven by readiness; of both directions, since the pump
//! is the same and only the handshake differs.

use std::io::{self, ErrorKind};
use std::task::{Context, Poll};

use rustls::pki_types::ServerName;

use super::fault::{Fault, Kind};
use super::io::Socket;
use super::readiness::READS_A_TURN;
use super::tls::{PlainState, Tls, TlsFault};
use crate::policy::snapshot::Origin;
use std::sync::Arc;

/// Ciphertext taken at once: one TLS record of the largest size.
const SEALED_BYTES: usize = 17 * 1024;

/// What is said of a connection that ended before its handshake did.
pub(super) const CLOSED: &str = "closed within the handshake";

/// A connection to a provider, or of a client.
pub(super) enum Transport {
    /// The bare socket.
    Plain(Socket),
    /// TLS.
    Tls(Box<Sealed>),
}

/// A socket and the pump over it.
pub(super) struct Sealed {
    socket: Socket,
    tls: Tls,
    /// Plaintext on its way to the caller.
    plain: Vec<u8>,
    /// Whether the last read left more to be had without waiting.
    more: bool,
}

impl Transport {
    /// Speak TLS over a connected socket where the origin wants it.
    pub(super) async fn open(
        socket: Socket,
        origin: &Origin,
        config: &Arc<rustls::ClientConfig>,
    ) -> Result<Self, Fault> {
        if !origin.tls {
            return Ok(Transport::Plain(socket));
        }
        let name = ServerName::try_from(origin.host.clone()).map_err(|why| Fault::because(Kind::Tls, why))?;
        let mut sealed = Box::new(Sealed::over(socket, Tls::new(config.clone(), name).map_err(refused)?));
        sealed.shake_hands().await?;
        Ok(Transport::Tls(sealed))
    }

    /// Speak TLS with a client that has connected. [`Transport::shake_hands`] comes first.
    pub(super) fn accept(socket: Socket, config: Arc<rustls::ServerConfig>) -> Result<Self, Fault> {
        Ok(Transport::Tls(Box::new(Sealed::over(socket, Tls::accept(config).map_err(refused)?))))
    }

    /// Agree on keys, where there are to be any.
    pub(super) async fn shake_hands(&mut self) -> Result<(), Fault> {
        match self {
            Transport::Plain(_) => Ok(()),
            Transport::Tls(sealed) => sealed.shake_hands().await,
        }
    }

    /// The certificate that the other side has shown (DER).
    pub(super) fn certificate(&self) -> Option<&[u8]> {
        match self {
            Transport::Plain(_) => None,
            Transport::Tls(sealed) => sealed.tls.certificate(),
        }
    }

    /// The socket below.
    pub(super) fn socket(&self) -> &Socket {
        match self {
            Transport::Plain(socket) => socket,
            Transport::Tls(sealed) => &sealed.socket,
        }
    }

    /// As [`Transport::try_read`], behind what a vector holds, up to its spare capacity.
    pub(super) fn try_read_behind(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Transport::Plain(socket) => socket.try_read_behind(into),
            Transport::Tls(sealed) => {
                let room = into.capacity() - into.len();
                sealed.read_onto(into, room)
            }
        }
    }

    /// Whether something that was taken to be sent still waits for the socket.
    pub(super) fn is_behind(&self) -> bool {
        match self {
            Transport::Plain(_) => false,
            Transport::Tls(sealed) => sealed.tls.wants_write(),
        }
    }

    /// Ready once all that was taken to be sent has gone, or cannot go any more.
    pub(super) fn poll_flush(&mut self, cx: &Context<'_>) -> Poll<()> {
        match self {
            Transport::Plain(_) => Poll::Ready(()),
            Transport::Tls(sealed) => sealed.poll_flush(cx),
        }
    }

    /// Say properly that nothing more will be sent; what says so may have to be flushed.
    pub(super) fn say_end(&mut self) {
        if let Transport::Tls(sealed) = self {
            sealed.tls.close();
        }
    }

    /// Read what has arrived; `WouldBlock` when nothing has, 0 at a proper end, `UnexpectedEof` when TLS was cut short.
    pub(super) fn try_read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Transport::Plain(socket) => socket.try_read(into),
            Transport::Tls(sealed) => sealed.try_read(into),
        }
    }

    /// Send what the connection takes now, of two pieces in one call.
    pub(super) fn try_write(&mut self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        match self {
            Transport::Plain(socket) if second.is_empty() => socket.try_write(first),
            Transport::Plain(socket) if first.is_empty() => socket.try_write(second),
            Transport::Plain(socket) => socket.try_write_two(first, second),
            Transport::Tls(sealed) => sealed.try_write(first, second),
        }
    }

    /// Ready when a read may give something.
    pub(super) fn poll_readable(&mut self, cx: &Context<'_>) -> Poll<()> {
        match self {
            Transport::Plain(socket) => socket.poll_readable(cx),
            Transport::Tls(sealed) => sealed.poll_readable(cx),
        }
    }

    /// Ready when a write may take something.
    pub(super) fn poll_writable(&self, cx: &Context<'_>) -> Poll<()> {
        match self {
            Transport::Plain(socket) => socket.poll_writable(cx),
            Transport::Tls(sealed) => sealed.socket.poll_writable(cx),
        }
    }

    /// Whether an idle connection is still good. Session tickets that came meanwhile are taken in, not held against it.
    pub(super) fn is_quiet(&mut self) -> bool {
        match self {
            Transport::Plain(socket) => socket.is_quiet(),
            Transport::Tls(sealed) => sealed.socket.is_quiet() || sealed.gives_nothing(),
        }
    }

    /// The number of the core's turn: what comes within one is not seen before the next.
    pub(super) fn turn(&self) -> u32 {
        self.socket().turn()
    }

    /// As [`Transport::is_quiet`], asked of the kernel.
    pub(super) fn is_silent(&mut self) -> bool {
        match self {
            Transport::Plain(socket) => socket.is_silent(),
            Transport::Tls(sealed) => sealed.gives_nothing(),
        }
    }
}

impl Sealed {
    fn over(socket: Socket, tls: Tls) -> Self {
        Self { socket, tls, plain: Vec::new(), more: false }
    }

    async fn shake_hands(&mut self) -> Result<(), Fault> {
        let lost = |why: io::Error| Fault::because(Kind::Tls, why);
        loop {
            while !self.flush().map_err(lost)? {
                self.socket.writable().await;
            }
            if !self.tls.is_handshaking() {
                // What came together with its end is no news of the socket any more.
                self.more = true;
                return Ok(());
            }
            self.socket.readable().await;
            match self.take() {
                Ok(true) => {}
                Ok(false) => return Err(Fault::because(Kind::Tls, CLOSED)),
                Err(why) if why.kind() == ErrorKind::WouldBlock => {}
                Err(why) => {
                    // The alert that says why is the provider's to see, too.
                    let _ = self.flush();
                    return Err(lost(why));
                }
            }
        }
    }

    fn try_read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut plain = std::mem::take(&mut self.plain);
        let read = self.read_onto(&mut plain, into.len());
        if let Ok(n) = read {
            into[..n].copy_from_slice(&plain);
        }
        read
    }

    fn gives_nothing(&mut self) -> bool {
        matches!(self.try_read(&mut [0]), Err(why) if why.kind() == ErrorKind::WouldBlock)
    }

    /// Read what has arrived behind what `out` holds, up to `max` bytes of it.
    fn read_onto(&mut self, out: &mut Vec<u8>, max: usize) -> io::Result<usize> {
        // TLS records without content could go on for ever. After so many reads the socket is not readable this turn, and
        // what is left of them waits for the next.
        for _ in 0..READS_A_TURN {
            match self.tls.plaintext(out, max).map_err(broken)? {
                PlainState::Some(n) => {
                    self.more = true;
                    return Ok(n);
                }
                PlainState::CleanEnd => return Ok(0),
                PlainState::Empty => self.more = false,
            }
            if !self.take()? {
                self.tls.ciphertext_ended();
            }
            // Answers to what was read (handshake, key update) go out at once, or wait for `poll_readable`.
            self.flush()?;
        }
        Err(ErrorKind::WouldBlock.into())
    }

    /// Take ciphertext in; false at the end of the socket.
    fn take(&mut self) -> io::Result<bool> {
        let mut block = [0u8; SEALED_BYTES];
        let n = self.socket.try_read(&mut block)?;
        self.tls.take_ciphertext(&block[..n]).map_err(broken)?;
        Ok(n > 0)
    }

    fn try_write(&mut self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        let mut taken = self.tls.send(first);
        if taken == first.len() {
            taken += self.tls.send(second);
        }
        self.flush()?;
        if taken == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    /// Send ciphertext; false when the socket takes no more for now.
    fn flush(&mut self) -> io::Result<bool> {
        loop {
            let sealed = self.tls.ciphertext();
            if sealed.is_empty() {
                return Ok(true);
            }
            match self.socket.try_write(sealed) {
                Ok(n) => self.tls.consumed(n),
                Err(why) if why.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(why) => return Err(why),
            }
        }
    }

    fn poll_flush(&mut self, cx: &Context<'_>) -> Poll<()> {
        while self.tls.wants_write() {
            if self.socket.poll_writable(cx).is_pending() {
                return Poll::Pending;
            }
            match self.flush() {
                Ok(true) => break,
                Ok(false) => {}
                Err(_) => break,
            }
        }
        Poll::Ready(())
    }

    fn poll_readable(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.more {
            return self.socket.poll_turn(cx);
        }
        // What rustls still holds for the provider goes out while we wait for the answer.
        while !self.tls.ciphertext().is_empty() && self.socket.poll_writable(cx).is_ready() {
            if self.flush().is_err() {
                // The read that follows will find it, too.
                return Poll::Ready(());
            }
        }
        self.socket.poll_readable(cx)
    }
}

fn refused(why: TlsFault) -> Fault {
    Fault::because(Kind::Tls, why)
}

fn broken(why: TlsFault) -> io::Error {
    let kind =
        if matches!(why, TlsFault::Truncated) { ErrorKind::UnexpectedEof } else { ErrorKind::InvalidData };
    io::Error::new(kind, why.to_string())
}
