//! Claims: who may change what, and how a claim ends by its own node's word.
//!
//! A node starts, promotes, demotes or stops an instance only under a committed claim. Everything here checks first
//! and changes after, so that a refusal leaves no trace.

use super::apply::Ctx;
use super::query::Limits;
use super::{Claim, ClaimKey, EventKind, Fact, FactPhase, Membership, Phase, Probe, ProbeKey, Refusal, State};
use crate::model::planted::{Planted, planted};
use crate::model::{ActionKind, Definition, Epoch, Incarnation, LogIndex, NodeId, Reading, Role};

impl State {
    pub(super) fn apply_claim(
        &mut self,
        ctx: &mut Ctx<'_>,
        key: &ClaimKey,
        incarnation: &Incarnation,
        assignment: LogIndex,
    ) -> Result<(), Refusal> {
        let resource = &key.instance.resource;
        self.check_online(&key.node, incarnation)?;
        if self.claims.contains_key(key) {
            return Err(Refusal::AlreadyClaimed { key: key.clone() });
        }
        let assigned = match self.assignment.get(&key.instance) {
            Some(assigned) if assigned.to.node == key.node && assigned.index == assignment => &assigned.to,
            Some(assigned) if planted(Planted::StaleAssignment) => &assigned.to,
            _ => return Err(Refusal::NotAssigned { key: key.clone() }),
        };
        let Some((digest, definition)) = self.current_definition(resource) else {
            return Err(Refusal::UnknownResource { resource: resource.clone() });
        };
        self.check_place(key, definition)?;
        let role = if definition.clone.as_ref().is_some_and(|clone| clone.promoted_max.is_some()) {
            Role::Unpromoted
        } else {
            Role::Started
        };
        self.check_not_renamed(key, definition)?;
        if let Some(node) = self.unprobed(resource)
            && !(planted(Planted::ProbedByOne) && self.is_probed(resource, &key.node))
        {
            return Err(Refusal::NotProbed { resource: resource.clone(), node: node.clone() });
        }
        let past = planted(Planted::GrantedPastLimit);
        if !past && self.exceeded(resource).is_some() {
            return Err(Refusal::OverLimit { resource: resource.clone() });
        }
        if !past {
            self.check_room(key)?;
        }
        self.check_facts(&assigned.after)?;
        self.check_told(ActionKind::Start, key)?;

        let after = assigned.after.iter().chain(&assigned.after_promote).map(|fact| fact.instance.clone()).collect();
        let epoch = self.next_epoch();
        let claim = Claim {
            incarnation: incarnation.clone(),
            epoch,
            definition: digest,
            phase: Phase::Starting,
            role,
            granted_at: ctx.index,
            changed_at: ctx.index,
            since_ms: ctx.at_ms,
            after,
            found: false,
            failure: None,
        };
        self.claims.insert(key.clone(), claim);
        // The check above counted before, this one counts after: they must agree, or nothing happened.
        if let Some(limit) = self.exceeded(resource).filter(|_| !past) {
            self.claims.remove(key);
            self.alarm(ctx, format!("granting {key} would have broken a limit ({limit}); it was not granted"));
            return Err(Refusal::LimitReached { resource: resource.clone(), limit });
        }
        ctx.event(EventKind::Claimed, Some(&key.node), Some(&key.instance), format!("{key} granted, epoch {epoch}"));
        Ok(())
    }

    /// Refuses what this version does not run, and nodes where nothing may begin.
    pub(super) fn check_place(&self, key: &ClaimKey, definition: &Definition) -> Result<(), Refusal> {
        let bundle = self.spec().and_then(|spec| spec.unrun(&key.instance.resource, &definition.resource));
        if let Some(what) = bundle.or_else(|| definition.resource.unrun()) {
            return Err(Refusal::NotAllowed { why: format!("{what} plans but does not run in this version") });
        }
        if self.is_remote(&key.node) {
            let why = format!("{} is a remote node, which plans but does not run in this version", key.node);
            return Err(Refusal::NotAllowed { why });
        }
        if self.is_disarmed(&key.node) {
            let why = format!("the watchdog of {} is disarmed: nothing may be started there", key.node);
            return Err(Refusal::NotAllowed { why });
        }
        Ok(())
    }

    /// Refuses one claim more where it would not fit.
    fn check_room(&self, key: &ClaimKey) -> Result<(), Refusal> {
        let resource = &key.instance.resource;
        let Some(Limits { total, per_node, .. }) = self.limits(resource) else {
            return Err(Refusal::UnknownResource { resource: resource.clone() });
        };
        let full = |limit: String| Err(Refusal::LimitReached { resource: resource.clone(), limit });
        let (mut all, mut here) = (0, 0);
        for (other, _) in self.claims_of(resource) {
            // One number is one thing: a second claim on it would be the same copy twice.
            if other.instance == key.instance {
                return full(format!("{} is claimed by {}", key.instance, other.node));
            }
            all += 1;
            here += u32::from(other.node == key.node);
        }
        if all + 1 > total {
            return full(format!("{all} of at most {total}"));
        }
        if here + 1 > per_node {
            return full(format!("{here} on {} of at most {per_node}", key.node));
        }
        Ok(())
    }

    /// A renamed resource waits until the old name's claims are gone: they may be the same files, the same address.
    fn check_not_renamed(&self, key: &ClaimKey, new: &Definition) -> Result<(), Refusal> {
        let same = self.claims.iter().find(|(other, claim)| {
            !self.current.contains_key(&other.instance.resource)
                && self.definitions.get(&claim.definition).is_some_and(|old| self.is_same_service(old, new))
        });
        match same {
            Some((old, _)) => Err(Refusal::NotAllowed {
                why: format!("{} is the same service as {old}, which still has a claim", key.instance),
            }),
            None => Ok(()),
        }
    }

    pub(super) fn check_facts(&self, facts: &[Fact]) -> Result<(), Refusal> {
        match facts.iter().find(|fact| !self.holds(fact) && !planted(Planted::OrderIgnored)) {
            Some(fact) => {
                let place = fact.node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
                Err(Refusal::FactMissing { fact: format!("{} {:?}{place}", fact.instance, fact.phase) })
            }
            None => Ok(()),
        }
    }

    /// Whether a fact is true now.
    pub fn holds(&self, fact: &Fact) -> bool {
        let mut claims = self
            .claims_of(&fact.instance.resource)
            .filter(|(key, _)| key.instance == fact.instance && fact.node.as_ref().is_none_or(|n| n == &key.node));
        match fact.phase {
            FactPhase::Running => claims.any(|(_, claim)| claim.is_running()),
            FactPhase::Promoted => {
                claims.any(|(_, c)| c.role == Role::Promoted && c.phase == Phase::Running && c.failure.is_none())
            }
            FactPhase::Gone => claims.next().is_none(),
            FactPhase::NotPromoted => claims.all(|(_, claim)| !claim.may_be_promoted()),
        }
    }

    /// What rests on a claim, and was granted or is promoted since `seen`, was not thought of when its end was decided.
    pub(super) fn check_rested_on(&self, key: &ClaimKey, to: Phase, seen: LogIndex) -> Result<(), Refusal> {
        if !matches!(to, Phase::Stopping | Phase::Demoting) {
            return Ok(());
        }
        let rests = |(other, claim): (&ClaimKey, &Claim)| {
            let granted = claim.granted_at > seen && claim.after.contains(&key.instance);
            let assigned = || self.assignment.get(&other.instance);
            let promoted = claim.phase == Phase::Promoting && claim.changed_at > seen;
            let after_promote =
                || assigned().is_some_and(|a| a.to.after_promote.iter().any(|f| f.instance == key.instance));
            other != key && (granted || (promoted && after_promote()))
        };
        match self.claims.iter().any(rests) {
            true => Err(Refusal::StaleObservation),
            false => Ok(()),
        }
    }

    pub(super) fn apply_advance(
        &mut self,
        ctx: &mut Ctx<'_>,
        key: &ClaimKey,
        epoch: Epoch,
        incarnation: &Incarnation,
        to: Phase,
    ) -> Result<(), Refusal> {
        if to == Phase::Reloading {
            self.check_owner(key, epoch, incarnation)?;
            self.begin_reload(key)?;
        }
        let claim = self.check_owner(key, epoch, incarnation)?;
        let wrong = Err(Refusal::WrongPhase { key: key.clone() });
        match to {
            Phase::Stopping | Phase::Reloading => {}
            Phase::Demoting => {
                if !claim.may_be_promoted() || claim.phase == Phase::Stopping {
                    return wrong;
                }
            }
            Phase::Promoting => {
                if claim.phase != Phase::Running || claim.role != Role::Unpromoted || claim.failure.is_some() {
                    return wrong;
                }
                self.check_online(&key.node, incarnation)?;
                let Some(assigned) = self.assignment.get(&key.instance) else {
                    return Err(Refusal::NotAssigned { key: key.clone() });
                };
                if assigned.to.node != key.node || assigned.to.role != Role::Promoted {
                    return Err(Refusal::NotAssigned { key: key.clone() });
                }
                if !planted(Planted::PromotedPastLimit) {
                    self.check_facts(&assigned.to.after_promote)?;
                }
                self.check_told(ActionKind::Promote, key)?;
            }
            Phase::Starting | Phase::Running | Phase::MigratingTo | Phase::MigratingFrom | Phase::Migrated => {
                return wrong;
            }
        }
        let before = claim.clone();
        if before.phase.migrates() {
            self.check_given_up(key, before.phase)?;
            self.give_up_migration(key, before.phase);
        }
        let claim = self.claims.get_mut(key).expect("check_owner found it");
        // A promotion that failed, or whose end nobody knows, may have worked: it counts until a demotion or a stop is over.
        if claim.phase == Phase::Promoting && to != Phase::Promoting {
            claim.role = Role::Promoted;
        }
        claim.phase = to;
        claim.changed_at = ctx.index;
        // From here on it is down (`durations`).
        if to == Phase::Stopping && before.phase != Phase::Stopping && self.feature_level >= super::reload::RELOAD_LEVEL
        {
            claim.since_ms = ctx.at_ms;
        }
        if to == Phase::Promoting
            && let Some(limit) = self.exceeded(&key.instance.resource)
            && !planted(Planted::PromotedPastLimit)
        {
            self.claims.insert(key.clone(), before);
            return Err(Refusal::LimitReached { resource: key.instance.resource.clone(), limit });
        }
        Ok(())
    }

    pub(super) fn apply_release(
        &mut self,
        ctx: &mut Ctx<'_>,
        key: &ClaimKey,
        epoch: Epoch,
        incarnation: &Incarnation,
    ) -> Result<(), Refusal> {
        let claim = self.check_owner(key, epoch, incarnation)?;
        if claim.phase != Phase::Stopping {
            return Err(Refusal::WrongPhase { key: key.clone() });
        }
        let (claim, resource) = (claim.clone(), &key.instance.resource);
        let identity = self.definitions.get(&claim.definition).map(|definition| Self::identity(definition));
        self.keep_stop(resource, &claim, ctx.at_ms);
        self.claims.remove(key);
        if let Some(identity) = identity {
            let probe = Probe {
                incarnation: incarnation.clone(),
                identity,
                reading: Reading::Stopped,
                at: ctx.index,
                text: "stopped".into(),
            };
            self.probes.insert(probe_key(key), probe);
        }
        self.forget_unreferenced();
        let text = format!("{} stopped on {}", key.instance, key.node);
        ctx.event(EventKind::Stopped, Some(&key.node), Some(&key.instance), text);
        Ok(())
    }

    pub(super) fn next_epoch(&mut self) -> Epoch {
        if !(planted(Planted::EpochRepeats) && self.last_epoch.0 % 7 == 6) {
            self.last_epoch.0 += 1;
        }
        self.last_epoch
    }

    pub(super) fn check_owner(
        &self,
        key: &ClaimKey,
        epoch: Epoch,
        incarnation: &Incarnation,
    ) -> Result<&Claim, Refusal> {
        let claim = self.claims.get(key).ok_or_else(|| Refusal::NoClaim { key: key.clone() })?;
        if claim.epoch != epoch && !planted(Planted::KeyWithoutEpoch) {
            return Err(Refusal::WrongEpoch { key: key.clone() });
        }
        if claim.incarnation != *incarnation {
            return Err(Refusal::StaleIncarnation { node: key.node.clone() });
        }
        Ok(claim)
    }

    pub(super) fn check_incarnation(
        &self,
        node: &NodeId,
        incarnation: &Incarnation,
    ) -> Result<&super::NodeState, Refusal> {
        let state = self.nodes.get(node).ok_or_else(|| Refusal::UnknownNode { node: node.clone() })?;
        if state.incarnation != *incarnation {
            return Err(Refusal::StaleIncarnation { node: node.clone() });
        }
        if state.burnt.contains(&incarnation.boot) {
            return Err(Refusal::BurntBoot { node: node.clone(), boot: incarnation.boot.clone() });
        }
        Ok(state)
    }

    pub(super) fn check_online(&self, node: &NodeId, incarnation: &Incarnation) -> Result<(), Refusal> {
        match self.check_incarnation(node, incarnation)?.membership {
            Membership::Online => Ok(()),
            Membership::Joining | Membership::Suspect | Membership::Fenced | Membership::Left => {
                Err(Refusal::NotOnline { node: node.clone() })
            }
        }
    }
}

fn probe_key(key: &ClaimKey) -> ProbeKey {
    ProbeKey { resource: key.instance.resource.clone(), node: key.node.clone() }
}
