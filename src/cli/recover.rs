//! `hafen recover`.

use super::error::{CliError, Exit, Kind};

/// Go on alone when the other voters are lost for good (not in this version: says what helps instead)
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hafen recover --alone")]
pub struct Args {
    /// Make this node the only voter
    #[arg(long, required = true)]
    alone: bool,
}

pub fn run(args: &Args) -> Result<Exit, CliError> {
    debug_assert!(args.alone, "clap requires it");
    Err(CliError::new(Kind::CouldNotTell, "`recover` is not in this version")
        .hint("bring one of the other voters back, its data directory intact: two of three are a quorum")
        .hint("a node that is off for good is taken out with `hafen fence confirm NODE` once there is a quorum"))
}
