//! Through an egress proxy: CONNECT (RFC 9110 9.3.6), then whatever the origin speaks.

use std::io::ErrorKind;

use super::fault::{Fault, Kind};
use super::io::Socket;
use crate::policy::snapshot::{Origin, Proxy};
use crate::wire::h1::{HeadLimits, HeadScan, parse_response};

/// Ask the proxy for a way to the origin. What comes behind its answer is the origin's.
pub(super) async fn open(socket: &mut Socket, proxy: &Proxy, origin: &Origin) -> Result<(), Fault> {
    let refused = |why: &dyn std::fmt::Display| Fault::because(Kind::Proxy, why);
    let host = if origin.host.contains(':') { format!("[{}]", origin.host) } else { origin.host.clone() };
    let place = format!("{host}:{}", origin.port);
    let credential = proxy.authorization.as_ref().map(|value| format!("Proxy-Authorization: {value}\r\n"));
    let ask = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{}\r\n", credential.unwrap_or_default());
    let mut left = ask.as_bytes();
    while !left.is_empty() {
        match socket.try_write(left) {
            Ok(n) => left = &left[n..],
            Err(why) if why.kind() == ErrorKind::WouldBlock => socket.writable().await,
            Err(why) => return Err(refused(&why)),
        }
    }
    let limits = HeadLimits::default();
    let (mut scan, mut bytes) = (HeadScan::default(), Vec::new());
    loop {
        if scan.end(&bytes, &limits).map_err(|why| refused(&why))?.is_some() {
            break;
        }
        socket.readable().await;
        // One byte at a time near the end would be needed if an origin spoke first; neither TLS nor HTTP does.
        let mut block = [0; 1024];
        match socket.try_read(&mut block) {
            Ok(0) => return Err(refused(&"closed without an answer")),
            Ok(n) => bytes.extend_from_slice(&block[..n]),
            Err(why) if why.kind() == ErrorKind::WouldBlock => {}
            Err(why) => return Err(refused(&why)),
        }
    }
    let response = parse_response(&bytes, "CONNECT", &limits).map_err(|why| refused(&why))?;
    match response.head.status {
        200..=299 => Ok(()),
        status => Err(refused(&format!("the proxy answered {status}"))),
    }
}
