//! Operations under claims: start, stop, promote, demote, and the monitors of what runs.
//!
//! One operation per instance at a time. An operation that ended is reported until the log has answered; until then
//! nothing else happens to that instance.

use super::node::Tag;
use super::notices::Round;
use super::{Config, Effect, Node, OpId};
use crate::model::planted::{Planted, planted};
use crate::model::{
    ActionKind, AgentRequest, Definition, Epoch, ExecStatus, InstanceId, LogIndex, OpName, Outcome, Reading, Role,
};
use crate::plan::StepKind;
use crate::state::{Claim, ClaimKey, Command, OpReport, Phase, SEEN_LEVEL, State, Told};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Used where a manifest gives no time-out for an operation.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(20);
/// A monitor asked for by a dying process runs at once, but not more often than this.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// Longest line of an agent's output that goes into the log.
const MAX_TEXT: usize = 200;

/// What this node is doing to the instances it holds claims on.
#[derive(Debug, Clone, Default)]
pub(super) struct Ops {
    running: BTreeMap<ClaimKey, Op>,
    monitors: BTreeMap<ClaimKey, Monitor>,
    /// Instances whose death watch is armed.
    watched: BTreeMap<ClaimKey, Epoch>,
    /// Since when the node that something is to migrate to is not heard.
    pub(super) unheard: BTreeMap<ClaimKey, Duration>,
}

#[derive(Debug, Clone)]
struct Op {
    epoch: Epoch,
    kind: ActionKind,
    began: LogIndex,
    /// Of which round a `notify` tells.
    round: Option<Round>,
    stage: Stage,
}

#[derive(Debug, Clone)]
enum Stage {
    Running(OpId),
    /// A stop has ended; a probe must see it.
    Verifying(OpId),
    /// To be proposed until it is answered.
    Reporting {
        command: Box<Command>,
        proposed: bool,
    },
}

#[derive(Debug, Clone)]
struct Monitor {
    epoch: Epoch,
    due: Duration,
    last: Duration,
}

impl Ops {
    pub fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// When the next monitor that can be run is due.
    pub fn next_due(&self, is_held_up: impl Fn(&ClaimKey) -> bool) -> Option<Duration> {
        let free = self.monitors.iter().filter(|(key, _)| !self.running.contains_key(key) && !is_held_up(key));
        free.map(|(_, monitor)| monitor.due).min()
    }

    /// Something of this instance ended: its monitor is due now.
    pub fn look_at(&mut self, instance: &InstanceId, now: Duration) {
        for (key, monitor) in &mut self.monitors {
            if &key.instance == instance {
                monitor.due = monitor.due.min(now.max(monitor.last + LOOK_PAUSE));
            }
        }
    }

    /// The log has answered a report: a success took effect, a refusal means that the state is another by now.
    pub fn answered(&mut self, key: &ClaimKey, _accepted: bool) {
        if matches!(self.running.get(key), Some(Op { stage: Stage::Reporting { proposed: true, .. }, .. })) {
            self.running.remove(key);
        }
    }

    pub fn unanswered(&mut self, key: &ClaimKey) {
        if let Some(Op { stage: Stage::Reporting { proposed, .. }, .. }) = self.running.get_mut(key) {
            *proposed = false;
        }
    }

    /// Drops reports and monitors of claims that are no longer this node's. Running processes are waited for.
    pub fn forget_lost(&mut self, state: &State, config: &Config, effects: &mut Vec<Effect>) {
        let held = |key: &ClaimKey, epoch: Epoch| {
            state.claims.get(key).is_some_and(|claim| claim.epoch == epoch && claim.incarnation == config.incarnation)
        };
        self.running.retain(|key, op| held(key, op.epoch) || !matches!(op.stage, Stage::Reporting { .. }));
        self.monitors.retain(|key, monitor| held(key, monitor.epoch));
        self.watched.retain(|key, epoch| {
            let keep = held(key, *epoch);
            if !keep {
                effects.push(Effect::Unwatch { instance: key.instance.clone() });
            }
            keep
        });
    }
}

impl Node {
    /// Goes on with every step of the graph that is this node's and has nothing left before it.
    pub(super) fn run_steps(&mut self) {
        let ready: Vec<_> =
            self.graph.ready(&self.config.node).map(|step| (step.kind.clone(), step.key.clone())).collect();
        let mut ready = ready;
        let unordered = planted(Planted::OrderIgnored) || planted(Planted::StartsUntold);
        if unordered {
            let all =
                self.graph.steps().filter(|step| step.key.node == self.config.node && step.kind == StepKind::Start);
            ready.extend(all.map(|step| (step.kind.clone(), step.key.clone())));
        }
        let sends = |key: &ClaimKey| ready.iter().any(|(kind, other)| *kind == StepKind::MigrateTo && other == key);
        self.ops.unheard.retain(|key, _| sends(key));
        let settling = self.isolation.is_settling() || self.stops_alone();
        for (kind, key) in ready {
            let busy = self.ops.running.get(&key);
            let over = |op: &Op| {
                planted(Planted::ActsAfterRelease)
                    && op.kind == ActionKind::Stop
                    && matches!(op.stage, Stage::Reporting { proposed: true, .. })
            };
            if busy.is_some_and(|op| !over(op)) || self.isolation.since.is_some() {
                continue;
            }
            // What was stopped without a quorum still looks as if it ran: nothing may be built on it until it is settled, and
            // nothing be done to it but that.
            let builds = matches!(kind, StepKind::Start | StepKind::Promote) && settling;
            if builds || self.isolation.has_stopped(&key) {
                continue;
            }
            let claim = self.own_claim(&key).cloned();
            match (kind, claim) {
                (StepKind::Start, None) => self.claim(key),
                (StepKind::Start, Some(claim)) if claim.phase == Phase::Starting => {
                    if self.may_start_still(&claim) {
                        self.start_op(key, &claim, ActionKind::Start);
                    }
                }
                (StepKind::Stop, Some(claim)) => self.go(key, &claim, Phase::Stopping, ActionKind::Stop),
                (StepKind::Promote, Some(claim)) => self.go(key, &claim, Phase::Promoting, ActionKind::Promote),
                (StepKind::Demote, Some(claim)) => self.go(key, &claim, Phase::Demoting, ActionKind::Demote),
                (StepKind::Reload, Some(claim)) => self.go(key, &claim, Phase::Reloading, ActionKind::Reload),
                (StepKind::Notify { notice }, Some(_)) => self.notify(key, notice),
                (StepKind::MigrateTo, Some(claim)) => self.send(key, &claim),
                (StepKind::MigrateFrom, Some(claim)) if claim.phase == Phase::MigratingFrom => {
                    if self.state.has_left(&key.instance) {
                        self.start_op(key, &claim, ActionKind::MigrateFrom);
                    }
                }
                // The state moved on since the graph was made, or the step is not this function's.
                (
                    StepKind::Start
                    | StepKind::Stop
                    | StepKind::Promote
                    | StepKind::Demote
                    | StepKind::Probe
                    | StepKind::Fence { .. }
                    | StepKind::Reload
                    | StepKind::MigrateTo
                    | StepKind::MigrateFrom
                    | StepKind::Notify { .. },
                    _,
                ) => {}
            }
        }
        if self.isolation.since.is_none() {
            self.announce();
            self.report_ops();
        }
    }

    /// Whether something is being stopped here that nobody knows of: begun without a quorum, it goes on after that is back.
    fn stops_alone(&self) -> bool {
        self.ops.running.iter().any(|(key, op)| {
            let claim = self.own_claim(key).filter(|claim| claim.epoch == op.epoch);
            op.kind == ActionKind::Stop && claim.is_some_and(|claim| claim.phase != Phase::Stopping)
        })
    }

    /// Whether what a claim was granted after still runs. A start that an earlier daemon began is begun again; what it
    /// rests on may have been stopped meanwhile, by a node that was alone.
    fn may_start_still(&self, claim: &Claim) -> bool {
        let runs = |first: &InstanceId| {
            let mut claims = self.state.claims_of(&first.resource).filter(|(key, _)| &key.instance == first);
            claims.any(|(_, claim)| claim.is_running())
        };
        claim.after.iter().all(runs) || planted(Planted::OrderIgnored)
    }

    /// The claim of this incarnation on a key.
    pub(super) fn own_claim(&self, key: &ClaimKey) -> Option<&Claim> {
        let mine = |claim: &&Claim| {
            let same = claim.incarnation.boot == self.config.incarnation.boot && planted(Planted::ActsBeforeJoin);
            claim.incarnation == self.config.incarnation || same
        };
        self.state.claims.get(key).filter(mine)
    }

    fn claim(&mut self, key: ClaimKey) {
        let Some(assignment) = self.state.assignment.get(&key.instance) else { return };
        if self.is_leaving() {
            return;
        }
        let command = Command::Claim {
            key: key.clone(),
            incarnation: self.config.incarnation.clone(),
            assignment: assignment.index,
        };
        self.propose_once(Tag::Op(key), command);
    }

    /// First the phase, by a commit; then the operation.
    fn go(&mut self, key: ClaimKey, claim: &Claim, phase: Phase, kind: ActionKind) {
        if claim.phase == phase
            && claim.failure.as_ref().is_none_or(|failure| failure.action != kind || kind == ActionKind::Stop)
        {
            self.start_op(key, claim, kind);
        } else {
            let command = self.advance(key.clone(), claim.epoch, phase);
            self.propose_once(Tag::Op(key), command);
        }
    }

    /// The next phase of a claim of this node, as decided from the newest state.
    pub(super) fn advance(&self, key: ClaimKey, epoch: Epoch, to: Phase) -> Command {
        let (incarnation, seen) = (self.config.incarnation.clone(), self.state.index);
        match self.state.feature_level >= SEEN_LEVEL {
            true => Command::AdvanceSeen { key, epoch, incarnation, seen, to },
            false => Command::Advance { key, epoch, incarnation, to },
        }
    }

    pub(super) fn start_op(&mut self, key: ClaimKey, claim: &Claim, kind: ActionKind) {
        let definition = match kind {
            ActionKind::Reload => self.state.reloading(&key),
            ActionKind::Stop if planted(Planted::StopsWithNewParams) => {
                self.state.current_definition(&key.instance.resource).map(|(_, definition)| definition)
            }
            _ => self.state.definitions.get(&claim.definition),
        };
        let Some(definition) = definition.cloned() else { return };
        // A commit that changes this claim is on its way: its outcome comes first.
        if self.is_proposed(&Tag::Op(key.clone())) && !planted(Planted::ActsAfterRelease) {
            return;
        }
        self.begin(key, claim, kind, &definition);
    }

    /// Without a quorum: the outcome of a proposal cannot be waited for. True where a release may be under way: then
    /// nothing may be executed.
    pub(super) fn stop_alone(&mut self, key: ClaimKey, claim: &Claim) {
        let Some(definition) = self.state.definitions.get(&claim.definition).cloned() else { return };
        self.begin(key, claim, ActionKind::Stop, &definition);
    }

    fn begin(&mut self, key: ClaimKey, claim: &Claim, kind: ActionKind, definition: &Arc<Definition>) {
        let op = self.run(&key, Some(claim.epoch), kind, definition, claim.role);
        let began = self.state.index;
        self.ops.running.insert(key, Op { epoch: claim.epoch, kind, began, round: None, stage: Stage::Running(op) });
    }

    pub(super) fn begin_round(&mut self, key: ClaimKey, claim: &Claim, round: Round) {
        let Some(definition) = self.state.definitions.get(&claim.definition).cloned() else { return };
        let (kind, began) = (ActionKind::Notify, self.state.index);
        let op = self.run_told(&key, Some(claim.epoch), kind, &definition, claim.role, Some(round));
        let stage = Stage::Running(op);
        self.ops.running.insert(key, Op { epoch: claim.epoch, kind, began, round: Some(round), stage });
    }

    /// Emits the effect that runs an agent.
    pub(super) fn run(
        &mut self,
        key: &ClaimKey,
        epoch: Option<Epoch>,
        kind: ActionKind,
        definition: &Arc<Definition>,
        role: Role,
    ) -> OpId {
        self.run_told(key, epoch, kind, definition, role, None)
    }

    fn run_told(
        &mut self,
        key: &ClaimKey,
        epoch: Option<Epoch>,
        kind: ActionKind,
        definition: &Arc<Definition>,
        role: Role,
        round: Option<Round>,
    ) -> OpId {
        let op = self.next_op();
        let operations = &definition.resource.operations;
        let operation = match kind {
            ActionKind::Probe => operations.get(&OpName::Monitor),
            ActionKind::Monitor => monitor_of(definition, role),
            ActionKind::Start => operations.get(&OpName::Start),
            ActionKind::Stop => operations.get(&OpName::Stop),
            ActionKind::Promote => operations.get(&OpName::Promote),
            ActionKind::Demote => operations.get(&OpName::Demote),
            ActionKind::MigrateTo => operations.get(&OpName::MigrateTo),
            ActionKind::MigrateFrom => operations.get(&OpName::MigrateFrom),
            ActionKind::Notify => operations.get(&OpName::Notify),
            ActionKind::Reload => operations.get(&OpName::Reload),
        };
        let interval = match kind {
            ActionKind::Monitor => operation.map_or(Duration::ZERO, |operation| operation.interval),
            _ => Duration::ZERO,
        };
        let request = AgentRequest {
            kind,
            instance: key.instance.clone(),
            definition: Arc::clone(definition),
            epoch,
            node: self.config.node.clone(),
            timeout: operation.map_or(DEFAULT_TIMEOUT, |operation| operation.timeout),
            interval,
            peer: self.peer(key, kind),
            notice: self.notice_view(key, kind, round),
            legacy_reload: self.reloads_by_ocf_1_0(definition),
        };
        self.effects.push(Effect::Run { op, request });
        op
    }

    pub(super) fn op_finished(&mut self, id: OpId, outcome: Outcome) {
        let now = self.now;
        let found =
            self.ops.running.iter().find(
                |(_, op)| matches!(op.stage, Stage::Running(running) | Stage::Verifying(running) if running == id),
            );
        let Some(key) = found.map(|(key, _)| key.clone()) else { return };
        let Some(op) = self.ops.running.remove(&key) else { return };
        let Some(claim) = self.own_claim(&key).filter(|claim| claim.epoch == op.epoch).cloned() else { return };
        // Begun without a commit, it ends without one, even if the quorum came back meanwhile.
        let alone = op.kind == ActionKind::Stop && (self.isolation.since.is_some() || claim.phase != Phase::Stopping);
        let verifying = matches!(op.stage, Stage::Verifying(_));
        if alone && (verifying || !outcome.succeeded(ActionKind::Stop)) {
            let stopped = verifying && outcome.reading().proves_stopped();
            let goes_on = self.goes_on_alone(&key, &claim);
            return match self.state.definitions.get(&claim.definition).cloned() {
                Some(definition) if stopped && goes_on => {
                    self.begin(key, &claim, ActionKind::Start, &definition);
                }
                Some(_) | None => self.isolation.stopped(&key, op.epoch, stopped),
            };
        }
        if op.kind == ActionKind::Start && claim.phase == Phase::Running {
            return self.restarted_alone(key, &claim, outcome.succeeded(ActionKind::Start));
        }
        match op.kind {
            ActionKind::Stop
                if !verifying && outcome.succeeded(ActionKind::Stop) && !planted(Planted::ReleasedUnseen) =>
            {
                // Only what a probe sees is released.
                let Some(definition) = self.state.definitions.get(&claim.definition).cloned() else { return };
                let probe = self.run(&key, Some(claim.epoch), ActionKind::Probe, &definition, claim.role);
                self.ops.running.insert(key, Op { stage: Stage::Verifying(probe), ..op });
                return;
            }
            ActionKind::Stop
                if (verifying && outcome.reading().proves_stopped())
                    || (planted(Planted::ReleasedUnseen) && outcome.succeeded(ActionKind::Stop)) =>
            {
                let command = Command::Release {
                    key: key.clone(),
                    epoch: claim.epoch,
                    incarnation: self.config.incarnation.clone(),
                };
                self.ops.report(key, op, command);
                return;
            }
            ActionKind::Monitor => {
                if let Some(monitor) = self.ops.monitors.get_mut(&key) {
                    monitor.last = now;
                    let definition = self.state.definitions.get(&claim.definition);
                    let interval = definition.and_then(|d| monitor_of(d, claim.role)).map(|m| m.interval);
                    monitor.due = now + interval.unwrap_or(DEFAULT_TIMEOUT);
                }
                if as_expected(&claim, outcome.reading()) {
                    return;
                }
            }
            ActionKind::Notify => {
                let Some((notice, stage)) = op.round else { return };
                let command = Command::Notified(Told {
                    notice,
                    stage,
                    key: key.clone(),
                    epoch: op.epoch,
                    incarnation: self.config.incarnation.clone(),
                    status: outcome.status,
                    text: last_line(&outcome.output),
                });
                self.ops.report(key, op, command);
                return;
            }
            ActionKind::Start
            | ActionKind::Stop
            | ActionKind::Promote
            | ActionKind::Demote
            | ActionKind::Probe
            | ActionKind::MigrateTo
            | ActionKind::MigrateFrom
            | ActionKind::Reload => {}
        }
        let text = match verifying {
            true => format!("the stop ended, but a probe still says {:?}", outcome.reading()),
            false => last_line(&outcome.output),
        };
        let status = match (verifying, outcome.status) {
            // The stop itself said 0; that it did not stop is the failure.
            (true, ExecStatus::Exited(0)) => ExecStatus::Exited(1),
            (_, status) => status,
        };
        let report = OpReport {
            key: key.clone(),
            epoch: op.epoch,
            incarnation: self.config.incarnation.clone(),
            action: op.kind,
            status,
            reading: matches!(op.kind, ActionKind::Monitor | ActionKind::Probe).then(|| outcome.reading()),
            began: op.began,
            duration_ms: outcome.duration.as_millis() as u64,
            text,
        };
        self.ops.report(key, op, Command::Report(report));
    }

    /// Reports an operation as failed that was not begun.
    pub(super) fn fail_unbegun(&mut self, key: ClaimKey, claim: &Claim, kind: ActionKind, text: String) {
        if self.is_proposed(&Tag::Op(key.clone())) {
            return;
        }
        let report = OpReport {
            key: key.clone(),
            epoch: claim.epoch,
            incarnation: self.config.incarnation.clone(),
            action: kind,
            status: ExecStatus::Failed,
            reading: None,
            began: self.state.index,
            duration_ms: 0,
            text,
        };
        let stage = Stage::Reporting { command: Box::new(Command::Report(report)), proposed: false };
        let op = Op { epoch: claim.epoch, kind, began: self.state.index, round: None, stage };
        self.ops.running.insert(key, op);
    }

    pub(super) fn report_ops(&mut self) {
        let waiting: Vec<_> = self
            .ops
            .running
            .iter_mut()
            .filter_map(|(key, op)| match &mut op.stage {
                Stage::Reporting { command, proposed } if !*proposed => Some((key.clone(), command.as_ref().clone())),
                Stage::Reporting { .. } | Stage::Running(_) | Stage::Verifying(_) => None,
            })
            .collect();
        for (key, command) in waiting {
            if self.propose_once(Tag::Op(key.clone()), command)
                && let Some(Op { stage: Stage::Reporting { proposed, .. }, .. }) = self.ops.running.get_mut(&key)
            {
                *proposed = true;
            }
        }
    }

    /// Keeps a recurring monitor and a death watch for everything that runs here.
    pub(super) fn run_monitors(&mut self) {
        let now = self.now;
        let state = Arc::clone(&self.state);
        let incarnation = self.config.incarnation.clone();
        let runs = |claim: &Claim| {
            claim.incarnation == incarnation && claim.phase == Phase::Running && claim.failure.is_none()
        };
        // A monitor of what is not watched now must not keep waking this node up.
        self.ops.monitors.retain(|key, _| state.claims.get(key).is_some_and(runs));
        for (key, claim) in state.claims_on(&self.config.node.clone()).filter(|(_, claim)| runs(claim)) {
            let Some(definition) = state.definitions.get(&claim.definition) else { continue };
            if self.ops.watched.get(key) != Some(&claim.epoch) {
                self.ops.watched.insert(key.clone(), claim.epoch);
                let agent = definition.resource.agent.clone();
                self.effects.push(Effect::Watch { instance: key.instance.clone(), agent });
            }
            let Some(operation) = monitor_of(definition, claim.role).filter(|m| !m.interval.is_zero()) else {
                continue;
            };
            let due = match self.ops.monitors.get(key) {
                Some(monitor) => monitor.due,
                None => {
                    // What an earlier daemon started, or was found, is looked at now; the rest spreads over the interval.
                    let due = match claim.granted_at == claim.changed_at || claim.incarnation.counter > 1 {
                        true => now,
                        false => now + operation.interval.mul_f64(spread(key, claim.epoch)),
                    };
                    self.ops.monitors.insert(key.clone(), Monitor { epoch: claim.epoch, due, last: Duration::ZERO });
                    due
                }
            };
            if due <= now && !self.ops.running.contains_key(key) && !self.isolation.has_stopped(key) {
                self.start_op(key.clone(), claim, ActionKind::Monitor);
            }
        }
    }
}

impl Ops {
    fn report(&mut self, key: ClaimKey, op: Op, command: Command) {
        let stage = Stage::Reporting { command: Box::new(command), proposed: false };
        self.running.insert(key, Op { stage, ..op });
    }

    /// Whether a stop that needs no commit may begin: nothing is executed, and no release may be under way.
    pub fn may_stop_alone(&self, key: &ClaimKey) -> bool {
        match self.running.get(key).map(|op| &op.stage) {
            None => true,
            Some(Stage::Running(_) | Stage::Verifying(_)) => false,
            Some(Stage::Reporting { command, .. }) => !matches!(**command, Command::Release { .. }),
        }
    }

    /// Stopped and seen to be so; only the log has not said so yet.
    pub fn is_releasing(&self, key: &ClaimKey) -> bool {
        matches!(self.running.get(key), Some(Op { stage: Stage::Reporting { command, .. }, .. })
            if matches!(**command, Command::Release { .. }))
    }

    /// Whether a monitor found this instance not to run as it should, and could not say so.
    pub fn has_died(&self, key: &ClaimKey) -> bool {
        matches!(self.running.get(key), Some(Op { kind: ActionKind::Monitor, stage: Stage::Reporting { .. }, .. }))
    }

    /// Whether nothing is being done to this instance.
    pub fn is_free(&self, key: &ClaimKey) -> bool {
        !self.running.contains_key(key)
    }
}

/// The monitor for a role; a promoted instance may have its own.
fn monitor_of(definition: &Definition, role: Role) -> Option<&crate::model::Operation> {
    let operations = &definition.resource.operations;
    let own = (role == Role::Promoted).then(|| operations.get(&OpName::MonitorPromoted)).flatten();
    own.or_else(|| operations.get(&OpName::Monitor))
}

/// Whether a monitor saw what the log already says.
fn as_expected(claim: &Claim, reading: Reading) -> bool {
    match claim.role {
        Role::Promoted => reading == Reading::RunningPromoted,
        Role::Started => matches!(reading, Reading::Running | Reading::RunningPromoted),
        Role::Unpromoted => reading == Reading::Running,
    }
}

/// A fraction of the interval from the claim itself, so that monitors of many resources spread out the same way in
/// every run.
fn spread(key: &ClaimKey, epoch: Epoch) -> f64 {
    let digest = crate::model::Digest::of(format!("{key} {epoch}").as_bytes());
    f64::from(digest.0[0]) / 256.0
}

fn last_line(output: &str) -> String {
    let line = output.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    line.trim().chars().take(MAX_TEXT).collect()
}
