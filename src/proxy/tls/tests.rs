//! The pump against rustls' own server, in memory: every cut, every end, every certificate that must be refused.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{CertificateError, ServerConfig, ServerConnection};

use super::*;

const NAME: &str = "provider.test";
const H1: &[u8] = b"http/1.1";

/// An authority and what it signs.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn server(&self, shape: impl FnOnce(&mut CertificateParams)) -> ServerConnection {
        self.server_of(shape, rustls::ALL_VERSIONS)
    }

    fn server_of(
        &self,
        shape: impl FnOnce(&mut CertificateParams),
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> ServerConnection {
        let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        shape(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        config.alpn_protocols = vec![H1.to_vec()];
        ServerConnection::new(Arc::new(config)).unwrap()
    }

    fn client(&self) -> Tls {
        client(Some(self.pem.as_bytes()))
    }
}

fn client(pem: Option<&[u8]>) -> Tls {
    Tls::new(client_config(pem, &[H1]).unwrap(), ServerName::try_from(NAME).unwrap()).unwrap()
}

/// Everything the server has to send.
fn flight(server: &mut ServerConnection) -> Vec<u8> {
    let mut wire = Vec::new();
    while server.wants_write() {
        server.write_tls(&mut wire).unwrap();
    }
    wire
}

/// Give the client's bytes to the server, `step` at a time; what the server read.
fn to_server(client: &mut Tls, server: &mut ServerConnection, step: usize) -> Vec<u8> {
    let mut got = Vec::new();
    while client.wants_write() {
        let wire = client.ciphertext();
        let n = wire.len().min(step);
        feed(server, &wire[..n], &mut got);
        client.consumed(n);
    }
    got
}

fn feed(server: &mut ServerConnection, mut wire: &[u8], got: &mut Vec<u8>) {
    while !wire.is_empty() {
        server.read_tls(&mut wire).unwrap();
        // A server that refuses has queued an alert; the tests look at the client's side of it.
        let _ = server.process_new_packets();
        let _ = server.reader().read_to_end(got);
    }
}

fn to_client(server: &mut ServerConnection, client: &mut Tls) -> Result<(), TlsFault> {
    client.take_ciphertext(&flight(server))
}

/// Both directions until neither has anything to send.
fn settle(client: &mut Tls, server: &mut ServerConnection) -> Result<(), TlsFault> {
    while client.wants_write() || server.wants_write() {
        to_server(client, server, usize::MAX);
        to_client(server, client)?;
    }
    Ok(())
}

fn connected(authority: &Authority) -> (Tls, ServerConnection) {
    let (mut client, mut server) = (authority.client(), authority.server(|_| {}));
    settle(&mut client, &mut server).unwrap();
    (client, server)
}

fn read_all(client: &mut Tls) -> (Vec<u8>, Result<PlainState, TlsFault>) {
    let mut out = Vec::new();
    loop {
        match client.plaintext(&mut out, 1_000) {
            Ok(PlainState::Some(n)) => assert!(n <= 1_000),
            other => return (out, other),
        }
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n % 251) as u8).collect()
}

#[test]
fn a_handshake_survives_every_cut_of_the_servers_flight() {
    let authority = Authority::new();
    let (mut cut, mut cuts) = (0, 0);
    loop {
        let (mut client, mut server) = (authority.client(), authority.server(|_| {}));
        to_server(&mut client, &mut server, usize::MAX);
        let wire = flight(&mut server);
        client.take_ciphertext(&wire[..cut.min(wire.len())]).unwrap();
        client.take_ciphertext(&wire[cut.min(wire.len())..]).unwrap();
        assert!(!client.is_handshaking(), "cut at {cut} of {}", wire.len());
        settle(&mut client, &mut server).unwrap();
        assert!(!server.is_handshaking());
        cuts += 1;
        if cut >= wire.len() {
            break;
        }
        cut += 1;
    }
    assert!(cuts > 500, "only {cuts} cuts");
}

#[test]
fn a_conversation_survives_bytes_one_at_a_time_in_both_versions() {
    let authority = Authority::new();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let (mut client, mut server) = (authority.client(), authority.server_of(|_| {}, &[version]));
        let mut answered = false;
        while client.wants_write() || server.wants_write() || !answered {
            to_server(&mut client, &mut server, 1);
            if !server.is_handshaking() && !answered {
                server.writer().write_all(b"hello").unwrap();
                answered = true;
            }
            for byte in flight(&mut server) {
                client.take_ciphertext(&[byte]).unwrap();
            }
        }
        assert_eq!(client.alpn(), Some(H1));
        assert_eq!(read_all(&mut client), (b"hello".to_vec(), Ok(PlainState::Empty)));
    }
}

#[test]
fn what_is_sent_before_the_handshake_arrives_after_it() {
    let authority = Authority::new();
    let (mut client, mut server) = (authority.client(), authority.server(|_| {}));
    let early = pattern(2 * WAITING_BYTES_MAX);
    let taken = client.send(&early);
    assert!(taken > 0 && taken <= WAITING_BYTES_MAX, "{taken}");
    let mut got = Vec::new();
    while client.wants_write() || server.wants_write() {
        got.extend(to_server(&mut client, &mut server, 10_000));
        to_client(&mut server, &mut client).unwrap();
    }
    assert_eq!(got, early[..taken]);
}

#[test]
fn a_megabyte_goes_both_ways_and_little_waits() {
    let authority = Authority::new();
    let (mut client, mut server) = connected(&authority);
    let body = pattern(1 << 20);

    let (mut offered, mut got) = (0, Vec::new());
    while offered < body.len() {
        offered += client.send(&body[offered..]);
        let waiting = client.ciphertext().len();
        assert!(waiting <= WAITING_BYTES_MAX + 4_096, "{waiting} bytes wait");
        got.extend(to_server(&mut client, &mut server, 7_001));
    }
    assert_eq!(got, body);

    server.set_buffer_limit(None);
    server.writer().write_all(&body).unwrap();
    let wire = flight(&mut server);
    let mut got = Vec::new();
    for block in wire.chunks(50_021) {
        assert!(client.wants_read());
        client.take_ciphertext(block).unwrap();
        assert!(client.opened.len() <= block.len(), "no more is held than one block brings");
        let (bytes, state) = read_all(&mut client);
        assert_eq!(state, Ok(PlainState::Empty));
        got.extend(bytes);
    }
    assert_eq!(got, body);
}

#[test]
fn a_socket_that_never_catches_up_costs_no_memory() {
    let authority = Authority::new();
    let (mut client, mut server) = connected(&authority);
    let (body, mut got, mut offered) = (pattern(4 << 20), Vec::new(), 0);
    while offered < body.len() {
        offered += client.send(&body[offered..]);
        // All but the last byte goes, so that the buffer never runs empty.
        let n = client.ciphertext().len() - 1;
        let wire = client.ciphertext()[..n].to_vec();
        feed(&mut server, &wire, &mut got);
        client.consumed(n);
        assert!(client.sealed.len() <= 3 * WAITING_BYTES_MAX, "{} bytes kept", client.sealed.len());
    }
    got.extend(to_server(&mut client, &mut server, usize::MAX));
    assert_eq!(got, body);
}

#[test]
fn an_idle_connection_holds_none_of_our_buffers_and_takes_a_ticket() {
    let authority = Authority::new();
    let (mut client, mut server) = (authority.client(), authority.server(|_| {}));
    to_server(&mut client, &mut server, usize::MAX);
    to_client(&mut server, &mut client).unwrap();
    to_server(&mut client, &mut server, usize::MAX);
    assert!(!client.is_handshaking() && server.wants_write(), "the tickets come when all else is said");

    to_client(&mut server, &mut client).unwrap();
    assert_eq!(read_all(&mut client), (Vec::new(), Ok(PlainState::Empty)));
    assert!(client.wants_read() && !client.wants_write());
    assert_eq!((client.sealed.capacity(), client.opened.capacity()), (0, 0));

    server.writer().write_all(b"after the tickets").unwrap();
    to_client(&mut server, &mut client).unwrap();
    assert_eq!(read_all(&mut client).0, b"after the tickets");
}

#[test]
fn keys_can_change_on_either_side_in_the_midst_of_it() {
    let authority = Authority::new();
    let (mut client, mut server) = connected(&authority);
    for round in 0..3 {
        server.refresh_traffic_keys().unwrap();
        server.writer().write_all(b"from the server").unwrap();
        to_client(&mut server, &mut client).unwrap();
        assert_eq!(read_all(&mut client).0, b"from the server", "round {round}");
        client.conn.refresh_traffic_keys().unwrap();
        client.send(b"from us");
        assert_eq!(to_server(&mut client, &mut server, usize::MAX), b"from us", "round {round}");
    }
}

#[test]
fn an_end_without_a_close_is_a_truncation_at_every_byte() {
    let authority = Authority::new();
    let (mut client, mut server) = connected(&authority);
    server.writer().write_all(b"data: half of an answer").unwrap();
    client.take_ciphertext(&flight(&mut server)).unwrap();
    client.ciphertext_ended();
    // What came is still given out, then the cut is told, as often as it is asked for.
    assert_eq!(read_all(&mut client), (b"data: half of an answer".to_vec(), Err(TlsFault::Truncated)));
    assert_eq!(client.plaintext(&mut Vec::new(), 10), Err(TlsFault::Truncated));

    for kept in 0..40 {
        let (mut client, mut server) = connected(&authority);
        server.writer().write_all(b"cut inside a TLS record").unwrap();
        server.send_close_notify();
        let wire = flight(&mut server);
        client.take_ciphertext(&wire[..kept]).unwrap();
        client.ciphertext_ended();
        assert_eq!(read_all(&mut client), (Vec::new(), Err(TlsFault::Truncated)), "{kept} bytes kept");
    }
}

#[test]
fn a_close_is_a_clean_end_and_nothing_behind_it_counts() {
    let authority = Authority::new();
    let (mut client, mut server) = connected(&authority);
    server.writer().write_all(b"all of it").unwrap();
    server.send_close_notify();
    let mut wire = flight(&mut server);
    wire.extend_from_slice(b"noise");
    client.take_ciphertext(&wire).unwrap();
    client.take_ciphertext(b"more noise").unwrap();
    client.ciphertext_ended();
    assert!(!client.wants_read());
    assert_eq!(read_all(&mut client), (b"all of it".to_vec(), Ok(PlainState::CleanEnd)));
}

#[test]
fn a_close_of_ours_reaches_the_server() {
    let authority = Authority::new();
    let (mut client, mut server) = connected(&authority);
    client.send(b"last words");
    client.close();
    assert_eq!(to_server(&mut client, &mut server, usize::MAX), b"last words");
    assert_eq!(server.reader().read_to_end(&mut Vec::new()).unwrap(), 0, "a clean end");
}

#[test]
fn certificates_that_must_be_refused_are_and_the_server_is_told() {
    let (ours, other) = (Authority::new(), Authority::new());
    let named = |name: &str| {
        let name = name.to_owned();
        move |params: &mut CertificateParams| *params = CertificateParams::new(vec![name]).unwrap()
    };
    let expired = |params: &mut CertificateParams| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    };
    let not_yet = |params: &mut CertificateParams| params.not_before = rcgen::date_time_ymd(2200, 1, 1);
    type Judge = fn(&CertificateError) -> bool;
    let cases: [(&str, Tls, ServerConnection, Judge); 5] = [
        ("unknown authority", ours.client(), other.server(|_| {}), |why| {
            matches!(why, CertificateError::UnknownIssuer | CertificateError::BadSignature)
        }),
        ("no extra authority", client(None), ours.server(|_| {}), |why| {
            matches!(why, CertificateError::UnknownIssuer)
        }),
        ("other name", ours.client(), ours.server(named("other.test")), |why| {
            matches!(why, CertificateError::NotValidForNameContext { .. })
        }),
        ("expired", ours.client(), ours.server(expired), |why| {
            matches!(why, CertificateError::ExpiredContext { .. })
        }),
        ("not yet valid", ours.client(), ours.server(not_yet), |why| {
            matches!(why, CertificateError::NotValidYetContext { .. })
        }),
    ];
    for (case, mut client, mut server, judge) in cases {
        match settle(&mut client, &mut server) {
            Err(TlsFault::Certificate(why)) => assert!(judge(&why), "{case}: {why:?}"),
            other => panic!("{case}: {other:?}"),
        }
        assert!(client.wants_write(), "{case}: an alert says why");
        to_server(&mut client, &mut server, usize::MAX);
        assert!(matches!(server.process_new_packets(), Err(rustls::Error::AlertReceived(_))), "{case}");
    }
}

#[test]
fn what_is_not_tls_is_a_fault_and_never_a_panic() {
    let authority = Authority::new();
    let plain =
        authority.client().take_ciphertext(b"HTTP/1.1 400 Bad Request\r\n\r\nplain HTTP on this port");
    assert!(matches!(plain, Err(TlsFault::Protocol(_))), "{plain:?}");

    // Noise, and TLS records with noise inside, before and after the handshake; xorshift, so that a failure repeats.
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for round in 0..200 {
        let mut client = if round % 2 == 0 { authority.client() } else { connected(&authority).0 };
        let noise: Vec<u8> = (0..next() % 40_000).map(|_| next() as u8).collect();
        let framed = [&[20 + (next() % 4) as u8, 3, 3, 0, 40][..], &noise].concat();
        let fed = client.take_ciphertext(if round % 3 == 0 { &noise } else { &framed });
        client.ciphertext_ended();
        let (bytes, end) = read_all(&mut client);
        assert!(bytes.is_empty() && (fed.is_err() || end == Err(TlsFault::Truncated)), "round {round}");
    }
}

#[test]
fn a_file_of_authorities_is_read_whole_or_refused() {
    let (one, two) = (Authority::new(), Authority::new());
    let both = format!("a comment\n{}\n{}", one.pem, two.pem);
    for authority in [&one, &two] {
        let (mut client, mut server) = (client(Some(both.as_bytes())), authority.server(|_| {}));
        settle(&mut client, &mut server).unwrap();
    }
    let broken = one.pem.replace("MII", "!!!");
    for pem in ["", "no certificate here", &broken, &one.pem[..one.pem.len() / 2]] {
        let refused = client_config(Some(pem.as_bytes()), &[H1]);
        assert!(matches!(refused, Err(TlsFault::Authorities(_))), "{pem}");
    }
}
