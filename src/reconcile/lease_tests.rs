//! Leases: what a node does as its own runs out, and how a leader counts those of others.

use super::Node;
use super::*;
use crate::model::*;
use crate::plan::testing::{World, key};
use crate::state::target::spec_to_chunks;
use crate::state::{
    Admitted, AssignChange, Assigned, Entry, FEATURE_LEVEL, Membership, ProbeReport, Refusal, WatchdogReport,
};

const BEGAN: u64 = 1_000_000;

fn ms(at: u64) -> Duration {
    Duration::from_millis(BEGAN + at)
}

fn incarnation(node: &str) -> Incarnation {
    Incarnation { boot: BootId::new(format!("boot-{node}")), counter: 1 }
}

fn facts() -> WatchdogFacts {
    WatchdogFacts { identity: "i6300ESB".into(), timeout: Duration::from_secs(3), kind: WatchdogKind::Hardware }
}

fn join_facts() -> JoinFacts {
    JoinFacts { addresses: Vec::new(), port: 7470, version: "0".into(), feature_level: FEATURE_LEVEL, recipient: None }
}

/// A log of three voters that their watchdogs fence; n1 leads, n2 runs `a`, and each has said what it has armed.
struct Log(State);

impl Log {
    fn new() -> Self {
        let mut w = World::new(&["n1", "n2", "n3"]);
        w.resources(&["a"]);
        w.spec.devices.values_mut().for_each(|device| device.agent = "watchdog".into());
        Self::of(&w)
    }

    fn of(w: &World) -> Self {
        let mut log = Self(State::default());
        for node in ["n1", "n2", "n3"] {
            log.0.admitted.insert(node.into(), Admitted { addresses: Vec::new(), port: 7470 });
            log.apply(Command::Join { node: node.into(), incarnation: incarnation(node), facts: join_facts() });
        }
        log.lead("n1", 1);
        log.apply(Command::RaiseLevel { level: FEATURE_LEVEL });
        log.apply(Command::Tick { leader: incarnation("n1"), elapsed_ms: 0, wall_ms: 1 });
        let (digest, chunks) = spec_to_chunks(&w.spec);
        let total = chunks.len() as u32;
        for (number, bytes) in chunks.into_iter().enumerate() {
            log.apply(Command::SpecChunk { digest, number: number as u32, total, bytes });
        }
        log.apply(Command::SetTarget { revision: Revision::from("1"), parent: None, spec: digest, by: "ann".into() });
        for node in ["n1", "n2", "n3"] {
            log.apply(Command::Probe(ProbeReport {
                resource: "a".into(),
                node: node.into(),
                incarnation: incarnation(node),
                identity: log.0.current_identity(&"a".into()).unwrap(),
                reading: Reading::Stopped,
                began: log.0.index,
                text: String::new(),
            }));
            let report = Some(WatchdogReport { facts: facts(), timing: w.spec.cluster.watchdog });
            log.apply(Command::Watchdog { node: node.into(), incarnation: incarnation(node), report });
        }
        let to = Assigned {
            node: "n2".into(),
            role: Role::Started,
            reason: crate::model::Reason::Placed,
            after: Vec::new(),
            after_promote: Vec::new(),
        };
        let changes = vec![AssignChange { instance: InstanceId::plain("a"), to: Some(to) }];
        log.apply(Command::Assign { leader: incarnation("n1"), changes });
        let assignment = log.0.index;
        log.apply(Command::Claim { key: key("a@n2"), incarnation: incarnation("n2"), assignment });
        let epoch = log.0.claims[&key("a@n2")].epoch;
        log.apply(Command::Report(crate::state::OpReport {
            key: key("a@n2"),
            epoch,
            incarnation: incarnation("n2"),
            action: ActionKind::Start,
            status: ExecStatus::Exited(0),
            reading: None,
            began: log.0.index,
            duration_ms: 1,
            text: String::new(),
        }));
        log
    }

    fn apply(&mut self, command: Command) {
        let index = LogIndex(self.0.index.0 + 1);
        let (answers, _) = self.0.apply(index, &Entry { at_ms: 0, commands: vec![command.clone()] });
        assert_eq!(answers, vec![Ok::<(), Refusal>(())], "{command:?}");
    }

    fn lead(&mut self, node: &str, term: u64) {
        self.apply(Command::LeaderStart { node: node.into(), incarnation: incarnation(node), term });
    }

    fn suspect(&mut self, node: &str) {
        let leader = self.0.leader.as_ref().unwrap().incarnation.clone();
        let boot = incarnation(node).boot;
        self.apply(Command::Suspect { leader, node: node.into(), boot, reason: "silent".into() });
    }

    fn core(&self, name: &str) -> Core {
        let config = Config { node: name.into(), incarnation: incarnation(name), facts: join_facts(), cores: 2 };
        let mut core = Core { node: Node::new(config, ms(0)), now: 0, effects: Vec::new(), open: Vec::new() };
        core.step(0, Event::Committed(Arc::new(self.0.clone())));
        core.leads("n1", 1);
        core
    }
}

/// A node, and everything it did since it was last asked.
struct Core {
    node: Node,
    now: u64,
    effects: Vec<Effect>,
    open: Vec<ProposalId>,
}

impl Core {
    fn step(&mut self, at: u64, event: Event) {
        self.now = at;
        for effect in self.node.step(ms(at), 0, event) {
            if let Effect::Propose { id, .. } = &effect {
                self.open.push(*id);
            }
            self.effects.push(effect);
        }
    }

    fn leads(&mut self, leader: &str, term: u64) {
        let leadership = Leadership {
            is_self: self.node.name().as_str() == leader,
            term,
            leader: Some(leader.into()),
            voters: ["n1", "n2", "n3"].map(NodeId::new).into(),
            ..Leadership::default()
        };
        self.step(self.now, Event::Leadership(leadership));
    }

    /// Acknowledged for the first time, and armed.
    fn armed(mut self) -> Self {
        self.step(0, Event::Lease { sent: ms(0) });
        assert!(
            self.take().iter().any(|effect| matches!(effect, Effect::Arm { timeout, .. } if timeout.as_secs() == 3))
        );
        self.step(0, Event::Armed(Ok(facts())));
        self
    }

    fn hear(&mut self, at: u64, peers: &[&str]) {
        let contact = |name: &&str| {
            let (boot, age) = (incarnation(name).boot, Duration::ZERO);
            (
                NodeId::new(*name),
                Contact { boot, age, echoed: Some(1), others: BTreeMap::new(), heard: BTreeMap::new() },
            )
        };
        self.step(at, Event::Contacts(Contacts { sent: at, peers: peers.iter().map(contact).collect() }));
    }

    fn take(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// The last word on how long may be petted, in ms from the beginning.
    fn petted_until(&mut self) -> Option<u64> {
        let pets = self.effects.iter().filter_map(|effect| match effect {
            Effect::Pet { until } => Some((until.as_millis() as u64).saturating_sub(BEGAN)),
            _ => None,
        });
        pets.fold(None, |_, until| Some(until))
    }

    fn runs(&mut self, kind: ActionKind) -> Option<OpId> {
        self.effects.iter().rev().find_map(|effect| match effect {
            Effect::Run { op, request } if request.kind == kind => Some(*op),
            _ => None,
        })
    }

    fn finish(&mut self, at: u64, kind: ActionKind, code: i32) {
        let op = self.runs(kind).unwrap_or_else(|| panic!("no {kind:?} under way"));
        let outcome =
            Outcome { status: ExecStatus::Exited(code), output: String::new(), duration: Duration::from_millis(5) };
        self.step(at, Event::Finished { op, outcome });
    }

    fn elapsed(&mut self) -> Vec<u64> {
        let commands = self.take().into_iter().filter_map(|effect| match effect {
            Effect::Propose { commands, .. } => Some(commands),
            _ => None,
        });
        let elapsed = commands.flatten().filter_map(|command| match command {
            Command::WatchdogElapsed { waited_ms, .. } => Some(waited_ms),
            _ => None,
        });
        elapsed.collect()
    }

    /// Whom the leader acknowledges when this round is over.
    fn round(&mut self, began: u64, heard: &[&str]) -> Vec<String> {
        let heard = heard.iter().map(|name| (NodeId::new(*name), (incarnation(name), began))).collect();
        self.step(self.now.max(began), Event::Round { term: 1, began: ms(began), heard });
        let acks = self.effects.iter().rev().find_map(|effect| match effect {
            Effect::Acknowledge { acks } => Some(acks.keys().map(ToString::to_string).collect()),
            _ => None,
        });
        acks.unwrap_or_default()
    }

    /// Answers every open proposal, so that the next may be made.
    fn answer(&mut self) {
        for id in std::mem::take(&mut self.open) {
            self.step(
                self.now,
                Event::Answered { id, result: Ok(Applied { index: LogIndex(0), answers: Vec::new() }) },
            );
        }
    }
}

#[test]
fn a_lease_that_runs_low_stops_everything_and_a_node_that_holds_nothing_is_not_reset() {
    let mut core = Log::new().core("n2").armed();
    core.hear(100, &["n1", "n3"]);
    assert_eq!(core.petted_until(), Some(3_500), "1.5 s until it stops, 2 s for that");
    core.take();
    // Everybody is heard; only nothing is acknowledged.
    core.hear(1_500, &["n1", "n3"]);
    assert!(core.runs(ActionKind::Stop).is_none());
    core.hear(1_501, &["n1", "n3"]);
    core.finish(1_700, ActionKind::Stop, 0);
    assert_eq!(core.petted_until(), None, "what a stop says is not enough");
    core.finish(1_800, ActionKind::Probe, 7);
    assert_eq!(core.petted_until(), Some(1_800 + 3_500));
    core.hear(60_000, &[]);
    assert_eq!(core.petted_until(), Some(63_500), "as long as the core looks");
    assert!(core.runs(ActionKind::Start).is_none());
}

#[test]
fn what_is_not_stopped_in_time_is_left_to_the_watchdog() {
    for (stop, probe) in [(1, None), (0, Some(0)), (0, Some(1))] {
        let mut core = Log::new().core("n2").armed();
        core.hear(1_501, &["n1", "n3"]);
        core.finish(1_700, ActionKind::Stop, stop);
        if let Some(code) = probe {
            core.finish(1_800, ActionKind::Probe, code);
        }
        core.hear(3_600, &["n1", "n3"]);
        core.hear(20_000, &["n1", "n3"]);
        assert_eq!(core.petted_until(), Some(3_500), "stop {stop}, probe {probe:?}");
    }
}

#[test]
fn a_lease_runs_from_when_the_heartbeat_was_sent_not_from_when_the_answer_came() {
    let mut core = Log::new().core("n2").armed();
    core.step(1_400, Event::Lease { sent: ms(200) });
    assert_eq!(core.petted_until(), Some(3_700));
    core.hear(1_701, &["n1", "n3"]);
    assert!(core.runs(ActionKind::Stop).is_some());
}

#[test]
fn a_node_that_stood_still_has_no_excuse() {
    let mut core = Log::new().core("n2").armed();
    core.take();
    // Without a lease it would listen first.
    core.hear(60_000, &["n1", "n3"]);
    assert!(core.runs(ActionKind::Stop).is_some());
    assert_eq!(core.petted_until(), None, "the watchdog may fire");
}

#[test]
fn quorum_loss_fence_pets_no_more_at_once() {
    let mut w = World::new(&["n1", "n2", "n3"]);
    w.resources(&["a"]);
    w.spec.devices.values_mut().for_each(|device| device.agent = "watchdog".into());
    w.resource("a").quorum_loss = QuorumLoss::Fence;
    let mut core = Log::of(&w).core("n2").armed();
    for at in [500, 1_000, 1_400] {
        core.hear(at, &["n1", "n3"]);
    }
    assert_eq!(core.petted_until(), Some(3_500));
    core.step(1_600, Event::Lease { sent: ms(1_500) });
    core.hear(2_000, &[]);
    assert_eq!(core.petted_until(), Some(0));
    core.hear(2_100, &["n1", "n3"]);
    core.step(2_200, Event::Lease { sent: ms(2_150) });
    assert_eq!(core.petted_until(), Some(0), "nothing takes that back");
}

#[test]
fn a_boot_that_was_proven_off_resets_itself() {
    let mut log = Log::new();
    let mut core = log.core("n2").armed();
    log.suspect("n2");
    let leader = incarnation("n1");
    let elapsed = Command::WatchdogElapsed {
        leader,
        node: "n2".into(),
        boot: incarnation("n2").boot,
        suspicion: 1,
        waited_ms: 12_000,
    };
    log.apply(elapsed);
    core.step(13_000, Event::Committed(Arc::new(log.0.clone())));
    core.step(13_100, Event::Lease { sent: ms(13_000) });
    assert_eq!(core.petted_until(), Some(0));
}

#[test]
fn a_leader_counts_from_the_last_round_that_acknowledged_and_acknowledges_no_suspect() {
    let mut log = Log::new();
    let mut core = log.core("n1");
    core.hear(0, &["n2", "n3"]);
    core.answer();
    assert_eq!(core.round(5_000, &["n2", "n3"]), ["n2", "n3"]);
    // Another round, and nothing new of n2: what it sent was there in time for the first one.
    core.hear(6_000, &["n3"]);
    let again = [(NodeId::new("n2"), (incarnation("n2"), 5_000))].into();
    core.step(6_500, Event::Round { term: 1, began: ms(6_400), heard: again });
    log.suspect("n2");
    core.step(7_000, Event::Committed(Arc::new(log.0.clone())));
    assert_eq!(core.round(7_100, &["n2", "n3"]), ["n3"], "or it would live on while it is counted out");
    core.hear(16_999, &["n3"]);
    core.answer();
    assert_eq!(core.elapsed(), Vec::<u64>::new());
    core.hear(17_000, &["n3"]);
    core.answer();
    core.hear(17_000, &["n3"]);
    assert_eq!(core.elapsed().first(), Some(&12_000));
}

#[test]
fn a_new_leader_counts_every_lease_from_its_own_start() {
    let mut log = Log::new();
    let mut core = log.core("n1");
    core.round(5_000, &["n2", "n3"]);
    // Another one led meanwhile, and may have acknowledged anything.
    core.now = 8_000;
    core.leads("n3", 2);
    log.lead("n3", 2);
    log.suspect("n2");
    log.lead("n1", 3);
    core.now = 9_000;
    core.leads("n1", 3);
    core.step(9_000, Event::Committed(Arc::new(log.0.clone())));
    core.take();
    assert_eq!(core.round(9_500, &["n2"]), Vec::<String>::new(), "a round of an older term says nothing");
    core.hear(20_999, &["n3"]);
    core.answer();
    assert_eq!(core.elapsed(), Vec::<u64>::new());
    core.hear(21_000, &["n3"]);
    core.answer();
    core.hear(21_000, &["n3"]);
    assert_eq!(core.elapsed().first(), Some(&12_000));
}

#[test]
fn nothing_is_proven_of_a_node_on_which_nothing_depends() {
    let mut log = Log::new();
    let mut core = log.core("n1");
    log.suspect("n3");
    core.step(1_000, Event::Committed(Arc::new(log.0.clone())));
    core.hear(60_000, &["n2"]);
    core.answer();
    core.hear(60_100, &["n2"]);
    assert_eq!(core.elapsed(), Vec::<u64>::new(), "its reboot would help nobody");
    assert_eq!(log.0.nodes["n3"].membership, Membership::Suspect);
}

#[test]
fn a_time_out_that_does_not_fit_the_lease_disarms_and_is_told_with_the_sum() {
    let mut core = Log::new().core("n2");
    core.step(0, Event::Lease { sent: ms(0) });
    core.step(0, Event::Armed(Ok(WatchdogFacts { timeout: Duration::from_secs(30), ..facts() })));
    let effects = core.take();
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Disarm)));
    let withdrawn = |command: &Command| matches!(command, Command::Watchdog { report: None, .. });
    assert!(effects.iter().any(|e| matches!(e, Effect::Propose { commands, .. } if commands.iter().any(withdrawn))));
    let troubles = core.node.troubles();
    assert!(troubles[0].contains("2 x 30s watchdog time-out"), "{troubles:?}");
    core.hear(60_000, &["n1", "n3"]);
    assert!(core.runs(ActionKind::Stop).is_none(), "it runs on, as a node that nobody can prove off");
}

#[test]
fn a_watchdog_that_git_takes_away_is_let_go() {
    let mut log = Log::new();
    let mut core = log.core("n2").armed();
    let node = log.0.nodes.get_mut(&NodeId::new("n2")).unwrap();
    let mut document = crate::state::NodeDocument::clone(node.document.as_ref().unwrap());
    document.node.fencing.clear();
    node.document = Some(document.into());
    log.0.index.0 += 1;
    core.take();
    core.step(100, Event::Committed(Arc::new(log.0.clone())));
    let disarms = |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::Disarm));
    let effects = core.take();
    assert!(!disarms(&effects), "git may want it back before anybody knows that it is gone");
    assert_eq!(reported(&effects), [None]);
    log.apply(Command::Watchdog { node: "n2".into(), incarnation: incarnation("n2"), report: None });
    core.step(200, Event::Committed(Arc::new(log.0.clone())));
    assert!(disarms(&core.take()));
    core.hear(60_000, &["n1", "n3"]);
    assert_eq!(core.petted_until(), None);
}

/// What is proposed to be agreed of this node's watchdog.
fn reported(effects: &[Effect]) -> Vec<Option<WatchdogReport>> {
    let proposed = effects.iter().filter_map(|effect| match effect {
        Effect::Propose { commands, .. } => Some(commands),
        _ => None,
    });
    let reports = proposed.flatten().filter_map(|command| match command {
        Command::Watchdog { report, .. } => Some(report.clone()),
        _ => None,
    });
    reports.collect()
}

/// What git says from now on.
fn asks(log: &mut Log, change: impl Fn(&mut LeaseTiming)) -> LeaseTiming {
    let mut timing = log.0.lease_timing();
    change(&mut timing);
    let digest = log.0.target.as_ref().unwrap().spec;
    let mut spec = Spec::clone(&log.0.specs[&digest]);
    spec.cluster.watchdog = timing;
    log.0.specs.insert(digest, Arc::new(spec));
    log.0.index.0 += 1;
    timing
}

#[test]
fn a_longer_lease_is_gone_by_when_it_is_agreed_and_a_shorter_one_before() {
    let mut log = Log::new();
    let mut core = log.core("n2").armed();
    let short = log.0.lease_timing();
    let wide = asks(&mut log, |timing| {
        timing.self_stop_after += Duration::from_secs(5);
        timing.lease_ttl += Duration::from_secs(20);
    });
    core.take();
    core.step(10, Event::Committed(Arc::new(log.0.clone())));
    core.step(20, Event::Lease { sent: ms(20) });
    assert_eq!(core.petted_until(), Some(3_520), "the others wait for as long as was agreed");
    let report = Some(WatchdogReport { facts: facts(), timing: wide });
    assert_eq!(reported(&core.take()), std::slice::from_ref(&report));
    log.apply(Command::Watchdog { node: "n2".into(), incarnation: incarnation("n2"), report });
    core.step(30, Event::Committed(Arc::new(log.0.clone())));
    core.answer();
    assert_eq!(core.petted_until(), Some(8_520));
    core.take();
    // Back again: what was agreed still counts, and is longer.
    asks(&mut log, |timing| *timing = short);
    core.step(40, Event::Committed(Arc::new(log.0.clone())));
    assert_eq!(core.petted_until(), Some(3_520));
    assert_eq!(reported(&core.take()), [Some(WatchdogReport { facts: facts(), timing: short })]);
}

#[test]
fn another_time_out_is_asked_of_the_device_once_the_old_one_is_withdrawn() {
    let mut log = Log::new();
    let mut core = log.core("n2").armed();
    let armed = |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::Arm { .. }));
    asks(&mut log, |timing| {
        timing.timeout = Duration::from_secs(5);
        timing.lease_ttl += Duration::from_secs(20);
    });
    core.take();
    core.step(10, Event::Committed(Arc::new(log.0.clone())));
    let effects = core.take();
    assert!(!armed(&effects) && core.node.is_leased());
    assert_eq!(reported(&effects), [None]);
    log.apply(Command::Watchdog { node: "n2".into(), incarnation: incarnation("n2"), report: None });
    core.answer();
    core.step(20, Event::Committed(Arc::new(log.0.clone())));
    assert!(armed(&core.take()));
}

#[test]
fn services_of_a_node_whose_lease_proves_nothing_are_shown_as_blocked() {
    use crate::model::Reason;
    let mut log = Log::new();
    let verdict = |log: &Log| {
        let spec = log.0.spec().unwrap();
        crate::plan::assign(spec, &log.0).verdicts[&InstanceId::plain("a")].clone()
    };
    log.suspect("n2");
    assert_eq!(verdict(&log), crate::plan::Verdict::Wait(Reason::NodeLost { node: "n2".into() }));
    log.apply(Command::Watchdog { node: "n2".into(), incarnation: incarnation("n2"), report: None });
    let why = "n2 has not reported an armed watchdog".to_owned();
    assert_eq!(verdict(&log), crate::plan::Verdict::Blocked(Reason::NotProvenOff { node: "n2".into(), why }));
}

#[test]
fn a_fence_that_nothing_can_do_does_not_keep_a_heard_node_suspect() {
    let cleared = |report: Option<WatchdogReport>| {
        let mut log = Log::new();
        if report.is_none() {
            log.apply(Command::Watchdog { node: "n2".into(), incarnation: incarnation("n2"), report });
        }
        log.suspect("n2");
        log.apply(Command::SetOverride {
            scope: crate::state::Scope::Node("n2".into()),
            kind: crate::state::OverrideKind::Fence,
            by: "ann".into(),
            reason: "hangs".into(),
            expires_ms: None,
        });
        let mut core = log.core("n1");
        for half in 1..10 {
            core.answer();
            core.hear(half * 500, &["n2", "n3"]);
        }
        core.take().iter().any(|effect| match effect {
            Effect::Propose { commands, .. } => commands.iter().any(|c| matches!(c, Command::Clear { .. })),
            _ => false,
        })
    };
    assert!(cleared(None), "it could not even arm its watchdog while it is suspect");
    assert!(!cleared(Some(WatchdogReport { facts: facts(), timing: LeaseTiming::DEFAULT })), "the watchdog will do it");
}
