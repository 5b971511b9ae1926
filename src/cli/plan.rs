//! `hafen plan`: what a push of these manifests would do, and what it would cost.
//!
//! Input → output: manifests against the running cluster, a State document or a CIB → changes, actions and outages, on
//! stdout or in a file; with a file the plan's id on stdout. Exit codes: 0 planned; 1 `--fail-on` matched; 2 it cannot be told; of the
//! running cluster 107 for what a push would be refused for, and 113 for what has no node.

use super::changes::Detail;
use super::error::{CliError, Exit, Kind};
use super::offline::{self, Elsewhere, Lines};
use super::{Context, render};
use crate::api::types::{CheckRequest, CheckView, FailOn, FileText, PlanView};
use crate::model::{Diagnostic, Severity};
use std::path::{Path, PathBuf};

pub use picture::{markdown, text};

mod picture;

/// Show what these manifests would do if they were pushed now
///
/// Nothing is changed. Exits 0 also with changes; 1 if `--fail-on` matches; 2 if they are not valid;
/// 107 if a push of them would be refused as unsafe; 113 if a resource would have no node.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hafen plan
  hafen plan manifests/ --fail-on outage,fence
  hafen plan -o md > comment.md
  hafen plan --out plan.txt && git push -o plan=ID
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
    /// All fields, also of what was added or removed
    #[arg(short, long)]
    verbose: bool,
    /// Form of the result
    #[arg(short = 'o', long = "output", value_enum, default_value = "text", value_name = "FORMAT")]
    output: PlanFormat,
    /// Write it to a file, and on stdout the id for `git push -o plan=ID`, which is refused if anything moved on
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

impl Args {
    fn detail(&self) -> Detail {
        if self.verbose { Detail::All } else { Detail::Concise }
    }
}

pub async fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let lines = if args.output == PlanFormat::Transition { Lines::Untold } else { Lines::Told };
    if let Some(other) = args.elsewhere.read_all(&args.path, lines)? {
        return match args.output {
            PlanFormat::Transition => offline::transition(&other.spec, &other.state),
            PlanFormat::Text | PlanFormat::Json | PlanFormat::Md => alone(args, &offline::plan(&other)),
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
        PlanFormat::Text | PlanFormat::Transition => text(plan, args.detail()),
        PlanFormat::Md => markdown(plan),
        PlanFormat::Json => {
            serde_json::to_string_pretty(plan).map_err(|error| CliError::new(Kind::Bug, error.to_string()))? + "\n"
        }
    };
    match &args.out {
        None => render::print(&document),
        Some(file) => {
            std::fs::write(file, anstream::adapter::strip_str(&document).to_string()).map_err(|error| {
                CliError::new(Kind::CouldNotTell, format!("failed to write `{}`: {error}", file.display()))
            })?;
            match &plan.id {
                Some(id) => render::print(&format!("{id}\n")),
                None => Ok(()),
            }
        }
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
    let files =
        super::files::read_from_here(path).map_err(|error| CliError::new(Kind::CouldNotTell, error.to_string()))?;
    let text = |file: crate::manifest::SourceFile| match String::from_utf8(file.bytes) {
        Ok(text) => Ok(FileText { path: file.path, text }),
        Err(_) => Err(CliError::new(Kind::CouldNotTell, format!("`{}` is not UTF-8", file.path))
            .hint(format!("`hafen validate {}` shows where", path.display()))),
    };
    files.into_iter().map(text).collect()
}

/// A finding about the manifests of a plan.
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

#[cfg(test)]
mod tests;
