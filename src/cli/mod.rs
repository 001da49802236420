//! Commands, one file each.

/// Parse arguments and run the command.
#[must_use]
pub fn run() -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
