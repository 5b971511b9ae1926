//! `explain`: every reason for where a resource is.
//!
//! Input: spec, state and a resource, group or clone. Output: an [`Explanation`] that names, per node, every part of the
//! score with the line that asked for it, per copy of a promotable clone every part of its promotion score, and per instance
//! the chosen node and why.
//!
//! Runs the very code that decides, with its notes kept; nothing is judged a second time here.

use super::assign::{assign, solve};
use super::instances::{Unit, World};
use super::links::links;
use super::nodes::{Class, Unfit};
use super::place::Placer;
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
    /// Of promotable clones: copies that have a node, and whether they are promoted.
    pub promotion: Vec<PromotionExplanation>,
}

/// Why a copy is promoted, or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PromotionExplanation {
    pub instance: InstanceId,
    pub node: NodeId,
    /// Below zero it is never promoted.
    pub score: Score,
    pub promoted: bool,
    pub contributions: Vec<Contribution>,
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
    /// What is behind it, where it speaks for others: what they themselves say of the node.
    pub because: Vec<Contribution>,
}

/// Explains a resource; of a group or clone its first primitive, whose place decides, with all instances. None: unknown.
pub fn explain(spec: &Spec, state: &State, resource: &ResourceId) -> Option<Explanation> {
    let world = World::new(spec, state);
    let first = world.first_of(resource)?;
    let unit = world.unit_of[first];
    let links = links(&world);
    let placer = solve(&world, &links, Some(unit));
    let lead = world.res[first].id;
    let notes = placer.trace.iter().flat_map(|trace| &trace.notes);
    let mut all: Vec<(usize, Score, What<'_>)> = Vec::new();
    parts(&world, first, &mut |node, score, what| all.push((node, score, what)));
    all.extend(notes.cloned());
    let mut nodes: BTreeMap<NodeId, NodeExplanation> = BTreeMap::new();
    for info in &world.nodes {
        let nothing = NodeExplanation { score: Score::ZERO, chosen: false, contributions: Vec::new() };
        nodes.insert(info.id.clone(), nothing);
    }
    for (node, score, what) in all {
        let Some(entry) = nodes.get_mut(world.nodes[node].id) else { continue };
        entry.score += score;
        let because = match what {
            What::Dependant(name) => wishes(&placer, unit, first, name, node),
            _ => Vec::new(),
        };
        entry.contributions.push(Contribution { because, ..contribution(spec, lead, score, &what) });
    }
    let instances = instances(spec, state, &world, resource);
    for instance in instances.iter().filter(|i| &i.instance.resource == world.res[first].id) {
        if let Some(entry) = instance.node.as_ref().and_then(|node| nodes.get_mut(node)) {
            entry.chosen = true;
        }
    }
    let kinds = [Kind::Resource, Kind::Group, Kind::Clone];
    let origin = kinds.iter().find_map(|kind| spec.origin(*kind, resource.as_str())).cloned();
    let promotion = promotion(spec, &placer, unit);
    Some(Explanation { resource: resource.clone(), origin, instances, nodes, promotion })
}

fn contribution(spec: &Spec, of: &ResourceId, score: Score, what: &What<'_>) -> Contribution {
    Contribution { score, what: word(what), origin: origin(spec, of, what).cloned(), because: Vec::new() }
}

/// What those say of a node who have a say in where a unit goes: by a colocation of this name, or as members of its group.
fn wishes(placer: &Placer<'_, '_>, unit: usize, first: usize, name: Option<&str>, node: usize) -> Vec<Contribution> {
    let world = placer.world;
    let mut speakers: Vec<usize> = match (name, world.res[first].group) {
        (None, Some(group)) => world.members(group),
        _ => {
            let ties = placer.dependants[unit].iter().map(|tie| &placer.ties[*tie]).filter(|tie| tie.name == name);
            ties.filter_map(|tie| placer.lead(tie.dependant)).collect()
        }
    };
    speakers.retain(|speaker| *speaker != first);
    let mut told = Vec::new();
    for speaker in speakers {
        let of = world.res[speaker].id;
        parts(world, speaker, &mut |at, score, what| {
            // That a node is not fit for anything is said of the one that is asked for.
            if at == node && !matches!(what, What::Unfit(_)) {
                let own = contribution(world.spec, of, score, &what);
                told.push(Contribution { what: format!("{of}: {}", own.what), ..own });
            }
        });
    }
    told
}

fn promotion(spec: &Spec, placer: &Placer<'_, '_>, unit: usize) -> Vec<PromotionExplanation> {
    let world = placer.world;
    let Unit::Clone(clone) = world.units[unit] else { return Vec::new() };
    if world.clones[clone].spec.promotable.is_none() {
        return Vec::new();
    }
    let mut told = Vec::new();
    for (number, parts) in placer.trace.iter().flat_map(|trace| &trace.promotion) {
        let copy = placer.placed[unit].iter().flatten().find(|copy| copy.number == *number);
        let (Some(copy), Some(lead)) = (copy, placer.lead(unit)) else { continue };
        let Some(node) = copy.node else { continue };
        let id = world.res[lead].id;
        told.push(PromotionExplanation {
            instance: InstanceId { resource: id.clone(), number: *number },
            node: world.nodes[node].id.clone(),
            score: parts.iter().fold(Score::ZERO, |sum, (part, _)| sum + *part),
            promoted: copy.promoted,
            contributions: parts.iter().map(|(part, what)| contribution(spec, id, *part, what)).collect(),
        });
    }
    told
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
        What::Promotion(Some(name)) => format!("promotion score (attribute {name})"),
        What::Promotion(None) => "no promotion score".into(),
        What::NotPromoted(why) => format!("is not to be promoted: {why}"),
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
        What::NotPromoted(_) => spec.origin(Kind::Resource, resource.as_str()),
        What::Unfit(_) | What::Override(_) | What::NotInstalled(_) | What::Promotion(_) => None,
    }
}
