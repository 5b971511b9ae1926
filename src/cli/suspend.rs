//! `hafen suspend` and `hafen resume`.

use super::Context;
use super::error::{CliError, Exit, Kind};
use super::operate::{Wish, operate};
use crate::api::types::Operation;

/// Take no other target for a while
///
/// Pushes are refused with the reason, the source is not followed. What runs is looked after as ever: failures are
/// recovered from, nodes are fenced, operators may move things, and a commit on trial is returned from if it fails.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hafen suspend --until 18:30 --reason 'storage is being migrated'
  hafen suspend --until 2h --reason audit
  hafen resume")]
pub struct SuspendArgs {
    #[command(flatten)]
    wish: Wish,
}

/// Take targets again
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hafen resume")]
pub struct ResumeArgs {}

pub async fn suspend(args: &SuspendArgs, context: &Context) -> Result<Exit, CliError> {
    if args.wish.reason.is_empty() {
        return Err(CliError::new(Kind::Usage, "a suspension needs a reason")
            .hint("hafen suspend --until 2h --reason 'storage is being migrated'"));
    }
    operate(context, Operation::Suspend, &args.wish, false, None).await
}

pub async fn resume(_: &ResumeArgs, context: &Context) -> Result<Exit, CliError> {
    let wish = Wish { reason: String::new(), until: None, dry_run: false };
    operate(context, Operation::Resume, &wish, false, None).await
}
