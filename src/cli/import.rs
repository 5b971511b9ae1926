//! `hafen import pacemaker`: the manifests of a cluster that Pacemaker runs.
//!
//! Input → output: a CIB → manifests on stdout or as files, its state as a document; what was left out on stderr. Exit
//! codes: 0 nothing that can change a plan was left out; 1 something was, or the manifests need a hand before they can be
//! read; 2 the file cannot be read.

use super::error::{CliError, Exit, Kind};
use super::{cib, render};
use crate::model::Severity;
use crate::state::StateDocument;
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// Turn another cluster's configuration into manifests
///
/// What has no counterpart is named on stderr. Exits 1 if something was left out that can change a plan.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hafen import pacemaker cib.xml > cluster.yaml
  hafen import pacemaker /var/lib/pacemaker/cib/cib.xml --out manifests/
  hafen import pacemaker cib.xml --out manifests/ --state state.json && hafen plan manifests/ --state state.json")]
pub struct Args {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, clap::Subcommand)]
enum From {
    /// A Pacemaker CIB
    Pacemaker(Pacemaker),
}

#[derive(Debug, clap::Args)]
struct Pacemaker {
    /// The CIB, as `cibadmin --query` writes it
    cib: PathBuf,
    /// Write the manifests as files into this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write how the cluster is, for `hafen plan DIR --state FILE`
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// The time for rules with dates, such as 2026-11-22T12:00:00Z; now, if not given
    #[arg(long, value_name = "TIME")]
    now: Option<jiff::Timestamp>,
}

pub fn run(args: &Args) -> Result<Exit, CliError> {
    let From::Pacemaker(args) = &args.from;
    let import = cib::read(&args.cib, args.now)?;
    let (files, loaded) = cib::read_back(&import);
    let could_not = |path: &Path, error: std::io::Error| {
        CliError::new(Kind::CouldNotTell, format!("failed to write `{}`: {error}", path.display()))
    };
    if let Some(path) = &args.state {
        let text = StateDocument::of(&import.state).text();
        std::fs::write(path, text).map_err(|error| could_not(path, error))?;
    }
    match &args.out {
        None => {
            let texts: Vec<Cow<'_, str>> = files.iter().map(|file| String::from_utf8_lossy(&file.bytes)).collect();
            render::print(&texts.join("---\n"))?;
        }
        Some(folder) => {
            std::fs::create_dir_all(folder).map_err(|error| could_not(folder, error))?;
            for file in &files {
                let path = folder.join(&file.path);
                std::fs::write(&path, &file.bytes).map_err(|error| could_not(&path, error))?;
            }
        }
    }
    cib::tell_losses(&import);
    // Such as names that are names there and not here: they are to be changed by hand.
    let errors = loaded.diagnostics.iter().filter(|found| found.severity == Severity::Error);
    errors.for_each(|found| render::say(&super::plan::diagnostic(found)));
    Ok(if !import.is_lossy() && loaded.spec.is_some() { Exit::Ok } else { Exit::No })
}

#[cfg(test)]
#[path = "import_tests.rs"]
mod tests;
