//! `hafen hook`: git's hooks of the node's repository.

use super::Context;
use super::error::{CliError, Exit};
use std::path::PathBuf;

/// Answer git (called by the hooks of the repository, not by people)
#[derive(Debug, clap::Args)]
pub struct Args {
    /// `pre-receive` or `proc-receive`
    name: String,
    /// The daemon's socket
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

pub async fn run(args: &Args, _context: &Context) -> Result<Exit, CliError> {
    Err(CliError::usage(format!("no hook `{}`", args.name)))
}
