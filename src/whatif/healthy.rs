//! A cluster where all is well: every node is there, everything runs where it should.
//!
//! Input: a spec. Output: the [`State`] that such a cluster would have agreed on. A resource without a home has none here
//! either; that is for the caller to see.
//!
//! Invariant: nothing is left to plan in it.

use crate::model::{BootId, Incarnation, LogIndex, NodeId, NodeRole, Spec};
use crate::plan::Dream;
use crate::state::{Membership, NodeDocument, NodeState, State};
use std::sync::Arc;

/// The state of a healthy cluster, with everything placed and started.
pub fn healthy(spec: &Spec) -> State {
    let mut state = State { index: LogIndex(1), ..State::default() };
    let scores = promotion_scores(spec);
    for (name, node) in spec.nodes.iter().filter(|(_, node)| node.role != NodeRole::Remote) {
        let document = NodeDocument { node: node.clone(), devices: spec.devices.clone() };
        let described = NodeState {
            document: Some(Arc::new(document)),
            attributes: scores.iter().cloned().collect(),
            addresses: node.addresses.clone(),
            ..there(name)
        };
        state.nodes.insert(name.clone(), described);
    }
    settle(spec, state)
}

/// A state in which all that can be done has been done.
pub(super) fn settle(spec: &Spec, state: State) -> State {
    let mut dream = Dream::new(spec, &state);
    dream.finish();
    dream.state
}

/// The attributes by which agents say that their copy may be promoted: all of them do.
fn promotion_scores(spec: &Spec) -> Vec<(String, String)> {
    let promotable = spec.clones.iter().filter(|(_, clone)| clone.promotable.is_some());
    let mut scores = Vec::new();
    for (name, clone) in promotable {
        let copies = clone.max.unwrap_or(spec.nodes.len() as u32).min(spec.nodes.len() as u32 * clone.per_node.max(1));
        for member in spec.primitives_of(name) {
            let name = format!("master-{member}");
            if clone.globally_unique {
                scores.extend((0..copies).map(|number| (format!("{name}:{number}"), "1".to_owned())));
            }
            scores.push((name, "1".to_owned()));
        }
    }
    scores
}

/// A member in its first boot, of which nothing else is known.
fn there(name: &NodeId) -> NodeState {
    let incarnation = Incarnation { boot: BootId::new(format!("boot-1-of-{name}")), counter: 1 };
    NodeState {
        membership: Membership::Online,
        joined_at: LogIndex(1),
        feature_level: crate::state::FEATURE_LEVEL,
        listed: true,
        ..NodeState::new(&incarnation)
    }
}
