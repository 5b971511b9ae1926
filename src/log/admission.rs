//! Before a voter takes part again it asks the others what it had acknowledged.
//!
//! At every start all other voters are asked for this node's floor (`known`). Until then it answers no vote and no append,
//! sends none, does not stand for election, and takes no proposal, although openraft may think that it leads. It goes on
//! when all have answered, or a majority (itself included) and [`PATIENCE`] is over: one that is off may stay off.
//! Asking needs no leader and no log, so a whole cluster can start at once.
//!
//! A voter whose disk is below its floor writes that down, stops, and never starts on this disk again.

use super::elections::Elections;
use super::error::{HandleError, LogError};
use super::known::{Floor, Floors, Known, Position};
use super::network::{Framing, RpcKind, Transport};
use super::raft::Raft;
use super::store::Store;
use super::types::LogId;
use crate::model::NodeId;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How long the last of the others are waited for once a majority has answered. A daemon that starts at the same time has its
/// port open by then; a cluster without a leader waits so long for its first election where one voter stays off.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// One question. Longer than a slow start of the other side's listener.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two questions to one that has not answered.
const ASK_PAUSE: Duration = Duration::from_millis(100);

/// Whether this node may vote and acknowledge. Clones share it.
#[derive(Clone)]
pub(super) struct Admission {
    pub(super) id: u64,
    pub(super) known: Known,
    pub(super) store: Store,
    /// The snapshot at the start: what it holds need not be in the log.
    pub(super) snapshot: Option<LogId>,
    pub(super) elections: Elections,
}

impl Admission {
    pub(super) fn new(id: u64, store: Store, snapshot: Option<LogId>, elections: Elections) -> Self {
        Self { id, known: store.known(), store, snapshot, elections }
    }

    /// Takes in what a request says of everybody, before the request itself is looked at.
    pub(super) async fn hear(&self, floors: &Floors) -> Result<(), HandleError> {
        self.known.merge(floors);
        self.compare("another voter").await.map_err(|error| HandleError::Stopped(error.to_string()))?;
        if self.elections.is_admitted() { Ok(()) } else { Err(HandleError::NotAdmitted) }
    }

    /// Whether this disk has all that it is known to have had.
    async fn compare(&self, who: &str) -> Result<(), LogError> {
        let Some(floor) = self.known.of(self.id) else { return Ok(()) };
        let own = self.position();
        if !floor.is_above(&own) {
            return Ok(());
        }
        let error = LogError::Reverted {
            path: self.store.path().to_path_buf(),
            what: format!("{who} knows that it had {floor}, and it has {own}"),
        };
        self.store.condemn(error.clone()).await;
        Err(error)
    }

    fn position(&self) -> Position {
        let own = self.store.position();
        Position { last: own.last.max(self.snapshot), ..own }
    }

    /// Asks the others, and lets this node take part.
    pub(super) async fn ask<T: Transport>(self, raft: Raft, transport: T, framing: Framing) {
        let Ok(others) = self.others(&raft).await else { return };
        let (answers, mut answered) = mpsc::unbounded_channel();
        for peer in others.values() {
            tokio::spawn(ask_one(transport.clone(), framing, peer.clone(), self.id, answers.clone()));
        }
        drop(answers);
        // Of all voters, this one included.
        let majority = others.len().div_ceil(2);
        let patient_until = Instant::now() + PATIENCE;
        let mut heard = 0;
        while heard < others.len() {
            let answer = match heard >= majority {
                true => tokio::time::timeout_at(patient_until, answered.recv()).await.ok().flatten(),
                false => answered.recv().await,
            };
            let Some((peer, floor)) = answer else { break };
            heard += 1;
            if let Some(floor) = floor {
                self.known.raise(self.id, &floor);
            }
            if let Err(error) = self.compare(peer.as_str()).await {
                tracing::error!(%error, "this node does not take part");
                return;
            }
        }
        if heard < majority {
            // Only if every task ended without an answer: they ask until they have one, so the log is being closed.
            return;
        }
        if !others.is_empty() {
            tracing::info!(heard, of = others.len(), "nobody misses anything on this disk");
        }
        self.elections.admit(&raft);
    }

    async fn others(&self, raft: &Raft) -> Result<BTreeMap<u64, NodeId>, ()> {
        let own = self.id;
        let voters = raft.with_raft_state(move |state| {
            let membership = state.membership_state.effective().membership();
            let name = |id: u64| Some((id, membership.get_node(&id)?.name.clone()));
            membership.voter_ids().filter(|id| *id != own).filter_map(name).collect()
        });
        voters.await.map_err(drop)
    }
}

async fn ask_one<T: Transport>(
    transport: T,
    framing: Framing,
    peer: NodeId,
    id: u64,
    answers: mpsc::UnboundedSender<(NodeId, Option<Floor>)>,
) {
    let Ok(body) = framing.frame(&Floors::new(), &id) else { return };
    while !answers.is_closed() {
        if let Ok(answer) = transport.send(&peer, RpcKind::Known, body.clone(), ASK_TIMEOUT).await
            && let Ok(floor) = postcard::from_bytes(&answer)
        {
            let _ = answers.send((peer, floor));
            return;
        }
        tokio::time::sleep(ASK_PAUSE).await;
    }
}
