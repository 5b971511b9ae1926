//! Location constraints.
//!
//! Input: an `rsc_location` and the nodes. Output: [`Location`]s with the nodes they name: rules are evaluated now, with
//! the attributes and the time of the CIB. Pacemaker Explained, "Location" and "Rules".
//!
//! Does not know of opt-in clusters: a location with weight 0 only names its nodes, and the planner knows what that means.

use super::constraints::{Constraints, insert, role};
use super::options::Ids;
use super::rules::{Asked, NodeFacts, holds};
use super::words::score;
use super::xml::El;
use crate::model::{Location, NodeId, NodeSelector, ResourceId, Role, Score, Strength};
use std::collections::BTreeMap;

pub(super) struct Locator<'l, 'a> {
    pub ids: &'l Ids<'a>,
    pub nodes: &'l [NodeFacts<'a>],
    /// Names of the nodes inside of containers.
    pub inside: Vec<&'a str>,
    pub now: Option<i64>,
    pub locations: BTreeMap<String, Location>,
    /// Resources that are not to be looked for on some nodes (`resource-discovery`).
    pub unasked: Vec<(&'a str, &'a str)>,
}

/// How much each node is worth, by node; nodes without an entry are not named.
type Worth<'a> = BTreeMap<&'a str, Score>;

impl<'a> Locator<'_, 'a> {
    pub fn location(&mut self, el: El<'a>, constraints: &mut Constraints<'_, 'a>) {
        let lifetime = el.child("lifetime").and_then(|lifetime| lifetime.child("rule"));
        if lifetime.is_some_and(|rule| !holds(rule, &Asked { now: self.now, ..Asked::default() })) {
            return;
        }
        let mut names: Vec<(&'a str, Option<Role>)> = Vec::new();
        let own_role = promoted(el.attr("role"));
        if let Some(rsc) = el.attr("rsc") {
            names.extend(constraints.named(rsc).into_iter().map(|name| (name, own_role)));
        }
        if let Some(pattern) = el.attr("rsc-pattern") {
            match super::pattern::matching(pattern, constraints.services.top.iter().copied()) {
                Some(matching) => names.extend(matching.into_iter().map(|name| (name, own_role))),
                None => constraints.losses.matters(el, "its pattern cannot be read"),
            }
        }
        for set in el.all("resource_set") {
            let role = promoted(set.attr("role")).or(own_role);
            names.extend(constraints.set_members(set).into_iter().map(|name| (name, role)));
        }
        if names.is_empty() {
            let dropped = el.attr("rsc").is_some_and(|name| constraints.services.dropped.contains(&name));
            return match dropped {
                true => constraints.losses.matters(el, "it names something that was left out"),
                false => constraints.losses.harmless(el, "it names nothing that is configured"),
            };
        }
        for (name, role) in names {
            self.locate(el, name, role, constraints);
        }
    }

    fn locate(&mut self, el: El<'a>, name: &'a str, role: Option<Role>, constraints: &Constraints<'_, 'a>) {
        let mut named = Worth::new();
        if let Some(node) = el.attr("node") {
            let known = self.nodes.iter().map(|facts| facts.name).find(|name| name.eq_ignore_ascii_case(node));
            let known = known.or_else(|| self.inside.contains(&node).then_some(node));
            if let (Some(node), Some(score)) = (known, el.attr("score").map_or(Some(Score::ZERO), score)) {
                let worth = Worth::from([(node, score)]);
                self.add(el.id(), name, role, &worth);
                named.extend(worth);
            }
        }
        for rule in el.all("rule") {
            let role = promoted(rule.attr("role")).or(role);
            let worth = self.rule(rule, name, constraints);
            self.add(el.id(), name, role, &worth);
            named.extend(worth);
        }
        match el.attr("resource-discovery") {
            Some("exclusive") => {
                let others = self.nodes.iter().filter(|facts| !named.contains_key(facts.name));
                let worth: Worth<'a> = others.map(|facts| (facts.name, Score::NEVER)).collect();
                self.unasked.extend(worth.keys().map(|node| (name, *node)));
                self.add(el.id(), name, None, &worth);
            }
            Some("never") => self.unasked.extend(named.keys().map(|node| (name, *node))),
            Some(_) | None => {}
        }
    }

    fn rule(&self, rule: El<'a>, name: &str, constraints: &Constraints<'_, 'a>) -> Worth<'a> {
        let mut worth = Worth::new();
        let prim = constraints.services.members(name).first().and_then(|prim| constraints.services.prims.get(prim));
        let prim = prim.filter(|_| looks_up(rule));
        for facts in self.nodes {
            let asked = Asked { node: Some(facts), now: self.now, ..Asked::default() };
            // A parameter can differ from node to node.
            let params = prim.map(|prim| self.ids.values(prim.el, "instance_attributes", &asked));
            let params = params.map(|mut own| {
                for (name, value) in prim.into_iter().flat_map(|prim| &prim.params) {
                    own.entry(name).or_insert(value);
                }
                own
            });
            let asked = Asked { params: params.as_ref(), meta: prim.map(|prim| &prim.meta), ..asked };
            if !holds(rule, &asked) {
                continue;
            }
            let score = match rule.attr("score-attribute") {
                // A node that does not say how much it is worth is worth nothing at all.
                Some(attribute) => facts.attribute(attribute).and_then(score).unwrap_or(Score::NEVER),
                None => rule.attr("score").and_then(score).unwrap_or(Score::ZERO),
            };
            worth.insert(facts.name, score);
        }
        worth
    }

    /// One location for all nodes with the same score.
    pub fn add(&mut self, id: &str, name: &str, role: Option<Role>, worth: &Worth<'_>) {
        let mut by_score: BTreeMap<Score, Vec<NodeId>> = BTreeMap::new();
        for (node, score) in worth {
            by_score.entry(*score).or_default().push(NodeId::new(*node));
        }
        for (score, nodes) in by_score {
            let strength = match score {
                Score::NEVER => Strength::Forbidden,
                score if score < Score::ZERO => Strength::Avoid,
                // Plus infinity leaves other nodes to fall back on, which `Required` does not.
                _ => Strength::Preferred,
            };
            let weight = if strength == Strength::Forbidden { 1 } else { score.value().unsigned_abs() };
            let nodes = NodeSelector::Names(nodes);
            let location = Location { resource: ResourceId::new(name), nodes, strength, weight, role };
            insert(&mut self.locations, id, location);
        }
    }
}

/// Whether a rule compares with a parameter of the resource.
fn looks_up(rule: El<'_>) -> bool {
    rule.children().any(|child| child.attr("value-source").is_some() || looks_up(child))
}

/// Only the promoted role is one of its own: what runs runs in the other one first.
fn promoted(word: Option<&str>) -> Option<Role> {
    role(word).filter(|role| *role == Role::Promoted)
}
