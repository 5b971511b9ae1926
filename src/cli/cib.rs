//! CIBs for commands: read from a file, with what was left out told on stderr, and as the manifests that they become.
//!
//! Exit code: 2, the file cannot be read.

use super::error::{CliError, Kind};
use super::render;
use crate::manifest::{self, Loaded, Purpose, SourceFile};
use crate::model::{AgentCatalogue, Spec};
use crate::pacemaker::{self, Import, manifests};
use std::path::Path;

/// Reads a CIB. Without a time it is read as of now.
pub fn read(path: &Path, now: Option<jiff::Timestamp>) -> Result<Import, CliError> {
    let could_not = |why: String| CliError::new(Kind::CouldNotTell, format!("`{}`: {why}", path.display()));
    let metadata = std::fs::metadata(path).map_err(|error| could_not(error.to_string()))?;
    if metadata.len() > pacemaker::MAX_BYTES as u64 {
        return Err(could_not(format!("larger than {} bytes", pacemaker::MAX_BYTES)));
    }
    let bytes = std::fs::read(path).map_err(|error| could_not(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| could_not("it is not UTF-8".into()))?;
    let now = now.unwrap_or_else(jiff::Timestamp::now).as_second();
    pacemaker::import(&text, Some(now)).map_err(|error| could_not(error.to_string()))
}

/// Says what was left out.
pub fn tell_losses(import: &Import) {
    for loss in &import.losses {
        let word = if loss.changes_plan { render::warn("lost") } else { render::faint("left out") };
        render::say(&format!("{word}: {loss}"));
    }
}

/// The manifests of an import, and what is found in them when they are read to plan with.
pub fn read_back(import: &Import) -> (Vec<SourceFile>, Loaded) {
    let files = manifests::write(&import.spec, &import.sets).into_iter();
    let files: Vec<SourceFile> =
        files.map(|(path, text)| SourceFile { path: path.to_owned(), bytes: text.into_bytes() }).collect();
    let loaded = manifest::load_for(Purpose::Plan, &files, &AgentCatalogue::default());
    (files, loaded)
}

/// The spec of an import with the lines that it has as manifests; without lines where those cannot be read back.
pub fn written(import: &Import) -> Spec {
    read_back(import).1.spec.unwrap_or_else(|| import.spec.clone())
}
