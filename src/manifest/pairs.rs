//! Orders and Colocations as the pairs they stand for.
//!
//! Input → output: a document as it is written, with two ends or with sets → [`Order`]s or [`Colocation`]s; none from a
//! document that has neither form, which `check_constraints` reports.
//!
//! Deliberately absent: how sets are taken apart (`model::sets`), and judging, but for [`are_bounded`]: what is too much is
//! not even taken apart.

use super::document::Tree;
use super::explain::Code;
use super::raw::{Name, RawColocation, RawColocationSet, RawOrder, RawOrderSet, Weight};
use super::report::Report;
use crate::model::sets::{MAX_PAIRS, MAX_PAIRS_TOGETHER};
use crate::model::{
    Colocation, ColocationEnd, ColocationSet, ColocationSets, Influence, Order, OrderAction, OrderEnd, OrderSet,
    OrderSets, OrderStrength, ResourceId, Strength,
};

/// Of what is preferred or avoided, where nothing is said.
const WEIGHT: u32 = 100;

/// Whether the sets of all constraints can be taken apart; what is too much is reported.
pub(super) fn are_bounded(tree: &Tree, report: &mut Report) -> bool {
    let orders = tree.orders().filter_map(|(doc, raw)| Some((doc, order_sets(raw)?.size())));
    let colocations = tree.colocations().filter_map(|(doc, raw)| Some((doc, colocation_sets(raw)?.size())));
    let mut together: usize = 0;
    let mut bounded = true;
    for (doc, size) in orders.chain(colocations) {
        together = together.saturating_add(size);
        let message = if size > MAX_PAIRS {
            format!("these sets stand for {size} pairs; the limit is {MAX_PAIRS}")
        } else if together > MAX_PAIRS_TOGETHER {
            format!("with these, all sets stand for {together} pairs; the limit is {MAX_PAIRS_TOGETHER}")
        } else {
            continue;
        };
        bounded = false;
        let help = "let the sets be sequential, or name a Group instead of its members".to_owned();
        report.add(Code::TooMuch, doc.file, doc.key_span(&["sets"]), message, Some(help));
    }
    bounded
}

pub(super) fn orders(raw: &RawOrder) -> Vec<Order> {
    if let Some(sets) = order_sets(raw) {
        return sets.pairs();
    }
    let (strength, symmetric) = order_strength(raw);
    let (Some(first), Some(then)) = (&raw.first, &raw.then) else { return Vec::new() };
    let end = |name: &Name, action: Option<OrderAction>| OrderEnd {
        resource: resource_id(name),
        action: action.unwrap_or(OrderAction::Start),
    };
    let names = first.resource.iter().chain(first.any_of.iter().flatten());
    let mut firsts = names.map(|name| end(name, first.action));
    let Some(one) = firsts.next() else { return Vec::new() };
    let (or, then, any_copy) = (firsts.collect(), end(&then.resource, then.action), first.any_copy.unwrap_or(false));
    vec![Order { first: one, then, strength, symmetric, or, any_copy }]
}

fn order_strength(raw: &RawOrder) -> (OrderStrength, bool) {
    let strength = raw.strength.unwrap_or(OrderStrength::Required);
    // What never happens together has no order to reverse.
    (strength, raw.symmetric.unwrap_or(strength != OrderStrength::Serialize))
}

fn order_sets(raw: &RawOrder) -> Option<OrderSets> {
    let sets = raw.sets.as_ref()?.iter().map(order_set).collect();
    let (strength, symmetric) = order_strength(raw);
    Some(OrderSets { sets, strength, symmetric })
}

fn order_set(raw: &RawOrderSet) -> OrderSet {
    OrderSet {
        members: raw.members.iter().map(resource_id).collect(),
        sequential: raw.sequential.unwrap_or(true),
        require_all: raw.require_all.unwrap_or(true),
        action: raw.action.unwrap_or(OrderAction::Start),
    }
}

/// `own`: the influence of what depends, where the document does not say any.
pub(super) fn colocations(raw: &RawColocation, own: impl Fn(&ResourceId) -> Influence) -> Vec<Colocation> {
    if let Some(sets) = colocation_sets(raw) {
        return sets.pairs(own);
    }
    let (strength, weight) = strength(raw.strength, raw.weight);
    let node_label = raw.node_label.clone();
    let (Some(resource), Some(with)) = (&raw.resource, &raw.with) else { return Vec::new() };
    let resource = ColocationEnd { resource: resource_id(resource), role: raw.role };
    let with = ColocationEnd { resource: resource_id(&with.resource), role: with.role };
    let influence = raw.influence.unwrap_or_else(|| own(&resource.resource));
    vec![Colocation { resource, with, strength, weight, node_label, influence }]
}

fn colocation_sets(raw: &RawColocation) -> Option<ColocationSets> {
    let sets = raw.sets.as_ref()?.iter().map(colocation_set).collect();
    let (strength, weight) = strength(raw.strength, raw.weight);
    Some(ColocationSets { sets, strength, weight, node_label: raw.node_label.clone(), influence: raw.influence })
}

fn colocation_set(raw: &RawColocationSet) -> ColocationSet {
    ColocationSet {
        members: raw.members.iter().map(resource_id).collect(),
        sequential: raw.sequential.unwrap_or(true),
        role: raw.role,
        strength: raw.strength.map(|word| strength(Some(word), raw.weight)),
    }
}

/// A word and its weight; of words that need none it is 1.
pub(super) fn strength(word: Option<Strength>, weight: Option<Weight>) -> (Strength, u32) {
    let word = word.unwrap_or(Strength::Required);
    match word {
        Strength::Required | Strength::Forbidden => (word, 1),
        Strength::Preferred | Strength::Avoid => (word, weight.map_or(WEIGHT, |weight| weight.0)),
    }
}

pub(super) fn resource_id(name: &Name) -> ResourceId {
    ResourceId::new(name.0.as_str())
}
