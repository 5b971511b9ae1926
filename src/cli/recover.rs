//! `hafen recover`.

use super::error::{CliError, Exit};
use super::{Context, render};
use crate::daemon::{self, RecoverOptions};
use std::io::{BufRead, IsTerminal};

/// Go on alone, when the other voters are lost for good
///
/// For a cluster that has lost its quorum and will not get it back. Run it on the node that is to go on, its daemon
/// stopped. You state which nodes are off: what they ran is started here. If one of them is not, its services run twice and
/// data is lost. This node becomes the only voter, in a new generation; the others do not fit to it any more, and come
/// back with `hafen join` and an empty data directory.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hafen recover --alone --off n2 --reason 'burnt down; unplugged it myself'
  hafen recover --alone --off n2 --off n3 --reason 'the other room has no power'")]
pub struct Args {
    /// Make this node the only voter
    #[arg(long, required = true)]
    alone: bool,
    /// A node that is off; give it for every one
    #[arg(long, value_name = "NODE")]
    off: Vec<String>,
    /// How you know
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    debug_assert!(args.alone, "clap requires it");
    if args.reason.trim().is_empty() {
        return Err(CliError::usage("`--reason` is empty: it stays in the log for those who ask later"));
    }
    if !args.yes {
        confirm(args)?;
    }
    let by = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).unwrap_or_else(|_| "root".into());
    let options =
        RecoverOptions { data_dir: context.data_dir.clone(), off: args.off.clone(), by, reason: args.reason.clone() };
    let generation = daemon::recover(&options)?;
    render::say(&format!("This node goes on alone, in generation {generation}, as soon as its daemon runs:"));
    render::say("  systemctl start hafen        # or: hafen agent");
    match args.off.as_slice() {
        [] => render::say("No node was stated to be off: what they ran waits for `hafen fence confirm NODE`."),
        off => render::say(&format!("What {} ran is started here then.", off.join(", "))),
    }
    render::say("The others come back with an empty data directory: `hafen token` here, `hafen join` there.");
    Ok(Exit::Ok)
}

/// Only who types the names means it.
fn confirm(args: &Args) -> Result<(), CliError> {
    let wanted = if args.off.is_empty() { "alone".to_owned() } else { args.off.join(" ") };
    if !std::io::stdin().is_terminal() {
        return Err(CliError::usage("not confirmed").hint("add `--yes` where nobody can answer"));
    }
    render::say("This node becomes the only voter. There is no way back for the others but to join anew.");
    if !args.off.is_empty() {
        let off = args.off.join(", ");
        render::say(&format!("You state that {off} is powered off. If not, services run twice and data is lost."));
    }
    render::say(&format!("Type this to go on ({wanted}):"));
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    if line.trim() == wanted { Ok(()) } else { Err(CliError::usage("not confirmed: nothing was done")) }
}
