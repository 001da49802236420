//! What stands between client and provider: started, pinned, found ready, ended.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::BenchArgs;
use crate::Outcome;

/// In the folder: the authority of the provider's certificate.
pub(crate) const CA_FILE: &str = "provider-ca.pem";

/// How long a subject may take to listen, and to end after SIGTERM.
const START_MAX: Duration = Duration::from_secs(15);
const STOP_MAX: Duration = Duration::from_secs(5);

pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) addr: SocketAddr,
    /// None for `direct`.
    pub(crate) pid: Option<u32>,
    /// What clients show it.
    pub(crate) credential: String,
    child: Option<Child>,
    log: PathBuf,
}

/// Where subjects are started: the provider they forward to, a folder of their own, the core they are pinned to.
#[derive(Clone, Copy)]
pub(crate) struct Ground<'a> {
    pub(crate) provider: SocketAddr,
    /// The same provider behind TLS, and whether subjects are to reach it there.
    pub(crate) front: SocketAddr,
    pub(crate) tls: bool,
    pub(crate) folder: &'a Path,
    pub(crate) core: Option<usize>,
    pub(crate) args: &'a BenchArgs,
}

impl Subject {
    /// `name` is `direct`, `floor`, `nginx`, `nginx-buffered`, `weir…` (with `=PATH` for another binary; a name with `epoll` in it
    /// forces that driver, one with `full` in it gets everything that decides who may what) or one given by `--other`. `Ok(None)`: it cannot be had here, and that has been said.
    pub(crate) fn start(name: &str, ground: &Ground) -> Outcome<Option<Subject>> {
        let (name, path) = name.split_once('=').map_or((name, None), |(n, p)| (n, Some(PathBuf::from(p))));
        if let Some(other) = ground.args.others.iter().find(|o| o.name == name) {
            return Ok(Some(Subject {
                name: name.to_owned(),
                addr: other.addr.to_socket_addrs()?.next().ok_or("no address")?,
                pid: Some(other.pid),
                credential: CREDENTIAL.to_owned(),
                child: None,
                log: PathBuf::new(),
            }));
        }
        let addr = free_address()?;
        match name {
            "direct" | "floor" if ground.tls => Ok(None),
            "direct" => Ok(Some(Subject {
                name: name.to_owned(),
                addr: ground.provider,
                pid: None,
                credential: CREDENTIAL.to_owned(),
                child: None,
                log: PathBuf::new(),
            })),
            "floor" => ground.spawn(name, addr, floor(addr, ground)?).map(Some),
            "nginx" | "nginx-buffered" => match nginx(addr, ground, name != "nginx")? {
                Some(command) => ground.spawn(name, addr, command).map(Some),
                None => {
                    eprintln!(
                        "loadtest: NGINX IS ABSENT: the yardstick is missing from this run (apt install nginx)"
                    );
                    Ok(None)
                }
            },
            weir if weir.starts_with("weir") => {
                let path = path.or_else(|| ground.args.weir.clone());
                let path = path.ok_or("subject weir needs --weir PATH, or weir=PATH")?;
                let folder = ground.folder.join(format!("{name}-{}", addr.port()));
                fs::create_dir_all(&folder)?;
                let command = weir_command(name, &path, addr, &folder, ground)?;
                // A key is minted before: the gateway reads them at its start.
                let credential = name.contains("full").then(|| minted(&path, &folder)).transpose()?;
                let mut subject = ground.spawn(name, addr, command)?;
                if let Some(credential) = credential {
                    subject.credential = credential;
                }
                Ok(Some(subject))
            }
            _ => Err(format!("unknown subject {name:?}").into()),
        }
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        let pid = rustix::process::Pid::from_child(child);
        // It may have ended by itself, which is just as well here.
        _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let end = Instant::now() + STOP_MAX;
        while Instant::now() < end {
            if matches!(child.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        _ = child.kill();
        _ = child.wait();
    }
}

impl Ground<'_> {
    fn spawn(&self, name: &str, addr: SocketAddr, mut command: Command) -> Outcome<Subject> {
        let log = self.folder.join(format!("{name}-{}.log", addr.port()));
        command
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?);
        // A child begins with the affinity of the thread that starts it: no moment on the wrong core.
        let own = sched_getaffinity(None)?;
        if let Some(core) = self.core {
            pin(core)?;
        }
        let child = command.spawn();
        sched_setaffinity(None, &own)?;
        let child = child.map_err(|e| format!("{name} cannot be started: {e}"))?;
        let pid = Some(child.id());
        let credential = CREDENTIAL.to_owned();
        let mut subject = Subject { name: name.to_owned(), addr, pid, credential, child: Some(child), log };
        subject.wait_ready()?;
        Ok(subject)
    }
}

impl Subject {
    fn wait_ready(&mut self) -> Outcome<()> {
        let end = Instant::now() + START_MAX;
        while TcpStream::connect(self.addr).is_err() {
            let ended = self.child.as_mut().is_some_and(|c| matches!(c.try_wait(), Ok(Some(_))));
            if ended || Instant::now() > end {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(12).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                return Err(
                    format!("{} does not listen; its last words:\n{}", self.name, tail.join("\n")).into()
                );
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

/// Pin the calling thread, and what it starts.
pub(crate) fn pin(core: usize) -> Outcome<()> {
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

/// The cores we may use.
pub(crate) fn cores() -> Outcome<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|i| set.is_set(*i)).collect())
}

fn free_address() -> Outcome<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn floor(addr: SocketAddr, ground: &Ground) -> Outcome<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["relay", "--listen", &addr.to_string(), "--to", &ground.provider.to_string()]);
    Ok(command)
}

fn nginx(addr: SocketAddr, ground: &Ground, buffered: bool) -> Outcome<Option<Command>> {
    let known = [PathBuf::from("/usr/sbin/nginx"), PathBuf::from("/usr/local/sbin/nginx")];
    let Some(binary) = ground.args.nginx.iter().chain(&known).find(|p| p.exists()) else { return Ok(None) };
    let folder = ground.folder.join(format!("nginx-{}", addr.port()));
    fs::create_dir_all(&folder)?;
    let config = folder.join("nginx.conf");
    fs::write(&config, nginx_config(addr, ground, &folder, buffered))?;
    let mut command = Command::new(binary);
    command.arg("-p").arg(&folder).arg("-e").arg(folder.join("error.log")).arg("-c").arg(&config);
    Ok(Some(command))
}

/// A plain proxy as it would be set up before a model API. What is cheapest for large requests (collect them whole) is
/// dear in memory and the other way round, so there are two of it; answers stream in both.
fn nginx_config(addr: SocketAddr, ground: &Ground, folder: &Path, buffered: bool) -> String {
    let (provider, scheme) = if ground.tls { (ground.front, "https") } else { (ground.provider, "http") };
    let ca = ground.folder.join(CA_FILE);
    let tls = match ground.tls {
        true => format!(
            "proxy_ssl_trusted_certificate {}; proxy_ssl_verify on; proxy_ssl_server_name on; proxy_ssl_name localhost;",
            ca.display()
        ),
        false => String::new(),
    };
    let request = match buffered {
        true => "proxy_request_buffering on; client_body_buffer_size 512k",
        false => "proxy_request_buffering off",
    };
    let folder = folder.display();
    format!(
        "daemon off; master_process off; worker_processes 1; worker_rlimit_nofile 20000; pid {folder}/pid;\n\
         events {{ worker_connections 16384; use epoll; }}\n\
         http {{\n\
         access_log off; server_tokens off; tcp_nodelay on; keepalive_requests 1000000000; keepalive_timeout 600;\n\
         client_max_body_size 64m;\n\
         client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;\n\
         uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;\n\
         upstream provider {{ server {provider}; keepalive 4096; keepalive_requests 1000000000; }}\n\
         server {{ listen {addr} backlog=4096;\n\
         location / {{ {tls} proxy_pass {scheme}://provider; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
         proxy_buffering off; {request}; proxy_read_timeout 600; }} }}\n\
         }}\n"
    )
}

fn weir_command(
    name: &str,
    binary: &Path,
    addr: SocketAddr,
    folder: &Path,
    ground: &Ground,
) -> Outcome<Command> {
    let config = folder.join("weir.hujson");
    let template = match &ground.args.weir_config {
        _ if name.contains("full") => full_config(),
        Some(path) => fs::read_to_string(path)?,
        None => WEIR_CONFIG.to_owned(),
    };
    let mut text = template.replace("@LISTEN@", &addr.to_string());
    if ground.tls {
        let ca = ground.folder.join(CA_FILE);
        text = text.replace("http://@PROVIDER@", &format!("https://localhost:{}", ground.front.port()));
        text =
            text.replacen("\"server\": {", &format!("\"server\": {{\"ca_file\": \"{}\", ", ca.display()), 1);
    }
    let text = text.replace("@PROVIDER@", &ground.provider.to_string());
    fs::write(&config, text)?;
    let mut command = Command::new(binary);
    command.arg("serve").arg("--config").arg(&config).arg("--data").arg(folder.join("data"));
    if name.contains("epoll") {
        command.env("MONOIO_FORCE_LEGACY_DRIVER", "1");
    }
    for pair in &ground.args.weir_env {
        let (key, value) = pair.split_once('=').ok_or("--weir-env takes NAME=VALUE")?;
        command.env(key, value);
    }
    Ok(command)
}

/// A key of this gateway's, as an operator makes one.
fn minted(binary: &Path, folder: &Path) -> Outcome<String> {
    let made = Command::new(binary)
        .args(["key", "create", "agent", "--group", "team-7", "--json", "--data"])
        .arg(folder.join("data"))
        .output()
        .map_err(|e| format!("no key can be made: {e}"))?;
    let text = String::from_utf8_lossy(&made.stdout).into_owned();
    let key = text.split("\"key\":\"").nth(1).and_then(|rest| rest.split('"').next());
    Ok(key.ok_or_else(|| format!("no key was made: {}", String::from_utf8_lossy(&made.stderr)))?.to_owned())
}

/// The plain one with an identity by key, 100 grants (three of them for whoever asks), and two quotas that hold.
fn full_config() -> String {
    let others: Vec<String> = (0..97)
        .map(|n| {
            format!(
                "{{\"src\": [\"person-{n}@example.com\", \"group:team-{}\"], \"app\": {{\"weir\": [{{\"models\": \"synthetic/other-{n}-*\"}}]}}}}",
                10 + n % 20
            )
        })
        .collect();
    FULL_CONFIG.replace("@OTHERS@", &others.join(",\n        "))
}

/// The vendor's credential, which subjects do not look at unless told to.
const CREDENTIAL: &str = "synthetic";

const FULL_CONFIG: &str = r#"{
    "server": {"listen": ["@LISTEN@"], "cores": 1},
    "identity": [{"source": "key"}],
    "providers": {
        "synthetic": {
            "baseurl": "http://@PROVIDER@",
            "models": ["**"],
            "apikey": "x",
            "compatibility": {"anthropic_messages": true, "openai_chat": true},
            "cost_basis": "anthropic",
            "model_cost_map": [{"match": "*", "as": "claude-sonnet-4-5"}],
        },
    },
    "quotas": {
        "daily:<user>": {"capacity": "$1000000", "rate": "$1000000/day"},
        "tokens": {"unit": "tokens", "capacity": 1000000000000, "rate": "1000000000000/day"},
    },
    "grants": [
        {"src": ["*"], "app": {"weir": [{"role": "user"}, {"quotas": [{"bucket": "tokens"}]}]}},
        {"src": ["group:team-7"], "app": {"weir": [{"models": "synthetic/synthetic-*"}]}},
        {"src": ["key:agent"], "app": {"weir": [{"models": "synthetic/**", "quotas": [{"bucket": "daily:<user>"}]}]}},
        @OTHERS@
    ],
}
"#;

const WEIR_CONFIG: &str = r#"{
    "server": {"listen": ["@LISTEN@"], "cores": 1},
    "providers": {
        "synthetic": {
            "baseurl": "http://@PROVIDER@",
            "models": ["**"],
            "apikey": "x",
            "compatibility": {"anthropic_messages": true, "openai_chat": true},
        },
    },
    "grants": [{"src": ["*"], "app": {"weir": [{"role": "user"}, {"models": "**"}]}}],
}
"#;
