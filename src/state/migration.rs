//! Live migration: one running instance with two claims, of where it leaves and of where it arrives.
//!
//! `Migrate` → the source's claim is `MigratingTo`, the target's `MigratingFrom`, and the two count as one. The source's
//! agent moves it (`migrate_to`), then the target's takes it in (`migrate_from`): then the target's claim is a running
//! one, and the source's is settled like any other: stop, a probe that sees it, release.
//!
//! Invariants: nothing arrives unclaimed. As long as the source may send, which its agent's end alone does not end, the
//! target's claim cannot be given up; and once a migration was given up, whoever it may have reached has to say anew that
//! the resource does not run there.
//!
//! When one of the two fails, or the other claim ends by evidence, nobody knows where the instance is: whatever is left
//! is settled, the source first (to stop there ends what it sends), and it is started anew.

use super::apply::Ctx;
use super::{Claim, ClaimKey, EventKind, Failure, Phase, Refusal, State};
use crate::model::planted::{Planted, planted};
use crate::model::{Epoch, Incarnation, InstanceId, LogIndex, NodeId, ResourceId};

/// From this feature level on instances migrate live; below it they are stopped and started.
pub const MIGRATION_LEVEL: u32 = 2;

impl Phase {
    /// It leaves, or has left and waits to be taken in.
    pub fn leaves(self) -> bool {
        matches!(self, Self::MigratingTo | Self::Migrated)
    }

    /// Part of a live migration, at either end.
    pub fn migrates(self) -> bool {
        self.leaves() || self == Self::MigratingFrom
    }
}

impl State {
    /// The two claims of a migration that is under way and has not failed: where it leaves, where it arrives.
    pub fn migration<'a>(&'a self, instance: &'a InstanceId) -> Option<(&'a ClaimKey, &'a ClaimKey)> {
        let mut claims = self.claims_of(&instance.resource).filter(|(key, _)| &key.instance == instance);
        let (from, to) = match (claims.next()?, claims.next()?, claims.next()) {
            (a, b, None) if a.1.phase.leaves() => (a, b),
            (a, b, None) => (b, a),
            (_, _, Some(_)) => return None,
        };
        let sound = |claim: &Claim| claim.failure.is_none();
        let both = from.1.phase.leaves() && to.1.phase == Phase::MigratingFrom && sound(from.1) && sound(to.1);
        both.then_some((from.0, to.0))
    }

    /// What arrives on this node has left its source.
    pub fn has_left(&self, instance: &InstanceId) -> bool {
        self.migration(instance).is_some_and(|(from, _)| self.claims[from].phase == Phase::Migrated)
    }

    /// How many things the claims of a resource stand for: the two ends of a migration are one.
    pub(super) fn copies_claimed(&self, resource: &ResourceId) -> u32 {
        let of =
            |which: &dyn Fn(Phase) -> bool| self.claims_of(resource).filter(|(_, c)| which(c.phase)).count() as u32;
        of(&|_| true) - of(&Phase::leaves).min(of(&|phase| phase == Phase::MigratingFrom))
    }

    /// What runs is to go on elsewhere: its node proposes it, and both claims are granted in one.
    pub(super) fn apply_migrate(
        &mut self,
        ctx: &mut Ctx<'_>,
        key: &ClaimKey,
        (epoch, incarnation): (Epoch, &Incarnation),
        to: &NodeId,
        assignment: LogIndex,
    ) -> Result<(), Refusal> {
        let resource = &key.instance.resource;
        self.check_online(&key.node, incarnation)?;
        let leaving = self.check_owner(key, epoch, incarnation)?;
        if leaving.phase != Phase::Running || leaving.failure.is_some() {
            return Err(Refusal::WrongPhase { key: key.clone() });
        }
        let target = ClaimKey { instance: key.instance.clone(), node: to.clone() };
        let assigned = match self.assignment.get(&key.instance) {
            Some(assigned) if assigned.to.node == *to && *to != key.node && assigned.index == assignment => {
                &assigned.to
            }
            _ => return Err(Refusal::NotAssigned { key: target }),
        };
        let there = self.nodes.get(to).ok_or_else(|| Refusal::UnknownNode { node: to.clone() })?.incarnation.clone();
        self.check_online(to, &there)?;
        let Some((_, definition)) = self.current_definition(resource) else {
            return Err(Refusal::UnknownResource { resource: resource.clone() });
        };
        let pinned = self.definitions.get(&leaving.definition);
        let same = pinned.is_some_and(|pinned| pinned.resource.is_told_the_same(&definition.resource));
        if !definition.resource.migratable || definition.clone.is_some() || !same {
            return Err(Refusal::NotAllowed { why: format!("{} does not migrate as it is", key.instance) });
        }
        // Whose lease runs out lets go of what it runs by itself; what is still on its way there it could not see.
        if let Some(node) = [&key.node, to].into_iter().find(|node| self.is_leased(node)) {
            let why = format!("{node} is fenced by its watchdog alone: what runs there is stopped and started");
            return Err(Refusal::NotAllowed { why });
        }
        self.check_place(&target, definition)?;
        if let Some(node) = self.unprobed(resource) {
            return Err(Refusal::NotProbed { resource: resource.clone(), node: node.clone() });
        }
        if self.claims_of(resource).count() > 1 {
            return Err(Refusal::OverLimit { resource: resource.clone() });
        }
        self.check_facts(&assigned.after)?;

        let after = assigned.after.iter().map(|fact| fact.instance.clone()).collect();
        let arriving = Claim {
            incarnation: there,
            phase: Phase::MigratingFrom,
            granted_at: ctx.index,
            changed_at: ctx.index,
            since_ms: ctx.at_ms,
            after,
            found: false,
            ..leaving.clone()
        };
        let epoch = self.next_epoch();
        self.claims.insert(target.clone(), Claim { epoch, ..arriving });
        if let Some(leaving) = self.claims.get_mut(key) {
            leaving.phase = Phase::MigratingTo;
            leaving.changed_at = ctx.index;
        }
        let text = format!("{target} granted, epoch {epoch}: {} moves there while it runs", key.instance);
        ctx.event(EventKind::Claimed, Some(to), Some(&key.instance), text);
        Ok(())
    }

    /// What has arrived runs; where it left is settled.
    pub(super) fn settle_source(&mut self, ctx: &Ctx<'_>, arrived: &ClaimKey) {
        let others = self.claims.iter_mut().filter(|(key, _)| key.instance == arrived.instance && *key != arrived);
        for (_, claim) in others.filter(|(_, claim)| claim.phase.leaves()) {
            claim.phase = Phase::Stopping;
            claim.changed_at = ctx.index;
        }
    }

    /// What failed at one end has failed at the other.
    pub(super) fn fail_other_end(&mut self, ctx: &Ctx<'_>, failed: &ClaimKey, failure: &Failure) {
        if planted(Planted::OtherEndForgotten) {
            let other = |key: &ClaimKey| key.instance == failed.instance && key != failed;
            self.claims.retain(|key, claim| !(other(key) && claim.phase.migrates()));
        }
        let others = self.claims.iter_mut().filter(|(key, _)| key.instance == failed.instance && *key != failed);
        for (_, claim) in others.filter(|(_, claim)| claim.phase.migrates()) {
            claim.failure = Some(Failure { fence: false, ..failure.clone() });
            claim.changed_at = ctx.index;
        }
    }

    /// Before a claim of a migration is given up: refused at the target while the source may still send. It may until it
    /// said that it has sent all, or is seen stopped: what its agent set off goes on without the agent.
    pub(super) fn check_given_up(&self, key: &ClaimKey, phase: Phase) -> Result<(), Refusal> {
        let sends = |(other, claim): (&ClaimKey, &Claim)| {
            other.instance == key.instance && other.node != key.node && claim.phase != Phase::Migrated
        };
        match phase == Phase::MigratingFrom && self.claims_of(&key.instance.resource).any(sends) {
            true => Err(Refusal::WrongPhase { key: key.clone() }),
            false => Ok(()),
        }
    }

    /// A migration is given up: what a node said before may have changed behind its back. That is so at its two ends; where
    /// the claim of the target is gone already, and with it the knowledge where that was, it is so everywhere.
    pub(super) fn give_up_migration(&mut self, key: &ClaimKey, phase: Phase) {
        let resource = &key.instance.resource;
        let others = self.claims_of(resource).filter(|(other, _)| other.instance == key.instance && *other != key);
        let mut ends: Vec<NodeId> = others.map(|(other, _)| other.node.clone()).collect();
        let known = phase == Phase::MigratingFrom || !ends.is_empty();
        ends.push(key.node.clone());
        self.probes.retain(|probe, _| probe.resource != *resource || (known && !ends.contains(&probe.node)));
    }
}
