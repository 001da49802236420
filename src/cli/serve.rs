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
use crate::config::file::{self, Cores};
use crate::config::reload::Source;
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
        let source = self.source();
        let loaded = source.load().map_err(|problems| listed(self.config.as_deref(), &problems))?;
        for problem in &loaded.warnings {
            eprintln!("weir: {problem}");
        }
        let server = Server::start(self.options(source, loaded))?;
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

    fn source(&self) -> Source {
        let options = compile::Options {
            no_secrets: false,
            allow_unenforced: self.allow_unenforced,
            secrets_dir: self.secrets_dir.clone(),
            listen: self.listen.clone(),
        };
        Source { file: self.config.clone(), options }
    }

    fn options(self, source: Source, loaded: Loaded) -> Options {
        let install = loaded.install;
        let configured = match install.cores {
            Cores::Auto => None,
            Cores::Count(count) => Some(count),
        };
        let pin = match install.pin {
            file::Pin::Auto => Pin::Auto,
            file::Pin::On => Pin::On,
            file::Pin::Off => Pin::Off,
        };
        Options {
            listen: Vec::new(),
            listeners: [install.listen.clone(), install.admin_listen.clone()].concat(),
            data: self.data,
            cores: self.cores.or(configured),
            pin: self.pin.unwrap_or(pin),
            force_epoll: self.epoll,
            ca_file: install.ca_file.clone(),
            quota_store: install.quota_store.clone(),
            snapshot: Arc::new(loaded.snapshot),
            drain_timeout: install.drain_timeout,
            panic_path: None,
            source,
            install: Some(install),
        }
    }
}

fn listed(path: Option<&Path>, problems: &[Problem]) -> String {
    let path = path.unwrap_or(Path::new("the embedded default"));
    let lines: Vec<_> = problems.iter().map(|problem| format!("  {problem}")).collect();
    format!("{} is not in force:\n{}", path.display(), lines.join("\n"))
}

fn announce(server: &Server) {
    for url in &server.urls {
        eprintln!("weir listens on {url}  ({} cores, {})", server.cores, server.driver.name());
    }
    if let (Some(pages), Some(link)) = (&server.pages, server.admin_link()) {
        eprintln!("dashboard  {pages}/ui");
        eprintln!("as admin   {link}  (good once, for whoever opens it first)");
    }
    if let Some(url) = server.urls.iter().find(|url| url.starts_with("http")) {
        eprintln!("Claude Code: ANTHROPIC_BASE_URL={url} ANTHROPIC_AUTH_TOKEN=-   (others: weir setup)");
    }
}
