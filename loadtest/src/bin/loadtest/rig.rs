//! One epoll loop on one thread that can be provider, client or both: thousands of streams on one core, and a client
//! that can tell the provider by shared memory when to speak.

mod front;
mod histogram;
mod load;
mod serve;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

pub(crate) use epoll::EventFlags as Flags;
pub(crate) use front::Front;
pub(crate) use histogram::Histogram;
pub(crate) use load::{Load, Offer, Seen};
pub(crate) use serve::Server;

use loadtest::clock::stamp_ns;

/// Whose socket an event belongs to.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Owner {
    Listener = 1,
    Server = 2,
    Load = 3,
}

/// A socket's name in the poll set: owner, generation, index. The generation keeps an event of a closed socket from
/// reaching the next one in its place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Token(u64);

impl Token {
    pub(crate) fn new(owner: Owner, generation: u32, index: usize) -> Token {
        Token((owner as u64) << 56 | u64::from(generation & 0xff_ffff) << 32 | index as u64)
    }

    pub(crate) fn index(self) -> usize {
        (self.0 & 0xffff_ffff) as usize
    }

    pub(crate) fn generation(self) -> u32 {
        (self.0 >> 32) as u32 & 0xff_ffff
    }

    fn owner(self) -> u64 {
        self.0 >> 56
    }
}

pub(crate) struct Poll {
    fd: OwnedFd,
    ready: Vec<epoll::Event>,
}

impl Poll {
    pub(crate) fn new() -> io::Result<Poll> {
        Ok(Poll { fd: epoll::create(epoll::CreateFlags::CLOEXEC)?, ready: Vec::with_capacity(1024) })
    }

    pub(crate) fn add(&self, socket: impl AsFd, token: Token, flags: Flags) -> io::Result<()> {
        Ok(epoll::add(&self.fd, socket, epoll::EventData::new_u64(token.0), flags)?)
    }

    pub(crate) fn change(&self, socket: impl AsFd, token: Token, flags: Flags) -> io::Result<()> {
        Ok(epoll::modify(&self.fd, socket, epoll::EventData::new_u64(token.0), flags)?)
    }

    pub(crate) fn remove(&self, socket: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.fd, socket)?)
    }

    /// Returns how many are ready; read them with [`Poll::event`].
    pub(crate) fn wait(&mut self, limit: Duration) -> io::Result<usize> {
        let limit = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: i64::from(limit.subsec_nanos()) };
        self.ready.clear();
        match epoll::wait(&self.fd, spare_capacity(&mut self.ready), Some(&limit)) {
            Ok(_) | Err(Errno::INTR) => Ok(self.ready.len()),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn event(&self, i: usize) -> (Token, Flags) {
        let event = self.ready[i];
        let (data, flags) = (event.data, event.flags);
        (Token(data.u64()), flags)
    }
}

/// When to look at something again.
#[derive(Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(u64, Token)>>,
}

impl Timers {
    pub(crate) fn set(&mut self, due_ns: u64, token: Token) {
        self.heap.push(Reverse((due_ns, token)));
    }

    pub(crate) fn due(&mut self, now_ns: u64) -> Option<Token> {
        let Reverse((due, token)) = *self.heap.peek()?;
        if due > now_ns {
            return None;
        }
        self.heap.pop();
        Some(token)
    }

    fn next(&self) -> u64 {
        self.heap.peek().map_or(u64::MAX, |Reverse((due, _))| *due)
    }
}

/// Provider, client, or both.
pub(crate) struct Rig {
    poll: Poll,
    pub(crate) server: Option<Server>,
    pub(crate) load: Option<Load>,
}

/// The loop looks up at least this often.
const TICK: Duration = Duration::from_millis(50);

impl Rig {
    pub(crate) fn new() -> io::Result<Rig> {
        Ok(Rig { poll: Poll::new()?, server: None, load: None })
    }

    pub(crate) fn serve(&mut self, mut server: Server) -> io::Result<()> {
        server.open(&self.poll)?;
        self.server = Some(server);
        Ok(())
    }

    /// Run until the time is over or `done` says so; it is asked after each round.
    pub(crate) fn run(
        &mut self,
        lasting: Duration,
        mut done: impl FnMut(&mut Rig) -> bool,
    ) -> io::Result<()> {
        let end = stamp_ns() + lasting.as_nanos() as u64;
        loop {
            let now = stamp_ns();
            if now >= end {
                return Ok(());
            }
            self.round(end - now)?;
            if done(self) {
                return Ok(());
            }
        }
    }

    fn round(&mut self, left_ns: u64) -> io::Result<()> {
        let now = stamp_ns();
        let server = self.server.as_ref().map_or(u64::MAX, |s| s.timers.next());
        let load = self.load.as_ref().map_or(u64::MAX, |l| l.timers.next());
        let wait = Duration::from_nanos(server.min(load).saturating_sub(now).min(left_ns));
        let ready = self.poll.wait(wait.min(TICK))?;
        for i in 0..ready {
            let (token, flags) = self.poll.event(i);
            match (token.owner(), &mut self.server, &mut self.load) {
                (1, Some(server), _) => server.accept(&self.poll),
                (2, Some(server), _) => server.ready(&self.poll, token, flags),
                (3, _, Some(load)) => load.ready(&self.poll, token, flags),
                // The load it belonged to is gone; its sockets closed with it.
                _ => {}
            }
        }
        if let Some(load) = &mut self.load {
            load.fire(&self.poll);
        }
        if let Some(server) = &mut self.server {
            if let Some(load) = &mut self.load {
                while let Some(slot) = load.next_to_release() {
                    server.release(&self.poll, slot);
                }
            }
            server.fire(&self.poll);
            // Whoever ends the provider finds in its book what it has answered.
            server.flush()?;
        }
        Ok(())
    }
}

/// A socket that is being connected.
pub(crate) fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
    let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    match connect(&socket, &addr) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// As many descriptors as the machine lets us have.
pub(crate) fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // If it stays low, opening the last streams fails and says so.
    _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

#[cfg(test)]
mod tests;
