//! The planner: what should run where, and in which order.
//!
//! Answers: [`assign()`] where every instance belongs and whom to fence (run by the leader, committed as a delta);
//! [`order()`] which actions are missing between what is and what is assigned (run by every node on committed state);
//! [`explain()`] why; [`predict()`] what a new spec would cause.
//!
//! Input: a [`Spec`](crate::model::Spec) and a [`State`](crate::state::State). Output: values; nothing is changed.
//!
//! Invariants, each held by a property test: same input, same output; a plan that was executed leaves nothing to plan;
//! no action on an unclean node but fencing; nothing starts before what it requires; limits hold in every prediction.
//!
//! Deliberately absent: safety. A wrong plan can cost availability; `State::apply` refuses what would run twice.
//!
//! Files, in reading order: `nodes` who may run anything · `reach` the same of nodes behind a resource · `instances` the
//! indexed problem · `ties` what belongs together · `score` how much a node suits a resource · `place` and `copies` who
//! goes where, `pinned` what stays, `room` what fits, `reasons` why · `roles` who is promoted · `needs` what cannot run alone · `fencing` whom to fence · `assign` these as
//! steps · `want` what each claim needs · `links` order constraints resolved · `order` the graph · `graph` its questions ·
//! `explain`, `obstacles`, `otherwise`, `predict` and `timeline` for people · `transition` one plan to its end, `told` in people's names.

mod assign;
#[cfg(test)]
mod cases;
mod copies;
mod explain;
mod fencing;
mod graph;
mod instances;
mod links;
mod needs;
mod nodes;
mod obstacles;
mod order;
mod otherwise;
mod pinned;
mod place;
mod predict;
#[cfg(test)]
mod properties;
mod reach;
mod reasons;
mod roles;
mod room;
mod score;
mod standing;
#[cfg(test)]
mod stories;
#[cfg(test)]
pub(crate) mod testing;
mod tickets;
mod ties;
mod timeline;
mod told;
mod transition;
mod want;

pub use assign::{Assignment, assign};
pub use explain::{Contribution, Explanation, InstanceExplanation, NodeExplanation, PromotionExplanation, explain};
pub use fencing::FenceDecision;
pub use graph::{Graph, Step, StepKind, ToAnnounce};
pub use obstacles::{Ground, Obstacle, has_other_home, obstacles, obstacles_by_node, with_other_home};
pub use order::{order, order_untold};
pub use otherwise::{Change, Tried, otherwise};
pub use predict::{Dream, PredictedAction, PredictedKind, Prediction, Round, foretell, predict};
pub use standing::standing;
pub use timeline::{Basis, Estimate, Outage};
pub use transition::{Action, Op, Outcome, Roles, transition};

use crate::model::Reason;
use serde::{Deserialize, Serialize};

/// What is to become of an instance: one answer for plan, status, `why`, API and page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It is as it should be.
    Keep,
    /// Something is done, or can be done now.
    Act,
    /// Something is to be done after something else.
    Wait(Reason),
    /// Nothing can be done until an operator, or git, changes something.
    Blocked(Reason),
}
