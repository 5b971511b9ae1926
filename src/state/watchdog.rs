//! Evidence by time alone: a boot whose lease has run out and whose watchdog has fired by now.
//!
//! Input: what nodes report of their watchdogs; the leader's word that it waited. Output: the boot is burnt, or why not.
//!
//! Invariants: a report counts for the boot that made it; a boot without one, or whose numbers do not add up, is never
//! proven off this way; the leader must have waited for the longer of the lease that the node ran with and the one that
//! git asks for; its word is about one suspicion, so that nothing which was heard in between can be overlooked.
//!
//! Does not wait: who counts, and stops acknowledging before, is the leader (`reconcile::lease`).

use super::apply::Ctx;
use super::members::Evidence;
use super::{EventKind, FenceOutcome, Membership, OverrideKind, Phase, Refusal, Scope, State, WatchdogReport};
use crate::model::watchdog::MIN_WATCHDOG_VOTERS;
use crate::model::{BootId, DeviceId, FencingDevice, Incarnation, LeaseTiming, NodeId, WatchdogKind};
use std::time::Duration;

impl State {
    /// How long after its last acknowledged heartbeat the current boot of a node is over; or why nobody can know.
    pub fn lease_evidence(&self, name: &NodeId) -> Result<Duration, String> {
        if self.watchdog_of(name).is_none() {
            return Err(format!("{name} has no level of fencing that is its watchdog alone"));
        }
        let voters = self.spec().map_or(0, |spec| spec.nodes.values().filter(|node| node.role.votes()).count());
        if voters < MIN_WATCHDOG_VOTERS {
            return Err(format!("{voters} voters are too few: without {name} no majority is left"));
        }
        if self.is_disarmed(name) {
            return Err(format!("the watchdog of {name} is disarmed"));
        }
        if let Some((key, _)) = self.claims_on(name).find(|(_, claim)| claim.phase == Phase::MigratingFrom) {
            return Err(format!("{} may still arrive on {name}", key.instance));
        }
        let Some(report) = self.nodes.get(name).and_then(|node| node.watchdog.as_ref()) else {
            return Err(format!("{name} has not reported an armed watchdog"));
        };
        if report.facts.kind == WatchdogKind::SoftwareInGuest {
            let what = &report.facts.identity;
            return Err(format!("the watchdog of {name} ({what}) is a timer of a guest, which stands still with it"));
        }
        let sum = report.timing.sum(report.facts.timeout);
        if !sum.holds() {
            return Err(format!("the lease of {name} is too short: {sum}"));
        }
        Ok(report.timing.lease_ttl.max(self.lease_timing().lease_ttl))
    }

    /// The times that git asks for.
    pub fn lease_timing(&self) -> LeaseTiming {
        self.spec().map_or(LeaseTiming::DEFAULT, |spec| spec.cluster.watchdog)
    }

    /// The watchdog that is a whole level of a node's fencing: by the newest document, kept or wanted.
    pub fn watchdog_of(&self, name: &NodeId) -> Option<DeviceId> {
        let kept = self.nodes.get(name).and_then(|node| node.document.as_ref());
        let spec = self.spec().filter(|spec| spec.cluster.fencing.enabled)?;
        let levels = kept.map(|kept| &kept.node.fencing).or(spec.nodes.get(name).map(|node| &node.fencing))?;
        let is_watchdog = |device: &DeviceId| {
            let known = kept.and_then(|kept| kept.devices.get(device)).or_else(|| spec.devices.get(device));
            known.is_some_and(FencingDevice::is_watchdog)
        };
        levels.iter().find(|level| !level.is_empty() && level.iter().all(is_watchdog))?.first().cloned()
    }

    /// Whether time alone may prove this node off.
    pub fn is_leased(&self, name: &NodeId) -> bool {
        self.watchdog_of(name).is_some() || self.nodes.get(name).is_some_and(|node| node.watchdog.is_some())
    }

    /// Whether anything could come of a fence: a node with nothing but a watchdog that is not armed waits for it in vain, and
    /// cannot arm it while it is suspect.
    pub fn may_be_proven_off(&self, name: &NodeId) -> bool {
        let document = self.nodes.get(name).and_then(|node| node.document.as_ref());
        let switched = document.is_some_and(|document| {
            let mut devices = document.node.fencing.iter().flatten().filter_map(|device| document.devices.get(device));
            devices.any(|device| !device.is_watchdog())
        });
        switched || self.lease_evidence(name).is_ok()
    }

    pub fn is_disarmed(&self, name: &NodeId) -> bool {
        let scope = Scope::Node(name.clone());
        self.overrides.values().any(|o| o.scope == scope && matches!(o.kind, OverrideKind::Disarm))
    }

    /// A node says what watchdog it has armed, and by which times it goes; None: it could not arm one.
    pub(super) fn apply_watchdog(
        &mut self,
        ctx: &mut Ctx<'_>,
        name: &NodeId,
        incarnation: &Incarnation,
        report: Option<&WatchdogReport>,
    ) -> Result<(), Refusal> {
        self.check_incarnation(name, incarnation)?;
        let Some(node) = self.nodes.get_mut(name) else { return Err(Refusal::UnknownNode { node: name.clone() }) };
        if node.watchdog.as_ref() == report {
            return Err(Refusal::NothingToDo);
        }
        node.watchdog = report.cloned();
        let proves = self.lease_evidence(name);
        let but = proves.err().map(|why| format!("; it proves nothing: {why}")).unwrap_or_default();
        let text = match report {
            Some(report) => format!(
                "{name} has armed its watchdog ({}, {} s), lease {} ms{but}",
                report.facts.identity,
                report.facts.timeout.as_secs(),
                report.timing.lease_ttl.as_millis()
            ),
            None => format!("{name} has no armed watchdog"),
        };
        ctx.event(EventKind::FenceCheck, Some(name), None, text);
        Ok(())
    }

    pub(super) fn apply_watchdog_elapsed(
        &mut self,
        ctx: &mut Ctx<'_>,
        leader: &Incarnation,
        name: &NodeId,
        boot: &BootId,
        suspicion: u64,
        waited_ms: u64,
    ) -> Result<(), Refusal> {
        self.check_leader(leader)?;
        let node = self.nodes.get(name).ok_or_else(|| Refusal::UnknownNode { node: name.clone() })?;
        if node.incarnation.boot != *boot {
            return Err(Refusal::StaleIncarnation { node: name.clone() });
        }
        if node.burnt.contains(boot) {
            return Err(Refusal::BurntBoot { node: name.clone(), boot: boot.clone() });
        }
        // Heard again and lost again is another suspicion: what was counted for the first is worth nothing.
        let counted = node.suspicion.as_ref().is_some_and(|s| s.number == suspicion && s.boot == *boot);
        if node.membership != Membership::Suspect || !counted {
            return Err(Refusal::NotAllowed { why: format!("{name} was heard meanwhile") });
        }
        let lease = self.lease_evidence(name).map_err(|why| Refusal::NotAllowed { why })?;
        if u128::from(waited_ms) < lease.as_millis() {
            let why = format!("the lease of {name} runs for {} ms, not {waited_ms}", lease.as_millis());
            return Err(Refusal::NotAllowed { why });
        }
        // Whatever an executor still does to this node no longer matters.
        for attempt in self.attempts.values_mut().filter(|a| &a.node == name && a.outcome.is_none()) {
            attempt.outcome = Some(FenceOutcome::Unknown("its watchdog was faster".into()));
        }
        self.prove_off(ctx, name, boot, &Evidence::WatchdogElapsed { waited_ms });
        if let Some(node) = self.nodes.get_mut(name) {
            node.lease_over = Some(boot.clone());
        }
        Ok(())
    }
}
