//! What the status section says of the inside of containers.
//!
//! Input: the histories and attributes of nodes that are inside of bundles. Output: the same as of their hosts: items with
//! the number of the replica, promotion scores with it in their name.
//!
//! Does not know of guests: those are nodes of their own.

use super::bundles::Names;
use super::nodes::NodeRead;
use super::status::{Item, StatusReader};
use super::xml::El;
use crate::model::{BundlePart, NodeId};
use std::collections::BTreeMap;

impl<'a> StatusReader<'_, 'a> {
    /// Promotion scores of what runs inside of containers, as of their hosts.
    pub(super) fn scores_from_inside(&mut self, items: &[Item<'a>]) {
        let states = || self.ground.status.into_iter().flat_map(|status| status.all("node_state"));
        let mut found = Vec::new();
        for names in self.ground.bundles {
            let Some(child) = names.part(BundlePart::Inner) else { continue };
            let wanted = format!("master-{child}");
            for (number, replica) in (0_u32..).zip(&names.replicas) {
                let host = self.host(items, names, number);
                let pairs = states().filter(|state| state.id() == replica.inside);
                let pairs = pairs.filter_map(|state| state.child("transient_attributes"));
                let pairs = pairs.flat_map(|t| t.all("instance_attributes")).flat_map(|block| block.all("nvpair"));
                let value = pairs.filter(|pair| pair.attr("name") == Some(&wanted)).find_map(|pair| pair.attr("value"));
                if let (Some(host), Some(value)) = (host, value) {
                    found.push((host, wanted.clone(), number, value));
                }
            }
        }
        for (host, name, number, value) in found {
            let node = NodeId::new(self.ground.facts[self.nodes[host].facts].name);
            if let Some(node) = self.state.nodes.get_mut(&node) {
                node.attributes.insert(format!("{name}:{number}"), value.to_owned());
            }
        }
    }

    /// What runs inside of containers is told by nodes of its own.
    pub(super) fn inside(&self, items: &mut Vec<Item<'a>>) {
        let states: BTreeMap<&str, El<'a>> = self
            .ground
            .status
            .into_iter()
            .flat_map(|status| status.all("node_state"))
            .map(|el| (el.id(), el))
            .collect();
        for names in self.ground.bundles {
            for (number, replica) in (0_u32..).zip(&names.replicas) {
                let Some(host) = self.host(items, names, number) else { continue };
                let lrm =
                    states.get(replica.inside.as_str()).and_then(|state| state.child("lrm")?.child("lrm_resources"));
                for el in lrm.into_iter().flat_map(|resources| resources.all("lrm_resource")) {
                    let (base, _, _) = self.base_of(el.id());
                    if names.part(BundlePart::Inner).is_some_and(|inner| inner.as_str() == base) {
                        items.push(self.item(el, host, Some(number)));
                    }
                }
            }
        }
    }

    /// The number of a replica that there is no more, where this is what runs inside of it.
    pub(super) fn removed_replica(&self, el: El<'a>, node: &NodeRead<'a>) -> Option<u32> {
        if node.listed {
            return None;
        }
        let (base, _, _) = self.base_of(el.id());
        let inner = |names: &&Names| names.part(BundlePart::Inner).is_some_and(|inner| inner.as_str() == base);
        let names = self.ground.bundles.iter().find(inner)?;
        let name = self.ground.facts[node.facts].name;
        name.strip_prefix(names.id.as_str())?.strip_prefix('-')?.parse().ok()
    }

    /// Whether this is what runs inside of containers of a bundle.
    pub(super) fn is_inside(&self, base: &str) -> bool {
        self.ground
            .bundles
            .iter()
            .any(|names| names.part(BundlePart::Inner).is_some_and(|inner| inner.as_str() == base))
    }

    /// Whether the connection of a remote node is said to run, and of a guest also what it runs inside of.
    pub(super) fn is_connected(&self, items: &[Item<'a>], node: &NodeRead<'a>) -> bool {
        let name = self.ground.facts[node.facts].name;
        let runs = |base: &str| items.iter().any(|item| item.base == base && item.found.role.is_some());
        let container = self.spec.resources.get(name).and_then(|connection| connection.inside.as_ref());
        runs(name) && container.is_none_or(|container| runs(container.as_str()))
    }

    /// The node on which the container of a replica is said to run.
    fn host(&self, items: &[Item<'a>], names: &Names, number: u32) -> Option<usize> {
        let container = names.part(BundlePart::Container)?;
        let runs = |item: &&Item<'a>| {
            item.number == Some(number) && item.base == container.as_str() && item.found.role.is_some()
        };
        items.iter().find(runs).map(|item| item.node)
    }
}
