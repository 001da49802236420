//! The runtime's face: the one file that names monoio, so that it can be replaced in an afternoon.
//!
//! Sockets are driven by readiness: a poll operation waits in the ring (or in epoll), then bytes move by a direct,
//! non-blocking `recv` or `send` between the socket and a buffer that the core owns. Nothing is lent to the kernel, so
//! a wait can be dropped at any point without losing a byte, a silent stream holds no buffer, and one large read takes
//! all that has arrived. A wait that nobody polls stays armed and is found again by the next one: at most one
//! operation per direction and socket is ever in flight.
//!
//! Deliberately absent: `yield_now` and any other self-waking (monoio 0.2.4 puts such a task at the front of its queue
//! and starves the rest), and runtime reads and writes (their buffers are gone while an operation is in flight).

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use monoio::net::{TcpListener, TcpStream};
use rustix::net::{RecvFlags, SendFlags};

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

/// Operations a ring can hold before it must be submitted.
const RING_ENTRIES: u32 = 4096;

/// Run `main` on this thread until it ends.
pub fn run<F: Future>(driver: Driver, main: F) -> io::Result<F::Output> {
    match driver {
        Driver::Epoll => {
            let builder = monoio::RuntimeBuilder::<monoio::LegacyDriver>::new().enable_timer();
            Ok(builder.build()?.block_on(main))
        }
        Driver::Uring | Driver::UringDeferred => {
            let ring = if driver == Driver::Uring { io_uring::IoUring::builder() } else { deferred() };
            let builder = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new()
                .uring_builder(ring)
                .with_entries(RING_ENTRIES)
                .enable_timer();
            Ok(builder.build()?.block_on(main))
        }
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
pub struct Listener(TcpListener);

impl Listener {
    /// Take over a bound socket.
    pub fn new(bound: std::net::TcpListener) -> io::Result<Self> {
        bound.set_nonblocking(true)?;
        Ok(Self(TcpListener::from_std(bound)?))
    }

    /// The next connection.
    pub async fn accept(&self) -> io::Result<(Socket, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        Ok((Socket::new(stream), peer))
    }
}

/// Find the address free, and settle a port that was left open. `SO_REUSEPORT` alone would not notice another gateway
/// of the same user on the port: the kernel would deal the connections out between the two.
pub fn claim(address: SocketAddr) -> io::Result<SocketAddr> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    std::net::TcpListener::from(socket).local_addr()
}

/// Bind a socket that several cores can share by port (`SO_REUSEPORT`), each with a queue of its own.
pub fn bind(address: SocketAddr, backlog: i32) -> io::Result<std::net::TcpListener> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, backlog)?;
    Ok(std::net::TcpListener::from(socket))
}

type Wait = Pin<Box<dyn Future<Output = io::Result<()>>>>;

/// A connected TCP socket. Cheap to wait on from several places, closed when dropped.
pub struct Socket {
    stream: Rc<TcpStream>,
    fd: RawFd,
    readable: RefCell<Option<Wait>>,
    writable: RefCell<Option<Wait>>,
}

impl Socket {
    fn new(stream: TcpStream) -> Self {
        // Without TCP_NODELAY an event may wait for the acknowledgement of the one before it.
        let _ = stream.set_nodelay(true);
        let fd = stream.as_raw_fd();
        Self { stream: Rc::new(stream), fd, readable: RefCell::default(), writable: RefCell::default() }
    }

    /// Connect; the caller owns the time limit.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        Ok(Self::new(TcpStream::connect_addr(address).await?))
    }

    /// Adopt a connection that another core accepted.
    pub fn adopt(connection: OwnedFd) -> io::Result<Self> {
        Ok(Self::new(TcpStream::from_std(std::net::TcpStream::from(connection))?))
    }

    /// Give a fresh connection away, before anything was read from it or waits on it.
    pub fn release(self) -> io::Result<OwnedFd> {
        // A duplicate, so that this core's registration goes with its own descriptor.
        Ok(rustix::io::dup(self.borrow())?)
    }

    /// This end's address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    /// Read what has arrived, up to the buffer's length; `WouldBlock` when nothing has, 0 at the end.
    pub fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        retry(|| rustix::net::recv(self.borrow(), &mut *into, RecvFlags::DONTWAIT).map(|(n, _)| n))
    }

    /// As [`Socket::try_read`], behind what a vector holds, up to its spare capacity.
    pub fn try_read_behind(&self, into: &mut Vec<u8>) -> io::Result<usize> {
        retry(|| {
            let spare = rustix::buffer::spare_capacity(into);
            rustix::net::recv(self.borrow(), spare, RecvFlags::DONTWAIT).map(|(n, _)| n)
        })
    }

    /// Send what the socket takes now; `WouldBlock` when it takes nothing.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        retry(|| rustix::net::send(self.borrow(), bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL))
    }

    /// As [`Socket::try_write`], for two pieces in one call.
    pub fn try_write_two(&self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        let pieces = [io::IoSlice::new(first), io::IoSlice::new(second)];
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        retry(|| rustix::net::sendmsg(self.borrow(), &pieces, &mut Default::default(), flags))
    }

    /// Ready when a read will not block: bytes, the end, or an error.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let arm = || {
            let stream = self.stream.clone();
            Box::pin(async move { stream.readable(false).await }) as Wait
        };
        poll_armed(&self.readable, arm, cx)
    }

    /// Ready when a write will not block.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let arm = || {
            let stream = self.stream.clone();
            Box::pin(async move { stream.writable(false).await }) as Wait
        };
        poll_armed(&self.writable, arm, cx)
    }

    /// [`Socket::poll_readable`] as a future.
    pub async fn readable(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_readable(cx)).await
    }

    /// [`Socket::poll_writable`] as a future.
    pub async fn writable(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_writable(cx)).await
    }

    /// Whether an idle connection is still good: nothing to read, no end, no error. Bytes on an idle connection are
    /// an answer to nothing, so they condemn it too. The first call arms a wait, later ones look at it without a call
    /// into the kernel; so call it when the connection becomes idle and again before it is used.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.poll_readable(&mut Context::from_waker(std::task::Waker::noop())).is_pending()
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

    /// The descriptor, for one direct call.
    #[expect(unsafe_code, reason = "the runtime's stream implements no AsFd")]
    fn borrow(&self) -> BorrowedFd<'_> {
        // SAFETY: `fd` belongs to `self.stream`, which this Socket keeps alive and which closes the descriptor only
        // when its last reference goes; the borrow cannot outlive `self`.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // An armed wait holds the descriptor open until the kernel completes or cancels it; the other side must not
        // wait for that.
        let armed = self.readable.borrow().is_some() || self.writable.borrow().is_some();
        if armed {
            self.close();
        }
    }
}

/// Poll the armed wait, arming one first if there is none.
fn poll_armed(
    slot: &RefCell<Option<Wait>>,
    arm: impl FnOnce() -> Wait,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    let mut slot = slot.borrow_mut();
    let polled = slot.get_or_insert_with(arm).as_mut().poll(cx);
    if polled.is_ready() {
        *slot = None;
    }
    polled
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
    armed_for: Moment,
    sleep: Pin<Box<monoio::time::Sleep>>,
}

impl Deadline {
    /// A limit `after` from now.
    #[must_use]
    pub fn new(after: Duration) -> Self {
        let at = clock::now().plus(after);
        Self { at, armed_for: at, sleep: Box::pin(monoio::time::sleep(after)) }
    }

    /// Move the limit to `at`.
    pub fn set(&mut self, at: Moment) {
        self.at = at;
        if at < self.armed_for {
            self.rearm(clock::now());
        }
    }

    /// Move the limit to `after` from now.
    pub fn set_after(&mut self, after: Duration) {
        self.set(clock::now().plus(after));
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

    fn rearm(&mut self, now: Moment) {
        self.armed_for = self.at;
        let until = monoio::time::Instant::now() + self.at.since(now);
        self.sleep.as_mut().reset(until);
    }
}
