//! A gateway for a test: in this process, on a free port, in a folder of its own, in front of a synthetic provider.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use loadtest::{Client, Knobs, Provider};
use weir::base::clock;
use weir::config::compile;
use weir::config::reload::Source;
use weir::llm::dialect::paths::Flag;
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
    options: Options,
}

impl Gate {
    pub(crate) fn start(knobs: Knobs) -> Gate {
        Gate::with(knobs, Limits::default(), |options| options)
    }

    /// Before providers that are made for the synthetic one's address.
    pub(crate) fn before(providers: impl FnOnce(Origin) -> Vec<snapshot::Provider>) -> Gate {
        Gate::under(Snapshot { loopback_is_user: true, ..Snapshot::default() }, providers)
    }

    /// As [`Gate::before`], of an organisation: everybody is somebody by a grant, nobody by being here.
    pub(crate) fn of_organisation(providers: impl FnOnce(Origin) -> Vec<snapshot::Provider>) -> Gate {
        let text = r#"{
            "providers": {"any": {"baseurl": "http://127.0.0.1:1", "models": ["**"], "auth_mode": "none"}},
            "grants": [{"src": ["*"], "app": {"weir": [{"role": "user"}, {"models": "**"}]}}]
        }"#;
        let no_files = |_: &str| Err(std::io::ErrorKind::NotFound.into());
        let loaded = compile::load(text, &|_| None, &no_files, &compile::Options::default());
        Gate::under(loaded.expect("a good file").snapshot, providers)
    }

    fn under(snapshot: Snapshot, providers: impl FnOnce(Origin) -> Vec<snapshot::Provider>) -> Gate {
        let provider = Provider::start(Knobs { keep: true, ..Knobs::default() });
        let origin = Origin { tls: false, host: provider.addr.ip().to_string(), port: provider.addr.port() };
        let providers = providers(origin).into_iter().map(Arc::new).collect();
        Gate::at(provider, Snapshot { providers, ..snapshot }, |options| options)
    }

    /// What the provider has served, once that is so much: it notes an exchange when it has ended, which its client may
    /// see a moment earlier.
    pub(crate) fn served(&self, count: usize) -> Vec<loadtest::Served> {
        self.provider.wait(count, Duration::from_secs(5))
    }

    pub(crate) fn with(knobs: Knobs, limits: Limits, change: impl FnOnce(Options) -> Options) -> Gate {
        let provider = Provider::start(knobs);
        let snapshot = snapshot_before(provider.addr, limits);
        Gate::at(provider, snapshot, change)
    }

    fn at(provider: Provider, snapshot: Snapshot, change: impl FnOnce(Options) -> Options) -> Gate {
        let data = tempfile::tempdir().expect("a temporary folder");
        let options = Options {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            data: data.path().to_owned(),
            cores: Some(1),
            snapshot: Arc::new(snapshot),
            drain_timeout: Duration::from_secs(5),
            ..Options::default()
        };
        let options = change(options);
        let server = Server::start(options.clone()).expect("the gateway starts");
        Gate { addr: server.addresses[0], provider, server: Some(server), data, options }
    }

    /// Another process in all but name: nothing is remembered but what the store has.
    pub(crate) fn restart(&mut self) {
        if let Some(server) = self.server.take() {
            server.drain();
        }
        let server = Server::start(self.options.clone()).expect("the gateway starts again");
        self.addr = server.addresses[0];
        self.server = Some(server);
    }

    /// As a file says, which is looked at again while the gateway runs. `$provider` in it is the synthetic provider,
    /// `$data` the folder of the store, which `prepare` may fill before.
    pub(crate) fn of_file(knobs: Knobs, text: &str, prepare: impl FnOnce(&Path)) -> Gate {
        let provider = Provider::start(knobs);
        let data = tempfile::tempdir().expect("a temporary folder");
        prepare(data.path());
        let file = data.path().join("weir.hujson");
        std::fs::write(&file, filled_in(text, &provider, data.path())).expect("a configuration");
        let source = Source { file: Some(file), ..Source::default() };
        let loaded = source.load().unwrap_or_else(|problems| panic!("{problems:#?}"));
        let listeners = [loaded.install.listen.clone(), loaded.install.admin_listen.clone()].concat();
        let options = Options {
            listen: Vec::new(),
            listeners,
            data: data.path().to_owned(),
            cores: Some(1),
            snapshot: Arc::new(loaded.snapshot),
            source,
            install: Some(loaded.install),
            drain_timeout: Duration::from_secs(5),
            ..Options::default()
        };
        let server = Server::start(options.clone()).expect("the gateway starts");
        Gate { addr: server.addresses[0], provider, server: Some(server), data, options }
    }

    /// Write the file anew, as an editor does: beside, then renamed.
    pub(crate) fn write_file(&self, text: &str) {
        let beside = self.data.path().join("weir.hujson.new");
        std::fs::write(&beside, filled_in(text, &self.provider, self.data.path())).expect("a configuration");
        std::fs::rename(beside, self.data.path().join("weir.hujson")).expect("in its place");
    }

    /// A page over the control socket, as admin: status and body.
    pub(crate) fn control(&self, target: &str) -> (u16, String) {
        let mut stream = UnixStream::connect(self.data.path().join("control.sock")).expect("a socket");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time limit");
        write!(stream, "GET {target} HTTP/1.0\r\nhost: weir\r\n\r\n").expect("a request");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        (head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status"), body.to_owned())
    }

    /// The record of an exchange, once it is durable.
    pub(crate) fn record(&self, reply: &loadtest::Reply) -> serde_json::Value {
        let id = reply.header("x-weir-id").expect("an id");
        wait_for("the record", || {
            let (status, body) = self.control(&format!("/api/requests/{id}"));
            (status == 200).then(|| serde_json::from_str(&body).expect("JSON"))
        })
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

/// What `look` finds, once it finds something.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = clock::now().plus(Duration::from_secs(15));
    while clock::now() < end {
        if let Some(found) = look() {
            return found;
        }
        clock::pause(Duration::from_millis(20));
    }
    panic!("{what} did not come in time");
}

fn filled_in(text: &str, provider: &Provider, data: &Path) -> String {
    text.replace("$provider", &provider.url()).replace("$data", data.to_str().expect("UTF-8"))
}

impl Drop for Gate {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.drain();
        }
    }
}

fn snapshot_before(provider: SocketAddr, limits: Limits) -> Snapshot {
    let one = |id: &str, flag, field: &str, value: String| {
        Arc::new(snapshot::Provider {
            id: id.into(),
            origin: Origin { tls: false, host: provider.ip().to_string(), port: provider.port() },
            credential: Some(Credential { field: field.into(), value }),
            flags: vec![flag],
            models: vec![Glob::new("**").expect("a pattern")],
            ..snapshot::Provider::default()
        })
    };
    Snapshot {
        limits,
        providers: vec![
            one("anthropic", Flag::AnthropicMessages, "x-api-key", SECRET.into()),
            one("openai", Flag::OpenaiChat, "authorization", format!("Bearer {SECRET}")),
        ],
        loopback_is_user: true,
        ..Snapshot::default()
    }
}
