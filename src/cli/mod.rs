//! Commands, one file each.

pub mod check;
pub mod explain;
pub mod key;
mod out;
pub mod schema;

/// Parse arguments and run the command.
#[must_use]
pub fn run() -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
