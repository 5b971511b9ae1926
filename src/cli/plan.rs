//! `hafen plan`: what a push of these manifests would do, and what it would cost.

use super::error::{CliError, Exit, Kind};
use super::offline::{self, Elsewhere, Lines};
use super::{Context, render};
use crate::api::types::{ChangeKind, CheckRequest, CheckView, FailOn, FileText, Impact, PlanView, PlannedAction};
use crate::model::{Diagnostic, Severity};
use std::path::{Path, PathBuf};

/// Show what these manifests would do if they were pushed now
///
/// Nothing is changed. Exits 0 also with changes; 1 if `--fail-on` matches; 2 if they are not valid;
/// 107 if a push of them would be refused as unsafe; 113 if a resource would have no node.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hafen plan
  hafen plan manifests/ --fail-on outage,fence
  hafen plan -o md > comment.md
  hafen plan --cib /var/lib/pacemaker/cib/cib.xml
  hafen plan manifests/ --state state.json -o transition")]
pub struct Args {
    /// A folder of manifests, or one file
    #[arg(default_value = ".")]
    path: PathBuf,
    #[command(flatten)]
    elsewhere: Elsewhere,
    /// Exit with 1 if the plan does any of this
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WHAT")]
    fail_on: Vec<FailOn>,
    /// Form of the result
    #[arg(short = 'o', long = "output", value_enum, default_value = "text", value_name = "FORMAT")]
    output: PlanFormat,
    /// Write it to a file instead of stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum PlanFormat {
    /// For people
    Text,
    /// The API's own document
    Json,
    /// For a comment on a change
    Md,
    /// With `--cib` or `--state`: placement and actions, the same for every planner
    Transition,
}

pub async fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let lines = if args.output == PlanFormat::Transition { Lines::Untold } else { Lines::Told };
    if let Some((spec, state)) = args.elsewhere.read(&args.path, lines)? {
        return match args.output {
            PlanFormat::Transition => offline::transition(&spec, &state),
            PlanFormat::Text | PlanFormat::Json | PlanFormat::Md => alone(args, &offline::plan_view(&spec, &state)),
        };
    }
    if args.output == PlanFormat::Transition {
        return Err(CliError::usage("`-o transition` needs `--cib` or `--state`"));
    }
    let request = CheckRequest { files: read(&args.path)? };
    let check: CheckView = context.client()?.post("/v1/plan", &request).await?;
    for found in &check.diagnostics {
        render::say(&diagnostic(found));
    }
    let Some(plan) = &check.plan else {
        if args.output == PlanFormat::Json {
            render::print_json(&check)?;
        }
        return Err(CliError::new(Kind::CouldNotTell, "the manifests are not valid, so there is no plan")
            .hint("`hafen explain CODE` says more about a finding"));
    };
    write(args, plan)?;
    verdict(&check, plan, &args.fail_on)
}

/// A plan that no daemon has made.
fn alone(args: &Args, plan: &PlanView) -> Result<Exit, CliError> {
    write(args, plan)?;
    Ok(if args.fail_on.iter().any(|what| plan.does(*what)) { Exit::No } else { Exit::Ok })
}

/// Where it is wanted, in the form that is wanted.
fn write(args: &Args, plan: &PlanView) -> Result<(), CliError> {
    let document = match args.output {
        PlanFormat::Text | PlanFormat::Transition => text(plan),
        PlanFormat::Md => markdown(plan),
        PlanFormat::Json => {
            serde_json::to_string_pretty(plan).map_err(|error| CliError::new(Kind::Bug, error.to_string()))? + "\n"
        }
    };
    match &args.out {
        None => render::print(&document),
        Some(file) => std::fs::write(file, anstream::adapter::strip_str(&document).to_string()).map_err(|error| {
            CliError::new(Kind::CouldNotTell, format!("failed to write `{}`: {error}", file.display()))
        }),
    }
}

fn verdict(check: &CheckView, plan: &PlanView, fail_on: &[FailOn]) -> Result<Exit, CliError> {
    if let Some(refusal) = &check.refusal {
        return Err(CliError::new(Kind::Unsafe, format!("a push of this would be refused: {refusal}")));
    }
    if let Some(danger) = plan.dangers.first() {
        return Err(CliError::new(Kind::Unsafe, format!("this is unsafe: {danger}")));
    }
    if let Some(unplaced) = plan.unplaced.first() {
        return Err(CliError::new(Kind::NotPlaced, format!("{} has no node: {}", unplaced.instance, unplaced.reason)));
    }
    Ok(if fail_on.iter().any(|what| plan.does(*what)) { Exit::No } else { Exit::Ok })
}

/// The manifests below a folder, read by the rule of `validate`.
fn read(path: &Path) -> Result<Vec<FileText>, CliError> {
    let files = super::files::read_tree(path).map_err(|error| CliError::new(Kind::CouldNotTell, error.to_string()))?;
    let text = |file: crate::manifest::SourceFile| match String::from_utf8(file.bytes) {
        Ok(text) => Ok(FileText { path: file.path, text }),
        Err(_) => Err(CliError::new(Kind::CouldNotTell, format!("`{}` is not UTF-8", file.path))
            .hint(format!("`hafen validate {}` shows where", path.display()))),
    };
    files.into_iter().map(text).collect()
}

pub fn diagnostic(found: &Diagnostic) -> String {
    let word = match found.severity {
        Severity::Error => render::bad("error"),
        Severity::Warning => render::warn("warning"),
        Severity::Note => render::busy("note"),
    };
    let help = found.help.as_ref().map(|help| format!("\n  help: {help}")).unwrap_or_default();
    let place =
        if found.line == 0 { found.file.clone() } else { format!("{}:{}:{}", found.file, found.line, found.column) };
    format!("{word}[{}]: {}\n  at {place}{help}", found.code, found.message)
}

/// A plan for people.
pub fn text(plan: &PlanView) -> String {
    let against = plan.from.as_deref().map_or("nothing", super::status::short);
    if plan.is_empty() && plan.warnings.is_empty() && plan.dangers.is_empty() && plan.unplaced.is_empty() {
        return format!("nothing to do: the same as {against}\n");
    }
    let mut text = format!("plan against {against}\n");
    if !plan.changes.is_empty() {
        text += &format!("\n{}\n", render::strong("changes"));
    }
    for change in &plan.changes {
        let sign = match change.change {
            ChangeKind::Added => render::good("+"),
            ChangeKind::Changed => render::warn("~"),
            ChangeKind::Removed => render::bad("-"),
        };
        let at = change.at.as_ref().map(|at| render::faint(&format!("  {at}"))).unwrap_or_default();
        text += &format!("  {sign} {}{at}\n", change.object);
        for field in &change.fields {
            text += &format!("      {field}\n");
        }
    }
    if !plan.actions.is_empty() {
        let rows: Vec<Vec<String>> = plan.actions.iter().enumerate().map(|(place, a)| action_row(place, a)).collect();
        text += &format!("\n{}\n{}", render::strong("actions"), render::table(&rows));
    }
    if !plan.outages.is_empty() {
        text += &format!("\n{}: {}\n", render::warn("down for a while"), plan.outages.join(", "));
    }
    for unplaced in &plan.unplaced {
        text +=
            &format!("{}: {} has no node: {}\n", render::bad("cannot be placed"), unplaced.instance, unplaced.reason);
    }
    for danger in &plan.dangers {
        text += &format!("{}: {danger}\n", render::bad("unsafe"));
    }
    for warning in &plan.warnings {
        text += &format!("{}: {warning}\n", render::warn("warning"));
    }
    text
}

fn action_row(place: usize, action: &PlannedAction) -> Vec<String> {
    let after: Vec<String> = action.after.iter().map(|earlier| (earlier + 1).to_string()).collect();
    let after = if after.is_empty() { String::new() } else { render::faint(&format!("after {}", after.join(", "))) };
    vec![
        (place + 1).to_string(),
        impact(action.impact),
        action.object.clone(),
        place_words(action),
        action.reason.clone(),
        after,
    ]
}

fn place_words(action: &PlannedAction) -> String {
    match (&action.from, &action.node) {
        (Some(from), Some(to)) => format!("{from} -> {to}"),
        (None, Some(node)) => format!("on {node}"),
        (Some(from), None) => format!("from {from}"),
        (None, None) => String::new(),
    }
}

fn impact(impact: Impact) -> String {
    match impact {
        Impact::Start => render::good("start"),
        Impact::Promote => render::good("promote"),
        Impact::Reload => render::busy("reload"),
        Impact::Migrate => render::busy("migrate"),
        Impact::Demote => render::warn("demote"),
        Impact::Move => render::warn("move"),
        Impact::Restart => render::warn("restart"),
        Impact::Stop => render::bad("stop"),
        Impact::Fence => render::bad("fence"),
    }
}

/// A plan as a comment on a change.
pub fn markdown(plan: &PlanView) -> String {
    let escape = |text: &str| text.replace('|', "\\|").replace('\n', " ");
    let against = plan.from.as_deref().map_or("nothing", super::status::short);
    if plan.is_empty() {
        return format!("**hafen plan** against `{against}`: nothing to do\n");
    }
    let mut text = format!("**hafen plan** against `{against}`: {} actions\n", plan.actions.len());
    if !plan.changes.is_empty() {
        text.push_str("\n| change | object | at | fields |\n|---|---|---|---|\n");
        for c in &plan.changes {
            let at = c.at.as_deref().unwrap_or("");
            text += &format!("| {:?} | {} | {at} | {} |\n", c.change, escape(&c.object), escape(&c.fields.join("; ")));
        }
    }
    if !plan.actions.is_empty() {
        text.push_str("\n| # | action | object | where | why |\n|---|---|---|---|---|\n");
        for (place, action) in plan.actions.iter().enumerate() {
            let (object, reason) = (escape(&action.object), escape(&action.reason));
            let (number, wher) = (place + 1, place_words(action));
            text += &format!("| {number} | {:?} | {object} | {wher} | {reason} |\n", action.impact);
        }
    }
    let unplaced = plan.unplaced.iter().map(|u| format!("{} has no node: {}", u.instance, u.reason));
    let outages = (!plan.outages.is_empty()).then(|| format!("down for a while: {}", plan.outages.join(", ")));
    let notes: Vec<String> = outages
        .into_iter()
        .chain(unplaced)
        .chain(plan.dangers.iter().cloned())
        .chain(plan.warnings.iter().cloned())
        .collect();
    if !notes.is_empty() {
        text.push('\n');
    }
    for note in notes {
        text += &format!("- {note}\n");
    }
    text
}

#[cfg(test)]
mod tests;
