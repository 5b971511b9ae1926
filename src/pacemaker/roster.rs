//! What is configured, by number: what histories are compared with.
//!
//! Input: the primitives and their definitions. Output: a [`Roster`] that finds one by its name.
//!
//! Histories name the same primitives in the same order on every node, thousands of them: the one that followed the last
//! one asked for, when that was asked for before, is tried first.

use super::resources::{Prim, Services};
use crate::model::{Clone as CloneSpec, Digest, Resource, ResourceId};
use crate::state::State;
use std::cell::Cell;
use std::collections::BTreeMap;

/// One primitive with all that was read of it.
pub(super) struct Listed<'s, 'a> {
    pub id: ResourceId,
    pub prim: &'s Prim<'a>,
    pub resource: &'s Resource,
    /// The clone around it.
    pub clone: Option<&'s CloneSpec>,
    /// Of its definition.
    pub digest: Digest,
    pub identity: Digest,
}

impl Listed<'_, '_> {
    pub fn is_unique(&self) -> bool {
        self.clone.is_some_and(|clone| clone.globally_unique)
    }

    pub fn is_promotable(&self) -> bool {
        self.clone.is_some_and(|clone| clone.promotable.is_some())
    }
}

pub(super) struct Roster<'s, 'a> {
    /// In order of name.
    names: Vec<&'a str>,
    listed: Vec<Listed<'s, 'a>>,
    /// For each, which one was asked for next the last time.
    follows: Vec<Cell<usize>>,
    last: Cell<usize>,
}

impl<'s, 'a> Roster<'s, 'a> {
    /// `state` knows the definitions of `resources`.
    pub fn new(resources: &'s BTreeMap<ResourceId, Resource>, services: &'s Services<'a>, state: &State) -> Self {
        let (mut names, mut listed) = (Vec::new(), Vec::new());
        for (name, prim) in &services.prims {
            let known = resources.get_key_value(*name).zip(state.current.get(*name));
            let Some(((id, resource), digest)) = known else { continue };
            let Some(definition) = state.definitions.get(digest) else { continue };
            names.push(*name);
            listed.push(Listed {
                id: id.clone(),
                prim,
                resource,
                clone: prim.clone.and_then(|clone| services.clones.get(clone)),
                digest: *digest,
                identity: State::identity(definition),
            });
        }
        let follows = (0..names.len()).map(|number| Cell::new(number + 1)).collect();
        Self { names, listed, follows, last: Cell::new(0) }
    }

    pub fn get(&self, name: &str) -> Option<&Listed<'s, 'a>> {
        self.number(name).map(|number| &self.listed[number])
    }

    /// Which one it is, in order of name.
    pub fn number(&self, name: &str) -> Option<usize> {
        let hint = self.follows.get(self.last.get())?;
        if self.names.get(hint.get()) != Some(&name) {
            hint.set(self.names.binary_search(&name).ok()?);
        }
        self.last.set(hint.get());
        Some(hint.get())
    }
}

impl<'s, 'a> std::ops::Index<usize> for Roster<'s, 'a> {
    type Output = Listed<'s, 'a>;
    fn index(&self, number: usize) -> &Self::Output {
        &self.listed[number]
    }
}
