//! What runs, what is missing of it, and which lines of the manifests forbid it a home.
//!
//! Input: a state, or an assignment that is about to be; what ran before. Output: [`Homes`], and a [`Homeless`] for each
//! resource that ran and does not any more.
//!
//! A plain resource has a home if it runs. A clone has one as long as a copy runs (or as many as its `enough` says), and,
//! where something was promoted before, as long as something is promoted: fewer copies are no loss of the service.

use super::reach::Reach;
use crate::model::{InstanceId, Kind, NodeId, Origin, Reason, ResourceId, Role, Spec};
use crate::plan::{self, Assignment, Ground, Verdict};
use crate::state::{Membership, Phase, State};
use std::collections::{BTreeMap, BTreeSet};

/// Where resources run, and in which role: one entry per copy, in order of node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Homes(pub BTreeMap<ResourceId, Vec<(NodeId, Role)>>);

/// A resource that ran, and has no home any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Homeless {
    pub resource: ResourceId,
    pub lack: Lack,
    /// What forbids it each node that is left, and what else keeps it from running.
    pub bars: Vec<Bar>,
}

/// What is missing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lack {
    /// It runs nowhere.
    All,
    /// So many copies run, of so many that are enough.
    Copies(usize, usize),
    /// It runs, but is promoted nowhere.
    Promoted,
}

/// One thing that keeps a resource from running.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bar {
    /// None: it is not about one node.
    pub node: Option<NodeId>,
    /// A whole clause.
    pub why: String,
    /// The line that asks for it.
    pub origin: Option<Origin>,
    pub hint: Option<String>,
}

impl Homes {
    /// What runs now, on nodes that are heard.
    pub fn now(state: &State) -> Self {
        let mut homes = Self::default();
        let heard = |node: &NodeId| state.nodes.get(node).is_some_and(|node| node.membership == Membership::Online);
        let runs = |phase: Phase| !matches!(phase, Phase::Starting | Phase::Stopping);
        for (key, claim) in &state.claims {
            if heard(&key.node) && runs(claim.phase) && claim.failure.is_none() {
                homes.add(&key.instance, &key.node, claim.role);
            }
        }
        homes.sorted()
    }

    /// What will run once this is done, on nodes that are heard in this state; `stuck` left out.
    pub fn planned(assignment: &Assignment, state: &State, stuck: &BTreeSet<InstanceId>) -> Self {
        let mut homes = Self::default();
        let placed = assignment.placements.iter().filter_map(|(id, to)| Some((id, to.as_ref()?)));
        let heard = |node: &NodeId| state.nodes.get(node).is_some_and(|node| node.membership == Membership::Online);
        for (id, to) in placed.filter(|(id, to)| heard(&to.node) && !stuck.contains(*id)) {
            match assignment.verdicts.get(id) {
                Some(Verdict::Blocked(_)) => {}
                Some(Verdict::Keep | Verdict::Act | Verdict::Wait(_)) | None => homes.add(id, &to.node, to.role),
            }
        }
        homes.sorted()
    }

    fn add(&mut self, instance: &InstanceId, node: &NodeId, role: Role) {
        self.0.entry(instance.resource.clone()).or_default().push((node.clone(), role));
    }

    fn sorted(mut self) -> Self {
        self.0.values_mut().for_each(|places| places.sort());
        self
    }

    pub fn of(&self, resource: &ResourceId) -> &[(NodeId, Role)] {
        self.0.get(resource).map(Vec::as_slice).unwrap_or_default()
    }

    fn is_promoted(&self, resource: &ResourceId) -> bool {
        self.of(resource).iter().any(|(_, role)| *role == Role::Promoted)
    }

    /// What had a home before and has none now, in order of name.
    pub fn lacking(&self, spec: &Spec, before: &Self) -> BTreeMap<ResourceId, Lack> {
        let lack = |resource: &ResourceId| -> Option<Lack> {
            let (was, is) = (before.of(resource).len(), self.of(resource).len());
            if is == 0 {
                return Some(Lack::All);
            }
            let enough =
                spec.clone_of(resource).and_then(|(_, clone)| clone.enough).map_or(1, |enough| enough as usize);
            if is < enough.min(was) {
                return Some(Lack::Copies(is, enough.min(was)));
            }
            (before.is_promoted(resource) && !self.is_promoted(resource)).then_some(Lack::Promoted)
        };
        let had = before.0.keys().filter(|resource| !before.of(resource).is_empty());
        had.filter_map(|resource| Some((resource.clone(), lack(resource)?))).collect()
    }
}

/// What keeps a resource from running, in a state in which it does not.
pub(super) fn bars(spec: &Spec, state: &State, reach: &Reach, resource: &ResourceId, lack: Lack) -> Vec<Bar> {
    let mut bars: BTreeSet<Bar> = BTreeSet::new();
    held_by_unproven(spec, state, reach, resource, &mut bars);
    if !bars.is_empty() {
        return bars.into_iter().collect();
    }
    if lack == Lack::Promoted {
        promotion_bars(spec, state, resource, &mut bars);
    } else {
        let lost: BTreeSet<&NodeId> = reach.lost().collect();
        for (node, found) in plan::obstacles_by_node(spec, state, resource) {
            if !lost.contains(&node) {
                bars.extend(found.into_iter().map(|obstacle| bar(spec, &node, obstacle)));
            }
        }
    }
    if bars.is_empty() {
        bars.insert(planned_bar(spec, state, resource).unwrap_or_else(|| too_few(spec, resource, lack)));
    }
    bars.into_iter().collect()
}

/// It may still run on a node that nothing proves off.
fn held_by_unproven(spec: &Spec, state: &State, reach: &Reach, resource: &ResourceId, bars: &mut BTreeSet<Bar>) {
    for (key, _) in state.claims_of(resource) {
        let Some(why) = reach.unproven.get(&key.node) else { continue };
        let origin = match spec.cluster.fencing.enabled {
            true => spec.origin(Kind::Node, key.node.as_str()),
            false => spec.origin(Kind::Cluster, &spec.cluster.name),
        };
        bars.insert(Bar {
            node: Some(key.node.clone()),
            why: format!("it may still run on {}, which nothing proves off: {why}", key.node),
            origin: origin.cloned(),
            hint: Some(format!("give {} another level of fencing", key.node)),
        });
    }
}

fn bar(spec: &Spec, node: &NodeId, obstacle: plan::Obstacle) -> Bar {
    let plan::Obstacle { why, origin, hint, of } = obstacle;
    let hint = match of {
        // It speaks of commands for a cluster that runs.
        Ground::Neighbours => None,
        Ground::Own => hint.starts_with("change ").then_some(hint),
    };
    // What a Node document says of itself has no line of its own.
    let origin = origin.or_else(|| spec.origin(Kind::Node, node.as_str()).cloned());
    Bar { node: Some(node.clone()), why, origin, hint }
}

fn promotion_bars(spec: &Spec, state: &State, resource: &ResourceId, bars: &mut BTreeSet<Bar>) {
    let Some(explained) = plan::explain(spec, state, resource) else { return };
    for copy in explained.promotion.iter().filter(|copy| !copy.promoted) {
        for part in copy.contributions.iter().filter(|part| part.score < crate::model::Score::ZERO) {
            bars.insert(Bar {
                node: Some(copy.node.clone()),
                why: format!("{} is not promoted on {}: {}", copy.instance, copy.node, part.what),
                origin: part.origin.clone(),
                hint: None,
            });
        }
    }
}

/// What the planner itself says, where nothing forbids a node.
fn planned_bar(spec: &Spec, state: &State, resource: &ResourceId) -> Option<Bar> {
    let assignment = plan::assign(spec, state);
    let mut of = assignment.verdicts.iter().filter(|(id, _)| &id.resource == resource);
    let reason = of.find_map(|(_, verdict)| match verdict {
        Verdict::Wait(reason) | Verdict::Blocked(reason) => Some(reason.clone()),
        Verdict::Keep | Verdict::Act => None,
    });
    let reason = reason.or_else(|| {
        let graph = plan::order_untold(spec, state);
        graph.verdicts().iter().filter(|(id, _)| &id.resource == resource).find_map(|(_, verdict)| match verdict {
            Verdict::Wait(reason) | Verdict::Blocked(reason) => Some(reason.clone()),
            Verdict::Keep | Verdict::Act => None,
        })
    })?;
    let origin = match &reason {
        Reason::After { instance, .. } => order_between(spec, instance, resource),
        _ => None,
    };
    let origin = origin.or_else(|| spec.origin(Kind::Resource, resource.as_str())).cloned();
    Some(Bar { node: None, why: reason.to_string(), origin, hint: None })
}

/// Nothing forbids it a node; there are not enough of them.
fn too_few(spec: &Spec, resource: &ResourceId, lack: Lack) -> Bar {
    let (why, origin) = match (lack, spec.clone_of(resource)) {
        (Lack::Copies(left, enough), Some((clone, _))) => (
            format!("only {left} of the {enough} copies that are enough have a node of their own"),
            spec.origin(Kind::Clone, clone.as_str()),
        ),
        (Lack::All | Lack::Promoted | Lack::Copies(_, _), _) => ("no node is left for it".to_owned(), None),
    };
    let origin = origin.or_else(|| spec.origin(Kind::Resource, resource.as_str())).cloned();
    Bar { node: None, why, origin, hint: None }
}

/// The Order, or the Group, that puts one before the other.
fn order_between<'a>(spec: &'a Spec, first: &InstanceId, then: &ResourceId) -> Option<&'a Origin> {
    let holds = |name: &ResourceId, wanted: &ResourceId| name == wanted || spec.primitives_of(name).contains(&wanted);
    let order = spec.orders.iter().find(|(_, order)| {
        holds(&order.then.resource, then)
            && std::iter::once(&order.first).chain(&order.or).any(|end| holds(&end.resource, &first.resource))
    });
    let group = || spec.group_of(then).filter(|group| spec.group_of(&first.resource) == Some(*group));
    match order {
        // The parts of one document are called NAME.2, NAME.3 …
        Some((name, _)) => spec
            .origin(Kind::Order, name)
            .or_else(|| spec.origin(Kind::Order, name.rsplit_once('.').map_or(name, |(document, _)| document))),
        None => spec.origin(Kind::Group, group()?.as_str()),
    }
}
