//! What was followed, and who signed it: `hafen history`, and the signer in `status`.
//!
//! Input → output: this node's repository and the rules of the target → commits with their signatures. Every node looks for
//! itself: nothing of this is in the log.
//!
//! Invariants: `status` only shows what is known already and never waits for a program; a signature that was looked at is remembered, for as
//! long as the rules are the same.

use super::backend::Daemon;
use super::push::rules;
use super::sync::blocking;
use crate::api::types::{HistoryCommit, HistoryView, SignatureState, SignatureView, Standing};
use crate::api::{ApiError, Backend, ErrorCode};
use crate::model::{Digest, Revision};
use crate::source::{CommitInfo, Signature};
use crate::state::port::Log;
use crate::state::{EventKind, State};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// For all signatures of one answer; the client waits for 10 s.
const LOOK_TIME: Duration = Duration::from_secs(5);
/// Commits of one answer.
const MAX_COMMITS: usize = 500;
/// Signatures remembered. Some hundred bytes each.
const MAX_KNOWN: usize = 2 * MAX_COMMITS;

/// Signatures by the rules of one spec.
#[derive(Debug, Default)]
pub(super) struct Signatures {
    spec: Option<Digest>,
    known: BTreeMap<Revision, SignatureView>,
}

impl Signatures {
    pub(super) fn of(&self, revision: &Revision) -> Option<SignatureView> {
        self.known.get(revision).cloned()
    }

    fn take_in(&mut self, spec: Digest, found: BTreeMap<Revision, SignatureView>) {
        if self.spec != Some(spec) || self.known.len() + found.len() > MAX_KNOWN {
            self.known.clear();
        }
        self.spec = Some(spec);
        self.known.extend(found);
    }
}

/// The target and what it was built on, newest first.
pub(super) async fn history(daemon: &Daemon, limit: usize) -> Result<HistoryView, ApiError> {
    let state = daemon.log().state();
    let Some(target) = state.target.as_ref().map(|target| target.revision.clone()) else {
        return Ok(HistoryView::default());
    };
    let (repo, from) = (daemon.repo().clone(), target.clone());
    let commits: Vec<CommitInfo> = blocking(move || repo.log(&from, limit.min(MAX_COMMITS)))
        .await
        .map_err(|why| ApiError::new(ErrorCode::Internal, format!("the history cannot be read here: {why}")))?;
    look_at(daemon, &state, commits.iter().map(|commit| commit.revision.clone()).collect()).await;
    let accepted: BTreeMap<String, u64> = daemon
        .recent_events(usize::MAX)
        .iter()
        .filter(|event| event.kind == EventKind::Target)
        .filter_map(|event| Some((event.text.split(' ').nth(1)?.to_owned(), event.at_ms)))
        .collect();
    let last_good = state.last_good.as_ref().map(|target| &target.revision);
    let told = commits.into_iter().map(|commit| HistoryCommit {
        standing: match &commit.revision {
            revision if *revision == target => Standing::Target,
            revision if Some(revision) == last_good => Standing::LastGood,
            _ => Standing::Past,
        },
        accepted_ms: accepted.get(commit.revision.short()).copied(),
        signature: daemon.signatures().of(&commit.revision),
        revision: commit.revision.to_string(),
        author: commit.author,
        subject: commit.subject,
        time: commit.time,
    });
    Ok(HistoryView { commits: told.collect(), ..HistoryView::default() })
}

/// Finds out who signed these, by the rules of the target, as far as there is time.
pub(super) async fn look_at(daemon: &Daemon, state: &State, mut revisions: Vec<Revision>) {
    let (Some(target), Some(spec)) = (state.target.clone(), state.spec().cloned()) else { return };
    {
        let mut signatures = daemon.signatures();
        if signatures.spec != Some(target.spec) {
            signatures.take_in(target.spec, BTreeMap::new());
        }
        revisions.retain(|revision| signatures.of(revision).is_none());
    }
    if spec.cluster.signatures.is_empty() || revisions.is_empty() {
        return;
    }
    let repo = daemon.repo().clone();
    let looked = blocking(move || {
        let until = Instant::now() + LOOK_TIME;
        let policy = repo.policy(&target.revision, rules(&spec))?;
        let mut found = BTreeMap::new();
        for revision in revisions {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            match repo.signature(&revision, &policy, left) {
                Ok(signature) => _ = found.insert(revision, view(signature)),
                Err(error) => tracing::info!(revision = %revision.short(), %error, "its signature was not looked at"),
            }
        }
        Ok((target.spec, found))
    });
    match looked.await {
        Ok((spec, found)) => daemon.signatures().take_in(spec, found),
        Err(why) => tracing::warn!(%why, "signatures cannot be looked at"),
    }
}

fn view(signature: Signature) -> SignatureView {
    let nobody = |state, why| SignatureView { state, signer: None, key: None, why };
    match signature {
        Signature::None => nobody(SignatureState::Unsigned, None),
        Signature::Other(why) => nobody(SignatureState::NotCounted, Some(why)),
        Signature::Good(signer) => {
            SignatureView { state: SignatureState::Good, signer: Some(signer.name), key: Some(signer.key), why: None }
        }
    }
}
