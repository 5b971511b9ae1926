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
  hafen agent --stop

Environment:
  HAFEN_OCF_ROOT      where OCF agents are, instead of /usr/lib/ocf
  HAFEN_FENCE_DIRS    where fence agents are, separated by colons, instead of /usr/sbin
  HAFEN_BOOT_ID_FILE  a file with the boot id, instead of the kernel's: for tests of several nodes on one machine")]
pub struct Args {
    /// Make the running daemon drain this node, commit that it left, and end
    #[arg(long)]
    stop: bool,
    /// What to log: a level, or levels by module
    #[arg(
        long,
        env = "HAFEN_LOG",
        default_value = "info,openraft=error,openraft::replication=off,openraft::core::raft_core=off",
        value_name = "FILTER"
    )]
    log: String,
    /// Form of the log
    #[arg(long, env = "HAFEN_LOG_FORMAT", value_enum, default_value = "text", value_name = "FORMAT")]
    log_format: LogFormat,
    /// With `--stop`: how long to wait before exiting with 124
    #[arg(long, default_value = "10m", value_parser = render::parse_duration, value_name = "TIME", requires = "stop")]
    timeout: Duration,
}

/// How the daemon writes its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    /// A line for people
    Text,
    /// An object for machines
    Json,
}

fn start_logging(format: LogFormat, filter: &str) -> Result<(), CliError> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter)
        .map_err(|error| CliError::usage(format!("`--log {filter}` is no filter: {error}")))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match format {
        LogFormat::Text => builder.with_ansi(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}

pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    if args.stop {
        return wait_for(leave::shut_down(context, ShutdownKind::Stop, args.timeout));
    }
    start_logging(args.log_format, &args.log)?;
    match daemon::run(&RunOptions { data_dir: context.data_dir.clone() })? {
        Ended::Left => Ok(Exit::Ok),
        // So that the unit's `Restart=always` can tell a stray signal from an end that was asked for.
        Ended::Terminated => Ok(Exit::Terminated),
    }
}
