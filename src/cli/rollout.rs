//! `hafen confirm` and `hafen rollback`.

use super::Context;
use super::error::{CliError, Exit};
use super::operate::{Waiting, Wish, operate};
use crate::api::types::Operation;

/// State that the target is good
///
/// Where `Cluster.spec.confirmation` asks for it, a commit that nobody confirmed in time is returned from. With
/// `by: Health` the cluster confirms by itself; this is quicker.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hafen confirm
  hafen confirm 3f2a91c0")]
pub struct ConfirmArgs {
    /// Only if this is the target: at least four digits of it
    revision: Option<String>,
}

/// Return to the last target that was good
///
/// Needs neither git nor the network of its remote: the cluster keeps those manifests. `main` stays where it is; the
/// commit that was returned from, and others that mean the same, are refused until one mends or reverts it, or
/// `git push -o allow-held` insists. What it would do: `--dry-run`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hafen rollback --dry-run
  hafen rollback --reason 'web answers 500'")]
pub struct RollbackArgs {
    /// Why, for those who look at the status
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    reason: String,
    /// Show what would follow, do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    waiting: Waiting,
}

pub async fn confirm(args: &ConfirmArgs, context: &Context) -> Result<Exit, CliError> {
    let wish = Wish { reason: String::new(), until: None, dry_run: false };
    operate(context, Operation::Confirm { revision: args.revision.clone() }, &wish, false, None).await
}

pub async fn rollback(args: &RollbackArgs, context: &Context) -> Result<Exit, CliError> {
    let wish = Wish { reason: args.reason.clone(), until: None, dry_run: args.dry_run };
    operate(context, Operation::Rollback, &wish, false, Some(&args.waiting)).await
}
