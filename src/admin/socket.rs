//! The control socket: `DATA/control.sock`, HTTP/1.1, the same pages with role admin. The kernel says who is at the
//! other end; only our own uid and root are let in.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::http::{Request, Response};
use axum::serve::{IncomingStream, Listener};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::SOCKET_NAME;
use super::api::{Room, page};
use crate::policy::identity::Principal;
use crate::wire::crossing::{PageBody, PageRequest, PageResponse};
use crate::wire::head::RequestHead;

/// Connections at once; over it the next waits in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;
/// Longest body of a command.
const BODY_BYTES_MAX: usize = 1 << 20;

/// The socket, bound and not yet served.
pub(super) struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Bind it. The caller holds the store's lock, so whoever still answers here is no gateway of this folder.
    pub(super) fn bind(data: &Path) -> io::Result<ControlSocket> {
        let path = data.join(SOCKET_NAME);
        let at =
            |why: io::Error| io::Error::new(why.kind(), format!("control socket {}: {why}", path.display()));
        remove_stale(&path).map_err(at)?;
        let listener = UnixListener::bind(&path).map_err(at)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(at)?;
        listener.set_nonblocking(true).map_err(at)?;
        Ok(ControlSocket { listener, path })
    }

    /// Serve until dropped.
    pub(super) async fn serve(self, room: Arc<Room>) {
        let _gone_with_us = Unlink(self.path);
        let Ok(listener) = tokio::net::UnixListener::from_std(self.listener) else { return };
        let listener = Checked { listener, free: Arc::new(Semaphore::new(CONNECTIONS_MAX)) };
        let answer = move |ConnectInfo(peer): ConnectInfo<Peer>, request: Request<Body>| {
            let room = room.clone();
            async move { bridge(&room, peer, request).await }
        };
        let router = Router::new().fallback(answer).into_make_service_with_connect_info::<Peer>();
        // Only an accept that fails for good ends this, and `Checked::accept` has none.
        let _ = axum::serve(listener, router).await;
    }
}

/// Remove a leftover; refuse where somebody answers.
fn remove_stale(path: &Path) -> io::Result<()> {
    match UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process answers there")),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(why) if why.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(why) => Err(why),
    }
}

struct Unlink(PathBuf);

impl Drop for Unlink {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Login at the other end.
#[derive(Clone, Debug)]
struct Peer(String);

impl Connected<IncomingStream<'_, Checked>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Checked>) -> Self {
        stream.remote_addr().clone()
    }
}

/// Hands on only connections of our own uid and of root.
struct Checked {
    listener: tokio::net::UnixListener,
    free: Arc<Semaphore>,
}

impl Listener for Checked {
    type Io = Held;
    type Addr = Peer;

    async fn accept(&mut self) -> (Held, Peer) {
        loop {
            let Ok(place) = self.free.clone().acquire_owned().await else { continue };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    if let Some(peer) = peer_of(&stream) {
                        return (Held { stream, _place: place }, peer);
                    }
                }
                // Out of files, mostly: others must end first.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Ok(Peer(String::new()))
    }
}

fn peer_of(stream: &tokio::net::UnixStream) -> Option<Peer> {
    let uid = stream.peer_cred().ok()?.uid();
    let own = rustix::process::geteuid().as_raw();
    (uid == own || uid == 0).then(|| Peer(login_of(uid)))
}

fn login_of(uid: u32) -> String {
    let user = uzers::get_user_by_uid(uid);
    user.map_or_else(|| format!("uid:{uid}"), |user| user.name().to_string_lossy().into_owned())
}

/// A connection and its place among those allowed.
struct Held {
    stream: tokio::net::UnixStream,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for Held {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, to)
    }
}

impl AsyncWrite for Held {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Their request as ours, our page as theirs.
async fn bridge(room: &Room, Peer(login): Peer, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else { return status(413) };
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let fields = parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let head = RequestHead {
        method: parts.method.as_str().into(),
        target: target.into(),
        fields,
        ..RequestHead::default()
    };
    let principal = Principal { name: login, source: "peer", loopback: true, ..Principal::default() };
    let request = PageRequest { head, body, tls: None, principal: Some(Arc::new(principal)) };
    response(page(room, request, Some("socket")).await).unwrap_or_else(|_| status(500))
}

fn response(page: PageResponse) -> Result<Response<Body>, axum::http::Error> {
    let mut response = Response::builder().status(page.status);
    for (name, value) in page.fields.iter() {
        response = response.header(name, value);
    }
    response.body(match page.body {
        PageBody::Whole(content) => Body::from(content),
        PageBody::Live(pieces) => Body::new(Pieces(pieces)),
    })
}

fn status(status: u16) -> Response<Body> {
    let mut response = Response::default();
    *response.status_mut() = axum::http::StatusCode::from_u16(status).unwrap_or_default();
    response
}

/// A live page as a body.
struct Pieces(tokio::sync::mpsc::Receiver<Bytes>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(http_body::Frame::data(piece))))
    }
}
