//! `weir serve`

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;

use super::Failure;
use crate::base::clock;
use crate::base::settings::Problem;
use crate::config::compile::{self, Loaded};
use crate::config::embedded::embedded;
use crate::config::file::{self, Address, Cores};
use crate::config::secret::read_inside;
use crate::server::{Options, Pin, Server};

/// Run the gateway
#[derive(Args)]
#[command(after_help = "\
Examples:
  weir serve                                  the embedded default: 127.0.0.1:8080, ./weir-data, keys from the environment
  weir serve --config weir.hujson             everything as the file says
  weir serve --listen 127.0.0.1:9000 --data /var/lib/weir")]
pub(super) struct Serve {
    /// Configuration file (HuJSON); without one: providers from the environment, this machine's users
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address to listen on, instead of the configured ones; may be given more than once
    #[arg(long, value_name = "ADDR")]
    listen: Vec<SocketAddr>,
    /// Folder of the store
    #[arg(long, value_name = "DIR", default_value = "weir-data")]
    data: PathBuf,
    /// Serving cores, instead of the configured number
    #[arg(long, value_name = "N")]
    cores: Option<usize>,
    /// Keep serving threads on their processors
    #[arg(long, value_enum)]
    pin: Option<Pin>,
    /// Use epoll even where io_uring is granted
    #[arg(long)]
    epoll: bool,
    /// Start although the file asks for restrictions that this version does not enforce
    #[arg(long)]
    allow_unenforced: bool,
    /// The only folder that `$file:` references may name
    #[arg(long, value_name = "DIR")]
    secrets_dir: Option<PathBuf>,
}

impl Serve {
    pub(super) fn run(self) -> Result<(), Failure> {
        let loaded = self.load()?;
        for problem in &loaded.warnings {
            eprintln!("weir: {problem}");
        }
        let server = Server::start(self.options(loaded)?)?;
        announce(&server);
        let drain = server.drain_flag();
        // A signal sets the flag (control thread); the rest of the drain is ours.
        while !drain.load(Ordering::Relaxed) {
            clock::pause(Duration::from_millis(50));
        }
        eprintln!("weir: draining, {} exchanges in flight", server.in_flight());
        server.drain();
        Ok(())
    }

    fn load(&self) -> Result<Loaded, Failure> {
        let options = compile::Options {
            no_secrets: false,
            allow_unenforced: self.allow_unenforced,
            secrets_dir: self.secrets_dir.clone(),
            listen: self.listen.clone(),
        };
        let env = |name: &str| std::env::var(name).ok();
        let Some(path) = &self.config else { return Ok(embedded(&env, &options)) };
        let text = std::fs::read_to_string(path).map_err(|why| format!("{}: {why}", path.display()))?;
        // Only reached where a folder for secrets is named; links in it may not lead out of it.
        let dir = self.secrets_dir.as_deref().unwrap_or(Path::new("/nonexistent"));
        let files = |name: &str| read_inside(dir, name);
        compile::load(&text, &env, &files, &options).map_err(|problems| listed(path, &problems).into())
    }

    fn options(self, loaded: Loaded) -> Result<Options, Failure> {
        let install = loaded.install;
        let listen: Result<Vec<_>, String> = install
            .listen
            .iter()
            .map(|listen| match &listen.address {
                Address::Tcp(address) if listen.tls.is_none() => Ok(*address),
                Address::Tcp(address) => Err(format!("{address}: TLS on listeners is not built yet")),
                Address::Unix(path) => {
                    Err(format!("{}: unix-socket listeners are not built yet", path.display()))
                }
            })
            .collect();
        let configured = match install.cores {
            Cores::Auto => None,
            Cores::Count(count) => Some(count),
        };
        let pin = match install.pin {
            file::Pin::Auto => Pin::Auto,
            file::Pin::On => Pin::On,
            file::Pin::Off => Pin::Off,
        };
        Ok(Options {
            listen: listen?,
            data: self.data,
            cores: self.cores.or(configured),
            pin: self.pin.unwrap_or(pin),
            force_epoll: self.epoll,
            ca_file: install.ca_file,
            quota_store: install.quota_store,
            snapshot: Arc::new(loaded.snapshot),
            drain_timeout: install.drain_timeout,
            panic_path: None,
        })
    }
}

fn listed(path: &Path, problems: &[Problem]) -> String {
    let lines: Vec<_> = problems.iter().map(|problem| format!("  {problem}")).collect();
    format!("{} is not in force:\n{}", path.display(), lines.join("\n"))
}

fn announce(server: &Server) {
    for address in &server.addresses {
        eprintln!("weir listens on http://{address}  ({} cores, {})", server.cores, server.driver.name());
    }
    if let Some(address) = server.addresses.first() {
        eprintln!("dashboard  http://{address}/ui");
        if let Some(link) = server.admin_link() {
            eprintln!("as admin   {link}  (good once, for whoever opens it first)");
        }
        eprintln!(
            "Claude Code: ANTHROPIC_BASE_URL=http://{address} ANTHROPIC_AUTH_TOKEN=-   (others: weir setup)"
        );
    }
}
