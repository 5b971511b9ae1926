//! What constraints and shutdowns add to a state: resources that are not looked for, and those that wait for their node.
//!
//! Input: state and spec as read so far. Output: probes and locations.

use super::nodes::{NodeRead, Standing};
use super::options::Options;
use super::resources::Services;
use super::rules::NodeFacts;
use super::status::{AT, incarnation};
use super::xml::El;
use crate::model::{Definition, InstanceId, Location, NodeId, NodeSelector, Reading, ResourceId, Spec, Strength};
use crate::state::{ClaimKey, Probe, ProbeKey, State};

/// Where a resource is not looked for it counts as stopped.
pub(super) fn unasked(state: &mut State, spec: &Spec, services: &Services<'_>, unasked: &[(&str, &str)]) {
    for (name, node) in unasked {
        for member in services.members(name) {
            let Some(resource) = spec.resources.get(member) else { continue };
            let identity = State::identity(&Definition { resource: resource.clone(), clone: None });
            let key = ProbeKey { resource: ResourceId::new(member), node: NodeId::new(*node) };
            let incarnation = incarnation(node);
            let text = String::new();
            state.probes.entry(key).or_insert(Probe { incarnation, identity, reading: Reading::Stopped, at: AT, text });
        }
    }
}

/// Returns the histories of what waits. A resource whose node was shut down in good order waits for it (Pacemaker Explained, `shutdown-lock`).
pub(super) fn shutdown_locks<'a>(
    spec: &mut Spec,
    services: &Services<'_>,
    facts: &[NodeFacts<'_>],
    nodes: &[NodeRead<'a>],
    options: &Options<'_>,
    state: &State,
    now: Option<i64>,
) -> Vec<El<'a>> {
    let mut locked = Vec::new();
    if !options.is(&["shutdown-lock"], false) {
        return locked;
    }
    let limit = options.get(&["shutdown-lock-limit"]).and_then(super::words::duration_ms).unwrap_or(0) / 1000;
    for node in nodes {
        let name = facts[node.facts].name;
        let away = node.standing != Standing::Online || node.shutting_down;
        let lrm = node.state.and_then(|state| state.child("lrm")).and_then(|lrm| lrm.child("lrm_resources"));
        for el in lrm.into_iter().flat_map(|resources| resources.all("lrm_resource")) {
            let Some(prim) = services.prims.get(el.id()).filter(|p| p.clone.is_none() && !p.is_fence_device()) else {
                continue;
            };
            let since = el.attr("shutdown-lock").and_then(|since| since.parse::<i64>().ok()).filter(|since| *since > 0);
            let over =
                limit > 0 && since.zip(now).is_some_and(|(since, now)| now >= since.saturating_add_unsigned(limit));
            let key = ClaimKey { instance: InstanceId::plain(prim.el.id()), node: NodeId::new(name) };
            let runs = state.claims.contains_key(&key) && node.shutting_down;
            if !away || over || (since.is_none() && !runs) {
                continue;
            }
            let others: Vec<NodeId> = spec.nodes.keys().filter(|other| other.as_str() != name).cloned().collect();
            let resource = ResourceId::new(el.id());
            let (nodes, strength) = (NodeSelector::Names(others), Strength::Forbidden);
            let location = Location {
                resource,
                nodes,
                strength,
                weight: 1,
                role: None,
                weight_from: None,
                discovery: Default::default(),
            };
            spec.locations.insert(format!("shutdown-lock-{}", el.id()), location);
            locked.push(el);
        }
    }
    locked
}
