//! Tests of this module: `claims`, `members`, `fencing`, `target`, `rollout`, `notices`, `reload`, `watchdog`, `outbox` hold a rule each, `properties` the invariants on random
//! sequences, `golden` the stored formats.

mod claims;
mod fencing;
mod golden;
mod members;
mod migration;
mod notices;
mod outbox;
mod properties;
mod reload;
mod rollout;
mod target;
mod watchdog;

use super::target::spec_to_chunks;
use super::*;
use crate::model::*;
use crate::plan::testing::{World, id, key};

/// Three nodes that joined and were probed, a leader, and a commit with `db`, `web` and the promotable clone `ms` of
/// `drbd` (two copies, one promoted).
pub struct Case {
    pub state: State,
    pub world: World,
}

pub fn incarnation(node: &str, boot: u64, counter: u64) -> Incarnation {
    Incarnation { boot: BootId::new(format!("{node}-b{boot}")), counter }
}

pub fn facts() -> JoinFacts {
    JoinFacts { addresses: Vec::new(), port: 7443, version: "1".into(), feature_level: 1, recipient: None }
}

impl Case {
    pub fn new() -> Self {
        let mut world = World::new(&["n1", "n2", "n3"]);
        world.resources(&["db", "drbd", "web"]);
        let clone = world.cloned("ms", "drbd");
        clone.max = Some(2);
        clone.promotable = Some(Promotable { max: 1, per_node: 1 });
        let mut case = Self { state: State { feature_level: 1, ..State::default() }, world };
        for node in ["n1", "n2", "n3"] {
            let admitted = Admitted { addresses: Vec::new(), port: 7443 };
            case.state.admitted.insert(node.into(), admitted);
            case.ok(Self::join(node, 1, 1));
        }
        case.ok(Command::LeaderStart { node: "n1".into(), incarnation: incarnation("n1", 1, 1), term: 1 });
        case.ok(Command::Tick { leader: incarnation("n1", 1, 1), elapsed_ms: 0, wall_ms: 1_000_000 });
        case.push("1");
        case.probe_all();
        case
    }

    /// Applies one command as an entry of its own. A refused one must have changed nothing but the index.
    pub fn ask(&mut self, command: Command) -> Result<(), Refusal> {
        let before = self.state.clone();
        let index = LogIndex(self.state.index.0 + 1);
        let (answers, _) = self.state.apply(index, &Entry { at_ms: index.0 * 10, commands: vec![command] });
        let answer = answers.into_iter().next().unwrap();
        if answer.is_err() {
            assert_eq!(State { index, ..before }, self.state, "refused, and yet it changed something");
        }
        answer
    }

    /// What people read of it.
    pub fn events(&mut self, command: Command) -> Vec<Event> {
        let index = LogIndex(self.state.index.0 + 1);
        self.state.apply(index, &Entry { at_ms: index.0 * 10, commands: vec![command] }).1
    }

    #[track_caller]
    pub fn ok(&mut self, command: Command) {
        self.ask(command.clone()).unwrap_or_else(|refusal| panic!("{refusal}: {command:?}"));
    }

    pub fn join(node: &str, boot: u64, counter: u64) -> Command {
        Command::Join { node: node.into(), incarnation: incarnation(node, boot, counter), facts: facts() }
    }

    /// The leader hears the node's old boot no more, and the node joins with this one.
    #[track_caller]
    pub fn reboot(&mut self, node: &str, boot: u64) {
        let old = self.state.nodes[node].incarnation.boot.clone();
        self.ok(Command::Rebooted { leader: self.leader(), node: node.into(), boot: old });
        self.ok(Self::join(node, boot, 1));
    }

    /// With a program that knows everything there is.
    pub fn join_newer(node: &str, boot: u64, counter: u64) -> Command {
        let facts = JoinFacts { feature_level: FEATURE_LEVEL, ..facts() };
        Command::Join { node: node.into(), incarnation: incarnation(node, boot, counter), facts }
    }

    pub fn leader(&self) -> Incarnation {
        self.state.leader.as_ref().unwrap().incarnation.clone()
    }

    pub fn push(&mut self, revision: &str) {
        let (digest, chunks) = spec_to_chunks(&self.world.spec);
        let total = chunks.len() as u32;
        for (number, bytes) in chunks.into_iter().enumerate() {
            self.ok(Command::SpecChunk { digest, number: number as u32, total, bytes });
        }
        let parent = self.state.target.as_ref().map(|target| target.revision.clone());
        self.ok(Command::SetTarget { revision: Revision::from(revision), parent, spec: digest, by: "ann".into() });
    }

    pub fn probe_command(&self, resource: &str, node: &str, reading: Reading) -> Command {
        Command::Probe(ProbeReport {
            resource: resource.into(),
            node: node.into(),
            incarnation: self.state.nodes[node].incarnation.clone(),
            identity: self.state.current_identity(&resource.into()).unwrap(),
            reading,
            began: self.state.index,
            text: String::new(),
        })
    }

    pub fn probe_all(&mut self) {
        for resource in ["db", "drbd", "web"] {
            for node in ["n1", "n2", "n3"] {
                let _ = self.ask(self.probe_command(resource, node, Reading::Stopped));
            }
        }
    }

    pub fn assign_after(&mut self, text: &str, role: Role, after: Vec<Fact>, after_promote: Vec<Fact>) {
        let key = key(text);
        let to = Assigned { node: key.node, role, reason: Reason::Placed, after, after_promote };
        let changes = vec![AssignChange { instance: key.instance, to: Some(to) }];
        self.ok(Command::Assign { leader: self.leader(), changes });
    }

    pub fn assign(&mut self, text: &str, role: Role) {
        self.assign_after(text, role, Vec::new(), Vec::new());
    }

    pub fn claim_command(&self, text: &str) -> Command {
        let key = key(text);
        let assignment = self.state.assignment.get(&key.instance).map_or(LogIndex(0), |assigned| assigned.index);
        let incarnation = self.state.nodes[&key.node].incarnation.clone();
        Command::Claim { key, incarnation, assignment }
    }

    pub fn claim(&mut self, text: &str) -> Result<(), Refusal> {
        let command = self.claim_command(text);
        self.ask(command)
    }

    pub fn held(&self, text: &str) -> &Claim {
        &self.state.claims[&key(text)]
    }

    pub fn report_command(&self, text: &str, action: ActionKind, code: i32, reading: Option<Reading>) -> Command {
        let claim = self.held(text);
        Command::Report(OpReport {
            key: key(text),
            epoch: claim.epoch,
            incarnation: claim.incarnation.clone(),
            action,
            status: ExecStatus::Exited(code),
            reading,
            began: self.state.index,
            duration_ms: 5,
            text: String::new(),
        })
    }

    pub fn report(&mut self, text: &str, action: ActionKind, code: i32) -> Result<(), Refusal> {
        let command = self.report_command(text, action, code, None);
        self.ask(command)
    }

    pub fn monitor(&mut self, text: &str, reading: Reading) -> Result<(), Refusal> {
        let command = self.report_command(text, ActionKind::Monitor, 0, Some(reading));
        self.ask(command)
    }

    pub fn advance(&mut self, text: &str, to: Phase) -> Result<(), Refusal> {
        let claim = self.held(text);
        let (epoch, incarnation) = (claim.epoch, claim.incarnation.clone());
        self.ask(Command::Advance { key: key(text), epoch, incarnation, to })
    }

    pub fn release_command(&self, text: &str) -> Command {
        let claim = self.held(text);
        Command::Release { key: key(text), epoch: claim.epoch, incarnation: claim.incarnation.clone() }
    }

    pub fn release(&mut self, text: &str) -> Result<(), Refusal> {
        let command = self.release_command(text);
        self.ask(command)
    }

    /// Assigned, claimed and started.
    #[track_caller]
    pub fn run(&mut self, text: &str) {
        let role = if text.starts_with("drbd") { Role::Unpromoted } else { Role::Started };
        self.assign(text, role);
        self.claim(text).unwrap();
        self.report(text, ActionKind::Start, 0).unwrap();
    }

    #[track_caller]
    pub fn stop(&mut self, text: &str) {
        self.advance(text, Phase::Stopping).unwrap();
        self.release(text).unwrap();
    }

    pub fn suspect_command(&self, node: &str) -> Command {
        let boot = self.state.nodes[node].incarnation.boot.clone();
        Command::Suspect { leader: self.leader(), node: node.into(), boot, reason: "silent".into() }
    }

    pub fn suspect(&mut self, node: &str) {
        self.ok(self.suspect_command(node));
    }

    pub fn fence_command(&self, node: &str, executor: &str) -> Command {
        Command::FenceStart {
            leader: self.leader(),
            node: node.into(),
            boot: self.state.nodes[node].incarnation.boot.clone(),
            level: 0,
            devices: vec![DeviceId::new(format!("pdu-{node}"))],
            executor: executor.into(),
            executor_incarnation: self.state.nodes[executor].incarnation.clone(),
            action: FencingAction::Reboot,
            timeout_ms: 20_000,
            reason: "silent".into(),
        }
    }

    pub fn fence(&mut self, node: &str, executor: &str) -> AttemptId {
        self.ok(self.fence_command(node, executor));
        self.state.last_attempt
    }

    pub fn result(&mut self, attempt: AttemptId, outcome: FenceOutcome) -> Result<(), Refusal> {
        let executor = self.state.attempts[&attempt].executor.clone();
        self.ask(Command::FenceResult { attempt, executor, outcome })
    }

    pub fn tick(&mut self, elapsed_ms: u64) {
        self.ok(Command::Tick { leader: self.leader(), elapsed_ms, wall_ms: 0 });
    }

    pub fn membership(&self, node: &str) -> Membership {
        self.state.nodes[node].membership
    }
}
