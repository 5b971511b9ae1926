//! Can every resource run somewhere, alone and with what it must be with?
//!
//! Input → output: a [`Tree`] and its [`Topology`] → findings that name the constraints, and their lines, which together
//! leave no node: Locations alone, Locations and Colocations, capacity.
//!
//! Invariant: what is found can hold at no time, whatever fails; what only a full cluster cannot keep is for `plan` and
//! `simulate`. Where a rule with dates or attributes decides, a node counts as allowed.
//!
//! Deliberately absent: trees with documents that cannot be read (what they say might be what is missing), and clusters
//! with `symmetric: false`, where a resource without a Location may follow another one to where that is allowed.

use super::document::{Doc, Tree};
use super::eligibility::selects;
use super::explain::Code;
use super::pairs;
use super::raw::{Quantity, RawLocation, RawNode};
use super::report::Report;
use super::topology::Topology;
use crate::model::{Influence, Kind, NodeRole, ResourceId, Strength};
use std::collections::{BTreeMap, BTreeSet};

/// Constraints named in one message.
const MAX_NAMED: usize = 4;

pub(super) fn check(tree: &Tree, topology: &Topology, report: &mut Report) {
    let symmetric = tree.clusters().next().and_then(|(_, cluster)| cluster.symmetric).unwrap_or(true);
    let runs = |node: &RawNode| node.role.unwrap_or(NodeRole::Voter).runs_resources();
    let nodes: Vec<(&Doc, &RawNode)> = tree.nodes().filter(|(_, node)| runs(node)).collect();
    if tree.incomplete || !tree.broken_kinds.is_empty() || nodes.is_empty() || !symmetric {
        return;
    }
    let mut locations: BTreeMap<&str, Vec<(&Doc, &RawLocation)>> = BTreeMap::new();
    for (doc, location) in tree.locations() {
        locations.entry(&location.resource.0).or_default().push((doc, location));
    }
    let places = Places { tree, topology, nodes, locations };
    let mut units: BTreeMap<&str, Unit> = BTreeMap::new();
    for (doc, _) in tree.resources() {
        let of_resource = places.of(&doc.name);
        if of_resource.nodes.is_empty() {
            let why = places.why(&[&of_resource], report);
            let message = format!("`{}` can run nowhere: {why}", doc.name);
            let help = "remove or weaken one of these constraints".to_owned();
            report.add(Code::RunsNowhere, doc.file, doc.name_span(), message, Some(help));
        }
        let name = topology.group_of(&doc.name).unwrap_or(&doc.name);
        match units.get_mut(name) {
            None => _ = units.insert(name, of_resource),
            Some(unit) => unit.narrow(&of_resource),
        }
    }
    for (name, unit) in &units {
        places.room(name, unit, report);
    }
    places.together(units, report);
}

struct Places<'a> {
    tree: &'a Tree,
    topology: &'a Topology<'a>,
    nodes: Vec<(&'a Doc, &'a RawNode)>,
    locations: BTreeMap<&'a str, Vec<(&'a Doc, &'a RawLocation)>>,
}

/// What is on one node together: a resource, a group, or what colocations bind.
#[derive(Clone)]
struct Unit<'a> {
    nodes: BTreeSet<usize>,
    /// The first constraint that takes each node away.
    barred: BTreeMap<usize, &'a Doc>,
    members: Vec<&'a str>,
}

impl<'a> Unit<'a> {
    fn narrow(&mut self, other: &Unit<'a>) {
        self.nodes = self.nodes.intersection(&other.nodes).copied().collect();
        for (node, doc) in &other.barred {
            self.barred.entry(*node).or_insert(doc);
        }
        self.members.extend(&other.members);
    }
}

impl<'a> Places<'a> {
    /// Where a resource may run by the Locations of itself, its group, its clone and its bundle.
    fn of(&self, resource: &'a str) -> Unit<'a> {
        let topology = self.topology;
        let clone = topology.clone_around(resource).map(|(name, _)| name);
        let names = [Some(resource), topology.group_of(resource), clone, topology.bundle_of(resource)];
        let found = || names.iter().flatten().filter_map(|name| self.locations.get(name)).flatten();
        let mut unit = Unit { nodes: BTreeSet::new(), barred: BTreeMap::new(), members: vec![resource] };
        for (place, (node, _)) in self.nodes.iter().enumerate() {
            let bars = |location: &RawLocation| match location.strength.unwrap_or(Strength::Required) {
                Strength::Forbidden => selects(&location.nodes, node) == Some(true),
                Strength::Required => selects(&location.nodes, node) == Some(false),
                Strength::Preferred | Strength::Avoid => false,
            };
            // A constraint on a role says nothing of where it may run at all.
            match found().find(|(_, location)| location.role.is_none() && bars(location)) {
                Some((doc, _)) => _ = unit.barred.insert(place, doc),
                None => _ = unit.nodes.insert(place),
            }
        }
        unit
    }

    /// `not on n1, n2 (a, f.yaml:1:2), not on n3 (b, f.yaml:5:2)`.
    fn why(&self, units: &[&Unit<'a>], report: &Report) -> String {
        let mut by_constraint: Vec<(&Doc, Vec<&str>)> = Vec::new();
        for (place, doc) in units.iter().flat_map(|unit| &unit.barred) {
            let node = self.nodes[*place].0.name.as_str();
            match by_constraint.iter_mut().find(|(other, _)| std::ptr::eq(*other, *doc)) {
                Some((_, nodes)) if nodes.contains(&node) => {}
                Some((_, nodes)) => nodes.push(node),
                None => by_constraint.push((doc, vec![node])),
            }
        }
        let part = |(doc, nodes): &(&Doc, Vec<&str>)| {
            let at = report.place(doc.file, doc.name_span());
            format!("not on {} by `{}` ({at})", nodes.join(", "), doc.name)
        };
        let mut parts: Vec<String> = by_constraint.iter().take(MAX_NAMED).map(part).collect();
        if by_constraint.len() > MAX_NAMED {
            parts.push(format!("and {} more", by_constraint.len() - MAX_NAMED));
        }
        parts.join(", ")
    }

    fn names(&self, nodes: &BTreeSet<usize>) -> String {
        nodes.iter().map(|place| self.nodes[*place].0.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// What all members take of a node, by what it is.
    fn demand(&self, unit: &Unit) -> BTreeMap<&'a str, i64> {
        let mut demand: BTreeMap<&str, i64> = BTreeMap::new();
        for member in &unit.members {
            let Some(super::document::RawSpec::Resource(resource)) =
                self.tree.find(Kind::Resource, member).and_then(|doc| doc.spec.as_ref())
            else {
                continue;
            };
            for (what, Quantity(amount)) in resource.utilization.iter().flatten() {
                let sum = demand.entry(what.as_str()).or_default();
                *sum = sum.saturating_add(*amount);
            }
        }
        demand
    }

    /// What no allowed node has enough of, in words; None if one fits.
    fn lacks(&self, unit: &Unit) -> Option<String> {
        let demand = self.demand(unit);
        let has = |place: &usize, what: &str| {
            let capacity = self.nodes[*place].1.capacity.as_ref().and_then(|capacity| capacity.get(what));
            capacity.map_or(0, |Quantity(amount)| *amount)
        };
        let fits = |place: &usize| demand.iter().all(|(what, amount)| *amount <= has(place, what));
        if unit.nodes.is_empty() || demand.is_empty() || unit.nodes.iter().any(fits) {
            return None;
        }
        let most = |what: &str| unit.nodes.iter().map(|place| has(place, what)).max().unwrap_or(0);
        Some(match demand.iter().find(|(what, amount)| **amount > most(what)) {
            Some((what, amount)) => {
                format!("{amount} of `{what}`, of which no node that may run this has more than {}", most(what))
            }
            None => {
                let all: Vec<String> = demand.iter().map(|(what, amount)| format!("{amount} of `{what}`")).collect();
                format!("{}, and no node that may run this has all of that", all.join(" and "))
            }
        })
    }

    fn room(&self, name: &str, unit: &Unit, report: &mut Report) {
        let Some(too_much) = self.lacks(unit) else { return };
        let Some(doc) = self.tree.find(Kind::Resource, name) else { return };
        let message = format!("`{name}` takes {too_much}");
        let help = format!("correct `utilization` or the `capacity` of {}", self.names(&unit.nodes));
        report.add(Code::NoRoom, doc.file, doc.name_span(), message, Some(help));
    }

    /// Colocations, each with what those before it bind already.
    fn together(&self, mut units: BTreeMap<&'a str, Unit<'a>>, report: &mut Report) {
        // What is bound to another unit is looked up there.
        let mut bound: BTreeMap<&str, &str> = BTreeMap::new();
        let unit_of = |id: &ResourceId| {
            let content = self.topology.clone_around(id.as_str()).map(|(_, clone)| clone.resource.0.as_str());
            let name = content.unwrap_or(id.as_str());
            self.topology.group_of(name).unwrap_or(name).to_owned()
        };
        for (doc, raw) in self.tree.colocations() {
            for pair in pairs::colocations(raw, |_| Influence::Always) {
                if pair.node_label.is_some() || !matches!(pair.strength, Strength::Required | Strength::Forbidden) {
                    continue;
                }
                let (a, b) = (&pair.resource.resource, &pair.with.resource);
                let root = |name: &str| {
                    let mut name = units.get_key_value(name).map(|(name, _)| *name)?;
                    while let Some(next) = bound.get(name) {
                        name = next;
                    }
                    Some(name)
                };
                let (Some(one), Some(other)) = (root(&unit_of(a)), root(&unit_of(b))) else { continue };
                // Copies of a clone are on several nodes: whoever is with one of them is with one only.
                let single = [a, b].iter().all(|id| self.topology.clone_around(id.as_str()).is_none());
                let (left, right) = (&units[one], &units[other]);
                if one == other || left.nodes.is_empty() || right.nodes.is_empty() {
                    continue;
                }
                if pair.strength == Strength::Forbidden {
                    if single && left.nodes == right.nodes && left.nodes.len() == 1 {
                        let (node, why) = (self.names(&left.nodes), self.why(&[left, right], report));
                        let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
                        let message = format!("`{a}` must not be with `{b}`, but both may run only on {node}{why}");
                        self.never(doc, message, report);
                    }
                    continue;
                }
                let mut both = left.clone();
                both.narrow(right);
                if both.nodes.is_empty() {
                    let (on_a, on_b) = (self.names(&left.nodes), self.names(&right.nodes));
                    let why = self.why(&[left, right], report);
                    let message =
                        format!("`{a}` must be with `{b}`, but may run only on {on_a}, and `{b}` on {on_b}: {why}");
                    self.never(doc, message, report);
                } else if let Some(too_much) = self.lacks(&both)
                    && single
                    && self.lacks(left).is_none()
                    && self.lacks(right).is_none()
                {
                    let message = format!("`{a}` must be with `{b}`, and together they take {too_much}");
                    let help = "correct `utilization` or `capacity`, or weaken this to `Preferred`".to_owned();
                    report.add(Code::NoRoom, doc.file, doc.name_span(), message, Some(help));
                } else if single {
                    bound.insert(other, one);
                    units.insert(one, both);
                }
            }
        }
    }

    fn never(&self, doc: &Doc, message: String, report: &mut Report) {
        let help = "remove or weaken one of these constraints".to_owned();
        report.add(Code::NeverTogether, doc.file, doc.name_span(), message, Some(help));
    }
}
