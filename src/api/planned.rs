//! What a spec would do and cost, as the API words it.
//!
//! Input: spec and state. Output: the [`PlanView`], but for what is written differently: that is left to who has both texts
//! (`differences`). Pure. Used by the daemon for its own cluster, and by commands that are given a spec and a state.

use super::types::{EstimateBasis, EstimateView, Impact, OutageView, PlanView, PlannedAction, Unplaced, Untouched};
use crate::model::{Kind, PlanId, Reason, ResourceId, Role, Spec};
use crate::plan::{self, Basis, Estimate, Outage, PredictedAction, PredictedKind, Verdict};
use crate::state::State;
use std::collections::BTreeSet;

/// What a spec would do and cost.
pub fn plan_view(spec: &Spec, state: &State) -> PlanView {
    let words = Words { spec, state };
    let plan::Prediction { actions, outages } = plan::foretell(spec, state);
    let touched: BTreeSet<&ResourceId> =
        actions.iter().filter_map(|action| action.instance.as_ref()).map(|id| &id.resource).collect();
    let (untouched, unchanged) = words.untouched(&touched);
    PlanView {
        id: Some(plan_id(spec, state).to_string()),
        from: state.target.as_ref().map(|target| target.revision.to_string()),
        actions: actions.iter().map(|action| words.action(action)).collect(),
        outages: outages.iter().map(|outage| words.outage(outage)).collect(),
        untouched,
        unchanged,
        unplaced: words.unplaced(),
        ..PlanView::default()
    }
}

/// What a plan of this spec beside this state is called.
pub fn plan_id(spec: &Spec, state: &State) -> PlanId {
    PlanId::of(state.target.as_ref().map(|target| &target.revision), spec, &plan::standing(state))
}

struct Words<'a> {
    spec: &'a Spec,
    state: &'a State,
}

impl Words<'_> {
    fn at(&self, kind: Kind, name: &str) -> Option<String> {
        let old = || self.state.spec().and_then(|old| old.origin(kind, name));
        self.spec.origin(kind, name).or_else(old).map(ToString::to_string)
    }

    fn action(&self, action: &PredictedAction) -> PlannedAction {
        let impact = match action.kind {
            PredictedKind::Fence => Impact::Fence,
            PredictedKind::Start => Impact::Start,
            PredictedKind::Stop => Impact::Stop,
            PredictedKind::Restart => Impact::Restart,
            PredictedKind::Reload => Impact::Reload,
            PredictedKind::Move => Impact::Move,
            PredictedKind::Migrate => Impact::Migrate,
            PredictedKind::Promote => Impact::Promote,
            PredictedKind::Demote => Impact::Demote,
        };
        let at = match &action.instance {
            Some(instance) => self.at(Kind::Resource, instance.resource.as_str()),
            None => self.at(Kind::Node, action.node.as_str()),
        };
        PlannedAction {
            impact,
            object: action.instance.as_ref().map_or_else(|| action.node.to_string(), ToString::to_string),
            node: Some(action.node.to_string()),
            from: action.from.as_ref().map(ToString::to_string),
            role: None,
            reason: self.reason(action),
            at,
            takes: Some(estimate(action.takes)),
            after: Vec::new(),
        }
    }

    fn reason(&self, action: &PredictedAction) -> String {
        let resource = action.instance.as_ref().and_then(|instance| self.spec.resources.get(&instance.resource));
        let lost = matches!(action.reason, Reason::NodeLost { .. });
        match resource {
            Some(resource) if resource.migratable && action.kind == PredictedKind::Move && !lost => {
                format!("{}; stopped and started: something speaks against moving it live", action.reason)
            }
            Some(_) | None => action.reason.to_string(),
        }
    }

    fn outage(&self, outage: &Outage) -> OutageView {
        OutageView {
            object: outage.instance.to_string(),
            node: Some(outage.node.to_string()),
            role: (outage.role == Role::Promoted).then_some(Role::Promoted),
            lasts: outage.lasts.map(estimate),
            returns: outage.lasts.is_some(),
            at: self.at(Kind::Resource, outage.instance.resource.as_str()),
        }
    }

    /// Changed resources to which nothing is done, and how many are as they were.
    fn untouched(&self, touched: &BTreeSet<&ResourceId>) -> (Vec<Untouched>, u32) {
        let (mut untouched, mut unchanged) = (Vec::new(), 0);
        let Some(old) = self.state.spec() else { return (untouched, unchanged) };
        for (name, is) in self.spec.resources.iter().filter(|(name, _)| !touched.contains(name)) {
            let Some(was) = old.resources.get(name) else { continue };
            // Where a document stands among others is nothing that anybody changed.
            if (crate::model::Resource { rank: is.rank, ..was.clone() }) == *is {
                unchanged += 1;
                continue;
            }
            let runs = self.state.claims.keys().any(|key| &key.instance.resource == name);
            let reason = match () {
                () if !runs => "it does not run",
                () if !is.managed || is.maintenance => "it is left alone: unmanaged or in maintenance",
                () if !was.is_told_the_same(is) => "what keeps it from a restart: `hafen why`",
                () => "nothing that its agent is told was changed",
            };
            let at = self.at(Kind::Resource, name.as_str());
            untouched.push(Untouched { resource: name.to_string(), reason: reason.to_owned(), at });
        }
        (untouched, unchanged)
    }

    /// Verdicts of the new spec against the old claims: what has no node at all.
    fn unplaced(&self) -> Vec<Unplaced> {
        // Before its nodes have joined a cluster can place nothing; that is no fault of the manifests.
        if !self.spec.resource_nodes().any(|node| self.state.nodes.contains_key(node)) {
            return Vec::new();
        }
        let assigned = plan::assign(self.spec, self.state);
        let unplaced = assigned.verdicts.iter().filter_map(|(instance, verdict)| match verdict {
            Verdict::Blocked(reason @ Reason::NoNode { .. }) => Some(Unplaced {
                instance: instance.to_string(),
                reason: reason.to_string(),
                at: self.at(Kind::Resource, instance.resource.as_str()),
            }),
            Verdict::Keep | Verdict::Act | Verdict::Wait(_) | Verdict::Blocked(_) => None,
        });
        unplaced.collect()
    }
}

fn estimate(estimate: Estimate) -> EstimateView {
    let basis = match estimate.basis {
        Basis::Measured => EstimateBasis::Measured,
        Basis::TimeOut => EstimateBasis::TimeOut,
    };
    EstimateView { ms: estimate.ms, basis }
}
