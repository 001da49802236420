//! AWS's binary event stream (`application/vnd.amazon.eventstream`), writing and reading.
//!
//! ```text
//!   total u32 │ headers u32 │ crc u32 │ headers … │ payload … │ crc u32        big endian
//!   header:  length u8, name │ 7 (a text) │ length u16, value
//! ```

use crate::digest::crc32;

/// Appends one frame; headers are texts.
pub fn frame(headers: &[(&str, &str)], payload: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 12]);
    for (name, value) in headers {
        out.push(name.len() as u8);
        out.extend_from_slice(name.as_bytes());
        out.push(7);
        out.extend_from_slice(&(value.len() as u16).to_be_bytes());
        out.extend_from_slice(value.as_bytes());
    }
    let headers = out.len() - start - 12;
    out.extend_from_slice(payload);
    let total = out.len() - start + 4;
    out[start..start + 4].copy_from_slice(&(total as u32).to_be_bytes());
    out[start + 4..start + 8].copy_from_slice(&(headers as u32).to_be_bytes());
    let prelude = crc32(0, &out[start..start + 8]);
    out[start + 8..start + 12].copy_from_slice(&prelude.to_be_bytes());
    let sum = crc32(0, &out[start..]);
    out.extend_from_slice(&sum.to_be_bytes());
}

/// An event, as every service of AWS's frames it.
pub fn event(kind: &str, payload: &[u8], out: &mut Vec<u8>) {
    let headers = [(":event-type", kind), (":content-type", "application/json"), (":message-type", "event")];
    frame(&headers, payload, out);
}

/// A fault inside a stream.
pub fn exception(kind: &str, payload: &[u8], out: &mut Vec<u8>) {
    let headers =
        [(":exception-type", kind), (":content-type", "application/json"), (":message-type", "exception")];
    frame(&headers, payload, out);
}

/// A frame as read: its text headers, its payload.
pub type Read<'a> = (Vec<(&'a str, &'a str)>, &'a [u8]);

/// The first frame of `bytes` and how long it is; `None` if it is not whole and right.
pub fn read(bytes: &[u8]) -> Option<(Read<'_>, usize)> {
    let word = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (total, length) = (word(0)? as usize, word(4)? as usize);
    let end = total.checked_sub(4)?;
    let sums = crc32(0, &bytes[..8]) == word(8)? && crc32(0, bytes.get(..end)?) == word(end)?;
    let mut rest = bytes.get(12..12 + length).filter(|_| sums)?;
    let mut headers = Vec::new();
    while let Some((&name_length, after)) = rest.split_first() {
        let (name, after) = after.split_at_checked(name_length.into())?;
        let (lead, after) = after.split_at_checked(3)?;
        let (value, after) = after.split_at_checked(u16::from_be_bytes([lead[1], lead[2]]).into())?;
        headers.push((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?));
        rest = after;
    }
    Some(((headers, bytes.get(12 + length..end)?), total))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest frame there is, whose sums the vendor publishes with its test vectors.
    #[test]
    fn empty_frame_as_published() {
        let mut out = Vec::new();
        frame(&[], b"", &mut out);
        assert_eq!(out, [0, 0, 0, 16, 0, 0, 0, 0, 5, 0xc2, 0x48, 0xeb, 0x7d, 0x98, 0xc8, 0xff]);
    }

    #[test]
    fn reads_what_it_writes_and_nothing_else() {
        let mut out = Vec::new();
        event("messageStart", b"{\"role\":\"assistant\"}", &mut out);
        let length = out.len();
        exception("throttlingException", b"{}", &mut out);
        let ((headers, payload), used) = read(&out).expect("whole");
        assert_eq!((headers[0], used), ((":event-type", "messageStart"), length));
        assert_eq!(payload, b"{\"role\":\"assistant\"}");
        for at in 0..length {
            let mut bad = out[..length].to_vec();
            bad[at] ^= 1;
            assert!(read(&bad).is_none(), "byte {at}");
            assert!(read(&out[..at]).is_none());
        }
    }
}
