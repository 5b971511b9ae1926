//! Git objects follow the log, and the cluster follows `source.url`.
//!
//! The log says which revision is the target; `main` of this node's repository is a cache of that. A node that was off
//! asks the others for the objects it lacks; nothing that runs depends on them.

use super::backend::Daemon;
use super::push;
use crate::api::types::{PushAnswer, PushRequest};
use crate::api::{Access, Backend, Caller};
use crate::model::{NodeId, Revision};
use crate::source::{SourceError, watch_local};
use crate::state::port::Log;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Between two tries to get objects.
const RETRY: Duration = Duration::from_secs(1);
const PACK_TIMEOUT: Duration = Duration::from_secs(60);
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);

/// Keeps `main` at the target, for as long as the daemon runs.
pub(super) async fn follow_target(daemon: Arc<Daemon>) {
    let mut states = daemon.log().states();
    let mut prefetched = None;
    loop {
        let state = states.borrow_and_update().clone();
        let target = state.target.as_ref().map(|target| target.revision.clone());
        if let Some(revision) = &target
            && let Err(error) = take(&daemon, revision).await
        {
            tracing::warn!(revision = %revision.short(), %error, "the target's objects are not here yet");
            tokio::select! {
                () = daemon.end().cancelled() => return,
                () = tokio::time::sleep(RETRY) => {}
            }
            continue;
        }
        if prefetched != target {
            daemon.prefetch_metadata().await;
            prefetched = target;
        }
        tokio::select! {
            () = daemon.end().cancelled() => return,
            changed = states.changed() => if changed.is_err() { return },
        }
    }
}

/// Makes `main` this revision, with objects from whoever has them.
async fn take(daemon: &Arc<Daemon>, revision: &Revision) -> Result<(), String> {
    let repo = daemon.repo().clone();
    let wanted = revision.clone();
    let here = blocking(move || {
        if repo.main()?.as_ref() == Some(&wanted) {
            return Ok((true, repo.main()?));
        }
        let has = repo.has(&wanted)? && repo.keep(&wanted).is_ok();
        Ok((has, repo.main()?))
    })
    .await?;
    let (has, main) = here;
    if !has {
        let have = main.map(|main| main.to_string()).unwrap_or_default();
        let path = format!("/node/git/pack?revision={revision}&have={have}");
        let mut reasons = Vec::new();
        let mut installed = false;
        for peer in daemon.peers().known().into_keys() {
            match daemon.peers().get(&peer, &path, PACK_TIMEOUT).await {
                Ok(bytes) => {
                    let (repo, wanted) = (daemon.repo().clone(), revision.clone());
                    match blocking(move || repo.install_pack(&bytes, &wanted)).await {
                        Ok(()) => {
                            installed = true;
                            break;
                        }
                        Err(error) => reasons.push(format!("{peer}: {error}")),
                    }
                }
                Err(error) => reasons.push(format!("{peer}: {error}")),
            }
        }
        if !installed {
            return Err(reasons.join("; "));
        }
    }
    let (repo, wanted) = (daemon.repo().clone(), revision.clone());
    blocking(move || {
        if repo.main()?.as_ref() != Some(&wanted) {
            repo.set_main(&wanted)?;
        }
        Ok(())
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// Fetches `source.url` where this node leads, by interval, by hint, and at once where it is a local path that changed.
pub(super) async fn follow_source(daemon: Arc<Daemon>) {
    let (hint_in, mut hints) = mpsc::channel(1);
    daemon.set_fetch_hint(hint_in.clone());
    let mut watched: Option<(String, Option<crate::source::LocalWatch>)> = None;
    let mut refused: Option<Revision> = None;
    loop {
        let state = daemon.log().state();
        let source = state.spec().and_then(|spec| spec.cluster.source.clone());
        let url = source.as_ref().and_then(|source| source.url.clone());
        let pause = source.as_ref().map_or(Duration::from_secs(5), |source| source.interval.max(RETRY));
        if let (Some(url), Some(source)) = (&url, &source) {
            if watched.as_ref().is_none_or(|(known, _)| known != url) {
                let watch = watch_local(url, hint_in.clone()).unwrap_or_else(|error| {
                    tracing::warn!(%url, %error, "the source is asked by interval only");
                    None
                });
                watched = Some((url.clone(), watch));
            }
            if daemon.log().leadership().is_self {
                fetch(&daemon, url, &source.branch, &mut refused).await;
            }
        } else {
            watched = None;
        }
        let mut states = daemon.log().states();
        states.borrow_and_update();
        tokio::select! {
            () = daemon.end().cancelled() => return,
            _ = hints.recv() => {}
            // A source that was just configured, or left, need not wait for the pause to end.
            () = source_changed(&mut states, url.as_deref()) => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn source_changed(states: &mut tokio::sync::watch::Receiver<Arc<crate::state::State>>, known: Option<&str>) {
    let now = |state: &Arc<crate::state::State>| {
        state.spec().and_then(|spec| spec.cluster.source.clone()).and_then(|source| source.url)
    };
    let _ = states.wait_for(|state| now(state).as_deref() != known).await;
}

async fn fetch(daemon: &Arc<Daemon>, url: &str, branch: &str, refused: &mut Option<Revision>) {
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
            daemon.set_condition("source", Some(format!("the source {url} cannot be read: {error}")));
            return;
        }
    };
    let target = daemon.log().state().target.as_ref().map(|target| target.revision.clone());
    if target.as_ref() == Some(&revision) || refused.as_ref() == Some(&revision) {
        if target.as_ref() == Some(&revision) {
            daemon.set_condition("source", None);
        }
        return;
    }
    let request = PushRequest {
        revision: revision.to_string(),
        parent: target.map(|target| target.to_string()),
        options: Vec::new(),
        quarantine: None,
    };
    let by = Caller { name: format!("source {url}"), access: Access::Local };
    let answer = Backend::push(daemon.as_ref(), request, by).await;
    match answer {
        Ok(view) if view.answer == PushAnswer::Accepted => {
            *refused = None;
            daemon.set_condition("source", None);
        }
        Ok(view) if view.answer == PushAnswer::Refused => {
            let why = push::first_words(&view);
            daemon.set_condition("source", Some(format!("{} of {url} is refused: {why}", revision.short())));
            *refused = Some(revision);
        }
        Ok(_) => {}
        Err(error) => daemon.set_condition("source", Some(format!("{url}: {error}"))),
    }
}

/// Which members must hold a pushed revision besides this node: enough voters for a quorum.
pub(super) async fn store_on_quorum(
    daemon: &Daemon,
    revision: &Revision,
    have: Option<&Revision>,
) -> Result<(), String> {
    let leadership = daemon.log().leadership();
    let me = daemon.node();
    let needed = leadership.voters.len() / 2 + 1;
    let own = usize::from(leadership.voters.contains(&me));
    if own >= needed {
        return Ok(());
    }
    let (repo, wanted, known) = (daemon.repo().clone(), revision.clone(), have.cloned());
    let pack = blocking(move || repo.pack(&wanted, known.as_slice())).await?;
    let pack = hyper::body::Bytes::from(pack);
    let mut sends = futures_util::stream::FuturesUnordered::new();
    for voter in leadership.voters.into_iter().filter(|voter| *voter != me) {
        let pack = pack.clone();
        sends.push(async move { send_pack(daemon, &voter, pack, revision).await.map_err(|why| (voter, why)) });
    }
    let mut stored = own;
    let mut reasons = Vec::new();
    while let Some(result) = futures_util::StreamExt::next(&mut sends).await {
        match result {
            Ok(()) => stored += 1,
            Err((voter, why)) => reasons.push(format!("{voter}: {why}")),
        }
        if stored >= needed {
            return Ok(());
        }
    }
    Err(format!("only {stored} of {needed} voters could store it ({})", reasons.join("; ")))
}

async fn send_pack(
    daemon: &Daemon,
    voter: &NodeId,
    pack: hyper::body::Bytes,
    revision: &Revision,
) -> Result<(), String> {
    let path = format!("/node/git/pack?revision={revision}");
    let sent = daemon.peers().post(voter, &path, pack, PACK_TIMEOUT, crate::net::Repeat::Harmless).await;
    match sent {
        Ok(_) => Ok(()),
        // It lacks what we took for granted: everything, then.
        Err(crate::net::NetError::Status { .. }) => {
            let (repo, wanted) = (daemon.repo().clone(), revision.clone());
            let whole = blocking(move || repo.pack(&wanted, &[])).await?;
            let again = daemon.peers().post(voter, &path, whole.into(), PACK_TIMEOUT, crate::net::Repeat::Harmless);
            again.await.map(|_| ()).map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    }
}
