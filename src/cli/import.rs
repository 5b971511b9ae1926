//! `hafen import pacemaker`: the manifests of a cluster that Pacemaker runs.
//!
//! Input → output: a CIB → manifests on stdout or as files, its state as a document; what was left out on stderr. Exit codes: 0 nothing that is
//! known to change a plan was left out (not everything is known yet: `pacemaker`); 1 something that can change a plan was left out; 2 the file cannot be read.

use super::error::{CliError, Exit, Kind};
use super::{cib, render};
use crate::pacemaker::manifests;
use crate::state::StateDocument;
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
    let files = manifests::write(&import.spec, &import.sets);
    let could_not = |path: &Path, error: std::io::Error| {
        CliError::new(Kind::CouldNotTell, format!("failed to write `{}`: {error}", path.display()))
    };
    if let Some(path) = &args.state {
        let text = StateDocument::of(&import.state).text();
        std::fs::write(path, text).map_err(|error| could_not(path, error))?;
    }
    match &args.out {
        None => {
            let texts: Vec<&str> = files.iter().map(|(_, text)| text.as_str()).collect();
            render::print(&texts.join("---\n"))?;
        }
        Some(folder) => {
            std::fs::create_dir_all(folder).map_err(|error| could_not(folder, error))?;
            for (name, text) in &files {
                let path = folder.join(name);
                std::fs::write(&path, text).map_err(|error| could_not(&path, error))?;
            }
        }
    }
    cib::tell_losses(&import);
    Ok(if !import.is_lossy() { Exit::Ok } else { Exit::No })
}

#[cfg(test)]
#[path = "import_tests.rs"]
mod tests;
