//! A gateway for a test: in this process, on a free port, in a folder of its own, in front of a synthetic provider.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use loadtest::{Client, Knobs, Provider};
use weir::llm::dialect::Dialect;
use weir::policy::glob::Glob;
use weir::policy::snapshot::{self, Credential, Limits, Origin, Snapshot};
use weir::server::{Options, Server};

/// The credential that the gateway holds for its providers.
pub(crate) const SECRET: &str = "sk-held-by-the-gateway";

pub(crate) struct Gate {
    pub(crate) addr: SocketAddr,
    pub(crate) provider: Provider,
    pub(crate) server: Option<Server>,
    pub(crate) data: tempfile::TempDir,
}

impl Gate {
    pub(crate) fn start(knobs: Knobs) -> Gate {
        Gate::with(knobs, Limits::default(), |options| options)
    }

    pub(crate) fn with(knobs: Knobs, limits: Limits, change: impl FnOnce(Options) -> Options) -> Gate {
        let provider = Provider::start(knobs);
        let data = tempfile::tempdir().expect("a temporary folder");
        let snapshot = Arc::new(snapshot_before(provider.addr, limits));
        let options = Options {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            data: data.path().to_owned(),
            cores: Some(1),
            snapshot,
            drain_timeout: Duration::from_secs(5),
            ..Options::default()
        };
        let server = Server::start(change(options)).expect("the gateway starts");
        Gate { addr: server.addresses[0], provider, server: Some(server), data }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.addr).timeout(Duration::from_secs(10))
    }

    /// Send bytes, then read until the gateway closes (or 5 s of silence).
    pub(crate) fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.addr).expect("the gateway accepts");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket takes a time limit");
        // The gateway may refuse and close before it has read everything.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let mut block = [0; 4096];
        loop {
            match stream.read(&mut block) {
                Ok(0) => break,
                Ok(n) => answer.extend_from_slice(&block[..n]),
                Err(why) if why.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.drain();
        }
    }
}

fn snapshot_before(provider: SocketAddr, limits: Limits) -> Snapshot {
    let one = |id: &str, dialect, field: &str, value: String| {
        Arc::new(snapshot::Provider {
            id: id.into(),
            origin: Origin { tls: false, host: provider.ip().to_string(), port: provider.port() },
            credential: Some(Credential { field: field.into(), value }),
            dialects: vec![dialect],
            models: vec![Glob::new("**").expect("a pattern")],
            ..snapshot::Provider::default()
        })
    };
    Snapshot {
        limits,
        providers: vec![
            one("anthropic", Dialect::Messages, "x-api-key", SECRET.into()),
            one("openai", Dialect::Chat, "authorization", format!("Bearer {SECRET}")),
        ],
        loopback_is_user: true,
        ..Snapshot::default()
    }
}
