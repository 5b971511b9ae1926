//! `explain`: every reason for where a resource is.
//!
//! Input: spec, state and a resource, group or clone. Output: an [`Explanation`] that names, per node, every part of the
//! score with the line that asked for it, and per instance the chosen node and why.
//!
//! Runs the very code that decides, with its notes kept; nothing is judged a second time here.

use super::assign::{assign, solve};
use super::instances::World;
use super::links::links;
use super::nodes::{Class, Unfit};
use super::score::{What, parts};
use super::{Verdict, order};
use crate::model::{InstanceId, Kind, NodeId, Origin, Reason, ResourceId, Role, Score, Spec};
use crate::state::{Override, State};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Why a resource is where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    pub resource: ResourceId,
    pub origin: Option<Origin>,
    pub instances: Vec<InstanceExplanation>,
    /// By node, in order of name.
    pub nodes: BTreeMap<NodeId, NodeExplanation>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceExplanation {
    pub instance: InstanceId,
    /// None: nowhere.
    pub node: Option<NodeId>,
    pub role: Option<Role>,
    pub reason: Option<Reason>,
    pub verdict: Verdict,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeExplanation {
    pub score: Score,
    pub chosen: bool,
    pub contributions: Vec<Contribution>,
}

/// One part of a score; a ban has the score −1,000,000.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contribution {
    pub score: Score,
    pub what: String,
    pub origin: Option<Origin>,
}

/// Explains a resource; of a group or clone its first primitive, whose place decides, with all instances. None: unknown.
pub fn explain(spec: &Spec, state: &State, resource: &ResourceId) -> Option<Explanation> {
    let world = World::new(spec, state);
    let first = world.first_of(resource)?;
    let unit = world.unit_of[first];
    let links = links(&world);
    let placer = solve(&world, &links, Some(unit));
    let mut nodes: BTreeMap<NodeId, NodeExplanation> = BTreeMap::new();
    let mut tell = |node: usize, score: Score, what: What<'_>| {
        let fresh = NodeExplanation { score: Score::ZERO, chosen: false, contributions: Vec::new() };
        let entry = nodes.entry(world.nodes[node].id.clone()).or_insert(fresh);
        entry.score += score;
        let origin = origin(spec, world.res[first].id, &what).cloned();
        entry.contributions.push(Contribution { score, what: word(&what), origin });
    };
    for node in 0..world.nodes.len() {
        tell(node, Score::ZERO, What::With(Some("")));
    }
    parts(&world, first, &mut tell);
    for (node, score, what) in placer.trace.iter().flat_map(|(_, notes)| notes) {
        tell(*node, *score, what.clone());
    }
    for entry in nodes.values_mut() {
        entry.contributions.remove(0);
    }
    let instances = instances(spec, state, &world, resource);
    for instance in instances.iter().filter(|i| &i.instance.resource == world.res[first].id) {
        if let Some(entry) = instance.node.as_ref().and_then(|node| nodes.get_mut(node)) {
            entry.chosen = true;
        }
    }
    let kinds = [Kind::Resource, Kind::Group, Kind::Clone];
    let origin = kinds.iter().find_map(|kind| spec.origin(*kind, resource.as_str())).cloned();
    Some(Explanation { resource: resource.clone(), origin, instances, nodes })
}

fn instances(spec: &Spec, state: &State, world: &World<'_>, resource: &ResourceId) -> Vec<InstanceExplanation> {
    let assignment = assign(spec, state);
    let graph = order(spec, state);
    let wanted: Vec<&ResourceId> = world.members(resource).into_iter().map(|place| world.res[place].id).collect();
    let all = assignment.placements.iter().filter(|(id, _)| wanted.contains(&&id.resource));
    all.map(|(id, to)| {
        let planned = assignment.verdicts.get(id).cloned().unwrap_or(Verdict::Keep);
        // The graph knows best what is waited for; what it does not know is not assigned yet.
        let verdict = match (graph.verdicts().get(id), to) {
            (Some(verdict), Some(_)) => verdict.clone(),
            (Some(_) | None, _) => planned,
        };
        InstanceExplanation {
            instance: id.clone(),
            node: to.as_ref().map(|to| to.node.clone()),
            role: to.as_ref().map(|to| to.role),
            reason: to.as_ref().map(|to| to.reason.clone()),
            verdict,
        }
    })
    .collect()
}

/// A part of a score in words, to follow a node's name or stand alone.
pub(super) fn word(what: &What<'_>) -> String {
    match what {
        What::Unfit(Unfit::Unlisted) => "has no Node document".into(),
        What::Unfit(Unfit::Witness) => "is a witness".into(),
        What::Unfit(Unfit::NotOnline(Class::Suspect)) => "is not heard".into(),
        What::Unfit(Unfit::NotOnline(Class::Joining)) => "is joining".into(),
        What::Unfit(Unfit::NotOnline(Class::Gone | Class::Online)) => "is not there".into(),
        What::Unfit(Unfit::Drained(o)) => format!("is drained by {}", by(o)),
        What::Unfit(Unfit::Standby(resource)) => format!("is in standby, because {resource} failed there"),
        What::Unfit(Unfit::Maintenance) => "is in maintenance".into(),
        What::Unfit(Unfit::Doomed) => "is to be fenced".into(),
        What::Unfit(Unfit::Unconnected) => "is not connected".into(),
        What::Unfit(Unfit::Remote) => "is a remote node, which may not run this".into(),
        What::OptIn => "is not named by any Location (`symmetric: false`)".into(),
        What::Location(name) => format!("Location {name}"),
        What::Stickiness => "stickiness".into(),
        What::Override(o) => format!("asked for by {}", by(o)),
        What::Threshold(failures) => format!("failed {failures} times"),
        What::StartFailed { .. } => "a start failed".into(),
        What::Moved => "failed (onFail: Move)".into(),
        What::NotInstalled("") => "lacks what the agent needs".into(),
        What::NotInstalled(why) => format!("cannot run it: {why}"),
        What::Capacity => "has no room".into(),
        What::With(Some(name)) => format!("Colocation {name}"),
        What::With(None) => "the member before it in its group".into(),
        What::Dependant(Some(name)) => format!("what is placed with it by Colocation {name}"),
        What::Dependant(None) => "the members after it in its group".into(),
    }
}

pub(super) fn by(o: &Override) -> String {
    if o.reason.is_empty() { o.by.clone() } else { format!("{}: {}", o.by, o.reason) }
}

pub(super) fn origin<'a>(spec: &'a Spec, resource: &ResourceId, what: &What<'_>) -> Option<&'a Origin> {
    match what {
        What::Location(name) => spec.origin(Kind::Location, name),
        What::With(Some(name)) | What::Dependant(Some(name)) => spec.origin(Kind::Colocation, name),
        What::With(None) | What::Dependant(None) => {
            spec.group_of(resource).and_then(|group| spec.origin(Kind::Group, group.as_str()))
        }
        What::OptIn => spec.origins.iter().find(|(object, _)| object.kind == Kind::Cluster).map(|(_, origin)| origin),
        What::Stickiness | What::Threshold(_) | What::Capacity | What::Moved | What::StartFailed { .. } => {
            spec.origin(Kind::Resource, resource.as_str())
        }
        What::Unfit(_) | What::Override(_) | What::NotInstalled(_) => None,
    }
}
