//! `hafen output`.

use super::error::{CliError, Exit};
use super::{Context, Format, OutputFormat, render};
use crate::api::client::escape;
use crate::api::types::OutputView;

/// The last words of a resource's agent on this node
///
/// Output of agents stays on the node that ran them; ask there.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hafen output db
  hafen output web:1")]
pub struct Args {
    /// The resource, or one copy of a clone
    resource: String,
    #[command(flatten)]
    format: Format,
}

pub async fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let path = format!("/v1/output/{}", escape(&args.resource));
    let found: OutputView = context.client()?.get(&path, &[]).await?;
    match args.format.output {
        OutputFormat::Json => render::print_json(&found)?,
        OutputFormat::Text => {
            let when = render::time(found.at_ms);
            render::say(&format!(
                "{} of {} on {} at {when}: {}",
                found.action, found.instance, found.node, found.status
            ));
            let end = if found.output.is_empty() || found.output.ends_with('\n') { "" } else { "\n" };
            render::print(&format!("{}{end}", found.output))?;
        }
    }
    Ok(Exit::Ok)
}
