//! The real program as a child process: started, signalled, killed, and what it said.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use loadtest::{Client, Provider};
use weir::base::clock;

/// How long anything may take before a test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running `weir serve`. Killed when dropped.
pub(crate) struct Weir {
    pub(crate) addr: SocketAddr,
    child: Child,
    said: Receiver<String>,
}

/// The program with an environment that holds nothing of the machine's.
pub(crate) fn weir(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    // The one variable that chooses the driver in a run of all tests.
    let driver = std::env::var("MONOIO_FORCE_LEGACY_DRIVER").ok();
    command.env_clear().args(args).stdin(Stdio::null());
    command.envs(driver.map(|value| ("MONOIO_FORCE_LEGACY_DRIVER", value)));
    command
}

/// A configuration before that provider: everything a test needs, and nothing else.
fn before(provider: &Provider) -> String {
    format!(
        r#"// Everything the test needs, and nothing else.
{{
  "server": {{"listen": ["127.0.0.1:0"]}},
  "providers": {{
    "synthetic": {{
      "baseurl": "{}",
      "apikey": "held-by-the-gateway",
      "authorization": "x-api-key",
      "compatibility": {{"anthropic_messages": true}},
      "models": ["**"],
    }},
  }},
  "grants": [{{"src": ["(loopback)"], "app": {{"weir": [{{"role": "user"}}, {{"models": "**"}}]}}}}],
}}
"#,
        provider.url()
    )
}

/// `weir serve` with that configuration, written beside the store.
fn serve(text: &str, data: &Path, config: &Path) -> Command {
    std::fs::write(config, text).expect("a configuration");
    let (config, data) = (config.to_str().expect("UTF-8"), data.to_str().expect("UTF-8"));
    weir(&["serve", "--config", config, "--data", data, "--cores", "1"])
}

impl Weir {
    /// Start it over the store in `data`; `config` is where its file goes. What it said instead of listening is the error.
    pub(crate) fn start(
        provider: &Provider,
        data: &Path,
        config: &Path,
    ) -> Result<Weir, (ExitStatus, String)> {
        Weir::start_as(&before(provider), data, config)
    }

    /// As [`Weir::start`], with that configuration.
    pub(crate) fn start_as(text: &str, data: &Path, config: &Path) -> Result<Weir, (ExitStatus, String)> {
        let mut child = serve(text, data, config).stderr(Stdio::piped()).spawn().expect("the program starts");
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let (sender, said) = channel();
        std::thread::spawn(move || {
            // Read to the end, so that the program never waits for its reader.
            stderr.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
        });
        let mut before = Vec::new();
        while let Ok(line) = said.recv_timeout(PATIENCE) {
            if let Some(addr) = address_in(&line) {
                return Ok(Weir { addr, child, said });
            }
            before.push(line);
        }
        let status = child.wait().expect("a child");
        Err((status, before.join("\n")))
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.addr).timeout(Duration::from_secs(10))
    }

    /// SIGKILL, in the middle of whatever it does.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("a child");
        self.child.wait().expect("a child");
    }

    /// SIGTERM.
    pub(crate) fn ask_to_drain(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a child");
    }

    /// Its end, and what it said after it had begun to listen.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let until = clock::now().plus(PATIENCE);
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return (status, self.said.iter().collect::<Vec<_>>().join("\n"));
            }
            assert!(clock::now() < until, "the program does not end");
            clock::pause(Duration::from_millis(10));
        }
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        // Ended already where the test came to its own end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("listens on http://")?;
    rest.split_whitespace().next()?.parse().ok()
}
