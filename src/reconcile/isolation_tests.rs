//! Restarts in place, without a quorum: how far their mark reaches.

use super::life_tests::facts;
use super::*;
use crate::model::{ActionKind, BootId, Digest, ExecStatus, LogIndex, OpName, QuorumLoss, Revision, Role};
use crate::plan::testing::{self, World, key};
use crate::state::port::ProposeError;
use crate::state::{Phase, Target};

const BEGAN: Duration = Duration::from_secs(1000);
const MONITORED: Duration = Duration::from_secs(60);

/// n1 of three voters, which runs `log`; nobody is heard until [`Lone::meet`].
struct Lone {
    node: Node,
    state: State,
    now: Duration,
    heard: bool,
    /// What an agent was asked for and has not been answered yet.
    asked: Vec<(OpId, ActionKind)>,
    /// Proposals without an answer.
    proposed: Vec<ProposalId>,
}

impl Lone {
    fn new() -> Self {
        Self::of(|w| {
            w.runs(&["log@n1"]);
        })
    }

    /// What it runs is said by `claimed`.
    fn of(claimed: impl FnOnce(&mut World)) -> Self {
        let mut w = World::new(&["n1", "n2", "n3"]);
        let log = w.resources(&["log"]).resource("log");
        log.quorum_loss = QuorumLoss::Freeze;
        log.operations.entry(OpName::Monitor).and_modify(|monitor| monitor.interval = MONITORED);
        claimed(w.probe_all());
        let mut state = w.state.clone();
        state.specs.insert(Digest::default(), Arc::new(w.spec.clone()));
        let revision = Revision::new("a".repeat(40));
        let (spec, by) = (Digest::default(), "ann".into());
        state.target = Some(Target { revision, spec, accepted_at: state.index, accepted_ms: 0, by });
        let config = Config { node: "n1".into(), incarnation: testing::incarnation("n1"), facts: facts(), cores: 2 };
        let node = Node::new(config, BEGAN);
        let (asked, proposed) = (Vec::new(), Vec::new());
        let mut lone = Self { node, state: state.clone(), now: BEGAN, heard: false, asked, proposed };
        let voters = ["n1", "n2", "n3"].map(NodeId::new).into();
        lone.step(Event::Leadership(Leadership { voters, ..Leadership::default() }));
        lone.step(Event::Committed(Arc::new(state)));
        lone
    }

    fn step(&mut self, event: Event) {
        for effect in self.node.step(self.now, 0, event) {
            match effect {
                Effect::Run { op, request } => self.asked.push((op, request.kind)),
                Effect::Propose { id, .. } => self.proposed.push(id),
                _ => {}
            }
        }
    }

    /// Lets time pass, with or without the others.
    fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 100 {
            self.now += Duration::from_millis(100);
            let contact = |node: &str| {
                let boot = BootId::new(format!("boot-{node}"));
                let (age, others) = (Duration::ZERO, Default::default());
                (NodeId::new(node), Contact { boot, age, echoed: None, others, heard: Default::default() })
            };
            let peers = ["n2", "n3"].into_iter().filter(|_| self.heard).map(contact).collect();
            self.step(Event::Contacts(Contacts { sent: 1, peers }));
        }
    }

    fn loses_the_others(&mut self) {
        self.heard = false;
        self.pass(5_000);
        assert!(self.node.is_isolated());
    }

    fn meets_the_others(&mut self) {
        self.heard = true;
        self.pass(500);
        assert!(!self.node.is_isolated());
    }

    /// Ends the only operation that is under way, which must be of this kind.
    fn ends(&mut self, kind: ActionKind, code: i32) {
        let [(op, asked)] = self.asked[..] else { panic!("{kind:?} of {:?}", self.asked) };
        assert_eq!(asked, kind);
        self.asked.clear();
        let (status, output) = (ExecStatus::Exited(code), String::new());
        self.step(Event::Finished { op, outcome: crate::model::Outcome { status, output, duration: Duration::ZERO } });
    }

    /// The service dies, and the node finds it so.
    fn dies(&mut self) {
        self.step(Event::Died { instance: key("log@n1").instance });
        self.pass(5_000);
        self.ends(ActionKind::Monitor, 7);
    }

    /// From now on what runs here has to be stopped without a quorum.
    fn learns_that_it_must_stop(&mut self) {
        self.state.index = LogIndex(self.state.index.0 + 1);
        for definition in self.state.definitions.values_mut() {
            Arc::make_mut(definition).resource.quorum_loss = QuorumLoss::Stop;
        }
        self.step(Event::Committed(Arc::new(self.state.clone())));
    }

    fn kinds(&self) -> Vec<ActionKind> {
        self.asked.iter().map(|(_, kind)| *kind).collect()
    }
}

#[test]
fn what_may_run_on_is_stopped_seen_and_started() {
    let mut lone = Lone::new();
    lone.loses_the_others();
    lone.dies();
    lone.ends(ActionKind::Stop, 0);
    lone.ends(ActionKind::Probe, 7);
    lone.ends(ActionKind::Start, 0);
}

#[test]
fn a_stop_that_failed_leaves_no_mark_that_a_later_one_would_start_it_by() {
    let mut lone = Lone::new();
    lone.loses_the_others();
    lone.dies();
    lone.ends(ActionKind::Stop, 1);
    lone.meets_the_others();
    lone.learns_that_it_must_stop();
    lone.loses_the_others();
    lone.ends(ActionKind::Stop, 0);
    lone.ends(ActionKind::Probe, 7);
    lone.pass(1_000);
    assert_eq!(lone.kinds(), []);
}

#[test]
fn a_restart_that_the_quorum_cut_short_is_not_gone_on_with_when_it_is_lost_again() {
    let mut lone = Lone::new();
    lone.loses_the_others();
    lone.dies();
    lone.meets_the_others();
    lone.loses_the_others();
    lone.ends(ActionKind::Stop, 0);
    lone.ends(ActionKind::Probe, 7);
    lone.pass(1_000);
    assert_eq!(lone.kinds(), [], "the log is asked first");
}

#[test]
fn what_must_be_stopped_by_the_time_it_is_stopped_stays_so() {
    let mut lone = Lone::new();
    lone.loses_the_others();
    lone.dies();
    lone.ends(ActionKind::Stop, 0);
    lone.learns_that_it_must_stop();
    lone.ends(ActionKind::Probe, 7);
    lone.pass(1_000);
    assert_eq!(lone.kinds(), []);
}

/// What it said last of a reload was committed or lost; it stopped the service meanwhile, and has to say so first.
#[test]
fn what_was_stopped_without_a_quorum_is_not_reloaded_because_an_answer_was_lost() {
    let mut lone = Lone::of(|w| {
        w.resource("log").quorum_loss = QuorumLoss::Stop;
        w.assigned("log@n1", Role::Started).claim("log@n1", Phase::Reloading, Role::Started);
        let digest = w.state.claims[&key("log@n1")].definition;
        w.state.reloads.insert(key("log@n1"), digest);
    });
    lone.meets_the_others();
    lone.ends(ActionKind::Reload, 0);
    lone.loses_the_others();
    lone.ends(ActionKind::Stop, 0);
    lone.ends(ActionKind::Probe, 7);
    lone.meets_the_others();
    for id in std::mem::take(&mut lone.proposed) {
        lone.step(Event::Answered { id, result: Err(ProposeError::Unknown("the answer was lost".into())) });
    }
    lone.pass(3_000);
    assert_eq!(lone.kinds(), [], "it is settled first");
    assert!(!lone.proposed.is_empty());
}

/// The stop was begun when nobody could be asked, and goes on: what stands on that is not started meanwhile.
#[test]
fn nothing_is_built_on_what_is_still_being_stopped_when_the_quorum_comes_back() {
    let mut web = None;
    let mut lone = Lone::of(|w| {
        w.runs(&["log@n1"]).resource("log").quorum_loss = QuorumLoss::Stop;
        w.resources(&["web"]).order("log", "web");
        let digest = w.state.claims[&key("log@n1")].definition;
        Arc::make_mut(w.state.definitions.get_mut(&digest).expect("it is claimed")).resource.quorum_loss =
            QuorumLoss::Stop;
        w.probe_all().assigned("web@n1", Role::Started).claim("web@n1", Phase::Starting, Role::Started);
        web = w.state.claims.remove(&key("web@n1"));
    });
    lone.loses_the_others();
    lone.ends(ActionKind::Monitor, 0);
    assert_eq!(lone.kinds(), [ActionKind::Stop]);
    lone.meets_the_others();
    lone.state.index = LogIndex(lone.state.index.0 + 1);
    lone.state.claims.insert(key("web@n1"), web.expect("it was claimed"));
    lone.step(Event::Committed(Arc::new(lone.state.clone())));
    lone.pass(1_000);
    assert_eq!(lone.kinds(), [ActionKind::Stop]);
}
