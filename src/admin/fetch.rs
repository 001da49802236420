//! One request from the control thread, answered whole: tokens, key sets, metadata. Every address is judged after it was
//! resolved, redirects are answers like any other, and both time and size are bounded.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::policy::dial;
use crate::policy::identity::settings::Network;
use crate::wire::h1::{Framing, HeadLimits, HeadScan, parse_response, write_field};
use crate::wire::head::Fields;

/// Longest answer.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// The whole of it, name look-up to last byte.
const WITHIN: Duration = Duration::from_secs(10);
/// Metadata services are next door, or not there at all.
const METADATA_WITHIN: Duration = Duration::from_secs(2);

/// What is asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Question {
    /// Method.
    pub(super) method: &'static str,
    /// Absolute URL.
    pub(super) url: String,
    /// Fields, without `Host` and framing.
    pub(super) fields: Vec<(String, String)>,
    /// Body.
    pub(super) body: Vec<u8>,
    /// A metadata service is meant: the one case in which a link-local address is.
    pub(super) metadata: bool,
}

/// What came.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// Status.
    pub(super) status: u16,
    /// Fields.
    pub(super) fields: Fields,
    /// Content.
    pub(super) body: Vec<u8>,
}

/// Asks.
#[derive(Clone)]
pub(super) struct Fetcher {
    /// What is trusted.
    pub(super) tls: Arc<rustls::ClientConfig>,
    /// Private networks that the file names.
    pub(super) networks: Vec<Network>,
}

/// A URL taken apart.
struct Place<'u> {
    tls: bool,
    host: &'u str,
    port: u16,
    target: &'u str,
    authority: &'u str,
}

impl Fetcher {
    /// Ask, and wait for the whole answer. The error is for the log.
    pub(super) async fn ask(&self, question: &Question) -> Result<Answer, String> {
        let within = if question.metadata { METADATA_WITHIN } else { WITHIN };
        let place =
            place(&question.url).ok_or_else(|| format!("{} is no http or https URL", question.url))?;
        let asked = tokio::time::timeout(within, self.ask_at(question, &place));
        asked
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {within:?}")))
            .map_err(|why| format!("{}: {why}", place.authority))
    }

    /// Ask a daemon behind a unix socket; the caller bounds the time.
    pub(super) async fn ask_unix(socket: &str, host: &str, target: &str) -> Result<Answer, String> {
        let stream = tokio::net::UnixStream::connect(socket).await.map_err(|why| why.to_string())?;
        let question = Question { method: "GET", ..Question::default() };
        let place = Place { tls: false, host, port: 0, target, authority: host };
        converse(stream, &written(&question, &place), &question).await
    }

    async fn ask_at(&self, question: &Question, place: &Place<'_>) -> Result<Answer, String> {
        let socket = self.connect(place, question.metadata).await?;
        let head = written(question, place);
        if !place.tls {
            return converse(socket, &head, question).await;
        }
        let name = ServerName::try_from(place.host.to_owned()).map_err(|why| why.to_string())?;
        let connecting = TlsConnector::from(self.tls.clone()).connect(name, socket);
        converse(connecting.await.map_err(|why| why.to_string())?, &head, question).await
    }

    async fn connect(&self, place: &Place<'_>, metadata: bool) -> Result<TcpStream, String> {
        let found = tokio::net::lookup_host((place.host, place.port)).await.map_err(|why| why.to_string())?;
        let mut errors = Vec::new();
        for address in found {
            match self.try_one(address, place.host, metadata).await {
                Ok(socket) => return Ok(socket),
                Err(why) => errors.push(why),
            }
        }
        Err(if errors.is_empty() { "no address".to_owned() } else { errors.join("; ") })
    }

    async fn try_one(&self, address: SocketAddr, host: &str, metadata: bool) -> Result<TcpStream, String> {
        if !metadata {
            dial::judge(address.ip(), host, &self.networks).map_err(|closed| closed.to_string())?;
        }
        TcpStream::connect(address).await.map_err(|why| format!("{address}: {why}"))
    }
}

fn place(url: &str) -> Option<Place<'_>> {
    let (scheme, rest) = url.split_once("://")?;
    let tls = match scheme {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    let (authority, target) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let default = if tls { 443 } else { 80 };
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':').map_or(Some(default), |port| port.parse().ok())?),
        None => match authority.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (authority, default),
        },
    };
    let plain = |b: u8| (0x21..0x7f).contains(&b);
    (!host.is_empty() && !authority.contains('@') && url.bytes().all(plain)).then_some(Place {
        tls,
        host,
        port,
        target,
        authority,
    })
}

fn written(question: &Question, place: &Place<'_>) -> Vec<u8> {
    let mut out = format!("{} {} HTTP/1.1\r\n", question.method, place.target).into_bytes();
    write_field(&mut out, b"host", place.authority.as_bytes());
    write_field(&mut out, b"accept", b"application/json");
    write_field(&mut out, b"user-agent", concat!("weir/", env!("CARGO_PKG_VERSION")).as_bytes());
    write_field(&mut out, b"connection", b"close");
    if question.method != "GET" {
        write_field(&mut out, b"content-length", question.body.len().to_string().as_bytes());
    }
    for (name, value) in &question.fields {
        write_field(&mut out, name.as_bytes(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out
}

async fn converse(
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
    head: &[u8],
    question: &Question,
) -> Result<Answer, String> {
    let lost = |why: std::io::Error| why.to_string();
    socket.write_all(head).await.map_err(lost)?;
    socket.write_all(&question.body).await.map_err(lost)?;
    socket.flush().await.map_err(lost)?;
    let limits = HeadLimits::default();
    let (mut scan, mut bytes) = (HeadScan::default(), Vec::new());
    let end = loop {
        if let Some(end) = scan.end(&bytes, &limits).map_err(|why| why.to_string())? {
            break end;
        }
        if socket.read_buf(&mut bytes).await.map_err(lost)? == 0 {
            return Err("closed within the head of its answer".to_owned());
        }
    };
    let rest = bytes.split_off(end);
    let response = parse_response(&bytes, question.method, &limits).map_err(|why| why.to_string())?;
    let body = content(&mut socket, rest, response.framing).await?;
    Ok(Answer { status: response.head.status, fields: response.head.fields, body })
}

async fn content(
    socket: &mut (impl AsyncRead + Unpin),
    first: Vec<u8>,
    mut framing: Framing,
) -> Result<Vec<u8>, String> {
    let (mut body, mut block) = (Vec::new(), first);
    loop {
        let mut ranges = Vec::new();
        let scan = framing.scan(&block, &mut ranges).map_err(|why| why.to_string())?;
        ranges.into_iter().for_each(|range| body.extend_from_slice(&block[range]));
        if body.len() > ANSWER_BYTES_MAX {
            return Err(format!("an answer of more than {ANSWER_BYTES_MAX} bytes"));
        }
        if scan.done {
            return Ok(body);
        }
        block.clear();
        match socket.read_buf(&mut block).await {
            Ok(0) if framing.may_end_here() => return Ok(body),
            Ok(0) => return Err("closed within its answer".to_owned()),
            Ok(_) => {}
            // Many servers close without a TLS farewell; only a body that ends so could have been cut by it.
            Err(why) if why.kind() == std::io::ErrorKind::UnexpectedEof && framing.may_end_here() => {
                return Ok(body);
            }
            Err(why) => return Err(why.to_string()),
        }
    }
}
