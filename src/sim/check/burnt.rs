//! A boot that was proven off never acts again once it knows, and claims nothing.

use super::{Act, Invariant};
use crate::model::ActionKind;
use crate::sim::world::Sim;
use crate::state::{Membership, State};

impl Sim {
    pub(super) fn check_burnt_act(&mut self, act: &Act<'_>) {
        let boot = &act.incarnation.boot;
        let knows = act.known.nodes.get(&act.key.node).is_some_and(|node| node.burnt.contains(boot));
        let ends = matches!(act.request.kind, ActionKind::Stop | ActionKind::Demote);
        if knows && !ends {
            self.violated(Invariant::Burnt, format!("{} by {boot}, which knows that it was proven off", act.what));
        }
    }

    /// A boot that was proven off is no member again.
    pub(super) fn check_members(&mut self, state: &State) {
        let member = |membership| matches!(membership, Membership::Online | Membership::Joining);
        let back =
            state.nodes.iter().find(|(_, node)| member(node.membership) && node.burnt.contains(&node.incarnation.boot));
        if let Some((name, node)) = back {
            let what = format!("{} of {name} was proven off, and is a member again", node.incarnation.boot);
            self.violated(Invariant::Burnt, what);
        }
    }
}
