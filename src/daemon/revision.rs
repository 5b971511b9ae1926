//! The manifests of a revision: below the configured path, and the bases that overlays there build on.
//!
//! Input → output: a repository, a revision, a folder → files with paths from the root of the repository. Bases may be
//! anywhere in the same revision; what leads out of it has no files, which `manifest::load` reports where it is written.

use crate::manifest::{self, SourceFile};
use crate::model::Revision;
use crate::source::{ReadLimits, Repo, SourceError};

/// Reads them. Limits hold for all folders together.
pub fn manifests(repo: &Repo, revision: &Revision, below: &str) -> Result<Vec<SourceFile>, SourceError> {
    let file = |(path, bytes)| SourceFile { path, bytes };
    let mut left = ReadLimits::default();
    let mut read = |folder: &str| -> Result<Vec<SourceFile>, SourceError> {
        let files = repo.read_files(revision, folder, left)?;
        left.files = left.files.saturating_sub(files.len());
        left.total_bytes = left.total_bytes.saturating_sub(files.iter().map(|(_, bytes)| bytes.len() as u64).sum());
        Ok(files.into_iter().map(file).collect())
    };
    let own = read(below)?;
    manifest::with_bases(own, |folder| match folder.split('/').any(|part| part == "..") {
        true => Ok(Vec::new()),
        false => match read(folder) {
            Err(SourceError::NoSuchDirectory { .. }) => Ok(Vec::new()),
            result => result,
        },
    })
}
