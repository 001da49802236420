//! The uid at the other end of a loopback connection, asked of the kernel (`sock_diag`, Linux `inet_diag.h`).
//!
//! Deliberately absent: reading `/proc/net/tcp`, which costs a walk over every connection for each look-up.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const HEADER_BYTES: usize = 16;
const REQUEST_BYTES: usize = HEADER_BYTES + 56;
/// Offsets in the answer: header, four bytes of state, the socket's id (48 bytes), three counters, then uid and inode.
const UID_AT: usize = HEADER_BYTES + 4 + 48 + 12;
const INODE_AT: usize = UID_AT + 4;

/// A core's own line to the kernel.
pub(super) struct Diag(OwnedFd);

impl Diag {
    pub(super) fn new() -> io::Result<Self> {
        let protocol = Some(netlink::SOCK_DIAG);
        let flags = SocketFlags::CLOEXEC;
        Ok(Self(rustix::net::socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, protocol)?))
    }

    /// The uid that owns the client's socket of the connection `peer` → `local`; `None` when the kernel does not know
    /// one, or when the socket no longer belongs to a process (the kernel then says 0, which would read as root).
    pub(super) fn uid(&self, peer: SocketAddr, local: SocketAddr) -> Option<u32> {
        rustix::net::send(&self.0, &request(peer, local), SendFlags::DONTWAIT).ok()?;
        let mut answer = [0u8; 512];
        let (taken, _) = rustix::net::recv(&self.0, &mut answer[..], RecvFlags::DONTWAIT).ok()?;
        read_answer(&answer[..taken])
    }
}

fn read_answer(answer: &[u8]) -> Option<u32> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let number = |at: usize| Some(u32::from_ne_bytes(answer.get(at..at + 4)?.try_into().ok()?));
    if kind != SOCK_DIAG_BY_FAMILY || number(INODE_AT)? == 0 {
        return None;
    }
    number(UID_AT)
}

/// `nlmsghdr` and `inet_diag_req_v2` for exactly one socket: the client's, seen from its side.
fn request(peer: SocketAddr, local: SocketAddr) -> [u8; REQUEST_BYTES] {
    let mut out = Vec::with_capacity(REQUEST_BYTES);
    out.extend_from_slice(&(REQUEST_BYTES as u32).to_ne_bytes());
    out.extend_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    out.extend_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    out.extend_from_slice(&[0; 8]);
    let family = if peer.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    const IPPROTO_TCP: u8 = 6;
    out.extend_from_slice(&[family.as_raw() as u8, IPPROTO_TCP, 0, 0]);
    out.extend_from_slice(&u32::MAX.to_ne_bytes());
    out.extend_from_slice(&peer.port().to_be_bytes());
    out.extend_from_slice(&local.port().to_be_bytes());
    out.extend_from_slice(&address(peer.ip()));
    out.extend_from_slice(&address(local.ip()));
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&[0xff; 8]);
    let mut fixed = [0; REQUEST_BYTES];
    fixed.copy_from_slice(&out);
    fixed
}

fn address(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V6(v6) => v6.octets(),
        IpAddr::V4(v4) => {
            let mut padded = [0; 16];
            padded[..4].copy_from_slice(&v4.octets());
            padded
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_names_the_owner_of_a_loopback_socket() {
        for bind in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = std::net::TcpListener::bind(bind) else { continue };
            let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, peer) = listener.accept().unwrap();
            let diag = Diag::new().unwrap();
            let me = rustix::process::getuid().as_raw();
            assert_eq!(diag.uid(peer, server.local_addr().unwrap()), Some(me), "{bind}");
            drop(client);
        }
    }

    #[test]
    fn nobody_is_not_root() {
        let diag = Diag::new().unwrap();
        let nobody: SocketAddr = "127.0.0.1:1".parse().unwrap();
        assert_eq!(diag.uid(nobody, nobody), None);
        let mut orphan = [0u8; 96];
        orphan[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        assert_eq!(read_answer(&orphan), None);
    }
}
