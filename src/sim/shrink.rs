//! Fewer faults that break the same invariant: what a person can read.

use super::check::Invariant;
use super::schedule::Schedule;

/// The places of the faults of a schedule that are needed to break `invariant`: leaving any one of them out, nothing, or
/// something else, breaks. Runs the schedule as often as it has faults, squared, at most.
pub fn shrink(schedule: &Schedule, invariant: Invariant) -> Vec<usize> {
    let breaks = |kept: &[usize]| {
        let verdict = super::run(&schedule.keeping(kept));
        verdict.is_err_and(|violation| violation.invariant == invariant)
    };
    let mut kept: Vec<usize> = (0..schedule.faults.len()).collect();
    loop {
        let fewer = (0..kept.len()).map(|out| {
            let mut fewer = kept.clone();
            fewer.remove(out);
            fewer
        });
        match fewer.into_iter().find(|fewer| breaks(fewer)) {
            Some(fewer) => kept = fewer,
            None => return kept,
        }
    }
}
