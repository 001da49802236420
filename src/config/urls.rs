//! How clients reach the listeners: what the gateway announces, and what `weir setup` writes.

use std::net::{Ipv4Addr, SocketAddr};

use super::compile::Listen;
use super::file::Address;

/// What clients write to reach each listener, ports filled in. A listener for everywhere, or with a certificate, is
/// called by the first name that the file gives the gateway: an address is in few certificates.
#[must_use]
pub fn urls(listen: &[Listen], addresses: &[SocketAddr], names: &[String]) -> Vec<String> {
    let mut bound = addresses.iter();
    let name = names.iter().find(|name| *name != "localhost");
    let one = |listen: &Listen| {
        let Address::Tcp(wanted) = &listen.address else { return listen.address.to_string() };
        let at = bound.next().unwrap_or(wanted);
        let (scheme, usual) = if listen.tls.is_some() { ("https", 443) } else { ("http", 80) };
        let here = match at.ip() {
            ip if ip.is_unspecified() => SocketAddr::from((Ipv4Addr::LOCALHOST, at.port())).ip(),
            ip => ip,
        };
        match name.filter(|_| listen.tls.is_some() || at.ip().is_unspecified()) {
            Some(name) if at.port() == usual => format!("{scheme}://{name}"),
            Some(name) => format!("{scheme}://{name}:{}", at.port()),
            None => format!("{scheme}://{}", SocketAddr::new(here, at.port())),
        }
    };
    listen.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::compile::Tls;

    #[test]
    fn what_clients_are_told_to_write() {
        let at = |address: &str, tls: bool| {
            let tls = tls.then(|| Tls { cert: "c".into(), key: "k".into(), client_ca: None });
            Listen { tls, ..Listen::of_the_peer(address.parse().expect("an address")) }
        };
        let names = ["ai.example.com".to_owned(), "localhost".to_owned()];
        for (listen, names, url) in [
            (at("127.0.0.1:8080", false), &names[..], "http://127.0.0.1:8080"),
            (at("10.1.2.3:443", true), &names, "https://ai.example.com"),
            (at("127.0.0.1:8443", true), &names, "https://ai.example.com:8443"),
            (at("0.0.0.0:8080", false), &names, "http://ai.example.com:8080"),
            (at("0.0.0.0:8080", false), &names[1..], "http://127.0.0.1:8080"),
            (at("[::1]:8443", true), &[], "https://[::1]:8443"),
        ] {
            assert_eq!(urls(&[listen], &[], names), [url]);
        }
    }
}
