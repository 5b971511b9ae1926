//! `hafen fence NODE`, `hafen fence test|trust|confirm NODE`.

use super::error::{CliError, Exit};
use super::operate::{Waiting, wait_for};
use super::{Context, render};
use crate::api::Client;
use crate::api::types::{
    FenceKind, FenceRequest, FenceView, OperateRequest, Operation, OperationView, StatusView, WaitFor,
};
use crate::model::FencingAction;
use clap::Subcommand;
use std::io::{BufRead, IsTerminal};
use std::time::{Duration, Instant};

/// Power a node off, or vouch for that
///
/// Without a verb: power the node off now, and on again where the policy says so.
#[derive(Debug, clap::Args)]
#[command(
    disable_help_subcommand = true,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:
  hafen fence n2 --reason 'hangs'
  hafen drain n2 && hafen fence test n2
  hafen fence test n2 --level 2
  hafen fence cancel n2
  hafen drain n2 && hafen fence disarm n2 --reason 'kernel debugging'
  hafen fence trust n2 --reason 'tested by hand'
  hafen fence confirm n2 --reason 'unplugged it myself'"
)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    fence: FenceArgs,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Prove that a node's devices work, by switching the drained node off and on
    ///
    /// Waits until it is proven off, and then until it is back with a new boot. One attempt with one level; if that fails the
    /// node stays on.
    Test(TestArgs),
    /// Take back the wish to fence or test a node
    ///
    /// An attempt that is under way goes on.
    Cancel {
        /// The node
        node: String,
    },
    /// Disarm the watchdog of a drained node, for work during which it must not fire
    ///
    /// Nothing is started there until `hafen fence arm`.
    Disarm {
        /// The node
        node: String,
        /// Why, for those who read the events
        #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
        reason: String,
    },
    /// Let a node arm its watchdog again
    Arm {
        /// The node
        node: String,
    },
    /// Vouch for the devices of a node without a test
    Trust(StatementArgs),
    /// State that a node is off, when no device can tell
    ///
    /// Everything it ran is started elsewhere. If it is not off, services run twice and data is lost.
    Confirm(ConfirmArgs),
}

#[derive(Debug, clap::Args)]
struct FenceArgs {
    /// The node
    #[arg(required = true)]
    node: Option<String>,
    /// Why, for those who read the events
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    reason: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    waiting: Waiting,
}

#[derive(Debug, clap::Args)]
struct TestArgs {
    #[command(flatten)]
    fence: FenceArgs,
    /// Which level of its fencing, from 1
    #[arg(long, default_value_t = 1, value_name = "N")]
    level: u32,
}

#[derive(Debug, clap::Args)]
struct StatementArgs {
    /// The node
    node: String,
    /// Only this level of its fencing, from 1; default: all
    #[arg(long, value_name = "N")]
    level: Option<u32>,
    /// How you know
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

#[derive(Debug, clap::Args)]
struct ConfirmArgs {
    /// The node
    node: String,
    /// How you know
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Do not ask for the node's name
    #[arg(long)]
    yes: bool,
}

pub async fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    match &args.verb {
        None => fence(&args.fence, FenceKind::Fence, None, context).await,
        Some(Verb::Test(test)) => fence(&test.fence, FenceKind::Test, Some(test.level), context).await,
        Some(Verb::Cancel { node }) => say(node, FenceKind::Cancel, "", None, context).await,
        Some(Verb::Arm { node }) => say(node, FenceKind::Arm, "", None, context).await,
        Some(Verb::Disarm { node, reason }) => say(node, FenceKind::Disarm, reason, None, context).await,
        Some(Verb::Trust(statement)) => {
            say(&statement.node, FenceKind::Trust, &statement.reason, statement.level, context).await
        }
        Some(Verb::Confirm(statement)) => confirm(statement, context).await,
    }
}

/// What is done once it is said.
async fn say(
    node: &str,
    what: FenceKind,
    reason: &str,
    level: Option<u32>,
    context: &Context,
) -> Result<Exit, CliError> {
    let request = FenceRequest { node: node.to_owned(), what, reason: reason.to_owned(), level };
    let answer: FenceView = context.client()?.post("/v1/fence", &request).await?;
    render::say(&answer.summary);
    Ok(Exit::Ok)
}

async fn fence(args: &FenceArgs, what: FenceKind, level: Option<u32>, context: &Context) -> Result<Exit, CliError> {
    let node = args.node.clone().ok_or_else(|| CliError::usage("name the node"))?;
    let client = context.client()?;
    let status: StatusView = client.get("/v1/status", &[]).await?;
    let boot = status.nodes.iter().find(|found| found.name == node).and_then(|found| found.boot.clone());
    if !args.yes {
        render::say(&format!("{} will be powered off; {}", render::strong(&node), runs(&status, &node)));
        ask_for_name(&node)?;
    }
    let request = FenceRequest { node: node.clone(), what, reason: args.reason.clone(), level };
    let answer: FenceView = client.post("/v1/fence", &request).await?;
    render::say(&answer.summary);
    match answer.attempt {
        Some(attempt) if !args.waiting.no_wait => {
            let begin = Instant::now();
            let exit = wait_for(&client, &WaitFor::Attempt { attempt }, 0, args.waiting.timeout).await?;
            render::say(&render::good("proven off"));
            match boot {
                Some(boot) if what == FenceKind::Test => {
                    let left = args.waiting.timeout.saturating_sub(begin.elapsed());
                    back(&client, attempt, node, boot, left).await
                }
                Some(_) | None => Ok(exit),
            }
        }
        Some(_) | None => Ok(Exit::Ok),
    }
}

/// Waits until a node that was switched off for a test is there again, where it is switched on again at all.
async fn back(client: &Client, attempt: u64, node: String, boot: String, left: Duration) -> Result<Exit, CliError> {
    let status: StatusView = client.get("/v1/status", &[]).await?;
    let action = status.fencing.iter().find(|found| found.attempt == attempt).map(|found| found.action);
    if action == Some(FencingAction::Off) {
        render::say(&format!("{node} stays off (`fencing.action: Off`, or fenced too often): switch it on yourself"));
        return Ok(Exit::Ok);
    }
    let exit = wait_for(client, &WaitFor::BackAfter { node: node.clone(), boot }, 0, left).await?;
    render::say(&format!("{node} {}", render::good("is back")));
    Ok(exit)
}

async fn confirm(args: &ConfirmArgs, context: &Context) -> Result<Exit, CliError> {
    let client = context.client()?;
    if args.reason.trim().is_empty() {
        return Err(CliError::usage("an empty reason").hint("say how you know that it is off"));
    }
    let mut boot = None;
    if !args.yes {
        let status: StatusView = client.get("/v1/status", &[]).await?;
        // What is stated is of the boot that was shown, not of one that has joined while the operator was typing.
        boot = status.nodes.iter().find(|found| found.name == args.node).and_then(|found| found.boot.clone());
        let shown = boot.as_ref().map(|boot| format!(" (boot {boot})")).unwrap_or_default();
        render::say(&format!(
            "You state that {}{shown} is powered off. {}.\nIf it is not, its services run twice and data is lost.",
            render::strong(&args.node),
            runs(&status, &args.node)
        ));
        ask_for_name(&args.node)?;
    }
    let request = OperateRequest {
        operation: Operation::ConfirmOff { node: args.node.clone(), boot },
        reason: args.reason.clone(),
        expires_ms: None,
        dry_run: false,
        force: false,
    };
    let answer: OperationView = client.post("/v1/operate", &request).await?;
    render::say(&answer.summary);
    Ok(Exit::Ok)
}

fn runs(status: &StatusView, node: &str) -> String {
    let mine = |row: &&crate::api::types::ResourceView| row.phase.is_some() && row.node.as_deref() == Some(node);
    let names: Vec<&str> = status.resources.iter().filter(mine).map(|row| row.instance.as_str()).collect();
    if names.is_empty() { "it runs nothing".to_owned() } else { format!("it runs {}", names.join(", ")) }
}

/// Only who types the node's name means it.
fn ask_for_name(node: &str) -> Result<(), CliError> {
    if !std::io::stdin().is_terminal() {
        return Err(CliError::usage("not confirmed").hint("add `--yes` where nobody can answer"));
    }
    render::say(&format!("Type the node's name to go on ({node}):"));
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    if line.trim() == node { Ok(()) } else { Err(CliError::usage("not confirmed: nothing was done")) }
}
