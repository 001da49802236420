//! A client's connection: what came before its first request (PROXY header, TLS), and one face for whatever it is made
//! of. In the clear each call is the socket's own.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::task::{Context, Poll};

use super::fault::{Fault, Kind};
use super::io::Socket;
use super::transport::{CLOSED, Transport};
use crate::wire::proxyv2::{HEADER_BYTES_MAX, Parsed, Proxied, parse};

/// The fixed part of a PROXY header, which tells the length of the rest.
const PROXY_FIXED: usize = 16;

/// A client's connection.
pub(super) struct Downstream(Transport);

impl Downstream {
    /// Over a socket, with TLS where the listener has it: then [`Downstream::shake_hands`] comes before all else but
    /// what a balancer says, which stands below it.
    pub(super) fn over(socket: Socket, tls: Option<Arc<rustls::ServerConfig>>) -> Result<Self, Fault> {
        match tls {
            None => Ok(Self(Transport::Plain(socket))),
            Some(config) => Transport::accept(socket, config).map(Self),
        }
    }

    /// Agree on keys.
    pub(super) async fn shake_hands(&mut self) -> Result<(), Fault> {
        self.0.shake_hands().await.map_err(|fault| {
            let gone = fault.cause == CLOSED;
            Fault::because(if gone { Kind::ClientGone } else { Kind::Handshake }, fault.cause)
        })
    }

    /// The socket below.
    pub(super) fn socket(&self) -> &Socket {
        self.0.socket()
    }

    /// The certificate that the client has shown and TLS has verified (DER).
    pub(super) fn certificate(&self) -> Option<&[u8]> {
        self.0.certificate()
    }

    /// Read what has arrived; `WouldBlock` when nothing has, 0 at the end.
    pub(super) fn try_read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(into)
    }

    /// As [`Downstream::try_read`], behind what a vector holds, up to its spare capacity.
    pub(super) fn try_read_behind(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        self.0.try_read_behind(into)
    }

    /// Send what the connection takes now; `WouldBlock` when it takes nothing.
    pub(super) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes, &[])
    }

    /// Ready when a read may give something.
    pub(super) fn poll_readable(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.0.poll_readable(cx)
    }

    /// Ready when a write may take something.
    pub(super) fn poll_writable(&self, cx: &Context<'_>) -> Poll<()> {
        self.0.poll_writable(cx)
    }

    /// Whether something that was taken to be sent still waits for the socket: then [`Downstream::poll_flush`] must be
    /// polled, or it waits for the next write.
    pub(super) fn is_behind(&self) -> bool {
        self.0.is_behind()
    }

    /// Ready once all that was taken to be sent has gone, or cannot go any more.
    pub(super) fn poll_flush(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.0.poll_flush(cx)
    }

    /// Say properly that nothing more will be sent, where there is a way to; [`Downstream::finish`] follows.
    pub(super) fn say_end(&mut self) {
        self.0.say_end();
    }

    /// End the sending half; what was sent still arrives.
    pub(super) fn finish(&self) {
        self.0.socket().finish();
    }

    /// End the connection with a reset.
    pub(super) fn reset(&self) {
        self.0.socket().reset();
    }
}

/// Read a balancer's PROXY header, and not a byte behind it: that belongs to the client.
pub(super) async fn proxied(socket: &Socket) -> Result<Proxied, Fault> {
    let bad = |why: &dyn std::fmt::Display| Fault::because(Kind::Balancer, why);
    let mut header: Vec<u8> = Vec::with_capacity(PROXY_FIXED);
    loop {
        match parse(&header) {
            Parsed::Done(_, proxied) => return Ok(proxied),
            Parsed::Bad(why) => return Err(bad(&why)),
            Parsed::More => {}
        }
        let mut block = [0; HEADER_BYTES_MAX];
        let missing = whole_length(&header) - header.len();
        match socket.try_read(&mut block[..missing]) {
            Ok(0) if header.is_empty() => return Err(Fault::because(Kind::ClientGone, "said nothing")),
            Ok(0) => return Err(bad(&"closed within its header")),
            Ok(n) => header.extend_from_slice(&block[..n]),
            Err(why) if why.kind() == ErrorKind::WouldBlock => {
                socket.readable().await;
            }
            Err(why) => return Err(bad(&why)),
        }
    }
}

/// How long the header is, as far as that is known.
fn whole_length(header: &[u8]) -> usize {
    match header.get(PROXY_FIXED - 2..PROXY_FIXED) {
        Some(&[high, low]) => {
            (PROXY_FIXED + usize::from(u16::from_be_bytes([high, low]))).min(HEADER_BYTES_MAX)
        }
        _ => PROXY_FIXED,
    }
}
