//! Git objects follow the log.
//!
//! The log says what `main` of git names (the target, if nothing was returned from); this node's repository is a cache of that. A node that was off
//! asks the others for the objects it lacks; nothing that runs depends on them.

use super::backend::Daemon;
use crate::api::Backend;
use crate::model::{NodeId, Revision, causes};
use crate::source::SourceError;
use crate::state::port::Log;
use std::sync::Arc;
use std::time::Duration;

/// Between two tries to get objects.
const RETRY: Duration = Duration::from_secs(1);
const PACK_TIMEOUT: Duration = Duration::from_secs(60);

/// Keeps `main` at the target, for as long as the daemon runs.
pub(super) async fn follow_target(daemon: Arc<Daemon>) {
    let mut states = daemon.log().states();
    let mut prefetched = None;
    loop {
        let state = states.borrow_and_update().clone();
        let target = state.tip().cloned();
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
            // The next target need not wait for it.
            let (looking, revision) = (daemon.clone(), target.clone().into_iter().collect());
            tokio::spawn(async move { super::history::look_at(&looking, &state, revision).await });
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

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| causes::in_words(&error)),
        Err(error) => Err(error.to_string()),
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
