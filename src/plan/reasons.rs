//! Why an instance is where it is to be, leaves a node, or runs nowhere: one [`Reason`] each.
//!
//! Input: a [`Placer`] at work. Output: the strongest thing that speaks for it; words for people where there is no enum.
//!
//! Does not list every contribution (`explain`).

use super::instances::World;
use super::nodes::Unfit;
use super::place::Placer;
use super::score::{What, parts};
use crate::model::Reason;

impl Placer<'_, '_> {
    /// Why an instance is where it is to be.
    pub fn why_here(&self, place: usize, node: usize) -> Reason {
        let res = &self.world.res[place];
        let asked = res.overrides.iter().find(|o| {
            matches!(&o.kind, crate::state::OverrideKind::Move { to } if self.world.node_ids.get(to) == Some(&node))
        });
        match (asked, res.claims.first()) {
            (Some(o), _) => Reason::Override { by: o.by.clone(), reason: o.reason.clone() },
            (None, Some(live)) if live.node == node && live.claim.failure.is_some() => {
                Reason::Recover { node: self.world.nodes[node].id.clone() }
            }
            (None, Some(live)) if live.node == node => Reason::InPlace,
            (None, Some(live)) => self.why_not_there(place, live.node),
            (None, None) => Reason::Placed,
        }
    }

    /// Why an instance leaves a node.
    pub fn why_not_there(&self, place: usize, from: usize) -> Reason {
        why_leaves(self.world, place, from)
    }

    /// Why no node may run it, in words that name each node's reason.
    pub fn why_nowhere(&self, unit: usize, place: usize) -> Reason {
        if let Some((node, until_ms)) = self.bases[place].backoff {
            return Reason::Backoff { node: self.world.nodes[node].id.clone(), until_ms };
        }
        for tie in self.with[unit].iter().map(|tie| self.ties[*tie]).filter(|tie| tie.score.is_infinite()) {
            if !self.tie_nodes(&tie).contains(&true) {
                let other = self.world.res[tie.primary_res].id;
                return Reason::NoNode { why: format!("{other}, with which it belongs, runs nowhere") };
            }
        }
        let mut why: Vec<String> = Vec::new();
        let mut told = vec![false; self.world.nodes.len()];
        parts(self.world, place, &mut |node, part, what| {
            if part.is_never() && !told[node] {
                told[node] = true;
                why.push(format!("{} {}", self.world.nodes[node].id, super::explain::word(&what)));
            }
        });
        for (node, told) in told.iter().enumerate() {
            if !told {
                why.push(format!("{} is excluded by a colocation or its capacity", self.world.nodes[node].id));
            }
        }
        Reason::NoNode { why: why.join(", ") }
    }
}

/// Why an instance leaves a node: the strongest thing that speaks against it.
pub(super) fn why_leaves(world: &World<'_>, place: usize, from: usize) -> Reason {
    let info = &world.nodes[from];
    if info.unclean() {
        return Reason::NodeLost { node: info.id.clone() };
    }
    let mut why = Reason::BetterNode { from: info.id.clone() };
    let mut found = false;
    parts(world, place, &mut |node, part, what| {
        if node != from || !part.is_never() || found {
            return;
        }
        found = true;
        why = match what {
            What::Unfit(Unfit::Drained(_) | Unfit::Unlisted) => Reason::Draining { node: info.id.clone() },
            What::Override(o) => Reason::Override { by: o.by.clone(), reason: o.reason.clone() },
            What::Threshold(failures) => Reason::Threshold { node: info.id.clone(), failures },
            What::Moved | What::StartFailed { .. } => Reason::Threshold { node: info.id.clone(), failures: 1 },
            What::Unfit(_)
            | What::OptIn
            | What::Location(_)
            | What::Stickiness
            | What::NotInstalled(_)
            | What::Capacity
            | What::With(_)
            | What::Dependant(_)
            | What::Promotion(_)
            | What::NotPromoted(_) => Reason::BetterNode { from: info.id.clone() },
        };
    });
    why
}
