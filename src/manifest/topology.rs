//! Which resource is in which group, and what is cloned.
//!
//! Input → output: a [`Tree`] → maps between names, each lookup logarithmic.
//!
//! Deliberately absent: judging. Names that do not resolve are carried along; `references` reports them.

use super::document::Tree;
use super::raw::{RawBundle, RawClone};
use crate::model::Kind;
use std::collections::BTreeMap;

/// Names of resources, groups and clones, and how they nest.
pub(super) struct Topology<'a> {
    members: BTreeMap<&'a str, Vec<&'a str>>,
    group_of: BTreeMap<&'a str, &'a str>,
    clones: BTreeMap<&'a str, &'a RawClone>,
    /// The clone of a resource or a group, by the name of that.
    clone_of: BTreeMap<&'a str, &'a str>,
    bundles: BTreeMap<&'a str, &'a RawBundle>,
    /// The bundle that a resource runs inside of.
    bundle_of: BTreeMap<&'a str, &'a str>,
}

impl<'a> Topology<'a> {
    pub fn of(tree: &'a Tree) -> Self {
        let mut topology = Self {
            members: BTreeMap::new(),
            group_of: BTreeMap::new(),
            clones: BTreeMap::new(),
            clone_of: BTreeMap::new(),
            bundles: tree.bundles().map(|(doc, bundle)| (doc.name.as_str(), bundle)).collect(),
            bundle_of: BTreeMap::new(),
        };
        for (doc, bundle) in tree.bundles() {
            if let Some(inner) = &bundle.resource {
                topology.bundle_of.entry(&inner.0).or_insert(&doc.name);
            }
        }
        for (doc, group) in tree.groups() {
            let members: Vec<&str> = group.members.iter().map(|name| name.0.as_str()).collect();
            for member in &members {
                topology.group_of.entry(member).or_insert(&doc.name);
            }
            topology.members.entry(&doc.name).or_insert(members);
        }
        for (doc, clone) in tree.clones() {
            topology.clones.entry(&doc.name).or_insert(clone);
            // Clones of clones are refused; not following them here keeps every walk two steps long.
            if tree.find(Kind::Clone, &clone.resource.0).is_none_or(|content| content.kind != Kind::Clone) {
                topology.clone_of.entry(&clone.resource.0).or_insert(&doc.name);
            }
        }
        topology
    }

    pub fn groups(&self) -> impl Iterator<Item = (&'a str, &[&'a str])> {
        self.members.iter().map(|(name, members)| (*name, members.as_slice()))
    }

    pub fn clones(&self) -> impl Iterator<Item = (&'a str, &'a RawClone)> {
        self.clones.iter().map(|(name, clone)| (*name, *clone))
    }

    pub fn group_of(&self, resource: &str) -> Option<&'a str> {
        self.group_of.get(resource).copied()
    }

    /// The clone that a name is, or that is around it or its group.
    pub fn clone_around(&self, name: &str) -> Option<(&'a str, &'a RawClone)> {
        let clone = self.clones.get_key_value(name).map(|(name, _)| *name);
        let around = || self.clone_of.get(name).copied();
        let around_group = || self.group_of(name).and_then(|group| self.clone_of.get(group).copied());
        let clone = clone.or_else(around).or_else(around_group)?;
        self.clones.get(clone).map(|found| (clone, *found))
    }

    /// The outermost thing around a name: its clone, else its group, else itself.
    pub fn outermost<'n>(&self, name: &'n str) -> &'n str
    where
        'a: 'n,
    {
        match self.clone_around(name) {
            Some((clone, _)) => clone,
            None => self.bundle_of(name).or_else(|| self.group_of(name)).unwrap_or(name),
        }
    }

    /// The bundle inside of which a resource runs.
    pub fn bundle_of(&self, name: &str) -> Option<&'a str> {
        self.bundle_of.get(name).copied()
    }

    /// Whether a name is, or is inside of, a promotable clone or bundle.
    pub fn is_promotable(&self, name: &str) -> bool {
        let bundle = self.bundles.get(name).or_else(|| self.bundles.get(self.bundle_of(name)?));
        if let Some(bundle) = bundle {
            return bundle.container.promoted.is_some();
        }
        self.clone_around(name).is_some_and(|(_, clone)| clone.promotable.is_some())
    }

    /// Whether `outer` is a group or clone that holds `inner`.
    pub fn contains(&self, outer: &str, inner: &str) -> bool {
        let content = self.clones.get(outer).map(|clone| clone.resource.0.as_str());
        content == Some(inner)
            || self.bundle_of(inner) == Some(outer)
            || self.group_of(inner).is_some_and(|group| group == outer || content == Some(group))
    }
}
