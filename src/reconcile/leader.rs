//! What only the leader proposes: suspicion, assignment, fencing, the time. And what an executor of a fencing does.

use super::node::Tag;
use super::{Contacts, Effect, Node};
use crate::model::planted::{Planted, planted};
use crate::model::{AttemptId, BootId, DeviceId, FencingDevice, LogIndex, NodeId};
use crate::plan;
use crate::state::{
    Attempt, Command, FEATURE_LEVEL, FenceOutcome, Membership, OverrideKind, SEEN_LEVEL, Scope, State, SwitchOn,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The agreed time advances at least this often, so that failures are stamped with a time that is not hours old.
const TICK: Duration = Duration::from_secs(30);
/// Time-out of switching a fenced node on again, per device.
const SWITCH_ON: Duration = Duration::from_secs(60);
/// How long a daemon that said it restarts may be silent. Longer than any start, shorter than a person would wait.
const RESTART_GRACE: Duration = Duration::from_secs(10);
/// An attempt's own work ends this much before its deadline, so that its result can still be committed.
const RESULT_MARGIN: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Default)]
pub(super) struct LeaderDuties {
    /// The state for which the assignment was last computed, in which term.
    assigned: Option<(u64, LogIndex)>,
    last_tick: Option<(u64, Duration)>,
    executing: BTreeMap<AttemptId, Execution>,
    /// The last join of each node.
    joined: BTreeMap<NodeId, Joined>,
    /// Boots known to be proven off, each with a number that only a boot that lives after that can echo.
    proven_off: BTreeMap<NodeId, (BootId, u64)>,
    /// Since when each node that is heard says that it hears too few.
    deaf: BTreeMap<NodeId, Duration>,
    pub(super) watch: super::trial::Watch,
}

/// That a node was seen to have joined.
#[derive(Debug, Clone)]
struct Joined {
    by: LogIndex,
    at: Duration,
    /// A number that only who lives after that can echo; None: until the next reading.
    nonce: Option<u64>,
}

#[derive(Debug, Clone)]
enum Execution {
    Fencing,
    Fenced { outcome: FenceOutcome, proposed: bool },
    SwitchingOn,
    SwitchedOn { error: Option<String>, proposed: bool },
}

impl LeaderDuties {
    pub fn executed(&mut self, attempt: AttemptId, outcome: FenceOutcome) {
        self.executing.insert(attempt, Execution::Fenced { outcome, proposed: false });
    }

    pub fn switched_on(&mut self, attempt: AttemptId, error: Option<String>) {
        self.executing.insert(attempt, Execution::SwitchedOn { error, proposed: false });
    }

    /// Takes a newer state. A join is a word of its node, though its first heartbeat may still be on its way.
    pub fn heed_joins(&mut self, state: &State, now: Duration) {
        // What a daemon finds when it starts may have joined at any time.
        let seen = if self.joined.is_empty() { Duration::ZERO } else { now };
        self.joined.retain(|name, _| state.nodes.contains_key(name));
        for (name, node) in &state.nodes {
            match self.joined.get(name) {
                Some(joined) if joined.by == node.joined_at => {}
                Some(_) | None => {
                    let joined = Joined { by: node.joined_at, at: seen, nonce: None };
                    self.joined.insert(name.clone(), joined);
                }
            }
        }
    }

    /// How long ago the current boot of a node was seen to have joined, or its daemon to have joined again.
    pub fn since_join(&self, name: &NodeId, now: Duration) -> Duration {
        self.joined.get(name).map_or(Duration::MAX, |joined| now.saturating_sub(joined.at))
    }

    /// What a boot must have echoed to be alive after the current one was seen to have joined. None: not known yet.
    pub fn after_join(&self, name: &NodeId) -> Option<u64> {
        self.joined.get(name)?.nonce
    }

    pub fn reported(&mut self, attempt: AttemptId) {
        if let Some(Execution::Fenced { .. } | Execution::SwitchedOn { .. }) = self.executing.get(&attempt) {
            self.executing.remove(&attempt);
        }
    }

    /// What the leader proposed may not have been committed: it is decided anew.
    pub fn unanswered_leader(&mut self) {
        self.assigned = None;
    }

    /// Takes a reading of the heartbeats; `state` was applied by then. A reading may be a moment older than that, which is nothing
    /// to the time that a machine takes to boot.
    pub fn listen(&mut self, state: &State, contacts: &Contacts) {
        let fenced = state.nodes.iter().filter(|(_, node)| node.membership == Membership::Fenced);
        let fenced: BTreeMap<&NodeId, &BootId> = fenced.map(|(name, node)| (name, &node.incarnation.boot)).collect();
        self.proven_off.retain(|name, (boot, _)| fenced.get(name) == Some(&&*boot));
        for (name, boot) in fenced {
            self.proven_off.entry(name.clone()).or_insert_with(|| (boot.clone(), contacts.sent + 1));
        }
        for joined in self.joined.values_mut() {
            joined.nonce.get_or_insert(contacts.sent + 1);
        }
    }

    /// A result that is in the log needs no answer: it may have been lost with the leader that was fenced.
    fn heed(&mut self, attempt: AttemptId, committed: bool) {
        if committed && matches!(self.executing.get(&attempt), Some(Execution::Fenced { .. })) {
            self.executing.remove(&attempt);
        }
    }

    pub fn unanswered(&mut self, attempt: AttemptId) {
        match self.executing.get_mut(&attempt) {
            Some(Execution::Fenced { proposed, .. } | Execution::SwitchedOn { proposed, .. }) => *proposed = false,
            Some(Execution::Fencing | Execution::SwitchingOn) | None => {}
        }
    }
}

/// Who should vote, by the Node documents: what the log's membership is led to, one at a time.
///
/// Empty while no commit names any voter that has joined: then nothing is changed.
pub fn desired_voters(state: &State) -> BTreeSet<NodeId> {
    let Some(spec) = state.spec() else { return BTreeSet::new() };
    spec.nodes
        .iter()
        .filter(|(name, node)| node.role.votes() && state.nodes.contains_key(*name))
        .map(|(name, _)| name.clone())
        .collect()
}

impl Node {
    /// The executor's part: every open attempt that names this incarnation is carried out, once.
    pub(super) fn execute_attempts(&mut self) {
        let attempts: Vec<_> = self
            .state
            .attempts
            .iter()
            .filter(|(_, attempt)| match attempt.outcome {
                None => attempt.executor == self.config.incarnation,
                Some(_) => attempt.on == SwitchOn::Wanted && self.switches_on(attempt),
            })
            .map(|(id, attempt)| (*id, attempt.clone()))
            .collect();
        for (id, attempt) in attempts {
            let (devices, gone) = self.devices(&attempt.node, &attempt.devices);
            let target = attempt.node.clone();
            self.duties.heed(id, attempt.outcome.is_some());
            // Off by some of its devices is not off: a machine may have another supply.
            if let Some(gone) = gone.filter(|_| attempt.outcome.is_none()) {
                let outcome = FenceOutcome::Failed(format!("{gone} is no device of {target} any more"));
                self.duties.executing.entry(id).or_insert(Execution::Fenced { outcome, proposed: false });
            }
            match self.duties.executing.get_mut(&id) {
                None if attempt.outcome.is_none() => {
                    let left = attempt.deadline_ms.saturating_sub(self.state.now_ms);
                    let timeout = Duration::from_millis(left).saturating_sub(RESULT_MARGIN).max(RESULT_MARGIN);
                    self.duties.executing.insert(id, Execution::Fencing);
                    self.effects.push(Effect::Fence { attempt: id, target, devices, timeout });
                }
                None => {
                    self.duties.executing.insert(id, Execution::SwitchingOn);
                    self.effects.push(Effect::SwitchOn { attempt: id, target, devices, timeout: SWITCH_ON });
                }
                Some(Execution::Fenced { outcome, proposed }) if !*proposed && attempt.outcome.is_none() => {
                    let outcome = outcome.clone();
                    *proposed = true;
                    let executor = self.config.incarnation.clone();
                    self.propose_report(id, Command::FenceResult { attempt: id, executor, outcome });
                }
                Some(Execution::SwitchedOn { error, proposed }) if !*proposed => {
                    let error = error.clone();
                    *proposed = true;
                    let executor = self.config.incarnation.clone();
                    self.propose_report(id, Command::SwitchedOn { attempt: id, executor, error });
                }
                Some(
                    Execution::Fencing
                    | Execution::Fenced { .. }
                    | Execution::SwitchingOn
                    | Execution::SwitchedOn { .. },
                ) => {}
            }
        }
    }

    fn propose_report(&mut self, id: AttemptId, command: Command) {
        if !self.propose_once(Tag::Attempt(id), command) {
            self.duties.unanswered(id);
        }
    }

    /// The second half of a reboot is its executor's; where that one is gone the leader's. Twice does no harm.
    fn switches_on(&self, attempt: &Attempt) -> bool {
        let there =
            self.state.nodes.get(&attempt.executor_node).is_some_and(|node| node.membership == Membership::Online);
        let leads = self.leadership.is_self
            && self.state.leader.as_ref().is_some_and(|leader| leader.incarnation == self.config.incarnation);
        if there { attempt.executor_node == self.config.node } else { leads }
    }

    /// The documents of a level's devices; and the first, if any, that git has taken away since.
    fn devices(&self, node: &NodeId, names: &[DeviceId]) -> (Vec<(DeviceId, FencingDevice)>, Option<DeviceId>) {
        let document = self.state.nodes.get(node).and_then(|node| node.document.as_ref());
        let device = |name: &DeviceId| Some((name.clone(), document?.devices.get(name)?.clone()));
        let known: Vec<_> = names.iter().filter_map(device).collect();
        let gone = names.iter().find(|name| device(name).is_none()).cloned();
        (known, gone)
    }

    /// The leader's part.
    pub(super) fn lead(&mut self) {
        if !self.leadership.is_self || self.is_burnt() || self.is_proposed(&Tag::Leader) || self.leads_later() {
            return;
        }
        let term = self.leadership.term;
        let started = self
            .state
            .leader
            .as_ref()
            .is_some_and(|leader| leader.incarnation == self.config.incarnation && leader.term == term);
        if !started {
            let node = self.config.node.clone();
            let incarnation = self.config.incarnation.clone();
            self.duties.last_tick = None;
            self.duties.assigned = None;
            self.duties.deaf.clear();
            return self.propose_as_leader(Command::LeaderStart { node, incarnation, term });
        }
        let planned = self.assignment(term);
        let judged = self.judge_target(planned.is_empty());
        let words = self.words(planned.is_empty());
        // Deadlines of attempts count from the agreed time, which may lie half a minute back.
        let fences = planned.iter().any(|command| matches!(command, Command::FenceStart { .. }));
        let mut commands = self.tick(term, fences);
        // What is over is not suspect.
        let over = self.reboots();
        let suspicions = self.suspicions(&over);
        let leader = &self.config.incarnation;
        let rebooted = |(node, boot)| Command::Rebooted { leader: leader.clone(), node, boot };
        commands.extend(over.into_iter().map(rebooted));
        commands.extend(suspicions);
        commands.extend(planned);
        commands.extend(self.elapsed());
        commands.extend(self.done_overrides());
        commands.extend(self.forgotten());
        commands.extend(self.level());
        commands.extend(judged);
        commands.extend(words);
        for command in commands {
            self.propose_as_leader(command);
        }
    }

    /// What every member's program can apply is used from then on.
    fn level(&self) -> Option<Command> {
        let known = self.state.nodes.values().map(|node| node.feature_level).min()?;
        let level = known.min(FEATURE_LEVEL);
        (level > self.state.feature_level).then_some(Command::RaiseLevel { level })
    }

    fn tick(&mut self, term: u64, now: bool) -> Vec<Command> {
        let first = self.state.leader.as_ref().is_some_and(|leader| leader.may_set_clock);
        let elapsed = match self.duties.last_tick {
            Some((ticked, at)) if ticked == term => self.now.saturating_sub(at),
            Some(_) | None => Duration::ZERO,
        };
        let elapsed_ms = elapsed.as_millis() as u64;
        let due = self.state.next_expiry_ms().is_some_and(|at| at <= self.state.now_ms.saturating_add(elapsed_ms));
        // An expiry that stays due after a tick (a pause that ended) must not tick again at once.
        let due = due && elapsed >= Duration::from_secs(1);
        if !first && !due && !now && elapsed < TICK && self.duties.last_tick.is_some() {
            return Vec::new();
        }
        self.tick_now(term).into_iter().collect()
    }

    /// Advances the agreed time by what has passed since the last advance in this term.
    fn tick_now(&mut self, term: u64) -> Option<Command> {
        let elapsed = match self.duties.last_tick.replace((term, self.now)) {
            Some((ticked, at)) if ticked == term => self.now.saturating_sub(at),
            Some(_) | None => Duration::ZERO,
        };
        let leader = self.config.incarnation.clone();
        Some(Command::Tick { leader, elapsed_ms: elapsed.as_millis() as u64, wall_ms: self.wall_ms })
    }

    /// Who is silent, and who is heard again.
    fn suspicions(&mut self, over: &BTreeMap<NodeId, BootId>) -> Vec<Command> {
        let usual = self.suspect_after();
        if self.now < self.deaf_until {
            self.duties.deaf.clear();
            return Vec::new();
        }
        self.note_deaf();
        let grace = self.state.spec().map_or(Duration::from_secs(120), |spec| spec.cluster.join_grace);
        let leader = &self.config.incarnation;
        let mut commands = Vec::new();
        let (me, own) = (&self.config.node, &self.config.incarnation.boot);
        let listened_for = |name: &NodeId, boot: &BootId| (name != me || boot == own) && !over.contains_key(name);
        for (name, node) in self.state.nodes.iter().filter(|(name, n)| listened_for(name, &n.incarnation.boot)) {
            let boot = &node.incarnation.boot;
            // A leader hears itself: it may have been elected while it was suspect, and nobody else could clear it.
            let age = match name == me {
                true => Some(Duration::ZERO),
                false => self.contacts.age(name, boot),
            };
            let joined = self.duties.since_join(name, self.now);
            let within = if node.restarting { usual.max(RESTART_GRACE) } else { usual };
            let deaf_for = self.duties.deaf.get(name).map(|since| self.now.saturating_sub(*since));
            match node.membership {
                Membership::Online | Membership::Joining => {
                    // Never heard by this daemon: it may not have looked for long enough.
                    let silent = match age {
                        Some(age) => age.min(joined) > within,
                        // Nor may the others have: what they say of a boot that has just joined is of its predecessor.
                        None => {
                            let long = self.now.saturating_sub(self.started) > grace;
                            joined > within && (long || self.others_lost(name, boot, within))
                        }
                    };
                    // Its own word is enough: by it, it has lost the quorum and stops what others could run.
                    // The first that comes after both were cut off tells of the past: it must go on saying so.
                    let deaf = joined > within && deaf_for.is_some_and(|long| long >= within / 2);
                    if deaf || silent && self.majority_misses(name, boot, within) {
                        let reason = match age {
                            Some(_) if deaf => format!("it hears too few of the voters for {} ms", within.as_millis()),
                            Some(age) => format!("not heard for {} ms", age.as_millis()),
                            None => "not heard since this leader started".into(),
                        };
                        let (leader, node, boot) = (leader.clone(), name.clone(), boot.clone());
                        commands.push(Command::Suspect { leader, node, boot, reason });
                    }
                }
                Membership::Suspect => {
                    let heard = deaf_for.is_none() && age.is_some_and(|age| age <= within);
                    let asked = self.state.fence_asked(name).is_some() && self.state.may_be_proven_off(name);
                    if let Some(suspicion) = &node.suspicion
                        && heard
                        && !node.burnt.contains(boot)
                        && !asked
                        && (self.state.open_attempt(name).is_none() || planted(Planted::ClearedInFence))
                    {
                        let number = suspicion.number;
                        let (leader, node, boot) = (leader.clone(), name.clone(), boot.clone());
                        commands.push(Command::Clear { leader, node, boot, number });
                    }
                }
                Membership::Fenced => {
                    let nonce =
                        self.duties.proven_off.get(name).filter(|(off, _)| off == boot).map(|(_, nonce)| *nonce);
                    if nonce.is_some_and(|nonce| self.contacts.answered(name, boot, nonce)) && !self.may_linger(name) {
                        let (leader, node, boot) = (leader.clone(), name.clone(), boot.clone());
                        commands.push(Command::Contradiction { leader, node, boot });
                    }
                }
                Membership::Left => {}
            }
        }
        commands
    }

    /// Notes who is heard and says that it hears too few of the voters. A voter that has just begun, this one included, is
    /// heard by nobody yet but as its earlier boot. And nobody is lost by his own word on whom the quorum rests: without
    /// him there would be none to go on.
    fn note_deaf(&mut self) {
        let (within, voters, me) = (self.suspect_after(), &self.leadership.voters, &self.config.node);
        let begun = |voter: &NodeId| match voter == me {
            true => self.now.saturating_sub(self.started),
            false => self.duties.since_join(voter, self.now),
        };
        let may_be_heard: Vec<&NodeId> = voters.iter().filter(|voter| begun(voter) >= within).collect();
        let is_there = |voter: &NodeId| voter == me || self.contacts.hears(voter, within);
        let without = |name: &NodeId| voters.iter().filter(|voter| *voter != name && is_there(voter)).count();
        let is_deaf = |name: &NodeId, boot: &BootId| {
            self.contacts.hears(name, within)
                && without(name) > voters.len() / 2
                && self.contacts.misses(name, boot, &may_be_heard, within) * 2 >= voters.len().max(1)
        };
        let deaf = self.state.nodes.iter().filter(|(name, node)| is_deaf(name, &node.incarnation.boot));
        let since = |name: &NodeId| self.duties.deaf.get(name).copied().unwrap_or(self.now);
        self.duties.deaf = deaf.map(|(name, _)| (name.clone(), since(name))).collect();
    }

    /// Another voter heard this boot since it started, and has lost it: then it was there in this life of the cluster.
    fn others_lost(&self, name: &NodeId, boot: &crate::model::BootId, within: Duration) -> bool {
        self.contacts.peers.iter().any(|(_, contact)| {
            contact.age <= within
                && contact.heard.get(name).is_some_and(|(heard, age)| heard.as_ref() == Some(boot) && *age > within)
        })
    }

    /// Whether more than half of the voters, this one included, have not heard a boot.
    fn majority_misses(&self, name: &NodeId, boot: &crate::model::BootId, within: Duration) -> bool {
        let voters = &self.leadership.voters;
        let misses = voters
            .iter()
            .filter(|voter| *voter != name)
            .filter(|voter| {
                *voter == &self.config.node || self.contacts.says_heard(voter, name, boot, within) == Some(false)
            })
            .count();
        misses > voters.len() / 2 || planted(Planted::SuspectedByOne)
    }

    /// Where everything is to run, whenever the state has changed.
    fn assignment(&mut self, term: u64) -> Vec<Command> {
        if self.duties.assigned == Some((term, self.state.index)) {
            return Vec::new();
        }
        let Some(spec) = self.state.spec() else { return Vec::new() };
        let plan = plan::assign(spec, &self.state);
        self.lease.awaited = plan.awaited.clone();
        let changes = plan.changes(&self.state);
        self.duties.watch.verdicts = plan.verdicts;
        let leader = &self.config.incarnation;
        let mut commands = Vec::new();
        for decision in plan.fence.into_iter().filter(|_| !planted(Planted::FencesNoSilentNode)) {
            commands.push(Command::FenceStart {
                leader: leader.clone(),
                node: decision.node,
                boot: decision.boot,
                level: decision.level,
                devices: decision.devices,
                executor: decision.executor,
                executor_incarnation: decision.executor_incarnation,
                action: decision.action,
                timeout_ms: decision.timeout_ms,
                reason: decision.reason,
            });
        }
        if !changes.is_empty() {
            let (leader, seen) = (leader.clone(), self.state.index);
            commands.push(match self.state.feature_level >= SEEN_LEVEL {
                true => Command::AssignSeen { leader, seen, changes },
                false => Command::Assign { leader, changes },
            });
        }
        self.duties.assigned = Some((term, self.state.index));
        commands
    }

    /// A move without an end of its own is over once it is done: nothing stays behind.
    fn done_overrides(&self) -> Vec<Command> {
        let Some(spec) = self.state.spec() else { return Vec::new() };
        let done = |scope: &Scope, kind: &OverrideKind| {
            let Scope::Resource(resource) = scope else { return false };
            let claims = || spec.primitives_of(resource).into_iter().map(|r| self.state.claims_of(r));
            match kind {
                OverrideKind::Move { to } => {
                    claims().all(|mut claims| claims.any(|(key, claim)| &key.node == to && claim.is_running()))
                }
                OverrideKind::Ban { node } => {
                    claims().all(|mut claims| claims.any(|(key, claim)| &key.node != node && claim.is_running()))
                }
                OverrideKind::Drain
                | OverrideKind::Maintenance
                | OverrideKind::Disarm
                | OverrideKind::Stop
                | OverrideKind::Shutdown
                | OverrideKind::Fence
                | OverrideKind::TestFence { .. }
                | OverrideKind::Suspend => false,
            }
        };
        let finished = self.state.overrides.iter().filter(|(_, o)| o.expires_ms.is_none() && done(&o.scope, &o.kind));
        finished.map(|(id, _)| Command::ClearOverride { id: *id, by: "done".into() }).collect()
    }

    /// Nodes that left git and hold nothing any more.
    fn forgotten(&self) -> Vec<Command> {
        let gone = |node: &crate::state::NodeState| {
            let was_listed = node.document.is_some();
            !node.listed && was_listed && matches!(node.membership, Membership::Left | Membership::Fenced)
        };
        let idle =
            |name: &NodeId| self.state.claims_on(name).next().is_none() && self.state.open_attempt(name).is_none();
        let names = self.state.nodes.iter().filter(|(name, node)| gone(node) && idle(name));
        names.map(|(name, _)| Command::Drop { node: name.clone() }).collect()
    }
}
