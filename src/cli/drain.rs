//! `hafen drain`, `hafen undrain`.

use super::Context;
use super::error::{CliError, Exit};
use super::operate::{Waiting, Wish, operate};
use crate::api::types::Operation;

/// Move everything away from a node, before maintenance on it
///
/// Waits until the node runs nothing. What the manifests allow on this node only is named and stopped; what could run
/// elsewhere, but not now, makes it refuse (107). The node stays drained until `hafen undrain` or until the time given.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hafen drain n1 --reason 'new disk'
  hafen drain n1 --until 2h --timeout 5m
  hafen drain n1 --dry-run")]
pub struct DrainArgs {
    /// The node to empty
    node: String,
    /// Stop services that no other node can run now, and leave what cannot be stopped
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    wish: Wish,
    #[command(flatten)]
    waiting: Waiting,
}

/// Let a drained node run resources again
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hafen undrain n1")]
pub struct UndrainArgs {
    /// The drained node
    node: String,
    /// Why, for those who read the events
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    reason: String,
    /// Show what would follow, do nothing
    #[arg(long)]
    dry_run: bool,
}

pub async fn drain(args: &DrainArgs, context: &Context) -> Result<Exit, CliError> {
    let operation = Operation::Drain { node: args.node.clone() };
    operate(context, operation, &args.wish, args.force, Some(&args.waiting)).await
}

pub async fn undrain(args: &UndrainArgs, context: &Context) -> Result<Exit, CliError> {
    let wish = Wish { reason: args.reason.clone(), until: None, dry_run: args.dry_run };
    operate(context, Operation::Undrain { node: args.node.clone() }, &wish, false, None).await
}
