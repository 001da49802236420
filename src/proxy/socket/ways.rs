//! The two directions of a socket: what is held of each, and why.

use ring::rand::{SecureRandom, SystemRandom};

use crate::proxy::core::Core;
use crate::proxy::fault::{Fault, Kind};
use crate::proxy::request::Held;
use crate::wire::ws::{self, Deflate, Reader, Sender, WsFault};

/// Refusals that wait for the end of a provider's message; over it the client is not read.
const TO_SAY_BYTES_MAX: usize = 64 * 1024;
/// A buffer of this size stays while a socket waits.
const KEPT_BYTES_MAX: usize = 1024;

/// From the client: held until it has been judged.
///
/// ```text
///   held   │ sent │ approved │ awaits the end of its message │
/// ```
pub(super) struct Up {
    pub(super) reader: Reader,
    held: Vec<u8>,
    sent: usize,
    approved: usize,
    /// Pings and pongs within the message that is not complete: they go on even if it does not.
    beats: Vec<(usize, usize)>,
    budget: Held,
    bytes_max: usize,
}

impl Up {
    pub(super) fn new(core: &Core, deflate: Option<Deflate>, bytes_max: usize) -> Self {
        Up {
            reader: Reader::judging(Sender::Client, deflate, bytes_max),
            held: Vec::new(),
            sent: 0,
            approved: 0,
            beats: Vec::new(),
            budget: Held::new(core.held.clone()),
            bytes_max,
        }
    }

    /// More has come.
    pub(super) fn hold(&mut self, block: &[u8]) -> Result<(), Fault> {
        let bytes = self.held.len() + block.len();
        // Frames may be many and empty, so that the payload alone is no bound.
        if bytes - self.approved > self.bytes_max.saturating_mul(2) {
            return Err(Fault::new(Kind::Frames(WsFault::TooLong)));
        }
        self.budget.grow_to(bytes)?;
        self.held.extend_from_slice(block);
        Ok(())
    }

    /// The message that ends `behind` bytes before the end of what is held goes on.
    pub(super) fn approve(&mut self, behind: usize) {
        self.approved = self.held.len() - behind;
        self.beats.clear();
    }

    /// It goes on with this text instead: one frame, not compressed, which leaves the provider's window as it is.
    pub(super) fn replace(&mut self, behind: usize, text: &[u8]) {
        let mut frame = Vec::with_capacity(text.len() + 14);
        ws::write_frame(&mut frame, ws::TEXT, Some(mask()), text);
        self.exchange(behind, frame);
    }

    /// It does not go on.
    pub(super) fn refuse(&mut self, behind: usize) {
        self.exchange(behind, Vec::new());
    }

    fn exchange(&mut self, behind: usize, mut by: Vec<u8>) {
        let end = self.held.len() - behind;
        for (from, to) in std::mem::take(&mut self.beats) {
            by.extend_from_slice(&self.held[from..to]);
        }
        let length = by.len();
        self.held.splice(self.approved..end, by);
        self.approved += length;
    }

    /// A ping or a pong.
    pub(super) fn beat(&mut self, behind: usize) {
        let end = self.held.len() - behind;
        if self.reader.between_messages() {
            self.approved = end;
        } else {
            self.beats.push((end - self.reader.control_bytes(), end));
        }
    }

    /// A closing frame: behind it there is nothing, and a message that it cuts off goes nowhere.
    pub(super) fn close(&mut self, behind: usize) {
        let end = self.held.len() - behind;
        self.beats.push((end - self.reader.control_bytes(), end));
        self.exchange(behind, Vec::new());
        self.held.truncate(self.approved);
    }

    pub(super) fn is_sent(&self) -> bool {
        self.sent == self.approved
    }

    pub(super) fn sendable(&self) -> &[u8] {
        &self.held[self.sent..self.approved]
    }

    /// The provider has taken so much.
    pub(super) fn advance(&mut self, n: usize) {
        self.sent += n;
        if self.is_sent() {
            self.held.drain(..self.sent);
            self.beats.iter_mut().for_each(|(from, to)| (*from, *to) = (*from - self.sent, *to - self.sent));
            (self.sent, self.approved) = (0, 0);
            self.held.shrink_to(KEPT_BYTES_MAX);
            // It has shrunk, so there is room for it.
            let _ = self.budget.grow_to(self.held.len());
        }
    }
}

/// To the client: nothing is held but what it has not taken.
pub(super) struct Down {
    pub(super) reader: Reader,
    unsent: Vec<u8>,
    sent: usize,
    /// The block that `unsent` is the rest of: read for the account once the client has taken it.
    unread: Vec<u8>,
    /// Our own messages, waiting for the end of one of the provider's.
    to_say: Vec<u8>,
    was_slow: bool,
}

impl Down {
    pub(super) fn new(deflate: Option<Deflate>, bytes_max: usize) -> Self {
        Down {
            reader: Reader::watching(Sender::Server, deflate, bytes_max),
            unsent: Vec::new(),
            sent: 0,
            unread: Vec::new(),
            to_say: Vec::new(),
            was_slow: false,
        }
    }

    /// A message of our own.
    pub(super) fn say(&mut self, text: &[u8]) {
        ws::write_frame(&mut self.to_say, ws::TEXT, None, text);
        self.say_now();
    }

    /// What we have to say goes out if the provider is not within a message.
    pub(super) fn say_now(&mut self) {
        if self.unread.is_empty() && self.reader.between_messages() {
            self.unsent.append(&mut self.to_say);
        }
    }

    pub(super) fn has_to_say(&self) -> bool {
        !self.to_say.is_empty()
    }

    /// Whether the client may be read: what it asks could be refused.
    pub(super) fn takes_more(&self) -> bool {
        self.to_say.len() + self.unsent.len() - self.sent <= TO_SAY_BYTES_MAX
    }

    pub(super) fn was_slow(&self) -> bool {
        self.was_slow
    }

    /// Of this block the client has taken `sent` bytes.
    pub(super) fn keep(&mut self, block: &[u8], sent: usize) {
        self.was_slow = true;
        self.unread = block.to_vec();
        self.unsent.extend_from_slice(&block[sent..]);
    }

    /// A block that was read already goes out, with ours where it stood between two messages.
    pub(super) fn interleave(&mut self, block: &[u8], between: Option<usize>) {
        let end = between.unwrap_or(block.len());
        self.unsent.extend_from_slice(&block[..end]);
        if between.is_some() {
            self.unsent.append(&mut self.to_say);
        }
        self.unsent.extend_from_slice(&block[end..]);
    }

    pub(super) fn is_sent(&self) -> bool {
        self.sent == self.unsent.len()
    }

    pub(super) fn sendable(&self) -> &[u8] {
        &self.unsent[self.sent..]
    }

    /// The client has taken so much. Once that was all, the block that may now be read.
    pub(super) fn advance(&mut self, n: usize) -> Option<Vec<u8>> {
        self.sent += n;
        if !self.is_sent() {
            return None;
        }
        (self.unsent, self.sent) = (Vec::new(), 0);
        Some(std::mem::take(&mut self.unread))
    }

    pub(super) fn take_unsent(&mut self) -> Vec<u8> {
        let unsent = self.unsent.split_off(self.sent);
        (self.unsent, self.sent) = (Vec::new(), 0);
        unsent
    }

    pub(super) fn take_unread(&mut self) -> Option<Vec<u8>> {
        Some(std::mem::take(&mut self.unread)).filter(|unread| !unread.is_empty())
    }
}

/// A mask for a frame of our own (RFC 6455 5.3).
pub(super) fn mask() -> [u8; 4] {
    let mut mask = [0; 4];
    // Without randomness there is no TLS and no start either; zeros would mask nothing, and be valid.
    let _ = SystemRandom::new().fill(&mut mask);
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_goes_between_two_messages_of_the_provider() {
        let mut down = Down::new(None, 1 << 20);
        let mut one = Vec::new();
        ws::write_frame(&mut one, ws::TEXT, None, b"provider");
        let (first, second) = one.split_at(4);
        let mut at = 0;
        assert_eq!(down.reader.next(first, &mut at), Ok(None));
        down.say(b"ours");
        assert!(down.is_sent() && down.has_to_say());
        let block = [second, &one].concat();
        let mut at = 0;
        assert!(matches!(down.reader.next(&block, &mut at), Ok(Some(ws::Message::Text(b"provider")))));
        down.interleave(&block, Some(at));
        let mut ours = Vec::new();
        ws::write_frame(&mut ours, ws::TEXT, None, b"ours");
        assert_eq!(down.sendable(), [second, &ours, &one].concat());
    }
}
