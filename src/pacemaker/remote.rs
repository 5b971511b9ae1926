//! Nodes that are reached over a resource: what must not run on them, and what they come and go with.
//!
//! Input: the services. Output: constraints. Pacemaker Remote: a connection, a fence device and what a guest runs in are
//! for cluster nodes only; the connection of a guest runs where the guest runs, after it.
//!
//! Deliberately absent: what follows for the resources on such a node when its connection goes. That is not planned yet.

use super::constraints::insert;
use super::resources::Services;
use crate::model::{
    Colocation, ColocationEnd, Influence, Location, NodeId, NodeSelector, Order, OrderAction, OrderEnd, OrderStrength,
    ResourceId, Spec, Strength,
};

pub(super) fn tie(spec: &mut Spec, services: &Services<'_>) {
    if services.remotes.is_empty() {
        return;
    }
    let remote: Vec<NodeId> = services.remotes.iter().map(|remote| NodeId::new(remote.name)).collect();
    for (name, prim) in &services.prims {
        let connects = services.remotes.iter().any(|r| r.name == *name || r.container == Some(*name));
        if connects || prim.is_fence_device() {
            let nodes = NodeSelector::Names(remote.clone());
            let resource = ResourceId::new(*name);
            let location = Location { resource, nodes, strength: Strength::Forbidden, weight: 1, role: None };
            insert(&mut spec.locations, &format!("{name}-on-cluster-nodes"), location);
        }
    }
    for guest in &services.remotes {
        let Some(container) = guest.container else { continue };
        let end = |name: &str| ColocationEnd { resource: ResourceId::new(name), role: None };
        let colocation = Colocation {
            resource: end(guest.name),
            with: end(container),
            strength: Strength::Required,
            weight: 1,
            node_label: None,
            influence: Influence::Always,
        };
        let end = |name: &str| OrderEnd { resource: ResourceId::new(name), action: OrderAction::Start };
        let order = Order {
            first: end(container),
            then: end(guest.name),
            strength: OrderStrength::Required,
            symmetric: true,
            or: Vec::new(),
            any_copy: false,
        };
        insert(&mut spec.colocations, &format!("{}-in-{container}", guest.name), colocation);
        insert(&mut spec.orders, &format!("{}-in-{container}", guest.name), order);
    }
}
