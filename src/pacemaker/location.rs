//! Location constraints.
//!
//! Input: an `rsc_location` and the nodes. Output: [`Location`]s. Rules stay rules; one that only names nodes becomes their
//! names, and one that a plan cannot ask is evaluated now and named as a loss. Pacemaker Explained, "Location" and "Rules".
//!
//! Does not know of opt-in clusters: a location with weight 0 only names its nodes, and the planner knows what that means.

use super::constraints::{Constraints, insert, role};
use super::options::Ids;
use super::rules::{Asked, NodeFacts, holds, typed};
use super::words::score;
use super::xml::El;
use crate::model::{
    Comparison, Discovery, Location, NodeId, NodeSelector, Operator, ResourceId, Role, Rule, Score, Strength,
};
use std::collections::BTreeMap;

/// What is said of a rule that the planner cannot ask.
const FROZEN: &str = "a plan cannot ask this again: it stays as it is now";
/// Of a location whose weight is that of the node.
const USUAL_WEIGHT: u32 = 100;

/// When a constraint counts.
struct Lifetime {
    rule: Option<Rule>,
    holds_now: bool,
}

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
        let holds_now = lifetime.is_none_or(|rule| holds(rule, &Asked { now: self.now, ..Asked::default() }));
        let lifetime = lifetime.map(|rule| (rule, typed(rule, self.nodes)));
        if let Some((rule, None)) = lifetime {
            constraints.losses.matters(rule, FROZEN);
            if !holds_now {
                return;
            }
        }
        let lifetime = Lifetime { rule: lifetime.and_then(|(_, rule)| rule), holds_now };
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
            self.locate(el, name, role, &lifetime, constraints);
        }
    }

    fn locate(
        &mut self,
        el: El<'a>,
        name: &'a str,
        role: Option<Role>,
        lifetime: &Lifetime,
        constraints: &mut Constraints<'_, 'a>,
    ) {
        let (is_first, before) = (!self.locations.contains_key(el.id()), self.locations.len());
        let mut named = Worth::new();
        if let Some(node) = el.attr("node") {
            let known = self.nodes.iter().map(|facts| facts.name).find(|name| name.eq_ignore_ascii_case(node));
            let known = known.or_else(|| self.inside.contains(&node).then_some(node));
            if known.is_none() {
                constraints.losses.harmless(el, format!("there is no node `{node}`"));
            }
            if let (Some(node), Some(score)) = (known, el.attr("score").map_or(Some(Score::ZERO), score)) {
                let worth = Worth::from([(node, score)]);
                match &lifetime.rule {
                    Some(rule) => {
                        let rule = Rule::All(vec![rule.clone(), is_node(node)]);
                        self.add_rule(el.id(), name, role, rule, Ok(score));
                    }
                    None => self.add(el.id(), name, role, &worth),
                }
                named.extend(worth);
            }
        }
        for rule in el.all("rule") {
            let role = promoted(rule.attr("role")).or(role);
            let worth = self.rule(rule, name, constraints);
            match typed(rule, self.nodes) {
                Some(typed) if lifetime.rule.is_some() || !names_nodes(&typed) => {
                    let both = lifetime.rule.iter().cloned().chain([typed.clone()]).collect();
                    let typed = if lifetime.rule.is_some() { Rule::All(both) } else { typed };
                    let score = rule.attr("score").and_then(score).unwrap_or(Score::ZERO);
                    self.add_rule(el.id(), name, role, typed, rule.attr("score-attribute").map_or(Ok(score), Err));
                }
                // Where it only names nodes it is written as their names.
                Some(_) if rule.attr("score-attribute").is_none() => self.add(el.id(), name, role, &worth),
                Some(_) | None => {
                    constraints.losses.matters(rule, FROZEN);
                    self.add(el.id(), name, role, &worth);
                }
            }
            named.extend(worth);
        }
        if !lifetime.holds_now {
            named.clear();
        }
        let others = || self.nodes.iter().filter(|facts| !named.contains_key(facts.name)).map(|facts| facts.name);
        let discovery = match el.attr("resource-discovery") {
            Some("exclusive") => Discovery::Exclusive,
            Some("never") => Discovery::Never,
            Some(_) | None => Discovery::Always,
        };
        let others: Vec<&'a str> = others().collect();
        match discovery {
            Discovery::Exclusive => self.unasked.extend(others.iter().map(|node| (name, *node))),
            Discovery::Never => self.unasked.extend(named.keys().map(|node| (name, *node))),
            Discovery::Always => return,
        }
        // Of one document it is a field; of several, each with nodes of its own, what they come to is written out.
        let alone = is_first && self.locations.len() == before + 1;
        match self.locations.get_mut(el.id()).filter(|location| alone && location.role.is_none()) {
            Some(location) => location.discovery = discovery,
            None if discovery == Discovery::Exclusive => {
                let worth: Worth<'a> = others.into_iter().map(|node| (node, Score::NEVER)).collect();
                self.add(el.id(), name, None, &worth);
            }
            None => {}
        }
    }

    /// `score`: a score, or the attribute of the node that has it.
    fn add_rule(&mut self, id: &str, name: &str, role: Option<Role>, rule: Rule, score: Result<Score, &str>) {
        let (strength, weight) = score.map_or((Strength::Preferred, USUAL_WEIGHT), meant);
        let location = Location {
            resource: ResourceId::new(name),
            nodes: NodeSelector::Rule(rule),
            strength,
            weight,
            role,
            weight_from: score.err().map(str::to_owned),
            discovery: Discovery::Always,
        };
        insert(&mut self.locations, id, location);
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
            let (strength, weight) = meant(score);
            let nodes = NodeSelector::Names(nodes);
            let location = Location {
                resource: ResourceId::new(name),
                nodes,
                strength,
                weight,
                role,
                weight_from: None,
                discovery: Default::default(),
            };
            insert(&mut self.locations, id, location);
        }
    }
}

/// A score as the word of a location, and its weight.
fn meant(score: Score) -> (Strength, u32) {
    match score {
        Score::NEVER => (Strength::Forbidden, 1),
        score if score < Score::ZERO => (Strength::Avoid, score.value().unsigned_abs()),
        // Plus infinity leaves other nodes to fall back on, which `Required` does not.
        score => (Strength::Preferred, score.value().unsigned_abs()),
    }
}

fn is_node(name: &str) -> Rule {
    let (key, value) = ("#uname".to_owned(), Some(name.to_owned()));
    Rule::Label(Comparison { key, operator: Operator::Equal, value, compare_as: None })
}

/// Whether a rule does nothing but name nodes.
fn names_nodes(rule: &Rule) -> bool {
    let is_name = |rule: &Rule| match rule {
        Rule::Label(comparison) => comparison.key == "#uname" && comparison.operator == Operator::Equal,
        Rule::All(_) | Rule::Any(_) | Rule::Between(..) | Rule::After(_) | Rule::Before(_) | Rule::Calendar(_) => false,
    };
    match rule {
        Rule::All(rules) => matches!(rules.as_slice(), [only] if is_name(only)),
        Rule::Any(rules) => !rules.is_empty() && rules.iter().all(is_name),
        Rule::Label(_) | Rule::Between(..) | Rule::After(_) | Rule::Before(_) | Rule::Calendar(_) => is_name(rule),
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
