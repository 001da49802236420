//! Which addresses may be connected to, judged after the name has been resolved and at every connect.
//!
//! ```text
//!   never      unspecified, multicast, link-local and metadata addresses     whatever name led there
//!   if named   loopback, private networks, carrier-grade NAT                 the file has the address itself, or its network
//!   else       everybody may be called
//! ```
//!
//! IPv6 addresses that carry an IPv4 one (mapped, NAT64, 6to4) are judged as that one.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::identity::settings::Network;

/// Why an address is not connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Nothing there is a provider.
    Never(IpAddr),
    /// Only where the file names it.
    Private(IpAddr),
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Closed::Never(ip) => write!(f, "{ip} is never connected to (link-local, metadata or no host)"),
            Closed::Private(ip) => {
                write!(
                    f,
                    "{ip} is a private address; name it in the URL, or its network in server.private_networks"
                )
            }
        }
    }
}

/// May `ip` be connected to, where `host` stands in the URL and `networks` are named by the file?
pub fn judge(ip: IpAddr, host: &str, networks: &[Network]) -> Result<(), Closed> {
    let ip = carried(ip);
    if is_never(ip) {
        return Err(Closed::Never(ip));
    }
    let literal = || host.parse::<IpAddr>().is_ok_and(|named| carried(named) == ip);
    let local = || ip.is_loopback() && is_local_name(host);
    let named = || literal() || local() || networks.iter().any(|network| network.contains(ip));
    if is_private(ip) && !named() { Err(Closed::Private(ip)) } else { Ok(()) }
}

fn is_local_name(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost")
}

/// The IPv4 address inside an IPv6 one: mapped and compatible (RFC 4291 2.5.5), NAT64 (RFC 6052, RFC 8215), 6to4
/// (RFC 3056).
fn carried(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(six) = ip else { return ip };
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match six.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] => of(high, low),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => of(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 1, _, _, _, high, low] => of(high, low),
        [0x2002, high, low, ..] => of(high, low),
        _ => ip,
    }
}

fn is_never(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(four) => {
            four.octets()[0] == 0
                || four.is_link_local()
                || four.is_multicast()
                || four.octets()[0] >= 240
                || METADATA.contains(&four)
        }
        IpAddr::V6(six) => {
            six.is_unspecified()
                || six.is_multicast()
                || six.is_unicast_link_local()
                || METADATA_SIX.contains(&six)
        }
    }
}

/// Metadata services beside the link-local one: Alibaba, Oracle, Azure's host.
const METADATA: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192), Ipv4Addr::new(168, 63, 129, 16)];

/// AWS's and Google's, over IPv6.
const METADATA_SIX: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(four) => {
            let [a, b, c, _] = four.octets();
            four.is_loopback()
                || four.is_private()
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (18..20).contains(&b))
        }
        IpAddr::V6(six) => six.is_loopback() || six.is_unique_local() || six.segments()[0] & 0xffc0 == 0xfec0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(ip: &str, host: &str, networks: &[&str]) -> &'static str {
        let networks: Vec<Network> = networks.iter().map(|text| Network::parse(text).expect(text)).collect();
        match judge(ip.parse().expect(ip), host, &networks) {
            Ok(()) => "open",
            Err(Closed::Never(_)) => "never",
            Err(Closed::Private(_)) => "private",
        }
    }

    #[test]
    fn what_a_name_may_lead_to() {
        for (ip, expected) in [
            ("1.1.1.1", "open"),
            ("2606:4700::1111", "open"),
            ("64:ff9b::1.1.1.1", "open"),
            ("10.1.2.3", "private"),
            ("172.31.0.1", "private"),
            ("192.168.1.1", "private"),
            ("100.64.0.1", "private"),
            ("127.0.0.1", "private"),
            ("127.255.0.1", "private"),
            ("::1", "private"),
            ("fd12::1", "private"),
            ("198.18.0.1", "private"),
            ("::ffff:10.0.0.1", "private"),
            ("::10.0.0.1", "private"),
            ("64:ff9b::10.0.0.1", "private"),
            ("64:ff9b:1::10.0.0.1", "private"),
            ("2002:a00:1::", "private"),
            ("0.0.0.0", "never"),
            ("0.1.2.3", "never"),
            ("::", "never"),
            ("169.254.169.254", "never"),
            ("::ffff:169.254.169.254", "never"),
            ("64:ff9b::a9fe:a9fe", "never"),
            ("2002:a9fe:a9fe::", "never"),
            ("fe80::1", "never"),
            ("fd00:ec2::254", "never"),
            ("100.100.100.200", "never"),
            ("168.63.129.16", "never"),
            ("224.0.0.1", "never"),
            ("ff02::1", "never"),
            ("255.255.255.255", "never"),
        ] {
            assert_eq!(judged(ip, "api.example.com", &[]), expected, "{ip}");
        }
    }

    #[test]
    fn the_file_opens_what_it_names_and_never_what_nobody_may_reach() {
        assert_eq!(judged("10.1.2.3", "10.1.2.3", &[]), "open");
        assert_eq!(judged("10.1.2.3", "10.1.2.4", &[]), "private");
        assert_eq!(judged("127.0.0.1", "localhost", &[]), "open");
        assert_eq!(judged("::1", "LocalHost", &[]), "open");
        assert_eq!(judged("127.0.0.1", "localhost.evil.example", &[]), "private");
        assert_eq!(judged("10.1.2.3", "vllm.internal", &["10.1.0.0/16"]), "open");
        assert_eq!(judged("::ffff:10.1.2.3", "vllm.internal", &["10.1.0.0/16"]), "open");
        assert_eq!(judged("169.254.169.254", "169.254.169.254", &["0.0.0.0/0"]), "never");
    }
}
