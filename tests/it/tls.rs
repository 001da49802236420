//! Providers behind TLS: a real rustls server with a certificate of our own authority.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use loadtest::{Ended, Knobs, Request};
use rustls::pki_types::PrivateKeyDer;
use weir::policy::snapshot::Limits;

use crate::gate::Gate;

const ASK: &str =
    r#"{"model":"m","max_tokens":64,"stream":true,"messages":[{"role":"user","content":"hi"}]}"#;

/// How the server ends a body.
#[derive(Clone, Copy)]
enum Ending {
    Chunked,
    CloseNotify,
    CutSocket,
}

struct Secure {
    addr: SocketAddr,
    authority: tempfile::NamedTempFile,
}

/// A TLS server that answers every request with the same events, spaced out.
fn serve(name: &str, ending: Ending) -> Secure {
    let key = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let mut authority = tempfile::NamedTempFile::new().unwrap();
    authority.write_all(key.cert.pem().as_bytes()).unwrap();
    let secret = PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], secret)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let config = Arc::new(config);
    std::thread::spawn(move || {
        for socket in listener.incoming().take(8).flatten() {
            socket.set_nodelay(true).unwrap();
            let tls = rustls::ServerConnection::new(config.clone()).unwrap();
            std::thread::spawn(move || answer(rustls::StreamOwned::new(tls, socket), ending));
        }
    });
    Secure { addr, authority }
}

fn answer(mut tls: rustls::StreamOwned<rustls::ServerConnection, std::net::TcpStream>, ending: Ending) {
    loop {
        let mut seen = Vec::new();
        while !seen.ends_with(ASK.as_bytes()) {
            let mut block = [0; 4096];
            match tls.read(&mut block) {
                Ok(n @ 1..) => seen.extend_from_slice(&block[..n]),
                _ => return,
            }
        }
        let chunked = matches!(ending, Ending::Chunked);
        let framing = if chunked { "transfer-encoding: chunked" } else { "connection: close" };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{framing}\r\n\r\n");
        tls.write_all(head.as_bytes()).unwrap();
        for n in 0..5 {
            let event = format!("data: {{\"n\":{n}}}\n\n");
            let piece = if chunked { format!("{:x}\r\n{event}\r\n", event.len()) } else { event };
            tls.write_all(piece.as_bytes()).unwrap();
            weir::base::clock::pause(Duration::from_millis(20));
        }
        match ending {
            Ending::Chunked => tls.write_all(b"0\r\n\r\n").unwrap(),
            Ending::CloseNotify => {
                tls.conn.send_close_notify();
                let _ = tls.flush();
                return;
            }
            Ending::CutSocket => return,
        }
    }
}

fn gate_before(secure: &Secure) -> Gate {
    Gate::with(Knobs::default(), Limits::default(), |mut options| {
        let mut snapshot = (*options.snapshot).clone();
        let mut provider = (*snapshot.providers[0]).clone();
        provider.origin =
            weir::policy::snapshot::Origin { tls: true, host: "127.0.0.1".into(), port: secure.addr.port() };
        snapshot.providers[0] = provider.into();
        options.snapshot = snapshot.into();
        options.ca_file = Some(secure.authority.path().to_owned());
        options
    })
}

#[test]
fn streams_pass_through_tls_and_its_connections_are_kept() {
    let secure = serve("127.0.0.1", Ending::Chunked);
    let gate = gate_before(&secure);
    let mut client = gate.client();
    for _ in 0..3 {
        let reply = client.send(&Request::messages(ASK)).unwrap();
        assert_eq!((reply.status, &reply.ended), (200, &Ended::Complete), "{}", reply.text());
        assert_eq!(reply.text().matches("data: ").count(), 5);
        assert!(reply.reads >= 3, "events arrive as they are sent: {} reads", reply.reads);
    }
    let server = gate.server.as_ref().unwrap();
    assert_eq!(server.stats.total(weir::base::stats::Count::UpstreamReused), 2);
}

#[test]
fn only_close_notify_is_a_proper_end() {
    let proper = gate_before(&serve("127.0.0.1", Ending::CloseNotify));
    let reply = proper.client().send(&Request::messages(ASK)).unwrap();
    assert_eq!((reply.status, &reply.ended), (200, &Ended::Complete));
    let cut = gate_before(&serve("127.0.0.1", Ending::CutSocket));
    let reply = cut.client().send(&Request::messages(ASK)).unwrap();
    assert_eq!((reply.status, &reply.ended), (200, &Ended::Truncated), "a cut socket is no end");
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let gate = gate_before(&serve("another.example", Ending::Chunked));
    let reply = gate.client().send(&Request::messages(ASK)).unwrap();
    assert_eq!(reply.status, 502);
    assert!(reply.text().contains("TLS"), "{}", reply.text());
}
