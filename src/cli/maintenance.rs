//! `hafen maintenance`.

use super::Context;
use super::error::{CliError, Exit};
use super::operate::{Wish, operate};
use crate::api::types::Operation;

/// Keep hands off: nothing is started, stopped or moved
///
/// For the whole cluster, a node or a resource. What runs goes on running; at the end everything is looked at again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hafen maintenance on --until 30m --reason 'switch upgrade'
  hafen maintenance on --resource db
  hafen maintenance off --resource db")]
pub struct Args {
    /// Begin it, or end it
    #[arg(value_enum)]
    state: OnOff,
    /// Only this node
    #[arg(long, conflicts_with = "resource")]
    node: Option<String>,
    /// Only this resource, group or clone
    #[arg(long)]
    resource: Option<String>,
    #[command(flatten)]
    wish: Wish,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum OnOff {
    On,
    Off,
}

pub async fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let (node, resource) = (args.node.clone(), args.resource.clone());
    let operation = match args.state {
        OnOff::On => Operation::Maintenance { node, resource },
        OnOff::Off => Operation::EndMaintenance { node, resource },
    };
    operate(context, operation, &args.wish, false, None).await
}
