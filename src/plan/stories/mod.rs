//! One story per rule: a small cluster, what is planned, and what comes of it.
//!
//! `steps()` lists every missing step by kind; a `!` marks what can be done now. `play()` does the plan to its end.

mod answers;
mod copies;
mod ordering;
mod placement;
mod upkeep;

use super::testing::{World, id, key, show};
use super::{StepKind, Verdict};
use crate::model::*;
use crate::state::{FailureKind, FenceOutcome, Membership, OverrideKind, Phase, Scope};

fn two() -> World {
    World::new(&["n1", "n2"])
}

fn three() -> World {
    World::new(&["n1", "n2", "n3"])
}

fn verdict(world: &World, instance: &str) -> Verdict {
    world.graph().verdicts().get(&id(instance)).cloned().unwrap_or(Verdict::Keep)
}
