//! What must hold in the simulated world, whatever the nodes believe: a file per invariant.
//!
//! Checkers see what is true (hosts, services, power); nodes see only what their daemon would. What a person or a lying
//! agent or device did is excused where nothing can be done about it, and only there.

mod acknowledged;
mod burnt;
mod claims;
mod clock;
mod evidence;
mod fixpoint;
mod leader;
mod limits;
mod notices;
mod order;
mod pinned;
mod quorum;
mod refused;
mod release;
mod replicas;
mod trial;

use super::agents::{Thing, thing_of};
use super::world::Sim;
use crate::model::*;
use crate::reconcile::ProposalId;
use crate::state::port::{Applied, ProposeError};
use crate::state::{ClaimKey, Command, Entry, Refusal, State};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// What is promised. Each is a file beside this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// What truly runs never exceeds its limit.
    Limits,
    /// Nothing is done without a claim that allows it.
    Claims,
    /// Every evidence is true: what ended does not run, what was proven off is off.
    Evidence,
    /// Nothing is done under a claim whose release is under way.
    Release,
    /// What must run before runs before, and stops after.
    Order,
    /// A boot that knows it was proven off starts nothing, and none claims.
    Burnt,
    /// What runs is stopped, watched and demoted with the parameters it was started with.
    Pinned,
    /// Copies of clones with `notify` are told.
    Notices,
    /// Replicas that apply the same entries hold the same bytes.
    Replicas,
    /// A refused command changes nothing.
    Refused,
    /// What was committed stays, whoever leads next.
    Acknowledged,
    /// The agreed time goes forward, and no faster than time.
    Clock,
    /// What rests on a leader's own counts is taken from the one that leads, and from no other.
    Leader,
    /// Nobody is suspect whom most of the others hear.
    Suspicion,
    /// Without a quorum nothing is begun, and what needs one is stopped in time.
    Quorum,
    /// Commits that turned out badly are returned from, to one that was good.
    Trial,
    /// When the faults end, the cluster gets where its plan wants it.
    Fixpoint,
    /// An idle cluster does nothing.
    Rest,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What was broken, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub at: u64,
    pub invariant: Invariant,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} broken at {} ms: {}", self.invariant, self.at, self.what)
    }
}

/// What checkers remember.
#[derive(Debug, Clone, Default)]
pub struct Checks {
    /// Every epoch ever granted.
    pub(super) epochs: BTreeSet<Epoch>,
    /// Releases on their way: of which host, and where they were committed.
    pub(super) releasing: BTreeMap<(usize, ClaimKey), (Epoch, Option<LogIndex>)>,
    releases: BTreeMap<(usize, ProposalId), Vec<ClaimKey>>,
    /// Things that ended without anybody asking for it: their dependants cannot know yet.
    pub(super) lost: BTreeSet<(usize, Thing)>,
    /// Nodes that were ever told of an operation before it.
    pub(super) told: BTreeMap<(ResourceId, ActionKind), BTreeSet<NodeId>>,
    /// Since when each host that is awake has had no majority.
    pub(super) alone: BTreeMap<usize, u64>,
    /// When the entry that is being applied was written.
    pub written: u64,
    /// Refused entries: in which second, and how many.
    pub(super) refusals: (u64, u32),
    /// How far the agreed time was ahead of the true one when a leader set it, ms.
    pub(super) ahead: Option<i64>,
    /// What a reload may have changed although nobody can know: with which parameters it runs.
    pub(super) half_reloaded: BTreeSet<(usize, Thing)>,
    /// Hosts where an agent of a thing was made to go wrong in a stop, or in a look at what is to stop: nobody can promise
    /// when it is stopped there.
    pub troubled: BTreeSet<(usize, Thing)>,
}

impl Checks {
    pub fn proposed(&mut self, host: usize, id: ProposalId, commands: &[Command]) {
        for command in commands {
            if let Command::Release { key, epoch, .. } = command {
                self.releasing.insert((host, key.clone()), (*epoch, None));
                self.releases.entry((host, id)).or_default().push(key.clone());
            }
        }
    }

    pub fn answered(&mut self, host: usize, id: ProposalId, result: &Result<Applied, ProposeError>) {
        let keys = self.releases.remove(&(host, id)).unwrap_or_default();
        for key in keys {
            if let (Ok(applied), Some(entry)) = (result, self.releasing.get_mut(&(host, key))) {
                entry.1 = Some(applied.index);
            }
        }
    }

    /// A daemon is gone; what it proposed binds no other.
    pub fn forget(&mut self, host: usize) {
        self.releasing.retain(|(other, _), _| *other != host);
        self.releases.retain(|(other, _), _| *other != host);
        self.alone.remove(&host);
    }

    /// A reload ended otherwise than well, or nobody heard how.
    pub fn half_reloaded(&mut self, host: usize, thing: &Thing) {
        self.half_reloaded.insert((host, Arc::clone(thing)));
    }
    /// A thing goes on elsewhere, as it was.
    pub fn moved(&mut self, from: usize, to: usize, thing: &Thing) {
        self.half_reloaded.remove(&(to, Arc::clone(thing)));
        if self.half_reloaded.remove(&(from, Arc::clone(thing))) {
            self.half_reloaded(to, thing);
        }
    }
    /// A machine lost its power, and all that ran there.
    pub fn crashed(&mut self, host: usize) {
        self.half_reloaded.retain(|(other, _)| *other != host);
        self.troubled.retain(|(other, _)| *other != host);
    }

    pub fn stopped(&mut self, host: usize, thing: &Thing) {
        self.lost.remove(&(host, Arc::clone(thing)));
    }
    /// It is begun anew, after everybody who counts has learnt that it had ended.
    pub fn runs_again(&mut self, thing: &Thing) {
        self.lost.retain(|(_, lost)| lost != thing);
    }
    pub fn died(&mut self, host: usize, thing: &Thing) {
        self.lost.insert((host, Arc::clone(thing)));
    }
}

/// An agent that is about to run.
pub(super) struct Act<'a> {
    pub host: usize,
    pub request: &'a AgentRequest,
    pub key: ClaimKey,
    /// What is committed, and what this node knows of it.
    pub truth: Arc<State>,
    pub known: Arc<State>,
    pub incarnation: Incarnation,
    pub isolated: bool,
    pub what: String,
}

impl Act<'_> {
    pub fn thing(&self) -> Thing {
        thing_of(&self.request.instance.resource, &self.request.definition.resource)
    }
}

impl Sim {
    /// Before an agent runs under a claim.
    pub fn check_run(&mut self, host: usize, request: &AgentRequest) {
        let Some(epoch) = request.epoch else { return };
        let Some(daemon) = &self.hosts[host].daemon else { return };
        let key = ClaimKey { instance: request.instance.clone(), node: self.hosts[host].name.clone() };
        let act = Act {
            host,
            request,
            what: format!("{} of {key} with epoch {epoch}", request.kind),
            key,
            truth: Arc::clone(self.newest()),
            known: Arc::clone(&self.states[daemon.seen]),
            incarnation: daemon.incarnation.clone(),
            isolated: daemon.node.is_isolated(),
        };
        self.check_burnt_act(&act);
        self.check_claim(&act);
        self.check_release(&act);
        self.check_pinned(&act);
        self.check_quorum_act(&act);
        if !act.isolated {
            self.check_told(&act);
        }
        match request.kind {
            ActionKind::Start => {
                self.check_start_limit(&act);
                self.check_start_order(&act);
                // Of a clone it is the promotion that others wait for.
                if request.definition.clone.is_none() {
                    self.checks.runs_again(&act.thing());
                }
                self.checks.half_reloaded.remove(&(host, act.thing()));
            }
            ActionKind::Promote => {
                self.check_promote_limit(&act);
                self.checks.runs_again(&act.thing());
            }
            ActionKind::Stop | ActionKind::Demote => {
                self.check_stop_order(&act);
                if act.isolated {
                    self.checks.died(host, &act.thing());
                }
            }
            ActionKind::Probe
            | ActionKind::Monitor
            | ActionKind::Notify
            | ActionKind::Reload
            | ActionKind::MigrateTo
            | ActionKind::MigrateFrom => {}
        }
    }

    /// After an entry is applied, before anybody knows.
    pub fn check_commit(&mut self, state: &State, entry: &Entry, answers: &[Result<(), Refusal>]) {
        let before = Arc::clone(self.newest());
        self.check_refused(&before, state, entry, answers);
        self.check_grants(&before, state);
        self.check_ended(&before, state);
        self.check_proven_off(state);
        self.check_members(state);
        self.check_clock(&before, state);
        self.check_leader(&before, entry, answers);
        self.check_trial(&before, state, entry, answers);
        self.check_suspicions(&before, state);
        self.check_started(&before, state);
    }
}
