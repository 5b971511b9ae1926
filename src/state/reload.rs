//! Reload: a running instance takes changed parameters over in place.
//!
//! `Advance` to `Reloading` notes under which definition (`State::reloads`) → the agent runs with that one, while the claim
//! still pins the old → a report of success moves the pin. Any other end is a failure: the claim is settled with the old
//! definition, and the next start has the new one.

use super::{Claim, ClaimKey, Phase, Refusal, State};
use crate::model::{Definition, Digest, Reload};
use std::sync::Arc;

/// From this feature level on parameters are taken over in place.
pub const RELOAD_LEVEL: u32 = 2;

impl State {
    /// What a reload of this claim would take over, and how; None: a change of its definition needs a stop and a start.
    pub fn reload_of(&self, key: &ClaimKey, claim: &Claim) -> Option<(Digest, &Reload)> {
        let pinned = self.definitions.get(&claim.definition)?;
        let (digest, current) = self.current_definition(&key.instance.resource)?;
        let reload = self.spec()?.reload(&pinned.resource, &current.resource)?;
        (self.feature_level >= RELOAD_LEVEL && digest != claim.definition).then_some((digest, reload))
    }

    /// The definition that a reload that is under way takes over.
    pub fn reloading(&self, key: &ClaimKey) -> Option<&Arc<Definition>> {
        self.definitions.get(self.reloads.get(key)?)
    }

    pub(super) fn begin_reload(&mut self, key: &ClaimKey) -> Result<(), Refusal> {
        let wrong = || Refusal::WrongPhase { key: key.clone() };
        let claim = self.claims.get(key).filter(|claim| claim.phase == Phase::Running && claim.failure.is_none());
        let claim = claim.ok_or_else(wrong)?;
        let assigned = self.assignment.get(&key.instance).is_some_and(|assigned| assigned.to.node == key.node);
        let incarnation = claim.incarnation.clone();
        self.check_online(&key.node, &incarnation)?;
        match self.reload_of(key, claim).filter(|_| assigned) {
            Some((digest, _)) => _ = self.reloads.insert(key.clone(), digest),
            None => return Err(Refusal::NotAllowed { why: format!("{key} has nothing to take over in place") }),
        }
        Ok(())
    }

    /// After every accepted command: whatever else became of the claim, its reload is over.
    pub(super) fn follow_reloads(&mut self) {
        let claims = &self.claims;
        self.reloads.retain(|key, _| claims.get(key).is_some_and(|claim| claim.phase == Phase::Reloading));
    }
}
