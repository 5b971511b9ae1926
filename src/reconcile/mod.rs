//! The core of one node: what does it do next?
//!
//! Input: the time, and an [`Event`]. Output: [`Effect`]s. [`Node::step`] does no IO, keeps no clock and draws no random
//! numbers; the daemon performs the effects and feeds back what came of them. The simulator runs the same code.
//!
//! Invariants:
//! - nothing is executed before this incarnation's own `Join` is applied;
//! - an operation runs only under a claim of this incarnation whose phase asks for it, at most one per instance at a time;
//! - after `Release` was proposed nothing runs under that claim until its outcome is known;
//! - every decision is made from the newest committed state, never from the way it got there.
//!
//! Deliberately absent: placement (`plan::assign`) and ordering (`plan::order`); checks of claims (`state`).
//!
//! Files: `node` the step · `ops` operations under claims · `migrations` what moves while it runs · `notices` what copies of a clone are told · `probes` what runs
//! here unasked · `leader` what only the leader proposes · `rebooted` boots that are over · `checks` fencing devices
//! looked at · `outbox` what is told of commits · `isolation` without quorum · `lease` where a watchdog fences · `burnt` after it was declared off · `contacts` who is heard.

mod burnt;
mod checks;
mod contacts;
mod isolation;
#[cfg(test)]
mod isolation_tests;
mod leader;
mod lease;
#[cfg(test)]
mod lease_tests;
#[cfg(test)]
mod life_tests;
mod migrations;
mod node;
mod notices;
mod ops;
mod outbox;
#[cfg(test)]
mod probe_tests;
mod probes;
mod rebooted;
mod trial;
pub use checks::Checked;
pub use contacts::{Contact, Contacts};
pub use leader::desired_voters;
pub use node::Node;

use crate::model::{
    AgentRef, AgentRequest, AttemptId, CommitStatus, Delivery, DeviceId, FencingDevice, Incarnation, InstanceId,
    NodeId, Outcome, ReportTo, WatchdogFacts,
};
use crate::plan::Graph;
use crate::state::port::{Applied, Leadership, ProposeError};
use crate::state::{ClaimKey, Command, FenceOutcome, JoinFacts, State};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Whatever does not happen, a node is given a reading of its contacts this often at least, or it takes the pause for a
/// stall of its own.
pub const LONGEST_REST: Duration = Duration::from_millis(250);

/// Who this node is, for the life of its daemon.
#[derive(Debug, Clone)]
pub struct Config {
    pub node: NodeId,
    pub incarnation: Incarnation,
    pub facts: JoinFacts,
    /// Processors of this machine, for how much is done at once.
    pub cores: usize,
}

/// Numbers a proposal of this node, so that its answer finds its way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProposalId(pub u64);

/// Numbers an operation of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpId(pub u64);

/// What happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A newer state was applied.
    Committed(Arc<State>),
    /// The same, with the graph of that state: for whoever runs several nodes in one place.
    CommittedWith {
        state: Arc<State>,
        graph: Arc<Graph>,
    },
    /// What became of a proposal.
    Answered {
        id: ProposalId,
        result: Result<Applied, ProposeError>,
    },
    /// What came of [`Effect::Run`].
    Finished {
        op: OpId,
        outcome: Outcome,
    },
    /// What came of [`Effect::Fence`].
    Fenced {
        attempt: AttemptId,
        outcome: FenceOutcome,
    },
    /// What came of [`Effect::SwitchOn`].
    SwitchedOn {
        attempt: AttemptId,
        error: Option<String>,
    },
    /// What came of [`Effect::Check`].
    Checked {
        device: DeviceId,
        error: Option<String>,
    },
    /// Something of an instance ended: look at once.
    Died {
        instance: InstanceId,
    },
    Contacts(Contacts),
    /// The leader acknowledged the heartbeat that this node sent at this time.
    Lease {
        sent: Duration,
    },
    /// As the leader of this term: a majority has confirmed it, in a round that began at `began`. `heard`: the newest
    /// heartbeat of each node that had come in before.
    Round {
        term: u64,
        began: Duration,
        heard: BTreeMap<NodeId, (Incarnation, u64)>,
    },
    /// What came of [`Effect::Arm`].
    Armed(Result<WatchdogFacts, String>),
    Leadership(Leadership),
    /// What came of [`Effect::Report`]. `after`: the forge wants to be left alone for so long.
    Reported {
        number: u64,
        status: CommitStatus,
        delivery: Delivery,
        after: Option<Duration>,
    },
    /// Time passed.
    Tick,
    /// This daemon is to end and to be started again: resources run on, the cluster is told, then [`Effect::Exit`].
    Restart,
    /// The host goes down, or an operator wants this node to leave: drain, then [`Effect::Exit`].
    Stop,
}

/// What the daemon is to do.
#[derive(Debug, Clone)]
pub enum Effect {
    /// With a term: only as the leader of that term.
    Propose {
        id: ProposalId,
        commands: Vec<Command>,
        term: Option<u64>,
    },
    Run {
        op: OpId,
        request: AgentRequest,
    },
    /// The instance runs: say when something of it ends.
    Watch {
        instance: InstanceId,
        agent: AgentRef,
    },
    Unwatch {
        instance: InstanceId,
    },
    /// Switch every device off, then read every device again.
    Fence {
        attempt: AttemptId,
        target: NodeId,
        devices: Vec<(DeviceId, FencingDevice)>,
        timeout: Duration,
    },
    SwitchOn {
        attempt: AttemptId,
        target: NodeId,
        devices: Vec<(DeviceId, FencingDevice)>,
        timeout: Duration,
    },
    /// Ask a fencing device whether it could be used; it switches nothing.
    Check {
        name: DeviceId,
        device: FencingDevice,
        target: NodeId,
    },
    /// Let these nodes know that these heartbeats of theirs count. Replaces what was acknowledged before.
    Acknowledge {
        acks: BTreeMap<NodeId, (Incarnation, u64)>,
    },
    /// Open the watchdog, set its time-out as near as it can be, and pet it as [`Effect::Pet`] allows.
    Arm {
        path: String,
        timeout: Duration,
    },
    /// Pet the watchdog until this moment, and never beyond.
    Pet {
        until: Duration,
    },
    /// Close the watchdog so that it does not fire.
    Disarm,
    /// Tell a forge what is so of a commit. `number`: of the word in the outbox.
    Report {
        number: u64,
        status: CommitStatus,
        to: ReportTo,
    },
    /// For the log: one line per decision.
    Note {
        key: Option<ClaimKey>,
        text: String,
    },
    /// Left, or given up leaving: end the daemon. `clean`: nothing of the cluster runs here any more.
    Exit {
        clean: bool,
    },
}
