//! `hafen cleanup`.

use super::Context;
use super::error::{CliError, Exit};
use super::operate::{Wish, operate};
use crate::api::types::Operation;

/// Forget failures, so that what is banned or blocked is tried again
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hafen cleanup db
  hafen cleanup db --node n1
  hafen cleanup --all")]
pub struct Args {
    /// The resource, group or clone
    #[arg(required_unless_present_any = ["all", "node"])]
    resource: Option<String>,
    /// Only what failed on this node
    #[arg(long)]
    node: Option<String>,
    /// All failures
    #[arg(long, conflicts_with = "resource")]
    all: bool,
    /// Why, for those who read the events
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    reason: String,
    /// Show what would follow, do nothing
    #[arg(long)]
    dry_run: bool,
}

pub async fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let wish = Wish { reason: args.reason.clone(), until: None, dry_run: args.dry_run };
    let operation = Operation::Cleanup { resource: args.resource.clone(), node: args.node.clone() };
    operate(context, operation, &wish, false, None).await
}
