//! The stage of a row: a loopback socket whose far end is a plain blocking thread that plays a script, and on the
//! near end the crate under trial on its own runtime. The far end shares no code with what it judges.

use std::fmt;
use std::future::Future;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use monoio::io::Splitable;
use monoio::io::stream::Stream;
use monoio_http::common::body::Body;
use monoio_http::common::request::Request;
use monoio_http::h1::codec::decoder::{FillPayload, RequestDecoder};

/// One row's observation.
pub struct Seen {
    pub what: String,
    pub fault: bool,
}

impl Seen {
    pub fn fault_if(fault: bool, what: impl Into<String>) -> Self {
        Self { what: what.into(), fault }
    }
}

/// Runs a row's near end: the fusion driver, as the crate's own users would.
pub fn on_loop<F: Future>(play: F) -> F::Output {
    monoio::RuntimeBuilder::<monoio::FusionDriver>::new()
        .enable_timer()
        .build()
        .expect("a runtime")
        .block_on(play)
}

/// A connection whose far end plays `script` on a thread of its own; the socket is closed when the script returns.
pub async fn peer(script: impl FnOnce(TcpStream) + Send + 'static) -> monoio::net::TcpStream {
    let socket = monoio::net::TcpStream::connect(far_end(script)).await.expect("the loopback answers");
    socket.set_nodelay(true).expect("a socket option");
    socket
}

/// The far end alone, for a near end that wants to connect by itself.
pub fn far_end(script: impl FnOnce(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        let (socket, _) = listener.accept().expect("the near end connects");
        socket.set_nodelay(true).expect("a socket option");
        script(socket);
    });
    address
}

/// A script that writes `wire` at once, then keeps the connection open for `open_ms`.
pub fn says(wire: impl Into<Vec<u8>>, open_ms: u64) -> impl FnOnce(TcpStream) + Send + 'static {
    let wire = wire.into();
    move |mut socket| {
        let _ = socket.write_all(&wire);
        pause(open_ms);
    }
}

/// Writes `block` until `total` bytes are out or the near end is gone.
pub fn pour(socket: &mut TcpStream, block: &[u8], total: usize) -> usize {
    let mut written = 0;
    while written < total && socket.write_all(block).is_ok() {
        written += block.len();
    }
    written
}

pub fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// `None` when `play` is not done after `ms`.
pub async fn within<F: Future>(ms: u64, play: F) -> Option<F::Output> {
    monoio::time::timeout(Duration::from_millis(ms), play).await.ok()
}

/// What the request side made of a connection, one step an entry.
pub enum Step {
    Request { line: String, body: Vec<u8> },
    Refused(String),
    Waits,
    End,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request { line, body } if body.is_empty() => write!(f, "took `{line}` without a body"),
            Self::Request { line, body } => {
                write!(f, "took `{line}` with {:?}", String::from_utf8_lossy(&body[..body.len().min(40)]))
            }
            Self::Refused(why) => write!(f, "refused: {why}"),
            Self::Waits => f.write_str("waits"),
            Self::End => f.write_str("end"),
        }
    }
}

/// Everything the crate's request decoder takes from `wire`.
pub fn requests(wire: impl Into<Vec<u8>>) -> Vec<Step> {
    on_loop(async {
        let (reading, _writing) = peer(says(wire, 0)).await.into_split();
        let mut decoder = RequestDecoder::new(reading);
        let mut steps = Vec::new();
        while steps.len() < 10 {
            let step = match within(1_000, next_request(&mut decoder)).await {
                Some(step) => step,
                None => Step::Waits,
            };
            let go_on = matches!(step, Step::Request { .. });
            steps.push(step);
            if !go_on {
                break;
            }
        }
        steps
    })
}

async fn next_request<D>(decoder: &mut D) -> Step
where
    D: Stream<Item = Result<Request, monoio_http::common::error::HttpError>>,
    D: FillPayload<Error = monoio_http::common::error::HttpError>,
{
    let request = match decoder.next().await {
        None => return Step::End,
        Some(Err(error)) => return Step::Refused(error.to_string()),
        Some(Ok(request)) => request,
    };
    let line = format!("{} {}", request.method(), request.uri());
    if let Err(error) = decoder.fill_payload().await {
        return Step::Refused(format!("`{line}`: {error}"));
    }
    let mut body = Vec::new();
    let mut payload = request.into_body();
    while let Some(piece) = payload.next_data().await {
        match piece {
            Ok(piece) => body.extend_from_slice(&piece),
            Err(error) => return Step::Refused(format!("`{line}`: {error}")),
        }
    }
    Step::Request { line, body }
}

pub fn took(steps: &[Step], wanted: &str) -> bool {
    steps.iter().any(|step| matches!(step, Step::Request { line, .. } if line == wanted))
}

pub fn story(steps: &[Step]) -> String {
    steps.iter().map(Step::to_string).collect::<Vec<_>>().join("; ")
}

/// The most memory this process has had in use, in MiB.
pub fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    peak.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap_or(0) / 1024
}

pub fn cpu_ms() -> u128 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    spent.tv_sec as u128 * 1_000 + spent.tv_nsec as u128 / 1_000_000
}

pub fn ms_since(start: Instant) -> u128 {
    start.elapsed().as_millis()
}
