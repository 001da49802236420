//! The control thread: answers what cores ask, serves the control socket, turns signals into the drain flag.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::Facts;
use super::api::{Room, page};
use super::credentials::Maker;
use super::door::{Door, Link};
use super::issuers::Issuers;
use super::leases::Leases;
use super::objects::Objects;
use super::pricing::Pricing;
use super::socket::ControlSocket;
use super::tailnet::Daemon;
use super::watch;
use crate::config::reload::Reloader;
use crate::policy::quota::lease::QuotaStore;
use crate::wire::crossing::Ask;

/// Threads that may block on the store or the audit log at once.
const BLOCKING_THREADS_MAX: usize = 6;

/// The control thread.
pub struct Control {
    thread: JoinHandle<()>,
    stop: oneshot::Sender<()>,
    first_link: Link,
}

impl Control {
    /// Take the control socket and start the thread.
    pub fn start(
        asks: mpsc::Receiver<Ask>,
        facts: Facts,
        store: Option<QuotaStore>,
        reloader: Reloader,
    ) -> io::Result<Control> {
        let socket = ControlSocket::bind(&facts.data)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .thread_name("weir-control-io")
            .build()?;
        let (signals, hup) = {
            let _inside = runtime.enter();
            (EndSignals::listen()?, signal(SignalKind::hangup())?)
        };
        let mut door = Door::default();
        let first_link = door.make_link()?;
        let leases = {
            let _inside = runtime.enter();
            let in_force = facts.in_force.subscribe();
            Leases::start(store, facts.budgets.clone(), move || in_force.borrow().snapshot.clone())
        };
        let room = Arc::new(Room::new(facts, door, leases)?);
        let (stop, stopped) = oneshot::channel();
        let run = move || {
            runtime.spawn(watch::look_now_and_then(reloader, room.clone(), hup));
            runtime.block_on(answer(asks, room, socket, signals, stopped));
            // Looks that are under way read only: nobody waits for them.
            runtime.shutdown_timeout(Duration::from_millis(100));
        };
        let thread = std::thread::Builder::new().name("weir-control".into()).spawn(run)?;
        Ok(Control { thread, stop, first_link })
    }

    /// Path and query of the page that makes its first visitor admin.
    #[must_use]
    pub fn first_link(&self) -> String {
        self.first_link.target()
    }

    /// Stop it, once no core can ask any more.
    pub fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

async fn answer(
    mut asks: mpsc::Receiver<Ask>,
    room: Arc<Room>,
    socket: ControlSocket,
    signals: EndSignals,
    mut stopped: oneshot::Receiver<()>,
) {
    tokio::spawn(signals.drain(room.facts.drain.clone()));
    let objects = Arc::new(Objects::default());
    let pricing = Pricing::default();
    let maker = Arc::new(Maker::new(room.facts.tls.clone()));
    let serving = tokio::spawn(socket.serve(room.clone()));
    let issuers = Issuers::new(room.clone(), room.facts.tls.clone());
    tokio::spawn(issuers.clone().keep_fresh());
    let daemon = Arc::new(Daemon::default());
    loop {
        let ask = tokio::select! {
            ask = asks.recv() => ask,
            _ = &mut stopped => None,
        };
        match ask {
            None => break,
            Some(Ask::Lease(wants, reply)) => room.leases.want(wants, reply),
            Some(Ask::Resolve(host, port, reply)) => {
                tokio::spawn(async move { drop(reply.send(resolve(&host, port).await)) });
            }
            Some(Ask::Prices(models, reply)) => {
                let (pricing, snapshot) = (pricing.clone(), room.facts.snapshot());
                tokio::spawn(async move { drop(reply.send(pricing.look_up(snapshot, models).await)) });
            }
            Some(Ask::Bind(made, reply)) => {
                objects.bind(made).await;
                let _ = reply.send(());
            }
            Some(Ask::Owner(id, reply)) => {
                let (objects, room) = (objects.clone(), room.clone());
                tokio::spawn(async move { drop(reply.send(objects.owner(&room.store, id).await)) });
            }
            Some(Ask::Credential(source, refused, reply)) => {
                let (maker, snapshot) = (maker.clone(), room.facts.snapshot());
                tokio::spawn(async move {
                    let made = maker.obtain(&source, refused.as_ref(), &snapshot.private_networks);
                    drop(reply.send(made.await));
                });
            }
            Some(Ask::KeySet(url, reply)) => {
                let issuers = issuers.clone();
                tokio::spawn(async move {
                    issuers.missing(&url).await;
                    let _ = reply.send(());
                });
            }
            Some(Ask::Whois { socket, path, reply }) => {
                tokio::spawn(daemon.clone().ask(socket, path, reply));
            }
            Some(Ask::Page(request, reply)) => {
                let room = room.clone();
                tokio::spawn(async move { drop(reply.send(page(&room, *request, None).await)) });
            }
        }
    }
    serving.abort();
    room.leases.end().await;
}

/// SIGTERM and SIGINT begin the drain. Taken before anybody listens: one that came earlier would end the process with
/// its first streams.
struct EndSignals {
    term: Signal,
    int: Signal,
}

impl EndSignals {
    fn listen() -> io::Result<EndSignals> {
        Ok(EndSignals { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    async fn drain(mut self, drain: Arc<AtomicBool>) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
        drain.store(true, Ordering::Relaxed);
    }
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let found = tokio::net::lookup_host((host, port)).await.map_err(|why| why.to_string())?;
    Ok(found.collect())
}
