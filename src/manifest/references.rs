//! Does every name that a document refers to exist, and is it of the right kind?
//!
//! Input → output: a [`Tree`] → findings: the number of Cluster documents, unknown and wrong references, resources
//! in two groups or two clones.

use super::document::{Doc, Tree};
use super::explain::Code;
use super::raw::{Name, RawSelector};
use super::report::Report;
use super::tree::Span;
use crate::model::{Kind, suggest};
use std::collections::BTreeMap;

/// Suggestions compare with every name; for a tree that is wrong as a whole they would take longer than reading it.
const MAX_SUGGESTIONS: usize = 50;

pub(super) fn check(tree: &Tree, report: &mut Report) {
    let mut checker = Checker { tree, report, suggestions: 0 };
    checker.clusters();
    checker.nodes_and_devices();
    checker.groups();
    checker.clones();
    checker.connections();
    checker.bundles();
    checker.constraints();
    checker.scenarios();
}

struct Checker<'a, 'r> {
    tree: &'a Tree,
    report: &'a mut Report<'r>,
    suggestions: usize,
}

impl<'a> Checker<'a, '_> {
    fn clusters(&mut self) {
        let mut clusters = self.tree.docs.iter().filter(|doc| doc.kind == Kind::Cluster);
        let Some(first) = clusters.next() else {
            if !self.tree.incomplete {
                let help = "add a document of kind Cluster; its spec may be `{}`".to_owned();
                let empty = if self.tree.docs.is_empty() { "the tree is empty: " } else { "" };
                self.report.add_global(Code::NoCluster, format!("{empty}there is no Cluster document"), Some(help));
            }
            return;
        };
        for doc in clusters {
            let at = self.report.place(first.file, first.name_span());
            let message = format!("a second Cluster document; the first is at {at}");
            self.report.add(Code::SeveralClusters, doc.file, doc.name_span(), message, Some("keep one".into()));
        }
    }

    /// Reports a name that does not resolve, at a place that is looked up only then. Returns the document if it does.
    fn resolve(&mut self, doc: &Doc, span: impl Fn() -> Span, kind: Kind, name: &str) -> Option<&'a Doc> {
        let tree = self.tree;
        if let Some(found) = tree.find(kind, name) {
            return Some(found);
        }
        if tree.unclear_names.contains(name) {
            return None;
        }
        self.suggestions += 1;
        let near = (self.suggestions <= MAX_SUGGESTIONS).then(|| suggest::nearest(name, tree.names(kind))).flatten();
        let help = match near {
            Some(word) => Some(format!("did you mean `{word}`?")),
            None => tree.names(kind).next().is_none().then(|| format!("there are no documents of kind {kind}")),
        };
        let what = match kind {
            Kind::Node => "node",
            Kind::FencingDevice => "fencing device",
            Kind::Resource | Kind::Group | Kind::Clone | Kind::Bundle => "resource",
            Kind::Cluster
            | Kind::Order
            | Kind::Colocation
            | Kind::Location
            | Kind::Ticket
            | Kind::Scenario
            | Kind::Overlay => "document",
        };
        self.report.add(Code::UnknownReference, doc.file, span(), format!("there is no {what} `{name}`"), help);
        None
    }

    fn nodes_and_devices(&mut self) {
        for (doc, node) in self.tree.nodes() {
            for (l, level) in node.fencing.iter().flatten().enumerate() {
                for (d, device) in level.iter().enumerate() {
                    let span = || doc.span(&["fencing", &l.to_string(), &d.to_string()]);
                    self.resolve(doc, span, Kind::FencingDevice, &device.0);
                }
            }
        }
        for (doc, device) in self.tree.devices() {
            for node in device.targets.iter().flat_map(BTreeMap::keys) {
                self.resolve(doc, || doc.key_span(&["targets", node]), Kind::Node, node);
            }
        }
    }

    fn groups(&mut self) {
        let mut first_group: BTreeMap<&str, &Doc> = BTreeMap::new();
        for (doc, group) in self.tree.groups() {
            for (m, member) in group.members.iter().enumerate() {
                let span = || doc.span(&["members", &m.to_string()]);
                let Some(found) = self.resolve(doc, span, Kind::Resource, &member.0) else { continue };
                if found.kind != Kind::Resource {
                    let message = format!("`{}` is a {}; members of groups are resources", member.0, found.kind);
                    self.report.add(Code::WrongReference, doc.file, span(), message, None);
                }
                let Some(first) = first_group.insert(&member.0, doc) else { continue };
                let message = if first.name == doc.name {
                    format!("`{}` is listed twice", member.0)
                } else {
                    format!("`{}` is already a member of the group `{}`", member.0, first.name)
                };
                self.report.add(Code::InTwoGroups, doc.file, span(), message, Some("keep one of the two".into()));
            }
        }
    }

    fn clones(&mut self) {
        let mut first_clone: BTreeMap<&str, &str> = BTreeMap::new();
        let in_groups: BTreeMap<&str, &str> = self
            .tree
            .groups()
            .flat_map(|(doc, group)| group.members.iter().map(|member| (member.0.as_str(), doc.name.as_str())))
            .collect();
        for (doc, clone) in self.tree.clones() {
            let name = clone.resource.0.as_str();
            let span = doc.span(&["resource"]);
            let Some(found) = self.resolve(doc, || span, Kind::Resource, name) else { continue };
            let (message, help) = if found.kind == Kind::Clone {
                (format!("`{name}` is a Clone; a clone copies a Resource or a Group"), None)
            } else if let Some(group) = in_groups.get(name) {
                let help = format!("clone the group: `resource: {group}`");
                (format!("`{name}` is a member of the group `{group}`"), Some(help))
            } else if let Some(first) = first_clone.insert(name, &doc.name) {
                (format!("`{name}` is already copied by the clone `{first}`"), None)
            } else {
                continue;
            };
            self.report.add(Code::WrongReference, doc.file, span, message, help);
        }
    }

    /// What nodes are reached over, and what resources run inside of.
    fn connections(&mut self) {
        let mut nodes: BTreeMap<&str, &Doc> = BTreeMap::new();
        for (doc, node) in self.tree.nodes() {
            let Some(name) = &node.connection else { continue };
            self.primitive(doc, &["connection"], &name.0);
            if let Some(other) = nodes.insert(&name.0, doc) {
                let message = format!("`{}` is already the connection of the node `{}`", name.0, other.name);
                self.report.add(Code::WrongReference, doc.file, doc.span(&["connection"]), message, None);
            }
        }
        let around: BTreeMap<&str, &str> = self
            .tree
            .resources()
            .filter_map(|(doc, resource)| Some((doc.name.as_str(), resource.inside.as_ref()?.0.as_str())))
            .collect();
        for (doc, resource) in self.tree.resources() {
            let Some(name) = &resource.inside else { continue };
            self.primitive(doc, &["inside"], &name.0);
            // As many steps as there are such resources: then it has come round.
            let outer = std::iter::successors(Some(name.0.as_str()), |outer| around.get(outer).copied());
            if outer.take(around.len()).any(|outer| outer == doc.name) {
                let message = format!("`{}` would run inside of itself", doc.name);
                self.report.add(Code::SelfReference, doc.file, doc.span(&["inside"]), message, None);
            }
        }
    }

    /// A resource by itself: no group, no clone, no copy of one.
    fn primitive(&mut self, doc: &Doc, path: &[&str], name: &str) {
        let Some(found) = self.resolve(doc, || doc.span(path), Kind::Resource, name) else { return };
        let copied = self.tree.clones().any(|(_, clone)| clone.resource.0 == name);
        if found.kind != Kind::Resource || copied {
            let what = if copied { "copied by a Clone".to_owned() } else { format!("a {}", found.kind) };
            let message = format!("`{name}` is {what}; here one resource is meant");
            self.report.add(Code::WrongReference, doc.file, doc.span(path), message, None);
        }
    }

    fn bundles(&mut self) {
        let taken: BTreeMap<&str, &str> = self
            .tree
            .groups()
            .flat_map(|(doc, group)| group.members.iter().map(|member| (member.0.as_str(), doc.name.as_str())))
            .collect();
        let mut inside: BTreeMap<&str, &str> = BTreeMap::new();
        for (doc, bundle) in self.tree.bundles() {
            let Some(name) = &bundle.resource else { continue };
            self.primitive(doc, &["resource"], &name.0);
            let first = inside.insert(&name.0, &doc.name);
            let first = first.map(|first| format!("inside of the bundle `{first}`"));
            let group = taken.get(name.0.as_str()).map(|group| format!("a member of the group `{group}`"));
            if let Some(what) = first.or(group) {
                let message = format!("`{}` is already {what}", name.0);
                self.report.add(Code::WrongReference, doc.file, doc.span(&["resource"]), message, None);
            }
        }
    }

    /// Whether this is a node inside of a container of a bundle.
    fn is_replica(&self, name: &str) -> bool {
        let bundle =
            name.rsplit_once('-').filter(|(_, number)| number.parse::<u32>().is_ok()).map(|(bundle, _)| bundle);
        bundle.is_some_and(|bundle| self.tree.bundles().any(|(doc, _)| doc.name == bundle))
    }

    fn constraints(&mut self) {
        let resource = |checker: &mut Self, doc: &Doc, path: &[&str], name: &Name| {
            checker.resolve(doc, || doc.span(path), Kind::Resource, &name.0);
        };
        for (doc, order) in self.tree.orders() {
            if let Some(first) = &order.first {
                first.resource.iter().for_each(|name| resource(self, doc, &["first", "resource"], name));
                for (n, name) in first.any_of.iter().flatten().enumerate() {
                    resource(self, doc, &["first", "anyOf", &n.to_string()], name);
                }
            }
            order.then.iter().for_each(|then| resource(self, doc, &["then", "resource"], &then.resource));
            let sets = order.sets.iter().flatten().map(|set| &set.members);
            self.members_of_sets(doc, sets);
        }
        for (doc, colocation) in self.tree.colocations() {
            colocation.resource.iter().for_each(|name| resource(self, doc, &["resource"], name));
            colocation.with.iter().for_each(|with| resource(self, doc, &["with", "resource"], &with.resource));
            let sets = colocation.sets.iter().flatten().map(|set| &set.members);
            self.members_of_sets(doc, sets);
        }
        for (doc, ticket) in self.tree.tickets() {
            for (n, name) in ticket.resources.iter().enumerate() {
                resource(self, doc, &["resources", &n.to_string()], name);
            }
        }
        for (doc, location) in self.tree.locations() {
            resource(self, doc, &["resource"], &location.resource);
            if let RawSelector::Names(names) = &location.nodes {
                let nodes = names.iter().enumerate().filter(|(_, node)| !self.is_replica(&node.0));
                for (n, node) in nodes.collect::<Vec<_>>() {
                    self.resolve(doc, || doc.span(&["nodes", &n.to_string()]), Kind::Node, &node.0);
                }
            }
        }
    }

    fn scenarios(&mut self) {
        let links = self.tree.nodes().map(|(_, node)| node.addresses.as_ref().map_or(0, Vec::len)).max().unwrap_or(0);
        for (doc, scenario) in self.tree.scenarios() {
            for (s, step) in scenario.steps.iter().enumerate() {
                let at = s.to_string();
                let names = [
                    ("nodeDown", Kind::Node, &step.node_down),
                    ("nodeUp", Kind::Node, &step.node_up),
                    ("deviceDown", Kind::FencingDevice, &step.device_down),
                    ("deviceUp", Kind::FencingDevice, &step.device_up),
                ];
                for (field, kind, names) in names {
                    for (n, name) in names.iter().flatten().enumerate() {
                        self.resolve(doc, || doc.span(&["steps", &at, field, &n.to_string()]), kind, &name.0);
                    }
                }
                for (field, numbers) in [("linkDown", &step.link_down), ("linkUp", &step.link_up)] {
                    for (n, link) in numbers.iter().flatten().enumerate().filter(|(_, link)| **link as usize >= links) {
                        let span = doc.span(&["steps", &at, field, &n.to_string()]);
                        let help = Some(format!("link 0 is the network of the first addresses; there are {links}"));
                        self.report.add(
                            Code::UnknownReference,
                            doc.file,
                            span,
                            format!("there is no link {link}"),
                            help,
                        );
                    }
                }
                for (n, failing) in step.fail.iter().flatten().enumerate() {
                    let span = |field: &str| doc.span(&["steps", &at, "fail", &n.to_string(), field]);
                    self.resolve(doc, || span("resource"), Kind::Resource, &failing.resource.0);
                    self.resolve(doc, || span("node"), Kind::Node, &failing.node.0);
                }
            }
            let expect = &scenario.expect;
            for (field, places) in [("placed", &expect.placed), ("promoted", &expect.promoted)] {
                for (resource, nodes) in places.iter().flatten() {
                    self.resolve(doc, || doc.key_span(&["expect", field, resource]), Kind::Resource, resource);
                    for (n, node) in nodes.iter().enumerate() {
                        let span = || doc.span(&["expect", field, resource, &n.to_string()]);
                        self.resolve(doc, span, Kind::Node, &node.0);
                    }
                }
            }
            for (field, kind, names) in
                [("homeless", Kind::Resource, &expect.homeless), ("fenced", Kind::Node, &expect.fenced)]
            {
                for (n, name) in names.iter().flatten().enumerate() {
                    self.resolve(doc, || doc.span(&["expect", field, &n.to_string()]), kind, &name.0);
                }
            }
        }
    }

    fn members_of_sets<'n>(&mut self, doc: &Doc, sets: impl Iterator<Item = &'n Vec<Name>>) {
        for (s, members) in sets.enumerate() {
            for (m, name) in members.iter().enumerate() {
                let span = || doc.span(&["sets", &s.to_string(), "members", &m.to_string()]);
                self.resolve(doc, span, Kind::Resource, &name.0);
            }
        }
    }
}
