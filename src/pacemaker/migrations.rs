//! Live migrations, as both of their sides tell them.
//!
//! Input: the histories of both nodes, and the claims made of each. Output: what is on its way, what is owed, and what may
//! run on the other side. Pacemaker Explained, "Migrating Resources".
//!
//! Does not know of clones: their copies are not migrated.

use super::history;
use super::status::{Item, StatusReader, incarnation};
use crate::model::{ActionKind, NodeId, Role};
use crate::state::{ClaimKey, Failure, FailureKind, Membership, Phase, ProbeKey};

impl<'a> StatusReader<'_, 'a> {
    /// A migration as both sides tell it.
    pub(super) fn migrate(&mut self, items: &[Item<'a>], place: usize, migration: history::Migration<'a>) {
        let item = &items[place];
        if !migration.away || self.is_cloned(item.base) {
            return;
        }
        let is_peer = |other: &&Item<'a>| {
            other.base == item.base && self.ground.facts[self.nodes[other.node].facts].name == migration.peer
        };
        let other = items.iter().find(is_peer);
        let here = self.key(item.base, None, item.node);
        let there = ClaimKey { instance: here.instance.clone(), node: NodeId::new(migration.peer) };
        let is_there = self.state.nodes.get(&there.node).is_some_and(|node| node.membership == Membership::Online);
        let newer = other.is_some_and(|other| {
            if migration.at > 0 && other.found.changed > 0 {
                other.found.changed > migration.at
            } else {
                other.found.touched
            }
        });
        let arrived = other.filter(|other| other.found.role.is_some()).and_then(|other| other.found.migration);
        let arrived = arrived.filter(|arrived| !arrived.away);
        let stopped_here = item.found.role.is_none();
        match arrived {
            // Where nothing at all is known the history was cleaned meanwhile; a probe will tell.
            _ if stopped_here && is_there && !newer && other.is_some() => self.ensure(item, &there, Phase::Running),
            _ if stopped_here => {}
            Some(arrived) if arrived.failed => self.fail_migration(&here, ActionKind::MigrateTo),
            // It has arrived; only its stop is owed here.
            Some(arrived) if !arrived.pending => self.phase(&here, Phase::Stopping),
            None if newer || !is_there => self.fail_migration(&here, ActionKind::MigrateTo),
            // Nobody knows how far it came.
            None if migration.failed => {
                self.ensure(item, &there, Phase::Running);
                self.fail_migration(&there, ActionKind::MigrateFrom);
            }
            // Not there yet.
            Some(_) | None => {
                self.phase(&here, Phase::MigratingTo);
                self.ensure(item, &there, Phase::MigratingFrom);
            }
        }
    }

    fn fail_migration(&mut self, key: &ClaimKey, action: ActionKind) {
        if let Some(claim) = self.state.claims.get_mut(key) {
            claim.failure.get_or_insert(Failure {
                action,
                kind: FailureKind::Failed,
                at_ms: 0,
                text: "a migration failed".into(),
                blocked: false,
                fence: false,
            });
        }
    }

    fn phase(&mut self, key: &ClaimKey, phase: Phase) {
        if let Some(claim) = self.state.claims.get_mut(key) {
            claim.phase = phase;
        }
    }

    /// What a node runs by another one's word.
    fn ensure(&mut self, item: &Item<'a>, key: &ClaimKey, phase: Phase) {
        if !self.state.claims.contains_key(key) {
            let mut claim = self.claim(item, Role::Started);
            claim.incarnation = incarnation(key.node.as_str());
            claim.failure = None;
            self.state.claims.insert(key.clone(), claim);
            let probe = ProbeKey { resource: key.instance.resource.clone(), node: key.node.clone() };
            self.state.probes.remove(&probe);
        }
        self.phase(key, phase);
    }
}
