//! How instances are told of: parts of bundles in the names that people know, connections of guests not at all.
//!
//! Input: the spec, instances. Output: [`Told`]. A replica `NAME-N` is on its host in the role of what runs inside; what
//! runs inside is, from within, on the node `NAME-N`; only that has a role.

use crate::model::{Bundle, BundlePart, InstanceId, NodeId, ResourceId, Spec};
use std::collections::{BTreeMap, BTreeSet};

/// How an instance is told of.
pub(super) struct Told {
    /// In actions.
    pub name: String,
    /// Where it is placed; None: not told of.
    pub placed: Option<String>,
    /// The node that it runs on, from within.
    pub inside: Option<NodeId>,
    /// It has a role of its own.
    pub has_role: bool,
}

pub(super) struct Teller<'a> {
    parts: BTreeMap<ResourceId, (&'a ResourceId, &'a Bundle, BundlePart)>,
    hidden: BTreeSet<&'a ResourceId>,
}

impl<'a> Teller<'a> {
    pub fn new(spec: &'a Spec) -> Self {
        let parts = spec.bundles.iter().flat_map(|(name, bundle)| {
            bundle.parts(name).into_iter().map(move |(part, id)| (id, (name, bundle, part)))
        });
        let connections = spec.nodes.values().filter_map(|node| node.connection.as_ref());
        let guest = |connection: &&ResourceId| {
            spec.resources.get(*connection).is_some_and(|connection| connection.inside.is_some())
        };
        Self { parts: parts.collect(), hidden: connections.filter(guest).collect() }
    }

    pub fn tell(&self, id: &InstanceId, unique: bool) -> Told {
        let plain = if unique { id.to_string() } else { id.resource.to_string() };
        let Some((&(name, bundle, part), number)) = self.parts.get(&id.resource).zip(id.number) else {
            let placed = (!self.hidden.contains(&id.resource)).then(|| plain.clone());
            return Told { name: plain, placed, inside: None, has_role: true };
        };
        let node = bundle.call(name, BundlePart::Connection, number);
        let has_inner = bundle.resource.is_some() && bundle.is_reachable();
        let called = bundle.call(name, part, number);
        let placed = match part {
            BundlePart::Inner => Some(node.clone()),
            BundlePart::Container if !has_inner => Some(called.clone()),
            BundlePart::Container | BundlePart::Address | BundlePart::Connection => None,
        };
        let is_inner = part == BundlePart::Inner;
        Told { name: called, placed, inside: is_inner.then(|| NodeId::new(node)), has_role: is_inner }
    }
}
