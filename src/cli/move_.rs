//! `hafen move`.

use super::Context;
use super::error::{CliError, Exit};
use super::operate::{Waiting, Wish, operate};
use crate::api::types::Operation;

/// Move a resource, group or clone to another node
///
/// Waits until it runs there; refused (107) where that node cannot run it now, with what would help. With `--until` it is kept there so long; otherwise stickiness alone keeps it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hafen move db --to n2 --reason 'balance'
  hafen move db --away-from n1 --until 1h
  hafen move db --clear")]
pub struct Args {
    /// The resource, group or clone
    resource: String,
    #[command(flatten)]
    place: Place,
    /// Ask for it although it cannot be done now, or would stop the resource
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    wish: Wish,
    #[command(flatten)]
    waiting: Waiting,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Place {
    /// Where it is to go
    #[arg(long, value_name = "NODE")]
    to: Option<String>,
    /// Which node it is to leave
    #[arg(long, value_name = "NODE")]
    away_from: Option<String>,
    /// End earlier moves of it
    #[arg(long)]
    clear: bool,
}

pub async fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let resource = args.resource.clone();
    let operation = match (&args.place.to, &args.place.away_from) {
        (Some(to), _) => Operation::Move { resource, to: to.clone() },
        (None, Some(node)) => Operation::Ban { resource, node: node.clone() },
        (None, None) => Operation::Unmove { resource },
    };
    operate(context, operation, &args.wish, args.force, Some(&args.waiting)).await
}
