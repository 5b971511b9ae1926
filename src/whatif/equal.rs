//! Which losses are equal, so that one of them has to be tried.
//!
//! Input: a spec, a state, and who is left after a loss. Output: its [`Effect`]; losses with the same one come to the same.
//!
//! Two things make losses equal. First, only who is lost, and who of them nothing proves off, matters to a plan: a fencing
//! device without a lost node is no loss at all, a rack of one node is that node. Second, nodes that are next to each other in
//! order of name and of which everything is the same (role, labels, capacity, what constraints and agents say, what runs
//! there) can stand for each other: of such a run only how many are lost matters. Next to each other, since names
//! break ties: so the nodes that are left are taken in the same order.
//!
//! What may run only once is on one node alone, so nodes that run such a thing are equal to no other.

use super::reach::Reach;
use crate::model::{NodeId, NodeRole, NodeSelector, ResourceId, Role, Spec};
use crate::state::State;
use std::collections::{BTreeMap, BTreeSet};

/// What a loss comes to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Effect {
    /// By class of equal nodes: how many are lost. All are proven off.
    Counts(BTreeMap<usize, usize>),
    /// Who is lost, and who of them nothing proves off.
    Names(BTreeSet<NodeId>, BTreeSet<NodeId>),
}

/// Nodes that can stand for each other have the same number.
pub(super) struct Classes(BTreeMap<NodeId, usize>);

impl Classes {
    pub fn of(spec: &Spec, state: &State) -> Self {
        let mut classes = BTreeMap::new();
        let mut last: Option<&NodeId> = None;
        let mut number = 0;
        let comparable = are_comparable(spec, state);
        for name in spec.nodes.keys() {
            if !(comparable && last.is_some_and(|last| are_equal(spec, state, last, name))) {
                number += 1;
            }
            classes.insert(name.clone(), number);
            last = Some(name);
        }
        Self(classes)
    }

    pub fn effect(&self, reach: &Reach) -> Effect {
        if !reach.unproven.is_empty() {
            return Effect::Names(reach.lost().cloned().collect(), reach.unproven.keys().cloned().collect());
        }
        let mut counts = BTreeMap::new();
        for class in reach.lost().filter_map(|node| self.0.get(node)) {
            *counts.entry(*class).or_insert(0) += 1;
        }
        Effect::Counts(counts)
    }
}

/// Whether nodes are told apart by nothing but what [`are_equal`] looks at.
fn are_comparable(spec: &Spec, state: &State) -> bool {
    let by_rule = spec.locations.values().any(|location| matches!(location.nodes, NodeSelector::Rule(_)));
    let remote = spec.nodes.values().any(|node| node.role == NodeRole::Remote);
    !by_rule && !remote && state.overrides.is_empty() && state.attempts.is_empty()
}

fn are_equal(spec: &Spec, state: &State, a: &NodeId, b: &NodeId) -> bool {
    let (Some(one), Some(other)) = (spec.nodes.get(a), spec.nodes.get(b)) else { return false };
    let (Some(here), Some(there)) = (state.nodes.get(a), state.nodes.get(b)) else { return false };
    let documents = (one.role, &one.labels, &one.capacity) == (other.role, &other.labels, &other.capacity);
    let said = (here.membership, &here.attributes, &here.permanent_attributes)
        == (there.membership, &there.attributes, &there.permanent_attributes);
    let named = spec.locations.values().all(|location| match &location.nodes {
        NodeSelector::Names(names) => names.contains(a) == names.contains(b),
        NodeSelector::Labels(_) | NodeSelector::Rule(_) => true,
    });
    let clean = state.history.keys().all(|key| &key.node != a && &key.node != b);
    let installed = |node: &NodeId| -> BTreeSet<&ResourceId> {
        let lacks = |reading| reading == crate::model::Reading::NotInstalled;
        let probes = state.probes.iter().filter(|(key, probe)| &key.node == node && lacks(probe.reading));
        probes.map(|(key, _)| &key.resource).collect()
    };
    documents && said && named && clean && installed(a) == installed(b) && runs_equal(spec, state, a, b)
}

/// They run copies of the same clones, in the same roles, and nothing else.
fn runs_equal(spec: &Spec, state: &State, a: &NodeId, b: &NodeId) -> bool {
    let on = |node: &NodeId| -> BTreeMap<(ResourceId, Role), usize> {
        let mut counts = BTreeMap::new();
        for (key, claim) in state.claims.iter().filter(|(key, _)| &key.node == node) {
            *counts.entry((key.instance.resource.clone(), claim.role)).or_insert(0) += 1;
        }
        counts
    };
    let is_copy = |resource: &ResourceId| spec.clone_of(resource).is_some_and(|(_, clone)| !clone.globally_unique);
    let (here, there) = (on(a), on(b));
    here == there && here.keys().all(|(resource, _)| is_copy(resource))
}
