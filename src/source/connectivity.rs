//! Is everything a revision needs here?

use super::error::SourceError;
use super::repo::oid;
use crate::model::Revision;
use git2::{ErrorCode, ObjectType, Oid, Repository};
use std::collections::BTreeSet;
use std::path::Path;

/// Walks everything reachable from `revision`, except what the commits in `known` reach, and fails at the first gap.
///
/// `known` are commits already checked. Objects are looked up, not read again: their content was checked when they were indexed.
pub(super) fn check(git: &Repository, revision: &Revision, known: &[Oid], path: &Path) -> Result<(), SourceError> {
    let failed = |id: Oid, error: git2::Error| match error.code() {
        ErrorCode::NotFound => SourceError::Incomplete { revision: revision.clone(), missing: id.to_string() },
        _ => SourceError::git("checking that a revision is complete", path, error),
    };
    let start = oid(revision)?;
    let odb = git.odb().map_err(|e| failed(start, e))?;
    let mut seen: BTreeSet<Oid> = known.iter().copied().collect();
    let (mut commits, mut trees) = (vec![start], Vec::new());
    while let Some(id) = commits.pop() {
        if !seen.insert(id) {
            continue;
        }
        let commit = git.find_commit(id).map_err(|e| failed(id, e))?;
        commits.extend(commit.parent_ids());
        trees.push(commit.tree_id());
        while let Some(id) = trees.pop() {
            if !seen.insert(id) {
                continue;
            }
            let tree = git.find_tree(id).map_err(|e| failed(id, e))?;
            for entry in &tree {
                match entry.kind() {
                    Some(ObjectType::Tree) => trees.push(entry.id()),
                    // A submodule's commit lives elsewhere.
                    Some(ObjectType::Commit) => {}
                    Some(ObjectType::Blob | ObjectType::Tag | ObjectType::Any) | None => {
                        if seen.insert(entry.id()) && !odb.exists(entry.id()) {
                            let missing = entry.id().to_string();
                            return Err(SourceError::Incomplete { revision: revision.clone(), missing });
                        }
                    }
                }
            }
        }
    }
    Ok(())
}
