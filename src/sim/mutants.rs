//! Faults planted in the code, and which checkers must find them: what shows that the checkers can.
//!
//! Only with the cargo feature `mutants`. Each is looked for among the same seeds, which the code as it is passes.

use super::{Invariant, Schedule, run};
use crate::model::planted::{Planted, plant};
use Invariant as I;

/// Seeds among which a planted fault must be found.
pub const WITHIN: u64 = 10_000;

/// Any of these is the right one to fire.
pub const FOUND_BY: &[(Planted, &[Invariant])] = &[
    (Planted::GrantedPastLimit, &[I::Limits, I::Claims]),
    (Planted::PromotedPastLimit, &[I::Limits]),
    // A report of an earlier claim also makes the log believe that something runs, and what needs it is started.
    (Planted::KeyWithoutEpoch, &[I::Evidence, I::Claims, I::Limits, I::Release, I::Order]),
    (Planted::EpochRepeats, &[I::Claims]),
    (Planted::ReleasedByMonitor, &[I::Evidence, I::Limits, I::Claims]),
    (Planted::ReleasedUnseen, &[I::Evidence, I::Limits]),
    (Planted::LeaseFromReceipt, &[I::Evidence, I::Limits]),
    (Planted::OldBootAccepted, &[I::Burnt]),
    (Planted::OtherTermAccepted, &[I::Leader, I::Clock]),
    (Planted::ClearedInFence, &[I::Claims]),
    (Planted::SuspectedByOne, &[I::Suspicion]),
    (Planted::OverdueIsOff, &[I::Evidence, I::Limits]),
    (Planted::OneDeviceOfLevel, &[I::Evidence, I::Limits]),
    (Planted::ActsAfterRelease, &[I::Release, I::Claims]),
    (Planted::ActsBeforeJoin, &[I::Claims, I::Release]),
    (Planted::JoinDropsClaims, &[I::Evidence, I::Limits]),
    (Planted::AdoptsWithoutJournal, &[I::Claims, I::Limits, I::Evidence, I::Pinned]),
    (Planted::StopsWithNewParams, &[I::Pinned]),
    (Planted::ProbedByOne, &[I::Limits]),
    (Planted::StaleAssignment, &[I::Claims, I::Limits]),
    (Planted::OrderIgnored, &[I::Order]),
    (Planted::AcknowledgedBeforeSync, &[I::Acknowledged]),
    (Planted::OldDiskVotes, &[I::Acknowledged]),
    (Planted::WallClockBelieved, &[I::Clock]),
    (Planted::RefusalLeavesTrace, &[I::Refused]),
    (Planted::SnapshotForgets, &[I::Replicas]),
    (Planted::BurntKeepsClaims, &[I::Burnt, I::Claims, I::Fixpoint]),
    (Planted::RefusedSpins, &[I::Rest]),
    (Planted::StartsUntold, &[I::Notices]),
    (Planted::KeepsWithoutQuorum, &[I::Quorum]),
    (Planted::OtherEndForgotten, &[I::Evidence, I::Limits, I::Claims]),
    (Planted::FencesNoSilentNode, &[I::Fixpoint]),
];

/// What a search found.
#[derive(Debug, Clone)]
pub struct Found {
    pub seed: u64,
    pub invariant: Invariant,
    pub what: String,
    /// It is one of those that must fire.
    pub right: bool,
}

/// Looks for a planted fault among `seeds` seeds. None: nothing fired.
pub fn look_for(fault: Planted, expected: &[Invariant], seeds: u64) -> Option<Found> {
    super::begin_anew();
    plant(Some(fault));
    let found = (1..=seeds).find_map(|seed| {
        let violation = run(&Schedule::of(seed)).err()?;
        let right = expected.contains(&violation.invariant);
        Some(Found { seed, invariant: violation.invariant, what: violation.what, right })
    });
    plant(None);
    super::begin_anew();
    found
}
