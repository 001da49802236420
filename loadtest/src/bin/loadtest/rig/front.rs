//! TLS before the provider, so that what a gateway spends on TLS towards it can be measured. A thread a connection: it
//! works on the provider's core, not on the subject's.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustls::{ServerConfig, ServerConnection};

use crate::Outcome;

pub(crate) struct Front {
    pub(crate) addr: SocketAddr,
    /// PEM of the authority that vouches for `localhost`: the certificate itself.
    pub(crate) ca: String,
}

impl Front {
    /// For as long as the process lives.
    pub(crate) fn start(provider: SocketAddr) -> Outcome<Front> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let provider_of_rings = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider_of_rings)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let (listener, config) = (TcpListener::bind("127.0.0.1:0")?, Arc::new(config));
        let addr = listener.local_addr()?;
        thread::Builder::new().name("front".into()).spawn(move || {
            for client in listener.incoming().flatten() {
                let config = config.clone();
                // Out of threads: the peer sees a closed connection.
                _ = thread::Builder::new().stack_size(256 << 10).spawn(move || {
                    // A peer that breaks off is the rig's to notice.
                    _ = pump(client, provider, config);
                });
            }
        })?;
        Ok(Front { addr, ca: made.cert.pem() })
    }
}

/// Bytes both ways until one side ends. Each read of the provider's leaves as records of its own.
fn pump(mut client: TcpStream, provider: SocketAddr, config: Arc<ServerConfig>) -> io::Result<()> {
    let mut session = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut behind = TcpStream::connect(provider)?;
    client.set_nodelay(true)?;
    behind.set_nodelay(true)?;
    let mut block = vec![0; 64 * 1024];
    loop {
        let mut waits = [PollFd::new(&client, PollFlags::IN), PollFd::new(&behind, PollFlags::IN)];
        poll(&mut waits, None)?;
        let [from_client, from_behind] = [0, 1].map(|i| !waits[i].revents().is_empty());
        if from_client {
            if session.read_tls(&mut client)? == 0 {
                return behind.shutdown(Shutdown::Both);
            }
            let state = session.process_new_packets().map_err(io::Error::other)?;
            let mut plain = vec![0; state.plaintext_bytes_to_read()];
            session.reader().read_exact(&mut plain)?;
            behind.write_all(&plain)?;
        }
        if from_behind {
            let n = behind.read(&mut block)?;
            if n == 0 {
                session.send_close_notify();
                flush(&mut session, &mut client)?;
                return client.shutdown(Shutdown::Both);
            }
            session.writer().write_all(&block[..n])?;
        }
        flush(&mut session, &mut client)?;
    }
}

fn flush(session: &mut ServerConnection, client: &mut TcpStream) -> io::Result<()> {
    while session.wants_write() {
        session.write_tls(client)?;
    }
    Ok(())
}
