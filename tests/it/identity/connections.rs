//! What the connection itself shows: certificates, unix sockets, a balancer's word; and TLS towards clients.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use loadtest::Knobs;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::{ASK, REST, file};
use crate::gate::{Gate, wait_for};

/// An authority of the test's own.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Authority(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    fn certificate(&self, names: Vec<SanType>) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "admin");
        params.subject_alt_names = names;
        let key = KeyPair::generate().expect("a key");
        (params.signed_by(&key, &*self.0).expect("a certificate"), key)
    }

    /// Certificate and key of the gateway, as files.
    fn equip(&self, folder: &Path) {
        let names =
            ["localhost", "weir.example.com"].map(|name| SanType::DnsName(name.try_into().expect("a name")));
        let (certificate, key) = self.certificate(names.to_vec());
        std::fs::write(folder.join("cert.pem"), certificate.pem()).expect("written");
        std::fs::write(folder.join("key.pem"), key.serialize_pem()).expect("written");
    }

    fn der(&self) -> CertificateDer<'static> {
        self.0.as_ref().der().clone()
    }
}

/// A client that trusts this authority, and shows a certificate if it has one.
fn client(trusts: &Authority, shows: Option<(rcgen::Certificate, KeyPair)>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(trusts.der()).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let config = match shows {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
            builder.with_client_auth_cert(vec![certificate.der().clone()], key).expect("a certificate")
        }
    };
    Arc::new(config)
}

fn secured(addr: SocketAddr, config: &Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
    let stream = TcpStream::connect(addr).expect("it accepts");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time limit");
    let name = ServerName::try_from("localhost").expect("a name");
    StreamOwned::new(ClientConnection::new(config.clone(), name).expect("a client"), stream)
}

/// One request, to the connection's end: all that came.
fn spoken(mut stream: impl Read + Write, synthetic: &str) -> Result<String, std::io::Error> {
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-synthetic: {synthetic}\r\ncontent-length: {}\r\n\r\n",
        ASK.len()
    );
    stream.write_all(format!("{head}{ASK}").as_bytes())?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or_default()
}

/// The newest record of everybody.
fn newest(gate: &Gate, id: &str) -> serde_json::Value {
    wait_for("the record", || {
        let (status, body) = gate.control(&format!("/api/requests/{id}"));
        (status == 200).then(|| serde_json::from_str(&body).expect("JSON"))
    })
}

fn id_in(answer: &str) -> &str {
    let line = answer.lines().find_map(|line| line.strip_prefix("x-weir-id: "));
    line.unwrap_or_else(|| panic!("no id: {answer}"))
}

const TLS: &str = r#"[{"address": "127.0.0.1:0", "tls": {"cert": "$data/cert.pem", "key": "$data/key.pem"}, "identity": ["peer"]}]"#;
const MUTUAL: &str = r#"[{"address": "127.0.0.1:0", "tls": {"cert": "$data/cert.pem", "key": "$data/key.pem",
    "client_ca": "$data/clients.pem"}, "identity": ["mtls"]}]"#;

#[test]
fn streams_pass_over_tls_and_end_properly() {
    let authority = Authority::new();
    let gate = Gate::of_file(Knobs::default(), &file(TLS, "[]"), |data| authority.equip(data));
    let config = client(&authority, None);
    for knobs in ["events=40,delay_ms=2", "events=2000,bytes=900"] {
        // An end without TLS's own farewell would be an error here.
        let answer = spoken(secured(gate.addr, &config), knobs).expect("a proper end");
        assert_eq!(status(&answer), "200", "{answer}");
        assert!(answer.trim_end().ends_with('0'), "the last chunk");
        assert!(answer.contains("message_stop"), "whole");
        assert_eq!(newest(&gate, id_in(&answer))["outcome"], "ok");
    }
    // In the clear nothing is said on that port.
    let plain = spoken(TcpStream::connect(gate.addr).expect("it accepts"), "").unwrap_or_default();
    assert!(!plain.contains("HTTP/1.1"), "{plain}");
}

#[test]
fn a_request_that_comes_with_the_end_of_its_handshake_is_answered() {
    let authority = Authority::new();
    let gate = Gate::of_file(Knobs::default(), &file(TLS, "[]"), |data| authority.equip(data));
    let StreamOwned { mut conn, mut sock } = secured(gate.addr, &client(&authority, None));
    let head = "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n";
    let request = format!("{head}content-length: {}\r\n\r\n{ASK}", ASK.len());
    // Held back until there are keys, and then sent behind the last of the handshake.
    conn.writer().write_all(request.as_bytes()).expect("room");
    conn.write_tls(&mut sock).expect("the first of it goes out");
    while conn.is_handshaking() {
        conn.read_tls(&mut sock).expect("the server's part");
        conn.process_new_packets().expect("a good handshake");
    }
    let mut both = Vec::new();
    while conn.wants_write() {
        conn.write_tls(&mut both).expect("memory");
    }
    sock.write_all(&both).expect("in one piece");
    let mut answer = Vec::new();
    StreamOwned::new(conn, sock).read_to_end(&mut answer).expect("an answer before the time limit");
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn new_handshakes_take_the_new_certificate() {
    let (old, new) = (Authority::new(), Authority::new());
    let gate = Gate::of_file(Knobs::default(), &file(TLS, "[]"), |data| old.equip(data));
    assert!(spoken(secured(gate.addr, &client(&old, None)), "").is_ok());
    new.equip(gate.data.path());
    let config = client(&new, None);
    wait_for("the new certificate", || spoken(secured(gate.addr, &config), "").ok());
    // A broken one changes nothing, and is said.
    std::fs::write(gate.data.path().join("cert.pem"), "garbage").expect("written");
    wait_for("the reason", || {
        let (_, body) = gate.control("/api/health");
        body.contains("cert.pem").then_some(())
    });
    assert!(spoken(secured(gate.addr, &config), "").is_ok());
}

#[test]
fn a_certificate_names_its_holder_and_the_wrong_ones_nobody() {
    let (ours, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    let gate = Gate::of_file(Knobs::default(), &file(MUTUAL, r#"[{"source": "mtls"}]"#), |data| {
        ours.equip(data);
        std::fs::write(data.join("clients.pem"), clients.0.as_ref().pem()).expect("written");
    });
    let spiffe = || SanType::URI("spiffe://example.org/ci".try_into().expect("a URI"));
    let email = SanType::Rfc822Name("ada@example.com".try_into().expect("an address"));
    for (names, principal) in [(vec![spiffe()], "spiffe://example.org/ci"), (vec![email], "ada@example.com")]
    {
        let config = client(&ours, Some(clients.certificate(names)));
        let answer = spoken(secured(gate.addr, &config), "").expect("an answer");
        assert_eq!(status(&answer), "200", "{answer}");
        let record = newest(&gate, id_in(&answer));
        assert_eq!(record["who"]["principal"], principal, "{record}");
        assert_eq!(
            (&record["who"]["source"], &record["who"]["strength"]),
            (&"mtls".into(), &"connection".into())
        );
    }
    // A name in the subject alone is no name.
    let config = client(&ours, Some(clients.certificate(Vec::new())));
    let answer = spoken(secured(gate.addr, &config), "").expect("an answer");
    assert_eq!(status(&answer), "401", "{answer}");
    let record = newest(&gate, id_in(&answer));
    assert!(
        record["fault"]["cause"].as_str().is_some_and(|cause| cause.contains("no name that counts")),
        "{record}"
    );
    // None at all, and another authority's: no request comes to be, and it is recorded all the same.
    for shows in [None, Some(others.certificate(vec![spiffe()]))] {
        let answer = spoken(secured(gate.addr, &client(&ours, shows)), "");
        assert!(answer.is_err(), "{answer:?}");
    }
    wait_for("both refusals", || {
        let (_, body) = gate.control("/api/requests?outcome=refused");
        (body.matches("tls_handshake").count() == 2).then_some(())
    });
    assert_eq!(gate.provider.requests().0, 2);
}

#[test]
fn a_unix_socket_knows_its_peer_and_believes_its_front() {
    let me = rustix::process::getuid().as_raw();
    let listen = r#"["127.0.0.1:0", {"address": "unix:$data/peer.sock", "identity": ["peer"]},
        {"address": "unix:$data/front.sock", "identity": ["tailscale_serve"]}]"#;
    let with = |uid: u32| {
        file(listen, &format!(r#"[{{"source": "key"}}, {{"source": "tailscale_serve", "uid": {uid}}}]"#))
    };
    let gate = Gate::of_file(Knobs::default(), &with(me), |_| {});
    let connect = |name: &str| {
        let stream = UnixStream::connect(gate.data.path().join(name)).expect("it accepts");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time limit");
        stream
    };
    let answer = spoken(connect("peer.sock"), "").expect("an answer");
    assert_eq!(status(&answer), "200", "{answer}");
    let record = newest(&gate, id_in(&answer));
    assert_eq!((&record["who"]["source"], &record["who"]["peer"]), (&"peer".into(), &"unix".into()));
    let asked = |name: &str| {
        let field = "events=3\r\ntailscale-user-login: ada@example.com\r\nx-y: 1";
        let answer = spoken(connect(name), field).expect("an answer");
        (status(&answer).to_owned(), newest(&gate, id_in(&answer)))
    };
    let (code, record) = asked("front.sock");
    assert_eq!((code.as_str(), &record["who"]["principal"]), ("200", &"ada@example.com".into()), "{record}");
    assert!(!record["request_headers"].to_string().contains("ada@example.com"), "{record}");
    let served = gate.provider.wait(2, Duration::from_secs(5)).pop().expect("it went up");
    assert_eq!(served.header("tailscale-user-login"), None);
    let (code, record) = asked("peer.sock");
    assert_eq!((code.as_str(), &record["fault"]["kind"]), ("403", &"forwarded_fields".into()));
    // The same words from another uid are nobody's.
    gate.write_file(&with(me + 1));
    let record = wait_for("the other uid", || {
        let (code, record) = asked("front.sock");
        (code == "401").then_some(record)
    });
    assert_eq!(record["fault"]["kind"], "no_identity");
}

/// A PROXY header for a client at that address.
fn header(client: [u8; 4]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    bytes.extend_from_slice(&client);
    bytes.extend_from_slice(&[10, 0, 0, 1, 0x30, 0x39, 0x1f, 0x90]);
    bytes
}

#[test]
fn a_balancer_speaks_for_its_clients_if_it_is_listed() {
    let sources = r#"[{"source": "headers", "trusted": ["192.0.2.7"], "user": "x-auth-email"}]"#;
    let listen =
        |networks: &str| format!(r#"[{{"address": "127.0.0.1:0", "proxy_protocol": ["{networks}"]}}]"#);
    let gate = Gate::of_file(Knobs::default(), &file(&listen("127.0.0.1"), sources), |_| {});
    let through = |first: &[u8]| {
        let mut stream = TcpStream::connect(gate.addr).expect("it accepts");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time limit");
        stream.write_all(first).expect("written");
        spoken(stream, "events=3\r\nx-auth-email: ada@example.com").unwrap_or_default()
    };
    let answer = through(&header([192, 0, 2, 7]));
    assert_eq!(status(&answer), "200", "{answer}");
    let record = newest(&gate, id_in(&answer));
    assert_eq!(record["who"]["peer"], "192.0.2.7:12345", "{record}");
    assert_eq!(record["who"]["principal"], "ada@example.com");
    // Another client of the same balancer is not that front.
    assert_eq!(status(&through(&header([192, 0, 2, 8]))), "401");
    // A balancer that does not speak for anybody is no client.
    assert_eq!(through(b""), "");
    assert_eq!(through(b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\n"), "");
    wait_for("the refusals", || {
        let (_, body) = gate.control("/api/requests?outcome=refused");
        (body.matches("proxy_header").count() == 2).then_some(())
    });
    // And from an address that is not listed the same header is a bad request.
    gate.write_file(&file(&listen("192.0.2.1"), sources));
    let answer = wait_for("the other list", || {
        Some(through(&header([192, 0, 2, 7]))).filter(|a| !a.starts_with("HTTP/1.1 200"))
    });
    assert_eq!(status(&answer), "400", "{answer}");
}

#[test]
fn pages_have_a_listener_of_their_own_where_the_file_says_so() {
    let text =
        format!(r#"{{"server": {{"listen": ["127.0.0.1:0"], "admin_listen": ["127.0.0.1:0"]}}, {REST}}}"#);
    let gate = Gate::of_file(Knobs::default(), &text, |_| {});
    let addresses = gate.server.as_ref().expect("it runs").addresses.clone();
    let get = |at: usize, target: &str| {
        let mut stream = TcpStream::connect(addresses[at]).expect("it accepts");
        let request = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("written");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        status(&text).to_owned()
    };
    for (target, models, pages) in
        [("/ui", "404", "200"), ("/api/health", "404", "200"), ("/healthz", "200", "200")]
    {
        assert_eq!((get(0, target).as_str(), get(1, target).as_str()), (models, pages), "{target}");
    }
    assert_eq!(get(1, "/v1/models"), "404");
    let stream = TcpStream::connect(addresses[1]).expect("it accepts");
    assert_eq!(status(&spoken(stream, "").expect("an answer")), "404");
}
