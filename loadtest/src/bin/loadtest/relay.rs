//! The floor: what it costs to move the bytes at all. One thread, epoll, one recv and one send for each piece; nothing
//! is looked at. Back-pressure is kept: a side that cannot be written to is not read for.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::rig::{Flags, Owner, Poll, Token, connect};

const BLOCK_BYTES: usize = 256 * 1024;

pub(crate) struct Relay {
    listener: TcpListener,
    to: SocketAddr,
    poll: Poll,
    /// Both ends of a pair stand beside each other: `i ^ 1` is the other one.
    ends: Vec<End>,
    free: Vec<usize>,
    block: Vec<u8>,
}

#[derive(Default)]
struct End {
    generation: u32,
    stream: Option<TcpStream>,
    /// Received for this end and not taken by it yet.
    pending: Vec<u8>,
    connected: bool,
    /// It has sent its last byte.
    ended: bool,
    flags: Option<Flags>,
}

impl Relay {
    pub(crate) fn bind(listen: &str, to: SocketAddr) -> io::Result<Relay> {
        let listener = TcpListener::bind(listen)?;
        rustix::net::listen(&listener, 4096)?;
        listener.set_nonblocking(true)?;
        let poll = Poll::new()?;
        poll.add(&listener, Token::new(Owner::Listener, 0, 0), Flags::IN)?;
        Ok(Relay { listener, to, poll, ends: Vec::new(), free: Vec::new(), block: vec![0; BLOCK_BYTES] })
    }

    pub(crate) fn addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    pub(crate) fn run(mut self) -> io::Result<()> {
        let listener = Token::new(Owner::Listener, 0, 0);
        loop {
            for i in 0..self.poll.wait(Duration::from_secs(3600))? {
                let (token, flags) = self.poll.event(i);
                if token == listener {
                    self.accept();
                } else if self.ends[token.index()].generation == token.generation()
                    && self.ready(token.index(), flags).is_err()
                {
                    self.close(token.index());
                }
            }
        }
    }

    fn accept(&mut self) {
        while let Ok((down, _)) = self.listener.accept() {
            // A pair that cannot be made is closed: the client sees it.
            let Ok(up) = connect(self.to) else { continue };
            if down.set_nonblocking(true).is_err() || down.set_nodelay(true).is_err() {
                continue;
            }
            let at = self.free.pop().unwrap_or_else(|| {
                self.ends.extend([End::default(), End::default()]);
                self.ends.len() - 2
            });
            for (i, stream, connected) in [(at, down, true), (at + 1, up, false)] {
                let flags = if connected { Flags::IN } else { Flags::IN | Flags::OUT };
                let generation = self.ends[i].generation;
                let added = self.poll.add(&stream, Token::new(Owner::Server, generation, i), flags);
                self.ends[i] = End {
                    generation,
                    stream: added.is_ok().then_some(stream),
                    connected,
                    flags: Some(flags),
                    ..End::default()
                };
            }
        }
    }

    fn ready(&mut self, i: usize, flags: Flags) -> io::Result<()> {
        if flags.contains(Flags::OUT) {
            if let Some(stream) = &self.ends[i].stream
                && let Some(error) = stream.take_error()?
            {
                return Err(error);
            }
            self.ends[i].connected = true;
            self.flush(i)?;
        }
        if flags.intersects(Flags::IN | Flags::HUP | Flags::ERR) {
            self.pass(i)?;
        }
        self.watch(i)?;
        self.watch(i ^ 1)
    }

    /// One recv, one send.
    fn pass(&mut self, i: usize) -> io::Result<()> {
        if !self.ends[i ^ 1].pending.is_empty() || self.ends[i].ended {
            return Ok(());
        }
        let Some(from) = &self.ends[i].stream else { return Ok(()) };
        let count = match (&*from).read(&mut self.block) {
            Ok(count) => count,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(()),
            Err(e) => return Err(e),
        };
        if count == 0 {
            self.ends[i].ended = true;
            return self.pass_end(i);
        }
        let to = &mut self.ends[i ^ 1];
        let sent = match (&to.stream, to.connected) {
            (Some(stream), true) => match (&*stream).write(&self.block[..count]) {
                Ok(sent) => sent,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => 0,
                Err(e) => return Err(e),
            },
            _ => 0,
        };
        to.pending.extend_from_slice(&self.block[sent..count]);
        Ok(())
    }

    fn pass_end(&mut self, i: usize) -> io::Result<()> {
        if self.ends[i ^ 1].ended {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        match &self.ends[i ^ 1] {
            End { stream: Some(stream), pending, connected: true, .. } if pending.is_empty() => {
                stream.shutdown(Shutdown::Write)
            }
            _ => Ok(()),
        }
    }

    fn flush(&mut self, i: usize) -> io::Result<()> {
        let end = &mut self.ends[i];
        let Some(stream) = &end.stream else { return Ok(()) };
        while !end.pending.is_empty() {
            match (&*stream).write(&end.pending) {
                Ok(sent) => _ = end.pending.drain(..sent),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        end.pending = Vec::new();
        if self.ends[i ^ 1].ended { self.pass_end(i ^ 1) } else { Ok(()) }
    }

    /// Wait for what can be acted on.
    fn watch(&mut self, i: usize) -> io::Result<()> {
        let mut flags = Flags::empty();
        if self.ends[i ^ 1].pending.is_empty() && !self.ends[i].ended {
            flags |= Flags::IN;
        }
        if !self.ends[i].pending.is_empty() || !self.ends[i].connected {
            flags |= Flags::OUT;
        }
        let end = &mut self.ends[i];
        let Some(stream) = &end.stream else { return Err(ErrorKind::NotConnected.into()) };
        if end.flags != Some(flags) {
            self.poll.change(stream, Token::new(Owner::Server, end.generation, i), flags)?;
            end.flags = Some(flags);
        }
        Ok(())
    }

    fn close(&mut self, i: usize) {
        for i in [i, i ^ 1] {
            let generation = (self.ends[i].generation + 1) & 0xff_ffff;
            self.ends[i] = End { generation, ..End::default() };
        }
        self.free.push(i & !1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use loadtest::{Client, Knobs, Provider, Request};

    #[test]
    fn a_stream_passes_and_its_end_too() {
        let provider = Provider::start(Knobs::of("events=60,bytes=4000"));
        let (tell, told) = std::sync::mpsc::channel();
        let to = provider.addr;
        // The thread ends with the test process; it has nothing to clean up.
        std::thread::spawn(move || {
            let relay = Relay::bind("127.0.0.1:0", to).expect("loopback");
            tell.send(relay.addr().expect("bound")).expect("the test waits");
            relay.run()
        });
        let addr = told.recv().expect("bound");
        let mut client = Client::new(addr);
        let body = format!(
            "{{\"model\":\"m\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"{}\"}}]}}",
            "x".repeat(2 << 20)
        );
        for knobs in ["", "close=1", "fault=truncate@9", ""] {
            let request = Request::messages(&body).synthetic(knobs);
            let checked = client.check(&request, provider.knobs()).expect("an exchange");
            assert_eq!(checked.mismatch, None, "{knobs}");
            let cut = knobs.starts_with("fault");
            assert_eq!(
                checked.reply.ended == loadtest::Ended::Truncated,
                cut,
                "{knobs} {:?}",
                checked.reply.ended
            );
        }
    }
}
