//! Cores with nothing but sockets on them.

use std::cell::Cell;
use std::hint::black_box;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// Throws in all, each with some work: in an unoptimized build a second of it.
const MOST: u32 = 20_000;

/// Catch a byte and work a little, for as long as there are throws left.
async fn play(socket: Socket, left: Rc<Cell<u32>>) {
    while left.get() > 0 {
        socket.readable().await;
        if socket.try_read(&mut [0]).is_ok() {
            black_box((0..2_000u32).fold(0, |sum: u32, n| black_box(sum.wrapping_add(n))));
            left.set(left.get().saturating_sub(1));
        }
    }
}

/// The other end of all of them never pauses, so that there is always one to catch, and always news.
fn throw(others: &[UnixStream], over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        for mut other in others {
            // Full, or ended: the next one may take it.
            let _ = other.write_all(b"x");
        }
    }
}

fn throws_before_a_timer_fires(driver: Driver) -> u32 {
    let (ours, others): (Vec<_>, Vec<_>) = (0..64).map(|_| UnixStream::pair().expect("a pair")).unzip();
    others.iter().for_each(|other| other.set_nonblocking(true).expect("a socket"));
    let over = Arc::new(AtomicBool::new(false));
    let seen = over.clone();
    let thrower = std::thread::spawn(move || throw(&others, &seen));
    let left = run(driver, async {
        let left = Rc::new(Cell::new(MOST));
        for socket in ours {
            spawn(play(Socket::adopt(socket.into()).expect("a socket"), left.clone()));
        }
        sleep(Duration::from_millis(50)).await;
        left.replace(0)
    });
    over.store(true, Ordering::Relaxed);
    thrower.join().expect("a thread");
    MOST - left.expect("a core")
}

#[test]
fn timers_fire_on_a_core_that_has_always_more_to_do() {
    for driver in [Driver::probe(false), Driver::Epoll] {
        let throws = throws_before_a_timer_fires(driver);
        assert!(throws < MOST, "{}: not before everything had been done", driver.name());
    }
}
