//! Proposals: to Raft here if this node leads, else to the leader; answered once this node has applied the entry.
//!
//! `NoLeader` only where the entry surely never got into a log: it was not sent, or the leader refused it unwritten.
//! Everything that is cut short later is `Unknown`.

use super::network::{RpcKind, Transport, TransportError};
use super::raft::{RaftLog, Standing};
use super::types::{Body, Proposal};
use crate::model::{LogIndex, NodeId};
use crate::state::port::{Applied, Leadership, Log, ProposeError};
use crate::state::{Command, Entry, State, snapshot as codec};
use openraft::error::{ClientWriteError, RaftError};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{Instant, timeout_at};

/// The hard cap of one encoded entry. A chunk of a spec is 64 KiB; several commands fit beside it.
const MAX_ENTRY_BYTES: usize = 256 << 10;
/// How long to wait for news of a leader before the same one is tried again.
const RETRY: Duration = Duration::from_millis(30);
/// A leader without an answer from a quorum for so many election time-outs proposes nothing: it would only wait.
const STALE_ELECTIONS: u32 = 3;

/// A proposal on its way to the leader.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Forward {
    entry: Body,
    /// How long the sender will wait, in ms.
    patience_ms: u64,
}

/// The leader's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Led {
    Applied(Applied),
    /// Not written, by one who does not lead.
    NotLeader,
    Unknown(String),
}

impl<T: Transport> Log for RaftLog<T> {
    async fn propose(&self, commands: Vec<Command>) -> Result<Applied, ProposeError> {
        let entry = encode(commands)?;
        let deadline = Instant::now() + self.inner.config.propose_timeout;
        let mut standing = self.inner.standing.subscribe();
        loop {
            if self.inner.halt.get().is_some() || Instant::now() >= deadline {
                return Err(ProposeError::NoLeader);
            }
            let now = standing.borrow_and_update().clone();
            let led = if self.leads(&now) {
                self.write(None, entry.clone(), deadline).await
            } else {
                match now.leadership.leader {
                    Some(leader) if leader != self.inner.identity.node => self.forward(&leader, &entry, deadline).await,
                    Some(_) | None => Led::NotLeader,
                }
            };
            match led {
                Led::Applied(applied) => return self.applied_here(applied, deadline).await,
                Led::Unknown(why) => return Err(ProposeError::Unknown(why)),
                // An error means that Raft has gone; the halt above tells.
                Led::NotLeader => drop(timeout_at(deadline.min(Instant::now() + RETRY), standing.changed()).await),
            }
        }
    }

    async fn propose_as_leader(&self, term: u64, commands: Vec<Command>) -> Result<Applied, ProposeError> {
        let entry = encode(commands)?;
        let deadline = Instant::now() + self.inner.config.propose_timeout;
        let now = self.inner.standing.borrow().clone();
        if !self.leads(&now) || now.leadership.term != term || self.inner.halt.get().is_some() {
            return Err(ProposeError::NoLeader);
        }
        // Should the term end before it is appended, `machine` refuses each command.
        match self.write(Some(term), entry, deadline).await {
            Led::Applied(applied) => self.applied_here(applied, deadline).await,
            Led::NotLeader => Err(ProposeError::NoLeader),
            Led::Unknown(why) => Err(ProposeError::Unknown(why)),
        }
    }

    fn state(&self) -> Arc<State> {
        self.inner.published.state.borrow().clone()
    }

    fn leadership(&self) -> Leadership {
        self.inner.standing.borrow().leadership.clone()
    }
}

impl<T: Transport> RaftLog<T> {
    /// Proposes what another node forwarded. Never forwards again.
    pub(super) async fn lead(&self, request: Forward) -> Led {
        if request.entry.0.len() > MAX_ENTRY_BYTES || !self.leads(&self.inner.standing.borrow().clone()) {
            return Led::NotLeader;
        }
        let patience = Duration::from_millis(request.patience_ms).min(self.inner.config.propose_timeout);
        self.write(None, request.entry.0.to_vec(), Instant::now() + patience).await
    }

    /// This node leads and was admitted (`standing_of`), and a quorum followed lately. A sole voter needs nobody.
    fn leads(&self, standing: &Standing) -> bool {
        let leadership = &standing.leadership;
        let stale_after = self.inner.config.election_max * STALE_ELECTIONS;
        leadership.is_self
            && (leadership.voters.len() == 1 || standing.quorum_ack_age.is_none_or(|age| age <= stale_after))
    }

    async fn write(&self, only_term: Option<u64>, entry: Vec<u8>, deadline: Instant) -> Led {
        let (proposal, appended) = Proposal::new(only_term, entry);
        let written = timeout_at(deadline, self.inner.raft.client_write(proposal)).await;
        match written {
            Ok(Ok(done)) => Led::Applied(Applied { index: LogIndex(done.log_id.index), answers: done.data }),
            // Refused unwritten; once written, the same error means that it was overwritten here, and nothing more.
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) if !appended.load(Ordering::SeqCst) => {
                Led::NotLeader
            }
            Ok(Err(error)) => Led::Unknown(error.to_string()),
            Err(_) => Led::Unknown("no quorum confirmed it in time".to_owned()),
        }
    }

    async fn forward(&self, leader: &NodeId, entry: &[u8], deadline: Instant) -> Led {
        let patience = deadline.saturating_duration_since(Instant::now());
        let patience_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        let request = Forward { entry: Body(entry.to_vec().into()), patience_ms };
        let Ok(body) = self.inner.framing.frame(&self.inner.admission.known.all(), &request) else {
            return Led::NotLeader;
        };
        let sent = tokio::select! {
            sent = self.inner.transport.send(leader, RpcKind::Forward, body, patience) => sent,
            () = self.replaced(leader) => Err(TransportError::Unknown("it leads no more and has not answered".into())),
        };
        match sent {
            Ok(answer) => postcard::from_bytes(&answer)
                .unwrap_or_else(|error| Led::Unknown(format!("the answer of {leader} cannot be read: {error}"))),
            Err(TransportError::NotSent(_)) => Led::NotLeader,
            Err(TransportError::Unknown(why)) => Led::Unknown(format!("{leader}: {why}")),
        }
    }

    /// Waits until another node leads. A leader that was cut off answers nothing, not even that.
    async fn replaced(&self, leader: &NodeId) {
        let mut standing = self.inner.standing.subscribe();
        let other = |now: &Standing| now.leadership.leader.as_ref().is_some_and(|now| now != leader);
        if standing.wait_for(other).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until this node has applied what the cluster has committed.
    async fn applied_here(&self, applied: Applied, deadline: Instant) -> Result<Applied, ProposeError> {
        let mut states = self.states();
        let waited = timeout_at(deadline, states.wait_for(|state| state.index >= applied.index)).await;
        match waited {
            Ok(Ok(_)) => Ok(applied),
            Ok(Err(_)) | Err(_) => Err(ProposeError::Unknown(format!(
                "it was committed as entry {}, but this node has not applied it in time",
                applied.index
            ))),
        }
    }
}

fn encode(commands: Vec<Command>) -> Result<Vec<u8>, ProposeError> {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let at_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
    let bytes = codec::encode_entry(&Entry { at_ms, commands });
    if bytes.len() > MAX_ENTRY_BYTES { Err(ProposeError::TooLarge { limit: MAX_ENTRY_BYTES }) } else { Ok(bytes) }
}
