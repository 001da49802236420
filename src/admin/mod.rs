//! Floor 5: API and dashboard, on the control thread. Cores hand it requests over a channel; it never sees a socket of
//! theirs, and never imports the data plane.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::base::stats::Stats;
use crate::policy::snapshot::Snapshot;
use crate::record::health::WriterHealth;
use crate::record::writer::TailDoor;
use crate::wire::crossing::{Ask, PageBody, PageRequest, PageResponse};
use crate::wire::head::Fields;

/// What the pages show.
pub struct Facts {
    /// Folder of the store.
    pub data: PathBuf,
    /// Live counters.
    pub stats: Stats,
    /// How the writer is doing.
    pub health: Arc<WriterHealth>,
    /// Live tail.
    pub tail: TailDoor,
    /// How the cores wait.
    pub driver: &'static str,
    /// When this process began to serve, microseconds since the Unix epoch.
    pub started_at_us: u64,
    /// Configuration in force.
    pub snapshot: Arc<Snapshot>,
    /// Set while draining.
    pub drain: Arc<AtomicBool>,
}

/// The control thread.
pub struct Control {
    thread: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl Control {
    /// Start it.
    pub fn start(asks: mpsc::Receiver<Ask>, facts: Facts) -> io::Result<Control> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let run = move || runtime.block_on(answer(asks, Arc::new(facts), stopped));
        let thread = std::thread::Builder::new().name("weir-control".into()).spawn(run)?;
        Ok(Control { thread, stop })
    }

    /// Stop it, once no core can ask any more.
    pub fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

async fn answer(mut asks: mpsc::Receiver<Ask>, facts: Arc<Facts>, mut stopped: oneshot::Receiver<()>) {
    tokio::spawn(drain_on_signal(facts.drain.clone()));
    loop {
        let ask = tokio::select! {
            ask = asks.recv() => ask,
            _ = &mut stopped => None,
        };
        match ask {
            None => return,
            Some(Ask::Resolve(host, port, reply)) => {
                tokio::spawn(async move { drop(reply.send(resolve(&host, port).await)) });
            }
            Some(Ask::Page(request, reply)) => {
                let facts = facts.clone();
                tokio::spawn(async move { drop(reply.send(page(&facts, *request))) });
            }
        }
    }
}

/// SIGTERM and SIGINT begin the drain.
async fn drain_on_signal(drain: Arc<AtomicBool>) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    drain.store(true, Ordering::Relaxed);
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let found = tokio::net::lookup_host((host, port)).await.map_err(|why| why.to_string())?;
    Ok(found.collect())
}

fn page(facts: &Facts, request: PageRequest) -> PageResponse {
    let _ = facts;
    let status = if matches!(request.head.path(), "/healthz" | "/readyz") { 200 } else { 404 };
    let fields: Fields = [("content-type", "text/plain; charset=utf-8")].into_iter().collect();
    PageResponse { status, fields, body: PageBody::Whole(Bytes::from_static(b"ok\n")) }
}
