//! `hafen agent`: the daemon, in the foreground.

use super::error::{CliError, Exit};
use super::{Context, leave, render, wait_for};
use crate::api::types::ShutdownKind;
use crate::daemon::{self, Ended, RunOptions};
use std::time::Duration;

/// Run the daemon in the foreground
///
/// SIGTERM ends the daemon and leaves the resources running: the next one adopts them.
/// `hafen agent --stop` drains the node first, as a shutdown of the machine does.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hafen agent
  hafen --data-dir /tmp/n1 agent
  hafen agent --stop")]
pub struct Args {
    /// Make the running daemon drain this node, commit that it left, and end
    #[arg(long)]
    stop: bool,
    /// With `--stop`: how long to wait before exiting with 124
    #[arg(long, default_value = "10m", value_parser = render::parse_duration, value_name = "TIME", requires = "stop")]
    timeout: Duration,
}

pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    if args.stop {
        return wait_for(leave::shut_down(context, ShutdownKind::Stop, args.timeout));
    }
    match daemon::run(&RunOptions { data_dir: context.data_dir.clone() })? {
        Ended::Left => Ok(Exit::Ok),
        // So that the unit's `Restart=always` can tell a stray signal from an end that was asked for.
        Ended::Terminated => Ok(Exit::Terminated),
    }
}
