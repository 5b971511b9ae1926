//! `hafen explain`.

use super::error::{CliError, Exit};

/// Say what the code of a finding means, and what helps
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hafen explain HA0101")]
pub struct Args {
    /// `HA` and four digits
    code: String,
}

pub fn run(args: &Args) -> Result<Exit, CliError> {
    match crate::manifest::explain::explain(&args.code) {
        Some(text) => super::render::print(&text)?,
        None => return Err(CliError::usage(format!("no finding has the code `{}`", args.code))),
    }
    Ok(Exit::Ok)
}
