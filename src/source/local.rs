//! The repository that a folder on this machine belongs to: what commands compare with.
//!
//! Input → output: a path → its [`Repo`] and where in it the path is; the name of a revision → the commit.
//! Changes nothing, and asks nobody.

use super::{Repo, SourceError};
use crate::model::Revision;
use std::path::Path;

/// A folder, or a file, below a working tree.
#[derive(Debug, Clone)]
pub struct Place {
    pub repo: Repo,
    /// From the root of the working tree; empty for the root itself. `/` between its parts.
    pub path: String,
}

impl Place {
    /// Looks for the repository from `path` upwards, as git does.
    pub fn of(path: &Path) -> Result<Self, SourceError> {
        let failed = |error: git2::Error| match error.code() {
            git2::ErrorCode::NotFound => SourceError::NoRepository { path: path.to_owned() },
            _ => SourceError::Git { doing: "looking for the repository of a folder", source: error },
        };
        let absolute = std::fs::canonicalize(path).map_err(|e| SourceError::io("finding the manifests", path, e))?;
        let git = git2::Repository::discover(&absolute).map_err(failed)?;
        let root = git.workdir().and_then(|root| std::fs::canonicalize(root).ok());
        let below = root.as_ref().and_then(|root| absolute.strip_prefix(root).ok());
        let path = below.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Self { repo: Repo::open(git.path())?, path })
    }
}

impl Repo {
    /// The commit of that name: a branch, a tag, `HEAD~1`, the beginning of its digits.
    pub fn resolve(&self, name: &str) -> Result<Revision, SourceError> {
        let git = self.git()?;
        let unknown = |_| SourceError::NoSuchName { name: name.to_owned() };
        let commit = git.revparse_single(name).and_then(|object| object.peel_to_commit()).map_err(unknown)?;
        Ok(Revision::new(commit.id().to_string()))
    }
}
