//! What keeps a resource off a node, one by one, with what would help.
//!
//! Input: spec and state, a resource, group or clone, and a node. Output: [`Obstacle`]s: the bans of the very scores that
//! place it. Empty: nothing forbids the node, another one is only better.
//!
//! What the members say for themselves comes first; what they are colocated with is named only where nothing else is.
//! Does not judge where anything goes: that is `assign`.

use super::assign::solve;
use super::explain::{by, origin};
use super::instances::World;
use super::links::links;
use super::nodes::Unfit;
use super::score::{What, has_alternative, parts};
use crate::model::{NodeId, Origin, ResourceId, Spec};
use crate::state::State;
use std::collections::{BTreeMap, BTreeSet};

/// One reason why a node may not run a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// A whole clause, which names the node and the resource where they matter.
    pub why: String,
    /// The line that asks for it.
    pub origin: Option<Origin>,
    /// What would end it.
    pub hint: String,
    pub of: Ground,
}

/// Whose ground it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// The resource itself may not run there.
    Own,
    /// What it is colocated with, or grouped with, may not.
    Neighbours,
}

/// Every ban of a node for the members of a resource, group or clone.
pub fn obstacles(spec: &Spec, state: &State, resource: &ResourceId, node: &NodeId) -> Vec<Obstacle> {
    let world = World::new(spec, state);
    let Some(&at) = world.node_ids.get(node) else { return Vec::new() };
    let members = world.members(resource);
    let asked = |node: usize| node == at;
    let own = own(&world, &members, asked);
    with_neighbours(&world, &members, asked, own).remove(&at).unwrap_or_default()
}

/// What keeps it off every node, in one go; nodes that nothing forbids are not in it. Whether there is room, and what
/// neighbours say, is told only where some node is forbidden by nothing else.
pub fn obstacles_by_node(spec: &Spec, state: &State, resource: &ResourceId) -> BTreeMap<NodeId, Vec<Obstacle>> {
    let world = World::new(spec, state);
    let members = world.members(resource);
    let own = own(&world, &members, |_| true);
    let found = match own.len() == world.nodes.len() {
        true => own,
        false => with_neighbours(&world, &members, |_| true, own),
    };
    found.into_iter().map(|(node, found)| (world.nodes[node].id.clone(), found)).collect()
}

/// What the members say of nodes themselves.
fn own(world: &World<'_>, members: &[usize], asked: impl Fn(usize) -> bool) -> BTreeMap<usize, Vec<Obstacle>> {
    let mut own: BTreeMap<usize, Vec<Obstacle>> = BTreeMap::new();
    for &member in members {
        parts(world, member, &mut |node, part, what| {
            if asked(node) && part.is_never() {
                own.entry(node).or_default().push(obstacle(world, member, node, &what, Ground::Own));
            }
        });
    }
    own
}

/// The same with what their neighbours say of nodes of which they say nothing themselves.
fn with_neighbours(
    world: &World<'_>,
    members: &[usize],
    asked: impl Fn(usize) -> bool,
    mut own: BTreeMap<usize, Vec<Obstacle>>,
) -> BTreeMap<usize, Vec<Obstacle>> {
    let mut neighbours: BTreeMap<usize, Vec<Obstacle>> = BTreeMap::new();
    let links = links(world);
    for &member in members {
        let placer = solve(world, &links, Some(world.unit_of[member]));
        for (node, part, what) in placer.trace.iter().flat_map(|trace| &trace.notes) {
            if asked(*node) && part.is_never() {
                let is_own = matches!(what, What::Capacity);
                let (map, of) = if is_own { (&mut own, Ground::Own) } else { (&mut neighbours, Ground::Neighbours) };
                map.entry(*node).or_default().push(obstacle(world, member, *node, what, of));
            }
        }
    }
    for (node, found) in neighbours {
        own.entry(node).or_insert(found);
    }
    own
}

/// Whether the manifests alone let more than one node run it. Where they do not, nobody could take over.
pub fn has_other_home(spec: &Spec, state: &State, resource: &ResourceId) -> bool {
    let world = World::new(spec, state);
    world.res_ids.get(resource).is_some_and(|place| has_alternative(&world, *place))
}

/// Resources that the manifests alone let run on more than one node, in one go.
pub fn with_other_home(spec: &Spec, state: &State) -> BTreeSet<ResourceId> {
    let world = World::new(spec, state);
    let movable = (0..world.res.len()).filter(|place| has_alternative(&world, *place));
    movable.map(|place| world.res[place].id.clone()).collect()
}

fn obstacle(world: &World<'_>, member: usize, node: usize, what: &What<'_>, of: Ground) -> Obstacle {
    let (resource, name) = (world.res[member].id, world.nodes[node].id);
    let line = origin(world.spec, resource, what).cloned();
    let cleanup = || format!("`hafen cleanup {resource}` forgets its failures");
    let in_git = || match &line {
        Some(line) => format!("change {line}, and push"),
        None => "change the manifests, and push".to_owned(),
    };
    let (why, hint) = match what {
        What::Unfit(unfit) => (format!("{name} {}", super::explain::word(what)), unfit_hint(name, unfit)),
        What::OptIn => {
            (format!("no Location of {resource} names {name}, and the cluster is not `symmetric`"), in_git())
        }
        What::Location(location) => (format!("Location {location} keeps {resource} off {name}"), in_git()),
        What::Override(o) => {
            (format!("{} keeps {resource} off {name}", by(o)), format!("`hafen move {resource} --clear` ends that"))
        }
        What::Threshold(failures) => (format!("{resource} failed {failures} times on {name}"), cleanup()),
        What::StartFailed { .. } => (format!("a start of {resource} failed on {name}"), cleanup()),
        What::Moved => (format!("{resource} failed on {name} (onFail: Move)"), cleanup()),
        What::NotInstalled("") => (
            format!("{name} lacks what the agent of {resource} needs"),
            format!("install it there, then `hafen cleanup {resource}`"),
        ),
        What::NotInstalled(text) => (
            format!("{name} cannot run {resource}: {text}"),
            format!("install it there, then `hafen cleanup {resource}`"),
        ),
        What::Capacity => (format!("{name} has no room for {resource}"), in_git()),
        What::With(Some(colocation)) | What::Dependant(Some(colocation)) => (
            format!("Colocation {colocation} keeps {resource} off {name}"),
            format!("`hafen why {resource} --not {name}` tells more"),
        ),
        What::Promotion(_) | What::NotPromoted(_) => {
            (format!("{resource} is not to be promoted on {name}"), format!("`hafen why {resource}` tells more"))
        }
        What::With(None) | What::Dependant(None) | What::Stickiness => (
            format!("{resource} goes where the rest of its group can run"),
            format!("`hafen why {resource} --not {name}` tells more"),
        ),
    };
    Obstacle { why, origin: line, hint, of }
}

fn unfit_hint(node: &NodeId, unfit: &Unfit<'_>) -> String {
    match unfit {
        Unfit::Unlisted => format!("add a Node document for {node}, and push"),
        Unfit::Witness => format!("its Node document says `role: Witness`: {node} runs nothing"),
        Unfit::NotOnline(_) | Unfit::Doomed => "`hafen status` shows which nodes are online".to_owned(),
        Unfit::Drained(_) => format!("`hafen undrain {node}` lets it run resources again"),
        Unfit::Standby(resource) => format!("`hafen cleanup {resource} --node {node}` ends the standby"),
        Unfit::Unconnected => format!("`hafen why` its connection tells why {node} is not reached"),
        Unfit::Remote => "let a node of the cluster itself run it".to_owned(),
        Unfit::Maintenance => "`hafen maintenance off` ends it (`--node` and `--resource` as it was begun)".to_owned(),
    }
}
