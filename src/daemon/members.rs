//! Leads the log's membership to what git and the tokens say: learners first, one voter at a time.
//!
//! Runs on every node, acts only where the log is led. A failed change is tried again: each call says what is wanted.

use super::transport::PeerTransport;
use crate::log::{RaftLog, RaftNode};
use crate::model::NodeId;
use crate::net::{Heartbeats, PeerAddr, Peers};
use crate::reconcile::desired_voters;
use crate::state::{Membership, State, Token};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// After a change that failed, and between two looks while something is still to be changed.
const PAUSE: Duration = Duration::from_millis(500);

/// Where every other member listens: its document's addresses, else those it joined with.
pub(super) fn peers_of(state: &State, me: &NodeId) -> BTreeMap<NodeId, PeerAddr> {
    let others = state.admitted.iter().filter(|(name, _)| *name != me);
    others
        .map(|(name, admitted)| {
            let document = state.spec().and_then(|spec| spec.nodes.get(name));
            let addresses = document.map_or(&admitted.addresses, |node| &node.addresses);
            (name.clone(), PeerAddr { addresses: addresses.clone(), port: admitted.port })
        })
        .collect()
}

/// Whether a used token is still good for the node that used it: the answer may have been lost. Once that node is there, it
/// surely has its certificate, and whoever asks in its name is somebody else.
pub(super) fn may_ask_again(state: &State, token: &Token, node: &NodeId) -> bool {
    let is_there = state.nodes.get(node).is_some_and(|known| match known.membership {
        Membership::Joining | Membership::Online => true,
        // Of a former life, perhaps: whom `hafen recover` went on without joins under its old name.
        Membership::Suspect | Membership::Fenced | Membership::Left => false,
    });
    token.used_by.as_ref() == Some(node) && !is_there
}

pub(super) async fn follow(
    log: RaftLog<PeerTransport>,
    me: NodeId,
    peers: Peers,
    heartbeats: Arc<Heartbeats>,
    end: CancellationToken,
) {
    let mut states = log.states();
    let mut standing = log.standing();
    // Nobody at all is news, too: whom this node went on without is told nothing any more, and finds itself alone.
    let mut known = None;
    loop {
        let state = states.borrow_and_update().clone();
        let now = standing.borrow_and_update().clone();
        let wanted = peers_of(&state, &me);
        if !state.admitted.is_empty() && known.as_ref() != Some(&wanted) {
            match peers.set(wanted.clone()) {
                Ok(()) => {
                    heartbeats.set_peers(wanted.clone());
                    known = Some(wanted);
                }
                Err(error) => tracing::warn!(%error, "failed to take over the peers' addresses"),
            }
        }
        let mut again = false;
        if now.leadership.is_self {
            again = match change_one(&log, &state, &now.members, &now.leadership.voters).await {
                Ok(changed) => changed,
                Err(error) => {
                    tracing::info!(%error, "the log's members could not be changed yet");
                    true
                }
            };
        }
        tokio::select! {
            () = end.cancelled() => return,
            changed = states.changed() => if changed.is_err() { return },
            changed = standing.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(PAUSE), if again => {}
        }
    }
}

/// Makes at most one change; true if one was made or is still wanted.
async fn change_one(
    log: &RaftLog<PeerTransport>,
    state: &State,
    members: &BTreeMap<NodeId, RaftNode>,
    voters: &[NodeId],
) -> Result<bool, crate::log::MembershipError> {
    for (name, admitted) in &state.admitted {
        let document = state.spec().and_then(|spec| spec.nodes.get(name));
        let addresses = document.map_or(&admitted.addresses, |node| &node.addresses).clone();
        let wanted = RaftNode { name: name.clone(), addresses, port: admitted.port };
        if members.get(name) != Some(&wanted) {
            tracing::info!(node = %name, "adding to the log's members");
            log.add_learner(wanted).await?;
            return Ok(true);
        }
    }
    let current: BTreeSet<NodeId> = voters.iter().cloned().collect();
    let desired = desired_voters(state);
    if !desired.is_empty() {
        let online = |name: &&NodeId| state.nodes.get(*name).is_some_and(|node| node.membership == Membership::Online);
        let joins = desired.difference(&current).find(online).cloned();
        let next = match joins {
            Some(name) => Some(current.iter().cloned().chain([name]).collect::<BTreeSet<_>>()),
            // A voter goes only when all that are to come are there.
            None if desired.is_subset(&current) => {
                current.difference(&desired).next().map(|gone| current.iter().filter(|n| *n != gone).cloned().collect())
            }
            None => None,
        };
        if let Some(next) = next {
            tracing::info!(voters = ?next, "changing the voters");
            log.set_voters(next).await?;
            return Ok(true);
        }
    }
    for name in members.keys().filter(|name| !state.admitted.contains_key(*name)) {
        if !state.admitted.is_empty() {
            tracing::info!(node = %name, "removing from the log's members");
            log.remove(name).await?;
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Digest, Incarnation};
    use crate::state::{NodeState, TokenFor};

    #[test]
    fn a_used_token_is_good_for_a_lost_answer_and_no_more_once_its_node_is_there() {
        let (secret_hash, used_by) = (Digest::of(b"s"), Some("n2".into()));
        let token = Token { secret_hash, role: TokenFor::Node, expires_ms: u64::MAX, by: "ann".into(), used_by };
        let mut state = State::default();
        assert!(may_ask_again(&state, &token, &"n2".into()));
        assert!(!may_ask_again(&state, &token, &"n3".into()));
        assert!(!may_ask_again(&state, &Token { used_by: None, ..token.clone() }, &"n2".into()), "it was not used");
        let node = NodeState::new(&Incarnation { boot: "b".into(), counter: 1 });
        for (membership, may) in [(Membership::Joining, false), (Membership::Online, false), (Membership::Fenced, true)]
        {
            state.nodes.insert("n2".into(), NodeState { membership, ..node.clone() });
            assert_eq!(may_ask_again(&state, &token, &"n2".into()), may, "{membership:?}");
        }
    }
}
