//! `hafen why`.
//!
//! Input → output: a resource, and the running cluster, or manifests with a state, or a CIB → every part of its scores, on
//! stdout. Exit codes: 0 as desired; 1 not; 2 a file cannot be read; 105 no such resource.

use super::error::{CliError, Exit};
use super::offline::{Elsewhere, Lines};
use super::{Context, Format, OutputFormat, render};
use crate::api::client::escape;
use crate::api::types::{WhyInstance, WhyView};
use crate::api::words;
use crate::model::{NodeId, ResourceId, Score, Spec};
use crate::plan;
use crate::state::State;
use std::path::PathBuf;

/// Every reason for where a resource runs, or does not
///
/// Exits 0 if all of it is as desired, 1 if not.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hafen why db
  hafen why db --not n2
  hafen why db --cib /var/lib/pacemaker/cib/cib.xml
  hafen why db manifests/ --state state.json")]
pub struct Args {
    /// The resource, group or clone
    resource: String,
    /// With `--state`: a folder of manifests, or one file
    #[arg(default_value = ".")]
    path: PathBuf,
    #[command(flatten)]
    elsewhere: Elsewhere,
    /// Why it is not on this node
    #[arg(long, value_name = "NODE")]
    not: Option<String>,
    #[command(flatten)]
    format: Format,
}

pub async fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let found: WhyView = match args.elsewhere.read(&args.path, Lines::Told)? {
        Some((spec, state)) => alone(args, &spec, &state)?,
        None => {
            let query: Vec<_> = args.not.iter().map(|node| ("not", node.clone())).collect();
            context.client()?.get(&format!("/v1/why/{}", escape(&args.resource)), &query).await?
        }
    };
    match args.format.output {
        OutputFormat::Json => render::print_json(&found)?,
        OutputFormat::Text => render::print(&text(&found))?,
    }
    Ok(if found.as_desired() { Exit::Ok } else { Exit::No })
}

/// Without a daemon.
fn alone(args: &Args, spec: &Spec, state: &State) -> Result<WhyView, CliError> {
    let not = args.not.as_deref().map(NodeId::new);
    let graph = plan::order(spec, state);
    Ok(words::why(spec, state, &graph, &ResourceId::new(args.resource.as_str()), not.as_ref())?)
}

/// A paragraph per instance: where it is, why, and the scores behind it.
pub fn text(why: &WhyView) -> String {
    why.instances.iter().map(instance).collect::<Vec<_>>().join("\n")
}

fn instance(found: &WhyInstance) -> String {
    let runs = match found.runs_on.as_slice() {
        [] => "runs nowhere".to_owned(),
        nodes => format!("runs on {}", nodes.join(", ")),
    };
    let wanted = match (&found.assigned_to, found.role) {
        (Some(node), Some(role)) => format!(", is to be {role} on {node}"),
        (Some(node), None) => format!(", is to be on {node}"),
        (None, _) => ", is to be nowhere".to_owned(),
    };
    let at = found.verdict.at.as_ref().map(|at| format!(" ({at})")).unwrap_or_default();
    let mut text = format!(
        "{} {runs}{wanted}\n  {}: {}{at}\n",
        render::strong(&found.instance),
        super::status::verdict_word(found.verdict.verdict),
        found.verdict.reason
    );
    let row = |c: &crate::api::types::Contribution| {
        let score = Score::new(i64::from(c.score)).to_string();
        vec![c.node.clone(), format!("{score:>9}"), c.reason.clone(), render::faint(c.at.as_deref().unwrap_or(""))]
    };
    text += &render::table(&found.contributions.iter().map(row).collect::<Vec<_>>());
    if !found.promotion.is_empty() {
        text += &format!("  promotion\n{}", render::table(&found.promotion.iter().map(row).collect::<Vec<_>>()));
    }
    text
}
