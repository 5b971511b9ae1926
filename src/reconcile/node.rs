//! One step of a node: take the event in, then decide everything anew.

use super::burnt::Burnt;
use super::checks::Checks;
use super::isolation::Isolation;
use super::leader::LeaderDuties;
use super::lease::Lease;
use super::ops::Ops;
use super::outbox::{self, Courier, Retry};
use super::probes::Probes;
use super::rebooted::Barred;
use super::{Config, Contacts, Effect, Event, LONGEST_REST, OpId, ProposalId};
use crate::model::NodeId;
use crate::model::planted::{Planted, planted};
use crate::plan::{self, Graph, StepKind};
use crate::state::port::{Applied, Leadership, ProposeError};
use crate::state::{ClaimKey, Command, Membership, Override, OverrideKind, Scope, State};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Commands in one entry: enough to batch the probes of a hundred resources, well below the cap of an entry.
const MAX_BATCH: usize = 128;
/// A proposal that could not be made is made again after this long.
const RETRY: Duration = Duration::from_millis(200);
/// What was refused is proposed again after this long, if it is still wanted then; nothing else waits for that.
const REFUSED: Duration = Duration::from_millis(50);
/// What is refused again and again is proposed ever more rarely, down to this: each try costs an entry of the log.
const REFUSED_LONGEST: Duration = Duration::from_secs(5);
/// Whatever is due, a node looks no more often than this: a wake-up that is due and cannot be served must not spin.
const SHORTEST_SLEEP: Duration = Duration::from_millis(10);
/// Entries under way at a time. What comes up meanwhile travels together in the next: an fsync costs the same for it.
const MAX_IN_FLIGHT: usize = 4;
/// A daemon whose loop stood still for this long knows nothing of the others: it listens again before it suspects. That
/// is [`LONGEST_REST`], and as much as a busy machine may keep it waiting.
const STALL: Duration = Duration::from_millis(LONGEST_REST.as_millis() as u64 + 400);
/// How long a node that was asked to leave waits for a quorum before it stops what it runs and goes unreleased.
const LEAVE_WITHOUT_QUORUM: Duration = Duration::from_secs(30);
/// How long it waits with a quorum while nothing is being done: what is still claimed then is stuck (a stop that failed),
/// and a host that goes down does not wait for an operator.
const LEAVE_STUCK: Duration = Duration::from_secs(300);

/// A leader that leaves stays for so long at most until what it gave up runs elsewhere: electing another in the middle
/// of a move would prolong it.
const LINGER: Duration = Duration::from_secs(5);
/// How long a daemon that is to end waits for the cluster to take note of it, and for operations under way.
const TELL: Duration = Duration::from_secs(1);
const FINISH: Duration = Duration::from_secs(5);

/// The core of a node. See the module.
#[derive(Clone)]
pub struct Node {
    pub(super) config: Config,
    pub(super) state: Arc<State>,
    pub(super) graph: Arc<Graph>,
    pub(super) ops: Ops,
    pub(super) probes: Probes,
    pub(super) duties: LeaderDuties,
    pub(super) isolation: Isolation,
    pub(super) lease: Lease,
    pub(super) burnt: Burnt,
    pub(super) barred: Barred,
    pub(super) checks: Checks,
    pub(super) courier: Courier,
    pub(super) contacts: Contacts,
    pub(super) leadership: Leadership,
    pub(super) now: Duration,
    pub(super) wall_ms: u64,
    pub(super) started: Duration,
    /// Until then nobody is suspected: this node itself had stood still.
    pub(super) deaf_until: Duration,
    /// Since when the voters are who they are.
    pub(super) voters_since: Duration,
    proposals: BTreeMap<ProposalId, Vec<Tag>>,
    /// Answers that are newer than the state this node has seen: they count once it has.
    early: BTreeMap<ProposalId, Applied>,
    last_proposal: ProposalId,
    last_op: OpId,
    outbox: Vec<(Command, Tag)>,
    pub(super) effects: Vec<Effect>,
    retry_at: Option<Duration>,
    /// The same for what only the leader proposes.
    lead_again_at: Option<Duration>,
    /// What was refused, until when it waits.
    refused: BTreeMap<Tag, Duration>,
    /// How long it waited last time; forgotten once it is accepted.
    pauses: BTreeMap<Tag, Duration>,
    /// When this node last did anything under a claim.
    busy_at: Duration,
    leaving: Option<Duration>,
    /// Since when a leaving node has nothing left to stop.
    emptied: Option<Duration>,
    /// Since when this daemon is to end, and whether the cluster was told.
    restarting: Option<(Duration, bool)>,
    exited: bool,
}

/// What a proposed command was for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tag {
    Join,
    Leave,
    Restart,
    Shutdown,
    /// Of the check of a fencing device.
    Check(crate::model::DeviceId),
    /// Of what this node has for a watchdog.
    Watchdog,
    /// Of an operation under a claim.
    Op(crate::state::ClaimKey),
    Probe(crate::model::ResourceId),
    Attempt(crate::model::AttemptId),
    Announce(crate::model::ResourceId, crate::model::ActionKind),
    Withdraw(crate::model::Epoch, crate::state::ClaimKey),
    Leader,
}

impl Node {
    pub fn new(config: Config, now: Duration) -> Self {
        Self {
            config,
            state: Arc::default(),
            graph: Arc::default(),
            ops: Ops::default(),
            probes: Probes::default(),
            duties: LeaderDuties::default(),
            isolation: Isolation::default(),
            lease: Lease::default(),
            burnt: Burnt::default(),
            barred: Barred::default(),
            checks: Checks::default(),
            courier: Courier::default(),
            contacts: Contacts::default(),
            leadership: Leadership::default(),
            now,
            wall_ms: 0,
            started: now,
            deaf_until: now,
            voters_since: now,
            proposals: BTreeMap::new(),
            early: BTreeMap::new(),
            last_proposal: ProposalId(0),
            last_op: OpId(0),
            outbox: Vec::new(),
            effects: Vec::new(),
            retry_at: None,
            lead_again_at: None,
            refused: BTreeMap::new(),
            pauses: BTreeMap::new(),
            busy_at: now,
            leaving: None,
            emptied: None,
            restarting: None,
            exited: false,
        }
    }

    pub fn name(&self) -> &NodeId {
        &self.config.node
    }

    /// The graph of what is left to do, for `status`.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Whether this node is without quorum.
    pub fn is_isolated(&self) -> bool {
        self.isolation.since.is_some()
    }

    /// Takes an event in and says what to do. `now` is monotonic, `wall_ms` the wall clock for people and for `Tick`.
    pub fn step(&mut self, now: Duration, wall_ms: u64, event: Event) -> Vec<Effect> {
        self.step_all(now, wall_ms, [event])
    }

    /// As [`Node::step`], for events that are there at once: everything is decided anew only after the last.
    pub fn step_all(&mut self, now: Duration, wall_ms: u64, events: impl IntoIterator<Item = Event>) -> Vec<Effect> {
        if now.saturating_sub(self.now) > STALL {
            self.deaf_until = now + self.suspect_after();
        }
        self.now = self.now.max(now);
        self.wall_ms = wall_ms;
        for event in events {
            self.take(event);
        }
        if !self.exited {
            self.decide();
        }
        std::mem::take(&mut self.effects)
    }

    /// When [`Event::Tick`] is needed next, if nothing else happens.
    pub fn next_wake(&self) -> Option<Duration> {
        let held_up = |key: &ClaimKey| self.isolation.has_stopped(key) || self.is_proposed(&Tag::Op(key.clone()));
        let refused = self.refused.values().min().copied();
        // A daemon that is to end, has not joined, or whose boot was proven off begins none of these: what is due then would
        // wake it for nothing, again and again.
        let due = match self.restarting.is_none() && self.has_joined() && !self.is_burnt() {
            true => [self.ops.next_due(held_up), self.probes.next_due(), self.checks.next_due(self.now)],
            false => [None; 3],
        };
        let leads = self.leadership.is_self && self.restarting.is_none();
        let due = due.into_iter().chain([self.courier.next_due(&self.state, self.now).filter(|_| leads)]);
        let times = [self.retry_at, self.lead_again_at, refused, self.next_lease()].into_iter().chain(due);
        times.flatten().min().map(|at| at.max(self.now + SHORTEST_SLEEP))
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Committed(state) => {
                let graph = match state.spec() {
                    Some(spec) if state.index >= self.state.index => plan::order(spec, &state),
                    Some(_) | None => Graph::default(),
                };
                self.take_state(state, Arc::new(graph));
            }
            Event::CommittedWith { state, graph } => self.take_state(state, graph),
            // What was done is decided by the state, never by the answer alone: until the state has it, the proposal
            // counts as under way. Else an operation whose end was just committed would be started once more.
            Event::Answered { id, result: Ok(applied) } if applied.index > self.state.index => {
                if self.proposals.contains_key(&id) {
                    self.early.insert(id, applied);
                }
            }
            Event::Answered { id, result } => self.take_answer(id, result),
            Event::Finished { op, outcome } => {
                if !self.probes.finished(op, &outcome, self.now)
                    && !self.burnt.finished(op, &outcome, &mut self.effects)
                {
                    self.op_finished(op, outcome);
                }
            }
            Event::Fenced { attempt, outcome } => self.duties.executed(attempt, outcome),
            Event::Checked { device, error } => self.checks.ended(&device, error, self.now, self.wall_ms),
            Event::SwitchedOn { attempt, error } => self.duties.switched_on(attempt, error),
            Event::Died { instance } => self.ops.look_at(&instance, self.now),
            Event::Contacts(contacts) => {
                self.duties.listen(&self.state, &contacts);
                self.contacts = contacts;
            }
            Event::Lease { sent } => self.renew_lease(sent),
            Event::Round { term, began, heard } => self.take_round(term, began, heard),
            Event::Armed(result) => self.watchdog_armed(result),
            Event::Reported { number, status, delivery, after } => {
                let told = Retry { now: self.now, after };
                self.courier.came_back(&status, number, outbox::cut(delivery), told);
            }
            Event::Leadership(leadership) => {
                if leadership.voters != self.leadership.voters {
                    self.voters_since = self.now;
                }
                self.leadership = leadership;
            }
            Event::Tick => {}
            Event::Restart => {
                self.restarting.get_or_insert((self.now, false));
            }
            Event::Stop => {
                self.leaving.get_or_insert(self.now);
            }
        }
        if self.retry_at.is_some_and(|at| at <= self.now) {
            self.retry_at = None;
        }
        if self.lead_again_at.is_some_and(|at| at <= self.now) {
            self.lead_again_at = None;
        }
        self.refused.retain(|_, until| *until > self.now);
    }

    fn take_state(&mut self, state: Arc<State>, graph: Arc<Graph>) {
        if state.index < self.state.index {
            return;
        }
        self.note_burning(&state);
        self.state = state;
        self.graph = graph;
        self.duties.heed_joins(&self.state, self.now);
        self.ops.forget_lost(&self.state, &self.config, &mut self.effects);
        let seen = self.state.index;
        let known: Vec<_> = self.early.iter().filter(|(_, applied)| applied.index <= seen).map(|(id, _)| *id).collect();
        for id in known {
            if let Some(applied) = self.early.remove(&id) {
                self.take_answer(id, Ok(applied));
            }
        }
    }

    fn take_answer(&mut self, id: ProposalId, result: Result<Applied, ProposeError>) {
        let Some(tags) = self.proposals.remove(&id) else { return };
        match result {
            Ok(applied) => {
                for (tag, answer) in tags.iter().zip(applied.answers) {
                    match (tag, &answer) {
                        (Tag::Op(key), _) => self.ops.answered(key, answer.is_ok()),
                        (Tag::Probe(resource), _) => self.probes.answered(resource, answer.is_ok()),
                        (Tag::Leave, Ok(())) => {
                            self.exited = true;
                            self.effects.push(Effect::Exit { clean: true });
                        }
                        (Tag::Restart, _) => self.restarting = self.restarting.map(|(since, _)| (since, true)),
                        (Tag::Attempt(attempt), _) => self.duties.reported(*attempt),
                        (Tag::Join, answer) => self.barred.answered(answer, self.now),
                        (
                            Tag::Leave
                            | Tag::Shutdown
                            | Tag::Leader
                            | Tag::Check(_)
                            | Tag::Watchdog
                            | Tag::Announce(..)
                            | Tag::Withdraw(..),
                            _,
                        ) => {}
                    }
                    if let Err(refusal) = answer {
                        // A refusal is an answer: the next pass decides from the newer state.
                        self.effects.push(Effect::Note { key: tag.key(), text: format!("refused: {refusal}") });
                        let pause = self.pauses.get(tag).map_or(REFUSED, |last| (*last * 2).min(REFUSED_LONGEST));
                        let pause = if planted(Planted::RefusedSpins) { Duration::ZERO } else { pause };
                        self.pauses.insert(tag.clone(), pause);
                        self.refused.insert(tag.clone(), self.now + pause);
                    } else {
                        self.pauses.remove(tag);
                    }
                }
            }
            // Not proposed, or nobody knows: everything proposed is safe to propose again.
            Err(error) => {
                let leads = tags.contains(&Tag::Leader);
                let pause = if leads { &mut self.lead_again_at } else { &mut self.retry_at };
                *pause = Some(self.now + RETRY);
                self.effects.push(Effect::Note { key: None, text: error.to_string() });
                for tag in tags {
                    match tag {
                        Tag::Op(key) => self.ops.unanswered(&key),
                        Tag::Probe(resource) => self.probes.unanswered(&resource),
                        Tag::Attempt(attempt) => self.duties.unanswered(attempt),
                        Tag::Leader => self.duties.unanswered_leader(),
                        Tag::Join
                        | Tag::Leave
                        | Tag::Restart
                        | Tag::Shutdown
                        | Tag::Check(_)
                        | Tag::Watchdog
                        | Tag::Announce(..)
                        | Tag::Withdraw(..) => {}
                    }
                }
            }
        }
    }

    /// Everything this node does is decided here, in this order, from the newest state.
    fn decide(&mut self) {
        self.count_leases();
        self.watch_quorum();
        self.keep_lease();
        if self.is_burnt() {
            self.stop_everything();
            if self.leaving.is_some() {
                self.exited = true;
                self.effects.push(Effect::Exit { clean: false });
            }
        } else if !self.has_joined() {
            self.join();
            if planted(Planted::ActsBeforeJoin) {
                self.run_steps();
                self.run_monitors();
            }
        } else if self.restarting.is_some() {
            // Nothing new is begun; what is under way is reported.
            self.report_ops();
        } else {
            self.leave_if_asked();
            self.execute_attempts();
            self.run_checks();
            self.run_probes();
            self.run_steps();
            self.run_monitors();
            self.restart_in_isolation();
            self.stop_in_isolation();
        }
        if self.restarting.is_none() {
            self.lead();
        }
        self.end_for_restart();
        self.flush();
    }

    /// Whether this incarnation's own `Join` is applied.
    pub(super) fn has_joined(&self) -> bool {
        self.state.nodes.get(&self.config.node).is_some_and(|node| {
            node.incarnation == self.config.incarnation
                && !node.burnt.contains(&self.config.incarnation.boot)
                && node.membership != Membership::Left
        })
    }

    fn join(&mut self) {
        if self.leaving.is_some() {
            self.exited = true;
            self.effects.push(Effect::Exit { clean: self.state.claims_on(&self.config.node).next().is_none() });
            return;
        }
        let command = Command::Join {
            node: self.config.node.clone(),
            incarnation: self.config.incarnation.clone(),
            facts: self.config.facts.clone(),
        };
        self.propose_once(Tag::Join, command);
    }

    fn end_for_restart(&mut self) {
        let Some((since, told)) = self.restarting else { return };
        let waited = self.now.saturating_sub(since);
        let told = told || waited > TELL || !self.has_joined();
        if !told {
            let (node, incarnation) = (self.config.node.clone(), self.config.incarnation.clone());
            self.propose_once(Tag::Restart, Command::Restarting { node, incarnation });
        } else if self.ops.is_idle() || waited > FINISH {
            self.exited = true;
            self.effects.push(Effect::Exit { clean: false });
        }
    }

    fn leave_if_asked(&mut self) {
        let Some(since) = self.leaving else { return self.stay() };
        let me = self.config.node.clone();
        let scope = Scope::Node(me.clone());
        let drained = self.state.overrides_of(&scope).any(|(_, o)| matches!(o.kind, OverrideKind::Shutdown));
        if !drained {
            let command = Command::SetOverride {
                scope,
                kind: OverrideKind::Shutdown,
                by: me.to_string(),
                reason: "the node goes down".into(),
                expires_ms: None,
            };
            self.propose_once(Tag::Shutdown, command);
        } else if self.state.claims_on(&me).next().is_none() && self.ops.is_idle() {
            let since = *self.emptied.get_or_insert(self.now);
            if !self.is_needed() || self.now.saturating_sub(since) > LINGER {
                let command = Command::Leave { node: me, incarnation: self.config.incarnation.clone() };
                self.propose_once(Tag::Leave, command);
            }
        }
        let alone =
            self.isolation.since.is_some_and(|lost| self.now.saturating_sub(lost.max(since)) > LEAVE_WITHOUT_QUORUM);
        if !self.ops.is_idle() {
            self.busy_at = self.now;
        }
        let stuck = self.now.saturating_sub(self.busy_at.max(since)) > LEAVE_STUCK;
        if (alone || stuck) && self.ops.is_idle() {
            self.exited = true;
            self.effects.push(Effect::Exit { clean: false });
        }
    }

    /// An earlier daemon here said that the node goes down, and its word was written down only after this one had joined.
    fn stay(&mut self) {
        let scope = Scope::Node(self.config.node.clone());
        let is_late = |o: &Override| matches!(o.kind, OverrideKind::Shutdown);
        let late = self.state.overrides_of(&scope).find(|(_, o)| is_late(o)).map(|(id, _)| id);
        let Some(id) = late.filter(|_| self.has_joined() && self.restarting.is_none()) else { return };
        let by = self.config.node.to_string();
        self.propose_once(Tag::Shutdown, Command::ClearOverride { id, by });
    }

    /// Whether this node leads while others still have something to start or stop.
    fn is_needed(&self) -> bool {
        let changes = |kind: &StepKind| match kind {
            StepKind::Start
            | StepKind::Stop
            | StepKind::Promote
            | StepKind::Demote
            | StepKind::MigrateTo
            | StepKind::MigrateFrom => true,
            StepKind::Probe | StepKind::Fence { .. } | StepKind::Reload | StepKind::Notify { .. } => false,
        };
        self.leadership.is_self
            && self.graph.steps().any(|step| step.key.node != self.config.node && changes(&step.kind))
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// Proposes unless something for the same is proposed already, or has to wait. True: it is on its way.
    pub(super) fn propose_once(&mut self, tag: Tag, command: Command) -> bool {
        let waiting = self.retry_at.is_some_and(|at| at > self.now) || self.refused.contains_key(&tag);
        let free = !waiting && !self.is_proposed(&tag);
        if free {
            self.outbox.push((command, tag));
        }
        free
    }

    /// What the leader proposed last failed or was refused: not again at once.
    pub(super) fn leads_later(&self) -> bool {
        self.lead_again_at.is_some_and(|at| at > self.now) || self.refused.contains_key(&Tag::Leader)
    }

    /// Several commands of the leader may travel in one entry: `lead` looks once whether an earlier one is under way.
    pub(super) fn propose_as_leader(&mut self, command: Command) {
        self.outbox.push((command, Tag::Leader));
    }

    pub(super) fn is_proposed(&self, tag: &Tag) -> bool {
        self.proposals.values().flatten().chain(self.outbox.iter().map(|(_, tag)| tag)).any(|other| other == tag)
    }

    /// Whether an entry with this node's reports of probes is on its way.
    pub(super) fn has_probes_under_way(&self) -> bool {
        self.proposals.values().flatten().any(|tag| matches!(tag, Tag::Probe(_)))
    }

    pub(super) fn next_op(&mut self) -> OpId {
        self.last_op.0 += 1;
        self.last_op
    }

    fn flush(&mut self) {
        let (leader, mut own): (Vec<_>, Vec<_>) = self.outbox.drain(..).partition(|(_, tag)| *tag == Tag::Leader);
        let under_way = self.proposals.values().filter(|tags| !tags.contains(&Tag::Leader)).count();
        if under_way >= MAX_IN_FLIGHT {
            self.outbox = std::mem::take(&mut own);
        }
        for (batch, term) in [(own, None), (leader, Some(self.leadership.term))] {
            for part in batch.chunks(MAX_BATCH) {
                self.last_proposal.0 += 1;
                let (commands, tags) = part.iter().cloned().unzip();
                self.proposals.insert(self.last_proposal, tags);
                self.effects.push(Effect::Propose { id: self.last_proposal, commands, term });
            }
        }
    }

    pub(super) fn suspect_after(&self) -> Duration {
        self.state
            .spec()
            .map_or(crate::model::Detection::DEFAULT.suspect_after, |spec| spec.cluster.detection.suspect_after)
    }
}

impl Tag {
    fn key(&self) -> Option<crate::state::ClaimKey> {
        match self {
            Self::Op(key) | Self::Withdraw(_, key) => Some(key.clone()),
            Self::Join
            | Self::Leave
            | Self::Restart
            | Self::Shutdown
            | Self::Probe(_)
            | Self::Attempt(_)
            | Self::Check(_)
            | Self::Watchdog
            | Self::Announce(..)
            | Self::Leader => None,
        }
    }
}
