//! Buffers that a core uses again: request bodies on their way through, large enough that a fresh one costs page faults.
//!
//! Deliberately absent: clearing. A buffer comes back with its length set to zero and its bytes unread.

/// Smaller buffers are not worth keeping; the allocator is fast for them.
const KEPT_BYTES_MIN: usize = 16 * 1024;
/// Larger ones would sit here for the rare body that needs them.
const KEPT_BYTES_MAX: usize = 1024 * 1024;
/// What a core keeps in sum: enough for the bodies between its sockets and the writer, little enough to be idle with.
const KEPT_TOTAL_BYTES: usize = 4 * 1024 * 1024;

/// Spare buffers of one core.
#[derive(Debug, Default)]
pub struct Spare {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

impl Spare {
    /// An empty buffer of at least `bytes`.
    #[must_use]
    pub fn take(&mut self, bytes: usize) -> Vec<u8> {
        let fits = |buffer: &Vec<u8>| buffer.capacity() >= bytes;
        let found = if bytes < KEPT_BYTES_MIN { None } else { self.buffers.iter().rposition(fits) };
        match found {
            Some(at) => {
                let buffer = self.buffers.swap_remove(at);
                self.bytes -= buffer.capacity();
                buffer
            }
            None => Vec::with_capacity(bytes),
        }
    }

    /// Keep a buffer, or free it here where it was allocated.
    pub fn give(&mut self, mut buffer: Vec<u8>) {
        let bytes = buffer.capacity();
        if (KEPT_BYTES_MIN..=KEPT_BYTES_MAX).contains(&bytes) && self.bytes + bytes <= KEPT_TOTAL_BYTES {
            buffer.clear();
            self.bytes += bytes;
            self.buffers.push(buffer);
        }
    }

    /// Free them all: a core that has become quiet becomes small.
    pub fn free(&mut self) {
        self.buffers = Vec::new();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_empty_and_the_sum_is_bounded() {
        let mut spare = Spare::default();
        let mut buffer = spare.take(300_000);
        buffer.extend_from_slice(b"used");
        let place = buffer.as_ptr();
        spare.give(buffer);
        let again = spare.take(200_000);
        assert!(again.is_empty() && again.as_ptr() == place);
        for _ in 0..100 {
            spare.give(Vec::with_capacity(500_000));
        }
        assert!(spare.bytes <= KEPT_TOTAL_BYTES && !spare.buffers.is_empty());
        spare.free();
        assert!(spare.bytes == 0 && spare.buffers.is_empty());
    }
}
