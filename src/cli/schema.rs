//! `weir schema`: the JSON Schema of the configuration, for editors.

use std::process::ExitCode;

use clap::Args;

use super::out;
use crate::config::file::File;

/// Print the JSON Schema of the configuration file.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  weir schema > weir.schema.json

In the file: {\"$schema\": \"./weir.schema.json\", …}")]
pub struct SchemaArgs {}

/// Run the command.
#[must_use]
pub fn run(_: &SchemaArgs) -> ExitCode {
    out::line(format_args!("{:#}", File::json_schema()));
    ExitCode::SUCCESS
}
