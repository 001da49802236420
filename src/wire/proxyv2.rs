//! PROXY protocol, version 2: what a balancer says about the connection it hands on. Sans-io.
//!
//! Only to be read from addresses that the listener lists; from anybody else these bytes are a bad request. The
//! header either comes first and whole or the connection is closed: nothing is guessed.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const FIXED: usize = 16;
/// A longer header is refused; real ones have some hundred bytes.
pub const HEADER_BYTES_MAX: usize = 4096;

/// What the bytes so far amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Not all of it is here.
    More,
    /// Whole: this many bytes belong to it.
    Done(usize, Proxied),
    /// No such header. Close the connection.
    Bad(&'static str),
}

/// Whom the balancer speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxied {
    /// Itself (its own health checks).
    Local,
    /// A client at this address.
    From(SocketAddr),
    /// A client whose address is of a kind that says nothing here.
    Unknown,
}

/// Read a header from the first bytes of a connection.
#[must_use]
pub fn parse(bytes: &[u8]) -> Parsed {
    let seen = bytes.len().min(SIGNATURE.len());
    if bytes[..seen] != SIGNATURE[..seen] {
        return Parsed::Bad("no PROXY header of version 2");
    }
    let Some(fixed) = bytes.first_chunk::<FIXED>() else { return Parsed::More };
    let [version, family] = [fixed[12], fixed[13]];
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if version >> 4 != 2 {
        return Parsed::Bad("another version of the PROXY protocol");
    }
    if FIXED + length > HEADER_BYTES_MAX {
        return Parsed::Bad("a PROXY header that is too long");
    }
    let Some(body) = bytes.get(FIXED..FIXED + length) else { return Parsed::More };
    match version & 0xf {
        0 => Parsed::Done(FIXED + length, Proxied::Local),
        1 => addresses(family, body, FIXED + length),
        _ => Parsed::Bad("an unknown PROXY command"),
    }
}

fn addresses(family: u8, body: &[u8], length: usize) -> Parsed {
    let from = match family {
        0x11 => v4(body),
        0x21 => v6(body),
        // Unspecified, datagrams and unix sockets: accepted by the protocol, of no use as evidence.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => return Parsed::Done(length, Proxied::Unknown),
        _ => return Parsed::Bad("an unknown PROXY address family"),
    };
    match from {
        Some(from) => Parsed::Done(length, Proxied::From(from)),
        None => Parsed::Bad("a PROXY header without its addresses"),
    }
}

/// Source and destination address, then both ports; what follows them is not read.
fn v4(body: &[u8]) -> Option<SocketAddr> {
    let [a, b, c, d, _, _, _, _, high, low, _, _] = *body.first_chunk::<12>()?;
    Some((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])).into())
}

fn v6(body: &[u8]) -> Option<SocketAddr> {
    let whole = body.first_chunk::<36>()?;
    let source = Ipv6Addr::from(*whole.first_chunk::<16>()?);
    Some((source, u16::from_be_bytes([whole[32], whole[33]])).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).expect("short").to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, body].concat()
    }

    const V4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 0x1f, 0x90];

    #[test]
    fn the_clients_address_is_read_at_every_split() {
        let whole = header(0x21, 0x11, &V4);
        for cut in 0..whole.len() {
            assert_eq!(parse(&whole[..cut]), Parsed::More, "{cut}");
        }
        let from = Proxied::From("192.0.2.7:12345".parse().expect("address"));
        assert_eq!(parse(&whole), Parsed::Done(28, from));
        let with_request = [&whole[..], b"GET / HTTP/1.1"].concat();
        assert_eq!(parse(&with_request), Parsed::Done(28, from));
        let with_extension = header(0x21, 0x11, &[&V4[..], &[3, 0, 4, 1, 2, 3, 4]].concat());
        assert_eq!(parse(&with_extension), Parsed::Done(35, from));
    }

    #[test]
    fn addresses_of_the_newer_kind() {
        let mut body = [0u8; 36];
        body[..16].copy_from_slice(&"2001:db8::7".parse::<Ipv6Addr>().expect("address").octets());
        body[32..34].copy_from_slice(&443u16.to_be_bytes());
        let from = Proxied::From("[2001:db8::7]:443".parse().expect("address"));
        assert_eq!(parse(&header(0x21, 0x21, &body)), Parsed::Done(52, from));
    }

    #[test]
    fn health_checks_and_other_families_name_nobody() {
        assert_eq!(parse(&header(0x20, 0x00, &[])), Parsed::Done(16, Proxied::Local));
        assert_eq!(parse(&header(0x21, 0x31, &[0; 216])), Parsed::Done(232, Proxied::Unknown));
    }

    #[test]
    fn everything_else_is_bad() {
        for bytes in [
            b"GET / HTTP/1.1\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\n".to_vec(),
            header(0x11, 0x11, &V4),
            header(0x22, 0x11, &V4),
            header(0x21, 0x41, &V4),
            header(0x21, 0x11, &V4[..11]),
            header(0x21, 0x21, &[0; 35]),
            header(0x21, 0x11, &vec![0; 5000]),
        ] {
            assert!(matches!(parse(&bytes), Parsed::Bad(_)), "{bytes:?}");
        }
    }
}
