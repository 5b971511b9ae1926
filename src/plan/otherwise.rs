//! What would have to be otherwise for a resource to go to a node.
//!
//! Input: a spec, a state, a resource and a node. Output: the smallest changes, of one thing or of two, after which
//! [`assign()`] sends it there. Each was tried: nothing is concluded from scores.
//!
//! Invariants: at most [`MAX_TRIES`] plans are made, and two of the question itself, so that asking costs a running cluster
//! little; what concerns the resource itself is tried first. An empty answer means that none of these changes is enough, not that nothing is.

use super::assign;
use super::nodes::in_force;
use crate::model::{Kind, NodeId, Origin, OverrideId, ResourceId, Spec, TargetRole};
use crate::state::{Membership, Override, OverrideKind, Scope, State};
use std::collections::BTreeSet;

/// A plan of a large cluster takes some 15 ms, and this may be asked of the node that leads it.
const MAX_TRIES: usize = 64;

/// One thing that would be otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `without the Location \`at-home\``
    pub what: String,
    /// Where it is written, if it is.
    pub origin: Option<Origin>,
}

/// Whether everything that might was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tried {
    All,
    /// There were too many combinations, or there was no time for them.
    CutShort,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Edit {
    NoLocation(String),
    NoColocation(String),
    NoOverride(OverrideId),
    Online,
    NoFailures,
    NoStickiness,
    Started,
    Room,
    /// Where it is now, nothing may run.
    NotThere(NodeId),
}

/// The changes after which `resource`, all of it, has a copy on `node`. Empty if it has already.
///
/// `patience` is asked before each plan whether there is time for it: the clock is the caller's.
pub fn otherwise(
    spec: &Spec,
    state: &State,
    resource: &ResourceId,
    node: &NodeId,
    patience: &dyn Fn() -> bool,
) -> (Vec<Vec<Change>>, Tried) {
    let question = Question { spec, state, names: names(spec, resource), node };
    if question.members().next().is_none() || !spec.nodes.contains_key(node) || question.goes_there(spec, state) {
        return (Vec::new(), Tried::All);
    }
    let edits = question.edits();
    let mut tries = MAX_TRIES;
    let mut tried = Tried::All;
    let mut try_these = |edits: &[&Edit]| {
        if tries == 0 || !patience() {
            tried = Tried::CutShort;
            return None;
        }
        tries -= 1;
        let (mut spec, mut state) = (spec.clone(), state.clone());
        edits.iter().for_each(|edit| question.apply(edit, &mut spec, &mut state));
        question.goes_there(&spec, &state).then(|| edits.iter().map(|edit| question.told(edit)).collect())
    };
    let alone: Vec<Vec<Change>> = edits.iter().filter_map(|edit| try_these(&[edit])).collect();
    if !alone.is_empty() {
        return (alone, tried);
    }
    let pairs = edits.iter().enumerate().flat_map(|(place, one)| edits[place + 1..].iter().map(move |two| [one, two]));
    let both = pairs.filter_map(|pair| try_these(&pair)).collect();
    (both, tried)
}

struct Question<'a> {
    spec: &'a Spec,
    state: &'a State,
    /// The resource, what it is made of, and what it is part of.
    names: BTreeSet<ResourceId>,
    node: &'a NodeId,
}

fn names(spec: &Spec, resource: &ResourceId) -> BTreeSet<ResourceId> {
    let mut names: BTreeSet<ResourceId> = [resource.clone()].into();
    names.extend(spec.primitives_of(resource).into_iter().cloned());
    for name in names.clone() {
        names.extend(spec.group_of(&name).cloned());
        names.extend(spec.clone_of(&name).map(|(clone, _)| clone.clone()));
    }
    names
}

impl<'a> Question<'a> {
    /// The primitives among the names.
    fn members(&self) -> impl Iterator<Item = &ResourceId> {
        self.names.iter().filter(|name| self.spec.resources.contains_key(*name))
    }

    fn goes_there(&self, spec: &Spec, state: &State) -> bool {
        let placements = assign(spec, state).placements;
        let there = |member: &ResourceId| {
            let copies = placements.iter().filter(|(instance, _)| &instance.resource == member);
            copies.into_iter().any(|(_, to)| to.as_ref().is_some_and(|to| &to.node == self.node))
        };
        self.members().all(there)
    }

    /// What could be otherwise: what concerns the resource, then the rest.
    fn edits(&self) -> Vec<Edit> {
        let mut edits = Vec::new();
        let membership = self.state.nodes.get(self.node).map(|node| node.membership);
        if membership.is_some_and(|membership| membership != Membership::Online) {
            edits.push(Edit::Online);
        }
        let mut far = Vec::new();
        for (id, o) in self.state.overrides.iter().filter(|(_, o)| in_force(self.state, o)) {
            let own = match (&o.scope, &o.kind) {
                (Scope::Node(node), _) => node == self.node,
                (Scope::Resource(name), _) => self.names.contains(name),
                (Scope::Cluster, _) => true,
            };
            if own { edits.push(Edit::NoOverride(*id)) } else { far.push(Edit::NoOverride(*id)) }
        }
        if self.members().any(|member| self.spec.resources[member].target_role == TargetRole::Stopped) {
            edits.push(Edit::Started);
        }
        if self.state.history.keys().any(|key| &key.node == self.node && self.names.contains(&key.instance.resource)) {
            edits.push(Edit::NoFailures);
        }
        for (name, location) in &self.spec.locations {
            let edit = Edit::NoLocation(name.clone());
            if self.names.contains(&location.resource) { edits.push(edit) } else { far.push(edit) }
        }
        for (name, colocation) in &self.spec.colocations {
            let edit = Edit::NoColocation(name.clone());
            let ends = [&colocation.resource.resource, &colocation.with.resource];
            if ends.into_iter().any(|end| self.names.contains(end)) { edits.push(edit) } else { far.push(edit) }
        }
        edits.push(Edit::NoStickiness);
        if self.members().any(|member| !self.spec.resources[member].utilization.is_empty()) {
            edits.push(Edit::Room);
        }
        let placements = assign(self.spec, self.state).placements;
        let homes = placements.into_iter().filter(|(instance, _)| self.names.contains(&instance.resource));
        let homes: BTreeSet<NodeId> = homes.filter_map(|(_, to)| Some(to?.node)).collect();
        edits.extend(homes.into_iter().filter(|home| home != self.node).map(Edit::NotThere));
        edits.extend(far);
        edits
    }

    fn apply(&self, edit: &Edit, spec: &mut Spec, state: &mut State) {
        match edit {
            Edit::NoLocation(name) => _ = spec.locations.remove(name),
            Edit::NoColocation(name) => _ = spec.colocations.remove(name),
            Edit::NoOverride(id) => _ = state.overrides.remove(id),
            Edit::Online => {
                if let Some(node) = state.nodes.get_mut(self.node) {
                    node.membership = Membership::Online;
                    node.suspicion = None;
                }
            }
            Edit::NoFailures => {
                state.history.retain(|key, _| &key.node != self.node || !self.names.contains(&key.instance.resource));
            }
            Edit::NoStickiness => self.each(spec, |resource| resource.stickiness = 0),
            Edit::Started => self.each(spec, |resource| resource.target_role = TargetRole::Started),
            Edit::Room => self.each(spec, |resource| resource.utilization.clear()),
            Edit::NotThere(home) => {
                let drained = Override {
                    scope: Scope::Node(home.clone()),
                    kind: OverrideKind::Drain,
                    by: String::new(),
                    reason: String::new(),
                    since_ms: state.now_ms,
                    expires_ms: None,
                };
                state.overrides.insert(OverrideId(u64::MAX), drained);
            }
        }
    }

    fn each(&self, spec: &mut Spec, change: impl Fn(&mut crate::model::Resource)) {
        spec.resources.iter_mut().filter(|(name, _)| self.names.contains(*name)).for_each(|(_, found)| change(found));
    }

    fn told(&self, edit: &Edit) -> Change {
        let node = self.node;
        let change = |what: String, origin: Option<&Origin>| Change { what, origin: origin.cloned() };
        let first = self.members().next();
        let written = || first.and_then(|name| self.spec.origin(Kind::Resource, name.as_str()));
        match edit {
            Edit::NoLocation(name) => {
                change(format!("without the Location `{name}`"), self.spec.origin(Kind::Location, name))
            }
            Edit::NoColocation(name) => {
                change(format!("without the Colocation `{name}`"), self.spec.origin(Kind::Colocation, name))
            }
            Edit::NoOverride(id) => {
                let o = &self.state.overrides[id];
                change(format!("without the {} of {} ({})", o.kind.word(), o.scope, super::explain::by(o)), None)
            }
            Edit::Online => change(format!("if {node} were online"), None),
            Edit::NoFailures => {
                let name = self.names.iter().find(|name| self.spec.resources.contains_key(*name));
                let name = name.map_or(String::new(), ToString::to_string);
                change(format!("if its failures on {node} were forgotten (`hafen cleanup {name}`)"), None)
            }
            Edit::NoStickiness => change("if it did not stick to where it is (`stickiness: 0`)".into(), written()),
            Edit::Started => change("if it were wanted (`targetRole: Started`)".into(), written()),
            Edit::Room => change(format!("if {node} had room for it"), self.spec.origin(Kind::Node, node.as_str())),
            Edit::NotThere(home) => change(format!("if it could not run on {home}"), None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Strength;
    use crate::plan::testing::World;

    fn told(world: &World, resource: &str, node: &str) -> Vec<String> {
        let (found, _) = otherwise(&world.spec, &world.state, &resource.into(), &node.into(), &|| true);
        let text = |changes: Vec<Change>| changes.into_iter().map(|c| c.what).collect::<Vec<_>>().join(" and ");
        found.into_iter().map(text).collect()
    }

    fn world() -> World {
        let mut w = World::new(&["n1", "n2", "n3"]);
        w.resources(&["db", "web"]).runs(&["db@n1"]);
        w.commit();
        w
    }

    #[test]
    fn one_change_is_told_where_one_is_enough() {
        let mut w = world();
        assert_eq!(w.placed(), "db@n1 web@n2");
        assert_eq!(told(&w, "db", "n1"), [] as [&str; 0], "it is there");
        w.locate("db", "n2", Strength::Forbidden, 1);
        w.locate("db", "n1", Strength::Preferred, 100);
        assert_eq!(told(&w, "web", "n2"), [] as [&str; 0]);
        let found = told(&w, "db", "n3");
        assert!(found.contains(&"if it could not run on n1".to_owned()), "{found:?}");
        assert!(!found.iter().any(|what| what.contains("db-n2")), "that one does not matter: {found:?}");
    }

    #[test]
    fn two_are_told_where_none_is_enough_alone() {
        let mut w = world();
        w.locate("db", "n2", Strength::Forbidden, 1);
        w.locate("db", "n1", Strength::Preferred, 100);
        w.suspect("n3");
        let found = told(&w, "db", "n2");
        assert!(!found.is_empty() && found.iter().all(|both| both.contains(" and ")), "{found:?}");
        assert!(
            found.iter().any(|both| both.contains("Location") && both.contains("could not run on n1")),
            "{found:?}"
        );
        assert_eq!(told(&w, "nothing", "n2"), [] as [&str; 0]);
        assert_eq!(told(&w, "db", "n9"), [] as [&str; 0]);
    }

    #[test]
    fn what_each_pair_needs_is_in_each_of_them() {
        let mut w = World::new(&["n1", "n2"]);
        w.resources(&["db", "web"]).colocate("web", "db", Strength::Required, 1);
        w.runs(&["db@n1", "web@n1"]).commit();
        w.drain("n2");
        let found = told(&w, "web", "n2");
        assert!(found.iter().any(|both| both.contains("could not run on n1")), "{found:?}");
        assert!(found.iter().all(|both| both.contains("the drain of node n2")), "{found:?}");
    }
}
