//! TLS in both directions: rustls as a pump between buffers, with no socket in sight. "The other side" is a provider, or
//! a client of a listener with a certificate.
//!
//! ```text
//!   socket ── bytes ──▶ take_ciphertext ──▶ ┌────────┐ ──▶ plaintext ──▶ relay
//!                                           │ rustls │
//!   socket ◀─ bytes ── ciphertext/consumed ◀└────────┘ ◀── send ◀─────── relay
//! ```
//!
//! The caller owns the socket and its readiness: it reads what has come into a buffer of the core, gives all of it to
//! [`Tls::take_ciphertext`], takes the plaintext out, and after *every* step sends what [`Tls::ciphertext`] shows. Also
//! after reading: the rest of a handshake and alerts are answers to what was read, and a reader that does not flush
//! them stalls or leaves the provider guessing. What is to be sent is gathered into one buffer, so that many TLS
//! records cost one system call.
//!
//! What a reader would get wrong: the end of the socket is not the end of the stream. Anyone on the way can close a TCP
//! connection, only the provider can say `close_notify`. So an end without it is [`TlsFault::Truncated`], and a body
//! that has no length of its own must then count as cut short, not as complete.
//!
//! An idle connection holds none of our buffers: both are given back when they run empty, and rustls is made to shrink
//! its own once all plaintext is taken; some 8 KiB remain. Deliberately absent: I/O, time limits, retries, splitting into halves (one task owns a connection), and a process-wide crypto provider, which a
//! second library in the binary could set differently.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection};

/// The most ciphertext that waits to be sent on one connection, and the most plaintext that waits for the handshake.
pub const WAITING_BYTES_MAX: usize = 64 * 1024;

/// One TLS connection, of either side.
pub struct Tls {
    conn: Connection,
    /// Ciphertext on its way out; the first `sent` bytes of it are gone already.
    sealed: Vec<u8>,
    sent: usize,
    /// Plaintext that rustls had no more room for in the midst of a block; the first `read` bytes of it are read.
    opened: Vec<u8>,
    read: usize,
}

/// What [`Tls::plaintext`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainState {
    /// So many bytes were appended.
    Some(usize),
    /// Nothing for now.
    Empty,
    /// The provider has said that nothing more will come.
    CleanEnd,
}

impl Tls {
    /// A connection to `name`; its first bytes are ready to be sent.
    pub fn new(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, TlsFault> {
        Ok(Self::over(Connection::Client(ClientConnection::new(config, name)?)))
    }

    /// A connection that a client has opened; it speaks first.
    pub fn accept(config: Arc<ServerConfig>) -> Result<Self, TlsFault> {
        Ok(Self::over(Connection::Server(ServerConnection::new(config)?)))
    }

    fn over(mut conn: Connection) -> Self {
        conn.set_buffer_limit(Some(WAITING_BYTES_MAX));
        Self { conn, sealed: Vec::new(), sent: 0, opened: Vec::new(), read: 0 }
    }

    /// The certificate that the other side has shown and rustls has verified (DER).
    #[must_use]
    pub fn certificate(&self) -> Option<&[u8]> {
        self.conn.peer_certificates().and_then(<[_]>::first).map(AsRef::as_ref)
    }

    /// Take all of what the socket gave. Call it while [`Tls::wants_read`]: then no more plaintext is held than one
    /// block brings. After a fault an alert may be waiting in [`Tls::ciphertext`]; send it, then close.
    pub fn take_ciphertext(&mut self, mut bytes: &[u8]) -> Result<(), TlsFault> {
        while !bytes.is_empty() {
            match self.conn.read_tls(&mut bytes) {
                // Behind a `close_notify` nothing is read any more, and nothing there is worth reading.
                Ok(0) => return Ok(()),
                Ok(_) => {
                    self.conn.process_new_packets()?;
                }
                // How rustls says that its plaintext must be taken before it reads on.
                Err(full) if full.kind() == io::ErrorKind::Other && self.set_plaintext_aside() > 0 => {}
                Err(error) => return Err(TlsFault::Buffer(error.kind())),
            }
        }
        Ok(())
    }

    /// The socket is at its end. Whether that was the end of the stream is for [`Tls::plaintext`] to say.
    pub fn ciphertext_ended(&mut self) {
        // Reading nothing is how rustls is told.
        let _ = self.conn.read_tls(&mut io::empty());
    }

    /// Append up to `max` bytes of plaintext to `out`.
    pub fn plaintext(&mut self, out: &mut Vec<u8>, max: usize) -> Result<PlainState, TlsFault> {
        let before = out.len();
        let aside = (self.opened.len() - self.read).min(max);
        out.extend_from_slice(&self.opened[self.read..self.read + aside]);
        self.read += aside;
        if self.read == self.opened.len() {
            (self.opened, self.read) = (Vec::new(), 0);
        }
        let end = self.conn.reader().take((max - aside) as u64).read_to_end(out);
        match (out.len() - before, end) {
            (0, _) if max == 0 => Ok(PlainState::Empty),
            (0, Ok(_)) => Ok(PlainState::CleanEnd),
            (0, Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                self.rest();
                Ok(PlainState::Empty)
            }
            (0, Err(_)) => Err(TlsFault::Truncated),
            // Whatever stopped it comes again at the next call.
            (n, _) => Ok(PlainState::Some(n)),
        }
    }

    /// Take plaintext to be sent, as much of it as there is room for; the rest is the caller's to offer again.
    #[expect(
        clippy::disallowed_methods,
        reason = "the short write is the bound, and the caller is told of it"
    )]
    pub fn send(&mut self, plain: &[u8]) -> usize {
        let room = WAITING_BYTES_MAX.saturating_sub(self.ciphertext().len());
        self.conn.writer().write(&plain[..plain.len().min(room)]).unwrap_or(0)
    }

    /// What the socket is to send next: everything there is, in one piece.
    pub fn ciphertext(&mut self) -> &[u8] {
        while self.conn.wants_write() {
            // A vector takes all it is given.
            let _ = self.conn.write_tls(&mut self.sealed);
        }
        &self.sealed[self.sent..]
    }

    /// The socket has taken the first `n` bytes of [`Tls::ciphertext`].
    pub fn consumed(&mut self, n: usize) {
        self.sent += n;
        debug_assert!(self.sent <= self.sealed.len(), "more sent than there was");
        if self.sent >= self.sealed.len() {
            (self.sealed, self.sent) = (Vec::new(), 0);
        } else if self.sent >= WAITING_BYTES_MAX {
            // Or the buffer of a socket that never quite catches up would grow for ever.
            self.sealed.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Tell the other side that nothing more will be sent; the alert then waits in [`Tls::ciphertext`].
    pub fn close(&mut self) {
        self.conn.send_close_notify();
    }

    /// Whether more ciphertext is of use: not while plaintext waits to be read, nor after a clean end.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        self.opened.is_empty() && self.conn.wants_read()
    }

    /// Whether [`Tls::ciphertext`] has something to send.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        self.sent < self.sealed.len() || self.conn.wants_write()
    }

    /// Whether the two sides have not agreed on keys yet.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.conn.is_handshaking()
    }

    /// The protocol that was agreed on, once the handshake is over.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.conn.alpn_protocol()
    }

    /// Have rustls give back what a busy time has left behind. It sizes its own buffer before it reads, so an attempt
    /// that finds nothing brings it from 18 KiB to 4 (measured, 300 kB gone each way: 37 kB a connection before, 8 after).
    fn rest(&mut self) {
        struct Nothing;
        impl Read for Nothing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
        let _ = self.conn.read_tls(&mut Nothing);
    }

    /// Make room in rustls by moving its plaintext aside.
    fn set_plaintext_aside(&mut self) -> usize {
        let before = self.opened.len();
        // It ends in `WouldBlock` or at the end of the stream, and both come again in `plaintext`.
        let _ = self.conn.reader().read_to_end(&mut self.opened);
        self.opened.len() - before
    }
}

/// What connections to providers trust and offer: the roots of the web, and the authorities of `extra_ca_pem` beside
/// them (a company's own). One per core and list of protocols, kept for as long as the core: it remembers sessions.
pub fn client_config(extra_ca_pem: Option<&[u8]>, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, TlsFault> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(pem) = extra_ca_pem {
        add_authorities(&mut roots, pem)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

fn add_authorities(roots: &mut RootCertStore, pem: &[u8]) -> Result<(), TlsFault> {
    let before = roots.len();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| TlsFault::Authorities(error.to_string()))?;
        roots.add(certificate).map_err(|error| TlsFault::Authorities(error.to_string()))?;
    }
    if roots.len() == before {
        return Err(TlsFault::Authorities("it holds no certificate".to_owned()));
    }
    Ok(())
}

/// Why a TLS connection did not come to be, or did not come to a good end.
#[derive(Clone, Debug, PartialEq)]
pub enum TlsFault {
    /// The other side's certificate was not accepted: unknown authority, other name, out of date.
    Certificate(rustls::CertificateError),
    /// The two sides did not agree, or the other one broke the protocol (or does not speak it at all).
    Protocol(rustls::Error),
    /// The connection ended without the provider having said so: what came may not be all there was.
    Truncated,
    /// The file of extra authorities cannot be used.
    Authorities(String),
    /// A TLS message without end.
    Buffer(io::ErrorKind),
}

impl From<rustls::Error> for TlsFault {
    fn from(error: rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(why) => TlsFault::Certificate(why),
            other => TlsFault::Protocol(other),
        }
    }
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsFault::Certificate(why) => write!(f, "the certificate is not accepted: {why}"),
            TlsFault::Protocol(error) => write!(f, "TLS failed: {error}"),
            TlsFault::Truncated => f.write_str("the connection ended without a TLS close"),
            TlsFault::Authorities(why) => write!(f, "the file of extra certificate authorities: {why}"),
            TlsFault::Buffer(kind) => write!(f, "a TLS message without end ({kind})"),
        }
    }
}

impl std::error::Error for TlsFault {}

#[cfg(test)]
mod tests;
