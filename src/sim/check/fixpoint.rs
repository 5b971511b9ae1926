//! When the faults end, the cluster gets where its plan wants it, and then does nothing.

use super::Invariant;
use crate::model::{NodeId, Role};
use crate::plan;
use crate::sim::agents::thing_of;
use crate::sim::world::Sim;
use crate::state::Membership;
use crate::state::rollout::Trial;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Sim {
    /// What keeps the cluster from being where its plan wants it; None: nothing.
    pub fn unsettled(&mut self) -> Option<String> {
        let missing = self.members(Membership::Online);
        if !missing.is_empty() {
            return Some(format!("not everybody is online: {missing:?}"));
        }
        let unnoticed = |name: &NodeId| {
            let known = self.newest().nodes.get(name).map(|node| node.membership);
            matches!(known, Some(Membership::Online | Membership::Joining))
        };
        if let Some(gone) = self.hosts.iter().find(|host| host.stays_off && !host.up && unnoticed(&host.name)) {
            return Some(format!("{} is gone, and nobody has noticed", gone.name));
        }
        let newest = self.states.len() - 1;
        for (place, host) in self.hosts.iter().enumerate().filter(|(_, host)| !host.stays_off) {
            let joined = self.newest().nodes.get(&host.name).map(|node| &node.incarnation);
            let daemon = host.daemon.as_ref();
            let knows = daemon.is_some_and(|daemon| daemon.seen == newest && joined == Some(&daemon.incarnation));
            if !host.up || !knows {
                return Some(format!("n{} is not there", place + 1));
            }
        }
        let state = Arc::clone(self.newest());
        let Some(spec) = state.spec() else { return Some("no spec".into()) };
        if let Some(why) = self.unfollowed() {
            return Some(why);
        }
        let graph = self.graph(newest);
        if !graph.is_empty() {
            let steps: Vec<_> = graph.steps().map(|step| format!("{:?} {}", step.kind, step.key)).collect();
            return Some(format!("steps are left: {steps:?} {:?}", graph.verdicts()));
        }
        if !state.notices.is_empty() {
            return Some(format!("notices are left: {:?}", state.notices));
        }
        if let Trial::On { until_ms, .. } = state.rollout.trial {
            return Some(format!("the target is on trial, until {until_ms} of {}", state.now_ms));
        }
        let plan = plan::assign(spec, &state);
        let (changes, fence) = (plan.changes(&state), plan.fence);
        if !changes.is_empty() || !fence.is_empty() {
            return Some(format!("to be committed: {changes:?} {fence:?}"));
        }
        for (resource, described) in &spec.resources {
            let places: BTreeMap<&NodeId, bool> = state
                .assignment
                .iter()
                .filter(|(instance, _)| &instance.resource == resource)
                .map(|(_, assigned)| (&assigned.to.node, assigned.to.role == Role::Promoted))
                .collect();
            let thing = thing_of(resource, described);
            let runs = self.hosts.iter().filter_map(|host| {
                let service = host.services.get(&thing)?;
                (!service.is_nobodys() || places.contains_key(&host.name)).then_some((&host.name, service.promoted))
            });
            let runs: BTreeMap<&NodeId, bool> = runs.collect();
            if places.is_empty() {
                return Some(format!("{resource} is assigned nowhere: {:?}", plan.verdicts));
            }
            if places != runs {
                return Some(format!("{resource} is to run on {places:?}, and runs on {runs:?}"));
            }
        }
        None
    }

    /// What was pushed last is what is followed, unless the cluster returned from it.
    fn unfollowed(&self) -> Option<String> {
        let state = self.newest();
        let followed = state.target.as_ref().map(|target| target.spec);
        if followed == self.pushed || state.rollout.hold_on(&self.spec).is_some() {
            return None;
        }
        Some(format!("git is not followed: {followed:?} instead of {:?}", self.pushed))
    }

    /// Peace was watched for a while, and so many entries were written.
    pub fn check_rest(&mut self, entries: usize, most: usize) {
        if entries > most {
            self.violated(Invariant::Rest, format!("{entries} entries although nothing is to do"));
        }
    }
}
