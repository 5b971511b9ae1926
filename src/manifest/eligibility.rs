//! Which nodes may run a resource, as far as Location constraints tell.
//!
//! Input → output: a [`Tree`] and its [`Topology`] → for each resource the nodes that are not forbidden to it; in a
//! cluster with `symmetric: false` the nodes that a constraint allows.
//!
//! Deliberately absent: colocation, capacity and scores (`plan`).

use super::document::{Doc, Tree};
use super::raw::{RawLocation, RawNode, RawSelector};
use super::topology::Topology;
use crate::model::{NodeRole, Strength};
use std::collections::BTreeMap;

pub(super) struct Eligibility<'a> {
    /// Nodes that run resources.
    pub nodes: Vec<(&'a Doc, &'a RawNode)>,
    locations: BTreeMap<&'a str, Vec<&'a RawLocation>>,
    symmetric: bool,
}

impl<'a> Eligibility<'a> {
    pub fn of(tree: &'a Tree) -> Self {
        let mut locations: BTreeMap<&str, Vec<&RawLocation>> = BTreeMap::new();
        for (_, location) in tree.locations() {
            locations.entry(&location.resource.0).or_default().push(location);
        }
        let runs = |node: &RawNode| node.role.unwrap_or(NodeRole::Voter).runs_resources();
        let symmetric = tree.clusters().next().and_then(|(_, cluster)| cluster.symmetric).unwrap_or(true);
        Self { nodes: tree.nodes().filter(|(_, node)| runs(node)).collect(), locations, symmetric }
    }

    /// The nodes that may run this resource, by their place in `nodes`.
    pub fn of_resource(&self, topology: &Topology, resource: &str) -> Vec<usize> {
        let clone = topology.clone_around(resource).map(|(name, _)| name);
        let names = [Some(resource), topology.group_of(resource), clone, topology.bundle_of(resource)];
        let found: Vec<&RawLocation> = names
            .iter()
            .flatten()
            .filter_map(|name| self.locations.get(name))
            .flatten()
            // A constraint on a role says nothing of where it may run at all.
            .filter(|location| location.role.is_none())
            .copied()
            .collect();
        let may = |doc: &Doc| {
            let here = |wanted: &[Strength]| {
                let of_strength = |l: &&&RawLocation| wanted.contains(&l.strength.unwrap_or(Strength::Required));
                // Where a rule decides it may be allowed and need not be forbidden.
                let may = !wanted.contains(&Strength::Forbidden);
                found.iter().filter(of_strength).any(|location| selects(&location.nodes, doc).unwrap_or(may))
            };
            !here(&[Strength::Forbidden]) && (self.symmetric || here(&[Strength::Required, Strength::Preferred]))
        };
        (0..self.nodes.len()).filter(|place| may(self.nodes[*place].0)).collect()
    }
}

/// Whether a Location applies to a node; None: a rule decides, now or later.
pub(super) fn selects(selector: &RawSelector, node: &Doc) -> Option<bool> {
    match selector {
        RawSelector::Names(names) => Some(names.iter().any(|name| name.0 == node.name)),
        RawSelector::Nodes(nodes) => {
            let labels = nodes.match_labels.as_ref()?;
            Some(labels.iter().all(|(key, value)| node.labels.get(key) == Some(&value.0)))
        }
    }
}
