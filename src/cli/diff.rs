//! `hafen diff`: what the manifests say differently, document by document and field by field.
//!
//! Input → output: the manifests here against the running cluster, against a revision or a State document, or two
//! revisions → what differs, on stdout, secrets hidden. Exit codes: 0 nothing; 1 something; 2 a side cannot be read.
//!
//! Deliberately absent: what would be done about it (`plan`).

use super::changes::{self, Detail};
use super::error::{CliError, Exit, Kind};
use super::{Context, files, render};
use crate::api::differences;
use crate::api::types::{CheckRequest, DiffView, FileText};
use crate::manifest::{self, SourceFile};
use crate::model::{Listing, Revision};
use crate::source::Place;
use std::path::{Path, PathBuf};

/// Show what these manifests say differently
///
/// Compares with what the cluster follows; with --from, or --state, no daemon is asked. Exits 0 if nothing differs, 1 if
/// something does, 2 if a side cannot be read. Secrets are compared, but not shown.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hafen diff
  hafen diff manifests/ -v
  hafen diff --from main
  hafen diff --from v1.2 --to v1.3 -o json
  hafen diff manifests/ --state state.json -o md > comment.md")]
pub struct Args {
    /// A folder of manifests, or one file
    #[arg(default_value = ".")]
    path: PathBuf,
    /// The old side: this commit of the repository that the manifests are in
    #[arg(long, value_name = "REV", conflicts_with = "state")]
    from: Option<String>,
    /// The new side: this commit, instead of the files as they are now
    #[arg(long, value_name = "REV", requires = "from")]
    to: Option<String>,
    /// The old side: what this State document says that its cluster follows
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// All fields, also of what was added or removed, and both places
    #[arg(short, long)]
    verbose: bool,
    /// Form of the result
    #[arg(short = 'o', long = "output", value_enum, default_value = "text", value_name = "FORMAT")]
    output: DiffFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum DiffFormat {
    /// For people
    Text,
    /// The API's own document
    Json,
    /// For a comment on a change
    Md,
}

pub async fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let view = compare(args, context).await?;
    for field in &view.not_compared {
        render::say(&format!("{}: {field} is hidden in the state: not compared", render::busy("note")));
    }
    match args.output {
        DiffFormat::Text => render::print(&text(&view, if args.verbose { Detail::All } else { Detail::Concise }))?,
        DiffFormat::Json => render::print_json(&view)?,
        DiffFormat::Md => render::print(&markdown(&view))?,
    }
    Ok(if view.changes.is_empty() { Exit::Ok } else { Exit::No })
}

async fn compare(args: &Args, context: &Context) -> Result<DiffView, CliError> {
    if let Some(from) = &args.from {
        let place = Place::of(&args.path).map_err(could_not)?;
        let (from, old) = committed(&place, from)?;
        let (to, new) = match &args.to {
            Some(to) => committed(&place, to).map(|(to, listing)| (Some(to.to_string()), listing))?,
            None => (None, here(&args.path)?),
        };
        // Paths of commits begin at the root of the repository; those of files as they are do where the command runs.
        return Ok(DiffView { from: Some(from.to_string()), to, ..differences(&old, &new) });
    }
    if let Some(file) = &args.state {
        let (from, old) = followed(file)?;
        return Ok(DiffView { from: Some(from), ..differences(&old, &here(&args.path)?) });
    }
    let text = |file: SourceFile| match String::from_utf8(file.bytes) {
        Ok(text) => Ok(FileText { path: file.path, text }),
        Err(_) => Err(could_not(format!("`{}` is not UTF-8", file.path))),
    };
    let files = read(&args.path)?.into_iter().map(text).collect::<Result<_, _>>()?;
    Ok(context.client()?.post("/v1/diff", &CheckRequest { files }).await?)
}

fn could_not(error: impl std::fmt::Display) -> CliError {
    CliError::new(Kind::CouldNotTell, error.to_string())
}

/// The manifests as they are now. What cannot be read would be told as removed, so it is refused.
fn here(path: &Path) -> Result<Listing, CliError> {
    Ok(manifest::listing(&read(path)?))
}

fn read(path: &Path) -> Result<Vec<SourceFile>, CliError> {
    let files = files::read_from_here(path).map_err(could_not)?;
    super::offline::valid(&files, path, "what they would change cannot be told")?;
    Ok(files)
}

/// The manifests of a commit.
fn committed(place: &Place, name: &str) -> Result<(Revision, Listing), CliError> {
    let revision = place.repo.resolve(name).map_err(could_not)?;
    let alone = place.path.ends_with(".yaml") || place.path.ends_with(".yml");
    let folder = match alone {
        true => Path::new(&place.path).parent().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default(),
        false => place.path.clone(),
    };
    let mut files = crate::daemon::manifests(&place.repo, &revision, &folder).map_err(could_not)?;
    if alone {
        // Of its folder only this file; what an overlay in it builds on is elsewhere.
        let beside =
            |path: &str| folder.is_empty() || path.strip_prefix(&folder).is_some_and(|rest| rest.starts_with('/'));
        files.retain(|file| file.path == place.path || !beside(&file.path));
    }
    Ok((revision, manifest::listing(&files)))
}

/// What a State document says that its cluster follows.
fn followed(file: &Path) -> Result<(String, Listing), CliError> {
    match super::offline::document(file)?.target {
        Some(target) => Ok((target.revision.to_string(), target.documents)),
        None => Err(could_not(format!("`{}` does not say what its cluster follows", file.display()))
            .hint("`hafen status --export FILE` writes one that does")),
    }
}

/// The differences for people.
fn text(view: &DiffView, detail: Detail) -> String {
    let (from, to) = sides(view);
    if view.changes.is_empty() {
        return format!("no differences between {from} and {to}\n");
    }
    let changes = changes::text(&view.changes, detail);
    format!("from {from} to {to}: {}\n\n{changes}", changes::summary(&view.changes))
}

fn sides(view: &DiffView) -> (&str, &str) {
    let from = view.from.as_deref().map_or("nothing", super::status::short);
    (from, view.to.as_deref().map_or("the files here", super::status::short))
}

fn markdown(view: &DiffView) -> String {
    let (from, to) = sides(view);
    if view.changes.is_empty() {
        return format!("**hafen diff** from {} to {to}: no differences\n", changes::code(from));
    }
    let (from, summary) = (changes::code(from), changes::summary(&view.changes));
    format!("**hafen diff** from {from} to {to}: {summary}\n\n{}", changes::markdown(&view.changes))
}

#[cfg(test)]
mod tests;
