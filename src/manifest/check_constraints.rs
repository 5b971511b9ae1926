//! Do the constraints make sense, each for itself and together?
//!
//! Input → output: a [`Tree`] and its [`Topology`] → findings: constraints of something with itself, roles of what
//! is not promotable, contradictions, weights without effect.
//!
//! Deliberately absent: cycles of orderings (`check_cycles`), what no node can keep (`check_placement`).

use super::document::{Doc, Tree};
use super::eligibility::selects;
use super::explain::Code;
use super::pairs;
use super::raw::{Name, RawLocation, RawOrder, RawSelector, Weight};
use super::report::Report;
use super::rules;
use super::topology::Topology;
use crate::model::{
    Colocation, ColocationEnd, Influence, Kind, NodeRole, OnLoss, OrderAction, OrderStrength, ResourceId, Role,
    Strength,
};
use petgraph::unionfind::UnionFind;
use std::collections::BTreeMap;

pub(super) fn check(tree: &Tree, topology: &Topology, report: &mut Report) {
    orders(tree, topology, report);
    colocations(tree, topology, report);
    colocations_together(tree, topology, report);
    locations(tree, topology, report);
    locations_together(tree, report);
    tickets(tree, topology, report);
}

fn orders(tree: &Tree, topology: &Topology, report: &mut Report) {
    for (doc, order) in tree.orders() {
        let written = [order.first.is_some(), order.then.is_some()];
        one_form(doc, written, ["first", "then"], order.sets.as_ref().map(Vec::len), report);
        any_of(doc, order, report);
        for pair in pairs::orders(order) {
            for first in std::iter::once(&pair.first).chain(&pair.or) {
                itself(doc, topology, &first.resource, &pair.then.resource, &["then", "resource"], report);
            }
            for (field, end) in [("first", &pair.first), ("then", &pair.then)] {
                if matches!(end.action, OrderAction::Promote | OrderAction::Demote) {
                    promotable(doc, tree, topology, &end.resource, &[field, "action"], report);
                }
            }
        }
        if order.strength == Some(OrderStrength::Serialize) && order.symmetric.is_some() {
            let message = "`symmetric` has no effect on `Serialize`, which has no order to reverse";
            let span = doc.key_span(&["symmetric"]);
            report.add(Code::NoEffect, doc.file, span, message, Some("remove the line".into()));
        }
    }
}

/// Both ends, or at least one set; not both forms.
fn one_form(doc: &Doc, written: [bool; 2], ends: [&str; 2], sets: Option<usize>, report: &mut Report) {
    match (sets, written) {
        (None, [true, true]) => {}
        (None, _) => {
            let missing = if written[0] { ends[1] } else { ends[0] };
            let help = format!("write `{}` and `{}`, or `sets`", ends[0], ends[1]);
            let message = format!("`{missing}` is missing in `spec`");
            report.add(Code::MissingField, doc.file, doc.span(&[]), message, Some(help));
        }
        (Some(0), _) => {
            report.add(Code::EmptyList, doc.file, doc.span(&["sets"]), "no sets are named", None);
        }
        (Some(_), [false, false]) => {}
        (Some(_), _) => {
            let message = format!("`sets` stand instead of `{}` and `{}`", ends[0], ends[1]);
            let help = "keep one of the two forms".to_owned();
            report.add(Code::ContradictingFields, doc.file, doc.key_span(&["sets"]), message, Some(help));
        }
    }
}

/// `first` is one resource, or any one of several.
fn any_of(doc: &Doc, order: &RawOrder, report: &mut Report) {
    let Some(first) = &order.first else { return };
    match (&first.resource, &first.any_of) {
        (Some(_), Some(_)) => {
            let message = "`anyOf` stands instead of `resource`";
            let span = doc.key_span(&["first", "anyOf"]);
            report.add(Code::ContradictingFields, doc.file, span, message, Some("keep one of the two".into()));
        }
        (None, None) => {
            let help = "write `resource`, or `anyOf` and a list".to_owned();
            let span = doc.span(&["first"]);
            report.add(Code::MissingField, doc.file, span, "`resource` is missing in `first`", Some(help));
        }
        (None, Some(names)) if names.is_empty() => {
            report.add(Code::MissingField, doc.file, doc.span(&["first", "anyOf"]), "`anyOf` names nothing", None);
        }
        (Some(_), None) | (None, Some(_)) => {}
    }
}

fn itself(doc: &Doc, topology: &Topology, one: &ResourceId, other: &ResourceId, path: &[&str], report: &mut Report) {
    let (one, other) = (one.as_str(), other.as_str());
    let message = if one == other {
        format!("`{one}` is at both ends")
    } else if topology.contains(one, other) {
        format!("`{other}` is a part of `{one}`")
    } else if topology.contains(other, one) {
        format!("`{one}` is a part of `{other}`")
    } else {
        return;
    };
    report.add(Code::SelfReference, doc.file, doc.span(path), message, None);
}

/// Refuses a promoted role or action of something that is known and not promotable.
fn promotable(doc: &Doc, tree: &Tree, topology: &Topology, name: &ResourceId, path: &[&str], report: &mut Report) {
    let name = name.as_str();
    // A clone with errors of its own might be promotable once they are gone.
    if topology.is_promotable(name)
        || tree.find(Kind::Resource, name).is_none()
        || tree.broken_kinds.contains(&Kind::Clone)
    {
        return;
    }
    let help = match topology.clone_around(name) {
        Some((clone, _)) => format!("add `promotable: {{ max: 1 }}` to the clone `{clone}`"),
        None => "only a Clone with `promotable` has promoted copies".to_owned(),
    };
    let message = format!("`{name}` is not promotable");
    report.add(Code::NotPromotable, doc.file, doc.span(path), message, Some(help));
}

fn needs_promotable(role: Option<Role>) -> bool {
    matches!(role, Some(Role::Promoted | Role::Unpromoted))
}

fn useless_weight(doc: &Doc, strength: Option<Strength>, weight: Option<Weight>, report: &mut Report) {
    let strength = strength.unwrap_or(Strength::Required);
    if weight.is_some() && matches!(strength, Strength::Required | Strength::Forbidden) {
        let message = format!("`weight` has no effect on `{strength:?}`");
        let help = if strength == Strength::Required { "Preferred" } else { "Avoid" };
        let help = format!("write `strength: {help}`, or remove the weight");
        report.add(Code::NoEffect, doc.file, doc.key_span(&["weight"]), message, Some(help));
    }
}

fn colocations(tree: &Tree, topology: &Topology, report: &mut Report) {
    for (doc, colocation) in tree.colocations() {
        let written = [colocation.resource.is_some(), colocation.with.is_some()];
        one_form(doc, written, ["resource", "with"], colocation.sets.as_ref().map(Vec::len), report);
        for pair in pairs::colocations(colocation, |_| Influence::Always) {
            itself(doc, topology, &pair.resource.resource, &pair.with.resource, &["with", "resource"], report);
            if needs_promotable(pair.resource.role) {
                promotable(doc, tree, topology, &pair.resource.resource, &["role"], report);
            }
            if needs_promotable(pair.with.role) {
                promotable(doc, tree, topology, &pair.with.resource, &["with", "role"], report);
            }
        }
        useless_weight(doc, colocation.strength, colocation.weight, report);
    }
}

/// An end of a colocation, told apart from others: what moves as one is one.
type End<'a> = (&'a str, Option<Role>);

fn ends<'a>(topology: &Topology<'a>, colocation: &'a Colocation) -> (End<'a>, End<'a>) {
    let end = |end: &'a ColocationEnd| (topology.outermost(end.resource.as_str()), end.role);
    (end(&colocation.resource), end(&colocation.with))
}

/// `Forbidden` between what `Required` ones keep together.
fn colocations_together(tree: &Tree, topology: &Topology, report: &mut Report) {
    let all: Vec<(&Doc, Colocation)> = tree
        .colocations()
        .flat_map(|(doc, raw)| pairs::colocations(raw, |_| Influence::Always).into_iter().map(move |pair| (doc, pair)))
        // Of a node with the same label there may be several.
        .filter(|(_, pair)| pair.node_label.is_none())
        .collect();
    let required: Vec<_> = all.iter().filter(|(_, c)| c.strength == Strength::Required).collect();
    let mut ids: BTreeMap<End, usize> = BTreeMap::new();
    let mut direct: BTreeMap<_, &Doc> = BTreeMap::new();
    for (doc, colocation) in &required {
        let (one, other) = ends(topology, colocation);
        direct.entry((one.min(other), one.max(other))).or_insert(doc);
        for end in [one, other] {
            let next = ids.len();
            ids.entry(end).or_insert(next);
        }
    }
    // Copies of a clone are on several nodes: being with one of them does not bring two things together.
    let is_single = |end: End| topology.clone_around(end.0).is_none();
    let mut together = UnionFind::<usize>::new(ids.len());
    for (_, colocation) in &required {
        let (one, other) = ends(topology, colocation);
        if let (true, true, Some(one), Some(other)) = (is_single(one), is_single(other), ids.get(&one), ids.get(&other))
        {
            together.union(*one, *other);
        }
    }
    for (doc, colocation) in all.iter().filter(|(_, c)| c.strength == Strength::Forbidden) {
        let (one, other) = ends(topology, colocation);
        let (a, b) = (&colocation.resource.resource, &colocation.with.resource);
        let message = if let Some(first) = direct.get(&(one.min(other), one.max(other))) {
            let at = report.place(first.file, first.name_span());
            format!("`{a}` and `{b}` must be together by the colocation `{}` ({at})", first.name)
        } else if one == other && is_single(one) && a != b {
            format!("`{a}` and `{b}` are together in the group `{}`", one.0)
        } else if ids.get(&one).zip(ids.get(&other)).is_some_and(|(a, b)| together.equiv(*a, *b)) && one != other {
            format!("`{a}` and `{b}` are kept together by other colocations with `strength: Required`")
        } else {
            continue;
        };
        let help = "remove one of the constraints, or weaken this one to `Avoid`".to_owned();
        report.add(Code::Contradiction, doc.file, doc.name_span(), message, Some(help));
    }
}

fn locations(tree: &Tree, topology: &Topology, report: &mut Report) {
    let all_nodes_known = !tree.incomplete && !tree.broken_kinds.contains(&Kind::Node);
    for (doc, location) in tree.locations() {
        if needs_promotable(location.role) {
            promotable(doc, tree, topology, &pairs::resource_id(&location.resource), &["role"], report);
        }
        useless_weight(doc, location.strength, location.weight, report);
        if location.weight_from.is_some() {
            let soft = matches!(location.strength, Some(Strength::Preferred));
            if !soft || location.weight.is_some() {
                let message = "`weightFrom` stands instead of `weight`, beside `strength: Preferred`";
                let help = "write `strength: Preferred` and no `weight`".to_owned();
                let span = doc.key_span(&["weightFrom"]);
                report.add(Code::ContradictingFields, doc.file, span, message, Some(help));
            }
        }
        match &location.nodes {
            RawSelector::Names(names) if names.is_empty() => {
                report.add(Code::EmptyList, doc.file, doc.span(&["nodes"]), "no nodes are named", None);
            }
            RawSelector::Nodes(nodes) if nodes.match_labels.is_some() == nodes.rule.is_some() => {
                let (code, message) = match nodes.rule {
                    Some(_) => (Code::ContradictingFields, "`matchLabels` and `rule`: one of the two"),
                    None => (Code::MissingField, "no nodes are named"),
                };
                let help = "write names in brackets, `matchLabels` or `rule`".to_owned();
                report.add(code, doc.file, doc.span(&["nodes"]), message, Some(help));
            }
            RawSelector::Nodes(nodes) if nodes.match_labels.as_ref().is_some_and(BTreeMap::is_empty) => {
                let span = doc.span(&["nodes", "matchLabels"]);
                report.add(Code::EmptyList, doc.file, span, "no labels are named", None);
            }
            RawSelector::Names(names) => witnesses(doc, tree, names, report),
            RawSelector::Nodes(nodes) => {
                if let Some(rule) = &nodes.rule {
                    rules::check(doc, &["nodes", "rule"], rule, report);
                } else if all_nodes_known && !tree.nodes().any(|(node, _)| selects(&location.nodes, node) == Some(true))
                {
                    let span = doc.span(&["nodes", "matchLabels"]);
                    report.add(Code::MatchesNothing, doc.file, span, "no node has these labels", None);
                }
            }
        }
    }
}

fn tickets(tree: &Tree, topology: &Topology, report: &mut Report) {
    for (doc, ticket) in tree.tickets() {
        let message = format!("the ticket `{}` cannot be granted by this version", ticket.ticket);
        let help = "take the document out; plans alone may have it".to_owned();
        report.add(Code::PlannedTicket, doc.file, doc.name_span(), message, Some(help));
        if ticket.resources.is_empty() {
            report.add(Code::EmptyList, doc.file, doc.span(&["resources"]), "no resources are named", None);
        }
        for name in ticket.resources.iter().filter(|_| needs_promotable(ticket.role)) {
            promotable(doc, tree, topology, &pairs::resource_id(name), &["role"], report);
        }
        if ticket.on_loss == Some(OnLoss::Demote) && ticket.role != Some(Role::Promoted) {
            let message = "`onLoss: Demote` stops what needs the ticket to run at all";
            let help = "add `role: Promoted`, or write `onLoss: Stop`".to_owned();
            report.add(Code::NoEffect, doc.file, doc.span(&["onLoss"]), message, Some(help));
        }
    }
}

fn witnesses(doc: &Doc, tree: &Tree, names: &[Name], report: &mut Report) {
    for (place, name) in names.iter().enumerate() {
        let Some(super::document::RawSpec::Node(node)) =
            tree.find(Kind::Node, &name.0).and_then(|doc| doc.spec.as_ref())
        else {
            continue;
        };
        if node.role == Some(NodeRole::Witness) {
            let message = format!("`{}` is a witness, which runs no resources", name.0);
            let span = doc.span(&["nodes", &place.to_string()]);
            report.add(Code::NoEffect, doc.file, span, message, None);
        }
    }
}

/// `Required` and `Forbidden` for one resource on one node.
fn locations_together(tree: &Tree, report: &mut Report) {
    type Locations<'a> = Vec<(&'a Doc, &'a RawLocation)>;
    let mut required: BTreeMap<(&str, Option<Role>), Locations> = BTreeMap::new();
    let strength = |location: &RawLocation| location.strength.unwrap_or(Strength::Required);
    for (doc, location) in tree.locations().filter(|(_, location)| strength(location) == Strength::Required) {
        required.entry((&location.resource.0, location.role)).or_default().push((doc, location));
    }
    let nodes: Vec<&Doc> = tree.nodes().map(|(doc, _)| doc).collect();
    for (doc, location) in tree.locations().filter(|(_, location)| strength(location) == Strength::Forbidden) {
        let others = required.get(&(location.resource.0.as_str(), location.role)).map_or(&[][..], Vec::as_slice);
        let clash = nodes.iter().filter(|node| selects(&location.nodes, node) == Some(true)).find_map(|node| {
            others.iter().find(|(_, other)| selects(&other.nodes, node) == Some(true)).map(|(other, _)| (node, other))
        });
        if let Some((node, other)) = clash {
            let at = report.place(other.file, other.name_span());
            let message = format!(
                "`{}` is forbidden on `{}`, but required there by `{}` ({at})",
                location.resource.0, node.name, other.name
            );
            report.add(Code::Contradiction, doc.file, doc.name_span(), message, Some("remove one of the two".into()));
        }
    }
}
