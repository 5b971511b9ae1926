//! The cluster follows `source.url`.
//!
//! The leader fetches: by interval, after a hint, and at once where the url is a local path that changed. What it finds
//! is pushed as by a person, with the same rules. A hint (a webhook, or a change that another node noticed) only makes it look.
//!
//! Invariants: a source that cannot be read, or a commit that is refused, changes nothing; every node's `status` says so.
//! A refused commit is not tried again until there is another, or the target is another.

use super::backend::Daemon;
use super::sync::blocking;
use super::{push, report};
use crate::api::types::{PushAnswer, PushRequest};
use crate::api::{Access, Backend, Caller};
use crate::model::{ChangeWindow, CommitState, Revision, Source};
use crate::net::Repeat;
use crate::source::{LocalWatch, watch_local};
use crate::state::port::Log;
use hyper::body::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// The key of what is wrong with the source among the daemon's conditions.
pub(super) const CONDITION: &str = "source";

const FETCH_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two looks, however many hints come: anybody may send one.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// A source that cannot be read is asked this often, if not more often by its interval.
const RETRY: Duration = Duration::from_secs(30);
/// Words to other nodes. They are said again with the next look.
const TELL_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Following {
    source: Option<Source>,
    watch: Option<LocalWatch>,
    /// What was refused, against which target, and why.
    refused: Option<(Revision, Option<Revision>, String)>,
    /// What only has to wait, and was noted to.
    waiting: Option<Revision>,
    unreadable_since: Option<jiff::Timestamp>,
}

/// Follows the source for as long as the daemon runs.
pub(super) async fn follow_source(daemon: Arc<Daemon>) {
    let (hint_in, mut hints) = mpsc::channel(1);
    daemon.set_fetch_hint(hint_in.clone());
    let mut following = Following::default();
    let mut states = daemon.log().states();
    let mut standing = daemon.log().standing();
    let mut looked: Option<Instant> = None;
    let mut hinted = false;
    loop {
        let source = states.borrow_and_update().spec().and_then(|spec| spec.cluster.source.clone());
        let source = source.filter(|source| source.url.is_some());
        let leads = standing.borrow_and_update().leadership.is_self;
        if following.source != source {
            if source.is_none() {
                daemon.set_condition(CONDITION, None);
            }
            following = Following { source: source.clone(), ..Following::default() };
        }
        let mut pause = None;
        if let Some((source, url)) = source.as_ref().and_then(|source| Some((source, source.url.as_deref()?))) {
            if following.watch.is_none() {
                // Where it is no local path, or cannot be watched, the interval does.
                following.watch = watch_local(url, hint_in.clone()).unwrap_or(None);
            }
            if leads {
                look(&daemon, url, &source.branch, &mut following).await;
                looked = Some(Instant::now());
                let ailing = following.unreadable_since.is_some();
                pause = Some(source.interval.min(if ailing { RETRY } else { source.interval }).max(BETWEEN_LOOKS));
                if ailing {
                    // A repository that was moved away takes its watch along.
                    following.watch = None;
                }
            } else if hinted {
                tell_leader(&daemon).await;
                looked = Some(Instant::now());
            }
        }
        let (known, led) = (following.source.clone(), leads);
        hinted = tokio::select! {
            () = daemon.end().cancelled() => return,
            hint = hints.recv() => hint.is_some(),
            changed = states.wait_for(|state| url_of(state) != known) => if changed.is_err() { return } else { false },
            changed = standing.wait_for(|now| now.leadership.is_self != led) => {
                if changed.is_err() { return } else { false }
            }
            () = tokio::time::sleep(pause.unwrap_or(Duration::MAX)), if pause.is_some() => false,
        };
        if let Some(earliest) = looked.filter(|_| hinted).map(|at| at + BETWEEN_LOOKS) {
            tokio::time::sleep_until(earliest).await;
        }
    }
}

fn url_of(state: &crate::state::State) -> Option<Source> {
    state.spec().and_then(|spec| spec.cluster.source.clone()).filter(|source| source.url.is_some())
}

/// Fetches, and pushes what is new.
async fn look(daemon: &Arc<Daemon>, url: &str, branch: &str, following: &mut Following) {
    let (repo, from, name) = (daemon.repo().clone(), url.to_owned(), branch.to_owned());
    let fetched = blocking(move || {
        let revision = repo.fetch(&from, &name, FETCH_TIMEOUT)?;
        repo.keep(&revision)?;
        Ok(revision)
    })
    .await;
    let revision = match fetched {
        Ok(revision) => revision,
        Err(error) => {
            let since = *following.unreadable_since.get_or_insert_with(jiff::Timestamp::now);
            let since = since.strftime("%Y-%m-%dT%H:%M:%SZ");
            return say(daemon, Some(format!("the source {url} cannot be read since {since}: {error}")));
        }
    };
    following.unreadable_since = None;
    let (state, held) =
        (daemon.log().state(), |why: &str| format!("{} of {url} was returned from: {why}", revision.short()));
    let target = state.tip().cloned();
    if target.as_ref() == Some(&revision) {
        let why =
            state.rollout.held.iter().find(|held| held.revision == revision).filter(|_| state.rollout.tip.is_some());
        return say(daemon, why.map(|found| held(&found.why)));
    }
    if let Some((refused, against, why)) = &following.refused
        && *refused == revision
        && *against == target
    {
        return say(daemon, Some(why.clone()));
    }
    let request = PushRequest {
        revision: revision.to_string(),
        parent: target.as_ref().map(ToString::to_string),
        options: Vec::new(),
        quarantine: None,
    };
    let by = Caller { name: format!("source {url}"), access: Access::Local };
    match Backend::push(daemon.as_ref(), request, by).await {
        Ok(view) => match view.answer {
            PushAnswer::Accepted => say(daemon, None),
            PushAnswer::Refused => {
                let first = push::first_words(&view);
                let why = format!("{} of {url} is refused: {first}", revision.short());
                // What only has to wait is tried again.
                let now = jiff::Timestamp::now();
                let closed =
                    state.spec().is_some_and(|spec| ChangeWindow::any_open(&spec.cluster.change_windows, now).is_err());
                if state.suspended().is_none() && !closed {
                    report::note(daemon, &revision, CommitState::Failure, &format!("refused: {first}")).await;
                    following.refused = Some((revision, target, why.clone()));
                } else if following.waiting.as_ref() != Some(&revision) {
                    report::note(daemon, &revision, CommitState::Pending, &format!("it waits: {first}")).await;
                    following.waiting = Some(revision);
                }
                say(daemon, Some(why));
            }
            PushAnswer::Unknown => {}
        },
        Err(error) => say(daemon, Some(format!("{} of {url}: {error}", revision.short()))),
    }
}

/// Shows a condition here and on all other nodes: people ask any of them.
fn say(daemon: &Arc<Daemon>, condition: Option<String>) {
    let body = Bytes::from(serde_json::to_vec(&condition).unwrap_or_else(|_| b"null".to_vec()));
    daemon.set_condition(CONDITION, condition);
    for peer in daemon.peers().known().into_keys() {
        let (peers, body) = (daemon.peers().clone(), body.clone());
        tokio::spawn(async move {
            // A node that does not hear it is told with the next look.
            let _ = peers.post(&peer, "/node/source/condition", body, TELL_TIMEOUT, Repeat::Harmless).await;
        });
    }
}

async fn tell_leader(daemon: &Daemon) {
    if let Some(leader) = daemon.log().leadership().leader {
        let told = daemon.peers().post(&leader, "/node/source/hint", Bytes::new(), TELL_TIMEOUT, Repeat::Harmless);
        if let Err(error) = told.await {
            tracing::info!(%leader, %error, "the leader was not told of a change of the source");
        }
    }
}
