//! What manifests say differently than the commit that the cluster follows.
//!
//! Input → output: files → every document and field that differs from the target's. The target's files are read from this
//! node's repository. Before the first push everything is new.

use super::backend::Daemon;
use super::sync::blocking;
use crate::api::differences;
use crate::api::types::DiffView;
use crate::manifest::{self, SourceFile};
use crate::model::{Listing, Revision};
use crate::state::State;
use crate::state::port::Log;

/// The target, and what its files say. Errors: why they cannot be read.
pub(super) async fn target(daemon: &Daemon, state: &State) -> Result<Option<(Revision, Listing)>, String> {
    let Some(target) = &state.target else { return Ok(None) };
    let source = state.spec().and_then(|spec| spec.cluster.source.clone());
    let (repo, revision) = (daemon.repo().clone(), target.revision.clone());
    let below = source.map(|source| source.path).unwrap_or_default();
    let read = move || {
        let files = super::revision::manifests(&repo, &revision, &below)?;
        Ok((revision, manifest::listing(&files)))
    };
    blocking(read).await.map(Some)
}

/// What these files say differently.
pub(super) async fn with_target(daemon: &Daemon, files: &[SourceFile]) -> Result<DiffView, String> {
    let state = daemon.log().state();
    let (from, old) =
        target(daemon, &state).await?.map(|(revision, listing)| (Some(revision), listing)).unwrap_or_default();
    Ok(DiffView { from: from.map(|revision| revision.to_string()), ..differences(&old, &manifest::listing(files)) })
}
