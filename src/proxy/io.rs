//! The runtime's face: the one file that names monoio, so that it can be replaced in an afternoon.
//!
//! Sockets are driven by readiness (`proxy/readiness.rs`): the runtime waits for one descriptor, which says that some
//! sockets have become ready; then bytes move by a direct, non-blocking `recv` or `send` between the socket and a buffer
//! that the core owns. Nothing is lent to the kernel, so a wait can be dropped at any point without losing a byte, a
//! silent stream holds no buffer, and one large read takes all that has arrived.
//!
//! Deliberately absent: `yield_now` and any other self-waking (monoio 0.2.4 puts such a task at the front of its queue
//! and starves the rest), and the runtime's own sockets (their buffers are gone while an operation is in flight, and a
//! dropped accept may leak its connection).

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags, SocketFlags, sockopt};

use super::readiness::{Ready, Watched};
use crate::base::clock::{self, Moment};

/// How a core waits for its sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// `io_uring` with `single_issuer` and `defer_taskrun`.
    UringDeferred,
    /// `io_uring` with default flags (kernels before 6.1).
    Uring,
    /// epoll.
    Epoll,
}

impl Driver {
    /// Name on pages, in metrics and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Driver::UringDeferred => "io_uring (deferred)",
            Driver::Uring => "io_uring",
            Driver::Epoll => "epoll",
        }
    }

    /// The best driver this kernel grants; `force_epoll` (or `MONOIO_FORCE_LEGACY_DRIVER=1`) asks for the plain one.
    #[must_use]
    pub fn probe(force_epoll: bool) -> Driver {
        let by_environment = std::env::var_os("MONOIO_FORCE_LEGACY_DRIVER").is_some_and(|v| v == "1");
        if force_epoll || by_environment {
            return Driver::Epoll;
        }
        // On a thread of its own: taking a ring down interrupts system calls of the thread that made it.
        std::thread::spawn(granted).join().unwrap_or(Driver::Epoll)
    }
}

/// A container's seccomp profile may forbid the ring altogether, an old kernel only its newer flags.
fn granted() -> Driver {
    let built = |ring: io_uring::Builder| ring.build(8).is_ok();
    match (built(deferred()), built(io_uring::IoUring::builder())) {
        (true, _) => Driver::UringDeferred,
        (false, true) => Driver::Uring,
        (false, false) => Driver::Epoll,
    }
}

fn deferred() -> io_uring::Builder {
    let mut ring = io_uring::IoUring::builder();
    ring.setup_single_issuer().setup_defer_taskrun();
    ring
}

/// Operations a ring can hold before it must be submitted: few, since sockets are none of its business.
const RING_ENTRIES: u32 = 64;

/// Run `main` on this thread until it ends.
pub fn run<F: Future>(driver: Driver, main: F) -> io::Result<F::Output> {
    let ready = Rc::new(Ready::new()?);
    READY.set(Some(ready.clone()));
    let main = async {
        let descriptor = ready.descriptor()?;
        spawn(watch(ready, descriptor, driver));
        Ok(main.await)
    };
    match driver {
        Driver::Epoll => {
            let builder = monoio::RuntimeBuilder::<monoio::LegacyDriver>::new().enable_timer();
            builder.build()?.block_on(main)
        }
        Driver::Uring | Driver::UringDeferred => {
            let ring = if driver == Driver::Uring { io_uring::IoUring::builder() } else { deferred() };
            let builder = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new()
                .uring_builder(ring)
                .with_entries(RING_ENTRIES)
                .enable_timer();
            builder.build()?.block_on(main)
        }
    }
}

thread_local! {
    /// The sockets of the core that runs on this thread.
    static READY: RefCell<Option<Rc<Ready>>> = const { RefCell::new(None) };
}

fn ready() -> io::Result<Rc<Ready>> {
    let ready = READY.with_borrow(Clone::clone);
    ready.ok_or_else(|| io::Error::other("a socket outside of a core"))
}

/// Wait for sockets to become ready, as long as the core runs.
async fn watch(ready: Rc<Ready>, descriptor: OwnedFd, driver: Driver) {
    // The runtime waits for streams only, and a descriptor is a descriptor: nothing else is ever asked of this one.
    let Ok(stream) = monoio::net::TcpStream::from_std(descriptor.into()) else { return };
    let mut beat = Beat::new();
    loop {
        let told = match driver {
            Driver::Epoll => readable_by_edges(&stream).await,
            Driver::Uring | Driver::UringDeferred => stream.readable(false).await,
        };
        if told.is_err() {
            return;
        }
        ready.take();
        beat.keep().await;
    }
}

/// Half of how long a busy core may go without a look at its timers and at what other threads have said.
const BEAT: Duration = Duration::from_millis(10);

/// The runtime looks at those only once no task is left to run, and on a core with more to do than it can that is never:
/// sockets are ready before their tasks have run. So they are not asked for again before a timer has fired that is long
/// due. Where the core is not behind it has fired in time, and nothing waits.
struct Beat {
    due: Moment,
    timer: Pin<Box<monoio::time::Sleep>>,
}

impl Beat {
    fn new() -> Self {
        let mut beat = Self { due: Moment::default(), timer: Box::pin(monoio::time::sleep(BEAT)) };
        beat.set(clock::now());
        beat
    }

    async fn keep(&mut self) {
        let now = clock::now();
        if self.timer.is_elapsed() {
            self.set(now);
        } else if now >= self.due.plus(BEAT) {
            // Long due, and not fired: nobody has looked at timers, and the next look is all that is waited for.
            self.timer.as_mut().await;
            self.set(clock::now());
        }
    }

    fn set(&mut self, now: Moment) {
        self.due = now.plus(BEAT);
        self.timer.as_mut().reset(monoio::time::Instant::now() + BEAT);
    }
}

/// The runtime's epoll keeps a flag per descriptor, which only a look that finds nothing lowers. Looked at once after
/// all was taken, its next edge can be believed: a system call less each time than asking before, too. Where more has come
/// by then, those who were woken have their turn first: news that never end would keep them waiting.
async fn readable_by_edges(stream: &monoio::net::TcpStream) -> io::Result<()> {
    let mut looked = pin!(stream.readable(false));
    match poll_fn(|cx| Poll::Ready(looked.as_mut().poll(cx))).await {
        Poll::Ready(more) => {
            behind_the_others().await;
            more
        }
        Poll::Pending => stream.readable(true).await,
    }
}

/// Go on once all tasks that are to run have run. A task that wakes itself would go before them; one of its own, which
/// wakes it, goes behind.
async fn behind_the_others() {
    let mut asked = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut asked, true) {
            return Poll::Ready(());
        }
        let waker = cx.waker().clone();
        spawn(async move { waker.wake() });
        Poll::Pending
    })
    .await;
}

/// Go on once this core has looked at its sockets and timers again: between the pieces of what takes long.
pub async fn next_turn() {
    if let Ok(ready) = ready() {
        ready.next_turn().await;
    }
}

/// Start a task on this core.
pub fn spawn<F: Future<Output = ()> + 'static>(task: F) {
    drop(monoio::spawn(task));
}

/// Wait.
pub async fn sleep(for_how_long: Duration) {
    monoio::time::sleep(for_how_long).await;
}

/// The result of `work`, or `None` once `limit` has passed.
pub async fn within<F: Future>(limit: Duration, work: F) -> Option<F::Output> {
    monoio::time::timeout(limit, work).await.ok()
}

/// A listening socket of one core.
pub struct Listener {
    socket: OwnedFd,
    watched: Watched,
}

impl Listener {
    /// Take over a bound socket, of either kind: a descriptor is a descriptor.
    pub fn new(bound: std::net::TcpListener) -> io::Result<Self> {
        bound.set_nonblocking(true)?;
        let socket = OwnedFd::from(bound);
        let watched = ready()?.watch(socket.as_fd(), false)?;
        Ok(Self { socket, watched })
    }

    /// The next connection, and its other end's address where it has one.
    pub async fn accept(&self) -> io::Result<(Socket, Option<SocketAddr>)> {
        loop {
            // Whoever connects without end leaves a turn to those who have.
            poll_fn(|cx| self.watched.poll_turn(cx)).await;
            match rustix::net::acceptfrom_with(&self.socket, SocketFlags::CLOEXEC) {
                Ok((socket, peer)) => {
                    self.watched.was_read(0);
                    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
                    return Ok((Socket::adopt(socket)?, peer));
                }
                Err(rustix::io::Errno::AGAIN) => self.watched.drained(),
                // The client was gone before we came to it.
                Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => continue,
                Err(why) => return Err(why.into()),
            }
            poll_fn(|cx| self.watched.poll_readable(cx)).await;
        }
    }
}

/// Bind a unix socket; all cores accept from its one queue. Who may connect is the business of the folder it stands in.
pub fn bind_unix(path: &Path) -> io::Result<std::net::TcpListener> {
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
        Err(why) if why.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
        Err(_) => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    Ok(std::net::TcpListener::from(OwnedFd::from(listener)))
}

/// Find the address free, and settle a port that was left open. `SO_REUSEPORT` alone would not notice another gateway
/// of the same user on the port: the kernel would deal the connections out between the two.
pub fn claim(address: SocketAddr) -> io::Result<SocketAddr> {
    let socket = rustix::net::socket_with(
        family(address),
        rustix::net::SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    std::net::TcpListener::from(socket).local_addr()
}

/// Bind a socket that several cores can share by port (`SO_REUSEPORT`), each with a queue of its own.
pub fn bind(address: SocketAddr, backlog: i32) -> io::Result<std::net::TcpListener> {
    let socket = rustix::net::socket_with(
        family(address),
        rustix::net::SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, backlog)?;
    Ok(std::net::TcpListener::from(socket))
}

/// A connected socket, closed when dropped.
pub struct Socket {
    // Before the descriptor: an entry never outlives what it stands for.
    watched: Watched,
    socket: OwnedFd,
}

impl Socket {
    fn new(socket: OwnedFd, connected: bool) -> io::Result<Self> {
        // Without TCP_NODELAY an event may wait for the acknowledgement of the one before it. (No TCP: nothing to set.)
        let _ = sockopt::set_tcp_nodelay(&socket, true);
        let watched = ready()?.watch(socket.as_fd(), connected)?;
        Ok(Self { watched, socket })
    }

    /// Connect; the caller owns the time limit.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let socket = rustix::net::socket_with(
            family(address),
            rustix::net::SocketType::STREAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS | rustix::io::Errno::INTR) => {}
            Err(why) => return Err(why.into()),
        }
        let socket = Self::new(socket, false)?;
        socket.writable().await;
        sockopt::socket_error(&socket.socket)??;
        Ok(socket)
    }

    /// Take over a connection.
    pub fn adopt(connection: OwnedFd) -> io::Result<Self> {
        Self::new(connection, true)
    }

    /// Give a fresh connection away, before anything was read from it or waits on it.
    pub fn release(self) -> io::Result<OwnedFd> {
        self.watched.forget(&self.socket)?;
        Ok(self.socket)
    }

    /// Uid of the process at the other end of a unix socket, as the kernel noted it when it connected.
    pub fn peer_uid(&self) -> Option<u32> {
        let peer = rustix::net::sockopt::socket_peercred(self.borrow()).ok()?;
        Some(peer.uid.as_raw())
    }

    /// This end's address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let address = rustix::net::getsockname(&self.socket)?;
        SocketAddr::try_from(address).map_err(io::Error::from)
    }

    /// Read what has arrived, up to the buffer's length; `WouldBlock` when nothing has, 0 at the end.
    pub fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        let room = into.len();
        let read =
            retry(|| rustix::net::recv(self.borrow(), &mut *into, RecvFlags::DONTWAIT).map(|(n, _)| n));
        self.note_read(&read, room);
        read
    }

    /// As [`Socket::try_read`], behind what a vector holds, up to its spare capacity.
    pub fn try_read_behind(&self, into: &mut Vec<u8>) -> io::Result<usize> {
        let room = into.capacity() - into.len();
        let read = retry(|| {
            let spare = rustix::buffer::spare_capacity(into);
            rustix::net::recv(self.borrow(), spare, RecvFlags::DONTWAIT).map(|(n, _)| n)
        });
        self.note_read(&read, room);
        read
    }

    /// A stream that gives less than there was room for has no more (epoll(7)), unless it has ended.
    fn note_read(&self, read: &io::Result<usize>, room: usize) {
        let bytes = *read.as_ref().unwrap_or(&0);
        self.watched.was_read(bytes);
        if bytes < room {
            self.watched.drained();
        }
    }

    /// Send what the socket takes now; `WouldBlock` when it takes nothing.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let sent =
            retry(|| rustix::net::send(self.borrow(), bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL));
        self.note_write(&sent, bytes.len());
        sent
    }

    /// As [`Socket::try_write`], for two pieces in one call.
    pub fn try_write_two(&self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        let pieces = [io::IoSlice::new(first), io::IoSlice::new(second)];
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let sent = retry(|| rustix::net::sendmsg(self.borrow(), &pieces, &mut Default::default(), flags));
        self.note_write(&sent, first.len() + second.len());
        sent
    }

    /// Only a full socket takes less than it was given, and only then does an edge tell that it has room again.
    fn note_write(&self, sent: &io::Result<usize>, given: usize) {
        if *sent.as_ref().unwrap_or(&0) < given {
            self.watched.filled();
        }
    }

    /// Ready when a read will not block: bytes, the end, or an error.
    pub fn poll_readable(&self, cx: &Context<'_>) -> Poll<()> {
        self.watched.poll_readable(cx)
    }

    /// Ready while it is this socket's turn, whatever it has to give.
    pub fn poll_turn(&self, cx: &Context<'_>) -> Poll<()> {
        self.watched.poll_turn(cx)
    }

    /// Ready once the other end has ended its sending half, or both, whatever it has sent before is still to be read.
    pub fn poll_ended(&self, cx: &Context<'_>) -> Poll<()> {
        self.watched.poll_ended(cx)
    }

    /// Whether it has, as far as the core has looked.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.watched.has_ended()
    }

    /// Something is done for this socket's other end that no read of it asks for.
    pub fn counts_as_read(&self) {
        self.watched.was_read(0);
    }

    /// Ready when a write will not block.
    pub fn poll_writable(&self, cx: &Context<'_>) -> Poll<()> {
        self.watched.poll_writable(cx)
    }

    /// [`Socket::poll_readable`] as a future.
    pub async fn readable(&self) {
        poll_fn(|cx| self.poll_readable(cx)).await;
    }

    /// [`Socket::poll_writable`] as a future.
    pub async fn writable(&self) {
        poll_fn(|cx| self.poll_writable(cx)).await;
    }

    /// Whether an idle connection is still good: nothing to read, no end, no error. Bytes on an idle connection are
    /// an answer to nothing, so they condemn it too. What has come since the core last looked is not seen; it costs no
    /// call into the kernel.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.watched.is_quiet()
    }

    /// The number of the core's turn: what comes within one is not seen before the next.
    #[must_use]
    pub fn turn(&self) -> u32 {
        self.watched.turn()
    }

    /// As [`Socket::is_quiet`], asked of the kernel: what has come within this turn counts as well.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
        matches!(rustix::net::recv(self.borrow(), &mut [0u8], flags), Err(rustix::io::Errno::AGAIN))
    }

    /// Say that nothing more will be sent; what was sent still arrives.
    pub fn finish(&self) {
        let _ = rustix::net::shutdown(self.borrow(), rustix::net::Shutdown::Write);
    }

    /// End the connection in both directions at once, waking whatever waits on it.
    pub fn close(&self) {
        let _ = rustix::net::shutdown(self.borrow(), rustix::net::Shutdown::Both);
    }

    /// End the connection with a reset: the only way to say "cut short" where the end of the connection would
    /// otherwise be the proper end of the message.
    pub fn reset(&self) {
        let _ = rustix::net::connect_unspec(self.borrow());
        self.close();
    }

    fn borrow(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn family(address: SocketAddr) -> rustix::net::AddressFamily {
    match address {
        SocketAddr::V4(_) => rustix::net::AddressFamily::INET,
        SocketAddr::V6(_) => rustix::net::AddressFamily::INET6,
    }
}

fn retry(mut call: impl FnMut() -> rustix::io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}

/// A time limit that is moved on often and fires rarely: moving it costs one store, the timer is only touched when it
/// fires or when the limit comes closer.
pub struct Deadline {
    at: Moment,
    /// No limit is later than this one.
    last: Option<Moment>,
    armed_for: Moment,
    due: bool,
    sleep: Pin<Box<monoio::time::Sleep>>,
}

impl Deadline {
    /// A limit `after` from now.
    #[must_use]
    pub fn new(after: Duration) -> Self {
        let at = clock::now().plus(after);
        Self { at, last: None, armed_for: at, due: false, sleep: Box::pin(monoio::time::sleep(after)) }
    }

    /// Move the limit to `at`.
    pub fn set(&mut self, at: Moment) {
        let at = self.last.map_or(at, |last| at.min(last));
        self.at = at;
        if at < self.armed_for {
            self.rearm(clock::now());
        }
    }

    /// Move the limit to `after` from now.
    pub fn set_after(&mut self, after: Duration) {
        let now = clock::now();
        self.due = now >= self.armed_for;
        self.set(now.plus(after));
    }

    /// From now on no limit is set later than this.
    pub fn end_by(&mut self, last: Option<Moment>) {
        self.last = last;
    }

    /// Ready once the limit has passed.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.sleep.as_mut().poll(cx).is_ready() {
            let now = clock::now();
            if now >= self.at {
                return Poll::Ready(());
            }
            self.rearm(now);
        }
        Poll::Pending
    }

    /// Whether, when the limit was last moved on, the timer was due: fired, it wakes nobody until [`Deadline::poll`]
    /// arms it again.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.due
    }

    fn rearm(&mut self, now: Moment) {
        (self.armed_for, self.due) = (self.at, false);
        let until = monoio::time::Instant::now() + self.at.since(now);
        self.sleep.as_mut().reset(until);
    }
}

#[cfg(test)]
mod tests;
