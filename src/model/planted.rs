//! Faults planted on purpose, to see that the simulator's checkers fire.
//!
//! Only with the cargo feature `mutants`, which no build for users has, can any of them be switched on; without it
//! [`planted`] is the constant false and costs nothing. `sim::mutants` says which checker must find which.

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Where the code can be made wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Planted {
            $($(#[$doc])* $name,)*
        }
        impl Planted {
            /// All of them, with their names.
            pub const ALL: &[(Planted, &str)] = &[$((Planted::$name, stringify!($name)),)*];
        }
    };
}

faults! {
    /// A claim is granted although the limit is reached.
    GrantedPastLimit,
    /// A promotion is granted although another copy is promoted.
    PromotedPastLimit,
    /// Commands on a claim are believed whatever epoch they name.
    KeyWithoutEpoch,
    /// An epoch is given twice.
    EpochRepeats,
    /// A reading of "not running" releases a claim.
    ReleasedByMonitor,
    /// A release is believed without a probe after the stop.
    ReleasedUnseen,
    /// A lease runs from when its acknowledgement came in.
    LeaseFromReceipt,
    /// A boot that was proven off may join again.
    OldBootAccepted,
    /// What was counted in another term is believed, by the log and after it.
    OtherTermAccepted,
    /// A suspect that is heard is cleared although an attempt against it is open.
    ClearedInFence,
    /// The leader suspects by its own ears alone.
    SuspectedByOne,
    /// An attempt whose deadline passed counts as a success.
    OverdueIsOff,
    /// An attempt is done with the first device of its level.
    OneDeviceOfLevel,
    /// A node goes on under a claim whose release it has proposed.
    ActsAfterRelease,
    /// A daemon acts before its own join is applied.
    ActsBeforeJoin,
    /// A daemon that starts anew drops the claims of the one before.
    JoinDropsClaims,
    /// A daemon does not end and wait out the operations of the one before.
    AdoptsWithoutJournal,
    /// A stop uses the parameters of git instead of those that were started.
    StopsWithNewParams,
    /// Only the node that starts something has to say that it does not run.
    ProbedByOne,
    /// A claim is granted for an assignment that was replaced.
    StaleAssignment,
    /// What must run before is not asked for.
    OrderIgnored,
    /// A host acknowledges an entry before it is on disk.
    AcknowledgedBeforeSync,
    /// A host with an old disk votes.
    OldDiskVotes,
    /// The agreed time follows the wall clock.
    WallClockBelieved,
    /// A refused command leaves a trace.
    RefusalLeavesTrace,
    /// A snapshot forgets something.
    SnapshotForgets,
    /// A boot that was proven off keeps its claims.
    BurntKeepsClaims,
    /// A refused proposal is made again at once, forever.
    RefusedSpins,
    /// A start does not wait for those who are to be told of it.
    StartsUntold,
    /// A node without a quorum keeps what needs one.
    KeepsWithoutQuorum,
    /// When a migration fails, what is claimed at its other end is forgotten.
    OtherEndForgotten,
    /// The leader has nobody fenced.
    FencesNoSilentNode,
}

/// Whether a fault is switched on in this thread.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn planted(_: Planted) -> bool {
    false
}

#[cfg(feature = "mutants")]
pub use switched::{plant, planted};

#[cfg(feature = "mutants")]
mod switched {
    use super::Planted;
    use std::cell::Cell;

    thread_local! {
        static ON: Cell<Option<Planted>> = const { Cell::new(None) };
    }

    /// Switches one fault on, in this thread alone.
    pub fn plant(fault: Option<Planted>) {
        ON.set(fault);
    }

    pub fn planted(fault: Planted) -> bool {
        ON.get() == Some(fault)
    }
}
