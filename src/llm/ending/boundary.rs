//! Where the events of a stream end, byte by byte.

use super::Wire;

/// Watches for ends of events in bytes of any chunking.
#[derive(Clone, Debug)]
pub(super) enum Boundaries {
    /// The line is empty so far; the last byte was a CR that ended a line.
    Sse { line_empty: bool, after_cr: bool },
    /// A line is an event.
    Lines,
    /// Whether it is an array at all; depth of brackets, its own included; inside a text, and behind a backslash there.
    Array { is_one: bool, depth: u32, text: bool, escaped: bool },
    /// Bytes of the frame still to come, once its length is known, and the length's first bytes.
    Frames { left: usize, length: [u8; 4], have: usize },
}

impl Boundaries {
    pub(super) fn new(wire: Wire) -> Self {
        match wire {
            Wire::Sse => Boundaries::Sse { line_empty: true, after_cr: false },
            Wire::Lines => Boundaries::Lines,
            Wire::Array => Boundaries::Array { is_one: false, depth: 0, text: false, escaped: false },
            Wire::Frames => Boundaries::Frames { left: 0, length: [0; 4], have: 0 },
        }
    }

    /// Whether an event ends with this byte.
    pub(super) fn step(&mut self, byte: u8) -> bool {
        match self {
            Boundaries::Sse { line_empty, after_cr } => {
                if std::mem::replace(after_cr, byte == b'\r') && byte == b'\n' {
                    // The other half of a line end.
                    return false;
                }
                let ends_line = matches!(byte, b'\r' | b'\n');
                let ended = ends_line && *line_empty;
                *line_empty = ends_line;
                ended
            }
            Boundaries::Lines => byte == b'\n',
            Boundaries::Array { text, escaped, .. } if *text => {
                *text = byte != b'"' || *escaped;
                *escaped = byte == b'\\' && !*escaped;
                false
            }
            Boundaries::Array { is_one, depth, text, .. } => {
                match byte {
                    b'"' => *text = true,
                    b'{' | b'[' => {
                        *is_one |= *depth == 0 && byte == b'[';
                        *depth += 1;
                    }
                    b'}' | b']' => {
                        *depth = depth.saturating_sub(1);
                        return *is_one && *depth == 1 && byte == b'}';
                    }
                    _ => {}
                }
                false
            }
            Boundaries::Frames { left, length, have } => {
                if *have < length.len() {
                    length[*have] = byte;
                    *have += 1;
                    *left = (u32::from_be_bytes(*length) as usize).saturating_sub(length.len());
                    return false;
                }
                *left = left.saturating_sub(1);
                let ended = *left == 0;
                if ended {
                    *have = 0;
                }
                ended
            }
        }
    }
}
