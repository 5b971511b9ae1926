//! Resources inside of others: what the meta-attribute `container` means.
//!
//! Input: the services. Output: what each resource runs inside of; of one inside of a node, where it is allowed. Pacemaker
//! Explained, "container"; Pacemaker Remote.
//!
//! Does not plan: that a guest comes and goes with its container is the planner's (`plan::reach`).

use super::constraints::insert;
use super::resources::Services;
use crate::model::{Location, NodeId, NodeSelector, ResourceId, Spec, Strength};

pub(super) fn inside(spec: &mut Spec, services: &Services<'_>) {
    for (name, prim) in &services.prims {
        let Some(container) = prim.meta.get("container").copied().filter(|container| container != name) else {
            continue;
        };
        let resource = ResourceId::new(*name);
        let node = services.remotes.iter().find(|node| node.name == container || node.container == Some(container));
        match node {
            Some(node) => {
                let nodes = NodeSelector::Names(vec![NodeId::new(node.name)]);
                let location = Location {
                    resource,
                    nodes,
                    strength: Strength::Required,
                    weight: 1,
                    role: None,
                    weight_from: None,
                    discovery: Default::default(),
                };
                insert(&mut spec.locations, &format!("{name}-in-{container}"), location);
            }
            None if services.prims.contains_key(container) => {
                if let Some(resource) = spec.resources.get_mut(&resource) {
                    resource.inside = Some(container.into());
                }
            }
            None => {}
        }
    }
}
