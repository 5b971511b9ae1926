//! Simulated clusters: what hafen promises, tried against faults nobody would wait for.
//!
//! Input: a seed. Output: what happened, and which [`Invariant`] was broken, if one was. The same seed tells the same story
//! everywhere. Inside run the real `State`, `plan::assign`, `plan::order`, `reconcile::Node` and table of heartbeats; simulated are time,
//! network, log, disks, machines, agents and fencing devices. The world knows what truly runs where; only the checkers
//! see it. After the faults the cluster has to reach what its plan wants, and rest.
//!
//! Files: `schedule` what a seed stands for · `faults` what goes wrong · `mends` what is undone · `world` the queue · `machines`, `links`, `log`,
//! `agents`, `devices` the parts · `check/` a file per invariant · `shrink` fewer faults, same violation · `mutants`
//! faults planted in the code, and who must find them · `script/` situations written as prose.
//!
//! Deliberately absent: Raft's own messages (`log` has their outcome), real processes (`e2e/`), git.

mod agents;
pub mod build;
mod check;
mod devices;
mod faults;
mod forge;
mod links;
mod log;
mod machines;
mod mends;
#[cfg(feature = "mutants")]
pub mod mutants;
mod rng;
mod schedule;
pub mod script;
mod shrink;
#[cfg(test)]
mod tests;
mod watchdogs;
mod world;

pub use check::{Invariant, Violation};
pub use schedule::Schedule;
pub use shrink::shrink;
pub use world::{Line, Stats, Weight};

use std::cell::RefCell;
use std::collections::BTreeMap;
use world::Sim;

/// Everything runs by then, ms; the first fault comes later.
const SWITCHED_ON: u64 = schedule::FIRST - 200;

/// What became of a seed.
pub type Verdict = Result<Stats, Violation>;

thread_local! {
    /// Clusters that were switched on, by their number: half of the cost of a schedule is saved.
    static BEGUN: RefCell<BTreeMap<u64, Sim>> = const { RefCell::new(BTreeMap::new()) };
}

/// Runs a schedule to its end.
pub fn run(schedule: &Schedule) -> Verdict {
    if schedule.early {
        let mut sim = Sim::new(schedule);
        sim.follow(schedule);
        return sim.run();
    }
    let known = BEGUN.with_borrow(|all| all.get(&schedule.cluster).cloned());
    let mut sim = match known {
        Some(sim) => sim,
        None => {
            let mut sim = Sim::new(schedule);
            sim.run_until(SWITCHED_ON)?;
            BEGUN.with_borrow_mut(|all| _ = all.insert(schedule.cluster, sim.clone()));
            sim
        }
    };
    sim.follow(schedule);
    sim.run()
}

/// Forgets what was switched on: the code behaves otherwise from here on.
#[cfg(feature = "mutants")]
fn begin_anew() {
    BEGUN.with_borrow_mut(BTreeMap::clear);
}

/// The same, with its story.
pub fn tell(schedule: &Schedule) -> (Vec<Line>, Verdict) {
    let mut sim = Sim::new(schedule);
    sim.tell();
    let switched_on = if schedule.early { Ok(()) } else { sim.run_until(SWITCHED_ON) };
    let verdict = switched_on.and_then(|()| {
        sim.follow(schedule);
        sim.run()
    });
    (sim.story().to_vec(), verdict)
}
