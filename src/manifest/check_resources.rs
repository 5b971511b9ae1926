//! Are the operations, roles and counts of resources, groups and clones sensible?
//!
//! Input → output: a [`Tree`] and its [`Topology`] → findings.

use super::check_nodes::not_zero;
use super::document::{Doc, Tree};
use super::explain::Code;
use super::raw::{Inherited, RawBundle, RawClone, RawOperation, RawOperations};
use super::report::Report;
use super::topology::Topology;
use crate::model::{BundlePart, Kind, OpName, Requires, ResourceId, TargetRole};

pub(super) fn check(tree: &Tree, topology: &Topology, report: &mut Report) {
    for (doc, resource) in tree.resources() {
        fields(doc, &[], &resource.inherited(), report);
        roles(doc, &resource.inherited(), topology, report);
        if let Some(container) = &resource.inside {
            let message = format!("`inside: {}` is planned for, but not run", container.0);
            report.add(Code::PlannedOnly, doc.file, doc.span(&["inside"]), message, None);
        }
        let given = [
            ("params", resource.params.as_ref().is_some_and(|params| !params.is_empty())),
            ("secrets", resource.secrets.as_ref().is_some_and(|secrets| !secrets.is_empty())),
        ];
        for (section, _) in given.into_iter().filter(|(_, given)| *given && resource.agent.starts_with("systemd:")) {
            let help = format!("remove `{section}`; configure the unit with a drop-in");
            let span = doc.key_span(&[section]);
            report.add(Code::NoEffect, doc.file, span, "systemd units take no parameters", Some(help));
        }
    }
    for (doc, group) in tree.groups() {
        fields(doc, &[], &group.inherited(), report);
        roles(doc, &group.inherited(), topology, report);
        if group.members.is_empty() {
            let message = format!("the group `{}` has no members", doc.name);
            report.add(Code::EmptyList, doc.file, doc.span(&["members"]), message, None);
        }
    }
    for (doc, clone) in tree.clones() {
        fields(doc, &[], &clone.inherited(), report);
        roles(doc, &clone.inherited(), topology, report);
        counts(doc, clone, report);
    }
    for (doc, bundle) in tree.bundles() {
        fields(doc, &[], &bundle.inherited(), report);
        self::bundle(doc, bundle, tree, report);
    }
    for (doc, cluster) in tree.clusters() {
        if let Some(defaults) = &cluster.defaults {
            fields(doc, &["defaults"], &defaults.inherited(), report);
        }
    }
}

/// The operations by name, with their keys.
pub(super) fn operations(raw: &RawOperations) -> impl Iterator<Item = (OpName, &RawOperation)> {
    [
        (OpName::Start, &raw.start),
        (OpName::Stop, &raw.stop),
        (OpName::Monitor, &raw.monitor),
        (OpName::MonitorPromoted, &raw.monitor_promoted),
        (OpName::Promote, &raw.promote),
        (OpName::Demote, &raw.demote),
        (OpName::Notify, &raw.notify),
        (OpName::MigrateTo, &raw.migrate_to),
        (OpName::MigrateFrom, &raw.migrate_from),
        (OpName::Reload, &raw.reload),
    ]
    .into_iter()
    .filter_map(|(name, operation)| operation.as_ref().map(|operation| (name, operation)))
}

fn fields(doc: &Doc, prefix: &[&str], inherited: &Inherited, report: &mut Report) {
    for (name, operation) in inherited.operations.into_iter().flat_map(operations) {
        let name_text = name.to_string();
        let path = |field| [prefix, &["operations", name_text.as_str(), field]].concat();
        not_zero(doc, &path("timeout"), operation.timeout, report);
        let repeats = matches!(name, OpName::Monitor | OpName::MonitorPromoted);
        if operation.interval.is_some_and(|interval| !interval.0.is_zero()) && !repeats {
            let message = format!("`{name}` is not repeated, so `interval` has no effect");
            let span = doc.key_span(&path("interval"));
            report.add(Code::NoEffect, doc.file, span, message, Some("remove the line".into()));
        }
    }
    if inherited.requires == Some(Requires::Unfencing) {
        let span = doc.span(&[prefix, &["requires"]].concat());
        let message = "`requires: Unfencing` is planned but not run by this version";
        let help = "write `requires: Fencing` and give the nodes a device that cuts power".to_owned();
        report.add(Code::PlannedUnfencing, doc.file, span, message, Some(help));
    }
}

fn roles(doc: &Doc, inherited: &Inherited, topology: &Topology, report: &mut Report) {
    if topology.is_promotable(&doc.name) {
        return;
    }
    if let Some(role @ (TargetRole::Promoted | TargetRole::Unpromoted)) = inherited.target_role {
        let message = format!("`{}` is not promotable, so it cannot be {role:?}", doc.name);
        let help = "write `Started` or `Stopped`, or make it a Clone with `promotable`".to_owned();
        report.add(Code::NotPromotable, doc.file, doc.span(&["targetRole"]), message, Some(help));
    }
    // What a group or clone sets for its members is judged there too; it is enough to look at what is written here.
    for (name, _) in inherited.operations.into_iter().flat_map(operations) {
        if matches!(name, OpName::MonitorPromoted | OpName::Promote | OpName::Demote) {
            let message = format!("`{}` is not promotable, so `{name}` has no effect", doc.name);
            let span = doc.key_span(&["operations", &name.to_string()]);
            report.add(Code::NoEffect, doc.file, span, message, None);
        }
    }
}

fn bundle(doc: &Doc, bundle: &RawBundle, tree: &Tree, report: &mut Report) {
    let message = format!("the bundle `{}` is planned for, but not run", doc.name);
    report.add(Code::PlannedOnly, doc.file, doc.name_span(), message, None);
    let network = bundle.network.as_ref();
    let reachable = network.is_some_and(|network| network.address.is_some() || network.port.is_some());
    if bundle.resource.is_some() && !reachable {
        let message = "nothing reaches the inside of its containers: no `address`, no `port`";
        let help = "add `network: { port: 3121 }`, or an `address`".to_owned();
        report.add(Code::ContradictingFields, doc.file, doc.span(&["resource"]), message, Some(help));
    }
    let container = &bundle.container;
    let replicas = container.replicas.or(container.promoted).unwrap_or(1);
    if container.promoted.is_some_and(|promoted| promoted > replicas) {
        let message = format!("no more than {replicas} replicas can be promoted");
        report.add(Code::NoEffect, doc.file, doc.span(&["container", "promoted"]), message, None);
    }
    let id = ResourceId::new(doc.name.as_str());
    for (part, name) in super::resolve::bundle(bundle, 0).parts(&id) {
        let other = tree.find(Kind::Resource, name.as_str()).filter(|_| part != BundlePart::Inner);
        if let Some(other) = other {
            let at = report.place(other.file, other.name_span());
            let message =
                format!("a part of the bundle `{}` is called `{name}`, a name that is taken at {at}", doc.name);
            let help = "rename one of them".to_owned();
            report.add(Code::DuplicateName, doc.file, doc.name_span(), message, Some(help));
        }
    }
}

fn counts(doc: &Doc, clone: &RawClone, report: &mut Report) {
    let per_node = clone.per_node.unwrap_or(1);
    if per_node > 1 && clone.globally_unique != Some(true) {
        let message = "copies that are all alike run once per node at most";
        let help = "add `globallyUnique: true`, or remove `perNode`".to_owned();
        report.add(Code::NoEffect, doc.file, doc.span(&["perNode"]), message, Some(help));
    }
    if let Some(max) = clone.max.filter(|max| clone.per_node.is_some_and(|per_node| per_node > *max)) {
        let message = format!("`perNode: {per_node}` is more than `max: {max}`");
        report.add(Code::NoEffect, doc.file, doc.span(&["perNode"]), message, None);
    }
    if let (Some(max), Some(promotable)) = (clone.max, clone.promotable)
        && promotable.max.unwrap_or(1) > max
    {
        let message = format!("no more than `max: {max}` copies can be promoted");
        report.add(Code::NoEffect, doc.file, doc.span(&["promotable", "max"]), message, None);
    }
}
