//! `multipleActive: StopOnly`: the memory of having stopped.
//!
//! A probe that finds one copy too many → the resource is in `State::halted` → `plan` runs it nowhere → `hafen cleanup`
//! of the resource on all nodes ends that.

use super::apply::Ctx;
use super::{Claim, EventKind, Phase, State};
use crate::model::{Definition, MultipleActive, ResourceId};

/// From this feature level on it is remembered.
const HALT_LEVEL: u32 = 2;

impl State {
    /// `multipleActive: StopOnly`: what was seen to run twice is stopped, and stays so until somebody looked.
    pub(super) fn halt_if_several(&mut self, ctx: &mut Ctx<'_>, resource: &ResourceId) {
        let stops = |definition: &Definition| {
            definition.clone.is_none() && definition.resource.multiple_active == MultipleActive::StopOnly
        };
        let known = self.current_definition(resource).is_some_and(|(_, definition)| stops(definition));
        let settling = |claim: &Claim| claim.failure.is_some() || claim.phase == Phase::Stopping;
        let several = self.claims_of(resource).filter(|(_, claim)| !settling(claim)).count() > 1;
        if known && several && self.feature_level >= HALT_LEVEL && self.halted.insert(resource.clone()) {
            let text = format!("{resource} runs more than once: it is stopped until `hafen cleanup {resource}`");
            ctx.event(EventKind::Failed, None, None, text);
        }
    }
}
