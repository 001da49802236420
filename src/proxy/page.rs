//! Pages of the API and the dashboard: handed to the control thread, sent back as they come. No exchange and no record,
//! but of those that are refused: who tried, and why not.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::conn::{After, Conn};
use super::core::Core;
use super::exchange::{self, check_host};
use super::fault::{Fault, Kind};
use super::reply;
use super::request::Body;
use super::who;
use crate::llm::dialect::paths;
use crate::policy::decide::Denial;
use crate::policy::identity::Principal;
use crate::wire::crossing::{Ask, Asker, PageBody, PageRequest, PageResponse};
use crate::wire::h1::{Framing, Request, write_decimal, write_field};
use crate::wire::head::Version;

/// A configuration, which is the largest thing that a page takes, has four megabytes at most.
const BODY_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Whether a path belongs to the control plane.
#[must_use]
pub(super) fn is_page(path: &str) -> bool {
    matches!(path, "/" | "/metrics" | "/healthz" | "/readyz" | "/favicon.ico" | "/ui")
        || (["/ui/", "/api/", "/aperture/"].iter().any(|prefix| path.starts_with(prefix))
            && !is_of_a_provider(path))
}

/// Asked by whatever keeps the process alive, wherever it listens.
fn is_probe(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz")
}

/// Whether the closed table of paths has it, under whichever method: Ollama's own API lives under `/api/` as well.
fn is_of_a_provider(path: &str) -> bool {
    paths::flags_of(path).next().is_some()
}

/// Serve a page.
pub(super) async fn serve(core: &Core, conn: &mut Conn, request: &Request) -> After {
    match page(core, conn, request).await {
        Ok(after) => after,
        Err(fault) if fault.kind == Kind::ClientGone => After::Cut,
        Err(fault) => {
            let id = exchange::note_refused(core, conn, request, &fault);
            let bodiless = request.head.method == "HEAD";
            let response = reply::response(&fault, None, id, true, bodiless);
            let _ = conn.send(&response, core.limits().body_idle).await;
            After::Linger
        }
    }
}

async fn page(core: &Core, conn: &mut Conn, request: &Request) -> Result<After, Fault> {
    check_host(conn, core, request)?;
    if !core.serves(conn.listener, true) && !is_probe(request.head.path()) {
        return Err(Fault::new(Kind::UnknownPath));
    }
    who::judge_viewer(core, conn, request).await?;
    if conn.principal.is_none() && !matches!(request.framing, Framing::None) {
        // Nothing that is for everybody takes a body, so none is held for them.
        return Err(Denial::NoIdentity.into());
    }
    let bytes_max = core.limits().body_bytes_max.min(BODY_BYTES_MAX);
    let mut body = Body::begin_within(core, conn, request, bytes_max)?;
    while !body.is_done() {
        body.more(core, conn).await?;
    }
    let (reply, answer) = oneshot::channel();
    let question = PageRequest {
        head: request.head.clone(),
        body: Bytes::from(body.release()),
        tls: Some(conn.is_secured()),
        principal: conn.principal.clone().map(|principal: Principal| Arc::new(principal) as Asker),
    };
    // A full line means a control thread that is behind: say so rather than wait in memory.
    core.asks.try_send(Ask::Page(Box::new(question), reply)).map_err(|_| Fault::new(Kind::Busy))?;
    let page = answer.await.map_err(|_| Fault::new(Kind::Busy))?;
    if matches!(page.status, 401 | 403 | 405) {
        exchange::note_refused(core, conn, request, &Fault::new(Kind::Page(page.status)));
    }
    send(core, conn, request, page).await
}

async fn send(core: &Core, conn: &mut Conn, request: &Request, page: PageResponse) -> Result<After, Fault> {
    let live = matches!(page.body, PageBody::Live(_));
    let chunked = live && request.head.version == Version::Http11;
    let keep = request.keep_alive && !core.is_draining() && (chunked || !live);
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(b"HTTP/1.1 ");
    write_decimal(&mut out, u64::from(page.status));
    out.extend_from_slice(b" \r\n");
    for (name, value) in page.fields.iter() {
        write_field(&mut out, name, value);
    }
    if !keep {
        write_field(&mut out, b"connection", b"close");
    }
    let after = if keep { After::KeepAlive } else { After::Close };
    match page.body {
        PageBody::Whole(content) => {
            write_field(&mut out, b"content-length", content.len().to_string().as_bytes());
            out.extend_from_slice(b"\r\n");
            if request.head.method != "HEAD" {
                out.extend_from_slice(&content);
            }
            conn.send(&out, core.limits().idle).await?;
            Ok(after)
        }
        PageBody::Live(pieces) => {
            if chunked {
                write_field(&mut out, b"transfer-encoding", b"chunked");
            }
            out.extend_from_slice(b"\r\n");
            conn.send(&out, core.limits().idle).await?;
            pass_live(core, conn, pieces, chunked).await.map(|()| after)
        }
    }
}

/// Pieces as they come, until the page ends or the reader leaves.
async fn pass_live(
    core: &Core,
    conn: &mut Conn,
    mut pieces: mpsc::Receiver<Bytes>,
    chunked: bool,
) -> Result<(), Fault> {
    loop {
        let next = std::future::poll_fn(|cx| {
            if conn.poll_gone(core, cx).is_ready() {
                return std::task::Poll::Ready(Err(Fault::new(Kind::ClientGone)));
            }
            pieces.poll_recv(cx).map(Ok)
        });
        let Some(piece) = next.await? else { break };
        let mut out = Vec::with_capacity(piece.len() + 16);
        if chunked {
            out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        }
        out.extend_from_slice(&piece);
        if chunked {
            out.extend_from_slice(b"\r\n");
        }
        conn.send(&out, core.limits().idle).await?;
    }
    if chunked {
        conn.send(b"0\r\n\r\n", core.limits().idle).await?;
    }
    Ok(())
}
