//! Printing that survives a reader who has gone (`weir schema | head`): the rest is simply not wanted.

use std::fmt::Display;
use std::io::Write;

/// One line to standard output.
pub(crate) fn line(text: impl Display) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
